"""Where a training starts from a pretrained checkpoint: its tokenizer, its weights, and how it goes on from them.

Shapes: G texts, R rows, T tokens of a row, D width of token states.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from m6rec.base.storage import write_json
from m6rec.config import M6RecConfig
from m6rec.language_model.backbones.adapt import is_adapter
from m6rec.language_model.backbones.config import BackboneShape
from m6rec.language_model.backbones.weights import Checkpoint
from m6rec.language_model.checkpoint import save_weights
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.segments import batches_by_length
from m6rec.tasks.text_reader import TextReader
from m6rec.text.pretrained_tokenizer import read_tokenizer
from m6rec.text.tokenizer import Tokenizer
from m6rec.training.config import PretrainConfig
from m6rec.training.workbench import BACKBONE, Workbench

MEASURED_TEXTS = 256  # read once to see of what size a checkpoint's states are
START = 0.02  # deviation of what item vectors start from, in `Choose.initialise`


def check_backbone(config: M6RecConfig, folder: Path) -> BackboneShape:
    """What can be known of a checkpoint before training is said before training; its shape.

    Raises:
        CheckpointError, ConfigError, MissingExtraError: it can't be used, and why.
    """
    checkpoint = Checkpoint.find(config.model, folder)
    config.model.split_of(checkpoint.shape)
    checkpoint.check_length(config.text.segment_tokens)
    tokenizer = read_tokenizer(checkpoint.files.folder, checkpoint.files.name)
    checkpoint.check_tokens(tokenizer.size - tokenizer.added)
    return checkpoint.shape


def take_tokenizer(bench: Workbench, checkpoint: Checkpoint, texts: list[str]) -> Tokenizer:
    """The checkpoint's tokenizer; its architecture, with the size of its states on `texts`, is written into the stage's folder.

    Raises:
        CheckpointError: the tokenizer is missing, damaged, or not of the weights.
    """
    tokenizer = read_tokenizer(checkpoint.files.folder, checkpoint.files.name)
    checkpoint.check_tokens(tokenizer.size - tokenizer.added)
    shape = checkpoint.shape.model_copy(update={"slot_scale": slot_scale(bench, checkpoint, tokenizer, texts)})
    write_json(bench.folder("tokenizer") / BACKBONE, shape.plain())
    return tokenizer


@torch.no_grad()
def slot_scale(bench: Workbench, checkpoint: Checkpoint, tokenizer: Tokenizer, texts: list[str]) -> float:
    """What slots are multiplied by so that they start of the size of the states that the upper layers were trained on."""
    config = bench.config
    if not texts or config.model.split_of(checkpoint.shape)[0] == checkpoint.shape.layers:
        return 1.0
    model = LanguageModel(config.model.resolve(vocabulary=tokenizer.size, pad_id=tokenizer.pad_id, backbone=checkpoint.shape)).eval()
    checkpoint.fill(model)
    sizes, summaries = [], []
    for _, batch in batches_by_length(TextReader(model, tokenizer, bench.wording, config.text.segment_tokens).segments(texts)):
        states = model.encode(batch)
        sizes.append(_size(states[batch.real]))
        summaries.append(_size(model.summaries(batch, states)))
    wanted, summary = torch.cat(sizes).median(), torch.cat(summaries).median()
    # A slot starts as the item's projected summary and bag, all drawn with the deviation START.
    return float(wanted / (START * (1 + model.shape.read_width * summary**2).sqrt()))


def keep(model: LanguageModel, folder: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """Write the checkpoint's weights as what pretraining leaves behind: nothing needs the checkpoint from then on."""
    save_weights(folder / "best.safetensors", {f"model.{name}": value for name, value in model.state_dict().items()}, {"epoch": 0})
    return {"weights": checkpoint.files.name, "family": checkpoint.shape.family}


def settled_for(config: PretrainConfig, checkpoint: Checkpoint) -> PretrainConfig:
    """What is learned from texts on top of a checkpoint: what it was trained for, and gently.

    One that reads from left to right goes on writing; one that reads both ways goes on infilling, and writes only if the file says so.
    """
    shape: BackboneShape = checkpoint.shape
    changes: dict[str, Any] = {}
    if shape.causal:
        changes = {"infill_weight": 0.0, "write_share": 1.0}
    elif "write_weight" not in config.objective.model_fields_set:
        changes = {"write_weight": 0.0}
    objective = config.objective.model_copy(update=changes)
    return config.model_copy(update={"learning_rate": config.checkpoint_rate, "objective": objective})


def freeze_adapters(model: LanguageModel) -> None:
    """Texts teach the weights themselves; what adapts them is for the tasks."""
    for name, parameter in model.named_parameters():
        if is_adapter(name):
            parameter.requires_grad_(False)


def _size(states: torch.Tensor) -> torch.Tensor:
    """Root mean square of each row."""
    return states.float().square().mean(dim=-1).sqrt()
