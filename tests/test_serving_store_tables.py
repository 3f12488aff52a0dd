"""What the store keeps besides events: items, users, keys, models, settings, moderation, experiments; on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from m6rec.base.errors import DataError, StorageError, UsageError
from m6rec.serving.store.config import StoreConfig
from m6rec.serving.store.records import Event
from m6rec.serving.store.store import Store


@pytest.fixture
def store(store_url: str, tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(StoreConfig(url=store_url), tmp_path)
    yield opened
    opened.close()


def test_items_are_written_merged_found_and_deleted(store: Store) -> None:
    seq = store.upsert_items([{"item_id": "b", "title": "Größe 100% <b>", "tags": ["x"]}, {"item_id": "a", "price": 3.5}])
    assert seq == store.newest_change() == 2
    assert [row.id for row in store.items()] == ["a", "b"]
    assert [row.id for row in store.items("größe")] == ["b"]
    assert [row.id for row in store.items("GRÖ")] == []  # only the case of ASCII letters is overlooked
    assert [row.id for row in store.items("GRö")] == ["b"]
    assert [row.id for row in store.items("100% <B>")] == ["b"]
    assert store.items("100_") == []  # no wildcard
    assert [row.id for row in store.items(most=1, after="a")] == ["b"]
    store.upsert_items([{"item_id": "b", "title": None, "year": 2020}], merge=True)
    found = store.item("b")
    assert found is not None
    assert (found.fields, found.seq) == ({"tags": ["x"], "year": 2020}, 3)
    store.upsert_items([{"item_id": "b", "title": "new"}])
    assert [row.fields for row in store.items_since(3)] == [{"title": "new"}]
    store.delete_item("b")
    store.delete_item("never seen")
    assert (store.item("b"), store.count_items(), sorted(store.gone_items())) == (None, 1, ["b", "never seen"])
    assert [(change.kind, change.key) for change in store.changes(4)] == [("item_gone", "b"), ("item_gone", "never seen")]
    store.upsert_items([{"item_id": "b"}])
    assert store.gone_items() == ["never seen"]


def test_rows_that_can_not_be_kept_change_nothing(store: Store) -> None:
    for rows, words in (
        ([{"title": "x"}], "row 0 has no 'item_id'"),
        ([{"item_id": "a"}, {"item_id": "a"}], "stand twice"),
        ([{"item_id": "a"}, {"item_id": 7}], "row 1: item_id is 7"),
        ([{"item_id": "a", "x": float("nan")}], "JSON"),
    ):
        with pytest.raises(DataError, match=words):
            store.upsert_items(rows)
    assert (store.count_items(), store.newest_change()) == (0, 0)


def test_users_have_fields_of_their_own(store: Store) -> None:
    store.upsert_users([{"user_id": "u", "age": 30}])
    user = store.user("u")
    assert user is not None
    assert user.fields == {"age": 30}
    store.delete_user("u")
    assert (store.user("u"), store.count_users()) == (None, 0)


def test_a_key_is_found_by_its_secret_alone(store: Store, store_url: str, tmp_path: Path) -> None:
    secret = store.add_key("shop", ["read", "write"])
    key = store.find_key(secret)
    assert key is not None
    assert (key.name, key.roles) == ("shop", ("read", "write"))
    for wrong in ("", "x", secret + "x", secret[:-1], secret.replace("_", "-"), "m6r__", "a" * 10_000, secret.upper()):
        assert store.find_key(wrong) is None
    other = Store.open(StoreConfig(url=store_url), tmp_path)
    assert other.find_key(secret) == key
    with pytest.raises(UsageError, match="there is a key named 'shop'"):
        store.add_key("shop", ["read"])
    with pytest.raises(UsageError, match="unknown role 'wirte'; did you mean 'write'"):
        store.add_key("b", ["wirte"])
    with pytest.raises(UsageError, match="has no role"):
        store.add_key("b", [])
    store.drop_key("shop")
    assert (store.find_key(secret), store.keys()) == (None, [])
    with pytest.raises(UsageError, match="no key named"):
        store.drop_key("shop")
    other.close()


def test_neither_secret_nor_its_plain_hash_is_in_the_database(tmp_path: Path) -> None:
    import hashlib

    store = Store.open(StoreConfig(), tmp_path)
    secret = store.add_key("a", ["admin"])
    store.close()
    written = b"".join(path.read_bytes() for path in tmp_path.glob("store.db*"))
    assert secret.encode() not in written
    assert secret.split("_", 2)[2].encode() not in written
    assert hashlib.sha256(secret.encode()).hexdigest().encode() not in written
    assert (tmp_path / "store.secret").stat().st_mode & 0o077 == 0


def test_a_database_of_another_secret_is_refused(tmp_path: Path) -> None:
    Store.open(StoreConfig(), tmp_path).close()
    (tmp_path / "store.secret").unlink()
    with pytest.raises(StorageError, match="made with another secret"):
        Store.open(StoreConfig(), tmp_path)
    (tmp_path / "store.secret").write_text("abc")
    with pytest.raises(StorageError, match="holds no secret"):
        Store.open(StoreConfig(), tmp_path)


def test_rolling_back_again_goes_further_back(store: Store) -> None:
    for version in ("v1", "v2", "v3"):
        store.add_model(f"runs/{version}", version)
        store.set_active(version)
    went = []
    while (before := store.previous_active()) is not None:
        store.set_active(before)
        went.append(before)
    assert went == ["v2", "v1"]
    store.set_active("v3")
    assert store.previous_active() == "v1"


def test_models_are_switched_and_rolled_back(store: Store) -> None:
    assert (store.active(), store.previous_active()) == (None, None)
    store.add_model("runs/a", "v1", "first", watermark=7)
    store.add_model("runs/b", "v2")
    store.set_active("v1")
    store.set_active("v2")
    store.set_active("v2")
    assert [(model.version, model.active, model.watermark) for model in store.models()] == [("v2", True, 0), ("v1", False, 7)]
    assert store.previous_active() == "v1"
    store.set_active("v1")
    assert store.previous_active() is None, "back at the first: not forward to v2"
    with pytest.raises(UsageError, match="no model 'v3' in the store; there are: v1, v2; load it first"):
        store.set_active("v3")
    store.add_events([Event("u", "i")])
    store.forget("u")
    store.add_model("runs/c", "v4")
    assert {model.version: model.forgotten for model in store.models()} == {"v1": 1, "v2": 1, "v4": 0}


def test_settings_options_and_experiments_are_kept(store: Store) -> None:
    store.set_setting("a", {"b": [1, None]})
    store.set_setting("a", 3)
    assert (store.setting("a"), store.setting("b"), store.setting("b", 5), store.settings()) == (3, None, 5, {"a": 3})
    store.save_option("shop-click", {"folder": "x"})
    assert store.options() == {"shop-click": {"folder": "x"}}
    assert (store.drop_option("shop-click"), store.drop_option("shop-click"), store.options()) == (True, False, {})
    store.save_experiment({"name": "e", "arms": ["a"]})
    store.save_experiment({"name": "e", "arms": ["a", "b"]})
    assert store.experiments() == [{"name": "e", "arms": ["a", "b"]}]
    with pytest.raises(DataError, match="the name of an experiment"):
        store.save_experiment({"arms": []})
    kinds = [(change.kind, change.key, change.payload) for change in store.changes(0)]
    assert kinds[1] == ("setting", "a", {"value": 3})
    assert kinds[3] == ("option", "shop-click", {})
    assert kinds[-1] == ("experiment", "e", {"name": "e", "arms": ["a", "b"]})


def test_blocks_and_reviews(store: Store) -> None:
    store.block("item", "i1", "broken")
    store.block("item", "i1", "very broken")
    store.block("word", "'; DROP TABLE blocked; --")
    assert {(block.kind, block.value, block.reason) for block in store.blocked()} == {
        ("item", "i1", "very broken"),
        ("word", "'; DROP TABLE blocked; --", ""),
    }
    assert (store.unblock("item", "i1"), store.unblock("item", "i1")) == (True, False)
    with pytest.raises(UsageError, match="unknown kind 'items'"):
        store.block("items", "x")
    first = store.queue_review("reason", {"text": "<script>"}, "too short\x00")
    second = store.queue_review("reason", "b", user_id="u")
    assert [(review.id, review.content, review.reason) for review in store.reviews()] == [
        (first, {"text": "<script>"}, "too short "),
        (second, "b", ""),
    ]
    store.decide(first, "rejected", "ann")
    assert [(review.state, review.by) for review in store.reviews(None)] == [("rejected", "ann"), ("waiting", None)]
    with pytest.raises(UsageError, match="was rejected already"):
        store.decide(first, "approved", "bob")
    with pytest.raises(UsageError, match="not in the queue"):
        store.decide(999, "approved", "bob")
    store.forget("u")
    assert store.reviews() == []
