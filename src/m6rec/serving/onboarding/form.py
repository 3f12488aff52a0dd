"""The onboarding form without its prints and prompts: which questions there are, which answers are allowed, which list comes next."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from m6rec.base.contracts import Scored
from m6rec.base.errors import UsageError, closest, shown
from m6rec.base.storage import atomic_folder, write_json
from m6rec.data.columns import Columns
from m6rec.data.fields import FieldType
from m6rec.serving.asked import Ask
from m6rec.serving.engine.engine import Engine
from m6rec.text.phrases import built_in, built_in_phrases, said

MOST_VALUES = 30  # values of a field that a question can list
TAGS_SHOWN = 20
PEOPLE_ASKED = 2_000  # people whose events tell which values tell them apart
LIKES = ("like", "liked", "likes", "love", "favourite", "favorite", "喜欢", "收藏", "点赞")  # actions
NAMED = 3  # values that one of them would name


@dataclass(frozen=True)
class Question:
    """A field of a person. values: what may be answered, empty where anything may; low, high: of a number."""

    name: str
    values: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    def answer(self, said: str, language: str = "en") -> Any:
        """The value that was said. Raises UsageError, in the words of that language: it is not allowed."""
        said, phrases = said.strip(), words(language)
        if self.low is not None and self.high is not None:
            try:
                value = float(said)
            except ValueError:
                value = float("nan")
            if not self.low <= value <= self.high:
                raise UsageError(phrases["no_number"].format(name=self.name, said=shown(said), low=self.low, high=self.high))
            return value
        if not self.values:
            return said
        folded = {value.casefold(): value for value in self.values}
        if said.casefold() in folded:
            return folded[said.casefold()]
        begun = [value for key, value in folded.items() if key.startswith(said.casefold())]
        if len(begun) == 1:
            return begun[0]
        near = closest(said[:80], self.values)
        told = phrases["near"].format(near=near) if near else phrases["one_of"].format(values=", ".join(self.values))
        raise UsageError(phrases["no_value"].format(name=self.name, said=shown(said), told=told))


@dataclass
class Person:
    """What is known so far of whoever fills in the form. liked and disliked are item ids; shown: what stood in a list before; earlier: interests that
    others took the place of."""

    profile: dict[str, Any] = field(default_factory=dict)
    interests: str = ""
    liked: list[str] = field(default_factory=list)
    disliked: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    earlier: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "profile": self.profile,
            "interests": self.interests,
            "earlier": self.earlier,
            "liked": self.liked,
            "disliked": self.disliked,
        }


class Form:
    """Questions and lists over one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def questions(self) -> list[Question]:
        """One for each number and category of the users; what they like is asked in their own words."""
        users, found = self.engine.users, []
        for name, kind in users.fields.items():
            column = users.frame[name]
            if kind == FieldType.NUMBER:
                known = column.drop_nulls().drop_nans()
                if len(known):
                    found.append(Question(name, low=float(str(known.min())), high=float(str(known.max()))))
            elif kind == FieldType.CATEGORY:
                values = tuple(sorted(column.drop_nulls().unique().to_list()))
                found.append(Question(name, values if len(values) <= MOST_VALUES else ()))
        return found

    def tags(self, most: int = TAGS_SHOWN) -> list[str]:
        """Values of the items that tell people apart: those that most people would name of what they had, most often named first."""
        from m6rec.tasks.interest import standing_out, value_columns

        catalogue, histories = self.engine.scorer.catalogue, self.engine.histories.compact()
        columns = value_columns(catalogue.bag)
        if not len(columns) or not len(histories.items):
            return []
        seen = np.bincount(histories.items, minlength=len(catalogue)).astype(np.float64)
        spread = np.asarray((catalogue.matrix[:, columns].T @ seen) / seen.sum()).ravel()
        able = np.flatnonzero(histories.lengths >= NAMED)
        chosen = np.random.default_rng(0).permutation(able)[:PEOPLE_ASKED]
        named = [standing_out(catalogue.matrix, columns, spread, histories.row(int(user)), NAMED) for user in chosen]
        counts = np.bincount(np.concatenate(named), minlength=catalogue.bag.size) if named else np.zeros(catalogue.bag.size)
        order = [int(column) for column in np.argsort(-counts, kind="stable") if counts[column] > 0]
        said = [catalogue.bag.features[column][1] for column in order]
        return list(dict.fromkeys(value for value in said if not value.isdigit()))[:most]

    def hear(self, person: Person, told: str) -> None:
        """Further words: those that only rule out or limit ("not boots", "under 50") are added to what was asked for, others take its place; those of
        which no item has any (`strange`) are dropped where something was asked for before."""
        typed = self.engine.understood(told)
        wanted = self._wanted(told)
        strange = bool(wanted) and self.strange(told) == wanted
        if not person.interests or not typed.wanted.strip(" ,;.，；。、") or (strange and (typed.constraints or typed.unwanted)):
            person.interests = "; ".join(part for part in (person.interests, told) if part)
        elif not strange:
            person.earlier.append(person.interests)
            person.interests = told

    def strange(self, told: str) -> list[str]:
        """Words of what somebody wants that no item has."""
        return [word for word in self._wanted(told) if not self.engine.understands(word)]

    def _wanted(self, told: str) -> list[str]:
        """Words that say what somebody wants."""
        plain = {word for name in built_in() for word in built_in_phrases(name).plain}
        wanted = dict.fromkeys(said(self.engine.understood(told).wanted).words)
        return [word for word in wanted if word not in plain and not word.isdigit()]

    def answer(self, person: Person, k: int = 10) -> list[Scored]:
        """The next list: nothing liked, disliked or shown before stands in it."""
        gone = {*person.liked, *person.disliked, *person.shown}
        ask = Ask(
            history=tuple(person.liked) or None,
            text=person.interests or None,
            profile=person.profile or None,
            disliked=tuple(person.disliked),
            k=k + len(gone),
        )
        if ask.history is None and ask.text is None and ask.profile is None:
            ask = Ask(history=(), disliked=ask.disliked, k=ask.k)
        found = self.engine.answer(ask)
        ids = self.engine.items.ids.ids
        kept = np.array([place for place, item in enumerate(found.items.tolist()) if ids[item] not in gone][:k], dtype=np.int64)
        chosen = found.at(kept)
        return self.engine._scored(chosen.items, chosen.scores, {})

    def why_empty(self, person: Person, language: str = "en") -> str:
        """Why a list is empty; "" where nothing that was typed is to blame."""
        language = language if language in self.engine.languages else "en"
        return self.engine.why_empty(person.interests or None, person.profile or None, language=language)

    def save(self, person: Person, folder: Path, user: str) -> None:
        """The person as two tables that a training or `add_events` reads, and all that was said as person.json; whole or not at all.

        Of what was typed about interests, values that users have as tags stand in users.csv; what was disliked is in person.json alone.

        Raises:
            StorageError: no space or no permission.
        """
        action = self._action()
        with atomic_folder(folder) as temporary:
            told = {Columns.USER: [user], **{name: [_cell(value)] for name, value in (person.profile | self._tags(person)).items()}}
            pl.DataFrame(told).write_csv(temporary / "users.csv")
            write_json(temporary / "person.json", {Columns.USER: user, **person.plain()})
            events: dict[str, list[Any]] = {
                Columns.USER: [user] * len(person.liked),
                Columns.ITEM: person.liked,
                Columns.ORDER: list(range(len(person.liked))),
            }
            if action is not None:
                events[Columns.ACTION] = [action] * len(person.liked)
            pl.DataFrame(events).write_csv(temporary / "events.csv")

    def _tags(self, person: Person) -> dict[str, list[str]]:
        """What was typed about interests, part by part, under the users' field of tags that has such a value."""
        said = {part.strip().casefold() for part in re.split(r"[,;，；、]", person.interests)}
        found = {}
        for name, kind in self.engine.users.fields.items():
            if kind == FieldType.TAGS:
                known = self.engine.users.frame[name].explode().drop_nulls().unique().to_list()
                found[name] = sorted(value for value in known if value.casefold() in said)
        return {name: values for name, values in found.items() if values}

    def _action(self) -> str | None:
        """The action that a like stands for: the one called so where it counts, else the first that the choose task counts, else the most frequent."""
        names = self.engine.dataset.action_names
        positive = self.engine.scorer.task.config.positive
        called = next((name for name in positive or names if name.casefold() in LIKES), positive[0] if positive else None)
        if called is not None:
            return called
        actions = self.engine.dataset.histories.actions
        return names[int(np.bincount(actions).argmax())] if names and actions is not None and len(actions) else None


def marks(said: str, count: int, language: str = "en") -> tuple[list[int], list[int]] | None:
    """Places (from 0) that are liked and disliked by "1 4 -3", each once, full-width digits and signs too; None where it is something else.

    Raises:
        UsageError: in the words of that language: no such place, or one that is liked and disliked.
    """
    plain = unicodedata.normalize("NFKC", said).replace("\N{MINUS SIGN}", "-")
    try:
        numbers = list(dict.fromkeys(int(word) for word in plain.replace(",", " ").split()))
    except ValueError:
        return None
    for number in numbers:
        if not 1 <= abs(number) <= count:
            raise UsageError(words(language)["no_place"].format(number=number, count=count))
        if -number in numbers:
            raise UsageError(words(language)["both"].format(number=abs(number)))
    return [n - 1 for n in numbers if n > 0], [-n - 1 for n in numbers if n < 0]


@cache
def words(language: str) -> Mapping[str, str]:
    """What the form says. Raises UsageError: a language without a file."""
    folder = resources.files("m6rec.serving.onboarding") / "words"
    known = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    if language not in known:
        raise UsageError(f"the form has no words in '{language}'; there are: {', '.join(known)}")
    said: Mapping[str, str] = yaml.safe_load((folder / f"{language}.yaml").read_text(encoding="utf-8"))
    return said


def _cell(value: Any) -> Any:
    return "|".join(map(str, value)) if isinstance(value, list | tuple | set) else value
