"""What every part of the service has: configuration, store, models in memory, rules, experiments, counters."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m6rec.base.errors import M6RecError
from m6rec.serving.config import ServeConfig
from m6rec.serving.conversation.conversation import Talker
from m6rec.serving.engine.engine import Engine
from m6rec.serving.service.chores import Chores
from m6rec.serving.service.following import Following
from m6rec.serving.service.item_search import ItemSearch
from m6rec.serving.service.live_quality import LiveQuality
from m6rec.serving.service.loaded import LoadedModel
from m6rec.serving.service.models import Models
from m6rec.serving.service.routing import EXPLORATION, Routing
from m6rec.serving.service.rulings import Rulings
from m6rec.serving.service.shown_log import ShownLog
from m6rec.serving.service.switching import BESIDE, Switching
from m6rec.serving.service.traffic import Traffic

if TYPE_CHECKING:
    from m6rec.serving.store.records import Change
    from m6rec.serving.store.store import Store

FIRST = "0"  # the worker that does the chores


class Core:
    """The parts of `Service` share these.

    run: the run folder it was opened with.  state: where the store and everything else that has to outlive the process lies.
    """

    def __init__(self, run: Path, state: Path, config: ServeConfig, store: Store, model: LoadedModel) -> None:
        self.run, self.state, self.config, self.store = run, state, config, store
        self.loaded = Models(model)
        self.following = Following(store, lambda: self.loaded.all, self._changed)
        self.switching = Switching(self.loaded, self.following, store)
        self.rulings = Rulings(config.rules, store)
        self.routing = Routing(config.experiments, store)
        self.shown = ShownLog(store, config.engine.audit_every_ms)
        self.traffic = Traffic(state / "traffic")
        self.place = os.environ.get("M6REC_WORKER", FIRST)
        self.quality = LiveQuality(self.loaded.use, state / "quality", config.engine.quality_per_s, self.place)
        self.chores = Chores(store, lambda: self.routing.experiments, config.engine.look_every_s, config.store.retention.every_s)
        self.started = time.time()
        self.closing = False
        self._searching = ItemSearch()
        self._talkers: dict[str, tuple[Engine, Talker]] = {}  # by version of the model
        self._talking = threading.Lock()
        self._chance = np.random.default_rng()

    @contextmanager
    def _counted(self, operation: str) -> Iterator[None]:
        """Count what goes wrong inside."""
        try:
            yield
        except M6RecError as error:
            self.traffic.failed(operation, type(error).__name__)
            raise

    def _changed(self, change: Change) -> None:
        """A change of the store that is not the models' own. Called while the change log is read."""
        if change.kind in ("model", "option") or (change.kind == "setting" and change.key == BESIDE):
            self.switching.follow()
        elif change.kind == "rule":
            self.rulings.changed()
        elif change.kind == "experiment" or (change.kind == "setting" and change.key == EXPLORATION):
            self.routing.read()
