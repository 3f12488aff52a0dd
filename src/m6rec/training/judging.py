"""What the stages know of the tasks that judge candidates: exposures cut into parts, labels, statistics, rows; validation and measuring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from m6rec.base.contracts import Histories
from m6rec.base.errors import ConfigError, nearest
from m6rec.data.dataset import Exposures
from m6rec.data.labels import Labels
from m6rec.data.row_splits import NAMES as PARTS
from m6rec.data.row_splits import readable
from m6rec.evaluation.calibration import Calibration, fit_calibration
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.label_metrics import best_threshold
from m6rec.evaluation.metric_names import higher_is_better, metrics_of
from m6rec.tasks.choose import Choose
from m6rec.tasks.config import JudgeConfig
from m6rec.tasks.judge import Judge
from m6rec.tasks.judge_cells import JudgeSizes
from m6rec.tasks.judge_labels import LabelSize
from m6rec.tasks.judge_part import JudgeInputs
from m6rec.tasks.judge_rows import JudgeExamples, JudgeRows
from m6rec.training.judging_texts import own_names
from m6rec.training.run_folder import read_json

if TYPE_CHECKING:
    from m6rec.training.task_checks import TaskCheck
    from m6rec.training.workbench import Workbench

MOST_VALIDATED = 50_000  # exposures that early stopping looks at, drawn by seed
LEAST_ROWS = 50  # of a cell that validation looks at by itself
THRESHOLDS = "thresholds.json"  # and from which probability on a task says yes
CALIBRATIONS = "calibrations"  # the folder of the fit stage that holds them, a file a task
NAME = "judge"  # the module of the loop


@dataclass
class Judging:
    """The exposures of a run and how they are read.

    parts      int8 (X,): 0 training, 1 validation, 2 test, -1 none     labels   of all X rows, by task
    exposures  with the cuts that belong to `histories`
    """

    configs: dict[str, JudgeConfig]
    exposures: Exposures
    histories: Histories
    parts: np.ndarray
    statement: str
    labels: dict[str, Labels]
    inputs: JudgeInputs
    worths: Mapping[str, float] = field(default_factory=dict)  # `evaluation.worth`
    scenario_names: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, bench: Workbench, configs: dict[str, JudgeConfig], checks: Mapping[str, TaskCheck]) -> Judging:
        """checks: of all tasks, by name."""
        dataset = bench.dataset
        assert dataset.exposures is not None, "their labels were read"
        parts = checks[next(iter(configs))].parts
        counts = ", ".join(f"{int((parts == code).sum()):,} {name}" for code, name in enumerate(PARTS))
        statement = f"Exposures: {counts}; each sees events strictly before it."
        histories, cuts = readable(dataset, bench.config.split, bench.config.seed)
        exposures = replace(dataset.exposures, cuts=cuts)
        labels = {name: checks[name].labels for name in configs}
        inputs = JudgeInputs.of(
            replace(dataset, exposures=exposures), labels, counted=bench.config.sharing.statistics, language=bench.config.text.language
        )
        if inputs.statistics is not None:
            inputs.statistics.settle(np.flatnonzero(parts == PARTS.index("training")))
        return cls(configs, exposures, histories, parts, statement, labels, inputs, bench.config.evaluation.worth, dataset.scenario_names)

    def rows(self, chosen: np.ndarray, width: int, *, elsewhere: bool = False) -> JudgeRows:
        """The rows `chosen` (ints), with their labels; elsewhere: and what is counted in other scenarios than each row's."""
        labels = {task: part.values[chosen] for task, part in self.labels.items()}
        return self.inputs.rows(self.exposures.rows(chosen), labels, width, self.histories, elsewhere=elsewhere)

    def chosen(self, part: str, most: int | None = None, seed: int = 0) -> np.ndarray:
        """Numbers of the rows of one of PARTS, at most so many, drawn by seed."""
        rows = np.flatnonzero(self.parts == PARTS.index(part))
        if most is not None and len(rows) > most:
            rows = np.sort(np.random.default_rng([seed, 6]).choice(rows, most, replace=False))
        return rows

    def new_judge(self, bench: Workbench, reader: Choose) -> Judge:
        """The module with fresh, seeded weights."""
        training = self.chosen("training")
        bag, profiles = self.inputs.context_bag, bench.profiles
        vectors = self.inputs.context(self.exposures.context[:1], 1) if bag is not None else None
        sizes = JudgeSizes(
            labels={task: label_size(task, part, training) for task, part in self.labels.items()},
            scenarios=bench.dataset.scenario_names if self.exposures.scenarios is not None else [],
            statistics=self.inputs.names,
            timed=self.exposures.times is not None,
            placed=self.exposures.positions is not None,
            context_features=0 if bag is None else bag.size,
            context_vectors=0 if vectors is None else vectors.vectors.shape[1],
            profile_features=0 if bench.profile_bag is None else bench.profile_bag.size,
            profile_vectors=0 if profiles is None else profiles.contents.vectors.shape[1],
        )
        judge = Judge(self.configs, bench.config.sharing, bench.fit_shape, sizes, reader)
        judge.initialise(torch.Generator().manual_seed(bench.config.seed + 2))
        return judge

    def examples(self, bench: Workbench, rows: np.ndarray, batch_rows: int, *, trained: bool = False) -> JudgeExamples:
        """Rows to answer, or to train on."""
        profiles = None if bench.profiles is None else bench.profiles.contents
        elsewhere = trained and bench.config.sharing.new_scenarios > 0
        return JudgeExamples(
            self.rows(rows, bench.shape.read_width, elsewhere=elsewhere),
            self.histories,
            bench.catalogue.contents,
            profiles,
            batch_rows=batch_rows,
        )

    def judged(
        self, name: str, answers: dict[str, np.ndarray], rows: np.ndarray, bench: Workbench, thresholds: Mapping[str, float] | None = None
    ) -> list[Judged]:
        """The answers of the rows `rows` as measurable predictions; a task without a labelled row there is left out."""
        found, shown = [], self.exposures
        worth = self.worth()
        for task, predicted in answers.items():
            labels, config = self.labels[task], self.configs[task]
            truth = labels.values[rows]
            asked = ~np.isnan(predicted if predicted.ndim == 1 else predicted[:, 0])
            known = ~np.isnan(truth if truth.ndim == 1 else truth[:, 0]) & asked
            if not known.any():
                continue
            there = rows[known]
            found.append(
                Judged(
                    name,
                    task,
                    labels.kind,
                    truth[known],
                    predicted[known],
                    names=own_names(labels),
                    users=shown.users[there].astype(np.int64),
                    items=shown.items[there].astype(np.int64),
                    scenarios=None if shown.scenarios is None else shown.scenarios[there],
                    scenario_names=bench.dataset.scenario_names,
                    lists=None if shown.lists is None else shown.lists[there],
                    times=None if shown.times is None else shown.times[there],
                    worth=None if worth is None else worth[there],
                    threshold=(thresholds or {}).get(task, 0.5),
                    metrics=config.metrics or [],
                    statements=[self.statement],
                    resamples=bench.config.evaluation.resamples,
                    seed=bench.config.seed,
                )
            )
        return found

    def worth(self) -> np.ndarray | None:
        """float32 (X,): what the rows are worth to people, by `evaluation.worth`; None where none is named. NaN where a label is unknown; where a
        task is not asked it adds nothing, and NaN where none of them is asked."""
        weights = self.worths
        if not weights:
            return None
        unknown = next((name for name in weights if name not in self.labels), None)
        if unknown is not None:
            hint = nearest(unknown, list(self.labels))
            raise ConfigError(f"evaluation.worth names '{unknown}'{hint}; tasks on candidates: {', '.join(self.labels)}")
        total, asked = np.zeros(len(self.exposures), dtype=np.float32), np.zeros(len(self.exposures), dtype=bool)
        for name, weight in weights.items():
            here = self._asked(name)
            total[here] += np.float32(weight) * self.labels[name].values[here]
            asked |= here
        return np.where(asked, total, np.float32(np.nan))

    def _asked(self, task: str) -> np.ndarray:
        """bool (X,): the rows in scenarios where a task is asked."""
        named, scenarios = self.configs[task].scenarios, self.exposures.scenarios
        if named is None or scenarios is None:
            return np.ones(len(self.exposures), dtype=bool)
        return np.isin(scenarios, [code for code, name in enumerate(self.scenario_names) if name in named])

    def watched(self) -> dict[str, str]:
        """Task -> the metric that early stopping looks at, as `JudgeValidation` calls it."""
        return {
            task: f"{task} {metrics_of(self.labels[task].kind, config.metrics or [], task=task)[0]}"
            for task, config in self.configs.items()
        }


class JudgeValidation:
    """The first metric of every task on validation rows drawn once; higher is better.

    A mean over its scenarios with LEAST_ROWS rows, of a binary task rows of either answer, or more: the figures of fewer are chance. Where none has
    so many, all rows together.
    """

    def __init__(self, bench: Workbench, judging: Judging, judge: Judge) -> None:
        self.bench, self.judging, self.judge = bench, judging, judge
        self.chosen = judging.chosen("validation", MOST_VALIDATED, bench.config.seed)
        self.examples = judging.examples(bench, self.chosen, 4096)

    def judged(self) -> list[Judged]:
        """What the judge says of the rows now, by task."""
        answers = self.judge.answer_rows(self.bench.model, self.examples, list(self.judging.configs))
        return self.judging.judged("", answers, self.chosen, self.bench)

    def __call__(self) -> dict[str, float]:
        found = dict.fromkeys(self.judging.watched().values(), float("nan"))
        for judged in self.judged():
            metric = judged.metrics[0]
            told = [cell for cell in judged.cells() if enough(cell)] or [judged]
            values = np.array([cell.value(metric) for cell in told])
            sign = 1.0 if higher_is_better(metric) else -1.0
            if not np.isnan(values).all():
                found[f"{judged.task} {metric}"] = sign * float(np.nanmean(values))
        return found


def enough(cell: Judged) -> bool:
    """Whether the figures of a cell are more than chance."""
    if cell.kind != "binary":
        return len(cell) >= LEAST_ROWS
    yes = int(cell.truth.sum())
    return min(yes, len(cell) - yes) >= LEAST_ROWS


def calibrate_judge(validation: JudgeValidation) -> tuple[dict[str, Calibration], dict[str, float]]:
    """What validation rows settle: task -> how its answers become probabilities, for the tasks that want it; and for every task of yes and no
    the probability from which on it says yes (best F1)."""
    calibrations, thresholds = {}, {}
    for judged in validation.judged():
        said = judged
        if validation.judging.configs[judged.task].calibrate:
            calibrations[judged.task] = fit_calibration(judged, seed=validation.bench.config.seed)
            said = calibrations[judged.task].applied(judged)
        if judged.kind == "binary":
            thresholds[judged.task] = float(best_threshold(said.truth, said.predicted))
    return calibrations, thresholds


def read_thresholds(folder: Path) -> dict[str, float]:
    """What the fit stage kept."""
    found: dict[str, float] = read_json(folder / THRESHOLDS) if (folder / THRESHOLDS).exists() else {}
    return found


def read_calibrations(folder: Path) -> dict[str, Calibration]:
    """What the fit stage kept."""
    return {path.stem: Calibration.from_plain(read_json(path)) for path in sorted((folder / CALIBRATIONS).glob("*.json"))}


def label_size(task: str, labels: Labels, training: np.ndarray) -> LabelSize:
    """What the training rows (ints) say of a label."""
    assert labels.kind != "tokens", f"{task}: `check_kind` refuses labels of words"
    return LabelSize.of(labels.kind, labels.values[training], own_names(labels))
