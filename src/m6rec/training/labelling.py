"""Rows of a trained run that a person should label next, as a table to fill in, and the filled table read back.

The pool is what the run has no label of (texts of its data, or its items), or a file of texts. What comes back is a table of texts with their
labels that `data.texts` can name beside the others (for a task on items: item_id and the field).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.base.errors import DataError, UsageError, nearest
from m6rec.data.columns import Columns
from m6rec.data.labels import read_labels
from m6rec.tasks.judge_labels import LabelSize
from m6rec.tasks.judge_text import JudgeTexts
from m6rec.tasks.served_model import ServedModel
from m6rec.tasks.text_documents import Documents
from m6rec.text.wording import without_field
from m6rec.training.active_learning import suggest

GUESS, WORTH, REASON = "guess", "worth", "reason"
ADDED = (GUESS, WORTH, REASON)
CHOSEN = "rows to label are chosen for whole texts or items, with yes or no (binary), classes or tags"
MOST_LABELLED = 20_000  # labelled rows that new ones are compared with


@dataclass(frozen=True)
class Pool:
    """Rows to choose from. frame: what identifies a row (kind, user_id, item_id, text; of items item_id and title). documents: what is read
    of each. labelled: documents that have a label."""

    frame: pl.DataFrame
    documents: list[str]
    labelled: list[str]


def to_label(model: ServedModel, task: str, count: int, texts: pl.DataFrame | None = None, seed: int = 0) -> pl.DataFrame:
    """The `count` rows to label next, the most worth first: what identifies them, an empty column for the label, guess, worth and reason.

    texts: a pool of one's own, with a column `text`; None: the texts (items) of the run without a label.

    Raises:
        UsageError: no such task, or one on words or numbers.  DataError: nothing is left to label.
    """
    judge = _judge(model, task)
    size = _label_size(judge, task)
    if size.kind not in ("binary", "classes", "tags"):
        raise UsageError(f"task '{task}' judges a {size.kind}; {CHOSEN}")
    pool = _pool(model, judge, task, texts)
    label = judge.configs[task].label
    if not pool.documents:
        raise DataError(f"task {task}: every row has a label ({len(pool.labelled):,}); give others with --texts FILE")
    documents = Documents.of([*pool.documents, *pool.labelled], judge.ngrams, model.reader)
    answers = judge.answered(model.reader.model, documents, task, np.arange(len(pool.documents)))
    names = size.names or ["yes"]
    vectors = documents.vectors(model.reader.model, seed)
    chosen = suggest(
        vectors[: len(pool.documents)],
        answers.reshape(len(answers), -1),
        names,
        vectors[len(pool.documents) :],
        count,
        labels_per_class=len(pool.labelled) / max(len(size.names), 2),
        seed=seed,
    )
    rows = pool.frame[[one.row for one in chosen]]
    return rows.with_columns(
        pl.lit(None, dtype=pl.String).alias(label),
        pl.Series(GUESS, [one.guess for one in chosen]),
        pl.Series(WORTH, [round(one.worth, 4) for one in chosen]),
        pl.Series(REASON, [one.reason for one in chosen]),
    )


def read_filled(model: ServedModel, task: str, frame: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The rows of a filled table that have a label now, without what was added for the person, and how many were left blank.

    Texts that say no kind become the first kind that the task reads, where it reads some only: else training would pass them by.

    Raises:
        UsageError: no such task, or one on words.
        DataError: the column of the label is missing, every row is blank, or a label is not among those of the task.
    """
    judge = _judge(model, task)
    label, size = judge.configs[task].label, _label_size(judge, task)
    if label not in frame.columns:
        raise DataError(f"the filled table has no column '{label}'{nearest(label, frame.columns)}; keep the columns as they were written")
    given = frame[label].cast(pl.String).str.strip_chars()
    filled = frame.with_columns(given.alias(label)).filter(given.is_not_null() & (given != ""))
    if not filled.height:
        raise DataError(f"no row of the filled table has a label; write one into the column '{label}'")
    names = size.names if size.kind in ("classes", "tags") else None
    what = f"task {task}, column '{label}'"
    read_labels(filled[label], size.kind, judge.configs[task].positive, what=what, names=names, check=False)
    kinds = judge.configs[task].texts
    if kinds:
        kind = pl.col(Columns.KIND) if Columns.KIND in filled.columns else pl.lit(None, dtype=pl.String)
        filled = filled.with_columns(kind.fill_null(kinds[0]).alias(Columns.KIND))
    return filled.drop([name for name in ADDED if name in filled.columns]), frame.height - filled.height


def _judge(model: ServedModel, task: str) -> JudgeTexts:
    if model.texts is None or task not in model.texts.judge.configs:
        known: Sequence[str] = [] if model.texts is None else list(model.texts.judge.configs)
        hint = nearest(task, list(known)) or f"; those: {', '.join(known) or 'none'}"
        raise UsageError(f"'{task}' is no task of this run on texts or items{hint}")
    return model.texts.judge


def _label_size(judge: JudgeTexts, task: str) -> LabelSize:
    """Raises UsageError: the task labels the words of a text, whose spans no cell of a table is filled in with."""
    if task not in judge.sizes.labels:
        raise UsageError(f"task '{task}' labels the words of a text (kind: tokens); {CHOSEN}")
    return judge.sizes.labels[task]


def _pool(model: ServedModel, judge: JudgeTexts, task: str, texts: pl.DataFrame | None) -> Pool:
    config, dataset = judge.configs[task], model.dataset
    if config.on == "item":
        if texts is not None:
            raise UsageError(f"task '{task}' is on items; leave --texts out")
        items = dataset.items
        worded = model.reader.wording.items(without_field(items, config.label))
        column = items.frame[config.label]
        known = (column.list.len() > 0 if isinstance(column.dtype, pl.List) else column.is_not_null()).fill_null(False).to_numpy()
        frame = pl.DataFrame({Columns.ITEM: items.ids.ids, "title": items.titles()})
        return _cut(frame, worded, known)
    if dataset.texts is None or config.label not in dataset.texts.columns:
        own = pl.DataFrame({Columns.TEXT: pl.Series([], dtype=pl.String), config.label: pl.Series([], dtype=pl.String)})
    else:
        own = dataset.texts if config.texts is None else dataset.texts.filter(pl.col(Columns.KIND).is_in(config.texts))
    labelled = own.filter(pl.col(config.label).is_not_null())[Columns.TEXT].to_list()
    if texts is not None:
        if Columns.TEXT not in texts.columns:
            raise DataError(f"the texts to choose from have no column '{Columns.TEXT}'{nearest(Columns.TEXT, texts.columns)}")
        others = texts.filter(pl.col(Columns.TEXT).is_not_null()).unique(Columns.TEXT, keep="first", maintain_order=True)
        kept = others.drop([name for name in (config.label, *ADDED) if name in others.columns])
        return Pool(kept, others[Columns.TEXT].to_list(), labelled[:MOST_LABELLED])
    free = own.filter(pl.col(config.label).is_null() & ~pl.col(Columns.TEXT).is_in(labelled)).unique(
        Columns.TEXT, keep="first", maintain_order=True
    )
    shown = [name for name in (Columns.KIND, Columns.USER, Columns.ITEM, Columns.TEXT) if name in free.columns]
    return Pool(free.select(shown), free[Columns.TEXT].to_list(), labelled[:MOST_LABELLED])


def _cut(frame: pl.DataFrame, documents: list[str], known: np.ndarray) -> Pool:
    labelled = [documents[row] for row in np.flatnonzero(known).tolist()]
    return Pool(frame.filter(pl.Series(~known)), [documents[row] for row in np.flatnonzero(~known).tolist()], labelled[:MOST_LABELLED])
