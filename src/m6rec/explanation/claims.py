"""What a sentence claims of an item, checked against what is known: names of items, values of fields, numbers.

A value that any item of the catalogue has is a claim wherever it is said; it is true where this item has it (in the field, or in its own
texts), or, where the sentence speaks of the reader's past ("you liked ..."), where an item of the history has it; what goes on from "your
profile" with a field or the words of the reader's profile is held against that alone. What is not true is
taken out with the smallest piece of the sentence that can go, and counted. A name that is also a value of some field is true if either is:
a reading that is generous, never one that finds fault where there may be none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

from m6rec.explanation.clauses import Clause, Unit, Words, cut, is_element, only_articles, quoted, taken_out
from m6rec.explanation.lexicon import NAME, Found, Lexicon, Said
from m6rec.explanation.phrases import language_of
from m6rec.explanation.telling import word_claims
from m6rec.text.template import built_in, packaged
from m6rec.text.words import is_spaceless, placed_units

DENIED_WITHIN = 3  # units between "not" and what it denies
MOST_TEXT = 100_000  # characters that are read; nobody writes a longer reason
MOST_ROUNDS = 50
QUOTED = re.compile('[“"《「]([^”"》」\n]{2,400})[”"》」]')
NEGATIVE = re.compile(r"(?:^|[^\w)])[-−]$")  # a minus, and no hyphen
NOBODY: tuple[tuple[Said, ...], int] = ((), 0)
PAIRS = {"(": ")", "（": "）", "[": "]"}


@dataclass(frozen=True)
class Claim:
    """One thing a text says. kind: "name" of an item, "value" of `field`, "number", "word" that tells items apart.  start, end: characters of the text
    that was checked.

    about: "item", "history" or "asked", what it was held against.
    """

    kind: str
    text: str
    start: int
    end: int
    field: str
    about: str
    true: bool


@dataclass(frozen=True)
class Checked:
    """A text of which every claim is true: the text as it stands now, the claims in it, and those taken out."""

    text: str
    kept: tuple[Claim, ...]
    dropped: tuple[Claim, ...]


@dataclass(frozen=True)
class Facts:
    """What a text about one item may say. history: of each item the reader had.  asked: of what was typed, and of the described reader.

    telling: words that are claims though they are no values (`telling.py`); of sentences that a model wrote.  fields: of the described reader, as they are
    said.
    """

    lexicon: Lexicon
    item: Said = field(default_factory=Said)
    history: tuple[Said, ...] = ()
    asked: Said = field(default_factory=Said)
    telling: frozenset[str] = frozenset()
    fields: frozenset[tuple[str, ...]] = frozenset()

    def true(self, phrase: str, about: str) -> bool:
        """Whether a name or a value holds; about: of "item", "history", "either" of them, what was "asked", or item and "reader"."""
        of_history = about in ("history", "either") and any(one.has(phrase) for one in self.history)
        of_item = about in ("item", "either", "reader") and self.item.has(phrase)
        return of_item or of_history or (about in ("asked", "history", "reader") and self.asked.has(phrase))

    def numbers(self, about: str) -> list[tuple[str, float]]:
        """The numbers that may be said."""
        if about == "history":
            return [number for one in (*self.history, self.asked) for number in one.numbers]
        return [*self.item.numbers, *self.asked.numbers] if about != "asked" else list(self.asked.numbers)


def facts_of(
    lexicon: Lexicon,
    item: int | None,
    history: Sequence[int] = (),
    *,
    text: str | None = None,
    profile: Mapping[str, Any] | str | None = None,
    strict: bool = False,
) -> Facts:
    """The facts of an item (its row, None for none) for a reader with these items in the past, who typed `text` and is described by `profile`.

    strict: whether words that tell items apart are claims too, as in what a model writes.
    """
    asked = lexicon.typed(text or "").also(lexicon.person(profile))
    past = tuple(lexicon.facts(int(row)) for row in dict.fromkeys(history))
    names = built_in(lexicon.language).names if lexicon.language in packaged() else {}
    described = () if profile is None or isinstance(profile, str) else profile
    fields = frozenset(_units(name, lexicon.language) for field in described for name in (field, names.get(field, field)))
    item_facts = Said() if item is None else lexicon.facts(int(item))
    return Facts(lexicon, item_facts, past, asked, lexicon.telling if strict else frozenset(), fields)


def check(text: str, facts: Facts) -> Checked:
    """The text without what is not true, with what it says now and what was taken out. A true text comes back as it is."""
    text = text[:MOST_TEXT]
    dropped: list[Claim] = []
    for _ in range(MOST_ROUNDS):
        claims = read_claims(text, facts)
        wrong = next((claim for claim in reversed(claims) if not claim.true), None)
        if wrong is None:
            return Checked(text, tuple(claims), tuple(reversed(dropped)))
        said = placed_units(text, facts.lexicon.language)
        span, spans = (wrong.start, wrong.end), [(claim.start, claim.end) for claim in claims]
        shorter = taken_out(text, said, span, spans, _words(facts.lexicon.language))
        gone = [claim for claim in claims if not claim.true]
        text = shorter if len(shorter) < len(text) else text[: wrong.start] + text[wrong.end :]
        # A clause may take further untrue claims with it: all that were there and are not any more were taken out.
        left = [claim.text for claim in read_claims(text, facts) if not claim.true]
        for claim in reversed(gone):
            if claim.text in left:
                left.remove(claim.text)
            else:
                dropped.append(claim)
    claims = read_claims(text, facts)
    return Checked("", (), (*(claim for claim in claims if not claim.true), *reversed(dropped)))


def read_claims(text: str, facts: Facts) -> list[Claim]:
    """Everything `text` claims, in order."""
    lexicon = facts.lexicon
    words, said = _words(lexicon.language), placed_units(text, lexicon.language)
    quotes = _verbatim(text, facts)
    found = [
        one
        for one in lexicon.find(said)
        if not any(start <= said[one.first][1] < end for start, end in quotes) and _is_claim(text, said, one, lexicon)
    ]
    spans = [_whole(text, (said[one.first][1], said[one.last - 1][2])) for one in found]
    numbers = [
        match
        for match in words.numbers.finditer(text)
        if not any(start < match.end() and match.start() < end for start, end in (*spans, *quotes))
    ]
    told = _told_words(said, [*spans, *quotes, *(match.span() for match in numbers)], facts)
    every = [*spans, *quotes, *(match.span() for match in numbers), *((said[first][1], said[last - 1][2]) for first, last in told)]
    clauses = cut(text, said, words, every)
    scopes = _scopes(text, said, clauses, every, facts)
    claims = [Claim("name", text[slice(*span)], *span, "", "either", True) for span in quotes]
    named = [(one.phrase, span) for one, span in zip(found, spans, strict=True) if one.fields == (NAME,)]
    others = {one: _other(text, said, one, named, facts, words) for one in clauses if facts.telling and one not in scopes}
    for one, span in zip(found, spans, strict=True):
        clause = _clause_of(clauses, span[0])
        about = _about(scopes, clause, span[0])
        of, behind = others.get(clause, NOBODY) if clause is not None else NOBODY
        if of and span[0] >= behind:
            true = any(other.has(one.phrase) for other in of)
        else:
            element = bool(facts.telling) and clause is not None and is_element(text, said, clause, spans, words)
            past = one.fields == (NAME,) and about == "item" and not element  # "Pruning shears." says that the item is that
            true = facts.true(one.phrase, "either" if past else about)
        if NAME not in one.fields and clause is not None and _denied(said, clause, one.first, words):
            true = not true or (about == "asked" and _said_so(said, one, facts.asked))
        kind = "name" if NAME in one.fields else "value"
        label = next((name for name in one.fields if name != NAME), "")
        claims.append(Claim(kind, text[slice(*span)], *span, "" if kind == "name" else label, _held(about), true))
    for first, last in told:
        start, end = said[first][1], said[last - 1][2]
        clause = _clause_of(clauses, start)
        about = _about(scopes, clause, start)
        sequence = [unit for unit, _, _ in said[first:last]]
        pairs = is_spaceless(sequence[0])
        phrases = [" ".join(pair) for pair in pairwise(sequence)] if pairs else sequence
        of, behind = others.get(clause, NOBODY) if clause is not None else NOBODY
        if of and start >= behind:
            true = all(any(other.has(phrase) for other in of) for phrase in phrases)
        else:
            true = all(facts.true(phrase, "item" if about == "item" else "either") or facts.asked.has(phrase) for phrase in phrases)
        claims.append(Claim("word", text[start:end], start, end, "", _held(about), true))
    for match in numbers:
        clause = _clause_of(clauses, match.start())
        about = _about(scopes, clause, match.start())
        known = facts.numbers("item" if about == "either" else about) + (facts.numbers("history") if about == "either" else [])
        about = _held(about)
        of, behind = others.get(clause, NOBODY) if clause is not None else NOBODY
        known = [number for other in of for number in other.numbers] if of and match.start() >= behind else known
        true = _number_true(text, said, match.span(), match[1], match[2], known, facts, about, words)
        claims.append(Claim("number", match[0], *match.span(), "", about, true))
    return sorted(claims, key=lambda claim: claim.start)


def _told_words(said: Sequence[Unit], taken: Sequence[tuple[int, int]], facts: Facts) -> list[tuple[int, int]]:
    """(first unit, unit after the last) of runs of telling words that are in no other claim; of scripts with spaces each word by itself."""
    found: list[tuple[int, int]] = []
    if not facts.telling:
        return found
    for word, first, last in word_claims(said):
        start, end = said[first][1], said[last - 1][2]
        if word not in facts.telling or any(begin < end and start < stop for begin, stop in taken):
            continue
        if found and is_spaceless(said[first][0]) and found[-1][1] >= first and is_spaceless(said[found[-1][0]][0]):
            found[-1] = found[-1][0], last  # pairs that overlap are one word
        else:
            found.append((first, last))
    return found


def named_rows(checked: Checked, facts: Facts, rows: Sequence[int]) -> list[int]:
    """Which of the items `rows` a text names."""
    said = {" ".join(unit for unit, _, _ in placed_units(one.text, facts.lexicon.language)) for one in checked.kept if one.kind == "name"}
    found = []
    for row in rows:
        names = facts.lexicon.names(facts.lexicon.titles[row])
        # A long title is named by its beginning.
        if any(one in names or (one.count(" ") > 2 and any(name.startswith(f"{one} ") for name in names)) for one in said):
            found.append(row)
    return found


def share_true(texts: Iterable[str], facts: Iterable[Facts]) -> tuple[int, int]:
    """(true, named): of the claims that written texts make, how many are true of their item and reader; the figure "named features that are true"."""
    true = named = 0
    for text, known in zip(texts, facts, strict=True):
        claims = read_claims(text[:MOST_TEXT], known)
        true, named = true + sum(claim.true for claim in claims), named + len(claims)
    return true, named


def _verbatim(text: str, facts: Facts) -> list[tuple[int, int]]:
    """What stands in quotes and is the beginning of a name, or a piece of a text, of the item or of one of the history: a name, and true."""
    found = []
    for match in QUOTED.finditer(text):
        phrase = " ".join(unit for unit, _, _ in placed_units(match[1].rstrip("…. "), facts.lexicon.language))
        if phrase and phrase not in facts.lexicon.phrases and facts.true(phrase, "either"):
            found.append(match.span(1))
    return found


def _whole(text: str, span: tuple[int, int]) -> tuple[int, int]:
    """With the parenthesis that closes a name like Alien (1979)."""
    opened = [PAIRS[sign] for sign in text[slice(*span)] if sign in PAIRS]
    return (span[0], span[1] + 1) if opened and text[span[1] : span[1] + 1] == opened[-1] and opened[-1] not in text[slice(*span)] else span


def _is_claim(text: str, said: Sequence[Unit], one: Found, lexicon: Lexicon) -> bool:
    """Whether a phrase is meant: a common word, or a name of one word in small letters, is usually just a word."""
    sequence = one.phrase.split(" ")
    start, end = said[one.first][1], said[one.last - 1][2]
    in_quotes = quoted(text, (start, end))[0] < start
    if all(unit in lexicon.common for unit in sequence):
        middle = bool(re.search(r"[^\s.!?。！？\"'“]\s*$", text[:start]))  # a capital at the beginning of a sentence says nothing
        return in_quotes or (middle and all(text[said[place][1]].isupper() for place in range(one.first, one.last)))
    if one.fields != (NAME,) or in_quotes:
        return True
    if is_spaceless(sequence[0]):
        return len(sequence) > 1
    return len(sequence) > 1 or text[start].isupper()


def _scopes(
    text: str, said: Sequence[Unit], clauses: Sequence[Clause], spans: Sequence[tuple[int, int]], facts: Facts
) -> dict[Clause, tuple[int, str]]:
    """For clauses that speak of the past, of what was typed, or of the reader: where the words that say so end, and which of them."""
    words = _words(facts.lexicon.language)
    found: dict[Clause, tuple[int, str]] = {}
    before: tuple[int, str] | None = None
    sentence = -1
    for clause in clauses:
        before = before if clause.sentence == sentence else None
        sentence = clause.sentence
        cue = _cue(said, clause, words)
        if cue is None and before is not None and before[1] == "reader":
            if _of_reader(said, clause, facts):
                found[clause] = clause.start, "asked"
                continue
        elif cue is None and before is not None and is_element(text, said, clause, spans, words):
            cue = (clause.start, before[1])  # a list goes on
        if cue is not None:
            found[clause] = cue
        before = cue
    return found


def _cue(said: Sequence[Unit], clause: Clause, words: Words) -> tuple[int, str] | None:
    inside = [unit for unit in said if clause.start <= unit[1] < clause.end]
    sequence = [unit for unit, _, _ in inside]
    for kind, phrases in (("history", words.history), ("asked", words.asked), ("reader", words.reader)):
        ends = [
            inside[start + len(phrase) - 1][2]
            for phrase in phrases
            for start in range(len(sequence) - len(phrase) + 1)
            if tuple(sequence[start : start + len(phrase)]) == phrase
        ]
        if ends:
            return min(ends), kind
    return None


def _of_reader(said: Sequence[Unit], clause: Clause, facts: Facts) -> bool:
    """Whether a clause behind "your profile" goes on with it: it begins with a field of the reader, or says what the profile says."""
    sequence = tuple(unit for unit, start, _ in said if clause.body <= start < clause.end)
    return any(sequence[: len(field)] == field for field in facts.fields) or (bool(sequence) and facts.asked.has(" ".join(sequence)))


def _said_so(said: Sequence[Unit], one: Found, asked: Said) -> bool:
    """Whether a denied phrase was said with what denies it: "no meat"."""
    units = [unit for unit, _, _ in said]
    return any(asked.has(" ".join(units[first : one.last])) for first in range(max(one.first - DENIED_WITHIN, 0), one.first))


def _held(about: str) -> str:
    """What a claim counts as held against."""
    return "item" if about in ("either", "reader") else about


def _about(scopes: Mapping[Clause, tuple[int, str]], clause: Clause | None, place: int) -> str:
    cue = None if clause is None else scopes.get(clause)
    if cue is None:
        return "item"
    return cue[1] if place >= cue[0] else "either"


def _other(
    text: str, said: Sequence[Unit], clause: Clause, named: Sequence[tuple[str, tuple[int, int]]], facts: Facts, words: Words
) -> tuple[tuple[Said, ...], int]:
    """The items of the history that a clause begins with the name of, and where the name ends: "Star lamp was about tents" speaks of the lamp."""
    for phrase, (start, end) in named:
        if clause.body <= start < clause.end and only_articles(text, said, clause.body, start, words) and not facts.item.has(phrase):
            return tuple(one for one in facts.history if one.has(phrase)), end
    return NOBODY


def _clause_of(clauses: Sequence[Clause], place: int) -> Clause | None:
    return next((one for one in clauses if one.start <= place < one.end), None)


def _denied(said: Sequence[Unit], clause: Clause, first: int, words: Words) -> bool:
    near = [unit for unit, start, _ in said[max(first - DENIED_WITHIN, 0) : first] if start >= clause.start]
    return any(tuple(near[place : place + len(phrase)]) == phrase for phrase in words.denied for place in range(len(near)))


def _number_true(
    text: str,
    said: Sequence[Unit],
    span: tuple[int, int],
    low: str,
    high: str | None,
    known: Sequence[tuple[str, float]],
    facts: Facts,
    about: str,
    words: Words,
) -> bool:
    before = [unit for unit, start, _ in said if start < span[0]][-3:]
    fields = {name for name in facts.lexicon.number_fields if _named(name, before, facts.lexicon.language)}
    if text[: span[0]].rstrip()[-1:] in tuple("$€£¥￥"):
        fields |= {name for name in facts.lexicon.number_fields if " ".join(_units(name, facts.lexicon.language)) in words.money}
    values = [value for name, value in known if not fields or name in fields]
    first, second = float(low.replace(",", "")), None if high is None else float(high.replace(",", ""))
    if second is None and NEGATIVE.search(text[: span[0]]):
        first = -first
    if second is not None:
        return any(first <= value <= second for value in values) or all(
            _near(number, one, values) for number, one in ((low, first), (str(high), second))
        )
    for phrases, holds in (
        () if about == "asked" else ((words.under, lambda value: value <= first), (words.over, lambda value: value >= first))
    ):
        if any(tuple(before[-len(phrase) :]) == phrase for phrase in phrases):
            return any(holds(value) for name, value in known if name and (not fields or name in fields))
    return _near(low, first, values)


def _near(written: str, value: float, known: Sequence[float]) -> bool:
    """Whether a known number is the one written, to the decimals written."""
    decimals = len(written.partition(".")[2])
    return any(abs(one - value) <= 0.5 * 10.0**-decimals * (1 - 1e-9) or one == value for one in known)


def _named(name: str, near: Sequence[str], language: str) -> bool:
    return all(unit in near for unit in _units(name, language))


@lru_cache(1024)
def _units(text: str, language: str) -> tuple[str, ...]:
    return tuple(unit for unit, _, _ in placed_units(text.replace("_", " "), language))


@lru_cache(16)
def _words(language: str) -> Words:
    return Words(language_of(language).claims, language)
