"""How much what somebody says counts beside what they did: weights by the number of events known.

    score(i) = log p(i | events) + w(n) (q . v_i) + m(n) log(1 + match_i / floor)

q the interest vector, match the text prior of the words. For each kind of what is said the weights are those that serve the validation
cases best, at 0, 1, 2, ... known events, smoothed over those numbers; between them they are interpolated in log(1 + n).
A weight of 0 is among the choices, so behaviour alone is never left for something worse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Kind = Literal["profile", "values", "words", "story"]
KINDS: tuple[Kind, ...] = ("profile", "values", "words", "story")
EVENTS = (0, 1, 2, 5, 10, 20, 50)
INTEREST = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4)
MATCH = (0.0, 0.03, 0.07, 0.15, 0.3, 0.5, 0.75, 1.0)
ASKED = 1.0  # of the match where words are a request: they ask for something, which no event of a log does
NOISE = 0.01  # share of the highest quality below it that counts as the same
LEAST_CASES = 30  # with fewer, a number of events takes the weights of the number before


@dataclass(frozen=True)
class InterestBlend:
    """Weights of the interest vector and of the match, each kind -> one a number of `EVENTS`."""

    interest: Mapping[str, tuple[float, ...]]
    match: Mapping[str, tuple[float, ...]]

    def weights(self, kind: Kind, events: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float32 (B,) twice: of the interest vector and of the match, for people with so many events int (B,)."""
        at, known = np.log1p(np.asarray(events, dtype=np.float64)), np.log1p(EVENTS)
        found = (np.interp(at, known, given[kind]).astype(np.float32) for given in (self.interest, self.match))
        first, second = found
        return first, second

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return {name: {kind: list(values) for kind, values in getattr(self, name).items()} for name in ("interest", "match")}

    @classmethod
    def of(cls, plain: Mapping[str, Mapping[str, list[float]]]) -> InterestBlend:
        """What `plain` gave."""
        interest, match = ({kind: tuple(map(float, row)) for kind, row in plain[name].items()} for name in ("interest", "match"))
        return cls(interest, match)


@dataclass(frozen=True)
class BlendCases:
    """C validation cases at one number of events: scores float32 (C, N) by behaviour, lift and match (C, N) to add, targets int64 (C,)."""

    scores: np.ndarray
    lift: np.ndarray
    match: np.ndarray | None
    targets: np.ndarray


def fit_blend(cases: Callable[[Kind, int], BlendCases | None], k: int = 10) -> InterestBlend:
    """The weights for each kind that give the highest mean NDCG@k; of those that differ by less than noise the highest.

    cases: (kind, number of events) -> validation cases, None where there are too few.
    """
    interest: dict[str, tuple[float, ...]] = {}
    match: dict[str, tuple[float, ...]] = {}
    for kind in KINDS:
        found = [None if some is None or len(some.targets) < LEAST_CASES else _tried(some, k) for some in (cases(kind, n) for n in EVENTS)]
        known = [number for number, one in enumerate(found) if one is not None]
        if kind == "words" or not known:
            continue
        best: list[tuple[float, float]] = []
        for number in range(len(EVENTS)):
            # What neighbouring numbers of events show counts half: single ones are noisy.
            near = [(one, 1.0 if at == number else 0.5) for at, one in enumerate(found) if one is not None and abs(at - number) <= 1]
            best.append(_best(near) if near else best[-1] if best else (0.0, 0.0))
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
    rows, matches = np.arange(len(cases.targets)), (0.0,) if cases.match is None else MATCH
    quality = np.full((len(MATCH), len(INTEREST)), -np.inf)
    for i, m in enumerate(matches):
        base = cases.scores if cases.match is None else cases.scores + np.float32(m) * cases.match
        for j, w in enumerate(INTEREST):
            scores = base + np.float32(w) * cases.lift
            own = scores[rows, cases.targets][:, None]
            above = (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2
            quality[i, j] = np.where(above < k, 1 / np.log2(above + 2), 0.0).mean()
    return quality


def _best(tried: list[tuple[np.ndarray, float]]) -> tuple[float, float]:
    """(interest, match): the highest weight of the interest vector whose quality is as good as the best: what is said is there to be heard."""
    weights = sum(weight for _, weight in tried)
    quality = sum(weight * one for one, weight in tried) / weights
    assert isinstance(quality, np.ndarray)
    good = quality >= quality.max() * (1 - NOISE)
    preferred = np.array(INTEREST)[None, :] - 0.01 * np.array(MATCH)[:, None]
    i, j = np.unravel_index(np.argmax(np.where(good, preferred, -np.inf)), quality.shape)
    return INTEREST[j], MATCH[i]


def _smoothed(values: list[float]) -> tuple[float, ...]:
    """Each the mean of itself, twice as heavy, and its neighbours: one more event changes little."""
    around = [values[max(0, at - 1) : at + 2] for at in range(len(values))]
    return tuple(round((value + sum(some)) / (len(some) + 1), 4) for value, some in zip(values, around, strict=True))
