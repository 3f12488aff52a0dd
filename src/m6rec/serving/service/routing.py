"""Which experiment a request is part of, and what its arm changes: the model, the option, the slate, the share of chance."""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from m6rec.base.errors import M6RecError, UsageError, nearest
from m6rec.serving.asked import Ask, Slate
from m6rec.serving.experiments.assignment import Assignment, choose
from m6rec.serving.experiments.config import Experiment, ExperimentsConfig
from m6rec.serving.experiments.starting import in_order, started
from m6rec.serving.service.loaded import first_error

if TYPE_CHECKING:
    from m6rec.serving.store.store import Store

BEGUN = "experiments_begun"  # setting: name -> seconds since 1970 at which an experiment of the configuration was first seen
EXPLORATION = "exploration"  # setting: share of places filled by chance, over the configuration's
SESSION = "session"  # field of the context that names a person nobody knows


@dataclass(frozen=True)
class Route:
    """How a request is answered. version: None for the active model.  exploration: share of places filled by chance.

    unit: what was dealt the arm where no user is known and a session is: its hash, so that the audit holds no session of anybody.
    """

    ask: Ask
    version: str | None
    exploration: float
    experiment: str | None = None
    variant: str | None = None
    unit: str | None = None


class Routing:
    """The experiments of the configuration and of the store (which hold where names are the same), those that run longest first."""

    def __init__(self, config: ExperimentsConfig, store: Store) -> None:
        self.config, self.store = config, store
        self.experiments: list[Experiment] = in_order(config.running)
        self.exploration = config.exploration

    def read(self) -> None:
        """Take over what the store says now. Raises StorageError."""
        share = self.store.setting(EXPLORATION, self.config.exploration)
        usable = isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 0.5
        self.exploration = float(share) if usable else self.config.exploration
        stored = self.store.experiments()
        begun = self._begun(any(body.get("started") is not None for body in stored))
        found = {one.name: one.model_copy(update={"started": begun.get(one.name, one.started)}) for one in self.config.running}
        for body in stored:
            try:
                told = Experiment.build(body, f"experiment {body.get('name')}")
                found[told.name] = told
            except M6RecError as error:
                print(f"m6rec: {first_error(error)}", file=sys.stderr, flush=True)
        self.experiments = in_order(found.values())

    def set_up(self, experiment: Experiment) -> Experiment:
        """Keep an experiment, new or changed, in the store; gives it as it is kept. Raises StorageError."""
        known = {one.name: one for one in self.experiments}
        kept = started(experiment, known.get(experiment.name), time.time())
        self.store.save_experiment(kept.plain())
        return kept

    def _begun(self, others: bool) -> dict[str, float]:
        """When each experiment of the configuration began that does not say it; those that are the first at all, from the beginning.

        others: whether the store knows since when an experiment has been running.
        """
        kept = self.store.setting(BEGUN)
        known = kept if isinstance(kept, dict) else {}
        names = [one.name for one in self.config.running if one.status == "running" and one.started is None]
        now = {name: known.get(name, 0.0 if kept is None and not others else time.time()) for name in names}
        if now != known and (now or known):
            self.store.set_setting(BEGUN, now, told=False)
        return now

    def route(self, ask: Ask) -> Route:
        """The arm by name where the request names one, else by assignment. Raises UsageError: no arm of that name."""
        share = self.exploration if ask.explore else 0.0
        if ask.variant is not None:
            return self._taken(ask, self._named(ask.variant), share)
        if not self.experiments:
            return Route(ask, None, share)
        session = None if ask.user else (ask.context or {}).get(SESSION)
        found = choose(self.experiments, ask.user or str(session or ask.request_id), ask.scenario) if ask.explore else None
        if found is None:
            return Route(ask, None, share)
        taken = self._taken(ask, found, share)
        return taken if not session else replace(taken, unit=hashlib.sha256(str(session).encode()).hexdigest()[:16])

    def _named(self, variant: str) -> Assignment:
        known = {}
        for experiment in self.experiments:
            for arm in experiment.arms:
                known[arm.name] = known[f"{experiment.name}/{arm.name}"] = Assignment(experiment, arm)
        if variant not in known:
            hint = nearest(variant, list(known)) or f"; there are: {', '.join(known) or 'none'}"
            raise UsageError(f"no experiment has an arm '{variant}'{hint}")
        return known[variant]

    def _taken(self, ask: Ask, found: Assignment, share: float) -> Route:
        arm = found.arm
        changed = ask
        if arm.option is not None and ask.task is None:
            changed = replace(changed, task=arm.option)
        if arm.slate is not None and ask.slate == Slate():
            changed = replace(changed, slate=arm.slate.slate())
        if arm.exploration is not None and ask.explore:
            share = arm.exploration
        return Route(changed, arm.model, share, found.experiment.name, arm.name)
