"""Several Scorers that answer as one.

Dimension keys: B requests, N items, M members, C candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from m6rec.base.contracts import Histories, Requests, Scorer
from m6rec.base.errors import ConfigError, DataError, UsageError
from m6rec.data.dataset import Table
from m6rec.evaluation.protocol import distinct
from m6rec.fusion.blend_folder import load_blend, save_blend
from m6rec.fusion.candidates import Candidates, answers, joined, union
from m6rec.fusion.config import FusionConfig
from m6rec.fusion.member import Member
from m6rec.fusion.normalisation import NORMALISERS, Normaliser
from m6rec.fusion.quality import Quality
from m6rec.fusion.way import Known, Way
from m6rec.fusion.ways_learned import LambdaMART, Logistic
from m6rec.fusion.ways_weighted import Gated, SoftOr, Weighted

BATCH = 256  # requests scored at a time
WAYS: dict[str, type[Way]] = {"weighted": Weighted, "gated": Gated, "logistic": Logistic, "lambdamart": LambdaMART, "soft_or": SoftOr}
LEARNED = ("logistic", "lambdamart")  # the ways that look at the members' parts
Say = Callable[[str], None]


class Blend(Scorer):
    """Members whose scores are normalised and combined; what is among nobody's best keeps the order of the base member, below.

    Fit it on requests whose targets no member was fitted on: a member that has seen the answers looks better than it is.

    Args:
        scorers: the members by name, in the order of `config.members`, all of one catalogue. One that has `answer(requests)`, giving
            (scores, parts by name), has its parts shown, and learnt from by `logistic` and `lambdamart`.
        seen: int64 (N,), the events that the members were fitted on, by item.
        metric: what weights are chosen by, `name@k` of evaluation/metrics.py.
        exclude: whether consumed items are no answers.
    """

    name = "blend"

    def __init__(
        self,
        config: FusionConfig,
        scorers: Mapping[str, Scorer],
        seen: np.ndarray,
        *,
        metric: str = "ndcg@10",
        exclude: bool = True,
        seed: int = 0,
    ) -> None:
        if list(scorers) != config.members:
            raise ConfigError(
                f"the blend is of {', '.join(config.members)}, got the scorers {', '.join(scorers) or 'none'}; give those, in that order"
            )
        self.config, self.scorers, self.seen = config, dict(scorers), np.asarray(seen, dtype=np.int64)
        self.metric, self.exclude, self.seed = metric, exclude, seed
        self.parts: list[str] = []
        self.facts: dict[str, Any] = {}
        self._normaliser: Normaliser | None = None
        self._way: Way | None = None

    def fit(self, requests: Requests, targets: Histories, say: Say = lambda line: None) -> Self:
        """Learn how to combine from requests (B) and their targets (B rows, one or more each).

        Each part of `config.folds` is judged by a blend fitted on the other parts; that is what `facts` tells. The blend that answers is
        fitted on all of them.

        Raises:
            DataError: fewer than two requests for each fold.
            MissingExtraError: lambdamart without LightGBM.
        """
        if len(requests) < 2 * self.config.folds:
            raise DataError(
                f"a blend of {self.config.folds} folds needs {2 * self.config.folds} cases or more, there are {len(requests)}; lower fusion.folds"
            )
        random = np.random.default_rng([self.seed, 4])
        if len(requests) > self.config.cases:
            rows = np.sort(random.choice(len(requests), self.config.cases, replace=False))
            requests, targets = requests.rows(rows), targets.rows(rows)
        targets = distinct(targets)
        blocks = []
        for start in range(0, len(requests), BATCH):
            block, _, parts = self._look(requests.rows(np.arange(start, min(start + BATCH, len(requests)))))
            self.parts = list(parts) if self.config.how in LEARNED else []
            blocks.append(block)
        candidates = joined(blocks)
        quality = Quality(candidates, targets, self.metric)
        fold = random.permutation(len(candidates)) % self.config.folds
        held = np.zeros(len(candidates))
        for number in range(self.config.folds):
            say(f"  fold {number + 1} of {self.config.folds}")
            others, own = candidates.rows(fold != number), candidates.rows(fold == number)
            normaliser, way = self._fitted(others, targets.rows(np.flatnonzero(fold != number)))
            scores = way.scores(own, normaliser.apply(own))
            held[fold == number] = Quality(own, targets.rows(np.flatnonzero(fold == number)), self.metric)(scores)
        self._normaliser, self._way = self._fitted(candidates, targets)
        alone = {name: quality(candidates.scores[:, column]) for column, name in enumerate(self.scorers)}
        base = alone[self.config.first]
        self.facts = {
            "metric": self.metric,
            "cases": len(candidates),
            "targets among the candidates": round(float((quality.places >= 0).mean()), 4),
            "out of fold": round(float(held.mean()), 4),
            "alone": {name: round(float(values.mean()), 4) for name, values in alone.items()},
            "gain over the base": round(float((held - base).mean()), 4),
            "standard error of the gain": round(float((held - base).std() / np.sqrt(len(held))), 4),
            "weights": self._way.facts(),
        }
        return self

    def scores(self, requests: Requests) -> np.ndarray:
        """float32 (B, N). Candidates have the blend's score; the rest stand below, squeezed into an interval of 1, in the order of the base."""
        return self._answered(requests, explain=False)[0]

    def answer(self, requests: Requests) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """`scores`, and what each member gives to each item, name -> float32 (B, N), 0 or more; of a member that has parts, `member/part`."""
        return self._answered(requests, explain=True)

    def extend(self, items: Table) -> None:
        """The catalogue has grown at its end to `items`: members that read texts read the new ones, the others have no evidence of them."""
        if len(items) == len(self.seen):
            return
        for scorer in self.scorers.values():
            if isinstance(scorer, Member):
                scorer.extend(items)
        self.seen = np.concatenate([self.seen, np.zeros(len(items) - len(self.seen), dtype=np.int64)])

    def refit(self, histories: Histories, items: Table, say: Say = lambda line: None) -> None:
        """Fit the members (not the combination) again on all that is known: what serves should know the newest events."""
        for name, scorer in self.scorers.items():
            if isinstance(scorer, Member):
                say(f"  fitting {name}")
                scorer.fit(histories, items, scorer.refused)
        self.seen = np.bincount(histories.items, minlength=len(items)).astype(np.int64)

    def save(self, folder: Path) -> None:
        """Into the existing `folder`; see blend_folder.py. Raises UsageError before the fit, StorageError."""
        save_blend(self, folder)

    @classmethod
    def load(cls, folder: Path, own: Mapping[str, Scorer] | None = None) -> Self:
        """The blend that `save` wrote. own: the members that are no fusion members, by name (the trained model). Raises CheckpointError."""
        return load_blend(cls, folder, own or {})

    def _fitted(self, candidates: Candidates, targets: Histories) -> tuple[Normaliser, Way]:
        normaliser, way = self._fresh()
        wanted = candidates.wanted(targets)
        free = ~candidates.consumed
        normaliser.fit(candidates.keep(free), wanted[free])
        way.fit(Known(candidates, normaliser.apply(candidates), wanted, Quality(candidates, targets, self.metric)))
        return normaliser, way

    def _fresh(self) -> tuple[Normaliser, Way]:
        kind = "calibrated" if self.config.how == "soft_or" else self.config.normalisation
        return NORMALISERS[kind](), WAYS[self.config.how](self.config, list(self.scorers), self.parts, self.seed)

    def _look(self, requests: Requests, explain: bool = False) -> tuple[Candidates, list[np.ndarray], dict[str, np.ndarray]]:
        """Candidates, and the dense scores and parts that they come from."""
        learned = self.config.how in LEARNED
        scores, parts = answers(self.scorers, requests, learned or explain)
        log_seen = np.log1p(self.seen)
        columns = list(parts.values()) if learned else []
        return union(scores, columns, requests.histories, log_seen, self.config.candidates, self.exclude), scores, parts

    def _answered(self, requests: Requests, explain: bool) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        if self._normaliser is None or self._way is None:
            raise UsageError("the blend was not fitted; call fit(requests, targets) or load(folder) first")
        if not len(requests):
            return np.zeros((0, len(self.seen)), np.float32), {}
        candidates, scores, parts = self._look(requests, explain)
        values = self._normaliser.apply(candidates)
        rows, items = candidates.requests, candidates.items
        blended = self._way.scores(candidates, values).astype(np.float32)
        base = scores[self.config.members.index(self.config.first)]
        lowest = np.full(len(candidates), np.inf, dtype=np.float32)
        np.minimum.at(lowest, rows, blended)
        lowest = np.where(np.isfinite(lowest), lowest, 0.0).astype(np.float32)
        high, low = base.max(axis=1, keepdims=True), base.min(axis=1, keepdims=True)
        result = (base - high) / np.where(high > low, high - low, 1.0) + (lowest[:, None] - 1.0)  # B N
        result[rows, items] = blended
        if not explain:
            return result, {}
        shares = np.zeros((len(self.scorers), *result.shape), dtype=np.float32)  # M B N
        shares[:, rows, items] = np.maximum(self._way.shares(candidates, values), 0.0).T
        shares[self.config.members.index(self.config.first)][shares.sum(axis=0) == 0] = 1.0
        return result, _told(dict(zip(self.scorers, shares, strict=True)), parts)


def _told(shares: dict[str, np.ndarray], parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The share of a member that has parts, divided among them as they stand to each other; where all are 0 it is the first one's."""
    told = {}
    for name, share in shares.items():
        own = {part: values for part, values in parts.items() if part.partition("/")[0] == name}
        if not own:
            told[name] = share
            continue
        total = np.sum(list(own.values()), axis=0)
        for number, (part, values) in enumerate(own.items()):
            told[part] = share * np.where(total > 0, values / np.where(total > 0, total, 1.0), float(number == 0)).astype(np.float32)
    return told
