"""Kept and packed states: a hit is what reading again would give, and whatever changes a history, a person or the weights is another key."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from m6rec import Recommender
from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import CheckpointError
from m6rec.tasks.model_folder import LAST_STATES
from m6rec.tasks.pack_states import pack_states
from m6rec.tasks.state_cache import PackedStates, StateCache, keys_of


@pytest.fixture
def rec(tiny_run: Path) -> Recommender:
    return Recommender.from_pretrained(tiny_run)


def scores(rec: Recommender, user: str) -> dict[str, float]:
    return {answer.item_id: answer.score for answer in rec.recommend(user=user, k=99, repeat="allow")}


def test_a_hit_answers_like_a_miss(rec: Recommender) -> None:
    rec.engine.scorer.forget_states()
    users = rec.engine.users.ids.ids[:10]
    first = [scores(rec, user) for user in users]
    assert len(rec.engine.scorer._states) == len(users)
    assert [scores(rec, user) for user in users] == first
    rec.engine.scorer.refresh()
    assert len(rec.engine.scorer._states) == 0
    assert [scores(rec, user) for user in users] == first


def test_new_events_items_and_weights_are_seen(rec: Recommender, tiny_run: Path) -> None:
    """After each change the answer is that of a recommender which never had a cache."""
    user, item = rec.engine.users.ids.ids[0], rec.engine.items.ids.ids[7]
    before = scores(rec, user)
    event = {"user_id": [user], "item_id": [item]}
    rec.add_events(event)
    after = scores(rec, user)
    assert after != before
    fresh = Recommender.from_pretrained(tiny_run)
    fresh.add_events(event)
    assert scores(fresh, user) == after
    row = {**rec.engine.items.frame.row(0, named=True), "item_id": "new"}
    rec.add_items([row])
    assert "new" in scores(rec, user)
    with torch.no_grad():
        rec.engine.scorer.task.start += 1.0
    rec.engine.scorer.refresh()
    assert scores(rec, user)[item] != pytest.approx(after[item], abs=1e-4)


def test_every_part_of_a_request_is_in_the_key() -> None:
    def key(items: list[int], user: int = 1, times: list[float] | None = None, **more: object) -> bytes | None:
        history = Histories(np.array([0, len(items)]), np.array(items, np.int32), None if times is None else np.array(times))
        (found,) = keys_of(Requests(history, users=np.array([user]), **more), history)  # type: ignore[arg-type]
        return found

    different = [
        key([1, 2]),
        key([2, 1]),
        key([1, 2], user=2),
        key([1]),
        key([]),
        key([1, 2], times=[1.0, 2.0]),
        key([1, 2], times=[1.0, 3.0]),
    ]
    assert None not in different
    assert len(set(different)) == len(different)
    assert key([1, 2]) == key([1, 2])
    assert key([1, 2], texts=["boots"]) is None
    assert key([1, 2], profiles=["a teacher"]) is None
    assert key([1, 2], texts=[""]) == key([1, 2])
    two = Histories.from_lists([[1], [2]])
    assert keys_of(Requests(two, users=np.array([1, 1]), texts=["", "boots"]), two) == [key([1]), None]


def test_packed_states_are_what_reading_gives(rec: Recommender) -> None:
    scorer, histories = rec.engine.scorer, rec.engine.dataset.histories
    packed = scorer.packed
    assert packed is not None
    with_events = np.flatnonzero(histories.lengths > 0)
    np.testing.assert_array_equal(packed.users, with_events)
    requests = Requests(histories.rows(with_events), users=with_events)
    keys = keys_of(requests, requests.histories.window(keep=scorer.task.shape.history))
    assert (packed.find(with_events, keys) == np.arange(len(with_events))).all()
    torch.testing.assert_close(scorer.last_states(requests), packed.states, rtol=0, atol=0)
    torch.testing.assert_close(scorer.read_states(requests), packed.states, rtol=0, atol=1e-5)
    few = pack_states(scorer, histories, 3)
    newest = histories.times[histories.offsets[1:][with_events] - 1] if histories.times is not None else histories.lengths[with_events]
    np.testing.assert_array_equal(few.users, np.sort(with_events[np.argsort(-newest, kind="stable")[:3]]))


def test_whoever_changed_is_read_anew(rec: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packed state of one user is made visibly wrong: it answers until an event is added, also in a batch and after new items."""
    scorer, users = rec.engine.scorer, rec.engine.users.ids.ids
    assert scorer.packed is not None
    right = scores(rec, users[0])
    wrong = scorer.packed.states.clone()
    wrong[0] += 1.0
    scorer.packed = PackedStates(scorer.packed.users, scorer.packed.digests, wrong)
    assert scores(rec, users[0]) != right
    read: list[int] = []
    original = scorer._read
    monkeypatch.setattr(scorer, "_read", lambda requests, *more: (read.append(len(requests)), original(requests, *more))[1])
    rec.add_items([{**rec.engine.items.frame.row(0, named=True), "item_id": "new"}])
    rec.recommend_many(users[:5])
    assert not read
    rec.add_events({"user_id": [users[0]], "item_id": [rec.engine.items.ids.ids[7]]})
    rec.recommend_many(users[:5])
    assert read == [1]
    kept = scores(rec, users[0])
    assert read == [1], "what was read for the batch is kept"
    scorer.forget_states()
    assert scores(rec, users[0]) == pytest.approx(kept, abs=1e-4)


def test_packed_states_travel_with_their_weights(rec: Recommender, tiny_run: Path, tmp_path: Path) -> None:
    rec.engine.save(tmp_path / "model")
    loaded = Recommender.from_pretrained(tmp_path / "model")
    assert loaded.engine.scorer.packed is not None
    user = rec.engine.users.ids.ids[0]
    assert scores(loaded, user) == scores(rec, user)
    with torch.no_grad():
        rec.engine.scorer.task.start += 1.0
    rec.engine.scorer.refresh()
    rec.engine.save(tmp_path / "other")
    assert not (tmp_path / "other" / LAST_STATES).exists(), "states of the weights before are not written"
    Recommender.from_pretrained(tmp_path / "other")
    shutil.copyfile(tmp_path / "model" / LAST_STATES, tmp_path / "other" / LAST_STATES)
    with pytest.raises(CheckpointError, match="made by other weights"):
        Recommender.from_pretrained(tmp_path / "other")


def test_the_longest_unused_state_goes_first() -> None:
    cache = StateCache(size=2)
    for name in (b"a", b"b"):
        cache.put(name, torch.zeros(1))
    assert cache.get(b"a") is not None
    cache.put(b"c", torch.ones(1))
    assert cache.get(b"b") is None
    assert cache.get(b"a") is not None
    assert len(cache) == 2
