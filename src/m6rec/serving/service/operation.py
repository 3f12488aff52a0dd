"""Running the service: models, options, experiments, figures, health."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

from m6rec.base.errors import UsageError, nearest
from m6rec.serving.experiments.config import Experiment
from m6rec.serving.service.chores import Look, look_at
from m6rec.serving.service.core import Core
from m6rec.serving.service.loaded import ModelFacts, model_folder
from m6rec.serving.service.run_reports import Board, Training, quality_board, run_of, training_progress
from m6rec.tasks.model_folder import CONFIG


class Operation(Core):
    """What operators ask for."""

    def models(self) -> list[ModelFacts]:
        """The active model, those in memory beside it, and those that the store knows, in this order."""
        return self.switching.facts()

    def load_model(self, folder: Path, version: str | None = None, note: str = "") -> ModelFacts:
        """The model of a run or model folder beside the one that answers, warmed, in every worker; nothing else changes.

        Raises:
            CheckpointError: no model, a damaged one, or one for other data.  StorageError: the store is away.
        """
        return self.switching.load(Path(folder), version, note)

    def switch(self, version: str) -> ModelFacts:
        """Let a model answer from the next request on; requests under way end with the model they began with.

        Raises:
            UsageError: no such model.  CheckpointError: its folder can't be read any more.  StorageError: the store is away.
        """
        return self.switching.switch(version)

    def roll_back(self) -> ModelFacts:
        """Back to the model that was active before this one; a second time, to the one before that. Raises UsageError: there was none."""
        return self.switching.roll_back()

    def drop_model(self, version: str) -> None:
        """Out of the memory of every worker. Raises UsageError: the one that answers."""
        self.switching.drop(version)

    def options(self) -> list[dict[str, Any]]:
        """Tasks on candidates: name, scenarios, and whether it was loaded on top of the model (and from where)."""
        with self.loaded.use() as model:
            return model.options()

    def load_option(self, folder: Path) -> str:
        """A task that `m6rec add-task` trained on this model's backbone, in every worker; returns its name. Other answers keep their bits.

        Raises:
            CheckpointError: missing, damaged, or trained for another backbone.  UsageError: a task of that name is there already.
        """
        self.following.catch_up()
        model = self.loaded.active
        with model.turns.writing():
            name = model.load_option(Path(folder))
        self.store.save_option(name, {"folder": str(Path(folder).resolve()), "version": model.version})
        return name

    def drop_option(self, task: str) -> None:
        """Take a task on candidates out again, in every worker. Raises UsageError: no such task, or another one comes after it."""
        self.following.catch_up()
        with self.loaded.active.turns.writing():
            self.loaded.active.drop_option(task)
        self.store.drop_option(task)

    def set_experiment(self, experiment: Experiment) -> Experiment:
        """Set an experiment up, or change the one of its name, in every worker; gives it as it is kept, with the time it has been running from.

        Raises:
            StorageError: nothing was kept.
        """
        self.following.catch_up()
        return self.routing.set_up(experiment)

    def looks(self) -> list[Look]:
        """Every experiment as it stands: figures, intervals, what they ask for. Raises StorageError."""
        return [look_at(self.store, experiment) for experiment in self.routing.experiments]

    def look(self, name: str) -> Look:
        """One experiment as it stands. Raises UsageError: no such experiment.  StorageError."""
        found = {experiment.name: experiment for experiment in self.routing.experiments}
        if name not in found:
            hint = nearest(name, list(found)) or f"; there are: {', '.join(found) or 'none'}"
            raise UsageError(f"there is no experiment '{name}'{hint}")
        return look_at(self.store, found[name])

    def alive(self) -> bool:
        """Whether the process can answer at all."""
        return not self.closing

    def ready(self) -> tuple[bool, str]:
        """Whether requests should be sent here, and if not, why. A store that is away takes no events, but answers go on."""
        return not self.closing, "the service is stopping" if self.closing else ""

    def info(self) -> dict[str, Any]:
        """Versions, sizes, freshness, and what somebody should look after."""
        self.following.catch_up()
        active = self.loaded.active
        with active.turns.reading():
            engine = active.engine
            dataset, tasks = engine.dataset, engine.scorer.origin.training["tasks"]
            newest = engine.histories.newest
            known = {
                "items": len(engine.items) - len(engine.gone),
                "users": len(engine.users) - len(engine.forgotten),
                "scenarios": list(dataset.scenario_names),
                "actions": list(dataset.action_names),
                "item_fields": {name: str(kind.value) for name, kind in engine.items.fields.items()},
                "user_fields": {name: str(kind.value) for name, kind in engine.users.fields.items()},
                "tasks": {name: facts.get("answer", "") for name, facts in tasks.items()},
            }
            writing = engine.scorer.writing
            written = [] if writing is None else [{"task": name, "reads": config.reads} for name, config in writing.write.configs.items()]
        return {
            "model_version": active.version,
            "writes": written,
            "talks": True,
            **known,
            "newest_event": newest,
            "model_written": _written(active.folder),
            "retrain": active.retrain,
            "store": self._away() or "ok",
            "started": self.started,
            "m6rec": importlib.metadata.version("m6rec"),
            "experiments": [one.name for one in self.routing.experiments if one.status == "running"],
            "exploration": self.routing.exploration,
            "audit": {"waiting": self.shown.waiting, "lost": self.shown.lost},
            "skipped": dict(active.skipped),
            "caches": engine.cache_report(),
            "problems": self._problems(),
        }

    def figures(self) -> dict[str, Any]:
        """Traffic and latency of all workers, cache hits, and quality from live feedback."""
        with self.loaded.use() as model:
            live = self.quality.plain(model)
        return {"traffic": self.traffic.total(), "quality": live}

    def _away(self) -> str:
        """Why nothing is read from or written to the store now, "" while it is."""
        return self.following.away or self.store.away

    def _problems(self) -> list[str]:
        active = self.loaded.active
        found = [f"model {version}: {why}" for version, why in self.switching.problems.items()]
        found += [f"model {active.version}: {why}" for why in active.problems]
        if self.rulings.problem:
            found.append(self.rulings.problem)
        if away := self._away():
            found.append(f"the store takes nothing: {away}")
        if self.shown.lost:
            found.append(f"{self.shown.lost:,} rows of the audit were lost")
        return found

    def board(self) -> Board:
        """Quality of the active model's run: tasks by scenarios, from its last evaluation."""
        return quality_board(run_of(self.loaded.active.folder))

    def training(self, run: Path | None = None) -> Training:
        """How far a training has come; of the run that was served first, unless another folder is named."""
        return training_progress(run_of(self.run) if run is None else Path(run))


def _written(folder: Path) -> float | None:
    """When the model was written, seconds since 1970."""
    try:
        return (model_folder(folder) / CONFIG).stat().st_mtime
    except OSError:
        return None
