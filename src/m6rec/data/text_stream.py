"""A stream of texts: JSON lines of files, folders or standard input, followed as they grow, and gone on with where reading stopped.

A file is read from a byte offset, whole lines only: what is being written is left for the next look. A file that became shorter was
replaced and is read from its start.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import polars as pl

from m6rec.base.errors import DataError, nearest
from m6rec.data.schema import shown
from m6rec.data.times import to_seconds

BATCH = 256  # lines handed on together
CHUNK = 1 << 16  # bytes of a pipe read at a time
PAUSE = 1.0  # seconds between two looks at files that did not grow
SUFFIXES = (".jsonl", ".ndjson", ".json")
LONGEST_LINE = 1 << 20  # bytes; a longer line is no text of a person


@dataclass
class Position:
    """How far each file was read (path -> bytes), and lines that were no texts."""

    offsets: dict[str, int] = field(default_factory=dict)
    broken: int = 0


@dataclass(frozen=True)
class Texts:
    """A batch in the order of the stream: seconds since 1970, the text, and the whole row."""

    times: list[float]
    texts: list[str]
    rows: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.texts)


def stream_files(sources: Sequence[Path], position: Position, *, text: str, when: str, follow: bool = False) -> Iterator[Texts]:
    """Batches of all files, each file from where `position` stands; `position` moves with every batch handed on.

    Args:
        sources: files, and folders of .jsonl files (by name; new files are found while following).
        text, when: the columns of the text and of its time.
        follow: wait for more instead of ending; a batch without texts is handed on whenever there was nothing new.

    Raises:
        DataError: nothing to read, a file without these columns, or a time that is none.
    """
    while True:
        grew = False
        for path in _files(sources, follow):
            for batch in _read(path, position, text, when):
                grew = True
                yield batch
        if not follow:
            return
        if not grew:
            yield Texts([], [], [])
            time.sleep(PAUSE)


def stream_lines(pipe: BufferedIOBase, position: Position, *, text: str, when: str) -> Iterator[Texts]:
    """Batches of a pipe until it ends: the whole lines that have come are handed on at once, not when a batch is full."""
    rest = b""
    while chunk := pipe.read1(CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        for first in range(0, len(whole), BATCH):
            yield _parsed(whole[first : first + BATCH], "standard input", position, text, when)
    if rest:
        yield _parsed([rest], "standard input", position, text, when)


def _files(sources: Sequence[Path], follow: bool) -> list[Path]:
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            found += sorted(path for path in source.iterdir() if path.suffix in SUFFIXES and path.is_file())
        elif source.is_file():
            found.append(source)
        elif not follow:
            raise DataError(f"there is no file or folder {source}; give JSON lines, or - for standard input")
    if not found and not follow:
        raise DataError(f"no {' or '.join(SUFFIXES)} files in {', '.join(map(str, sources))}; give JSON lines, or - for standard input")
    return found


def _read(path: Path, position: Position, text: str, when: str) -> Iterator[Texts]:
    key = str(path)
    start = position.offsets.get(key, 0)
    if path.stat().st_size < start:
        start = 0
    with open(path, "rb") as handle:
        handle.seek(start)
        waiting: list[bytes] = []
        while line := handle.readline(LONGEST_LINE):
            if not line.endswith(b"\n") and len(line) < LONGEST_LINE and not _whole(line):
                break  # still being written
            waiting.append(line)
            start += len(line)
            if len(waiting) >= BATCH:
                batch = _parsed(waiting, key, position, text, when)
                position.offsets[key], waiting = start, []
                yield batch
        if waiting:
            batch = _parsed(waiting, key, position, text, when)
            position.offsets[key] = start
            yield batch


def _whole(line: bytes) -> bool:
    """Whether the last line of a file, which has no line end, is complete already."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _parsed(lines: list[bytes], source: str, position: Position, text: str, when: str) -> Texts:
    """Rows with a text and a time; what is no JSON object, or has no text, is counted as broken."""
    rows = []
    for line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            position.broken += 1
            continue
        for column in (text, when):
            if column not in row:
                raise DataError(
                    f"{source}: a line has no column '{column}'{nearest(column, list(row))}; it has {', '.join(map(str, row)) or 'none'}; "
                    "name the columns with --text and --time"
                )
        if not isinstance(row[text], str) or not row[text].strip() or row[when] is None:
            position.broken += 1
            continue
        rows.append(row)
    if not rows:
        return Texts([], [], [])
    if len({isinstance(row[when], str) for row in rows}) > 1:
        raise DataError(f"{source}: column '{when}' has texts and numbers, e.g. {shown(rows[0][when])}; use one form of time")
    seconds, _ = to_seconds(pl.Series(when, [row[when] for row in rows]), "auto", source)
    if seconds.null_count():
        raise DataError(f"{source}: column '{when}' has a blank time; every text needs one")
    return Texts(seconds.to_list(), [row[text] for row in rows], rows)
