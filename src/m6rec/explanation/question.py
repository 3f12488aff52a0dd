"""What is explained: who asked, as the model reads it, and what of it can be taken away; each part taken away makes a request of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from m6rec.base.contracts import Histories, Requests
from m6rec.text.cues import built_in_cues

EVENT, WORD, TYPED, PROFILE = "event", "typed", "text", "field"  # kinds of parts; TYPED is everything that was typed
MOST_EVENTS = 30  # newest items of the history that are taken away one by one
MOST_WORDS = 12
SIGNS = ".,;:!?\"'()[]<>\u2026\u2018\u2019\u201c\u201d\u3001\u3002\u300a\u300b\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f"

Described = Mapping[str, Any] | str | None


@dataclass(frozen=True)
class Question:
    """One request and how it came about.

    whole   one row        text, profile  as given
    asked   the request of the same person with another text and another profile
    """

    whole: Requests
    text: str | None
    profile: Described
    asked: Callable[[str | None, Described], Requests]

    def without_items(self, items: Sequence[int]) -> Requests:
        """The request as if these items had never been had."""
        past = self.whole.histories
        kept = np.flatnonzero(~np.isin(past.items, np.asarray(items, dtype=np.int64)))
        return replace(self.whole, histories=past.pick(kept, np.array([0, len(kept)])))

    @property
    def newest(self) -> list[int]:
        """The items of the newest events, newest first, each once."""
        return list(dict.fromkeys(self.whole.histories.items[::-1].tolist()))[:MOST_EVENTS]


@dataclass(frozen=True)
class Part:
    """One thing that can be taken away. item: of an event, -1 for others. where: how many other items were had since, -1 for others."""

    kind: str
    what: str
    title: str
    without: Requests
    item: int = -1
    where: int = -1


def parts_of(question: Question, ids: Sequence[str], titles: Sequence[str]) -> list[Part]:
    """Events, typed words and fields of a described person. ids, titles: of the catalogue."""
    return [*_events(question, ids, titles), *_words(question), *_fields(question)]


def _events(question: Question, ids: Sequence[str], titles: Sequence[str]) -> list[Part]:
    """The newest events, each item once: an item met twice is taken away as a whole."""
    return [Part(EVENT, ids[item], titles[item], question.without_items([item]), item, place) for place, item in enumerate(question.newest)]


def _words(question: Question) -> list[Part]:
    """Every word that names something; and all that was typed at once, which tells where one word would do for the other.

    A word is taken away with the signs that stand at it. Words of talking, numbers and limits name nothing, unless nothing else was typed.
    """
    typed = question.text or ""
    said: dict[str, list[str]] = {}  # case-folded word -> how it stands in the text
    for one in typed.split():
        said.setdefault((one.strip(SIGNS) or one).casefold(), []).append(one)
    silent = built_in_cues().silent
    words = [word for word in said if word not in silent and not word.isdecimal()] or list(said)
    parts = [Part(TYPED, typed, typed, question.asked(None, question.profile))] if len(said) > 1 else []
    for word in words[:MOST_WORDS]:
        left = " ".join(one for one in typed.split() if one not in said[word])
        shown = said[word][0].strip(SIGNS) or said[word][0]
        parts.append(Part(WORD, shown, shown, question.asked(left or None, question.profile)))
    return parts


def _fields(question: Question) -> list[Part]:
    """Every field of a described person; words about them are one thing."""
    if isinstance(question.profile, str) and question.profile.strip():
        words = " ".join(question.profile.split())
        return [Part(PROFILE, words, words, question.asked(question.text, None))]
    if not isinstance(question.profile, Mapping):
        return []
    parts = []
    for name, value in question.profile.items():
        left: dict[str, Any] = {other: one for other, one in question.profile.items() if other != name}
        shown = ", ".join(map(str, value)) if isinstance(value, list | tuple | set) else f"{value}"
        parts.append(Part(PROFILE, f"{name}={shown}", f"{name}: {shown}", question.asked(question.text, left or None)))
    return parts


def together(ways: Sequence[Requests]) -> Requests:
    """Single requests as one batch."""
    pasts = [way.histories for way in ways]
    columns: dict[str, Any] = {
        name: None if getattr(pasts[0], name) is None else np.concatenate([getattr(past, name) for past in pasts])
        for name in Histories.EVENT_COLUMNS
    }
    offsets = np.concatenate([[0], np.cumsum([len(past.items) for past in pasts])]).astype(np.int64)
    typed, described = ([(getattr(way, name) or [""])[0] for way in ways] for name in ("texts", "profiles"))
    return Requests(
        histories=Histories(offsets=offsets, **columns),
        users=np.concatenate([np.array([-1]) if way.users is None else way.users for way in ways]),
        texts=typed if any(typed) else None,
        profiles=described if any(described) else None,
        scenarios=np.concatenate([np.array([-1]) if way.scenarios is None else way.scenarios for way in ways]),
    )
