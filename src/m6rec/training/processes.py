"""Several processes that train one model: each on batches of its own, with the same gradients, and so the same weights, in all.

`m6rec train --processes N` (launching.py), `torchrun` or whoever else starts them makes the process group; where there is none, everything
here is a no-op. What is exchanged are tensors and JSON, nothing pickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

NONE, SPARSE, DENSE = 0, 1, 2  # what a process has of a gradient


PATIENCE = timedelta(days=30)  # the others wait while the first reads the data or measures
_alone = ContextVar("alone", default=False)


def join(rank: int, count: int, meeting: Path) -> None:
    """Make the process group; all give the same `meeting`, a file on this machine that is not there yet."""
    dist.init_process_group("gloo", init_method=f"file://{meeting.resolve()}", rank=rank, world_size=count, timeout=PATIENCE)


@contextmanager
def alone() -> Iterator[None]:
    """Within it this process trains by itself, whatever others there are."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


class Processes:
    """The processes of this training. rank: which this one is.  count: how many there are."""

    def __init__(self) -> None:
        together = dist.is_available() and dist.is_initialized() and not _alone.get()
        self.rank: int = dist.get_rank() if together else 0
        self.count: int = dist.get_world_size() if together else 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """What every process gave, by rank; JSON-ready values."""
        if self.count == 1:
            return [value]
        own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        dist.all_gather(sizes, torch.tensor([len(own)]))
        longest = int(max(sizes).item())
        filled = [torch.zeros(longest, dtype=torch.uint8) for _ in sizes]
        dist.all_gather(filled, torch.cat([own, own.new_zeros(longest - len(own))]))
        return [json.loads(bytes(text[: int(size)].tolist())) for text, size in zip(filled, sizes, strict=True)]

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Each number averaged over the processes that have it, names in order."""
        if self.count == 1:
            return values
        found: dict[str, list[float]] = {}
        for one in self.gather(values):
            for name, value in one.items():
                found.setdefault(name, []).append(value)
        return {name: sum(found[name]) / len(found[name]) for name in sorted(found)}

    def share_weights(self, module: nn.Module) -> None:
        """Every process takes the parameters and buffers of the first."""
        if self.count > 1:
            with torch.no_grad():
                for tensor in [*module.parameters(), *module.buffers()]:
                    dist.broadcast(tensor, 0)

    def average(self, gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor | None]:
        """Each gradient averaged over all processes, one that is missing counting as zero; sparse stays sparse where no process has it dense.

        Args:
            gradients: one for each tensor of `like`, in the same order in every process.
        """
        if self.count == 1:
            return list(gradients)
        kinds = torch.tensor([NONE if g is None else SPARSE if g.is_sparse else DENSE for g in gradients], dtype=torch.uint8)
        dist.all_reduce(kinds, dist.ReduceOp.MAX)
        found: list[Tensor | None] = [None] * len(gradients)
        dense = [place for place, kind in enumerate(kinds.tolist()) if kind == DENSE]
        if dense:
            parts = [_dense(gradients[place], like[place]).reshape(-1) for place in dense]
            flat = torch.cat(parts)
            dist.all_reduce(flat)
            for place, part in zip(dense, (flat / self.count).split([len(part) for part in parts]), strict=True):
                found[place] = part.reshape(like[place].shape).clone()
        for place, kind in enumerate(kinds.tolist()):
            if kind == SPARSE:
                found[place] = self._rows(gradients[place], like[place])
        return found

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """`parameter.grad` averaged, in place."""
        if self.count > 1:
            for parameter, gradient in zip(parameters, self.average([p.grad for p in parameters], parameters), strict=True):
                parameter.grad = gradient

    def _rows(self, gradient: Tensor | None, table: Tensor) -> Tensor:
        """The mean of sparse gradients (coordinates along the first dimension): the rows that any process touched."""
        if gradient is None:
            rows, values = torch.zeros(0, dtype=torch.int64), table.new_zeros(0, *table.shape[1:])
        else:
            whole = gradient.coalesce()
            rows, values = whole.indices()[0], whole.values()
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        dist.all_gather(sizes, torch.tensor([len(rows)]))
        longest = int(max(sizes).item())
        all_rows = [rows.new_zeros(longest) for _ in sizes]
        all_values = [values.new_zeros(longest, *table.shape[1:]) for _ in sizes]
        dist.all_gather(all_rows, torch.cat([rows, rows.new_zeros(longest - len(rows))]))
        dist.all_gather(all_values, torch.cat([values, values.new_zeros(longest - len(rows), *table.shape[1:])]))
        kept = [int(size) for size in sizes]
        indices = torch.cat([part[:size] for part, size in zip(all_rows, kept, strict=True)])
        joined = torch.cat([part[:size] for part, size in zip(all_values, kept, strict=True)]) / self.count
        return torch.sparse_coo_tensor(indices[None], joined, table.shape, check_invariants=False).coalesce()


def _dense(gradient: Tensor | None, like: Tensor) -> Tensor:
    if gradient is None:
        return torch.zeros_like(like)
    return gradient.to_dense() if gradient.is_sparse else gradient
