"""Whether the tasks of a configuration can be learned from the data: labels, scenarios, parts, leaks, texts, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from m6rec.config import M6RecConfig
from m6rec.data.dataset import Dataset
from m6rec.data.judged_rows import check_parts, exposure_labels, item_labels, text_labels
from m6rec.data.labels import Labels
from m6rec.data.leaks import Leak, item_leaks, refuse_leaks, suspected_leaks
from m6rec.data.row_splits import split_items, split_rows, split_texts
from m6rec.training.write_checks import check_writes


@dataclass(frozen=True)
class TaskCheck:
    """What the data hold for one task.

    labels  the labels of all rows (exposures, texts or items), NaN where unknown or outside the task's scenarios
    parts   int8, of the same rows: 0 training, 1 validation, 2 test, -1 in none
    """

    name: str
    on: str
    labels: Labels
    parts: np.ndarray

    def line(self) -> str:
        """One sentence: kind, labels in every part, and how they are distributed."""
        known = self.labels.known
        counts = [int((known & (self.parts == part)).sum()) for part in range(3)]
        values = self.labels.values[known]
        if self.labels.kind == "binary":
            held = f"{values.mean():.2%} yes"
        elif self.labels.kind == "number":
            held = f"mean {values.mean():.3g}, from {values.min():.3g} to {values.max():.3g}"
        else:
            held = f"{len(self.labels.names)} {'tags' if self.labels.kind == 'tags' else 'classes'}"
        return f"task {self.name} (on {self.on}, {self.labels.kind}): {counts[0]:,} training, {counts[1]:,} validation, {counts[2]:,} test labels; {held}"


@dataclass(frozen=True)
class Checked:
    """tasks: name -> what the data hold for it. warnings: what does not stop training and will disappoint. leaks: the surest first."""

    tasks: dict[str, TaskCheck] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)


def check_tasks(dataset: Dataset, config: M6RecConfig, *, refuse: bool = True) -> Checked:
    """Read the labels of every judge task and look for what can't be right.

    Args:
        refuse: whether a certain leak is an error; False: the caller shows `leaks` first and then calls `refuse_leaks`.

    Raises:
        DataError: a task without labels or positive rows, a label outside its set, a scenario with no rows, a class that training never
            shows, an exposure part that is empty, a column that leaks the answer. One line, naming task and column.
    """
    checked = Checked()
    exposure_parts = None
    judged: dict[str, Labels] = {}
    for name, task in config.judges.items():
        if task.on == "candidate":
            labels = exposure_labels(dataset, task.label, task=name, kind=task.kind, positive=task.positive, scenarios=task.scenarios)
            judged[name] = labels
            exposure_parts = split_rows(dataset, config.split, config.seed) if exposure_parts is None else exposure_parts
            parts = exposure_parts
        elif task.on == "text":
            texts = dataset.texts if dataset.texts is not None else pl.DataFrame({"text": []})
            labels = text_labels(texts, task.label, task=name, kind=task.kind, positive=task.positive, kinds=task.texts)
            parts = split_texts(texts, task.label)
        else:
            labels = item_labels(dataset, task.label, task=name, kind=task.kind, positive=task.positive)
            parts = split_items(dataset, config.split, config.seed)
            checked.leaks.extend(item_leaks(dataset, task.label, labels, name))
        checked.warnings.extend(check_parts(labels, parts, task=name))
        checked.tasks[name] = TaskCheck(name, task.on, labels, parts)
    if config.writes:
        check_writes(dataset, config.writes)
    if judged:
        checked.leaks.extend(suspected_leaks(dataset, judged, exposure_parts))
    if refuse:
        checked.warnings.extend(refuse_leaks(checked.leaks))
    return checked
