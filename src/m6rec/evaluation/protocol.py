"""Full-ranking evaluation of one scorer over many cases.

Every item of the catalogue is ranked for every case; nothing is sampled. Memory holds one batch of scores
(batch x items) and one rank a target, however many cases there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from m6rec.base.contracts import Histories, Requests, Scorer
from m6rec.base.errors import DataError, M6RecError
from m6rec.evaluation.beyond_accuracy import diversity, gini, popularity_ranks, self_information, serendipity, top_lists, unit_rows
from m6rec.evaluation.config import EvaluationConfig
from m6rec.evaluation.evaluated import Evaluation
from m6rec.evaluation.metrics import candidate_scores, ranks_among
from m6rec.evaluation.slices import find_bounds

if TYPE_CHECKING:
    from m6rec.data.splits import Cases

#: Called after every batch with the cases done and all cases.
Progress = Callable[[int, int], None]


def evaluate(
    scorer: Scorer,
    cases: Cases,
    seen: np.ndarray,
    config: EvaluationConfig | None = None,
    *,
    contents: sparse.csr_array | None = None,
    scenarios: Sequence[str] = (),
    batch: int | None = None,
    progress: Progress | None = None,
    name: str | None = None,
    statement: str = "",
    seed: int = 0,
) -> Evaluation:
    """Rank every target of `cases` among the whole catalogue.

    Args:
        scorer: gives float (B, N); called with batches of requests in the order of the cases.
        cases: C requests and, for each, one or more targets. A target that stands twice in a case counts once.
        seen: int64 (N,), training events per item: the slices, novelty and popularity, and N itself.
        contents: (N, F) features of the items, whose cosine is their similarity; None: no diversity is measured.
        scenarios: names of the scenarios that targets were chosen in, by code; without them, or the codes, there are no figures by scenario.
        batch: requests scored at a time; None takes `config.batch_of(N)`.
        name: what reports call the scorer; None takes `scorer.name`.
        statement: one sentence on how the cases were cut (`Split.statement`), kept with the result.
        seed: of the bootstrap.

    Raises:
        DataError: no cases, a case without a target, a target outside the catalogue.
        M6RecError: the scorer gave a wrong shape, whole numbers, or a score that is not finite; the message names it.
    """
    config = config or EvaluationConfig()
    name = name or scorer.name
    catalogue = len(seen)
    batch = batch or config.batch_of(catalogue)
    targets = distinct(_checked(cases.targets, catalogue))
    total = len(targets)
    ranks = np.empty(len(targets.items), dtype=np.float64)  # T
    lists = ListValues(seen, contents, config.cutoffs, total)
    popular = np.empty(len(targets.items), dtype=np.float64)  # T
    timings: list[tuple[float, int]] = []
    for start in range(0, total, batch):
        rows = np.arange(start, min(start + batch, total))
        requests = cases.requests.rows(rows)
        began = time.perf_counter()
        scores = scorer.scores(requests)
        timings.append((time.perf_counter() - began, len(rows)))
        _check_scores(scores, len(rows), catalogue, name, start)
        wanted = targets.rows(rows)
        excluded = requests.histories if config.exclude_history else None
        candidates = candidate_scores(scores, wanted, excluded)  # B N
        here = slice(targets.offsets[start], targets.offsets[start + len(rows)])
        ranks[here] = ranks_among(candidates, wanted)
        popular[here] = popularity_ranks(seen, wanted, excluded)
        lists.add(candidates, start)
        if progress is not None:
            progress(start + len(rows), total)
    return Evaluation(
        name=name,
        ranks=ranks,
        offsets=targets.offsets,
        targets=targets.items,
        users=_users(cases.requests, total),
        seen=seen[targets.items].astype(np.int64),
        catalogue=catalogue,
        cutoffs=list(config.cutoffs),
        bounds=find_bounds(seen, config),
        coverage={k: float(mask.mean()) for k, mask in lists.covered.items()},
        given=cases.requests.histories.lengths.astype(np.int64),
        scenarios=targets.scenarios if scenarios else None,
        scenario_names=list(scenarios),
        beyond={**lists.values, **{f"serendipity@{k}": serendipity(ranks, popular, targets.offsets, k) for k in config.cutoffs}},
        gini={k: gini(shown) for k, shown in lists.shown.items()},
        statements=statements(cases, catalogue, config, statement),
        seconds=sum(seconds for seconds, _ in timings),
        milliseconds=float(np.median([1000 * seconds / count for seconds, count in timings])),
        batch=batch,
        resamples=config.resamples,
        seed=seed,
    )


class ListValues:
    """What the lists of all cases are worth, filled batch by batch.

    values   metric@k -> float64 (C,)
    covered  k -> bool (N,): whether each item is in somebody's list
    shown    k -> float64 (N,): in how many lists each item stood
    """

    def __init__(self, seen: np.ndarray, contents: sparse.csr_array | None, cutoffs: list[int], cases: int) -> None:
        self.cutoffs, self.measures = cutoffs, {"novelty": self_information(seen), "popularity": seen.astype(np.float64)}
        self.contents = unit_rows(contents) if contents is not None and contents.nnz else None
        self.values = {f"{name}@{k}": np.empty(cases) for name in self.measures for k in cutoffs}
        if self.contents is not None:
            self.values |= {f"diversity@{k}": np.empty(cases) for k in cutoffs if k > 1}  # a list of one has no pair
        self.covered = {k: np.zeros(len(seen), dtype=bool) for k in cutoffs}
        self.shown = {k: np.zeros(len(seen)) for k in cutoffs}

    def add(self, candidates: np.ndarray, first: int) -> None:
        """candidates: float (B, N), of the cases from number `first` on."""
        for start, found in top_lists(candidates, self.cutoffs):
            for k, lists in found.items():
                here = slice(first + start, first + start + len(lists))
                self.covered[k][lists.covered()] = True
                self.shown[k] += lists.exposure(len(self.shown[k]))
                for name, of_items in self.measures.items():
                    self.values[f"{name}@{k}"][here] = lists.mean(of_items)
                if self.contents is not None and k > 1:
                    self.values[f"diversity@{k}"][here] = diversity(lists, self.contents)


def statements(cases: Cases, catalogue: int, config: EvaluationConfig, cut: str = "") -> list[str]:
    """How the figures were made, sentence by sentence: what a reader has to know before comparing them with others."""
    empty = int(np.count_nonzero(cases.requests.histories.lengths == 0))
    sentences = [cut[:1].upper() + cut[1:]] if cut else []
    targets = len(cases.targets.items)
    sentences.append(
        f"Full ranking: each of {targets:,} targets in {len(cases):,} cases is ranked among all {catalogue:,} items; nothing is sampled."
    )
    if config.exclude_history:
        sentences.append("Items of the request's own history are no candidates, unless they are a target.")
    else:
        sentences.append("Items of the request's own history stay candidates (repeats count).")
    sentences.append("Ties count as the expected rank under random tie-breaking, so the order of item ids has no influence.")
    if empty:
        sentences.append(f"{empty:,} cases have an empty history and are counted like any other.")
    sentences.append(f"Intervals are 95 %, by the percentile bootstrap over users with {config.resamples:,} resamples.")
    return sentences


def distinct(targets: Histories) -> Histories:
    """The same rows, each item once, where it stands first (items and their scenarios only)."""
    rows = np.repeat(np.arange(len(targets)), targets.lengths)
    keys = rows * (int(targets.items.max(initial=0)) + 1) + targets.items
    _, first = np.unique(keys, return_index=True)
    if len(first) == len(keys):
        return Histories(offsets=targets.offsets, items=targets.items, scenarios=targets.scenarios)
    first.sort()
    where = None if targets.scenarios is None else targets.scenarios[first]
    lengths = np.bincount(rows[first], minlength=len(targets))
    return Histories(offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), items=targets.items[first], scenarios=where)


def _checked(targets: Histories, catalogue: int) -> Histories:
    if len(targets) == 0:
        raise DataError("there is no case to evaluate: the split is empty; use a larger share for it or another protocol (split.protocol)")
    missing = np.flatnonzero(targets.lengths == 0)
    if len(missing):
        raise DataError(
            f"case {missing[0]} has no target ({len(missing):,} such cases); every case needs at least one: leave those out of the split"
        )
    if targets.items.min() < 0 or targets.items.max() >= catalogue:
        worst = targets.items.min() if targets.items.min() < 0 else targets.items.max()
        raise DataError(
            f"target item {worst} is outside the catalogue of {catalogue:,} items (0 to {catalogue - 1}); add it to the items table"
        )
    return targets


def _check_scores(scores: np.ndarray, rows: int, catalogue: int, name: str, start: int) -> None:
    """One line naming the scorer, when it breaks the contract of `Scorer.scores`."""
    if not isinstance(scores, np.ndarray) or scores.shape != (rows, catalogue):
        got = getattr(scores, "shape", type(scores).__name__)
        raise M6RecError(
            f"scorer '{name}' gave scores of shape {got}; expected ({rows}, {catalogue}): one row a request, one column an item"
        )
    if scores.dtype.kind != "f":
        raise M6RecError(f"scorer '{name}' gave scores of type {scores.dtype}; expected float32: return scores.astype(np.float32)")
    finite = np.isfinite(scores)
    if not finite.all():
        row, item = np.argwhere(~finite)[0]
        count = int(finite.size - np.count_nonzero(finite))
        raise M6RecError(
            f"scorer '{name}' gave {count:,} scores that are not finite (first: {scores[row, item]} for case {start + row}, item {item}); "
            "scores must be finite: look for a diverged training (lower train.learning_rate) or a division by zero"
        )


def _users(requests: Requests, cases: int) -> np.ndarray:
    return np.full(cases, -1, dtype=np.int64) if requests.users is None else np.asarray(requests.users, dtype=np.int64)
