"""Recommender: the library's front door, over serving/engine and training/pipeline."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

import polars as pl

from m6rec.base.arguments import a_flag, a_path, a_text, list_of_texts, refused
from m6rec.base.contracts import Scored
from m6rec.base.errors import CheckpointError, DataError, UsageError
from m6rec.config import M6RecConfig, load_config
from m6rec.recommender_words import AnswersInWords
from m6rec.serving.engine.engine import Engine
from m6rec.serving.engine.load_scorer import load_scorer
from m6rec.tasks.option_folder import drop_option, load_option
from m6rec.training.run_folder import default_folder

Frame = pl.DataFrame | Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]


class Recommender(AnswersInWords):
    """A trained model with its catalogue and histories.

    Made by `fit` (trains) or `from_pretrained` (loads). `engine` does the work.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def fit(
        cls, config: Path | str | M6RecConfig, run: Path | str | None = None, *, settings: Sequence[str] = (), progress: bool = True
    ) -> Self:
        """Train, with the same stages as `m6rec train`, and load the result.

        Args:
            config: a YAML file, or a configuration object (paths in it are then relative to the working directory).
            run: the run folder; None is that of `m6rec train`: runs/<name of the file>, or of its folder where the file is called config;
                runs/model for a configuration object.
            settings: assignments like "train.epochs=5", applied to the file.
            progress: show progress on stderr.

        Raises:
            ConfigError, DataError, StorageError: in one line each.
            UsageError: settings with a configuration object.
        """
        if isinstance(config, M6RecConfig):
            if settings:
                raise UsageError("settings change a file as it is read; build the configuration object with them instead")
            settled, source, folder = config, Path(), Path("runs") / "model"
        else:
            path, settings = a_path("config", config), list_of_texts("settings", settings, "give a list like ['train.epochs=5']")
            settled, source, folder = load_config(path, list(settings)), path.parent, default_folder(path)
        folder, progress = folder if run is None else a_path("run", run), a_flag("progress", progress)
        from m6rec.training.pipeline import train  # loading a model must not wait for what only training needs

        train(settled, source, folder, progress=progress)
        return cls.from_pretrained(folder)

    @classmethod
    def from_pretrained(cls, folder: Path | str, *, unknown: Literal["raise", "popular"] = "raise") -> Self:
        """Load a run folder or a model folder.

        Args:
            unknown: what an id nobody has seen means: "raise" UnknownUserError (UnknownItemError for an item of a history), or
                "popular": such a user is answered like somebody nothing is known of, such an item is left out of the history.

        Raises:
            CheckpointError: missing, truncated, from a newer version, or parts that do not belong together.
        """
        folder = a_path("folder", folder)
        if unknown not in ("raise", "popular"):
            raise refused("unknown", unknown, "it is raise or popular")
        if (folder / "stages").is_dir() and not (folder / "model").is_dir():
            raise CheckpointError(f"the training in {folder} is not finished; run the same `m6rec train` command to go on")
        return cls(Engine(load_scorer(folder / "model" if (folder / "model").is_dir() else folder), unknown))

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
        repeat: Literal["exclude", "allow", "model"] | None = None,
        of: str | None = None,
        task: str | None = None,
        include: Sequence[str] = (),
        context: Mapping[str, Any] | None = None,
        time: float | str | datetime | None = None,
    ) -> list[Scored]:
        """The best k items for somebody, best first; fewer where fewer are allowed.

        Args:
            user: an id of the data: their history and profile are used.
            history: item ids, oldest first; after the user's own where both are given.
            text: what somebody typed.
            profile: fields of a person ({"age": 25, "interests": [...]}) or words about them. A field that users do not have, and a value that
                none of them has, is a warning; so is a word of `text` that is asked for and ruled out as well.
            scenario: where the list will be shown; only what it offers (`scenarios.offers`) is recommended then.
            where: {field: value or list of values}; numbers also "<50", ">=10", "10-50".
            repeat: whether items of the history may come again; "model": at their score times how often people come back to them; None is as trained.
            task: the choose task that is asked, by name; None is the one that reads histories. Of a task that completes baskets, `history`
                is what the basket holds (with `user`, their events come before it: leave the user out for the basket alone).
            of: a category, tags or id field: its values (artists, brands, ...) are recommended instead of items, each with the probability
                of its items together; with repeat "exclude" only values that no item of the history has.
            include: fields of the items and tasks on candidates or items whose answers stand in `Scored.labels`, e.g. ["category", "click"]; a task on
                items also answers for the field of its name where an item lacks it.
            context, time: of the request, for the tasks in `include`; see `rank`.

        Returns:
            `Scored` items: score (log probability plus the gain for what counts or typed words name too), title, shares of the parts.

        Raises:
            UsageError: nobody to recommend to, k < 1, an unknown field or scenario.
            UnknownUserError, UnknownItemError: an id nobody has seen.
        """
        for note in (*self.engine.profile_notes(profile), *self.engine.typed_notes(text, profile)):
            warnings.warn(note, stacklevel=2)
        return self.engine.recommend(
            user,
            history,
            text,
            profile,
            k=k,
            scenario=scenario,
            where=where,
            repeat=repeat,
            of=of,
            task=task,
            include=include,
            context=context,
            time=time,
        )

    def rank(
        self,
        user: str | None = None,
        items: Sequence[str] = (),
        task: str | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        history: Sequence[str] | None = None,
        text: str | None = None,
        profile: Mapping[str, Any] | str | None = None,
        scenario: str | None = None,
        time: float | str | datetime | None = None,
        include: Sequence[str] = (),
    ) -> list[Scored]:
        """Put given items in order for somebody, best first.

        Args:
            items: ids of the catalogue.
            task: a task that judges candidates (its answer orders them), or one that chooses; None: the one that reads histories.
            context: declared fields of the request, e.g. {"device": "phone"}.
            history, text, profile: as in `recommend`, in place of a user or beside.
            scenario: where the task is asked; needed where it is asked in several.
            time: the moment of asking, seconds since 1970 or an ISO date; None: the newest moment in the data, so that the same model gives
                the same answer tomorrow. Statistics are counted up to it.
            include: as in `recommend`.

        Returns:
            `Scored` items: score is the calibrated probability, number or level of the task; log probability for a choose task.

        Raises:
            UsageError: nobody, no items, an unknown task, scenario or field; a task whose labels are no order.
            UnknownUserError, UnknownItemError: an id nobody has seen.
        """
        return self.engine.rank(
            user, items, task, context, history=history, text=text, profile=profile, scenario=scenario, time=time, include=include
        )

    def predict(self, rows: Frame, tasks: Sequence[str] | None = None) -> pl.DataFrame:
        """Judge the rows of a table: what would come of showing this item to this user, or what a text or an item is.

        Args:
            rows: user_id, item_id for tasks on candidates; where known time, scenario and the declared context, and a row is judged by what
                was known before its time. A column text for tasks on texts; item_id for tasks on items.
            tasks: their names; None: all on texts where there is a column text, else all on candidates, or on items where no user is named.

        Returns:
            The rows with a column a task: probability, number or level; the most likely class, and "TASK probability"; tags as a list; spans
            as JSON. Null where a task is not asked in the row's scenario, and for an empty text.

        Raises:
            DataError: a missing column or cell, an unknown scenario.  UsageError: an unknown task, a model that judges nothing.
            UnknownUserError, UnknownItemError: an id nobody has seen.
        """
        return self.engine.predict(frame_of(rows), tasks)

    def unseen_context(self, rows: Frame) -> list[str]:
        """A sentence for each declared context field with a value that nothing was learned of, with the values known: it is read as if not said."""
        return self.engine.unseen_context(frame_of(rows))

    def load_option(self, folder: Path | str) -> str:
        """Load a task that `m6rec add-task` trained on this model's backbone; returns its name. Other answers keep their bits.

        Raises:
            CheckpointError: missing, damaged, or trained for another backbone.
            UsageError: a task of that name is there already, or the model judges no candidates.
        """
        return load_option(a_path("folder", folder), self.engine.scorer)

    def drop_option(self, task: str) -> None:
        """Take a task on candidates out of the running model. Raises UsageError: no such task, or another one comes after it."""
        drop_option(self.engine.scorer, a_text("task", task, "give the name of a task"))

    def recommend_many(
        self,
        users: Sequence[str] | None = None,
        *,
        k: int = 10,
        scenario: str | None = None,
        where: Mapping[str, Any] | None = None,
        repeat: Literal["exclude", "allow"] | None = None,
        threads: int | None = None,
    ) -> pl.DataFrame:
        """What `recommend(user=...)` answers, for many users at once and many times faster a user.

        Args:
            users: ids of the data; None is everybody known.
            k, scenario, where, repeat: as in `recommend`.
            threads: blocks of users answered side by side; None is M6REC_THREADS, else as many threads as torch uses.

        Returns:
            user_id, rank (int32, from 1), item_id, score (float32): up to k rows a user, in the order of the users.

        Raises:
            UsageError: k < 1, an unknown field or scenario.  UnknownUserError: an id nobody has seen.
        """
        return self.engine.recommend_many(users, k=k, scenario=scenario, where=where, repeat=repeat, threads=threads)

    def similar_items(self, item: str, k: int = 10) -> list[Scored]:
        """The k items most like `item` (cosine of item vectors). Raises UnknownItemError."""
        return self.engine.similar_items(item, k)

    def add_items(self, items: Frame) -> int:
        """New items (item_id and any of the declared fields), recommendable at once; returns how many, 0 for an empty list.

        Raises:
            DataError: no item_id, a wrong cell, or an id that the catalogue has already; nothing is added then.
        """
        frame = frame_of(items)
        return self.engine.add_items(frame) if frame.width else 0

    def add_events(self, events: Frame) -> int:
        """New events (user_id, item_id, and time, order, action, scenario or value where known), used by the next answer; returns how many.

        A user nobody has seen becomes known. An event with a time takes its place among those of the user.

        Raises:
            DataError: a wrong cell, or an unknown item, action or scenario; nothing is added then.
        """
        frame = frame_of(events)
        return self.engine.add_events(frame) if frame.width else 0

    def add_exposures(self, exposures: Frame) -> int:
        """What was shown and what came of it (user_id, item_id, time, scenario, and labels of the tasks): counted in the rates that judging reads,
        from the next answer on; returns how many.

        Raises:
            DataError: a wrong cell, no time; nothing is counted then.  UnknownUserError, UnknownItemError: an id nobody has seen.
            UsageError: a model that counts nothing.
        """
        return self.engine.add_exposures(frame_of(exposures))

    def save_pretrained(self, folder: Path | str) -> None:
        """Write a model folder with everything added so far, whole or not at all.

        Raises:
            StorageError: no space or no permission; what was there is untouched.
            UsageError: `folder` holds something that is no part of a model folder, and would be lost.
        """
        self.engine.save(a_path("folder", folder))


def frame_of(rows: Frame) -> pl.DataFrame:
    """A table of what a caller gave: a polars frame, a dict of columns, or dicts. Raises DataError."""
    if isinstance(rows, pl.DataFrame):
        return rows
    if rows is None:
        raise DataError("there are no rows, but None; give a polars frame, a dict of columns, or dicts")
    try:
        return pl.DataFrame(rows, infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"these rows make no table ({reason}); give a polars frame, a dict of columns of one length, or dicts") from None
