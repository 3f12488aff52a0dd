"""Upper layers: one causal pass over the slots of a history, whose keys and values every question then shares.

Positions are relative only, so a cached history grows by one event without touching what is there. Where times are known
a bias on the time between two slots joins the bias on their distance (after HSTU, arXiv 2402.17152; buckets after T5).

Dimension keys: B histories, S slots of this call, P slots in the cache, T = P + S keys, H heads, W width, D = W / H.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m6rec.language_model.layers import Block, KeysValues, RMSNorm, Rotation, append_past

EXACT_DISTANCES = 32  # distances below this have a bucket of their own; larger ones share logarithmic buckets
DISTANCE_BUCKETS = 48
LONGEST_DISTANCE = 1024
TIME_BUCKETS = 40  # floor(2 * log2(1 + minutes)): up to about 2 years


@dataclass
class SlotCache:
    """Keys and values of slots already read: per layer two (B, H, P, D); `positions` int64 (B, P), -1 for padding; `times` (B, P) or None."""

    layers: list[KeysValues]
    positions: Tensor
    times: Tensor | None

    def next_positions(self) -> Tensor:
        """int64 (B, 1): the position the next slot of each row takes."""
        return self.positions.amax(dim=1, keepdim=True) + 1


def distance_bucket(distance: Tensor) -> Tensor:
    """Bucket of a distance >= 0 in slots: exact below EXACT_DISTANCES, then logarithmic up to LONGEST_DISTANCE."""
    scale = (DISTANCE_BUCKETS - EXACT_DISTANCES) / math.log(LONGEST_DISTANCE / EXACT_DISTANCES)
    far = EXACT_DISTANCES + (torch.log(distance.clamp(min=EXACT_DISTANCES) / EXACT_DISTANCES) * scale).long()
    return torch.where(distance < EXACT_DISTANCES, distance, far.clamp(max=DISTANCE_BUCKETS - 1))


def time_bucket(seconds: Tensor) -> Tensor:
    """Bucket of a time gap in seconds: 0 for an unknown gap (NaN), else 1 + floor(2 log2(1 + minutes)), capped."""
    minutes = torch.nan_to_num(seconds, nan=0.0).clamp(min=0) / 60
    bucket = 1 + (2 * torch.log2(1 + minutes)).long().clamp(max=TIME_BUCKETS - 2)
    return torch.where(seconds.isnan(), torch.zeros_like(bucket), bucket)


class SlotBias(nn.Module):
    """Additive attention bias per head from the distance in slots and, where known, the distance in time."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.distance = nn.Parameter(torch.zeros(DISTANCE_BUCKETS, heads))
        self.time = nn.Parameter(torch.zeros(TIME_BUCKETS, heads))

    def forward(self, distance: Tensor, gap: Tensor | None) -> Tensor:
        """Buckets of distance and time gap, int64 (B or 1, S, T) each, gap None where no times are known -> (B or 1, H, S, T)."""
        # F.embedding and not indexing: its backward adds up a table of a few rows in one pass instead of sorting all the indices.
        bias = F.embedding(distance, self.distance)  # 1 S T H
        if gap is not None:
            bias = bias + F.embedding(gap, self.time, padding_idx=0)  # an unknown gap adds nothing: its row stays zero
        return bias.movedim(-1, -3)

    def causal(self, falling: Tensor, gap: Tensor | None) -> Tensor:
        """The same for S slots in a row that see themselves and what is before them: -inf at what is after (B or 1, H, S, S).

        A bias of distances alone is equal along its diagonals: one vector a head, read from S places.
        falling: int64 (S,), buckets of the distances S - 1 down to 0.
        """
        length = len(falling)
        known = F.embedding(falling, self.distance).T  # H S
        lines = F.pad(known, (0, length - 1), value=float("-inf"))  # H 2S-1: at S - 1 + j - i stands what slot i adds for slot j
        bias = lines.unfold(1, length, 1).flip(1)[None]  # 1 H S S
        return bias if gap is None else bias + F.embedding(gap, self.time, padding_idx=0).movedim(-1, -3)


class UpperLayers(nn.Module):
    """The layers above the split: slots in, one state per slot out.

    Rows are padded on the right. A slot sees only slots at or before it, so padding after the end of a row changes nothing.
    """

    plain = True  # layers of the compact model: their weights may be read as plain arrays

    def __init__(
        self, width: int, heads: int, layers: int, dropout: float = 0.0, *, blocks: Sequence[nn.Module] = (), norm: nn.Module | None = None
    ) -> None:
        """blocks, norm: layers with the steps of a `Block` and a last norm to take instead of fresh ones."""
        super().__init__()
        self.layers = nn.ModuleList(blocks or (Block(width, heads, dropout) for _ in range(layers)))
        self.biases = nn.ModuleList(SlotBias(heads) for _ in self.layers)
        self.norm = RMSNorm(width) if norm is None else cast(RMSNorm, norm)  # where layers are plain it is one

    def rotation(self, positions: Tensor) -> Rotation | None:
        """What positions (B, S) do to queries and keys besides the bias: nothing here."""
        return None

    def trained(self, wanted: bool = True) -> None:
        """Let these layers train, or not."""
        self.requires_grad_(wanted)

    def forward(self, slots: Tensor, times: Tensor | None = None) -> Tensor:
        """States of whole histories, nothing kept: slots (B, S, W), times (B, S) in seconds (NaN unknown) or None -> (B, S, W)."""
        return self._whole(slots, times, None)

    def last(self, slots: Tensor, times: Tensor | None, place: Tensor) -> Tensor:
        """As `forward`, the state at one slot of each row only: place int64 (B,) -> (B, W). The last layer is spared everything else."""
        return self._whole(slots, times, place)[:, 0]

    def _whole(self, slots: Tensor, times: Tensor | None, place: Tensor | None) -> Tensor:
        batch, length, _ = slots.shape
        if times is not None and bool(times.isnan().all()):
            times = None  # no gap is known, and an unknown gap adds nothing (a slot with a time has a gap of 0 to itself)
        gap = None if times is None else time_bucket((times[:, :, None] - times[:, None]).float())  # B S S
        every = torch.arange(batch, device=slots.device)
        falling = distance_bucket(torch.arange(length - 1, -1, -1, device=slots.device))  # S
        rotation = self.rotation(torch.arange(length, device=slots.device)[None])
        for index, slot_bias in enumerate(self.biases):
            block = cast(Block, self.layers[index])
            bias = cast(SlotBias, slot_bias).causal(falling, gap)  # B H S S
            normed = block.attention_norm(slots)
            keys_values = block.attention.keys_values(normed, rotation)
            if place is not None and index == len(self.biases) - 1:
                slots, normed = slots[every, place][:, None], normed[every, place][:, None]  # B 1 W
                bias = bias.expand(batch, -1, -1, -1)[every, :, place][:, :, None]  # B H 1 S
                rotation = self.rotation(place[:, None])
            slots = block.joined(slots, block.attention.attend(block.attention.queries(normed, rotation), keys_values, bias))
            slots = block.feed_forward(slots)
        if place is not None and not len(self.biases):
            slots = slots[every, place][:, None]
        return cast(Tensor, self.norm(slots))

    def extend(
        self, slots: Tensor, times: Tensor | None = None, cache: SlotCache | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, SlotCache]:
        """Read S more slots after those in `cache`; returns their states (B, S, W) and the longer cache.

        lengths int64 (B,): how many of the S slots are real in each row, the others being padding; None: all.
        """
        batch, length, _ = slots.shape
        step = torch.arange(length, device=slots.device).expand(batch, -1)  # B S
        positions = step if cache is None else cache.next_positions() + step
        if lengths is not None:
            positions = torch.where(step < lengths[:, None], positions, -1)
        keys = positions if cache is None else torch.cat([cache.positions, positions], dim=1)  # B T
        visible = (keys >= 0)[:, None] & (keys[:, None] <= positions[:, :, None])  # B S T
        visible |= (positions < 0)[:, :, None]  # padding looks anywhere, so that its softmax is finite; nobody looks at it
        states, layers, key_times = self._run(slots, times, positions, cache, visible)
        return states, SlotCache(layers, keys, key_times)

    def question(self, slots: Tensor, cache: SlotCache, times: Tensor | None = None) -> Tensor:
        """States of question slots (B, S, W): each sees the cached history and itself, never another question; the cache stays as it is."""
        batch, length, _ = slots.shape
        positions = cache.next_positions().expand(batch, length)
        itself = torch.eye(length, dtype=torch.bool, device=slots.device).expand(batch, -1, -1)
        visible = torch.cat([(cache.positions >= 0)[:, None].expand(-1, length, -1), itself], dim=2)  # B S T
        return self._run(slots, times, positions, cache, visible)[0]

    def read(self, slots: Tensor, times: Tensor | None, lengths: Tensor, layers: int | None = None) -> tuple[Tensor, SlotCache]:
        """What candidates need of whole histories: keys and values of the last `layers` layers (None: all), nothing more; no dropout.

        slots (B, S, W), right-padded; lengths int64 (B,). Returns the slots as they enter the first of those layers (B, S, W), after all
        layers where `layers` is 0, and the cache, which candidates can ask and no further slot can follow.
        """
        length = slots.shape[1]
        first = 0 if layers is None else max(len(self.layers) - layers, 0)
        step = torch.arange(length, device=slots.device)
        positions = torch.where(step < lengths[:, None], step, -1)
        known = times if times is not None and not bool(times.isnan().all()) else None
        gap = None if known is None else time_bucket((known[:, :, None] - known[:, None]).float())
        falling = distance_bucket(torch.arange(length - 1, -1, -1, device=slots.device))
        rotation = self.rotation(step[None])
        entered, kept = slots, []
        for index, (layer, slot_bias) in enumerate(zip(self.layers, self.biases, strict=True)):
            block = cast(Block, layer)
            entered = slots if index == first else entered
            normed = block.attention_norm(slots)
            keys_values = block.attention.keys_values(normed, rotation)
            if index >= first:
                kept.append(keys_values)
            if index + 1 == len(self.layers) and kept:
                break  # nobody reads the states after the last layer
            bias = cast(SlotBias, slot_bias).causal(falling, gap)
            told = block.attention.attend(block.attention.queries(normed, rotation), keys_values, bias)
            slots = block.feed_forward(block.joined(slots, told, dropped=False), dropped=False)
        return entered if kept else slots, SlotCache(kept, positions, times)

    def candidates(
        self,
        slots: Tensor,
        cache: SlotCache,
        seen: Tensor,
        times: Tensor | None = None,
        *,
        layers: int | None = None,
        window: int | None = None,
    ) -> Tensor:
        """Candidate slots (B, S, W) through the last `layers` layers (None: all), each over the part of the history before it, and itself.

        What `question` gives, but that every candidate has a history of its own length: one pass over a history serves what was
        shown to a person at any time. Rows without the final norm, so that whoever asks may have one of their own.

        seen: int64 (B, S), how many of the cached positions a candidate sees, from the first one; 0 for padding.
        times: (B, S) seconds, NaN unknown.
        window: of the positions after the first (the start slot) only the newest so many before the candidate are seen.
        """
        layers = len(self.layers) if layers is None else min(layers, len(self.layers))
        first = len(self.layers) - layers
        if not layers:
            return slots
        keys = cache.positions[:, None]  # B 1 T
        place = seen[:, :, None]  # B S 1: also the position that the candidate takes
        hidden = (keys < 0) | (keys >= place)  # B S T
        if window is not None:
            hidden |= (keys > 0) & (keys < place - window)
        blocked = torch.zeros(hidden.shape, dtype=slots.dtype, device=slots.device).masked_fill_(hidden, float("-inf"))[:, None]  # B 1 S T
        distance = distance_bucket((place - keys).clamp(min=0))
        gap, rotation = None, self.rotation(seen)
        if times is not None and cache.times is not None:
            gap = time_bucket((times[:, :, None] - cache.times[:, None]).float())
        for index in range(first, len(self.layers)):
            block, slot_bias = cast(Block, self.layers[index]), cast(SlotBias, self.biases[index])
            attention, normed = block.attention, block.attention_norm(slots)
            queries, (own_keys, own_values) = attention.queries(normed, rotation), attention.keys_values(normed, rotation)  # B H S D
            past_keys, past_values = cache.layers[index - len(self.layers)]  # a cache may hold the last layers only
            past_keys, past_values, bias = attention.behind_prefix(past_keys, past_values, slot_bias(distance, gap) + blocked)
            queries = queries * queries.shape[-1] ** -0.5
            itself = (queries * own_keys).sum(-1, keepdim=True) + slot_bias.distance[0][:, None, None]  # B H S 1
            if gap is not None:
                known = (~times.isnan()).to(slots.dtype)[:, None, :, None]  # type: ignore[union-attr]
                itself = itself + slot_bias.time[1][:, None, None] * known  # a gap of 0 to itself
            scores = queries @ past_keys.transpose(-2, -1) + bias  # B H S T
            weights = torch.softmax(torch.cat([scores, itself], dim=-1), dim=-1)
            read = weights[..., :-1] @ past_values + weights[..., -1:] * own_values
            slots = block.joined(slots, attention.out(read.transpose(1, 2).flatten(2)))
            slots = block.feed_forward(slots)
        return slots

    @torch.no_grad()
    def candidates_of_one(self, slots: Tensor, cache: SlotCache, time: float | None = None) -> Tensor:
        """`candidates` of one request: all S of them (S, W) see the whole cache (B = 1) from one moment, and so share one bias.

        They pass as many of the last layers as the cache holds. time: seconds, NaN unknown; None: times are not read.
        """
        count, length = len(slots), cache.positions.shape[1]
        if not self.plain:
            asked = None if time is None else torch.full((1, count), time, dtype=torch.float64)
            seen = torch.full((1, count), length)
            return self.candidates(slots[None], cache, seen, asked, layers=len(cache.layers))[0]
        distance = distance_bucket(length - cache.positions[0])  # T
        gap, own = None, 0.0
        if time is not None and cache.times is not None:
            gap = time_bucket((time - cache.times[0]).float())
            own = float(not math.isnan(time))
        for index in range(len(self.layers) - len(cache.layers), len(self.layers)):
            block, slot_bias = cast(Block, self.layers[index]), cast(SlotBias, self.biases[index])
            attention, (past_keys, past_values) = block.attention, cache.layers[index - len(self.layers)]
            bias, heads = slot_bias.distance[distance], attention.heads  # T H
            if gap is not None:
                bias = bias + slot_bias.time[gap]
            itself = slot_bias.distance[0] + own * slot_bias.time[1]  # H: a gap of 0 to itself
            read = block.attention_norm(slots) @ torch.cat([attention.q.weight, attention.kv.weight]).T  # S 3W
            queries, keys, values = read.view(count, 3, heads, -1).unbind(1)  # S H D
            queries = queries * queries.shape[-1] ** -0.5
            scores = torch.empty(heads, count, length + 1)
            torch.baddbmm(bias.T[:, None], queries.transpose(0, 1), past_keys[0].transpose(1, 2), out=scores[:, :, :length])
            torch.add((queries * keys).sum(-1), itself, out=scores[:, :, length].T)
            weights = torch.softmax(scores, dim=2)
            told = torch.baddbmm(weights[:, :, length:] * values.transpose(0, 1), weights[:, :, :length], past_values[0])  # H S D
            slots = slots + attention.out(told.transpose(0, 1).flatten(1))
            slots = block.feed_forward(slots)
        return slots

    def _run(
        self, slots: Tensor, times: Tensor | None, positions: Tensor, cache: SlotCache | None, visible: Tensor
    ) -> tuple[Tensor, list[KeysValues], Tensor | None]:
        key_positions, key_times = positions, times
        if cache is not None:
            key_positions = torch.cat([cache.positions, positions], dim=1)  # B T
            key_times = None if times is None or cache.times is None else torch.cat([cache.times, times], dim=1)
        distance = positions[:, :, None] - key_positions[:, None]  # B S T
        distance = distance_bucket(distance.clamp(min=0))
        gap = None if times is None or key_times is None else time_bucket((times[:, :, None] - key_times[:, None]).float())  # B S T
        hidden = torch.zeros(visible.shape, dtype=slots.dtype, device=slots.device).masked_fill_(~visible, float("-inf"))
        layers: list[KeysValues] = []
        rotation = self.rotation(positions)
        for index, slot_bias in enumerate(self.biases):
            block = cast(Block, self.layers[index])
            normed = block.attention_norm(slots)
            keys_values = block.attention.keys_values(normed, rotation)
            if cache is not None:
                keys_values = append_past(cache.layers[index], keys_values)
            layers.append(keys_values)
            bias = slot_bias(distance, gap) + hidden[:, None]  # B H S T
            slots = block.joined(slots, block.attention.attend(block.attention.queries(normed, rotation), keys_values, bias))
            slots = block.feed_forward(slots)
        return self.norm(slots), layers, key_times
