"""Evidence for the answer of a task on candidates: what its answer loses without an event, a statistic, a field of the item or of the context.

All ways of asking are rows of one batch, read by the code that reads exposures. A group of statistics is taken away by giving it the values of
somebody and something never seen; a field of the item by a record without it, the statistics of its values included.

Dimension keys: B requests, C items, X = B C rows, S statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from m6rec.base.contracts import Histories, Requests
from m6rec.data.dataset import FieldType
from m6rec.explanation.item_values import ItemValue, values_of, vector_without
from m6rec.explanation.question import Question
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.judge_part import JudgePart
from m6rec.tasks.judge_rows import JudgeRows
from m6rec.tasks.served_model import ServedModel


@dataclass(frozen=True)
class JudgedAsk:
    """How a task on candidates is asked. scenario: its code, -1 none.  now: seconds, NaN unknown.  context: one row, None for none."""

    part: JudgePart
    task: str
    scenario: int
    now: float
    context: Contents | None


def judged_scores(scorer: ServedModel, asked: JudgedAsk) -> Callable[[Requests, np.ndarray], tuple[np.ndarray, dict[str, np.ndarray]]]:
    """`evidence.Scores` of a task: its probability, number or level; no parts."""

    def scores(requests: Requests, items: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        rows = candidate_rows(asked, requests, items)
        return answers(scorer, asked, rows, requests, scorer.vectors).reshape(len(requests), len(items)), {}

    return scores


def candidate_rows(asked: JudgedAsk, requests: Requests, items: np.ndarray) -> JudgeRows:
    """Every item for every request, request by request: X rows."""
    return pair_rows(asked, requests, np.repeat(np.arange(len(requests)), len(items)), np.tile(items.astype(np.int64), len(requests)))


def pair_rows(asked: JudgedAsk, requests: Requests, places: np.ndarray, items: np.ndarray) -> JudgeRows:
    """Pairs of requests (their rows int64 (X,)) and items int64 (X,) as rows."""
    users = np.full(len(places), -1, dtype=np.int64) if requests.users is None else requests.users[places]
    scenarios = np.full(len(places), asked.scenario, dtype=np.int64) if asked.part.judge.sizes.scenarios else None
    times, cuts = np.full(len(places), asked.now), requests.histories.offsets[1:][places]
    statistics = asked.part.inputs.counts(users, items, scenarios, times, requests.histories, places, cuts)
    context = None if asked.context is None else asked.context.rows(torch.zeros(len(places), dtype=torch.int64))
    return JudgeRows(places, items, cuts, scenarios, times, statistics=statistics, context=context)


def answers(scorer: ServedModel, asked: JudgedAsk, rows: JudgeRows, requests: Requests, vectors: torch.Tensor) -> np.ndarray:
    """float64 (X,): the task's answers about the rows."""
    profiles = scorer.profile_contents(requests)
    found = asked.part.answers(scorer.model, rows, requests.histories, scorer.catalogue.contents, profiles, [asked.task], vectors)
    return found[asked.task].astype(np.float64)


def statistic_groups(names: list[str]) -> dict[str, np.ndarray]:
    """Kind of statistics ("user", "item", "user and brand", "history, same brand", ...) -> its columns."""
    groups: dict[str, list[int]] = {}
    for column, name in enumerate(names):
        groups.setdefault(name.partition(": ")[0], []).append(column)
    return {name: np.array(columns) for name, columns in groups.items() if name != "all"}


def statistic_lifts(scorer: ServedModel, asked: JudgedAsk, question: Question, item: int) -> dict[str, float]:
    """Group of statistics -> what the answer loses when it says what it says of a stranger and an item never seen."""
    rows = candidate_rows(asked, question.whole, np.array([item]))
    if rows.statistics is None:
        return {}
    nobody = unknown_statistics(asked, rows, question.whole.histories)
    groups = statistic_groups(asked.part.inputs.names)
    table = np.repeat(rows.statistics, 1 + len(groups), axis=0)
    for number, columns in enumerate(groups.values(), 1):
        table[number, columns] = nobody[0, columns]
    many = replace(rows.rows(np.zeros(len(table), dtype=np.int64)), statistics=table)
    found = answers(scorer, asked, many, question.whole, scorer.vectors)
    return dict(zip(groups, (found[0] - found[1:]).tolist(), strict=True))


def unknown_statistics(asked: JudgedAsk, rows: JudgeRows, past: Histories) -> np.ndarray:
    """float32 (X, S): the statistics of rows whose person and item nobody knows. past: one row, of the columns that histories have here."""
    nobody, places = np.full(len(rows), -1, dtype=np.int64), np.zeros(len(rows), dtype=np.int64)
    assert rows.times is not None
    found = asked.part.inputs.counts(nobody, nobody, rows.scenarios, rows.times, past.window(drop_last=len(past.items)), places, places)
    assert found is not None
    return found


def judged_value_lifts(scorer: ServedModel, asked: JudgedAsk, question: Question, item: int) -> list[tuple[ItemValue, float]]:
    """What the answer loses without each field of the item's record, the statistics of its values included."""
    rows = candidate_rows(asked, question.whole, np.array([item]))
    whole = float(answers(scorer, asked, rows, question.whole, scorer.vectors)[0])
    groups = statistic_groups(asked.part.inputs.names)
    found = []
    for value in values_of(scorer.catalogue.items, item, apart=False):
        vectors = scorer.vectors.clone()
        vectors[item] = vector_without(scorer, item, value)
        told = rows
        if rows.statistics is not None and value.kind != FieldType.TEXT:
            statistics, less = rows.statistics.copy(), _without_item(asked, rows, question)
            for name in (value.field, f"user and {value.field}", f"history, same {value.field}"):
                columns = groups.get(name, np.zeros(0, dtype=np.int64))
                statistics[:, columns] = less[:, columns]
            told = replace(rows, statistics=statistics)
        found.append((value, whole - float(answers(scorer, asked, told, question.whole, vectors)[0])))
    return found


def _without_item(asked: JudgedAsk, rows: JudgeRows, question: Question) -> np.ndarray:
    """float32 (1, S): the statistics of the same person and an item without any value."""
    users = np.full(1, -1, dtype=np.int64) if question.whole.users is None else question.whole.users
    assert rows.times is not None
    found = asked.part.inputs.counts(
        users, np.array([-1]), rows.scenarios, rows.times, question.whole.histories, np.zeros(1, dtype=np.int64), rows.cuts
    )
    assert found is not None
    return found
