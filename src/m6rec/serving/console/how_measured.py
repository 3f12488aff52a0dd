"""How figures were measured, in the language of the page: the sentences of an evaluation are English and kept with it.

A sentence is made of clauses with marks between them. The clauses are the phrases `how` of languages/en.yaml, which say where values stand: they
read a sentence, and those of the page's language tell it.
"""

from __future__ import annotations

import re
from functools import cache

from m6rec.serving.console.phrases import DEFAULT, Phrases, languages

SECTION = "how."
MARKS = {"; ": "then", " (": "open", ")": "close", ". ": "next", ".": "end"}
BEHIND = r"(?=; | \(|\)|\. |\.?$)"  # a clause ends before a mark, or with the sentence
PLACE = re.compile(r"\\\{(\w+)\\\}")


def how_measured(t: Phrases, sentence: str) -> str:
    """The sentence in the words of the page; as it stands where a part of it is none that the page has words for."""
    told, place = list[str](), 0
    while place < len(sentence):
        mark = next((sign for sign in MARKS if sentence.startswith(sign, place)), "")
        if mark:
            told.append(t(f"how_mark.{MARKS[mark]}"))
            place += len(mark)
            continue
        read = ((key, found) for key, clause in _clauses() if (found := clause.match(sentence, place)))
        key, found = next(read, ("", None))
        if found is None:
            return sentence
        told.append(t(key, **found.groupdict()))
        place = found.end()
    return "".join(told)


@cache
def _clauses() -> list[tuple[str, re.Pattern[str]]]:
    """(key, what reads it) of every clause, the longest first: a short one may begin another."""
    texts = {key: text for key, text in languages()[DEFAULT].texts.items() if key.startswith(SECTION)}
    ordered = sorted(texts.items(), key=lambda pair: -len(pair[1]))
    return [(key, re.compile(PLACE.sub(r"(?P<\1>[^;()]+?)", re.escape(text)) + BEHIND)) for key, text in ordered]
