"""`m6rec tune`: search the configuration that serves the validation cases best. The test cases are never looked at.

Every trial is the training of `m6rec train` up to the fit stage, in one run folder: stages are content-addressed, so a trial that
changes only how the tasks are fitted reads the same data, tokenizer, pretrained model and item states as all the others, and the
best trial's training is there when `m6rec train` is asked for it.
"""

from __future__ import annotations

import math
import shutil
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m6rec.base.errors import ConfigError, DataError, Interrupted, UsageError
from m6rec.base.extras import require
from m6rec.base.storage import write_json
from m6rec.config import M6RecConfig
from m6rec.evaluation.tuning_report import TrialRecord
from m6rec.training.interruption import held_interrupt
from m6rec.training.pipeline import run_stages, set_threads, workbench
from m6rec.training.progress import Progress
from m6rec.training.run_folder import RunFolder, content_key, read_json
from m6rec.training.search_space import Space, check_space, default_space, value_of, with_values
from m6rec.training.study import Study, decode, sole_user
from m6rec.training.trial_watch import Curve, Poor, TimeUp, Watch
from m6rec.training.tuning_files import write_best, write_page, write_trials
from m6rec.training.watched import tuned
from m6rec.training.workbench import Workbench

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

STUDY, LOCK = "tuning.db", "tuning.lock"
PAGE_SECONDS = 20.0  # the page is drawn anew at most this often while trials run, and at the end
MARK = "trial.json"  # in a fit folder that a trial began: what tuning made, tuning may remove


@dataclass(frozen=True)
class Tuning:
    """What a study has found so far.

    best, default  None while there is none.  importance: key -> share of the differences.  left: trials still to be done.
    best_config    the configuration with the winning values.  files: best.yaml (once there is a best), trials.csv, tune.html.
    """

    run: Path
    metric: str
    best: TrialRecord | None
    default: TrialRecord | None
    trials: list[TrialRecord]
    importance: dict[str, float]
    best_config: M6RecConfig | None
    files: list[Path]
    left: int


def tune(
    config: M6RecConfig,
    folder: Path,
    run: Path,
    *,
    space: Space | None = None,
    trials: int = 30,
    minutes: float | None = None,
    prune_after: int | None = 5,
    progress: bool = False,
) -> Tuning:
    """Search `space` around `config`, or go on with the study that is in the run folder.

    Args:
        folder: what the paths in `config` are relative to.
        run: the run folder; created. best.yaml and trials.csv are written there after every trial, tune.html now and then.
        space: what may change, None takes `default_space(config)`.
        trials: trials with a result that the study is to have, those of earlier calls counted; the first is the configuration as it is.
        minutes: stop after this long, at the next epoch; the trial under way goes on with the next call.
        prune_after: finished trials before one may be stopped for falling behind the others at the same epoch; None stops none.

    Raises:
        MissingExtraError: optuna is not installed.
        UsageError: nothing trained to tune by, no trials or minutes asked for, a study made for other data or another configuration or space, one in use.
        ConfigError: a space that can't be searched.
        DataError: the data can't be used, or every trial failed.
        Interrupted: Ctrl-C; the study is whole and the trial under way goes on with the next call.
    """
    require("optuna", "train")
    if trials < 1:
        raise UsageError(f"--trials is {trials}; at least 1 is needed: the first trial is the configuration as it is")
    if minutes is not None and not minutes > 0:
        raise UsageError(f"--minutes is {minutes:g}; more than 0 are needed")
    space = default_space(config) if space is None else space
    check_space(space, config)
    set_threads(config.train.threads)
    with sole_user(Path(run) / LOCK):
        shown = Progress(visible=progress)
        bench = workbench(config, folder, run, shown)
        run_stages(bench, until="tokenizer")  # what the data say is wrong shows here, not in every trial
        made_for = {"data": bench.key("prepare"), "space": content_key([one.plain() for one in space]), "config": bench.key("fit")}
        deadline = None if minutes is None else time.monotonic() + 60 * minutes
        with closing(Study(Path(run) / STUDY, space, config.seed, made_for, prune_after)) as study:
            return _Search(study, bench, shown, trials, deadline).run()


class _Search:
    """One call of `tune`."""

    def __init__(self, study: Study, bench: Workbench, shown: Progress, trials: int, deadline: float | None) -> None:
        self.study, self.bench, self.shown, self.wanted, self.deadline = study, bench, shown, trials, deadline
        self.config, self.source, self.folder = bench.config, bench.source, bench.run.root
        self.watched, self.drawn = tuned(bench), time.monotonic()
        self.metric = self.watched.name
        self.default = settled(bench, [dimension.key for dimension in study.space])

    def run(self) -> Tuning:
        resumed = self.study.recover()
        if resumed:
            self.shown.say("the trial that was cut off goes on")
        trial = None
        try:
            while self.study.counted() < self.wanted and not self._late():
                with held_interrupt():
                    trial = self.study.ask(self.default)
                try:
                    self._trial(trial)
                except TimeUp:
                    self.study.give_back(trial, "the minutes were over")
                    break
                with held_interrupt():
                    self._tidy()
                    self._say(trial.number, self._result(page=time.monotonic() - self.drawn > PAGE_SECONDS))
        except (Interrupted, KeyboardInterrupt):
            with held_interrupt():
                if trial is not None:
                    self.study.give_back(trial, "Ctrl-C")
                self._result()
            raise Interrupted(
                f"stopped; {self.study.counted()} of {self.wanted} trials are done and kept, the one under way goes on with the next call: "
                "run the same command to go on"
            ) from None
        result = self._result()
        if result.best is None and not result.left:
            reason = next(record.reason for record in result.trials if record.state == "failed")
            raise DataError(f"none of {self.study.counted()} trials finished; the first: {reason}")
        return result

    def _late(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def _trial(self, trial: optuna.Trial) -> None:
        """Train, and tell the study how it went. What is wrong with one trial's values ends that trial only."""
        try:
            config = with_values(self.config, self.study.values(trial))
            bench = workbench(config, self.source, self.folder, Progress(visible=False))
            key = bench.key("fit")
            trial.set_user_attr("key", key)
            twin = self.study.twin(key)
            if twin is not None:
                self._repeat(trial, twin)
                return
            bench.progress = Watch(self.shown, f"trial {trial.number}", Curve(trial, bench, self.watched, self._late))
            self.study.tell(trial, self._value(bench))
        except Poor:
            self.study.prune(trial)
        except (ConfigError, DataError) as error:
            self.study.fail(trial, str(error))

    def _value(self, bench: Workbench) -> float:
        """The validation metric of what would serve: the best epoch, with the agreement chosen for it."""
        folder = bench.folder("fit")
        if not folder.exists():
            write_json(folder / MARK, {"study": STUDY})
        run_stages(bench, until="fit")
        assert isinstance(bench.progress, Watch)
        bench.progress.curve.catch_up()
        facts = read_json(folder / "fit.json")
        value = float(facts["with_agreement"]) if "with_agreement" in facts else self.watched.value(facts)
        if math.isnan(value):
            raise DataError(f"{self.metric} is not defined on the validation rows: hold out more rows (split), or more of either label")
        return value

    def _repeat(self, trial: optuna.Trial, twin: FrozenTrial) -> None:
        """Take over the result of a trial that trained the very same thing."""
        trial.set_user_attr("same_as", twin.number)
        for epoch, value in twin.intermediate_values.items():
            trial.report(value, epoch)
        if twin.value is not None and twin.state.name == "COMPLETE":
            self.study.tell(trial, twin.value)
        else:
            self.study.prune(trial)

    def _tidy(self) -> None:
        """Remove the trainings that tuning made and nobody needs: all with a result but the best."""
        best = self.study.best()
        kept = {best.user_attrs["key"]} if best is not None else set()
        if self.bench.run.record.exists():
            kept.add(self.bench.run.read_record()["keys"]["fit"])  # the newest `m6rec train` of this run folder
        told = [t.user_attrs for t in self.study.trials() if t.state.is_finished() and "unfinished" not in t.user_attrs]
        for key in {attributes["key"] for attributes in told if "key" in attributes} - kept:
            folder = RunFolder(self.folder).stage("fit", key)
            if (folder / MARK).exists():
                shutil.rmtree(folder)

    def _result(self, page: bool = True) -> Tuning:
        """Write the files (`page`: the slow one too) and say what there is."""
        records = [self._record(trial) for trial in self.study.trials() if trial.state.name != "WAITING"]
        numbers = {record.number: record for record in records}
        found = self.study.best()
        best = numbers[found.number] if found is not None else None
        default = next((record for record in reversed(records) if record.default and record.state != "unfinished"), None)
        importance, keys = self.study.importance() if page else {}, [dimension.key for dimension in self.study.space]
        best_config = None if best is None else self.config if best.default else with_values(self.config, best.values)
        files = [write_trials(self.folder, self.metric, keys, records)]
        if best is not None and best_config is not None:
            files.insert(0, write_best(self.folder, self.source, best_config, self.metric, best, default, records, self.default))
        if page:
            statement = self.bench.split.statement
            files.append(write_page(self.folder, self.metric, self.study.space, records, best, default, importance, statement))
            self.drawn = time.monotonic()
        left = max(self.wanted - self.study.counted(), 0)
        return Tuning(self.folder, self.metric, best, default, records, importance, best_config, files, left)

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        attributes = trial.user_attrs
        default = bool(attributes.get("default"))
        values = (
            dict(self.default)
            if default
            else {one.key: decode(one, trial.params[one.key]) for one in self.study.space if one.key in trial.params}
        )
        state = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}[trial.state.name]
        took = trial.duration.total_seconds() if trial.duration is not None else 0.0
        reason = attributes.get("reason", "")
        if "unfinished" in attributes:
            state, reason = "unfinished", f"{attributes['unfinished']}; it went on as another trial"
        if "same_as" in attributes:
            reason = f"the same training as trial {attributes['same_as']}"
        value = trial.value if trial.value is not None and state in ("complete", "pruned") else float("nan")
        return TrialRecord(trial.number, state, value, values, dict(trial.intermediate_values), took, reason, default)

    def _say(self, number: int, result: Tuning) -> None:
        record = next(one for one in result.trials if one.number == number)
        told = {"complete": f"{self.metric} {record.value:.4f}", "pruned": f"stopped early at {record.value:.4f}"}.get(
            record.state, f"failed: {record.reason}"
        )
        best = f"; best {result.best.value:.4f} of trial {result.best.number}" if result.best is not None else ""
        what = (
            "the configuration as it is"
            if record.default
            else ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in record.values.items())
        )
        self.shown.say(f"trial {number}: {told}{best}  ({record.seconds:.0f} s; {what})")


def settled(bench: Workbench, keys: list[str]) -> dict[str, Any]:
    """The configuration's own values of `keys`, with what it leaves to the size and the data filled in where that is known."""
    shape = bench.fit_shape.plain()
    open_ends = {f"model.{name}": value for name, value in shape.items()} | {"train.dropout": shape["dropout"]}
    open_ends["model.dropout"] = bench.shape.dropout
    open_ends["train.batch_targets"] = bench.config.train.step_targets(len(bench.split.train.items))
    values = {}
    for key in keys:
        own = value_of(bench.config, key)
        values[key] = open_ends.get(key) if own is None else own
    return values
