"""Low-rank changes in the files of the peft library: those trained elsewhere are read, those trained here are written.

A folder holds adapter_config.json and adapter_model.safetensors with two matrices, A (rank, inputs) and B (outputs, rank), of each changed matrix.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from m6rec.base.errors import CheckpointError, ConfigError, StorageError
from m6rec.base.storage import atomic_file, write_json
from m6rec.language_model.backbones.adapt import ADAPTED, AdaptedLinear
from m6rec.language_model.backbones.config import BackboneShape
from m6rec.language_model.backbones.families import FAMILIES
from m6rec.language_model.backbones.split import BackboneUpper
from m6rec.language_model.model import LanguageModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BEFORE = "base_model.model."  # what peft puts before every name
A, B = ".lora_A.weight", ".lora_B.weight"
# Settings that change what the two matrices mean, and the values under which they mean what is said here.
UNDERSTOOD: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "use_dora": (False, None),
    "use_rslora": (False, None),
    "bias": ("none", None),
    "modules_to_save": (None, []),
    "trainable_token_indices": (None,),
}


class PeftAdapter:
    """An adapter in a folder, as peft's `save_pretrained` writes it.

    Raises:
        ConfigError: no such folder.  CheckpointError: damaged, or of a kind that is not understood.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise ConfigError(f"model.adapter: there is no folder {folder}; give one that peft's save_pretrained wrote")
        try:
            facts = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            self.alpha = float(facts["lora_alpha"])
            self.alphas = {str(name): float(value) for name, value in (facts.get("alpha_pattern") or {}).items()}
        except FileNotFoundError:
            raise CheckpointError(f"{folder} has no {CONFIG}; give a folder that peft's save_pretrained wrote") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{folder / CONFIG} is no adapter's configuration ({' '.join(str(error).split())}); save it again"
            ) from None
        for name, values in UNDERSTOOD.items():
            if name in facts and facts[name] not in values:
                raise CheckpointError(f"{folder / CONFIG} says {name} is {facts[name]!r}; understood is plain LoRA ({name}: {values[0]!r})")
        if any(not re.fullmatch(r"[\w.]+", name) for name in self.alphas):
            raise CheckpointError(f"{folder / CONFIG} has an alpha_pattern that is no plain name; understood are names of layers")
        self.used: set[str] = set()

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        path = self.folder / WEIGHTS
        if not path.exists():
            raise CheckpointError(
                f"{self.folder} has no {WEIGHTS} (pickled adapters are not read); save it again with peft's save_pretrained"
            )
        try:
            with safe_open(path, framework="pt") as file:
                names = list(file.keys())
                tensors = {name.removeprefix(BEFORE): file.get_tensor(name).float() for name in names}
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} can't be read ({' '.join(str(error).split())}); copy it again") from None
        odd = sorted(name for name in tensors if not name.endswith((A, B)) or name.replace(A, B) not in tensors)
        if odd:
            raise CheckpointError(f"{path} has '{odd[0]}', which is no matrix of plain LoRA; adapt attention and feed-forward layers only")
        return tensors

    def change(self, module: str) -> Tensor | None:
        """(outputs, inputs) that the matrix of `module` is changed by; None: not at all. A name may stand with or without its prefix."""
        for name in self._tensors:
            if name.endswith(A) and (
                f".{name.removesuffix(A)}".endswith(f".{module}") or f".{module}".endswith(f".{name.removesuffix(A)}")
            ):
                changed = name.removesuffix(A)
                self.used.add(changed)
                alpha = next((value for key, value in self.alphas.items() if f".{changed}".endswith(f".{key}")), self.alpha)
                return self._tensors[changed + B] @ self._tensors[name] * (alpha / len(self._tensors[name]))
        return None

    def check_used(self) -> None:
        """Raises CheckpointError: it changes matrices that were not asked for: it is of another model."""
        left = {name.removesuffix(A) for name in self._tensors if name.endswith(A)} - self.used
        if left:
            raise CheckpointError(
                f"{self.folder} changes '{min(left)}', which model.backbone does not have here; give an adapter of that checkpoint"
            )


def save_adapter(model: LanguageModel, folder: Path, base: str) -> bool:
    """Write the low-rank changes of the upper layers for peft, as changes of the checkpoint `base`; False where there are none.

    Raises:
        StorageError: no space or no permission.
    """
    shape = model.shape.backbone
    if shape is None or not isinstance(model.upper, BackboneUpper) or shape.adapt.way != "lora":
        return False
    tensors = _matrices(model, shape)
    ranks = {name.removeprefix(BEFORE).removesuffix(A): len(tensor) for name, tensor in tensors.items() if name.endswith(A)}
    wider = {name: rank for name, rank in ranks.items() if rank != shape.adapt.rank}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / WEIGHTS) as temporary:
        try:
            save_file(tensors, temporary, metadata={"format": "pt"})
        except SafetensorError as error:
            raise StorageError(f"could not write {folder / WEIGHTS}: {' '.join(str(error).split())}") from None
    facts = {
        "peft_type": "LORA",
        "base_model_name_or_path": base.removeprefix("hf:"),
        "r": shape.adapt.rank,
        "lora_alpha": shape.adapt.alpha,
        "target_modules": sorted(ranks),
        "rank_pattern": wider,
        "alpha_pattern": {name: shape.adapt.alpha * rank / shape.adapt.rank for name, rank in wider.items()},
        "fan_in_fan_out": FAMILIES[shape.family].transposed,
        "bias": "none",
        "inference_mode": True,
        "task_type": None,
    }
    write_json(folder / CONFIG, facts)
    return True


def _matrices(model: LanguageModel, shape: BackboneShape) -> dict[str, Tensor]:
    """A and B of each matrix under the checkpoint's own names; matrices that we hold as one share A."""
    family, tensors = FAMILIES[shape.family], {}
    prefix = max(family.prefixes) if shape.causal else ""  # of the library's model that writes, or of its encoder
    for number, block in enumerate(model.upper.layers, model.shape.lower_layers):
        for part, names in family.layer.items():
            owner, _, name = part.partition(".")
            parts = [f"{owner}.{name}"] if (owner, name) in ADAPTED else []
            if part == "attention.qkv":
                parts = ["attention.q", "attention.kv"]
            if not parts:
                continue
            linears = [cast(AdaptedLinear, block.get_submodule(one)) for one in parts]
            named = [one.format(n=number) for one in names]
            if part == "mlp.gate_up" and len(named) > 2:  # T5 spells it in two ways
                named = named[1:] if shape.gated else named[:1]
            down, up = _joined(linears)
            if part == "attention.q" and not family.scaled:
                up = up / shape.head_width**0.5
            for one, rows in zip(named, up.chunk(len(named)), strict=True):
                tensors[f"{BEFORE}{prefix}{one}{A}"] = down.contiguous().clone()
                tensors[f"{BEFORE}{prefix}{one}{B}"] = rows.contiguous().clone()
    return tensors


@torch.no_grad()
def _joined(linears: list[AdaptedLinear]) -> tuple[Tensor, Tensor]:
    """A and B of matrices on top of each other, as one change: where there are several, of their ranks together."""
    down = torch.cat([linear.lora_down for linear in linears])
    return down, torch.block_diag(*(linear.lora_up for linear in linears))
