"""Every balancer to the end of a training in bfloat16 with accumulated gradients, over the real layers: finite, moving, and near float32."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from m6rec.base.contracts import Segment
from m6rec.language_model.config import ModelShape
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.segments import SegmentBatch
from m6rec.tasks.task import Task
from m6rec.training.balance.balancer import BALANCERS
from m6rec.training.config import TrainConfig
from m6rec.training.loop import Loop

SOLVER = all(importlib.util.find_spec(name) for name in ("quadprog", "qpsolvers"))
NAMES = [name for name in BALANCERS.names() if name != "upgrad" or SOLVER]
SHAPE = ModelShape(vocabulary=40, width=16, heads=2, lower_layers=1, upper_layers=1, history=8, dropout=0.0, lower_dropout=0.0)
CELLS = ("many", "first", "last")
TEXTS, TOKENS, BATCH, EPOCHS = 96, 6, 8, 4


class Read(Task):
    """Texts through the lower and the upper layers; three cells of very different size, whose labels hang on the tokens."""

    answer = "judge"

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.ids = torch.randint(1, SHAPE.vocabulary, (TEXTS, TOKENS), generator=generator)
        marks = (self.ids < 20).float()
        self.labels = {"many": marks.sum(1), "first": marks[:, 0], "last": 30 * marks[:, -1]}
        self.heads = nn.Linear(SHAPE.width, 3)
        self.table = nn.Embedding(SHAPE.vocabulary, 3)  # read sparsely
        for parameter in self.parameters():
            parameter.data.normal_(std=0.1, generator=generator)

    def batches(self, generator: np.random.Generator) -> Iterator[np.ndarray]:
        yield from generator.permutation(TEXTS).reshape(-1, BATCH)

    def loss(self, model: LanguageModel, batch: np.ndarray) -> dict[str, Tensor]:
        rows = self.ids[torch.from_numpy(batch)]
        segments = SegmentBatch.padded([Segment(row.numpy().astype(np.int32)) for row in rows], 0)
        states = model.upper(model.to_slots(model.encode(segments)))  # B T W
        out = self.heads(states[:, -1]) + nn.functional.embedding(rows, self.table.weight, sparse=True).sum(1)
        found = {name: labels[torch.from_numpy(batch)] for name, labels in self.labels.items()}
        return {
            "many": (out[:, 0] - found["many"]).square().mean(),
            "first": nn.functional.binary_cross_entropy_with_logits(out[:, 1], found["first"]),
            "last": (out[:, 2] - found["last"]).square().mean(),
        }

    def targets(self, batch: np.ndarray) -> int:
        return len(batch)


def trained(folder: Path, way: str, precision: Any) -> tuple[Loop, list[dict[str, float]]]:
    config = TrainConfig.build({"epochs": EPOCHS, "learning_rate": 0.01, "accumulate": 3, "balance": {"way": way, "every": 2}})
    loop = Loop(
        LanguageModel(SHAPE, seed=1),
        {"read": Read()},
        config,
        weights=dict.fromkeys(CELLS, 1.0),
        seed=3,
        folder=folder,
        precision=precision,
    )
    state = loop.run()
    assert state.steps == EPOCHS * TEXTS // BATCH // 3
    return loop, [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("way", NAMES)
def test_to_the_end_in_bfloat16_with_accumulated_gradients(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.dtype] = []
    linear = nn.functional.linear
    monkeypatch.setattr(nn.functional, "linear", lambda *given: taken.append((out := linear(*given)).dtype) or out)
    loop, rows = trained(tmp_path / "half", way, "bfloat16")
    assert torch.bfloat16 in taken, "the layers multiplied in half precision"
    whole, plain = trained(tmp_path / "whole", way, "off")
    assert {parameter.dtype for parameter in loop.module.parameters()} == {torch.float32}
    cells = CELLS
    start = Read()
    for name in cells:
        losses = [row[f"read.{name}"] for row in rows]
        assert all(map(math.isfinite, losses))
        assert losses[-1] == pytest.approx(plain[-1][f"read.{name}"], rel=0.01), name
    assert sum(rows[-1][f"read.{name}"] for name in cells) < sum(rows[0][f"read.{name}"] for name in cells)
    assert not torch.equal(loop.tasks["read"].get_parameter("table.weight"), start.table.weight)
    factors = [loop.balancer.factor(name) for name in cells]
    assert all(math.isfinite(factor) and factor >= 0 for factor in factors)
    assert sum(factors) == pytest.approx(3.0)
    assert factors == pytest.approx([whole.balancer.factor(name) for name in cells], abs=0.02)
    assert (max(factors) - min(factors) > 0.01) == (way != "fixed"), factors
    # Measured against how far the weights went, half precision leads to the same place.
    first = {name: value.clone() for name, value in trained_from().items()}
    for name, value in whole.module.state_dict().items():
        if value.is_floating_point():
            moved, apart = (value - first[name]).norm(), (loop.module.state_dict()[name] - value).norm()
            assert apart <= 0.2 * moved + 1e-4, name


def trained_from() -> dict[str, Tensor]:
    """The weights that every training above starts with."""
    return nn.ModuleDict({"model": LanguageModel(SHAPE, seed=1), "task_read": Read()}).state_dict()
