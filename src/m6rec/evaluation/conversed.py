"""How conversations answered held-out dialogues whose truth is known: known questions, and handing over to a person.

Dimension keys: Q known questions that were asked, T turns whose truth is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from m6rec.evaluation.evaluated import Estimate
from m6rec.evaluation.intervals import wilson
from m6rec.evaluation.judged_tables import Figure, Table

NAMES = {
    "recall@1": "Known questions, right answer first",
    "answered": "Known questions answered so",
    "precision": "Hand-over precision",
    "recall": "Hand-over recall",
}


@dataclass(frozen=True, eq=False)
class Conversed:
    """One way to converse, measured on dialogues.

    recalled  bool (Q,): the right answer is the first of all known ones      answered  bool (Q,): it is what was replied
    handed    bool (T,): handed over      wanted  bool (T,): a person should have answered
    """

    name: str
    dialogues: int
    recalled: np.ndarray
    answered: np.ndarray
    handed: np.ndarray
    wanted: np.ndarray

    def figures(self) -> dict[str, tuple[Estimate, int]]:
        """Metric -> (share with its 95 % interval by Wilson's score, out of how many turns), without those that nothing tells of."""
        right = self.handed & self.wanted
        shares = {
            "recall@1": self.recalled,
            "answered": self.answered,
            "precision": right[self.handed] if len(self.wanted) else right,
            "recall": right[self.wanted],
        }
        told = {name: hits for name, hits in shares.items() if len(hits)}
        return {name: (Estimate(float(hits.mean()), *wilson(float(hits.mean()), len(hits))), len(hits)) for name, hits in told.items()}

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "name": self.name,
            "task": "conversation",
            "dialogues": self.dialogues,
            "questions": len(self.recalled),
            "turns": len(self.wanted),
            "hand_overs": int(self.wanted.sum()),
            "metrics": {name: {**estimate._asdict(), "turns": turns} for name, (estimate, turns) in self.figures().items()},
        }

    def table(self) -> Table:
        """As a table for a page, a terminal or Markdown."""
        rows = [
            [Figure(NAMES[name]), Figure(_show(one.mean), f"{one.low:.4f} to {one.high:.4f}"), Figure(f"{turns:,}")]
            for name, (one, turns) in self.figures().items()
        ]
        note = "Every turn of a person is answered after the turns before it, as they were. Intervals: 95 %, by Wilson's score over turns."
        return Table(f"Conversations ({self.dialogues:,} held-out dialogues)", ["", "share", "of turns"], rows, note)


def _show(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
