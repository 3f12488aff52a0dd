"""Greedy choice and nucleus sampling (arXiv 1904.09751) over a Speaker, a few texts at a time.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from m6rec.language_model.speaking import WriterSpeaker


def say(
    speaker: WriterSpeaker, rows: int, most: int, eos_id: int, *, nucleus: bool, top_p: float, temperature: float, seed: int, least: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """Token by token: int64 (B,) (the end where a row has ended) and their log p (B,), until all rows have ended or `most` tokens are said."""
    generator = torch.Generator().manual_seed(seed)
    logits, state = speaker.start(rows)
    ended = torch.zeros(rows, dtype=torch.bool)
    for number in range(most):
        said = torch.log_softmax(logits, dim=1)
        allowed = said.clone()
        allowed[:, : eos_id if number >= least else eos_id + 1] = float("-inf")
        allowed[:, eos_id + 1 : 16] = float("-inf")  # special ids
        if nucleus:
            weights = torch.softmax(allowed / max(temperature, 1e-3), dim=1)
            ordered, index = weights.sort(dim=1, descending=True)
            ordered = torch.where(ordered.cumsum(1) - ordered < top_p, ordered, 0.0)
            tokens = index.gather(1, torch.multinomial(ordered, 1, generator=generator))[:, 0]
        else:
            tokens = allowed.argmax(dim=1)
        tokens = torch.where(ended, eos_id, tokens)
        yield tokens, torch.where(ended, 0.0, said.gather(1, tokens[:, None])[:, 0])
        ended |= tokens == eos_id
        if bool(ended.all()):
            return
        logits, state = speaker.step(tokens, state)
