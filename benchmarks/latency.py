"""How long one answer takes, and how many users a second a batch answers.

One user at a time on one thread: wall time p50, p95 and p99, and the median of the CPU time (what counts on a busy machine), in milliseconds.
"read anew" is a user whose history is read for this answer; "state packed" one whose state came with the model and who had no new event
since; "state kept" one who was answered before. The batch is of all users, with packed states where the folder has them, else read anew.

python benchmarks/latency.py runs/ml-1m [--requests 500] [--k 10] [--seed 0] [--threads 2]
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

WARM_UP = 20  # answers before the clock starts: the first ones load code and tables


def milliseconds(answer: Callable[[int], object], requests: int, before: Callable[[], object]) -> tuple[np.ndarray, np.ndarray]:
    """float64 (requests,) each: wall and CPU time of `answer(number)`; `before` runs ahead of each one, off the clock."""
    for number in range(min(WARM_UP, requests)):
        before()
        answer(number)
    wall, cpu = np.empty(requests), np.empty(requests)
    for number in range(requests):
        before()
        begun, used = time.perf_counter(), time.process_time()
        answer(number)
        cpu[number] = 1000 * (time.process_time() - used)
        wall[number] = 1000 * (time.perf_counter() - begun)
    return wall, cpu


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder or a model folder")
    parser.add_argument("--requests", type=int, default=500, help="answers of each kind")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the users asked for")
    parser.add_argument("--threads", type=int, default=2, help="of the batch of all users")
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
    print(f"{'':<36}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'CPU p50':>9}")
    kinds: dict[str, Callable[[int], object]] = {
        "recommend(user=), state packed": lambda number: rec.recommend(user=users[number], k=options.k),
        "recommend(user=), read anew": lambda number: rec.recommend(user=users[number], k=options.k),
        "recommend(user=), state kept": lambda number: rec.recommend(user=users[number], k=options.k),
        "recommend(text=)": lambda number: rec.recommend(text=texts[number], k=options.k),
        "recommend(history=[3])": lambda number: rec.recommend(history=(items * 2)[number : number + 3], k=options.k),
        "similar_items": lambda number: rec.similar_items(items[number], k=options.k),
    }
    packed = engine.scorer.packed
    if packed is None:
        print("the folder has no packed states; index it again with index.user_states above 0")
        del kinds["recommend(user=), state packed"]
    for name, answer in kinds.items():
        if name.endswith("kept"):
            for number in range(options.requests):
                answer(number)
        forget = engine.scorer.forget_states if name.endswith("anew") else lambda: None
        wall, cpu = milliseconds(answer, options.requests, forget)
        shares = np.percentile(wall, [50, 95, 99])
        print(f"{name:<36}" + "".join(f"{share:>9.2f}" for share in (*shares, np.median(cpu))))
    engine.scorer.packed = packed
    everybody = [engine.users.ids.ids[user] for user in warm]
    rec.recommend_many(everybody[:600], k=options.k, threads=options.threads)  # makes the dense copies
    begun, used = time.perf_counter(), time.process_time()
    rec.recommend_many(everybody, k=options.k, threads=options.threads)
    seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - used
    print(
        f"recommend_many of {len(everybody):,} users, {options.threads} threads: {seconds:.2f} s, {len(everybody) / seconds:,.0f} users/s; "
        f"{cpu_seconds:.2f} CPU s, {len(everybody) / cpu_seconds:,.0f} users a CPU second"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    print(f"loading {loading:.2f} s, peak memory {peak:,.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
