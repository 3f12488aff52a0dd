"""What every runner does the same way: read the exchange, remember each epoch, stop early, write the scores. Runs in a peer's environment.

Needs numpy only (and m6rec's metrics, which need nothing else): each peer has an environment of its own with old versions of much else.

Dimension keys: C cases, N items of the catalogue.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m6rec.base.contracts import Histories
from m6rec.evaluation.metrics import expected_ranks, hit_rate, ndcg

BATCH = 512  # cases scored at a time

#: Gives float (B, N) for B histories: the same question for validation and test.
Scores = Callable[[Histories], np.ndarray]


@dataclass(frozen=True)
class Exchange:
    """What a peer may know: training events, validation cases with targets, and the histories of the test cases. Never a test target."""

    items: int
    exclude_history: bool
    train: Histories
    validation: Histories
    validation_targets: Histories
    test: Histories

    @classmethod
    def read(cls, folder: Path) -> Exchange:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        with np.load(folder / "cases.npz", allow_pickle=False) as arrays:
            parts = {
                name: Histories(offsets=arrays[f"{name}_offsets"], items=arrays[f"{name}_items"])
                for name in ("train", "validation", "validation_targets", "test")
            }
        return cls(items=about["items"], exclude_history=about["exclude_history"], **parts)


class Progress:
    """The epochs that are behind us, on disk after each of them: a killed run goes on with the next epoch.

    work: the folder of this run.  patience: epochs without a better validation NDCG@10 after which training ends.
    """

    def __init__(self, work: Path, exchange: Exchange, *, max_epochs: int, patience: int) -> None:
        self.path = work / "progress.json"
        self.exchange, self.max_epochs, self.patience = exchange, max_epochs, patience
        self.epochs: list[dict[str, float]] = []
        self.facts: dict[str, Any] = {}
        if self.path.exists():
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            self.epochs, self.facts = kept["epochs"], kept["facts"]

    @property
    def best(self) -> int:
        """Index of the epoch with the best validation NDCG@10, -1 before the first."""
        return int(np.argmax([epoch["ndcg@10"] for epoch in self.epochs])) if self.epochs else -1

    @property
    def finished(self) -> bool:
        return len(self.epochs) >= self.max_epochs or len(self.epochs) - 1 - self.best >= self.patience > 0

    def add(self, train: dict[str, float], scores: Scores) -> bool:
        """Measure the validation cases after an epoch of training; True where it is the best so far. Call `save` when weights are safe."""
        begun = time.perf_counter()
        measured = self.measure(scores)
        spent = sum(epoch["seconds"] for epoch in self.epochs) + train["seconds"]
        self.epochs.append({**train, **measured, "training_seconds_so_far": spent, "validation_seconds": time.perf_counter() - begun})
        print(json.dumps({"epoch": len(self.epochs), **{k: round(v, 5) for k, v in self.epochs[-1].items()}}), flush=True)
        return self.best == len(self.epochs) - 1

    def measure(self, scores: Scores) -> dict[str, float]:
        """Validation NDCG@10 and HR@10, by m6rec's own code."""
        cases, targets = self.exchange.validation, self.exchange.validation_targets
        ranks = np.empty(len(targets.items))
        for rows in batches(len(cases)):
            histories, wanted = cases.rows(rows), targets.rows(rows)
            excluded = histories if self.exchange.exclude_history else None
            ranks[targets.offsets[rows[0]] : targets.offsets[rows[-1] + 1]] = expected_ranks(scores(histories), wanted, excluded)
        return {
            "ndcg@10": float(ndcg(ranks, targets.offsets, 10).mean()),
            "hit_rate@10": float(hit_rate(ranks, targets.offsets, 10).mean()),
        }

    def save(self, **facts: Any) -> None:
        """Write everything known so far, whole or not at all."""
        self.facts.update(facts)
        self.facts["peak_mb"] = max(self.facts.get("peak_mb", 0.0), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        write_whole(self.path, lambda path: path.write_text(json.dumps({"epochs": self.epochs, "facts": self.facts}, indent=1)))


def write_scores(path: Path, exchange: Exchange, scores: Scores) -> None:
    """float32 (C, N) of all test cases in their order, as one .npy file that appears only when it is whole."""

    def write(temporary: Path) -> None:
        shape = (len(exchange.test), exchange.items)
        matrix = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        for rows in batches(len(exchange.test)):
            matrix[rows] = scores(exchange.test.rows(rows))
        matrix.flush()

    write_whole(path, write)


def whole_catalogue(known: np.ndarray, scores: np.ndarray, items: int) -> np.ndarray:
    """float32 (B, items): columns of `scores` float (B, K) put where `known` int (K,) says; items the peer never saw come last, tied."""
    found = np.empty((len(scores), items), dtype=np.float32)
    found[:] = scores.min(axis=1, keepdims=True) - 1.0
    found[:, known] = scores
    return found


def batches(count: int, size: int = BATCH) -> Iterator[np.ndarray]:
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """`write` to a name beside `path`, which then takes its place in one rename."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    write(temporary)
    os.replace(temporary, path)


def milliseconds(answer: Callable[[int], object], count: int, warm_up: int = 20) -> dict[str, float]:
    """p50 and p95 of `answer(number)`, one at a time: wall time, and CPU time, which is what it takes on a core that nobody else uses."""
    wall, cpu = np.empty(count), np.empty(count)
    for number in range(-warm_up, count):
        begun, cpu_begun = time.perf_counter(), time.process_time()
        answer(max(number, 0))
        if number >= 0:
            wall[number], cpu[number] = time.perf_counter() - begun, time.process_time() - cpu_begun
    shares = {"p50": 0.5, "p95": 0.95}
    return {
        f"{share}_{kind}ms": 1000 * float(np.quantile(taken, value))
        for kind, taken in (("", wall), ("cpu_", cpu))
        for share, value in shares.items()
    }
