"""Active learning: which rows to label next, and why.

A row is worth a label where the model is undecided, where rows like it are many, and where nothing like it is labelled or chosen already:

    worth = undecided * density^a * (1 - likeness to the nearest labelled or chosen row)

Rows are chosen one by one, each making rows like it worth less (a weighted k-centre: Sener and Savarese, ICLR 2018; density after Settles
and Craven, EMNLP 2008). While labels are few the model knows little of what it does not know: the weight of `undecided` grows with them.

Shapes: G rows to choose from, L labelled rows, C classes or tags, F n-grams, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from m6rec.base.errors import UsageError

DIMENSIONS = 64
SAMPLE, NEAREST = 1000, 10  # rows among which density is measured, and how many of the nearest count
DENSITY_POWER = 0.5
ENOUGH = 10.0  # labels a class, from which on what the model is undecided about counts fully
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
        vectors: float32 (G, D) of unit length or zero; what is alike points the same way (`text_vectors`).
        probabilities: (G, C) of classes, or (G, 1) of yes (binary) or (G, C) of tags that do not sum to 1; None: no model yet.
        names: of the C columns.
        labelled: float32 (L, D), the vectors of rows that have a label; L may be 0.
        labels_per_class: labelled rows divided by the number of classes.
    """
    if count < 1:
        raise UsageError(f"count is {count}; ask for at least 1 row")
    total = len(vectors)
    generator = np.random.default_rng(seed)
    trust = min(labels_per_class / ENOUGH, 1.0) if probabilities is not None else 0.0
    undecided = np.ones(total) if probabilities is None else _undecided(probabilities)
    density = _density(vectors, generator)
    base = np.maximum(undecided, 1e-3) ** trust * np.maximum(density, 1e-3) ** DENSITY_POWER
    base *= 1 + 1e-6 * generator.random(total)  # equal rows: by seed, not by place
    likeness = (vectors @ labelled.T).max(axis=1, initial=0.0) if len(labelled) else np.zeros(total)
    likeness = np.clip(likeness, 0, 1)
    first_likeness = likeness.copy()
    chosen: list[Suggestion] = []
    taken = np.zeros(total, dtype=bool)
    top = 0.0
    for _ in range(min(count, total)):
        worth = np.where(taken, -1.0, base * (1 - likeness + 1e-3))
        row = int(worth.argmax())
        top = top or float(worth[row])
        reason = _reason(row, probabilities, names, undecided[row], density[row], first_likeness[row], len(labelled))
        chosen.append(Suggestion(row, float(worth[row]) / top, _guess(probabilities, names, row), reason))
        taken[row] = True
        likeness = np.maximum(likeness, np.clip(vectors @ vectors[row], 0, 1))
    return chosen


def text_vectors(rows: csr_array, seed: int = 0, dimensions: int = DIMENSIONS) -> np.ndarray:
    """float32 (G, D), unit rows (zero for an empty text): latent semantic analysis of n-gram rows (G, F)."""
    rank = max(min(dimensions, min(rows.shape) - 1), 0)
    if not rank or not rows.nnz:
        return np.zeros((rows.shape[0], 1), np.float32)
    start = np.random.default_rng(seed).standard_normal(min(rows.shape))
    left, strengths, _ = svds(rows.astype(np.float64), k=rank, v0=start)
    vectors = left * np.sqrt(np.maximum(strengths, 0))  # the strongest directions say what most texts share: half their weight
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(lengths > 1e-9, vectors / np.maximum(lengths, 1e-12), 0).astype(np.float32)


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
