"""What baselines said of the validation and test rows of a run, kept in its folder, so that a second evaluation does not fit them again.

Dimension keys: A rows asked about, C classes or tags.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m6rec.base.storage import atomic_file
from m6rec.tasks.config import JudgeConfig
from m6rec.training.run_folder import content_key

if TYPE_CHECKING:
    from m6rec.training.workbench import Workbench

VERSION = 1
FOLDER = "baselines"  # of the run


@dataclass(frozen=True)
class Said:
    """Answers about the rows `rows` (A,): task -> float32 (A,) or (A, C); statement: how they were made."""

    rows: np.ndarray
    answers: dict[str, np.ndarray]
    statement: str


def labelled(config: JudgeConfig) -> list[Any]:
    """What decides the labels of a task."""
    return [config.on, config.label, config.kind, config.positive, config.scenarios, config.texts]


def kept_answers(bench: Workbench, name: str, inputs: Any, make: Callable[[], Said]) -> Said:
    """What `make` gives; what it gave before of the same data, split, seed and `inputs`. A file that can't be read is made again.

    Raises:
        StorageError: no space or no permission.
    """
    config = bench.config
    key = content_key(VERSION, name, bench.key("prepare"), config.split.plain(), config.seed, config.text.plain(), inputs)
    path = bench.run.root / FOLDER / f"{name}-{key}.npz"
    found = _read(path)
    if found is None:
        found = make()
        about = json.dumps({"statement": found.statement, "tasks": list(found.answers)})
        arrays = {f"answer {number}": values for number, values in enumerate(found.answers.values())}
        with atomic_file(path) as temporary, open(temporary, "wb") as handle:
            np.savez_compressed(handle, allow_pickle=False, rows=found.rows, about=np.array(about), **arrays)
    return found


def _read(path: Path) -> Said | None:
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            answers = {task: arrays[f"answer {number}"] for number, task in enumerate(about["tasks"])}
            return Said(arrays["rows"], answers, about["statement"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
