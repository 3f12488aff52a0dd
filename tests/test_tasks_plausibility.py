"""Plausibility without training: by hand on a model that is known, in batches as alone, and better than chance on planted tastes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from m6rec import Recommender
from m6rec.base.errors import UnknownItemError, UsageError
from m6rec.language_model.segments import SegmentBatch
from m6rec.tasks.plausibility import log_likelihoods, plausibility
from m6rec.tasks.text_reader import TextReader


@pytest.fixture(scope="module")
def rec(tiny_run: Path) -> Recommender:
    return Recommender.from_pretrained(tiny_run)


@pytest.fixture(scope="module")
def reader(rec: Recommender) -> TextReader:
    return rec.engine.scorer.reader


def by_hand(reader: TextReader, context: str, target: str) -> float:
    """One masked row after the other, straight from the model."""
    tokenizer, model = reader.tokenizer, reader.model
    before = tokenizer.encode(context)
    after = tokenizer.encode((" " if context else "") + target)
    ids = np.concatenate([before, after]).astype(np.int64)
    logs = []
    for first in range(min(3, len(after))):
        masked = ids.copy()
        places = np.arange(len(before), len(ids))[first::3]
        masked[places] = tokenizer.mask_id
        shape = torch.zeros(1, len(ids), dtype=torch.int64)
        batch = SegmentBatch(torch.from_numpy(masked)[None], shape, torch.arange(len(ids))[None], shape.bool(), 1)
        with torch.no_grad():
            logits = model.encode(batch)[0] @ model.embedding.weight.T
        logs += [float(torch.log_softmax(logits[place], 0)[ids[place]]) for place in places]
    return float(np.mean(logs))


def test_it_is_the_mean_of_masked_tokens(reader: TextReader) -> None:
    cases = [("hiking boots; trail backpack", "rain jacket"), ("", "espresso machine"), ("coffee", "x")]
    found = log_likelihoods(reader, [context for context, _ in cases], [target for _, target in cases])
    np.testing.assert_allclose(found, [by_hand(reader, *case) for case in cases], rtol=1e-4)
    gained = plausibility(reader, [context for context, _ in cases], [target for _, target in cases])
    assert gained[0] == pytest.approx(by_hand(reader, *cases[0]) - by_hand(reader, "", "rain jacket"), abs=1e-4)
    assert gained[1] == pytest.approx(found[1])
    assert np.isnan(log_likelihoods(reader, ["a"], [""])[0])


def test_together_is_as_alone_and_long_texts_are_cut(reader: TextReader) -> None:
    contexts = ["hiking boots", "coffee " * 5000, "", "a mirrorless camera and a prime lens"]
    targets = ["trail", "dark roast", "words", "tripod " * 3000]
    together = plausibility(reader, contexts, targets)
    alone = [plausibility(reader, [context], [target])[0] for context, target in zip(contexts, targets, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-5)
    assert np.isfinite(together).all()


def test_what_comes_next_is_more_plausible_than_what_does_not(rec: Recommender) -> None:
    """Two pretraining passes over forty items, no task: true next items against items of other topics."""
    engine = rec.engine
    generator = np.random.default_rng(0)
    histories = engine.histories.compact()
    wins = []
    for user in np.flatnonzero(histories.lengths >= 5)[:50].tolist():
        row = histories.row(user)
        ids = [engine.items.ids.ids[item] for item in row]
        other = engine.items.ids.ids[int(generator.integers(len(engine.items)))]
        asked: list[Any] = [{"history": ids[:-1], "item_id": ids[-1]}, {"history": ids[:-1], "item_id": other}]
        right, wrong = rec.plausibility(asked)
        wins.append(0.5 if ids[-1] == other else float(right > wrong))
    assert np.mean(wins) > 0.55


def test_every_way_of_asking(rec: Recommender) -> None:
    user, item = "u01", "i05"
    titles = rec.engine.items.titles()
    events = rec.engine.histories.row(rec.engine.users.ids.dense(user)).items
    by_user = rec.plausibility([{"user_id": user, "item_id": item}], recent=2)
    by_history = rec.plausibility([{"history": [rec.engine.items.ids.ids[event] for event in events], "item_id": item}], recent=2)
    words = rec.engine.scorer.reader.wording.items(rec.engine.items.rows([rec.engine.items.ids.dense(item)]))[0]
    by_words = rec.plausibility([(f"had {titles[events[-2]]}; {titles[events[-1]]}", words)])
    assert by_user == pytest.approx(by_history)
    assert by_user == pytest.approx(by_words, abs=1e-4)
    frame = pl.DataFrame({"user_id": [user], "item_id": [item], "scenario": ["feed"], "action": ["click"]})
    assert rec.plausibility(frame, recent=0) == pytest.approx(rec.plausibility([{"scenario": "feed", "action": "click", "item_id": item}]))
    assert rec.plausibility(frame) != rec.plausibility(frame, recent=0)
    assert rec.plausibility([]) == []
    assert len(rec.plausibility(["waterproof boots", "x"])) == 2
    assert np.isfinite(rec.plausibility([{"profile": {"age": 30, "interests": ["hiking"]}, "item_id": item}])).all()


def test_what_is_not_allowed_is_said_in_one_line(rec: Recommender) -> None:
    wrong: list[tuple[Any, str]] = [
        ("boots", "give a list of texts"),
        ([{"item_id": "i01", "text": "both"}], "either an item_id or a text"),
        ([{"user": "u01", "item_id": "i01"}], "says 'user'"),
        ([{"context": "boots"}], "either an item_id or a text"),
        ([" "], "empty text"),
        ([("a", "b", "c")], "a pair is"),
        ([None], "row 1 is None; a pair is"),
        (["warm boots", 3], "row 2 is 3; a pair is"),
        ([{"history": "i01", "item_id": "i01"}], "give a list of item ids"),
        ([{"scenario": "mars", "item_id": "i01"}], "row 1: there is no scenario 'mars'; scenarios: .*shop"),
        (["warm boots", {"scenario": "shopp", "text": "a"}], "row 2: there is no scenario 'shopp'; did you mean 'shop'"),
        ([{"action": "fly", "item_id": "i01"}], "row 1: there is no action 'fly'; actions: .*click"),
        ([{"profile": 5, "text": "boots"}], "profile is 5; give fields of a person, or words"),
    ]
    for rows, said in wrong:
        with pytest.raises(UsageError, match=said) as caught:
            rec.plausibility(rows)
        assert "\n" not in str(caught.value)
    with pytest.raises(UnknownItemError):
        rec.plausibility([{"item_id": "nothing"}])


def test_a_scenario_that_was_announced_may_be_named(tiny_run: Path) -> None:
    rec = Recommender.from_pretrained(tiny_run)
    rows = [{"scenario": "live", "action": rec.engine.dataset.action_names[0], "item_id": "i01"}]
    with pytest.raises(UsageError, match="there is no scenario 'live'"):
        rec.plausibility(rows)
    rec.add_scenario("live")
    assert np.isfinite(rec.plausibility(rows)).all()


def test_ids_are_no_words(rec: Recommender) -> None:
    known = rec.engine.items.ids.ids[0]
    with pytest.raises(UsageError, match=f"row 2 is '{known}', an item id; say {{'item_id': '{known}'}} for an item"):
        rec.plausibility(["warm boots", known])
    with pytest.raises(UsageError, match="formed like an item id but is none"):
        rec.plausibility([("warm boots", "i99999")])
    assert len(rec.plausibility(["mp3", {"text": known}])) == 2
