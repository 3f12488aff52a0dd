"""Amazon reviews as published in 2014, 2018 and 2023: review lines, metadata lines, and the official split tables of 2023.

The dialect is told by the keys of the first lines, never by the name of a file. Lines are read in chunks; a damaged one is left out and
its number is reported.

2014, 2018  reviewerID, asin, overall, unixReviewTime (days), reviewText, summary; 2018 adds vote, verified, style
2023        user_id, parent_asin, asin, rating, timestamp (milliseconds), title, text; or CSV with user_id, parent_asin, rating, timestamp
metadata    2014: asin, title, price, brand, categories [[...]], description, as Python dictionaries; 2018: category, feature, "$12.99";
            2023: parent_asin, title, store, categories, features, description, price
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
from pydantic import Field

from m6rec.base.configuration import Config
from m6rec.base.errors import DataError
from m6rec.data.account import Account
from m6rec.data.cleaning import drop_rare
from m6rec.data.columns import Columns
from m6rec.data.config import DataConfig
from m6rec.data.fields import FieldType
from m6rec.data.importers.amazon_lines import DIALECTS, META, REVIEWS, SPLITS, Dialect, dialect_of, read_lines
from m6rec.data.importers.importer import IMPORTERS, Imported, Importer
from m6rec.data.readers import read_table

ITEM_FIELDS = {
    "title": FieldType.TEXT,
    "brand": FieldType.CATEGORY,
    "categories": FieldType.TAGS,
    "price": FieldType.NUMBER,
    "description": FieldType.TEXT,
    "features": FieldType.TEXT,
}
LEAKS = "counted over the whole period, the test included: never a field"
SPLIT_COLUMNS = {Columns.USER: "user_id", Columns.ITEM: "parent_asin", Columns.VALUE: "rating", Columns.TIME: "timestamp"}


@IMPORTERS.register("amazon")
class AmazonImporter(Importer):
    """Reviews are events with the stars as their value, and texts of the kind `review`; the metadata are the items.

    Ratings, popularity and "also bought" lists of the metadata are left out: they know the test.
    """

    name = "amazon"
    description = "Amazon reviews of 2014, 2018 and 2023 with their metadata, or the split tables of 2023"

    class Options(Config):
        """Options of `m6rec import amazon`."""

        k_core: int = Field(5, ge=1, description="Users and items with fewer reviews leave, again and again; 1 keeps all.")
        min_rating: float | None = Field(None, description="Reviews with fewer stars are left out, before k_core; null keeps all.")
        texts: bool = Field(True, description="Write the reviews as texts (kind: review) too.")
        all_items: bool = Field(False, description="Keep items of the metadata that no kept review is about (cold).")

    @classmethod
    def detect(cls, path: Path) -> bool:
        """A review file of any year, or a folder with one; metadata alone are no behaviour."""
        return any(dialect.role in (REVIEWS, SPLITS) for _, dialect in _recognised(path))

    def read(self, source: Path, options: Options, account: Account) -> Imported:
        """Events, items where metadata stand beside the reviews, and the reviews as texts."""
        found = _recognised(source)
        tables = {role: [(path, dialect) for path, dialect in found if dialect.role == role] for role in (REVIEWS, SPLITS, META)}
        behaviour = tables[REVIEWS] or tables[SPLITS]
        years = sorted({dialect.year for _, dialect in behaviour})
        if not behaviour:
            raise DataError(
                f"{source} holds no Amazon reviews; lines with {', '.join(DIALECTS[0].keys)} are needed (or those of 2018, 2023)"
            )
        if len(years) > 1:
            raise DataError(f"{source} holds reviews of {' and '.join(years)}; import one year at a time, by its file")
        if tables[REVIEWS] and tables[SPLITS]:
            names = ", ".join(path.name for path, _ in tables[SPLITS])
            account.add("files not read", len(tables[SPLITS]), f"{names}: the same reviews again, without their texts")
        reviews = _reviews(behaviour, account)
        reviews = _kept(reviews, options, account)
        _note_ties(reviews, years[0], account)
        items = _items(tables[META], reviews, options, account)
        events = reviews.select(Columns.USER, Columns.ITEM, Columns.TIME, Columns.VALUE)
        return Imported(
            events=events,
            items=items,
            texts=_texts(reviews) if options.texts else None,
            item_fields={} if items is None else {name: kind for name, kind in ITEM_FIELDS.items() if _holds(items[name])},
            data={"time_unit": behaviour[0][1].unit},
        )


def _recognised(path: Path) -> list[tuple[Path, Dialect]]:
    """Every file of the source with its dialect, by name."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    pairs = [(file, dialect_of(file)) for file in files if file.is_file()]
    return [(file, dialect) for file, dialect in pairs if dialect is not None]


def _reviews(files: list[tuple[Path, Dialect]], account: Account) -> pl.DataFrame:
    """user_id, item_id, time, value, title, text of all files, in their order."""
    frames = []
    for path, dialect in files:
        frame = _split_table(path, account) if dialect.role == SPLITS else read_lines(path, dialect, account)
        account.add("reviews read", frame.height, f"{path.name}: {dialect.year}")
        frames.append(frame)
    if all(dialect.role == SPLITS for _, dialect in files) and len(files) > 1:
        account.add("files joined", len(files), "the official split is not kept: split.protocol of the configuration cuts anew")
    return pl.concat(frames)


def _split_table(path: Path, account: Account) -> pl.DataFrame:
    """A table of the official splits in the columns of reviews; the history column only repeats earlier rows."""
    text = read_table(path).select(pl.col(column).alias(name) for name, column in SPLIT_COLUMNS.items())
    numbers = text.with_columns(pl.col(Columns.VALUE, Columns.TIME).cast(pl.Float64, strict=False))
    whole = numbers.drop_nulls()
    account.add("reviews dropped", text.height - whole.height, f"{path.name}: no user, item, rating or timestamp")
    words = [pl.lit(None, pl.String).alias(name) for name in ("title", "text")]
    return whole.select(Columns.USER, Columns.ITEM, pl.col(Columns.TIME).cast(pl.Int64), Columns.VALUE, *words)


def _kept(reviews: pl.DataFrame, options: AmazonImporter.Options, account: Account) -> pl.DataFrame:
    if options.min_rating is not None:
        good = reviews.filter(pl.col(Columns.VALUE) >= options.min_rating)
        account.add("reviews dropped", reviews.height - good.height, f"fewer than {options.min_rating:g} stars (min_rating)")
        reviews = good
    core = DataConfig(events="reviews", min_user_events=options.k_core, min_item_events=options.k_core)
    reviews = drop_rare(reviews, core, account)
    if reviews.height == 0:
        raise DataError(
            f"no review is left after min_rating and k_core {options.k_core}; type --set k_core=1, or lower min_rating ({options.min_rating})"
        )
    return reviews


def _note_ties(reviews: pl.DataFrame, year: str, account: Account) -> None:
    tied = reviews.height - reviews.select(Columns.USER, Columns.TIME).n_unique()
    unit = "times are milliseconds" if year == "2023" else "times are days"
    account.add("events of equal time", tied, f"{unit}: a user's events of one time keep the order of the file (split.shuffle_ties)")


def _items(
    files: list[tuple[Path, Dialect]], reviews: pl.DataFrame, options: AmazonImporter.Options, account: Account
) -> pl.DataFrame | None:
    """One row an item, the first of several in the files; None without metadata."""
    frames = []
    for path, dialect in files:
        frame = read_lines(path, dialect, account)
        account.add("items read", frame.height, f"{path.name}: {dialect.year}")
        account.add("item columns left out", len(dialect.leaks), f"{', '.join(dialect.leaks)}: {LEAKS}")
        frames.append(frame)
    if not frames:
        return None
    items = pl.concat(frames)
    first = items.unique(Columns.ITEM, keep="first", maintain_order=True)
    account.add("items dropped", items.height - first.height, "the same id again: the first row is kept")
    if options.all_items:
        return first
    kept = first.filter(pl.col(Columns.ITEM).is_in(reviews[Columns.ITEM].unique().implode()))
    account.add("items dropped", first.height - kept.height, "no kept review is about them (all_items: true keeps them)")
    if kept.height == 0:
        raise DataError("no item of the metadata is one of the reviews; the two files belong to different categories or years")
    return kept


def _texts(reviews: pl.DataFrame) -> pl.DataFrame | None:
    """The summary and the text of every review, in one."""
    both = pl.concat_str([pl.col("title").str.strip_chars_end(".") + ". ", pl.col("text")], ignore_nulls=True).str.strip_chars()
    texts = reviews.select(pl.lit("review").alias(Columns.KIND), Columns.USER, Columns.ITEM, both.alias(Columns.TEXT), Columns.TIME)
    texts = texts.filter(pl.col(Columns.TEXT).str.len_chars() > 0)
    return texts if texts.height else None


def _holds(column: pl.Series) -> bool:
    known = column.drop_nulls()
    return bool((known.list.len() > 0).any()) if isinstance(column.dtype, pl.List) else known.len() > 0
