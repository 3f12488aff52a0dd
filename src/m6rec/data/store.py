"""A prepared dataset on disk: Parquet tables, an array file for every event column, and a JSON with names, types and fingerprint.

Large columns are memory-mapped when they are read: however many events there are, a process holds the pages it works on, and the
processes of one machine share them. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl

from m6rec.base.contracts import Histories
from m6rec.base.errors import CheckpointError
from m6rec.base.storage import atomic_folder
from m6rec.data.dataset import Dataset, Table, Vocabulary
from m6rec.data.fields import FieldType

VERSION = 2  # 1: the event columns in one histories.npz; still read
MAPPED_FROM = 16 << 20  # bytes: a smaller column is read whole
FRAMES = ("texts", "relations")


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Raises OSError when the disk is full, as every writer should; polars, left to write by itself, calls that a ComputeError."""
    _write(frame.write_parquet, path)


def write_csv(frame: pl.DataFrame, path: Path) -> None:
    """Raises OSError, as `write_parquet` does."""
    _write(frame.write_csv, path)


def write_ndjson(frame: pl.DataFrame, path: Path) -> None:
    """JSON Lines. Raises OSError, as `write_parquet` does."""
    _write(frame.write_ndjson, path)


def _write(writer: Callable[[BinaryIO], object], path: Path) -> None:
    buffer = io.BytesIO()
    writer(buffer)
    path.write_bytes(buffer.getbuffer())


def save_dataset(dataset: Dataset, folder: Path) -> None:
    """Write `dataset` into `folder`, whole or not at all. Raises StorageError."""
    frames = [name for name in FRAMES if getattr(dataset, name) is not None]
    facts: dict[str, Any] = {
        "version": VERSION,
        "fingerprint": dataset.fingerprint,
        "action_names": dataset.action_names,
        "scenario_names": dataset.scenario_names,
        "items": {"fields": {name: str(kind) for name, kind in dataset.items.fields.items()}},
        "users": {"fields": {name: str(kind) for name, kind in dataset.users.fields.items()}},
        "frames": frames,
        "histories": [name for name in ("offsets", *Histories.EVENT_COLUMNS) if getattr(dataset.histories, name) is not None],
    }
    with atomic_folder(folder) as temporary:
        for name in ("items", "users"):
            table: Table = getattr(dataset, name)
            # Ids go in by themselves: a frame without columns would lose its height.
            write_parquet(table.frame.with_columns(pl.Series("__id", table.ids.ids, dtype=pl.String)), temporary / f"{name}.parquet")
        for name in frames:
            write_parquet(getattr(dataset, name), temporary / f"{name}.parquet")
        for name in facts["histories"]:
            np.save(temporary / f"histories-{name}.npy", getattr(dataset.histories, name), allow_pickle=False)
        (temporary / "dataset.json").write_text(json.dumps(facts, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def load_dataset(folder: Path) -> Dataset:
    """What `save_dataset` wrote.

    Raises:
        CheckpointError: missing, truncated, from a newer version, or not what was written (by the fingerprint).
    """
    try:
        facts = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        if facts["version"] > VERSION:
            raise CheckpointError(
                f"{folder} holds a dataset of version {facts['version']}, this program reads up to {VERSION}; upgrade m6rec"
            )
        histories = _histories(folder, facts)
        tables = {}
        for name in ("items", "users"):
            frame = pl.read_parquet(folder / f"{name}.parquet")
            fields = {field: FieldType(kind) for field, kind in facts[name]["fields"].items()}
            tables[name] = Table(Vocabulary(frame["__id"].to_list()), frame.drop("__id"), fields)
        frames = {name: pl.read_parquet(folder / f"{name}.parquet") for name in facts["frames"]}
        dataset = Dataset(
            items=tables["items"],
            users=tables["users"],
            histories=histories,
            action_names=facts["action_names"],
            scenario_names=facts["scenario_names"],
            fingerprint=facts["fingerprint"],
            texts=frames.get("texts"),
            relations=frames.get("relations"),
        )
    except FileNotFoundError as error:
        raise CheckpointError(f"no prepared dataset in {folder}: {Path(str(error.filename)).name} is missing; prepare it again") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"the prepared dataset in {folder} is damaged ({reason[:120]}); prepare it again") from None
    if dataset.fingerprint != fingerprint(dataset):
        raise CheckpointError(f"the prepared dataset in {folder} is not what was written (another fingerprint); prepare it again")
    return dataset


def _histories(folder: Path, facts: dict[str, Any]) -> Histories:
    """Raises OSError, ValueError, zipfile.BadZipFile, as the readers of arrays do."""
    if facts["version"] == 1:
        # Opened here: np.load leaves its own file open when the zip is damaged.
        with open(folder / "histories.npz", "rb") as handle, np.load(handle, allow_pickle=False) as arrays:
            return Histories(**{name: arrays[name] for name in arrays.files})
    columns = {}
    for name in facts["histories"]:
        path = folder / f"histories-{name}.npy"
        with open(path, "rb") as handle:
            large = path.stat().st_size >= MAPPED_FROM
            columns[name] = (
                np.load(path, mmap_mode="r", allow_pickle=False) if large else np.lib.format.read_array(handle, allow_pickle=False)
            )
    return Histories(**columns)


def fingerprint(dataset: Dataset) -> str:
    """Hash of the contents: ids, fields and their values, histories, names, texts, relations."""
    digest = hashlib.sha256()

    def note(value: object) -> None:
        digest.update(json.dumps(value, ensure_ascii=False).encode() + b"\n")

    def note_frame(frame: pl.DataFrame) -> None:
        note([frame.height, {name: str(dtype) for name, dtype in frame.schema.items()}])
        buffer = io.BytesIO()
        frame.write_ndjson(buffer)
        digest.update(buffer.getbuffer())

    for table in (dataset.items, dataset.users):
        note([table.ids.ids, {name: str(kind) for name, kind in table.fields.items()}])
        note_frame(table.frame)
    for name in ("offsets", *Histories.EVENT_COLUMNS):
        array = getattr(dataset.histories, name)
        note([name, None if array is None else [str(array.dtype), len(array)]])
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    note([dataset.action_names, dataset.scenario_names])
    for frame in (dataset.texts, dataset.relations):
        if frame is not None:
            note_frame(frame)
    return digest.hexdigest()[:16]
