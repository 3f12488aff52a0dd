"""Whether what a configuration says of its tasks fits the data: actions, scenarios, losses and metrics, before anything is trained."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from m6rec.base.contracts import Histories
from m6rec.base.errors import ConfigError, DataError, nearest
from m6rec.base.extras import require
from m6rec.config import M6RecConfig
from m6rec.data.baskets import split_baskets
from m6rec.data.dataset import Dataset, FieldType
from m6rec.data.dialogue_rows import split_dialogues
from m6rec.data.labels import Labels
from m6rec.data.splits import refusals, welcome
from m6rec.evaluation.metric_names import metrics_of, split_name
from m6rec.index.build import choose_kind
from m6rec.tasks.config import ChooseConfig, JudgeConfig
from m6rec.text.wording import Wording

LOSSES = {"number": ("auto", "squared", "huber"), "tokens": ("auto",)}  # by kind of label; of the other kinds:
LOSSES_OF_LABELS = ("auto", "log", "focal")
UNSMOOTHED = ("number", "tokens")
UNLABELLED = {"number": ("consistency",), "ordinal": ("pseudo", "consistency"), "tokens": ()}  # of the other kinds: every way


def check_settings(dataset: Dataset, config: M6RecConfig, labels: Mapping[str, Labels]) -> None:
    """Everything below; a run that was trained is not held against it again.

    Args:
        labels: judge task -> what was read.
    """
    check_choosing(dataset, config)
    check_judging(dataset, config, labels)


def check_choosing(dataset: Dataset, config: M6RecConfig) -> None:
    """Whether there is anything to choose from and to learn choosing from.

    Raises:
        DataError: a positive action that no event has; an offer of a scenario, by a field or of a value, that there is not; no basket or no
            dialogue to learn from, where a task asks for it.
        MissingExtraError: an index of the kind that is asked for, in a catalogue of this size, needs what is not installed.
    """
    for name in config.choose.positive or []:
        known = dataset.action_names
        if name not in known:
            hint = nearest(name, known) or f"; actions: {', '.join(known) or 'none'}"
            raise DataError(f"tasks.{config.choose_name}.positive names '{name}', an action no event has{hint}")
    for scenario, where in config.scenarios.offers.items():
        _known(scenario, [*dataset.scenario_names, *config.scenarios.later], "scenarios.offers", "scenario")
        for name, wanted in where.items():
            _known(name, list(dataset.items.fields), f"scenarios.offers.{scenario}", "field of the items")
            if dataset.items.fields[name] is FieldType.CATEGORY:
                values = set(dataset.items.frame[name].drop_nulls().unique().to_list())
                for value in [wanted] if isinstance(wanted, str) else wanted:
                    _known(value, values, f"scenarios.offers.{scenario}.{name}", "value of an item")

    if config.basket is not None:
        split_baskets(dataset.histories, config.split, config.basket.within, config.seed, refusals(dataset.action_names))
    if config.dialogue is not None:
        split_dialogues(dataset)
    if choose_kind(len(dataset.items), config.index) != "exact":
        require("faiss", "ann")


def check_wording(dataset: Dataset, wording: Wording) -> None:
    """Raises ConfigError: the user's own templates name a field that nothing has."""
    wording.say("item", {}, dataset.items.fields)
    wording.say("profile", {}, dataset.users.fields)


def training_targets(train: Histories, actions: list[str], choose: ChooseConfig) -> np.ndarray:
    """bool (E,): the training events that are targets of choosing. Raises DataError: none is."""
    wanted = welcome(train, actions)
    if choose.positive is not None:
        assert train.actions is not None
        wanted = np.isin(train.actions, [actions.index(name) for name in choose.positive])
    if not wanted.any():
        raise DataError("there is no training target: no event counts as positive; look at the task's `positive` and at the split")
    return wanted


def check_judging(dataset: Dataset, config: M6RecConfig, labels: Mapping[str, Labels]) -> None:
    """Hold the settings of every judge task against the kind of its labels.

    Raises:
        ConfigError: a loss, smoothing, metric, `unlabelled` or `after` that the kind has no use for; an `after` whose task is not asked wherever this one is;
            weights of a scenario the task is not asked in; a satisfaction without `evaluation.worth`, or one that names no task on candidates.
        DataError: weighting by propensities that nobody logged.
    """
    judged = [name for name, task in config.judges.items() if task.on == "candidate"]
    for name in config.evaluation.worth:
        if name not in judged:
            hint = nearest(name, judged) or f"; tasks on candidates: {', '.join(judged) or 'none'}"
            raise ConfigError(f"evaluation.worth names '{name}', which is no task on candidates{hint}")
    for name, task in config.judges.items():
        check_kind(name, task, labels[name].kind)
        if task.after is not None and labels[task.after].kind != "binary":
            raise ConfigError(
                f"tasks.{name}.after is '{task.after}', whose labels are of kind {labels[task.after].kind}; a yes comes after another yes: "
                f"leave `after` out, or say with tasks.{task.after}.positive which values mean yes"
            )
        _check_asked_before(dataset, config, name)
        for scenario in task.scenario_weights:
            _known(scenario, task.scenarios or dataset.scenario_names, f"tasks.{name}.scenario_weights", "scenario")
        if any(split_name(metric)[0] == "satisfaction" for metric in task.metrics or []) and not config.evaluation.worth:
            raise ConfigError(
                f"tasks.{name}.metrics asks for satisfaction, and nothing says what a row is worth; "
                "say evaluation.worth, e.g. {liked: 1, long_view: 1, disliked: -1} with names of tasks"
            )
        if task.position == "propensity" and (dataset.exposures is None or dataset.exposures.propensities is None):
            raise DataError(
                f"task {name}: position: propensity needs the column 'propensity' of the exposures; log it, or say position: adjust"
            )


def _check_asked_before(dataset: Dataset, config: M6RecConfig, name: str) -> None:
    """Raises ConfigError: the task comes after another that is not asked in a scenario of its own, where it would be learned as if it came after none."""
    task = config.judges[name]
    first = None if task.after is None else config.judges[task.after].scenarios
    if first is None or dataset.exposures is None:
        return
    codes = [] if dataset.exposures.scenarios is None else np.unique(dataset.exposures.scenarios).tolist()
    everywhere = [dataset.scenario_names[code] for code in codes if code >= 0]
    missing = [scenario for scenario in (everywhere if task.scenarios is None else task.scenarios) if scenario not in first]
    if missing:
        raise ConfigError(
            f"tasks.{name}.after is '{task.after}', which is not asked in {', '.join(missing)}, where {name} is; "
            f"add that to tasks.{task.after}.scenarios ({', '.join(first)}), or name in tasks.{name}.scenarios those of {task.after} alone"
        )


def check_kind(name: str, task: JudgeConfig, kind: str) -> None:
    """Raises ConfigError: a loss, smoothing, metric, `unlabelled` or `after` that labels of this kind have no use for.  DataError: words to label
    where there are none."""
    if kind == "tokens" and task.on == "candidate":
        raise DataError(f"task {name}: its labels are spans of words, and a candidate has no words to label; say on: text")
    fitting = LOSSES.get(kind, LOSSES_OF_LABELS)
    if task.loss not in fitting:
        raise ConfigError(f"tasks.{name}.loss is '{task.loss}' and its labels are of kind {kind}; write {' or '.join(fitting)}")
    if task.label_smoothing and kind in UNSMOOTHED:
        raise ConfigError(
            f"tasks.{name}.label_smoothing is {task.label_smoothing:g} and labels of kind {kind} are not smoothed; leave it out"
        )
    ways = UNLABELLED.get(kind)
    if ways is not None and task.unlabelled not in ("ignore", *ways):
        instead = f"say {' or '.join(ways)}, or leave it out" if ways else "leave it out"
        raise ConfigError(
            f"tasks.{name}.unlabelled is '{task.unlabelled}' and its labels are of kind {kind}, which learns nothing from texts so; {instead}"
        )
    if task.after is not None and kind != "binary":
        raise ConfigError(
            f"tasks.{name}.after is '{task.after}' and its labels are of kind {kind}; only a yes comes after another: "
            "leave `after` out, or say with `positive` which values mean yes"
        )
    metrics_of(kind, task.metrics, task=name)  # type: ignore[arg-type]


def _known(value: str, known: Collection[str], where: str, what: str) -> None:
    if value not in known:
        some = sorted(known)
        raise DataError(f"{where}: there is no {what} '{value}'{nearest(value, some) or '; known: ' + (', '.join(some[:20]) or 'none')}")
