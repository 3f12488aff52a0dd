"""A speaker whose logits are random, and small vocabularies for it: what tests of decoding write with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from m6rec.language_model.spelling import Spelling

END, OPENS, CLOSES = 0, 1, 2
LETTERS = Spelling([b"", b"", b"", *(bytes([letter]) for letter in b"abcdefgh .")], END, OPENS, CLOSES)
WORDS = Spelling(
    [b"", b"", b"", *(f" {word}".encode() for word in ("warm", "boots", "for", "long", "walks")), b"s", b"ing", b".", b"!", b" 3", b".5"],
    END,
    OPENS,
    CLOSES,
)
BYTES = Spelling([b"", b"", b"", *(bytes([byte]) for byte in range(256)), "é".encode(), "鞋子".encode(), "鞋".encode()[:2]], END)


class Babbler:
    """A speaker whose logits are random, but the same after the same tokens of the same row."""

    def __init__(self, size: int, seed: int = 0, spread: float = 2.0, change: Callable[[np.ndarray], None] | None = None) -> None:
        self.said = np.random.default_rng(seed).normal(0, spread, (997, size)).astype(np.float32)
        for logits in self.said if change is not None else ():
            change(logits)

    def after(self, tokens: Iterable[int]) -> Tensor:
        """The logits (V,) after a row number and tokens."""
        place = 0
        for token in tokens:
            place = (place * 31 + token + 1) % len(self.said)
        return torch.from_numpy(self.said[place])

    def start(self, rows: int) -> tuple[Tensor, Any]:
        state = (np.arange(rows) + 1) % len(self.said)
        return torch.from_numpy(self.said[state]), state

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        state = (state * 31 + tokens.numpy() + 1) % len(self.said)
        return torch.from_numpy(self.said[state]), state

    def pick(self, state: Any, rows: Tensor) -> Any:
        return state[rows.numpy()]
