"""The baseline of tasks on texts and on items alone: TF-IDF of the same documents that the model reads, and logistic regression.

Dimension keys: A documents asked about, C classes or tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from m6rec.baselines.label_columns import unsuited, whole
from m6rec.baselines.texts import tfidf_regressions
from m6rec.data.labels import Labels
from m6rec.data.row_splits import NAMES as PARTS
from m6rec.data.row_splits import TRAINING, VALIDATION
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.metric_names import higher_is_better, metrics_of
from m6rec.training.judging_texts import own_names
from m6rec.training.kept_answers import Said, kept_answers, labelled

if TYPE_CHECKING:
    from m6rec.training.judging_texts import TextJudging
    from m6rec.training.workbench import Workbench

KINDS = ("binary", "classes", "tags", "ordinal")
MOST_CLASSES = 300
MOST_TEXTS = 30_000  # that it is fitted to, drawn by seed
STRENGTHS = (3.0, 10.0)


def judge_documents(
    bench: Workbench, documents: TextJudging, name: str, ours: Sequence[Judged], held: str, notes: list[str]
) -> list[Judged]:
    """What the baseline says of the documents that the run was measured on. ours: of the run; notes: takes a sentence for what is missing."""
    found, parts = [], documents.examples.parts
    for one in ours:
        task, labels = one.task, documents.labels[one.task]
        sentence = unsuited(name, task, labels, KINDS, MOST_CLASSES)
        if sentence is not None:
            notes.append(sentence)
            continue
        inputs = [task, labelled(documents.configs[task])]
        said = kept_answers(bench, f"{name}-of-documents", inputs, partial(_say, bench, documents, name, task))
        if task not in said.answers:
            notes.append(said.statement)
            continue
        there = said.answers[task][parts[said.rows] == PARTS.index(held)]
        found.append(replace(one, name=name, predicted=there, statements=[*one.statements, said.statement]))
    return found


def _say(bench: Workbench, documents: TextJudging, name: str, task: str) -> Said:
    examples, labels = documents.examples, documents.labels[task]
    bench.progress.say(f"  fitting {name} to the documents of {task}")
    known, values = examples.known(task), examples.labels[task]
    known[documents.place[task].stop :] = False  # changed copies stand behind what was given
    training = np.flatnonzero(known & (examples.parts == TRAINING))
    drawn = training
    if len(training) > MOST_TEXTS:
        drawn = np.sort(np.random.default_rng([bench.config.seed, 8]).choice(training, MOST_TEXTS, replace=False))
    validation = np.flatnonzero(known & (examples.parts == VALIDATION))
    asked = np.flatnonzero(known & (examples.parts > TRAINING))
    truth = values[drawn]
    columns = np.flatnonzero(truth.min(axis=0) < truth.max(axis=0)) if truth.ndim == 2 and len(truth) else np.unique(truth)
    if not len(columns) or (truth.ndim == 1 and len(columns) < 2):
        return Said(asked, {}, f"{name} does not judge {task}: its {len(training):,} training labels do not differ.")
    texts = [[examples.documents[row] for row in some.tolist()] for some in (drawn, asked)]
    rate = truth.mean(axis=0) if truth.ndim == 2 else np.zeros(0)
    metric, best, chosen = metrics_of(labels.kind, bench.config.judges[task].metrics, task=task)[0], -np.inf, ""
    sign, answer = 1.0 if higher_is_better(metric) else -1.0, np.zeros(0)
    inside = np.isin(asked, validation)
    for settings, (table,) in tfidf_regressions(texts, truth[:, columns] if truth.ndim == 2 else truth, strong=True, strengths=STRENGTHS):
        one = _answer(labels, table, columns, rate)
        reached = _value(labels, values[validation], one[inside], metric) * sign if len(validation) else 0.0
        if not chosen or reached > best:
            best, answer, chosen = reached, one, f"C {settings['C']:g}, {settings['features']:,} n-grams"
    fitted = f"{len(drawn):,} of {len(training):,}" if len(drawn) < len(training) else f"{len(training):,}"
    statement = f"{name} of {task}: TF-IDF of words, pairs of words and runs of characters; fitted to {fitted} training documents, "
    return Said(asked, {task: answer}, f"{statement}chosen on {len(validation):,} ({chosen}).")


def _answer(labels: Labels, table: np.ndarray, columns: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """float32 (A,) or (A, C). table: a column for each of `columns`, the classes that training shows or the tags that differ there; rate: of tags."""
    if labels.kind == "binary":
        return table[:, 1].astype(np.float32)
    wide = np.tile(rate, (len(table), 1)) if labels.kind == "tags" else np.zeros((len(table), len(labels.names)))
    wide[:, columns.astype(np.int64)] = table
    return wide.astype(np.float32) if labels.kind == "tags" else whole(wide)


def _value(labels: Labels, truth: np.ndarray, predicted: np.ndarray, metric: str) -> float:
    """Of validation documents; 0 where it is undefined."""
    judged = Judged("", "", labels.kind, truth, predicted, names=own_names(labels), metrics=[metric])
    return float(np.nan_to_num(judged.value(metric)))
