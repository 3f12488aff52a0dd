"""The table of rows to label and the filled table read back: what is offered, what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from m6rec.base.contracts import Histories
from m6rec.base.errors import DataError, UsageError
from m6rec.data.dataset import Dataset, FieldType, Table, Vocabulary
from m6rec.language_model.config import ModelConfig
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.config import JudgeConfig, SharingConfig
from m6rec.tasks.judge_text import JudgeTexts
from m6rec.tasks.text_documents import TextExamples
from m6rec.tasks.text_reader import TextReader
from m6rec.text.tokenizer import Tokenizer
from m6rec.text.wording import Wording
from m6rec.training.labelling import read_filled, to_label

TEXTS = [f"{thing} number {number}" for thing in ("card lost", "refund late", "app crashes") for number in range(6)]
LABELS = ["card"] * 3 + [None] * 3 + ["money"] * 3 + [None] * 3 + [None] * 6


@pytest.fixture(scope="module")
def model() -> Any:
    """A model that nobody trained, with texts of which a third has a label, and items of which half has a category."""
    tokenizer = Tokenizer.train(TEXTS, 300)
    language_model = LanguageModel(ModelConfig(width=16, lower_layers=1).resolve(vocabulary=tokenizer.size), seed=1)
    reader = TextReader(language_model.eval(), tokenizer, Wording("en"), 64)
    configs = {
        "topic": JudgeConfig(label="topic", on="text", kind="classes"),
        "stars": JudgeConfig(label="stars", on="text", kind="number"),
        "category": JudgeConfig(label="category", on="item", kind="classes"),
        "slots": JudgeConfig(label="slots", on="text", kind="tokens"),
    }
    nothing = np.full(len(TEXTS), np.nan, np.float32)
    codes = np.array([np.nan if label is None else ["card", "money"].index(label) for label in LABELS], dtype=np.float32)
    examples = TextExamples(
        TEXTS, {"topic": codes, "stars": nothing, "category": nothing}, np.zeros(len(TEXTS), np.int8), spans={"slots": [[]] * len(TEXTS)}
    )
    kinds = {
        "topic": ("classes", ["card", "money"]),
        "stars": ("number", []),
        "category": ("classes", ["boots", "hats"]),
        "slots": ("tokens", ["thing"]),
    }
    sizes, ngrams = JudgeTexts.fit_sizes(examples, kinds, language_model.shape)
    judge = JudgeTexts(configs, SharingConfig(), language_model.shape, sizes)
    judge.initialise(torch.Generator().manual_seed(0), ngrams)
    texts = pl.DataFrame({"kind": ["query"] * len(TEXTS), "text": TEXTS, "topic": LABELS})
    frame = pl.DataFrame({"title": ["red boots", "blue hat", "green boots", "old hat"], "category": ["boots", "hats", None, None]})
    items = Table(Vocabulary("abcd"), frame, {"title": FieldType.TEXT, "category": FieldType.CATEGORY})
    users = Table(Vocabulary([]), pl.DataFrame(), {})
    dataset = Dataset(items, users, Histories.from_lists([]), texts=texts)
    return SimpleNamespace(texts=SimpleNamespace(judge=judge), reader=reader, dataset=dataset)


def test_only_rows_without_a_label_are_offered_and_what_is_unlike_comes_early(model: Any) -> None:
    rows = to_label(model, "topic", 4)
    assert rows.columns == ["kind", "text", "topic", "guess", "worth", "reason"]
    assert set(rows["text"]) <= {text for text, label in zip(TEXTS, LABELS, strict=True) if label is None}
    assert rows["topic"].null_count() == 4
    assert "app crashes" in rows["text"][0]
    assert "unlike anything labelled" in rows["reason"][0]
    assert set(rows["guess"]) <= {"card", "money"}


def test_texts_of_ones_own_are_chosen_among(model: Any) -> None:
    own = pl.DataFrame({"text": ["card stolen", "card stolen", "where is my money", None], "id": [1, 2, 3, 4]})
    rows = to_label(model, "topic", 10, own)
    assert sorted(rows["id"].to_list()) == [1, 3]
    with pytest.raises(DataError, match="have no column 'text'"):
        to_label(model, "topic", 3, pl.DataFrame({"words": ["a"]}))


def test_items_without_the_field_are_offered(model: Any) -> None:
    rows = to_label(model, "category", 5)
    assert sorted(rows["item_id"].to_list()) == ["c", "d"]
    with pytest.raises(UsageError, match="task 'category' is on items; leave --texts out"):
        to_label(model, "category", 5, pl.DataFrame({"text": ["a"]}))


def test_filled_texts_of_no_kind_become_one_that_the_task_reads(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that reads reviews only would pass a text by that says no kind, label and all."""
    judge = model.texts.judge
    monkeypatch.setitem(judge.configs, "topic", judge.configs["topic"].model_copy(update={"texts": ["query", "note"]}))
    own = pl.DataFrame({"text": ["card stolen", "where is my money"], "topic": ["card", "money"]})
    assert read_filled(model, "topic", own)[0]["kind"].to_list() == ["query", "query"]
    said = own.with_columns(pl.Series("kind", ["note", None]))
    assert read_filled(model, "topic", said)[0]["kind"].to_list() == ["note", "query"]


def test_a_filled_table_comes_back_without_what_was_added(model: Any) -> None:
    rows = to_label(model, "topic", 3)
    filled = rows.with_columns(pl.Series("topic", ["money", None, " card "]))
    labelled, blank = read_filled(model, "topic", filled)
    assert labelled.columns == ["kind", "text", "topic"]
    assert (labelled["topic"].to_list(), blank) == (["money", "card"], 1)
    with pytest.raises(DataError, match="label 'moneyy' is not among the 2 that are known"):
        read_filled(model, "topic", rows.with_columns(pl.Series("topic", ["moneyy", None, None])))
    with pytest.raises(DataError, match="no row of the filled table has a label"):
        read_filled(model, "topic", rows)
    with pytest.raises(DataError, match="no column 'topic'"):
        read_filled(model, "topic", rows.drop("topic"))


def test_unknown_tasks_and_numbers_are_refused(model: Any) -> None:
    with pytest.raises(UsageError, match="'topik' is no task of this run on texts or items; did you mean 'topic'"):
        to_label(model, "topik", 3)
    with pytest.raises(UsageError, match="task 'stars' judges a number"):
        to_label(model, "stars", 3)


def test_words_to_label_are_refused(model: Any) -> None:
    said = r"task 'slots' labels the words of a text \(kind: tokens\); rows to label are chosen .* yes or no \(binary\), classes or tags"
    with pytest.raises(UsageError, match=said):
        to_label(model, "slots", 3)
    with pytest.raises(UsageError, match=said):
        read_filled(model, "slots", pl.DataFrame({"text": ["a"], "slots": ["[]"]}))
