"""`train.device`: a step of every task on a second device is the step on the CPU, a training goes on across devices, a GPU that is not there is told.

The device is simulated (simulated_device.py says what that can't catch); nothing here needs or uses a GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import torch

from conftest import OFFERED, PLAIN, WRITING
from m6rec.base.errors import ConfigError
from m6rec.config import M6RecConfig
from m6rec.language_model import devices
from m6rec.language_model.devices import device_wanted, devices_here

NO_PRETRAINING = (OFFERED, PLAIN, "pretrain.epochs=0")
JUDGED = ("pretrain.epochs=0", PLAIN, OFFERED)
TALKING = tuple(setting for setting in WRITING if not setting.startswith(("train.", "pretrain.", "model.", "text.vocabulary")))
STEPS = {  # case: tasks whose steps are compared
    "pretrain": ["infill"],
    "choose": ["choose"],
    "choose from a sample": ["choose"],
    "choose over a checkpoint": ["choose"],
    "judge": ["judge", "texts"],
    "judge with experts in new scenarios": ["judge"],
    "words": ["texts"],
    "write": ["write", "dialogue", "basket"],
}


@pytest.fixture(scope="module")
def told(
    tiny_sample: Path,
    judged_sample: Path,
    writing_sample: Path,
    tiny_checkpoint: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """What trained_on_simulated_device.py says of all cases."""
    work = tmp_path_factory.mktemp("device")
    talk = ["pretrain.epochs=0", "tasks.talk={answer: choose, of: dialogue}", "tasks.basket={answer: choose, of: basket, within: 1000000}"]
    cases = {
        "pretrain": (tiny_sample, [OFFERED, PLAIN]),
        "choose": (tiny_sample, NO_PRETRAINING),
        "choose from a sample": (tiny_sample, [*NO_PRETRAINING, "tasks.next.negatives=12"]),
        "choose over a checkpoint": (
            tiny_sample,
            [*NO_PRETRAINING, f"model.backbone=hf:{tiny_checkpoint('bert')}", "model.adapt=prefix", "model.width=null"],
        ),
        "judge": (judged_sample, JUDGED),
        "judge with experts in new scenarios": (
            judged_sample,
            [*JUDGED, "sharing.way=mmoe", "sharing.scenarios=star", "sharing.new_scenarios=0.3"],
        ),
        "words": (with_words(tiny_sample, work / "words"), [*NO_PRETRAINING, *WORDS]),
        "write": (writing_sample, [*TALKING, *talk]),
    }
    listed = work / "cases.json"
    listed.write_text(
        json.dumps({name: (str(folder), list(settings), STEPS[name]) for name, (folder, settings) in cases.items()}), encoding="utf-8"
    )
    script = Path(__file__).with_name("trained_on_simulated_device.py")
    done = subprocess.run(
        [sys.executable, script, work, listed], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


WORDS = (
    "data.texts=queries.csv",
    "tasks.slots={answer: judge, on: text, label: slots, kind: tokens}",
    "tasks.topic={answer: judge, on: text, label: topic, kind: classes, unlabelled: pseudo}",
    "tasks.side={answer: judge, on: text, label: topic, kind: classes, unlabelled: spread}",
)


def with_words(sample: Path, folder: Path) -> Path:
    """A copy of the sample with texts whose words and topics are labelled, some without a topic."""
    import shutil

    shutil.copytree(sample, folder)
    rows = []
    for number in range(60):
        brand, place = ("Nike", "Puma", "Asics")[number % 3], ("Berlin", "Rome")[number % 2]
        spans = [{"start": 0, "end": len(brand), "label": "brand"}]
        rows.append(
            {"text": f"{brand} shoes near {place} number {number}", "slots": json.dumps(spans), "topic": place if number % 4 else None}
        )
    pl.DataFrame(rows).write_csv(folder / "queries.csv")
    return folder


@pytest.mark.parametrize("case", STEPS)
def test_a_step_is_the_same_step(told: Any, case: str) -> None:
    """Losses and weights after one step of the optimizer, two batches a task, beside the CPU's."""
    steps = told[case]
    assert {name.rsplit(" ", 1)[0] for name in steps} == set(STEPS[case])
    for name, step in steps.items():
        assert step["losses"], name
        assert step["moved"] > 0, name
        assert step["loss gap"] < 1e-5 * max(1.0, *step["losses"].values()), (name, step)
        assert step["weight gap"] < 1e-4, (name, step)  # a step of the optimizer is about 2e-3


def test_a_whole_run_gives_the_same_weights(told: Any) -> None:
    """Pretraining, item states, fitting with validation between the epochs and an average of the weights; all saved as the CPU's are."""
    run = told["run"]
    assert run["asked"] == ["auto"]
    assert {"pretrain best.safetensors", "encode items.safetensors", "fit best.safetensors", "fit state.safetensors"} <= run["gaps"].keys()
    assert all(gap < 1e-3 for gap in run["gaps"].values()), run["gaps"]


def test_a_training_goes_on_on_another_device(told: Any) -> None:
    assert told["resumed"] == {"there": 0.0, "to the CPU": 0.0, "from the CPU": 0.0}


def test_the_simulation_refuses_what_a_gpu_refuses(told: Any) -> None:
    found = told["refused"]
    assert {name for name, error in found.items() if not error} == {name for name in found if name.startswith("fine")}
    assert "expected all tensors to be on the same device" in found["rows of the CPU"]


# ---- which device


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices.torch.cuda, "device_count", lambda: 2)
    named = SimpleNamespace(name="Card", total_memory=8 * 2**30)
    monkeypatch.setattr(devices.torch.cuda, "get_device_properties", lambda number: named)


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: False)
    assert device_wanted("auto") == device_wanted("cpu") == torch.device("cpu")
    assert devices_here() == []
    with pytest.raises(
        ConfigError, match=r"^train.device is cuda:1, and .+; write train.device=cpu, or auto for a GPU where there is one$"
    ):
        device_wanted("cuda:1")


@pytest.mark.usefixtures("two_gpus")
def test_with_gpus() -> None:
    assert device_wanted("auto") == torch.device("cuda")
    assert device_wanted("auto", processes=2) == device_wanted("cpu", processes=2) == torch.device("cpu")
    assert device_wanted("cuda:1") == torch.device("cuda", 1)
    assert devices_here() == ["cuda:0 Card (8 GiB)", "cuda:1 Card (8 GiB)"]
    with pytest.raises(ConfigError, match=r"train.device is cuda:2, and GPUs are counted from cuda:0 to cuda:1 here"):
        device_wanted("cuda:2")
    with pytest.raises(ConfigError, match="2 processes train on CPUs only"):
        device_wanted("cuda", processes=2)


@pytest.mark.parametrize("command", ["train", "validate"])
def test_a_gpu_that_is_not_there_is_one_line(
    command: str, tiny_sample: Path, tmp_path: Path, m6rec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: False)
    run = ["--run", tmp_path / "run"] if command == "train" else []
    error = m6rec(command, tiny_sample / "config.yaml", *run, "--set", "train.device=cuda").error(2)
    assert "train.device is cuda, and " in error
    assert not (tmp_path / "run" / "stages").exists()


def test_no_device_of_that_name(tiny_config: Callable[..., M6RecConfig]) -> None:
    with pytest.raises(ConfigError, match=r"write auto, cpu, cuda, or cuda: and the number of a GPU"):
        tiny_config("train.device=gpu")


def test_the_device_is_no_part_of_what_is_trained(tiny_config: Callable[..., M6RecConfig], tiny_sample: Path, tmp_path: Path) -> None:
    """A run begun on one device is gone on with on another: its stages have the same keys."""
    from m6rec.training.pipeline import workbench
    from m6rec.training.progress import Progress

    keys = []
    for device in ("auto", "cuda:1"):
        bench = workbench(tiny_config(f"train.device={device}"), tiny_sample, tmp_path, Progress(visible=False))
        keys.append([bench.stages["pretrain"].inputs(bench), bench.stages["fit"].inputs(bench)])
    assert keys[0] == keys[1]
