"""What people who say such things have: planted groups are found, few people leave popularity, weights follow what helps."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from m6rec.base.contracts import Histories
from m6rec.tasks.interest_blend import InterestBlend
from m6rec.tasks.newcomers import Newcomer, NewcomerCases, fit_newcomer
from m6rec.tasks.told_prior import FIRST, ToldPrior, fit_told

ITEMS = 40


def counted(smoothing: float = 5.0, people: int = 400) -> ToldPrior:
    """Two groups of people by profile, two tastes by tag, and one item that everybody begins with."""
    generator = np.random.default_rng(0)
    group, taste = np.arange(people) % 2, np.arange(people) // 2 % 2
    rows = []
    for person in range(people):
        own = generator.choice(
            np.flatnonzero((np.arange(ITEMS) % 2 == group[person]) & (np.arange(ITEMS) // 20 == taste[person])), 8, replace=False
        )
        other = generator.choice(ITEMS, 8, replace=False)
        rows.append(np.concatenate([[39], own[own != 39], other[(other != 39) & ~np.isin(other, own)]]))
    matrix = csr_array(np.eye(2, dtype=np.float32)[np.arange(ITEMS) // 20])
    profiles = csr_array(np.eye(2, dtype=np.float32)[group])
    told = fit_told(
        Histories.from_lists(rows), np.arange(people), matrix, np.arange(2), np.full(2, 0.5), profiles, smoothing, np.random.default_rng(1)
    )
    assert told is not None
    return told


def test_planted_groups_and_tastes_are_found() -> None:
    told = counted()
    first, rest = told.scores([np.array([0]), np.zeros(0, int), np.array([1])], csr_array(np.eye(2, dtype=np.float32)[[0, 1, 1]]), ITEMS)
    own = [np.arange(0, 20, 2), np.arange(1, 39, 2), np.arange(21, 39, 2)]
    for row, wanted in zip(rest, own, strict=True):
        others = np.setdiff1d(np.arange(39), wanted)
        assert row[wanted].mean() > row[others].mean() + 0.2
    assert (first.argmax(axis=1) == 39).all(), "what newcomers begin with"


def test_nothing_is_said_to_anybody_by_few_people() -> None:
    told = counted(smoothing=1e9)
    nobody = told.scores([np.zeros(0, int)], None, ITEMS)
    somebody = told.scores([np.array([0])], csr_array(np.array([[1.0, 0.0]], dtype=np.float32)), ITEMS)
    np.testing.assert_allclose(somebody, nobody, atol=1e-4)


def test_items_added_since_stand_last_and_are_there() -> None:
    told = counted()
    scores = told.scores([np.array([0])], None, ITEMS + 2)
    assert scores.shape == (2, 1, ITEMS + 2)
    assert (scores[:, 0, ITEMS:] <= scores[:, 0, :ITEMS].min() + 1e-6).all()


def test_nobody_who_can_say_anything_is_nothing() -> None:
    histories = Histories.from_lists([[0, 1], [1, 2]])
    matrix = csr_array((3, 0), dtype=np.float32)
    assert fit_told(histories, np.arange(2), matrix, np.zeros(0, int), np.zeros(0), None, 1.0, np.random.default_rng(0)) is None


def test_weights_follow_what_helps() -> None:
    generator = np.random.default_rng(0)
    people = 150
    noise = [generator.normal(size=(people, 30)).astype(np.float32) for _ in range(4)]
    targets = list(generator.integers(0, 30, (people, 2)))
    for row, wanted in enumerate(targets):
        noise[2][row, wanted] += 6  # `rest` alone knows
    cases = NewcomerCases(noise[0], np.stack(noise[1:3]), noise[3], targets)
    found = fit_newcomer([cases])
    assert found.rest > max(found.start, found.first, found.interest)
    blend = InterestBlend({"values": (0.5,) * 7}, {"values": (0.0,) * 7}, {"values": found})
    assert InterestBlend.of(blend.plain()) == blend
    assert blend.newcomer("values", 0) == found
    assert blend.newcomer("values", 1) is None
    assert blend.weights("values", 0) == (found.interest, 0.0)


def test_a_blend_of_before_reads_popularity() -> None:
    old = {"interest": {"values": [0.4] * 7}, "match": {"values": [0.0] * 7}, "popular": {"values": 0.75}}
    blend = InterestBlend.of(old)
    assert blend.newcomer("values", 0) == Newcomer(0.25, 0.0, 0.0, 0.75, 0.4)
    assert FIRST == 10
