"""Slates: hand-made lists, rules that no setting can break, shares that are kept, chances that are what they are said to be."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.errors import UsageError
from m6rec.data.dataset import FieldType
from m6rec.data.tables import frame_to_table
from m6rec.serving.asked import Slate
from m6rec.serving.rules.config import RulesConfig
from m6rec.serving.rules.curve import Case, accuracy_diversity, curve_svg
from m6rec.serving.rules.facts import CatalogueFacts
from m6rec.serving.rules.filters import Blocked, RuleBook
from m6rec.serving.rules.mixing import whole_numbers
from m6rec.serving.rules.slate import PLAIN, Placed, put_together

COUNT = 60
FIELDS = {
    "title": FieldType.TEXT,
    "brand": FieldType.CATEGORY,
    "kind": FieldType.CATEGORY,
    "tags": FieldType.TAGS,
    "limit": FieldType.NUMBER,
}


def many(seed: int = 0) -> CatalogueFacts:
    """60 items: 6 brands (one missing), 3 kinds, up to 3 tags each, age limits, two words in titles."""
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "item_id": [f"i{row}" for row in range(COUNT)],
            "title": [("bad " if row % 11 == 0 else "good ") + f"thing {row}" for row in range(COUNT)],
            "brand": [None if code == 5 else f"Brand{code}" for code in rng.integers(0, 6, COUNT)],
            "kind": [["video", "shop", "text"][code] for code in rng.integers(0, 3, COUNT)],
            "tags": [sorted({f"t{code}" for code in rng.integers(0, 5, rng.integers(0, 4))}) for _ in range(COUNT)],
            "limit": rng.choice([0.0, 12.0, 18.0], COUNT),
        }
    )
    return CatalogueFacts(frame_to_table(frame, FIELDS, "item_id"), rng.integers(0, 50, COUNT))


FACTS = many()
ITEMS = np.arange(COUNT)
SCORES = np.log(np.random.default_rng(1).dirichlet(np.full(COUNT, 0.3)) + 1e-9)
VECTORS = np.random.default_rng(2).normal(size=(COUNT, 8)).astype(np.float32)


def listed(slate: Slate = PLAIN, k: int = 10, **more: Any) -> Placed:
    return put_together(slate, ITEMS, SCORES, VECTORS, None, FACTS, k, **more)


def column(name: str, order: np.ndarray) -> list[Any]:
    return FACTS.items.frame[name].gather(order).to_list()


def test_defaults_leave_the_order_alone() -> None:
    placed = listed()
    assert placed.order.tolist() == np.argsort(-SCORES, kind="stable")[:10].tolist()
    assert placed.propensities.tolist() == [1.0] * 10
    assert (placed.left_out, placed.explored.any()) == ({}, False)


def test_ties_keep_the_order_given_and_minus_infinity_is_no_candidate() -> None:
    placed = put_together(Slate(), ITEMS[:4], np.array([0.0, 1.0, -np.inf, 1.0]), None, None, FACTS, 10)
    assert placed.order.tolist() == [1, 3, 0]


def test_no_candidates_no_list() -> None:
    for slate in (Slate(), Slate(diversity=0.5, novelty=0.2, caps={"brand": 1}, mix={"kind": {"video": 0.5}})):
        placed = put_together(
            slate, np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros((0, 4)), None, FACTS, 5, np.random.default_rng(0), exploration=0.5
        )
        assert placed.order.tolist() == []


def test_weights_by_hand() -> None:
    """ "field=value" and item ids, multiplied; 0 leaves out and is counted."""
    scores = np.log(np.array([0.4, 0.3, 0.2, 0.1]))
    kinds = column("kind", ITEMS[:4])
    factor = {"i0": 0.1, f"kind={kinds[1].upper()}": 0.5, "i2": 3.0, "i3": 0.0}
    expected = np.array([0.4 * 0.1, 0.3, 0.2 * 3, 0.0]) * [0.5 if kind == kinds[1] else 1.0 for kind in kinds]
    placed = put_together(Slate(weights=factor), ITEMS[:4], scores, None, None, FACTS, 4)
    assert placed.order.tolist() == np.argsort(-expected)[:3].tolist()
    assert placed.left_out == {"weights": 1}


def test_maximal_marginal_relevance_by_hand() -> None:
    """Relevance 1, 0.9, 0 (log-probabilities 0, -0.1, -1). The second is the first again: with enough diversity the third goes before it."""
    scores, vectors = np.array([0.0, -0.1, -1.0]), np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0]])

    def order(diversity: float) -> list[int]:
        return put_together(Slate(diversity=diversity), ITEMS[:3], scores, vectors, None, FACTS, 3).order.tolist()

    # Second place: (1 - d) 0.9 - d against 0, equal at d = 0.9 / 1.9.
    assert order(0.0) == [0, 1, 2]
    assert order(0.47) == [0, 1, 2]
    assert order(0.48) == [0, 2, 1]
    assert order(1.0) == [0, 2, 1]


def test_novelty_by_hand() -> None:
    """Shares 1/2, 1/4, 1/16: 1, 2 and 4 bits, rarity 0, 1/3, 1. Relevance 1, 0.9, 0."""
    scores, popularity = np.array([0.0, -0.1, -1.0]), np.array([0.5, 0.25, 0.0625])

    def order(novelty: float) -> list[int]:
        return put_together(Slate(novelty=novelty), ITEMS[:3], scores, None, popularity, FACTS, 3).order.tolist()

    # Second before first: 0.9 (1 - n) + n / 3 > 1 - n, from n = 0.1 / (0.1 + 1 / 3) = 3 / 13 on.
    assert order(0.22) == [0, 1, 2]
    assert order(0.24) == [1, 0, 2]
    assert order(1.0) == [2, 1, 0]


def test_more_diversity_is_a_more_various_list() -> None:
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)

    def unlike(diversity: float) -> float:
        chosen = unit[listed(Slate(diversity=diversity)).order]
        return 1 - ((chosen @ chosen.T).sum() - 10) / 90

    values = [unlike(diversity) for diversity in (0.0, 0.3, 0.6, 1.0)]
    assert values == sorted(values)
    assert values[-1] > values[0] + 0.1


def test_a_cap_lets_the_next_best_in_and_says_so() -> None:
    placed = listed(Slate(caps={"brand": 1}), k=4)
    brands = column("brand", np.argsort(-SCORES, kind="stable"))
    expected, used = [], set()
    for row, brand in zip(np.argsort(-SCORES, kind="stable").tolist(), brands, strict=True):
        if brand is None or brand not in used:
            expected.append(row)
            used.add(brand)
    assert placed.order.tolist() == expected[:4]
    gone = {brand for brand in column("brand", placed.order) if brand is not None}
    assert placed.left_out == {"cap brand": sum(brand in gone for brand in brands) - len(gone)}


@pytest.mark.parametrize(
    ("shares", "k", "expected"), [([0.3], 10, [3]), ([0.35, 0.65], 10, [3, 7]), ([0.25] * 4, 10, [3, 3, 2, 2]), ([0.05], 5, [0])]
)
def test_shares_as_whole_numbers(shares: list[float], k: int, expected: list[int]) -> None:
    assert sorted(whole_numbers(shares, k)) == sorted(expected)
    assert sum(whole_numbers(shares, k)) <= k


def test_a_mix_is_spread_over_the_list() -> None:
    """Half videos: among the first n there are at least floor(n / 2), however little probable."""
    scores = np.where(np.array(column("kind", ITEMS)) == "video", -50.0, 0.0) + SCORES
    placed = put_together(Slate(mix={"kind": {"video": 0.5}}), ITEMS, scores, None, None, FACTS, 10)
    video = np.cumsum(np.array(column("kind", placed.order)) == "video")
    assert video.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]


SLATES = st.builds(
    Slate,
    diversity=st.sampled_from([0.0, 0.3, 1.0]),
    novelty=st.sampled_from([0.0, 0.5, 1.0]),
    weights=st.dictionaries(st.sampled_from(["i1", "i7", "brand=brand1", "kind=VIDEO", "tags=t3"]), st.sampled_from([0.0, 0.5, 30.0])),
    caps=st.dictionaries(st.sampled_from(["brand", "kind", "tags"]), st.integers(0, 4)),
    mix=st.dictionaries(
        st.sampled_from(["kind", "tags", "brand"]),
        st.sampled_from([{"video": 0.3}, {"t1": 0.5, "t2": 0.5}, {"text": 1.0}, {"Brand1": 0.2, "nobody": 0.4}, {}]),
    ),
)
RULES = {
    "blocked_items": ["i3", "i4"],
    "blocked_words": ["bad"],
    "provider_field": "brand",
    "audiences": [
        {"name": "age", "field": "limit", "least": "profile.age"},
        {"name": "no shop", "field": "kind", "values": ["shop"], "scenarios": ["kids"]},
    ],
    "offers": {"feed": {"kind": ["video", "text"]}},
    "caps": [
        {"name": "brand", "field": "brand", "per_list": 2, "per_day": 3},
        {"name": "item", "per_day": 1},
        {"name": "tag", "field": "tags", "per_list": 3},
    ],
}
BOOK = RuleBook.build(RulesConfig.build(RULES), Blocked(providers=frozenset({"Brand4"})), FACTS)


@given(
    slate=SLATES,
    k=st.integers(1, 25),
    scenario=st.sampled_from([None, "kids", "feed", "shop"]),
    age=st.sampled_from([None, 8, 15, 40]),
    today=st.lists(st.integers(0, COUNT - 1), max_size=12),
    exploration=st.sampled_from([0.0, 0.2, 1.0]),
    seed=st.integers(0, 5),
)
@settings(max_examples=150, deadline=None)
def test_no_setting_of_a_slate_breaks_a_rule(
    slate: Slate, k: int, scenario: str | None, age: int | None, today: list[int], exploration: float, seed: int
) -> None:
    """Every rule, written down a second time in plain Python, holds for every list, exploration included."""
    verdict = BOOK.allowed(scenario, {} if age is None else {"age": age}, np.array(today, dtype=np.int64))
    may = np.flatnonzero(verdict.allows(ITEMS))
    placed = put_together(
        slate, may, SCORES[may], VECTORS[may], None, FACTS, k, np.random.default_rng(seed), limits=verdict.limits, exploration=exploration
    )
    chosen = may[placed.order]
    assert len(chosen) == len(set(chosen.tolist())) <= k
    assert ((placed.propensities > 0) & (placed.propensities <= 1)).all()
    rows = FACTS.items.frame.gather_every(1).select(pl.all().gather(chosen)).to_dicts()
    before = FACTS.items.frame.select(pl.all().gather(np.array(today, dtype=np.int64))).to_dicts()
    for row in rows:
        assert row["item_id"] not in {"i3", "i4"}
        assert not row["title"].startswith("bad")
        assert row["brand"] != "Brand4"
        assert row["limit"] <= (age or 0)
        assert not (scenario == "kids" and row["kind"] == "shop")
        assert not (scenario == "feed" and row["kind"] == "shop")
        assert row["item_id"] not in {seen["item_id"] for seen in before}
        assert slate.weights.get(row["item_id"], 1) > 0
        assert all(not (f == "brand=brand1" and row["brand"] == "Brand1" and w == 0) for f, w in slate.weights.items())
    for brand in {row["brand"] for row in rows} - {None}:
        here = sum(row["brand"] == brand for row in rows)
        assert here <= min(2, 3 - sum(seen["brand"] == brand for seen in before), slate.caps.get("brand", 99))
    for tag in {tag for row in rows for tag in row["tags"]}:
        assert sum(tag in row["tags"] for row in rows) <= min(3, slate.caps.get("tags", 99))
    for kind in {row["kind"] for row in rows}:
        assert sum(row["kind"] == kind for row in rows) <= slate.caps.get("kind", 99)


@given(rows=st.lists(st.integers(0, COUNT - 1), max_size=6), known=st.integers(1, COUNT), other=st.integers(1, 3), seed=st.integers(0, 1))
@settings(max_examples=15, deadline=None)
def test_a_book_brought_up_to_date_is_a_book_made_anew(rows: list[int], known: int, other: int, seed: int) -> None:
    """Items come and change: the same verdicts, texts and values as of a book built from nothing."""
    changed, table = many(other).items.frame, FACTS.items
    places = sorted({row for row in rows if row < known})
    before = CatalogueFacts(table.rows(list(range(known))))
    book = RuleBook.build(RulesConfig.build(RULES), Blocked(providers=frozenset({"Brand4"})), before)
    mixed = pl.DataFrame(
        [changed.row(row) if row in places else table.frame.row(row) for row in range(COUNT)], table.frame.schema, orient="row"
    )
    now = frame_to_table(mixed, FIELDS, "item_id")
    moved = np.array([*places, *range(known, COUNT)], dtype=np.int64)[::-1]
    later = book.updated(before.updated(now, moved), moved) if seed % 2 else book.caught_up(now)
    anew = RuleBook.build(book.config, book.blocked, CatalogueFacts(now))
    assert later.facts.texts.to_list() == anew.facts.texts.to_list()
    for scenario in (None, "kids", "feed"):
        for age in (8, 40):
            verdicts = [one.allowed(scenario, {"age": age}, np.array([0, 0, COUNT - 1])) for one in (later, anew)]
            assert verdicts[0].left_out == verdicts[1].left_out
            assert (verdicts[0].allows(ITEMS) == verdicts[1].allows(ITEMS)).all()
    for field in ("brand", "kind", "tags"):
        codes = [one.facts.values(field) for one in (later, anew)]
        names = [
            [{name for name, code in values.code.items() if code in values.pairs(np.array([row]))[1]} for row in range(COUNT)]
            for values in codes
        ]
        assert names[0] == names[1]


def test_a_catalogue_of_other_items_is_a_book_made_anew() -> None:
    verdict = BOOK.caught_up(FACTS.items.rows([50, 3, 1])).allowed(None, {"age": 40})
    assert verdict.allows(np.arange(3)).tolist() == [BOOK.allowed(None, {"age": 40}).allows(ITEMS)[row] for row in (50, 3, 1)]
    assert BOOK.caught_up(FACTS.items).facts.texts.to_list() == FACTS.texts.to_list()


def test_rows_that_came_must_all_be_named() -> None:
    before = CatalogueFacts(FACTS.items.rows(list(range(10))))
    with pytest.raises(UsageError, match="grew from 10 to 60 items, and 1 new rows are named"):
        before.updated(FACTS.items, np.array([10]))


@given(
    shares=st.dictionaries(st.sampled_from(["video", "shop", "text"]), st.sampled_from([0.1, 0.2, 0.3]), min_size=1),
    k=st.integers(1, 20),
    diversity=st.sampled_from([0.0, 0.7]),
    exploration=st.sampled_from([0.0, 1.0]),
    candidates=st.lists(st.integers(0, COUNT - 1), unique=True, min_size=1, max_size=40),
)
@settings(max_examples=80, deadline=None)
def test_a_mix_is_kept_as_far_as_candidates_go(
    shares: dict[str, float], k: int, diversity: float, exploration: float, candidates: list[int]
) -> None:
    chosen = np.array(candidates)
    placed = put_together(
        Slate(diversity=diversity, mix={"kind": shares}),
        chosen,
        SCORES[chosen],
        VECTORS[chosen],
        None,
        FACTS,
        k,
        np.random.default_rng(0),
        exploration=exploration,
    )
    assert len(placed.order) == min(k, len(chosen))
    has, all_kinds = column("kind", chosen[placed.order]), column("kind", chosen)
    for kind, need in zip(shares, whole_numbers(list(shares.values()), k), strict=True):
        assert has.count(kind) >= min(need, all_kinds.count(kind))


@pytest.mark.parametrize(
    ("slate", "words"),
    [
        (Slate(diversity=1.5), "slate.diversity is 1.5"),
        (Slate(novelty=float("nan")), "slate.novelty is nan"),
        (Slate(weights={"i1": -1.0}), "slate.weights: 'i1' is -1.0"),
        (Slate(weights={"i1": float("inf")}), "slate.weights: 'i1' is inf"),
        (Slate(weights={"nothing": 1.0}), "there is no item 'nothing'"),
        (Slate(weights={"brnd=x": 1.0}), "did you mean 'brand'"),
        (Slate(caps={"limit": 1}), "'limit' is a number field"),
        (Slate(caps={"brand": -1}), "slate.caps: 'brand' is -1"),
        (Slate(caps={"brand": 1.5}), "slate.caps: 'brand' is 1.5"),  # type: ignore[dict-item]
        (Slate(mix={"kind": {"video": 0.8, "shop": 0.3}}), "together at most 1"),
        (Slate(mix={"kind": {"video": -0.1}}), "shares from 0 to 1"),
        (Slate(mix={"colour": {"red": 0.1}}), "no field 'colour'"),
    ],
)
def test_wrong_settings_are_one_line(slate: Slate, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        listed(slate)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_of_nothing_is_an_error() -> None:
    with pytest.raises(UsageError, match="k is 0"):
        listed(k=0)


@pytest.mark.parametrize(
    ("slate", "limits", "pool"),
    [
        (Slate(), False, 8),
        (Slate(), False, 3),
        (Slate(diversity=0.4, caps={"brand": 2}, mix={"kind": {"video": 0.4}}), True, 100),
    ],
)
def test_propensities_are_the_frequencies(slate: Slate, limits: bool, pool: int) -> None:
    """1,200 lists: how often each item stands at each place is what was said of it, within five standard errors."""
    times, k, share = 1_200, 5, 0.2
    generator = np.random.default_rng(7)
    rules = BOOK.allowed("shop", {"age": 40}).limits if limits else ()
    seen, said = np.zeros((COUNT, k)), np.full((COUNT, k), np.nan)
    by_chance = 0
    for _ in range(times):
        placed = listed(slate, k, generator=generator, limits=rules, exploration=share, pool=pool)
        places = np.arange(k)
        seen[placed.order, places] += 1
        known = said[placed.order, places]
        assert (np.isnan(known) | (known == placed.propensities)).all()
        said[placed.order, places] = placed.propensities
        by_chance += int(placed.explored.sum())
    there = seen > 0
    error = np.sqrt(said[there] * (1 - said[there]) / times)
    assert (np.abs(seen[there] / times - said[there]) <= 5 * error + 1e-12).all()
    assert np.nansum(said, axis=0) == pytest.approx(1.0)  # everything that can stand at a place did
    open_places = int((said[there] < 1).sum() and (np.nanmax(said, axis=0) < 1).sum())
    assert by_chance / times == pytest.approx(share * open_places, rel=0.12)


def test_the_curve_of_a_slider_by_hand() -> None:
    """Two people, lists of two out of three. As scored: the target stands first and second. With diversity 1 the second place goes elsewhere."""
    facts, vectors = FACTS, np.zeros((COUNT, 2))
    vectors[:3] = [[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]]
    scores = np.array([0.0, -0.1, -1.0])
    cases = [Case(ITEMS[:3], scores, 0), Case(ITEMS[:3], scores, 1)]
    plain, various = accuracy_diversity(cases, [Slate(), Slate(diversity=1.0)], facts, vectors, k=2)
    assert plain.ndcg[0] == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert various.ndcg[0] == pytest.approx(1 / 2)
    assert (plain.hit[0], various.hit[0]) == (1.0, 0.5)
    assert (plain.unlikeness[0], various.unlikeness[0]) == pytest.approx((0.0, 1.0))
    assert plain.novelty[0] == pytest.approx(float(-np.log2(facts.popularity[:2]).mean()))
    assert plain.coverage == pytest.approx(2 / COUNT)
    assert plain.ndcg[1] <= plain.ndcg[0] <= plain.ndcg[2]
    drawn = curve_svg({"diversity": [plain, various]}, k=2)
    assert drawn.startswith("<svg")
    assert "diversity: 0.000 0.8155, 1.000 0.5000" in drawn
    assert "bits" in curve_svg({"diversity": [plain, various]}, against="novelty")
