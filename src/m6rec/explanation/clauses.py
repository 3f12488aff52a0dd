"""Sentences cut into clauses, and a claim taken out of a text with the smallest piece that can go: an element of a list, a clause, a sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from m6rec.explanation.phrases import ClaimWords
from m6rec.text.words import units

ENDS = re.compile(r"[.!?](?=[\s\"'”’)]|$)|[。！？\n]")
BREAKS = re.compile(r"[,，;；:：、—–]|\s-\s")
OPENING, CLOSING = "\"'“‘《〈「『([（", "\"'”’》〉」』)]）"
Unit = tuple[str, int, int]
LEAST_ALONE = 3  # units of a clause that may stand alone


@dataclass(frozen=True)
class Clause:
    """Characters start..end of a text; what joins it to the one before stands at start..body.

    sentence  number of its sentence
    kind      "first" of a sentence, "comma", "list" (and, or, 、), "joined" (but, so), "depending" (because, with)
    """

    start: int
    body: int
    end: int
    sentence: int
    kind: str


class Words:
    """`ClaimWords` as units of a language."""

    def __init__(self, words: ClaimWords, language: str) -> None:
        self.language = language
        self.articles = {unit for word in words.articles for unit in units(word, language)}
        self.history, self.asked = self._phrases(words.history), self._phrases(words.asked)
        self.reader = self._phrases(words.reader)
        self.denied = self._phrases(words.denied)
        self.joints = {
            phrase: kind
            for kind, listed in (("list", words.lists), ("joined", words.joined), ("depending", words.depending))
            for phrase in self._phrases(listed)
        }
        self.under, self.over = self._phrases(words.under), self._phrases(words.over)
        self.money = {" ".join(units(name, language)) for name in words.money}
        between = "|".join(rf"\s*{re.escape(word)}\s*" for word in (*words.between, "–", "-", "~"))
        number = r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
        self.numbers = re.compile(rf"(?<![A-Za-z0-9_.])({number})(?:(?:{between})[$€£¥￥]?({number}))?(?![A-Za-z0-9_])(?!\.\d)")

    def _phrases(self, listed: Sequence[str]) -> set[tuple[str, ...]]:
        return {phrase for word in listed if (phrase := tuple(units(word, self.language)))}

    @cached_property
    def longest(self) -> int:
        """Units of the longest joint."""
        return max((len(phrase) for phrase in self.joints), default=0)


def cut(text: str, said: Sequence[Unit], words: Words, kept: Sequence[tuple[int, int]]) -> list[Clause]:
    """The clauses of a text, in order. said: its placed units.  kept: spans of characters that are not cut."""
    inside = _Spans(kept)
    marks = [(match.start(), match.end(), "end") for match in ENDS.finditer(text)]
    marks += [
        (match.start(), match.end(), "comma") for match in BREAKS.finditer(text) if not _between_digits(text, match.start(), match.end())
    ]
    marks += [(said[first][1], said[last - 1][2], kind) for first, last, kind in _joints(said, words)]
    marks = sorted(mark for mark in marks if not inside.has(mark[0]))
    clauses: list[Clause] = []
    start = body = sentence = 0
    kind = "first"
    for begin, end, mark in marks:
        if mark == "end":
            clauses.append(Clause(start, body, end, sentence, kind))
            start, body, kind, sentence = end, end, "first", sentence + 1
        elif _has_unit(said, body, begin):
            clauses.append(Clause(start, body, begin, sentence, kind))
            start, body, kind = begin, end, mark
        else:  # ", and" is one joint, and joins like a comma; a sentence that begins with a joint has it in its first clause
            body = end
            kind = mark if kind != "first" and mark not in ("comma", "list") else kind
    if start < len(text):
        clauses.append(Clause(start, body, len(text), sentence, kind))
    return [one for one in clauses if text[one.start : one.end].strip()]


def taken_out(text: str, said: Sequence[Unit], span: tuple[int, int], spans: Sequence[tuple[int, int]], words: Words) -> str:
    """The text without the claim at characters `span`. spans: of all claims, this one included."""
    clauses = cut(text, said, words, spans)
    number = next((place for place, one in enumerate(clauses) if one.start <= span[0] < one.end), None)
    if number is None:
        return tidy(text[: span[0]] + text[span[1] :])
    clause = clauses[number]
    begin, end = quoted(text, span)
    before = only_articles(text, said, clause.body, begin, words)
    ends = not _has_unit(said, end, clause.end)
    after = clauses[number + 1] if number + 1 < len(clauses) and clauses[number + 1].sentence == clause.sentence else None
    if before and ends and clause.kind in ("comma", "list"):
        return tidy(text[: clause.start] + text[end:])
    if ends and after is not None and after.kind in ("comma", "list") and is_element(text, said, after, spans, words):
        first = begin
        for _, start, stop in reversed([unit for unit in said if clause.body <= unit[1] < begin]):
            if not only_articles(text, said, start, begin, words):
                break
            first = start
            assert stop <= begin
        return tidy(text[:first] + text[after.body :].lstrip())
    return _without_clause(text, said, clauses, number)


def _without_clause(text: str, said: Sequence[Unit], clauses: Sequence[Clause], number: int) -> str:
    """Without the clause, and without those after it that need it."""
    clause = clauses[number]
    rest = [one for one in clauses[number + 1 :] if one.sentence == clause.sentence]
    while rest and rest[0].kind in ("list", "depending"):
        rest.pop(0)
    if clause.kind != "first":
        end = rest[0].start if rest else _sentence_end(text, clauses, clause.sentence)
        return tidy(text[: clause.start] + text[end:])
    while rest and (sum(rest[0].body <= start < rest[0].end for _, start, _ in said) < LEAST_ALONE):
        rest.pop(0)
    if not rest:
        return tidy(text[: clause.start] + " " + text[_sentence_last(clauses, clause.sentence) :])
    head = text[: clause.start] + (" " if clause.start else "")
    return tidy(head + _capital(text[rest[0].body :].lstrip(), text[clause.start :].lstrip()))


def is_element(text: str, said: Sequence[Unit], clause: Clause, spans: Sequence[tuple[int, int]], words: Words) -> bool:
    """Whether a clause is nothing but claims and articles: an element of a list."""
    own = [span for span in spans if clause.body <= span[0] < clause.end]
    inside = _Spans(own)
    return bool(own) and all(unit in words.articles or inside.has(start) for unit, start, _ in said if clause.body <= start < clause.end)


def quoted(text: str, span: tuple[int, int]) -> tuple[int, int]:
    """The span with the quotes around it, if there are some."""
    begin, end = span
    while begin > 0 and end < len(text) and text[begin - 1] in OPENING and text[end] in CLOSING:
        begin, end = begin - 1, end + 1
    return begin, end


def tidy(text: str) -> str:
    """Blanks and signs in order after something was taken out."""
    text = re.sub(r"[ \t]+", " ", text)
    text = re.sub(r"\(\s*\)|（\s*）|《\s*》|“\s*”", "", text)
    text = re.sub(r" +([,.;:!?，。；：！？、)])", r"\1", text)
    text = re.sub(r"[,;:，；：、]+(?=[.!?。！？])", "", text)
    text = (
        re.sub(r"(^|[.!?。！？]\s?)[\s,;:，；：、.!?。！？]+(?=\S)", r"\1", text) if re.match(r"^[\s,;:，；：、.!?。！？]", text) else text
    )
    return text.strip() if re.search(r"\w", text) else ""


def _joints(said: Sequence[Unit], words: Words) -> list[tuple[int, int, str]]:
    """(first unit, last unit, kind), the longest at each place."""
    sequence, place, found = [unit for unit, _, _ in said], 0, []
    while place < len(sequence):
        for length in range(min(words.longest, len(sequence) - place), 0, -1):
            kind = words.joints.get(tuple(sequence[place : place + length]))
            if kind is not None:
                found.append((place, place + length, kind))
                place += length - 1
                break
        place += 1
    return found


def only_articles(text: str, said: Sequence[Unit], begin: int, end: int, words: Words) -> bool:
    return all(unit in words.articles for unit, start, _ in said if begin <= start < end) and not re.search(r"[^\w\s]", text[begin:end])


def _has_unit(said: Sequence[Unit], begin: int, end: int) -> bool:
    return any(begin <= start < end for _, start, _ in said)


def _between_digits(text: str, begin: int, end: int) -> bool:
    return text[begin - 1 : begin].isdigit() and text[end : end + 1].isdigit()


def _sentence_end(text: str, clauses: Sequence[Clause], sentence: int) -> int:
    """Where the sign that ends a sentence begins."""
    last = _sentence_last(clauses, sentence)
    return last - 1 if last and ENDS.match(text[last - 1 : last] + " ") else last


def _sentence_last(clauses: Sequence[Clause], sentence: int) -> int:
    return max(one.end for one in clauses if one.sentence == sentence)


def _capital(text: str, like: str) -> str:
    """With a capital first where `like` has one."""
    return text[:1].upper() + text[1:] if like[:1].isupper() else text


class _Spans:
    def __init__(self, spans: Sequence[tuple[int, int]]) -> None:
        self.spans = spans

    def has(self, place: int) -> bool:
        return any(begin <= place < end for begin, end in self.spans)
