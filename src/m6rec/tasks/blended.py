"""What the model folder knows of a blend: something that answers instead of the model, with the model as one of its members."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from m6rec.base.contracts import Requests, Scorer
from m6rec.base.errors import UsageError
from m6rec.data.dataset import Table

if TYPE_CHECKING:
    from m6rec.tasks.model_folder import ChooseScorer


class Blender(Protocol):
    """Answers for the model; fusion/blend.py is one."""

    def scores(self, requests: Requests) -> np.ndarray: ...

    def answer(self, requests: Requests) -> tuple[np.ndarray, dict[str, np.ndarray]]: ...

    def extend(self, items: Table) -> None: ...

    def save(self, folder: Path) -> None: ...


class Alone(Scorer):
    """The model without its blend: what the blend has as a member."""

    name = "m6rec"

    def __init__(self, scorer: ChooseScorer) -> None:
        self.scorer = scorer

    def scores(self, requests: Requests) -> np.ndarray:
        return self.scorer.scores_alone(requests)

    def answer(self, requests: Requests) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Scores, and the parts of the mixture."""
        return self.scorer.alone(requests)

    def save(self, folder: Path) -> None:
        raise UsageError("the model is saved with its folder, not with a blend")

    @classmethod
    def load(cls, folder: Path) -> Alone:
        raise UsageError("the model is loaded with its folder, not with a blend")
