"""What writing learns from: what was before a text, where it is cut, how names are marked, which known texts are read."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from m6rec.base.contracts import Histories
from m6rec.base.errors import ConfigError, DataError
from m6rec.config import M6RecConfig
from m6rec.data.dataset import Dataset, FieldType, Table, Vocabulary
from m6rec.tasks.config import WriteConfig
from m6rec.tasks.write_memory import Memory
from m6rec.tasks.write_rows import AboutWords, naming_most, target_tokens, words_of, write_rows
from m6rec.text.tokenizer import Tokenizer
from m6rec.training.write_checks import check_writes


def dataset(texts: pl.DataFrame | None, *, timed: bool = True) -> Dataset:
    """Two users, three items: u0 had i0, i1, i2 at 10, 20, 30; u1 had i1 at 15."""
    items = Table(
        Vocabulary(["i0", "i1", "i2"]), pl.DataFrame({"title": ["Red Boots", "Blue Hat", "Green Bag"]}), {"title": FieldType.TEXT}
    )
    users = Table(Vocabulary(["u0", "u1"]), pl.DataFrame(), {})
    histories = Histories(np.array([0, 3, 4]), np.array([0, 1, 2, 1], np.int32), times=np.array([10.0, 20, 30, 15]) if timed else None)
    return Dataset(items, users, histories, texts=texts)


def texts(*rows: tuple[str, str | None, str | None, str, float | None], **columns: list[str | None]) -> pl.DataFrame:
    names = ("kind", "user_id", "item_id", "text", "time")
    schema = {"kind": pl.String, "user_id": pl.String, "item_id": pl.String, "text": pl.String, "time": pl.Float64}
    frame = pl.DataFrame([dict(zip(names, row, strict=True)) for row in rows], schema=schema)
    return frame.with_columns(pl.Series(name, values, dtype=pl.String) for name, values in columns.items())


def test_only_events_strictly_before_the_text_are_read() -> None:
    frame = texts(
        ("review", "u0", "i1", "a", 20.0),
        ("review", "u0", "i2", "b", 31.0),
        ("review", "u1", "i0", "c", 15.0),
        ("review", "nobody", "i0", "d", 99.0),
        ("other", "u0", "i0", "e", 99.0),
        ("review", "u0", "i2", "f", None),
    )
    rows = write_rows(dataset(frame), {"review": WriteConfig(from_="review")})
    assert rows.texts == ["a", "b", "c", "d", "f"]
    assert list(zip(rows.starts.tolist(), rows.ends.tolist(), strict=True)) == [(0, 1), (0, 3), (3, 3), (0, 0), (0, 2)]
    assert rows.past == [[0], [2, 1, 0], [], [], [1, 0]]


def test_without_times_events_before_the_item_are_read() -> None:
    frame = texts(("review", "u0", "i1", "a", None), ("review", "u0", None, "b", None), ("review", "u1", "i2", "c", None))
    rows = write_rows(dataset(frame, timed=False), {"review": WriteConfig(from_="review")})
    assert list(zip(rows.starts.tolist(), rows.ends.tolist(), strict=True)) == [(0, 1), (0, 3), (3, 4)]


def test_named_columns_and_words_to_name_belong_to_the_tasks_that_read_them() -> None:
    frame = texts(("a", "u0", "i0", "x", 1.0), ("b", "u0", "i0", "y", 1.0), question=["why", "how"], feature=["soft", None])
    configs = {"first": WriteConfig(from_="a", reads=["item", "question"], about="feature"), "second": WriteConfig(from_=["b"])}
    rows = write_rows(dataset(frame), configs)
    assert rows.columns == {"question": ["why", ""]}
    assert rows.about == ["soft", ""]
    assert words_of([1.0, "two", None]) == "1, two"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["You would like Red Boots because they last. They are soft. Blue Hat is warm."] * 5, 300)


def test_a_long_text_is_cut_at_a_sentence(tokenizer: Tokenizer) -> None:
    text = "They are soft. They last."
    whole = target_tokens(tokenizer, text, 64)
    assert whole[-1] == tokenizer.eos_id
    assert tokenizer.decode(whole) == " " + text
    cut = target_tokens(tokenizer, text, len(whole) - 1)
    assert cut[-1] == tokenizer.eos_id
    assert tokenizer.decode(cut) == " They are soft."
    shorter = target_tokens(tokenizer, text, 3)
    assert len(shorter) == 3
    assert tokenizer.eos_id not in shorter


def test_names_stand_between_their_ids(tokenizer: Tokenizer) -> None:
    marked = target_tokens(tokenizer, "You would like Red Boots, not Blue Hats.", 64, ["Red Boots", "Blue Hat"]).tolist()
    opened, closed = marked.index(tokenizer.name_open_id), marked.index(tokenizer.name_close_id)
    assert tokenizer.decode(marked[opened + 1 : closed]) == "Red Boots"
    assert marked.count(tokenizer.name_open_id) == 1  # "Blue Hats" is not "Blue Hat"
    assert tokenizer.decode(marked) == " You would like Red Boots, not Blue Hats."
    assert tokenizer.name_open_id not in target_tokens(tokenizer, "You would like it.", 64, ["Red Boots"])


def test_memory_finds_others_on_the_item_then_on_what_resembles_it() -> None:
    vectors = csr_array(np.array([[1.0, 0], [0.6, 0.8], [0, 1.0]], np.float32))
    memory = Memory(np.array([0, 1, 1, 2]), np.array([0, 0, 1, 2]), ["a", "b", "c", "d"], vectors)
    assert memory.about(0, 0, 1, vector=vectors[[0]]) == [1]  # not the person's own
    assert memory.about(0, 5, 3, vector=vectors[[0]]) == [1, 0, 2]  # item 1 resembles item 0, item 2 does not
    assert memory.about(0, 5, 3, vector=vectors[[0]], without=1) == [0, 2]
    assert memory.about(-1, 0, 3) == []
    assert memory.by(1, 5) == [2, 1]
    assert memory.by(1, 5, without=2) == [1]
    assert memory.by(-1, 5) == []
    assert naming_most(["soft wool", "the battery", "battery and strap"], "strap, battery") == [2, 1, 0]


def test_people_alike_go_first() -> None:
    people = csr_array(np.array([[1.0, 0], [0, 1.0], [1.0, 0]], np.float32))
    memory = Memory(np.array([1, 2]), np.array([0, 0]), ["a", "b"], None, people)
    assert memory.about(0, 0, 2) == [1, 0]


def test_words_are_drawn_of_the_text_and_are_telling() -> None:
    draw = AboutWords([f"the case is {word} and fine" for word in ("soft", "soft", "hard", "hard", "red", "red", "blue", "blue")] * 3)
    found = {word for _ in range(30) for word in draw.draw("the case is soft and red", np.random.default_rng(_)).split(", ")}
    assert found <= {"soft", "red", ""}
    assert draw.draw("the case is and", np.random.default_rng(0)) == ""


def complaint(frame: pl.DataFrame | None, **settings: object) -> str:
    with pytest.raises(DataError) as error:
        check_writes(dataset(frame), {"reason": WriteConfig.build({"from": "review", **settings})})
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_missing_is_said_in_one_line() -> None:
    many = [("review", "u0", "i0", f"text {row}", 1.0) for row in range(40)]
    check_writes(dataset(texts(*many)), {"reason": WriteConfig(from_="review")})
    assert "no texts to learn from; say data.texts" in complaint(None)
    assert "no text of the kind 'revew'; did you mean 'review'" in complaint(texts(*many), **{"from": "revew"})
    assert "at least 10 training ones" in complaint(texts(*many[:5]))
    assert "no column 'quest' to read" in complaint(texts(*many), reads=["item", "quest"])
    assert "have no item_id" in complaint(texts(*[(kind, user, None, text, time) for kind, user, _, text, time in many]))
    assert "that no user has, e.g. 'x'" in complaint(texts(*[(kind, "x", item, text, time) for kind, _, item, text, time in many]))


def test_configuration_of_a_write_task() -> None:
    config = M6RecConfig.build(
        {"data": {"events": "e"}, "tasks": {"next": {}, "reason": {"answer": "write", "from": "review", "reads": ["item", "plot"]}}}
    )
    task = config.writes["reason"]
    assert (task.from_, task.columns) == (["review"], ["plot"])
    assert config.label_columns["text"] == ["plot"]
    assert M6RecConfig.build(config.plain()).fingerprint() == config.fingerprint()
    with pytest.raises(ConfigError, match=r"'tasks\.reason\.from' is required"):
        M6RecConfig.build({"data": {"events": "e"}, "tasks": {"next": {}, "reason": {"answer": "write"}}})
