"""Rows of the benchmark of texts: reading the folders, and the baseline that counts words (m6rec.baselines.texts) on them.

A folder is told by what is in it: reviews (CSV files with a 0/1 column `label`, a text column and perhaps `cat`) or queries (train.csv and
test.csv with `text` and one more column).
"""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from m6rec.baselines.texts import STRENGTHS, tfidf_regressions
from m6rec.tasks.text_documents import TEST, TRAINING, VALIDATION, TextExamples


@dataclass
class Corpus:
    """Texts with labels of several tasks; codes float32, NaN unknown; parts 0 training, 1 validation, 2 test."""

    texts: list[str] = field(default_factory=list)
    labels: dict[str, list[float]] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    parts: list[int] = field(default_factory=list)

    def examples(self, tasks: Sequence[str], batch_rows: int | None = None) -> TextExamples:
        """All texts that have a label of one of the tasks; the test labels are left out of what trains."""
        values = {name: np.array(self.labels[name], dtype=np.float32) for name in tasks}
        some = np.any([~np.isnan(one) for one in values.values()], axis=0)
        texts = [text for text, keep in zip(self.texts, some, strict=True) if keep]
        return TextExamples(texts, {n: v[some] for n, v in values.items()}, np.array(self.parts, np.int8)[some], batch_rows)


def part_of(text: str) -> int:
    """80 / 10 / 10 by hash."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 10
    return TRAINING if number < 8 else number - 7


def read_corpus(named: Sequence[str]) -> Corpus:
    """Every NAME=FOLDER, as tasks NAME_label and so on."""
    corpus, rows = Corpus(), []
    for one in named:
        name, _, folder = one.partition("=")
        path = Path(folder)
        queries = path / "train.csv", path / "test.csv"
        rows += query_rows(name, *queries) if queries[1].exists() else review_rows(name, path)
    tasks = sorted({task for _, labels, _ in rows for task in labels})
    for task in tasks:
        corpus.names[task] = sorted({labels[task] for _, labels, _ in rows if task in labels})
        code = {label: float(place) for place, label in enumerate(corpus.names[task])}
        corpus.labels[task] = [code[labels[task]] if task in labels else float("nan") for _, labels, _ in rows]
    corpus.texts, corpus.parts = [row[0] for row in rows], [row[2] for row in rows]
    return corpus


def review_rows(name: str, folder: Path) -> list[tuple[str, dict[str, str], int]]:
    """(text, task -> label, part); a text that was there before is left out."""
    rows, seen = [], set()
    for path in sorted(folder.glob("*.csv*"), key=lambda path: -path.stat().st_size):
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                text = (row.get("review") or row.get("text") or "").strip()
                if text and text not in seen:
                    seen.add(text)
                    labels = {f"{name} sentiment": row["label"]} | ({f"{name} category": row["cat"]} if row.get("cat") else {})
                    rows.append((text, labels, part_of(text)))
    return rows


def query_rows(name: str, training: Path, test: Path) -> list[tuple[str, dict[str, str], int]]:
    """The files' own training and test parts; validation out of training by hash."""
    rows = []
    for path in (training, test):
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                label = next(value for key, value in row.items() if key != "text")
                part = TEST if path == test else VALIDATION if part_of(row["text"].strip()) == VALIDATION else TRAINING
                rows.append((row["text"].strip(), {f"{name} intent": label}, part))
    return rows


def baseline(examples: TextExamples, task: str, strong: bool, strengths: Sequence[float] = STRENGTHS) -> dict[str, Any]:
    """Accuracy on validation and test of logistic regression; C and, for the strong one, the counted runs are chosen on validation."""
    known, labels = examples.known(task), examples.labels[task]
    rows = [np.flatnonzero(known & (examples.parts == part)) for part in (TRAINING, VALIDATION, TEST)]
    texts = [[examples.documents[at] for at in some.tolist()] for some in rows]
    classes = np.unique(labels[rows[0]])
    best: dict[str, Any] = {"validation": -1.0}
    for settings, said in tfidf_regressions(texts, labels[rows[0]], strong=strong, strengths=strengths):
        reached = [float((classes[table.argmax(axis=1)] == labels[some]).mean()) for table, some in zip(said, rows[1:], strict=True)]
        if reached[0] > best["validation"]:
            best = {"validation": reached[0], "test": reached[1], **settings}
    return best
