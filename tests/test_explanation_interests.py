"""Profiles: planted tastes come back, what follows inside a session is no taste, events and words are right, new events are heard."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m6rec.base.contracts import Histories
from m6rec.base.errors import UnknownUserError, UsageError
from m6rec.data.sample import generate
from m6rec.explanation.habits import FIRST, INSIDE, OPENS, learn_habits, rows_of
from m6rec.explanation.interest_words import sentences, strength
from m6rec.explanation.interests import CLUSTERS, Interest, Profile, Support, _clusters, _trend
from m6rec.recommender import Recommender
from profile_tastes import correlations, measured

DAY = 86_400.0


@pytest.fixture
def rec(tiny_run: Path) -> Recommender:
    return Recommender.from_pretrained(tiny_run)


def one_value_each(values: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(len(values) + 1), np.array(values)


def planted(people: int = 150, events: int = 24, values: int = 6) -> tuple[Histories, np.ndarray]:
    """Everybody likes one value; within a session, value v is followed by v + 1 whoever asks. Item i has value i."""
    generator = np.random.default_rng(0)
    liked = generator.integers(0, values, people)
    items, times = [], []
    for person in range(people):
        now, last = 0.0, 0
        for event in range(events):
            opens = event % 4 == 0
            now += 3 * DAY if opens else 60.0
            own = liked[person] if generator.random() < 0.85 else int(generator.integers(values))
            last = int(own) if opens else (last + 1) % values
            items.append(last)
            times.append(now)
    return Histories(np.arange(people + 1) * events, np.array(items, dtype=np.int32), np.array(times)), liked


def test_what_follows_inside_a_session_is_no_taste() -> None:
    """Three of four events follow from the one before: counts know nothing of the taste, the law finds it."""
    histories, liked = planted()
    rows = rows_of(histories, one_value_each(list(range(6))), 3600.0)
    law = learn_habits(rows, 6)
    tastes = np.stack([law.taste(rows.of(rows.user == person), law.average)[0] for person in range(len(liked))])
    assert (tastes.argmax(axis=1) == liked).mean() > 0.97
    assert law.shares[INSIDE, 0] > 0.9
    assert law.shares[FIRST, 0] == 0
    assert law.shares[OPENS, 2] > 0.6
    assert np.allclose(law.follow.argmax(axis=1), (np.arange(6) + 1) % 6)
    assert np.allclose(tastes.sum(axis=1), 1)
    counts = np.stack([np.bincount(histories.row(person), minlength=6) for person in range(len(liked))])
    assert (counts.argmax(axis=1) == liked).mean() < 0.7


def test_rows_by_hand() -> None:
    """Item 0 has two values, item 1 none, item 2 one."""
    histories = Histories(np.array([0, 3, 5]), np.array([0, 1, 0, 2, 0], np.int32), np.array([0.0, 10.0, 9999.0, 0.0, np.nan]))
    rows = rows_of(histories, (np.array([0, 2, 2, 3]), np.array([4, 5, 6])), 3600.0)
    found = list(zip(rows.user, rows.event, rows.value, rows.before, rows.kind, rows.weight, strict=True))
    assert found == [
        (0, 0, 4, -1, FIRST, 0.5),
        (0, 0, 5, -1, FIRST, 0.5),
        (0, 2, 4, -1, OPENS, 0.5),
        (0, 2, 5, -1, OPENS, 0.5),
        (1, 3, 6, -1, FIRST, 1.0),
        (1, 4, 4, 6, INSIDE, 0.5),
        (1, 4, 5, 6, INSIDE, 0.5),
    ]


def test_nobody_and_nothing() -> None:
    empty = rows_of(Histories.from_lists([[]]), (np.zeros(3, np.int64), np.zeros(0, np.int64)), 1.0)
    assert len(empty.value) == 0
    histories, _ = planted(20)
    law = learn_habits(rows_of(histories, one_value_each(list(range(6))), 3600.0), 6)
    taste, chance = law.taste(empty, law.average)
    assert len(chance) == 0
    assert math.isclose(taste.sum(), 1.0)


def test_a_trend_needs_a_change() -> None:
    rows = rows_of(Histories.from_lists([[0, 0, 0, 1, 1, 1]]), one_value_each([0, 1]), 1.0)
    sure = np.ones(6)
    assert _trend(rows, sure, rows.value == 1, 0.5, 6) == "rising"
    assert _trend(rows, sure, rows.value == 0, 0.5, 6) == "falling"
    mixed = rows_of(Histories.from_lists([[0, 1, 0, 1, 0, 1]]), one_value_each([0, 1]), 1.0)
    assert _trend(mixed, sure, mixed.value == 0, 0.5, 6) == "steady"
    assert _trend(rows, sure / 10, rows.value == 1, 0.5, 6) == ""


def test_planted_tastes_of_a_tiny_run_come_back(rec: Recommender) -> None:
    """Two topics, 12 events a person, a model of two epochs: right for most people. docs/analysis.md has the figures of real runs."""
    found = measured(generate(users=60, items=40, events_per_user=12.0), rec)
    assert found["topic: profile"] > 0.5
    assert found["topic: profile"] > found["topic: next-item mass"]


def test_planted_tastes_of_the_sample_come_back() -> None:
    """The law alone, without a model: the mean rank correlation over people must reach 0.85 (figure to reach: 0.8)."""
    sample = generate(users=250, items=200, events_per_user=20.0, seed=4)
    names = sorted(set(sample.items["category"]))
    held = one_value_each([names.index(name) for name in sample.items["category"]])
    rows = rows_of(sample.histories, held, 3600.0)
    law = learn_habits(rows, len(names))
    users = np.flatnonzero(sample.histories.lengths > 0)
    weights = np.stack([law.taste(rows.of(rows.user == user), law.average)[0] for user in users])
    topics = np.zeros((sample.truth.tastes.shape[1], len(names)))
    topics[sample.truth.topic, held[1]] = 1
    planted_tastes = sample.truth.user_tastes[users] @ topics
    assert correlations(weights, planted_tastes).mean() > 0.85
    counts = np.stack([np.bincount(held[1][sample.histories.row(user)], minlength=len(names)) for user in users])
    assert correlations(counts, planted_tastes).mean() < 0.83


def test_correlation_by_hand() -> None:
    assert np.allclose(
        correlations(np.array([[1.0, 2, 3], [3, 2, 1], [1, 1, 2]]), np.array([[1.0, 2, 3], [1, 2, 3], [1, 2, 3]])), [1, -1, 0.8660254]
    )


def test_a_profile_names_its_events(rec: Recommender, tiny_sample: Path) -> None:
    found = rec.profile("u05", most=2)
    history = rec.engine.histories.row(rec.engine.users.ids.dense("u05"))
    met = {rec.engine.items.ids.ids[item] for item in history.items}
    assert found.events == len(history.items)
    assert {interest.field for interest in found.interests} >= {"tags", "brand", CLUSTERS}
    frame = rec.engine.items.frame
    for interest in found.interests:
        assert 0 <= interest.share <= 1
        assert {one.item_id for one in interest.support} <= met
        assert len(interest.support) <= min(3, interest.events)
        if interest.scenarios:
            assert math.isclose(sum(interest.scenarios.values()), 1.0)
        for one in interest.support:
            row = rec.engine.items.ids.dense(one.item_id)
            if interest.field != CLUSTERS:
                held = frame[interest.field].to_list()[row]
                assert interest.value in ([held] if isinstance(held, str) else held)
    for name in ("brand", "tags"):
        shares = [interest.share for interest in found.interests if interest.field == name]
        assert shares == sorted(shares, reverse=True)
        assert len(shares) <= 2


def test_weights_of_many_are_those_of_each(rec: Recommender) -> None:
    rec.profile("u05")
    interests = rec.engine._profiler
    assert interests is not None
    users = np.array([4, 7, 11])
    table = interests.weights("tags", users)
    names = next(field for field in interests.fields if field.name == "tags").values
    for row, user in zip(table, users, strict=True):
        told = [one for one in rec.profile(rec.engine.users.ids.ids[user]).interests if one.field == "tags"]
        assert told
        assert all(math.isclose(one.share, row[names.index(one.value)], rel_tol=1e-5) for one in told)


def shares_of(rec: Recommender, user: str) -> dict[str, float]:
    return {one.value: one.share for one in rec.profile(user, most=99).interests if one.field == "tags"}


def test_new_events_are_heard_and_new_people_have_a_profile(rec: Recommender) -> None:
    tags = rec.engine.items.frame["tags"].to_list()
    ids = rec.engine.items.ids.ids
    before = shares_of(rec, "u05")
    tag = min(before, key=lambda name: before[name])
    having = [row for row, held in enumerate(tags) if tag in held]
    rec.add_events([{"user_id": user, "item_id": ids[row]} for user in ("u05", "somebody new") for row in having[:8]])
    assert shares_of(rec, "u05")[tag] > before[tag]
    new = next(one for one in rec.profile("somebody new").interests if one.field == "tags")
    assert tag in tags[ids.index(new.support[0].item_id)]
    with pytest.raises(UnknownUserError):
        rec.profile("nobody")


def test_words() -> None:
    support = [Support("i1", "Trail boots", "buy", "shop", 1_714_694_400.0, 0.3), Support("i2", "Hut guide", "noticed", "shop", None, 0.1)]
    strong = Interest("category", "hiking", 0.4, 1.2, 0.5, "rising", 2, {"shop": 0.9, "feed": 0.1}, {"shop": 0.2, "feed": 0.1}, support)
    slight = Interest("category", "music", 0.1, 0.1, 0.0, "", 0, {}, {"shop": 0.2, "feed": 0.1}, [])
    under = Interest("category", "cats", 0.1, -0.1, 0.0, "", 0, {}, {}, [])
    assert (strength(strong), strength(slight)) == ("strong", "slight")
    found = Profile("u1", 2, {"age": 25.0, "interests": ["hiking", "tea"]}, [strong, slight, under])
    assert sentences(found) == [
        "u1: 2 events. Says of themselves: age 25, interests hiking, tea.",
        "Likes hiking (strong, rising): bought Trail boots on 3 May 2024, noticed Hut guide; mostly in shop.",
        "Likes music (slight, expected from the profile).",
    ]
    assert sentences(found, "zh")[1] == "喜欢hiking（强烈、上升）：2024年5月3日 买过Trail boots、noticed Hut guide；多在 shop。"
    assert sentences(Profile("u2", 0, {}, [under]))[1] == "Nothing sets u2 apart from the average user yet."
    with pytest.raises(UsageError, match="no explanation is worded in language 'fr'; there are: en, zh"):
        sentences(found, "fr")


def test_clusters_hold_what_is_alike() -> None:
    generator = np.random.default_rng(0)
    middles = np.eye(4)[np.repeat(np.arange(4), 15)]
    found = _clusters(middles + generator.normal(0, 0.05, middles.shape), [f"t{n}" for n in range(60)], 0)
    assert found is not None
    codes = found.of_items[1].reshape(4, 15)
    assert sum(len(set(row)) for row in codes.tolist()) <= 6
    assert _clusters(np.ones((5, 2)), list("abcde"), 0) is None


def test_the_command(m6rec: Callable[..., Any], tiny_run: Path) -> None:
    said = m6rec("profile", tiny_run, "u05", "--most", 1)
    assert said.out.startswith("u05: ")
    facts = m6rec("profile", tiny_run, "u05", "--json", "--language", "zh").json()
    assert facts["user"] == "u05"
    assert facts["sentences"][0].startswith("u05：")
    assert {"field", "value", "share", "lift", "trend", "scenarios", "support", "strength"} <= set(facts["interests"][0])
    assert "is not known" in m6rec("profile", tiny_run, "nobody").error(1)
