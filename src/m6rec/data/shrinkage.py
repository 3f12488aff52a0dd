"""How far a rate with little to go on is drawn to that of its parent: learned from how unlike the keys of a kind are.

Shapes: R rows of the log, K kinds of keys, V values of a kind a row may have, L labels.
"""

from __future__ import annotations

import numpy as np

LEAST, MOST = 2.0, 1_000.0  # rows that the parent's rate may count for
PAIRS = 200.0  # pairs of rows of one key that the usual strength counts for where the data say little
ROUNDS = 6


def strengths(coded: np.ndarray, parents: np.ndarray, levels: list[np.ndarray], outcomes: np.ndarray, usual: float) -> np.ndarray:
    """float64 (K, L): m of (positives + m parent) / (shown + m) for every kind of key and label.

    The share of a label's variance that lies between the keys of a kind, rho, by moments: for a key with n rows, sum s and parent's rate p,
    E[(s - n p)^2] = n v + n (n - 1) rho v, v = p (1 - p) for shares; then m = (1 - rho) / rho (beta-binomial; Williams 1982).

    Args:
        coded: int64 (K, R, V), -1 for no key.  parents: the parent's kind of each kind.  levels: kinds, parents before their children.
        outcomes: float (R, L), NaN unknown.  usual: m where the data do not say.
    """
    found = np.full((len(coded), outcomes.shape[1]), usual)
    for label in range(outcomes.shape[1]):
        rows = np.flatnonzero(~np.isnan(outcomes[:, label]))
        if not len(rows):
            continue
        values = outcomes[rows, label].astype(np.float64)
        share = bool(((values >= 0) & (values <= 1)).all())
        rates = np.full((len(coded), len(rows)), values.mean())  # of the row's key of each kind
        for level in levels[1:]:
            for kind in level:
                parent = rates[parents[kind]]
                spread = np.maximum(parent * (1 - parent), 1e-6) if share else np.full(len(rows), max(values.var(), 1e-6))
                found[kind, label], rates[kind] = _of_kind(coded[kind][rows], values, parent, spread, usual)
    return found


def _of_kind(coded: np.ndarray, values: np.ndarray, parent: np.ndarray, spread: np.ndarray, usual: float) -> tuple[float, np.ndarray]:
    """m of one kind and the rate (R,) of each row's key; of a row with several keys their rows together, as they are read."""
    row, place = np.nonzero(coded >= 0)
    if not len(row):
        return usual, parent
    key = np.unique(coded[row, place], return_inverse=True)[1]
    shown = np.bincount(key)
    over, noise = np.bincount(key, (values - parent)[row]), np.bincount(key, spread[row]) / shown
    extra, pairs = over**2 - shown * noise, shown * (shown - 1) * noise
    rho = prior = 1 / (1 + usual)
    few = PAIRS * float(np.average(noise, weights=shown))
    for _ in range(ROUNDS):  # a key's say shrinks with how sure it is: large keys do not decide alone
        weight = 1 / (1 + (shown - 1) * rho) ** 2
        rho = float(np.clip((weight @ extra + few * prior) / (weight @ pairs + few), 1 / (1 + MOST), 1 / (1 + LEAST)))
    strength = (1 - rho) / rho
    total = np.bincount(row, shown[key], minlength=len(coded))
    drawn = np.bincount(row, over[key], minlength=len(coded)) / (total + strength)
    return strength, parent + drawn
