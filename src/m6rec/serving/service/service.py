"""The service: one request from end to end, over the models in memory, the store and the rules. No HTTP.

Every method may be called from any thread, and raises m6rec.base.errors only. Reads are answered from memory: a store that is away stops
writing (StorageError), never an answer.
"""

from __future__ import annotations

from pathlib import Path

from m6rec.base.errors import M6RecError
from m6rec.serving.config import ServeConfig
from m6rec.serving.service.answers import Answers
from m6rec.serving.service.configuration_file import state_of
from m6rec.serving.service.core import FIRST
from m6rec.serving.service.knowledge import Knowledge
from m6rec.serving.service.loaded import LoadedModel
from m6rec.serving.service.operation import Operation
from m6rec.serving.service.switching import take_options, watermark_of
from m6rec.serving.service.words import Words


class Service(Answers, Words, Knowledge, Operation):
    """What `m6rec serve` serves; http and console are built on this and on nothing below it."""

    @classmethod
    def open(cls, run: Path, config: ServeConfig | None = None, state: Path | None = None) -> Service:
        """A service over a run folder or a model folder, brought up to what the store has.

        Args:
            state: folder of the store; None is RUN/serving (beside a bare model folder: NAME-serving).

        Raises:
            CheckpointError: no model, or a damaged one.  StorageError: the store can't be opened.  ConfigError: a rule that suits no item field.
        """
        from m6rec.serving.store.store import Store

        run, config = Path(run), config or ServeConfig()
        state = state_of(run, state)
        model = LoadedModel.open(run, config=config.engine)
        store = Store.open(config.store, state)
        service = cls(run, state, config, store, model)
        try:
            model.take_names(store)
            service.following.join(model, lambda one: None, watermark_of(run))
            take_options(model, store)
            model.warm()
            service.switching.begin(run, model.version)
            service.routing.read()
            service.rulings.book(service.loaded.active)
            if service.place == FIRST:
                service.chores.start()
        except M6RecError:
            service.close()
            raise
        return service

    def close(self) -> None:
        """Write what is left to write and let go of the store."""
        self.closing = True
        self.chores.close()
        self.switching.close()
        self.quality.close()
        self.shown.close()
        self.traffic.write()
        self.store.close()
