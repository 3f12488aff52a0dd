"""Questions that come while another is at work are answered together, each as it would be alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from m6rec.base.errors import UnknownUserError, UsageError
from m6rec.serving.asked import Ask
from m6rec.serving.engine.candidates import Candidates
from m6rec.serving.service.batching import Batches


class SlowEngine:
    """Answers a question with its own k; a batch takes as long as one. "nobody" is not known."""

    def __init__(self, large: bool = True) -> None:
        self.retrieval = SimpleNamespace(active=large)
        self.calls: list[int] = []

    def answer(self, ask: Ask, *, allowed: Any = None, count: int | None = None) -> Candidates:
        return self.answer_many([ask], allowed=[allowed], counts=[count])[0]

    def answer_many(self, asks: Sequence[Ask], *, allowed: Any = None, counts: Any = None) -> list[Candidates]:
        time.sleep(0.02)
        if any(ask.user == "nobody" for ask in asks):
            raise UnknownUserError("user 'nobody' is not known")
        self.calls.append(len(asks))
        return [Candidates(np.array([ask.k]), np.array([float(count)])) for ask, count in zip(asks, counts, strict=True)]


def asked(batches: Batches, users: Sequence[str]) -> list[Any]:
    """What each of many threads got: the item and the count, or the error."""
    got: list[Any] = [None] * len(users)
    together = threading.Barrier(len(users))

    def one(place: int) -> None:
        together.wait()
        try:
            found = batches.answer(Ask(user=users[place], k=place + 1), None, 10 * place)
            got[place] = (int(found.items[0]), float(found.scores[0]))
        except UsageError as error:
            got[place] = error
        except UnknownUserError as error:
            got[place] = error

    threads = [threading.Thread(target=one, args=(place,)) for place in range(len(users))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    return got


@pytest.mark.parametrize("most", [3, 16])
def test_everybody_gets_their_own_answer_in_few_calls(most: int) -> None:
    engine = SlowEngine()
    got = asked(Batches(engine, most), [f"u{number}" for number in range(12)])  # type: ignore[arg-type]
    assert got == [(place + 1, 10.0 * place) for place in range(12)]
    assert max(engine.calls) <= most
    assert sum(engine.calls) == 12
    assert len(engine.calls) < 12


def test_one_that_cannot_be_answered_spoils_nobody_elses_answer() -> None:
    engine = SlowEngine()
    users = ["u0", "nobody", "u2", "u3", "nobody", "u5"]
    got = asked(Batches(engine, 16), users)  # type: ignore[arg-type]
    for place, user in enumerate(users):
        assert isinstance(got[place], UnknownUserError) if user == "nobody" else got[place] == (place + 1, 10.0 * place)


def test_a_small_catalogue_and_a_batch_of_one_are_asked_directly() -> None:
    for batches in (Batches(SlowEngine(large=False), 16), Batches(SlowEngine(), 1)):  # type: ignore[arg-type]
        assert asked(batches, ["u0", "u1"]) == [(1, 0.0), (2, 10.0)]
        assert batches.sizes == {}
