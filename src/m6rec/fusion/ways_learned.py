"""Ways that learn from features of request and candidate: a conditional logistic regression, and gradient-boosted trees.

Dimension keys: B requests, M members, C candidates, F features.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from m6rec.base.errors import CheckpointError
from m6rec.base.extras import require
from m6rec.base.storage import atomic_file
from m6rec.fusion.candidates import Candidates
from m6rec.fusion.features import feature_names, feature_owners, features
from m6rec.fusion.likelihood import choose_weights
from m6rec.fusion.way import Known, Way

TREES = "trees.txt"
HELD_SHARE = 5  # every fifth request of what the trees are fitted on says when to stop
STOP_AT = 100  # the cutoff of the metric that says when to stop: few targets are among the first ten
EXPLAINED = 100  # best candidates of a request whose trees are taken apart; the others' shares are the base's


class Logistic(Way):
    """score = w . x, x the features (features.py) scaled to deviation 1; w makes the targets likely under a softmax over the candidates."""

    learnt = ("weights", "mean", "scale")

    def fit(self, known: Known) -> None:
        names = feature_names(self.members, self.parts)
        self._weights, self._mean, self._scale = np.zeros(len(names)), np.zeros(len(names)), np.ones(len(names))
        taught = known.taught
        candidates = known.candidates.keep(taught)
        if not len(candidates.items):
            self._weights[self.base] = 1.0
            return
        found = features(candidates, known.values[taught]).astype(np.float64)
        self._mean, deviation = found.mean(axis=0), found.std(axis=0)
        told = deviation > 1e-6 * np.maximum(np.abs(self._mean), 1.0)
        self._scale = np.where(told, deviation, np.inf)
        scaled = (found - self._mean) / self._scale
        self._weights = choose_weights(
            lambda weights: (scaled @ weights, lambda pull: scaled.T @ pull),
            candidates.requests,
            known.wanted[taught],
            np.zeros(len(names)),
            self.config.penalty,
        )

    def scores(self, candidates: Candidates, values: np.ndarray) -> np.ndarray:
        return np.asarray(self._given(candidates, values).sum(axis=1))

    def shares(self, candidates: Candidates, values: np.ndarray) -> np.ndarray:
        return _by_member(self._given(candidates, values), candidates, self.members, self.parts)

    def facts(self) -> dict[str, float]:
        owners = feature_owners(self.members, self.parts)
        sizes = np.where(np.isfinite(self._scale), np.abs(self._weights), 0.0)
        return {
            name: round(float(sum(size for size, owner in zip(sizes, owners, strict=True) if owner == name)), 4) for name in self.members
        }

    def _given(self, candidates: Candidates, values: np.ndarray) -> np.ndarray:
        """float64 (C, F): what each feature adds."""
        return np.asarray((features(candidates, values) - self._mean) / self._scale * self._weights)


class LambdaMART(Way):
    """Gradient-boosted trees on the features, fitted by LambdaRank (Burges 2010) with LightGBM; saved as LightGBM's text.

    The trees start from what is learnt for the base alone: score = s * base + trees, s the likeliest scale, so that few targets can't make it
    much worse than the base. A fifth of the requests says after how many trees to stop; the trees are then fitted on all. One thread, fixed seed.
    """

    learnt = ("slope", "count")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._slope, self._count, self._trees = 1.0, 0, None

    def fit(self, known: Known) -> None:
        taught = known.taught
        candidates = known.candidates.keep(taught)
        # Within a request by the members' scores: the same order, hence the same trees, whatever the items are called.
        order = np.lexsort((*candidates.scores.T, candidates.requests))
        candidates = candidates.reordered(order)
        wanted, values = known.wanted[taught][order], known.values[taught][order]
        self._slope, self._count, self._trees = 1.0, 0, None
        if not len(candidates.items):
            return
        own = values[:, self.base].astype(np.float64)
        start = np.ones(1)
        self._slope = float(
            choose_weights(lambda w: (own * w[0], lambda pull: own[None, :] @ pull), candidates.requests, wanted, start, 0.0)[0]
        )
        thin = self._thinned(candidates, wanted)
        candidates, wanted, values = candidates.keep(thin), wanted[thin], values[thin]
        rows = np.unique(candidates.requests)  # requests that have something to teach
        held = np.zeros(len(candidates), dtype=bool)
        held[np.random.default_rng([self.seed, 5]).permutation(rows)[: max(1, len(rows) // HELD_SHARE)]] = True
        rounds = self._rounds(known, candidates, wanted, values, held) if len(rows) > HELD_SHARE else 0
        self._count = rounds
        if rounds:
            trees = self._seedling(candidates, wanted, values)
            for _ in range(rounds):
                trees.update()
            # Through its text at once: what is loaded later then gives the same to the last bit, and the training data can go.
            self._trees = load_lightgbm().Booster(model_str=trees.model_to_string())

    def scores(self, candidates: Candidates, values: np.ndarray) -> np.ndarray:
        scores = self._slope * values[:, self.base].astype(np.float64)
        if self._trees is not None and len(scores):
            scores = scores + self._trees.predict(features(candidates, values), raw_score=True, num_threads=1)
        return np.asarray(scores)

    def shares(self, candidates: Candidates, values: np.ndarray) -> np.ndarray:
        given = np.zeros((len(values), len(feature_names(self.members, self.parts))))
        if self._trees is not None and len(values):
            scores = self.scores(candidates, values)
            order = np.lexsort((-scores, candidates.requests))
            near = order[np.arange(len(order)) - np.repeat(candidates.offsets[:-1], np.diff(candidates.offsets)) < EXPLAINED]
            given[near] = self._trees.predict(features(candidates, values)[near], pred_contrib=True, num_threads=1)[:, :-1]
        given[:, self.base] += self._slope * values[:, self.base].astype(np.float64)
        return _by_member(given, candidates, self.members, self.parts)

    def facts(self) -> dict[str, float]:
        return {"trees": float(self._count)}

    def save_files(self, folder: Path) -> list[str]:
        if self._trees is None:
            return []
        with atomic_file(folder / TREES) as temporary:
            temporary.write_text(self._trees.model_to_string(), encoding="utf-8")
        return [TREES]

    def load_files(self, folder: Path) -> list[str]:
        path = folder / TREES
        if not self._count:
            return []
        if not path.exists():
            raise CheckpointError(f"{path} is missing; restore it or train again")
        lightgbm = load_lightgbm()
        try:
            self._trees = lightgbm.Booster(model_str=path.read_text(encoding="utf-8"))
        except (lightgbm.basic.LightGBMError, ValueError) as error:
            raise CheckpointError(f"{path} is no LightGBM model ({' '.join(str(error).split())}); restore it or train again") from None
        return [TREES]

    def _rounds(self, known: Known, candidates: Candidates, wanted: np.ndarray, values: np.ndarray, held: np.ndarray) -> int:
        """How many trees the held requests (bool B) like best, none included, by the metric on all of their candidates, far down the list."""
        train = ~held[candidates.requests]
        trees = self._seedling(candidates.keep(train), wanted[train], values[train])
        mask = held[known.candidates.requests]
        judged, seen = known.candidates.keep(mask), known.values[mask]
        found, start = features(judged, seen), self._slope * seen[:, self.base].astype(np.float64)
        full = np.zeros(len(known.candidates.items))

        def worth(scores: np.ndarray) -> float:
            full[mask] = scores
            return float(known.quality(full, STOP_AT)[held].mean())

        best, rounds, scores = worth(start), 0, start
        for tree in range(self.config.trees.rounds):
            if trees.update():
                break  # no split is left that gains
            scores = scores + trees.predict(found, start_iteration=tree, num_iteration=1, raw_score=True, num_threads=1)
            if (tree + 1) % 5 == 0 and (reached := worth(scores)) > best:
                best, rounds = reached, tree + 1
            if tree - rounds > self.config.trees.patience:
                break
        return rounds

    def _seedling(self, candidates: Candidates, wanted: np.ndarray, values: np.ndarray) -> Any:
        """A LightGBM booster without trees yet; `update` grows one."""
        lightgbm, sizes = load_lightgbm(), self.config.trees
        counts = np.diff(candidates.offsets)
        data = lightgbm.Dataset(
            features(candidates, values),
            wanted.astype(np.int32),
            group=counts[counts > 0],
            init_score=self._slope * values[:, self.base].astype(np.float64),
        )
        parameters = {
            "objective": "lambdarank",
            "learning_rate": sizes.learning_rate,
            "num_leaves": sizes.leaves,
            "min_data_in_leaf": sizes.leaf_rows,
            "lambdarank_truncation_level": 20,
            "feature_fraction": 0.5,
            "bagging_fraction": 0.7,
            "bagging_freq": 1,
            "lambda_l2": 10.0,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "verbosity": -1,
        }
        data.params = parameters
        return lightgbm.Booster(parameters, data)

    def _thinned(self, candidates: Candidates, wanted: np.ndarray) -> np.ndarray:
        """bool (C,): the targets, and of the others those that the base likes best and a draw of the rest, `negatives` a request in all."""
        keep = wanted.copy()
        half = self.config.trees.negatives // 2
        rank = candidates.ranks[:, self.base]
        draw = np.random.default_rng([self.seed, 6]).random(len(wanted))
        order = np.lexsort((draw, np.where(rank <= half, rank, candidates.depth + 1), candidates.requests))
        place = np.arange(len(order)) - np.repeat(candidates.offsets[:-1], np.diff(candidates.offsets))
        keep[order[place < self.config.trees.negatives]] = True
        return keep


def load_lightgbm() -> ModuleType:
    """Raises MissingExtraError naming the extra."""
    return require("lightgbm", "fusion")


def _by_member(given: np.ndarray, candidates: Candidates, members: list[str], parts: list[str]) -> np.ndarray:
    """float64 (C, M): what features give to each candidate, beyond the least that a candidate of the request gets, gathered by member.

    given  float (C, F).  What belongs to no member (how often an item was seen, the history) is nobody's share.
    """
    owners = np.array(feature_owners(members, parts))
    sums = np.stack([given[:, owners == name].sum(axis=1) for name in members], axis=1)
    least = np.full((len(candidates), len(members)), np.inf)
    np.minimum.at(least, candidates.requests, sums)
    return np.asarray(sums - least[candidates.requests])
