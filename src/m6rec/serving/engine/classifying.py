"""Judging a text or an item alone: one, several, or the rows of a table.

Dimension keys: X rows, L labels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from m6rec.base.arguments import a_text, list_of_texts
from m6rec.base.errors import DataError, UsageError, nearest
from m6rec.data.columns import Columns
from m6rec.data.schema import words
from m6rec.serving.engine.judging import ROWS, column_of, judge_part, labelled, task_named
from m6rec.tasks.judge_labels import LabelSize
from m6rec.tasks.judge_text import JudgeTexts
from m6rec.tasks.served_model import ServedModel
from m6rec.text.word_spans import Span
from m6rec.text.wording import without_field


def classify(scorer: ServedModel, item: int | None, text: str | Sequence[str] | None, task: str | None) -> Any:
    """{label: probability} (classes, tags, and yes), a number, or the labelled spans: of one text or item, or a list of them for a list of texts.

    Raises:
        UsageError: neither text nor item, or both; no such task, or one that reads the other.
    """
    if (item is None) == (text is None):
        raise UsageError("classify takes a text or an item: classify('battery died', task=...) or classify(item='i7', task=...)")
    if scorer.texts is None:
        raise UsageError("this model has no task on texts or items; declare one ({answer: judge, on: text, label: COLUMN}) and train again")
    if task is not None:
        a_text("task", task, "give the name of a task")
    single = text is None or isinstance(text, str)
    if not single:
        text = list_of_texts("text", text, "give words, or a list of texts")
    judge, on = scorer.texts.judge, "text" if item is None else "item"
    able = [name for name, config in judge.configs.items() if config.on == on]
    if task is None and len(able) == 1:
        task = able[0]
    if task is None or task not in able:
        said = "say which task" if task is None else f"'{task}' is no task on {on}s{nearest(task, able)}"
        raise UsageError(f"{said}; those on {on}s: {', '.join(able) or 'none'}")
    asked = _worded_items(scorer, [item], task) if item is not None else [text] if isinstance(text, str) else list(text or ())
    found: list[Any]
    if _labels_words(judge, task):
        found = [[{**vars(span), "text": one[span.start : span.end]} for span in some] for one, some in _spans(scorer, judge, asked, task)]
    else:
        size = judge.sizes.labels[task]
        found = [_worded(row, size) for row in judge.answers(scorer.reader, asked, task)]
    return found[0] if single else found


def tasks_of_table(scorer: ServedModel, columns: Sequence[str], tasks: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """(on candidates, on texts or items): the tasks that a table with these columns is judged by.

    None: those on texts where it has a column text, else those on candidates where it has users, else those on items.

    Raises:
        UsageError: a task that the model does not have; a model that judges no candidates.
    """
    alone = {} if scorer.texts is None else {name: config.on for name, config in scorer.texts.judge.configs.items()}
    if tasks is not None:
        candidates = [task_named(judge_part(scorer), task, others=list(alone)) for task in tasks if task not in alone]
        return candidates, [task for task in tasks if task in alone]
    on = "text" if Columns.TEXT in columns else "candidate" if Columns.USER in columns else "item"
    able = [task for task in alone if alone[task] == on]
    return ([], able) if able else (list(judge_part(scorer).judge.configs), [])


def items_judged(scorer: ServedModel) -> list[str]:
    """The tasks on items."""
    return [] if scorer.texts is None else [name for name, config in scorer.texts.judge.configs.items() if config.on == "item"]


def judge_alone(scorer: ServedModel, frame: pl.DataFrame, task: str, row_of: Callable[[str], int]) -> dict[str, pl.Series]:
    """Columns for the answers of a task on texts (of the column `text`) or items (`item_id`); spans as JSON. Null where there is no text.

    row_of: an item's row of the catalogue. Raises DataError: the column is missing, or a row without an item.
    """
    assert scorer.texts is not None
    judge = scorer.texts.judge
    if judge.configs[task].on == "item":
        ids = column_of(frame, Columns.ITEM)
        given = list(dict.fromkeys(ids))
        worded = dict(zip(given, _worded_items(scorer, [row_of(one) for one in given], task), strict=True))
        said: list[str | None] = [worded[one] for one in ids]
    else:
        if Columns.TEXT not in frame.columns:
            missing = f"{ROWS} have no column '{Columns.TEXT}', which task '{task}' reads"
            raise DataError(f"{missing}{nearest(Columns.TEXT, frame.columns)}; columns: {', '.join(frame.columns)}")
        said = words(frame[Columns.TEXT], ROWS).to_list()
    different = list(dict.fromkeys(text for text in said if text))
    place = {text: at for at, text in enumerate(different)}
    rows = np.array([place.get(text or "", -1) for text in said], dtype=np.int64)
    if _labels_words(judge, task):
        spans = [json.dumps([vars(span) for span in some], ensure_ascii=False) for _, some in _spans(scorer, judge, different, task)]
        return {task: pl.Series(task, [spans[at] if at >= 0 else None for at in rows.tolist()], dtype=pl.String)}
    size = judge.sizes.labels[task]
    answers = judge.answers(scorer.reader, different, task)
    spread = np.full((len(rows), *answers.shape[1:]), np.nan, dtype=np.float32)
    spread[rows >= 0] = answers[rows[rows >= 0]]
    return labelled(size, task, spread)


def _worded_items(scorer: ServedModel, items: list[int], task: str) -> list[str]:
    """Items in words, without the field that the task asks for."""
    assert scorer.texts is not None
    return list(scorer.reader.wording.items(without_field(scorer.catalogue.items.rows(items), scorer.texts.judge.configs[task].label)))


def _labels_words(judge: JudgeTexts, task: str) -> bool:
    return judge.words is not None and task in judge.words.configs


def _spans(scorer: ServedModel, judge: JudgeTexts, texts: Sequence[str], task: str) -> list[tuple[str, list[Span]]]:
    """Each text with the spans found in it."""
    assert judge.words is not None
    return list(zip(texts, judge.words.answers(scorer.reader, texts, task), strict=True))


def _worded(answer: Any, size: LabelSize) -> Any:
    if size.kind in ("classes", "tags"):
        order = np.argsort(-answer, kind="stable")
        return {size.names[code]: float(answer[code]) for code in order.tolist()}
    if size.kind == "binary":
        return {"yes": float(answer), "no": 1.0 - float(answer)}
    if size.kind == "ordinal":
        return float(np.interp(answer, np.arange(len(size.names)), np.array([float(name) for name in size.names])))
    return float(answer)
