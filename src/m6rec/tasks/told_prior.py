"""What people who say such things have: items counted by profile fields and named values, in closed form.

    E(i | said) = m_i + x . W_i        x: which fields and values are said, 0 or 1, and whether any are
    W = argmin sum over training people |y - m - x W|^2 + smoothing |W|^2        ridge regression, solved once

y holds 1 for each item of a person that what they say was not made of. There are two of them: `first`, the first events of somebody new, and `rest`,
everything they have: what newcomers do first is one thing, what they like is another. With few people W is 0, and both are popularity.

Shapes: U people, N items, D fields and values, V values that may be named, B requests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from m6rec.base.contracts import Histories
from m6rec.tasks.interest import standing_out

FIRST = 10  # events of a newcomer
LATER = 5  # events that values stand out among, at least
NAMED = 3  # values that are named at most
LEAST_SHARE = 0.1  # of its popularity that an item keeps, whatever is said
MOST_WEIGHTS = 30_000_000


@dataclass(frozen=True)
class ToldPrior:
    """weights float32 (2, D, N) and means float32 (2, N) of `first` and `rest`; people: how many were counted; D: whether a profile and values are said,
    then profile features, then values: columns int64 (V,) of a bag."""

    weights: np.ndarray
    means: np.ndarray
    values: np.ndarray
    people: int

    def scores(self, said: list[np.ndarray], profiles: csr_array | None, size: int) -> np.ndarray:
        """float32 (2, B, N'): log E of `first` and `rest` for N' = `size` items, those above N new.

        Args:
            said: columns of a bag for each request; those that are no value here are passed over.
            profiles: csr (B, P); None where nobody is described.
        """
        about = _features(said, profiles, self.values, self.weights.shape[1] - 2 - len(self.values))
        rare = 1.0 / (self.people + 1)
        result = np.full((2, about.shape[0], size), np.log(LEAST_SHARE * rare), dtype=np.float32)
        for found, weights, mean in zip(result, self.weights, self.means, strict=True):
            found[:, : len(mean)] = np.log(np.maximum(mean + about @ weights, LEAST_SHARE * (mean + rare)))
        return result


def fit_told(
    histories: Histories,
    people: np.ndarray,
    matrix: csr_array,
    values: np.ndarray,
    spread: np.ndarray,
    profiles: csr_array | None,
    smoothing: float,
    generator: np.random.Generator,
) -> ToldPrior | None:
    """Count the histories of `people`; None where nothing can be said, or nobody has two items.

    Args:
        histories: a row a user; people: int64, those that are counted.
        matrix: csr (N, F) words and values of the items; values: int64, the columns that may be named; spread: their shares of all events.
        profiles: csr (users, P); None where people have no fields.
        smoothing: people whose absence of any pattern weighs as much as what is counted.
    """
    size, fields = matrix.shape[0], 0 if profiles is None else profiles.shape[1]
    able = people[histories.lengths[people] >= 2]
    room = MOST_WEIGHTS // (2 * max(size, 1)) - 2 - fields
    if len(able) < 2 or room < 0 or not (fields or len(values)):
        return None
    named = np.sort(np.argsort(-spread, kind="stable")[:room])
    values, spread = values[named], spread[named]
    halves = [(row, generator.random(len(row)) < 0.5) for row in (histories.row(int(user)) for user in able)]
    asked = [([row[:FIRST] for row, _ in halves], [row[FIRST:] for row, _ in halves])]
    asked.append(([row[side] for row, side in halves], [row[~side] for row, side in halves]))
    own = None if profiles is None else csr_array(profiles[able])
    weights, means = zip(*(_solved(*one, matrix, values, spread, own, smoothing) for one in asked), strict=True)
    return ToldPrior(np.stack(weights), np.stack(means), values, len(able))


def _solved(
    targets: list[np.ndarray],
    told: list[np.ndarray],
    matrix: csr_array,
    values: np.ndarray,
    spread: np.ndarray,
    profiles: csr_array | None,
    smoothing: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(weights (D, N), means (N,)) of one question; everybody once says all, once values alone, once the profile alone."""
    count, size = len(targets), matrix.shape[0]
    said = [named_values(matrix, values, spread, items) for items in told]
    nothing: list[np.ndarray] = [values[:0]] * count
    fields = 0 if profiles is None else profiles.shape[1]
    forms = [(said, profiles)] + ([(said, None), (nothing, profiles)] if profiles is not None and len(values) else [])
    about = np.concatenate([_features(words, some, values, fields) for words, some in forms])
    columns = [np.unique(row) for row in targets]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in columns])])
    wanted = csr_array((np.ones(offsets[-1], np.float32), np.concatenate(columns).astype(np.int32), offsets), shape=(count, size))
    mean = np.asarray(wanted.sum(axis=0)).ravel() / count
    square = about.T @ about / len(forms) + smoothing * np.eye(about.shape[1])
    summed = sum(about[start : start + count] for start in range(0, len(about), count))
    product = (wanted.T @ summed).T / len(forms) - np.outer(about.sum(axis=0) / len(forms), mean)
    return np.linalg.solve(square, product).astype(np.float32), mean.astype(np.float32)


def named_values(matrix: csr_array, values: np.ndarray, spread: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The columns of the values that somebody with these items would name; none where there are too few items to tell."""
    return standing_out(matrix, values, spread, items, NAMED) if len(items) >= LATER and len(values) else values[:0]


def _features(said: list[np.ndarray], profiles: csr_array | None, values: np.ndarray, fields: int) -> np.ndarray:
    """float64 (B, D)."""
    result = np.zeros((len(said), 2 + fields + len(values)))
    if profiles is not None:
        result[:, 2 : 2 + fields] = profiles.toarray() > 0
        result[:, 0] = result[:, 2 : 2 + fields].any(axis=1)
    for row, columns in zip(result, said, strict=True):
        row[2 + fields + np.flatnonzero(np.isin(values, columns))] = 1.0
        row[1] = row[2 + fields :].any()
    return result
