"""The last state of every known user, computed when the model is packed, so that serving need not read a history that has not changed.

Dimension keys: U users, P packed users, W width.
"""

from __future__ import annotations

import numpy as np
import torch

from m6rec.base.contracts import Histories, Requests
from m6rec.tasks.choose_mixture import ChooseMixture
from m6rec.tasks.state_cache import DIGEST, PackedStates, keys_of

TOGETHER = 512  # histories read at a time, of like length


def pack_states(scorer: ChooseMixture, histories: Histories, most: int) -> PackedStates:
    """States of the users (U) who have a history; where those are more than `most`, of the most recently active ones.

    The order of reading is fixed, so the same model gives the same bytes.
    """
    users = most_recent(histories, most)
    states = torch.zeros(len(users), scorer.task.shape.width)  # P W
    digests = np.zeros((len(users), DIGEST), dtype=np.uint8)
    order = np.argsort(histories.lengths[users], kind="stable")
    for start in range(0, len(users), TOGETHER):
        rows = order[start : start + TOGETHER]
        requests = Requests(histories.rows(users[rows]), users=users[rows])
        keys = keys_of(requests, requests.histories.window(keep=scorer.task.shape.history))
        digests[rows] = np.frombuffer(b"".join(key for key in keys if key is not None), dtype=np.uint8).reshape(-1, DIGEST)
        states[torch.from_numpy(rows)] = scorer.read_states(requests)
    return PackedStates(users, digests, states)


def most_recent(histories: Histories, most: int) -> np.ndarray:
    """int64 (P,): users with a history, ascending; at most `most`, those whose newest event is latest (without times: the longest histories)."""
    users = np.flatnonzero(histories.lengths > 0)
    if len(users) <= most:
        return users
    rank = histories.lengths[users].astype(np.float64)
    if histories.times is not None:
        rank = np.nan_to_num(histories.times[histories.offsets[1:][users] - 1], nan=-np.inf)
    return np.sort(users[np.argsort(-rank, kind="stable")[:most]])
