"""What a readout asks for: go on, take an arm out, ship a winner, stop. Decided by the always-valid intervals, so at any look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from m6rec.serving.experiments.config import Experiment
from m6rec.serving.experiments.readout import Comparison, Readout

Action = Literal["go on", "roll back", "ship", "stop"]


@dataclass(frozen=True)
class Decision:
    """action: "roll back": the `arms` harm, nobody goes there any more; "ship": the one arm in `arms` is better;
    "stop": nothing is left to find out, or nothing here can be trusted.  reasons: one sentence each.
    """

    action: Action
    arms: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def decide(experiment: Experiment, readout: Readout) -> Decision:
    """The decision that a readout asks for. Harm goes first, then doubt, then a winner, then "no difference worth finding"."""
    open_ = {arm.name for arm in experiment.arms if arm.share > 0}
    harmed: dict[str, str] = {}
    rails = [rail for rail in experiment.guardrails for _ in experiment.arms[1:]]
    for rail, found in zip(rails, readout.guardrails, strict=True):
        if found.arm in open_ and _surely_worse(found, rail.most):
            harmed.setdefault(found.arm, _said(found, f"worse than the {rail.most:.1%} that are put up with"))
    for found in readout.comparisons:
        if found.arm in open_ and _surely_worse(found, 0.0):
            harmed.setdefault(found.arm, _said(found, "worse than the control"))
    if harmed:
        return Decision("roll back", tuple(harmed), tuple(harmed.values()))
    if readout.mismatch:
        counts = ", ".join(f"{arm.arm} {arm.units}" for arm in readout.arms)
        return Decision(
            "stop", (), (f"people came as {counts}, not in the planned shares (p = {readout.mismatch_p:.1g}); find out why first",)
        )
    judged = [found for found in readout.comparisons if found.arm in open_]
    winners = [found for found in judged if _gain(found)[0] > 0]
    if winners:
        best = max(winners, key=lambda found: _gain(found)[0])
        return Decision("ship", (best.arm,), (_said(best, "better than the control"),))
    alike = [found for found in judged if found.enough and _gain(found)[1] < experiment.least_effect]
    if judged and len(alike) == len(judged):
        return Decision("stop", (), tuple(_said(found, f"no gain of {experiment.least_effect:.1%}") for found in alike))
    return Decision("go on")


def applied(experiment: Experiment, decision: Decision, now: float | None = None) -> Experiment:
    """The experiment after a decision. Roll-back: the people of the arms go to those left, and with only the control left it is stopped.

    "ship" and "stop" stop it: which model answers from now on is the switch's business.

    Args:
        now: seconds since 1970. After a change of shares, exposures count from here on: those before came in other shares.
    """
    if decision.action == "go on":
        return experiment
    if decision.action != "roll back":
        return experiment.shared({}, status="stopped")
    left = {arm.name: arm.share for arm in experiment.arms if arm.name not in decision.arms}
    total = sum(left.values())
    if total <= 0 or not any(share > 0 for name, share in left.items() if name != experiment.control.name):
        shares = {arm.name: float(arm.name == experiment.control.name) for arm in experiment.arms}
        return experiment.shared(shares, status="stopped")
    # In proportion, so that only the people of the arms taken out move.
    shares = {arm.name: left.get(arm.name, 0.0) / total for arm in experiment.arms}
    return experiment.shared(shares, since=experiment.since if now is None else now)


def _gain(found: Comparison) -> tuple[float, float]:
    """The relative interval with the good direction up."""
    if found.better == "higher":
        return found.relative_low, found.relative_high
    return -found.relative_high, -found.relative_low


def _surely_worse(found: Comparison, most: float) -> bool:
    return found.enough and _gain(found)[1] < -most


def _said(found: Comparison, verdict: str) -> str:
    low, high = found.relative_low, found.relative_high
    return f"{found.arm}: {found.metric} {found.relative:+.1%} ({low:+.1%} to {high:+.1%} at any look): {verdict}"
