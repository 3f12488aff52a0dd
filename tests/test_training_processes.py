"""Two processes on loopback train one model: equal weights and balancer statistics in both, at half of the steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from m6rec import Recommender
from m6rec.config import load_config
from m6rec.training import pipeline
from m6rec.training.processes import Processes

SETTINGS: list[dict[str, Any]] = [
    {"balance": "uncertainty"},
    {"balance": "pcgrad", "accumulate": 2},
    {"balance": {"way": "gradnorm", "every": 2}, "average": "ema"},
    {"balance": "dwa", "adversarial": 0.1},
    {"balance": "fixed", "noise": 0.0},
    {"balance": "mgda", "accumulate": 2, "adversarial": 0.1},
    {"balance": {"way": "aligned_mtl", "sampling": "adaptive"}, "average": "last"},
    {"balance": "uncertainty", "checkpoint_seconds": 1e-9, "cut": 6},
    {"balance": "gradnorm", "accumulate": 2, "precision": "bfloat16"},
    {"balance": "pcgrad", "precision": "bfloat16"},
]


def test_alone_everything_is_as_it_was() -> None:
    one = Processes()
    assert (one.rank, one.count, one.first) == (0, 1, True)
    assert one.gather({"a": 1}) == [{"a": 1}]
    assert one.mean({"b": 2.0, "a": 1.0}) == {"b": 2.0, "a": 1.0}
    gradients = [torch.ones(2), None]
    assert one.average(gradients, [torch.zeros(2), torch.zeros(3)]) == gradients


CONFIG = """
data: {events: events.csv}
model: {width: 16, history: 12, dropout: 0}
pretrain: {epochs: 0}
train: {epochs: 3, batch_targets: 48, learning_rate: 0.01, threads: 1}
text: {vocabulary: 300}
tasks:
  next: {answer: choose, identity_dropout: 0, profile_dropout: 0, typed: 0}
evaluation: {resamples: 100, baselines: []}
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing is drawn in training but the order of the batches, of which an epoch has an even number."""
    folder = tmp_path_factory.mktemp("shop")
    generator = np.random.default_rng(0)
    rows = [(f"u{user}", f"i{item}", 1000 * user + place) for user in range(32) for place, item in enumerate(generator.permutation(20)[:8])]
    pl.DataFrame(rows, schema=["user_id", "item_id", "time"], orient="row").write_csv(folder / "events.csv")
    (folder / "config.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def trained(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    script = Path(__file__).with_name("trained_together.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), str(folder), json.dumps(SETTINGS), str(shop / "config.yaml")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("number", range(len(SETTINGS)), ids=[str(settings["balance"]) for settings in SETTINGS])
def test_both_processes_end_with_the_same_bits(trained: Path, number: int) -> None:
    one, other = (load_file(trained / f"{number}-rank{rank}.safetensors") for rank in range(2))
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    facts = [json.loads((trained / f"{number}-rank{rank}.json").read_text()) for rank in range(2)]
    assert facts[0] == facts[1]
    assert facts[0]["steps"] == 3 * 4 // SETTINGS[number].get("accumulate", 1)  # eight batches an epoch, two at a time
    assert len((trained / str(number) / "log.jsonl").read_text().splitlines()) == 3  # one of them writes


def test_two_processes_are_one_with_twice_the_batches(trained: Path, tmp_path: Path) -> None:
    """Without noise, a step of two processes is a step over both of their batches."""
    from trained_together import make

    loop = make(tmp_path, {**SETTINGS[4], "accumulate": 2})
    loop.run()
    together = load_file(trained / "4-rank0.safetensors")
    for name, value in loop.module.state_dict().items():
        torch.testing.assert_close(together[name], value, msg=name)


def test_cut_and_resumed_in_two_processes_gives_the_same_bits(trained: Path) -> None:
    for rank in range(2):
        whole, cut = (load_file(trained / f"{number}-rank{rank}.safetensors") for number in (0, 7))
        assert [name for name in whole if not torch.equal(whole[name], cut[name])] == []


def fitted(run: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    (folder,) = run.glob("stages/fit-*")
    return load_file(folder / "best.safetensors"), [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_whole_run_of_two_processes_is_that_of_one_at_the_same_global_batch(trained: Path, shop: Path, tmp_path: Path) -> None:
    """All stages: both train, the first one does and writes the rest, once."""
    pipeline.train(load_config(shop / "config.yaml", ["train.accumulate=2"]), shop, tmp_path / "one", until="fit")
    (two, log), (one, expected) = fitted(trained / "run"), fitted(tmp_path / "one")
    assert two.keys() == one.keys()
    assert [row["step"] for row in log] == [row["step"] for row in expected]
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, msg=name)
    assert [one["ndcg@10"] for one in log] == pytest.approx([one["ndcg@10"] for one in expected])
    stages = [json.loads(line)["stage"] for line in (trained / "run" / "logs" / "run.jsonl").read_text().splitlines()]
    assert stages == list(pipeline.stages())
    assert len(Recommender.from_pretrained(trained / "run").recommend(user="u1", k=3)) == 3
    config = load_config(shop / "config.yaml")
    assert {row["status"] for row in pipeline.plan(config, shop, trained / "run", processes=2)} == {"done"}
    to_do = [row["stage"] for row in pipeline.plan(config, shop, trained / "run") if row["status"] == "to do"]
    assert to_do[0] == "pretrain", "one process takes other steps"
