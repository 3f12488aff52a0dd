"""Choosing the next token of one text: changes to the logits first, then the masks, then the choice.

Dimension key: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from m6rec.language_model.config import Decoding
from m6rec.language_model.masks import Mask, joined
from m6rec.language_model.spelling import Prefix

NOTHING = -1
LIKELY = 64  # tokens sorted first: mostly enough, and sorting the whole vocabulary is dear


def log_normaliser(logits: np.ndarray) -> float:
    """log of the sum of exp of logits (V,)."""
    highest = logits.max()
    return float(highest + np.log(np.exp(logits - highest).sum()))


def changed(logits: np.ndarray, prefix: Prefix, decoding: Decoding) -> np.ndarray:
    """Logits (V,) after the penalties for what was written before (Keskar et al., arXiv 1909.05858); the ids around names are never penalised."""
    tokens, spelling = prefix.tokens, prefix.spelling
    result = logits
    if decoding.repetition_penalty != 1.0 and tokens:
        result = logits.copy()
        seen = np.unique(np.array(tokens))
        result[seen] = np.where(result[seen] > 0, result[seen] / decoding.repetition_penalty, result[seen] * decoding.repetition_penalty)
    size = decoding.no_repeat_ngram
    if size and len(tokens) >= size:
        last = tokens[len(tokens) - size + 1 :]
        again = [tokens[at + size - 1] for at in range(len(tokens) - size + 1) if tokens[at : at + size - 1] == last]
        if again:
            result = result.copy() if result is logits else result
            result[again] = -np.inf
    if result is not logits:
        marks = [mark for mark in (spelling.opens, spelling.closes) if mark >= 0]
        result[marks] = logits[marks]
    return result


def open_tokens(logits: np.ndarray, prefix: Prefix, decoding: Decoding, masks: Sequence[Mask]) -> tuple[np.ndarray, np.ndarray | None]:
    """Changed logits of the tokens that masks allow, and their ids (None: scores (V,) stand for all ids, -inf where not allowed).

    Where the changes left none of the allowed tokens, the masks have the last word: the logits as they were.
    """
    scores, found = changed(logits, prefix, decoding), joined(masks, prefix)
    if found is None:
        return (scores if np.isfinite(scores.max()) else logits), None
    if found.dtype == bool:
        masked = np.where(found, scores, -np.inf)
        return (masked if np.isfinite(masked.max()) else np.where(found, logits, -np.inf)), None
    picked = scores[found]
    return (picked if len(picked) and np.isfinite(picked.max()) else logits[found]), found


def best_first(scores: np.ndarray) -> Iterator[int]:
    """Places of finite scores, highest first, equal ones by place; sorted only as far as anybody looks."""
    size = min(LIKELY, len(scores))
    if size < len(scores):
        top = np.argpartition(scores, len(scores) - size)[-size:]
        bound = scores[top].min()
        top = np.flatnonzero(scores > bound)  # all above the bound: those equal to it come in the full order below
        top = top[np.argsort(-scores[top], kind="stable")]
        yield from top[np.isfinite(scores[top])].tolist()
        rest = np.argsort(-scores, kind="stable")[len(top) :]
    else:
        rest = np.argsort(-scores, kind="stable")
    yield from rest[np.isfinite(scores[rest])].tolist()


class Choice:
    """What may follow one beginning; several draws that have said the same choose from one of these.

    logits (V,). masks: what they accept is asked once for every token.
    """

    def __init__(self, decoding: Decoding, logits: np.ndarray, masks: Sequence[Mask], prefix: Prefix) -> None:
        self.decoding, self.masks, self.prefix = decoding, masks, prefix
        self.scores, self.ids = open_tokens(logits, prefix, decoding, masks)
        self._accepted: dict[int, bool] = {}
        self._open: tuple[np.ndarray, np.ndarray] | None = None

    def next(self, generator: np.random.Generator) -> int:
        """The next token, `NOTHING` where the masks leave none."""
        if not len(self.scores) or not np.isfinite(self.scores.max()):
            return NOTHING
        place = self._drawn(generator) if self.decoding.method == "nucleus" else self._best()
        return place if self.ids is None or place == NOTHING else int(self.ids[place])

    def _accepts(self, place: int) -> bool:
        if place not in self._accepted:
            token = place if self.ids is None else int(self.ids[place])
            self._accepted[place] = all(mask.accepts(self.prefix, token) for mask in self.masks)
        return self._accepted[place]

    def _drawn(self, generator: np.random.Generator) -> int:
        """A draw from the nucleus (Holtzman et al., arXiv 1904.09751): as if what is not accepted had never been in it."""
        if self._open is None:
            shares = np.exp((self.scores - self.scores.max()) / np.float32(self.decoding.temperature))
            found = _nucleus(shares, self.decoding.top_p)
            self._open = found, shares[found].astype(np.float64)
        places, chances = self._open
        while len(places):
            drawn = int(np.searchsorted(np.cumsum(chances), generator.random() * chances.sum(), side="right"))
            drawn = min(drawn, len(places) - 1)
            if self._accepts(int(places[drawn])):
                return int(places[drawn])
            places, chances = np.delete(places, drawn), np.delete(chances, drawn)
        return self._best()

    def _best(self) -> int:
        place = int(self.scores.argmax())
        if self._accepts(place):
            return place
        return next((place for place in best_first(self.scores) if self._accepts(place)), NOTHING)


def _nucleus(shares: np.ndarray, top_p: float) -> np.ndarray:
    """Places of the fewest tokens whose shares (unnormalised) reach `top_p` of all, likeliest first, equal ones by place."""
    wanted = top_p * float(shares.sum(dtype=np.float64))
    for size in (LIKELY, LIKELY * LIKELY // 4):
        if size >= len(shares):
            break
        bound = np.partition(shares, len(shares) - size)[len(shares) - size]
        top = np.flatnonzero(shares > bound)  # those equal to the bound come in the full order below
        top = top[np.argsort(-shares[top], kind="stable")]
        reached = np.cumsum(shares[top], dtype=np.float64)
        if len(top) and reached[-1] >= wanted:
            return top[: int(np.searchsorted(reached, wanted)) + 1]
    order = np.argsort(-shares, kind="stable")
    order = order[shares[order] > 0]
    return order[: int(np.searchsorted(np.cumsum(shares[order], dtype=np.float64), wanted)) + 1]
