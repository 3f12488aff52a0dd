"""Answers for many people at once: blocks of people of like length of history, side by side on the threads there are.

Dimension keys: U people asked for, B people of a block, N items, K answers.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from m6rec.base.contracts import Requests

BLOCK_SCORES = 1_000_000  # scores of a block, 4 MB an array: a dozen such arrays are alive at a time
LEAST_BLOCK, MOST_BLOCK = 8, 256
MANY = 512  # people from which dense copies of the priors pay for themselves

Answers = tuple[np.ndarray, np.ndarray]  # int64 (B, K) items, -1 where there are fewer; float32 (B, K) scores, -inf there


def best_of_many(
    users: np.ndarray,
    lengths: np.ndarray,
    items: int,
    answer: Callable[[np.ndarray], Answers],
    k: int,
    threads: int | None = None,
) -> Answers:
    """`answer` for all `users`, in their order.

    Args:
        users: int64 (U,) dense users.
        lengths: int64 (U,) events of each: people of like length share a block, and nothing is spent on padding.
        items: N.
        answer: the answers of one block of dense users.
        threads: blocks answered side by side; None: as many as torch may use.
    """
    size = int(np.clip(BLOCK_SCORES // max(items, 1), LEAST_BLOCK, MOST_BLOCK))
    order = np.argsort(-lengths, kind="stable")  # the longest first, so that no thread is left with the most work at the end
    blocks = [order[start : start + size] for start in range(0, len(order), size)]
    best, values = np.full((len(users), k), -1, dtype=np.int64), np.full((len(users), k), -np.inf, dtype=np.float32)
    usual = torch.get_num_threads()
    workers = max(1, min(threads or usual, len(blocks)))
    if workers == 1:
        for block in blocks:
            best[block], values[block] = answer(users[block])
        return best, values
    try:
        # A thread a block and one core a thread: what is between the matrix products then runs side by side too.
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for block, found in zip(blocks, pool.map(lambda part: answer(users[part]), blocks), strict=True):
                best[block], values[block] = found
    finally:
        torch.set_num_threads(usual)
    return best, values


def best_allowed(scores: np.ndarray, requests: Requests, k: int, *, exclude: bool, allowed: np.ndarray | None) -> Answers:
    """The best k of each row of float32 (B, N), changed in place; equal scores by position.

    exclude: items of the row's own history are no answers.  allowed: bool (N,), or None for all.
    """
    if exclude:
        histories = requests.histories
        rows = 0 if len(histories) == 1 else np.repeat(np.arange(len(histories)), histories.lengths)
        scores[rows, histories.items] = -np.inf
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    count, width = scores.shape
    kept = min(k, width)
    best, values = np.full((count, k), -1, dtype=np.int64), np.full((count, k), -np.inf, dtype=np.float32)
    # One more than asked for shows where the last place is shared: there torch's choice would be an accident.
    top, where = (part.numpy() for part in torch.topk(torch.from_numpy(scores), min(kept + 1, width), dim=1))
    rows = np.arange(count)[:, None]
    order = np.lexsort((where, -top), axis=-1)[:, :kept]
    best[:, :kept], values[:, :kept] = where[rows, order], top[rows, order]
    if width > kept:
        shared = (top[:, kept] == top[:, kept - 1]) & (top[:, kept] > -np.inf)
        for row in np.flatnonzero(shared) if shared.any() else ():
            near = np.flatnonzero(scores[row] >= top[row, kept - 1])
            best[row, :kept] = near[np.argsort(-scores[row, near], kind="stable")[:kept]]
    best[np.isneginf(values)] = -1
    return best, values
