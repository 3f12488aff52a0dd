"""The same answer for everyone: what is had most."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from m6rec.base.configuration import Config
from m6rec.base.contracts import Histories, Requests
from m6rec.data.dataset import Table
from m6rec.fusion.member import MEMBERS, Matrix, Member, State, dense_state

DAY = 86_400.0  # seconds


@MEMBERS.register("popularity")
class Popularity(Member):
    """score = weighted events of the item / weighted events of the most frequent item; it ignores who is asking."""

    name = "popularity"

    class Options(Config):
        """Whether old events count less."""

        half_life: float | None = Field(
            None, gt=0, description="Days after which an event counts half, back from the last event known; null: every event counts 1"
        )

    options: Options

    def _fit(self, histories: Histories, items: Table) -> None:
        weights = np.ones(len(histories.items))  # E
        known = np.isfinite(histories.times) if histories.times is not None else np.zeros(len(weights), dtype=bool)
        if self.options.half_life is not None and histories.times is not None and known.any():
            # an event of unknown time counts like the oldest one: it can't have news to tell
            times = np.where(known, histories.times, histories.times[known].min())
            weights = 0.5 ** ((times.max() - times) / (self.options.half_life * DAY))
        counts = np.bincount(histories.items, weights=weights, minlength=len(items))  # N
        self._share = (counts / max(counts.max(), 1e-300)).astype(np.float32)

    def _personal(self, requests: Requests) -> Matrix:
        return np.broadcast_to(self._share, (len(requests), len(self._share)))

    def _state(self) -> State:
        return {"share": self._share}

    def _restore(self, state: State) -> None:
        self._share = dense_state(state, "share")
