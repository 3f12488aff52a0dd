"""What `UpperArrays` answers, of layers whose weights are not laid out as plain arrays: those of a pretrained checkpoint.

Shapes: T slots of a history, X candidates, W width, H heads, C width of a head, L layers.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from m6rec.language_model.layers import Block, KeysValues, append_past
from m6rec.language_model.upper import SlotBias, SlotCache, UpperLayers, distance_bucket, time_bucket
from m6rec.language_model.upper_arrays import ReadSlots, UpperArrays


def laid_out(upper: UpperLayers) -> UpperArrays | UpperTensors:
    """The quicker of the two that these layers allow."""
    return UpperArrays(upper) if upper.plain else UpperTensors(upper)


class UpperTensors:
    """The layers of `upper` for one person at a time, in tensors; arrays go in and come out."""

    def __init__(self, upper: UpperLayers) -> None:
        self.upper = upper

    @torch.inference_mode()
    def read(self, slots: np.ndarray, times: np.ndarray | None, depth: int | None = None) -> ReadSlots:
        """As `UpperArrays.read`."""
        length = len(slots)
        places = torch.arange(length)
        distance = distance_bucket((places[:, None] - places).clamp(min=0))[None]  # 1 T T
        hidden = torch.zeros(length, length).masked_fill_(places[:, None] < places, float("-inf"))
        return self._pass(_tensor(slots), times, _gaps(times, times), distance, hidden, places[None], None, depth)

    @torch.inference_mode()
    def extend(self, read: ReadSlots, slot: np.ndarray, time: float) -> ReadSlots:
        """As `UpperArrays.extend`."""
        length = read.length + 1
        times = None if read.times is None else np.append(read.times, time)
        distance = distance_bucket(torch.arange(length - 1, -1, -1))[None, None]  # 1 1 T
        gaps = None if times is None else _gaps(times[-1:], times)
        return self._pass(_tensor(slot[None]), times, gaps, distance, torch.zeros(1, length), torch.tensor([[length - 1]]), read, None)

    @torch.inference_mode()
    def candidates(self, slots: np.ndarray, read: ReadSlots, time: float | None, layers: int | None = None) -> np.ndarray:
        """As `UpperArrays.candidates`."""
        first = len(self.upper.layers) - (len(self.upper.layers) if layers is None else layers)
        times = None if read.times is None else torch.from_numpy(read.times)[None]
        kept = [_keys_values(read, number) for number in range(first, len(self.upper.layers))]
        cache = SlotCache(kept, torch.arange(read.length)[None], times)
        return self.upper.candidates_of_one(_tensor(slots)[0], cache, time).numpy()

    def _pass(
        self,
        x: Tensor,
        times: np.ndarray | None,
        gaps: Tensor | None,
        distance: Tensor,
        hidden: Tensor,
        places: Tensor,
        before: ReadSlots | None,
        depth: int | None,
    ) -> ReadSlots:
        """x (1, S, W), the newest slots, after those of `before`; gaps and distance (1, S, T), hidden (S, T), places (1, S)."""
        rotation = self.upper.rotation(places)
        keys, values, entered = [], [], []
        for number, layer in enumerate(list(self.upper.layers)[:depth]):
            block, slot_bias = cast(Block, layer), cast(SlotBias, self.upper.biases[number])
            entered.append(x[0, -1].numpy())
            normed = block.attention_norm(x)
            mine = block.attention.keys_values(normed, rotation)
            mine = mine if before is None else append_past(_keys_values(before, number), mine)
            keys.append(mine[0][0].transpose(1, 2).contiguous().numpy())
            values.append(mine[1][0].contiguous().numpy())
            told = block.attention.attend(block.attention.queries(normed, rotation), mine, slot_bias(distance, gaps) + hidden)
            x = block.feed_forward(block.joined(x, told, dropped=False), dropped=False)
        entered += [x[0, -1].numpy()] * (len(self.upper.layers) + 1 - len(entered))
        return ReadSlots(keys, values, times, np.stack(entered), self.upper.norm(x[0, -1:])[0].numpy())


def _tensor(slots: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(slots, dtype=np.float32))[None]


def _gaps(later: np.ndarray | None, earlier: np.ndarray | None) -> Tensor | None:
    """int64 (1, S, T): buckets of time; None where none is known."""
    if later is None or earlier is None or np.isnan(earlier).all():
        return None
    return time_bucket(torch.from_numpy((later[:, None] - earlier[None]).astype(np.float32)))[None]


def _keys_values(read: ReadSlots, number: int) -> KeysValues:
    """(1, H, T, C) each."""
    return torch.from_numpy(read.keys[number]).transpose(1, 2)[None], torch.from_numpy(read.values[number])[None]
