"""The limits of a conversation: how a new one goes with those held, which exclude each other, and how a turn takes them back, picks one, or moves one.

What is said last counts: an older limit that excludes a newer one goes. Limits that exclude each other are held only where one turn says both; then the
person is asked which of them counts, and the answer settles it. What "cheaper" says is held beside the limits that were typed, and takes the place of none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from m6rec.serving.conversation.naming import Names
from m6rec.serving.conversation.references import says_more
from m6rec.serving.conversation.understanding import ASKING, Turn, field_cues, fields_asked
from m6rec.text.constraints import Constraint, Typed, contradiction
from m6rec.text.phrases import Phrases, Said, earliest, found, said

LOW, HIGH = (">", ">=", "="), ("<", "<=", "=")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
THOUSANDS = re.compile(r",(?=\d{3}(?!\d))")


@dataclass(frozen=True)
class Limits:
    """What a conversation holds: typed, which stays until it is taken back or another takes its place; compared, of "cheaper" and the like, on top of that."""

    typed: tuple[Constraint, ...] = ()
    compared: tuple[Constraint, ...] = ()

    @property
    def all(self) -> tuple[Constraint, ...]:
        return tuple(dict.fromkeys([*self.typed, *self.compared]))

    def after(self, typed: Typed) -> Limits:
        """After one more wish; a comparison that it replaces or excludes goes as an older limit does."""
        return Limits(merged(self.typed, typed), without(merged(self.compared, typed), typed.constraints))

    def beside(self, bounds: Sequence[Constraint]) -> Limits:
        """With what a comparison says, in place of what older ones said of the same fields."""
        spoken = {one.field for one in bounds}
        return replace(self, compared=(*(one for one in self.compared if one.field not in spoken), *bounds))

    def turned(self, bounds: Sequence[Constraint]) -> Limits:
        """Without what older comparisons said of the fields of `bounds` in the other direction: "more expensive" after "cheaper"."""
        other = [one for one in self.compared if any(new.field == one.field and new.op != one.op for new in bounds)]
        return self.only(without(self.all, other))

    def only(self, left: Collection[Constraint]) -> Limits:
        """Those of `left`."""
        return Limits(*(tuple(one for one in some if one in left) for some in (self.typed, self.compared)))


def merged(held: Sequence[Constraint], typed: Typed) -> tuple[Constraint, ...]:
    """The constraints of a conversation after one more wish: a newer bound, or a newer must, takes the place of the one before, and of what it excludes;
    what is wanted now is ruled out no longer."""
    kept: list[Constraint] = []
    for one in held:
        if any(_replaces(new, one) for new in typed.constraints):
            continue
        if one.op == "not in" and isinstance(one.value, tuple):
            left = tuple(value for value in one.value if (one.field, value) not in typed.named)
            if not left:
                continue
            one = replace(one, value=left)
        if any(new.field == one.field for new in typed.constraints) and contradiction((one, *typed.constraints)):
            continue
        kept.append(one)
    return tuple(dict.fromkeys([*kept, *typed.constraints]))


def _replaces(new: Constraint, old: Constraint) -> bool:
    if new.field != old.field:
        return False
    if new.op == "in":
        return old.op == "in"
    if old.op == "not in":
        return new.op != "not in"  # of a number: "from the 1990s" after "not from the 1990s"
    return (new.op in LOW and old.op in LOW) or (new.op in HIGH and old.op in HIGH)


def excluding(held: Sequence[Constraint]) -> tuple[Constraint, ...]:
    """Those that exclude each other, in order: the pairs of a field that do, else all limits of a field that do together."""
    apart: set[Constraint] = set()
    for field in dict.fromkeys(one.field for one in held):
        mine = [one for one in held if one.field == field]
        if contradiction(mine):
            pairs = {one for one in mine if any(contradiction((one, other)) for other in mine)}
            apart |= pairs or set(mine)
    return tuple(one for one in held if one in apart)


def tightest(held: Sequence[Constraint]) -> tuple[Constraint, ...]:
    """The limits without bounds that tighter ones of the same side say already: of "under 60" and "under 12" the second."""
    tight: dict[tuple[str, str], Constraint] = {}
    for one in held:
        if isinstance(one.value, float) and one.op != "=":
            key = (one.field, one.op[:1])
            sign = 1 if key[1] == ">" else -1
            tight[key] = max(tight.get(key, one), one, key=lambda it: (sign * float(str(it.value)), len(it.op) == 1))
    return tuple(one for one in held if (one.field, one.op[:1]) not in tight or one in tight.values())


def without(held: Iterable[Constraint], gone: Iterable[Constraint]) -> tuple[Constraint, ...]:
    """The limits left when some are given up."""
    gone = set(gone)
    return tuple(one for one in held if one not in gone)


def picked(held: Sequence[Constraint], turn: Turn, phrases: Phrases) -> tuple[Constraint, ...] | None:
    """The limits after an answer to "which of them counts?" that counts them or is about all of them: "the second", "drop both", "neither"; None for
    another turn."""
    asked, words = excluding(held), said(turn.text)
    if not asked or turn.question:
        return None
    drops = any(phrases.has(cue, words) for cue in ("loosen", "none", "no", "refuse"))
    counted = [numbers for numbers, patterns in phrases.places.items() if earliest(patterns, words) is not None]
    cues = [one for name in ("loosen", "limit", "anything", "both", "none", "no", "refuse", "like", "bad") for one in phrases.cues[name]]
    cues += [*phrases.lists["them"], *phrases.lists["it"], *(pattern for some in phrases.places.values() for pattern in some)]
    if says_more(words, cues, phrases):
        return None
    places = {place - 1 if place > 0 else len(asked) + place for numbers in counted for place in numbers}
    named = [one for place, one in enumerate(asked) if place in places]
    if named:
        return without(held, named if drops else without(asked, named))
    every = phrases.has("none", words) or phrases.has("anything", words) or phrases.has("both", words) or phrases.listed("them", words)
    return without(held, asked) if every or drops else None


def taken_back(
    held: Sequence[Constraint], turn: Turn, phrases: Phrases, told: Iterable[str], shown: bool
) -> tuple[tuple[Constraint, ...], set[str]] | None:
    """The limits left where a turn takes some back and says nothing else ("drop the price limit", "any brand", "forget both limits"), and the fields that it
    leaves open; None for another turn.

    told: fields of the items.  shown: whether items were shown, of which "both" may speak.
    """
    words = said(turn.text)
    of_limits, named = phrases.has("limit", words), set(fields_asked(words, phrases, told))
    open_to_any = bool(named) and phrases.has("anything", words)  # "什么牌子都行": asks nothing
    asks = turn.question and not (open_to_any and not any(sign in turn.text for sign in ASKING))
    if asks or turn.liked or turn.items or (turn.refused and not of_limits) or not (open_to_any or phrases.has("loosen", words)):
        return None
    cues = [one for name in ("loosen", "limit", "anything", "both") for one in phrases.cues[name]]
    if says_more(words, [*cues, *phrases.lists["them"], *field_cues(named, phrases)], phrases):
        return None
    every = of_limits or (bool(held) and not shown and (phrases.has("both", words) or phrases.listed("them", words)))
    if named:
        return tuple(one for one in held if one.field not in named), named
    return ((), {one.field for one in held}) if every else None


def declined(turn: Turn, asked: str, names: Names, phrases: Phrases, every: Iterable[Phrases]) -> tuple[Constraint, ...]:
    """What "none of these" rules out after "which would you rather have: A, B or C?": the values offered; () for another turn, or another question.

    asked: our newest turn.  every: the phrases of all languages, one of which it is in.
    """
    words = said(turn.text)
    cues = [*phrases.cues["none"], *phrases.cues["no"], *phrases.cues["refuse"], *phrases.lists["them"]]
    if turn.question or turn.items or not phrases.has("none", words) or says_more(words, cues, phrases):
        return ()
    offered = _offered(asked, "ask_field", names, every)
    return () if offered is None else (Constraint(offered[0], "not in", offered[1]),)


def named_out(turn: Turn, asked: str, names: Names, phrases: Phrases, every: Iterable[Phrases]) -> Constraint | None:
    """What an answer to "which shall I leave out: A or B?" rules out: the values that it names or counts, or "both"; None for another turn, or another
    question. The rest as `declined`."""
    offered, words = _offered(asked, "leave_out", names, every), said(turn.text)
    if offered is None or turn.question:
        return None
    field, values = offered
    named = [one for one in names.values(words) if one.field == field and one.value in values]
    counted = [(place, span) for places, some in phrases.places.items() for one in some for span in found(one, words) for place in places]
    inside = {place for one in named for place in range(one.first, one.last)} | {at for _, span in counted for at in range(*span)}
    cues = [*phrases.lists["them"], *(one for name in ("both", "refuse", "no") for one in phrases.cues[name])]
    if says_more(_only(words, set(range(len(words.words))) - inside), cues, phrases):
        return None
    meant = {one.value for one in named}
    meant |= {values[place - 1 if place > 0 else place] for place, _ in counted if -len(values) <= place <= len(values)}
    if not meant and (phrases.has("both", words) or phrases.listed("them", words)):
        meant = set(values)
    return Constraint(field, "not in", tuple(value for value in values if value in meant)) if meant else None


def _offered(asked: str, saying: str, names: Names, every: Iterable[Phrases]) -> tuple[str, tuple[str, ...]] | None:
    """The field, and its values, that we asked about in these words; None where we did not."""
    ways = [language.values["sayings"][saying] for language in every]
    heads = [way.partition("{values}")[0] for some in ways for way in ([some] if isinstance(some, str) else some) if "{values}" in way]
    offered = next((asked.rpartition(head)[2] for head in heads if head and head in asked), "")
    values: dict[str, list[str]] = {}
    for one in names.values(said(offered)):
        values.setdefault(one.field, []).append(one.value)
    field = max(values, key=lambda name: len(values[name]), default=None)
    return None if field is None else (field, tuple(dict.fromkeys(values[field])))


def moved(held: Sequence[Constraint], turn: Turn, phrases: Phrases, told: Iterable[str], shown: int) -> Constraint | None:
    """The newest limit of a number, moved to the one number that a turn names and nothing else: "make it 50", "50 then"; None for another turn.

    shown: length of the list shown last: a bare number up to it may be a place of it.
    """
    words = said(turn.text)
    numbers = NUMBER.findall(turn.text)
    old = next((one for one in reversed(held) if isinstance(one.value, float)), None)
    if old is None or len(numbers) != 1 or turn.question or turn.items:
        return None
    named = fields_asked(words, phrases, told)
    of_field = next((one for one in reversed(held) if isinstance(one.value, float) and one.field in named), None)
    if named and of_field is None:
        return None
    value = float(THOUSANDS.sub("", numbers[0]).replace(",", "."))
    moves = phrases.has("move", words)
    if not moves and any(phrases.has(cue, words) for cue in ("recommend", "more", "more_alone", "numbered")):
        return None  # "5 more": how many
    cues = [one for name in ("move", "limit", "unit") for one in phrases.cues[name]]
    if says_more(
        _only(words, {place for place, word in enumerate(words.words) if not word.isdigit()}), [*cues, *field_cues(named, phrases)], phrases
    ) or (not moves and value <= shown):
        return None
    return replace(of_field or old, value=value)


def _only(words: Said, places: Collection[int]) -> Said:
    """The words at these places."""
    kept = sorted(places)
    return Said(
        words.text,
        tuple(words.words[place] for place in kept),
        tuple(words.starts[place] for place in kept),
        tuple(words.ends[place] for place in kept),
    )
