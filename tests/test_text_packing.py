"""Packing: every segment once, whole, in one row; the rows of first-fit decreasing, and no other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.contracts import Segment
from m6rec.base.errors import DataError
from m6rec.text.packing import pack

ROW = 12
lengths_lists = st.lists(st.integers(1, ROW), max_size=60)


def segments_of(lengths: list[int]) -> list[Segment]:
    """Segment s holds the ids 1000 s + 1, 1000 s + 2, ...; every third is causal."""
    return [Segment(np.arange(1, n + 1, dtype=np.int32) + 1000 * s, causal=s % 3 == 0) for s, n in enumerate(lengths)]


@given(lengths_lists)
@settings(deadline=None)
def test_every_segment_is_in_one_row_and_whole(lengths: list[int]) -> None:
    segments = segments_of(lengths)
    packed = pack(segments, ROW, pad_id=7)
    assert packed.count == len(segments)
    assert packed.ids.shape == packed.segment.shape == packed.position.shape == packed.causal.shape
    assert packed.ids.dtype == packed.segment.dtype == packed.position.dtype == np.int32
    for index, segment in enumerate(segments):
        row, column = np.nonzero(packed.segment == index)
        assert len(set(row)) == 1
        assert (np.diff(column) == 1).all()
        np.testing.assert_array_equal(packed.ids[row, column], segment.ids)
        np.testing.assert_array_equal(packed.position[row, column], np.arange(len(segment.ids)))
        assert (packed.causal[row, column] == segment.causal).all()
    empty = packed.segment == -1
    assert (~empty).sum() == sum(lengths)
    assert (packed.ids[empty] == 7).all()
    assert not packed.position[empty].any()
    assert not packed.causal[empty].any()
    assert (packed.segment >= 0).any(axis=1).all()


@given(lengths_lists)
@settings(deadline=None)
def test_rows_are_those_of_first_fit_decreasing_one_by_one(lengths: list[int]) -> None:
    rows: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fitting = (row for row in rows if sum(lengths[i] for i in row) + lengths[index] <= ROW)
        row = next(fitting, None)
        if row is None:
            rows.append([index])
        else:
            row.append(index)
    packed = pack(segments_of(lengths), ROW)
    found = [list(dict.fromkeys(row[row >= 0].tolist())) for row in packed.segment]
    assert found == rows


def test_by_hand() -> None:
    packed = pack(segments_of([3, 5, 2]), 5)
    assert packed.ids.tolist() == [[1001, 1002, 1003, 1004, 1005], [1, 2, 3, 2001, 2002]]
    assert packed.segment.tolist() == [[1] * 5, [0, 0, 0, 2, 2]]
    assert packed.position.tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 0, 1]]
    assert packed.causal.tolist() == [[False] * 5, [True, True, True, False, False]]


def test_nothing_to_pack() -> None:
    packed = pack([], 8)
    assert packed.ids.shape == (0, 8)
    assert packed.count == 0


def test_many_short_segments_leave_little_empty() -> None:
    lengths = np.random.default_rng(0).integers(2, 40, 20_000).tolist()
    packed = pack(segments_of(lengths), 256)
    assert (packed.segment == -1).mean() < 0.01


@pytest.mark.parametrize(
    ("lengths", "row", "message"),
    [([2, 9], 8, "segment 1 has 9 tokens, a row holds 8"), ([2, 0], 8, "segment 1 is empty"), ([1], 0, "a row holds 0")],
)
def test_what_cannot_be_packed(lengths: list[int], row: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pack(segments_of(lengths), row)
