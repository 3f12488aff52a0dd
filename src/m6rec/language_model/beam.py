"""Beam search: the likeliest whole texts, several of each row kept side by side; all rows and beams are one batch.

Dimension keys: B rows, L live texts of all rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch

from m6rec.language_model.choosing import best_first, log_normaliser, open_tokens
from m6rec.language_model.config import Decoding
from m6rec.language_model.masks import Mask
from m6rec.language_model.spelling import Prefix, Spelling

if TYPE_CHECKING:
    from m6rec.language_model.decoding import Speaker


@dataclass(frozen=True)
class Live:
    """A text being written: `place` in the batch, log probability after the changes (the search goes by it) and of the model itself."""

    place: int
    prefix: Prefix
    searched: float
    total: float


@dataclass
class Row:
    """One row of the search: its live texts, those that ended, and those that nothing could follow."""

    masks: Sequence[Mask]
    live: list[Live]
    ended: list[tuple[float, Prefix, float, str]] = field(default_factory=list)
    stopped: list[tuple[float, Prefix, float, str]] = field(default_factory=list)


def beam_search(
    speaker: Speaker, decoding: Decoding, rules: Sequence[Sequence[Mask]], spelling: Spelling
) -> list[list[tuple[Prefix, float, str]]]:
    """For every row the best `decoding.best` texts: prefix, log probability by the model, how it finished; best first.

    A text's score is its log probability / (tokens, the end among them) ** length_penalty (Wu et al., arXiv 1609.08144, with lengths themselves).
    A row is finished when as many texts ended as there are beams and no live one is better as it stands.
    """
    with torch.inference_mode():
        logits, state = speaker.start(len(rules))
    rows = [Row(masks, [Live(place, Prefix(spelling), 0.0, 0.0)]) for place, masks in enumerate(rules)]
    while True:
        said = logits.detach().float().cpu().numpy()
        going: list[Live] = []
        for row in rows:
            if row.live:
                _grow(row, said, decoding, spelling)
                going += row.live
        if not going:
            return [_best(row, decoding) for row in rows]
        origin = torch.tensor([one.place for one in going])
        numbers = iter(range(len(going)))
        for row in rows:
            row.live = [Live(next(numbers), one.prefix, one.searched, one.total) for one in row.live]
        with torch.inference_mode():
            logits, state = speaker.step(torch.tensor([one.prefix.tokens[-1] for one in going]), speaker.pick(state, origin))


def _grow(row: Row, said: np.ndarray, decoding: Decoding, spelling: Spelling) -> None:
    """One more token for the live texts of a row; those that end or reach the most tokens leave it."""
    beams = decoding.beams
    found: list[tuple[float, int, int, float]] = []  # searched, number of the live text, token, total
    for number, one in enumerate(row.live):
        logits = said[one.place]
        scores, ids = open_tokens(logits, one.prefix, decoding, row.masks)
        places = best_first(scores) if len(scores) else iter(())
        accepted = (
            (place, token)
            for place, token in ((place, place if ids is None else int(ids[place])) for place in places)
            if all(mask.accepts(one.prefix, token) for mask in row.masks)
        )
        normaliser = log_normaliser(logits)
        before = len(found)
        for place, token in islice(accepted, beams + 1):  # the end may be one of them, and beams texts must be left to go on
            found.append((one.searched + float(scores[place]) - normaliser, number, token, one.total + float(logits[token]) - normaliser))
        if len(found) == before:
            row.stopped.append((one.searched, one.prefix, one.total, "stuck"))
    found.sort(key=lambda item: (-item[0], item[1], item[2]))
    live: list[Live] = []
    for searched, number, token, total in found:
        parent = row.live[number]
        if token == spelling.end:
            row.ended.append((searched / (len(parent.prefix) + 1) ** decoding.length_penalty, parent.prefix, total, "end"))
        elif len(live) < beams:
            live.append(Live(parent.place, parent.prefix.then(token), searched, total))
        if len(live) == beams:
            break
    row.ended = sorted(row.ended, key=lambda item: -item[0])[:beams]
    if live and len(live[0].prefix) >= decoding.most:
        for one in live:
            row.stopped.append((one.searched / len(one.prefix) ** decoding.length_penalty, one.prefix, one.total, "length"))
        live = []
    if live and len(row.ended) == beams:
        hope = live[0].searched / len(live[0].prefix) ** decoding.length_penalty
        live = live if hope > row.ended[-1][0] else []
    row.live = live


def _best(row: Row, decoding: Decoding) -> list[tuple[Prefix, float, str]]:
    """Texts that ended come before those that were stopped."""
    stopped = sorted(row.stopped, key=lambda item: (item[3] == "stuck", -item[0]))
    return [(prefix, total, finish) for _, prefix, total, finish in [*row.ended, *stopped][: decoding.best]]
