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
from m6rec.data.exposures import Exposures
from m6rec.data.fields import FieldType

VERSION = 3  # 1: the event columns in one histories.npz; 2: no exposures; both still read
MAPPED_FROM = 16 << 20  # bytes: a smaller column is read whole
FRAMES = ("texts", "relations", "dialogues", "faq")
EXPOSURE_FRAMES = ("context", "labels")


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


def save_dataset(dataset: Dataset, folder: Path, *, exposures: bool = True) -> None:
    """Write `dataset` into `folder`, whole or not at all.

    Args:
        exposures: False leaves the exposures out, which answering needs none of; the fingerprint stays that of the whole.

    Raises:
        StorageError: no space or no permission; what was there is untouched.
    """
    rows = dataset.exposures if exposures else None
    left_out = dataset.left_out if dataset.exposures is None else exposures_digest(dataset.exposures) if rows is None else ""
    frames = [name for name in FRAMES if getattr(dataset, name) is not None]
    facts: dict[str, Any] = {
        "version": VERSION,
        "fingerprint": dataset.fingerprint,
        "action_names": dataset.action_names,
        "scenario_names": dataset.scenario_names,
        "items": {"fields": {name: str(kind) for name, kind in dataset.items.fields.items()}},
        "users": {"fields": {name: str(kind) for name, kind in dataset.users.fields.items()}},
        "frames": frames,
        "exposures": None if rows is None else _exposure_facts(rows),
        "left_out": left_out,
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
        if rows is not None:
            for name in facts["exposures"]["columns"]:
                np.save(temporary / f"exposures-{name}.npy", getattr(rows, name), allow_pickle=False)
            for name in facts["exposures"]["frames"]:
                write_parquet(getattr(rows, name), temporary / f"exposures-{name}.parquet")
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
            dialogues=frames.get("dialogues"),
            faq=frames.get("faq"),
            exposures=_exposures(folder, facts["exposures"]) if facts.get("exposures") else None,
            left_out=facts.get("left_out", ""),
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
    return Histories(**{name: _array(folder / f"histories-{name}.npy") for name in facts["histories"]})


def _exposure_facts(rows: Exposures) -> dict[str, Any]:
    return {
        "columns": [name for name in Exposures.ROW_COLUMNS if getattr(rows, name) is not None],
        "frames": [name for name in EXPOSURE_FRAMES if getattr(rows, name).width],
        "context_fields": {name: str(kind) for name, kind in rows.context_fields.items()},
    }


def _exposures(folder: Path, facts: dict[str, Any]) -> Exposures:
    """Raises OSError, ValueError, polars.exceptions.PolarsError, as the readers of arrays and tables do."""
    arrays: dict[str, Any] = {name: _array(folder / f"exposures-{name}.npy") for name in facts["columns"]}
    frames: dict[str, Any] = {name: pl.read_parquet(folder / f"exposures-{name}.parquet") for name in facts["frames"]}
    return Exposures(**arrays, **frames, context_fields={name: FieldType(kind) for name, kind in facts["context_fields"].items()})


def _array(path: Path) -> np.ndarray:
    """An array file; a large one is memory-mapped."""
    with open(path, "rb") as handle:
        if path.stat().st_size >= MAPPED_FROM:
            mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
            return mapped
        return np.lib.format.read_array(handle, allow_pickle=False)


def fingerprint(dataset: Dataset) -> str:
    """Hash of the contents: ids, fields and their values, histories, names, texts, relations, dialogues, known questions, exposures."""
    digest = hashlib.sha256()
    for table in (dataset.items, dataset.users):
        _note(digest, [table.ids.ids, {name: str(kind) for name, kind in table.fields.items()}])
        _note_frame(digest, table.frame)
    for name in ("offsets", *Histories.EVENT_COLUMNS):
        _note_array(digest, name, getattr(dataset.histories, name))
    _note(digest, [dataset.action_names, dataset.scenario_names])
    for frame in (dataset.texts, dataset.relations):
        if frame is not None:
            _note_frame(digest, frame)
    for name in ("dialogues", "faq"):
        frame = getattr(dataset, name)
        if frame is not None:  # named: nothing is noted where there are none, so older fingerprints stay what they were
            _note(digest, [name])
            _note_frame(digest, frame)
    rows = dataset.left_out if dataset.exposures is None else exposures_digest(dataset.exposures)
    if rows:
        _note(digest, ["exposures", rows])
    return digest.hexdigest()[:16]


def exposures_digest(rows: Exposures) -> str:
    """Hash of the contents of exposures."""
    digest = hashlib.sha256()
    for name in Exposures.ROW_COLUMNS:
        _note_array(digest, name, getattr(rows, name))
    _note(digest, {name: str(kind) for name, kind in rows.context_fields.items()})
    for name in EXPOSURE_FRAMES:
        for column in getattr(rows, name):
            if column.dtype == pl.Float64:  # as bytes: a large log is mostly numbers
                _note_array(digest, column.name, column.fill_null(float("nan")).to_numpy())
            else:
                _note_frame(digest, column.to_frame())
    return digest.hexdigest()[:16]


def _note(digest: Any, value: object) -> None:
    digest.update(json.dumps(value, ensure_ascii=False).encode() + b"\n")


def _note_array(digest: Any, name: str, array: np.ndarray | None) -> None:
    _note(digest, [name, None if array is None else [str(array.dtype), len(array)]])
    if array is not None:
        digest.update(np.ascontiguousarray(array).data)


def _note_frame(digest: Any, frame: pl.DataFrame) -> None:
    _note(digest, [frame.height, {name: str(dtype) for name, dtype in frame.schema.items()}])
    for part in frame.iter_slices(1_000_000):  # a log of many rows as text would not fit beside itself
        buffer = io.BytesIO()
        part.write_ndjson(buffer)
        digest.update(buffer.getbuffer())
