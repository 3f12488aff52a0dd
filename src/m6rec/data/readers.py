"""Files to frames: CSV, TSV, JSON Lines, JSON arrays and Parquet, plain or gzipped; checked bytes first, polars second.

CSV cells all come back as text: types are the schema's business, which can then name the row and the value that is wrong.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m6rec.base.errors import SHOWN, DataError, closest

DELIMITED = (".csv", ".tsv", ".txt")
JSON_LINES = (".jsonl", ".ndjson", ".json")
FILES_READ = ".csv .tsv .txt .jsonl .ndjson .json .parquet, also with .gz"
SEPARATORS = (",", "\t", ";", "|")
CHUNK = 1 << 24  # bytes decoded at once when the encoding is checked
NEWLINE, QUOTE = ord("\n"), ord('"')


def read_table(path: Path, *, separator: str | None = None, encoding: str = "utf-8") -> pl.DataFrame:
    """One file as a frame with at least one row.

    Args:
        path: .csv .tsv .txt .jsonl .ndjson .json .parquet, with or without .gz.
        separator: of CSV; None takes the one of comma, tab, semicolon, | that the header holds most.
        encoding: of CSV and JSON; `utf-8` (a byte order mark is skipped), `latin-1` or `gb18030`.

    Raises:
        DataError: missing, empty, ragged, not in the encoding, or not of a known type; the line is named.
    """
    require_file(path)
    kind = file_kind(path)
    if kind == ".parquet":
        try:
            frame = pl.read_parquet(path if path.suffix != ".gz" else io.BytesIO(read_bytes(path)))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"{path.name} is not a readable Parquet file: {first_line(error)}; write it again") from None
    else:
        frame = parsed_table(read_bytes(path), path, separator, encoding)
    if frame.height == 0:
        raise DataError(f"{path.name} has columns but no rows ({', '.join(frame.columns)[:SHOWN]}); at least one row is needed")
    return frame


def parsed_table(data: bytes, path: Path, separator: str | None = None, encoding: str = "utf-8") -> pl.DataFrame:
    """The rows of CSV or JSON bytes, by the suffix of `path`; none are possible. Raises DataError as `read_table` does."""
    data = decoded(data, path.name, encoding)
    if not data.strip():
        raise DataError(f"{path.name} is empty; it needs a header and at least one row")
    return _json(data, path.name) if file_kind(path) in JSON_LINES else _delimited(data, path.name, separator or sniff_separator(data))


def file_kind(path: Path) -> str:
    """The suffix that decides the reader (`.csv` of `shop.csv.gz`). Raises DataError for an unknown one."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else suffixes[-1] if suffixes else ""
    if kind not in (*DELIMITED, *JSON_LINES, ".parquet"):
        raise DataError(f"{path.name}: unknown file type '{kind}'; allowed: {FILES_READ}")
    return kind


def table_stem(path: Path) -> str:
    """`shop` of `logs/shop.csv.gz`."""
    return path.name.split(".")[0] or path.name


def require_file(path: Path) -> None:
    """Raise DataError, naming the nearest file of the folder, when `path` is not a file."""
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file in it")
    if not path.is_file():
        beside = sorted(path.parent.iterdir(), key=lambda other: other.suffix == path.suffix) if path.parent.is_dir() else []
        names = {table_stem(other): other.name for other in beside}  # without the ending, in which most files are alike
        meant = names.get(closest(table_stem(path), names))
        hint = "" if meant is None else f"; did you mean '{meant}'?"
        raise DataError(f"no file {path}{hint}")


def read_bytes(path: Path) -> bytes:
    """The bytes of a file, unzipped where its name ends in .gz. Raises DataError."""
    require_file(path)
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path, "rb") as handle:
                return handle.read()
        return path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} is not a whole gzip file: {first_line(error)}; copy it again") from None
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror or error}") from None


def decoded(data: bytes, name: str, encoding: str = "utf-8") -> bytes:
    """`data` as UTF-8 bytes without a byte order mark. Raises DataError naming line and byte of what is not in the encoding."""
    if encoding != "utf-8":
        try:
            return data.decode(encoding).encode()
        except UnicodeDecodeError as error:
            raise _wrong_encoding(data, name, encoding, error.start) from None
    start = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
    decoder = codecs.getincrementaldecoder("utf-8")()
    for offset in range(start, len(data), CHUNK):
        pending = len(decoder.getstate()[0])  # bytes of a character cut by the chunk
        try:
            decoder.decode(data[offset : offset + CHUNK], final=offset + CHUNK >= len(data))
        except UnicodeDecodeError as error:
            raise _wrong_encoding(data, name, encoding, offset - pending + error.start) from None
    return data[start:]


def sniff_separator(data: bytes) -> str:
    """The separator that the header line holds most (outside quotes); a comma for a single column."""
    header = data.lstrip(b"\r\n").split(b"\n", 1)[0].decode()
    bare = "".join(part for index, part in enumerate(header.split('"')) if index % 2 == 0)
    return max(SEPARATORS, key=bare.count)  # the first of equals


def first_line(error: BaseException) -> str:
    """The first line of a foreign message, shortened."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text if len(text) <= 160 else text[:157] + "..."


def _wrong_encoding(data: bytes, name: str, encoding: str, offset: int) -> DataError:
    line = data.count(b"\n", 0, offset) + 1
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return DataError(f"{name} looks like UTF-16 (byte 0x{data[0]:02x} at the start); save it as UTF-8")
    others = " or ".join(other for other in ("utf-8", "latin-1", "gb18030") if other != encoding)
    return DataError(
        f"{name} is not {encoding.upper()}: byte 0x{data[offset]:02x} at offset {offset:,} (line {line}); "
        f"save it as UTF-8, or set encoding (data.encoding) to {others}"
    )


# --- CSV ---


def _delimited(data: bytes, name: str, separator: str) -> pl.DataFrame:
    """All cells as text, "" as null. Lines that are wholly blank are skipped."""
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data
    data = data.lstrip(b"\n")
    header = [cell.strip() for cell in next(csv.reader(io.StringIO(data.split(b"\n", 1)[0].decode()), delimiter=separator))]
    twice = sorted({cell for cell in header if header.count(cell) > 1})
    if twice:
        raise DataError(f"{name}: the header names column '{twice[0]}' twice; rename one")
    if _looks_regular(data, separator, len(header)):
        try:
            frame = pl.read_csv(io.BytesIO(data), separator=separator, infer_schema=False, has_header=True)
        except pl.exceptions.PolarsError:
            return _delimited_exactly(data, name, separator, header)
        frame.columns = header
        return frame.select(pl.when(pl.all() != "").then(pl.all()))  # quoted nothing is nothing too
    return _delimited_exactly(data, name, separator, header)


def _looks_regular(data: bytes, separator: str, width: int) -> bool:
    """Whether every line has `width` cells, no line is blank and quotes stand only where a cell begins; a few passes over the bytes.

    False sends the file to the exact reader, which is slower by far but knows lines.
    """
    codes = np.frombuffer(data if data.endswith(b"\n") else data + b"\n", dtype=np.uint8)
    if not separator.isascii():
        return False
    outside: np.ndarray | bool = True
    if b'"' in data:
        quotes = codes == QUOTE
        inside = np.logical_xor.accumulate(quotes)
        opening = np.flatnonzero(quotes & inside)
        before = codes[np.maximum(opening - 1, 0)]
        if inside[-1] or not np.all((opening == 0) | np.isin(before, (ord(separator), NEWLINE, QUOTE))):
            return False
        outside = ~inside
    ends = np.flatnonzero((codes == NEWLINE) & outside)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if np.any(ends == starts):
        return False
    cells = np.searchsorted(np.flatnonzero((codes == ord(separator)) & outside), ends)
    return bool(np.all(np.diff(cells, prepend=0) == width - 1))


def _delimited_exactly(data: bytes, name: str, separator: str, header: list[str]) -> pl.DataFrame:
    """The csv module's reading. Raises DataError naming the line of the first ragged row."""
    limit = csv.field_size_limit(len(data) + 1)
    try:
        reader = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=separator)
        next(reader)
        rows: list[list[str]] = []
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{name}: line {reader.line_num} has {len(row)} cells, the header has {len(header)}; "
                    f"quote cells that hold '{separator}', or set data.separator"
                )
            rows.append(row)
    except csv.Error as error:
        raise DataError(f"{name}: line {reader.line_num} is not CSV: {first_line(error)}") from None
    finally:
        csv.field_size_limit(limit)
    columns = {cell: [row[index] or None for row in rows] for index, cell in enumerate(header)}
    return pl.DataFrame(columns, schema=dict.fromkeys(header, pl.String))


# --- JSON ---


def _json(data: bytes, name: str) -> pl.DataFrame:
    if data.lstrip()[:1] == b"[":
        try:
            return frame_of(json.loads(data), name)
        except json.JSONDecodeError as error:
            raise DataError(f"{name}: line {error.lineno} is not JSON: {error.msg}") from None
    try:
        return pl.read_ndjson(io.BytesIO(data), infer_schema_length=None)
    except pl.exceptions.PolarsError:  # NaN, mixed shapes or a broken line: read it line by line
        rows: list[Any] = []
        for number, line in enumerate(data.split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise DataError(f"{name}: line {number} is not JSON: {error.msg} at character {error.colno}") from None
        return frame_of(rows, name)


def frame_of(rows: list[Any], name: str) -> pl.DataFrame:
    """Objects to a frame; a column that mixes text and numbers becomes text."""
    wrong = next((index for index, row in enumerate(rows) if not isinstance(row, dict)), None)
    if wrong is not None:
        raise DataError(f"{name}: entry {wrong + 1} is {type(rows[wrong]).__name__}, not an object with columns")
    columns: dict[str, list[Any]] = {column: [] for row in rows for column in row}
    for column in columns:
        values = [row.get(column) for row in rows]
        kinds = {type(value) for value in values if value is not None}
        if len(kinds) > 1 and not kinds <= {int, float}:
            values = [value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]
        columns[column] = values
    try:
        return pl.DataFrame(columns, strict=False, infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{name} has a column that is not a table's: {first_line(error)}") from None
