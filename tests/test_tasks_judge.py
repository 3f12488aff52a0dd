"""judge: the same answer alone, in a batch and over a kept history; options apart from each other; what was planted is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from m6rec.base.contracts import Histories
from m6rec.language_model.config import ModelShape
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.choose import Choose, ChooseSizes
from m6rec.tasks.config import ChooseConfig, JudgeConfig, SharingConfig
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.judge import Judge
from m6rec.tasks.judge_cells import JudgeSizes
from m6rec.tasks.judge_labels import LabelSize
from m6rec.tasks.judge_rows import BLOCK, JudgeExamples, JudgeRows, batch_blocks, cut_blocks, padded
from m6rec.tasks.options import Option, OptionBank, module_name

WIDTH, ITEMS, USERS, CAP = 16, 12, 20, 6


def world(rows: int = 300, seed: int = 0, **columns: Any) -> JudgeExamples:
    """Twenty people with histories of up to ten events, and exposures at any point of them."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 11, USERS)
    lengths[0] = 0
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    times = np.concatenate([np.cumsum(rng.exponential(5000, n)) for n in lengths])
    histories = Histories(offsets, rng.integers(0, ITEMS, offsets[-1]).astype(np.int32), times)
    users = rng.integers(0, USERS, rows)
    made = {
        "users": users,
        "items": rng.integers(0, ITEMS, rows),
        "cuts": offsets[users] + rng.integers(0, lengths[users] + 1),
        "scenarios": rng.integers(0, 2, rows),
        "times": 60_000 + rng.random(rows) * 1e5,
        "statistics": rng.normal(size=(rows, 3)).astype(np.float32),
        **columns,
    }
    contents = Contents(torch.zeros(ITEMS, WIDTH), torch.arange(ITEMS), torch.arange(ITEMS + 1), torch.zeros(ITEMS, 0))
    profiles = Contents(torch.zeros(USERS, WIDTH), torch.arange(USERS) % 3, torch.arange(USERS + 1), torch.zeros(USERS, 0))
    return JudgeExamples(JudgeRows(**made), histories, contents, profiles, batch_rows=64)


def build(
    examples: JudgeExamples, configs: dict[str, JudgeConfig], sizes: dict[str, LabelSize] | None = None, seed: int = 0, **sharing: Any
) -> tuple[LanguageModel, Judge]:
    shape = ModelShape(
        vocabulary=4, width=WIDTH, heads=2, lower_layers=0, upper_layers=2, history=CAP, dropout=0.0, lower_dropout=0.0, times=True
    )
    model = LanguageModel(shape, seed=seed)
    reader = Choose(ChooseConfig(), shape, ChooseSizes(ITEMS, 0, 3, 0, 1, 1), torch.ones(ITEMS, dtype=torch.long))
    reader.initialise(torch.Generator().manual_seed(seed))
    rows = examples.rows
    judge = Judge(
        configs,
        SharingConfig(**{"dropout": 0.0, **sharing}),
        shape,
        JudgeSizes(
            sizes or {task: LabelSize.of("binary", rows.labels[task]) for task in configs},
            [] if rows.scenarios is None else ["shop", "feed"],
            ["a", "b", "c"] if rows.statistics is not None else [],
            timed=True,
            placed=rows.positions is not None,
            profile_features=3,
        ),
        reader,
    )
    judge.initialise(torch.Generator().manual_seed(seed))
    judge.bind(examples)
    return model, judge


def fit(model: LanguageModel, judge: Judge, epochs: int, rate: float = 0.01) -> None:
    parameters = [p for module in (model.upper, judge, judge.reader) for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=rate)
    for epoch in range(epochs):
        for batch in judge.batches(np.random.default_rng(epoch)):
            optimizer.zero_grad()
            losses = judge.loss(model, batch)
            total = sum(losses.values(), torch.zeros(()))
            total.backward()
            optimizer.step()
    for module in (model, judge, judge.reader):
        module.eval()


def shaken(module: torch.nn.Module, seed: int = 3) -> None:
    """No parameter at zero: what starts without effect has one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)


CLICK = {"click": JudgeConfig(label="click")}
TWO = {"click": JudgeConfig(label="click"), "like": JudgeConfig(label="like", scenarios=["feed"])}
WAYS: list[dict[str, Any]] = [{"way": way, "scenarios": scenarios} for way, scenarios in
        [("trunk", "embedding"), ("attention", "pepnet"), ("mmoe", "star"), ("ple", "embedding")]]  # fmt: skip


def labelled(rows: int = 300, tasks: tuple[str, ...] = ("click", "like"), **columns: Any) -> JudgeExamples:
    rng = np.random.default_rng(9)
    return world(rows, labels={task: (rng.random(rows) < 0.4).astype(np.float32) for task in tasks}, **columns)


# ---- blocks


def test_every_exposure_is_in_one_block_that_reads_enough() -> None:
    examples = labelled()
    rows, histories = examples.rows, examples.histories
    blocks = cut_blocks(rows, histories, CAP)
    assert sorted(blocks.order.tolist()) == list(range(len(rows)))
    assert blocks.counts.max() <= BLOCK
    for number, (begin, end) in enumerate(zip(blocks.starts[:-1], blocks.starts[1:], strict=True)):
        for row in blocks.order[begin:end]:
            assert rows.users[row] == blocks.users[number]
            assert blocks.first[number] <= max(histories.offsets[rows.users[row]], rows.cuts[row] - CAP)
            assert rows.cuts[row] <= blocks.last[number]
        assert blocks.last[number] - blocks.first[number] <= 2 * CAP
    batches = list(batch_blocks(blocks, 32, 500, np.random.default_rng(0)))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(blocks.users)))
    places, real = padded(blocks, batches[0])
    assert real.sum() == blocks.counts[batches[0]].sum()
    assert len(np.unique(places[real])) == real.sum()


# ---- answers


@pytest.mark.parametrize("sharing", WAYS, ids=lambda s: s["way"])
@pytest.mark.parametrize("joint", [None, 0, 1])
def test_alone_in_a_batch_and_with_kept_vectors(sharing: dict[str, Any], joint: int | None) -> None:
    examples = labelled()
    model, judge = build(examples, TWO, joint_layers=joint, **sharing)
    shaken(judge)
    judge.eval(), judge.reader.eval(), model.eval()
    together = judge.answer_rows(model, examples)
    assert np.isnan(together["like"][examples.rows.scenarios == 0]).all()
    assert together["click"].std() > 1e-3
    vectors = judge.reader.item_vectors(examples.contents)
    kept = judge.answer_rows(model, replace(examples, vectors=vectors.detach()))
    some = np.array([0, 7, 33, 150])
    alone = [judge.answer_rows(model, replace(examples, rows=examples.rows.rows(np.array([row])))) for row in some]
    for task in TWO:
        np.testing.assert_allclose(kept[task], together[task], atol=1e-5)
        np.testing.assert_allclose([one[task][0] for one in alone], together[task][some], atol=1e-5)


def test_only_events_before_the_exposure_and_no_other_exposure_count() -> None:
    examples = labelled(rows=60)
    model, judge = build(examples, CLICK)
    shaken(judge)
    judge.eval(), judge.reader.eval(), model.eval()
    rows, histories = examples.rows, examples.histories
    before = judge.answer_rows(model, examples)["click"]
    row = int(np.flatnonzero((rows.cuts < histories.offsets[rows.users + 1]) & (rows.cuts > histories.offsets[rows.users]))[0])
    items = histories.items.copy()
    items[rows.cuts[row] : histories.offsets[rows.users[row] + 1]] = (
        items[rows.cuts[row] : histories.offsets[rows.users[row] + 1]] + 5
    ) % ITEMS
    later = judge.answer_rows(model, replace(examples, histories=replace(histories, items=items)))["click"]
    assert later[row] == pytest.approx(before[row], abs=1e-6)
    items = histories.items.copy()
    items[rows.cuts[row] - 1] = (items[rows.cuts[row] - 1] + 5) % ITEMS
    assert abs(judge.answer_rows(model, replace(examples, histories=replace(histories, items=items)))["click"][row] - before[row]) > 1e-4


def test_the_loss_is_that_of_the_answers() -> None:
    """Training reads as answering does: mean log loss of each cell, from the probabilities that `answer_rows` gives."""
    examples = labelled()
    examples = replace(
        examples, rows=examples.rows.rows(np.flatnonzero(examples.rows.cuts - examples.histories.offsets[examples.rows.users] <= CAP))
    )
    model, judge = build(examples, TWO)
    shaken(judge)
    judge.eval(), judge.reader.eval(), model.eval()
    answers = judge.answer_rows(model, examples)
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for batch in judge.batches(np.random.default_rng(0)):
        for cell, loss in judge.loss(model, batch).items():
            sums[cell] = sums.get(cell, 0.0) + float(loss.detach()) * judge.targets(batch) * judge.sizes.labels[cell.split("/")[1]].base
            counts[cell] = counts.get(cell, 0) + judge.counted[cell]
    assert set(sums) == {"shop/click", "feed/click", "feed/like"}
    for cell, total in sums.items():
        scenario, task = cell.split("/")
        assert examples.rows.scenarios is not None
        there = np.equal(examples.rows.scenarios, ["shop", "feed"].index(scenario))
        p, y = answers[task][there].astype(np.float64), examples.rows.labels[task][there]
        assert counts[cell] == there.sum()
        assert total / counts[cell] == pytest.approx(
            -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)), rel=2e-3
        )  # ranks are kept as float16


def test_position_is_learned_apart_and_left_out() -> None:
    """Clicks = taste and place: the planted tastes come back although liked items were shown at the bottom."""
    rng, rows = np.random.default_rng(1), 4000
    taste = np.linspace(-1.5, 1.5, ITEMS)
    items = rng.integers(0, ITEMS, rows)
    positions = np.clip(np.round(5 + 2.5 * taste[items] + rng.normal(0, 1.5, rows)), 1, 10).astype(np.float32)
    click = (rng.random(rows) < 1 / (1 + np.exp(-(taste[items] - 0.6 * (positions - 5))))).astype(np.float32)
    examples = replace(
        world(rows, items=items, positions=positions, statistics=None, scenarios=None, labels={"click": click}), batch_rows=512
    )
    found = {}
    for way in ("adjust", "ignore"):
        model, judge = build(examples, {"click": JudgeConfig(label="click", position=way)}, joint_layers=0)
        fit(model, judge, 2)
        answers = judge.answer_rows(model, examples)["click"]
        if way == "adjust":
            terms = judge.position.effect("click").detach().numpy()[1:11]
            assert np.polyfit(np.arange(10), terms, 1)[0] == pytest.approx(-0.6, abs=0.15)
        found[way] = np.corrcoef([answers[items == item].mean() for item in range(ITEMS)], taste)[0, 1]
    assert found["adjust"] > 0.9
    assert found["ignore"] < found["adjust"] - 0.1


# ---- options


@pytest.mark.parametrize("way", ["attention", "trunk", "mmoe", "ple"])
def test_options_come_and_go_without_touching_a_bit_of_the_others(way: str) -> None:
    examples = labelled()
    model, judge = build(examples, TWO, way=way)
    shaken(judge)
    judge.eval(), judge.reader.eval(), model.eval()
    before = judge.answer_rows(model, examples)
    weights = {name: value.clone() for name, value in judge.state_dict().items()}
    judge.add_task("share.it/now", JudgeConfig(label="click"), LabelSize("number", [], 2.0, 3.0, [0.0]), torch.Generator().manual_seed(7))
    judge.eval()
    with_it = judge.answer_rows(model, examples)
    assert set(with_it) == {*TWO, "share.it/now"}
    own = judge.own_names("share.it/now")
    assert own
    assert not set(own) & set(weights)
    assert set(own) | set(weights) == set(judge.state_dict())
    for task in TWO:
        np.testing.assert_array_equal(with_it[task], before[task])
    judge.drop_task("share.it/now")
    after = judge.answer_rows(model, examples)
    assert list(after) == list(TWO)
    for task in TWO:
        np.testing.assert_array_equal(after[task], before[task])
    if way != "attention":  # where tasks look at each other, one that the others were trained with is missed by them
        judge.drop_task("like")
        np.testing.assert_array_equal(judge.answer_rows(model, examples)["click"], before["click"])


def test_an_option_trains_alone_on_a_frozen_backbone() -> None:
    examples = labelled()
    model, judge = build(examples, TWO)
    shaken(judge)
    judge.freeze(model, "options", ["like"])
    judge.eval(), judge.reader.eval(), model.eval()
    before = {
        name: value.clone()
        for name, value in (*judge.state_dict().items(), *model.state_dict().items(), *judge.reader.state_dict().items())
    }
    answers = judge.answer_rows(model, examples)
    fit(model, judge, 2)
    moved = {
        name
        for module in (judge, model, judge.reader)
        for name, value in module.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert moved
    assert moved <= set(judge.own_names("like"))
    after = judge.answer_rows(model, examples)
    np.testing.assert_array_equal(after["click"], answers["click"])
    assert np.nanmax(np.abs(after["like"] - answers["like"])) > 1e-3
    judge.freeze(model, "upper", ["like"])
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(name.startswith("upper.") for name in trained)


# ---- what is learned


def test_purchase_after_click_is_learned_from_all_exposures() -> None:
    """Planted: who clicks item i buys it with a rate that falls with its click rate. A model of clicked rows alone calls rarely clicked items bad.

    The entire-space one (ESMM) answers p(click and purchase) right for all items."""
    rng, rows = np.random.default_rng(4), 8000
    items = rng.integers(0, ITEMS, rows)
    clicked, bought = np.linspace(0.1, 0.9, ITEMS), np.linspace(0.9, 0.15, ITEMS)
    click = (rng.random(rows) < clicked[items]).astype(np.float32)
    purchase = click * (rng.random(rows) < bought[items])
    examples = replace(
        world(rows, items=items, statistics=None, scenarios=None, labels={"click": click, "purchase": purchase.astype(np.float32)}),
        batch_rows=512,
    )
    configs = {"click": JudgeConfig(label="click"), "purchase": JudgeConfig(label="purchase", after="click")}
    model, judge = build(examples, configs, joint_layers=0)
    fit(model, judge, 6)
    answers = judge.answer_rows(model, examples)
    means = np.array([answers["purchase"][items == item].mean() for item in range(ITEMS)])
    np.testing.assert_allclose(means, clicked * bought, atol=0.1)
    assert (answers["purchase"] < answers["click"]).all()
    naive = replace(examples, rows=examples.rows.rows(np.flatnonzero(click == 1)))  # purchase learned where there was a click
    model, judge = build(naive, {"purchase": JudgeConfig(label="purchase")}, joint_layers=0)
    fit(model, judge, 6)
    alone = judge.answer_rows(model, examples)["purchase"]
    guesses = np.array([alone[items == item].mean() for item in range(ITEMS)])
    assert np.abs(guesses - clicked * bought).mean() > 4 * np.abs(means - clicked * bought).mean()


@pytest.mark.parametrize("kind", ["classes", "tags", "number", "ordinal"])
def test_every_kind_of_label_finds_what_was_planted(kind: str) -> None:
    rng, rows = np.random.default_rng(6), 3000
    items = rng.integers(0, ITEMS, rows)
    names = ["low", "middle", "high"]
    level = items % 3
    labels: np.ndarray = np.where(rng.random(rows) < 0.8, level, rng.integers(0, 3, rows)).astype(np.float32)
    if kind == "tags":
        labels = np.stack([level == 0, items < 6, items > 8], axis=1).astype(np.float32)
    if kind == "number":
        labels = (100 + 20 * level + rng.normal(0, 5, rows)).astype(np.float32)
    labels[:50] = np.nan
    examples = replace(world(rows, items=items, statistics=None, scenarios=None, labels={"it": labels}), batch_rows=256)
    sizes = {"it": LabelSize.of(kind, labels, [] if kind == "number" else names)}  # type: ignore[arg-type]
    model, judge = build(examples, {"it": JudgeConfig(label="it", kind=kind)}, sizes, joint_layers=0)
    fit(model, judge, 5)
    answers = judge.answer_rows(model, examples)["it"]
    if kind == "classes":
        np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)
        assert (answers.argmax(axis=1) == level).mean() > 0.95
    elif kind == "tags":
        assert ((answers > 0.5) == np.stack([level == 0, items < 6, items > 8], axis=1)).mean() > 0.95
    else:
        assert np.corrcoef(answers, level)[0, 1] > 0.95
        assert abs(answers.mean() - np.nanmean(labels)) < (3 if kind == "number" else 0.1)


def test_propensities_undo_a_biased_logging() -> None:
    """Item 0 was shown to people with odd numbers nine times as often; weights 1 / propensity answer for everybody alike."""
    rng = np.random.default_rng(8)
    from m6rec.tasks.position import propensity_weights

    odd = rng.random(20_000) < 0.5
    propensity = np.where(odd, 0.9, 0.1).astype(np.float32)
    shown = rng.random(20_000) < propensity
    click = (rng.random(20_000) < np.where(odd, 0.8, 0.2))[shown]
    weights = propensity_weights(propensity[shown])
    assert weights.mean() == pytest.approx(1, abs=1e-5)
    assert abs(np.average(click, weights=weights) - 0.5) < 0.03 < abs(click.mean() - 0.5)
    np.testing.assert_array_equal(propensity_weights(np.array([np.nan, 0.0])), [1, 1])


def test_sizes_and_weights_make_the_same_judge() -> None:
    import json

    examples = labelled()
    model, judge = build(examples, TWO, scenarios="pepnet")
    shaken(judge)
    judge.eval(), judge.reader.eval(), model.eval()
    sizes = JudgeSizes.of(json.loads(json.dumps(judge.sizes.plain())))
    assert sizes == judge.sizes
    again = Judge(judge.configs, judge.sharing, judge.shape, sizes, judge.reader)
    again.load_state_dict(judge.state_dict())
    again.eval()
    for task, answers in judge.answer_rows(model, examples).items():
        np.testing.assert_array_equal(again.answer_rows(model, examples)[task], answers)


# ---- losses


def test_losses_by_hand() -> None:
    from m6rec.tasks.judge_labels import answers, label_losses

    binary, half = LabelSize("binary"), torch.zeros(1, 1)
    one = torch.ones(1)
    assert float(label_losses(half, one, binary)) == pytest.approx(np.log(2))
    assert float(label_losses(half, one, binary, "focal")) == pytest.approx(0.25 * np.log(2))
    assert float(label_losses(half, one, binary, smoothing=0.2)) == pytest.approx(np.log(2))
    assert float(label_losses(half, one, binary, first=torch.tensor([np.log(0.5)]))) == pytest.approx(np.log(4))
    assert float(label_losses(half, 0 * one, binary, first=torch.tensor([np.log(0.5)]))) == pytest.approx(-np.log(0.75))
    number = LabelSize("number", [], mean=10, deviation=2)
    assert float(label_losses(half, torch.tensor([16.0]), number)) == pytest.approx(0.5 * 9)
    assert float(label_losses(half, torch.tensor([16.0]), number, "huber")) == pytest.approx(3 - 0.5)
    assert float(answers(half, number)) == pytest.approx(10)
    ordinal = LabelSize("ordinal", ["1", "2", "3"])
    assert float(label_losses(torch.zeros(1, 2), torch.tensor([1.0]), ordinal)) == pytest.approx(np.log(2))
    assert float(answers(torch.zeros(1, 2), ordinal)) == pytest.approx(1.0)
    classes = LabelSize("classes", ["a", "b"])
    assert float(label_losses(torch.tensor([[0.0, np.log(3.0)]]), torch.tensor([1.0]), classes)) == pytest.approx(-np.log(0.75))
    assert LabelSize.of("ordinal", np.array([0, 1, 2, 2], np.float32), ["1", "2", "3"]).start == pytest.approx([np.log(3), 0.0])


def test_rows_are_drawn_as_often_as_their_cells_ask() -> None:
    """Those of one scenario twice, of the other half as often; the same rows however often an epoch asks for batches."""
    examples = labelled(600, scenarios=np.arange(600) % 2)
    model, judge = build(examples, {"click": JudgeConfig(label="c"), "like": JudgeConfig(label="l")})
    batches = list(judge.batches(np.random.default_rng(0)))
    natural = [judge.loss_targets(batch) for batch in batches]
    assert sum(found.get("shop/click", 0) for found in natural) == 300
    assert set(judge.loss(model, batches[0])) == set(natural[0])
    judge.steer({"shop/click": 2.0, "shop/like": 2.0, "feed/click": 0.5, "feed/like": 0.5})
    generator = np.random.default_rng(0)
    first = list(judge.batches(generator))
    drawn = judge._blocks
    assert drawn is not None
    times = np.bincount(drawn.order, minlength=600)
    assert (times[::2] == 2).all()
    assert times[1::2].max() == 1
    assert times[1::2].sum() == pytest.approx(150, abs=40)
    list(judge.batches(generator))
    assert judge._blocks is drawn
    assert sum(judge.targets(batch) for batch in first) == times.sum()
    judge.steer({})
    list(judge.batches(np.random.default_rng(0)))
    assert judge._blocks is not None
    assert len(judge._blocks.order) == 600


@pytest.mark.parametrize("task", ["forward", "train", "type", "parameters", "shop/forward", "a.b", "_modules"])
def test_a_task_may_be_called_as_modules_call_things(task: str) -> None:
    bank = OptionBank()
    bank.put(task, Option(4, 1, 2, 2))
    assert bank.of(task).size.width == 4
    vectors = torch.nn.ParameterDict({module_name(task): torch.nn.Parameter(torch.zeros(2))})
    assert module_name(task) in vectors
    bank.drop(task)
    assert len(bank) == 0
