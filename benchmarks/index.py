"""Approximate search against exact: recall, time of a query, building time and memory, by size of the catalogue and kind of index.

    python benchmarks/index.py [--sizes 10000 100000 1000000] [--kinds exact ivf ivf_int8 ivf_pq hnsw] [--run RUN] [--texts 20000 100000] [--out FOLDER]

Vectors are made by seed: clusters, as learned item vectors have, of the width and the spread of logits that trained models showed. With
--run, the item vectors of a trained run are measured too, and its answers by the candidate path against scoring everything. With
--texts, the text neighbours of catalogues of so many items. Times are CPU times of one thread, so other work on the machine does not
count. What was measured stays in index.json and is not measured again. Writes index.md, index.json and index.svg.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

from m6rec.evaluation.plots import Line, line_chart
from m6rec.index.approximate import FaissIndex, faiss_threads
from m6rec.index.build import build_index, describe, recall
from m6rec.index.config import IndexConfig
from m6rec.index.exact import ExactIndex, top_k
from m6rec.tasks.choose_candidates import ChooseCandidates, sample_states

AT = 50
STYLE = """<style>text { font: 12px sans-serif; fill: #222; } .tick { fill: #666; font-size: 11px; } .strong { font-weight: 700; }
.grid { stroke: #ddd; } .axis { stroke: #666; } .line { fill: none; stroke-width: 1.7; } .first { stroke-width: 2.6; } .dot { stroke: none; }
.c0 { stroke: #0b6e4f; } .c1 { stroke: #c2571a; } .c2 { stroke: #2f5fa8; } .c3 { stroke: #8a2f6b; } .c4 { stroke: #777; }
.d1 { stroke-dasharray: 7 3; } .d2 { stroke-dasharray: 2 2.5; } .d3 { stroke-dasharray: 9 3 2 3; } .d4 { stroke-dasharray: 4 4; }</style>"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="*", default=["exact", "ivf", "ivf_int8", "ivf_pq", "hnsw"])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, action="append", default=[], help="a run or model folder; may be repeated")
    parser.add_argument("--texts", type=int, nargs="*", default=[], help="sizes of catalogues for the text neighbours")
    parser.add_argument("--out", type=Path, default=Path("runs/index"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    record = options.out / "index.json"
    rows: dict[str, Any] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}

    def measured(key: str, measure: Callable[[], dict[str, Any]]) -> None:
        if key not in rows:
            rows[key] = measure()
            record.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
            (options.out / "index.md").write_text(page(rows), encoding="utf-8")
            print(key, rows[key], flush=True)

    for size in options.sizes:
        vectors, queries = synthetic(size, options.width, options.seed)
        for kind in options.kinds:
            measured(f"{size} {kind}", lambda v=vectors, q=queries, k=kind: measure_kind(v, q, k, options.seed))
        measured(f"normaliser {size}", lambda v=vectors, q=queries: measure_normaliser(v, q, options.seed))
    for run in options.run:
        measured(f"run {'/'.join(run.resolve().parts[-2:])}", lambda r=run: measure_run(r, options.seed))
    for size in options.texts:
        measured(f"texts {size}", lambda s=size: measure_texts(s, options.seed))
    (options.out / "index.md").write_text(page(rows), encoding="utf-8")
    if any("curve" in row for row in rows.values()):
        (options.out / "index.svg").write_text(chart(rows), encoding="utf-8")
    print(page(rows))


def synthetic(count: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 (N, W) clustered vectors and (1024, W) states: logits have a standard deviation of about 1.7, vectors a length around 0.8."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((max(50, count // 100), width))
    lengths = generator.lognormal(0, 0.25, (count, 1)) * 0.8 / math.sqrt(1.49 * width)
    vectors = np.empty((count, width), dtype=np.float32)
    for start in range(0, count, 50_000):
        end = min(start + 50_000, count)
        middle = centres[generator.integers(len(centres), size=end - start)]
        vectors[start:end] = (middle + 0.7 * generator.standard_normal(middle.shape)) * lengths[start:end]
    states = centres[generator.integers(len(centres), size=1024)] + 1.2 * generator.standard_normal((1024, width))
    states *= 1.7 / 0.8 * math.sqrt(width) / np.linalg.norm(states, axis=1, keepdims=True)
    return vectors, states.astype(np.float32)


def measure_kind(vectors: np.ndarray, queries: np.ndarray, kind: str, seed: int) -> dict[str, Any]:
    """Building on half of the queries, measuring on the other half."""
    config = IndexConfig(kind=kind, exact_below=0, recall_at=AT)  # type: ignore[arg-type]
    begun = time.process_time()
    index = build_index(vectors, config, queries[:512], seed)
    building = time.process_time() - begun
    asked = queries[512:768]
    truth = ExactIndex(vectors).search(asked, AT)[0]
    found = index.search(asked, AT)[0]
    row = {
        **describe(index),
        "build_s": round(building, 1),
        "query_ms": query_ms(lambda one: index.search(one, AT), asked),
        "query_1000_ms": query_ms(lambda one: index.search(one, 1000), asked),
        "recall": round(float(recall(found, truth).mean()), 4),
        "megabytes": round((vectors.nbytes if isinstance(index, ExactIndex) else index.bytes()) / 1e6, 1),  # type: ignore[attr-defined]
    }
    if isinstance(index, FaissIndex):
        row["curve"] = curve(index, asked, truth)
    return row


def curve(index: FaissIndex, asked: np.ndarray, truth: np.ndarray) -> list[list[float]]:
    """[ms, recall] while the effort is doubled."""
    points, kept = [], index.facts
    efforts = [2**power for power in range(12) if kept.effort / 16 <= 2**power <= kept.effort * 4]
    for effort in efforts:
        index.facts = replace(kept, effort=effort)
        points.append(
            [query_ms(lambda one: index.search(one, AT), asked[:64]), round(float(recall(index.search(asked, AT)[0], truth).mean()), 4)]
        )
    index.facts = kept
    return points


def query_ms(answer: Callable[[np.ndarray], object], queries: np.ndarray) -> float:
    """Median CPU milliseconds of one query at a time."""
    taken = []
    with faiss_threads(1):
        for number in range(len(queries)):
            begun = time.thread_time()
            answer(queries[number : number + 1])
            taken.append(1000 * (time.thread_time() - begun))
    return round(float(np.median(taken[len(taken) // 8 :])), 3)


def measure_normaliser(vectors: np.ndarray, queries: np.ndarray, seed: int) -> dict[str, Any]:
    """How far the softmax's normaliser, from what the search finds and a draw, is from the sum over everything."""
    states = torch.from_numpy(queries[768:])
    found, products = ExactIndex(vectors).search(queries[768:], 1000)
    path = ChooseCandidates(SimpleNamespace(vectors=torch.from_numpy(vectors)), ExactIndex(vectors), seed=seed)  # type: ignore[arg-type]
    begun = time.process_time()
    estimated = path._log_total(states, found, products)
    took = 1000 * (time.process_time() - begun) / len(states)
    blocks = [torch.logsumexp((states[start : start + 16] @ path.mixture.vectors.T).double(), dim=1) for start in range(0, len(states), 16)]
    error = np.abs(np.expm1(estimated - torch.cat(blocks).numpy()))
    return {"mean_error": round(float(error.mean()), 5), "p95_error": round(float(np.quantile(error, 0.95)), 5), "ms": round(took, 3)}


def measure_run(run: Path, seed: int) -> dict[str, Any]:
    """The candidate path of a trained run against scoring its whole catalogue: 256 people."""
    from m6rec.base.contracts import Requests
    from m6rec.tasks.model_folder import ChooseScorer

    scorer = ChooseScorer.load(run if (run / "config.json").exists() else run / "model")
    histories = scorer.dataset.histories
    users = np.sort(np.random.default_rng(seed + 1).choice(len(histories), min(256, len(histories)), replace=False))
    requests = Requests(histories.rows(users), users=users)
    vectors = scorer.vectors.numpy()
    row: dict[str, Any] = {"items": len(vectors)}
    asked = sample_states(scorer, histories, 512, seed)
    index = build_index(vectors, IndexConfig(exact_below=0, kind="ivf"), asked, seed)
    wanted, _ = top_k(scorer.scores(requests), 10)
    for count, tail in ((200, 2048), (1000, 131_072)):
        path = ChooseCandidates(scorer, index, count, tail, seed)
        question = path.ask(requests)
        items = path.candidates(question, 10)
        places, _ = top_k(path.scores_of(question, items)[0], 10)
        chosen = np.take_along_axis(items, places, axis=1)
        same = [len(np.intersect1d(ours, theirs)) / 10 for ours, theirs in zip(chosen, wanted, strict=True)]
        row[f"{count} found, {min(tail, len(vectors))} drawn"] = {
            "same place": round(float((chosen == wanted).mean()), 4),
            "same items": round(float(np.mean(same)), 4),
        }
    return {**row, **describe(index)}


def measure_texts(items: int, seed: int) -> dict[str, Any]:
    """Text neighbours of a made-up catalogue: time, and recall at 20 on items that the cut was not chosen on."""
    from m6rec.text.postings import Postings
    from m6rec.text.similarity import _eased, _neighbours, similarity_vectors, text_neighbours

    matrix, idf = catalogue_words(items, seed)
    vectors = similarity_vectors(matrix, idf)
    postings = Postings(vectors)
    limit = _eased(postings, 0.95)
    sample = np.sort(np.random.default_rng(seed).choice(items, 200, replace=False))
    truth = {item: cosines for item, _, cosines in _neighbours(postings, None, 20, only=sample) if len(cosines)}
    found = {item: cosines for item, _, cosines in _neighbours(postings, limit, 50, only=sample)}
    shares = [min(1.0, np.count_nonzero(found[item] >= near[-1] - 1e-6) / len(near)) for item, near in truth.items()]
    begun = time.process_time()
    text_neighbours(vectors, keep=50, power=2.0, exact_work=0)
    took = time.process_time() - begun
    whole = round(postings.whole_work / items)
    work = round(float(postings.work(limit).mean()))
    return {
        "seconds": round(took, 1),
        "ms an item": round(1000 * took / items, 3),
        "recall@20": round(float(np.mean(shares)), 4),
        "products an item": work,
        "of": whole,
    }


def catalogue_words(items: int, seed: int) -> tuple[csr_array, np.ndarray]:
    """Bag rows and idf of items with 4 to 12 words (half of them of their topic, all heavy-tailed), a category, a brand and a price bucket."""
    generator = np.random.default_rng(seed)
    words, topics = 60_000, max(20, items // 500)
    topic = generator.integers(topics, size=items)
    rows = np.repeat(np.arange(items), generator.integers(4, 13, size=items))
    own = (topic[rows] * 7919 + (generator.pareto(1.1, len(rows)) * 4).astype(np.int64) * 104_729) % words
    common = np.minimum((generator.pareto(1.0, len(rows)) * 3).astype(np.int64), words - 1)
    columns = [np.where(generator.random(len(rows)) < 0.55, own, common), words + topic % 200]
    columns += [words + 200 + np.minimum((generator.pareto(0.8, items) * 5).astype(np.int64) + (topic % 50) * 20, 19_999)]
    columns += [words + 20_200 + generator.integers(10, size=items)]
    places = np.concatenate([rows, *(np.arange(items),) * 3])
    matrix = csr_array((np.ones(len(places), np.float32), (places, np.concatenate(columns))), shape=(items, words + 20_210))
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    having = np.bincount(matrix.indices, minlength=matrix.shape[1])
    return csr_array(matrix[:, having >= 2]), np.log1p(items / having[having >= 2]).astype(np.float32)


def page(rows: dict[str, Any]) -> str:
    """Everything measured, as Markdown tables."""
    lines = [
        f"| vectors | index | recall@{AT} | query ms | query ms, 1,000 wanted | build s | MB | effort |",
        "|---|---|---|---|---|---|---|---|",
    ]
    searches = {key: row for key, row in rows.items() if key.split()[0].isdigit()}
    for key, row in searches.items():
        size, kind = key.split()
        lines.append(
            f"| {int(size):,} | {kind} | {row['recall']:.3f} | {row['query_ms']} | {row['query_1000_ms']} | {row['build_s']} | {row['megabytes']:,} | "
            f"{row.get('effort', '')} |"
        )
    for key, row in rows.items():
        if key not in searches:
            lines += ["", f"{key}: " + ", ".join(f"{name} {value}" for name, value in row.items())]
    return "\n".join(lines) + "\n"


def chart(rows: dict[str, Any]) -> str:
    """Recall over the time of a query at the largest size measured."""
    curves = {key: row["curve"] for key, row in rows.items() if "curve" in row}
    largest = max((int(key.split()[0]) for key in curves), default=0)
    lines = []
    for key, points in curves.items():
        if int(key.split()[0]) == largest:
            ordered = sorted(points)
            lines.append(Line(key.split()[1], [ms for ms, _ in ordered], [reached for _, reached in ordered]))
    title = f"Recall at {AT} over CPU milliseconds of a query, {largest:,} vectors"
    drawn = line_chart(
        "index",
        title,
        "One line a kind of index; each point doubles the effort.",
        lines,
        x_label="ms of a query",
        y_label=f"recall@{AT}",
        log_x=True,
    )
    return drawn.replace("<title", STYLE + "<title", 1)


if __name__ == "__main__":
    main()
