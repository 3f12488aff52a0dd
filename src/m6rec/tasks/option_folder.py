"""An option on its own: a task on candidates that was trained on a frozen backbone, to be loaded into a model that runs and taken out again.

option.json         the task, its labels, its calibration, the fingerprint of the backbone it was trained on
option.safetensors  its weights, about one in a hundred of the backbone's
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from m6rec.base.errors import CheckpointError, ConfigError, UsageError
from m6rec.base.storage import atomic_folder, recover_folder, write_json
from m6rec.evaluation.calibration import Calibration
from m6rec.language_model.checkpoint import FORMAT_VERSION, check_version, load_weights, program_version, save_weights
from m6rec.tasks.config import JudgeConfig
from m6rec.tasks.judge_labels import LabelSize
from m6rec.tasks.judge_part import JudgePart
from m6rec.tasks.served_model import ServedModel

FACTS, WEIGHTS = "option.json", "option.safetensors"


def backbone_fingerprint(scorer: ServedModel) -> str:
    """Of all weights that options stand on: the language model, the item encoder, what judging shares. Options are no part of it."""
    part = judging_of(scorer)
    own = {name for task in part.judge.configs for name in part.judge.own_names(task)}
    digest = hashlib.blake2b(digest_size=8)
    modules = (("model", scorer.model), ("task", scorer.task), ("judge", part.judge))
    for prefix, module in modules:
        for name, value in sorted(module.state_dict().items()):
            if prefix == "judge" and name in own:
                continue
            digest.update(f"{prefix}.{name}".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def judging_of(scorer: ServedModel) -> JudgePart:
    """Raises UsageError: the model judges no candidates, so options have nothing to stand on."""
    if scorer.judging is None:
        raise UsageError(
            "this model has no task that judges candidates, which options stand on; train one with it first ({answer: judge, label: COLUMN})"
        )
    return scorer.judging


def save_option(folder: Path, scorer: ServedModel, task: str, figures: dict[str, Any] | None = None) -> None:
    """Write the option of `task`, whole or not at all. Raises StorageError."""
    part = judging_of(scorer)
    state, names = part.judge.state_dict(), part.judge.own_names(task)
    calibration = part.calibrations.get(task)
    with atomic_folder(folder) as temporary:
        save_weights(temporary / WEIGHTS, {name: state[name] for name in names}, {})
        write_json(
            temporary / FACTS,
            {
                "format_version": FORMAT_VERSION,
                "written_by": program_version(),
                "task": task,
                "config": part.judge.configs[task].plain(),
                "labels": asdict(part.judge.sizes.labels[task]),
                "calibration": None if calibration is None else calibration.plain(),
                "backbone": backbone_fingerprint(scorer),
                "figures": figures or {},
            },
        )


def load_option(folder: Path, scorer: ServedModel) -> str:
    """Load an option into a model; returns the name of its task. What the other tasks answer keeps its bits.

    Raises:
        CheckpointError: missing, damaged, from a newer version, or trained for another backbone.
        UsageError: the model has a task of that name already.
    """
    if not (folder / FACTS).exists() and (folder / "option" / FACTS).exists():
        folder = folder / "option"  # what add-task writes stands in a folder of the task
    recover_folder(folder)
    part = judging_of(scorer)
    path = folder / FACTS
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        check_version(facts, path)
        task, backbone = facts["task"], facts["backbone"]
        config = JudgeConfig.build(facts["config"], source=str(path))
        size = LabelSize(**facts["labels"])
        calibration = None if facts["calibration"] is None else Calibration.from_plain(facts["calibration"])
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is no option: {FACTS} is missing; m6rec add-task writes one") from None
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{path} is damaged ({' '.join(str(error).split())[:120]}); train the option again") from None
    if task in part.judge.configs:
        raise UsageError(f"the model has a task '{task}' already; drop it first, or train the option under another name")
    if config.after is not None and config.after not in part.judge.configs:
        raise UsageError(f"the option '{task}' comes after task '{config.after}', which the model does not have; load that first")
    mine = backbone_fingerprint(scorer)
    if backbone != mine:
        raise CheckpointError(
            f"the option in {folder} was trained for the backbone {backbone}, this model's is {mine}; train the option on this model"
        )
    tensors, _ = load_weights(folder / WEIGHTS)
    part.judge.add_task(task, config, size, torch.Generator())
    names = part.judge.own_names(task)
    state = part.judge.state_dict()
    wrong = [name for name in names if name not in tensors or tensors[name].shape != state[name].shape]
    if wrong or set(tensors) - set(names):
        part.judge.drop_task(task)
        raise CheckpointError(f"{folder / WEIGHTS} does not hold the weights of the option '{task}'; train the option again")
    part.judge.load_state_dict({**state, **tensors})
    part.judge.version += 1
    part.judge.eval()
    if calibration is not None:
        part.calibrations[task] = calibration
    return task


def drop_option(scorer: ServedModel, task: str) -> None:
    """Take a task on candidates out of a model. Raises UsageError: no such task, or another one comes after it."""
    part = judging_of(scorer)
    if task not in part.judge.configs:
        raise UsageError(f"the model has no task '{task}' on candidates; those: {', '.join(part.judge.configs)}")
    later = next((name for name, config in part.judge.configs.items() if config.after == task), None)
    if later is not None:
        raise UsageError(f"task '{later}' comes after '{task}'; drop that one first")
    part.judge.drop_task(task)
    part.calibrations.pop(task, None)
