"""The training loop with several tasks: cells, joint steps, sampling, stopping task by task, adversaries, averages; resuming stays exact."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from m6rec.base.errors import ConfigError, DataError, Interrupted
from m6rec.evaluation.metric_names import told_value
from m6rec.language_model.config import ModelShape
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.config import JudgeConfig
from m6rec.tasks.task import Task
from m6rec.training.adversarial import Adversary
from m6rec.training.averaging import WeightAverage
from m6rec.training.cells import Cells
from m6rec.training.config import TrainConfig
from m6rec.training.configuration_checks import check_asked
from m6rec.training.loop import Loop
from m6rec.training.progress import Progress, few
from m6rec.training.row_optimizer import ROW_STATE, AdamWithRows
from m6rec.training.steps import Mixing, module_counts
from m6rec.training.stopping import Stopping, Validations

SHAPE = ModelShape(vocabulary=8, width=4, heads=1, lower_layers=0, upper_layers=0, history=2, dropout=0.0, lower_dropout=0.0)


@pytest.fixture(autouse=True)
def keyboard() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Chooser(Task):
    """One loss; a batch is a number, pulled towards with the model's shared embedding and a point of its own."""

    answer = "choose"

    def __init__(self, numbers: list[float], said: Callable[[str], None] | None = None) -> None:
        super().__init__()
        self.numbers, self.said = numbers, said
        self.point = nn.Parameter(torch.full((4,), 0.5))
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.steered: list[dict[str, float]] = []

    def batches(self, generator: np.random.Generator) -> Iterator[float]:
        yield from (self.numbers[place] for place in generator.permutation(len(self.numbers)))

    def loss(self, model: LanguageModel, batch: float) -> dict[str, Tensor]:
        if self.said is not None:
            self.said("choose")
        rows = model.embedding(torch.tensor([1, 2]))
        return {"choose": ((rows.sum(0) + self.point + 0.1 * torch.rand(4) - batch) ** 2).mean()}

    def targets(self, batch: float) -> int:
        return 2

    def steer(self, rates: dict[str, float]) -> None:
        self.steered.append(rates)


class Judger(Chooser):
    """Cells "shop/click", "feed/click" and "rate", and a loss that is no cell; "rate" is in every other batch only."""

    answer = "judge"

    def loss(self, model: LanguageModel, batch: float) -> dict[str, Tensor]:
        if self.said is not None:
            self.said("judge")
        rows = model.embedding(torch.tensor([2, 3]))
        wide = (rows.sum(0) - self.point - batch) ** 2
        found = {"shop/click": wide[0] + 1.0, "feed/click": wide[1] + 2.0, "spread": 0.01 * self.point.square().sum()}
        return found | ({"rate": wide[2:].sum()} if batch > 0 else {})

    def loss_targets(self, batch: float) -> dict[str, int]:
        return {"shop/click": 1, "feed/click": 1}


def tasks_of(said: Callable[[str], None] | None = None) -> dict[str, Task]:
    return {"choose": Chooser([1.0, -2.0, 0.5, 3.0], said), "judge": Judger([1.0, -1.0, 2.0, -2.0, 0.3, -0.7], said)}


WEIGHTS = {"choose": 1.0, "click": 2.0, "feed/click": 0.5, "rate": 1.0}


def loop_of(folder: Path, tasks: dict[str, Task] | None = None, **settings: Any) -> Loop:
    given = {name: settings.pop(name) for name in ("validate", "metric", "weights") if name in settings}
    config = TrainConfig(**{"epochs": 3, "learning_rate": 0.05, **settings})
    given.setdefault("weights", WEIGHTS)
    return Loop(LanguageModel(SHAPE, seed=1), tasks or tasks_of(), config, seed=3, folder=folder, **given)


def rows_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


# ---- cells


def test_which_cell_a_loss_belongs_to() -> None:
    cells = Cells(WEIGHTS)
    found = [cells.cell("judge", loss) for loss in ("shop/click", "feed/click", "rate", "spread", "shop/rate")]
    assert found == ["shop/click", "feed/click", "rate", "judge", "shop/rate"]
    assert [cells.weight(cell) for cell in found] == [2.0, 0.5, 1.0, 1.0, 1.0]
    sums = cells.sums("toy", {"near": torch.tensor(2.0), "small": torch.tensor(0.5)})
    assert sums == {"toy": torch.tensor(2.5)}


def test_the_log_reports_weights_examples_and_seconds(tmp_path: Path) -> None:
    state = loop_of(tmp_path, epochs=2).run()
    row = rows_of(tmp_path)[0]
    assert [row[f"weight of {cell}"] for cell in ("choose", "shop/click", "feed/click", "rate", "judge")] == [1.0, 2.0, 0.5, 1.0, 1.0]
    assert [row[f"examples of {cell}"] for cell in ("choose", "shop/click", "rate")] == [8, 6, 6]
    seconds = sum(value for name, value in row.items() if name.startswith("seconds of"))
    assert seconds == pytest.approx(row["seconds"], abs=0.01)
    assert state.report["choose"]["examples"] == 16


def test_losses_stand_in_the_order_of_the_tasks_in_every_epoch(tmp_path: Path) -> None:
    """Whichever module's batch comes first, and whichever of its labels a batch has first."""

    class Told(Progress):
        def __init__(self) -> None:
            super().__init__(visible=False)
            self.lines: list[list[str]] = []

        def advance(self, losses: dict[str, float], rate: float) -> None:
            self.lines.append(list(losses))

    progress, firsts = Told(), list[str]()
    loop = loop_of(tmp_path, tasks_of(firsts.append), weights={"choose": 1.0, "rate": 1.0, "click": 2.0}, epochs=6)
    loop.progress = progress
    loop.run()
    order = ["choose.choose", "judge.rate", "judge.feed/click", "judge.shop/click", "judge.spread"]
    assert [line for line in progress.lines if line != [name for name in order if name in line]] == []
    assert {firsts[step] for step in range(0, len(firsts), 10)} == {"choose", "judge"}, "epochs begin with the one or the other"


def test_a_module_of_cells_is_counted_too(tmp_path: Path) -> None:
    """Six batches of two examples, each with a label for several cells."""

    class Plain(Judger):
        def loss(self, model: LanguageModel, batch: float) -> dict[str, Tensor]:
            return {name: loss for name, loss in super().loss(model, batch).items() if name != "spread"}

    loop_of(tmp_path, {"judge": Plain([1.0, -1.0, 2.0, -2.0, 0.3, -0.7])}, epochs=1).run()
    (row,) = rows_of(tmp_path)
    assert (row["examples of judge"], row["examples of rate"], row["examples of shop/click"]) == (12, 6, 6)
    cells = sum(row[f"seconds of {cell}"] for cell in ("shop/click", "feed/click", "rate"))
    assert row["seconds of judge"] == pytest.approx(cells, abs=0.01)


def test_a_task_may_weigh_differently_in_one_scenario() -> None:
    config = JudgeConfig(label="clicked", weight=2.0, scenario_weights={"feed": 0.5, "ads": 0.0})
    cells = Cells(config.weights("click"))
    assert [cells.weight(cell) for cell in ("shop/click", "feed/click", "ads/click")] == [2.0, 0.5, 0.0]
    with pytest.raises(ConfigError, match="scenario_weights is for on: candidate; set weight"):
        JudgeConfig.build({"label": "mood", "on": "text", "scenario_weights": {"feed": 1}}, source="tasks.mood")


@pytest.mark.parametrize("on", ["text", "item"])
def test_scenarios_and_places_are_for_candidates(on: str) -> None:
    def check(**settings: Any) -> None:
        check_asked("mood", JudgeConfig.build({"label": "mood", "on": on, **settings}, source="tasks.mood"))

    with pytest.raises(ConfigError, match=rf"tasks.mood.scenarios is \['nosuch'\], .*\(on: {on}\) has no scenarios; leave it out"):
        check(scenarios=["nosuch"])
    for way in ("adjust", "propensity"):
        with pytest.raises(ConfigError, match=rf"tasks.mood.position is '{way}', .* has no position; leave it out"):
            check(position=way)
    check(scenarios=None, position="auto")
    check(position="ignore")


def test_a_task_is_asked_somewhere() -> None:
    nowhere = JudgeConfig.build({"label": "clicked", "scenarios": []}, source="tasks.click")
    with pytest.raises(ConfigError, match=r"tasks.click.scenarios is an empty list, .*; leave it out for everywhere"):
        check_asked("click", nowhere)
    check_asked("click", nowhere.model_copy(update={"scenarios": ["feed"]}))


def test_a_weight_of_zero_is_not_trained(tmp_path: Path) -> None:
    heard: list[str] = []
    tasks = tasks_of(heard.append)
    loop_of(tmp_path / "a", tasks, weights={**WEIGHTS, "choose": 0.0}).run()
    assert set(heard) == {"judge"}
    assert isinstance(tasks["choose"], Chooser)
    assert torch.equal(tasks["choose"].point.detach(), torch.full((4,), 0.5))


def test_a_cell_of_weight_zero_is_not_trained(tmp_path: Path) -> None:
    class Plain(Judger):
        def loss(self, model: LanguageModel, batch: float) -> dict[str, Tensor]:
            return {name: loss for name, loss in super().loss(model, batch).items() if name != "spread"}

    judge = Plain([1.0, 2.0])
    loop_of(tmp_path, {"judge": judge}, weights={"click": 0.0, "rate": 1.0}, weight_decay=0.0).run()
    assert (judge.point.detach() != 0.5).tolist() == [False, False, True, True]  # what "rate" reads


@pytest.mark.parametrize("way", ["fixed", "pcgrad"])
def test_what_is_frozen_stays(tmp_path: Path, way: str) -> None:
    tasks = tasks_of()
    loop = loop_of(tmp_path, tasks, balance=way, adversarial=0.1, average="ema")
    loop.run()
    for task in tasks.values():
        assert isinstance(task, Chooser)
        assert task.frozen.grad is None
        assert torch.equal(task.frozen, torch.ones(3))


def test_a_cell_that_is_not_finite_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the loss of task 'shop/click' became nan at step \d+; lower train\.learning_rate"):
        loop_of(tmp_path, {"judge": Judger([1.0, math.nan])}).run()


# ---- steps


def test_joint_steps_take_a_batch_of_every_module(tmp_path: Path) -> None:
    heard: list[str] = []
    loop_of(tmp_path, tasks_of(heard.append), epochs=1, balance={"way": "fixed", "joint": True}).run()
    assert len(heard) == 10  # every batch once
    assert heard.count("judge") == 6
    state = loop_of(tmp_path / "u", epochs=1, balance={"way": "mgda", "sampling": "uniform"}).run()
    assert state.steps == 5  # as many batches, one of each at a time


def test_accumulated_gradients_are_averaged(tmp_path: Path) -> None:
    """Two batches of the same number make one step like that of one batch."""

    class Still(Chooser):
        def loss(self, model: LanguageModel, batch: float) -> dict[str, Tensor]:
            return {"choose": ((self.point - batch) ** 2).sum()}

    points = []
    for numbers, accumulate in (([2.0], 1), ([2.0, 2.0], 2)):
        tasks: dict[str, Task] = {"choose": Still(numbers)}
        state = loop_of(tmp_path / str(accumulate), tasks, accumulate=accumulate, epochs=2, clip=1e9).run()
        assert state.steps == 2
        points.append(tasks["choose"].point)  # type: ignore[union-attr]
    torch.testing.assert_close(points[0], points[1], rtol=0, atol=0)


def test_batches_are_dealt_to_processes() -> None:
    tasks: dict[str, Task] = {"few": Chooser([1.0, 2.0, 3.0]), "many": Chooser([10.0 + i for i in range(7)])}
    own = []
    for rank in range(2):
        mixing = Mixing(rank=rank, count=2)
        own.append([group for step in mixing.steps(tasks, np.random.default_rng(0), lambda natural: natural) for group in step])
    assert [list(group) for group in own[0]] == [list(group) for group in own[1]]  # the same modules at the same step
    assert len(own[0]) == 2 + 4
    assert {value for part in own for group in part for value in group.values()} == {1.0, 2.0, 3.0, *(10.0 + i for i in range(7))}


def test_how_often_modules_are_drawn() -> None:
    assert module_counts({"a": 10, "b": 30}, None) == {"a": 10, "b": 30}
    assert module_counts({"a": 10, "b": 30}, {"a": 1.0, "b": 1.0}) == {"a": 10, "b": 30}
    assert module_counts({"a": 10, "b": 30}, {"a": 3.0, "b": 1.0}) == {"a": 20, "b": 20}
    assert module_counts({"a": 10, "b": 30}, {"a": 1 / 10, "b": 1 / 30}) == {"a": 20, "b": 20}
    assert module_counts({"a": 10, "b": 0}, {"a": 1.0, "b": 1.0}) == {"a": 10, "b": 0}


def test_sampling_by_weight_leaves_what_is_optimised(tmp_path: Path) -> None:
    """Drawn three times as often, weighed a third: the weight in the loss times the share of the batches is that of the configuration."""
    heard: list[str] = []
    tasks = tasks_of(heard.append)
    loop = loop_of(tmp_path, tasks, epochs=1, weights={"choose": 3.0, "judge": 1.0}, balance={"sampling": "weight"})
    loop.run()
    counts = {name: heard.count(name) for name in ("choose", "judge")}
    assert counts == {"choose": 7, "judge": 3}  # 4 x 3 : 6 x 1, of 10
    row = rows_of(tmp_path)[0]
    assert row["weight of choose"] * counts["choose"] == pytest.approx(3.0 * 4)
    assert row["weight of judge"] * counts["judge"] == pytest.approx(1.0 * 6)


def test_rows_are_steered_by_the_adaptive_weights(tmp_path: Path) -> None:
    tasks = tasks_of()
    loop = loop_of(tmp_path, tasks, epochs=3, balance={"way": "uncertainty", "sampling": "adaptive"})
    loop.run()
    judge = tasks["judge"]
    assert isinstance(judge, Judger)
    last = judge.steered[-1]
    assert set(last) == {"shop/click", "feed/click", "rate", "judge"}
    assert last["judge"] > last["rate"]  # the smallest loss weighs the most
    assert all(0.1 <= rate <= 10 for rate in last.values())


# ---- resuming


def ctrl_c_at(call: int) -> Callable[[str], None]:
    count = 0

    def said(_: str) -> None:
        nonlocal count
        count += 1
        if count == call:
            signal.raise_signal(signal.SIGINT)

    return said


EVERYTHING: list[dict[str, Any]] = [
    {"balance": {"way": "uncertainty", "sampling": "adaptive"}, "accumulate": 2, "average": "ema"},
    {"balance": "dwa", "average": "last", "average_last": 2, "stop": "task", "patience": 1},
    {"balance": {"way": "gradnorm", "every": 2}, "adversarial": 0.1},
    {"balance": {"way": "pcgrad", "sampling": "uniform"}, "accumulate": 3},
]


@pytest.mark.parametrize("settings", EVERYTHING, ids=lambda s: str(s["balance"]))
@pytest.mark.parametrize("call", [3, 17])
def test_interrupted_and_resumed_gives_the_same_bits(tmp_path: Path, settings: dict[str, Any], call: int) -> None:
    def validated(loop: list[Loop]) -> dict[str, float]:
        row = loop[0].model.embedding.weight.detach()
        return {"one": -float((row[1] ** 2).sum()), "two": -float((row[3] ** 2).sum())}

    def make(folder: Path, said: Callable[[str], None] | None = None) -> Loop:
        box: list[Loop] = []
        metric = {"choose": "one", "click": "two"}
        box.append(loop_of(folder, tasks_of(said), validate=lambda: validated(box), metric=metric, **settings))
        return box[0]

    make(tmp_path / "whole").run()
    with pytest.raises(Interrupted):
        make(tmp_path / "cut", ctrl_c_at(call)).run()
    torch.manual_seed(99)
    make(tmp_path / "cut").run()
    assert (tmp_path / "cut/best.safetensors").read_bytes() == (tmp_path / "whole/best.safetensors").read_bytes()


# ---- stopping


def test_one_task_stops_and_the_others_go_on(tmp_path: Path) -> None:
    """choose is best at the first validation and stops two later; judge gets better to the end."""
    heard: list[str] = []
    choose, judge = iter([0.9, 0.8, 0.8, 0.8, 0.8]), iter([0.1, 0.2, 0.3, 0.4, 0.5])
    loop = loop_of(
        tmp_path,
        tasks_of(heard.append),
        epochs=5,
        stop="task",
        patience=2,
        validate=lambda: {"ndcg@10": next(choose), "click ndcg": next(judge)},
        metric={"choose": "ndcg@10", "judge": "click ndcg"},
    )
    state = loop.run()
    assert state.validations.stopped == ["choose"]
    assert heard.count("choose") == 3 * 4  # trained in three epochs of five
    assert heard.count("judge") == 5 * 6
    assert state.validations.best == {"choose": (0, 0.9), "judge": (4, 0.5)}
    assert (state.epoch, state.best_epoch) == (5, 4)


def test_all_tasks_stopped_is_the_end(tmp_path: Path) -> None:
    loop = loop_of(tmp_path, epochs=9, stop="task", patience=1, validate=lambda: {"m": 0.5}, metric={"choose": "m", "judge": "m"})
    state = loop.run()
    assert (state.epoch, state.done, state.best_epoch) == (2, True, 0)


def test_the_combined_score_by_hand() -> None:
    """Epoch 2: click at its best, choose at 3/4 of its best. AUC counts from 1/2: 0.6 is half of 0.7."""
    stopping = Stopping({"choose": "ndcg@10", "click": "click auc"}, "all", 1)
    seen = Validations()
    assert stopping.note(seen, 0, {"ndcg@10": 0.04, "click auc": 0.6}) == (1.0, True)
    score, better = stopping.note(seen, 1, {"ndcg@10": 0.03, "click auc": 0.7})
    assert score == pytest.approx((0.75 + 1.0) / 2)
    assert better  # the first is now (1 + 1/2) / 2
    score, better = stopping.note(seen, 2, {"ndcg@10": 0.03, "click auc": math.nan})
    assert score == pytest.approx(0.75)
    assert not better


def test_errors_are_given_negative() -> None:
    stopping = Stopping({"rate": "rating rmse", "click": "m"}, "task", 2)
    seen = Validations()
    stopping.note(seen, 0, {"rating rmse": -1.0, "m": 1.0})
    score, better = stopping.note(seen, 1, {"rating rmse": -0.8, "m": 1.0})
    assert (score, better) == (1.0, True)
    score, better = stopping.note(seen, 2, {"rating rmse": -0.9, "m": 1.0})
    assert (score, better) == (pytest.approx((1 - 0.125 + 1) / 2), False)
    assert seen.stopped == ["click"]


@pytest.mark.parametrize(
    ("name", "watched", "told"),
    [
        ("rating rmse", -0.78, 0.78),
        ("a long name log_loss", -0.5, 0.5),
        ("fit r2", -0.1, -0.1),  # worse than the mean
        ("review log likelihood", -3.2, -3.2),
        ("click ndcg@3", 0.5, 0.5),
        ("ndcg@10", 0.1, 0.1),
        ("rmse quality", -0.2, -0.2),  # of a task called rmse
    ],
)
def test_people_read_errors_as_errors(name: str, watched: float, told: float, capsys: pytest.CaptureFixture[str]) -> None:
    assert told_value(name, watched) == told
    Progress(visible=False, notes=True).note(1, {"judge.x": 0.25}, {name: watched})
    assert capsys.readouterr().err.split() == ["epoch", "1", "x", "0.2500", *name.split(), f"{told:.4f}"]


# ---- the optimizer


@pytest.mark.parametrize("dense_first", [True, False])
def test_tasks_may_differ_in_how_they_read_a_table(dense_first: bool) -> None:
    """A table with a sparse gradient in one step and a dense one in the next goes on row by row; rows nobody read stay."""
    table = nn.Parameter(torch.ones(5, 2))
    optimizer = AdamWithRows([table], lr=0.1, betas=(0.9, 0.98), weight_decay=0.0)
    for step in range(6):
        optimizer.zero_grad()
        sparse = (step % 2 == 1) == dense_first
        (nn.functional.embedding(torch.tensor([1, 3]), table, sparse=sparse) ** 2).sum().backward()
        optimizer.step()
    moved = table.detach() != 1
    assert moved.all(dim=1).tolist() == [False, True, False, True, False]
    assert 0.3 < float(table.detach()[1, 0]) < 0.55  # six steps of about 0.1
    assert set(optimizer.state[table]) == set(ROW_STATE)


# ---- adversary and averages


@pytest.mark.parametrize("sparse", [False, True])
def test_the_adversary_by_hand(sparse: bool) -> None:
    """Rows (3, 4) and (0, 0) are read, norm 5; the gradient of 2 x1 + y2 is (2, 0), (0, 1), norm sqrt 5."""
    table = nn.Embedding.from_pretrained(torch.tensor([[3.0, 4.0], [7.0, 7.0], [0.0, 0.0]]), freeze=False, sparse=sparse)
    before = table.weight.detach().clone()
    adversary = Adversary(table, 0.1)
    rows = table(torch.tensor([0, 2]))
    gradients = adversary.gradients(2 * rows[0, 0] + rows[1, 1])
    with adversary.moved(gradients):
        step = 0.1 * 5 / math.sqrt(5)
        torch.testing.assert_close(
            table.weight.detach() - before, torch.tensor([[2 * step, 0.0], [0.0, 0.0], [0.0, step]]), atol=1e-6, rtol=0
        )
    assert torch.equal(table.weight, before)


@pytest.mark.parametrize("way", ["fixed", "mgda"])
def test_an_adversarial_step_by_hand(tmp_path: Path, way: str) -> None:
    """Loss |x|^2 / 2 of the row read: its gradient x, and (1 + epsilon) x where the adversary moved it to."""

    class Bowl(Chooser):
        def loss(self, model: LanguageModel, batch: float) -> dict[str, Tensor]:
            return {"choose": 0.5 * (model.embedding(torch.tensor([1])) ** 2).sum()}

    loop = loop_of(tmp_path, {"choose": Bowl([1.0])}, epochs=1, adversarial=0.25, clip=1e9, balance=way)
    row, found = loop.model.embedding.weight.detach()[1].clone(), []
    finish = loop.balancer.finish

    def finished(means: dict[str, float]) -> None:
        finish(means)
        assert loop.model.embedding.weight.grad is not None
        found.append(loop.model.embedding.weight.grad[1].clone())

    loop.balancer.finish = finished  # type: ignore[method-assign]
    loop.run()
    torch.testing.assert_close(found[0], 2.25 * row)


def test_averages_by_hand() -> None:
    module = nn.Linear(1, 1, bias=False)
    weights = [1.0, 2.0, 4.0]
    ema, last = WeightAverage(module, "ema", 0.5, 2), WeightAverage(module, "last", 0.5, 2)
    for step, value in enumerate(weights, start=1):
        with torch.no_grad():
            module.weight.fill_(value)
        ema.after_step(step)
        last.after_epoch()
    first = 1.0
    second = first * 3 / 12 + 2.0 * 9 / 12  # kept is (1 + 2) / (10 + 2) at step 2, 4 / 13 at step 3
    third = second * 4 / 13 + 4.0 * 9 / 13
    with ema.applied():
        assert module.weight.item() == pytest.approx(third)
    with last.applied():
        assert module.weight.item() == pytest.approx(3.0)
    assert module.weight.item() == 4.0


def test_what_is_validated_and_kept_is_the_average(tmp_path: Path) -> None:
    points: list[float] = []
    tasks = tasks_of()
    choose = tasks["choose"]
    assert isinstance(choose, Chooser)

    def validate() -> dict[str, float]:
        points.append(float(choose.point.detach()[0]))
        return {"m": float(len(points))}

    loop = loop_of(tmp_path, tasks, average="last", average_last=2, validate=validate, metric="m")
    ends: list[float] = []
    after = loop.average.after_epoch
    loop.average.after_epoch = lambda: (ends.append(float(choose.point.detach()[0])), after())[1]  # type: ignore[method-assign]
    loop.run()
    assert points == pytest.approx([ends[0], (ends[0] + ends[1]) / 2, (ends[1] + ends[2]) / 2])
    assert float(choose.point.detach()[0]) == pytest.approx(points[-1])


def test_a_line_of_progress_stays_short() -> None:
    assert few({"choose.choose": 7.0, "judge.v1.2/click": 0.5}) == {"choose": 7.0, "v1.2/click": 0.5}
    many = {f"judge.s{number}/click": float(number) for number in range(5)} | {"choose.choose": 7.0}
    assert few(many) == {"judge (mean of 5)": 2.0, "choose": 7.0}


def test_exposures_are_passed_more_often_where_items_have_many() -> None:
    assert TrainConfig().judged_passes(9_999, 100) == 2
    assert TrainConfig().judged_passes(10_000, 100) == 4
    assert TrainConfig(exposure_passes=3).judged_passes(10_000, 100) == 3
