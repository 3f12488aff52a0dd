"""A second device without a GPU: tensors that say they are on `simulated:0`, hold a CPU tensor, and refuse to meet tensors of the CPU.

It catches what a GPU would refuse: an operation over tensors of both devices, `.numpy()` of a tensor that is not on the CPU, weights that stay
behind. It can't catch what only kernels and arithmetic of a GPU do: bfloat16 rounding, autocast's lists, operations that a GPU lacks, memory,
streams, and how long anything takes.

    with simulated():
        model.to(DEVICE)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "simulated"
# Operations whose first argument may be indexed by tensors of the CPU, and which of their arguments holds these.
INDEXED = {"aten::index": 1, "aten::index_put": 1, "aten::index_put_": 1, "aten::_index_put_impl_": 1, "aten::_unsafe_index": 1}
CROSSING = ("aten::copy_", "aten::_to_copy")  # the way from one device to the other


class MixedDevicesError(RuntimeError):
    """An operation over tensors of two devices."""


class SimulatedTensor(Tensor):
    """A tensor of the second device; `held` is a CPU tensor with the numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> SimulatedTensor:
        strided = {} if held.layout != torch.strided else {"strides": held.stride(), "storage_offset": held.storage_offset()}
        return torch.Tensor._make_wrapper_subclass(cls, held.size(), dtype=held.dtype, layout=held.layout, device=device(), **strided)

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __repr__(self, **_: Any) -> str:
        return f"SimulatedTensor({self.held})"

    def tolist(self) -> Any:
        """Numbers come back to the CPU by themselves, as from a GPU."""
        return self.held.tolist()

    def __getitem__(self, index: Any) -> Any:
        """A list is an index; torch would make a tensor of it on the device, by ways that this one does not have."""
        return super().__getitem__(torch.tensor(index) if isinstance(index, list) else index)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Simulation(TorchDispatchMode):
    """Sees the operations that have no simulated tensor among their arguments yet: new tensors, and the way to the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@cache
def device() -> torch.device:
    """`simulated:0`, made known to torch when first asked for."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend(NAME)
    return torch.device(NAME, 0)


@contextmanager
def simulated() -> Iterator[torch.device]:
    """Inside the block the device is there. Parameters that are moved stay the same objects, as they do between a CPU and a GPU."""
    found = device()
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with _Simulation():
            yield found
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


def _run(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, SimulatedTensor)]
    asked = kwargs.get("device")
    if there and len(there) < len(tensors):
        _refuse_mixed(func, args, kwargs)
    kwargs = {name: torch.device("cpu") if name == "device" and value is not None else value for name, value in kwargs.items()}
    plain_args, plain_kwargs = tree_map(_held, (tuple(args), kwargs))
    result = func(*plain_args, **plain_kwargs)
    if func._schema.name == "aten::copy_":
        return args[0]
    if not (torch.device(asked).type == NAME if asked is not None else there):
        return result
    known = {id(tensor.held): tensor for tensor in there}  # what is changed in place comes back as it was given
    return tree_map(lambda one: known[id(one)] if id(one) in known else _there(one), result)


def _held(one: Any) -> Any:
    return one.held if isinstance(one, SimulatedTensor) else one


def _there(one: Any) -> Any:
    return SimulatedTensor(one) if isinstance(one, Tensor) else one


def _refuse_mixed(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    """What a GPU takes beside its own tensors: single numbers, indices of what is its own, and copies."""
    name = func._schema.name
    if name in CROSSING:
        return
    own = isinstance(args[0], SimulatedTensor)
    free = args[INDEXED[name]] if name in INDEXED and own else ()
    others = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor) and not isinstance(one, SimulatedTensor)]
    others = [one for one in others if one.dim() and not any(one is index for index in tree_leaves(free))]
    written = name.endswith("_") and isinstance(args[0], Tensor) and not own
    if others or written:
        raise MixedDevicesError(f"{name} over tensors of cpu and {NAME}: expected all tensors to be on the same device")
