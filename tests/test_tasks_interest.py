"""The interest vector: planted tastes are found from what people say, weights never leave behaviour for something worse, saved = loaded."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import CheckpointError
from m6rec.config import M6RecConfig
from m6rec.data.dataset import Table
from m6rec.explanation.item_values import scorer_without
from m6rec.recommender import Recommender
from m6rec.tasks.choose_candidates import ChooseCandidates
from m6rec.tasks.config import InterestConfig
from m6rec.tasks.interest import Interest, InterestExamples, InterestSizes, Told, padded, standing_out
from m6rec.tasks.interest_blend import ASKED, EVENTS, BlendCases, InterestBlend, fit_blend
from m6rec.training.pipeline import open_run, stages, train
from m6rec.training.row_optimizer import AdamWithRows
from m6rec.training.stages_interest import LearnInterest, fitted_interest

ITEMS, TASTES = 24, 3


def planted(seed: int = 0) -> InterestExamples:
    """People of three tastes; items of each taste have its tag (column), and vectors that tell the tastes apart."""
    generator = np.random.default_rng(seed)
    taste = np.arange(ITEMS) % TASTES
    matrix = csr_array((np.ones(ITEMS, np.float32), taste.astype(np.int32), np.arange(ITEMS + 1)), shape=(ITEMS, TASTES))
    rows = [generator.choice(np.flatnonzero(taste == person % TASTES), 6, replace=False) for person in range(90)]
    vectors = torch.eye(TASTES)[taste] + 0.1 * torch.from_numpy(generator.normal(size=(ITEMS, TASTES)).astype(np.float32))
    vectors = torch.cat([vectors, torch.zeros(ITEMS, 1)], dim=1)
    return InterestExamples(Histories.from_lists(rows), matrix, np.arange(TASTES), None, vectors, torch.ones(ITEMS), None)


def test_planted_tastes_are_found_from_their_tags() -> None:
    torch.manual_seed(0)
    task = Interest(InterestConfig(heads=2, batch=30), InterestSizes(TASTES, 0, 4))
    task.initialise(torch.Generator().manual_seed(1))
    examples = planted()
    task.bind(examples)
    optimiser = AdamWithRows([{"params": list(task.parameters())}], lr=0.05)
    generator = np.random.default_rng(2)
    told, asked = task.draw(np.arange(90), np.random.default_rng(3))
    before = task.eval().likelihood(told, asked)
    for _ in range(12):
        task.train()
        for batch in task.batches(generator):
            optimiser.zero_grad()
            task.loss(None, batch)["interest"].backward()  # type: ignore[arg-type]
            optimiser.step()
    assert task.eval().likelihood(told, asked) > before + 0.3
    with torch.no_grad():
        lift = (
            task(Told(padded([np.array([taste]) for taste in range(TASTES)], TASTES), padded([np.zeros(0)] * TASTES, 0)))
            @ examples.vectors.T
        )
        nothing = task(Told(padded([np.zeros(0)], TASTES), padded([np.zeros(0)], 0)))
    for taste in range(TASTES):
        assert set(torch.topk(lift[taste], ITEMS // TASTES).indices.tolist()) == set(range(taste, ITEMS, TASTES))
    assert not nothing.any(), "nothing said changes nothing"


def test_values_that_stand_out() -> None:
    matrix = csr_array(np.array([[1, 0, 1], [1, 1, 0], [1, 0, 0], [1, 0, 0]], dtype=np.float32))
    spread = np.array([1.0, 0.25, 0.25])
    assert standing_out(matrix, np.arange(3), spread, np.array([0, 1]), 3).tolist() == [
        1,
        2,
    ]  # twice as often as everywhere; the first is everybody's
    assert standing_out(matrix, np.arange(3), spread, np.array([2, 3]), 3).tolist() == []


def test_weights_follow_what_helps_and_leave_what_does_not() -> None:
    generator = np.random.default_rng(0)

    def cases(kind: str, events: int) -> BlendCases | None:
        if kind != "values":
            return None
        targets = generator.integers(0, 30, 200)
        behaviour = generator.normal(size=(200, 30)).astype(np.float32)
        lift = generator.normal(size=(200, 30)).astype(np.float32)
        (lift if events < 5 else behaviour)[np.arange(200), targets] += 4  # words tell of newcomers, events of the others
        return BlendCases(behaviour, lift, None, list(targets[:, None]))

    blend = fit_blend(cases)
    at = dict(zip(EVENTS, blend.interest["values"], strict=True))
    assert at[0] > 1.0
    assert max(at[20], at[50]) < 0.5
    assert set(blend.match["words"]) == {ASKED}
    assert blend.weights("values", 0)[0] == pytest.approx(at[0])
    assert blend.weights("values", 500)[0] == blend.weights("values", 50)[0] == pytest.approx(at[50])
    assert blend.newcomer("values", 0) is None
    assert InterestBlend.of(blend.plain()) == blend


@pytest.fixture(scope="module")
def said_run(tiny_sample: Path, tiny_config: Callable[..., M6RecConfig], tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run with the stage that learns what people say; everything before it is taken from `tiny_run`."""
    import shutil

    run = tmp_path_factory.mktemp("said") / "run"
    shutil.copytree(tiny_run, run)
    facts = train(tiny_config("tasks.next.interest={epochs: 2}"), tiny_sample, run)
    assert facts["fit"].get("skipped"), "what is learned after the fit does not train it again"
    return run


def test_the_stage_stands_after_the_fit_and_costs_nothing_unasked() -> None:
    assert list(stages()) == [name for name in stages(interest=True) if name != LearnInterest.name]
    order = list(stages(True, True))
    assert order[order.index("fit") + 1] == LearnInterest.name


def test_an_explanation_is_of_the_model_that_was_told(said_run: Path) -> None:
    """What a value of an item is worth to somebody described is found with the interest vector, not without it."""
    engine = Recommender.from_pretrained(said_run).engine
    requests = engine._request(None, None, "hiking boots", {"age": 30}, None)
    lift = engine.scorer.lift(requests)
    assert lift is not None
    assert (lift.query.abs().sum() > 0) or (lift.start != 1).any() or lift.match is not None
    whole = scorer_without(engine.scorer, 3, None, requests).answer(requests)[0][0, 3]
    assert whole == pytest.approx(engine.scorer.alone(requests)[0][0, 3], abs=1e-4)


def test_two_stories_at_once_make_room_for_new_items_once(said_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rec = Recommender.from_pretrained(said_run)
    part = rec.engine.scorer.interest
    assert part is not None
    assert part.lexical is not None
    rec.add_items({"item_id": ["new1", "new2"], "title": ["striped umbrella", "brass compass"]})
    grow, begun = part.lexical.extend, Event()

    def slowly(items: Table) -> None:
        begun.set()
        time.sleep(0.2)  # long enough for the other to come
        grow(items)

    monkeypatch.setattr(part.lexical, "extend", slowly)
    story = "I was looking for a striped umbrella. " * 20

    def ask(wait: bool) -> list[str]:
        if wait:
            assert begun.wait(10)
        return [answer.item_id for answer in rec.recommend(text=story, k=3)]

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, [False, True])
    assert first == second
    assert part.lexical.alike.shape[0] == part.lexical.said.shape[0] == len(rec.engine.items)


def test_saved_is_loaded_and_batch_is_single(said_run: Path) -> None:
    bench = open_run(said_run)
    scorer = bench.fitted()
    scorer.interest = fitted_interest(bench)
    loaded = Recommender.from_pretrained(said_run).engine.scorer
    assert loaded.interest is not None
    texts = ["running", "camping; hiking", "a springy pair of shoes", ""]
    requests = Requests(
        Histories.from_lists([[], [1, 2], [3], [4]]),
        np.full(4, -1),
        texts=texts,
        unwanted=["", "", "marathon", ""],
        profiles=["", "age 30", "", ""],
    )
    together = loaded.scores(requests)
    alone = np.concatenate([loaded.scores(requests.rows(np.array([row]))) for row in range(4)])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert scorer.interest is not None
    np.testing.assert_allclose(loaded.interest.queries(texts).numpy(), scorer.interest.queries(texts).numpy(), atol=1e-5)
    assert scorer.interest.lexical is not None
    assert loaded.interest.lexical is not None
    np.testing.assert_allclose(loaded.interest.lexical.scores(texts), scorer.interest.lexical.scores(texts), atol=1e-6)
    assert scorer.interest.prior is not None
    assert loaded.interest.prior is not None
    assert (loaded.interest.prior.weights == scorer.interest.prior.weights).all()
    assert loaded.interest.blend.newcomers == scorer.interest.blend.newcomers
    plain = Requests(Histories.from_lists([[4]]), np.full(1, -1))
    np.testing.assert_allclose(loaded.scores(plain)[0], together[3], atol=1e-4)


def test_who_says_nothing_is_answered_to_the_bit_as_before(said_run: Path, tiny_run: Path) -> None:
    with_words, without = Recommender.from_pretrained(said_run), Recommender.from_pretrained(tiny_run)
    for user in with_words.engine.users.ids.ids[:5]:
        assert [vars(one) for one in with_words.recommend(user=user)] == [vars(one) for one in without.recommend(user=user)]


def test_candidates_score_as_the_whole_catalogue_does(said_run: Path) -> None:
    scorer = Recommender.from_pretrained(said_run).engine.scorer

    class Everything:
        def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
            products = queries @ scorer.vectors.numpy().T
            order = np.argsort(-products, axis=1)[:, :k]
            return order, np.take_along_axis(products, order, axis=1)

    requests = Requests(Histories.from_lists([[1, 2], []]), np.full(2, -1), texts=["running shoes", "camping"], unwanted=["oakline", ""])
    whole = scorer.scores(requests)
    candidates = ChooseCandidates(scorer, Everything(), count=len(scorer.catalogue))
    question = candidates.ask(requests)
    found = candidates.candidates(question)
    scores, _ = candidates.scores_of(question, found)
    np.testing.assert_allclose(scores, np.take_along_axis(whole, found, axis=1), atol=1e-3)


def test_new_items_are_found_by_what_is_said_at_once(said_run: Path) -> None:
    rec = Recommender.from_pretrained(said_run)
    rec.add_items([{"item_id": "new", "title": "Zylophane trail lantern", "tags": ["camping"], "kind": "product"}])
    assert rec.recommend(text="a zylophane lantern", k=1)[0].item_id == "new"


def test_the_name_of_a_value_alone_is_a_request(said_run: Path) -> None:
    """Typed by itself, in a turn of phrase or beside what a profile lists it is asked for; a list of a profile is a taste."""
    rec = Recommender.from_pretrained(said_run)
    part = rec.engine.scorer.interest
    assert part is not None
    items = rec.engine.items
    some = [
        tag for tag in sorted({tag for tags in items.frame["tags"].to_list() for tag in tags or []}) if not part.bag.without_names(tag)
    ][:2]
    having = {name for name, tags in zip(items.ids.ids, items.frame["tags"].to_list(), strict=True) if "camping" in (tags or [])}
    assert having
    for text in ("camping", "camping, please"):
        assert part.kind(rec.understand(text).wanted) == "words"
        assert rec.recommend(text=text, k=1)[0].item_id in having
    beside = rec.engine.understood("camping", {"interests": some}).wanted
    assert part.kind(beside) == "words"
    assert part.kind(rec.engine.understood(None, {"interests": some}).wanted) == "values"
    assert len(rec.recommend(text="camping", k=10**12)) == len(rec.engine.items)  # no room is made for more than there are


def test_a_damaged_file_is_one_line(said_run: Path, tmp_path: Path) -> None:
    import json
    import shutil

    model = tmp_path / "model"
    shutil.copytree(said_run / "model", model)
    facts = json.loads((model / "config.json").read_text())
    facts["interest"]["sizes"] = {"features": 3}
    (model / "config.json").write_text(json.dumps(facts))
    with pytest.raises(CheckpointError, match="is not what its folder describes"):
        Recommender.from_pretrained(model)
