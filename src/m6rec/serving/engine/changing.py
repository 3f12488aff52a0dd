"""What changes a running engine: items and events that come, items and people that go. One writer at a time; readers wait for the last step alone.

Dimension keys: N items, U users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import polars as pl
import torch

from m6rec.base.arguments import a_text, an_id
from m6rec.base.errors import UnknownItemError, UsageError
from m6rec.data.columns import Columns
from m6rec.data.dataset import Dataset, Table, Vocabulary
from m6rec.data.schema import shown
from m6rec.data.splits import refusals, without_refusals
from m6rec.data.store import fingerprint
from m6rec.data.tables import empty_column
from m6rec.serving.engine.additions import read_new_events, read_new_items
from m6rec.serving.engine.answering import Answering
from m6rec.serving.engine.asking import Unknown
from m6rec.serving.engine.config import EngineConfig
from m6rec.serving.engine.outcomes import outcome_log, read_exposures
from m6rec.serving.engine.turns import writing
from m6rec.tasks.choose_mixture import Profiles
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.model_folder import ChooseScorer


class Changing(Answering):
    """Keeps catalogue, people and histories up to date."""

    def __init__(self, scorer: ChooseScorer, unknown: Unknown = "raise", config: EngineConfig | None = None) -> None:
        super().__init__(scorer, unknown, config)
        self._preparing = RLock()  # one writer prepares at a time, while readers go on
        self._counted = without_refusals(
            self.histories.base, refusals(self.dataset.action_names)
        )  # the events that the transition counts are of

    @property
    def dataset(self) -> Dataset:
        """What is known now, added items and events included."""
        return self.scorer.dataset

    def add_items(self, frame: pl.DataFrame) -> int:
        """Make new items recommendable at once; returns how many were added.

        Raises:
            DataError: no item_id, a wrong cell, or an id that the catalogue has already; nothing is added then.
        """
        scorer = self.scorer
        with self._preparing:
            new = read_new_items(frame, self.items.fields, scorer.origin.training)
            grown = scorer.with_items(new)
            with self.turns.writing():
                scorer.take(grown)
                self._changed(items=scorer.catalogue.items)
        return len(new)

    @writing
    def add_scenario(self, name: str) -> None:
        """A scenario that training had no rows of may be asked about from now on: tasks answer there from what the scenarios share.

        Raises:
            UsageError: no name, or training knew the scenario.
        """
        if name is None or not a_text("name", name, "give the name of a scenario, for example add_scenario('live')").strip():
            raise UsageError("a scenario needs a name, for example add_scenario('live')")
        an_id("name", name := name.strip())  # as names in files are read
        if name in self.dataset.scenario_names:
            raise UsageError(f"scenario {shown(name)} is known from the training; ask about it as it is")
        if name not in self.scorer.origin.later:
            self.scorer.origin = self.scorer.origin.with_later(name)

    def add_events(self, frame: pl.DataFrame) -> int:
        """Append events (user_id, item_id, and optionally time, order, action, scenario, value) and return how many.

        Columns may have their canonical names or those of the training's files. Without times, events follow each other as in the
        frame (or by order); with them, an event takes its place by time among those of the user. A user not seen before becomes known.

        Raises:
            DataError: a missing column or cell, an action or scenario that training did not know, a time in the future.
            UnknownItemError: an item that is not in the catalogue. Nothing is added then.
        """
        with self._preparing:
            return self._add_events(frame)

    @writing
    def _add_events(self, frame: pl.DataFrame) -> int:
        # What a new scenario means to choosing is not known: its events are read as those of no scenario said.
        events = read_new_events(frame, self.scorer.origin.training).without_scenarios(self.scorer.origin.later)
        items = self._items(events.items).astype(np.int32)
        columns = self.histories.columns(events, self.scorer.origin.later)
        known = self._with_users([user for user in dict.fromkeys(events.users) if user not in self.users.ids])
        users = known.ids.many(events.users)
        before = {int(user): self.histories.row(int(user)) for user in np.unique(users)}
        self.histories.append(users, len(known), items, columns)
        for user, row in before.items():
            self.returns.changed(row, self.histories.row(user))
        self.forgotten.difference_update(before)
        if self.scorer.profiles is not None:
            self.scorer.profiles = _widened(self.scorer.profiles, len(known))
        if known is not self.users:
            self.users = known
            self._changed(users=known)
        return frame.height

    def add_exposures(self, frame: pl.DataFrame) -> int:
        """Count what was shown and what came of it (user_id, item_id, time, scenario, and the labels of the tasks), from the next answer on.

        They are no events: a history has what people did. Of users and items that came after the training, only what they share with others counts.

        Raises:
            DataError: a wrong cell, no time, a time in the future, an unknown scenario, no label, a user nobody has seen.
            UnknownItemError: an item that is not in the catalogue.
            UsageError: the model counts nothing, or judges nothing. Nothing is counted then.
        """
        judging = self.scorer.judging
        if judging is None or judging.inputs.statistics is None:
            raise UsageError(
                "this model counts no exposures; give it data.exposures with times and a task that judges them, and train again"
            )
        with self._preparing:
            exposures = read_exposures(frame, self.scorer.origin.training)
            users = np.array([self._user(user) for user in exposures.users], dtype=np.int64)
            items, statistics = self._items(exposures.items), judging.inputs.statistics
            later = self.scorer.origin.later
            log = outcome_log(exposures, frame, users, items, judging.judge, statistics, self.dataset.scenario_names, later)
            with self.turns.writing():
                statistics.append(log)
        return frame.height

    def forget(self, user: str) -> None:
        """Nothing is held of a person any more: history, profile, rows of the statistics, what was read and kept, returns, transition counts.

        Counts of transitions are made anew without the person, out of the events that they were made of, so they are exactly those of a training
        without them. The weights, which learned from them too, are not; neither are `last_states` of others. Until then everything else answers as before;
        the person is unknown at once.

        Raises:
            UnknownUserError: an id nobody has seen.
        """
        row = self.users.ids.dense(user)
        if row < 0 or row in self.forgotten:
            self._user(user)
        with self._preparing:
            with self.turns.writing():
                nothing = self.histories.row(-1)
                self.returns.changed(self.histories.row(row), nothing)
                self.histories.forget(row)
                self.forgotten.add(row)
                self._emptied(row)
                self.scorer.forget_kept()
                self.retrieval.forget()
            self._recount(row)

    def _emptied(self, row: int) -> None:
        """The row of the users table, the profile and the packed state say nothing."""
        frame = self.users.frame
        if row < frame.height and self.users.fields:
            empty = pl.DataFrame([frame[row][Columns.USER], *[empty_column(name, kind, 1) for name, kind in self.users.fields.items()]])
            frame = pl.concat([frame[:row], empty.select(frame.columns), frame[row + 1 :]])
            self.users = Table(self.users.ids, frame, self.users.fields)
            self._changed(users=self.users)
        profiles, packed = self.scorer.profiles, self.scorer.packed
        if profiles is not None:
            keep = torch.arange(len(profiles.contents)) != row
            contents = profiles.contents
            kept = contents.thinned(torch.repeat_interleave(keep, contents.offsets[1:] - contents.offsets[:-1]))
            told = replace(kept, summaries=contents.summaries * keep[:, None], vectors=contents.vectors * keep[:, None])
            self.scorer.profiles = Profiles(told, profiles.bag)
        if packed is not None and row in packed.users:
            rest = np.flatnonzero(packed.users != row)
            self.scorer.packed = type(packed)(packed.users[rest], packed.digests[rest], packed.states[torch.from_numpy(rest)])

    def _recount(self, row: int) -> None:
        """Statistics and transition counts without a person; readers go on with the old ones until the new ones are there."""
        scorer = self.scorer
        statistics = None if scorer.judging is None else scorer.judging.inputs.statistics
        less = None if statistics is None else statistics.without(row)
        held = self._counted
        catalogue = None
        if row < len(held) and held.lengths[row]:
            keep = np.arange(len(held)) == row
            self._counted = held.window(drop_last=np.where(keep, held.lengths, 0))
            catalogue = scorer.catalogue.with_priors(self._counted, scorer.task.config.prior)
        with self.turns.writing():
            if less is not None and scorer.judging is not None:
                scorer.judging.inputs.statistics = less
                scorer.judging.judge.version += 1
            if catalogue is not None:
                scorer.catalogue = catalogue
            self.retrieval.forget()

    @writing
    def drop_items(self, items: Sequence[str]) -> int:
        """Never answer these items again, by any way; returns how many were there. They stay in the histories that have them, as what was consumed.

        Raises:
            UnknownItemError: an item that is not in the catalogue; nothing is dropped then.
        """
        rows = self._items(list(items))
        self._set_gone(self.gone | set(rows.tolist()))
        return len(set(rows.tolist()))

    @writing
    def restore_items(self, items: Sequence[str]) -> int:
        """Answer dropped items again; returns how many came back. Raises UnknownItemError: an item that was never in the catalogue."""
        rows = self.items.ids.many(list(items))
        if len(rows) and rows.min() < 0:
            raise UnknownItemError(f"item {shown(items[int(rows.argmin())])} is not in the catalogue; add it with add_items")
        back = self.gone & set(rows.tolist())
        self._set_gone(self.gone - back)
        return len(back)

    @writing
    def save(self, folder: Path) -> None:
        """The model folder with everything added since it was loaded."""
        self._changed(histories=self.histories.compact())
        self.scorer.save(folder, beside=self.retrieval.save)

    def _changed(self, **parts: Any) -> None:
        plain = replace(self.dataset, **parts)
        # The fingerprint is made when the dataset is saved: hashing a catalogue for every event added would be wasted.
        self.scorer.dataset = replace(plain, fingerprint=fingerprint(plain)) if "histories" in parts else plain

    def _with_users(self, fresh: list[str]) -> Table:
        if not fresh:
            return self.users
        nothing = [empty_column(name, kind, len(fresh)) for name, kind in self.users.fields.items()]
        rows = pl.DataFrame([pl.Series(Columns.USER, fresh, dtype=pl.String), *nothing])
        frame = pl.concat([self.users.frame, rows.select(self.users.frame.columns)])
        return Table(Vocabulary([*self.users.ids.ids, *fresh]), frame, self.users.fields)


def _widened(profiles: Profiles, users: int) -> Profiles:
    """With empty rows for the users that came after."""
    old = profiles.contents
    extra = users - len(old)
    contents = Contents(
        torch.cat([old.summaries, old.summaries.new_zeros(extra, old.summaries.shape[1])]),
        old.features,
        torch.cat([old.offsets, old.offsets[-1:].expand(extra)]),
        torch.cat([old.vectors, old.vectors.new_zeros(extra, old.vectors.shape[1])]),
    )
    return Profiles(contents, profiles.bag)
