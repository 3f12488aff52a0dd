"""What `m6rec tune` leaves beside the study: best.yaml to train with, trials.csv to calculate with, tune.html to look at."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m6rec.base.storage import atomic_file
from m6rec.config import M6RecConfig
from m6rec.evaluation.tuning_report import Range, TrialRecord, tuning_page
from m6rec.training.search_space import Space

BEST, TRIALS, PAGE = "best.yaml", "trials.csv", "tune.html"


def write_best(
    run: Path,
    source: Path,
    config: M6RecConfig,
    metric: str,
    best: TrialRecord,
    default: TrialRecord | None,
    trials: Sequence[TrialRecord],
    before: dict[str, Any],
) -> Path:
    """The configuration with the winning values, as a YAML file that `m6rec train` takes; its paths start from the run folder.

    Args:
        before: dotted key -> the value the configuration had.
    """
    import yaml

    values = moved(config, source, run).model_dump(mode="json", exclude_unset=True)
    counts = {state: sum(trial.state == state for trial in trials) for state in ("complete", "pruned", "failed")}
    head = [
        f"# Written by m6rec tune: {'the configuration as it was' if best.default else f'trial {best.number}'}, "
        f"validation {metric} {best.value:.4f}."
    ]
    if default is not None and not best.default:
        reached = "did not finish" if math.isnan(default.value) else f"reached {default.value:.4f}"
        head.append(f"# The configuration as it was {reached}.")
    head += [
        f"# Trials: {counts['complete']} finished, {counts['pruned']} stopped early, {counts['failed']} failed. "
        "Chosen on the validation cases; the test cases were not looked at.",
        f"# Type: m6rec train {run / BEST} --run {run}",
    ]
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)
    changed = {} if best.default else {key: before[key] for key, value in best.values.items() if before.get(key) != value}
    path = run / BEST
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join([*head, "", annotated(text, changed)]), encoding="utf-8")
    return path


def moved(config: M6RecConfig, source: Path, run: Path) -> M6RecConfig:
    """The same configuration, with paths that were relative to `source` relative to `run`."""

    def path(name: str) -> str:
        return name if Path(name).is_absolute() else Path(os.path.relpath((source / name).resolve(), run.resolve())).as_posix()

    data: dict[str, Any] = {"events": [path(name) for name in config.data.event_files()]}
    if isinstance(config.data.events, str):
        data["events"] = data["events"][0]
    if config.data.texts is not None:
        data["texts"] = path(config.data.texts) if isinstance(config.data.texts, str) else [path(name) for name in config.data.texts]
    data |= {name: path(value) for name in ("items", "users", "relations") if (value := getattr(config.data, name)) is not None}
    changes: dict[str, Any] = {"data": config.data.model_copy(update=data)}
    if config.text.templates is not None:
        changes["text"] = config.text.model_copy(update={"templates": path(config.text.templates)})
    return config.model_copy(update=changes)


def annotated(text: str, before: dict[str, Any]) -> str:
    """YAML as `safe_dump` writes it, with what each dotted key of `before` was as a comment behind its line."""
    lines: list[str] = []
    path: list[str] = []
    for line in text.splitlines():
        found = re.match(r"( *)([^\s:#-][^:]*):", line)
        if found:
            path = [*path[: len(found[1]) // 2], found[2]]
            key = ".".join(path)
            if key in before and line.rstrip()[-1:] not in ("|", ">"):
                line += f"  # was {'not set' if before[key] is None else before[key]}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def write_trials(run: Path, metric: str, keys: Sequence[str], trials: Sequence[TrialRecord]) -> Path:
    """One line a trial: number, state, value, epochs, seconds, the values of every key, the reason of a failure."""
    path = run / TRIALS
    with atomic_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["trial", "state", metric, "best_epoch", "epochs", "seconds", *keys, "note"])
        for trial in trials:
            value = "" if math.isnan(trial.value) else f"{trial.value:.6f}"
            best_epoch = max(trial.curve, key=lambda epoch: trial.curve[epoch]) if trial.curve else ""
            own = ["" if trial.values.get(key) is None else trial.values[key] for key in keys]
            writer.writerow(
                [trial.number, trial.state, value, best_epoch, max(trial.curve, default=""), f"{trial.seconds:.1f}", *own, trial.reason]
            )
    return path


def write_page(
    run: Path,
    metric: str,
    space: Space,
    trials: Sequence[TrialRecord],
    best: TrialRecord | None,
    default: TrialRecord | None,
    importance: dict[str, float],
    statement: str,
) -> Path:
    """tune.html, see `evaluation/tuning_report.py`."""
    ranges = [Range(one.key, one.wording(), one.log, bool(one.choices)) for one in space]
    text = tuning_page(
        trials,
        title=f"m6rec tune: {run.resolve().name}",
        metric=metric,
        ranges=ranges,
        best=best,
        default=default,
        importance=importance,
        statement=statement,
    )
    path = run / PAGE
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
