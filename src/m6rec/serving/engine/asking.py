"""Who is asking: a known user, a history, typed words, a described person, as one request; ids of users, items and scenarios."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from m6rec.base.arguments import a_list, a_mapping, a_text, an_id, refused
from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import UnknownItemError, UnknownUserError, UsageError, nearest
from m6rec.data.dataset import FieldType, Table
from m6rec.data.schema import shown
from m6rec.serving.asked import HISTORY
from m6rec.serving.engine.described import Described
from m6rec.serving.engine.histories import HistoryStore
from m6rec.serving.engine.typed import TypedReader
from m6rec.tasks.interest_part import LISTED
from m6rec.tasks.model_folder import ChooseScorer
from m6rec.text.constraints import Typed, meets
from m6rec.text.template import Template, built_in, packaged

Unknown = Literal["raise", "popular"]
MINUTE = 60.0
NOTHING = Typed("", "", (), "")
MOST_SUGGESTED = 2_000  # ids that a misspelt one is compared with: more would keep the caller waiting


class Asking:
    """The people, items and newest histories of a model folder, and requests about them. unknown: as in `Engine`."""

    def __init__(self, scorer: ChooseScorer, unknown: Unknown = "raise") -> None:
        self.scorer = scorer
        self.unknown = unknown
        dataset = scorer.dataset
        self.histories = HistoryStore(dataset.histories, dataset.action_names, dataset.scenario_names)
        self.users = scorer.dataset.users
        self.forgotten: set[int] = set()  # dense users of whom nothing is held any more, until they come back
        self.gone: set[int] = set()  # dense items that are never answered
        self._open: np.ndarray | None = None
        self._titled: tuple[Table, list[str]] | None = None
        self._typed: TypedReader | None = None
        self._described: Described | None = None

    @property
    def items(self) -> Table:
        return self.scorer.catalogue.items

    @property
    def newest(self) -> float:
        """When is now, where a request does not say: the next full minute, in seconds, after the newest event or exposure; NaN where no time is known."""
        judging = self.scorer.judging
        moments = (self.histories.newest, None if judging is None else judging.inputs.newest)
        times = [moment for moment in moments if moment is not None]
        return MINUTE * (math.floor(max(times) / MINUTE) + 1) if times else float("nan")

    def _request(
        self,
        user: str | None,
        history: Sequence[str] | None,
        text: str | None,
        profile: Mapping[str, Any] | str | None,
        scenario: str | None,
    ) -> Requests:
        row = -1 if user is None else self._user(user)
        past = self.histories.row(row)
        if history is not None:
            history = a_list("history", history, HISTORY)
            named = [self._consumed(item) for item in history if not self._passed_over(item)]
            past = self.histories.joined(past, Histories.from_lists([named]))
        asking = self._scenario(scenario)
        check_words(text, profile)
        words = profile if isinstance(profile, str) else None if profile is None else self._profile_words(profile)
        typed = self.understood(text, profile)
        return Requests(
            histories=past,
            users=np.array([row], dtype=np.int64),
            texts=[typed.wanted] if typed.wanted else None,
            profiles=None if words is None else [words],
            scenarios=np.array([asking], dtype=np.int64),
            unwanted=[typed.unwanted] if typed.unwanted else None,
        )

    def understood(self, text: str | None, profile: Mapping[str, Any] | str | None = None) -> Typed:
        """What was typed, and what a profile says about tastes, taken apart: wanted, unwanted, what the fields decide.

        Raises:
            UsageError: a text that is too long, or none.
        """
        check_words(text, profile)
        tastes = self._interests(profile)
        said = ". ".join([text, *tastes]) if text else LISTED.join(tastes)  # a list alone is a taste, see `InterestPart.kind`
        if not said:
            return NOTHING
        if self._typed is None or self._typed.items is not self.items:
            self._typed = TypedReader(self.scorer, self.items)
        return self._typed.read(said)

    @property
    def languages(self) -> tuple[str, ...]:
        """Those that have words for what was typed: the packaged ones, and that of the training."""
        return tuple(dict.fromkeys((*packaged(), self.scorer.reader.wording.language)))

    def _template(self, language: str) -> Template:
        """The words of a language: those of the training where it is in that one. Raises UsageError: a language without a file."""
        own = self.scorer.reader.wording
        if language not in self.languages:
            raise refused("language", language, f"there are: {', '.join(self.languages)}")
        return own.template if language == own.language else built_in(language)

    def _meeting(self, text: str | None, profile: Mapping[str, Any] | str | None) -> np.ndarray | None:
        """bool (N,): the items that meet what was typed exactly; None where nothing was."""
        constraints = self.understood(text, profile).constraints if text or profile else ()
        return meets(self.items, constraints) if constraints else None

    def _stands(self, text: str) -> bool:
        """Whether any word of `text` stands in an item or names one of its categories or tags."""
        return bool(self.scorer.catalogue.search[0].text(text).nnz)

    @property
    def _people(self) -> Described:
        """What descriptions of people are held against: made anew where the users have changed."""
        if self._described is None or self._described.users is not self.users:
            self._described = Described(self.users, self._stands)
        return self._described

    def _profile_words(self, profile: Mapping[str, Any]) -> str:
        """A described person in the words of the users' template; what is no field of the users is said as it stands."""
        fields, profile = self.users.fields, self._people.without_unknown_tags(profile)
        told = {name: value for name, value in profile.items() if name in fields}
        for name, value in told.items():
            if fields[name] == FieldType.NUMBER and value is not None and not _is_number(value):
                raise UsageError(f"'{name}' of a profile is a number, got '{value}'")
            if fields[name] == FieldType.NUMBER and value is not None:
                self._in_range(name, float(value))
        rest = {name: value for name, value in profile.items() if name not in fields}
        wording = self.scorer.reader.wording
        said = [wording.profile(told, fields) if told else "", wording.profile(rest) if rest else ""]
        # Named once more as "field value", the form in which the bag of the profiles knows numbers and categories.
        several = {name: value if isinstance(value, list | tuple | set) else [value] for name, value in told.items() if value is not None}
        said += [f"{name} {one}" for name, values in several.items() for one in values]
        return "; ".join(part for part in said if part)

    def _in_range(self, name: str, value: float) -> None:
        """Raises UsageError: a number that lies further outside what the users have than they lie apart, or below zero where theirs are not."""
        known = self.users.frame[name].to_numpy().astype(np.float64)
        known = known[np.isfinite(known)]
        far = len(known) and not 2 * known.min() - known.max() <= value <= 2 * known.max() - known.min()
        if not math.isfinite(value) or far or (value < 0 and len(known) and known.min() >= 0):
            said = f"; the users' is from {known.min():g} to {known.max():g}" if len(known) else ""
            raise UsageError(f"'{name}' of a profile is {value:g}{said}")

    def _interests(self, profile: Mapping[str, Any] | str | None) -> list[str]:
        """What a profile says about tastes, one by one, as if the person had typed it: words, tags, what is no field of the users; not age or gender."""
        if profile is None or isinstance(profile, str):
            return [profile] if profile else []
        telling = (FieldType.TAGS, FieldType.TEXT)
        known = self._people.without_unknown_tags(profile)
        values = [value for name, value in known.items() if self.users.fields.get(name, FieldType.TAGS) in telling]
        several = [value if isinstance(value, list | tuple | set) else [value] for value in values if value is not None]
        return [str(one) for value in several for one in value]

    def _titles(self) -> list[str]:
        """Titles of the catalogue, made once for each state of it."""
        if self._titled is None or self._titled[0] is not self.items:
            self._titled = (self.items, self.items.titles())
        return self._titled[1]

    def _user(self, user: str) -> int:
        """The dense user, -1 for somebody unknown where that is allowed."""
        row = self.users.ids.dense(user)
        row = -1 if row in self.forgotten else row
        if row < 0:
            an_id("user", user)
        if row < 0 and self.unknown == "raise":
            raise UnknownUserError(
                f"user {shown(user)} is not known: no events and no row in the users table; "
                "give history, text or profile instead, or add events first"
            )
        return row

    def _scenario(self, scenario: str | None) -> int:
        """The code of a scenario, -1 for none and for one that training had no rows of (`add_scenario`)."""
        names = self.scorer.dataset.scenario_names
        if scenario is None or (scenario not in names and scenario in self.scorer.origin.later):
            return -1
        if scenario not in names:
            if isinstance(scenario, str):
                an_id("scenario", scenario)
            known = [*names, *self.scorer.origin.later]
            hint = nearest(scenario, known) or f"; scenarios: {', '.join(known) or 'none'}"
            raise UsageError(f"there is no scenario {shown(scenario)}{hint}")
        return names.index(scenario)

    def _set_gone(self, gone: set[int]) -> None:
        self.gone = gone
        self._open = None
        if gone:
            self._open = np.ones(max(gone) + 1, dtype=bool)
            self._open[sorted(gone)] = False

    def _without_gone(self, allowed: np.ndarray | None) -> np.ndarray | None:
        """bool (N,), or None for all: what may be answered out of `allowed`."""
        if self._open is None:
            return allowed
        result = np.ones(len(self.items), dtype=bool) if allowed is None else allowed.copy()
        result[: len(self._open)] &= self._open
        return result

    def _items(self, items: Sequence[str]) -> np.ndarray:
        """int64 (X,): the dense items; raises UnknownItemError."""
        rows = self.items.ids.many(items)
        if len(rows) and (rows.min() < 0 or (self.gone and not self.gone.isdisjoint(rows.tolist()))):
            return np.array([self._item(item) for item in items], dtype=np.int64)  # raises, naming the first
        return rows

    def _consumed(self, item: str) -> int:
        """An item of a history; one that was taken out of the catalogue was consumed all the same."""
        row = self.items.ids.dense(item)
        return row if row >= 0 else self._item(item)

    def _passed_over(self, item: str) -> bool:
        """Whether an item of a history is left out of it: unknown, where that is allowed."""
        if self.unknown == "raise" or item in self.items.ids:
            return False
        an_id("item", item)
        return True

    def _item(self, item: str) -> int:
        row = self.items.ids.dense(item)
        if row in self.gone:
            raise UnknownItemError(f"item {shown(item)} was taken out of the catalogue; restore_items brings it back")
        if row < 0:
            an_id("item", item)
            hint = nearest(str(item)[:100], self.items.ids.ids[:MOST_SUGGESTED])
            raise UnknownItemError(f"item {shown(item)} is not in the catalogue{hint}; add it with add_items")
        return row


def check_words(text: Any, profile: Any) -> None:
    """Raises UsageError: what was typed is no text, what is said of a person is neither fields nor words."""
    if text is not None:
        a_text("text", text, "give words")
    if profile is not None and not isinstance(profile, str):
        a_mapping("profile", profile, "give fields of a person, or words")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
