"""A bounded look at a file of any size: its first rows, and where it can be had cheaply some of its middle and end.

What is guessed from a sample says so; a file that fits is read whole and the facts about it are exact.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from m6rec.base.errors import DataError
from m6rec.data.readers import JSON_LINES, SEPARATORS, decoded, file_kind, first_line, frame_of, parsed_table, require_file, sniff_separator

HEAD_BYTES = 16 << 20  # unpacked bytes read from the start
BLOCK_BYTES = 2 << 20  # and from each of the later places
LATER = (0.35, 0.7, 1.0)  # where the later blocks end, as shares of the file
HEAD_ROWS, BLOCK_ROWS = 150_000, 20_000  # of Parquet
OTHER_SEPARATORS = ("\x01", "^", "~", ":", " ")  # of text that uses none of the usual ones
JSON_ROWS = 20_000
MOSTLY_CHINESE = 0.8
BINARY_SHARE = 0.01
TEXT_CONTROLS = frozenset(b"\t\n\r\x0b\x0c\x01\x1b")


@dataclass(frozen=True)
class FileSample:
    """Some rows of one file.

    whole      the frame is all of it           rows   of the whole file; None where it is not known (gzip), exact where `whole`
    encoding   ascii where every encoding would do          nested  columns that hold objects
    separator  of CSV where it isn't one that the readers find by themselves
    """

    path: Path
    frame: pl.DataFrame
    whole: bool
    rows: int | None
    encoding: str = "ascii"
    separator: str | None = None
    nested: frozenset[str] = field(default_factory=frozenset)

    def extent(self) -> str:
        """How much was looked at, in words."""
        if self.whole:
            return f"all {self.frame.height:,} rows"
        total = f" of about {self.rows:,}" if self.rows else " (it has more)"
        return f"{self.frame.height:,} rows{total}"


def sample_file(path: Path, limit: int = HEAD_BYTES) -> FileSample:
    """Rows of a table file in whatever encoding and separator it has; of a large one a part, in bounded time and memory.

    limit: unpacked bytes read from the start.

    Raises:
        DataError: no table: unknown type, empty, header only, binary, one object instead of rows, a first line that is no header.
    """
    require_file(path)
    kind = file_kind(path)
    found = _parquet(path) if kind == ".parquet" else _text(path, limit, json_lines=kind in JSON_LINES)
    if found.frame.height == 0 or found.frame.width == 0:
        raise DataError(f"{path.name} has columns but no rows; at least one row is needed")
    return found


def _parquet(path: Path) -> FileSample:
    if path.suffix.lower() == ".gz":
        raise DataError(f"{path.name} is a gzipped Parquet file, which can't be sampled; unpack it (Parquet is compressed already)")
    try:
        lazy = pl.scan_parquet(path)
        rows = int(lazy.select(pl.len()).collect().item())
        parts = [lazy.head(HEAD_ROWS).collect()]
        if rows > HEAD_ROWS + len(LATER) * BLOCK_ROWS:
            parts += [lazy.slice(int(rows * place) - BLOCK_ROWS, BLOCK_ROWS).collect() for place in LATER]
        elif rows > HEAD_ROWS:
            parts.append(lazy.slice(HEAD_ROWS).collect())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path.name} is not a readable Parquet file: {first_line(error)}; write it again") from None
    frame = pl.concat(parts)
    nested = frozenset(name for name, dtype in frame.schema.items() if _holds_objects(dtype))
    return FileSample(path, frame, frame.height == rows, rows, nested=nested)


def _holds_objects(dtype: pl.DataType) -> bool:
    inner = getattr(dtype, "inner", dtype)
    return isinstance(inner, pl.Struct | pl.Object)


def _text(path: Path, limit: int, *, json_lines: bool) -> FileSample:
    head, whole = _head(path, limit)
    if not head.strip():
        raise DataError(f"{path.name} is empty; it needs a header and at least one row")
    encoding = guess_encoding(head, path.name)
    text = head if encoding == "ascii" else decoded(head, path.name, encoding)
    if json_lines:
        return _json_sample(path, text, whole, encoding)
    separator = guess_separator(text)
    parse_as = separator or sniff_separator(text)
    _require_header(text, parse_as, path)
    frame = parsed_table(text, path, parse_as)
    if whole:
        return FileSample(path, frame, True, frame.height, encoding, separator)
    rows = None
    if path.suffix.lower() != ".gz":
        rows = _estimated(path, len(head), frame.height)
        frame = _with_later(path, frame, text.lstrip(b"\n").split(b"\n", 1)[0], parse_as, encoding, len(head))
    return FileSample(path, frame, False, rows, encoding, separator)


def _head(path: Path, limit: int) -> tuple[bytes, bool]:
    """The first bytes up to a line's end, and whether that is the whole file."""
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else open(path, "rb") as handle:
            head = handle.read(limit)
            whole = not handle.read(1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} is not a whole gzip file: {first_line(error)}; copy it again") from None
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror or error}") from None
    return (head if whole else _whole_lines(head)), whole


def _estimated(path: Path, read: int, rows: int) -> int:
    """Rows of the whole file, to the thousand, if they are all as long as those of the first `read` bytes."""
    return max(round(path.stat().st_size / read * rows / 1000) * 1000, rows)


def _whole_lines(head: bytes) -> bytes:
    """Up to the last end of a line that is not inside quotes."""
    end = head.rfind(b"\n") + 1
    odd = head.count(b'"', 0, end) % 2
    while end > 0 and odd:
        before = head.rfind(b"\n", 0, end - 1) + 1
        odd = (odd - head.count(b'"', before, end)) % 2
        end = before
    return head[:end] or head[: head.rfind(b"\n") + 1]


def _with_later(path: Path, frame: pl.DataFrame, header: bytes, separator: str, encoding: str, done: int) -> pl.DataFrame:
    """With rows of later places; a place that does not parse (it may lie inside a quoted cell) is passed over."""
    size, parts = path.stat().st_size, [frame]
    with open(path, "rb") as handle:
        for place in LATER:
            start = max(int(size * place) - BLOCK_BYTES, done)
            handle.seek(start)
            block = handle.read(BLOCK_BYTES)
            lines = block[block.find(b"\n") + 1 : block.rfind(b"\n") + 1]
            if b'"' in lines or not lines:
                continue
            try:
                parts.append(
                    parsed_table(header + b"\n" + decoded(lines, path.name, "utf-8" if encoding == "ascii" else encoding), path, separator)
                )
            except DataError:
                continue
    return pl.concat(parts)


def guess_encoding(data: bytes, name: str) -> str:
    """ascii, or utf-8 where it can be, else gb18030 where that makes Chinese of it, else latin-1.

    Raises:
        DataError: binary data, or UTF-16.
    """
    start = data[: 1 << 16]
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        decoded(data, name)
    controls = sum(1 for byte in start if byte < 32 and byte not in TEXT_CONTROLS)
    if controls > BINARY_SHARE * len(start):
        raise DataError(
            f"{name} is not text: byte 0x{next(b for b in start if b < 32 and b not in TEXT_CONTROLS):02x} and others; save it as CSV"
        )
    if data.isascii():
        return "ascii"
    try:
        decoded(data, name)
        return "utf-8"
    except DataError:
        pass
    try:
        foreign = [character for character in data.decode("gb18030") if ord(character) > 127]
    except UnicodeDecodeError:
        return "latin-1"
    chinese = sum("一" <= character <= "鿿" or "　" <= character <= "〿" or "！" <= character <= "｠" for character in foreign)
    return "gb18030" if chinese >= MOSTLY_CHINESE * len(foreign) else "latin-1"


def guess_separator(text: bytes) -> str | None:
    """A separator that the readers would not find: none of the usual ones is in the header, and this one cuts every line alike."""
    lines = [line.decode() for line in text.split(b"\n", 201)[:200] if line.strip()]
    if any(mark in lines[0] for mark in SEPARATORS):
        return None
    for mark in OTHER_SEPARATORS:
        counts = {line.count(mark) for line in lines}
        if len(counts) == 1 and counts.pop() > 0:
            return mark
    return None


def _require_header(text: bytes, separator: str, path: Path) -> None:
    """Raises DataError for "u1 i4 i9" lines, `::` files and tables that begin with their data."""
    first = text.lstrip(b"\r\n").split(b"\n", 1)[0].decode().strip()
    if "::" in first:
        raise DataError(f"{path.name} is cut by '::', which no table reader takes; m6rec import --list names the formats that are read")
    cells = [cell.strip().strip('"') for cell in first.split(separator)]
    if len(cells) == 1 and len(first.split()) >= 3 and any(word.isdigit() for word in first.split()):
        raise DataError(f"{path.name} has no header and one column ('{first[:40]}'); m6rec import sequences reads lines of user and items")
    numeric = [cell for cell in cells if _is_number(cell)]
    if len(numeric) * 2 >= len(cells):
        raise DataError(f"{path.name} has no header: its first line is '{first[:60]}'; put the names of the columns above it")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _json_sample(path: Path, text: bytes, whole: bool, encoding: str) -> FileSample:
    rows, all_read = _json_rows(text, path.name, whole)
    if len(rows) == 1 and len(rows[0]) > 1 and sum(isinstance(value, dict) for value in rows[0].values()) * 2 >= len(rows[0]):
        raise DataError(f"{path.name} holds one object of {len(rows[0]):,} entries, not rows; write one object a line")
    nested = frozenset(name for row in rows for name, value in row.items() if _is_object(value))
    plain = [{name: None if name in nested else value for name, value in row.items()} for row in rows]
    frame = frame_of(plain, path.name)
    whole = whole and all_read
    estimate = None if path.suffix.lower() == ".gz" or whole else _estimated(path, len(text), frame.height)
    return FileSample(path, frame, whole, frame.height if whole else estimate, encoding, nested=nested)


def _json_rows(text: bytes, name: str, whole: bool) -> tuple[list[dict[str, Any]], bool]:
    """Up to JSON_ROWS objects, of lines or of one array, and whether that is all of the text."""
    rows: list[Any] = []
    if text.lstrip()[:1] == b"[":
        decoder, body = json.JSONDecoder(), text.decode().strip()
        position = 1
        while len(rows) < JSON_ROWS:
            while position < len(body) and body[position] in " \t\r\n,":
                position += 1
            if position >= len(body) or body[position] == "]":
                break
            try:
                value, position = decoder.raw_decode(body, position)
            except json.JSONDecodeError as error:
                if whole:
                    raise DataError(f"{name}: line {error.lineno} is not JSON: {error.msg}") from None
                break
            rows.append(value)
        finished = position >= len(body) - 1
    else:
        lines = text.split(b"\n")
        used = 0
        for number, line in enumerate(lines, start=1):
            if len(rows) >= JSON_ROWS:
                break
            used = number
            if line.strip():
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError as error:
                    raise DataError(f"{name}: line {number} is not JSON: {error.msg} at character {error.colno}") from None
        finished = not any(line.strip() for line in lines[used:])
    wrong = next((index for index, row in enumerate(rows) if not isinstance(row, dict)), None)
    if wrong is not None:
        raise DataError(f"{name}: entry {wrong + 1} is {type(rows[wrong]).__name__}, not an object with columns")
    return rows, finished


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(part, dict | list) for part in value))
