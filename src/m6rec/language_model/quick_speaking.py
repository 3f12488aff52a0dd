"""A Speaker in plain arrays (`writing_arrays.py`), for texts written on a processor of a few cores; says what `WriterSpeaker` says.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from m6rec.language_model.layers import RMSNorm
from m6rec.language_model.lower import LowerLayers
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.writing import ReadSources, WriteOption, Writer
from m6rec.language_model.writing_arrays import OptionArrays, Read, Said, WriterArrays


@dataclass(frozen=True)
class QuickState:
    """B rows in the middle of writing: owner int64 (B,), whose sources each row reads; those sources (B rows, or one for all); what was said."""

    owner: np.ndarray
    read: Read
    said: Said


class QuickSpeaker:
    """Says what may follow, for rows that read `read` (one row a request)."""

    def __init__(self, arrays: WriterArrays, option: WriteOption, read: ReadSources, bos_id: int) -> None:
        self.arrays, self.option, self.read, self.bos_id = arrays, OptionArrays(option), Read.of(read), bos_id

    @property
    def requests(self) -> int:
        """Rows of `read`."""
        return len(self.read)

    def start(self, rows: int) -> tuple[Tensor, QuickState]:
        """log p (B, V) of the first token, for `rows` rows: as many of each request, those of one request together."""
        owner = np.repeat(np.arange(self.requests), rows // self.requests)
        state = QuickState(owner, self._read(owner), Said.nothing(rows, self.arrays.shapes()))
        return self.step(torch.full((rows,), self.bos_id), state)

    def step(self, tokens: Tensor, state: QuickState) -> tuple[Tensor, QuickState]:
        """log p (B, V) of what follows once `tokens` int64 (B,) are said too."""
        found, said = self.arrays.step(tokens.numpy(), state.said, state.read, self.option)
        return torch.from_numpy(found), QuickState(state.owner, state.read, said)

    def pick(self, state: QuickState, rows: Tensor) -> QuickState:
        """The rows `rows` int64 (B',) of a state, in this order."""
        index = rows.numpy()
        owner = state.owner[index]
        same = len(owner) == len(state.owner) and bool((owner == state.owner).all())
        return QuickState(owner, state.read if same else self._read(owner), state.said.rows(index))

    def _read(self, owner: np.ndarray) -> Read:
        alone = self.requests == 1 or (len(owner) == self.requests and bool((owner == np.arange(self.requests)).all()))
        return self.read if alone else self.read.rows(owner)


def may_be_quick(model: LanguageModel, writer: Writer) -> bool:
    """Whether the arrays compute what the model does: the built-in layers, in float32, on a processor."""
    tensors = [model.embedding.weight, *writer.parameters()]
    plain = all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)
    return plain and type(model.lower) is LowerLayers and isinstance(writer.norm, RMSNorm)
