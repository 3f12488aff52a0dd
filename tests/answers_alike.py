"""Two lists of answers that differ by rounding alone: a history that was read on by an event, and the same one read anew."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from m6rec.base.contracts import Scored


def assert_alike(first: Sequence[Scored], second: Sequence[Scored], most: float = 1e-5) -> None:
    """The same items in the same order; scores and parts equal but for `most`."""
    assert [(one.item_id, one.title, one.labels) for one in first] == [(one.item_id, one.title, one.labels) for one in second]
    for here, there in zip(first, second, strict=True):
        assert here.score == pytest.approx(there.score, abs=most)
        assert here.parts == pytest.approx(there.parts, abs=most)
