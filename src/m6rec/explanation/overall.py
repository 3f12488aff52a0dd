"""What a task goes by, over a sample of people: the answers asked again without one kind of thing for everybody, exactly.

For a choose task the score is the log probability of the items that were at the head of each list; for a task on candidates its answer about
them. Taken away, one at a time: fields of the items (from every record), the profile, events by action and by how long ago they were, parts of
the mixture, groups of statistics, the request's context. The change of one removal is the mean over people of how far their scores move.

Dimension keys: B people, C items of a list, N items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_array
from scipy.special import logsumexp

from m6rec.base.contracts import Histories, Requests
from m6rec.data.dataset import FieldType, Table
from m6rec.explanation.item_values import ChangedMixture
from m6rec.explanation.judged_evidence import JudgedAsk, answers, pair_rows, statistic_groups, unknown_statistics
from m6rec.tasks.catalogue import Catalogue, vector_fields
from m6rec.tasks.choose_mixture import ChooseMixture
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.judge_rows import JudgeRows
from m6rec.tasks.prior import TEXT_PART
from m6rec.tasks.served_model import ServedModel
from m6rec.text.similarity import similarity_vectors, text_neighbours

DISTANCES = ((1, 1), (2, 3), (4, 10), (11, None))  # events ago, from the newest
LIST = 10
NORMAL_95 = 1.959964
FIELD, PROFILE, ACTION, DISTANCE, PART, STATISTIC, CONTEXT = (
    "field of items",
    "profile",
    "action",
    "events ago",
    "part",
    "statistics",
    "context",
)


@dataclass(frozen=True)
class Importance:
    """What the answers lose of what they were without one kind of thing.

    change     mean over people of the mean distance that the scores of their lists move; low, high: 95 % interval
    raised     mean over people of what their lists' scores lose (below 0: it spoke against them)
    replaced   share of the lists' items that are others then; NaN where nothing is chosen
    people     whom it concerns: who has such events, or all
    """

    kind: str
    name: str
    change: float
    low: float
    high: float
    raised: float
    replaced: float
    people: int


@dataclass(frozen=True)
class Overall:
    """A global view of one task: what matters most first. unit: what changes are of."""

    task: str
    people: int
    items: int
    unit: str
    rows: tuple[Importance, ...]

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def of_choice(
    scorer: ChooseMixture, requests: Requests, users: Table, actions: Sequence[str], exclude: bool, task: str, length: int = LIST
) -> Overall:
    """What a choose task goes by for the people of `requests`. The model without its blend; users: the users table.  length: of a list."""
    base = ChangedMixture.of(scorer, scorer.catalogue, scorer.vectors)
    whole = _listed(base.scores(requests), requests, exclude)
    lists = _best(whole, length)
    rows = []
    for kind, name, model, asked, concerned in _choice_ways(base, requests, users, actions):
        if not len(concerned):
            continue
        changed = _listed(model.scores(asked.rows(concerned)), requests.rows(concerned), exclude)
        mine = lists[concerned]
        drop = np.take_along_axis(whole[concerned], mine, 1) - np.take_along_axis(changed, mine, 1)
        others = _best(changed, length)
        replaced = [1 - len(np.intersect1d(old, new)) / len(old) for old, new in zip(mine, others, strict=True)]
        rows.append(_importance(kind, name, drop, float(np.mean(replaced))))
    return Overall(task, len(requests), lists.shape[1], "log probability", _ordered(rows))


def of_judging(scorer: ServedModel, judged: JudgedAsk, requests: Requests, actions: Sequence[str], length: int = LIST) -> Overall:
    """What a task on candidates goes by: its answers about the items at the head of each person's list."""
    lists = _best(_listed(scorer.scores(requests), requests, True), length)
    places, items = np.repeat(np.arange(len(requests)), lists.shape[1]), lists.ravel()
    rows_of = pair_rows(judged, requests, places, items)
    vectors = scorer.vectors
    whole = answers(scorer, judged, rows_of, requests, vectors)
    rows = []

    def add(kind: str, name: str, changed: np.ndarray, concerned: np.ndarray) -> None:
        if len(concerned):
            drop = (whole - changed).reshape(len(requests), -1)[concerned]
            rows.append(_importance(kind, name, drop, float("nan")))

    everybody = np.arange(len(requests))
    for kind, name, asked, concerned in _history_ways(requests, actions):
        add(kind, name, answers(scorer, judged, pair_rows(judged, asked, places, items), asked, vectors), concerned)
    if scorer.profiles is not None and requests.users is not None:
        nobody = replace(requests, users=np.full(len(requests), -1, dtype=np.int64), profiles=None)
        add(PROFILE, "all fields", answers(scorer, judged, replace(rows_of), nobody, vectors), everybody)
    groups = statistic_groups(judged.part.inputs.names)
    if rows_of.statistics is not None:
        empty = requests.histories.window(drop_last=requests.histories.lengths)
        neutral = unknown_statistics(judged, rows_of, empty)
        for name, columns in groups.items():
            add(STATISTIC, name, answers(scorer, judged, _with_statistics(rows_of, neutral, columns), requests, vectors), everybody)
    for field in _fields(scorer.catalogue.items):
        made = catalogue_without(scorer, field)
        changed = ChangedMixture.of(scorer, made).vectors
        told = rows_of
        own = [groups[name] for name in (field, f"user and {field}", f"history, same {field}") if name in groups]
        if rows_of.statistics is not None and own:
            none = pair_rows(judged, requests, places, np.full(len(items), -1)).statistics
            assert none is not None
            told = _with_statistics(rows_of, none, np.concatenate(own))
        add(FIELD, field, answers(scorer, judged, told, requests, changed), everybody)
    if rows_of.context is not None:
        add(CONTEXT, "all fields", answers(scorer, judged, replace(rows_of, context=None), requests, vectors), everybody)
    kind = judged.part.judge.sizes.labels[judged.task].kind
    return Overall(judged.task, len(requests), lists.shape[1], "probability" if kind == "binary" else kind, _ordered(rows))


def catalogue_without(scorer: ChooseMixture, field: str) -> Catalogue:
    """The catalogue as if no record had the field; what was counted stays."""
    old, reader, config = scorer.catalogue, scorer.reader, scorer.task.config.prior
    column = old.items.frame[field]
    nothing = pl.Series(
        field, [[]] * len(column) if old.items.fields[field] == FieldType.TAGS else [None] * len(column), dtype=column.dtype
    )
    items = Table(old.items.ids, old.items.frame.with_columns(nothing), old.items.fields)
    matrix = old.bag.matrix(items)
    told = vector_fields(items)
    width = old.contents.vectors.shape[1]
    contents = Contents.build(
        reader.read(reader.wording.items(items)), matrix, told if told.shape[1] == width else torch.zeros(len(items), width)
    )
    vectors = similarity_vectors(matrix, old.bag.idf)
    priors = dict(old.priors)
    if TEXT_PART in priors:
        priors[TEXT_PART] = text_neighbours(vectors, keep=config.similar, power=config.sharpness)
    return Catalogue(items, old.bag, matrix, vectors, contents, priors)


Way = tuple[str, str, ChooseMixture, Requests, np.ndarray]


def _choice_ways(base: ChangedMixture, requests: Requests, users: Table, actions: Sequence[str]) -> Iterator[Way]:
    """(kind, name, what answers, what it is asked, int64 whom it concerns)."""
    everybody = np.arange(len(requests))
    for kind, name, asked, concerned in _history_ways(requests, actions):
        yield kind, name, base, asked, concerned
    for field in _fields(base.catalogue.items):
        yield FIELD, field, ChangedMixture.of(base, catalogue_without(base, field)), requests, everybody
    if base.profiles is not None and requests.users is not None:
        nobody = replace(requests, users=np.full(len(requests), -1, dtype=np.int64), profiles=None)
        yield PROFILE, "all fields", base, nobody, everybody
    for name, table in base.catalogue.priors.items():
        if name in base.task.parts:
            less = replace(base.catalogue, priors={**base.catalogue.priors, name: csr_array(table.shape, dtype=np.float32)})
            yield PART, f"counted: {name}", ChangedMixture.of(base, less, base.vectors), requests, everybody
    if base.task.items.identity is not None:
        yield PART, "item ids", ChangedMixture.of(base, base.catalogue, off=("id",)), requests, everybody
    if base.task.items.content is not None:
        yield PART, "item texts and fields", ChangedMixture.of(base, base.catalogue, off=("text",)), requests, everybody
    if base.agreement.weight:
        alone = ChangedMixture.of(base, base.catalogue, base.vectors)
        alone.agreement = replace(base.agreement, weight=0.0)
        yield PART, "gain for agreement", alone, requests, everybody


def _history_ways(requests: Requests, actions: Sequence[str]) -> Iterator[tuple[str, str, Requests, np.ndarray]]:
    """(kind, name, requests, int64 whom it concerns) without events of an action, or of a distance."""
    past = requests.histories
    if past.actions is not None:
        for code, name in enumerate(actions):
            yield ACTION, name, *_without_events(requests, past.actions == code)
    ago = np.repeat(past.offsets[1:], past.lengths) - np.arange(len(past.items))  # 1: the newest
    for first, last in DISTANCES:
        name = f"{first}" if first == last else f"{first} and more" if last is None else f"{first} to {last}"
        yield DISTANCE, name, *_without_events(requests, (ago >= first) & (ago <= (last or len(past.items))))


def _without_events(requests: Requests, gone: np.ndarray) -> tuple[Requests, np.ndarray]:
    """The requests without the events `gone` bool (E,), and who had some."""
    past = requests.histories
    counts = np.concatenate([[0], np.cumsum(~gone)])
    kept: Histories = past.pick(np.flatnonzero(~gone), counts[past.offsets])
    return replace(requests, histories=kept), np.flatnonzero(kept.lengths < past.lengths)


def _fields(items: Table) -> list[str]:
    return [name for name, kind in items.fields.items() if kind != FieldType.VECTOR]


def _listed(scores: np.ndarray, requests: Requests, exclude: bool) -> np.ndarray:
    """float64 (B, N): log probabilities that add up to one; what was had already is at the end where lists leave it out."""
    scores = scores.astype(np.float64)
    scores -= logsumexp(scores, axis=1, keepdims=True)  # a gain that all items get moves nothing
    if exclude:
        past = requests.histories
        rows = np.repeat(np.arange(len(past)), past.lengths)
        scores[rows, past.items] -= 1e6
    return scores


def _best(scores: np.ndarray, length: int) -> np.ndarray:
    """int64 (B, C)."""
    return np.argsort(-scores, axis=1, kind="stable")[:, : min(length, scores.shape[1])]


def _with_statistics(rows: JudgeRows, other: np.ndarray, columns: np.ndarray) -> JudgeRows:
    assert rows.statistics is not None
    statistics = rows.statistics.copy()
    statistics[:, columns] = other[:, columns]
    return replace(rows, statistics=statistics)


def _importance(kind: str, name: str, drop: np.ndarray, replaced: float) -> Importance:
    """drop float64 (B, C): what the scores lose."""
    moved = np.abs(drop).mean(axis=1)
    mean = float(moved.mean())
    half = NORMAL_95 * float(moved.std(ddof=1)) / len(moved) ** 0.5 if len(moved) > 1 else 0.0
    return Importance(kind, name, mean, max(mean - half, 0.0), mean + half, float(drop.mean()), replaced, len(moved))


def _ordered(rows: Sequence[Importance]) -> tuple[Importance, ...]:
    return tuple(sorted(rows, key=lambda one: -one.change))
