"""Writing that is whole or not at all: a reader sees the old file or the new one, after kill -9 too."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from m6rec.base.errors import StorageError


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and takes the name, on failure it is removed.

    Raises:
        StorageError: the disk is full or the folder can't be written; what was at `path` is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"could not write {path}: {error.strerror or error}; nothing was changed there") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it takes the name (an old one is swapped out and removed).

    Between the two renames of a swap a crash leaves the old folder as `.<name>.old`; `recover_folder` puts it back.

    Raises:
        StorageError: the disk is full or the parent can't be written; what was at `path` is untouched.
    """
    path = Path(path)
    recover_folder(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    old = path.with_name(f".{path.name}.old")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f".{path.name}.*.tmp"):
            shutil.rmtree(stale, ignore_errors=True)
        temporary.mkdir()
        yield temporary
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        recover_folder(path)
        raise StorageError(f"could not write {path}: {error.strerror or error}; nothing was changed there") from error
    except StorageError as error:  # of a file inside: the user knows the folder, not its temporary name
        raise StorageError(str(error).replace(str(temporary), str(path))) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def recover_folder(path: Path | str) -> None:
    """Undo a swap that a crash cut in the middle (see `atomic_folder`)."""
    path = Path(path)
    old = path.with_name(f".{path.name}.old")
    if old.exists():
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(old, path)


def write_json(path: Path | str, value: Any) -> None:
    """Atomic, sorted, UTF-8 JSON with a final newline."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n", encoding="utf-8")
