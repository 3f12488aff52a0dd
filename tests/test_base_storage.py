"""Whole or not at all: a failing write leaves what was there, and a crash between two renames is put right."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from m6rec.base.errors import StorageError
from m6rec.base.storage import atomic_file, atomic_folder, recover_folder, write_json

# Dies without any clean-up right after the old folder was moved away, as kill -9 would have it.
DIES_BETWEEN_THE_RENAMES = """
import os, sys
from pathlib import Path
from m6rec.base.storage import atomic_folder

real = os.replace

def die_after_the_first(source, destination):
    real(source, destination)
    os._exit(9)

os.replace = die_after_the_first
with atomic_folder(Path(sys.argv[1])) as temporary:
    (temporary / "weights").write_text("new")
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write_part(writing: AbstractContextManager[Path], error: Exception) -> None:
    """Write something and fail before the end."""
    with writing as temporary:
        target = temporary / "weights" if temporary.is_dir() else temporary
        target.write_text("ne")
        raise error


def test_file_takes_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.txt"
    with atomic_file(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert names(target.parent) == ["a.txt"]


def test_full_disk_while_writing_a_file_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(StorageError, match="No space left on device; nothing was changed") as caught:
        write_part(atomic_file(target), no_space())
    assert str(target) in str(caught.value)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_any_other_failure_passes_through_and_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyError):
        write_part(atomic_file(target), KeyError("defect"))
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_failing_rename_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def denied(source: Path, destination: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", denied)
    with pytest.raises(StorageError, match="Permission denied"), atomic_file(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_parent_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file, not a folder")
    with pytest.raises(StorageError, match="could not write"):
        write_json(tmp_path / "a" / "b.json", {})


def test_json_is_sorted_utf8_and_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": "靴子", "a": 1})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == '{\n  "a": 1,\n  "b": "靴子"\n}\n'
    assert json.loads(text) == {"a": 1, "b": "靴子"}


def test_folder_is_swapped_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for content in ("first", "second"):
        with atomic_folder(target) as temporary:
            (temporary / content).write_text(content)
            assert names(temporary) == [content]
        assert names(target) == [content]
    assert names(tmp_path) == ["model"]


def test_full_disk_while_writing_a_folder_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as temporary:
        (temporary / "weights").write_text("old")
    with pytest.raises(StorageError, match="No space left"):
        write_part(atomic_folder(target), no_space())
    assert (target / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_failure_of_the_second_rename_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as temporary:
        (temporary / "weights").write_text("old")
    real, calls = os.replace, []

    def second_fails(source: Path, destination: Path) -> None:
        calls.append(destination)
        if len(calls) == 2:
            raise no_space()
        real(source, destination)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(StorageError), atomic_folder(target) as temporary:
        (temporary / "weights").write_text("new")
    assert (target / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_kill_between_the_two_renames_is_recovered(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as temporary:
        (temporary / "weights").write_text("old")
    assert subprocess.run([sys.executable, "-c", DIES_BETWEEN_THE_RENAMES, str(target)], check=False).returncode == 9
    assert not target.exists()

    recover_folder(target)
    assert (target / "weights").read_text() == "old"
    recover_folder(target)
    assert (target / "weights").read_text() == "old"

    with atomic_folder(target) as temporary:
        (temporary / "weights").write_text("newer")
    assert (target / "weights").read_text() == "newer"
    assert names(tmp_path) == ["model"]


def test_kill_after_both_renames_keeps_the_new_folder(tmp_path: Path) -> None:
    target, old = tmp_path / "model", tmp_path / ".model.old"
    for folder, content in ((target, "new"), (old, "old")):
        folder.mkdir()
        (folder / "weights").write_text(content)
    recover_folder(target)
    assert (target / "weights").read_text() == "new"
    assert names(tmp_path) == ["model"]
