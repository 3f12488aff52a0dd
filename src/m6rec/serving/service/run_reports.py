"""What a run folder says of itself: the quality board of its last evaluation, and how far a training has come. Reads files, changes none."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from m6rec.evaluation.metric_names import DEFAULTS, METRIC_NAMES, told_value

STAGES = ("prepare", "tokenizer", "pretrain", "encode", "fit", "blend", "evaluate", "index", "report")
EVERYWHERE = ""  # the scenario of a figure over all of them
CHOSEN = ("ndcg@10", "hit_rate@10", "mrr@10")  # metrics of a task that chooses, the first that there is leads
OURS = "m6rec"
COPYING = 10.0  # seconds that copying a run folder may take
QUIET = 600.0  # seconds without a new line after which a training counts as stopped
MOST_POINTS = 400  # of a curve


@dataclass(frozen=True)
class Cell:
    """One figure of one task in one scenario, with its 95 % interval, beside the best of the simple baselines.

    scenario: "" is all together.  higher: whether more is better.  leading: whether it is the task's first metric.
    """

    task: str
    scenario: str
    metric: str
    label: str
    higher: bool
    leading: bool
    value: float
    low: float
    high: float
    rows: int
    baseline: float | None = None
    baseline_name: str = ""


@dataclass(frozen=True)
class Board:
    """Tasks by scenarios; `slices` of the choose task are cells whose scenario is "items: hot", "items: warm", "items: cold"."""

    tasks: tuple[str, ...]
    scenarios: tuple[str, ...]
    cells: tuple[Cell, ...]
    statements: tuple[str, ...]
    measured_at: float | None

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def quality_board(run: Path) -> Board:
    """The last evaluation of a run; an empty board where there is none."""
    folder = _stage_folder(run, "evaluate")
    table = _json(folder / "table.json") if folder is not None else None
    if folder is None or not isinstance(table, list) or not table:
        return Board((), (), (), (), None)
    names = _choosing(_json(run / "run.json"))
    cells = list(_chosen(names[0], table))
    baskets = [found for path in sorted(folder.glob("baskets/*/evaluation.json")) if (found := _json(path)) is not None]
    if baskets:
        cells += _chosen(names[1], baskets)
    judged = [(path.parent.name, _json(path)) for path in sorted(folder.glob("judged/*/judged.json"))]
    figures = [found["figures"] for _, found in judged if isinstance(found, dict) and "figures" in found]
    for one in figures:
        if one.get("name") == OURS:
            cells += _judged(one, [other for other in figures if other.get("task") == one.get("task") and other.get("name") != OURS])
    scenarios = sorted({cell.scenario for cell in cells}, key=lambda name: (name.startswith("items: "), name))
    statements = tuple(str(one) for one in table[0].get("statements", ()))
    return Board(
        tuple(dict.fromkeys(cell.task for cell in cells)), tuple(scenarios), tuple(cells), statements, _modified(folder / "table.json")
    )


def run_of(folder: Path) -> Path:
    """The run that a folder is, or whose model folder it is."""
    return folder.parent if folder.name == "model" and (folder.parent / "stages").is_dir() else folder


@dataclass(frozen=True)
class Training:
    """How far the newest training of a run folder has come.

    status: none, running, stopped (not finished, and quiet for ten minutes) or finished.
    stages: name, status (done, running, to do), seconds, facts.  curves: stage -> series -> [[epoch, value], ...].
    """

    status: str
    stage: str
    stages: tuple[dict[str, Any], ...]
    curves: dict[str, dict[str, list[list[float]]]]
    updated: float | None

    @property
    def unclear(self) -> bool:
        """Whether a stage is not done that a later one needs: the folder is a copy, or holds an attempt beside an older training."""
        states = [row["status"] for row in self.stages]
        return "done" in states[next((place for place, state in enumerate(states) if state != "done"), len(states)) :]

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def training_progress(run: Path, now: float | None = None) -> Training:
    """Reads what `m6rec train` writes while it works; a line half written is read the next time."""
    folders = {name: folder for name in STAGES if (folder := _stage_folder(run, name)) is not None}
    if not folders:
        return Training("none", "", (), {}, None)
    done = {name: _json(folder / "done.json") for name, folder in folders.items()}
    begun = [name for name in STAGES if name in folders]
    updated = max((moment for folder in folders.values() for moment in _moments(folder)), default=None)
    unfinished = [name for name in begun if done[name] is None]
    finished = not unfinished and done.get("report") is not None
    quiet = updated is None or (time.time() if now is None else now) - updated > QUIET
    current = "" if finished else unfinished[0] if unfinished else next((n for n in STAGES if n not in folders and n != "blend"), "")
    rows = []
    for name in STAGES:
        if name == "blend" and name not in folders:
            continue
        facts = done.get(name)
        status = "done" if facts is not None else "running" if name == current and not quiet else "to do"
        plain = {key: value for key, value in (facts or {}).items() if isinstance(value, int | float | str)}
        rows.append({"name": name, "status": status, "seconds": plain.pop("seconds", None), "facts": plain})
    curves = {name: found for name, folder in folders.items() if (found := _curves(folder / "log.jsonl"))}
    return Training("finished" if finished else "stopped" if quiet else "running", current, tuple(rows), curves, updated)


def _chosen(task: str, table: list[dict[str, Any]]) -> Iterator[Cell]:
    """Cells of a task that chooses: the first evaluation is the model's, the others are baselines."""
    ours, others = table[0], table[1:]
    names = [name for name in CHOSEN if name in ours.get("metrics", {})]
    for place, name in enumerate(names):
        rivals = {one["name"]: one["metrics"][name]["mean"] for one in others if name in one.get("metrics", {})}
        best = max(rivals, key=lambda one: rivals[one], default="")
        figure = ours["metrics"][name]
        limits = (figure["mean"], figure["low"], figure["high"], int(ours.get("cases", 0)))
        yield Cell(task, EVERYWHERE, name, name, True, place == 0, *limits, rivals.get(best), best)
        for slice_name, part in ours.get("slices", {}).items():
            if place == 0 and name in part.get("metrics", {}):
                inside = part["metrics"][name]
                known = {one["name"]: one["slices"][slice_name]["metrics"] for one in others if slice_name in one.get("slices", {})}
                beside = {rival: found[name]["mean"] for rival, found in known.items() if name in found}
                top = max(beside, key=lambda one: beside[one], default="")
                limits = (inside["mean"], inside["low"], inside["high"], int(part.get("targets", 0)))
                yield Cell(task, f"items: {slice_name}", name, name, True, True, *limits, beside.get(top), top)


def _choosing(record: Any) -> tuple[str, str]:
    """The names of the task that chooses after histories, and of the one that completes baskets."""
    tasks = record.get("config", {}).get("tasks", {}) if isinstance(record, dict) else {}
    named = {facts.get("of") == "basket": name for name, facts in reversed(tasks.items()) if facts.get("answer") == "choose"}
    return named.get(False, "next"), named.get(True, "basket")


def _judged(ours: dict[str, Any], rivals: list[dict[str, Any]]) -> Iterator[Cell]:
    usual = [name for name in DEFAULTS.get(ours["kind"], []) if name in ours["metrics"]]
    names = [*usual, *(name for name in ours["metrics"] if name not in usual)]
    places = {EVERYWHERE: ours, **ours.get("scenarios", {})}
    for scenario, part in places.items():
        for place, name in enumerate(name for name in names if name in part["metrics"]):
            known = METRIC_NAMES.get(name.partition("@")[0])
            higher = known is None or known.higher
            beside = {}
            for rival in rivals:
                there = rival if scenario == EVERYWHERE else rival.get("scenarios", {}).get(scenario, {})
                if name in there.get("metrics", {}):
                    beside[rival["name"]] = there["metrics"][name]["mean"]
            best = (max if higher else min)(beside, key=lambda one: beside[one], default="")
            figure = part["metrics"][name]
            limits = (figure["mean"], figure["low"], figure["high"], int(part.get("rows", 0)))
            label = name if known is None else known.label
            yield Cell(ours["task"], scenario, name, label, higher, place == 0, *limits, beside.get(best), best)


def _curves(path: Path) -> dict[str, list[list[float]]]:
    """series -> [[epoch, value], ...]; of an epoch that was logged twice the later line counts."""
    by_epoch: dict[float, dict[str, float]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    for line in lines:
        row = _parsed(line)
        if isinstance(row, dict) and isinstance(row.get("epoch"), int | float):
            by_epoch[row["epoch"]] = row
    series: dict[str, list[list[float]]] = {}
    skipped = ("epoch", "step", "seconds")
    for epoch in sorted(by_epoch)[-MOST_POINTS:]:
        for name, value in by_epoch[epoch].items():
            if name not in skipped and isinstance(value, int | float) and not name.startswith(("weight of", "examples of", "seconds of")):
                shown = value if "." in name else told_value(name, value)  # a loss has a dot in its name
                series.setdefault(name, []).append([float(epoch), float(shown)])
    return series


def _stage_folder(run: Path, stage: str) -> Path | None:
    """The folder of a stage: that of the newest finished training of the run, else the one written last; None where there is none."""
    record = _json(run / "run.json")
    keys = record.get("keys", {}) if isinstance(record, dict) else {}
    found = sorted(run.glob(f"stages/{stage}-*"), key=lambda path: _newest(path) or 0.0)
    named = run / "stages" / f"{stage}-{keys.get(stage)}"
    if not found:
        return None
    # In a copy all times are those of the copying: a folder counts as a newer training's if it is newer than everything of the recorded one.
    recorded = [run / "stages" / f"{name}-{key}" for name, key in keys.items()]
    last = max((_modified(run / "run.json") or 0.0, *(_newest(path) or 0.0 for path in recorded)))
    return named if named in found and (_newest(found[-1]) or 0.0) <= last + COPYING else found[-1]


def _moments(folder: Path) -> Iterator[float]:
    for name in ("done.json", "log.jsonl", "state.safetensors", "table.json"):
        if (moment := _modified(folder / name)) is not None:
            yield moment
    if (moment := _modified(folder)) is not None:
        yield moment


def _newest(folder: Path) -> float | None:
    return max(_moments(folder), default=None)


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _json(path: Path) -> Any:
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except OSError:
        return None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
