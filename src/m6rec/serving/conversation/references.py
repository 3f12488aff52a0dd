"""What "it", "them" and "the second one" refer to: items shown last, spoken of last, or named."""

from __future__ import annotations

from dataclasses import dataclass, field

from m6rec.serving.conversation.naming import Named
from m6rec.text.phrases import Phrases, Said, earliest, found

LIKED, REFUSED, HAD = "like", "refuse", "had"
SHORT_TURN = 5  # words of a turn that may be nothing but such a reference


@dataclass
class Before:
    """What a turn may refer to: the list shown last, the item spoken of last, everything named so far."""

    shown: tuple[int, ...] = ()
    focus: int | None = None
    known: set[int] = field(default_factory=set)
    offered: bool = False  # whether anything was recommended so far
    waiting: bool = False  # whether a question was asked back and not answered
    language: str = ""


def spoken_of(words: Said, phrases: Phrases) -> set[int]:
    """Places of words that mean what was shown: it, them, the second one."""
    patterns = [*phrases.lists["it"], *phrases.lists["them"], *(pattern for some in phrases.places.values() for pattern in some)]
    return {place for pattern in patterns for start, end in found(pattern, words) for place in range(start, end)}


def about_items(words: Said, named: list[Named], before: Before, phrases: Phrases) -> tuple[int, ...]:
    """The items that a question may be about."""
    if named:
        return tuple(dict.fromkeys(one.item for one in named))
    for place, patterns in phrases.places.items():
        if before.shown and earliest(patterns, words) is not None and -len(before.shown) <= place <= len(before.shown):
            return (before.shown[place - 1 if place > 0 else place],)
    if phrases.listed("them", words):
        return before.shown
    if before.focus is not None:
        return (before.focus,)
    return before.shown if phrases.listed("it", words) or len(before.shown) == 1 else ()


def referred(words: Said, first: int, last: int, before: Before, phrases: Phrases, feeling: str) -> tuple[int, ...]:
    """Items that a clause without a name speaks of: the second one, it, them; a bare refusal is of all that was shown."""
    clause = slice_of(words, first, last)
    for place, patterns in phrases.places.items():
        if earliest(patterns, clause) is not None and -len(before.shown) <= place <= len(before.shown) and before.shown:
            return (before.shown[place - 1 if place > 0 else place],)
    if phrases.listed("them", clause):
        return before.shown
    if phrases.listed("it", clause):
        return (before.focus,) if before.focus is not None else before.shown
    content = [word for word in clause.words if word not in phrases.plain and not _is_cue_word(word, phrases)]
    return before.shown if feeling in (REFUSED, HAD, LIKED) and not content else ()


def _is_cue_word(word: str, phrases: Phrases) -> bool:
    return any(f" {word} " in pattern for cue in (REFUSED, HAD, LIKED, "no", "yes", "thanks") for pattern in phrases.cues[cue])


def beyond(words: Said, before: Before, phrases: Phrases) -> bool:
    """Whether "the second one" is said where no second one was shown."""
    if not before.shown or not (phrases.has(REFUSED, words) or phrases.has(LIKED, words) or len(words.words) <= SHORT_TURN):
        return False
    return any(place > len(before.shown) and earliest(patterns, words) is not None for place, patterns in phrases.places.items())


def slice_of(words: Said, first: int, last: int) -> Said:
    return Said(words.text, words.words[first:last], words.starts[first:last], words.ends[first:last])
