"""Settings of training: the loop, its schedule, when to stop, how to run."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator

from m6rec.base.configuration import Config
from m6rec.base.errors import nearest
from m6rec.language_model.config import SHORT_HISTORY, InfillingConfig

EPOCHS, LONG_EPOCHS = 10, 20  # long histories are many events an item: they are not learnt by heart so soon


FEW_PASSES, MANY_PASSES, MANY_EXPOSURES = 2.0, 4.0, 100  # of exposures; judging learns ids by heart where an item has few

Trainable = Literal["options", "upper", "everything"]

WAYS = ("fixed", "uncertainty", "dwa", "gradnorm", "pcgrad", "mgda", "aligned_mtl", "upgrad")  # the built-in balancers


class BalanceConfig(Config):
    """The `balance:` section of `train:`, or the bare word of its `way`: how the losses of several tasks are weighed against each other.

    A cell is a task, or a task in one scenario ("scenario/task"). Every way multiplies the configured weights of the tasks.
    """

    way: str = Field(
        "fixed",
        description="fixed: the weights of the tasks as they stand; uncertainty: learned variances (Kendall et al., CVPR 2018); dwa: by how fast "
        "each loss falls (Liu et al., CVPR 2019); gradnorm: equal gradient norms (Chen et al., ICML 2018); pcgrad, mgda, aligned_mtl, upgrad: "
        "gradients that conflict are changed (torchjd; upgrad needs quadprog beside it).",
    )
    temperature: float = Field(2.0, gt=0, description="dwa: the higher, the more equal the weights.")
    restoring: float = Field(1.5, ge=0, description="gradnorm: how strongly tasks that learn slowly are favoured; 0 makes all norms equal.")
    learning_rate: float = Field(0.025, gt=0, description="uncertainty, gradnorm: of the weights themselves.")
    every: int = Field(
        1,
        ge=1,
        description="gradnorm, pcgrad, mgda, aligned_mtl, upgrad: steps from one comparison of gradients to the next; weights are kept.",
    )
    joint: bool | None = Field(
        None,
        description="true: a step takes a batch of every group of tasks (choosing, judging candidates, judging texts); false: of one of them; "
        "null: true where the way compares gradients.",
    )
    sampling: Literal["proportional", "uniform", "weight", "adaptive"] = Field(
        "proportional",
        description="How often examples are drawn. proportional: each once an epoch; uniform: every task as often; weight: by the configured "
        "weights; adaptive: by the weights that the way arrives at (way: fixed: as weight). weight and adaptive divide the loss by how often it is drawn.",
    )

    @field_validator("way")
    @classmethod
    def _known(cls, way: str) -> str:
        if way not in WAYS:
            from importlib.metadata import entry_points

            known = [*WAYS, *entry_points(group="m6rec.balancer").names]
            if way not in known:
                raise ValueError(f"write one of {', '.join(known)}{nearest(way, known)}")
        return way


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
    accumulate: int = Field(1, ge=1, description="Batches whose gradients are averaged for one step of the optimizer.")
    adversarial: float = Field(
        0.0,
        ge=0,
        description="Every batch is trained on a second time with the embeddings it reads moved this share of their norm in the direction that "
        "hurts most (FGM, Miyato et al., ICLR 2017); 0: not. About 2.5 times the time.",
    )
    average: Literal["off", "ema", "last"] = Field(
        "off",
        description="What is validated and kept. off: the weights; ema: their exponential mean over the steps; last: their mean over the ends of "
        "the last `average_last` epochs.",
    )
    average_decay: float = Field(0.999, gt=0, lt=1, description="average: ema: share of the old mean that a step keeps.")
    average_last: int = Field(3, ge=1, description="average: last: epochs in the mean.")
    patience: int = Field(3, ge=1, description="Stop after this many validations without a new best.")
    validate_every: int = Field(1, ge=1, description="Epochs between validations.")
    checkpoint_seconds: float = Field(
        60.0, gt=0, description="The state to resume from is written at least this often, and after every epoch."
    )

    @property
    def balancing(self) -> BalanceConfig:
        """How the losses are weighed: as they stand."""
        return BalanceConfig()

    @property
    def stopping(self) -> Literal["all", "task"]:
        """What `patience` stops."""
        return "all"

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
    trainable: Trainable = Field(
        "everything",
        description="What learns while the tasks are fitted. options: what belongs to single tasks alone (soft prompts, adapters, label vectors, "
        "gates); upper: that, the upper layers (of a checkpoint what model.adapt names) and the encoders of tasks on texts; everything: all but "
        "what reads segments. What does not learn stays as pretraining, the checkpoint or the seeded start left it, item vectors too.",
    )
    balance: BalanceConfig = Field(default_factory=BalanceConfig, description="How the losses of several tasks are weighed.")
    stop: Literal["all", "task"] = Field(
        "all",
        description="all: training stops when the mean over the tasks has had no new best for `patience` validations; task: a task that had none "
        "is trained no longer while the others go on.",
    )
    exposure_passes: float | None = Field(
        None,
        gt=0,
        description="How often each judged exposure is trained on, spread over the epochs, at most once in each. Judging learns ids by heart "
        f"after a few passes, the later the more exposures an item has; null: {FEW_PASSES:g}, or {MANY_PASSES:g} where items have {MANY_EXPOSURES} "
        "exposures or more (the mean over the items shown).",
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads; null takes those of M6REC_THREADS, else all cores the process may use."
    )
    device: str = Field(
        "auto",
        description="Where pretraining, encoding and fitting run: cpu; cuda, or cuda:1 for the second GPU; auto: a GPU where there is one, else the "
        "CPU. What is measured, saved and served runs on the CPU always.",
    )
    validation_metric: str = Field(
        "ndcg@10", description="What early stopping looks at: ndcg, hit_rate, recall, mrr or precision, @ and any k."
    )

    @property
    def balancing(self) -> BalanceConfig:
        return self.balance

    @property
    def stopping(self) -> Literal["all", "task"]:
        return self.stop

    def judged_passes(self, exposures: int, items: int) -> float:
        """How often each of so many training exposures, of so many different items, is trained on."""
        many = exposures >= MANY_EXPOSURES * items
        return self.exposure_passes or (MANY_PASSES if many else FEW_PASSES)

    @field_validator("balance", mode="before")
    @classmethod
    def _bare_word(cls, balance: Any) -> Any:
        return {"way": balance} if isinstance(balance, str) else balance

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
            raise ValueError("write auto, cpu, cuda, or cuda: and the number of a GPU, counted from 0")
        return device

    @field_validator("validation_metric")
    @classmethod
    def _metric_at_k(cls, name: str) -> str:
        if not re.fullmatch(r"(ndcg|hit_rate|recall|mrr|precision)@[1-9]\d*", name):
            raise ValueError("write ndcg, hit_rate, recall, mrr or precision with @ and a k, for example ndcg@10")
        return name


class PretrainConfig(LoopConfig):
    """The `pretrain:` section: the language model learns the words of the data before the tasks."""

    model_config = ConfigDict(populate_by_name=True)
    section: ClassVar[str] = "pretrain"

    from_: str | None = Field(
        None,
        alias="from",
        description="Start from the language model and tokenizer of this folder (of `m6rec pretrain`, a model folder or a run), relative to the "
        "configuration file; null: from nothing.",
    )
    continued_rate: float = Field(1e-3, gt=0, description="Peak learning rate where training goes on from the folder of `from`.")
    epochs: int | None = Field(3, ge=0, description="Passes over all text; 0 leaves the lower layers as they start.")
    batch_targets: int | None = Field(4000, ge=1, description="Tokens in a step.")
    learning_rate: float = Field(3e-3, gt=0, description="Peak learning rate.")
    most_texts: int = Field(
        100_000, ge=1, description="Texts learned from at most, drawn by seed: the words of a large catalogue are those of a part of it."
    )
    from_checkpoint: Literal["skip", "continue"] = Field(
        "skip", description="With model.backbone: skip takes its weights as they are; continue trains all of them on the texts of the data."
    )
    checkpoint_rate: float = Field(5e-5, gt=0, description="Peak learning rate where training goes on from a checkpoint.")
    objective: InfillingConfig = Field(default_factory=InfillingConfig, description="What is predicted from what.")
