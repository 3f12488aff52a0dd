"""Finding a checkpoint on this machine, and whether its files are whole. Nothing is unpickled, and nothing is fetched unless that is allowed.

A safetensors file is 8 bytes, a JSON header of that length, then the tensors; so a file that was cut off is known by its size.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from m6rec.base.errors import CheckpointError, ConfigError
from m6rec.base.extras import require

CONFIG, INDEX, WEIGHTS = "config.json", "model.safetensors.index.json", "model.safetensors"
FETCHED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
LARGEST_HEADER = 100_000_000  # as the safetensors library has it
REPOSITORY = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")  # a name of the hub
SAMPLE = 1 << 20  # bytes at both ends of a file that its fingerprint is made of


@dataclass(frozen=True)
class CheckpointFiles:
    """A checkpoint's folder. name: as the user wrote it, for messages."""

    folder: Path
    name: str

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What config.json says.  Raises CheckpointError: missing or damaged."""
        facts = _json(self.folder / CONFIG, self.name)
        if not isinstance(facts, dict):
            raise CheckpointError(f"{self.folder / CONFIG} holds {type(facts).__name__}, not a configuration; fetch {self.name} again")
        return facts

    @cached_property
    def places(self) -> dict[str, Path]:
        """Name of each tensor -> the file it is in, every file checked to be whole.

        Raises:
            CheckpointError: no safetensors, a file that is missing, cut off or not what its name says.
        """
        if (self.folder / INDEX).exists():
            listed = _json(self.folder / INDEX, self.name)
            shards = listed.get("weight_map") if isinstance(listed, dict) else None
            if not isinstance(shards, dict) or not shards or not all(isinstance(shard, str) for shard in shards.values()):
                raise CheckpointError(f"{self.folder / INDEX} lists no weights; fetch {self.name} again")
            files = sorted(set(shards.values()))
        else:
            shards, files = {}, [WEIGHTS] if (self.folder / WEIGHTS).is_symlink() or (self.folder / WEIGHTS).exists() else []
        if not files:
            self._no_weights()
        gone = [file for file in files if not (self.folder / file).is_file()]
        if gone:
            raise CheckpointError(
                f"{self.name} is half downloaded: {len(gone)} of {len(files)} weight files are missing, first {gone[0]}; fetch it again"
            )
        headers = {file: _header(self.folder / file, self.name) for file in files}
        found = {name: self.folder / file for file, names in headers.items() for name in names}
        for name, file in shards.items():
            if name not in headers[file]:
                raise CheckpointError(f"{self.folder / file} has no tensor '{name}' that {INDEX} places there; fetch {self.name} again")
        return found

    def _no_weights(self) -> None:
        pickled = sorted(path.name for path in self.folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        if pickled:
            raise CheckpointError(
                f"{self.name} holds pickled weights only ({pickled[0]}), and reading those can run anything; where you trust them, convert: "
                f"python -c \"from transformers import AutoModel; AutoModel.from_pretrained('{self.folder}').save_pretrained('CONVERTED')\""
            )
        raise CheckpointError(
            f"{self.folder} has no {WEIGHTS}; {self.name} was fetched without its weights, or is half downloaded: fetch it again"
        )

    def tensor(self, name: str) -> Tensor:
        """float32, whatever it was stored as.  Raises CheckpointError: no such tensor, or it can't be read."""
        path = self.places.get(name)
        if path is None:
            raise CheckpointError(f"{self.name} has no tensor '{name}'; its weights and its {CONFIG} are not of one model")
        try:
            with safe_open(path, framework="pt") as file:
                return file.get_tensor(name).to(torch.float32)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} can't be read ({' '.join(str(error).split())}); fetch {self.name} again") from None

    @cached_property
    def fingerprint(self) -> str:
        """Of config, tokenizer and weights: names, sizes, and both ends of every file."""
        digest = hashlib.sha256()
        for path in sorted(path for path in self.folder.iterdir() if path.suffix in (".json", ".safetensors", ".txt", ".model")):
            if not path.is_file():
                continue
            size = path.stat().st_size
            digest.update(f"{path.name} {size} ".encode())
            with open(path, "rb") as file:
                digest.update(file.read(SAMPLE))
                file.seek(max(size - SAMPLE, 0))
                digest.update(file.read(SAMPLE))
        return digest.hexdigest()[:16]


def find_checkpoint(backbone: str, beside: Path, download: bool = False) -> CheckpointFiles:
    """The checkpoint that a `model.backbone` names: a folder, else a name in the local cache of the Hugging Face hub.

    Args:
        backbone: hf:PATH or hf:NAME, or hf:NAME@REVISION.
        beside: folder that a relative path starts from.
        download: fetch it where it is not here.

    Raises:
        ConfigError: neither here nor to be fetched.
        CheckpointError: here, but without a config.json.
        MissingExtraError: it is to be fetched, and the library for that is not installed.
    """
    name = backbone.removeprefix("hf:").strip()
    folder = beside / os.path.expanduser(name)  # that of pathlib raises where nobody has the name after ~
    if folder.is_file():
        raise ConfigError(f"model.backbone is {backbone}, which is a file; give the folder that it is in: hf:{Path(name).parent}")
    if not folder.is_dir():
        if not REPOSITORY.fullmatch(name.partition("@")[0]):
            raise ConfigError(
                f"model.backbone is {backbone}: there is no folder {folder}; give the folder of a checkpoint in the Hugging Face format, "
                "or a name of the hub: hf:OWNER/MODEL"
            )
        kept = _cached(name)
        if kept is None and download:
            kept = _fetched(name)
        if kept is None:
            raise ConfigError(
                f"model.backbone is {backbone}: there is no folder {folder}, and no {name} in the local cache; "
                "give a folder, or let it be fetched: --set model.download=true"
            )
        folder = kept
    if not (folder / CONFIG).exists():
        raise CheckpointError(
            f"{folder} has no {CONFIG}; give the folder of a checkpoint in the Hugging Face format, or fetch {name} again"
        )
    return CheckpointFiles(folder, name)


def _cached(name: str) -> Path | None:
    """The snapshot of a name in the hub's cache, where there is one."""
    repository, _, revision = name.partition("@")
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface")
    model = Path(os.environ.get("HF_HUB_CACHE") or home / "hub") / f"models--{repository.replace('/', '--')}"
    try:
        commit = (model / "refs" / (revision or "main")).read_text(encoding="utf-8").strip()
    except OSError:
        commit = revision
    snapshot = model / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None


def _fetched(name: str) -> Path:
    hub = require("huggingface_hub", "hf")
    errors = require("huggingface_hub.errors", "hf")
    repository, _, revision = name.partition("@")
    try:
        return Path(hub.snapshot_download(repository, revision=revision or None, allow_patterns=FETCHED))
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, errors.HFValidationError, OSError) as error:
        raise ConfigError(f"{name} can't be fetched ({' '.join(str(error).split())[:200]}); give the folder of a copy: hf:PATH") from None


def _json(path: Path, name: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read ({' '.join(str(error).split())}); fetch {name} again") from None


def _header(path: Path, name: str) -> set[str]:
    """Names of the tensors of a whole safetensors file."""
    again = f"fetch {name} again"
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        if start.startswith(b"version "):
            raise CheckpointError(f"{path} is a pointer to a file that git-lfs has not fetched yet; type in {path.parent}: git lfs pull")
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 2 <= length <= min(LARGEST_HEADER, size - 8):
            raise CheckpointError(f"{path} is half downloaded or no safetensors file ({size:,} bytes); {again}")
        try:
            header = json.loads(file.read(length))
            entries = {key: value for key, value in header.items() if key != "__metadata__"}
            end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        except (ValueError, AttributeError, KeyError, TypeError, IndexError):
            raise CheckpointError(f"{path} is damaged: its header is no list of tensors; {again}") from None
    if size != 8 + length + end:
        raise CheckpointError(f"{path} is half downloaded: {size:,} bytes of {8 + length + end:,}; {again}")
    return set(entries)
