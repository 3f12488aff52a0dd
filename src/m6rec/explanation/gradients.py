"""Integrated gradients (Sundararajan, Taly & Yan 2017, arXiv 1703.01365) of a score over the events of a history, through captum.

An event e is there to the degree a_e between 0 and 1: its slot's input lies so far on the line from that of an average item (a slot of zeros is no
end of a path here: what is normalised jumps there), and its weight in the rows that the priors and the agreement read, and its share of the
length, are multiplied by it. f(1) is the score that the model (without a blend) answers, f(0) is for so many average items, and

    attribution(e) = integral over t from 0 to 1 of df/da_e (t, ..., t)         sum over e = f(1) - f(0)

An approximation of shares by slopes, cheap where a history is long: leaving one out (`evidence.py`) is exact and says what would have been.

Dimension keys: A points on the path, E events of the window, K recent events, M priors, N items, W width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from m6rec.base.contracts import Requests
from m6rec.base.extras import require
from m6rec.tasks.agreement import typed_gain
from m6rec.tasks.choose import gather_slots
from m6rec.tasks.choose_mixture import ChooseMixture
from m6rec.tasks.cold_transfer import SIMILAR
from m6rec.tasks.prior import GRAPH_PARTS, TEXT_PART

STEPS = 64
TOGETHER = 32  # points of the path that are read at a time
LEAST = 1e-30


def attributions(scorer: ChooseMixture, requests: Requests, item: int, steps: int = STEPS) -> tuple[np.ndarray, float]:
    """float64 (E,) of the newest events that the model reads, oldest first, and what their sum lacks of f(1) - f(0).

    Raises:
        MissingExtraError: captum is not installed (the extra "explain").
    """
    captum: Any = require("captum.attr", "explain")
    events = int(min(requests.histories.lengths[0], scorer.task.shape.history))
    if not events:
        return np.zeros(0), 0.0
    score = presence_score(scorer, requests, item)
    whole = torch.ones(1, events)
    found, rest = captum.IntegratedGradients(score).attribute(
        whole,
        baselines=torch.zeros(1, events),
        n_steps=steps,
        method="gausslegendre",
        internal_batch_size=min(TOGETHER, steps),
        return_convergence_delta=True,
    )
    return found[0].detach().numpy().astype(np.float64), float(rest[0])


def presence_score(scorer: ChooseMixture, requests: Requests, item: int) -> Callable[[Tensor], Tensor]:
    """What gives the score of `item`, (A,), for events that are there to the degrees (A, E)."""
    task, vectors, gate = scorer.task, scorer.vectors, scorer.gate
    asked = scorer._ask(requests)
    window = requests.histories.window(keep=task.shape.history)
    events, older = len(window.items), len(requests.histories.items) - len(window.items)
    with torch.no_grad():
        start = task.start_slot(1, scorer.profile_contents(requests), scorer._typed_contents(requests, asked.typed))
        embedded, times = task.embed(vectors, gather_slots(start, window, np.arange(events)[None]))  # 1 1+E W
        average = vectors.mean(dim=0) * task.shape.slot_scale
        base = torch.cat([embedded[:, :1], average.expand(1, events, -1)], dim=1)
        evidence = torch.from_numpy(asked.evidence)[0]  # M K
        weights = gate.recency_weights(evidence[None])[0]
        entries = _entries(scorer, asked.recent[0], item)  # M K
        inside = weights * entries / torch.from_numpy(np.maximum(asked.masses[0], 1e-9))
        counted, gain = _counted(scorer, asked.recent[0], asked.evidence[0], entries, item), 0.0
        said, half = torch.zeros(len(task.parts)), torch.ones(len(task.parts))
        if asked.words is not None and TEXT_PART in task.parts:
            place = task.parts.index(TEXT_PART)
            gain = float(typed_gain(asked.words)[0, item])
            said[place] = float(asked.words[0, item])
            if asked.words.any() and bool((evidence[place] > 0).any()):
                half[place] = 0.5  # both halves are known
            evidence = evidence.clone()  # the words count as one more event
            evidence[place, 0] = max(float(evidence[place, 0]), float(np.log1p(asked.words.sum())))
            weights = gate.recency_weights(evidence[None])[0]
        dead = torch.cat([torch.zeros(1, dtype=torch.bool), ~(evidence > 0).any(dim=1)])  # 1+M

    def score(present: Tensor) -> Tensor:
        points, depth = len(present), min(evidence.shape[1], events)
        scale = torch.cat([present.new_ones(points, 1), present], dim=1)[:, :, None]  # A 1+E 1
        at_end = torch.full((points,), events)
        read = scorer.model.upper.last(
            base + (embedded - base) * scale, None if times is None else times.expand(points, -1), at_end
        ).float()
        states = read + _asked_from(scorer, requests)
        recent = torch.cat([present.flip(1)[:, :depth], present.new_zeros(points, evidence.shape[1] - depth)], dim=1)[:, None]  # A 1 K
        told = (weights * evidence * recent).sum(dim=2)  # A M
        seen = torch.cat([torch.log1p(older + present.sum(dim=1, keepdim=True)), told], dim=1) / 3
        logits = gate.gate(torch.cat([states, seen], dim=1)).masked_fill(dead, float("-inf"))
        gates = torch.softmax(logits, dim=1)  # A 1+M
        given = half * ((inside * recent).sum(dim=2) + said)
        own = torch.softmax(states @ vectors.T, dim=1)[:, item]
        found = torch.log((gates[:, 0] * own + (gates[:, 1:] * given).sum(dim=1)).clamp(min=LEAST)) + gain
        if scorer.agreement.weight:
            found = found + scorer.agreement.weight * torch.log(1 + (recent[:, 0] * counted).sum(dim=1) / scorer.agreement.floor)
        return found

    return score


@torch.no_grad()
def _asked_from(scorer: ChooseMixture, requests: Requests) -> Tensor:
    """(1, W): what the scenario that asks, and another question, add to the state."""
    return scorer._with_scenario(torch.zeros(1, scorer.task.shape.width), requests)


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
