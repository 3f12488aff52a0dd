"""The study behind `m6rec tune`: one SQLite file in the run folder, whole after kill -9 at any moment.

A trial that was cut off is closed as unfinished and put in the queue again under its own values, so nothing is lost and nothing is
counted twice. The sampler is seeded afresh for every trial by how many came before: a resumed study asks for what an uninterrupted
one would have asked for.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m6rec.base.errors import CheckpointError, UsageError
from m6rec.base.extras import require
from m6rec.training.search_space import Dimension, Space

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

STARTUP = 8  # trials drawn at random before the sampler begins to learn from them
KEPT = 66.0  # a trial goes on while it is among this share (in %) of the trials that came as far: slow starters must not be lost
FIRST_LOOK = 2  # the first epoch after which a trial may be stopped
NAME = "m6rec"
MADE_FOR = {"data": "other data files", "space": "another search space", "config": "another configuration"}


class Study:
    """What was tried, what came of it, and what to try next.

    made_for: name -> key of what the study depends on (data, space, config); a file made for anything else is refused.
    """

    def __init__(self, path: Path, space: Space, seed: int, made_for: dict[str, str], prune_after: int | None) -> None:
        self.optuna = require("optuna", "train")
        self.path, self.space, self.seed = path, space, seed
        self.optuna.logging.set_verbosity(self.optuna.logging.WARNING)
        self.distributions = {dimension.key: self._distribution(dimension) for dimension in space}
        pruners = self.optuna.pruners
        pruner = (
            pruners.NopPruner()
            if prune_after is None
            else pruners.PercentilePruner(KEPT, n_startup_trials=prune_after, n_warmup_steps=FIRST_LOOK)
        )
        self.storage = self._open()
        with ExitStack() as stack:
            stack.callback(self.close)
            self.study: optuna.Study = self.optuna.create_study(
                storage=self.storage, study_name=NAME, direction="maximize", pruner=pruner, load_if_exists=True
            )
            self._check(made_for)
            stack.pop_all()

    def close(self) -> None:
        self.storage.remove_session()
        self.storage.engine.dispose()

    # ---- what there is

    def trials(self) -> list[FrozenTrial]:
        """Every trial in the order asked for."""
        return self.study.get_trials(deepcopy=False)

    def counted(self) -> int:
        """Trials with a result: finished, stopped early for being poor, or failed for a reason of their own."""
        return sum(trial.state.is_finished() and "unfinished" not in trial.user_attrs for trial in self.trials())

    def best(self) -> FrozenTrial | None:
        """The best finished trial, the earlier of equals."""
        done = [trial for trial in self.trials() if trial.state == self.optuna.trial.TrialState.COMPLETE]
        return max(done, key=lambda trial: (trial.value if trial.value is not None else -math.inf, -trial.number), default=None)

    def twin(self, key: str) -> FrozenTrial | None:
        """A trial with a result that trained the very same thing."""
        states = (self.optuna.trial.TrialState.COMPLETE, self.optuna.trial.TrialState.PRUNED)
        return next((t for t in self.trials() if t.state in states and t.user_attrs.get("key") == key), None)

    def importance(self) -> dict[str, float]:
        """Share of the differences between trials that each key explains (fANOVA, Hutter et al. 2014); empty while there is too little to say."""
        done = [t for t in self.trials() if t.state == self.optuna.trial.TrialState.COMPLETE and set(t.params) == set(self.distributions)]
        varied = [key for key in self.distributions if len({t.params[key] for t in done}) > 1]
        if len(done) < 4 or not varied or len({t.value for t in done}) < 2:
            return {}
        evaluator = self.optuna.importance.FanovaImportanceEvaluator(seed=self.seed % 2**32)
        found = self.optuna.importance.get_param_importances(self.study, evaluator=evaluator, params=varied)
        return {key: float(share) for key, share in found.items()}

    # ---- what to do next

    def recover(self) -> int:
        """Close what a killed process left running, and queue it again; how many there were."""
        running = [trial for trial in self.trials() if trial.state == self.optuna.trial.TrialState.RUNNING]
        for trial in running:
            self._again(trial, "the process was stopped")
        return len(running)

    def give_back(self, trial: optuna.Trial, reason: str) -> None:
        """Close `trial` as unfinished and queue it again, unless it has its result already."""
        frozen = next(one for one in self.trials() if one.number == trial.number)
        if not frozen.state.is_finished():
            self._again(frozen, reason)

    def ask(self, default: dict[str, Any]) -> optuna.Trial:
        """The next trial, running: what waits in the queue, else a new one; the first of all is the default configuration.

        Args:
            default: the configuration's own values of the keys searched; where one is outside the space the sampler can't learn from it.
        """
        waiting = [trial for trial in self.trials() if trial.state == self.optuna.trial.TrialState.WAITING]
        if not waiting and not self.counted():
            inside = all(dimension.key in default and default[dimension.key] in dimension for dimension in self.space)
            encoded = {dimension.key: self._encode(dimension, default[dimension.key]) for dimension in self.space} if inside else {}
            self.study.enqueue_trial(encoded, user_attrs={"default": True, "bare": not inside})
            waiting = [trial for trial in self.trials() if trial.state == self.optuna.trial.TrialState.WAITING]
        seed = (1_000_003 * self.seed + self.counted()) % 2**32
        self.study.sampler = self.optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=STARTUP)
        bare = bool(waiting) and waiting[0].user_attrs.get("bare", False)
        return self.study.ask(fixed_distributions={} if bare else self.distributions)

    def values(self, trial: optuna.Trial) -> dict[str, Any]:
        """Configuration values of a trial; none for the default configuration, which is run as it is."""
        if trial.user_attrs.get("default"):
            return {}
        return {dimension.key: decode(dimension, trial.params[dimension.key]) for dimension in self.space}

    def tell(self, trial: optuna.Trial, value: float) -> None:
        self.study.tell(trial, value)

    def prune(self, trial: optuna.Trial) -> None:
        self.study.tell(trial, state=self.optuna.trial.TrialState.PRUNED)

    def fail(self, trial: optuna.Trial, reason: str) -> None:
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)

    # ---- inside

    def _again(self, trial: FrozenTrial, reason: str) -> None:
        # Queued first: killed between the two, it is queued already and only closed the next time.
        if not any(other.user_attrs.get("again") == trial.number for other in self.trials()):
            kept = {name: value for name, value in trial.user_attrs.items() if name in ("default", "bare")}
            self.study.enqueue_trial(trial.params, user_attrs={**kept, "again": trial.number})
        identifier = trial._trial_id
        self.storage.set_trial_user_attr(identifier, "unfinished", reason)
        self.storage.set_trial_state_values(identifier, self.optuna.trial.TrialState.FAIL)

    def _open(self) -> Any:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        errors = importlib.import_module("sqlalchemy.exc")
        try:
            return self.optuna.storages.RDBStorage(f"sqlite:///{self.path}", engine_kwargs={"connect_args": {"timeout": 60}})
        except (errors.SQLAlchemyError, self.optuna.exceptions.OptunaError, RuntimeError) as error:
            line = " ".join(str(getattr(error, "orig", None) or error).split())
            raise CheckpointError(f"{self.path} is no study this version can read ({line}); move it away to begin a new one") from None

    def _check(self, made_for: dict[str, str]) -> None:
        known = self.study.user_attrs.get("made_for")
        if known is None:
            self.study.set_user_attr("made_for", made_for)
            return
        for name, words in MADE_FOR.items():
            if known.get(name) != made_for[name]:
                raise UsageError(
                    f"the study in {self.path} was made for {words}, and its trials can't be compared with these; "
                    "type: m6rec tune with another --run, or move the file away"
                )

    def _distribution(self, dimension: Dimension) -> Any:
        kinds = self.optuna.distributions
        if dimension.choices:
            return kinds.CategoricalDistribution([json.dumps(choice) for choice in dimension.choices])
        if dimension.whole:
            return kinds.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log, step=int(dimension.step or 1))
        return kinds.FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)

    @staticmethod
    def _encode(dimension: Dimension, value: Any) -> Any:
        return json.dumps(value) if dimension.choices else int(value) if dimension.whole else float(value)


def decode(dimension: Dimension, value: Any) -> Any:
    """A stored parameter as a configuration value: choices from JSON, numbers to three digits, as a person would write them."""
    if dimension.choices:
        return json.loads(value)
    if dimension.whole:
        return int(value)
    return min(max(float(f"{value:.3g}"), dimension.low), dimension.high) if dimension.step is None else float(f"{value:.10g}")


@contextmanager
def sole_user(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; the system lets go of it when the process ends, however it ends.

    Raises:
        UsageError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        if importlib.util.find_spec("fcntl") is not None:
            import fcntl

            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"another m6rec tune is working in {path.parent}; wait for it, or use another --run") from None
        yield
    finally:
        os.close(handle)
