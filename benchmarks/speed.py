"""How fast a run trains: targets a second of single steps, what a step is made of, and how far that is from what the core can do.

The steps are those of the run's fit stage, on its own data, from fresh weights; nothing is written. Wall and CPU time are both
given: on a busy machine the CPU time is the honest one. `--peer` reads the figure that benchmarks/peers keeps of another program.

python benchmarks/speed.py runs/ml-1m [--steps 30] [--threads 1] [--set model.time_bias=on] [--profile] [--peer results/rectools-sasrec.json]
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.base.configuration import set_dotted
from m6rec.config import M6RecConfig
from m6rec.language_model.precision import autocast, statement
from m6rec.tasks.choose import Choose
from m6rec.training.pipeline import open_run
from m6rec.training.stages_fit import training_examples
from m6rec.training.workbench import Workbench

WARM_UP = 3
PRODUCT = (1024, 64, 4096)  # the matrix product that stands for "what the core can do": states by item vectors


def operations(bench: Workbench, task: Choose, batch: np.ndarray) -> dict[str, float]:
    """Multiplications and additions of a step in matrix products: forward, and twice that backward."""
    shape = bench.shape
    assert task.bound is not None
    slots = len(batch) * int(task.bound.windows.lengths[batch].max())
    length = slots / len(batch)
    hidden = -(-shape.width * 8 // 3 // 16) * 16
    layer = 4 * shape.width**2 + 3 * shape.width * hidden + 2 * shape.width * length  # attention: the whole square
    seen = int((bench.split.seen > 0).sum())
    return {"upper layers": 6 * slots * shape.upper_layers * layer, "softmax": 6 * task.targets(batch) * seen * shape.width}


def possible() -> float:
    """Operations a second of a float32 matrix product with nothing else, the best of many."""
    rows, width, columns = PRODUCT
    left, right, out = torch.randn(rows, width), torch.randn(columns, width).t(), torch.empty(rows, columns)
    best = np.inf
    for _ in range(30):
        begun = time.process_time()
        torch.mm(left, right, out=out)
        best = min(best, time.process_time() - begun)
    return 2 * rows * width * columns / best


def peer_speed(path: Path) -> float | None:
    """Training targets a CPU second of a peer as shipped (else as patched), from what benchmarks/peers kept."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    measured = facts.get("measured", facts.get("facts", {}))
    shipped = measured.get("shipped", {}).get("targets_per_cpu_second")
    if shipped is None and facts.get("epochs"):
        shipped = measured["targets"] * len(facts["epochs"]) / sum(epoch["cpu_seconds"] for epoch in facts["epochs"])
    return None if shipped is None else float(shipped)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the configuration, e.g. model.time_bias=on")
    parser.add_argument("--compile", action="store_true", help="the upper layers through torch.compile (its compile time is shown)")
    parser.add_argument("--profile", action="store_true", help="the operations of six steps")
    parser.add_argument("--peer", type=Path, action="append", default=[], help="a result file of benchmarks/peers")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)

    bench = open_run(options.run)
    values = bench.config.plain()
    for assignment in options.set:
        set_dotted(values, assignment)
    bench.config = M6RecConfig.build(values, source=str(options.run))
    torch.manual_seed(bench.config.seed)
    model, task = bench.model, bench.new_task()
    task.bind(training_examples(bench))
    parts = nn.ModuleDict({"model": model, "task": task}).train()
    optimizer = torch.optim.AdamW([p for p in parts.parameters() if p.requires_grad], lr=1e-3)
    begun = time.perf_counter()
    batches = list(task.batches(np.random.default_rng(bench.config.seed)))
    waited = time.perf_counter() - begun
    if options.compile:
        model.upper.compile(dynamic=True)

    def step(batch: np.ndarray) -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(bench.config.model.autocast):
            loss: Tensor = task.loss(model, batch)["choose"]
        loss.backward()
        nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
        optimizer.step()

    begun = time.perf_counter()
    for batch in batches[:WARM_UP]:
        step(batch)
    print(f"{bench.shape.width} wide, {bench.shape.upper_layers} layers, history {bench.shape.history}, time bias {bench.shape.times}; "
          f"{statement(bench.config.model.autocast)}; {options.threads} thread; first {WARM_UP} steps {time.perf_counter() - begun:.1f} s")  # fmt: skip
    rates, operated = [], []
    for number in range(options.steps):
        batch = batches[(WARM_UP + number) % len(batches)]
        begun, used = time.perf_counter(), time.process_time()
        step(batch)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - used
        rates.append((task.targets(batch) / seconds, task.targets(batch) / cpu))
        operated.append(sum(operations(bench, task, batch).values()) / cpu)
    wall, cpu_rate = np.array(rates).T
    print(f"targets/s          median {np.median(wall):8,.0f}   best {wall.max():8,.0f}")
    print(f"targets/CPU second median {np.median(cpu_rate):8,.0f}   best {cpu_rate.max():8,.0f}")
    made = {name: f"{value / 1e9:.1f}" for name, value in operations(bench, task, batches[0]).items()}
    print(f"a step: {', '.join(f'{name} {value} GFLOP' for name, value in made.items())}; median {np.median(operated) / 1e9:.0f} GFLOP a CPU second, "
          f"a matrix product alone reaches {possible() / 1e9:.0f}")  # fmt: skip
    print(f"batches of an epoch planned in {waited:.2f} s ({len(batches)} steps)")
    for path in options.peer:
        other = peer_speed(path)
        if other:
            print(f"{path.stem}: {other:,.0f} targets/CPU second as shipped; ours {np.median(cpu_rate) / other:.1f} times that")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    print(f"peak memory {peak:,.0f} MB")
    if options.profile:
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU]) as found:
            for batch in batches[:6]:
                step(batch)
        print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=40))
    return 0


if __name__ == "__main__":
    sys.exit(main())
