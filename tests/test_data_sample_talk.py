"""What is said around the built-in sample: the same for the same seed, true of the items, and consistent with what was planted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from m6rec.data.sample import Language, Sample, generate, write_sample
from m6rec.data.sample_dialogues import satisfies
from m6rec.data.sample_facts import Facts, facts_of, load_talk
from m6rec.data.sample_talk import Talk
from m6rec.data.sample_titles import load_words


@pytest.fixture(scope="module", params=["en", "zh"])
def sample(request: pytest.FixtureRequest) -> Sample:
    return generate(users=200, items=200, talk=True, language=request.param)


@pytest.fixture(scope="module")
def facts(sample: Sample) -> dict[str, Facts]:
    return {own.item_id: own for own in facts_of(sample.truth, sample.items, load_words(sample.language))}


@pytest.fixture(scope="module")
def talk(sample: Sample) -> Talk:
    assert sample.talk is not None
    return sample.talk


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def has(own: Facts, fields: dict[str, Any], field: str, value: str) -> bool:
    written = fields[field]
    if field == "tags":
        return value in written
    return f"{written:g}" == value if field == "price" else value.lower() in str(written).lower()


def test_the_rest_of_the_sample_keeps_its_bytes(tmp_path: Path) -> None:
    for name, talk in (("plain", False), ("talking", True), ("again", True)):
        write_sample(tmp_path / name, users=40, items=50, seed=5, talk=talk)
    for path in (tmp_path / "plain").glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "talking" / path.name).read_bytes()
    for path in (tmp_path / "talking").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    more = {path.name for path in (tmp_path / "talking").iterdir()} - {path.name for path in (tmp_path / "plain").iterdir()}
    assert more == {"writings.parquet", "dialogues.jsonl", "faq.jsonl"}


def test_texts_name_only_what_is_true_of_their_item(sample: Sample, talk: Talk, facts: dict[str, Facts]) -> None:
    fields = {row["item_id"]: row for row in sample.items.iter_rows(named=True)}
    written = talk.writings.filter(pl.col("kind").is_in(["review", "reason", "query"]))
    assert written.height > 1000
    for row in written.iter_rows(named=True):
        assert "{" not in row["text"]
        for named in json.loads(row["named"]):
            assert named["value"].lower() in row["text"].lower()
            assert has(facts[row["item_id"]], fields[row["item_id"]], named["field"], named["value"]), row
    reasons = written.filter(pl.col("kind") == "reason", pl.col("cites").is_not_null())
    assert reasons.height > 100
    events = {user: rows["item_id"].to_list() for (user,), rows in sample.events.sort("time").group_by("user_id")}
    for row in reasons.iter_rows(named=True):
        own, earlier = facts[row["item_id"]], facts[row["cites"]]
        assert earlier.title in row["text"]
        assert own.brand == earlier.brand or set(own.tags) & set(earlier.tags)
        assert events[row["user_id"]].index(row["cites"]) == events[row["user_id"]].index(row["item_id"]) - 1


def test_spans_of_queries_cut_out_the_words_they_label(talk: Talk, facts: dict[str, Facts]) -> None:
    queries = talk.writings.filter(kind="query")
    for row in queries.iter_rows(named=True):
        own = facts[row["item_id"]]
        for span in json.loads(row["spans"]):
            part = row["text"][span["start"] : span["end"]]
            price = own.ceiling if own.price is not None else None
            assert part in {"brand": [own.brand], "category": [own.what], "tags": own.tags, "price": [str(price)]}[span["label"]]


def test_reviews_speak_in_the_tone_of_the_rating_and_the_manner_of_the_writer(talk: Talk, sample: Sample) -> None:
    reviews = talk.writings.filter(kind="review").join(sample.events, on=["user_id", "item_id"])
    tone = pl.when(pl.col("value") >= 4).then(pl.lit("positive")).when(pl.col("value") >= 3).then(pl.lit("neutral"))
    assert reviews.filter(pl.col("sentiment") != tone.otherwise(pl.lit("negative"))).is_empty()
    assert (reviews.group_by("user_id").agg(pl.col("manner").n_unique())["manner"] == 1).all()
    loud = reviews.filter(pl.col("text").str.contains("[!！]"))
    assert set(loud["manner"]) == {1}


def test_dialogues_keep_to_what_was_said(sample: Sample, talk: Talk, facts: dict[str, Facts]) -> None:
    """What is recommended satisfies every constraint so far, what was refused never returns, and the liked item is the user's next one."""
    handed = 0
    for dialogue in talk.dialogues:
        constraints: list[dict[str, Any]] = []
        refused: set[str] = set()
        liked = ""
        for place, message in enumerate(dialogue["messages"]):
            assert message["role"] == ("user", "assistant")[place % 2]
            constraints += message.get("constraints", [])
            if message.get("act") == "recommend":
                assert satisfies(facts[message["items"][0]], constraints)
                assert not refused & set(message["items"])
                assert facts[message["items"][0]].title.lower() in message["text"].lower()
            refused |= set(message.get("refused", []))
            if message.get("intent") == "like":
                liked = message["liked"][0]
        last = dialogue["messages"][-2]
        handed += last["hand_over"]
        assert last["hand_over"] == (dialogue["messages"][-1]["act"] == "hand_over") == (not liked)
        after = sample.events.filter(pl.col("user_id") == dialogue["user_id"], pl.col("time") > dialogue["time"])
        assert not liked or liked == after.sort("time")["item_id"][0]
    assert len(talk.dialogues) == 100
    assert 5 < handed < 30


def test_turns_and_questions_carry_their_labels(talk: Talk, sample: Sample) -> None:
    turns = talk.writings.filter(kind="turn")
    assert turns.height == sum(message["role"] == "user" for dialogue in talk.dialogues for message in dialogue["messages"])
    assert set(turns.filter(hand_over=1)["intent"]) == {"anger", "outside", "person"}
    assert {"recommend", "refuse", "like", "ask_item", "faq", "greet"} <= set(turns.filter(hand_over=0)["intent"])
    questions = talk.writings.filter(kind="question")
    assert set(questions["about"]) == set(talk.faq["question"])
    assert (questions.group_by("about").len()["len"] == 6).all()
    chinese = [bool(re.search(r"[一-鿿]", text)) for text in talk.writings["text"]]
    assert all(chinese) if sample.language == "zh" else not any(chinese)


def test_both_languages_have_the_same_shape() -> None:
    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shape(inner) for key, inner in value.items()}
        if isinstance(value, list) and isinstance(value[0], dict):
            return [shape(inner) for inner in value]
        return len(value) if isinstance(value, list) else type(value)

    assert shape(load_talk("en")) == shape(load_talk("zh"))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_written_folder_is_read_with_its_labels(tmp_path: Path, language: Language) -> None:
    from m6rec.config import load_config
    from m6rec.data.prepare import prepare

    told = write_sample(tmp_path, users=30, items=40, talk=True, tasks=True, language=language, format="jsonl")
    config = load_config(tmp_path / "config.yaml")
    assert {"intent", "hand_over", "sentiment"} <= set(config.judges)
    assert set(config.writes) == {"reason", "review", "query", "reply"}
    data, _ = prepare(config.data, config.fields, config.scenarios, tmp_path, labels=config.label_columns)
    assert data.texts is not None
    replies = sum(message["role"] == "assistant" for line in lines(tmp_path / "dialogues.jsonl") for message in line["messages"])
    assert len(data.texts) == told["files"]["writings.jsonl"] + replies  # what assistants said are texts too
    assert data.faq is not None
    assert len(data.faq) == 12
    assert data.texts["intent"].drop_nulls().n_unique() == 5, "of ten: the others are said once or twice"
    assert len(lines(tmp_path / "dialogues.jsonl")) == told["files"]["dialogues.jsonl"] == 15


@pytest.mark.parametrize(("users", "seed"), [(10, 0), (12, 0), (20, 3), (30, 0), (150, 0)])
def test_a_small_talking_sample_asks_only_what_it_can_teach(tmp_path: Path, users: int, seed: int, m6rec: Any) -> None:
    """Few turns: an intent with a row or two has none, and tasks without enough to learn from are left out."""
    write_sample(tmp_path, users=users, items=60, seed=seed, talk=True, tasks=True)
    assert m6rec("validate", tmp_path / "config.yaml", "--json").json()
    asked = (tmp_path / "config.yaml").read_text()
    assert ("  intent: {" in asked) == (users >= 20)
    assert "  reason: {" in asked
