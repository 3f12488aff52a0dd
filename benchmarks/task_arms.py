"""Arms of the studies: trainings that differ by a setting, in one run folder, so that what is read, counted and encoded is so once for all of them.

    FOLDER/studies               the run folder; its model is that of the newest arm
    FOLDER/studies/arms/NAME-*   answers about the validation and test rows, and what was measured on the model while it was there

An arm whose answers are there is not trained again; the name holds a hash of its settings.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import task_ours as ours
from m6rec.base.storage import write_json
from retrieval_ours import command
from task_baselines import Predicted
from task_rows import Rows


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

    def answers(
        self,
        name: str,
        changed: Sequence[str] = (),
        *,
        config: Path | None = None,
        measured: Callable[[Path], dict[str, Any]] | None = None,
    ) -> Predicted:
        """What the arm answers; its facts hold the seconds of its own stages, and what `measured` says of the run folder while it is trained."""
        config = config or self.place / "data" / "config.yaml"
        settings = [*changed, *self.settings]
        words = json.dumps([self.seed, settings, config.read_text(encoding="utf-8")])
        kept = self.run / "arms" / f"{name.replace(' ', '-')}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"
        facts, answers = kept.with_suffix(".json"), kept.with_suffix(".parquet")
        if not facts.exists():
            begun = time.monotonic()
            ours.command_train(self.run, config, self.seed, self.threads, settings)
            seconds = time.monotonic() - begun
            kept.parent.mkdir(parents=True, exist_ok=True)
            command(["predict", str(self.run), str(ours.asked(self.place)), "--out", str(answers)])
            found = measured(self.run) if measured else {}
            write_json(facts, {"name": name, "seconds": round(seconds, 1), **found})
        return ours.read_answers(name, self.rows, answers, json.loads(facts.read_text(encoding="utf-8")))


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
    return {
        "settings": settings,
        "validation": max(reached),
        "auc": {cell.cell: cell.value("auc") for cell in found.judged.cells()},
        "weights": found.weights,
        "share": found.share,
        "cpu_seconds": round(time.process_time() - begun, 1),
    }
