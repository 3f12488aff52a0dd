"""The page of a study: what was tried, what helped, how sure that is. Reads records of trials, never models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from markupsafe import Markup

from m6rec.evaluation.comparison import label
from m6rec.evaluation.pages import page_templates
from m6rec.evaluation.plots import Bar, bar_chart, short
from m6rec.evaluation.study_plots import Kind, Point, TrialCurve, curve_chart, point_chart

MOST_CURVES = 60


@dataclass(frozen=True)
class TrialRecord:
    """One trial. `curve` is epoch -> validation metric; `default`: the configuration as it was given."""

    number: int
    state: Literal["complete", "pruned", "failed", "unfinished", "running"] | str
    value: float = math.nan
    values: dict[str, Any] = field(default_factory=dict)
    curve: dict[int, float] = field(default_factory=dict)
    seconds: float = 0.0
    reason: str = ""
    default: bool = False


@dataclass(frozen=True)
class Range:
    """What was searched of one key, in words; `log`: its axis is logarithmic; `choice`: its values are named, not measured."""

    key: str
    wording: str
    log: bool
    choice: bool


def tuning_page(
    trials: Sequence[TrialRecord],
    *,
    title: str,
    metric: str,
    ranges: Sequence[Range],
    best: TrialRecord | None,
    default: TrialRecord | None,
    importance: dict[str, float],
    statement: str = "",
) -> str:
    """The whole page as text; it loads nothing from elsewhere.

    Args:
        trials: in the order of their numbers.
        metric: of the validation cases, higher is better.
        best, default: two of the trials, None while there is none.
        importance: key -> share of the differences it explains; empty while too little is known.
        statement: one sentence on how the cases were cut.
    """
    environment = page_templates()
    shown = [trial for trial in trials if trial.state in ("complete", "pruned")]
    drawn = [trial for trial in trials if trial.curve and trial.state != "unfinished"]
    floor = _floor(shown)
    counts = {state: sum(trial.state == state for trial in trials) for state in ("complete", "pruned", "failed")}
    by_importance = sorted(ranges, key=lambda one: -importance.get(one.key, 0.0))
    return environment.get_template("tuning.html.jinja").render(
        title=title,
        metric=label(metric),
        best=best,
        default=default,
        counts=counts,
        seconds=_clock(sum(trial.seconds for trial in trials)),
        tiles=_tiles(best, default, label(metric), counts),
        keys=[(one, default.values.get(one.key) if default else None, best.values.get(one.key) if best else None) for one in by_importance],
        importance=importance,
        history=Markup(_history(shown, best, label(metric), floor)) if shown else "",
        clipped=sum(trial.value < floor for trial in shown),
        importance_chart=Markup(_importance(importance)) if importance else "",
        slices=[(one.key, Markup(_slice(one, shown, best, label(metric), floor))) for one in by_importance if _varied(one.key, shown)],
        curves=Markup(_curves(drawn, best, label(metric))) if drawn else "",
        most_curves=MOST_CURVES if len(drawn) > MOST_CURVES else 0,
        trials=sorted(
            trials, key=lambda one: (math.isnan(one.value), one.state != "complete", -one.value if one.value == one.value else one.number)
        ),
        ranges=list(ranges),
        show=_show,
        clock=_clock,
        short=short,
        statement=statement[:1].upper() + statement[1:],
    )


def _tiles(best: TrialRecord | None, default: TrialRecord | None, metric: str, counts: dict[str, int]) -> list[tuple[str, str, str]]:
    tiles = []
    if best is not None:
        what = "the configuration as it was" if best.default else f"trial {best.number}"
        tiles.append((f"{best.value:.4f}", f"best validation {metric}", what))
    if default is not None and not math.isnan(default.value):
        tiles.append((f"{default.value:.4f}", "as configured", f"trial {default.number}"))
        if best is not None and default.value > 0:
            tiles.append((f"{100 * (best.value / default.value - 1):+.1f} %", "gained", "on the cases it was chosen by"))
    tiles.append((str(sum(counts.values())), "trials", ", ".join(f"{n} {word}" for n, word in _states(counts))))
    return tiles


def _states(counts: dict[str, int]) -> list[tuple[int, str]]:
    words = {"complete": "finished", "pruned": "stopped early", "failed": "failed"}
    return [(counts[state], word) for state, word in words.items() if counts[state]]


def _floor(shown: Sequence[TrialRecord]) -> float:
    """Where the vertical axes begin: so low that only trials far behind all others are drawn at the edge."""
    values = [trial.value for trial in shown]
    return max(values) - 1.5 * (max(values) - float(np.quantile(values, 0.25))) - 1e-9 if len(values) >= 4 else -math.inf


def _kind(trial: TrialRecord, best: TrialRecord | None) -> Kind:
    if best is not None and trial.number == best.number:
        return "best"
    return "default" if trial.default else "pruned" if trial.state != "complete" else "trial"


def _words(trial: TrialRecord, metric: str) -> str:
    values = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in trial.values.items())
    return f"trial {trial.number}: {metric} {_show(trial.value)}; {values}"


def _history(shown: Sequence[TrialRecord], best: TrialRecord | None, metric: str, floor: float) -> str:
    points = [Point(trial.number, trial.value, _kind(trial, best), _words(trial, metric)) for trial in shown]
    steps: list[tuple[float, float]] = []
    for trial in shown:
        if trial.state == "complete" and (not steps or trial.value > steps[-1][1]):
            steps.append((trial.number, trial.value))
    worded = "; ".join(f"from trial {number:g} on the best is {value:.4f}" for number, value in steps) or "no trial is finished"
    return point_chart("history", "The best so far", worded + ".", points, x_label="trial", y_label=metric, floor=floor, steps=steps)


def _importance(importance: dict[str, float]) -> str:
    bars = [Bar(key, share, main=place == 0) for place, (key, share) in enumerate(sorted(importance.items(), key=lambda one: -one[1]))]
    worded = "; ".join(f"{bar.label} {bar.mean:.2f}" for bar in bars)
    bars = [Bar(bar.label.removeprefix("tasks.").partition(".")[2] or bar.label, bar.mean, main=bar.main) for bar in bars]
    return bar_chart("importance", "What the differences between trials come from", worded + ".", {"": bars}, digits=2)


def _varied(key: str, shown: Sequence[TrialRecord]) -> bool:
    return len({str(trial.values[key]) for trial in shown if trial.values.get(key) is not None}) > 1


def _slice(one: Range, shown: Sequence[TrialRecord], best: TrialRecord | None, metric: str, floor: float) -> str:
    known = [trial for trial in shown if trial.values.get(one.key) is not None]
    if one.choice:
        names = sorted(
            {str(trial.values[one.key]) for trial in known}, key=lambda name: (not _number(name), float(name) if _number(name) else 0, name)
        )
        place = {name: float(number) for number, name in enumerate(names)}
        points = [Point(place[str(t.values[one.key])], t.value, _kind(t, best), _words(t, metric)) for t in known]
        words: dict[float, str] | None = {number: name for name, number in place.items()}
    else:
        points = [Point(float(t.values[one.key]), t.value, _kind(t, best), _words(t, metric)) for t in known]
        words = None
    log = one.log and all(point.x > 0 for point in points)
    worded = "; ".join(f"{t.values[one.key]}: {_show(t.value)}" for t in known[:40])
    name = one.key.rpartition(".")[2]
    key = "slice-" + one.key.replace(".", "-")
    return point_chart(
        key, f"{metric} against {one.key}", worded + ".", points, x_label=name, y_label=metric, log_x=log, x_words=words, floor=floor
    )


def _curves(trials: Sequence[TrialRecord], best: TrialRecord | None, metric: str) -> str:
    first = sorted(trials, key=lambda one: (_kind(one, best) not in ("best", "default"), -one.number))[:MOST_CURVES]
    curves = [TrialCurve(epochs := sorted(t.curve), [t.curve[epoch] for epoch in epochs], _kind(t, best), _words(t, metric)) for t in first]
    tops = [max(curve.ys) for curve in curves]
    # The first epochs of most trials lie far below; what tells them apart is near the top.
    floor = max(min(min(curve.ys) for curve in curves), min(0.8 * max(tops), float(np.quantile(tops, 0.25))))
    worded = "; ".join(f"{c.words.partition(':')[0]} reached {max(c.ys):.4f} in {len(c.xs)} epochs" for c in curves[:40])
    return curve_chart("curves", "Validation after every epoch", worded + ".", curves, x_label="epoch", y_label=metric, floor=floor)


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _show(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    return short(str(value), 60)


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
