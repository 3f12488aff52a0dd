"""How much what somebody says counts beside what they did: weights by the number of events known.

    score(i) = log p(i | events) + w(n) (q . v_i) + m(n) match_i

q the interest vector, match what the words name: log(1 + text prior / floor), or `text/lexical.py`. For each kind of what is said the weights are those
that serve the validation cases best, at 0, 1, 2, ... known events, smoothed over those numbers; between them they are interpolated in log(1 + n).
Somebody without events who names tastes or describes themselves is answered by the sum of `newcomers.py`.
A weight of 0 is among the choices, so behaviour alone is never left for something worse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from m6rec.tasks.newcomers import Newcomer

Kind = Literal["profile", "values", "words", "story"]
KINDS: tuple[Kind, ...] = ("profile", "values", "words", "story")
EVENTS = (0, 1, 2, 5, 10, 20, 50)
INTEREST = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4)
MATCH = (0.0, 0.03, 0.07, 0.15, 0.3, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
ASKED = 1.0  # of the match where words are a request: they ask for something, which no event of a log does
NOISE = 0.01  # share of the highest quality below it that counts as the same
LEAST_CASES = 30  # with fewer, a number of events takes the weights of the number before


@dataclass(frozen=True)
class InterestBlend:
    """Weights of the interest vector and of the match, each kind -> one a number of `EVENTS`; of newcomers, each kind -> all of theirs."""

    interest: Mapping[str, tuple[float, ...]]
    match: Mapping[str, tuple[float, ...]]
    newcomers: Mapping[str, Newcomer] = field(default_factory=dict)

    def weights(self, kind: Kind, events: int) -> tuple[float, float]:
        """Of the interest vector and of the match, for somebody with so many events."""
        at, known = np.log1p(events), np.log1p(EVENTS)
        if not events and kind in self.newcomers:
            return self.newcomers[kind].interest, 0.0
        return float(np.interp(at, known, self.interest[kind])), float(np.interp(at, known, self.match[kind]))

    def newcomer(self, kind: Kind, events: int) -> Newcomer | None:
        """How somebody with so many events is answered as a newcomer; None where they are not."""
        return None if events else self.newcomers.get(kind)

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        weights = {name: {kind: list(values) for kind, values in getattr(self, name).items()} for name in ("interest", "match")}
        return {**weights, "newcomers": {kind: list(one) for kind, one in self.newcomers.items()}}

    @classmethod
    def of(cls, plain: Mapping[str, Mapping[str, Any]]) -> InterestBlend:
        """What `plain` gave."""
        interest, match = ({kind: tuple(map(float, row)) for kind, row in plain[name].items()} for name in ("interest", "match"))
        if "popular" in plain:  # a model of before: popularity in place of what people who say such things have
            found = {kind: Newcomer(1 - z, 0.0, 0.0, z, interest[kind][0]) for kind, z in plain["popular"].items() if z}
        else:
            found = {kind: Newcomer(*map(float, row)) for kind, row in plain["newcomers"].items()}
        return cls(interest, match, found)


@dataclass(frozen=True)
class BlendCases:
    """C validation cases at one number of events: scores float32 (C, N) by behaviour, lift and match (C, N) to add; targets: the items asked for, one
    array a case."""

    scores: np.ndarray
    lift: np.ndarray
    match: np.ndarray | None
    targets: list[np.ndarray]


def fit_blend(cases: Callable[[Kind, int], BlendCases | None], k: int = 10) -> InterestBlend:
    """The weights for each kind that give the highest mean NDCG@k; of those that differ by less than noise the highest.

    cases: (kind, number of events) -> validation cases, None where there are too few.
    """
    interest: dict[str, tuple[float, ...]] = {}
    match: dict[str, tuple[float, ...]] = {}
    for kind in KINDS:
        found = [None if some is None or len(some.targets) < LEAST_CASES else _tried(some, k) for some in (cases(kind, n) for n in EVENTS)]
        known = [number for number, one in enumerate(found) if one is not None]
        if not known:
            continue
        best: list[tuple[float, float]] = []
        for number in range(len(EVENTS)):
            # What neighbouring numbers of events show counts half: single ones are noisy.
            near = [(one, 1.0 if at == number else 0.5) for at, one in enumerate(found) if one is not None and abs(at - number) <= 1]
            best.append(_best(near, kind in ("profile", "values")) if near else best[-1] if best else (0.0, 0.0))
        interest[kind] = _smoothed([w for w, _ in best])
        match[kind] = _smoothed([m for _, m in best])
    nothing = (0.0,) * len(EVENTS)
    values = interest.get("values", interest.get("profile", nothing))
    for kind in KINDS:
        interest.setdefault(kind, values)
        match.setdefault(kind, (ASKED,) * len(EVENTS) if kind in ("words", "story") else nothing)
    return InterestBlend(interest, match)


def _tried(cases: BlendCases, k: int) -> np.ndarray:
    """float (matches, interests): mean NDCG@k under each pair of weights."""
    matches = (0.0,) if cases.match is None else MATCH
    quality = np.full((len(MATCH), len(INTEREST)), -np.inf)
    for i, m in enumerate(matches):
        base = cases.scores if cases.match is None else cases.scores + np.float32(m) * cases.match
        for j, w in enumerate(INTEREST):
            scores = base + np.float32(w) * cases.lift
            quality[i, j] = _ndcg(scores, cases.targets, k)
    return quality


def _ndcg(scores: np.ndarray, targets: list[np.ndarray], k: int) -> float:
    rows = np.repeat(np.arange(len(targets)), [len(one) for one in targets])
    own = scores[rows, np.concatenate(targets)][:, None]
    above = np.concatenate(
        [
            (scores[part] > own[start : start + 500]).sum(axis=1)
            for start in range(0, len(rows), 500)
            for part in (rows[start : start + 500],)
        ]
    )
    gained = np.bincount(rows, np.where(above < k, 1 / np.log2(above + 2), 0.0), minlength=len(targets))
    ideal = np.cumsum(1 / np.log2(np.arange(k) + 2))[np.minimum([len(one) for one in targets], k) - 1]
    return float((gained / ideal).mean())


def _best(tried: list[tuple[np.ndarray, float]], heard: bool) -> tuple[float, float]:
    """(interest, match) of the best quality; heard: the highest weight of the interest vector whose quality is as good: nothing else hears a taste."""
    weights = sum(weight for _, weight in tried)
    quality = sum(weight * one for one, weight in tried) / weights
    assert isinstance(quality, np.ndarray)
    good = quality >= quality.max() * (1 - NOISE if heard else 1)
    preferred = np.array(INTEREST)[None, :] - 0.01 * np.array(MATCH)[:, None]
    i, j = np.unravel_index(np.argmax(np.where(good, preferred, -np.inf)), quality.shape)
    return INTEREST[j], MATCH[i]


def _smoothed(values: list[float]) -> tuple[float, ...]:
    """Each the mean of itself, twice as heavy, and its neighbours: one more event changes little."""
    around = [values[max(0, at - 1) : at + 2] for at in range(len(values))]
    return tuple(round((value + sum(some)) / (len(some) + 1), 4) for value, some in zip(values, around, strict=True))
