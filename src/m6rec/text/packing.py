"""Packing: many short segments into few rows of equal width, so that no work is done on padding.

Shape keys: R rows, T tokens of a row, S segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m6rec.base.contracts import Segment
from m6rec.base.errors import DataError


@dataclass(frozen=True)
class Packed:
    """Rows of segments side by side. Tokens attend within their own segment only.

    ids       int32 (R, T)  token ids, `pad_id` where nothing is
    segment   int32 (R, T)  position of the token's segment in the list packed, -1 where nothing is
    position  int32 (R, T)  position within the segment, from 0
    causal    bool  (R, T)  True for tokens of causal segments
    count     S, the number of segments packed
    """

    ids: np.ndarray
    segment: np.ndarray
    position: np.ndarray
    causal: np.ndarray
    count: int


def pack(segments: Sequence[Segment], row_tokens: int, *, pad_id: int = 0) -> Packed:
    """First-fit decreasing: longest segment first, each into the first row with room, whole; equal lengths in the order given.

    Needs at most 11/9 of the fewest rows possible, plus one (Johnson 1973).

    Raises:
        DataError: a segment is empty or longer than a row.
    """
    lengths = np.fromiter((len(segment.ids) for segment in segments), dtype=np.int64, count=len(segments))
    _check(lengths, row_tokens)
    rows, starts, used = _first_fit(lengths, row_tokens)
    shape = (used, row_tokens)
    packed = Packed(
        ids=np.full(shape, pad_id, dtype=np.int32),
        segment=np.full(shape, -1, dtype=np.int32),
        position=np.zeros(shape, dtype=np.int32),
        causal=np.zeros(shape, dtype=np.bool_),
        count=len(segments),
    )
    if segments:
        owner = np.repeat(np.arange(len(segments)), lengths)
        position = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        place = (rows * row_tokens + starts)[owner] + position
        packed.ids.reshape(-1)[place] = np.concatenate([segment.ids for segment in segments])
        packed.segment.reshape(-1)[place] = owner
        packed.position.reshape(-1)[place] = position
        packed.causal.reshape(-1)[place] = np.array([segment.causal for segment in segments], dtype=np.bool_)[owner]
    return packed


def _check(lengths: np.ndarray, row_tokens: int) -> None:
    if row_tokens < 1:
        raise DataError(f"a row holds {row_tokens} tokens; give row_tokens of 1 or more")
    if len(lengths) and lengths.min() < 1:
        raise DataError(f"segment {int(lengths.argmin())} is empty; a segment has at least one token")
    if len(lengths) and lengths.max() > row_tokens:
        longest = int(lengths.argmax())
        raise DataError(f"segment {longest} has {lengths[longest]} tokens, a row holds {row_tokens}; encode with limit={row_tokens}")


def _first_fit(lengths: np.ndarray, row_tokens: int) -> tuple[np.ndarray, np.ndarray, int]:
    """(row, first token) of each segment, int64 (S,), and R.

    Segments of one length are placed together: the rows with room, in order, take as many as they can hold, and new rows the rest;
    that is what placing them one by one gives, without a search for each.
    """
    if len(lengths) == 0:
        return lengths, lengths, 0
    rows = np.zeros(len(lengths), dtype=np.int64)
    starts = np.zeros(len(lengths), dtype=np.int64)
    free = np.zeros(0, dtype=np.int64)  # R, tokens left in each row
    order = np.argsort(-lengths, kind="stable")
    distinct, first = np.unique(-lengths[order], return_index=True)
    for length, begin, end in zip(-distinct, first, np.append(first[1:], len(order)), strict=True):
        members = order[begin:end]
        room = int((free // length).sum())
        fresh = -(-max(len(members) - room, 0) // (row_tokens // length))
        free = np.concatenate([free, np.full(fresh, row_tokens, dtype=np.int64)])
        holds = free // length
        chosen = np.repeat(np.arange(len(free)), holds)[: len(members)]
        nth = (np.arange(holds.sum()) - np.repeat(np.cumsum(holds) - holds, holds))[: len(members)]
        rows[members] = chosen
        starts[members] = row_tokens - free[chosen] + nth * length
        free = free - np.bincount(chosen, minlength=len(free)) * length
    return rows, starts, len(free)
