"""What the stages know of the tasks that write: the texts of a run, what is read before each, validation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from m6rec.tasks.config import WriteConfig
from m6rec.tasks.write import Write, WriteExamples, WriteSizes
from m6rec.tasks.write_part import WriteInputs
from m6rec.tasks.write_rows import TRAINING, WriteRows, write_rows
from m6rec.tasks.write_sources import Known

if TYPE_CHECKING:
    from m6rec.tasks.choose import Choose
    from m6rec.training.workbench import Workbench

NAME = "write"  # the module of the loop


@dataclass
class Writing:
    """The texts of a run and how they are read."""

    configs: dict[str, WriteConfig]
    rows: WriteRows
    inputs: WriteInputs

    @classmethod
    def of(cls, bench: Workbench, configs: dict[str, WriteConfig]) -> Writing:
        rows = write_rows(bench.dataset, configs)
        return cls(configs, rows, WriteInputs.of(bench.dataset, configs, bench.reader, bench.catalogue, bench.profiles, rows))

    def new_task(self, bench: Workbench, reader: Choose) -> Write:
        """The module with fresh, seeded weights."""
        writing = bench.config.writing
        sizes = WriteSizes.settle(bench.fit_shape, writing, self.configs)
        task = Write(self.configs, writing, bench.fit_shape, sizes, reader, bench.tokenizer.bos_id, bench.tokenizer.eos_id)
        task.initialise(torch.Generator().manual_seed(bench.config.seed + 5), bench.model)
        return task

    def examples(self, bench: Workbench) -> WriteExamples:
        """All rows with what is read before each."""
        profiles = None if bench.profiles is None else bench.profiles.contents
        return self.inputs.examples(self.rows, Known(bench.dataset.histories, bench.catalogue.contents, profiles))

    def watched(self) -> dict[str, str]:
        """Task -> the metric that early stopping looks at."""
        return {name: f"{name} log likelihood" for name in self.configs}

    def validate(self, bench: Workbench, task: Write) -> dict[str, float]:
        """The watched metrics, and the perplexities."""
        measured = task.measure(bench.model)
        found = {}
        for name, metric in self.watched().items():
            found[metric] = measured[name][0] if name in measured else float("nan")
            found[f"{name} perplexity"] = math.exp(-found[metric])
        return found

    @property
    def statement(self) -> str:
        """One sentence on how the texts were cut."""
        counts = [int((self.rows.parts == part).sum()) for part in (TRAINING, 1, 2)]
        return f"Texts that are written: {counts[0]:,} training, {counts[1]:,} validation, {counts[2]:,} test."
