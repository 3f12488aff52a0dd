"""`train.trainable`: what is frozen keeps its bits and is no business of the optimizer; what is to learn moves."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from conftest import JUDGED
from m6rec.base.errors import ConfigError
from m6rec.config import M6RecConfig, load_config
from m6rec.language_model.backbones.adapt import is_adapter
from m6rec.training import stages_fit
from m6rec.training.configuration_checks import check_configuration, check_trainable
from m6rec.training.loop import Loop
from m6rec.training.pipeline import open_run, train

OWN = {  # by module of the loop: what belongs to single tasks alone
    "task_choose": r"gate\.",
    "task_judge": r"(vectors|biases|wide|options|position|shared)\.",
    "task_texts": r"(options|words\.vectors|words\.chains)\.",
}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The parameters as the next fit starts with them, and which of them its optimizer has."""
    seen: dict[str, Any] = {}

    class Watched(Loop):
        def run(self) -> Any:
            seen["start"] = {name: value.detach().clone() for name, value in self.module.named_parameters()}
            optimised = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
            seen["optimised"] = {name for name, p in self.module.named_parameters() if id(p) in optimised}
            return super().run()

    monkeypatch.setattr(stages_fit, "Loop", Watched)
    return seen


def moved(start: dict[str, Tensor], run: Path) -> set[str]:
    end = load_file(open_run(run).folder("fit") / "best.safetensors")
    assert start.keys() <= end.keys()
    return {name for name, value in start.items() if not torch.equal(value, end[name])}


def parts(names: set[str]) -> set[str]:
    return {".".join(name.split(".")[:2]) for name in names}


@pytest.mark.parametrize("policy", ["options", "upper"])
def test_what_is_frozen_keeps_its_bits(policy: str, judged_sample: Path, judged_run: Path, started: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(judged_run / "stages", tmp_path / "run" / "stages", ignore=shutil.ignore_patterns("fit-*", "index-*", "report-*"))
    config = load_config(judged_sample / "config.yaml", [*JUDGED, f"train.trainable={policy}"])
    summary = train(config, judged_sample, tmp_path / "run", until="fit")
    assert summary["encode"]["skipped"], "a fit that learns less stands on the same pretraining"
    changed = moved(started["start"], tmp_path / "run")
    assert changed <= started["optimised"]
    for name in started["optimised"]:
        module, _, own = name.partition(".")
        texts = module == "task_texts" and policy == "upper"
        assert name.startswith("model.upper.") if module == "model" else texts or re.match(OWN[module], own), name
    assert any(name.startswith("model.upper.") for name in changed) == (policy == "upper")
    assert {"task_choose.gate", "task_judge.vectors", "task_judge.options", "task_texts.options"} <= parts(changed)
    assert {"task_choose.items", "task_judge.slot", "model.lower"}.isdisjoint(parts(changed))
    assert ("task_texts.encoder" in parts(changed)) == (policy == "upper"), "an encoder that began at random is of no use frozen"


def test_a_checkpoint_that_is_given_stays_as_it_is(
    tiny_checkpoint: Callable[[str], Path],
    tiny_sample: Path,
    tiny_config: Callable[..., M6RecConfig],
    started: dict[str, Any],
    tmp_path: Path,
) -> None:
    config = tiny_config(f"model.backbone=hf:{tiny_checkpoint('gpt2')}", "model.width=null", "train.epochs=1", "train.trainable=options")
    train(config, tiny_sample, tmp_path / "run", until="fit")
    changed = moved(started["start"], tmp_path / "run")
    assert parts(changed) == parts(started["optimised"]) == {"task_choose.gate"}
    assert any(is_adapter(name) for name in started["start"])


NEITHER = "tasks={next: {answer: choose, prior: {graph: false, text: false}}}"


def test_nothing_to_learn_is_refused(tiny_config: Callable[..., M6RecConfig], tiny_sample: Path, m6rec: Any) -> None:
    words = ["validate", tiny_sample / "config.yaml", "--set", "train.trainable=options", "--set", NEITHER]
    line = m6rec(*words).error(2)
    assert "train.trainable is options, and there is none to learn: 'next' chooses without priors" in line
    check_trainable(tiny_config("train.trainable=upper", NEITHER))
    check_trainable(tiny_config("train.trainable=options"))
    with pytest.raises(ConfigError, match="'next' has weight 0"):
        check_trainable(tiny_config("train.trainable=options", "tasks={next: {answer: choose, weight: 0}}"))
    with pytest.raises(ConfigError, match="'options', 'upper' or 'everything'"):
        tiny_config("train.trainable=option")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["sharing.experts=8"], "sharing.experts is 8, and sharing.way is trunk, which has no experts"),
        (["sharing.experts=8", "sharing.way=attention"], "sharing.way is attention, which has no experts"),
        (["sharing.joint_layers=3"], "sharing.joint_layers is 3, and the model has 2 upper layers; write 2 or less"),
        (["sharing.joint_layers=3", "model.upper_layers=2"], "and the model has 2 upper layers"),
        (["sharing.joint_layers=5", "model.size=base"], "and the model has 4 upper layers"),
    ],
)
def test_a_setting_that_nothing_comes_of_is_refused(
    settings: list[str], said: str, tiny_config: Callable[..., M6RecConfig], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        check_configuration(tiny_config(*settings), tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        ["sharing.experts=8", "sharing.way=mmoe"],
        ["sharing.experts=8", "sharing.way=ple"],
        ["sharing.joint_layers=3", "model.upper_layers=3"],
        ["sharing.joint_layers=4", "model.size=base"],
        ["sharing.joint_layers=null"],
        ["sharing.joint_layers=0"],
        ["model.upper_layers=0"],  # one joint layer is the default
    ],
)
def test_what_has_an_effect_or_is_as_by_default_is_not(
    settings: list[str], tiny_config: Callable[..., M6RecConfig], tmp_path: Path
) -> None:
    config = tiny_config(*settings)
    check_configuration(config, tmp_path)
    check_configuration(type(config).build(config.plain()), tmp_path)  # every default written out
