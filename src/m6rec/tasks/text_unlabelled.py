"""What texts without a label teach: the model's own answer to the whole text is what its views must answer to parts of it.

pseudo       answers at least `confidence` sure become labels (Lee, 2013; with a changed view as in FixMatch, arXiv 2001.07685)
consistency  whole distributions, sharpened, must agree, the more the surer they are (UDA, arXiv 1904.12848)
spread       labels spread to the texts that are like the labelled ones (`label_spreading.py`) are answered by every view, the more the surer they are

The views of a text (`text_views.py`) err on different texts, so their mixture teaches each of them (co-training, Blum and Mitchell 1998).
Shapes: V views, G texts, C outputs.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from m6rec.base.errors import UsageError
from m6rec.language_model.devices import moved
from m6rec.tasks.judge_labels import LabelSize
from m6rec.tasks.label_spreading import spread_labels

MOST_SPREAD = 50_000  # documents without a label: each is compared with every other
SHARPNESS = 2.0  # consistency: logits of the target times this


class Spread:
    """What reached each document: yes or the class (G, C), 0 to 1, and how sure that is (G, C), by how far it leads."""

    def __init__(self, vectors: np.ndarray, training: np.ndarray, labels: np.ndarray, size: LabelSize) -> None:
        """vectors float32 (G, D); training bool (G,): documents that take part, those without a label only as far as MOST_SPREAD; the others count 0.
        labels float32 (G,) or, tags, (G, C), NaN unknown.

        Raises:
            UsageError: the label is a number or a level.
        """
        if size.kind not in ("binary", "classes", "tags"):
            raise UsageError(
                f"unlabelled is spread for a {size.kind}; labels are spread of yes or no, classes and tags (unlabelled: consistency)"
            )
        known = ~np.isnan(labels.reshape(len(labels), -1)[:, 0])
        without = np.random.default_rng(len(labels)).permutation(np.flatnonzero(~known & training))[:MOST_SPREAD]
        taking_part = np.sort(np.concatenate([np.flatnonzero(known & training), without]))
        self.size = size
        given = labels[taking_part]
        if size.kind == "classes":
            ones = np.eye(size.outputs)[np.nan_to_num(given).astype(np.int64)]
            ones[np.isnan(given)] = np.nan
            found = spread_labels(vectors[taking_part], ones)
            best = np.partition(-found, 1, axis=1)[:, :2]
            sure = np.repeat((best[:, 1] - best[:, 0])[:, None], size.outputs, axis=1)
            answer = np.eye(size.outputs)[found.argmax(axis=1)]
        else:
            yes = given.reshape(len(given), -1)
            parts = [spread_labels(vectors[taking_part], np.stack([1 - one, one], axis=1)) for one in yes.T]
            found = np.stack([part[:, 1] - part[:, 0] for part in parts], axis=1)
            sure, answer = np.abs(found), found > 0
        self.answer, self.sure = (torch.zeros(len(labels), size.outputs) for _ in range(2))
        self.answer[taking_part] = torch.from_numpy(answer.astype(np.float32))
        self.sure[taking_part] = torch.from_numpy(sure.astype(np.float32))

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Scalar, as `unlabelled_loss`; outputs (V, G', C) of the documents `rows` int64 (G',)."""
        answer, sure = (moved(one[rows], outputs.device).to(outputs.dtype) for one in (self.answer, self.sure))
        if self.size.kind == "classes":
            return -(torch.log_softmax(outputs, dim=2) * answer * sure).sum(dim=2).mean(dim=1).sum()
        losses = F.binary_cross_entropy_with_logits(outputs, answer.expand_as(outputs), reduction="none")
        return (losses * sure).mean(dim=(1, 2)).sum()


def unlabelled_loss(outputs: Tensor, target: Tensor, size: LabelSize, way: Literal["pseudo", "consistency"], confidence: float) -> Tensor:
    """Scalar: the sum over views of the mean over texts of what they are off; texts that the target is unsure of count 0.

    Args:
        outputs: (V, G, C) of the changed texts.
        target: (G, C), the mixed answer to the whole texts; no gradient flows into it.
        confidence: pseudo: least probability of an answer that becomes a label.
    """
    target = target.detach()
    if size.kind == "number":
        return F.mse_loss(outputs, target.expand_as(outputs), reduction="none").mean(dim=(1, 2)).sum() / 2
    if size.kind == "classes":
        logs = torch.log_softmax(outputs, dim=2)
        probabilities = torch.softmax(target, dim=1)
        sure, label = probabilities.max(dim=1)
        if way == "pseudo":
            picked = logs.gather(2, label.expand(len(outputs), -1)[:, :, None])[:, :, 0]  # V G
            return -(picked * (sure >= confidence)).mean(dim=1).sum()
        wanted = torch.softmax(target * SHARPNESS, dim=1)
        chance = 1 / target.shape[1]
        counted = ((sure - chance) / (1 - chance)).square()  # a guess teaches nothing, or it would confirm itself
        return ((wanted * (torch.log(wanted.clamp(min=1e-9)) - logs)).sum(dim=2) * counted).mean(dim=1).sum()
    yes = torch.sigmoid(target)
    wanted = (yes > 0.5).to(target.dtype) if way == "pseudo" else torch.sigmoid(target * SHARPNESS)
    sure = torch.maximum(yes, 1 - yes)
    counted = (sure >= confidence).to(target.dtype) if way == "pseudo" else (2 * sure - 1).square()
    losses = F.binary_cross_entropy_with_logits(outputs, wanted.expand_as(outputs), reduction="none")
    return (losses * counted).mean(dim=(1, 2)).sum()
