"""Items that dialogues name next: popularity and BM25 beside the model, recall at 1, 10 and 50 with intervals over dialogues.

A case is an item that an assistant is the first to name, given all words and items before its turn; items named before are not ranked (repeated mentions
are left out on both sides). Ties count as the expected rank.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from m6rec.base.contracts import Histories, Requests
from m6rec.data.dataset import Table
from m6rec.data.dialogue_rows import DialogueRows, DialogueSplit
from m6rec.evaluation.metrics import expected_ranks
from m6rec.text.words import words

AT = (1, 10, 50)
GRID = [(k1, b) for k1 in (0.6, 1.2, 2.0, 5.0) for b in (0.0, 0.15, 0.3, 0.5, 0.75)]
ROWS = 256
RESAMPLES = 1000
Scores = Callable[[Requests], np.ndarray]


@dataclass(frozen=True)
class Found:
    """Ranks of the right items of one method, and the dialogue of each."""

    name: str
    ranks: np.ndarray
    dialogues: np.ndarray

    def recall(self, at: int) -> np.ndarray:
        return (self.ranks <= at).astype(np.float64)


def measured(name: str, scores: Scores, rows: DialogueRows) -> Found:
    """One method on the rows."""
    cases = rows.cases()
    ranks = []
    for start in range(0, len(rows), ROWS):
        some = np.arange(start, min(start + ROWS, len(rows)))
        asked = cases.requests.rows(some)
        ranks.append(expected_ranks(scores(asked), cases.targets.rows(some), asked.histories))
    return Found(name, np.concatenate(ranks), rows.dialogues)


def popularity(split: DialogueSplit, events: Histories | None, items: int) -> list[tuple[str, Scores]]:
    """By what assistants name first, by what dialogues name, and by that with further events."""
    counts = {
        "named by assistants": np.bincount(split.train.targets, minlength=items),
        "named": np.bincount(split.sequences.items, minlength=items),
    }
    if events is not None:
        counts["named, with events"] = counts["named"] + np.bincount(events.items, minlength=items)
    return [(f"popularity ({name})", _constant(count.astype(np.float32))) for name, count in counts.items()]


def bm25(documents: list[Counter[str]], name: str) -> list[tuple[str, Scores]]:
    """BM25 of all words of the dialogue against a document for each item, for every pair of constants of the grid."""
    vocabulary = {word: column for column, word in enumerate(sorted({word for counts in documents for word in counts}))}
    counts = _rows(documents, vocabulary)
    having = np.bincount(counts.indices, minlength=len(vocabulary))
    idf = np.log1p((counts.shape[0] - having + 0.5) / (having + 0.5))
    length = np.asarray(counts.sum(axis=1)).ravel()
    length = length / max(length.mean(), 1e-9)
    owner = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    found: list[tuple[str, Scores]] = []
    for k1, b in GRID:
        values = idf[counts.indices] * counts.data * (k1 + 1) / (counts.data + k1 * (1 - b + b * length[owner]))
        table = csr_array((values.astype(np.float32), counts.indices, counts.indptr), shape=counts.shape)
        found.append((f"BM25 {name} (k1 {k1:g}, b {b:g})", _asking(table, vocabulary)))
    return found


def catalogue_documents(items: Table) -> list[Counter[str]]:
    """The words of each item's fields."""
    documents: list[Counter[str]] = [Counter() for _ in range(len(items))]
    for name in items.fields:
        for counts, value in zip(documents, items.frame[name].to_list(), strict=True):
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str):
                    counts.update(words(text))
    return documents


def dialogue_documents(split: DialogueSplit, items: int) -> list[Counter[str]]:
    """All that was said in the training dialogues that name each item."""
    documents: list[Counter[str]] = [Counter() for _ in range(items)]
    for number, text in enumerate(split.words):
        said = Counter(words(text))
        for item in split.sequences.row(number).tolist():
            documents[item].update(said)
    return documents


def best_of(methods: Iterable[tuple[str, Scores]], rows: DialogueRows) -> tuple[str, Scores]:
    """The method with the best recall at 10 and 50 together on the validation rows."""
    tried = [(float(found.recall(10).mean() + found.recall(50).mean()), name, scores)
             for name, scores in methods for found in [measured(name, scores, rows)]]  # fmt: skip
    _, name, scores = max(tried, key=lambda one: one[0])
    return name, scores


def compared(found: list[Found], ours: str, baselines: list[str], seed: int) -> list[dict[str, Any]]:
    """Rows of the table: recall of every method with its interval; of ours the ratio to the better of the baselines, interval over dialogues."""
    by_name = {one.name: one for one in found}
    dialogues, place = np.unique(found[0].dialogues, return_inverse=True)
    draws = np.random.default_rng(seed).multinomial(len(dialogues), np.full(len(dialogues), 1 / len(dialogues)), size=RESAMPLES)
    sizes = np.bincount(place, minlength=len(dialogues)).astype(np.float64)
    sums = {(one.name, at): np.bincount(place, weights=one.recall(at), minlength=len(dialogues)) for one in found for at in AT}
    drawn = {key: draws @ value / (draws @ sizes) for key, value in sums.items()}
    rows = []
    for name in by_name:
        row: dict[str, Any] = {"method": name}
        for at in AT:
            row[f"recall@{at}"] = float(by_name[name].recall(at).mean())
            row[f"interval@{at}"] = [float(bound) for bound in np.quantile(drawn[name, at], [0.025, 0.975])]
            if name == ours:
                best = max(baselines, key=lambda other, at=at: float(by_name[other].recall(at).mean()))
                row[f"ratio@{at}"] = float(by_name[name].recall(at).mean() / max(by_name[best].recall(at).mean(), 1e-9))
                row[f"over@{at}"] = best
                ratios = drawn[name, at] / np.maximum(drawn[best, at], 1e-9)
                row[f"ratio interval@{at}"] = [float(bound) for bound in np.quantile(ratios, [0.025, 0.975])]
        rows.append(row)
    return rows


def _constant(scores: np.ndarray) -> Scores:
    return lambda requests: np.tile(scores, (len(requests), 1))


def _asking(table: csr_array, vocabulary: dict[str, int]) -> Scores:
    def scores(requests: Requests) -> np.ndarray:
        asked = _rows([Counter(words(text)) for text in requests.texts or []], vocabulary)
        return csr_array(asked @ table.T).toarray().astype(np.float32)

    return scores


def _rows(documents: list[Counter[str]], vocabulary: dict[str, int]) -> csr_array:
    known = [sorted((vocabulary[word], count) for word, count in counts.items() if word in vocabulary) for counts in documents]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in known])]).astype(np.int64)
    columns = np.array([column for row in known for column, _ in row], dtype=np.int32)
    values = np.array([count for row in known for _, count in row], dtype=np.float64)
    return csr_array((values, columns, offsets), shape=(len(documents), len(vocabulary)))
