"""A gorse client moves over: its paths, its JSON names, its header, as its Python client sends and reads them."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from m6rec.serving.http.config import GorseConfig
from m6rec.serving.http.gorse_rows import Fieldwise, ItemIn, seconds_of
from m6rec.serving.http.problems import Refused
from served_over_http import PlainService, client_of


@pytest.fixture
def service() -> PlainService:
    service = PlainService()
    service.store.add_key("old-shop", ["admin"])
    service.store.add_key("reader", ["read"])
    return service


@pytest.fixture
def gorse(service: PlainService) -> Iterator[httpx.Client]:
    with client_of(service, log=False) as client:
        client.headers["X-API-Key"] = "old-shop-secret"
        yield client


LIKE = {"FeedbackType": "like", "UserId": "u1", "ItemId": "i3", "Timestamp": "2022-11-20T13:55:27Z"}


def test_feedback_is_written_once_and_read_back(gorse: httpx.Client, service: PlainService) -> None:
    rows = [LIKE, {**LIKE, "FeedbackType": "read", "ItemId": "i4", "Timestamp": "2022-11-21", "Comment": "x", "Unknown": 1}]
    assert gorse.post("/api/feedback", json=rows).json() == {"RowAffected": 2}
    assert gorse.post("/api/feedback", json=[LIKE]).json() == {"RowAffected": 1}
    assert [(one.action, one.user_id, one.item_id, one.time) for one in service.events] == [
        ("like", "u1", "i3", 1668952527.0),
        ("read", "u1", "i4", 1668988800.0),
    ]
    assert gorse.get("/api/user/u1/feedback/like").json() == [{**LIKE, "Comment": ""}]
    assert [one["FeedbackType"] for one in gorse.get("/api/user/u1/feedback").json()] == ["like", "read"]
    page = gorse.get("/api/feedback", params={"n": 1}).json()
    assert [one["ItemId"] for one in page["Feedback"]] == ["i3"]
    following = gorse.get("/api/feedback", params={"n": 5, "cursor": page["Cursor"]}).json()
    assert ([one["ItemId"] for one in following["Feedback"]], following["Cursor"]) == (["i4"], "")
    assert [one["ItemId"] for one in gorse.get("/api/feedback/read").json()["Feedback"]] == ["i4"]


def test_put_lets_another_time_in(gorse: httpx.Client, service: PlainService) -> None:
    for moment in ("2022-11-20T13:55:27Z", "2022-11-20T13:55:27Z", "2022-12-01T00:00:00Z"):
        assert gorse.put("/api/feedback", json=[{**LIKE, "Timestamp": moment}]).status_code == 200
    assert len(service.events) == 2


def test_recommendations_are_ids_in_order(gorse: httpx.Client, service: PlainService) -> None:
    assert gorse.get("/api/recommend/u1/", params={"n": 3, "offset": 0}).json() == ["i0", "i1", "i2"]
    assert gorse.get("/api/recommend/u1/boots", params={"n": 2, "offset": 1}).json() == ["i1", "i2"]
    assert service.asked[-1].where == {"category": ["boots"]}
    assert gorse.get("/api/recommend/u1", params={"category": ["a", "b"]}).status_code == 200
    assert service.asked[-1].where == {"category": ["a", "b"]}
    assert len(gorse.get("/api/recommend/nobody-yet").json()) == 10, "somebody new gets what is good for anybody"
    assert (service.asked[-1].user, service.asked[-1].history) == (None, ())
    assert gorse.get("/api/recommend/u1?n=0").status_code == 422


def test_write_back_takes_a_key_that_writes(gorse: httpx.Client, service: PlainService) -> None:
    ask = "/api/recommend/u1?n=2&write-back-type=read&write-back-delay=0h10m0s"
    assert gorse.get(ask).json() == ["i0", "i1"]
    assert [(one.action, one.item_id) for one in service.events] == [("read", "i0"), ("read", "i1")]
    assert gorse.get(ask, headers={"X-API-Key": "reader-secret"}).status_code == 403
    assert gorse.get("/api/recommend/u1?write-back-type=read&write-back-delay=soon").status_code == 422
    assert [seconds_of(text) for text in ("", "0h10m0s", "1h", "1500ms")] == [0.0, 600.0, 3600.0, 1.5]


def test_neighbours_sessions_and_popular_items_are_scores(gorse: httpx.Client, service: PlainService) -> None:
    assert gorse.get("/api/item/i1/neighbors?n=2&offset=1").json() == [
        {"Id": "i2", "Score": 0.5},
        {"Id": "i3", "Score": pytest.approx(1 / 3)},
    ]
    rows = [{**LIKE, "ItemId": "i9", "Timestamp": "2022-11-22"}, {**LIKE, "ItemId": "i8", "Timestamp": "2022-11-21"}]
    assert gorse.post("/api/session/recommend?n=1", json=rows).json() == [{"Id": "i0", "Score": 1.0}]
    assert service.asked[-1].history == ("i8", "i9"), "oldest first"
    assert gorse.get("/api/popular?n=1").json() == [{"Id": "i0", "Score": 1.0}]
    assert gorse.get("/api/item/zz/neighbors").status_code == 404


def test_items_and_users(gorse: httpx.Client, service: PlainService) -> None:
    item = {"ItemId": "n1", "IsHidden": True, "Categories": ["b", "c"], "Labels": ["x", "y"], "Comment": "Boots", "Timestamp": "2022-11-20"}
    assert gorse.post("/api/item", json=item).json() == {"RowAffected": 1}
    assert service.rows["n1"]["fields"] == {"category": "b", "tags": ["x", "y"], "title": "Boots"}
    assert service.store.stopped == {("item", "n1"): "IsHidden, by a client of gorse"}
    found = gorse.get("/api/item/n1").json()
    assert found == {
        "ItemId": "n1",
        "IsHidden": True,
        "Categories": ["b"],
        "Timestamp": "0001-01-01T00:00:00Z",
        "Labels": {"tags": ["x", "y"]},
        "Comment": "Boots",
    }
    patch = {"IsHidden": False, "Comment": "New boots", "Categories": None, "Labels": None, "Timestamp": None}
    assert gorse.patch("/api/item/n1", json=patch).json() == {"RowAffected": 1}
    assert (service.rows["n1"]["fields"]["title"], service.rows["n1"]["fields"]["category"]) == ("New boots", "b")
    assert service.store.stopped == {}
    page = gorse.get("/api/items", params={"n": 20, "cursor": ""}).json()
    assert (len(page["Items"]), page["Cursor"]) == (20, "i19")
    assert [one["ItemId"] for one in gorse.get("/api/items", params={"n": 20, "cursor": "i19"}).json()["Items"]] == ["n1"]
    assert gorse.delete("/api/item/n1").json() == {"RowAffected": 1}
    assert gorse.get("/api/item/n1").status_code == 404
    assert gorse.post("/api/users", json=[{"UserId": "z", "Labels": {"age": 3}, "Comment": ""}]).json() == {"RowAffected": 1}
    assert gorse.get("/api/user/z").json() == {"UserId": "z", "Labels": {"age": 3}, "Subscribe": [], "Comment": ""}
    assert gorse.delete("/api/user/z").json() == {"RowAffected": 1}
    assert gorse.get("/api/user/z").status_code == 404


def test_what_has_no_field_is_refused_by_name(gorse: httpx.Client) -> None:
    answer = gorse.post("/api/item", json={"ItemId": "n2", "Labels": {"colour": "red"}})
    assert answer.status_code == 422
    assert "there is no field 'colour' to put it in; fields: title, category, tags, price" in answer.json()["detail"]
    fields = Fieldwise(GorseConfig(categories="kinds", labels="words", comment="words"), {"kinds": "tags", "words": "text"})
    assert fields.fields(ItemIn(ItemId="a", Labels=["p", "q"]), ["k"]) == {"kinds": ["k"], "words": "p, q"}
    with pytest.raises(Refused, match="no field 'category'"):
        Fieldwise(GorseConfig(), {}).fields(ItemIn(ItemId="a"), ["k"])


def test_gorse_can_be_left_out() -> None:
    with client_of(PlainService(), log=False, gorse=None) as client:
        assert client.get("/api/items").status_code == 404
        assert not any(path.startswith("/api") for path in client.get("/openapi.json").json()["paths"])
