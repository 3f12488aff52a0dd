"""The contract of a way to combine members.

Dimension keys: B requests, M members, C candidates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m6rec.fusion.candidates import Candidates
from m6rec.fusion.config import FusionConfig
from m6rec.fusion.normalisation import Arrays
from m6rec.fusion.quality import Quality


@dataclass(frozen=True)
class Known:
    """Candidates whose answers are known.

    values  float32 (C, M), the normalised scores.      wanted  bool (C,), the targets.      quality  what the order of them is worth.
    """

    candidates: Candidates
    values: np.ndarray
    wanted: np.ndarray
    quality: Quality

    @property
    def taught(self) -> np.ndarray:
        """bool (C,): what can be learnt from: requests with a target among the candidates that is not consumed, and no consumed items."""
        free = self.wanted & ~self.candidates.consumed
        hit = np.bincount(self.candidates.requests[free], minlength=len(self.candidates)) > 0
        return hit[self.candidates.requests] & ~self.candidates.consumed


class Way(ABC):
    """How normalised scores become one. Fitted once, then pure.

    members: names in the order of the columns.  parts: names of the columns of `Candidates.parts`, "member/part".
    """

    learnt: tuple[str, ...] = ()  # what `fit` finds, as arrays `_name`

    def __init__(self, config: FusionConfig, members: list[str], parts: list[str], seed: int = 0) -> None:
        self.config, self.members, self.parts, self.seed = config, members, parts, seed

    @property
    def base(self) -> int:
        """The column of the base member."""
        return self.members.index(self.config.first)

    @abstractmethod
    def fit(self, known: Known) -> None:
        """Learn the combination. With nothing to learn from (no target among the candidates) it is the base alone."""

    @abstractmethod
    def scores(self, candidates: Candidates, values: np.ndarray) -> np.ndarray:
        """float64 (C,), higher is better."""

    @abstractmethod
    def shares(self, candidates: Candidates, values: np.ndarray) -> np.ndarray:
        """float64 (C, M), 0 or more: what each member gives to the score of each candidate, in one unit."""

    def facts(self) -> dict[str, float]:
        """A few numbers to show: the weight of each member where there is one."""
        return {}

    def state(self) -> Arrays:
        """What was learnt."""
        return {name: np.asarray(getattr(self, f"_{name}")) for name in self.learnt}

    def restore(self, state: Arrays) -> None:
        """Take what `state` gave. Raises KeyError."""
        for name in self.learnt:
            setattr(self, f"_{name}", state[name])

    def save_files(self, folder: Path) -> list[str]:
        """Write what is no array; returns the names of the files."""
        return []

    def load_files(self, folder: Path) -> list[str]:
        """Read what `save_files` wrote; returns the names of the files."""
        return []
