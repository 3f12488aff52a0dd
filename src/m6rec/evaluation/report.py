"""The HTML report: one self-contained file with tables and inline SVG, no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from m6rec.evaluation.calibration import Calibration
from m6rec.evaluation.choice_tables import basket_tables, dialogue_tables, scenario_tables
from m6rec.evaluation.comparison import BEYOND, best, beyond_metrics, check_comparable, differences, headline, label, shown_metrics
from m6rec.evaluation.conversed import Conversed
from m6rec.evaluation.curves import cell_shares, flatten, training_charts
from m6rec.evaluation.evaluated import Estimate, Evaluation
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.judged_report import judged_section
from m6rec.evaluation.metrics import METRICS
from m6rec.evaluation.pages import page_templates
from m6rec.evaluation.plots import Bar, Line, bar_chart, line_chart, short
from m6rec.evaluation.slices import NAMES
from m6rec.evaluation.terminal import text_table

__all__ = ["Sample", "html_report", "text_table"]

DEEPEST = 1000  # the hit rate is drawn down to this place of the list

UNITS = {"novelty": "bits", "popularity": "training events", "diversity": "1 - similarity", "serendipity": "share of the targets"}


@dataclass(frozen=True)
class Sample:
    """One example of recommendations, all as titles.

    history, recent: oldest first. `answer`: what the person really chose next, "" where that is not known.
    """

    user: str
    history: Sequence[str]
    recommended: Sequence[str]
    answer: str = ""


def html_report(
    evaluations: list[Evaluation],
    *,
    title: str,
    facts: dict[str, Any] | None = None,
    account: Sequence[tuple[str, int, str]] = (),
    curves: Sequence[dict[str, Any]] = (),
    samples: Sequence[Sample] = (),
    reference: str | None = None,
    judged: Sequence[Judged] = (),
    least: int = 0,
    judged_charts: Sequence[tuple[str, str]] = (),
    calibrations: Sequence[tuple[Calibration, Judged]] = (),
    completed: Sequence[Evaluation] = (),
    named: Sequence[Evaluation] = (),
    conversed: Sequence[Conversed] = (),
) -> str:
    """The whole page as text.

    Args:
        evaluations: of the same cases; the first is the model the page is about.
        facts: group -> {name: value}, shown as one table a group (data counts, configuration, seed, version, times);
            nested dicts are joined with dots, a value that is no dict goes to a first group.
        account: what was read, kept and dropped: (what, rows, why).
        curves: training-log records, see `evaluation.curves`.
        samples: examples of recommendations.
        reference: the scorer that the others are compared with; by default the first.
        judged: scorers by tasks that judge, the first one the model; see `judged_report.judged_section`.
        least: judged cells with fewer rows of the rarer answer are left out of means.
        judged_charts: (caption, inline SVG) of further charts of those tasks.
        calibrations: what was chosen on validation and the rows before it was applied.
        completed: of what completes baskets, scorers of the same cases.
        named: of the items named in dialogues, scorers of the same cases.
        conversed: how conversations answered held-out dialogues.

    Raises:
        UsageError: nothing to show, or evaluations of different cases or cutoffs.
    """
    check_comparable(evaluations)
    first = evaluations[0]
    reference = reference or first.name
    environment = page_templates()
    names = headline(first)
    return environment.get_template("report.html.jinja").render(
        title=title,
        first=first,
        evaluations=evaluations,
        names=names,
        label=label,
        tiles=_tiles(first, names),
        winners={name: best(evaluations, name) for name in [*names, _coverage_name(names)]},
        coverage=_coverage_name(names),
        full_names=[f"{metric}@{k}" for metric in shown_metrics(first) for k in first.cutoffs],
        one_target=len(first.ranks) == len(first),
        show=_show,
        between=_between,
        reference=reference,
        differences=differences(evaluations, reference, names[0]),
        metric_charts=[Markup(_metric_chart(evaluations, name)) for name in names[:2]],
        slice_chart=Markup(_slice_chart(evaluations, names[0])),
        slice_rows=_slice_rows(evaluations, names[0]),
        slice_wording=first.bounds.wording(),
        given_chart=Markup(_given_chart(evaluations, names[0])),
        given_rows=_given_rows(evaluations, names[0]),
        beyond_names=beyond_metrics(evaluations),
        beyond_charts=[(name, Markup(_beyond_chart(evaluations, name))) for name in beyond_metrics(evaluations)],
        all_beyond=[name for name in first.beyond_accuracy if all(name in e.beyond_accuracy for e in evaluations)],
        main_k=int(_coverage_name(names).partition("@")[2]),
        units=UNITS,
        fixed=_fixed,
        span=lambda x, name: "" if math.isnan(x.low) else f"{_fixed(x.low, name)} to {_fixed(x.high, name)}",
        depth_chart=Markup(_depth_chart(evaluations)),
        depth_rows=_depth_rows(evaluations),
        judged_section=Markup(judged_section(judged, least=least, calibrations=calibrations, extra=judged_charts)) if judged else "",
        scenario_tables=scenario_tables(evaluations),
        basket_tables=basket_tables(completed),
        dialogue_tables=dialogue_tables(named, conversed),
        curves=[(name, Markup(chart)) for name, chart in training_charts(curves)],
        cell_shares=cell_shares(curves),
        isnan=math.isnan,
        samples=[_shown_sample(sample) for sample in samples],
        account=[(short(str(what), 200), rows, short(str(why), 400)) for what, rows, why in account],
        facts=_grouped_facts(facts or {}),
    )


def _tiles(first: Evaluation, names: list[str]) -> list[tuple[str, str, str]]:
    """(figure, what it is, its interval or a remark) at the head of the page."""
    table = first.table()
    tiles = [(_show(table[name].mean), label(name), _between(table[name])) for name in names[:2]]
    k = int(_coverage_name(names).partition("@")[2])
    tiles.append((f"{100 * first.coverage.get(k, math.nan):.1f} %", label(_coverage_name(names)), f"of {first.catalogue:,} items"))
    tiles.append((f"{first.milliseconds:.2f} ms", "per case", f"in batches of {first.batch:,}"))
    return tiles


def _coverage_name(names: list[str]) -> str:
    return f"coverage@{names[0].partition('@')[2]}"


def _metric_chart(evaluations: list[Evaluation], name: str) -> str:
    bars = [Bar(e.name, *e.table()[name], main=i == 0) for i, e in enumerate(evaluations)]
    worded = "; ".join(f"{bar.label} {bar.mean:.4f}, 95 % interval {bar.low:.4f} to {bar.high:.4f}" for bar in bars)
    return bar_chart(f"bars-{name.replace('@', '-')}", f"{label(name)} of each scorer", worded + ".", {"": bars})


def _slice_chart(evaluations: list[Evaluation], name: str) -> str:
    sizes, wording = evaluations[0].slice_sizes(), evaluations[0].bounds.wording()
    tables = [evaluation.slices() for evaluation in evaluations]
    groups = {
        f"{part}: {wording[part]} ({sizes[part]:,} targets)": [
            Bar(e.name, *table[part][name], main=i == 0) for i, (e, table) in enumerate(zip(evaluations, tables, strict=True))
        ]
        for part in NAMES
        if sizes[part]
    }
    worded = ". ".join(f"{group}: " + ", ".join(f"{bar.label} {bar.mean:.4f}" for bar in bars) for group, bars in groups.items())
    return bar_chart("slices", f"{label(name)} by how often the target was seen in training", worded + ".", groups)


def _slice_rows(evaluations: list[Evaluation], name: str) -> list[tuple[str, int, dict[str, Estimate]]]:
    """(slice, targets, scorer -> estimate), slices without targets left out."""
    sizes = evaluations[0].slice_sizes()
    tables = {evaluation.name: evaluation.slices() for evaluation in evaluations}
    return [(part, sizes[part], {scorer: table[part][name] for scorer, table in tables.items()}) for part in NAMES if sizes[part]]


def _given_rows(evaluations: list[Evaluation], name: str) -> list[tuple[str, int, dict[str, Estimate]]]:
    """(events given, cases, scorer -> estimate); nothing where all cases have a like number of them."""
    tables = {e.name: e.by_given(name) for e in evaluations}
    first = tables[evaluations[0].name]
    if len(first) < 2 or any(len(table) != len(first) for table in tables.values()):
        return []
    return [(word, cases, {scorer: table[place][2] for scorer, table in tables.items()}) for place, (word, cases, _) in enumerate(first)]


def _given_chart(evaluations: list[Evaluation], name: str) -> str:
    rows = _given_rows(evaluations, name)
    if not rows:
        return ""
    lines = [Line(e.name, list(range(len(rows))), [row[e.name].mean for _, _, row in rows]) for e in evaluations]
    worded = ". ".join(f"{word} events: " + ", ".join(f"{scorer} {x.mean:.4f}" for scorer, x in row.items()) for word, _, row in rows)
    title = f"{label(name)} by the number of events given"
    words = {float(place): word.replace(" to ", "-").replace(" or more", "+") for place, (word, _, _) in enumerate(rows)}
    return line_chart("given", title, worded + ".", lines, x_label="events given", y_label=label(name), from_zero=True, x_words=words)


def _beyond_chart(evaluations: list[Evaluation], name: str) -> str:
    bars = [Bar(e.name, *e.beyond_accuracy[name], main=i == 0) for i, e in enumerate(evaluations)]
    worded = "; ".join(f"{bar.label} {bar.mean:.4g}, 95 % interval {bar.low:.4g} to {bar.high:.4g}" for bar in bars)
    key, metric = name.replace("@", "-"), name.partition("@")[0]
    return bar_chart(f"beyond-{key}", f"{label(name)} of each scorer", worded + ".", {"": bars}, digits=BEYOND[metric])


def _depth_chart(evaluations: list[Evaluation]) -> str:
    deepest = max(min(DEEPEST, evaluations[0].catalogue), 2)
    depths = np.unique(np.geomspace(1, deepest, 60).round().astype(int))
    lines = [Line(e.name, depths.tolist(), [_hit(e, int(k)) for k in depths]) for e in evaluations]
    worded = "; ".join(f"{line.label} {line.ys[0]:.3f} at 1, {line.ys[-1]:.3f} at {deepest}" for line in lines)
    return line_chart(
        "depth",
        "Hit rate against the length of the list",
        worded + ".",
        lines,
        x_label="k: length of the list",
        y_label="Hit rate@k",
        log_x=True,
        from_zero=True,
    )


def _depth_rows(evaluations: list[Evaluation]) -> tuple[list[int], list[tuple[str, list[float], float]]]:
    """Some depths, and for every scorer its hit rates there and its median rank."""
    depths = [k for k in (1, 5, 10, 20, 50, 100, 200, 500, 1000) if k <= max(evaluations[0].catalogue, 1)]
    return depths, [(e.name, [_hit(e, k) for k in depths], float(np.median(e.ranks))) for e in evaluations]


def _hit(evaluation: Evaluation, k: int) -> float:
    return float(METRICS["hit_rate"](evaluation.ranks, evaluation.offsets, k).mean())


def _shown_sample(sample: Sample) -> dict[str, Any]:
    return {
        "user": short(sample.user, 60),
        "history": [short(title, 90) for title in sample.history],
        "recommended": [(short(title, 90), bool(sample.answer) and title == sample.answer) for title in sample.recommended],
        "answer": short(sample.answer, 90),
        "missed": bool(sample.answer) and sample.answer not in sample.recommended,
    }


def _grouped_facts(facts: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, value in facts.items():
        if isinstance(value, dict):
            groups[name] = [(key, _fact(leaf)) for key, leaf in flatten(value)]
        else:
            groups.setdefault("Run", []).append((name, _fact(value)))
    return [(name, rows) for name, rows in groups.items() if rows]


def _fact(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, list | tuple):
        return short(", ".join(_fact(part) for part in value), 400)
    return short(str(value), 400)


def _show(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _fixed(value: float, name: str) -> str:
    """A figure beyond accuracy with as many decimals as it is good for."""
    return "-" if math.isnan(value) else f"{value:,.{BEYOND[name.partition('@')[0]]}f}"


def _between(estimate: Estimate) -> str:
    return "" if math.isnan(estimate.low) else f"{estimate.low:.4f} to {estimate.high:.4f}"
