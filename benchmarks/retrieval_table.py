"""The table of the retrieval benchmark: rows of figures, JSON-ready, and the same as Markdown. Pure functions of evaluations and facts.

Several seeds make one row: each figure is the median over them; its interval, and the paired difference to others, are those of the seed with the
median NDCG@10 (the lower of two), for an interval belongs to one set of ranks.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from m6rec.evaluation.evaluated import Evaluation

METRICS = ["hit_rate@10", "ndcg@10", "hit_rate@50"]
MAIN = "ndcg@10"

Row = dict[str, Any]


def middle(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The one with the median NDCG@10; the lower of two in the middle."""
    ordered = sorted(evaluations, key=lambda evaluation: evaluation.table()[MAIN].mean)
    return ordered[(len(ordered) - 1) // 2]


def make_row(
    name: str, kind: str, evaluations: Sequence[Evaluation], reference: Evaluation | None, *, seeds: Sequence[int] = (), **facts: Any
) -> Row:
    """One line of the table.

    Args:
        kind: ours, ablation, baseline or peer.
        reference: our middle seed; the row gets `ours minus this` where it is not itself ours.
        facts: training (seconds, targets_per_second, peak_mb), latency (p50_ms), note; whatever is known.
    """
    chosen = middle(evaluations)
    metrics = {}
    for metric in METRICS:
        estimate, every = chosen.table()[metric], [evaluation.table()[metric].mean for evaluation in evaluations]
        metrics[metric] = {"median": statistics.median(every), "low": estimate.low, "high": estimate.high, "seeds": every}
    row: Row = {"name": name, "kind": kind, "seeds": list(seeds), "metrics": metrics, **facts}
    if reference is not None and kind != "ours":
        row["ours_minus_this"] = list(reference.difference(chosen, MAIN))
    return row


def reached(ours: Sequence[dict[str, Any]], metric: str, value: float) -> float | None:
    """Seconds until a training of ours first had `metric` at `value` on validation: the median over trainings, None where a middle one never did.

    Args:
        ours: trainings, each with `epochs`: rows with seconds_so_far and the metric (None where an epoch was not validated).
    """
    times = []
    for training in ours:
        there = (row["seconds_so_far"] for row in training["epochs"] if row.get(metric) is not None and row[metric] >= value)
        times.append(next(there, float("inf")))
    found = statistics.median(times) if times else float("inf")
    return None if found == float("inf") else found


def race(row: Row, ours: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """How long a peer took to its best validation NDCG@10, and ours to the same figure. None for rows without epochs.

    `seconds` of the peer are training alone, on one core (CPU time of one thread: what it takes when nobody else is there), `as_shipped` what
    the same epochs take at the speed of the shipped training step. Ours include everything from reading the files, validation left out.
    """
    if not row.get("epochs"):
        return None
    best = max(row["epochs"], key=lambda epoch: epoch[MAIN])
    number = row["epochs"].index(best) + 1
    done = row["epochs"][:number]
    shipped = row["training"].get("shipped_targets_per_second")
    targets = row["training"].get("targets")
    return {
        "peer": row["name"],
        "best": best[MAIN],
        "epoch": number,
        "seconds": sum(epoch["cpu_seconds"] for epoch in done),
        "as_shipped": number * targets / shipped if shipped and targets else None,
        "ours": reached(ours, MAIN, best[MAIN]),
    }


def markdown(result: dict[str, Any]) -> str:
    """The page of one data set."""
    lines = [f"## {result['data']}", "", result["statement"], ""]
    heads = ["scorer", "HR@10", "NDCG@10 (95 %)", "HR@50", "m6rec minus this (95 %)", "training", "targets/s", "memory", "p50", "note"]
    lines += [_cells(heads), _cells(["---"] * len(heads))]
    lines += [_cells(_line(row)) for row in result["rows"]]
    races = [race for race in result["races"] if race is not None]
    if races:
        lines += ["", "Time to a peer's best validation NDCG@10, in seconds on one core:", ""]
        heads = ["peer", "its best", "epoch", "its training", "as shipped", "m6rec, everything included"]
        lines += [_cells(heads), _cells(["---"] * len(heads))]
        for race in races:
            shown = [_seconds(race[name]) for name in ("seconds", "as_shipped", "ours")]
            lines.append(_cells([race["peer"], f"{race['best']:.4f}", str(race["epoch"]), *shown]))
    return "\n".join(lines)


def _line(row: Row) -> list[str]:
    metrics, training = row["metrics"], row.get("training", {})
    main = metrics[MAIN]
    name = row["name"]
    if len(row["seeds"]) > 1:
        name += f", median of seeds {', '.join(map(str, row['seeds']))}"
    gap = "{:+.4f} ({:+.4f} to {:+.4f})".format(*row["ours_minus_this"]) if "ours_minus_this" in row else ""
    speed = f"{training['targets_per_second']:,.0f}" if training.get("targets_per_second") else ""
    if training.get("shipped_targets_per_second"):
        speed += f" ({training['shipped_targets_per_second']:,.0f} as shipped)"
    return [
        name,
        f"{metrics['hit_rate@10']['median']:.4f}",
        f"{main['median']:.4f} ({main['low']:.4f}-{main['high']:.4f})",
        f"{metrics['hit_rate@50']['median']:.4f}",
        gap,
        _duration(training.get("seconds")),
        speed,
        f"{training['peak_mb'] / 1024:.2f} GB" if training.get("peak_mb") else "",
        f"{row['latency']['p50_ms']:.2f} ms" if row.get("latency") else "",
        row.get("note", ""),
    ]


def _cells(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:,.0f}"
