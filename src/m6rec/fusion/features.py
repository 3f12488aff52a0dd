"""What a learned blend knows of a candidate beside the members' scores.

Dimension keys: C candidates, M members, P parts, F features.
"""

from __future__ import annotations

import numpy as np

from m6rec.fusion.candidates import Candidates

LEAST_PART = 1e-7  # a part below this says no more than that it says nothing
SHARED = ("agreement", "log_seen", "new", "log_history")
REST = ""  # the owner of what belongs to no member


def feature_names(members: list[str], parts: list[str]) -> list[str]:
    """Names of the F columns of `features`."""
    kinds = ("score", "raw", "rank", "gap")
    return [f"{kind} {name}" for kind in kinds for name in members] + [f"part {name}" for name in parts] + list(SHARED)


def feature_owners(members: list[str], parts: list[str]) -> list[str]:
    """The member that each column of `features` comes from, REST for what belongs to none."""
    return [*members * 4, *(name.partition("/")[0] for name in parts), *(REST for _ in SHARED)]


def features(candidates: Candidates, values: np.ndarray) -> np.ndarray:
    """float32 (C, F): of each member the normalised score, the score itself, 1 / rank (0 beyond the depth) and how far it is below the request's best;
    ln of each part; how many members have it among their best; ln(1 + training events); 1 where there are none; ln(1 + history length).

    values  float32 (C, M), the normalised scores.
    """
    inside = candidates.ranks <= candidates.depth  # C M
    reciprocal = np.where(inside, 1 / candidates.ranks, 0.0)
    best = np.full((len(candidates), values.shape[1]), -np.inf, dtype=np.float32)
    free = ~candidates.consumed
    np.maximum.at(best, candidates.requests[free], values[free])
    gap = values - np.where(np.isfinite(best), best, 0.0)[candidates.requests]
    shared = [inside.sum(axis=1), candidates.log_seen, candidates.log_seen == 0, np.log1p(candidates.lengths)[candidates.requests]]
    return np.concatenate(
        [values, candidates.scores, reciprocal, gap, np.log(np.maximum(candidates.parts, LEAST_PART)), np.stack(shared, axis=1)], axis=1
    ).astype(np.float32)
