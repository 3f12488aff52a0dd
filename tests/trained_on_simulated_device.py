"""Training on the simulated device, for test_training_device.py: a process of its own, because a device must be known before torch's first backward pass.

    python trained_on_simulated_device.py WORK CASES.json

CASES: name -> [folder with config.yaml, settings, tasks]. Prints name -> task -> what one step on either device gave; "run" and "resumed": whole trainings.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.base.errors import Interrupted
from m6rec.config import load_config
from m6rec.language_model.checkpoint import load_weights
from m6rec.language_model.config import ModelShape
from m6rec.language_model.layers import Dropout
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.task import Task
from m6rec.training import stages_data, stages_fit, workbench
from m6rec.training.config import LoopConfig
from m6rec.training.loop import Loop, _optimizer
from m6rec.training.pipeline import run_stages, train
from m6rec.training.pipeline import workbench as new_workbench
from m6rec.training.progress import Progress
from m6rec.training.row_optimizer import clip_gradients
from simulated_device import MixedDevicesError, device, simulated

CPU = torch.device("cpu")
BATCHES = 2
QUICK = ("model.width=16", "model.history=12", "text.vocabulary=400", "train.threads=1", 'model.autocast="off"')
SHAPE = ModelShape(vocabulary=8, width=4, heads=1, lower_layers=0, upper_layers=0, history=2, dropout=0.0, lower_dropout=0.0)


class Reached(Exception):
    """The stage got to its loop: what it would have trained."""

    def __init__(self, model: LanguageModel, tasks: dict[str, Task], config: LoopConfig, **_: Any) -> None:
        super().__init__()
        self.model, self.tasks, self.config = model, tasks, config

    def run(self) -> None:
        raise self


def reached(folder: Path, settings: list[str], run: Path, stage: str) -> Reached:
    """What the stage pretrain or fit would train."""
    bench = new_workbench(load_config(folder / "config.yaml", [*QUICK, *settings]), folder, run, Progress(visible=False))
    room: Any = stages_fit if stage == "fit" else stages_data
    run_stages(bench, "tokenizer" if stage == "pretrain" else "encode")
    loop, room.Loop = room.Loop, Reached
    try:
        bench.stages[stage].run(bench)
    except Reached as found:
        return found
    finally:
        room.Loop = loop
    raise AssertionError(f"{stage} trains nothing")


def one_step(found: Reached, name: str, batch: Any, where: torch.device) -> tuple[dict[str, float], dict[str, Tensor]]:
    """(losses, weights after a step of the optimizer) of one batch of one task; the modules are afterwards what they were."""
    module = nn.ModuleDict({"model": found.model, **{f"task_{one}": task for one, task in found.tasks.items()}})
    before = copy.deepcopy(module.state_dict())
    module.to(where).train()
    torch.manual_seed(1)
    optimizer = _optimizer(module, found.config)
    losses = found.tasks[name].loss(found.model, batch)
    torch.stack(list(losses.values())).sum().backward()
    clip_gradients([parameter for parameter in module.parameters() if parameter.requires_grad], found.config.clip)
    optimizer.step()
    told = {loss: float(value.detach()) for loss, value in losses.items()}
    module.zero_grad()
    module.to(CPU)
    after = {key: value.clone() for key, value in module.state_dict().items()}
    module.load_state_dict(before)
    return told, after


def compared(found: Reached, names: list[str]) -> dict[str, Any]:
    """Of some tasks and of two batches each: losses on the CPU, the largest gap to those of the device, that of the weights, and how many a step moves."""
    for part in (*found.model.modules(), *(part for task in found.tasks.values() for part in task.modules())):
        if isinstance(part, Dropout):
            part.rate = 0.0  # draws otherwise on a device than on a CPU
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    told = {}
    for name in names:
        task = found.tasks[name]
        task.begin(0)
        batches = list(task.batches(np.random.default_rng(3)))[:BATCHES]
        start = {key: value.clone() for key, value in nn.ModuleDict({"model": found.model, f"task_{name}": task}).state_dict().items()}
        for number, batch in enumerate(batches):
            losses, weights = one_step(found, name, batch, CPU)
            with simulated() as there:
                others, moved = one_step(found, name, batch, there)
            told[f"{name} {number}"] = {
                "losses": losses,
                "loss gap": max((abs(losses[loss] - others[loss]) for loss in losses), default=0.0)
                if losses.keys() == others.keys()
                else 1e9,
                "weight gap": max(gap(weights[key], moved[key]) for key in weights),
                "moved": sum(not torch.equal(start[key], weights[key]) for key in start),
            }
    return told


def gap(one: Tensor, other: Tensor) -> float:
    return float((one.detach().double() - other.detach().double()).abs().max()) if one.numel() else 0.0


def whole_run(folder: Path, work: Path) -> dict[str, Any]:
    """Pretraining, encoding and fitting through the pipeline on either device: gaps of what is written."""
    settings = (*QUICK, "train.epochs=2", "pretrain.epochs=1", "tasks.next.interest=null", "model.dropout=0.0", "train.average=ema")
    config = load_config(folder / "config.yaml", settings)
    train(config, folder, work / "cpu", until="fit")
    wanted, asked = workbench.device_wanted, list[str]()
    with simulated() as there:
        workbench.device_wanted = lambda name, processes: asked.append(name) or there  # type: ignore[func-returns-value]
        try:
            train(config, folder, work / "there", until="fit")
        finally:
            workbench.device_wanted = wanted
    gaps = {}
    for path in sorted((work / "cpu").glob("stages/*/*.safetensors")):
        here, _ = load_weights(path)
        others, _ = load_weights(work / "there" / path.relative_to(work / "cpu"))
        assert here.keys() == others.keys(), path
        gaps[path.relative_to(work / "cpu" / "stages").as_posix().split("-")[0] + " " + path.name] = max(
            gap(here[k], others[k]) for k in here
        )
    return {"asked": sorted(set(asked)), "gaps": gaps}


class Toy(Task):
    """Pulls a point and rows of a table towards numbers; is stopped in the middle where asked."""

    answer = "judge"

    def __init__(self, stop: int = 0) -> None:
        super().__init__()
        self.stop, self.seen = stop, 0
        self.point = nn.Parameter(torch.zeros(3))
        self.table = nn.Embedding(5, 3)
        self.table.weight.data.fill_(0.5)

    def batches(self, generator: np.random.Generator) -> Iterator[int]:
        yield from generator.permutation(5).tolist()

    def loss(self, model: LanguageModel, batch: int) -> dict[str, Tensor]:
        self.seen += 1
        if self.seen == self.stop:
            raise KeyboardInterrupt
        place = torch.tensor([batch]).to(self.point.device)
        row = nn.functional.embedding(place, self.table.weight, sparse=True)[0]
        return {"near": (self.point - batch).square().sum() + (row - self.point).square().sum() + 0.0 * model.embedding.weight.sum()}

    def targets(self, batch: int) -> int:
        return 1


def resumed(work: Path) -> dict[str, float]:
    """A training stopped on one device and gone on with on the other, against one that was never stopped: gaps of the weights."""

    def loop(folder: Path, where: torch.device, stop: int = 0) -> Loop:
        toy = Toy(stop)
        config = LoopConfig(epochs=3, learning_rate=0.1, average="ema")
        kept = list[torch.device]()

        def validate() -> dict[str, float]:
            kept.append(toy.point.device)
            assert toy.point.device == CPU
            return {"ndcg": float(len(kept))}

        return Loop(
            LanguageModel(SHAPE),
            {"toy": toy},
            config,
            weights={"toy": 1.0},
            seed=3,
            folder=folder,
            validate=validate,
            metric="ndcg",
            device=where,
        )

    whole = loop(work / "whole", CPU)
    whole.run()
    gaps = {}
    with simulated() as there:
        for name, first, second in (("there", there, there), ("to the CPU", there, CPU), ("from the CPU", CPU, there)):
            try:
                loop(work / name, first, stop=8).run()
                raise AssertionError("was not stopped")
            except Interrupted:
                pass
            again = loop(work / name, second)
            again.run()
            assert {parameter.device for parameter in again.module.parameters()} == {CPU}
            gaps[name] = max(gap(one, other) for one, other in zip(whole.module.parameters(), again.module.parameters(), strict=True))
    return gaps


def refused() -> dict[str, str]:
    """What a GPU would refuse, and what is said of it; "" where it was let through."""
    table = nn.Embedding(4, 2)
    found = {}
    with simulated() as there:
        table.to(there)
        tries = {
            "rows of the CPU": lambda: table(torch.tensor([1])),
            "a sum over both": lambda: table.weight + torch.ones(4, 2),
            "numpy": lambda: table.weight.detach().numpy(),
            "into the CPU": lambda: torch.zeros(4, 2).add_(table.weight),
            "a CPU table by rows there": lambda: torch.zeros(4, 2)[torch.tensor([1]).to(there)],
            "fine: a number": lambda: table.weight + torch.tensor(1.0),
            "fine: indices": lambda: table.weight[torch.tensor([1])],
            "fine: back": lambda: table.weight.detach().cpu().numpy(),
        }
        for name, one in tries.items():
            try:
                one()
                found[name] = ""
            except (MixedDevicesError, RuntimeError) as error:
                found[name] = str(error)
    return found


def main(work: Path, cases: dict[str, tuple[str, list[str], list[str]]]) -> dict[str, Any]:
    device()
    told: dict[str, Any] = {"refused": refused(), "resumed": resumed(work)}
    for name, (folder, settings, tasks) in cases.items():
        stage = "pretrain" if name.startswith("pretrain") else "fit"
        told[name] = compared(reached(Path(folder), settings, work / f"run of {name}", stage), tasks)
    told["run"] = whole_run(Path(cases["pretrain"][0]), work)
    return told


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))))
