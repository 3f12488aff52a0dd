"""What texts without a label teach: the model's own answer to the whole text is what its views must answer to parts of it.

pseudo       answers at least `confidence` sure become labels (Lee, 2013; with a changed view as in FixMatch, arXiv 2001.07685)
consistency  whole distributions, sharpened, must agree, the more the surer they are (UDA, arXiv 1904.12848)

The three views of a text (`text_views.py`) err on different texts, so their mixture teaches each of them (co-training, Blum and Mitchell 1998).
Shapes: V views, G texts, C outputs.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from m6rec.tasks.judge_labels import LabelSize

SHARPNESS = 2.0  # consistency: logits of the target times this


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
