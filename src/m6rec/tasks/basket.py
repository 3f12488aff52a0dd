"""Basket completion: what else belongs to what somebody is about to take. A choose task over baskets instead of histories.

It shares everything with the choose task that reads histories (item vectors, layers, start slot) and owns a question, added to the
states, and the gates of its own counts: what goes together, counted over baskets.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.language_model.model import LanguageModel
from m6rec.tasks.choose import Bound, Choose, ChooseExamples, OverHistories
from m6rec.tasks.prior import PriorGate
from m6rec.tasks.task import TASKS


class Question(nn.Module):
    """What is asked of a state beside "what comes next": a vector (W,) added to it, and the gates of the priors counted for it."""

    def __init__(self, width: int, parts: int, recent: int) -> None:
        super().__init__()
        self.asked = nn.Parameter(torch.zeros(width))
        self.gate = PriorGate(width, parts, recent)


@TASKS.register("basket")
class Basket(OverHistories):
    """Completing baskets. `reader` does the reading; its parameters are its own and not in this task's state."""

    answer: ClassVar[Literal["choose", "judge", "write"]] = "choose"

    def __init__(self, reader: Choose) -> None:
        super().__init__()
        self._reader = [reader]  # in a list, so that torch does not count its parameters here too
        self.question = Question(reader.shape.width, len(reader.parts), reader.config.prior.recent)
        self.bound: Bound | None = None

    def bind(self, examples: ChooseExamples | None) -> None:
        """Rows of the histories are baskets, whose first item is no target; `profiles` has a row a basket."""
        self.bound = None if examples is None else Bound.of(examples, self._reader[0].shape.history)

    def loss(self, model: LanguageModel, batch: np.ndarray) -> dict[str, Tensor]:
        """{"basket": the loss of the choose task over the batch's baskets}."""
        assert self.bound is not None
        return {"basket": self._reader[0].mixture_loss(model, self.bound, batch, self.question.gate, self.question.asked)}
