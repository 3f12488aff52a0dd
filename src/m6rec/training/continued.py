"""Continued pretraining: a language model that learned the words of one thing goes on with the texts of another.

A language folder holds config.json, model.safetensors and tokenizer.json, and nothing of any catalogue. `m6rec pretrain --from` writes one;
`pretrain.from` starts a training from one, from a model folder or from a finished run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from m6rec.base.errors import CheckpointError, ConfigError, DataError, UsageError
from m6rec.base.storage import atomic_folder
from m6rec.config import M6RecConfig
from m6rec.data.columns import Columns
from m6rec.data.readers import read_bytes, read_table, require_file
from m6rec.language_model.checkpoint import CONFIG, WEIGHTS, check_version, load_into, load_model, load_weights, save_model, save_weights
from m6rec.language_model.config import ModelConfig, ModelShape
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.infill import Infill
from m6rec.tasks.text_reader import TextReader
from m6rec.text.tokenizer import Tokenizer
from m6rec.text.wording import Wording
from m6rec.training.config import PretrainConfig
from m6rec.training.loop import Loop
from m6rec.training.progress import Progress
from m6rec.training.run_folder import content_key, file_digest

TOKENIZER = "tokenizer.json"
PLAIN = (".txt", ".txt.gz")
# What a folder to start from settles, and a configuration may leave to it.
SHARED = ("width", "heads", "lower_layers", "upper_layers")


def language_folder(path: Path) -> Path:
    """The folder with the weights, of a run, a model folder or a language folder. Raises CheckpointError: there is none."""
    for folder in (path / "model", path):
        if (folder / CONFIG).is_file() and (folder / TOKENIZER).is_file():
            return folder
    raise CheckpointError(
        f"{path} is no finished run, model folder or folder of `m6rec pretrain` ({CONFIG} and {TOKENIZER} are not there); "
        "name one, or finish the training there"
    )


def load_language(path: Path) -> tuple[LanguageModel, Tokenizer]:
    """The language model of a run, a model folder or a language folder, and its tokenizer.

    Raises:
        CheckpointError: there is none, or it is damaged, from a newer version, or made of a pretrained checkpoint.
    """
    folder = language_folder(path)
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    try:
        facts = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CheckpointError(f"{folder / CONFIG} is damaged; restore it from a copy or train again") from None
    if "shape" not in facts:
        return load_model(folder, tokenizer=tokenizer.fingerprint()), tokenizer
    check_version(facts, folder / CONFIG)
    try:
        shape = ModelShape.build(facts["shape"], source=str(folder / CONFIG))
    except ConfigError as error:
        raise CheckpointError(f"{error}; restore the file from a copy") from None
    if shape.backbone is not None:
        raise CheckpointError(f"{path} stands on a pretrained checkpoint; start from that one with model.backbone instead")
    model = LanguageModel(shape)
    tensors, _ = load_weights(folder / WEIGHTS)
    load_into(model, {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}, folder / WEIGHTS)
    return model, tokenizer


def shaped(config: ModelConfig, start: ModelShape, path: Path) -> ModelConfig:
    """The settings of the model with the sizes that the folder to start from settles. Raises ConfigError: the file says other ones."""
    changes: dict[str, Any] = {}
    for name in SHARED:
        given, has = getattr(config, name), getattr(start, name)
        if given not in (None, has):
            raise ConfigError(f"model.{name} is {given}, {path} has {has}; leave it out, or start from another folder (pretrain.from)")
        changes[name] = has
    return config.model_copy(update=changes)


@torch.no_grad()
def mean_loss(model: LanguageModel, task: Infill) -> float:
    """Mean over the batches of one pass of what pretraining minimises, the same corruption every time."""
    training = model.training
    model.eval()
    losses = [float(torch.stack(list(task.loss(model, batch).values())).sum()) for batch in task.batches(np.random.default_rng(0))]
    model.train(training)
    return float(np.mean(losses))


def refuse_foreign(out: Path) -> None:
    """Raises UsageError where writing a language folder would replace what is none."""
    if out.exists() and (not out.is_dir() or {path.name for path in out.iterdir()} - {CONFIG, WEIGHTS, TOKENIZER}):
        raise UsageError(
            f"{out} holds something that is no language folder and would be lost; name another, for example {out / 'language'}"
        )


def start_of(config: M6RecConfig, source: Path) -> Path | None:
    """Where `pretrain.from` leads, None where nothing is named."""
    return None if config.pretrain.from_ is None else source / config.pretrain.from_


def keep_weights(model: LanguageModel, folder: Path) -> None:
    """Write weights as what the pretrain stage leaves behind."""
    save_weights(folder / "best.safetensors", {f"model.{name}": value for name, value in model.state_dict().items()}, {"epoch": 0})


def texts_of(files: Sequence[Path]) -> list[str]:
    """The texts of files, each once, in order: column `text` of a table, or the lines of a .txt file.

    Raises:
        DataError: a file is missing, not UTF-8 or without such a column, or there is no text at all.
    """
    found: dict[str, None] = {}
    for path in files:
        if path.name.endswith(PLAIN):
            require_file(path)
            try:
                lines = read_bytes(path).decode("utf-8-sig").splitlines()
            except UnicodeDecodeError as error:
                raise DataError(f"{path.name} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
        else:
            frame = read_table(path)
            if Columns.TEXT not in frame.columns:
                raise DataError(f"{path.name} has no column '{Columns.TEXT}'; columns: {', '.join(frame.columns[:20])}")
            lines = frame[Columns.TEXT].cast(pl.String).drop_nulls().to_list()
        found |= dict.fromkeys(plain for line in lines if (plain := " ".join(line.split())))
    if not found:
        raise DataError(f"{', '.join(path.name for path in files)}: no text in there; a line or a cell with words is needed")
    return list(found)


def continue_pretraining(
    start: Path,
    files: Sequence[Path],
    out: Path,
    config: PretrainConfig,
    *,
    segment_tokens: int = 64,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Go on from `start` with the texts of `files`, and write the language folder `out`, whole or not at all.

    Killed, the same call goes on where it was. The texts of the data that the model will serve are to be among them or come later:
    what is not heard again is forgotten.

    Returns:
        {"texts", "tokens", "epochs", "loss": before and after on a twentieth of the texts that is not learned from (None with under 40 texts)}.

    Raises:
        CheckpointError: nothing to start from.  DataError: no texts.  StorageError: `out` can't be written.
        UsageError: `out` holds something else.
    """
    refuse_foreign(out)
    model, tokenizer = load_language(start)
    texts = texts_of(files)[: config.most_texts]
    reader = TextReader(model, tokenizer, Wording("en"), segment_tokens)
    segments = reader.segments(texts)
    kept_back = len(segments) // 20 if len(segments) >= 40 else 0
    held, learned = segments[:: len(segments) // kept_back][:kept_back] if kept_back else [], segments
    if kept_back:
        chosen = set(map(id, held))
        learned = [segment for segment in segments if id(segment) not in chosen]

    def task_of(some: list[Any]) -> Infill:
        return Infill(config.objective, some, batch_tokens=config.batch_targets or 4000, mask_id=tokenizer.mask_id, bos_id=tokenizer.bos_id)

    before = mean_loss(model, task_of(held)) if held else None
    key = content_key(
        "continued", config.plain(), [file_digest(path) for path in files], tokenizer.fingerprint(), seed, model.shape.plain()
    )
    work = out.with_name(f".{out.name}.{key}.training")
    settled = config.model_copy(update={"learning_rate": config.continued_rate})
    loop = Loop(
        model,
        {"infill": task_of(learned)},
        settled,
        weights={"infill": 1.0},
        seed=seed,
        folder=work,
        precision="auto",
        progress=Progress(visible=progress),
    )
    if config.epochs:
        loop.run()
    after = mean_loss(model, task_of(held)) if held else None
    with atomic_folder(out) as temporary:
        save_model(temporary, model, tokenizer=tokenizer.fingerprint())
        tokenizer.save(temporary / TOKENIZER)
    if work.is_dir():
        shutil.rmtree(work)  # its log too, which is a folder where TensorBoard is installed
    tokens = int(sum(len(segment.ids) for segment in learned))
    return {"texts": len(learned), "tokens": tokens, "epochs": config.epochs, "loss": None if before is None else [before, after]}
