"""choose: answers are distributions, the same alone or in a batch, from the states that training looked at; what was planted is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import DataError
from m6rec.config import M6RecConfig, load_config
from m6rec.tasks import choose as choose_module
from m6rec.tasks.agreement import typed_gain
from m6rec.tasks.choose import Choose
from m6rec.tasks.choose_mixture import SOFTMAX_PART
from m6rec.tasks.history_batches import batch_windows, cut_windows
from m6rec.tasks.item_encoder import ItemEncoder
from m6rec.tasks.model_folder import ChooseScorer
from m6rec.tasks.prior import GRAPH_PARTS, TEXT_PART, PriorValues, look_up, part_names, row_mass
from m6rec.training.pipeline import open_run, train
from m6rec.training.setting_checks import check_choosing
from m6rec.training.stages_fit import training_examples
from m6rec.training.workbench import Workbench

Build = Callable[..., M6RecConfig]


@pytest.fixture(scope="module")
def scorer(tiny_run: Path) -> ChooseScorer:
    return ChooseScorer.load(tiny_run / "model")


@pytest.fixture(scope="module")
def everybody(scorer: ChooseScorer) -> Requests:
    """One request a user; some type something, some are described, some ask in a scenario, some are nobody we know."""
    rows = np.arange(len(scorer.dataset.users))
    titles = scorer.dataset.items.titles()
    return Requests(
        histories=scorer.dataset.histories,
        users=np.where(rows % 5 == 4, -1, rows),
        texts=[titles[row % len(titles)] if row % 3 == 0 else "" for row in rows],
        profiles=["age 30; occupation engineer" if row % 4 == 1 else "" for row in rows],
        scenarios=rows % 3 - 1,
    )


class Captured:
    """What `Choose.loss` gives to the mixture."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        original = choose_module.mixture_loss
        self.calls: list[dict[str, Tensor]] = []

        def spy(states: Tensor, items: Tensor, targets: Tensor, log_gate: Tensor, log_rest: Tensor, **rest: float) -> tuple[Tensor, ...]:
            self.calls.append({"states": states, "items": items, "targets": targets, "log_gate": log_gate, "log_rest": log_rest})
            return original(states, items, targets, log_gate, log_rest, **rest)

        monkeypatch.setattr(choose_module, "mixture_loss", spy)


@pytest.fixture
def bench(tiny_run: Path) -> Workbench:
    return open_run(tiny_run)


def deterministic(bench: Workbench) -> tuple[ChooseScorer, Choose]:
    """The fitted scorer of a run, and its task with everything random switched off, bound to the run's examples."""
    scorer = bench.fitted()
    task = scorer.task
    task.config = task.config.model_copy(update={"identity_dropout": 0.0, "profile_dropout": 0.0, "typed": 0.0})
    task.bind(training_examples(bench))
    task.eval()
    scorer.model.eval()
    return scorer, task


# ---- answers


def test_parts_add_up_to_a_distribution(scorer: ChooseScorer, everybody: Requests) -> None:
    parts = scorer.parts(everybody)
    assert list(parts) == [SOFTMAX_PART, *part_names(scorer.task.config.prior)]
    assert all((part >= 0).all() for part in parts.values())
    total = sum(parts.values())
    assert isinstance(total, np.ndarray)
    np.testing.assert_allclose(total.sum(axis=1), 1.0, atol=1e-5)
    gain = scorer.agreement.gain(scorer.counted(everybody, scorer.agreement.recency)) + typed_gain(scorer._ask(everybody).words)
    np.testing.assert_allclose(scorer.scores(everybody), np.log(total) + gain, rtol=1e-5, atol=1e-5)
    assert len({np.argmax(row) for row in total}) > 3  # not one answer for all


def test_nobody_and_nothing_is_still_a_distribution(scorer: ChooseScorer) -> None:
    nothing = Histories.from_lists([[]])
    for requests in (Requests(nothing), Requests(nothing, texts=[""], profiles=[""]), Requests(nothing, texts=["qqqqq zzzzz"])):
        total = sum(scorer.parts(requests).values())
        assert isinstance(total, np.ndarray)
        np.testing.assert_allclose(total.sum(), 1.0, atol=1e-5)


def test_batch_equals_single(scorer: ChooseScorer, everybody: Requests) -> None:
    together = scorer.scores(everybody)
    alone = np.concatenate([scorer.scores(everybody.rows(np.array([row]))) for row in range(0, len(everybody), 3)])
    np.testing.assert_allclose(alone, together[::3], atol=1e-5)
    backwards = scorer.scores(everybody.rows(np.arange(len(everybody))[::-1]))
    np.testing.assert_allclose(backwards[::-1], together, atol=1e-5)


def test_only_the_newest_events_within_the_cap_are_read(scorer: ChooseScorer) -> None:
    cap, histories = scorer.task.shape.history, scorer.dataset.histories
    long = np.flatnonzero(histories.lengths > cap + 2)
    assert len(long) > 3
    whole, newest = histories.rows(long), histories.rows(long).window(keep=cap)
    shorter = histories.rows(long).window(keep=cap - 1)
    states = scorer.last_states(Requests(whole))
    torch.testing.assert_close(states, scorer.last_states(Requests(newest)), atol=1e-6, rtol=0)
    assert not torch.allclose(states, scorer.last_states(Requests(shorter)), atol=1e-4)


def test_neighbours_in_a_batch_and_their_padding_change_nothing(scorer: ChooseScorer) -> None:
    histories = scorer.dataset.histories
    short, long = int(np.argmin(np.where(histories.lengths > 0, histories.lengths, 99))), int(histories.lengths.argmax())
    alone = scorer.last_states(Requests(histories.rows(np.array([short]))))
    padded = scorer.last_states(Requests(histories.rows(np.array([long, short, long]))))
    torch.testing.assert_close(padded[1], alone[0], atol=1e-5, rtol=0)


def test_scenario_counts_only_when_asked(scorer: ChooseScorer, everybody: Requests) -> None:
    assert scorer.task.asked is not None
    assert scorer.task.asked.weight.abs().max() > 0
    plain = replace(everybody, scenarios=None)
    unasked = scorer.last_states(plain)
    torch.testing.assert_close(scorer.last_states(replace(everybody, scenarios=np.full(len(everybody), -1))), unasked)
    first = scorer.last_states(replace(everybody, scenarios=np.zeros(len(everybody), dtype=np.int16)))
    torch.testing.assert_close(first, unasked + scorer.task.asked.weight[0])
    assert not torch.allclose(first, unasked)


@pytest.mark.parametrize("part", ["graph", "text", "id"])
def test_a_part_switched_off_when_answering(scorer: ChooseScorer, everybody: Requests, part: str) -> None:
    off = ChooseScorer(
        scorer.model, scorer.task, scorer.catalogue, scorer.reader, scorer.profiles, (part,), dataset=scorer.dataset, origin=scorer.origin
    )
    parts = off.parts(everybody)
    silent = {"graph": GRAPH_PARTS, "text": (TEXT_PART,), "id": ()}[part]
    assert all(not parts[name].any() for name in silent)
    total = sum(parts.values())
    assert isinstance(total, np.ndarray)
    np.testing.assert_allclose(total.sum(axis=1), 1.0, atol=1e-5)
    assert not np.allclose(off.scores(everybody), scorer.scores(everybody), atol=1e-3)
    if part == "text":  # then nothing that is typed is read
        np.testing.assert_allclose(off.scores(everybody), off.scores(replace(everybody, texts=None)), atol=1e-5)


# ---- training looks at what serving sees


def test_training_states_and_likelihoods_are_those_of_serving(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every event of users that fit into one window: the state, the gates and p(event) in the loss are those of the prefix."""
    scorer, task = deterministic(bench)
    assert task.bound is not None
    assert task.asked is not None
    with torch.no_grad():
        task.asked.weight.zero_()  # half of the training histories are asked at random
    histories, priors = task.bound.examples.histories, scorer.catalogue.priors
    task.bind(replace(task.bound.examples, priors=uncrossed_values(histories, [priors[name] for name in task.parts], task)))
    users = np.flatnonzero((histories.lengths > 1) & (histories.lengths <= task.shape.history + 1))
    assert histories.lengths[users].max() == task.shape.history + 1, "no history that fills the window"
    windows = np.flatnonzero(np.isin(task.bound.windows.user, users))
    seen = bench.split.seen > 0
    assert not seen.all()
    captured = Captured(monkeypatch)
    with torch.no_grad():
        task.loss(scorer.model, windows)
    call = captured.calls[0]
    user = np.repeat(task.bound.windows.user[windows], task.bound.windows.lengths[windows])
    place = np.concatenate([np.arange(length) for length in task.bound.windows.lengths[windows]])
    prefixes = histories.pick(*prefix_events(histories, user, place))
    requests = Requests(prefixes, users=user)
    torch.testing.assert_close(scorer.last_states(requests), call["states"], atol=1e-5, rtol=0)
    parts = scorer.parts(requests)
    rows, targets = np.arange(len(user)), histories.items[histories.offsets[user] + place]
    model = parts.pop(SOFTMAX_PART)
    np.testing.assert_allclose(model.sum(axis=1), call["log_gate"].exp().numpy(), atol=1e-5)
    rest = sum(part[rows, targets] for part in parts.values())
    np.testing.assert_allclose(rest, call["log_rest"].exp().numpy(), atol=1e-6)
    # Training's softmax is over the seen items only.
    own = torch.log_softmax(call["states"] @ call["items"].T, dim=1)[rows, call["targets"]]
    served = model[rows, targets] / model[:, seen].sum(axis=1)
    np.testing.assert_allclose(served, own.exp().numpy(), atol=1e-5)


def prefix_events(histories: Histories, user: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the `place` first events of each user, and the offsets of the rows they make."""
    events = [np.arange(start, start + length) for start, length in zip(histories.offsets[user], place, strict=True)]
    return np.concatenate(events), np.concatenate([[0], np.cumsum(place)])


def uncrossed_values(histories: Histories, tables: list, task: Choose) -> PriorValues:  # type: ignore[type-arg]
    """Values of the tables that serve, where training has those of the other folds."""
    recent, events = task.config.prior.recent, np.arange(len(histories.items))
    begin = np.repeat(histories.offsets[:-1], histories.lengths)
    values = np.zeros((len(events), len(tables), recent), dtype=np.float32)
    evidence = np.zeros(values.shape, dtype=np.float32)
    for part, table in enumerate(tables):
        for k in range(recent):
            inside = events - 1 - k >= begin
            sources = histories.items[events[inside] - 1 - k]
            mass = row_mass(table)[sources]
            values[inside, part, k] = look_up(table, sources, histories.items[inside]) / np.maximum(mass, 1e-9)
            evidence[inside, part, k] = np.log1p(mass)
    return PriorValues(values, evidence)


def test_the_gate_counts_all_earlier_events_in_every_window(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, task = deterministic(bench)
    assert task.bound is not None
    histories, windows = task.bound.examples.histories, np.arange(len(task.bound.windows.user))
    assert len(windows) > np.count_nonzero(histories.lengths), "no history is longer than a window"
    lengths: list[Tensor] = []
    original = task.gate.log_gates
    monkeypatch.setattr(
        task.gate, "log_gates", lambda states, evidence, length: (lengths.append(length), original(states, evidence, length))[1]
    )
    with torch.no_grad():
        task.loss(scorer.model, windows)
    pieces = zip(task.bound.windows.first, task.bound.windows.last, task.bound.windows.begin, strict=True)
    np.testing.assert_array_equal(lengths[0].numpy(), np.concatenate([np.arange(first, last) - begin for first, last, begin in pieces]))


def test_a_state_knows_nothing_of_its_target_or_later(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, task = deterministic(bench)
    assert task.bound is not None
    window = np.array([int(task.bound.windows.lengths.argmax())])
    captured, half = Captured(monkeypatch), int(task.bound.windows.lengths[window[0]]) // 2
    for changed in (False, True):
        if changed:
            items = task.bound.examples.histories.items.copy()
            later = slice(int(task.bound.windows.first[window[0]]) + half, int(task.bound.windows.last[window[0]]))
            items[later] = (items[later] + 1) % len(task.bound.examples.contents)
            task.bind(replace(task.bound.examples, histories=replace(task.bound.examples.histories, items=items)))
        torch.manual_seed(0)
        with torch.no_grad():
            task.asked.weight.zero_()  # type: ignore[union-attr]
            task.loss(scorer.model, window)
    before, after = captured.calls[0]["states"], captured.calls[1]["states"]
    torch.testing.assert_close(after[: half + 1], before[: half + 1])  # state j has seen the events before j
    assert not torch.allclose(after[half + 1 :], before[half + 1 :])


def test_every_event_is_a_target_of_exactly_one_window() -> None:
    histories = Histories.from_lists([list(range(7)), [], [1], list(range(3)), list(range(20))])
    windows = cut_windows(histories, 3)
    covered = np.concatenate([np.arange(first, last) for first, last in zip(windows.first, windows.last, strict=True)])
    np.testing.assert_array_equal(np.sort(covered), np.arange(len(histories.items)))
    assert windows.lengths.max() == 3
    newest = windows.last == histories.offsets[1:][windows.user]
    assert (windows.lengths[newest] == np.minimum(histories.lengths[windows.user[newest]], 3)).all()  # the oldest window takes the rest
    batches = list(batch_windows(windows, 6, np.random.default_rng(0)))
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(len(windows.first)))
    assert all(len(batch) == 1 or len(batch) * windows.lengths[batch].max() <= 6 for batch in batches)


def test_unseen_items_are_no_negatives(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, task = deterministic(bench)
    assert task.bound.examples is not None
    vectors = task.item_vectors(task.bound.examples.contents).detach().requires_grad_()
    monkeypatch.setattr(task, "item_vectors", lambda contents, dropped=None: vectors)
    for batch in task.batches(np.random.default_rng(0)):
        task.loss(scorer.model, batch)["choose"].backward()
    seen = torch.from_numpy(bench.split.seen > 0)
    assert 0 < int(seen.sum()) < len(seen)
    assert vectors.grad is not None
    assert (vectors.grad[~seen] == 0).all()
    assert (vectors.grad[seen].abs().sum(dim=1) > 0).all()


def test_only_positive_actions_are_targets(
    tiny_sample: Path, tiny_config: Build, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, task = deterministic(bench)
    bench.config = tiny_config("tasks.next.positive=[buy, like]")
    task.bind(training_examples(bench))
    names, histories = bench.dataset.action_names, bench.split.train
    assert histories.actions is not None
    wanted = np.isin(histories.actions, [names.index("buy"), names.index("like")])
    assert 0 < wanted.sum() < len(wanted)
    captured = Captured(monkeypatch)
    batches = list(task.batches(np.random.default_rng(0)))
    with torch.no_grad():
        for batch in batches:
            task.loss(scorer.model, batch)
    assert sum(len(call["targets"]) for call in captured.calls) == wanted.sum()
    assert sum(task.targets(batch) for batch in batches) == wanted.sum()
    seen = np.flatnonzero(bench.split.seen > 0)
    got = np.bincount(np.concatenate([seen[call["targets"].numpy()] for call in captured.calls]), minlength=len(bench.split.seen))
    np.testing.assert_array_equal(got, np.bincount(histories.items[wanted], minlength=len(got)))


def test_no_such_positive_action(tiny_config: Build, bench: Workbench) -> None:
    with pytest.raises(DataError, match=r"bought.*actions: .*buy"):
        check_choosing(bench.dataset, tiny_config("tasks.next.positive=[bought]"))
    bench.config = tiny_config("tasks.next.positive=[]")
    with pytest.raises(DataError, match="no training target"):
        training_examples(bench)


# ---- item vectors


def test_identity_gate_follows_how_often_an_item_was_seen() -> None:
    encoder = ItemEncoder(None, torch.tensor([0, 1, 10, 1000]), 4, True)
    gate = encoder.identity_gate()
    assert gate[0] == 0
    assert (gate[1:].diff() > 0).all()
    assert gate[3] < 1


def test_unseen_and_dropped_items_have_text_only(bench: Workbench) -> None:
    scorer, task = deterministic(bench)
    contents = scorer.catalogue.contents
    unseen = torch.from_numpy(bench.split.seen == 0)
    assert task.items.content is not None
    with torch.no_grad():
        text, whole = task.items.content(contents), task.item_vectors(contents)
        torch.testing.assert_close(whole[unseen], text[unseen])
        assert (whole[~unseen] != text[~unseen]).any(dim=1).all()
        half = torch.arange(len(contents)) % 2 == 0
        dropped = task.item_vectors(contents, half)
        torch.testing.assert_close(dropped[half], text[half])
        torch.testing.assert_close(dropped[~half], whole[~half])


def test_identities_are_dropped_at_random_in_training_only(bench: Workbench) -> None:
    task = bench.fitted().task
    torch.manual_seed(0)
    draws = torch.stack([task._dropped(500) for _ in range(40)]).float()  # type: ignore[misc]
    assert abs(float(draws.mean()) - task.config.identity_dropout) < 0.02
    assert draws.mean(dim=0).max() < 0.5  # not always the same items
    task.config = task.config.model_copy(update={"text": False})
    assert task._dropped(500) is None  # without text there would be nothing left of an item


# ---- configurations


@pytest.mark.parametrize(
    "settings",
    [
        ["tasks.next.prior.graph=false"],
        ["tasks.next.identity=false"],
        ["tasks.next.text=false", "tasks.next.prior.text=false"],
        ["tasks.next.prior.graph=false", "tasks.next.prior.text=false"],
        ["tasks.next.identity=false", "tasks.next.text=false"],
        ["tasks.next.prior.hops=2", "tasks.next.positive=[buy, click]", "tasks.next.repeat=allow"],
        ["model.autocast=bfloat16", "model.upper_layers=1"],
    ],
    ids=lambda settings: " ".join(settings).replace("tasks.next.", ""),
)
def test_variants_train_and_answer(tiny_sample: Path, tiny_config: Build, tiny_run: Path, tmp_path: Path, settings: list[str]) -> None:
    shutil.copytree(tiny_run / "stages", tmp_path / "run" / "stages")  # all before the fit is done already
    config = tiny_config("train.epochs=1", *settings)
    train(config, tiny_sample, tmp_path / "run", until="fit")
    bench = open_run(tmp_path / "run")
    requests = bench.split.test.requests.rows(np.arange(6))
    titles = bench.dataset.items.titles()
    fitted = bench.fitted()
    plain, typed = fitted.scores(requests), fitted.scores(replace(requests, texts=[titles[3]] * 6))
    assert plain.shape == typed.shape == (6, len(titles))
    assert np.isfinite(plain).all()
    assert np.isfinite(typed).all()
    total = np.sum(list(fitted.parts(requests).values()), axis=0)
    np.testing.assert_allclose(total.sum(axis=1), 1.0, atol=1e-4)
    assert (plain >= np.log(total) - 1e-5).all()  # agreement only ever adds


# ---- a planted world: two kinds of people, two kinds of things, order alone, no scenario, no action


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> ChooseScorer:
    """Men take red things, women blue ones: 10 of each. `color` is a vector field: (1, 0) or (0, 1)."""
    folder = tmp_path_factory.mktemp("planted")
    generator = np.random.default_rng(0)
    nouns = ["lamp", "chair", "table", "mug", "coat", "boots", "scarf", "clock", "vase", "bag"]
    items = [{"item_id": f"{color}-{noun}", "title": f"{color} {noun}"} for color in ("red", "blue") for noun in nouns]
    for item in items:
        item["look"] = [1.0, 0.0] if item["title"].startswith("red") else [0.0, 1.0]  # type: ignore[assignment]
    users, events = [], []
    for user in range(120):
        woman = user % 2
        users.append({"user_id": f"u{user}", "gender": ("male", "female")[woman]})
        for order, item in enumerate(generator.permutation(10)[:5]):
            events.append({"user_id": f"u{user}", "item_id": items[10 * woman + item]["item_id"], "order": order})
    for name, rows in (("items", items), ("users", users), ("events", events)):
        pl.DataFrame(rows).write_parquet(folder / f"{name}.parquet")
    (folder / "config.yaml").write_text(
        "data: {events: events.parquet, items: items.parquet, users: users.parquet}\n"
        "fields: {items: {title: text, look: vector}, users: {gender: category}}\n"
        "model: {width: 16, history: 12, dropout: 0.0}\ntext: {vocabulary: 300}\npretrain: {epochs: 1}\n"
        "tasks: {next: {typed: 0.3, profile_dropout: 0.2}}\n"
        "train: {epochs: 12, batch_targets: 64, learning_rate: 0.01, threads: 1, patience: 12}\n"
        "evaluation: {resamples: 100, baselines: [popularity]}\n"
    )
    train(load_config(folder / "config.yaml"), folder, folder / "run")
    return ChooseScorer.load(folder / "run" / "model")


NOBODY = Histories.from_lists([[]])
RED, BLUE = slice(0, 10), slice(10, 20)


def shares(scorer: ChooseScorer, requests: Requests) -> tuple[float, float]:
    """Probability of all red and of all blue things."""
    chances = np.sum(list(scorer.parts(requests).values()), axis=0)[0]
    return float(chances[RED].sum()), float(chances[BLUE].sum())


def test_the_planted_world_is_learned_from_histories(planted: ChooseScorer) -> None:
    assert planted.task.actions is None
    assert planted.task.asked is None
    assert planted.dataset.histories.times is None
    red, blue = shares(planted, Requests(Histories.from_lists([[0, 3, 5]])))
    assert red > 0.9 > 0.1 > blue
    red, blue = shares(planted, Requests(Histories.from_lists([[10, 13, 15]])))
    assert blue > 0.9 > 0.1 > red


def test_a_described_profile_decides_where_there_is_no_history(planted: ChooseScorer) -> None:
    man = shares(planted, Requests(NOBODY, profiles=["gender male"]))
    woman = shares(planted, Requests(NOBODY, profiles=["gender female"]))
    nobody = shares(planted, Requests(NOBODY))
    assert man[0] > 0.6
    assert woman[1] > 0.6
    assert woman[0] < nobody[0] < man[0]
    assert 0.1 < nobody[0] < 0.9


def test_the_profile_of_a_known_user_counts(planted: ChooseScorer) -> None:
    man, woman = (shares(planted, Requests(NOBODY, users=np.array([user]))) for user in (0, 1))
    assert man[0] > 0.6
    assert woman[1] > 0.6


def test_a_description_goes_before_the_stored_profile(planted: ChooseScorer) -> None:
    described = shares(planted, Requests(NOBODY, users=np.array([0]), profiles=["gender female"]))
    assert described[1] > 0.75


def test_typed_words_are_answered(planted: ChooseScorer) -> None:
    assert shares(planted, Requests(NOBODY, texts=["something red"]))[0] > 0.6
    assert shares(planted, Requests(NOBODY, texts=["blue, please"]))[1] > 0.75
    best = planted.scores(Requests(NOBODY, texts=["a blue clock"]))[0].argmax()
    assert planted.dataset.items.ids.ids[best] == "blue-clock"
    history = Histories.from_lists([[0, 3, 5]])  # words count beside a history too, though here nobody ever changed colours
    assert shares(planted, Requests(history, texts=["blue"]))[1] > shares(planted, Requests(history))[1]


def test_vector_fields_are_part_of_an_item(planted: ChooseScorer) -> None:
    contents = planted.catalogue.contents
    torch.testing.assert_close(contents.vectors[[0, 19]], torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert planted.task.items.content is not None
    blind = replace(contents, vectors=torch.zeros_like(contents.vectors))
    with torch.no_grad():
        assert not torch.allclose(planted.task.item_vectors(contents), planted.task.item_vectors(blind), atol=1e-3)
