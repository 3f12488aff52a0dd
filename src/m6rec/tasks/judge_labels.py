"""Labels as numbers to learn, and the loss of each kind.

Shapes: R rows, C outputs of a task, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Kind = Literal["binary", "classes", "tags", "number", "ordinal"]
Loss = Literal["auto", "log", "focal", "squared", "huber"]
FOCUS = 2.0  # gamma of the focal loss
LEAST_BASE = 0.02  # no label's loss is blown up more than fiftyfold
RARE = 1e-4  # no label is taken to be rarer, or more frequent than 1 minus this


@dataclass(frozen=True)
class LabelSize:
    """What is known of a task's label from the training rows; saved beside the weights.

    names      classes, tags or ordered levels; empty for binary labels and numbers
    mean, deviation  of a number; the model learns (value - mean) / deviation
    levels     of an ordinal label, the values themselves
    start      (C,) the outputs to start from: log odds, log frequencies, zeros
    """

    kind: Kind
    names: list[str] = field(default_factory=list)
    mean: float = 0.0
    deviation: float = 1.0
    start: list[float] = field(default_factory=list)

    @property
    def outputs(self) -> int:
        """C: numbers that the model gives for a row."""
        return {"binary": 1, "number": 1, "ordinal": max(len(self.names) - 1, 1)}.get(self.kind, len(self.names))

    @property
    def base(self) -> float:
        """The log loss (or half the squared deviation, 1/2) of an answer that knows nothing but how usual each label is.

        Losses are given in this unit: a label of which one row in a hundred is positive loses a tenth of what an even one does, and
        would be learned last.
        """
        start = np.array(self.start or [0.0])
        if self.kind == "number":
            return 0.5
        if self.kind == "classes":
            shares = np.exp(start - start.max())
            shares /= shares.sum()
            return max(float(-(shares * np.log(np.maximum(shares, 1e-12))).sum()), LEAST_BASE)
        shares = 1 / (1 + np.exp(-start))
        return max(float(-(shares * np.log(shares) + (1 - shares) * np.log(1 - shares)).mean()), LEAST_BASE)

    @classmethod
    def of(cls, kind: Kind, values: np.ndarray, names: Sequence[str] = ()) -> LabelSize:
        """From the training rows: values float32 (R,), or (R, L) for tags; NaN unknown."""
        names = list(names)
        values = values[~np.isnan(values if values.ndim == 1 else values[:, 0])].astype(np.float64)
        if not len(values):
            return cls(kind, names, start=[0.0] * cls(kind, names).outputs)
        if kind == "number":
            return cls(kind, names, float(values.mean()), float(values.std()) or 1.0, [0.0])
        if kind == "classes":
            counts = np.bincount(values.astype(np.int64), minlength=len(names)) + 1.0
            return cls(kind, names, start=np.log(counts / counts.sum()).tolist())
        if kind == "ordinal":
            rates = np.array([(values > level).mean() for level in range(len(names) - 1)])
        else:
            rates = np.atleast_1d(values.mean(axis=0))
        rates = np.clip(rates, RARE, 1 - RARE)
        return cls(kind, names, start=np.log(rates / (1 - rates)).tolist())


def label_losses(
    outputs: Tensor, labels: Tensor, size: LabelSize, loss: Loss = "auto", smoothing: float = 0.0, first: Tensor | None = None
) -> Tensor:
    """(R,) losses of the rows; outputs (R, C), labels float32 (R,) or (R, L), none unknown.

    first: (R,) log of the probability that the task before this one is positive: the row's probability is that times this task's own
    (ESMM, Ma et al., SIGIR 2018: learned from all exposures and not from the clicked ones alone). Binary labels only.
    """
    if size.kind == "number":
        errors = outputs[:, 0] - (labels - size.mean) / size.deviation
        return F.huber_loss(errors, torch.zeros_like(errors), reduction="none") if loss == "huber" else 0.5 * errors.square()
    if size.kind == "classes":
        losses = F.cross_entropy(outputs, labels.long(), label_smoothing=smoothing, reduction="none")
        return losses * (1 - torch.exp(-losses)) ** FOCUS if loss == "focal" else losses
    if size.kind == "ordinal":
        wanted = (labels[:, None] > torch.arange(size.outputs, device=labels.device)).to(outputs.dtype)  # R C
    else:
        wanted = labels.reshape(len(labels), -1)
    positive, negative = F.logsigmoid(outputs), F.logsigmoid(-outputs)  # R C
    if first is not None:
        positive = positive + first[:, None]
        negative = log_rest(positive)
    if smoothing:
        wanted = wanted * (1 - smoothing) + smoothing / 2
    if loss == "focal":
        losses = -(wanted * (1 - positive.exp()) ** FOCUS * positive + (1 - wanted) * (1 - negative.exp()) ** FOCUS * negative)
    else:
        losses = -(wanted * positive + (1 - wanted) * negative)
    return losses.mean(dim=1)


def log_rest(log_probability: Tensor) -> Tensor:
    """log(1 - p) from log p, exact for small and for large p."""
    capped = log_probability.clamp(max=-1e-6)
    return torch.where(capped > -0.6931, torch.log(-torch.expm1(capped)), torch.log1p(-torch.exp(capped)))


def answers(outputs: Tensor, size: LabelSize, first: Tensor | None = None) -> Tensor:
    """(R,) probability (binary), number (number), expected level counted from 0 (ordinal), or (R, L) probabilities (classes, tags)."""
    if size.kind == "number":
        return outputs[:, 0] * size.deviation + size.mean
    if size.kind == "classes":
        return torch.softmax(outputs, dim=1)
    if size.kind == "tags":
        return torch.sigmoid(outputs)
    if size.kind == "ordinal":
        return torch.sigmoid(outputs).sum(dim=1)
    logs = F.logsigmoid(outputs[:, 0])
    return torch.exp(logs if first is None else logs + first)
