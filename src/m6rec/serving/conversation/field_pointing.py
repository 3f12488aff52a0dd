"""What a turn rules out by a field of an item: "not that brand" is said of the brand of the item in question, not of the item."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from m6rec.data.dataset import FieldType
from m6rec.serving.conversation.feelings import BARE, clauses, cue_of
from m6rec.serving.conversation.naming import Names
from m6rec.serving.conversation.questions import ItemFacts
from m6rec.serving.conversation.references import REFUSED, Before, Mention, mentions, says_more, slice_of
from m6rec.serving.conversation.understanding import field_cues
from m6rec.serving.conversation.wishing import between
from m6rec.text.constraints import Constraint
from m6rec.text.phrases import Phrases, Said, earliest, found, said
from m6rec.text.words import singular


@dataclass(frozen=True)
class Pointed:
    """values: of `field`, those of the items in question.  sure: whether all of them are meant, else one of them.  rest: the turn without that, "" where it
    says nothing else."""

    field: str
    values: tuple[str, ...]
    sure: bool
    rest: str

    @property
    def limit(self) -> Constraint:
        return Constraint(self.field, "not in", self.values)


def pointed_out(text: str, before: Before, names: Names, facts: ItemFacts, phrases: Phrases) -> Pointed | None:
    """The values that a turn rules out by pointing at a field ("not that brand", "不要这个牌子"); None for another turn.

    They are those of the item named before that in the turn, else of the item spoken of last, else of all that was shown.
    """
    words = said(text)
    named = names.items(words, before.known)
    for first, last, fields in _fields_pointed(words, facts, phrases):
        clause = next((one for one in clauses(words, phrases, named) if one[0] <= first < one[1]), None)
        if clause is None or earliest(phrases.lists["question"], slice_of(words, *clause[:2])) == 0:
            continue
        cue = cue_of(words, clause[:2], Mention(first, last, ()), named, phrases)
        if cue is None or cue.kind != REFUSED:
            continue
        spoken = [one for one in mentions(words, named, before, phrases) if one.last <= first and not one.pronoun]
        items = spoken[-1].items if spoken else before.shown if before.focus is None else (before.focus,)
        field, values = next(((field, held) for field in fields if (held := facts.values(items, field))), ("", ()))
        if not values:
            continue
        many = any(first <= start < last for pattern in phrases.lists["them"] for start, _ in found(pattern, words))
        gone = range(min(first, cue.first), max(last, cue.last))
        kept = [place for place in range(len(words.words)) if place not in gone]
        rest = between(words, kept)
        silent = [pattern for kind in BARE for pattern in phrases.cues[kind]]
        return Pointed(field, values, many or len(values) == 1, rest if says_more(said(rest), silent, phrases) else "")
    return None


def _fields_pointed(words: Said, facts: ItemFacts, phrases: Phrases) -> list[tuple[int, int, Sequence[str]]]:
    """(first word, word after the last, fields) of "that brand" and the like: fields whose values may be ruled out, by the longest words for them."""
    single = replace(words, words=_singular(words.words))
    told: list[tuple[int, int, Sequence[str]]] = []
    for start, end in phrases.spans("pointing", words):
        lengths: dict[str, int] = {}
        for field in facts.told:
            if facts.items.fields[field] in (FieldType.CATEGORY, FieldType.TAGS):
                cues = field_cues([field], phrases)
                spans = [span for cue in cues for span in found(cue, words)]
                spans += [span for cue in cues for span in found(f" {' '.join(_singular(cue.split()))} ", single)]
                lengths[field] = max((last - first for first, last in spans if first == end), default=0)
        longest = max(lengths.values(), default=0)
        if longest:
            told.append((start, end + longest, [field for field, length in lengths.items() if length == longest]))
    return told


def _singular(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(singular(word) for word in words)
