"""How long one answer takes: one warm user at a time, one thread. Prints p50, p95 and p99 in milliseconds, and loading time and memory.

python benchmarks/latency.py runs/ml-1m [--requests 500] [--k 10] [--seed 0]
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from m6rec import Recommender

WARM_UP = 20  # answers before the clock starts: the first ones fill caches


def milliseconds(answer: Callable[[int], object], requests: int) -> np.ndarray:
    """float64 (requests,): wall time of `answer(number)` for each request."""
    for number in range(min(WARM_UP, requests)):
        answer(number)
    took = np.empty(requests)
    for number in range(requests):
        begun = time.perf_counter()
        answer(number)
        took[number] = 1000 * (time.perf_counter() - begun)
    return took


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder or a model folder")
    parser.add_argument("--requests", type=int, default=500, help="answers of each kind")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the users asked for")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)

    begun = time.perf_counter()
    rec = Recommender.from_pretrained(options.run)
    loading = time.perf_counter() - begun
    engine = rec.engine
    lengths = engine.dataset.histories.lengths
    warm = np.flatnonzero(lengths > 0)
    generator = np.random.default_rng(options.seed)
    users = [engine.users.ids.ids[user] for user in generator.choice(warm, options.requests)]
    titles = engine.items.titles()
    texts = [titles[item] for item in generator.integers(len(titles), size=options.requests)]
    items = [engine.items.ids.ids[item] for item in generator.integers(len(titles), size=options.requests)]

    print(
        f"{len(titles):,} items, {len(lengths):,} users (median history {np.median(lengths[warm]):.0f}), {torch.get_num_threads()} thread"
    )
    print(f"{'':<24}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}")
    kinds: dict[str, Callable[[int], object]] = {
        "recommend(user=)": lambda number: rec.recommend(user=users[number], k=options.k),
        "recommend(text=)": lambda number: rec.recommend(text=texts[number], k=options.k),
        "recommend(history=[3])": lambda number: rec.recommend(history=(items * 2)[number : number + 3], k=options.k),
        "similar_items": lambda number: rec.similar_items(items[number], k=options.k),
    }
    for name, answer in kinds.items():
        shares = np.percentile(milliseconds(answer, options.requests), [50, 95, 99])
        print(f"{name:<24}" + "".join(f"{share:>9.2f}" for share in shares))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    print(f"loading {loading:.2f} s, peak memory {peak:,.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
