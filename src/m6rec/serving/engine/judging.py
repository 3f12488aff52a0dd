"""Judging at the time of asking: candidates of one request, and whole tables of rows, by the code that read the training's exposures.

Dimension keys: X rows, N items, L labels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import torch

from m6rec.base.arguments import a_mapping, a_text, real_number, refused
from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import DataError, UsageError, nearest
from m6rec.data.columns import Columns
from m6rec.data.config import DataConfig
from m6rec.data.dataset import FieldType
from m6rec.data.exposure_rows import cuts_before, placed_times
from m6rec.data.schema import ids, more, shown, words
from m6rec.data.tables import empty_column, field_column
from m6rec.data.times import to_seconds
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.judge_cells import NEW, SHARED
from m6rec.tasks.judge_labels import LabelSize
from m6rec.tasks.judge_part import JudgePart
from m6rec.tasks.judge_request import Asked
from m6rec.tasks.judge_rows import JudgeRows
from m6rec.tasks.served_model import ServedModel
from m6rec.text.words import normalise

ROWS = "rows to predict"  # what messages call a frame
TIME = "give seconds since 1970 or an ISO date like 2024-05-01T00:00:00"
MOST_VALUES = 5  # named in a message


def judge_part(scorer: ServedModel) -> JudgePart:
    """Raises UsageError: the model judges no candidates."""
    if scorer.judging is None:
        others = "; its tasks on texts and items answer Recommender.classify" if scorer.texts is not None else ""
        raise UsageError(
            f"this model has no task that judges candidates{others}; to have one declare it ({{answer: judge, label: COLUMN}}) and train again"
        )
    return scorer.judging


def task_named(part: JudgePart, task: str, others: Collection[str] = ()) -> str:
    """others: tasks on texts and items. Raises UsageError: no such task on candidates."""
    known = [*part.judge.configs, *others]
    if task not in part.judge.configs:
        hint = nearest(task, known) or f"; tasks: {', '.join(known)}"
        raise UsageError(f"there is no task {shown(task)}{'' if others else ' on candidates'}{hint}")
    return task


def tasks_included(scorer: ServedModel, include: Sequence[str], fields: Collection[str], on_items: Collection[str]) -> list[str]:
    """The tasks on candidates among what is to be said of each answer. Raises UsageError: a name of nothing that can be said."""
    judging = [] if scorer.judging is None else list(scorer.judging.judge.configs)
    able = list(dict.fromkeys([*judging, *on_items]))
    for name in include:
        if name not in fields and name not in able:
            hint = nearest(name, [*able, *fields])
            raise UsageError(
                f"include names {shown(name)}: there is no field of the items and no task on candidates or items of that name{hint}; "
                f"fields: {', '.join(fields) or 'none'}; tasks: {', '.join(able) or 'none'}"
            )
    return [name for name in include if name not in fields and name not in on_items]


def judge_request(
    scorer: ServedModel,
    requests: Requests,
    items: np.ndarray,
    tasks: list[str],
    scenario: str | None,
    context: Mapping[str, Any] | None,
    now: float,
    layers: int | None = None,
) -> dict[str, np.ndarray]:
    """Answers about `items` int64 (X,) for one request: task -> float32 (X,) or (X, L).

    layers: upper layers that candidates pass; None: as trained, 0: none, for want of time.

    Raises:
        UsageError: a task is not asked in the scenario, or the scenario must be said; an unknown field of the context.
    """
    part = judge_part(scorer)
    fast = scorer.request_judge
    found: dict[str, np.ndarray] = {}
    later = scorer.origin.later
    for asked in dict.fromkeys(scenario_of(part, task, scenario, later) for task in tasks):
        code = -1 if asked is None or asked == SHARED else part.judge.sizes.scenarios.index(asked)
        here = [task for task in tasks if scenario_of(part, task, scenario, later) == asked]
        if not len(items):  # filters may leave none
            context_contents(scorer, part, context)
            labels = part.judge.sizes.labels
            found |= {
                task: np.zeros((0, len(labels[task].names)) if labels[task].kind in ("classes", "tags") else 0, np.float32) for task in here
            }
        elif fast.able:
            user = -1 if requests.users is None else int(requests.users[0])
            said = fast.context(repr(context or None), lambda: context_contents(scorer, part, context))
            request = Asked(user, code, now, said, scorer.vectors.numpy())
            found |= fast.answers(request, scorer.read_for_judging(requests, early=layers == 0), items, here, layers)
        else:
            place = NEW if asked == SHARED else code
            rows = _candidate_rows(part, requests, items, place, now, context_contents(scorer, part, context))
            profiles = scorer.profile_contents(requests)
            found |= part.answers(scorer.model, rows, requests.histories, scorer.catalogue.contents, profiles, here, scorer.vectors)
    return {task: found[task] for task in tasks}


def context_contents(scorer: ServedModel, part: JudgePart, context: Mapping[str, Any] | None) -> Contents | None:
    """One row. Raises UsageError, DataError."""
    frame = _context_frame(part, {name: [value] for name, value in (context or {}).items()}, "context")
    return part.inputs.context(frame, scorer.task.shape.read_width)


def _candidate_rows(part: JudgePart, requests: Requests, items: np.ndarray, code: int, now: float, context: Contents | None) -> JudgeRows:
    """The candidates of one request as rows, as exposures are; code: of the scenario, -1 none."""
    size = len(items)
    users = np.full(size, -1 if requests.users is None else requests.users[0], dtype=np.int64)
    scenarios = np.full(size, code, dtype=np.int64) if part.judge.sizes.scenarios else None
    times = np.full(size, now)
    places, cuts = np.zeros(size, dtype=np.int64), np.full(size, requests.histories.offsets[1], dtype=np.int64)
    return JudgeRows(
        users=places,
        items=items.astype(np.int64),
        cuts=cuts,
        scenarios=scenarios,
        times=times,
        statistics=part.inputs.counts(users, items, scenarios, times, requests.histories, places, cuts),
        context=None if context is None else context.rows(torch.zeros(size, dtype=torch.int64)),
    )


def scenario_of(part: JudgePart, task: str, scenario: str | None, later: Sequence[str]) -> str | None:
    """The scenario a task is asked in, SHARED for one of `later`; None where there are none."""
    served = part.judge.scenarios_of(task)
    if not part.judge.sizes.scenarios:
        return None
    if scenario in later and scenario not in part.judge.sizes.scenarios:
        return SHARED
    if scenario is None:
        if len(served) == 1:
            return served[0]
        raise UsageError(f"task '{task}' is asked in several scenarios; say which: {', '.join(served)}")
    if scenario not in served:
        raise UsageError(
            f"task '{task}' is not asked in scenario {shown(scenario)}{nearest(scenario, served) or '; it is asked in: ' + ', '.join(served)}"
        )
    return scenario


def check_request(task: str | None, context: Mapping[str, Any] | None, time: float | str | datetime | None) -> None:
    """Raises UsageError: what goes with a request is not of its kind, whether or not the task that is asked reads it."""
    if task is not None:
        a_text("task", task, "give the name of a task")
    if context is not None:
        a_mapping("context", context, "give declared fields of the request, for example context={'device': 'phone'}")
    if time is not None:
        moment(time, 0.0)


def moment(value: float | str | datetime | None, newest: float) -> float:
    """Seconds since 1970 of a time of asking; None: the newest moment known. Raises UsageError."""
    if value is None:
        return newest
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise refused("time", value, TIME) from None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return real_number("time", value, TIME)


def predict_rows(
    scorer: ServedModel,
    frame: pl.DataFrame,
    tasks: list[str],
    users: np.ndarray,
    items: np.ndarray,
    histories: Histories,
    newest: float,
) -> dict[str, np.ndarray]:
    """Answers about the rows of `frame`: task -> float32 (X,) or (X, L); NaN where a task is not asked in the row's scenario.

    Args:
        frame: time, scenario and context fields where known.
        users: int64 (X,) rows of `histories` and of the profiles, -1 for nobody known.  items: int64 (X,).

    Raises:
        DataError: a wrong cell, or a scenario that training did not know.
    """
    part = judge_part(scorer)
    data = DataConfig.build(scorer.origin.training["data"], source="the training configuration")
    times = np.full(len(users), newest)
    if Columns.TIME in frame.columns:
        given = to_seconds(frame[Columns.TIME], data.time_unit, ROWS)[0].to_numpy()
        times = np.where(np.isnan(given), newest, given)
    asking, place = np.unique(users, return_inverse=True)
    past = _histories_of(histories, asking)
    cuts = past.offsets[1:][place] if past.times is None else cuts_before(past.offsets, placed_times(past), place, times)
    scenarios = _scenario_codes(part, frame, scorer.origin.later)
    known = {name: frame[name] for name in part.inputs.context_fields if name in frame.columns}
    rows = JudgeRows(
        users=place.astype(np.int64),
        items=items,
        cuts=cuts,
        scenarios=scenarios,
        times=times,
        statistics=part.inputs.counts(users, items, scenarios, times, past, place.astype(np.int64), cuts),
        context=part.inputs.context(_context_frame(part, known, ROWS, frame.height), scorer.task.shape.read_width),
    )
    profiles = scorer.profile_contents(Requests(past, users=asking))
    return part.answers(scorer.model, rows, past, scorer.catalogue.contents, profiles, tasks, scorer.vectors)


def unseen_context(scorer: ServedModel, frame: pl.DataFrame) -> list[str]:
    """A sentence for each declared field of the context with values that nothing was learned of: they are read as if nothing was said."""
    if scorer.judging is None:
        return []
    part = scorer.judging
    fields, bag = part.inputs.context_fields, part.inputs.context_bag
    found: list[str] = []
    for name in frame.columns:
        if bag is None or fields.get(name) not in (FieldType.CATEGORY, FieldType.ID):
            continue
        known = bag.values(name)
        given = field_column(frame[name], fields[name], ROWS).drop_nulls().unique().sort().to_list()
        if new := [value for value in given if normalise(value) not in known]:
            found.append(
                f"context field {name}: training has not seen {_some(new)} (or once only), read as if not said; known: {_some(known)}"
            )
    return found


def _some(values: Sequence[str]) -> str:
    told = ", ".join(f"'{value}'" for value in values[:MOST_VALUES])
    return f"{told} and {len(values) - MOST_VALUES:,} more" if len(values) > MOST_VALUES else told or "none"


def judged_columns(part: JudgePart, answers: Mapping[str, np.ndarray], named: bool) -> dict[str, pl.Series]:
    """Columns for what `predict_rows` answered.

    named: somebody asked for just these tasks. Raises UsageError: one of them is asked in none of the rows' scenarios.
    """
    columns: dict[str, pl.Series] = {}
    for task, values in answers.items():
        if named and len(values) and np.isnan(values if values.ndim == 1 else values[:, 0]).all():
            served = ", ".join(part.judge.scenarios_of(task))
            raise UsageError(f"task '{task}' is asked in none of the {len(values):,} rows; it is asked in: {served}")
        columns |= labelled(part.judge.sizes.labels[task], task, values)
    return columns


def _histories_of(histories: Histories, users: np.ndarray) -> Histories:
    """A row for each of `users`, empty for -1 and for those without events."""
    known = (users >= 0) & (users < len(histories))
    if not len(histories):
        return Histories.from_lists([np.zeros(0, np.int32)] * len(users))
    rows = histories.rows(np.where(known, users, 0))
    return rows.window(drop_last=np.where(known, 0, rows.lengths))


def _scenario_codes(part: JudgePart, frame: pl.DataFrame, later: Sequence[str]) -> np.ndarray | None:
    names = part.judge.sizes.scenarios
    if not names:
        return None
    if Columns.SCENARIO not in frame.columns:
        if len(names) == 1:
            return np.zeros(frame.height, dtype=np.int64)
        raise DataError(f"{ROWS} have no column '{Columns.SCENARIO}', and tasks are asked in several: {', '.join(names)}")
    given = words(frame[Columns.SCENARIO], ROWS)
    codes = dict.fromkeys(later, NEW) | {name: code for code, name in enumerate(names)}
    strange = given.filter(given.is_not_null() & ~given.is_in(list(codes)))
    if len(strange):
        hint = nearest(strange[0], list(codes)) or "; known: " + ", ".join(codes)
        raise DataError(f"{ROWS} have the scenario {shown(strange[0])}, which training did not know{hint}; for a new one: add_scenario")
    return given.replace_strict(codes, default=None, return_dtype=pl.Int64).fill_null(-1).to_numpy(writable=True)


def _context_frame(part: JudgePart, known: Mapping[str, Any], source: str, rows: int = 1) -> pl.DataFrame:
    """The declared fields of the context as typed columns; what is not said is unknown."""
    fields: dict[str, FieldType] = part.inputs.context_fields
    for name in known:
        if name not in fields:
            raise UsageError(
                f"'{name}' is no field of the context{nearest(name, list(fields)) or '; fields: ' + (', '.join(fields) or 'none')}"
            )
    columns = []
    for name, kind in fields.items():
        if name in known:
            columns.append(field_column(pl.Series(name, known[name]), kind, source).alias(name))
        else:
            columns.append(empty_column(name, kind, rows))
    return pl.DataFrame(columns)


def column_of(frame: pl.DataFrame, name: str) -> list[str]:
    """Ids of a column that every row must have. Raises DataError."""
    if name not in frame.columns:
        raise DataError(f"{ROWS} have no column '{name}'{nearest(name, frame.columns)}; columns: {', '.join(frame.columns)}")
    found = ids(frame[name], ROWS)
    missing = found.is_null()
    if missing.any():
        raise DataError(f"{ROWS}: row {int(missing.arg_true()[0]) + 1} has no {name}{more(missing)}; every row needs one")
    return found.to_list()


def labelled(size: LabelSize, task: str, answers: np.ndarray) -> dict[str, pl.Series]:
    """Columns of a table for the answers (X,) or (X, L) of a task: its name; of classes also "NAME probability"; of tags a list."""
    known = ~np.isnan(answers if answers.ndim == 1 else answers[:, 0])
    if size.kind == "classes":
        best = np.nan_to_num(answers, nan=-1.0).argmax(axis=1)
        names = pl.Series(task, [size.names[code] if ok else None for code, ok in zip(best, known, strict=True)], dtype=pl.String)
        sure = np.where(known, answers[np.arange(len(answers)), best], np.nan)
        return {task: names, f"{task} probability": pl.Series(sure).fill_nan(None)}
    if size.kind == "tags":
        said = [[name for name, p in zip(size.names, row, strict=True) if p >= 0.5] for row in answers.tolist()]
        return {task: pl.Series(task, said, dtype=pl.List(pl.String))}
    if size.kind == "ordinal":
        answers = np.interp(answers, np.arange(len(size.names)), np.array([float(name) for name in size.names]))
        answers = np.where(known, answers, np.nan)
    return {task: pl.Series(task, answers.astype(np.float32)).fill_nan(None)}


def merit(part: JudgePart, task: str, answers: np.ndarray) -> np.ndarray:
    """float64 (X,): what candidates are ordered by. Raises UsageError for classes and tags, which are no order."""
    kind = part.judge.sizes.labels[task].kind
    if kind in ("classes", "tags"):
        raise UsageError(f"task '{task}' judges {kind}, which order nothing; rank by a task with a yes, a number or levels")
    return answers.astype(np.float64)
