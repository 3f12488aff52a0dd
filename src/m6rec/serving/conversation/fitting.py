"""How far items have what somebody asks for in words: which words of a wish the catalogue knows, and how many of them each item has.

Shapes: N items.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array

from m6rec.serving.engine.engine import Engine
from m6rec.text.constraints import Typed
from m6rec.text.phrases import HELPING, Phrases, said
from m6rec.text.words import is_spaceless


def telling_words(text: str, phrases: Collection[Phrases], silent: Collection[str] = ()) -> list[str]:
    """The words of a text that say what is wanted, in order: no plain words, no cues, no numbers; characters of scripts without spaces joined up.

    silent: cues that help others, and whose words shall be left out as well.
    """
    words = said(text)
    words = replace(words, words=tuple(word.removesuffix("'s") for word in words.words))
    cues = set[int]()
    for one in phrases:
        for patterns in (
            *(patterns for name, patterns in one.cues.items() if name not in HELPING or name in silent),
            *one.places.values(),
            one.lists["clauses"],
            *(signs for field in one.comparatives.values() for signs in field.values()),
        ):
            for pattern in patterns:
                if pattern in words.joined:
                    first = words.joined.count(" ", 0, words.joined.find(pattern))
                    cues |= set(range(first, first + len(pattern.split())))
    found: list[str] = []
    last = -2
    for place, word in enumerate(words.words):
        if place in cues or word.isdigit() or (len(word) == 1 and word.isascii()) or any(word in one.plain for one in phrases):
            continue
        if is_spaceless(word) and found and last == place - 1 and is_spaceless(found[-1][-1]):
            found[-1] += word
        else:
            found.append(word)
        last = place
    return list(dict.fromkeys(found))


def ruled_out(wishes: Sequence[Typed], phrases: Collection[Phrases]) -> list[str]:
    """Words that somebody does not want, and did not ask for after that."""
    found: dict[str, None] = {}
    for typed in wishes:
        wanted = telling_words(typed.wanted, phrases)
        found = dict.fromkeys(word for word in (*found, *telling_words(typed.unwanted, phrases)) if word not in wanted)
    return list(found)


def subject(text: str, phrases: Collection[Phrases], engine: Engine) -> list[str]:
    """The words of a wish that say what it is about; for whom and for which day a present is says so only where the catalogue has such words."""
    bare = set(telling_words(text, phrases, silent=("occasion", "bad")))
    return [word for word in telling_words(text, phrases) if (word in bare and not word[0].isdigit()) or engine.understands(word)]


def strange_words(wish: Typed, phrases: Collection[Phrases], engine: Engine) -> list[str]:
    """What a wish is about, where no item has a word of it and its fields say nothing either; [] for any other wish."""
    words = subject(wish.wanted, phrases, engine)
    return words if words and not wish.named and not Fit(engine, words).known else []


class Fit:
    """known: words of a wish that some item has.  unknown: those that none has.  counts int64 (N,): how many of the known ones each item has."""

    def __init__(self, engine: Engine, words: list[str]) -> None:
        bag, vectors = engine.scorer.catalogue.search
        counts = np.zeros(len(engine.items), dtype=np.int64)
        self.known: list[str] = []
        self.unknown: list[str] = []
        for word in words:
            typed = csr_array(bag.text(word))
            if not typed.nnz:
                self.unknown.append(word)
                continue
            self.known.append(word)
            counts += np.asarray((csr_array(vectors @ typed.T)).toarray()).ravel() > 0
        self.counts = counts

    def best(self, among: np.ndarray) -> int:
        """The most known words that an item of bool (N,) has; 0 where there is none."""
        return int(self.counts[among].max(initial=0))
