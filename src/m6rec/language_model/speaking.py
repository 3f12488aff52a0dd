"""A Speaker over a trained writer: what may follow, token after token, with keys and values kept.

Shapes: B rows, T tokens said so far, D width of the language model, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from m6rec.language_model.layers import KeysValues
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.writing import ReadSources, WriteOption, Writer


@dataclass(frozen=True)
class SaidSoFar:
    """B rows in the middle of writing.

    owner  int64 (B,)    whose sources each row reads            read  those sources, row by row
    ids    int64 (B, T)  the beginning and what was said         past  keys and values of it, layer by layer
    lower  the same of the lower layers
    """

    owner: Tensor
    read: ReadSources
    ids: Tensor
    past: list[KeysValues]
    lower: list[KeysValues] | None = None


class WriterSpeaker:
    """Says what may follow, for rows that read `read` (one row a request)."""

    def __init__(self, model: LanguageModel, writer: Writer, option: WriteOption, read: ReadSources, bos_id: int) -> None:
        self.model, self.writer, self.option, self.read, self.bos_id = model, writer, option, read, bos_id

    @property
    def requests(self) -> int:
        """Rows of `read`."""
        return len(self.read.ids)

    @torch.no_grad()
    def start(self, rows: int) -> tuple[Tensor, SaidSoFar]:
        """log p (B, V) of the first token, for `rows` rows: as many of each request, those of one request together."""
        owner = torch.repeat_interleave(torch.arange(self.requests), rows // self.requests)
        ids = torch.full((rows, 1), self.bos_id)
        read = self.read if rows == self.requests else self.read.rows(owner)
        return self._say(owner, read, ids, None, None)

    @torch.no_grad()
    def step(self, tokens: Tensor, state: SaidSoFar) -> tuple[Tensor, SaidSoFar]:
        """log p (B, V) of what follows once `tokens` int64 (B,) are said too."""
        return self._say(state.owner, state.read, torch.cat([state.ids, tokens[:, None]], dim=1), state.past, state.lower)

    @torch.no_grad()
    def pick(self, state: SaidSoFar, rows: Tensor) -> SaidSoFar:
        """The rows `rows` int64 (B',) of a state, in this order."""
        owner = state.owner[rows]
        same = len(owner) == len(state.owner) and bool((owner == state.owner).all())
        read = state.read if same else self.read.rows(owner)
        lower = None if state.lower is None else [(keys[rows], values[rows]) for keys, values in state.lower]
        return SaidSoFar(owner, read, state.ids[rows], [(keys[rows], values[rows]) for keys, values in state.past], lower)

    def _say(
        self, owner: Tensor, read: ReadSources, ids: Tensor, past: list[KeysValues] | None, kept: list[KeysValues] | None
    ) -> tuple[Tensor, SaidSoFar]:
        states, kept = self.model.lower.extend(self.model.embed(ids[:, -1:]), kept)
        lower = self.model.reading(states)
        states, past = self.writer.step(self.model, read, past, lower, ids[:, -1:], self.option)
        return self.writer.log_probabilities(self.model, read, states, ids[:, -1]), SaidSoFar(owner, read, ids, past, kept)
