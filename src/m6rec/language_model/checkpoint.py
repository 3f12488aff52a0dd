"""Weights on disk: safetensors + config.json, versioned, whole or not at all, and never unpickled.

A file that cannot be used is a CheckpointError of one line that says what is wrong with it and what to do.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from m6rec.base.errors import CheckpointError, ConfigError, StorageError
from m6rec.base.storage import atomic_file, write_json
from m6rec.language_model.config import ModelShape
from m6rec.language_model.model import LanguageModel

FORMAT_VERSION = 1  # of model folders; raised when an older program could not read what this one writes
WEIGHTS, CONFIG = "model.safetensors", "config.json"


def program_version() -> str:
    """Version of the installed package."""
    try:
        return importlib.metadata.version("m6rec")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def save_weights(path: Path | str, tensors: dict[str, Tensor], metadata: dict[str, Any] | None = None) -> None:
    """Write one safetensors file atomically; `metadata` is JSON-ready and kept in its header beside the format version.

    Raises:
        StorageError: no space or no permission; an older file at `path` is untouched.
    """
    header = {"format_version": FORMAT_VERSION, "written_by": program_version(), "metadata": metadata or {}}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_file(path) as temporary:
        try:
            save_file(plain, temporary, metadata={"m6rec": json.dumps(header, sort_keys=True)})
        except SafetensorError as error:
            raise StorageError(f"could not write {path}: {_one_line(error)}; nothing was changed there") from None


def load_weights(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a file that `save_weights` wrote.

    Raises:
        CheckpointError: missing, truncated or otherwise damaged, not ours, or from a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; give the folder of a finished run or a saved model")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("m6rec", "null"))
            names = list(file.keys())
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or cut short ({_one_line(error)}); restore it from a copy or train again") from None
    if header is None:
        raise CheckpointError(f"{path} was not written by m6rec; give the folder of a finished run or a saved model")
    check_version(header, path)
    return tensors, header["metadata"]


def check_version(header: dict[str, Any], path: Path | str) -> None:
    """Raises CheckpointError when `header["format_version"]` is newer than this program reads."""
    version = header.get("format_version")
    if not isinstance(version, int):
        raise CheckpointError(f"{path} has no format_version; it was not written by m6rec")
    if version > FORMAT_VERSION:
        writer, here = header.get("written_by", "a newer m6rec"), program_version()
        raise CheckpointError(
            f"{path} was written by version {writer} (format {version}), this is {here} (format {FORMAT_VERSION}); upgrade m6rec"
        )


def load_into(module: nn.Module, tensors: dict[str, Tensor], source: Path | str) -> None:
    """Fill `module` with `tensors`, all of them and no others.

    Raises:
        CheckpointError: naming the first tensor that is missing, left over, or of another shape.
    """
    wanted = module.state_dict()
    for name, tensor in wanted.items():
        if name not in tensors:
            raise CheckpointError(
                f"{source} has no tensor '{name}'; the weights belong to another model: keep the files of one folder together"
            )
        if tensors[name].shape != tensor.shape:
            raise CheckpointError(
                f"{source}: tensor '{name}' is {list(tensors[name].shape)}, the configuration asks for {list(tensor.shape)}; "
                "keep the files of one folder together"
            )
    extra = sorted(set(tensors) - set(wanted))
    if extra:
        raise CheckpointError(
            f"{source} has a tensor '{extra[0]}' that the configuration does not know; keep the files of one folder together"
        )
    module.load_state_dict(tensors)


def save_model(folder: Path | str, model: LanguageModel, *, tokenizer: str) -> None:
    """Write config.json and model.safetensors into the existing `folder`; `tokenizer` is the tokenizer's fingerprint.

    Raises:
        StorageError: no space or no permission.
    """
    folder = Path(folder)
    save_weights(folder / WEIGHTS, model.state_dict(), {"tokenizer": tokenizer, "shape": model.shape.fingerprint()})
    header = {"format_version": FORMAT_VERSION, "written_by": program_version(), "model": model.shape.plain(), "tokenizer": tokenizer}
    write_json(folder / CONFIG, header)


def load_model(folder: Path | str, *, tokenizer: str | None = None, device: torch.device | str = "cpu") -> LanguageModel:
    """The model that `save_model` wrote, in evaluation mode.

    Args:
        tokenizer: fingerprint of the tokenizer at hand, checked when given.

    Raises:
        CheckpointError: a file is missing, damaged or from a newer version, or the parts do not belong together.
    """
    folder = Path(folder)
    header = _read_config(folder / CONFIG)
    try:
        shape = ModelShape.build(header.get("model", {}), source=str(folder / CONFIG))
    except ConfigError as error:
        raise CheckpointError(f"{error}; restore the file from a copy") from None
    tensors, metadata = load_weights(folder / WEIGHTS)
    if metadata.get("shape") != shape.fingerprint() or metadata.get("tokenizer") != header.get("tokenizer"):
        raise CheckpointError(f"{folder / CONFIG} and {WEIGHTS} were not saved together; keep the files of one folder together")
    check_tokenizer(header.get("tokenizer", ""), tokenizer, folder)
    model = LanguageModel(shape)
    load_into(model, tensors, folder / WEIGHTS)
    return model.to(device).eval()


def check_tokenizer(trained_with: str, at_hand: str | None, source: Path | str) -> None:
    """Raises CheckpointError when the tokenizer at hand is not the one the weights were trained with (None: not checked)."""
    if at_hand is not None and at_hand != trained_with:
        raise CheckpointError(
            f"{source} was trained with tokenizer {trained_with or 'unknown'}, the one at hand is {at_hand}; "
            "use the tokenizer.json saved beside it"
        )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist; give the folder of a finished run or a saved model") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({_one_line(error)}); restore it from a copy or train again") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} holds {type(header).__name__}, not a configuration; restore it from a copy or train again")
    check_version(header, path)
    return header


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
