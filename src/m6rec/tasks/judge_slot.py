"""The slot of a candidate: what is known of it, of the request and of what happened before, as one vector.

Shapes: R rows, S statistics, Q quantiles, W width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.language_model.layers import Dropout, RMSNorm
from m6rec.tasks.item_encoder import ContentEncoder, Contents

QUANTILES = 64
HOURS, DAYS = 24, 7
SECONDS_OF_HOUR, SECONDS_OF_DAY = 3600, 86_400
FIRST_WEEKDAY = 3  # 1 January 1970 was a Thursday; 0 is Monday


class StatisticsEncoder(nn.Module):
    """Statistics as vectors: each becomes its rank among the training rows and its standardised value, then a small network reads them.

    Counts and rates are skewed beyond what a network reads well; ranks are what a tree sees of them.
    """

    edges: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, statistics: int, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("edges", torch.zeros(statistics, QUANTILES))
        self.register_buffer("mean", torch.zeros(statistics))
        self.register_buffer("deviation", torch.ones(statistics))
        self.read = nn.Linear(2 * statistics, hidden)
        self.dropout = Dropout(dropout)
        self.write = nn.Linear(hidden, width, bias=False)

    @torch.no_grad()
    def fit(self, values: np.ndarray) -> None:
        """Quantiles and scale from the training rows, float32 (X, S)."""
        rows = values[:: max(1, len(values) // 50_000)].astype(np.float64)
        if not len(rows):
            return
        edges = np.quantile(rows, (np.arange(QUANTILES) + 0.5) / QUANTILES, axis=0, method="inverted_cdf").T
        self.edges.copy_(torch.from_numpy(np.ascontiguousarray(edges)))
        self.mean.copy_(torch.from_numpy(rows.mean(axis=0)))
        self.deviation.copy_(torch.from_numpy(np.maximum(rows.std(axis=0), 1e-4)))

    def ranks(self, values: Tensor) -> Tensor:
        """(R, 2 S): rank in -1 .. 1, then the standardised value, at most 6 deviations."""
        below = torch.searchsorted(self.edges, values.T.contiguous(), out_int32=True)  # S R
        rank = below.T.float() * (2 / QUANTILES) - 1
        return torch.cat([rank, ((values - self.mean) / self.deviation).clamp(-6, 6)], dim=1)

    def forward(self, ranks: Tensor) -> Tensor:
        """(R, W) from what `ranks` gave."""
        written: Tensor = self.write(self.dropout(torch.nn.functional.silu(self.read(self.dropout(ranks)))))
        return written


class JudgeSlot(nn.Module):
    """Everything about one exposure but what came of it."""

    def __init__(
        self,
        width: int,
        *,
        read_width: int,
        scenarios: int,
        timed: bool,
        statistics: int,
        context_features: int,
        context_vectors: int,
        profile_features: int,
        profile_vectors: int,
        dropout: float,
    ) -> None:
        """read_width: of the language model's summaries."""
        super().__init__()
        self.start = nn.Parameter(torch.zeros(width))
        self.item_norm, self.person_norm = RMSNorm(width), RMSNorm(width)
        self.item = nn.Linear(width, width, bias=False)
        self.person = nn.Linear(width, width, bias=False)
        self.match = nn.Linear(width, width, bias=False)
        self.scenarios = nn.Embedding(scenarios + 1, width) if scenarios > 1 else None
        self.hours = nn.Embedding(HOURS + 1, width) if timed else None
        self.weekdays = nn.Embedding(DAYS + 1, width) if timed else None
        self.statistics = StatisticsEncoder(statistics, width, 2 * width, dropout) if statistics else None
        some_context = context_features or context_vectors
        self.context = ContentEncoder(width, read_width, context_features, context_vectors) if some_context else None
        some_profile = profile_features or profile_vectors
        self.profile = ContentEncoder(width, read_width, profile_features, profile_vectors) if some_profile else None
        self.dropout = Dropout(dropout)

    def thinned(self, ranks: Tensor) -> Tensor:
        """Ranks (R, 2 S) with dropout."""
        dropped: Tensor = self.dropout(ranks)
        return dropped

    def forward(
        self,
        items: Tensor,
        people: Tensor,
        scenarios: Tensor | None,
        times: Tensor | None,
        ranks: Tensor | None,
        context: Contents | None,
        profiles: Contents | None,
    ) -> Tensor:
        """(R, W).

        items, people (R, W) vectors of the items and states of the people before the exposure; scenarios int64 (R,), -1 unknown;
        times float64 (R,) seconds, NaN unknown; ranks (R, 2 S) of the statistics; context of R rows; profiles of the B people whose
        R / B rows stand together.
        """
        item, person = self.dropout(self.item_norm(items)), self.dropout(self.person_norm(people))
        slot = self.start + self.item(item) + self.person(person) + self.match(item * person)
        if self.scenarios is not None and scenarios is not None:
            slot = slot + self.scenarios(scenarios + 1)
        if self.hours is not None and self.weekdays is not None and times is not None:
            hours, days = clock(times)
            slot = slot + self.hours(hours) + self.weekdays(days)
        if self.statistics is not None and ranks is not None:
            slot = slot + self.statistics(ranks)
        if self.context is not None and context is not None:
            slot = slot + self.context(context)
        if self.profile is not None and profiles is not None:
            slot = slot + self.dropout(self.profile(profiles).repeat_interleave(len(slot) // len(profiles), dim=0))
        return slot


def clock(times: Tensor) -> tuple[Tensor, Tensor]:
    """int64 (R,) hour of the day and day of the week (UTC), each 1 and up, 0 where the time is unknown."""
    known = ~times.isnan()
    seconds = torch.nan_to_num(times).long()
    hours = 1 + (seconds % SECONDS_OF_DAY) // SECONDS_OF_HOUR
    days = 1 + (seconds // SECONDS_OF_DAY + FIRST_WEEKDAY) % DAYS
    return hours * known, days * known
