"""Which models are in memory, in every worker: the store says so, and each worker follows.

A model is loaded beside the one that answers, warmed, and told everything the store has, before anything is switched. The switch itself is
one assignment: requests under way end with the model they began with. The model that answered before stays, for the way back.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m6rec.base.errors import CheckpointError, M6RecError, StorageError, UsageError, nearest
from m6rec.serving.service.following import Following
from m6rec.serving.service.loaded import LoadedModel, ModelFacts, first_error, model_folder, version_of
from m6rec.serving.service.models import Models

if TYPE_CHECKING:
    from m6rec.serving.store.records import Model
    from m6rec.serving.store.store import Store

BESIDE = "models.beside"  # setting: versions that every worker holds beside the active one
KEPT = 2  # versions that a switch leaves in memory: the active one and the one before


class Switching:
    """Loads, switches and drops models. problems: version -> why this worker could not load it."""

    def __init__(self, models: Models, following: Following, store: Store) -> None:
        self.models, self.following, self.store = models, following, store
        self.problems: dict[str, str] = {}
        self._loading = threading.Lock()
        self._wanted = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def load(self, folder: Path, version: str | None, note: str) -> ModelFacts:
        """Beside the one that answers. Raises CheckpointError, StorageError."""
        version = version or version_of(folder)
        with self._loading:
            model = self._load(folder, version)
            self.store.add_model(folder.resolve(), version, note, watermark=watermark_of(folder))
            self._keep({version})
        return model.facts("loaded")

    def switch(self, version: str) -> ModelFacts:
        """Let `version` answer, here at once and in the other workers as soon as they have loaded it. Raises UsageError, CheckpointError."""
        with self._loading:
            before = self.models.active.version
            if self.models.find(version) is None:
                self._load(Path(self._known(version).folder), version)
            self.store.set_active(version)
            self.models.switch(version)
            if before != version:
                self._keep({before}, drop={version})
        return self.models.active.facts("active")

    def roll_back(self) -> ModelFacts:
        """To the model that was active before this one; again, to the one before that. Raises UsageError: there was none."""
        before = self.store.previous_active()
        if before is None:
            raise UsageError(
                f"there is no switch to roll back: no model was active before '{self.models.active.version}'; name the version to switch to"
            )
        return self.switch(before)

    def drop(self, version: str) -> None:
        """Out of the memory of every worker. Raises UsageError: the one that answers, or one that is not in memory."""
        with self._loading:
            self.models.drop(version)
            self._keep(set(), drop={version})
            self.store.note_deed("model_drop", version)

    def facts(self) -> list[ModelFacts]:
        """The active model, those beside it, and those that the store knows, in this order."""
        active = self.models.active
        found = [
            model.facts("active" if model is active else "loaded") for model in sorted(self.models.all, key=lambda one: one is not active)
        ]
        try:
            known = self.store.models()
        except StorageError:
            return found
        held = {facts.version for facts in found}
        for model in known:
            if model.version not in held:
                retrain = model.forgotten > 0
                found.append(
                    ModelFacts(model.version, model.folder, "known", None, 0, 0, 0, retrain, self.problems.get(model.version, model.note))
                )
        return found

    def follow(self) -> None:
        """Told that another worker loaded, switched or dropped; what that takes is done beside the answers."""
        self._wanted.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="m6rec-models", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """No more loading."""
        self._closed = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(timeout=60)

    def begin(self, run: Path, version: str) -> None:
        """At the start: a version the store has never seen becomes the active one; else what the store says is active.

        Raises:
            StorageError: the store is away.
        """
        known = {model.version: model for model in self.store.models()}
        if version not in known:
            self.store.add_model(run.resolve(), version, "served first", watermark=watermark_of(run))
            self.store.set_active(version)
        self._settle()

    def _work(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._closed:
                return
            try:
                self._settle()
            except M6RecError as error:
                print(f"m6rec: models: {first_error(error)}", file=sys.stderr, flush=True)

    def _settle(self) -> None:
        """Bring memory to what the store says: load what is missing, switch, drop."""
        with self._loading:
            known = {model.version: model for model in self.store.models()}
            active = next((model.version for model in known.values() if model.active), self.models.active.version)
            wanted = [active, *self.store.setting(BESIDE, [])]
            for version in dict.fromkeys(wanted):
                if self.models.find(version) is None and version in known:
                    try:
                        self._load(Path(known[version].folder), version)
                        self.problems.pop(version, None)
                    except CheckpointError as error:
                        self.problems[version] = first_error(error)
                        print(f"m6rec: model {version}: {first_error(error)}", file=sys.stderr, flush=True)
            if self.models.find(active) is not None:
                self.models.switch(active)
            for model in self.models.all:
                take_options(model, self.store)
            for model in self.models.all:
                if model.version not in wanted and model is not self.models.active:
                    self.models.drop(model.version)

    def _load(self, folder: Path, version: str) -> LoadedModel:
        if (found := self.models.find(version)) is not None:
            return found
        model = LoadedModel.open(folder, version, self.models.active.engine.config)
        model.take_names(self.store)
        self.models.check(model)
        model.warm()
        self.following.join(model, self.models.add, watermark_of(folder))
        take_options(model, self.store)
        return model

    def _keep(self, more: set[str], drop: set[str] | None = None) -> None:
        kept = [version for version in self.store.setting(BESIDE, []) if version not in (drop or set()) and version not in more]
        self.store.set_setting(BESIDE, [*kept, *sorted(more)], told=False)

    def _known(self, version: str) -> Model:
        known = {model.version: model for model in self.store.models()}
        if version not in known:
            raise UsageError(
                f"there is no model '{version}'{nearest(version, list(known)) or '; there are: ' + ', '.join(known)}; load it first"
            )
        return known[version]


def take_options(model: LoadedModel, store: Store) -> None:
    """Bring the added tasks of a model to what the store says; a folder that can't be used is counted in `skipped`."""
    wanted: dict[str, Any] = {name: body for name, body in store.options().items() if body.get("version") == model.version}
    gone = [name for name in model.added_options if name not in wanted]
    lacking = [name for name in wanted if name not in model.added_options]
    if not gone and not lacking:
        return  # no turn to wait for
    with model.turns.writing():
        for name in gone:
            model.drop_option(name)
        for name in lacking:
            try:
                model.load_option(Path(wanted[name]["folder"]))
            except M6RecError as error:
                model.skipped[f"option {name}: {first_error(error)}"] += 1


def watermark_of(folder: Path) -> int:
    """Newest change of the store that the training data of a run held, 0 where they did not come from a store."""
    run = model_folder(folder).parent
    try:
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        told = json.loads((Path(record["source"]) / "watermark.json").read_text(encoding="utf-8"))
        return int(told["watermark"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
