"""Dialogue files: read, checked, cut by hash, worded; known questions; the ReDial importer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from m6rec.base.errors import DataError
from m6rec.data.account import Account
from m6rec.data.config import DataConfig
from m6rec.data.dataset import Vocabulary
from m6rec.data.dialogues import CONTEXT, dialogue_parts, dialogue_texts, read_dialogues, with_known_items
from m6rec.data.importers.importer import import_data
from m6rec.data.side_tables import read_faq

ITEMS = Vocabulary(["i1", "i2", "i3"])
TALK: dict[str, Any] = {
    "dialogue_id": "d1",
    "user_id": "u1",
    "messages": [
        {"role": "user", "text": "I liked Alpina", "items": ["i1"], "liked": ["i1"]},
        {"role": "assistant", "text": "Try Borea or Cirrus", "items": ["i2", "i3", "gone"]},
        {"role": "user", "text": "No Borea", "items": ["i2"], "refused": ["i2"]},
        {"role": "assistant", "text": "Cirrus then", "items": ["i3"]},
    ],
}


def read(folder: Path, *dialogues: Any) -> tuple[pl.DataFrame, Account]:
    lines = (line if isinstance(line, str) else json.dumps(line) for line in dialogues)
    (folder / "talk.jsonl").write_text("\n".join(lines), encoding="utf-8")
    account = Account()
    frame = read_dialogues(DataConfig(events="e.csv", dialogues="talk.jsonl"), folder, account=account)
    assert frame is not None
    return with_known_items(frame, ITEMS, account), account


def test_one_row_a_message_in_order_and_strange_items_are_counted(tmp_path: Path) -> None:
    frame, account = read(tmp_path, TALK)
    assert frame["role"].to_list() == ["user", "assistant", "user", "assistant"]
    assert frame["items"].to_list() == [["i1"], ["i2", "i3"], ["i2"], ["i3"]]
    assert frame["liked"].to_list()[0] == ["i1"]
    assert frame["refused"].to_list()[2] == ["i2"]
    assert account.count("items of dialogues dropped") == 1


def test_replies_become_texts_with_the_words_before_them(tmp_path: Path) -> None:
    frame, _ = read(tmp_path, TALK)
    texts = dialogue_texts(frame)
    assert texts["kind"].unique().to_list() == ["dialogue"]
    assert texts["text"].to_list() == ["Try Borea or Cirrus", "Cirrus then"]
    assert texts["item_id"].to_list() == ["i2", "i3"]
    assert texts[CONTEXT].to_list()[1] == "user: I liked Alpina assistant: Try Borea or Cirrus user: No Borea"


def test_a_dialogue_is_in_one_part_and_its_own_word_goes_first(tmp_path: Path) -> None:
    many = [{**TALK, "dialogue_id": f"d{number}"} for number in range(300)]
    frame, _ = read(tmp_path, {**TALK, "dialogue_id": "own", "split": "test"}, *many)
    parts = frame.with_columns(part=pl.Series(dialogue_parts(frame)))
    per = parts.group_by("dialogue_id").agg(pl.col("part").n_unique())
    assert per["part"].to_list() == [1] * 301
    assert parts.filter(pl.col("dialogue_id") == "own")["part"].unique().to_list() == [2]
    shares = parts.filter(pl.col("turn") == 0)["part"].value_counts().sort("part")["count"].to_list()
    assert 200 < shares[0] < 270
    assert shares[1] > 10
    assert shares[2] > 10


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{oops", "line 1 is not JSON"),
        ('"a text"', "line 1 is str, not an object"),
        ({"messages": TALK["messages"]}, "line 1 has no dialogue_id"),
        ({"dialogue_id": "d", "messages": []}, "line 1 has no messages"),
        ({"dialogue_id": "d", "message": TALK["messages"]}, "did you mean 'message'"),
        ({"dialogue_id": "d", "messages": [{"role": "bot", "text": "x"}]}, "message 1: role is 'bot'; allowed are user and assistant"),
        ({"dialogue_id": "d", "messages": [{"role": "user"}]}, "message 1: text is None"),
        ({"dialogue_id": "d", "messages": [{"role": "user", "text": "x", "items": "i1"}]}, "items is 'i1', not a list"),
        ({**TALK, "split": "later"}, "split is 'later'; allowed are train, validation and test"),
        ({"dialogue_id": "d", "messages": [{"role": "user", "text": ""}]}, "nobody says anything|no dialogue in which anybody"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_in_one(tmp_path: Path, line: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        read(tmp_path, line)
    assert "\n" not in str(error.value)


def test_an_id_twice_names_both_places(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 2: dialogue_id 'd1' was there before \(talk.jsonl: line 1\)"):
        read(tmp_path, TALK, TALK)


def test_faq_needs_question_and_answer(tmp_path: Path) -> None:
    (tmp_path / "faq.csv").write_text("question,answer\nHow long?,Two days\nHow much?,\n", encoding="utf-8")
    account = Account()
    faq = read_faq(DataConfig(events="e.csv", faq="faq.csv"), tmp_path, account=account)
    assert faq is not None
    assert faq.rows() == [("How long?", "Two days", None)]
    assert account.count("questions dropped") == 1
    (tmp_path / "bad.csv").write_text("questions,reply\na,b\n", encoding="utf-8")
    with pytest.raises(DataError, match="did you mean 'questions'"):
        read_faq(DataConfig(events="e.csv", faq="bad.csv"), tmp_path, account=account)


def test_redial_is_imported(tmp_path: Path) -> None:
    source = tmp_path / "redial"
    source.mkdir()
    movies = {"7": {"name": "Heat (1995)", "genre": ["crime"], "plot": "Cops and robbers", "director": ["Michael Mann"], "star": []}}
    talk = {
        "conversationId": "42",
        "initiatorWorkerId": 1,
        "respondentWorkerId": 2,
        "movieMentions": {"7": "Heat (1995)", "8": "Ronin (1998)"},
        "initiatorQuestions": {"7": {"suggested": 1, "seen": 1, "liked": 1}, "8": {"liked": 0}},
        "messages": [
            {"senderWorkerId": 1, "text": "Something like @7 please"},
            {"senderWorkerId": 2, "text": "@8 , or @999"},
            {"senderWorkerId": 1, "text": "no"},
        ],
    }
    (source / "movies.json").write_text(json.dumps(movies), encoding="utf-8")
    (source / "my_test_data.jsonl").write_text(json.dumps(talk) + "\n", encoding="utf-8")
    import_data("redial", source, tmp_path / "out", {"judgements": True})
    found = json.loads((tmp_path / "out" / "dialogues.jsonl").read_text(encoding="utf-8"))
    assert found["split"] == "test"
    assert [one["role"] for one in found["messages"]] == ["user", "assistant", "user"]
    assert found["messages"][0]["text"] == "Something like Heat (1995) please"
    assert found["messages"][0]["items"] == ["7"]
    assert found["messages"][1]["items"] == ["8"]
    assert found["messages"][0]["liked"] == ["7"]
    assert found["messages"][2]["refused"] == ["8"]
    items = pl.read_parquet(tmp_path / "out" / "items.parquet")
    assert items["title"].to_list() == ["Heat", "Ronin"]
    assert items["year"].to_list() == [1995, 1998]
