"""Rows to learn from dialogues which item is named next: what was named so far, the words so far, the item an assistant names then.

Dimension keys: R rows, D training dialogues, C cases.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import DataError
from m6rec.data.columns import Columns
from m6rec.data.dataset import Dataset, Vocabulary
from m6rec.data.dialogues import ASSISTANT, ITEMS, REFUSED, ROLE, conversations, dialogue_parts
from m6rec.data.splits import Cases

TRAINING, VALIDATION, TEST = 0, 1, 2


@dataclass(frozen=True)
class DialogueRows:
    """One row for every item that an assistant is the first to name.

    histories  items named before by either side and not refused, oldest first      texts  all words before, names of items left out
    targets    int32 (R,)      dialogues  int64 (R,), number of the row's dialogue among those the rows were made of
    """

    histories: Histories
    texts: list[str]
    targets: np.ndarray
    dialogues: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def cases(self) -> Cases:
        """As questions with known answers."""
        targets = Histories(offsets=np.arange(len(self) + 1, dtype=np.int64), items=self.targets)
        return Cases(Requests(histories=self.histories, texts=list(self.texts)), targets)


@dataclass(frozen=True)
class DialogueSplit:
    """Dialogues cut for training.

    sequences  one row a training dialogue: the items it names, in order, each once      words  all that is said in each, names of items left out
    """

    train: DialogueRows
    validation: DialogueRows
    test: DialogueRows
    sequences: Histories
    words: list[str]

    @property
    def statement(self) -> str:
        """One sentence."""
        return (
            f"dialogues: {len(self.sequences)} are trained on, by a hash of the dialogue or its own word; items that assistants are the first to "
            f"name: {len(self.train)} to train on, {len(self.validation)} for validation, {len(self.test)} for test."
        )


def split_dialogues(dataset: Dataset) -> DialogueSplit:
    """The rows of training, validation and test. Raises DataError: no dialogues, or none in which an assistant names an item."""
    frame = dataset.dialogues
    if frame is None:
        raise DataError(
            "a task with of: dialogue learns from dialogues and there are none; say data.dialogues: <file>, or leave the task out"
        )
    parts = dialogue_parts(frame)
    titles = dataset.items.titles()
    made = {part: _read(frame.filter(pl.Series(parts == part)), dataset.items.ids, titles) for part in (TRAINING, VALIDATION, TEST)}
    train, sequences, words = made[TRAINING]
    if not len(train):
        raise DataError(
            "in no training dialogue an assistant names an item of the catalogue; look at `items` of the messages, and at their split"
        )
    return DialogueSplit(train, made[VALIDATION][0], made[TEST][0], sequences, words)


def all_dialogues(dataset: Dataset) -> tuple[DialogueRows, Histories, list[str]]:
    """Rows of all dialogues, the items that each names, and its words: what serving counts. Raises DataError: there are no dialogues."""
    if dataset.dialogues is None:
        raise DataError("there are no dialogues; say data.dialogues: <file>")
    return _read(dataset.dialogues, dataset.items.ids, dataset.items.titles())


def named_events(frame: pl.DataFrame) -> pl.DataFrame:
    """Events made of dialogues: user_id (or the dialogue's id), item_id, order: every item a training dialogue names, once.

    Raises:
        DataError: no training dialogue names an item.
    """
    rows: list[dict[str, object]] = []
    for name, messages in conversations(frame.filter(pl.Series(dialogue_parts(frame) == TRAINING))):
        named = dict.fromkeys(item for message in messages for item in message[ITEMS])
        user = messages[0][Columns.USER] or name
        rows += [{Columns.USER: user, Columns.ITEM: item, Columns.ORDER: len(rows) + place} for place, item in enumerate(named)]
    if not rows:
        raise DataError("no training dialogue names an item, and there are no other events; give data.events, or `items` of the messages")
    return pl.DataFrame(rows, schema={Columns.USER: pl.String, Columns.ITEM: pl.String, Columns.ORDER: pl.Int64})


def joined(first: Histories, second: Histories) -> Histories:
    """The rows of both, items alone."""
    return Histories(
        offsets=np.concatenate([first.offsets, first.offsets[-1] + second.offsets[1:]]),
        items=np.concatenate([first.items, second.items]).astype(np.int32),
    )


def nameless(text: str, titles: list[str]) -> str:
    """The text without these titles, and the years in brackets after them."""
    for title in titles:
        if title:
            text = re.sub(rf"{re.escape(title)}(?:\s*\(\d{{4}}\))?", " ", text, flags=re.IGNORECASE)
    return " ".join(text.split())


def _read(frame: pl.DataFrame, ids: Vocabulary, titles: list[str]) -> tuple[DialogueRows, Histories, list[str]]:
    before: list[list[int]] = []
    texts: list[str] = []
    targets: list[int] = []
    owners: list[int] = []
    sequences: list[list[int]] = []
    words: list[str] = []
    for number, (_, messages) in enumerate(conversations(frame)):
        named: dict[int, None] = {}
        refused: set[int] = set()
        said: list[str] = []
        for message in messages:
            items = [ids.dense(item) for item in message[ITEMS]]
            refused |= {ids.dense(item) for item in message[REFUSED]}
            if message[ROLE] == ASSISTANT:
                for item in items:
                    if item not in named:
                        before.append([one for one in named if one not in refused])
                        texts.append(" ".join(said))
                        targets.append(item)
                        owners.append(number)
            named |= dict.fromkeys(items)
            said.append(nameless(message[Columns.TEXT], [titles[item] for item in items]))
        sequences.append([item for item in named if item not in refused])
        words.append(" ".join(said))
    rows = DialogueRows(Histories.from_lists(before), texts, np.array(targets, dtype=np.int32), np.array(owners, dtype=np.int64))
    return rows, Histories.from_lists(sequences), words
