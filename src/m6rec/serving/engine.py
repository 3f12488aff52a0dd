"""The engine: who is asking, what they had, what may be answered, the best k. Keeps catalogue and histories up to date.

Dimension keys: N items, K answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from m6rec.base.contracts import Histories, Requests, Scored
from m6rec.base.errors import DataError, UnknownItemError, UnknownUserError, UsageError, nearest
from m6rec.data.columns import Columns
from m6rec.data.dataset import Dataset, Table, Vocabulary
from m6rec.data.store import fingerprint
from m6rec.data.tables import frame_to_table
from m6rec.index.exact import ExactIndex, top_k
from m6rec.serving.filters import allowed_items
from m6rec.serving.histories import HistoryStore
from m6rec.tasks.model_folder import ChooseScorer

Repeat = Literal["exclude", "allow"]
Unknown = Literal["raise", "popular"]


class Engine:
    """Answers over one model folder; not tied to HTTP.

    unknown: what a user id without events and without a row in the users table means: "raise" UnknownUserError, or "popular":
        answer as for somebody nothing is known of.
    """

    def __init__(self, scorer: ChooseScorer, unknown: Unknown = "raise") -> None:
        self.scorer = scorer
        self.unknown = unknown
        self.histories = HistoryStore(scorer.dataset.histories)
        self.users = scorer.dataset.users
        self._index: ExactIndex | None = None

    @property
    def items(self) -> Table:
        return self.scorer.catalogue.items

    @property
    def dataset(self) -> Dataset:
        """What is known now, added items and events included."""
        return self.scorer.dataset

    def recommend(
        self,
        user: str | None = None,
        history: Sequence[str] | None = None,
        text: str | None = None,
        profile: Mapping[str, Any] | str | None = None,
        *,
        k: int = 10,
        scenario: str | None = None,
        where: Mapping[str, Any] | None = None,
        repeat: Repeat | None = None,
    ) -> list[Scored]:
        """The best k items; see `Recommender.recommend`."""
        if k < 1:
            raise UsageError(f"k is {k}; ask for 1 or more items")
        if user is None and history is None and text is None and profile is None:
            raise UsageError("nobody to recommend to; give user, history, text or profile")
        requests = self._request(user, history, text, profile, scenario)
        allowed = np.ones(len(self.items), dtype=bool) if where is None else allowed_items(self.items, where)
        repeat = repeat or self.scorer.task.config.repeat
        if repeat == "exclude":
            allowed[requests.histories.items] = False
        parts = self.scorer.parts(requests)
        total = np.sum([part[0] for part in parts.values()], axis=0)
        scores = np.where(allowed, np.log(np.maximum(total, 1e-30)), -np.inf).astype(np.float32)
        best, values = top_k(scores[None], k)
        titles, ids = self._titles(), self.items.ids.ids
        return [
            Scored(ids[item], float(value), titles[item], {name: float(part[0, item] / total[item]) for name, part in parts.items()})
            for item, value in zip(best[0], values[0], strict=True)
            if item >= 0
        ]

    def similar_items(self, item: str, k: int = 10) -> list[Scored]:
        """The k items whose vectors are nearest to that of `item` by cosine."""
        row = self._item(item)
        if k < 1:
            raise UsageError(f"k is {k}; ask for 1 or more items")
        if self._index is None:
            vectors = self.scorer.vectors.numpy()
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            self._index = ExactIndex(vectors / np.where(norms > 0, norms, 1.0))
        allowed = np.ones(len(self.items), dtype=bool)
        allowed[row] = False
        best, values = self._index.search(self._index.vectors[row : row + 1], k, allowed)
        titles, ids = self._titles(), self.items.ids.ids
        return [Scored(ids[i], float(v), titles[i]) for i, v in zip(best[0], values[0], strict=True) if i >= 0]

    def add_items(self, frame: pl.DataFrame) -> int:
        """Make new items recommendable at once; returns how many were added.

        Raises:
            DataError: no item_id, a wrong cell, or an id that the catalogue has already; nothing is added then.
        """
        scorer = self.scorer
        new = frame_to_table(frame, dict(self.items.fields), Columns.ITEM, source="new items", partial=True)
        scorer.catalogue = scorer.catalogue.appended(new, scorer.reader, scorer.task.config.prior)
        self._changed(items=scorer.catalogue.items)
        scorer.refresh()
        self._index = None
        return len(new)

    def add_events(self, frame: pl.DataFrame) -> int:
        """Append events (user_id, item_id, and optionally time, action, scenario, value) in the order of the frame; returns how many.

        A user not seen before becomes known. With times, an event takes its place by time among those of the user.

        Raises:
            DataError: a missing column or cell.  UnknownItemError: an item that is not in the catalogue. Nothing is added then.
        """
        for name in (Columns.USER, Columns.ITEM):
            if name not in frame.columns:
                raise DataError(f"new events have no column '{name}'; columns: {', '.join(frame.columns)}")
            if frame[name].null_count():
                raise DataError(f"new events have {frame[name].null_count()} rows without {name}; every event needs one")
        users = frame[Columns.USER].cast(pl.String).to_list()
        items = np.array([self._item(item) for item in frame[Columns.ITEM].cast(pl.String).to_list()], dtype=np.int32)
        fresh = list(dict.fromkeys(user for user in users if user not in self.users.ids))
        known = self._with_users(fresh)
        columns = self.histories.columns(frame, self.dataset.action_names, self.dataset.scenario_names)
        self.histories.append(np.array([known.ids.dense(user) for user in users], dtype=np.int64), len(known), items, columns)
        self.users = known
        self._changed(users=known)
        return frame.height

    def save(self, folder: Path) -> None:
        """The model folder with everything added since it was loaded."""
        self._changed(histories=self.histories.compact())
        self.scorer.save(folder)

    def _changed(self, **parts: Any) -> None:
        plain = replace(self.dataset, **parts)
        # The fingerprint is made when the dataset is saved: hashing a catalogue for every event added would be wasted.
        self.scorer.dataset = replace(plain, fingerprint=fingerprint(plain)) if "histories" in parts else plain

    def _request(
        self,
        user: str | None,
        history: Sequence[str] | None,
        text: str | None,
        profile: Mapping[str, Any] | str | None,
        scenario: str | None,
    ) -> Requests:
        row = -1
        past = Histories(offsets=np.zeros(2, dtype=np.int64), items=np.zeros(0, dtype=np.int32))
        if user is not None:
            row = self.users.ids.dense(user)
            if row < 0 and self.unknown == "raise":
                raise UnknownUserError(
                    f"user '{user}' is not known: no events and no row in the users table; give history, text or profile instead, or add events first"
                )
            if row >= 0:
                past = self.histories.row(row)
        if history is not None:
            named = Histories.from_lists([[self._item(item) for item in history]])
            past = named if not len(past.items) else self.histories.joined(past, named)
        asking = -1
        if scenario is not None:
            names = self.dataset.scenario_names
            if scenario not in names:
                raise UsageError(
                    f"there is no scenario '{scenario}'{nearest(scenario, names) or '; scenarios: ' + (', '.join(names) or 'none')}"
                )
            asking = names.index(scenario)
        words = profile if isinstance(profile, str) else None if profile is None else self._profile_words(profile)
        return Requests(
            histories=past,
            users=np.array([row], dtype=np.int64),
            texts=None if text is None else [text],
            profiles=None if words is None else [words],
            scenarios=np.array([asking], dtype=np.int64),
        )

    def _profile_words(self, profile: Mapping[str, Any]) -> str:
        """A described person in the words of the users' template; what is no field of the users is said as it stands."""
        fields = self.users.fields
        told = {name: value for name, value in profile.items() if name in fields}
        rest = {name: value for name, value in profile.items() if name not in fields}
        wording = self.scorer.reader.wording
        said = [wording.profile(told, fields) if told else "", wording.profile(rest) if rest else ""]
        # Named once more as "field value", the form in which the bag of the profiles knows numbers and categories.
        said += [f"{name} {one}" for name, value in told.items() for one in (value if isinstance(value, list | tuple) else [value])]
        return "; ".join(part for part in said if part)

    def _item(self, item: str) -> int:
        row = self.items.ids.dense(item)
        if row < 0:
            raise UnknownItemError(
                f"item '{item}' is not in the catalogue{nearest(str(item), self.items.ids.ids[:100_000])}; add it with add_items"
            )
        return row

    def _with_users(self, fresh: list[str]) -> Table:
        if not fresh:
            return self.users
        ids = Vocabulary([*self.users.ids.ids, *fresh])
        empty = self.users.frame.clear().select([]) if not self.users.frame.width else self.users.frame.clear(len(fresh))
        if Columns.USER in empty.columns:
            empty = empty.with_columns(pl.Series(Columns.USER, fresh, dtype=pl.String))
        return Table(ids, pl.concat([self.users.frame, empty]) if empty.width else self.users.frame, self.users.fields)

    def _titles(self) -> list[str]:
        if getattr(self, "_titled", None) is not self.items:
            self._titled, self._title_list = self.items, self.items.titles()
        return self._title_list
