"""A reason in words, worded from the evidence: it names only what moved the score, and says of it only what the records and counts say.

    Because you bought “Trail Shoes” and viewed “Wool Socks”: it shares category boots with “Trail Shoes”.

The events named are those whose removal together lowers the score most (`counterfactual.greedy_events`), so the sentence is faithful by the
way it is made; `benchmarks/faithfulness.py` measures it. What two records share, what typed words the record has, that counts lead from one item
to the other, is looked up, never guessed. The sentence is checked like anybody's (`claims.check`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from m6rec.data.dataset import FieldType, Table
from m6rec.explanation.item_values import values_of
from m6rec.explanation.phrases import ReasonWords, language_of
from m6rec.text.field_constraints import Constraint
from m6rec.text.limit_words import limit_words
from m6rec.text.template import base_template, built_in, filled, packaged

MOST_SHARED = 3
LONGEST_TITLE = 80


@dataclass(frozen=True)
class Cited:
    """One event that a sentence names. action: what the reader did, "" unknown.

    shared   (field, value) that the item has too, most important first
    counted  counts of other people lead from it to the item      alike  the item is among its neighbours by words
    """

    item_id: str
    title: str
    action: str
    shared: tuple[tuple[str, str], ...] = ()
    counted: bool = False
    alike: bool = False


@dataclass(frozen=True)
class Told:
    """What a reason is worded from, all of it what moved the score: events, typed words, fields of the reader, values of the item's record."""

    events: tuple[Cited, ...] = ()
    typed: tuple[str, ...] = ()
    person: tuple[tuple[str, str], ...] = ()
    values: tuple[tuple[str, str], ...] = ()


def shared_values(items: Table, item: int, other: int, worth: dict[tuple[str, str], float]) -> tuple[tuple[str, str], ...]:
    """(field, value) of categories, tags and ids that both records have; those worth most to the score first. worth: lift of (field, value)."""
    kinds = (FieldType.CATEGORY, FieldType.TAGS, FieldType.ID)
    theirs = {(value.field, value.value) for value in values_of(items, other) if value.kind in kinds}
    both = [(value.field, value.value) for value in values_of(items, item) if value.kind in kinds and (value.field, value.value) in theirs]
    return tuple(sorted(both, key=lambda pair: -worth.get(pair, 0.0)))


def reason(told: Told, language: str = "en") -> str:
    """One to three sentences. Raises UsageError: a language without a file."""
    words, names = language_of(language).reason, built_in(language).names if language in packaged() else {}
    found = []
    if told.events:
        found.append(_of_events(told, words, names))
    if told.typed:
        found.append(words.typed.format(words=_listed([_quoted(word, words) for word in told.typed], words)))
    if told.person:
        found.append(words.person.format(values=_fields(told.person, words, names)))
    if told.values and not (told.events and any(one.shared for one in told.events)):
        found.append(words.values.format(values=_fields(told.values, words, names)))
    found = found or [words.nothing]
    return words.next.join(f"{sentence}{words.end}" for sentence in found)


def counterfactual_words(titles: Sequence[str], rank: int, language: str = "en") -> str:
    """What would have been without `titles`; rank 0: not in the list at all."""
    words = language_of(language).reason
    listed = _listed([_quoted(title, words) for title in titles], words)
    return words.gone.format(titles=listed) if rank == 0 else words.without.format(titles=listed, rank=rank)


def dropping_words(titles: Sequence[str], language: str = "en") -> str:
    """The smallest set of events without which the item leaves the list."""
    words = language_of(language).reason
    return words.drops.format(titles=_listed([_quoted(title, words) for title in titles], words))


def ruled_out_words(limits: Sequence[Constraint], language: str = "en") -> str:
    """What was typed keeps the item out of the list."""
    words, template = language_of(language).reason, base_template(language)
    return words.ruled_out.format(limits=_listed([limit_words(limit, template) for limit in limits], words))


def _of_events(told: Told, words: ReasonWords, names: dict[str, str]) -> str:
    by_verb: dict[str, list[Cited]] = {}
    for one in told.events:
        by_verb.setdefault(words.verbs.get(one.action.casefold(), words.verbs.get("", "")), []).append(one)
    did = [filled(words.did, {"verb": verb, "titles": _titles(some, words)}) for verb, some in by_verb.items()]
    said = words.events.format(did=words.did_also.join(did))
    why = []
    shared = next((one.shared for one in told.events if one.shared), ())[:MOST_SHARED]
    if shared:
        having = [one for one in told.events if set(shared) <= set(one.shared)]
        values = _fields(shared, words, names)
        why.append(words.shared.format(values=values, titles=_spoken(having, told, words)))
    counted = [one for one in told.events if one.counted]
    if counted:
        why.append(words.others.format(titles=_spoken(counted, told, words)))
    alike = [one for one in told.events if one.alike and not one.shared and not one.counted]
    if alike:
        why.append(words.alike.format(titles=_spoken(alike, told, words)))
    return said + (words.lead + words.also.join(why) if why else "")


def _spoken(some: Sequence[Cited], told: Told, words: ReasonWords) -> str:
    """The events by name, or "them" where all that were named are meant."""
    if len(some) == len(told.events):
        return words.them if len(some) > 1 else words.that
    return _titles(some, words)


def _titles(some: Sequence[Cited], words: ReasonWords) -> str:
    return _listed([_quoted(one.title, words) for one in some], words)


def shortened(title: str) -> str:
    """A title as sentences name it: on one line, without signs that steer a terminal, cut after a word where it is long."""
    short = " ".join("".join(sign if sign.isprintable() else " " for sign in title[: 10 * LONGEST_TITLE]).split())
    if len(short) <= LONGEST_TITLE:
        return short
    cut = short.rfind(" ", LONGEST_TITLE // 2, LONGEST_TITLE)
    return short[: cut if cut > 0 else LONGEST_TITLE] + "…"


def _quoted(title: str, words: ReasonWords) -> str:
    return f"{words.quote[0]}{shortened(title)}{words.quote[1]}"


def _fields(pairs: Sequence[tuple[str, str]], words: ReasonWords, names: dict[str, str]) -> str:
    """Values of one field together: "category home and tags seeds, plants"."""
    values: dict[str, list[str]] = {}
    for field, value in pairs:
        values.setdefault(field, []).append(shortened(value))
    said = [
        words.separator.join(some)
        if not field
        else filled(words.field, {"name": names.get(field, field.replace("_", " ")), "value": words.separator.join(some)})
        for field, some in values.items()
    ]
    return _listed(said, words)


def _listed(things: Sequence[str], words: ReasonWords) -> str:
    if len(things) < 2:
        return "".join(things)
    return words.separator.join(things[:-1]) + words.last + things[-1]
