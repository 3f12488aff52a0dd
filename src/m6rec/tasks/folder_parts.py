"""Optional parts of a model folder made again out of its config.json and its weights: what judges and what writes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from m6rec.base.errors import CheckpointError, ConfigError
from m6rec.data.dataset import Dataset
from m6rec.language_model.checkpoint import load_into
from m6rec.language_model.config import ModelShape
from m6rec.tasks.catalogue import Catalogue
from m6rec.tasks.choose import Choose
from m6rec.tasks.choose_mixture import Profiles
from m6rec.tasks.interest_part import InterestPart, load_interest
from m6rec.tasks.judge_part import JudgePart, TextPart
from m6rec.tasks.text_reader import TextReader
from m6rec.tasks.write_part import WritePart
from m6rec.text.bag import Bag

Weights = dict[str, Tensor]


def tensors_of(weights: Weights, prefix: str) -> Weights:
    """Those whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def judge_part(
    config: Path,
    told: dict[str, Any],
    arrays: dict[str, np.ndarray],
    bag: Bag | None,
    dataset: Dataset,
    task: Choose,
    weights: Weights,
    source: Path,
) -> JudgePart:
    """What judges candidates; `told` stands in the file `config`, `weights` in `source`. Raises CheckpointError."""
    try:
        part = JudgePart.of(told, arrays, bag, dataset, task.shape, task)
    except (KeyError, TypeError, ConfigError) as error:
        raise damaged(config, error) from None
    load_into(part.judge, weights, source)
    part.judge.eval()
    return part


def text_part(config: Path, told: dict[str, Any] | None, shape: ModelShape, weights: Weights, source: Path) -> TextPart | None:
    """What judges texts and items alone, if anything does. Raises CheckpointError."""
    if told is None:
        return None
    try:
        part = TextPart.of(told, shape)
    except (KeyError, TypeError, ConfigError) as error:
        raise damaged(config, error) from None
    load_into(part.judge, weights, source)
    part.judge.eval()
    return part


def interest_part(path: Path, bag: Path, told: dict[str, Any] | None, tensors: Callable[[Path], Weights]) -> InterestPart | None:
    """What reads the interests that people say, if anything does; its tensors stand in the file `path`. Raises CheckpointError."""
    if told is None:
        return None
    words, weights = Bag.load(bag), tensors(path)
    try:
        return load_interest(told, words, weights, path)
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise damaged(path, error) from None


def write_part(
    config: Path,
    told: dict[str, Any] | None,
    dataset: Dataset,
    task: Choose,
    read_with: tuple[TextReader, Catalogue, Profiles | None],
    weights: Weights,
    source: Path,
) -> WritePart | None:
    """What writes, if anything does. Raises CheckpointError."""
    if told is None:
        return None
    try:
        part = WritePart.of(told, dataset, task.shape, task, *read_with)
    except (KeyError, TypeError, ConfigError) as error:
        raise damaged(config, error) from None
    load_into(part.write, weights, source)
    part.write.eval()
    return part


def damaged(path: Path, error: Exception) -> CheckpointError:
    """The error of a file that does not hold what it should."""
    line = " ".join(str(error).split()) or type(error).__name__
    return CheckpointError(f"{path} is damaged ({line}); restore it from a copy or train again")


def fingerprint_of(weights: dict[str, torch.Tensor]) -> str:
    """Of the weights themselves: states are of these weights and no others."""
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def graph_tensors(priors: dict[str, csr_array]) -> dict[str, torch.Tensor]:
    return {key: tensor for name, table in priors.items() for key, tensor in csr_tensors(name, table).items()}


def csr_tensors(name: str, table: csr_array) -> dict[str, torch.Tensor]:
    return {
        f"{name}.data": torch.from_numpy(table.data.astype(np.float32)),
        f"{name}.indices": torch.from_numpy(table.indices.astype(np.int32)),
        f"{name}.indptr": torch.from_numpy(table.indptr.astype(np.int64)),
    }


def mapped_csr(tensors: dict[str, torch.Tensor], name: str, shape: tuple[int, int]) -> csr_array:
    """What `csr_tensors` gave, over the same memory: what lies in a mapped file stays there, shared by all who read it.

    Raises:
        KeyError, ValueError: a part is missing, or they make no matrix of this shape.
    """
    data, indices, indptr = (tensors[f"{name}.{part}"].numpy() for part in ("data", "indices", "indptr"))
    if len(indices) <= np.iinfo(np.int32).max:
        indptr = indptr.astype(np.int32)  # of one type with the indices, of which scipy would else make a wider copy
    table = csr_array((data, indices, indptr), shape=shape)
    table.check_format(full_check=True)
    return table
