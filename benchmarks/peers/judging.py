"""Peers that judge exposures: what they are given, how each is run in an environment of its own, what is kept of it.

    EXCHANGE/about.json   tasks, measured cells, which columns are categories, lists, counts in bins, histories; sizes of their codes
    EXCHANGE/rows.npz     every column for all rows, int32 (X,) or (X, n); parts int8 (X,); labels float32 (X, T), NaN for test rows
    WORK/predictions.npy  float32 (V, T): probabilities of the validation and test rows in their order, NaN where a task is not judged

No label of a test row is ever written. Histories and counts of a row hold what was there strictly before its time, as for everybody.

    results/<rows>/<peer>-<key>.json   who, version, settings, machine, trials, speed, memory
    results/<rows>/<peer>-<key>.npz    logits float16 (test rows, T)
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import m6rec
from m6rec.base.storage import atomic_file, atomic_folder, write_json
from m6rec.baselines.choosing import Predicted
from m6rec.baselines.counters import logit, sigmoid
from m6rec.baselines.logistic import in_bins
from m6rec.baselines.trees import strongest
from peers.cache import RESULTS
from peers.environment import machine, pinned, ready
from task_rows import TEST, TRAIN, Rows

RUNNERS = Path(__file__).parent / "runners"
ENVIRONMENT, PACKAGE = "rechub", "torch-rechub"
#: Name -> class. STAR and PEPNet are written here, on the package's layers, from their papers.
PEERS = {
    "shared-bottom": "SharedBottom",
    "mmoe": "MMOE",
    "ple": "PLE",
    "esmm": "ESMM",
    "star": "STAR",
    "pepnet": "PEPNet",
    "din": "DIN",
    "deepfm": "DeepFM",
}
NEEDS_SCENARIOS, NEEDS_TASKS = {"star", "pepnet"}, {"esmm"}
#: Where the search begins, near the package's examples, and what is tried one after the other and kept where validation says so.
START = {"lr": 1e-3, "weight_decay": 1e-5, "dim": 8, "dropout": 0.2, "counts": True, "history": True, "batch": 1024}
SEARCH = [{"dropout": 0.5}, {"lr": 3e-3}, {"dim": 16}]
COUNTS = 40  # of the counts those that trees split on most go to the peers, in bins
PAST = 3  # properties of the items of a history: the item and the largest others


def settings(name: str, seed: int = 0) -> dict[str, Any]:
    """What goes to the runner and into the key."""
    run = {"model": PEERS[name], "seed": seed, "threads": 1, "max_epochs": 12, "patience": 2, "shipped_rows": 20_000}
    return {**run, "start": START, "search": SEARCH}


def suits(name: str, rows: Rows) -> bool:
    """Whether there is anything for it to do: STAR and PEPNet need scenarios, ESMM a second task."""
    tasks = {cell["task"] for cell in rows.cells}
    return not (name in NEEDS_SCENARIOS and len(rows.scenario_names) < 2) and not (name in NEEDS_TASKS and len(tasks) < 2)


def columns(rows: Rows, counted: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """All columns of the exchange, and about.json. counted: the chosen counts as of the time, by name."""
    arrays = {name: codes.values for name, codes in rows.codes.items()}
    sizes = {name: codes.size for name, codes in rows.codes.items()}
    numbers = {f"{name} in bins": in_bins(rows, values) for name, values in rows.numbers.items()}
    counts = {f"count {number}": in_bins(rows, values) for number, values in enumerate(counted.values())}
    lists = {f"each of {name}": codes.values for name, codes in rows.tags.items()}
    items, _ = rows.histories(np.arange(len(rows)))
    largest = sorted((name for name in rows.item_codes if name != "item"), key=lambda name: -rows.item_codes[name].size)
    past = {f"past {name}": rows.item_codes[name].values[items] for name in ("item", *largest[: PAST - 1])}
    past = {name: values.astype(np.int32) for name, values in past.items()}
    found = {**arrays, **numbers, **counts, **lists, **past}
    sizes |= {name: int(values.max()) + 1 for name, values in (numbers | counts | lists).items()}
    sizes |= {name: rows.item_codes[name.removeprefix("past ")].size for name in past}
    cells = [
        {
            "task": rows.tasks.index(cell["task"]),
            "scenario": cell["scenario"],
            "scenario_code": None if cell["scenario"] is None else 1 + rows.scenario_names.index(cell["scenario"]),
        }
        for cell in rows.cells
    ]
    about = {"tasks": rows.tasks, "cells": cells, "categories": [*arrays, *numbers], "lists": list(lists), "counts": list(counts)}
    return found, {**about, "past": list(past), "sizes": sizes, "count_names": list(counted)}


def write_exchange(folder: Path, rows: Rows, counted: dict[str, np.ndarray]) -> None:
    """Write the folder, whole or not at all."""
    arrays, about = columns(rows, counted)
    labels = np.where((rows.parts == TEST)[:, None], np.nan, rows.labels).astype(np.float32)
    with atomic_folder(folder) as temporary:
        np.savez(temporary / "rows.npz", parts=rows.parts, labels=labels, allow_pickle=False, **arrays)
        write_json(temporary / "about.json", about)


def fingerprint(rows: Rows) -> str:
    """Hex digest of everything that decides a prediction or a figure: columns, labels, parts, cells. Counts follow from them."""
    arrays, about = columns(rows, {})
    digest = hashlib.sha256(json.dumps([about, COUNTS], sort_keys=True).encode())
    for array in (*arrays.values(), rows.labels, rows.parts):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Judges:
    """The peers on the rows of one data set.

    counted      gives all counts as of the time; asked for once a peer has to be run
    place        where runs of these data go; a run that was killed goes on from there
    only_cached  a peer without a result is left out
    """

    rows: Rows
    counted: Callable[[], dict[str, np.ndarray]]
    place: Path
    environments: Path
    only_cached: bool = False
    results: Path = RESULTS

    def measure(self, name: str, seed: int = 0) -> Predicted | None:
        """The peer's predictions and facts; None where it has none and none was asked for, or its run failed (its log says why)."""
        version, wanted = pinned(ENVIRONMENT, PACKAGE), settings(name, seed)
        text = json.dumps([name, PACKAGE, version, {k: v for k, v in wanted.items() if k != "shipped_rows"}], sort_keys=True)
        rows = fingerprint(self.rows)
        path = self.results / rows[:12] / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
        if not (path.exists() and path.with_suffix(".npz").exists()):
            if self.only_cached:
                print(f"{name} {version}: not in {path.parent}; left out")
                return None
            work = self.place / path.stem
            if not self._run(name, wanted, work, self.place / f"exchange-{rows[:12]}"):
                return None
            self._keep(path, name, version, wanted, work)
        return load(path, self.rows)

    def _run(self, name: str, wanted: dict[str, Any], work: Path, exchange: Path) -> bool:
        """Search, train and predict in the peer's environment and a process of its own; all it prints goes to log.txt."""
        if (work / "predictions.npy").exists():
            return True
        python = ready(ENVIRONMENT, self.environments)
        if not exchange.exists():
            counted = self.counted()
            write_exchange(exchange, self.rows, {name: counted[name] for name in strongest(self.rows, counted, COUNTS)})
        work.mkdir(parents=True, exist_ok=True)
        (work / "settings.json").write_text(json.dumps(wanted, indent=1), encoding="utf-8")
        threads, source = str(wanted["threads"]), str(Path(m6rec.__file__).parents[1])
        environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        print(f"{name}: running, see {work / 'log.txt'}", flush=True)
        with open(work / "log.txt", "a", encoding="utf-8") as log:
            command = [str(python), str(RUNNERS / "run_rechub.py"), str(exchange), str(work), str(work / "settings.json")]
            done = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        if done.returncode:
            print(f"{name}: failed with code {done.returncode}, see {work / 'log.txt'}; the same command goes on where it stopped")
        return done.returncode == 0

    def _keep(self, path: Path, name: str, version: str, wanted: dict[str, Any], work: Path) -> None:
        """The predictions first: a result that is found is whole. Then what is large goes."""
        values = np.load(work / "predictions.npy", allow_pickle=False)
        test = (self.rows.parts == TEST)[self.rows.parts != TRAIN]
        with atomic_file(path.with_suffix(".npz")) as temporary, open(temporary, "wb") as handle:
            np.savez_compressed(handle, logits=logit(values[test].astype(np.float64)).astype(np.float16))
        measured = json.loads((work / "progress.json").read_text(encoding="utf-8"))
        write_json(
            path, {"peer": name, "package": PACKAGE, "version": version, "settings": wanted, "machine": machine(1), "measured": measured}
        )
        shutil.rmtree(work)


def load(path: Path, rows: Rows) -> Predicted:
    """A kept result.

    Raises:
        SystemExit: it was not made of these rows.
    """
    facts = json.loads(path.read_text(encoding="utf-8"))
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
        logits = arrays["logits"].astype(np.float64)
    test = np.flatnonzero(rows.parts == TEST)
    if logits.shape != (len(test), len(rows.tasks)):
        raise SystemExit(f"{path} has predictions of the shape {logits.shape} for {len(test)} rows; remove it and run the peer again")
    values = np.full(rows.labels.shape, np.nan, dtype=np.float32)
    values[test] = sigmoid(logits)
    measured = facts["measured"]
    kept = {
        "seconds": measured["cpu_seconds"],
        "search_seconds": measured["search_cpu_seconds"],
        "examples_per_second": measured["examples_per_cpu_second"],
        "shipped_examples_per_second": measured.get("shipped_examples_per_cpu_second"),
        "peak_mb": measured["peak_mb"],
        "chosen": measured["settings"],
        "validation": [run["validation"] for run in measured["runs"]],
        "note": f"{facts['package']} {facts['version']}, seed {facts['settings']['seed']}, {facts['machine']['cpu']}, 1 thread",
    }
    return Predicted(facts["peer"], values, kept)
