"""What a language needs for explanations: one YAML file each in `languages/`; a language is added by adding a file.

`languages/en.yaml` documents the form.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import Field

from m6rec.base.configuration import Config
from m6rec.base.errors import UsageError, nearest
from m6rec.base.strict_yaml import read_yaml

FOLDER = "languages"
ENGLISH, TABLE = "en", "table"


class ClaimWords(Config):
    """Words by which claims of a sentence are read."""

    articles: list[str] = Field(default=[], description="stand before a noun and say nothing")
    common: list[str] = Field(default=[], description="words that name no item and no value when they stand alone")
    history: list[str] = Field(default=[], description="what speaks of things that the reader had")
    asked: list[str] = Field(default=[], description="what speaks of what the reader typed")
    reader: list[str] = Field(default=[], description="what speaks of the reader as described")
    denied: list[str] = Field(default=[], description="what turns a claim round")
    lists: list[str] = Field(default=[], description="words that join things of one list")
    joined: list[str] = Field(default=[], description="words that begin a clause which can stand alone without them")
    depending: list[str] = Field(default=[], description="words that begin a clause which goes with the one before it")
    under: list[str] = Field(default=[], description="words before a number that is an upper limit")
    over: list[str] = Field(default=[], description="words before a number that is a lower limit")
    between: list[str] = Field(default=[], description="words and signs between the two numbers of a range")
    money: list[str] = Field(default=[], description="fields that a number with a currency sign speaks of")


class ReasonWords(Config):
    """How evidence is worded; {names} in braces stand for what is told."""

    verbs: dict[str, str] = Field(description="action of an event -> what the reader did; '' for any other")
    events: str = Field(description="{did}: the events that moved the score most")
    did: str = Field(description="{verb} and {titles} of events of one action")
    shared: str = Field(description="{values} that the item has in common with {titles}")
    others: str = Field(description="counts of other people lead from {titles} to the item")
    them: str = Field(description="for several things named before")
    that: str = Field(description="for one thing named before")
    alike: str = Field(description="the item's words resemble those of {titles}")
    typed: str = Field(description="{words} that were typed")
    person: str = Field(description="{values} of the reader's profile")
    values: str = Field(description="{values} of the item itself")
    nothing: str = Field(description="nothing known of the reader moved the score")
    field: str = Field(description="{value} of the field called {name}")
    separator: str = Field(description="between things of a list")
    last: str = Field(description="before the last thing of a list")
    lead: str = Field(description="between what was had and what follows from it")
    did_also: str = Field(description="between several things done")
    also: str = Field(description="between several things that follow from them")
    end: str = Field(description="ends a sentence")
    next: str = Field(description="between sentences")
    without: str = Field(description="the place {rank} that the item would have had without {titles}")
    gone: str = Field(description="the item would not have been in the list without {titles}")
    drops: str = Field(description="the smallest set {titles} without which the item leaves the list")
    ruled_out: str = Field(description="the item does not meet {limits} of what was typed, so it is in no list")
    quote: tuple[str, str] = Field(description="signs around a title")


class ProfileWords(Config):
    """How interests are worded; {names} in braces stand for what is told."""

    verbs: dict[str, str] = Field(
        description="action of an event -> what was done; an action without one is said as it stands, '' for none"
    )
    likes: str = Field(description="{value} and {how} strong the interest is")
    cluster: str = Field(description="an interest in items like {value}")
    because: str = Field(description="{events} behind the interest")
    mostly: str = Field(description="the {scenario} of most of these events")
    strong: str = Field(description="of an interest")
    clear: str = Field(description="of an interest")
    slight: str = Field(description="of an interest")
    rising: str = Field(description="of an interest")
    falling: str = Field(description="of an interest")
    steady: str = Field(description="of an interest")
    expected: str = Field(description="of an interest that no event shows")
    on: str = Field(description="{verb} and {title} of an event, and its {date}")
    off: str = Field(description="{verb} and {title} of an event without a date")
    date: str = Field(description="{day}, {month}, {year}")
    months: list[str] = Field(default=[], description="names of the months; none: their numbers")
    separator: str = Field(description="between things of a list")
    end: str = Field(description="ends a sentence")
    nothing: str = Field(description="nothing sets {user} apart")
    who: str = Field(description="{user} and how many {events}")
    says: str = Field(description="{facts} that the user declared")


class TableWords(Config):
    """What stands around the evidence of `m6rec explain`; {names} in braces stand for what is told. What a file leaves out is said in English."""

    head: str = Field(description="{title} and {item} explained, {what} is its {score}, and its {place}")
    score: str = Field(description="what is explained where no task is")
    place: str = Field(description="the place {rank} of the item in the list")
    unlisted: str = Field(description="it has none")
    evidence: str = Field(description="heads the kinds of evidence")
    lift: str = Field(description="heads what the score loses without each")
    share: str = Field(description="heads the shares of the lifts")
    without: str = Field(description="heads what is taken away")
    kinds: dict[str, str] = Field(description="kind of evidence -> how it is called; one that is left out is called as in English")
    parts: dict[str, str] = Field(description="part of the mixture -> what it counts")
    gradients: str = Field(description="heads integrated gradients")
    event: str = Field(description="heads the events that they are of")
    field: str = Field(description="heads what else they are of")
    begun: str = Field(description="{score} that the gradients add up from")


class Language(Config):
    """One file."""

    claims: ClaimWords = Field(description="words by which claims of a sentence are read")
    reason: ReasonWords = Field(description="how evidence is worded")
    profile: ProfileWords = Field(description="how interests are worded")
    table: TableWords = Field(description="what stands around the evidence")


def known_languages() -> list[str]:
    """The languages that have a file."""
    return sorted(one.name.removesuffix(".yaml") for one in (files(__package__) / FOLDER).iterdir() if one.name.endswith(".yaml"))


@cache
def language_of(code: str) -> Language:
    """The words of a language. Raises UsageError: a language without a file."""
    known = known_languages()
    if code not in known:
        raise UsageError(
            f"no explanation is worded in language '{code[:40]}'{nearest(code[:40], known) or '; there are: ' + ', '.join(known)}"
        )
    values = _file(code)
    if isinstance(values, dict) and isinstance(table := values.get(TABLE, {}), dict):
        values[TABLE] = _filled(table, _file(ENGLISH)[TABLE])
    return Language.build(values, f"{code}.yaml")


def _file(code: str) -> Any:
    name = f"{code}.yaml"
    return read_yaml((files(__package__) / FOLDER / name).read_text("utf-8"), name)


def _filled(values: dict[str, Any], english: dict[str, Any]) -> dict[str, Any]:
    """With what is left out as it is in English, inner mappings too."""
    within = {
        name: _filled(values[name], said) for name, said in english.items() if isinstance(said, dict) and isinstance(values.get(name), dict)
    }
    return english | values | within
