"""Where tensors are: the device that a training asks for, the way there, and the state of its random numbers.

Batches are made on the CPU, of numpy arrays, and go to the device of the weights that read them; what is drawn for a batch is drawn on the CPU,
so that a seed draws the same wherever the weights are. Dropout alone draws on the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.base.errors import ConfigError

CPU = torch.device("cpu")


def device_wanted(asked: str, processes: int = 1) -> torch.device:
    """The device that `train.device` means on this machine: auto, cpu, cuda or cuda:N.

    Args:
        processes: how many train one model; several do so on CPUs only.

    Raises:
        ConfigError: a GPU that there is not, or one for several processes.
    """
    if asked == "auto":
        return torch.device("cuda") if processes == 1 and torch.cuda.is_available() else CPU
    device = torch.device(asked)
    if device.type == "cpu":
        return device
    instead = "write train.device=cpu, or auto for a GPU where there is one"
    if not torch.cuda.is_available():
        why = "the torch installed here is built without CUDA" if torch.version.cuda is None else "torch finds no GPU and driver to use"
        raise ConfigError(f"train.device is {asked}, and {why}; {instead}")
    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise ConfigError(f"train.device is {asked}, and GPUs are counted from cuda:0 to cuda:{count - 1} here; {instead}")
    if processes > 1:
        raise ConfigError(f"train.device is {asked}, and {processes} processes train on CPUs only; {instead}, or train in one process")
    return device


def device_of(module: nn.Module) -> torch.device:
    """Where the weights of `module` are; the CPU where it has none."""
    return next((parameter.device for parameter in module.parameters()), CPU)


@contextmanager
def on_device(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Inside the block the weights of `module` are on `device`, afterwards where they were."""
    before = device_of(module)
    module.to(device)
    try:
        yield
    finally:
        module.to(before)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; to a GPU out of pinned memory and without waiting for it."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def tensor_of(array: np.ndarray, device: torch.device) -> Tensor:
    """A numpy array as a tensor on `device`; on the CPU it shares the array's memory."""
    return moved(torch.from_numpy(array), device)


def random_state(device: torch.device) -> Tensor | None:
    """State of the random numbers of a GPU; None for any other device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def restore_random_state(device: torch.device, state: Tensor | None) -> None:
    """Take what `random_state` gave, where this is a GPU too; else draws go on from the seed."""
    if device.type == "cuda" and state is not None:
        torch.cuda.set_rng_state(state, device)


def devices_here() -> list[str]:
    """The GPUs that torch can use, each with its name and memory."""
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return [f"cuda:{number} {one.name} ({one.total_memory / 2**30:.0f} GiB)" for number, one in enumerate(found)]
