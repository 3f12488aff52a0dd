"""Simulated users: the profiles and first events of real people, gone on with by the model for as long as the real ones went on.

Shapes: U users, N items.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import UsageError, nearest
from m6rec.data.columns import Columns
from m6rec.data.dataset import FieldType, Table
from m6rec.evaluation.simulated import LogFigures, compare_logs
from m6rec.serving.engine.engine import Engine
from m6rec.serving.engine.rollout import Policy, Rollout

TOGETHER = 64  # people rolled out side by side


@dataclass(frozen=True)
class Simulation:
    """A simulated log beside the real one of the same people.

    users    their ids
    real, simulated  Histories of those people; the first `given` events of both are the same
    figures  what `compare_logs` says of the continuations
    """

    users: list[str]
    real: Histories
    simulated: Histories
    given: int
    figures: dict[str, LogFigures] = field(default_factory=dict)


def simulate(
    engine: Engine, users: int = 500, *, given: int = 1, seed: int = 0, policy: Policy | None = None, by: str | None = None
) -> Simulation:
    """Continue the first `given` events of people drawn by seed until they have as many as they really had.

    Args:
        policy: how items are drawn; None: sampled from the mixture, repeats as trained.
        by: the category or tags field whose transitions are compared; None: the first one declared.

    Raises:
        UsageError: fewer than two people have enough events, or `by` is no such field.
    """
    if users < 2 or given < 0:
        raise UsageError(f"users={users}, given={given}: at least 2 people and 0 first events")
    policy = (policy or Policy(repeat=engine.scorer.task.config.repeat)).checked()
    categories = codes_of(engine.items, by)
    with engine.turns.reading():
        histories = engine.histories.compact()
        able = np.flatnonzero(histories.lengths >= max(given + 1, 2))
        if len(able) < 2:
            raise UsageError(f"{len(able)} people have {given + 1} events or more; give a smaller --given")
        chosen = np.sort(np.random.default_rng([seed, 40]).permutation(able)[:users])
        real = histories.rows(chosen)
        first = real.window(drop_last=real.lengths - given)
        rollout = Rollout(engine.scorer, engine.histories, engine.retrieval, engine.returns)
        drawn: list[list[tuple[int, float, float]]] = []
        for start in range(0, len(chosen), TOGETHER):
            rows = np.arange(start, min(start + TOGETHER, len(chosen)))
            asked = Requests(first.rows(rows), users=chosen[rows], scenarios=np.full(len(rows), -1, dtype=np.int64))
            seeds = [[seed, int(user)] for user in chosen[rows]]
            drawn += rollout(asked, real.lengths[rows] - given, policy, seeds)
    simulated = _log_of(first, drawn)
    ids = [engine.users.ids.ids[user] for user in chosen.tolist()]
    return Simulation(ids, real, simulated, given, compare_logs(real, simulated, categories, seed=seed, items=len(engine.items)))


def codes_of(items: Table, by: str | None) -> np.ndarray:
    """int64 (N,): the value of a field of every item, the first tag of several; 0 where it has none. Without such a field every item is one of its own."""
    able = [name for name, kind in items.fields.items() if kind in (FieldType.CATEGORY, FieldType.TAGS, FieldType.ID)]
    if by is not None and by not in able:
        raise UsageError(f"items have no category, tags or id field '{by}'{nearest(by, able) or '; those: ' + (', '.join(able) or 'none')}")
    if not able:
        return np.arange(len(items))
    column = items.frame[by or able[0]]
    values = column.list.first() if column.dtype == pl.List else column
    names = values.drop_nulls().unique(maintain_order=True)
    codes = values.replace_strict(names, np.arange(1, len(names) + 1), default=None, return_dtype=pl.Int64)
    return codes.fill_null(0).to_numpy()


def simulated_table(engine: Engine, simulation: Simulation) -> pl.DataFrame:
    """user_id ("sim-" and the person's), item_id, time (where known), given (bool: taken from the person's own log), in the order of the events."""
    log = simulation.simulated
    owner = np.repeat(np.arange(len(log)), log.lengths)
    place = np.arange(len(owner)) - np.repeat(log.offsets[:-1], log.lengths)
    items = pl.Series(engine.items.ids.ids, dtype=pl.String).gather(log.items.astype(np.int64))
    columns: dict[str, pl.Series] = {
        Columns.USER: pl.Series([f"sim-{user}" for user in simulation.users], dtype=pl.String).gather(owner),
        Columns.ITEM: items,
        Columns.ORDER: pl.Series(place),
        "given": pl.Series(place < simulation.given),
    }
    if log.times is not None:
        columns[Columns.TIME] = pl.Series(np.round(log.times)).fill_nan(None)
    return pl.DataFrame(columns)


def _log_of(first: Histories, drawn: list[list[tuple[int, float, float]]]) -> Histories:
    """The given events of each person and the drawn ones behind them."""
    lengths = first.lengths + np.array([len(steps) for steps in drawn])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = [np.concatenate([first.row(row), np.array([step[0] for step in steps], dtype=np.int32)]) for row, steps in enumerate(drawn)]
    times = None
    if first.times is not None:
        times = np.concatenate(
            [
                np.concatenate([first.times[first.offsets[row] : first.offsets[row + 1]], np.array([step[2] for step in steps])])
                for row, steps in enumerate(drawn)
            ]
        )
    return Histories(offsets=offsets.astype(np.int64), items=np.concatenate(items).astype(np.int32), times=times)
