"""Candidates of a request with their scores: what the engine hands to whoever makes a list of them.

Dimension keys: C candidates, W width.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from m6rec.serving.asked import CacheUse, Degraded


@dataclass(frozen=True)
class Candidates:
    """The candidates of one request, best first.

    items    int64 (C,), dense
    scores   float32 (C,): log probabilities (and what is added to them), or those of the task that orders; numbers and levels as they are
    parts    what each part of the mixture gives to the probability, name -> float32 (C,); empty where no mixture was asked
    labels   what tasks on candidates say, name -> float32 (C,) or (C, L), for the tasks that were asked
    vectors  float32 (C, W): of the items; (0, 0) where nobody asked for them
    cache    whether what was read and found for the person before was used
    degraded what was left out for want of time
    """

    items: np.ndarray
    scores: np.ndarray
    parts: dict[str, np.ndarray] = field(default_factory=dict)
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    vectors: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    cache: CacheUse = "off"
    degraded: Degraded = ""

    def __len__(self) -> int:
        return len(self.items)

    def at(self, order: np.ndarray) -> Candidates:
        """Those at the positions `order`, in that order."""
        return replace(
            self,
            items=self.items[order],
            scores=self.scores[order],
            parts={name: part[order] for name, part in self.parts.items()},
            labels={name: said[order] for name, said in self.labels.items()},
            vectors=self.vectors[order] if len(self.vectors) else self.vectors,
        )
