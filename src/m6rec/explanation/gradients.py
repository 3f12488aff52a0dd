"""Integrated gradients (Sundararajan, Taly & Yan 2017, arXiv 1703.01365) of a score over what it is made of, through captum.

An event e is there to the degree a_e between 0 and 1: its slot's input lies so far on the line from that of an average item (a slot of zeros is no
end of a path here: what is normalised jumps there), and its weight in the rows that the priors and the agreement read, and its share of the
length, are multiplied by it. The vector of the item that is scored comes in from that of an average item, what each of its fields gives to it apart
(`vector_parts.py`), and the person's profile from nothing; what was typed, and what the priors count of the item, stays. f(1) is the score that the
model (without a blend) answers, f(0) is an average item's for nobody known who had so many average items, and

    attribution(x) = integral over t from 0 to 1 of df/da_x (t, ..., t)         sum over x = f(1) - f(0)

An approximation of shares by slopes, cheap where a history is long: leaving one out (`evidence.py`) is exact and says what would have been.

Dimension keys: A points on the path, E events of the window, G other things, K recent events, M priors, N items, W width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from m6rec.base.contracts import Requests
from m6rec.base.extras import require
from m6rec.explanation.vector_parts import PROFILE, Attributions, vector_parts
from m6rec.tasks.agreement import typed_gain
from m6rec.tasks.choose import gather_slots
from m6rec.tasks.choose_mixture import ChooseMixture
from m6rec.tasks.cold_transfer import SIMILAR
from m6rec.tasks.prior import GRAPH_PARTS, TEXT_PART

STEPS = 64
TOGETHER = 32  # points of the path that are read at a time
LEAST = 1e-30


def attributions(scorer: ChooseMixture, requests: Requests, item: int, steps: int = STEPS) -> Attributions:
    """Of the score of `item` for one request.

    Raises:
        MissingExtraError: captum is not installed (the extra "explain").
    """
    captum: Any = require("captum.attr", "explain")
    score = PresentScore(scorer, requests, item)
    whole = torch.ones(1, score.events + len(score.things))
    with torch.no_grad():
        start = float(score(torch.zeros_like(whole))[0])
    found, rest = captum.IntegratedGradients(score).attribute(
        whole,
        baselines=torch.zeros_like(whole),
        n_steps=steps,
        method="gausslegendre",
        internal_batch_size=min(TOGETHER, steps),
        return_convergence_delta=True,
    )
    values = found[0].detach().numpy().astype(np.float64)
    return Attributions(
        values[: score.events], dict(zip(score.things, values[score.events :].tolist(), strict=True)), start, float(rest[0])
    )


class PresentScore:
    """Degrees (A, E + G) to scores (A,) of an item: where events, the item's fields and the profile are there to these degrees."""

    @torch.no_grad()
    def __init__(self, scorer: ChooseMixture, requests: Requests, item: int) -> None:
        self.scorer, self.item = scorer, item
        self._read_past(scorer, requests)
        self._count(scorer, requests, item)
        self.average = scorer.vectors.mean(dim=0)  # W
        parts = {thing: gives for thing, gives in vector_parts(scorer, item).items() if bool(gives.any())}
        self.parts = torch.stack(list(parts.values())) if parts else self.average.new_zeros(0, len(self.average))  # G' W
        self.things = [*([PROFILE] if bool(self.profile.any()) else []), *parts]  # G

    def __call__(self, present: Tensor) -> Tensor:
        scorer, gate, points = self.scorer, self.scorer.gate, len(present)
        past, things = present[:, : self.events], present[:, self.events :]
        slots = self.average_slot + past[:, :, None] * (self.embedded - self.average_slot)  # A E W
        known = things[:, :1] if PROFILE in self.things else things.new_zeros(points, 1)
        start = self.start + known * self.profile  # A W
        times = None if self.times is None else self.times.expand(points, -1)
        states = scorer.model.upper.last(torch.cat([start[:, None], slots], dim=1), times, torch.full((points,), self.events)).float()
        states = states + self.asked_from
        depth, recent_events = min(self.evidence.shape[1], self.events), self.evidence.shape[1]
        recent = torch.cat([past.flip(1)[:, :depth], past.new_zeros(points, recent_events - depth)], dim=1)[:, None]  # A 1 K
        told = (self.weights * self.evidence * recent).sum(dim=2)  # A M
        seen = torch.cat([torch.log1p(self.older + past.sum(dim=1, keepdim=True)), told], dim=1) / 3
        gates = torch.softmax(gate.gate(torch.cat([states, seen], dim=1)).masked_fill(self.dead, float("-inf")), dim=1)  # A 1+M
        given = self.half * ((self.inside * recent).sum(dim=2) + self.said)
        vector = self.average + things[:, things.shape[1] - len(self.parts) :] @ self.parts  # A W
        logits = torch.where(self.itself, (states * vector).sum(dim=1, keepdim=True), states @ scorer.vectors.T)  # A N
        own = torch.softmax(logits, dim=1)[:, self.item]
        found = torch.log((gates[:, 0] * own + (gates[:, 1:] * given).sum(dim=1)).clamp(min=LEAST)) + self.gain
        if scorer.agreement.weight:
            found = found + scorer.agreement.weight * torch.log(1 + (recent[:, 0] * self.counted).sum(dim=1) / scorer.agreement.floor)
        return found

    def _read_past(self, scorer: ChooseMixture, requests: Requests) -> None:
        task, vectors, scale = scorer.task, scorer.vectors, scorer.task.shape.slot_scale
        window = requests.histories.window(keep=task.shape.history)
        self.events, self.older = len(window.items), len(requests.histories.items) - len(window.items)
        typed = scorer._typed_contents(requests, scorer._ask(requests).typed)
        start = task.start_slot(1, scorer.profile_contents(requests), typed)
        embedded, self.times = task.embed(vectors, gather_slots(start, window, np.arange(self.events)[None]))  # 1 1+E W
        self.embedded, self.average_slot = embedded[:, 1:], vectors.mean(dim=0) * scale
        self.start = task.start_slot(1, None, typed) * scale
        self.profile = embedded[:, 0] - self.start
        self.asked_from = scorer._with_scenario(torch.zeros(1, task.shape.width), requests)  # the scenario that asks, another question

    def _count(self, scorer: ChooseMixture, requests: Requests, item: int) -> None:
        """What the priors and the agreement read."""
        task, asked = scorer.task, scorer._ask(requests)
        evidence = torch.from_numpy(asked.evidence)[0]  # M K
        self.weights = scorer.gate.recency_weights(evidence[None])[0]
        entries = _entries(scorer, asked.recent[0], item)  # M K
        self.inside = self.weights * entries / torch.from_numpy(np.maximum(asked.masses[0], 1e-9))
        self.counted, self.gain = _counted(scorer, asked.recent[0], asked.evidence[0], entries, item), 0.0
        self.said, self.half = torch.zeros(len(task.parts)), torch.ones(len(task.parts))
        if asked.words is not None and TEXT_PART in task.parts:
            place = task.parts.index(TEXT_PART)
            self.gain = float(typed_gain(asked.words)[0, item])
            self.said[place] = float(asked.words[0, item])
            if asked.words.any() and bool((evidence[place] > 0).any()):
                self.half[place] = 0.5  # both halves are known
            evidence = evidence.clone()  # the words count as one more event
            evidence[place, 0] = max(float(evidence[place, 0]), float(np.log1p(asked.words.sum())))
            self.weights = scorer.gate.recency_weights(evidence[None])[0]
        self.evidence = evidence
        self.dead = torch.cat([torch.zeros(1, dtype=torch.bool), ~(evidence > 0).any(dim=1)])  # 1+M
        self.itself = torch.arange(len(scorer.vectors)) == item  # N


def _entries(scorer: ChooseMixture, recent: np.ndarray, item: int) -> Tensor:
    """(M, K): what each prior's row of each recent event holds for the item."""
    tables = scorer._tables().values()
    return torch.tensor([[float(table[one, item]) if one >= 0 else 0.0 for one in recent.tolist()] for table in tables])


def _counted(scorer: ChooseMixture, recent: np.ndarray, evidence: np.ndarray, entries: Tensor, item: int) -> Tensor:
    """(K,): what each recent event counts in the agreement, `similar` included."""
    shares, tables = scorer.agreement.shares, scorer._tables()
    powers = scorer.agreement.recency ** np.arange(len(recent), dtype=np.float32) * (evidence > 0)  # M K
    told = sum(shares.get(name, 0.0) * powers[place] * entries[place].numpy() for place, name in enumerate(tables))
    similar = shares.get(SIMILAR, 0.0)
    if similar and TEXT_PART in tables and "text" not in scorer.switched_off:
        column = scorer.catalogue.resemblers[:, [item]].toarray().ravel()  # N
        for place, name in enumerate(tables):
            if name in GRAPH_PARTS:
                through = [float((tables[name][[one]] @ column)[0]) if one >= 0 else 0.0 for one in recent.tolist()]
                told = told + similar * powers[place] * np.array(through)
    return torch.as_tensor(np.asarray(told, dtype=np.float32) * np.ones(len(recent), dtype=np.float32))
