"""The names of a live catalogue as what may be written: every name in a trie, filters as sets of items, changes at once.

Dimension key: N items.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from m6rec.base.errors import UsageError
from m6rec.language_model.spelling import Spelling, readable
from m6rec.language_model.tries import Names, NameTrie
from m6rec.text.blocked_words import BlockedWords
from m6rec.text.tokenizer import Tokenizer

LONGEST = 96  # tokens of a name; a longer one is a description, and is not written as a name
MOST_TRIES = 64
REBUILT = 0.25  # share of new names from which on all are put into one trie again
_BLANKS = re.compile(r"\s+")


def spelling_of(tokenizer: Tokenizer) -> Spelling:
    """What the tokens of a tokenizer spell, with its ids for the end and for names."""
    return Spelling(tokenizer.pieces(), tokenizer.eos_id, tokenizer.name_open_id, tokenizer.name_close_id)


def plain_name(title: str) -> str:
    """A title as it is written: one line, without characters that cannot be read."""
    return _BLANKS.sub(" ", "".join(letter if readable(letter) else " " for letter in title)).strip()


class ItemNames:
    """The names of N items by dense id. Never changes: `updated` gives a new one, so that a text being written keeps its own.

    unnamed: items whose title is empty, unreadable or too long; they are not written by name.
    """

    def __init__(self, titles: Sequence[str], tokenizer: Tokenizer, before: ItemNames | None = None) -> None:
        """before: the names of the first of these titles, when they are known already; only the others are looked at."""
        self.titles, self.tokenizer = list(titles), tokenizer
        first = 0 if before is None else len(before.titles)
        tokens = tokenizer.encode_batch([plain_name(title) for title in self.titles[first:]], LONGEST + 1)
        fits = [number for number, ids in enumerate(tokens) if 0 < len(ids) <= LONGEST]
        known = np.zeros(0, np.int64) if before is None else before.items
        self.items: np.ndarray = np.concatenate([known, np.array(fits, dtype=np.int64) + first])  # of each name, in the order of the tries
        self.tries: tuple[NameTrie, ...] = () if before is None else before.tries
        if fits:
            self.tries = (*self.tries, NameTrie([tokens[number] for number in fits]))
        self.unnamed = len(self.titles) - len(self.items)

    def updated(self, titles: Sequence[str]) -> ItemNames:
        """Of the catalogue as it is now; new items at its end cost their own names only."""
        titles, kept = list(titles), len(self.titles)
        if titles[:kept] != self.titles:
            return ItemNames(titles, self.tokenizer)
        if len(titles) == kept:
            return self
        first = len(self.tries[0]) if self.tries else 0
        many = len(self.tries) > MOST_TRIES or len(titles) - first > REBUILT * len(titles) + MOST_TRIES
        return ItemNames(titles, self.tokenizer, None if many else self)

    def mask(self, allowed: np.ndarray | None = None, banned: BlockedWords | None = None) -> Names:
        """The mask under which only names of allowed items can be written.

        Args:
            allowed: bool (N,) as filters, blocks, refusals and removals have it now; None: all.
            banned: words that must not be written; items that have one in their name are not written by name.
        """
        may = np.ones(len(self.items), dtype=bool) if allowed is None else np.asarray(allowed, dtype=bool)[self.items]
        if banned is not None and len(banned):
            said = [bool(may[number]) and not banned.found(self.titles[item]) for number, item in enumerate(self.items.tolist())]
            may = np.array(said, dtype=bool)
        return Names(self.tries, may)

    def meant(self, names: Sequence[int]) -> list[int]:
        """Items of the numbers in `Decoded.names`, several where titles are alike."""
        return self.items[list(names)].tolist()

    def check(self) -> None:
        """Raises UsageError: no item has a name that can be written."""
        if not len(self.items):
            raise UsageError(
                f"none of the {len(self.titles)} items has a name that can be written; declare a text field of the items called title or name"
            )

    def marked(self, text: str, items: Sequence[int]) -> np.ndarray:
        """int32 (T,): tokens of a text with the names of `items` marked wherever they stand as they are: what a writer learns from.

        The longest name wins where several begin; a name in the middle of a word is none.
        """
        names = {name: item for item in items if (name := plain_name(self.titles[item])) and len(name) > 1}
        if not names:
            return self.tokenizer.encode(text)
        pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        marks = self.tokenizer.name_open_id, self.tokenizer.name_close_id
        parts, start = [], 0
        for match in re.finditer(rf"(?<!\w)(?:{pattern})(?!\w)", text):
            parts += [self.tokenizer.encode(text[start : match.start()]), np.array(marks[:1], np.int32)]
            parts += [self.tokenizer.encode(match[0]), np.array(marks[1:], np.int32)]
            start = match.end()
        return np.concatenate([*parts, self.tokenizer.encode(text[start:])])
