"""Calibrated answers with gradients: what `evaluation/calibration.py` does to probabilities, in torch.

Dimension keys: A answers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from m6rec.evaluation.calibration_curves import Curve
from m6rec.evaluation.label_metrics import TINY
from m6rec.tasks.judge_part import JudgePart


def calibrated(part: JudgePart, task: str, answers: Tensor, scenario: str) -> Tensor:
    """`JudgePart.calibrated` of answers (A,) of one scenario, with gradients."""
    calibration = part.calibrations.get(task)
    if calibration is None:
        return answers
    return risen(calibration.scenarios.get(scenario, calibration.curve), answers)


def risen(curve: Curve, predicted: Tensor) -> Tensor:
    """`Curve.apply` of probabilities (A,), with gradients."""
    if curve.way == "none":
        return predicted
    p = predicted.double().clamp(TINY, 1 - TINY)
    scores = torch.log(p) - torch.log1p(-p)
    if curve.way == "platt":
        return torch.sigmoid(curve.slope * scores + curve.shift).to(predicted.dtype)
    x, y = (torch.tensor(side, dtype=torch.float64) for side in (curve.x, curve.y))
    inside = scores.clamp(curve.x[0], curve.x[-1])
    steep = torch.diff(y) / torch.diff(x) if len(x) > 1 else torch.ones(1, dtype=torch.float64)
    place = torch.searchsorted(x, inside.detach()).sub(1).clamp(0, len(steep) - 1)  # the knot below
    return torch.sigmoid(y[place] + steep[place] * (inside - x[place]) + scores - inside).to(predicted.dtype)
