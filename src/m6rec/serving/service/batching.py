"""Questions that come while another is at work are answered together: one pass over the index of a large catalogue serves them all.

Nobody waits for company: a question that finds the engine free is answered at once, alone. Those that come meanwhile form the next batch.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np

from m6rec.base.errors import M6RecError
from m6rec.serving.asked import Ask
from m6rec.serving.engine.candidates import Candidates
from m6rec.serving.engine.engine import Engine


@dataclass
class _Question:
    """One question and its answer. turn: it was answered, or it is its turn to answer the others."""

    ask: Ask
    allowed: np.ndarray | None
    count: int
    turn: threading.Event = field(default_factory=threading.Event)
    answer: Candidates | None = None
    error: M6RecError | None = None


class Batches:
    """The queue before one engine. most: questions of a batch; 1 answers each alone.

    sizes: how many batches there were of each size.
    """

    def __init__(self, engine: Engine, most: int) -> None:
        self.engine, self.most = engine, most
        self.sizes: dict[int, int] = {}
        self._lock = threading.Lock()
        self._waiting: list[_Question] = []
        self._busy = False

    def answer(self, ask: Ask, allowed: np.ndarray | None, count: int) -> Candidates:
        """What `Engine.answer` gives, and raises."""
        if self.most == 1 or not self.engine.retrieval.active:
            return self.engine.answer(ask, allowed=allowed, count=count)
        mine = _Question(ask, allowed, count)
        with self._lock:
            self._waiting.append(mine)
            leads, self._busy = not self._busy, True
        if not leads:
            mine.turn.wait()
        if mine.answer is None and mine.error is None:
            self._lead()
        if mine.error is not None:
            raise mine.error
        assert mine.answer is not None
        return mine.answer

    def _lead(self) -> None:
        """Answer whoever waits, the one who leads among them, then hand over."""
        with self._lock:
            batch, self._waiting = self._waiting[: self.most], self._waiting[self.most :]
            self.sizes[len(batch)] = self.sizes.get(len(batch), 0) + 1
        try:
            self._answer(batch)
        finally:
            with self._lock:
                following = self._waiting[0] if self._waiting else None
                self._busy = following is not None
            for question in batch:
                question.turn.set()
            if following is not None:
                following.turn.set()

    def _answer(self, batch: list[_Question]) -> None:
        if len(batch) > 1:
            try:
                asks, allowed, counts = zip(*((one.ask, one.allowed, one.count) for one in batch), strict=True)
                for question, answer in zip(batch, self.engine.answer_many(asks, allowed=allowed, counts=counts), strict=True):
                    question.answer = answer
                return
            except M6RecError:
                pass  # one of them can't be answered: each by itself then, so that the others are
        for question in batch:
            try:
                question.answer = self.engine.answer(question.ask, allowed=question.allowed, count=question.count)
            except M6RecError as error:
                question.error = error
