"""The training loop: schedule, losses, early stopping, and that stopping it, however rudely, changes no bit of the result."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from conftest import TINY
from m6rec.base.errors import CheckpointError, DataError, Interrupted
from m6rec.cli.program import run as run_command
from m6rec.config import M6RecConfig
from m6rec.language_model.config import ModelShape
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.task import Task
from m6rec.training.config import LoopConfig, PretrainConfig
from m6rec.training.interruption import held_interrupt
from m6rec.training.loop import Loop
from m6rec.training.pipeline import train
from m6rec.training.training_log import TrainingLog

SHAPE = ModelShape(vocabulary=8, width=4, heads=1, lower_layers=0, upper_layers=0, history=2, dropout=0.0, lower_dropout=0.0)


@pytest.fixture(autouse=True)
def keyboard() -> Iterator[None]:
    """Ctrl-C as in a terminal: a test run started in the background inherits a SIGINT that is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Toy(Task):
    """Pulls a point towards numbers: two losses, a batch is one number, and `said` hears of every batch before it is trained on."""

    answer = "judge"

    def __init__(self, numbers: list[float], said: Callable[[float], None] | None = None, noisy: bool = False) -> None:
        super().__init__()
        self.numbers, self.said, self.noisy = numbers, said, noisy
        self.point = nn.Parameter(torch.zeros(3))

    def batches(self, generator: np.random.Generator) -> Iterator[float]:
        yield from (self.numbers[place] for place in generator.permutation(len(self.numbers)))

    def loss(self, model: LanguageModel, batch: float) -> dict[str, Tensor]:
        if self.said is not None:
            self.said(batch)
        noise = torch.rand(3) if self.noisy else torch.zeros(3)
        return {"near": ((self.point - batch + noise) ** 2).sum(), "small": 0.1 * self.point.abs().sum()}

    def targets(self, batch: float) -> int:
        return 1 + int(batch > 2)  # batches above 2 hold two targets


def loop_of(tasks: dict[str, Task], folder: Path, *, weights: dict[str, float] | None = None, **settings: Any) -> Loop:
    given = {name: settings.pop(name) for name in ("validate", "metric") if name in settings}
    config = LoopConfig(**{"epochs": 2, "learning_rate": 0.1, **settings})
    return Loop(LanguageModel(SHAPE), tasks, config, weights=weights or dict.fromkeys(tasks, 1.0), seed=3, folder=folder, **given)


def log_rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


# ---- schedule, losses, log


def test_schedule_by_hand(tmp_path: Path) -> None:
    """Peak 0.1, four steps an epoch, two epochs; half an epoch of warm-up is two steps; a tenth of the peak at the end."""
    rates: list[float] = []
    loop = loop_of(
        {"toy": Toy([1.0] * 4, lambda _: rates.append(loop.optimizer.param_groups[0]["lr"]))}, tmp_path, warmup=0.5, final_rate=0.1
    )
    loop.run()
    cosine = [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8)]
    wanted = [0.1 * c for c in cosine]
    wanted[0] = 0.1 * 0.5  # half way up
    np.testing.assert_allclose(rates, wanted, rtol=1e-12)
    assert rates[4] == pytest.approx(0.1 * 0.55)
    assert {group["lr"] for group in loop.optimizer.param_groups} == {rates[-1]}


def test_losses_stay_separate_and_their_sum_is_weighted(tmp_path: Path) -> None:
    gradients: list[Tensor] = []
    toy = Toy([2.0])
    toy.point.data = torch.tensor([1.0, -1.0, 0.5])
    toy.point.register_hook(gradients.append)
    loop_of({"toy": toy}, tmp_path, weights={"toy": 2.0}, epochs=1).run()
    start = torch.tensor([1.0, -1.0, 0.5])
    torch.testing.assert_close(gradients[0], 2.0 * (2 * (start - 2.0) + 0.1 * start.sign()))
    row = log_rows(tmp_path)[0]
    assert row["toy.near"] == pytest.approx(1 + 9 + 2.25)  # unweighted, one by one
    assert row["toy.small"] == pytest.approx(0.25)


def test_log_rows(tmp_path: Path) -> None:
    """One a epoch; a loss is the mean over the targets of its own task: batches 1 (one target) and 3 (two), at a point that stays 0."""
    toy, other = Toy([1.0, 3.0]), Toy([0.0] * 5)
    loop_of({"toy": toy, "other": other}, tmp_path, learning_rate=1e-12, validate=lambda: {"m@1": 0.5}, metric="m@1").run()
    rows = log_rows(tmp_path)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert [row["step"] for row in rows] == [7, 14]
    for row in rows:
        assert row["toy.near"] == pytest.approx((1 * 3 * 1 + 2 * 3 * 9) / 3)
        assert row["other.near"] == pytest.approx(0, abs=1e-9)
        assert row["m@1"] == 0.5
        assert row["seconds"] >= 0
        assert row["targets_per_second"] > 0


def test_two_tasks_are_mixed_in_proportion(tmp_path: Path) -> None:
    heard: list[float] = []
    tasks: dict[str, Task] = {"many": Toy([1.0] * 60, heard.append), "few": Toy([2.0] * 20, heard.append)}
    loop_of(tasks, tmp_path / "a", epochs=2).run()
    first, second = heard[:80], heard[80:]
    for epoch in (first, second):
        assert (epoch.count(1.0), epoch.count(2.0)) == (60, 20)
        assert 4 <= epoch[:40].count(2.0) <= 16  # not one task after the other
    assert first != second
    again: list[float] = []
    loop_of({"many": Toy([1.0] * 60, again.append), "few": Toy([2.0] * 20, again.append)}, tmp_path / "b", epochs=2).run()
    assert again == heard


@pytest.mark.parametrize("config", [LoopConfig(epochs=1), PretrainConfig(epochs=1)])
def test_a_loss_that_is_not_finite(tmp_path: Path, config: LoopConfig) -> None:
    loop = Loop(LanguageModel(SHAPE), {"toy": Toy([1.0, math.nan])}, config, weights={"toy": 1.0}, seed=0, folder=tmp_path)
    with pytest.raises(DataError, match=rf"'toy' became nan at step [12]; lower {config.section}\.learning_rate \(now 0\.00\d\)") as caught:
        loop.run()
    assert "\n" not in str(caught.value)
    assert not loop.best_file.exists()


# ---- early stopping


def test_early_stopping_keeps_the_best_weights(tmp_path: Path) -> None:
    values, points = iter([0.1, 0.3, 0.2, 0.25, 0.29, 0.9]), []
    toy = Toy([1.0, 2.0, 5.0])

    def validate() -> dict[str, float]:
        assert not toy.training
        points.append(toy.point.detach().clone())
        return {"ndcg@10": next(values), "other": 7.0}

    state = loop_of({"toy": toy}, tmp_path, epochs=10, patience=3, validate=validate, metric="ndcg@10").run()
    assert (state.epoch, state.best_epoch, state.best, state.done) == (5, 1, 0.3, True)
    torch.testing.assert_close(toy.point.detach(), points[1], rtol=0, atol=0)
    assert not torch.equal(points[1], points[4])
    assert len(log_rows(tmp_path)) == 5


def test_validation_every_few_epochs_and_after_the_last(tmp_path: Path) -> None:
    toy, points = Toy([1.0]), []

    def validate() -> dict[str, float]:
        points.append(loop.state.epoch)
        return {"m": float(len(points))}

    loop = loop_of({"toy": toy}, tmp_path, epochs=5, validate_every=2, validate=validate, metric="m")
    loop.run()
    assert points == [1, 3, 4]
    assert loop.state.best_epoch == 4


def test_a_run_that_is_done_does_nothing_more(tmp_path: Path) -> None:
    toy = Toy([1.0, 2.0])
    loop_of({"toy": toy}, tmp_path).run()
    heard: list[float] = []
    again = Toy([1.0, 2.0], heard.append)
    state = loop_of({"toy": again}, tmp_path).run()
    assert not heard
    assert state.epoch == 2
    torch.testing.assert_close(again.point, toy.point, rtol=0, atol=0)


# ---- Ctrl-C


def ctrl_c_at(call: int) -> Callable[[float], None]:
    """Presses Ctrl-C in the middle of a step."""
    count = 0

    def said(_: float) -> None:
        nonlocal count
        count += 1
        if count == call:
            signal.raise_signal(signal.SIGINT)

    return said


@pytest.mark.parametrize("call", [1, 4, 5, 7, 10])
def test_ctrl_c_saves_and_the_rest_gives_the_same_bits(tmp_path: Path, call: int) -> None:
    numbers = [1.0, 2.0, 4.0, -3.0, 0.5]
    whole = Toy(numbers, noisy=True)
    loop_of({"toy": whole}, tmp_path / "whole").run()
    loop = loop_of({"toy": Toy(numbers, ctrl_c_at(call), noisy=True)}, tmp_path / "cut")
    with pytest.raises(Interrupted, match="the state is saved: run the same command to go on") as caught:
        loop.run()
    assert caught.value.exit_code == 130
    assert "\n" not in str(caught.value)
    assert loop.state.steps == call  # the step it came in was finished and counted
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    torch.manual_seed(99)
    resumed = Toy(numbers, noisy=True)
    loop_of({"toy": resumed}, tmp_path / "cut").run()
    assert (tmp_path / "cut/best.safetensors").read_bytes() == (tmp_path / "whole/best.safetensors").read_bytes()
    torch.testing.assert_close(resumed.point, whole.point, rtol=0, atol=0)
    last = {row["epoch"]: row["toy.near"] for row in log_rows(tmp_path / "cut")}
    assert last == {row["epoch"]: row["toy.near"] for row in log_rows(tmp_path / "whole")}


def test_ctrl_c_while_validating(tmp_path: Path) -> None:
    calls = 0

    def validate() -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == 2:
            signal.raise_signal(signal.SIGINT)
        return {"m": 1.0 / calls}

    with pytest.raises(Interrupted):
        loop_of({"toy": Toy([1.0, 2.0])}, tmp_path, epochs=3, validate=validate, metric="m").run()
    heard: list[float] = []
    state = loop_of({"toy": Toy([1.0, 2.0], heard.append)}, tmp_path, epochs=3, validate=validate, metric="m").run()
    assert len(heard) == 2  # the second epoch was trained already
    assert state.epoch == 3
    assert [row["epoch"] for row in log_rows(tmp_path)] == [1, 2, 3]


def test_ctrl_c_on_the_command_line(
    tiny_sample: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy_stages(tiny_run, tmp_path / "run", "fit", "evaluate", "index", "report")
    settings = [word for setting in TINY for word in ("--set", setting)]
    command = ["train", str(tiny_sample / "config.yaml"), "--run", str(run), "--until", "fit", "--no-progress", *settings]
    step, pressed = Loop._step, 0

    def pressing(self: Loop, name: str, batch: Any) -> dict[str, float]:
        nonlocal pressed
        pressed += 1
        if pressed == 3:
            signal.raise_signal(signal.SIGINT)
        return step(self, name, batch)

    monkeypatch.setattr(Loop, "_step", pressing)
    assert run_command(command) == 130
    output = capsys.readouterr()
    assert output.err.splitlines() == ["m6rec: error: stopped at epoch 1, step 3; the state is saved: run the same command to go on"]
    assert not list(run.glob("stages/fit-*/done.json"))
    assert run_command(command) == 0
    assert_same_fit(run, tiny_run)


def test_held_interrupt() -> None:
    reached = []

    def pressed(times: int, reaching: str) -> None:
        with held_interrupt():
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
            reached.append(reaching)

    with pytest.raises(KeyboardInterrupt):
        pressed(1, "end of the block")
    with pytest.raises(KeyboardInterrupt):
        pressed(2, "never")
    assert reached == ["end of the block"]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_interrupt():  # started with nohup: stays ignored
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def elsewhere() -> None:
        with held_interrupt():
            reached.append("in a thread")

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert reached[-1] == "in a thread"


# ---- kill -9


def copy_stages(source: Path, run: Path, *without: str) -> Path:
    """A run folder with the finished stages of another, but not those named."""
    shutil.copytree(source / "stages", run / "stages", ignore=shutil.ignore_patterns(*(f"{name}-*" for name in without)))
    return run


def assert_same_fit(run: Path, reference: Path) -> None:
    (got,), (wanted,) = (list(folder.glob("stages/fit-*/best.safetensors")) for folder in (run, reference))
    assert got.parent.name == wanted.parent.name
    ours, theirs = load_file(got), load_file(wanted)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert got.read_bytes() == wanted.read_bytes()


MOMENTS = ["after-a-checkpoint", "best-saved-epoch-not", "between-two-steps", "in-the-second-epoch", "while-saving-the-state"]


def test_killed_and_resumed_gives_the_same_bits(tiny_sample: Path, tiny_run: Path, tmp_path: Path) -> None:
    """SIGKILL at five moments of a real training, then the same command again: every weight as in the run nobody touched."""
    for moment in MOMENTS:
        copy_stages(tiny_run, tmp_path / moment, "fit", "evaluate", "index", "report")
    script = Path(__file__).with_name("killed_training.py")
    source = Path(__file__).parents[1] / "src"
    done = subprocess.run(
        [sys.executable, str(script), str(tiny_sample / "config.yaml"), str(tmp_path), *TINY],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{moment} {what}" for moment in MOMENTS for what in ("killed -9", "resumed 0")], done.stderr
    for moment in MOMENTS:
        assert_same_fit(tmp_path / moment, tiny_run)


def test_a_state_cut_short_says_so(tmp_path: Path) -> None:
    loop = loop_of({"toy": Toy([1.0, 2.0])}, tmp_path)
    loop.run()
    whole = loop.state_file.read_bytes()
    loop.state_file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"state\.safetensors is damaged or cut short"):
        loop_of({"toy": Toy([1.0, 2.0])}, tmp_path).run()


def test_checkpoints_come_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saves: list[int] = []
    monkeypatch.setattr(Loop, "_save", lambda self: saves.append(self.state.steps))
    loop_of({"toy": Toy([1.0] * 4)}, tmp_path, checkpoint_seconds=1e-9).run()
    assert saves == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]
    saves.clear()
    loop_of({"toy": Toy([1.0] * 4)}, tmp_path).run()
    assert saves == [4, 8]


def test_one_more_training_of_the_same_seed(
    tiny_sample: Path, tiny_run: Path, tiny_config: Callable[..., M6RecConfig], tmp_path: Path
) -> None:
    run = copy_stages(tiny_run, tmp_path / "run", "pretrain", "encode", "fit", "evaluate", "index", "report")
    torch.rand(7)  # whatever the generator was at
    train(tiny_config(), tiny_sample, run, until="fit")
    assert_same_fit(run, tiny_run)


# ---- TensorBoard


def test_without_tensorboard_there_is_the_json_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "tensorboard" else find(name, *rest))
    loop_of({"toy": Toy([1.0])}, tmp_path).run()
    assert len(log_rows(tmp_path)) == 2
    assert not (tmp_path / "tensorboard").exists()


def test_tensorboard_has_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'm6rec[train]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loop_of({"toy": Toy([1.0])}, tmp_path, epochs=3).run()
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    scalars = {event.step: event.value for event in board.Scalars("toy/near")}
    assert scalars == pytest.approx({row["epoch"]: row["toy.near"] for row in log_rows(tmp_path)})
    resumed = TrainingLog(tmp_path)  # killed after the second epoch was written, before the state was
    resumed.write({"epoch": 2, "toy.near": 7.5})
    resumed.close()
    board.Reload()
    assert {event.step: event.value for event in board.Scalars("toy/near")} == {1: scalars[1], 2: 7.5}
