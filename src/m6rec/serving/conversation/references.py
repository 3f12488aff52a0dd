"""What "it", "them" and "the second one" refer to: items shown last, spoken of last, or named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from m6rec.serving.conversation.naming import Named
from m6rec.text.phrases import Phrases, Said, earliest, found

LIKED, REFUSED, HAD = "like", "refuse", "had"
FELT = (LIKED, REFUSED, HAD, "bad", "awful", "good", "negation")  # cues that a feeling is made of
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


@dataclass(frozen=True)
class Mention:
    """Words `first` to `last` (after the last one) that speak of items: by name, by a place in the list shown last, or by a word like "it"."""

    first: int
    last: int
    items: tuple[int, ...]
    pronoun: bool = False
    many: bool = False  # "them", not "it"


def mentions(words: Said, named: Sequence[Named], before: Before, phrases: Phrases) -> list[Mention]:
    """Everything that speaks of items, in order. A word like "it" has those of before; what was named since in the same turn goes before them."""
    found_here = [Mention(one.first, one.last, (one.item,)) for one in named]
    _add(found_here, _places(words, before, phrases))
    clear = {item for one in found_here for item in one.items}
    rest = tuple(item for item in before.shown if item not in clear)
    _add(found_here, [Mention(first, last, rest) for first, last in phrases.spans("rest", words) if rest])
    focus = (before.focus,) if before.focus is not None else before.shown
    spared = {place for first, last in phrases.spans("spared", words) for place in range(first, last)} | _relative(words, phrases)
    for name, items in (("them", before.shown), ("it", focus)):
        spans = [span for pattern in phrases.lists[name] for span in found(pattern, words) if not spared & set(range(*span))]
        _add(found_here, [Mention(first, last, items, True, name == "them") for first, last in spans])
    return sorted(found_here, key=lambda one: one.first)


def _add(held: list[Mention], more: list[Mention]) -> None:
    """Those of `more` that overlap nothing held, the longest first, those of most items before others."""
    for one in sorted(more, key=lambda one: (one.first - one.last, -len(one.items))):
        if not any(one.first < other.last and other.first < one.last for other in held):
            held.append(one)


def _places(words: Said, before: Before, phrases: Phrases) -> list[Mention]:
    """Places of the list shown last that are spoken of: "the first two", and the digits behind "numbers": "numbers 1 and 3"."""
    count = len(before.shown)
    spans = [(first, last, places) for places, patterns in phrases.places.items() for one in patterns for first, last in found(one, words)]
    spans += [(place, place + 1, (int(words.words[place]),)) for place in _numbered(words, phrases)]
    return [
        Mention(first, last, tuple(before.shown[place - 1 if place > 0 else place] for place in places))
        for first, last, places in spans
        if all(-count <= place <= count for place in places)
    ]


def _relative(words: Said, phrases: Phrases) -> set[int]:
    """Where "that" goes on with a word that says something, and points at nothing: "boots that are warm"."""
    silent = {place for cue in FELT for first, last in phrases.spans(cue, words) for place in range(first, last)}
    starts = [first for first, _ in phrases.spans("relative", words)]
    return {place for place in starts if place and place - 1 not in silent and words.words[place - 1] not in phrases.plain}


def _numbered(words: Said, phrases: Phrases) -> list[int]:
    """Where digits stand that are places: behind a word like "numbers", and behind each other, with a joining word between them or none."""
    joining = {place for first, last in phrases.spans("joining", words) for place in range(first, last)}
    found_here: list[int] = []
    for _, place in phrases.spans("numbered", words):
        while place < len(words.words) and (place in joining or _digit(words.words[place])):
            found_here += [place] if place not in joining else []
            place += 1
    return found_here


def _digit(word: str) -> bool:
    return word.isascii() and word.isdigit() and 0 < int(word) < 10


def spoken_of(words: Said, phrases: Phrases) -> set[int]:
    """Places of words that mean what was shown: it, them, the second one."""
    patterns = [*phrases.lists["it"], *phrases.lists["them"], *(pattern for some in phrases.places.values() for pattern in some)]
    spans = (
        [span for pattern in patterns for span in found(pattern, words)] + phrases.spans("rest", words) + phrases.spans("numbered", words)
    )
    return {place for start, end in spans for place in range(start, end)} | set(_numbered(words, phrases))


def about_items(spoken: Sequence[Mention], before: Before) -> tuple[int, ...]:
    """The items that a question may be about."""
    clear = [one for one in spoken if not one.pronoun]
    if clear:
        return tuple(dict.fromkeys(item for one in clear for item in one.items))
    if any(one.many for one in spoken):
        return before.shown
    if before.focus is not None:
        return (before.focus,)
    return before.shown if spoken or len(before.shown) == 1 else ()


def beyond(words: Said, before: Before, phrases: Phrases) -> bool:
    """Whether "the second one" is said where no second one was shown; where nothing was, of turns that say nothing else ("I hate the second one")."""
    every = [pattern for patterns in phrases.places.values() for pattern in patterns]
    if not before.shown:
        felt = phrases.has(REFUSED, words) or phrases.has(LIKED, words)
        cues = [*every, *phrases.cues[REFUSED], *phrases.cues[LIKED]]
        return felt and any(one in words.joined for one in every) and not says_more(words, cues, phrases)
    of_items = any(phrases.has(cue, words) for cue in (REFUSED, LIKED, "tell"))
    asked = [*every, *phrases.lists["question"], *(cue for cues in phrases.fields.values() for cue in cues)]
    if not of_items and len(words.words) > SHORT_TURN and says_more(words, asked, phrases):
        return False
    if any(int(words.words[place]) > len(before.shown) for place in _numbered(words, phrases)):
        return True
    return any(max(places) > len(before.shown) and earliest(patterns, words) is not None for places, patterns in phrases.places.items())


def slice_of(words: Said, first: int, last: int) -> Said:
    return Said(words.text, words.words[first:last], words.starts[first:last], words.ends[first:last])


def says_more(words: Said, cues: Iterable[str], phrases: Phrases) -> bool:
    """Whether a text says anything besides `cues`, yes, thanks and plain words."""
    every = [*cues, *phrases.cues["yes"], *phrases.cues["thanks"]]
    silent = {place for one in every for first, last in found(one, words) for place in range(first, last)}
    return any(place not in silent and word not in phrases.plain for place, word in enumerate(words.words))
