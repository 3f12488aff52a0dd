"""Two processes that train one model over loopback, for test_training_processes.py: folder, settings as JSON; then a whole run of a config."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor, nn

from m6rec.config import load_config
from m6rec.language_model.config import ModelShape
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.task import Task
from m6rec.training import pipeline
from m6rec.training.config import TrainConfig
from m6rec.training.loop import Loop
from m6rec.training.processes import join

SHAPE = ModelShape(vocabulary=8, width=4, heads=1, lower_layers=0, upper_layers=0, history=2, dropout=0.0, lower_dropout=0.0)


class Both(Task):
    """Two cells, "b" only in positive batches; a table with sparse gradients, dropout-like noise from torch's generator."""

    answer = "judge"

    def __init__(self, numbers: list[float], noise: float) -> None:
        super().__init__()
        self.numbers, self.noise = numbers, noise
        self.table = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 2)
        generator = torch.Generator().manual_seed(5)
        for parameter in self.parameters():
            parameter.data.normal_(generator=generator)

    def batches(self, generator: np.random.Generator) -> Iterator[float]:
        yield from (self.numbers[place] for place in generator.permutation(len(self.numbers)))

    def loss(self, model: LanguageModel, batch: float) -> dict[str, Tensor]:
        place = int(abs(batch) * 3) % 10
        row = nn.functional.embedding(torch.tensor([place]), self.table.weight, sparse=True)[0]
        out = self.head(row + model.embedding.weight[1] + self.noise * torch.rand(4))
        found = {"a": (out[0] - batch) ** 2}
        return found | ({"b": 3 * (out[1] + batch) ** 2} if batch > 0 else {})

    def targets(self, batch: float) -> int:
        return 1


def make(folder: Path, settings: dict[str, Any]) -> Loop:
    noise = settings.get("noise", 0.1)
    own = ("noise", "cut", "precision")
    config = TrainConfig(epochs=3, learning_rate=0.05, **{name: value for name, value in settings.items() if name not in own})
    tasks: dict[str, Task] = {"judge": Both([1.0, -2.0, 0.5, 3.0, -0.3, 2.2, 1.7, -1.1], noise)}
    weights, precision = {"a": 1.0, "b": 0.5}, settings.get("precision", "off")
    return Loop(LanguageModel(SHAPE, seed=1), tasks, config, weights=weights, seed=3, folder=folder, precision=precision)


class CutError(Exception):
    """The training ends here, as if killed."""


def cut(loop: Loop, saves: int) -> None:
    """Run until the state was saved so many times."""
    save = loop._save
    left = [saves]

    def counted() -> None:
        save()
        left[0] -= 1
        if not left[0]:
            raise CutError

    loop._save = counted  # type: ignore[method-assign]
    with contextlib.suppress(CutError):
        loop.run()


def train(rank: int, folder: Path, settings: list[dict[str, Any]], config: Path) -> None:
    join(rank, 2, folder / "meeting")
    for number, one in enumerate(settings):
        loop = make(folder / str(number), one)
        if "cut" in one:
            cut(loop, one["cut"])
            torch.manual_seed(77)
            loop = make(folder / str(number), one)
        state = loop.run()
        save_file(
            {name: value.contiguous() for name, value in loop.module.state_dict().items()}, folder / f"{number}-rank{rank}.safetensors"
        )
        (folder / f"{number}-rank{rank}.json").write_text(json.dumps({"steps": state.steps, "balance": loop.balancer.state()}))
    pipeline.train(load_config(config), config.parent, folder / "run")
    dist.destroy_process_group()


def main() -> None:
    folder, settings, config = Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # the first optimizer of a process loads a thousand modules: before the forks
    children = []
    for rank in range(2):
        child = os.fork()
        if not child:
            train(rank, folder, settings, config)
            os._exit(0)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    raise SystemExit(max(abs(code) for code in codes))


if __name__ == "__main__":
    main()
