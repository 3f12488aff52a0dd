"""The cache of states: a hit is what reading again would give, and whatever changes a history, a person or the weights is another key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from m6rec import Recommender
from m6rec.base.contracts import Histories, Requests
from m6rec.tasks.state_cache import StateCache, key_of


@pytest.fixture
def rec(tiny_run: Path) -> Recommender:
    return Recommender.from_pretrained(tiny_run)


def scores(rec: Recommender, user: str) -> dict[str, float]:
    return {answer.item_id: answer.score for answer in rec.recommend(user=user, k=99, repeat="allow")}


def test_a_hit_answers_like_a_miss(rec: Recommender) -> None:
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
        return key_of(Requests(history, users=np.array([user]), **more), history)  # type: ignore[arg-type]

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
    assert key_of(Requests(two), two) is None


def test_the_longest_unused_state_goes_first() -> None:
    cache = StateCache(size=2)
    for name in (b"a", b"b"):
        cache.put(name, torch.zeros(1))
    assert cache.get(b"a") is not None
    cache.put(b"c", torch.ones(1))
    assert cache.get(b"b") is None
    assert cache.get(b"a") is not None
    assert len(cache) == 2
