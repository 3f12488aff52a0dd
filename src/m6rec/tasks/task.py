"""The contract of a task: a torch module with its examples, its parameters, its loss and its answer.

The training loop knows nothing but this. Losses stay separate, under names, so that they can be weighted later.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor, nn

from m6rec.base.plugins import Registry
from m6rec.language_model.model import LanguageModel

Batch = Any  # made by a task's own `batches`, read by its own `loss`; nobody else looks inside


class Task(nn.Module, ABC):
    """One question asked of the model. Parameters that belong to the question, not to the language model, are the task's own."""

    answer: ClassVar[Literal["choose", "judge", "write"]]

    def begin(self, epoch: int) -> None:
        """Told the epoch, counted from 0, before its batches are asked for; few tasks care."""

    @abstractmethod
    def batches(self, generator: np.random.Generator) -> Iterator[Batch]:
        """One epoch of training batches in random order; equal generators give equal batches."""

    @abstractmethod
    def loss(self, model: LanguageModel, batch: Batch) -> dict[str, Tensor]:
        """Named losses to be added up with weights; each a scalar, a mean over the targets of the batch."""

    @abstractmethod
    def targets(self, batch: Batch) -> int:
        """How many targets the batch trains on: the unit of the examples/s shown."""

    def option_names(self) -> list[str]:
        """The parameters that belong to single questions alone, by name: all that learns where `train.trainable` is options. What several
        questions share (the item vectors, an encoder of texts) is not among them; a task that shares nothing need not say."""
        return [name for name, _ in self.named_parameters()]

    def upper_names(self) -> list[str]:
        """What learns of this task where `train.trainable` is upper: its options, and layers of its own that read token states and that
        nothing but this training could have started."""
        return self.option_names()

    def loss_targets(self, batch: Batch) -> dict[str, int]:
        """Named loss -> targets of the batch it is a mean of; one that is not named here is a mean of all of them."""
        return {}

    def steer(self, rates: dict[str, float]) -> None:
        """How often the rows of each cell are to be drawn in the batches of the epochs to come: 2 is twice as often as they stand in the
        data. Told before each epoch where `train.balance.sampling` asks for it; a task of one cell, whose batches are all alike, need
        not listen."""


TASKS: Registry[Task] = Registry("task", "m6rec.tasks")
