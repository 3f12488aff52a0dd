"""Texts as a model says them: drawn token by token out of all that may follow, under no rule. What could be said, rather than what is to be said.

Dimension keys: G beginnings that differ, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import torch

from m6rec.language_model.decoding import Speaker
from m6rec.language_model.spelling import Spelling


def sample(speaker: Speaker, rows: int, draws: int, *, spelling: Spelling, most: int, seed: int) -> list[list[str]]:
    """`draws` texts of each row, each over with its ending id or after `most` tokens.

    A row gives the same alone or in a batch, to rounding of the speaker. Draws that have said the same are read once.
    """
    chances = np.concatenate([np.random.default_rng([seed, row]).random((draws, most), dtype=np.float32) for row in range(rows)])
    texts: list[list[int]] = [[] for _ in chances]
    going = np.arange(len(chances))
    with torch.inference_mode():
        logits, state = speaker.start(rows)
        beginning = going // draws  # of each text that goes on, its place in the state
        for step in range(most):
            reached = torch.softmax(logits.float(), dim=1).cumsum(dim=1).cpu()[beginning]  # of every text, (texts, V)
            wanted = torch.from_numpy(chances[going, step])[:, None] * reached[:, -1:]
            tokens = torch.searchsorted(reached, wanted, right=True)[:, 0].clamp(max=len(spelling) - 1).numpy()
            for text, token in zip(going.tolist(), tokens.tolist(), strict=True):
                texts[text].append(token)
            on = tokens != spelling.end
            if not on.any() or step == most - 1:
                break
            going = going[on]
            said, beginning = np.unique(beginning[on] * len(spelling) + tokens[on], return_inverse=True)
            places = said // len(spelling)  # G: the state that is gone on from
            if not np.array_equal(places, np.arange(len(logits))):
                state = speaker.pick(state, torch.from_numpy(places))
            logits, state = speaker.step(torch.from_numpy(said % len(spelling)), state)
    return [[spelling.text(text).strip() for text in texts[row * draws : (row + 1) * draws]] for row in range(rows)]
