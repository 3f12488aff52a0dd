"""Looking at any time: intervals and tests that stay valid however often somebody looks, and stops when they like what they see.

A normal mixture over the effect (Robbins 1970; mixture sequential probability ratio test, Johari, Koomen, Pekelis & Walsh 2022; for
estimates that are only asymptotically normal: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024). With the estimate d, its squared
standard error s2 and the mixture N(0, tau2):

    evidence = sqrt(s2 / (s2 + tau2)) exp(d2 tau2 / (2 s2 (s2 + tau2)))

is a martingale from 1 where there is no effect, so it passes 1 / alpha at any time with probability at most alpha (Ville 1939).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

CONCENTRATION = 100.0  # of the mixture over shares: how near to the planned ones the others are thought to lie


def always_valid_p(difference: ArrayLike, error: ArrayLike, scale: ArrayLike) -> np.ndarray:
    """float64: the smallest alpha at which the evidence so far would stop; valid at every look. 1 where nothing is known.

    Args:
        difference, error: estimates and their standard errors, of one shape.
        scale: tau, the size of the effects that are looked for; the power is highest there.
    """
    known, effect = np.square(np.asarray(error, dtype=np.float64)), np.square(np.asarray(scale, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        against = np.square(np.asarray(difference, dtype=np.float64)) * effect / (2 * known * (known + effect))
        log_evidence = against - 0.5 * np.log1p(effect / known)
    return np.where((known > 0) & np.isfinite(log_evidence), np.exp(-np.maximum(log_evidence, 0.0)), 1.0)


def always_valid_radius(error: ArrayLike, scale: float, alpha: float) -> np.ndarray:
    """float64: half the width of the intervals that hold the effect at all times together with probability 1 - alpha; inf: nothing known."""
    known = np.square(np.asarray(error, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        radius = np.sqrt(2 * known * (known + scale**2) / scale**2 * (math.log(1 / alpha) + 0.5 * np.log1p(scale**2 / known)))
    return np.where((known > 0) & np.isfinite(radius), radius, np.inf)


def share_mismatch_p(counts: Mapping[str, int] | Sequence[int], shares: Sequence[float]) -> float:
    """Always-valid p-value of "units come to the arms with the planned shares" (Dirichlet mixture, Lindon & Malek 2022).

    A small one means that something else than the assignment decides who is counted: no readout can be trusted then.
    """
    seen = np.array(list(counts.values()) if isinstance(counts, Mapping) else counts, dtype=np.float64)
    planned = np.asarray(shares, dtype=np.float64)
    if (seen[planned <= 0] > 0).any():
        return 0.0
    seen, planned = seen[planned > 0], planned[planned > 0]
    prior = CONCENTRATION * planned
    mixed = gammaln(prior.sum()) - gammaln(seen.sum() + prior.sum()) + (gammaln(seen + prior) - gammaln(prior)).sum()
    return float(min(1.0, math.exp(min(0.0, (seen * np.log(planned)).sum() - mixed))))
