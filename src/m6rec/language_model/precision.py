"""bfloat16 autocast where the machine has it, nothing where it has not."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Setting = Literal["auto", "off", "bfloat16"]


def cpu_has_bfloat16() -> bool:
    """True where the CPU multiplies bfloat16 in hardware (AVX512-BF16, AMX, or the ARM equivalents)."""
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def supported(device: torch.device | str) -> bool:
    """True where bfloat16 is faster than float32 on `device`."""
    kind = torch.device(device).type
    if kind == "cpu":
        return cpu_has_bfloat16()
    return kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def autocast(setting: Setting, device: torch.device | str = "cpu") -> AbstractContextManager[object]:
    """The context to run the model in: bfloat16 matrix products, or a no-op."""
    if setting == "off" or (setting == "auto" and not supported(device)):
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)


def statement(setting: Setting, device: torch.device | str = "cpu") -> str:
    """One line for the user on the arithmetic used and why."""
    if setting == "off":
        return "arithmetic: float32 (model.autocast is off)"
    if supported(device):
        return "arithmetic: bfloat16 matrix products"
    if setting == "bfloat16":
        return "arithmetic: bfloat16 as asked by model.autocast, though this machine has no hardware for it and float32 would be faster"
    if torch.device(device).type != "cpu":
        return "arithmetic: float32; this GPU has no bfloat16 hardware"
    return "arithmetic: float32; this machine has no bfloat16 hardware (AVX512-BF16 or AMX), which would be 4-5 times faster"
