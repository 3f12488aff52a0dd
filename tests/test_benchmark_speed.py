"""The speed benchmark: it takes steps of a run of today, and counts the operations of one by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import speed
from m6rec.training.pipeline import open_run
from m6rec.training.stages_fit import training_examples


def test_steps_of_a_run_are_measured(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    assert speed.main([str(tiny_run), "--steps", "2", "--threads", str(threads)]) == 0
    told = capsys.readouterr().out
    assert "targets/CPU second" in told
    assert "GFLOP" in told


def test_operations_of_the_softmax_by_hand(tiny_run: Path) -> None:
    bench = open_run(tiny_run)
    task = bench.new_task()
    task.bind(training_examples(bench))
    batch = next(task.batches(np.random.default_rng(0)))
    seen = int((bench.split.seen > 0).sum())
    assert speed.operations(bench, task, batch)["softmax"] == 6 * task.targets(batch) * seen * bench.shape.width
