"""Arms of the studies: trainings that differ by a setting, in one run folder and one process.

What is read, counted and encoded is so once for all of them, and an arm goes no further than it has to:

    FOLDER/studies                 the run folder; its stages serve every arm
    FOLDER/studies/arms/NAME-*     answers about the validation and test rows, and what else was measured while the arm was there

An arm that is there is not trained again; its name holds a hash of its settings. Answers come from `m6rec.evaluation`'s rows of the run, in the
measured cells; how a run answers and how it is served are held against each other elsewhere (tests).
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from m6rec.base.storage import atomic_folder, write_json
from m6rec.evaluation.judged import Judged
from task_rows import Rows
from task_table import cell_name

PARTS = ("validation", "test")
BATCH = 4096
Measure = Callable[[Path], dict[str, Any]]


@dataclass(frozen=True)
class Arm:
    """A trained arm. validation, test: the measured cells, in the order of `rows.cells`; facts: name, cpu_seconds of training, what was measured."""

    name: str
    validation: list[Judged]
    test: list[Judged]
    facts: dict[str, Any] = field(default_factory=dict)

    def mean(self, part: str) -> float:
        """Mean AUC over the measured cells; of validation, those that have an answer of either kind."""
        values = [judged.value("auc") for judged in getattr(self, part)]
        return float(np.nanmean(values))


@dataclass(frozen=True)
class Arms:
    """The arms of one data set; `settings` are common to all."""

    rows: Rows
    place: Path
    seed: int
    threads: int
    settings: Sequence[str]

    @property
    def run(self) -> Path:
        return self.place / "studies"

    def arm(
        self, name: str, changed: Sequence[str] = (), *, config: Path | None = None, until: str = "fit", measured: Measure | None = None
    ) -> Arm:
        """Train and answer, or read what was answered.

        Args:
            changed: settings of this arm alone.
            until: the last stage to run; index: the run's model folder is that of the arm while `measured` looks at it.
        """
        config = config or self.place / "data" / "config.yaml"
        settings = [
            f"seed={self.seed}",
            f"train.threads={self.threads}",
            "evaluation.baselines=[]",
            "evaluation.judged_baselines=[]",
            *self.settings,
            *changed,
        ]
        words = json.dumps([settings, config.read_text(encoding="utf-8")])
        kept = self.run / "arms" / f"{name.replace(' ', '-')}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"
        if not kept.exists():
            begun = time.process_time()
            judged = trained(self.run, config, settings, until)
            facts = {"name": name, "cpu_seconds": round(time.process_time() - begun, 1)} | (measured(self.run) if measured else {})
            kept.parent.mkdir(parents=True, exist_ok=True)
            with atomic_folder(kept) as temporary:
                for part, ones in judged.items():
                    for one in ones:
                        one.save(temporary / part / one.task, figures=False)
                write_json(temporary / "facts.json", facts)
            print(f"{name}: {facts['cpu_seconds']} CPU seconds", flush=True)
        found = {part: [Judged.load(folder) for folder in sorted((kept / part).iterdir())] for part in PARTS}
        cells = {part: self._cells(ones) for part, ones in found.items()}
        return Arm(name, cells["validation"], cells["test"], json.loads((kept / "facts.json").read_text(encoding="utf-8")))

    def _cells(self, judged: Sequence[Judged]) -> list[Judged]:
        by_name = {cell.cell: cell for one in judged for cell in one.cells()}
        return [by_name[cell_name(cell)] for cell in self.rows.cells if cell_name(cell) in by_name]


def trained(run: Path, config: Path, settings: Sequence[str], until: str) -> dict[str, list[Judged]]:
    """Run the stages that are not done and answer the validation and test rows, by task."""
    from m6rec.config import load_config
    from m6rec.tasks.option_folder import judging_of
    from m6rec.training.pipeline import train, workbench
    from m6rec.training.progress import Progress

    settled = load_config(config, list(settings))
    train(settled, config.parent, run, until=until)
    bench = workbench(settled, config.parent, run, Progress(visible=False))
    judging, part = bench.judging, judging_of(bench.fitted())
    assert judging is not None, "the configuration judges candidates"
    found = {}
    for name in PARTS:
        chosen = judging.chosen(name)
        examples = judging.examples(bench, chosen, BATCH)
        answers = part.answers(bench.model, examples.rows, examples.histories, examples.contents, examples.profiles)
        found[name] = judging.judged("m6rec", answers, chosen, bench)
    return found


def added(run: Path, place: Path, task: str, policy: str, settings: dict[str, Any]) -> dict[str, Any]:
    """`add-task` on a run, by policy: the best validation AUC, the test AUC of each scenario, trained weights and their share of the backbone's.

    The run's own model is left as it is.
    """
    import yaml

    from m6rec.tasks.config import JudgeConfig
    from m6rec.training.adding import FOLDER, add_task

    folder = run / FOLDER / task
    shutil.rmtree(folder, ignore_errors=True)
    config = yaml.safe_load((place / "data" / "config.yaml").read_text(encoding="utf-8"))["tasks"][task]
    begun = time.process_time()
    found = add_task(run, task, JudgeConfig.build(config, source=f"task '{task}'"), policy=policy, settings=settings)  # type: ignore[arg-type]
    epochs = [json.loads(line) for line in (folder / f"fit-{policy}" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    reached = [epoch[f"{task} auc"] for epoch in epochs if not math.isnan(epoch.get(f"{task} auc", math.nan))]
    shutil.rmtree(folder)
    told = {
        "settings": settings,
        "validation": max(reached),
        "auc": {cell.cell: cell.value("auc") for cell in found.judged.cells()},
        "weights": found.weights,
        "share": found.share,
        "cpu_seconds": round(time.process_time() - begun, 1),
    }
    print(task, policy, told, flush=True)
    return told
