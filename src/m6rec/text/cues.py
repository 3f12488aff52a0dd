"""Cue words of what people type: what rules out, what bounds a number, who something is for. `cues/en.yaml` documents the files.

All packaged languages are read together, since what people type mixes them; a templates file of a user's own may add to them.
"""

from __future__ import annotations

import re
from functools import cache, cached_property
from importlib import resources
from typing import Any, Literal

import yaml
from pydantic import Field

from m6rec.base.configuration import Config
from m6rec.text.words import SPACELESS, is_spaceless

Bound = Literal["<", "<=", ">", ">=", "=", "between"]
Phrase = tuple[str, ...]  # tokens, as `tokens` gives them
_TOKEN = re.compile(f"[{SPACELESS}]|(?:(?![{SPACELESS}_])\\w)+|[^\\w\\s]|_")


class Audience(Config):
    """Who something may be for."""

    words: list[str] = Field(default=[], description="what such a person is called")
    phrases: list[str] = Field(default=[], description="what says on its own that something is for them")
    suits: list[str] = Field(default=[], description="names of categories and tags that are meant for them")
    unfit: list[str] = Field(default=[], description="names of categories and tags that are not for them")
    age: float | None = Field(default=None, description="years that an age field is held against where no age is said")


class AgeFields(Config):
    """Names of fields that speak of an age."""

    least: list[str] = Field(default=[], description="the age from which on something is for people")
    most: list[str] = Field(default=[], description="the age up to which it is")


class Vague(Config):
    """Words that make a number a rough one: it bounds nothing."""

    before: list[str] = Field(default=[], description="right before a scale: several hundred")
    after: list[str] = Field(default=[], description="right after a number: fifty-odd")


class Cues(Config):
    """The cue words of one language, or of several together."""

    not_: list[str] = Field(default=[], alias="not", description="what follows is unwanted, to the end of the clause")
    describes: list[str] = Field(default=[], description="the same, but what follows a noun speaks of what is wanted again")
    lacks: list[str] = Field(
        default=[], description="the same, and never the second of two in a list: after another negation it is a negation of that"
    )
    attaches: list[str] = Field(default=[], description="joins what lacks something to what is wanted: the negation ends before it")
    except_: list[str] = Field(default=[], alias="except", description="what follows is unwanted; after another negation it is not")
    apart: list[str] = Field(default=[], description="those of `except` that at the beginning may except from what is ruled out behind")
    likewise: list[str] = Field(default=[], description="words after which that is ruled out besides: it is no exception then")
    auxiliary: list[str] = Field(default=[], description="rule out with one of `verbs`; with another verb nothing can be told")
    unclear: list[str] = Field(default=[], description="negations of which nothing can be told about what follows")
    verbs: list[str] = Field(default=[], description="verbs of wanting, getting and being")
    amount_verbs: list[str] = Field(default=[], description="verbs of spending and reaching a number")
    adverbs: list[str] = Field(default=[], description="words between an auxiliary and its verb")
    signs: list[str] = Field(default=[], description="like `directly`, with a blank before and none after: boots -leather")
    behind: list[str] = Field(default=[], description="the named values before it are unwanted")
    behind_one: list[str] = Field(default=[], description="the one named value right before it is unwanted")
    last: list[str] = Field(default=[], description="like `behind`, at the end of a clause only")
    directly: list[str] = Field(default=[], description="unwanted only where the name of a field's value follows directly")
    forbids: list[str] = Field(default=[], description="like `auxiliary`, but with another verb they are no negation")
    removes: list[str] = Field(default=[], description="like `not`, only where the name of a field's value or a bound follows directly")
    prefers: list[str] = Field(default=[], description="words before `than` that say of two things that one is liked more")
    than: list[str] = Field(default=[], description="after `prefers`: the named values that follow are scored against, and not ruled out")
    unlike: list[str] = Field(default=[], description="like `than`, by themselves")
    spared: list[str] = Field(default=[], description="phrases that hold such a word and rule nothing out")
    starts: list[str] = Field(default=[], description="words that begin a wish wherever they stand")
    wishes: list[str] = Field(default=[], description="words that begin a wish where something stands between them and the negation")
    ends: list[str] = Field(default=[], description="words after which something is wanted again")
    having: list[str] = Field(default=[], description="those of `ends` after which stands what the thing before them has")
    joins: list[str] = Field(default=[], description="words that join things of one clause")
    or_: list[str] = Field(default=[], alias="or", description="those of `joins` that say alternatives")
    and_: list[str] = Field(default=[], alias="and", description="those of `joins` after which a wish of its own may begin")
    only: list[str] = Field(default=[], description="the named values that follow are a must")
    by: list[str] = Field(default=[], description="the named value of a category, tags or id field that follows directly is a must")
    numbers: dict[Bound, list[str]] = Field(default={}, description="N a number, M another one; patterns by what they mean")
    decades: list[str] = Field(default=[], description="patterns of a decade, D")
    decade_years: dict[Bound, list[str]] = Field(default={}, description="patterns that speak of time, D a decade")
    decade_words: dict[str, float] = Field(default={}, description="decades in words -> their first year")
    units: dict[str, list[str]] = Field(default={}, description="word beside a number -> names of number fields of such quantities")
    beside: dict[str, list[str]] = Field(default={}, description="word before a bound -> names of number fields that it speaks of")
    tenths: list[str] = Field(default=[], description="those of `units` after which a digit says tenths: 九块九")
    unsaid: list[str] = Field(default=[], description="names of the number field that is meant where no unit is said")
    years: dict[Bound, list[str]] = Field(default={}, description="patterns that speak of time, N a year")
    year_fields: list[str] = Field(default=[], description="names of number fields that hold years")
    audiences: dict[str, Audience] = Field(default={}, description="who something may be for")
    for_: list[str] = Field(default=[], alias="for", description="what stands before an audience")
    for_after: list[str] = Field(default=[], description="what stands after an audience")
    ages: list[str] = Field(default=[], description="patterns of a person's age, N")
    age_fields: AgeFields = Field(default_factory=AgeFields, description="names of fields that speak of an age")
    ratings: dict[str, float] = Field(default={}, description="name of an age rating -> the age it is for")
    number_words: dict[str, float] = Field(default={}, description="numbers in words")
    number_scales: dict[str, float] = Field(default={}, description="words that multiply what stands before them, and add what follows")
    number_joins: list[str] = Field(default=[], description="words between the parts of one number")
    number_points: list[str] = Field(default=[], description="words for a decimal point: such numbers are not read")
    number_vague: Vague = Field(default_factory=Vague, description="words that make a number a rough one")
    fillers: list[str] = Field(default=[], description="words that say nothing about what is unwanted")
    talk: list[str] = Field(default=[], description="words of talking: they name nothing that an item could be")

    def joined(self, other: Cues) -> Cues:
        """With the words of `other` added."""
        return Cues.model_validate(_merged(self.model_dump(by_alias=True), other.model_dump(by_alias=True)))

    @cached_property
    def phrases(self) -> dict[str, dict[Phrase, str]]:
        """For each list of cue words, its phrases as tokens."""
        lists = {name: words for name in type(self).model_fields if isinstance(words := getattr(self, name), list)}
        return {name: {phrase(word): word for word in words} for name, words in lists.items()}

    @cached_property
    def talking(self) -> frozenset[str]:
        """The words of `talk`, case-folded."""
        return frozenset(word.casefold() for word in self.talk)

    @cached_property
    def silent(self) -> frozenset[str]:
        """Words that name nothing an item could be, case-folded: of talking, of ruling out and of bounding."""
        bounds = [pattern for patterns in (*self.numbers.values(), *self.years.values()) for pattern in patterns]
        ruling_out = [
            *self.not_,
            *self.describes,
            *self.lacks,
            *self.except_,
            *self.auxiliary,
            *self.directly,
            *self.removes,
            *self.behind,
            *self.behind_one,
            *self.last,
        ]
        said = [
            *self.talk,
            *self.fillers,
            *ruling_out,
            *self.starts,
            *self.wishes,
            *self.ends,
            *self.joins,
            *self.only,
            *self.by,
            *self.for_,
            *bounds,
        ]
        return frozenset(word for cue in said for word in cue.casefold().split())


def telling(text: str, cues: Cues) -> str:
    """A text without words of `talk`, which name nothing that an item could be: "someone would like hiking" is "hiking".

    All of it, where no word would be left. Scripts without spaces are left as they are: where a word ends in them is not known here.
    """
    silent = [match.span() for match in tokens(text) if match.group().casefold() in cues.talking and not is_spaceless(match.group()[0])]
    kept = text
    for start, end in reversed(silent):
        kept = f"{kept[:start]} {kept[end:]}"
    return " ".join(kept.split()) if any(sign.isalnum() for sign in kept) else text


def tokens(text: str) -> list[re.Match[str]]:
    """Words, single characters of spaceless scripts and signs, in order; `match.group()` and `match.span()` say what and where."""
    return list(_TOKEN.finditer(text))


def phrase(text: str) -> Phrase:
    """The tokens of a cue."""
    return tuple(match.group() for match in tokens(text.casefold()))


@cache
def built_in_cues() -> Cues:
    """The cue words of every packaged language together."""
    folder = resources.files("m6rec.text") / "cues"
    found = Cues()
    for name in sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".yaml")):
        found = found.joined(Cues.build(yaml.safe_load((folder / name).read_text(encoding="utf-8")), f"cues/{name}"))
    return found


@cache
def _with_own(own: str) -> Cues:
    return built_in_cues().joined(Cues.model_validate_json(own))


def cues_with(own: Cues) -> Cues:
    """The packaged cue words with a user's own."""
    return built_in_cues() if own == Cues() else _with_own(own.model_dump_json(by_alias=True))


def _merged(first: Any, second: Any) -> Any:
    if isinstance(first, dict) and isinstance(second, dict):
        return {**first, **{key: _merged(first[key], value) if key in first else value for key, value in second.items()}}
    if isinstance(first, list) and isinstance(second, list):
        return [*first, *(value for value in second if value not in first)]
    return first if second is None else second
