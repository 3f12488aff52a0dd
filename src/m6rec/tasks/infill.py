"""Pretraining on all text of the data: infilling, left to right, and telling segments apart.

The mathematics is in `language_model/infilling.py`; this is the task around it, so that the one training loop can run it.
Shapes: R rows, T tokens of a row, G segments, M targets, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from m6rec.base.contracts import Segment
from m6rec.language_model.config import InfillingConfig
from m6rec.language_model.infilling import IGNORED, corrupt, partial_view, view_agreement
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.segments import SegmentBatch, rows_by_length
from m6rec.language_model.softmax import linear_cross_entropy
from m6rec.tasks.task import Task

POOL_BATCHES = 16  # segments are sorted by length within this many batches' worth of random ones: little padding, random enough


@dataclass(frozen=True)
class InfillBatch:
    """Which segments, and the seed of everything random about them."""

    rows: np.ndarray
    seed: int


class Infill(Task):
    """Learns token states, summaries and writing from segments alone; has no parameters of its own."""

    answer: ClassVar[Literal["choose", "judge", "write"]] = "write"

    def __init__(self, config: InfillingConfig, segments: Sequence[Segment], *, batch_tokens: int, mask_id: int, bos_id: int) -> None:
        """segments: the texts, each of one token or more; batch_tokens: tokens of a step, with padding."""
        super().__init__()
        self.config, self.segments, self.batch_tokens = config, segments, batch_tokens
        self.mask_id, self.bos_id = mask_id, bos_id
        self.lengths = np.fromiter((len(s.ids) for s in segments), dtype=np.int64, count=len(segments))

    def batches(self, generator: np.random.Generator) -> Iterator[InfillBatch]:
        """Every segment once, segments of like length together, batches in random order."""
        order = generator.permutation(len(self.segments))
        pool_of = np.cumsum(self.lengths[order]) // (self.batch_tokens * POOL_BATCHES)
        runs = []
        for pool in np.split(order, np.flatnonzero(np.diff(pool_of)) + 1):
            runs += rows_by_length(self.lengths, pool[np.argsort(self.lengths[pool], kind="stable")], self.batch_tokens)
        for place in generator.permutation(len(runs)):
            yield InfillBatch(runs[place], int(generator.integers(2**62)))

    def targets(self, batch: InfillBatch) -> int:
        """Tokens of the batch's segments."""
        return int(self.lengths[batch.rows].sum())

    def loss(self, model: LanguageModel, batch: InfillBatch) -> dict[str, Tensor]:
        """{"infill", "left_to_right", "views"}: mean cross-entropies, each times its weight; a loss without targets is left out."""
        config, generator = self.config, np.random.default_rng(batch.seed)
        table = model.table
        segments = SegmentBatch.padded([self.segments[i] for i in batch.rows], model.shape.pad_id)  # on the CPU: masks are drawn there
        losses: dict[str, Tensor] = {}
        share = config.write_share if config.write_weight else 0.0
        if config.infill_weight or share:
            example = corrupt(
                segments,
                generator,
                mask_id=self.mask_id,
                bos_id=self.bos_id,
                rate=config.mask_rate,
                span=config.span,
                keep=config.show_rate,
                write_share=share,
            ).on(table.device)
            states = model.encode(example.batch)  # R T D
            masked, writing = example.infill != IGNORED, example.write != IGNORED
            if config.infill_weight and bool(masked.any()):
                losses["infill"] = config.infill_weight * linear_cross_entropy(model.reading(states)[masked], table, example.infill[masked])
            if bool(writing.any()):
                upper = model.write_states(example.batch, states, example.written)  # M D
                losses["left_to_right"] = config.write_weight * linear_cross_entropy(model.spoken(upper), table, example.write[writing])
        if config.view_weight and segments.count > 1:
            first, second = (partial_view(segments, generator, config.view_keep).on(table.device) for _ in range(2))
            losses["views"] = config.view_weight * view_agreement(model.summaries(first), model.summaries(second), config.view_temperature)
        return losses or {"infill": torch.zeros((), device=table.device, requires_grad=True)}
