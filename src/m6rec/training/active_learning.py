"""Active learning: which rows to label next, and why.

A row is worth a label where the model is undecided, where rows like it are many, and where nothing like it is labelled or chosen already:

    weight = undecided^(3 trust) * (1 - likeness to the nearest labelled row)

The rows are cut into as many clusters as labels are wanted (k-means, each row counting as much as its weight); of each cluster the row nearest
to its centre is chosen, the heaviest cluster first. So doubt draws the centres near without a hard line behind which nothing is looked at:
rows taken for their doubt alone are of one kind and shift what the classes look like. (Clusters of doubt: Zhdanov, arXiv 1901.05954; Citovsky
et al., NeurIPS 2021.) While labels are few the model knows little of what it does not know: `trust` grows with them.

Shapes: G rows to choose from, L labelled rows, C classes or tags, D dimensions.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

from m6rec.base.errors import UsageError

SAMPLE, NEAREST = 1000, 10  # rows among which density is measured, and how many of the nearest count
SHARPNESS = 3.0  # how much doubt weighs where the model is trusted
ENOUGH = 10.0  # labels a class, from which on what the model is undecided about counts fully
ROUNDS, MANY = 20, 50_000_000  # of k-means; rows times clusters from which on it looks at a sample at a time
MANY_LIKE_IT, NOTHING_LIKE_IT, CLOSE = 0.6, 0.25, 0.15


@dataclass(frozen=True)
class Suggestion:
    """One row to label: its place among the rows, how much it is worth (1 is the first chosen), what the model guesses, and why."""

    row: int
    worth: float
    guess: str
    reason: str


def suggest(
    vectors: np.ndarray,
    probabilities: np.ndarray | None,
    names: Sequence[str],
    labelled: np.ndarray,
    count: int,
    *,
    labels_per_class: float,
    seed: int = 0,
) -> list[Suggestion]:
    """The `count` rows to label next, best first; fewer where there are fewer rows.

    Args:
        vectors: float32 (G, D) of unit length or zero; what is alike points the same way (`Documents.vectors`).
        probabilities: (G, C) of classes, or (G, 1) of yes (binary) or (G, C) of tags that do not sum to 1; None: no model yet.
        names: of the C columns.
        labelled: float32 (L, D), the vectors of rows that have a label; L may be 0.
        labels_per_class: labelled rows divided by the number of classes.
    """
    if count < 1:
        raise UsageError(f"count is {count}; ask for at least 1 row")
    undecided = np.ones(len(vectors)) if probabilities is None else _undecided(probabilities)
    trust = min(labels_per_class / ENOUGH, 1.0) if probabilities is not None else 0.0
    likeness = np.clip((vectors @ labelled.T).max(axis=1, initial=0.0), 0, 1) if len(labelled) else np.zeros(len(vectors))
    weights = np.maximum(undecided, 1e-3) ** (SHARPNESS * trust) * (1 - likeness + 1e-3)
    rows, worth = _middles(vectors, weights, min(count, len(vectors)), seed)
    density = _density(vectors, np.random.default_rng(seed))
    return [
        Suggestion(
            row,
            float(value / worth[0]),
            _guess(probabilities, names, row),
            _reason(row, probabilities, names, undecided[row], density[row], likeness[row], len(labelled)),
        )
        for row, value in zip(rows.tolist(), worth, strict=True)
    ]


def _middles(vectors: np.ndarray, weights: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` rows, each the nearest to the centre of its cluster, and the weight of the clusters, heaviest first.

    Where rows are equal there are fewer clusters than asked for; the heaviest rows that are left make up for them and count alone.
    """
    alone = np.argsort(-weights, kind="stable")
    if count == len(vectors):
        return alone, weights[alone]
    settings: dict[str, Any] = {"n_clusters": count, "n_init": 1, "random_state": seed, "max_iter": ROUNDS}
    many = len(vectors) * count > MANY
    clustering = MiniBatchKMeans(batch_size=4096, **settings) if many else KMeans(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than clusters
        cluster = clustering.fit(vectors, sample_weight=weights).labels_
    distance = np.square(vectors - clustering.cluster_centers_[cluster]).sum(axis=1)
    nearest = np.lexsort((distance, cluster))
    found, first = np.unique(cluster[nearest], return_index=True)
    rows, worth = nearest[first], np.bincount(cluster, weights, count)[found]
    heaviest = np.argsort(-worth, kind="stable")
    more = alone[~np.isin(alone, rows)][: count - len(rows)]
    return np.concatenate([rows[heaviest], more]), np.concatenate([worth[heaviest], np.minimum(weights[more], worth.min())])


def _undecided(probabilities: np.ndarray) -> np.ndarray:
    """(G,) in 0..1: 1 minus the lead of the most likely answer; of tags, of the least decided one."""
    if _exclusive(probabilities):
        best = -np.partition(-probabilities, 1, axis=1)[:, :2]
        return 1 - (best[:, 0] - best[:, 1])
    return (1 - np.abs(2 * probabilities - 1)).max(axis=1)


def _exclusive(probabilities: np.ndarray) -> bool:
    return probabilities.shape[1] > 1 and bool(np.allclose(probabilities.sum(axis=1), 1, atol=1e-3))


def _density(vectors: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(G,) in 0..1: mean likeness to the nearest rows of a sample."""
    sample = vectors[generator.choice(len(vectors), min(SAMPLE, len(vectors)), replace=False)] if len(vectors) else vectors
    nearest = min(NEAREST, max(len(sample) - 1, 1))
    found = np.zeros(len(vectors))
    for start in range(0, len(vectors), 4096):
        cosines = vectors[start : start + 4096] @ sample.T
        found[start : start + 4096] = np.clip(-np.partition(-cosines, nearest - 1, axis=1)[:, :nearest], 0, 1).mean(axis=1)
    return found


def _guess(probabilities: np.ndarray | None, names: Sequence[str], row: int) -> str:
    if probabilities is None:
        return ""
    if _exclusive(probabilities):
        return names[int(probabilities[row].argmax())]
    if probabilities.shape[1] == 1:
        return "yes" if probabilities[row, 0] >= 0.5 else "no"
    return "|".join(name for name, value in zip(names, probabilities[row], strict=True) if value >= 0.5)


def _reason(
    row: int, probabilities: np.ndarray | None, names: Sequence[str], undecided: float, density: float, likeness: float, labelled: int
) -> str:
    said = []
    if probabilities is not None and undecided >= CLOSE:
        values = probabilities[row]
        if _exclusive(probabilities):
            first, second = np.argsort(-values, kind="stable")[:2]
            said.append(f"between {names[first]} ({values[first]:.2f}) and {names[second]} ({values[second]:.2f})")
        else:
            column = int(np.abs(values - 0.5).argmin())
            what = f"undecided about {names[column]}" if values.shape[0] > 1 else "undecided"
            said.append(f"{what} ({values[column]:.2f})")
    if labelled and likeness < NOTHING_LIKE_IT:
        said.append("unlike anything labelled")
    if density >= MANY_LIKE_IT:
        said.append("many rows are like it")
    return "; ".join(said) or ("differs most from what is labelled" if labelled else "stands for the rows around it")
