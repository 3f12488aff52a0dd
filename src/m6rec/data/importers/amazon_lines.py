"""The line formats of Amazon reviews: which keys tell a dialect, and how a line becomes a row.

Metadata of 2014 are Python dictionaries, read as literals (`ast.literal_eval`), never evaluated.
"""

from __future__ import annotations

import ast
import gzip
import html
import itertools
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from m6rec.base.errors import DataError
from m6rec.data.account import Account
from m6rec.data.columns import Columns
from m6rec.data.readers import first_line

REVIEWS, META, SPLITS = "reviews", "metadata", "splits"
CHUNK = 20_000  # lines held as Python objects at a time
LONGEST_LINE = 1 << 23  # bytes; more is no review
LINES_NAMED = 5  # damaged lines whose numbers are reported
SUFFIXES = (".json", ".jsonl", ".csv")
MARKUP = re.compile(r"<[^>]*>")
# "$12.99", "$5.00 - $9.00" (the lower), "from 3.50", "1,299"; a price that is a style sheet has no figure near its start.
PRICE = re.compile(r"^\s*(?:from\s+)?[^\d\s.{]{0,3}\s*(\d[\d,]*(?:\.\d+)?)", re.IGNORECASE)
SCRIPT = "getTime"  # titles of 2018 that are the page's script instead

REVIEW_SCHEMA = {
    Columns.USER: pl.String,
    Columns.ITEM: pl.String,
    Columns.TIME: pl.Int64,
    Columns.VALUE: pl.Float64,
    "title": pl.String,
    "text": pl.String,
}
META_SCHEMA = {
    Columns.ITEM: pl.String,
    "title": pl.String,
    "brand": pl.String,
    "categories": pl.List(pl.String),
    "price": pl.Float64,
    "description": pl.String,
    "features": pl.String,
}


@dataclass(frozen=True)
class Dialect:
    """One format of lines. `keys` must all be there, none of `without`, and one of `any_of` if it names any."""

    role: str
    year: str
    keys: tuple[str, ...]
    any_of: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    unit: str = "s"
    leaks: tuple[str, ...] = ()

    def matches(self, keys: set[str]) -> bool:
        return keys.issuperset(self.keys) and not keys & set(self.without) and (not self.any_of or bool(keys & set(self.any_of)))


OLD = ("reviewerID", "asin", "overall", "unixReviewTime")
NEW = ("user_id", "parent_asin", "rating", "timestamp")
ALSO = ("also_buy", "also_view", "rank")
DIALECTS = (
    Dialect(REVIEWS, "2014", OLD, without=("verified",)),
    Dialect(REVIEWS, "2018", (*OLD, "verified")),
    Dialect(REVIEWS, "2023", NEW, any_of=("text", "title"), unit="ms"),
    Dialect(META, "2023", ("parent_asin", "title"), without=("user_id",), leaks=("average_rating", "rating_number", "bought_together")),
    Dialect(META, "2018", ("asin",), any_of=("category", "main_cat", "feature", *ALSO), without=("reviewerID", "parent_asin"), leaks=ALSO),
    Dialect(
        META,
        "2014",
        ("asin",),
        any_of=("categories", "imUrl", "related", "salesRank"),
        without=("reviewerID", "parent_asin"),
        leaks=("related", "salesRank"),
    ),
)
SPLIT_TABLE = Dialect(SPLITS, "2023", NEW, unit="ms")


def dialect_of(path: Path) -> Dialect | None:
    """The dialect of a file by the keys of its first 20 lines (by the header of a CSV); None for anything else."""
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix not in SUFFIXES:
        return None
    try:
        with opened(path) as lines:
            head = list(itertools.islice(lines, 20))
    except (OSError, EOFError, zlib.error):
        return None
    if suffix == ".csv":
        names = head[0].decode("utf-8-sig", "replace").strip().replace('"', "").split(",") if head else []
        return SPLIT_TABLE if tuple(names[:4]) == NEW and set(names[4:]) <= {"history"} else None
    keys: set[str] = set()
    for line in head:
        value = parsed(line)
        keys |= set(value) if isinstance(value, dict) else set()
    return next((dialect for dialect in DIALECTS if dialect.matches(keys)), None)


def opened(path: Path) -> Any:
    return gzip.open(path, "rb") if path.name.endswith(".gz") else open(path, "rb")


def parsed(line: bytes) -> Any:
    """The object of a line: JSON, or a Python literal as in 2014; None where it is neither."""
    if len(line) > LONGEST_LINE:
        return None
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def read_lines(path: Path, dialect: Dialect, account: Account) -> pl.DataFrame:
    """All rows of a file of reviews or metadata, a chunk of lines at a time.

    Raises:
        DataError: the file ends in the middle of its gzip stream, or most of its lines are damaged.
    """
    row, schema = ROWS[(dialect.role, dialect.year)]
    frames, damaged, total = [], [], 0
    for numbered in _chunks(path):
        rows = []
        for number, line in numbered:
            found = _row(line, row)
            if found is None:
                damaged.append(number)
            else:
                rows.append(found)
        total += len(numbered)
        frames.append(pl.DataFrame(rows, schema=schema, orient="row"))
    if len(damaged) * 2 > total or not frames:
        first = f"; the first damaged line is {damaged[0]}" if damaged else ""
        raise DataError(f"{path.name}: {len(damaged):,} of {total:,} lines are no {dialect.role} of {dialect.year}{first}; copy it again")
    more = f" and {len(damaged) - LINES_NAMED:,} more" if len(damaged) > LINES_NAMED else ""
    account.add("damaged lines left out", len(damaged), f"{path.name}: line {', '.join(map(str, damaged[:LINES_NAMED]))}{more}")
    return pl.concat(frames)


def _chunks(path: Path) -> Iterator[list[tuple[int, bytes]]]:
    """Lines with their numbers, CHUNK at a time; blank ones are skipped."""
    try:
        with opened(path) as handle:
            lines = ((number, line) for number, line in enumerate(handle, start=1) if line.strip())
            while chunk := list(itertools.islice(lines, CHUNK)):
                yield chunk
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} is not a whole gzip file: {first_line(error)}; copy it again") from None
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror or error}") from None


def _row(line: bytes, row: Callable[[dict[str, Any]], tuple[Any, ...]]) -> tuple[Any, ...] | None:
    """A row, or None for a line that is no object or lacks what a row needs."""
    value = parsed(line)
    if not isinstance(value, dict):
        return None
    try:
        return row(value)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _old_review(line: dict[str, Any]) -> tuple[Any, ...]:
    return (
        _id(line["reviewerID"]),
        _id(line["asin"]),
        _moment(line["unixReviewTime"]),
        _stars(line["overall"]),
        _plain(line.get("summary")),
        _plain(line.get("reviewText")),
    )


def _new_review(line: dict[str, Any]) -> tuple[Any, ...]:
    return (
        _id(line["user_id"]),
        _id(line["parent_asin"]),
        _moment(line["timestamp"]),
        _stars(line["rating"]),
        _plain(line.get("title")),
        _plain(line.get("text")),
    )


def _old_meta(line: dict[str, Any]) -> tuple[Any, ...]:
    categories = line.get("category", line.get("categories"))
    features = line.get("feature")
    return (
        _id(line["asin"]),
        _title(line.get("title")),
        _plain(line.get("brand")),
        _names(categories),
        price(line.get("price")),
        _plain(line.get("description")),
        _plain(features),
    )


def _new_meta(line: dict[str, Any]) -> tuple[Any, ...]:
    return (
        _id(line["parent_asin"]),
        _title(line.get("title")),
        _plain(line.get("store")),
        _names(line.get("categories")),
        price(line.get("price")),
        _plain(line.get("description")),
        _plain(line.get("features")),
    )


ROWS: dict[tuple[str, str], tuple[Callable[[dict[str, Any]], tuple[Any, ...]], Any]] = {
    (REVIEWS, "2014"): (_old_review, REVIEW_SCHEMA),
    (REVIEWS, "2018"): (_old_review, REVIEW_SCHEMA),
    (REVIEWS, "2023"): (_new_review, REVIEW_SCHEMA),
    (META, "2014"): (_old_meta, META_SCHEMA),
    (META, "2018"): (_old_meta, META_SCHEMA),
    (META, "2023"): (_new_meta, META_SCHEMA),
}


def price(value: Any) -> float | None:
    """A price as a number, whatever currency sign stands before it; the lower end of a range; None where there is none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    found = PRICE.match(str(value))
    return float(found[1].replace(",", "")) if found else None


def _id(value: Any) -> str:
    """Raises ValueError for what is no id: such a line is damaged."""
    text = str(value).strip() if isinstance(value, str | int) else ""
    if not text:
        raise ValueError("no id")
    return text


def _moment(value: Any) -> int:
    """Raises ValueError for what no 64-bit clock says."""
    moment = int(value)
    if abs(moment) >= 1 << 62:
        raise ValueError("no time")
    return moment


def _stars(value: Any) -> float:
    """Raises ValueError for what is no finite number."""
    stars = float(value)
    if not math.isfinite(stars):
        raise ValueError("no number")
    return stars


def _title(value: Any) -> str | None:
    text = _plain(value)
    return None if text is None or SCRIPT in text else text


def _plain(value: Any) -> str | None:
    """Text without markup, entities or runs of blanks; a list of paragraphs is joined; None for nothing."""
    if isinstance(value, list | tuple):
        value = " ".join(part for part in value if isinstance(part, str))
    if not isinstance(value, str):
        return None
    text = " ".join(html.unescape(MARKUP.sub(" ", value) if "<" in value else value).split())
    return text or None


def _names(value: Any) -> list[str]:
    """Names of categories, each once, in their order; paths in paths are flattened."""
    parts = list(value) if isinstance(value, list | tuple) else []
    flat = [inner for part in parts for inner in (part if isinstance(part, list | tuple) else [part])]
    plain = [_plain(name) for name in flat]
    return list(dict.fromkeys(name for name in plain if name))
