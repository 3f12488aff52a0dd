"""What is kept of judged rows: the truth and what was predicted, from which every figure and interval can be made again.

Dimension keys: X rows, C classes or tags, U units (people drawn together with all their rows).
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from m6rec.base.errors import CheckpointError, ConfigError, UsageError
from m6rec.base.storage import atomic_folder, recover_folder, write_json
from m6rec.evaluation import class_metrics
from m6rec.evaluation.evaluated import Estimate
from m6rec.evaluation.judged_intervals import check_same_rows, mean_over_cells, resampled
from m6rec.evaluation.judged_metrics import prepared
from m6rec.evaluation.metric_names import KINDS, LabelKind, metrics_of

FORMAT = 1
FACTS_FILE = "judged.json"
ROWS_FILE = "rows.npz"

FIRST_LIST = 1 << 40  # lists of nobody are units beside users: their codes start here

WITH_CLASSES: tuple[LabelKind, ...] = ("classes", "tags", "ordinal", "tokens")
PROBABILITIES: tuple[LabelKind, ...] = ("binary", "classes", "tags", "tokens")


@dataclass
class Judged:
    """One scorer measured on the rows of one task. Rows whose truth is unknown (NaN) are left out at once.

    name            the scorer
    names           classes, tags or ordered levels; empty for binary and number
    truth           float32 (X,): 0 or 1; class or level code; number. tags: float32 (X, C), 0 or 1
    predicted       float32 (X,): probability or number (ordinal: a level, fractions allowed). (X, C) probabilities of classes, tags,
                    levels, or of a word's classes
    users           int64 (X,) dense users, -1 nobody known, or None: people are drawn in a bootstrap. A row of nobody is drawn with its
                    list, or by itself
    items           int64 (X,) dense items, or None
    scenarios       int16 (X,) codes of `scenario_names`, or None
    lists           int64 (X,) rows shown together, -1 in no list, or None (then a user's rows are one list). tokens: the text of each
                    word; words of a text stand together
    times           float64 (X,) seconds since 1970, or None
    worth           float32 (X,) likes and long views minus dislikes, NaN unknown, for satisfaction@k; or None
    threshold       binary: yes from this probability on, as chosen on validation (`best_threshold`)
    metrics         what is reported; empty: what suits the kind. The first decides
    statements      how it was measured, sentences

    Raises:
        UsageError: arrays that do not fit each other, predictions that are not finite, probabilities outside 0..1, codes outside `names`.
        ConfigError: an unknown metric, or one that does not fit the kind.
    """

    name: str
    task: str
    kind: LabelKind
    truth: np.ndarray
    predicted: np.ndarray
    names: list[str] = field(default_factory=list)
    users: np.ndarray | None = None
    items: np.ndarray | None = None
    scenarios: np.ndarray | None = None
    scenario_names: list[str] = field(default_factory=list)
    lists: np.ndarray | None = None
    times: np.ndarray | None = None
    worth: np.ndarray | None = None
    threshold: float = 0.5
    metrics: list[str] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    milliseconds: float = 0.0
    resamples: int = 500
    seed: int = 0

    ROW_COLUMNS = ("users", "items", "scenarios", "lists", "times", "worth")

    def __post_init__(self) -> None:
        self.truth, self.predicted = np.asarray(self.truth, dtype=np.float32), np.asarray(self.predicted, dtype=np.float32)
        _check_shapes(self)
        self.metrics = metrics_of(self.kind, self.metrics, task=self.task)
        known = ~np.isnan(self.truth.reshape(len(self.truth), -1)).any(axis=1)
        if not known.all():
            self.truth, self.predicted = self.truth[known], self.predicted[known]
            for column in self.ROW_COLUMNS:
                if (values := getattr(self, column)) is not None:
                    setattr(self, column, np.asarray(values)[known])
        _check_values(self)

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def cell(self) -> str:
        """`scenario/task` where all rows are of one scenario, else the task."""
        scenario = self.scenario
        return f"{scenario}/{self.task}" if scenario else self.task

    @property
    def scenario(self) -> str:
        """The scenario of all rows, "" where there are several or none is known."""
        if self.scenarios is None or not len(self) or len(self.scenario_names) < 2:
            return ""
        first = int(self.scenarios[0])
        return self.scenario_names[first] if first >= 0 and (self.scenarios == first).all() else ""

    def rows(self, index: np.ndarray) -> Judged:
        """The rows `index` (int or bool array)."""
        columns: dict[str, Any] = {name: None if (v := getattr(self, name)) is None else v[index] for name in self.ROW_COLUMNS}
        return replace(self, truth=self.truth[index], predicted=self.predicted[index], **columns)

    def cells(self) -> list[Judged]:
        """One for each scenario that has rows, in the order of `scenario_names`; this one where there are no scenarios."""
        return self._cells

    @cached_property
    def _cells(self) -> list[Judged]:
        if self.scenarios is None or len(self.scenario_names) < 2:
            return [self]
        codes = [int(code) for code in np.unique(self.scenarios) if code >= 0]
        return [self.rows(self.scenarios == code) for code in codes]

    @cached_property
    def points(self) -> np.ndarray:
        """float32 (X,): one number a row: what was predicted, of probabilities over ordered levels the expected level."""
        if self.predicted.ndim == 1 or self.kind != "ordinal":
            return self.predicted
        total = np.maximum(self.predicted.sum(axis=1), 1e-12)
        return (self.predicted @ np.arange(self.predicted.shape[1], dtype=np.float32)) / total

    @cached_property
    def units(self) -> np.ndarray:
        """int64 (X,): what is drawn together in a bootstrap: the user; where nobody is known the list, else -1: the row by itself."""
        users = self.user_rows
        if self.lists is None:
            return users
        lists = self.list_rows
        return np.where(users >= 0, users, np.where(lists >= 0, FIRST_LIST + lists, -1))

    @property
    def user_rows(self) -> np.ndarray:
        """int64 (X,): dense users, -1 for nobody."""
        return np.full(len(self), -1, dtype=np.int64) if self.users is None else np.asarray(self.users, dtype=np.int64)

    @property
    def list_rows(self) -> np.ndarray:
        """int64 (X,): which rows were shown together: lists, else the rows of each user; -1 in none."""
        return self.user_rows if self.lists is None else np.asarray(self.lists, dtype=np.int64)

    def hits(self, units: np.ndarray | None = None) -> class_metrics.Hits:
        """What was called right, class by class; of words: spans that match exactly.

        Raises:
            UsageError: labels that are no classes.
        """
        units = np.zeros(len(self), dtype=np.int64) if units is None else units
        if self.kind == "tags":
            return class_metrics.tag_hits(self.truth, self.predicted, units)
        if self.kind == "tokens":
            return class_metrics.span_hits(self.truth, self.predicted, units, self.list_rows, self.names)
        if self.kind not in WITH_CLASSES:
            raise UsageError(f"task '{self.task}' has no classes, its labels are of kind {self.kind}")
        table = self.predicted
        if table.ndim == 1:
            levels = np.clip(np.rint(table), 0, len(self.names) - 1).astype(np.int64)
            table = np.eye(len(self.names), dtype=np.float32)[levels]
        return class_metrics.class_hits(self.truth, table, units)

    def class_figures(self) -> list[class_metrics.ClassFigures]:
        """Precision, recall, F1 of each class, tag, level or kind of span.

        Raises:
            UsageError: labels that are no classes.
        """
        return class_metrics.class_figures(self.hits(), class_metrics.span_names(self.names) if self.kind == "tokens" else self.names)

    def value(self, metric: str) -> float:
        """One metric of all rows without an interval (fast: for early stopping); NaN where it is undefined.

        Raises:
            ConfigError, UsageError: no such metric, or none for this kind of label.
        """
        rows = len(self)
        if not rows:
            prepared(self, metric, np.zeros(0, dtype=np.int64), 0)
            return float("nan")
        return float(prepared(self, metric, np.arange(rows), rows)(np.ones((1, rows)))[0])

    def estimate(self, metric: str) -> Estimate:
        """One metric with its 95 % interval over users; arguments and errors of `value`."""
        return self.estimates([metric])[metric]

    def table(self) -> dict[str, Estimate]:
        """The metrics of the task with their intervals, over one set of resamples."""
        return self._table

    @cached_property
    def _table(self) -> dict[str, Estimate]:
        return self.estimates(self.metrics)

    def estimates(self, metrics: Sequence[str]) -> dict[str, Estimate]:
        """metric -> (value, low, high), over one set of resamples; arguments and errors of `value`."""
        found = resampled([[self]], list(metrics), self.resamples, self.seed)
        return {metric: found[metric][0] for metric in metrics}

    def difference(self, other: Judged, metric: str | None = None) -> Estimate:
        """This minus `other` in one metric (by default the task's first), both measured on every resample of the users.

        Raises:
            UsageError: the two were not measured on the same rows.
        """
        check_same_rows(self, other)
        return mean_over_cells([self], [other], metric or self.metrics[0])

    def plain(self) -> dict[str, Any]:
        """JSON-ready: every figure with its interval, all rows and each scenario, and how it was measured. What is unknown is None."""
        cells = self.cells()
        return {
            "name": self.name,
            "task": self.task,
            "kind": self.kind,
            "rows": len(self),
            "users": len(np.unique(self.users[self.users >= 0])) if self.users is not None else None,
            "mean": _number(float(self.truth.mean())) if self.kind in ("binary", "number", "ordinal") and len(self) else None,
            "metrics": _plain(self.table()),
            "scenarios": {cell.scenario: {"rows": len(cell), "metrics": _plain(cell.table())} for cell in cells if cell.scenario},
            "classes": [
                {key: _number(value) if isinstance(value, float) else value for key, value in one._asdict().items()}
                for one in self.class_figures()
            ]
            if self.kind in WITH_CLASSES
            else [],
            "threshold": self.threshold,
            "milliseconds_per_row": self.milliseconds,
            "resamples": self.resamples,
            "seed": self.seed,
            "statements": self.statements,
        }

    def save(self, folder: Path | str, *, figures: bool = True) -> None:
        """Write `judged.json` (facts and figures) and `rows.npz` (arrays, no pickle) as one folder, whole or not at all.

        Args:
            figures: whether all figures with their intervals are worked out and written too; `load` does not need them.

        Raises:
            StorageError: no space or no permission; what was there is untouched.
        """
        kept = (
            "name",
            "task",
            "kind",
            "names",
            "scenario_names",
            "threshold",
            "metrics",
            "statements",
            "milliseconds",
            "resamples",
            "seed",
        )
        facts = {"format": FORMAT, "kept": {key: getattr(self, key) for key in kept}, "figures": self.plain() if figures else None}
        arrays = {key: values for key in ("truth", "predicted", *self.ROW_COLUMNS) if (values := getattr(self, key)) is not None}
        with atomic_folder(folder) as temporary:
            np.savez_compressed(temporary / ROWS_FILE, allow_pickle=False, **arrays)
            write_json(temporary / FACTS_FILE, facts)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """What `save` wrote.

        Raises:
            CheckpointError: missing, truncated, from a newer version, or the two files do not match.
        """
        folder = Path(folder)
        recover_folder(folder)
        try:
            facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
            if facts["format"] > FORMAT:
                raise CheckpointError(
                    f"{folder} was written in format {facts['format']}, this version reads up to {FORMAT}; update m6rec or evaluate again"
                )
            with open(folder / ROWS_FILE, "rb") as handle, np.load(handle, allow_pickle=False) as arrays:
                return cls(**facts["kept"], **{key: arrays[key] for key in arrays.files})
        except FileNotFoundError as error:
            raise CheckpointError(f"{folder} holds no judged rows: {Path(error.filename).name} is missing; run m6rec evaluate") from None
        except (OSError, ValueError, KeyError, TypeError, EOFError, UsageError, ConfigError, zlib.error, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{folder} is damaged ({type(error).__name__}: {error}); run m6rec evaluate again") from None


def _check_shapes(judged: Judged) -> None:
    where = f"'{judged.name}' on task '{judged.task}'"
    if judged.kind not in KINDS:
        raise UsageError(f"{where}: no kind of label is called '{judged.kind}'; there are: {', '.join(KINDS)}")
    rows, width = len(judged.truth), len(judged.names)
    if judged.kind in WITH_CLASSES and not width:
        raise UsageError(f"{where}: labels of kind {judged.kind} need the names of their classes; pass names")
    flat: list[tuple[int, ...]] = [(rows,)] if judged.kind in ("binary", "number", "ordinal") else []
    shapes = flat + ([(rows, width)] if judged.kind not in ("binary", "number") else [])
    if judged.predicted.shape not in shapes:
        raise UsageError(f"{where}: predicted has the shape {judged.predicted.shape}, it must be {' or '.join(map(str, shapes))}")
    if judged.truth.shape != ((rows, width) if judged.kind == "tags" else (rows,)):
        raise UsageError(
            f"{where}: truth has the shape {judged.truth.shape}, it must be {(rows, width) if judged.kind == 'tags' else (rows,)}"
        )
    for column in judged.ROW_COLUMNS:
        values = getattr(judged, column)
        if values is not None and len(values) != rows:
            raise UsageError(f"{where}: {column} has {len(values)} rows, truth has {rows}; pass one value a row")
    if judged.kind == "tokens" and judged.lists is None:
        raise UsageError(f"{where}: labels of words need lists, the text that each word is of; pass lists")


def _check_values(judged: Judged) -> None:
    where, predicted, truth = f"'{judged.name}' on task '{judged.task}'", judged.predicted, judged.truth
    if unknown := int((~np.isfinite(predicted)).sum()):
        raise UsageError(f"{where}: {unknown:,} of {predicted.size:,} predictions are not finite; a scorer must answer every row")
    if not len(truth):
        return
    if judged.kind in PROBABILITIES and (predicted.min() < -1e-5 or predicted.max() > 1 + 1e-5):
        raise UsageError(
            f"{where}: probabilities must lie between 0 and 1, these go from {predicted.min():.4g} to {predicted.max():.4g}; calibrate the scores"
        )
    if judged.kind == "number":
        if not np.isfinite(truth).all():
            raise UsageError(f"{where}: a label is infinite; labels must be numbers, NaN where unknown")
        return
    top = 1 if judged.kind in ("binary", "tags") else len(judged.names) - 1
    wrong = truth[(truth != np.rint(truth)) | (truth < 0) | (truth > top)]
    if len(wrong):
        raise UsageError(
            f"{where}: a label is {wrong.flat[0]:g}, allowed are whole numbers from 0 to {top}; turn labels into codes of names"
        )


def _plain(table: dict[str, Estimate]) -> dict[str, dict[str, float | None]]:
    return {metric: {part: _number(value) for part, value in estimate._asdict().items()} for metric, estimate in table.items()}


def _number(value: float) -> float | None:
    """NaN, which JSON has no number for, as None."""
    return None if np.isnan(value) else value
