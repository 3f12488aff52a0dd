"""Who goes to which arm: a hash says it, no store needed, and every worker says the same.

Weighted rendezvous hashing (Thaler & Ravishankar 1998; weights after Schindelhauer & Schomaker 2005): every arm draws an exponential
of rate `share` from the hash of (salt, arm, unit), and the earliest wins, so that P(arm) = share. When shares change, a person moves only
to an arm whose share grew by more, relative to what it was, than that of the arm they leave. When an arm is stopped, only its people move.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

from m6rec.serving.experiments.config import Arm, Experiment

BITS = 53


@dataclass(frozen=True)
class Assignment:
    """An experiment and the arm that somebody is in."""

    experiment: Experiment
    arm: Arm


def uniform(*parts: str) -> float:
    """A number in (0, 1) that depends on the texts alone, as SHA-256 of them would have it by chance."""
    text = "".join(f"{len(part)}:{part}" for part in parts)  # lengths, so that ("ab", "c") is not ("a", "bc")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return ((int.from_bytes(digest[:8], "big") >> (64 - BITS)) + 0.5) / 2**BITS


def assign(experiment: Experiment, unit: str) -> Arm | None:
    """The arm of a unit (a user id; of a person not known, a session id); None where it does not take part.

    The same unit is always in the same arm, and its arms in experiments with different salts are independent.
    """
    salt = experiment.salt or experiment.name
    if experiment.status != "running" or (experiment.traffic < 1 and uniform("traffic", salt, unit) >= experiment.traffic):
        return None
    open_ = [arm for arm in experiment.arms if arm.share > 0]
    return min(open_, key=lambda arm: -math.log(uniform("arm", salt, arm.name, unit)) / arm.share)


def choose(experiments: Iterable[Experiment], unit: str, scenario: str | None = None) -> Assignment | None:
    """The one experiment that a request of this unit is part of: the first that runs here and takes the unit in; None for none.

    One at a time, because arms say which model answers. Who is left to a later experiment does not depend on that experiment, so in the order of
    `starting.in_order` nobody leaves an experiment because another one starts.
    """
    for experiment in experiments:
        if experiment.scenarios and scenario not in experiment.scenarios:
            continue
        arm = assign(experiment, unit)
        if arm is not None:
            return Assignment(experiment, arm)
    return None
