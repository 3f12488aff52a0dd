"""The texts that writing learns from: by whom, about what, after which events, and the words they were asked to name.

Shapes: X texts, E events of the histories.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from m6rec.base.contracts import Histories
from m6rec.data.columns import Columns
from m6rec.data.dataset import Dataset
from m6rec.data.exposure_rows import cuts_before, placed_times
from m6rec.data.row_splits import split_texts
from m6rec.tasks.config import WriteConfig
from m6rec.text.tokenizer import Tokenizer
from m6rec.text.word_spans import word_places
from m6rec.text.words import is_spaceless

TRAINING = 0
TELLING = 0.1  # a word that a larger share of the texts has tells nothing of one of them
NEWEST_ITEMS = 5  # of a history, that are read by name
SHORTEST_NAME = 3  # characters of a name that is told from other words
MOST_ABOUT = 3  # words drawn of a text
_SENTENCE_END = re.compile(r"[.!?…。！？]+[\"'”’)\]]*\s*")


@dataclass(frozen=True)
class WriteRows:
    """X texts that are written, or to be written.

    task     int64 (X,)   which write task, a number in the order of the configuration
    users, items  int64 (X,)  dense ids, -1 where unknown
    starts, ends  int64 (X,)  events starts..ends of the histories are what was before
    texts    the text, "" where it is still to be written       parts  int8 (X,): 0 training, 1 validation, 2 test, -1 none
    about    words that it is to name, "" for none
    past     items of the newest events before it, the newest first, each once
    columns  named columns that are read before it, "" for nothing
    times    float64 (X,) seconds, NaN unknown
    """

    task: np.ndarray
    users: np.ndarray
    items: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    texts: list[str]
    parts: np.ndarray
    about: list[str]
    past: list[list[int]]
    columns: dict[str, list[str]] = field(default_factory=dict)
    times: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.texts)


def write_rows(dataset: Dataset, configs: Mapping[str, WriteConfig]) -> WriteRows:
    """All texts that a write task learns from, in every part.

    What was before a text are the person's events strictly before its time; where that is unknown, the events before the first with its item; a person
    who never had the item is read whole.
    """
    texts = dataset.texts
    assert texts is not None, "the checks found texts"
    parts = split_texts(texts)
    kinds = texts[Columns.KIND].to_list()
    chosen, task = [], []
    for number, config in enumerate(configs.values()):
        rows = [row for row, kind in enumerate(kinds) if kind in config.from_]
        chosen += rows
        task += [number] * len(rows)
    index = np.array(chosen, dtype=np.int64)
    users = dataset.users.ids.many([name if name is not None else "" for name in texts[Columns.USER].gather(index).to_list()])
    items = dataset.items.ids.many([name if name is not None else "" for name in texts[Columns.ITEM].gather(index).to_list()])
    times = texts[Columns.TIME].gather(index).cast(pl.Float64).fill_null(float("nan")).to_numpy().copy()
    starts, ends = _before(dataset.histories, users, items, times)
    configured = list(configs.values())
    columns = {
        name: [
            words_of(value) if name in configured[code].columns else "" for value, code in zip(texts[name].gather(index), task, strict=True)
        ]
        for name in dict.fromkeys(name for config in configured for name in config.columns)
    }
    about = [""] * len(index)
    for number, config in enumerate(configured):
        if config.about is not None:
            values = texts[config.about].gather(index).to_list()
            about = [words_of(value) if code == number else kept for value, code, kept in zip(values, task, about, strict=True)]
    return WriteRows(
        task=np.array(task, dtype=np.int64),
        users=users,
        items=items,
        starts=starts,
        ends=ends,
        texts=texts[Columns.TEXT].gather(index).to_list(),
        parts=parts[index],
        about=about,
        past=[newest_items(dataset.histories.items[start:end]) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)],
        columns=columns,
        times=times,
    )


def newest_items(items: np.ndarray) -> list[int]:
    """The newest of a history's items, each once, the newest first."""
    return list(dict.fromkeys(items[: -NEWEST_ITEMS - 1 : -1].tolist()))


def words_of(value: object) -> str:
    """A cell of a column as words: lists are joined, whole numbers lose their ".0", nothing is ""."""
    if value is None:
        return ""
    if isinstance(value, list | tuple | pl.Series):
        return ", ".join(words_of(one) for one in value if one is not None)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _before(histories: Histories, users: np.ndarray, items: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = (users >= 0) & (users < len(histories))
    rows = np.where(known, users, 0)
    if not len(histories) or not len(users):
        return np.zeros(len(users), np.int64), np.zeros(len(users), np.int64)
    starts, ends = histories.offsets[rows], histories.offsets[rows + 1]
    dated = ~np.isnan(times)
    if histories.times is not None and dated.any():
        cuts = cuts_before(histories.offsets, placed_times(histories), rows, times)
        # A text about an event of its own moment is of a later step than that event's state: strictly before leaves it out.
        ends = np.where(dated, np.clip(cuts, starts, ends), ends)
    undated = known & (~dated if histories.times is not None else np.ones(len(users), dtype=bool))
    for row in np.flatnonzero(undated & (items >= 0)).tolist():
        found = np.flatnonzero(histories.items[starts[row] : ends[row]] == items[row])
        if len(found):
            ends[row] = starts[row] + found[0]
    return np.where(known, starts, 0), np.where(known, ends, 0)


class AboutWords:
    """Draws words of a text that are telling of it, as somebody might ask for them; counted over the training texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.counts: Counter[str] = Counter()
        for text in texts:
            self.counts.update({word.lower() for word in surface_words(text)})
        self.most = max(TELLING * len(texts), 1.0)

    def draw(self, text: str, generator: np.random.Generator) -> str:
        """One to MOST_ABOUT words in the order drawn, joined by commas; "" where no word is telling."""
        words = list(dict.fromkeys(word for word in surface_words(text) if self._tells(word)))
        if not words:
            return ""
        most = 1 + int(generator.geometric(0.6)) if generator.random() < 0.5 else 1
        drawn = generator.permutation(len(words))[: min(most, MOST_ABOUT)]
        return ", ".join(words[place] for place in drawn)

    def _tells(self, word: str) -> bool:
        letters = len(word) >= 3 or is_spaceless(word[0])
        return letters and not word.isdigit() and 1 < self.counts[word.lower()] <= self.most


def surface_words(text: str) -> list[str]:
    """The words of a text as they stand there."""
    return [text[start:end] for start, end in word_places(text).tolist() if text[start].isalnum()]


def _named(tokenizer: Tokenizer, text: str, names: Sequence[str]) -> np.ndarray:
    """int32: the tokens of a text with every mention of the names between the ids for names; nothing where none is mentioned."""
    told = sorted({" ".join(name.split()) for name in names if len(name) >= SHORTEST_NAME}, key=len, reverse=True)
    if not any(name in text for name in told):
        return np.zeros(0, np.int32)
    pieces = re.split(rf"(?<!\w)({'|'.join(map(re.escape, told))})(?!\w)", text)
    opens, closes = (np.array([mark], dtype=np.int32) for mark in (tokenizer.name_open_id, tokenizer.name_close_id))
    tokens = tokenizer.encode_batch(pieces)
    return np.concatenate([part for at, ids in enumerate(tokens) for part in ((opens, ids, closes) if at % 2 else (ids,))])


def naming_most(texts: Sequence[str], about: str) -> list[int]:
    """Numbers of the texts, those first that name the most of the words `about` (separated by commas), else in their order."""
    asked = {word.strip().lower() for word in about.split(",") if word.strip()}
    named = [len(asked & {word.lower() for word in surface_words(text)}) for text in texts]
    return sorted(range(len(texts)), key=lambda place: -named[place])


def target_tokens(tokenizer: Tokenizer, text: str, longest: int, names: Sequence[str] = ()) -> np.ndarray:
    """int32 (T,): what is learned of a text: its leading whole sentences within `longest` tokens and the end; of a longer first sentence its start,
    without an end.

    names: of the item and of items of the history; where the text says one, it stands between the ids for names, so that names can be held to the
    catalogue.
    """
    plain = " " + " ".join(text.split())
    ids = tokenizer.encode(plain, longest + 1)
    end = np.array([tokenizer.eos_id], dtype=np.int32)
    if len(ids) < longest:
        marked = _named(tokenizer, plain, names)
        return np.concatenate([marked if 0 < len(marked) < longest else ids, end])
    shown = tokenizer.decode(ids[: longest - 1])
    ends = [match.end() for match in _SENTENCE_END.finditer(shown)]
    for place in reversed(ends):
        kept = tokenizer.encode(shown[:place].rstrip(), longest)
        if 0 < len(kept) < longest:
            return np.concatenate([kept, end])
    return ids[:longest]
