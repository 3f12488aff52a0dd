"""What somebody types, answered: what fields decide is filtered exactly, the rest moves scores; empty answers say why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from m6rec.base.errors import UsageError
from m6rec.recommender import Recommender
from m6rec.text.constraints import MOST_TYPED


@pytest.fixture(scope="module")
def rec(tiny_run: Path) -> Recommender:
    return Recommender.from_pretrained(tiny_run)


def values(rec: Recommender, field: str) -> dict[str, object]:
    items = rec.engine.items
    return dict(zip(items.ids.ids, items.frame[field].to_list(), strict=True))


def test_what_is_ruled_out_never_comes(rec: Recommender) -> None:
    brand = values(rec, "brand")
    (first,) = rec.recommend(text="something nice", k=1)
    out = str(brand[first.item_id])
    answers = rec.recommend(text=f"something nice, not {out}", k=len(brand))
    assert answers
    assert len(answers) == sum(value != out for value in brand.values())
    assert all(brand[one.item_id] != out for one in answers)
    ranked = rec.rank(text=f"not {out}", items=list(brand))
    places = [brand[one.item_id] == out for one in ranked]
    assert places == sorted(places), "ranked after the rest"


def test_bounds_of_numbers_are_exact_with_behaviour_too(rec: Recommender) -> None:
    price = values(rec, "price")
    known = sorted(float(str(value)) for value in price.values() if value is not None)
    middle = round(float(np.median(known)))
    user = rec.engine.users.ids.ids[0]
    for text, meets in (
        (f"under {middle}", lambda p: p < middle),
        (f"at least {middle} dollars", lambda p: p >= middle),
        (f"{middle}元以下", lambda p: p <= middle),
    ):
        answers = rec.recommend(user=user, text=text, k=len(price), repeat="allow")
        assert {one.item_id for one in answers} == {item for item, p in price.items() if p is not None and meets(p)}, text
    assert rec.understand(f"under {middle}").wanted == ""


def test_unwanted_words_that_no_field_decides_sink(rec: Recommender) -> None:
    items = rec.engine.items
    title = next(t for t in items.titles() if t)
    word = title.split()[0].lower()
    having = [word in t.lower().split() for t in items.titles()]
    plain = {one.item_id: one.score for one in rec.recommend(text="anything", k=len(items))}
    against = {one.item_id: one.score for one in rec.recommend(text=f"anything without {word}", k=len(items))}
    lost = [plain[item] - against[item] for item in against]
    sunk = [loss for loss, item in zip(lost, against, strict=True) if having[items.ids.dense(item)]]
    assert not sunk or min(sunk) > max(
        0.0, np.median([loss for loss, item in zip(lost, against, strict=True) if not having[items.ids.dense(item)]])
    )


def test_contradictions_answer_nothing_and_say_why(rec: Recommender, tiny_run: Path, m6rec: Callable[..., object]) -> None:
    text = "under 5 and over 5000 dollars"
    assert rec.recommend(text=text) == []
    assert rec.why_empty(text) == "price > 5000 and price < 5 exclude each other"
    assert rec.why_empty("something") == ""
    done = m6rec("recommend", tiny_run, "--text", text)
    assert done.code == 0  # type: ignore[attr-defined]
    assert "m6rec: note: price > 5000 and price < 5 exclude each other" in done.err  # type: ignore[attr-defined]


def test_why_nothing_is_left_counts_the_filters(rec: Recommender, tiny_run: Path, m6rec: Callable[..., object]) -> None:
    """A limit that items meet, but none of those that the filters leave."""
    dear = {"price": f">{rec.engine.items.frame['price'].max() - 1}"}  # type: ignore[operator]
    assert rec.recommend(text="under 20")
    assert rec.why_empty("under 20") == ""
    assert rec.recommend(text="under 20", where=dear) == []
    assert rec.why_empty("under 20", where=dear) == "no item that the filters leave has price < 20"
    assert rec.why_empty("under 20", where={"price": ">100000"}) == "no item is left by the filters, whatever is typed"
    assert rec.why_empty("under 0.001", where=dear) == "no item has price < 0.001"
    assert rec.why_empty("under 20", where=dear, language="zh") == "筛选后的物品中没有价格低于20的"
    assert rec.why_empty("under 20", where={"price": ">100000"}, language="zh") == "无论输入什么，筛选后都没有剩下的物品"
    with pytest.raises(UsageError, match="language is 'fr'; there are: en, zh"):
        rec.why_empty("under 20", language="fr")
    done = m6rec("recommend", tiny_run, "--text", "under 20", "--where", f"price{dear['price']}")
    assert done.err == "m6rec: note: no item that the filters leave has price < 20\n"  # type: ignore[attr-defined]


def test_what_is_asked_for_and_ruled_out_and_short_lists_are_told(rec: Recommender, tiny_run: Path, m6rec: Callable[..., object]) -> None:
    assert "'hiking' is asked for and ruled out" in rec.engine.typed_notes("hiking but no hiking")[0]
    assert rec.engine.typed_notes("the boots, not the lamp", None, 5) == ()
    prices = np.sort(np.array([value for value in rec.engine.items.frame["price"].to_list() if value is not None]))
    few = f"price below {prices[2] + 0.001:.3f}"
    assert int((prices < prices[2] + 0.001).sum()) == len(rec.recommend(text=few, k=10)) < 10
    assert rec.engine.typed_notes(few, None, 10)[0].startswith(f"{len(rec.recommend(text=few, k=10))} of ")
    assert rec.engine.typed_notes(few) == ()
    with pytest.warns(UserWarning, match="ruled out as well"):
        rec.recommend(text="hiking but no hiking")


def test_a_text_that_is_too_long_is_one_line(rec: Recommender) -> None:
    with pytest.raises(UsageError, match=r"the text has 1,000,000 characters; at most 20,000 are read"):
        rec.recommend(text="a" * 1_000_000)
    assert len(rec.recommend(text="a long walk " * (MOST_TYPED // 13), k=3)) == 3


def test_many_and_one_answer_alike(rec: Recommender) -> None:
    from m6rec.serving.asked import Ask

    asks = [
        Ask(text="running shoes, not Oakline", k=5),
        Ask(text="a gift under 50", k=5),
        Ask(history=(rec.engine.items.ids.ids[0],), text="without marathon", k=5),
    ]
    together = rec.engine.answer_many(asks)
    for ask, found in zip(asks, together, strict=True):
        alone = rec.engine.answer(ask)
        assert found.items.tolist() == alone.items.tolist()
        np.testing.assert_allclose(found.scores, alone.scores, rtol=1e-5)
