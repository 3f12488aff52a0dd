"""Rows of the benchmark of writing: explanations and reviews, cut into parts, with the features that their texts name.

A folder is told by what its JSON lines hold: explanations (uid, iid, title, user_summary, item_summary, explanation) are written as they are; of
reviews (reviewerID, asin, reviewText, summary, overall) the target is the explanation sentence, as the literature has it (PETER, NETE): the first
sentence of 4 to 20 words that names a feature. Reviews without one are left out.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m6rec.text.words import singular

TRAINING, VALIDATION, TEST = range(3)
SHORTEST, LONGEST = 4, 20  # words of an explanation sentence
LEAST_FEATURE, LEAST_OF_ITEM = 15, 2  # texts that name a feature at all; texts of one item from which on it is a field of the item
MOST_OF_ITEM = 25
MOST_VALIDATED = 1_000  # rows that a way of decoding is chosen on
WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
# Words by what they do, for telling nouns by where they stand; `empty` are nouns of anything: to name them is no claim about the item.
WORDS = {
    name: frozenset(words) for name, words in json.loads((Path(__file__).parent / "writing_words.json").read_text(encoding="utf-8")).items()
}
QUALITIES = ("ed", "ful", "ous", "able", "ic", "al", "ive", "ing", "less", "ish")


@dataclass(frozen=True)
class Case:
    """One text that somebody wrote about an item. `feature`: the first it names, "" for none; rating NaN unknown."""

    user: str
    item: str
    text: str
    part: int
    feature: str
    rating: float
    time: float


@dataclass(frozen=True)
class WritingData:
    """A data set. facts: item -> features that any text about it names, held-out texts too (the truth); known: those that the
    catalogue or a training text names. summaries: item -> a summary that can be copied."""

    name: str
    kind: str
    cases: list[Case]
    items: dict[str, dict[str, Any]]
    users: dict[str, dict[str, Any]]
    features: frozenset[str]
    facts: dict[str, set[str]]
    known: dict[str, set[str]]
    summaries: dict[str, str]
    statement: str

    def of(self, part: int) -> list[Case]:
        return [case for case in self.cases if case.part == part]

    def held(self, part: int) -> list[Case]:
        """The rows that are measured: all test rows, the first MOST_VALIDATED validation rows."""
        return self.of(part)[: MOST_VALIDATED if part == VALIDATION else None]


def read_writing(name: str, folder: Path) -> WritingData:
    """The first file of JSON lines in the folder."""
    path = sorted(folder.glob("*.json*"))[0]
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        rows = [json.loads(line) for line in handle]
    return _explanations(name, rows) if "explanation" in rows[0] else _reviews(name, rows)


def words_of(text: str) -> list[str]:
    """Lower-case words."""
    return WORD.findall(text.lower().replace("\u2019", "'"))


def named(text: str, features: frozenset[str]) -> list[str]:
    """Features that a text names, each once, in order; a plural is its singular."""
    return list(dict.fromkeys(word for word in map(singular, words_of(text)) if word in features))


def find_features(texts: list[str], least: int = LEAST_FEATURE) -> frozenset[str]:
    """Nouns, by where they stand: after a determiner or praise and before a verb, a preposition or a pause; seldom after "is" or "very", seldom
    after a person (then it is a verb), and not what is said of anything."""
    total, before, after, degree, person, having = Counter(), Counter(), Counter(), Counter(), Counter(), Counter()
    for text in texts:
        seen = set()
        for clause in re.split(r"[.!?;:,()]+", text.lower().replace("\u2019", "'")):
            words = WORD.findall(clause)
            for place, word in enumerate(words):
                key = singular(word)
                total[key] += 1
                seen.add(key)
                previous = words[place - 1] if place else ""
                before[key] += previous in WORDS["determiners"] or previous in WORDS["praise"] or previous.endswith(QUALITIES)
                degree[key] += previous in WORDS["degrees"]
                person[key] += previous in WORDS["persons"]
                after[key] += place + 1 == len(words) or words[place + 1] in WORDS["followers"]
        having.update(seen)
    other = (
        WORDS["determiners"]
        | WORDS["degrees"]
        | WORDS["persons"]
        | WORDS["followers"]
        | WORDS["praise"]
        | WORDS["empty"]
        | {singular(word) for word in WORDS["empty"]}
    )
    return frozenset(
        word
        for word, count in total.items()
        if having[word] >= least
        and word not in other
        and len(word) > 2
        and not word[0].isdigit()
        and not word.endswith(("ly", "ing", "ed"))
        and before[word] >= 0.2 * count
        and after[word] >= 0.5 * count
        and degree[word] <= 0.08 * count
        and person[word] <= 0.08 * count
    )


def _explanations(name: str, rows: list[dict[str, Any]]) -> WritingData:
    order = sorted(range(len(rows)), key=lambda row: _digest(f"{rows[row]['uid']} {rows[row]['iid']}"))
    parts = dict.fromkeys(order[:2400], TRAINING) | dict.fromkeys(order[2400:2700], VALIDATION) | dict.fromkeys(order[2700:], TEST)
    training = [row for at, row in enumerate(rows) if parts[at] == TRAINING]
    features = find_features([row["explanation"] for row in training] + [row["item_summary"] for row in training])
    items = {str(row["iid"]): {"title": row["title"], "summary": row["item_summary"]} for row in rows}
    users = {str(row["uid"]): {"summary": row["user_summary"]} for row in rows}
    cases = [
        Case(
            str(row["uid"]),
            str(row["iid"]),
            row["explanation"],
            parts[at],
            _first(row["explanation"], features),
            float("nan"),
            float("nan"),
        )
        for at, row in enumerate(rows)
    ]
    known: dict[str, set[str]] = {item: set(named(f"{fields['title']}. {fields['summary']}", features)) for item, fields in items.items()}
    for case in cases:
        if case.part == TRAINING:
            known[case.item] |= set(named(case.text, features))
    facts = {item: set(some) for item, some in known.items()}
    for case in cases:
        facts[case.item] |= set(named(case.text, features))
    statement = f"{len(cases):,} explanations as they stand, 2,400 / 300 / 300 by hash of (user, item)"
    summaries = {str(row["iid"]): row["item_summary"] for row in rows}
    return WritingData(name, "reason", cases, items, users, features, facts, known, summaries, statement)


def _reviews(name: str, rows: list[dict[str, Any]]) -> WritingData:
    parts = [
        TRAINING if (code := _digest(f"{row['reviewerID']} {row['asin']}") % 100) < 80 else VALIDATION if code < 90 else TEST
        for row in rows
    ]
    features = find_features([row["reviewText"] for row, part in zip(rows, parts, strict=True) if part == TRAINING])
    of_item: dict[str, Counter[str]] = defaultdict(Counter)
    of_user: dict[str, Counter[str]] = defaultdict(Counter)
    facts: dict[str, set[str]] = defaultdict(set)
    cases = []
    for row, part in zip(rows, parts, strict=True):
        whole = set(named(f"{row['reviewText']} {row['summary']}", features))
        facts[row["asin"]] |= whole
        if part == TRAINING:
            of_item[row["asin"]].update(whole)
            of_user[row["reviewerID"]].update(whole)
        sentence = _sentence(row["reviewText"], features)
        if sentence:
            cases.append(
                Case(
                    row["reviewerID"],
                    row["asin"],
                    sentence,
                    part,
                    _first(sentence, features),
                    float(row["overall"]),
                    float(row["unixReviewTime"]),
                )
            )
    common: Counter[str] = Counter(feature for counts in of_item.values() for feature in counts)
    items, users = {}, {}
    for table, source, names in ((items, of_item, {row["asin"] for row in rows}), (users, of_user, {row["reviewerID"] for row in rows})):
        for one in sorted(names):
            told = [(count / common[feature] ** 0.5, feature) for feature, count in source[one].items() if count >= LEAST_OF_ITEM]
            table[one] = {"features": [feature for _, feature in sorted(told, reverse=True)[:MOST_OF_ITEM]]}
    known = {item: set(of_item[item]) for item in items}
    sentences = f"the first sentence of {SHORTEST} to {LONGEST} words that names a feature, {len(cases):,} of {len(rows):,} reviews"
    statement = f"{sentences}; 80/10/10 by hash of (user, item)"
    summaries = {row["asin"]: row["summary"] for row, part in zip(rows, parts, strict=True) if part == TRAINING and row["summary"].strip()}
    return WritingData(name, "reason", cases, items, users, features, dict(facts), known, summaries, statement)


def _sentence(text: str, features: frozenset[str]) -> str:
    for sentence in re.split(r"(?<=[.!?])\s*(?=[A-Z\"'(0-9])|\n", text):
        plain = " ".join(sentence.split())
        if SHORTEST <= len(words_of(plain)) <= LONGEST and named(plain, features):
            return plain
    return ""


def _first(text: str, features: frozenset[str]) -> str:
    found = named(text, features)
    return found[0] if found else ""


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
