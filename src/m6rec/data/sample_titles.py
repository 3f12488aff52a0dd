"""Wording the built-in sample: titles, descriptions, reviews and profiles made from the packaged word lists.

The topic of an item is in its words (things, subjects, tags); what belongs to no topic (templates, product lines) is shared by all.

Dimension keys: N items, U users, R texts.
"""

from __future__ import annotations

from importlib import resources
from typing import Any, Literal

import numpy as np
import yaml

from m6rec.base.errors import UsageError
from m6rec.data.sample_tastes import SCENARIOS, SERIES, Truth

Language = Literal["en", "zh"]
LANGUAGES = ("en", "zh")


def load_words(language: str) -> dict[str, Any]:
    """The word list of `language`: brands, templates and 12 topics.

    Raises:
        UsageError: no such language.
    """
    if language not in LANGUAGES:
        raise UsageError(f"language is '{language}': the sample speaks {' and '.join(LANGUAGES)}; for example language='en'")
    text = resources.files("m6rec.data").joinpath("sample_words", f"{language}.yaml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # the C one where libyaml is there: 10x faster


def word_items(truth: Truth, words: dict[str, Any], seed: int) -> dict[str, list[Any]]:
    """Columns title, description, category, tags, brand, price and `praise` (not written: what the item is good for), N values each.

    Titles differ from one another; an item of a series shares brand and line (shop) or subject and wording (feed, video) with it.
    """
    generator = np.random.default_rng([seed, 21])
    topics = words["topics"]
    series = _Series(truth, words, generator)
    draws = generator.random((len(truth.topic), 8))
    prices = np.exp(generator.normal(size=len(truth.topic)) * 0.5 + 2.5 + 0.2 * (truth.topic % 8))
    columns: dict[str, list[Any]] = {name: [] for name in ("title", "description", "category", "tags", "brand", "price", "praise")}
    for item, place in enumerate(truth.scenario):
        topic, scenario = topics[truth.topic[item]], SCENARIOS[place]
        at = draws[item]
        praise = _at(topic["praise"], at[0])
        facts = series.facts(item) | {"detail": _at(topic["details"], at[1]), "praise": praise, "topic": topic["name"]}
        facts["other"] = _at(topic["things"], at[2])
        template = facts.pop("template") if scenario != "shop" else _at(words["titles"]["shop"], at[3])
        title = template.format(**facts) + facts["edition"]
        columns["title"].append(_sentence(title))
        columns["description"].append(_sentence(_at(words["descriptions"][scenario], at[4]).format(**facts)))
        columns["category"].append(topic["department"])
        columns["tags"].append(_tags(topic["tags"], topics, at[5:8]))
        columns["brand"].append(facts["brand"])
        columns["price"].append(round(float(prices[item]), 2) if scenario == "shop" else None)
        columns["praise"].append(praise)
    return columns


def word_users(truth: Truth, words: dict[str, Any]) -> dict[str, list[Any]]:
    """Columns gender, age, occupation (null where not told) and interests (list of topic names), U values each."""
    topics = words["topics"]
    jobs = [job for topic in topics[: truth.tastes.shape[1]] for job in topic["occupations"]] + words["other_occupations"]
    return {
        "gender": [None if code < 0 else words["genders"][code] for code in truth.gender],
        "age": [None if age < 0 else int(age) for age in truth.age],
        "occupation": [None if code < 0 else jobs[code] for code in truth.job],
        "interests": [[topics[topic]["name"] for topic in np.flatnonzero(row)] for row in truth.interests],
    }


def word_reviews(
    truth: Truth, words: dict[str, Any], items: np.ndarray, ratings: np.ndarray, praise: list[str], seed: int
) -> tuple[list[str], list[str]]:
    """A review (in the tone of its rating, 1..5) and a reason for each of R events: two lists of R texts."""
    draws = np.random.default_rng([seed, 22]).random((len(items), 2))
    tone = np.where(ratings >= 4, "good", np.where(ratings >= 3, "fair", "bad"))
    reviews, reasons = [], []
    for item, kind, (first, second) in zip(items.tolist(), tone.tolist(), draws.tolist(), strict=True):
        facts = {"topic": words["topics"][truth.topic[item]]["name"], "praise": praise[item]}
        reviews.append(_sentence(_at(words["reviews"][kind], first).format(**facts)))
        reasons.append(_sentence(_at(words["reasons"], second).format(**facts)))
    return reviews, reasons


class _Series:
    """What the items of one series share, drawn without repetition within a cell (topic, scenario) until the words run out."""

    def __init__(self, truth: Truth, words: dict[str, Any], generator: np.random.Generator) -> None:
        self.truth, self.words, self.generator = truth, words, generator
        self.orders: dict[tuple[int, int], np.ndarray] = {}
        for topic in range(truth.tastes.shape[1]):
            for place in range(len(truth.scenario_share)):
                self.orders[topic, place] = self._order(topic, place)

    def _order(self, topic: int, place: int) -> np.ndarray:
        """A random order of the combinations; brands close to the topic come early, so a brand hints at it."""
        if SCENARIOS[place] != "shop":
            return self.generator.permutation(len(self.words["topics"][topic]["subjects"]) * len(self.words["titles"][SCENARIOS[place]]))
        brands, lines = len(self.words["brands"]), len(self.words["lines"])
        weight = np.where(np.arange(brands * lines) // lines // 2 == topic, 12.0, 1.0)
        return np.argsort(-(self.generator.random(brands * lines) ** (1 / weight)), kind="stable")

    def facts(self, item: int) -> dict[str, str]:
        truth, words = self.truth, self.words
        topic, place, number = int(truth.topic[item]), int(truth.scenario[item]), int(truth.series[item])
        order, scenario = self.orders[topic, place], SCENARIOS[place]
        edition, at = divmod(number, len(order))
        facts = {"part": str(int(truth.part[item]) + 1), "edition": f" ({edition + 1})" if edition else ""}
        if scenario == "shop":
            brand, line = divmod(int(order[at]), len(words["lines"]))
            things = words["topics"][topic]["things"]
            thing = things[(number * SERIES + int(truth.part[item])) % len(things)]
            return facts | {"brand": words["brands"][brand], "line": words["lines"][line], "thing": thing}
        subject, template = divmod(int(order[at]), len(words["titles"][scenario]))
        channel = words["brands"][2 * topic + number % 2]
        return facts | {
            "brand": channel,
            "subject": words["topics"][topic]["subjects"][subject],
            "template": words["titles"][scenario][template],
        }


def _at(choices: list[str], draw: float) -> str:
    return choices[int(draw * len(choices))]


def _tags(own: list[str], topics: list[dict[str, Any]], draws: np.ndarray) -> list[str]:
    """Two of the topic's tags, and with chance 0.15 one of any topic."""
    first = int(draws[0] * len(own))
    tags = [own[first], own[(first + 1 + int(draws[1] * (len(own) - 1))) % len(own)]]
    if draws[2] < 0.15:
        stray = int(draws[2] / 0.15 * len(topics))
        tags.append(topics[stray]["tags"][0])
    return list(dict.fromkeys(tags))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
