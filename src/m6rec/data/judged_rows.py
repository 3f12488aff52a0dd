"""The rows and labels of one task: of the exposures in its scenarios, the texts of its kinds, or the items; and whether they can be
learned from.

Dimension keys: X rows, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from m6rec.base.errors import DataError, nearest
from m6rec.data.columns import Columns
from m6rec.data.dataset import Dataset, FieldType
from m6rec.data.labels import Labels, read_labels
from m6rec.data.schema import more, shown


def exposure_labels(
    dataset: Dataset,
    label: str,
    *,
    task: str,
    kind: str | None = None,
    positive: str | None = None,
    scenarios: Sequence[str] | None = None,
    names: list[str] | None = None,
    check: bool = True,
) -> Labels:
    """The labels of a task on candidates, one for every exposure; unknown (NaN) outside the task's scenarios.

    Args:
        label: a column of `Dataset.exposures.labels`.  task: its name, for messages.
        kind, positive, names, check: as `read_labels`.  scenarios: where the task is asked; None: everywhere.

    Raises:
        DataError: no exposures or no such column; a scenario that there is none of, that has no row, or no row with a label; labels that
            nothing can be learned from.
    """
    what = f"task {task}, column '{label}'"
    rows = dataset.exposures
    if rows is None or label not in rows.labels.columns:
        known = [] if rows is None else rows.labels.columns
        hint = nearest(label, known) or f"; label columns: {', '.join(known) or 'none'}"
        raise DataError(f"{what}: the exposures have no such column{hint}; say data.exposures: <file>, or correct tasks.{task}.label")
    if scenarios is None:
        return read_labels(rows.labels[label], kind, positive, what=what, names=names, check=check)
    asked = np.zeros(len(rows), dtype=bool)
    for name in scenarios:
        there = _in_scenario(dataset, name, what)
        if check and rows.labels[label].filter(pl.Series(there)).null_count() == int(there.sum()):
            raise DataError(
                f"{what}: scenario '{name}' has {int(there.sum()):,} exposures and none has a label; take it out of tasks.{task}.scenarios"
            )
        asked |= there
    return read_labels(_only(rows.labels[label], pl.Series(asked)), kind, positive, what=what, names=names, check=check)


def text_labels(
    texts: pl.DataFrame,
    label: str,
    *,
    task: str,
    kind: str | None = None,
    positive: str | None = None,
    kinds: Sequence[str] | None = None,
    names: list[str] | None = None,
    check: bool = True,
) -> Labels:
    """The labels of a task on texts, one for every row; unknown (NaN) outside the kinds of texts that it reads.

    Raises:
        DataError: no such column, a kind of text that there is none of, labels that nothing can be learned from, a span that ends beyond
            its text.
    """
    what = f"task {task}, column '{label}'"
    if label not in texts.columns:
        raise DataError(f"{what}: the texts have no such column{nearest(label, texts.columns)}; correct tasks.{task}.label")
    column = texts[label]
    if kinds is not None:
        known = texts[Columns.KIND].drop_nulls().unique(maintain_order=True).to_list()
        for name in kinds:
            if name not in known:
                hint = nearest(name, known) or f"; kinds: {', '.join(known[:10])}"
                raise DataError(f"{what}: there is no text of the kind '{name}'{hint}; correct tasks.{task}.texts")
        column = _only(column, texts[Columns.KIND].is_in(list(kinds)).fill_null(False))
    labels = read_labels(column, kind, positive, what=what, names=names, check=check)
    _refuse_beyond(labels, texts, what)
    return labels


def item_labels(
    dataset: Dataset,
    field: str,
    *,
    task: str,
    kind: str | None = None,
    positive: str | None = None,
    names: list[str] | None = None,
    check: bool = True,
) -> Labels:
    """The labels of a task on items, one for every item. Without a kind the declared type of the field decides: category, id and text are
    classes, tags are tags; numbers go by what they hold.

    Raises:
        DataError: no such field, labels that nothing can be learned from.
    """
    what = f"task {task}, field '{field}'"
    fields = dataset.items.fields
    if field not in fields:
        hint = nearest(field, list(fields)) or f"; fields: {', '.join(fields) or 'none'}"
        raise DataError(f"{what}: items have no such field{hint}; declare it under fields.items, or correct tasks.{task}.label")
    if kind is None and positive is None and fields[field] != FieldType.NUMBER:
        kind = "tags" if fields[field] == FieldType.TAGS else "classes"
    return read_labels(dataset.items.frame[field], kind, positive, what=what, names=names, check=check)


def check_parts(labels: Labels, parts: np.ndarray, *, task: str) -> list[str]:
    """What the parts lack: sentences about what can't be measured.

    Args:
        parts: int8 (X,), 0 training, 1 validation, 2 test, as `row_splits` gives them.

    Raises:
        DataError: training has no label, no positive or no negative row; a class that training never shows is asked for later.
    """
    known = labels.known
    rows = [known & (parts == part) for part in range(3)]
    counts = [_counts(labels, some) for some in rows]
    if not rows[0].any():
        raise DataError(
            f"task {task}: no training row has a label ({int(known.sum()):,} rows have one); look at the split, or leave the task out"
        )
    if labels.kind == "binary":
        for value, name in ((1, "positive"), (0, "negative")):
            if not counts[0][value]:
                raise DataError(f"task {task}: no training row is {name}; start validation later (split), or leave the task out")
    elif labels.kind != "number":
        unseen = np.flatnonzero((counts[0] == 0) & (counts[1] + counts[2] > 0))
        if len(unseen):
            names = ", ".join(f"'{labels.names[code]}'" for code in unseen[:3]) + (", ..." if len(unseen) > 3 else "")
            raise DataError(
                f"task {task}: class {names} of {int((counts[1] + counts[2])[unseen].sum()):,} held-out rows is not seen in training; "
                "give training rows of it, merge it with another class, or leave these cells blank"
            )
    found = []
    for name, some, count in zip(("validation", "test"), rows[1:], counts[1:], strict=True):
        if not some.any():
            found.append(f"task {task}: no {name} row has a label")
        elif labels.kind == "binary" and not count.all():
            found.append(f"task {task}: no {name} row is {'positive' if count[0] else 'negative'}, so its AUC is unknown")
    return found


def _counts(labels: Labels, rows: np.ndarray) -> np.ndarray:
    """int64 (C,): rows of every class, tag, answer or label of spans; one number for numbers, which have no names."""
    if labels.kind == "tokens":
        assert labels.spans is not None, "labels of words come with their spans"
        said = labels.spans.select("row", "label").unique()
        return np.bincount(said["label"].to_numpy()[rows[said["row"].to_numpy()]], minlength=len(labels.names))
    values = labels.values[rows]
    if labels.kind == "tags":
        return values.sum(axis=0).astype(np.int64)
    if labels.kind == "number":
        return np.array([len(values)])
    return np.bincount(values.astype(np.int64), minlength=len(labels.names))


def _only(column: pl.Series, rows: pl.Series) -> pl.Series:
    """The column, null outside `rows` (bool): a message counts rows as the table does."""
    return pl.select(pl.when(rows).then(column)).to_series().alias(column.name)


def _refuse_beyond(labels: Labels, texts: pl.DataFrame, what: str) -> None:
    """Raises DataError for a span that ends beyond its text."""
    if labels.spans is None or Columns.TEXT not in texts.columns:
        return
    lengths = texts[Columns.TEXT].str.len_chars()[labels.spans["row"]]
    wrong = labels.spans["end"] > lengths
    if wrong.any():
        place = int(wrong.arg_true()[0])
        row, start, end, code = labels.spans.select("row", "start", "end", "label").row(place)
        raise DataError(
            f"{what}: row {row + 1} has a span from {start} to {end} with label {labels.names[code]} in a text of {lengths[place]} characters, "
            f"{shown(texts[Columns.TEXT][row])}{more(wrong)}; a span ends within its text, as it is without blanks around it and cut at "
            "data.max_text_characters; correct the span, or leave that cell blank"
        )


def _in_scenario(dataset: Dataset, name: str, what: str) -> np.ndarray:
    """bool (X,). Raises DataError where there is no such scenario, or no exposure in it."""
    rows = dataset.exposures
    assert rows is not None
    if name not in dataset.scenario_names:
        hint = nearest(name, dataset.scenario_names) or f"; scenarios: {', '.join(dataset.scenario_names) or 'none'}"
        raise DataError(f"{what}: there is no scenario '{name}'{hint}")
    there = np.zeros(len(rows), dtype=bool) if rows.scenarios is None else rows.scenarios == dataset.scenario_names.index(name)
    if not there.any():
        counts = [] if rows.scenarios is None else np.unique(rows.scenarios).tolist()
        others = ", ".join(dataset.scenario_names[code] for code in counts) or "none is known"
        raise DataError(f"{what}: scenario '{name}' has no exposures (those that have: {others}); take it out of the task's scenarios")
    return there
