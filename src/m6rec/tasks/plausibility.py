"""Plausibility: how well words fit what stands before them, by what the language model learned of the language alone.

    plausibility(target | context) = mean over target tokens of log p(token | context, rest of the target) - log p(token | rest of the target)

the pointwise mutual information of target and context, a token: words that are rare everywhere are no less plausible for it. Tokens are masked,
every third at a time (about the share that pretraining masks), and predicted where they stood (pseudo-log-likelihood, Salazar et al., arXiv
1910.14659), because the layers that infill are those that stay as they were pretrained while tasks are fitted. A checkpoint that reads from left to
right predicts each token from those before it.

Shapes: R rows, T tokens of a row, M tokens asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from m6rec.base.contracts import Segment
from m6rec.language_model.segments import SegmentBatch, batches_by_length
from m6rec.tasks.text_reader import TextReader

LONGEST = 96  # tokens of context and target together
LONGEST_TARGET = 48
APART = 3  # every so many tokens of a target are masked together
TOKENS_TOGETHER = 16_384


@dataclass(frozen=True)
class _Asked:
    """A segment, and which of its tokens are asked for: places int64, and the ids that belong there."""

    segment: Segment
    places: np.ndarray
    wanted: np.ndarray


def plausibility(reader: TextReader, contexts: Sequence[str], targets: Sequence[str], bare: Sequence[str] | None = None) -> np.ndarray:
    """float32 (R,): nats a token; above 0 where the context makes the target more likely; NaN for an empty target.

    Args:
        contexts: what stands before; of one that is too long the newest words are read, of a target the first.
        bare: the wording of each context that says nothing of its case; None: no words. Where both are the same, the mean log probability.
    """
    told, without = [text.strip() for text in contexts], [text.strip() for text in bare or [""] * len(contexts)]
    found = log_likelihoods(reader, told, targets)
    some = [row for row, (context, plain) in enumerate(zip(told, without, strict=True)) if context != plain]
    if some:
        found[some] -= log_likelihoods(reader, [without[row] for row in some], [targets[row] for row in some])
    return found


def log_likelihoods(reader: TextReader, contexts: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """float32 (R,): mean log probability of the target's tokens behind the context; NaN for an empty target."""
    tokenizer = reader.tokenizer
    before = tokenizer.encode_batch([text[-8 * LONGEST :] for text in contexts])
    after = tokenizer.encode_batch(
        [(" " if context and target.strip() else "") + " ".join(target.split()) for context, target in zip(contexts, targets, strict=True)]
    )
    shape = reader.model.shape
    forward = shape.backbone is not None and shape.backbone.causal
    asked: list[_Asked] = []
    owner: list[int] = []
    for row, (context, whole) in enumerate(zip(before, after, strict=True)):
        target = whole[:LONGEST_TARGET]
        ids = np.concatenate([context[-(LONGEST - len(target)) :], target]).astype(np.int32)
        places = np.arange(len(ids) - len(target), len(ids))
        pieces = [_left_to_right(ids, places, tokenizer.bos_id)] if forward else _masked(ids, places, tokenizer.mask_id)
        if len(target):
            asked += pieces
            owner += [row] * len(pieces)
    found, counts = np.zeros(len(targets)), np.zeros(len(targets))
    for index, values in _read(reader, asked, forward):
        found[owner[index]] += values.sum()
        counts[owner[index]] += len(values)
    return np.divide(found, counts, out=np.full(len(targets), np.nan), where=counts > 0).astype(np.float32)


def _masked(ids: np.ndarray, places: np.ndarray, mask: int) -> list[_Asked]:
    """Rows in which every third of the tokens asked for is masked, so that each is in one of them."""
    rows = []
    for first in range(min(APART, len(places))):
        shown, some = ids.copy(), places[first::APART]
        shown[some] = mask
        rows.append(_Asked(Segment(shown), some, ids[some]))
    return rows


def _left_to_right(ids: np.ndarray, places: np.ndarray, begin: int) -> _Asked:
    """One row: each token is said from those before it."""
    return _Asked(Segment(np.concatenate([[begin], ids[:-1]]).astype(np.int32), causal=True), places, ids[places])


@torch.no_grad()
def _read(reader: TextReader, asked: Sequence[_Asked], forward: bool) -> list[tuple[int, np.ndarray]]:
    """(which of `asked`, float64 log probabilities of its tokens), in no order."""
    model = reader.model
    found: list[tuple[int, np.ndarray]] = []
    training = model.training
    model.eval()
    for rows, batch in batches_by_length([one.segment for one in asked], TOKENS_TOGETHER, reader.tokenizer.pad_id):
        states = _written(reader, batch) if forward else model.encode(batch)
        some = [asked[row] for row in rows.tolist()]
        counts = [len(one.places) for one in some]
        line = torch.from_numpy(np.repeat(np.arange(len(some)), counts))
        states = states[line, torch.from_numpy(np.concatenate([one.places for one in some]))]  # M D or M W
        logits = (model.spoken(states) if forward else states) @ model.table.T
        wanted = torch.from_numpy(np.concatenate([one.wanted for one in some]).astype(np.int64))
        chosen = torch.log_softmax(logits.float(), dim=1).gather(1, wanted[:, None])[:, 0].double().numpy()
        found += zip(rows.tolist(), np.split(chosen, np.cumsum(counts)[:-1]), strict=True)
    model.train(training)
    return found


def _written(reader: TextReader, batch: SegmentBatch) -> torch.Tensor:
    """States from which tokens are said, a row a segment: R T W."""
    model = reader.model
    states = model.write_states(batch, model.encode(batch), torch.ones(batch.count, dtype=torch.bool))
    rows = states.new_zeros(*batch.ids.shape, states.shape[-1])
    rows[batch.real] = states
    return rows
