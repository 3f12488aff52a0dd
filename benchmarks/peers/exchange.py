"""The only thing that passes between m6rec and a peer: a folder of plain arrays one way, a matrix of scores the other way.

    EXCHANGE/about.json   the size of the catalogue, whether history is excluded
    EXCHANGE/cases.npz    train, validation, validation_targets, test: each as offsets int64 and items int32 (dense ids)
    WORK/scores.npy       float32 (C, N): the peer's scores of all N items for the C test cases, in order

No test target is ever written: a peer can't look at what it does not have. Ranks are computed here, by the code that ranks our own.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Self

import numpy as np

from m6rec.base.contracts import Histories, Requests, Scorer
from m6rec.base.storage import atomic_folder, write_json
from m6rec.data.splits import Split
from m6rec.evaluation.config import EvaluationConfig
from m6rec.evaluation.evaluated import Evaluation
from m6rec.evaluation.protocol import evaluate

MOST_VALIDATION_CASES = 20_000  # as in our own training: early stopping looks at no more, drawn once


def cases_fingerprint(split: Split, exclude_history: bool) -> str:
    """Hex digest of everything that decides a rank: training events, histories and targets of both sets, the catalogue, exclusion."""
    digest = hashlib.sha256(f"{len(split.seen)} {exclude_history}".encode())
    for histories in (split.train, split.validation.requests.histories, split.validation.targets, *_test(split)):
        for array in (histories.offsets.astype("<i8"), histories.items.astype("<i4")):
            digest.update(array.tobytes())
    return digest.hexdigest()


def _test(split: Split) -> tuple[Histories, Histories]:
    return split.test.requests.histories, split.test.targets


def write_exchange(folder: Path, split: Split, exclude_history: bool, seed: int = 0) -> None:
    """Write the folder, whole or not at all. `seed` draws the validation cases where there are too many."""
    validation = split.validation
    rows = np.arange(len(validation))
    if len(rows) > MOST_VALIDATION_CASES:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_VALIDATION_CASES, replace=False))
    parts = {
        "train": split.train,
        "validation": validation.requests.histories.rows(rows),
        "validation_targets": validation.targets.rows(rows),
        "test": split.test.requests.histories,
    }
    arrays = {}
    for name, histories in parts.items():
        arrays |= {f"{name}_offsets": histories.offsets, f"{name}_items": histories.items}
    with atomic_folder(folder) as temporary:
        np.savez(temporary / "cases.npz", **arrays)
        write_json(temporary / "about.json", {"items": len(split.seen), "exclude_history": exclude_history})


class WrittenScores(Scorer):
    """Scores that a peer wrote for the cases of a set, given back batch by batch in their order."""

    name = "written"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.matrix = np.load(path, mmap_mode="r", allow_pickle=False)  # C N
        self.next = 0

    def scores(self, requests: Requests) -> np.ndarray:
        """float32 (B, N) for the next B cases: `evaluate` asks for them in order."""
        start, self.next = self.next, self.next + len(requests)
        return np.array(self.matrix[start : self.next])

    def save(self, folder: Path) -> None:
        np.save(folder / "scores.npy", self.matrix)

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(folder / "scores.npy")


def rank_scores(path: Path, split: Split, config: EvaluationConfig, name: str, seed: int = 0) -> Evaluation:
    """The test cases ranked by the scores in a .npy file.

    Raises:
        M6RecError: the matrix does not fit the cases, or holds a score that is not finite.
    """
    return evaluate(WrittenScores(path), split.test, split.seen, config, name=name, statement=split.statement, seed=seed)
