"""Settings of training: the loop, its schedule, when to stop, how to run."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field, field_validator

from m6rec.base.configuration import Config
from m6rec.language_model.config import SHORT_HISTORY, InfillingConfig

EPOCHS, LONG_EPOCHS = 10, 20  # long histories are many events an item: they are not learnt by heart so soon


class LoopConfig(Config):
    """One run of the training loop (AdamW, linear warm-up, cosine decay)."""

    section: ClassVar[str] = "train"  # of the configuration file, for messages

    epochs: int | None = Field(
        None,
        ge=1,
        description="Passes over the training data at most; null: 10, or 20 where the median history has 50 events or more.",
    )
    batch_targets: int | None = Field(
        None, ge=1, description="Training targets in a step, padding counted; null: a sixtieth of an epoch, but 256 to 4000."
    )
    learning_rate: float = Field(2e-3, gt=0, description="Peak learning rate.")
    final_rate: float = Field(0.05, ge=0, le=1, description="Learning rate at the end, as a share of the peak.")
    warmup: float = Field(0.5, ge=0, description="Epochs until the peak is reached.")
    weight_decay: float = Field(0.01, ge=0, description="Decoupled weight decay of matrices and tables.")
    clip: float = Field(1.0, gt=0, description="Gradients are scaled down to this norm at most.")
    patience: int = Field(3, ge=1, description="Stop after this many validations without a new best.")
    validate_every: int = Field(1, ge=1, description="Epochs between validations.")
    checkpoint_seconds: float = Field(
        60.0, gt=0, description="The state to resume from is written at least this often, and after every epoch."
    )

    def passes(self, median_history: float = 0.0) -> int:
        """Epochs, for histories of so many events (median)."""
        return self.epochs or (LONG_EPOCHS if median_history >= SHORT_HISTORY else EPOCHS)

    def step_targets(self, events: int) -> int:
        """Targets of a step for an epoch of `events`: small data need many small steps, large data full ones."""
        return self.batch_targets or min(max(events // 60, 256), 4000)


class TrainConfig(LoopConfig):
    """The `train:` section: how the tasks are fitted."""

    dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Dropout of the upper layers and their inputs while the tasks are fitted; null: model.dropout, "
        "which pretraining uses too. This one can be changed without pretraining again.",
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads; null takes those of M6REC_THREADS, else all cores the process may use."
    )
    validation_metric: str = Field(
        "ndcg@10", description="What early stopping looks at: ndcg, hit_rate, recall, mrr or precision, @ and any k."
    )

    @field_validator("validation_metric")
    @classmethod
    def _metric_at_k(cls, name: str) -> str:
        if not re.fullmatch(r"(ndcg|hit_rate|recall|mrr|precision)@[1-9]\d*", name):
            raise ValueError("write ndcg, hit_rate, recall, mrr or precision with @ and a k, for example ndcg@10")
        return name


class PretrainConfig(LoopConfig):
    """The `pretrain:` section: the language model learns the words of the data before the tasks."""

    section: ClassVar[str] = "pretrain"

    epochs: int | None = Field(3, ge=0, description="Passes over all text; 0 leaves the lower layers as they start.")
    batch_targets: int | None = Field(4000, ge=1, description="Tokens in a step.")
    learning_rate: float = Field(3e-3, gt=0, description="Peak learning rate.")
    most_texts: int = Field(
        100_000, ge=1, description="Texts learned from at most, drawn by seed: the words of a large catalogue are those of a part of it."
    )
    objective: InfillingConfig = Field(default_factory=InfillingConfig, description="What is predicted from what.")
