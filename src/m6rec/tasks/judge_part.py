"""What judges candidates in a served model: the trained module, the statistics it reads, the wording of a request's context.

Exposures of the training and candidates of a request become rows here, by the same code.

Dimension keys: X rows, S statistics, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from m6rec.base.contracts import Histories
from m6rec.data.dataset import Dataset, Exposures, FieldType, Table, Vocabulary
from m6rec.data.history_statistics import history_statistic_names, history_statistics
from m6rec.data.labels import Labels
from m6rec.data.statistic_keys import ItemValues, StatisticKeys, item_values
from m6rec.data.statistics import OutcomeLog, Statistics
from m6rec.evaluation.calibration import Calibration
from m6rec.language_model.config import ModelShape
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.catalogue import vector_fields
from m6rec.tasks.choose import Choose
from m6rec.tasks.config import JudgeConfig, SharingConfig
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.judge import Judge
from m6rec.tasks.judge_cells import JudgeSizes
from m6rec.tasks.judge_new import counted_elsewhere
from m6rec.tasks.judge_rows import JudgeExamples, JudgeRows
from m6rec.tasks.judge_text import JudgeTexts, JudgeTextsSizes
from m6rec.text.bag import Bag

WINDOWS = [1.0, 7.0, 30.0]  # days


@dataclass
class JudgeInputs:
    """How exposures and requests are read.

    statistics   of the log of exposures; None where nothing is counted    context_bag   None where nothing is declared
    values, actions  fields of the items and actions that a person's own history is counted by; None: it is not
    """

    statistics: Statistics | None
    context_bag: Bag | None
    context_fields: dict[str, FieldType]
    values: list[ItemValues] | None = None
    actions: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, dataset: Dataset, labels: dict[str, Labels], *, counted: bool, language: str) -> JudgeInputs:
        """counted: whether statistics are kept. labels: of all exposures, by task."""
        exposures = dataset.exposures
        assert exposures is not None
        statistics = statistics_of(dataset, exposures, labels) if counted and exposures.times is not None else None
        bag = Bag.fit(context_table(exposures.context, exposures.context_fields), language) if exposures.context_fields else None
        values = item_values(dataset.items) if counted else None
        return cls(statistics, bag, exposures.context_fields, values, dataset.action_names)

    @property
    def names(self) -> list[str]:
        """Names of the columns that `counts` gives."""
        told = [] if self.statistics is None else self.statistics.names
        return told if self.values is None else [*told, *history_statistic_names(self.values, self.actions)]

    @property
    def newest(self) -> float | None:
        """The moment of the newest exposure counted, in seconds; None where none is."""
        newest = [] if self.statistics is None else [part.moments[-1] for part in self.statistics._parts if len(part.moments)]
        return float(max(newest)) if newest else None

    def rows(
        self, exposures: Exposures, labels: dict[str, np.ndarray], width: int, histories: Histories, *, elsewhere: bool = False
    ) -> JudgeRows:
        """The rows of `exposures`, whose cuts belong to `histories`; labels: task -> float32 (X,) or (X, L).

        Args:
            width: of the language model's summaries.  elsewhere: also what is counted in other scenarios than each row's.
        """
        users, scenarios = exposures.users.astype(np.int64), None if exposures.scenarios is None else exposures.scenarios.astype(np.int64)
        statistics = self.counts(exposures.users, exposures.items, scenarios, exposures.times, histories, users, exposures.cuts)
        others = None
        if elsewhere and self.statistics is not None and scenarios is not None and statistics is not None:
            told = counted_elsewhere(self.statistics, exposures.users, exposures.items, scenarios, exposures.times)
            others = np.concatenate([told, statistics[:, told.shape[1] :]], axis=1)  # a person's own events are what they are
        return JudgeRows(
            users=users,
            items=exposures.items.astype(np.int64),
            cuts=exposures.cuts,
            scenarios=scenarios,
            times=exposures.times,
            positions=exposures.positions,
            propensities=exposures.propensities,
            statistics=statistics,
            elsewhere=others,
            context=self.context(exposures.context, width),
            labels=labels,
        )

    def counts(
        self,
        users: np.ndarray,
        items: np.ndarray,
        scenarios: np.ndarray | None,
        times: np.ndarray | None,
        histories: Histories,
        places: np.ndarray,
        cuts: np.ndarray,
    ) -> np.ndarray | None:
        """float32 (X, S) as of `times` (None: now, after everything that is known) and of the cuts.

        users (X,) are rows of the users table, -1 for nobody known; places (X,) rows of `histories`, cuts (X,) positions in them.
        """
        parts = []
        if self.statistics is not None:
            parts.append(self.statistics.read(users, items, scenarios, np.full(len(users), np.inf) if times is None else times))
        if self.values is not None:
            parts.append(history_statistics(histories, self.values, len(self.actions), places, items, cuts))
        return np.concatenate(parts, axis=1) if parts else None

    def context(self, frame: pl.DataFrame, width: int) -> Contents | None:
        """The declared context fields of X requests, as features."""
        if self.context_bag is None:
            return None
        table = context_table(frame, self.context_fields)
        return Contents.build(torch.zeros(frame.height, width), self.context_bag.matrix(table), vector_fields(table))


def context_table(frame: pl.DataFrame, fields: dict[str, FieldType]) -> Table:
    return Table(Vocabulary(map(str, range(frame.height))), frame, fields)


def statistics_of(dataset: Dataset, exposures: Exposures, labels: dict[str, Labels]) -> Statistics:
    """Counts of every exposure with a time and of what came of it, of the labels that are a yes, a number or a level."""
    assert exposures.times is not None
    told = {task: part for task, part in labels.items() if part.kind in ("binary", "number", "ordinal")}
    scenarios = exposures.scenarios
    keys = StatisticKeys(len(dataset.users), item_values(dataset.items), len(dataset.scenario_names) if scenarios is not None else 0)
    outcomes = np.column_stack([part.values for part in told.values()]) if told else np.zeros((len(exposures), 0), dtype=np.float32)
    known = exposures.times[~np.isnan(exposures.times)]
    days = (known.max() - known.min()) / 86_400 if len(known) else 0.0
    windows = [window for window in WINDOWS if window < days]
    return Statistics(keys, list(told), OutcomeLog(exposures.users, exposures.items, scenarios, exposures.times, outcomes), windows)


@dataclass
class TextPart:
    """What judges texts and items alone."""

    judge: JudgeTexts

    def plain(self) -> dict[str, Any]:
        """JSON-ready facts, from which `of` makes it again."""
        tasks = {name: config.plain() for name, config in self.judge.configs.items()}
        return {"order": list(tasks), "tasks": tasks, "sharing": self.judge.sharing.plain(), "sizes": self.judge.sizes.plain()}

    @classmethod
    def of(cls, facts: dict[str, Any], shape: ModelShape) -> TextPart:
        """From what `plain` gave; the weights are still to be loaded. Raises KeyError, TypeError, ConfigError."""
        configs = {name: JudgeConfig.build(facts["tasks"][name], source=name) for name in facts["order"]}
        sharing = SharingConfig.build(facts["sharing"], source="sharing")
        return cls(JudgeTexts(configs, sharing, shape, JudgeTextsSizes.of(facts["sizes"])))


@dataclass
class JudgePart:
    """A trained Judge and how it reads. calibrations: task -> what maps its answers to probabilities, where that is wanted."""

    judge: Judge
    inputs: JudgeInputs
    calibrations: dict[str, Calibration] = field(default_factory=dict)

    def answers(
        self,
        model: LanguageModel,
        rows: JudgeRows,
        histories: Histories,
        contents: Contents,
        profiles: Contents | None,
        tasks: list[str] | None = None,
        vectors: Tensor | None = None,
    ) -> dict[str, np.ndarray]:
        """Calibrated answers of `rows`: task -> float32 (X,), or (X, L) for classes and tags; NaN where a task is not asked."""
        found = self.judge.answer_rows(model, JudgeExamples(rows, histories, contents, profiles, batch_rows=4096, vectors=vectors), tasks)
        return {task: self.calibrated(task, values, rows.scenarios) for task, values in found.items()}

    def calibrated(self, task: str, values: np.ndarray, scenarios: np.ndarray | None) -> np.ndarray:
        calibration = self.calibrations.get(task)
        if calibration is None:
            return values
        if self.judge.sizes.labels[task].kind == "tags":
            return calibration.apply_to_tags(values, self.judge.sizes.labels[task].names)
        return calibration.apply(values, scenarios, self.judge.sizes.scenarios)

    def plain(self) -> dict[str, Any]:
        """JSON-ready facts, from which and from the arrays `load` makes it again."""
        statistics = self.inputs.statistics
        return {
            "order": list(self.judge.configs),
            "tasks": {name: config.plain() for name, config in self.judge.configs.items()},
            "sharing": self.judge.sharing.plain(),
            "sizes": self.judge.sizes.plain(),
            "context_fields": {name: str(kind) for name, kind in self.inputs.context_fields.items()},
            "statistics": None if statistics is None else {"labels": statistics.labels, "windows": statistics.windows},
            "actions": None if self.inputs.values is None else self.inputs.actions,
            "calibrations": {name: calibration.plain() for name, calibration in self.calibrations.items()},
        }

    @classmethod
    def of(
        cls, facts: dict[str, Any], arrays: dict[str, np.ndarray], bag: Bag | None, dataset: Dataset, shape: ModelShape, reader: Choose
    ) -> JudgePart:
        """From what `plain` and `Statistics.arrays` gave; the weights are still to be loaded.

        Raises:
            KeyError, TypeError, ConfigError, CheckpointError: facts that `plain` did not give.
        """
        configs = {name: JudgeConfig.build(facts["tasks"][name], source=name) for name in facts["order"]}
        sharing = SharingConfig.build(facts["sharing"], source="sharing")
        judge = Judge(configs, sharing, shape, JudgeSizes.of(facts["sizes"]), reader)
        kept, statistics = facts["statistics"], None
        if kept is not None:
            keys = StatisticKeys(len(dataset.users), item_values(dataset.items), len(judge.sizes.scenarios))
            statistics = Statistics.from_arrays(keys, kept["labels"], kept["windows"], arrays)
        actions = facts["actions"]
        values = None if actions is None else item_values(dataset.items)
        fields = {name: FieldType(kind) for name, kind in facts["context_fields"].items()}
        inputs = JudgeInputs(statistics, bag, fields, values, actions or [])
        return cls(judge, inputs, {name: Calibration.from_plain(value) for name, value in facts["calibrations"].items()})
