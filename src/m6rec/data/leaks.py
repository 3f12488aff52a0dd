"""Columns that know the answer: context, fields and histories that tell a label (almost) perfectly, or count what happens later.

Each column is asked alone: what it says of the label is learned on one half of the rows and tried on the other (fields of items: of
other items), so that a column with many values gains nothing by having them. Missing is a value: a field that is only filled in after a
click is a leak.

Dimension keys: X rows, G values of a column, C classes, N items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.base.errors import DataError
from m6rec.data.dataset import Dataset
from m6rec.data.fields import FieldType
from m6rec.data.labels import Labels, read_labels
from m6rec.data.roles import COUNT_WORDS, tokens

CERTAIN, SUSPICIOUS = 0.99, 0.95  # AUC, accuracy or share of variance explained by one column alone
FEWEST = 20  # rows of each answer, below which perfection may be chance
MOST_ROWS = 100_000  # looked at, evenly taken
FEW_VALUES, BINS = 20, 256  # numbers of more values are cut into bins of equal size, a quarter as many as values, at most 256
MOST_TAGS = 5  # of a label of tags, the commonest
COUNTED, COUNTED_BY_NAME = 0.9, 0.3  # rank correlation of an item field with how often the item occurs
JUST_BEFORE = 60.0  # seconds
RATED, FEWEST_OF_ONE = 0.98, 5  # rank correlation of a field with the mean label of each item (user), those of so many rows or more
NEARER, SWAPS = 0.2, 10  # all rows leave so small a share open of what training rows leave, which is worth so many swaps of neighbours


@dataclass(frozen=True)
class Leak:
    """One column that says too much of one label.

    place   where the column is declared: "fields.context", "fields.items", "fields.users", or "data.exposures", "data.events"
    score   how much it says alone: 1 is everything
    measure what `score` is: AUC, accuracy, share of the variance, rank correlation, share of positive rows
    certain training refuses it; otherwise it is a warning
    """

    task: str
    column: str
    place: str
    score: float
    measure: str
    rows: int
    certain: bool
    advice: str

    def line(self) -> str:
        """One sentence with the column, the figure and what to type."""
        of = f"task {self.task}: " if self.task else ""
        return f"{of}'{self.column}' ({self.place}) {self.measure} {self.score:.3f} over {self.rows:,} rows; {self.advice}"


def suspected_leaks(dataset: Dataset, labels: Mapping[str, Labels], parts: np.ndarray | None = None) -> list[Leak]:
    """What leaks into tasks on candidates, the surest first.

    Args:
        labels: task name -> its labels, one for every exposure (see `judged_rows.exposure_labels`).
        parts: int8 (X,), 0 training, above it held out, as `row_splits.split_rows` gives them; None: fields made of labels that are held
            out are not looked for.
    """
    rows = dataset.exposures
    found = _counts_of_the_period(dataset)
    if rows is not None and parts is not None:
        found += _rates_of_the_period(dataset, labels, parts)
    if rows is not None and len(rows):
        some = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).astype(np.int64))
        columns = {(place, name): (codes, half) for place, name, codes, half in _columns(dataset, some)}
        for task, known in labels.items():
            answers = list(_answers(known, some))
            for (place, name), (codes, half) in columns.items():
                score, measure, count = max((_told(codes, kind, values, half) for kind, values in answers), default=(0.0, "", 0))
                if score >= SUSPICIOUS:
                    found.append(_leak(task, name, place, score, measure, count))
            if known.kind == "binary":
                found += _outcome_before(dataset, task, known.values)
    return sorted(found, key=lambda leak: (not leak.certain, -leak.score, leak.task, leak.column))


def item_leaks(dataset: Dataset, field: str, labels: Labels, task: str) -> list[Leak]:
    """Fields of the items that say the same as the field that a task on items judges: each value of one goes with one value of the other.

    A field that is finer than the label (brand -> category) is no leak; one with a value for almost every item is told by its name only.
    Of a label that is a number: number fields in the same order (or the opposite one); of tags: the same tags, whatever they are called.
    """
    known = labels.known
    found: list[Leak] = []
    codes = labels.values[known].astype(np.int64) if labels.kind in ("classes", "binary", "ordinal") else None
    for name, kind in dataset.items.fields.items():
        if name == field or kind in (FieldType.TEXT, FieldType.VECTOR):
            continue
        column = dataset.items.frame[name]
        score, measure, count = 0.0, "and the label determine each other:", int(known.sum())
        if codes is not None:
            other = _coded(column)[known]
            pairs = len(np.unique(codes * (int(other.max(initial=0)) + 1) + other))
            values = len(np.unique(other))
            score = float(1 < values == pairs == len(np.unique(codes)) and values * FEWEST <= 2 * len(codes))
        elif labels.kind == "number" and kind == FieldType.NUMBER:
            both = known & column.is_not_null().to_numpy()
            count, measure = int(both.sum()), "has the order of the label, rank correlation"
            score = abs(_rank_correlation(column.to_numpy()[both], labels.values[both])) if count >= FEWEST else 0.0
        elif labels.kind == "tags" and kind == FieldType.TAGS and count >= FEWEST:
            score = float(_same_tags(column.filter(pl.Series(known)), labels.values[known]))
        if score >= CERTAIN:
            advice = f"it is the label under another name: take '{name}' out of fields.items"
            found.append(Leak(task, name, "fields.items", score, measure, count, True, advice))
    return found


def _same_tags(column: pl.Series, values: np.ndarray) -> bool:
    """Whether the tags of a field are those of the label (X, C), whatever they are called: of each the same rows."""
    values = values[:, values.any(axis=0)]
    if values.shape[1] < 2 or column.explode().drop_nulls().str.strip_chars().n_unique() != values.shape[1]:
        return False
    others = read_labels(column, "tags", what=column.name, check=False).values
    return {tag.tobytes() for tag in np.nan_to_num(others).T == 1} == {tag.tobytes() for tag in values.T == 1}


def refuse_leaks(leaks: list[Leak]) -> list[str]:
    """Sentences about what is only suspicious.

    Raises:
        DataError: one leak is certain; its column is named.
    """
    for leak in leaks:
        if leak.certain:
            others = sum(other.certain for other in leaks) - 1
            raise DataError(leak.line() + (f" ({others} more like it: m6rec validate lists them)" if others else ""))
    return [leak.line() for leak in leaks]


def _columns(dataset: Dataset, some: np.ndarray) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Everything that is known of a row before it is judged: where it is declared, its name, the codes of its values on the rows `some`, and
    which half (bool) each row belongs to: no item is in both halves for a field of items."""
    rows = dataset.exposures
    assert rows is not None
    alternate = np.arange(len(some)) % 2 == 0
    for name in rows.context.columns:
        yield "fields.context", name, _coded(rows.context[name].gather(some)), alternate
    for place, table, index in (("fields.items", dataset.items, rows.items), ("fields.users", dataset.users, rows.users)):
        halves = np.random.default_rng(0).random(len(table)) < 0.5
        for name, kind in table.fields.items():
            if kind != FieldType.VECTOR:
                yield place, name, _coded(table.frame[name])[index[some]], halves[index[some]]
    for name, array in (("position", rows.positions), ("propensity", rows.propensities), ("scenario", rows.scenarios)):
        if array is not None:
            yield "data.exposures", name, _coded(pl.Series(name, array[some])), alternate


def _coded(column: pl.Series) -> np.ndarray:
    """int64 (X,): the value of every row as a code from 1, 0 where missing; numbers of many values in bins."""
    if isinstance(column.dtype, pl.List):
        column = column.list.join("|")
    if column.dtype.is_float():
        column = column.fill_nan(None)
    different = column.n_unique()
    if column.dtype.is_numeric() and different > FEW_VALUES:
        values = column.fill_null(0).to_numpy()
        bins = min(BINS, different // 4)
        edges = np.unique(np.quantile(column.drop_nulls().to_numpy(), np.linspace(0, 1, bins + 1)[1:-1]))
        return np.where(column.is_null().to_numpy(), 0, np.searchsorted(edges, values, side="right") + 1)
    return column.rank("dense").fill_null(0).to_numpy().astype(np.int64)


def _answers(labels: Labels, some: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Kind and values (NaN unknown) of what a column may tell: the label, or each of the commonest tags."""
    values = labels.values[some]
    if labels.kind == "tags":
        for tag in np.argsort(-np.nansum(values, axis=0), kind="stable")[:MOST_TAGS]:
            yield "binary", values[:, tag]
    elif labels.kind != "tokens":
        yield ("classes" if labels.kind in ("classes", "ordinal") else labels.kind), values


def _told(codes: np.ndarray, kind: str, values: np.ndarray, half: np.ndarray) -> tuple[float, str, int]:
    """How much a column tells of an answer when it is alone, what was measured, on how many rows; 0 where there are too few."""
    known = ~np.isnan(values)
    codes, values, half = codes[known], values[known], half[known]
    names = {"binary": "tells the answer with an AUC of", "classes": "tells the answer with an accuracy of"}
    measure = names.get(kind, "explains a share of the answer's variance of")
    if kind == "number":
        enough = len(values) >= 2 * FEWEST and values.std() > 0
    else:
        counts = np.sort(np.bincount(values.astype(np.int64), minlength=2))
        enough = counts[-2] >= FEWEST
    if not enough or (codes == codes[0]).all():
        return 0.0, measure, len(values)
    if min(half.sum(), (~half).sum()) < FEWEST:
        return 0.0, measure, len(values)
    tell = {"binary": _auc, "classes": _accuracy}.get(kind, _explained)
    score = min(tell(codes[learn], values[learn], codes[~learn], values[~learn]) for learn in (half, ~half))
    return score, measure, len(values)


def _auc(codes: np.ndarray, values: np.ndarray, others: np.ndarray, truth: np.ndarray) -> float:
    """AUC on the other half of the mean label of every value of the column."""
    size = int(max(codes.max(), others.max())) + 1
    _, group = np.unique(np.round(_means(codes, values, np.arange(size)), 9), return_inverse=True)  # values of equal means are tied
    positive = np.bincount(group, np.bincount(others, truth, minlength=size))
    negative = np.bincount(group, np.bincount(others, minlength=size)) - positive
    below = np.cumsum(negative) - negative
    pairs = positive.sum() * negative.sum()
    return float((positive * (below + 0.5 * negative)).sum() / pairs) if pairs else 0.0


def _accuracy(codes: np.ndarray, values: np.ndarray, others: np.ndarray, truth: np.ndarray) -> float:
    """Accuracy on the other half of the commonest class of every value; 0 where guessing the commonest of all does nearly as well."""
    classes = int(max(values.max(), truth.max())) + 1
    pair, count = np.unique(codes * classes + values.astype(np.int64), return_counts=True)
    order = np.lexsort((-count, pair // classes))
    first = order[np.unique(pair[order] // classes, return_index=True)[1]]  # the commonest pair of every value
    commonest = int(np.bincount(values.astype(np.int64)).argmax())
    best = np.full(int(max(codes.max(), others.max())) + 1, commonest)
    best[pair[first] // classes] = pair[first] % classes
    wrong, wrong_by_guessing = float((best[others] != truth).mean()), float((truth != commonest).mean())
    return 1 - wrong if wrong <= 0.1 * wrong_by_guessing else 0.0


def _explained(codes: np.ndarray, values: np.ndarray, others: np.ndarray, truth: np.ndarray) -> float:
    """Share of the other half's variance that the mean of every value explains."""
    return float(1 - np.square(truth - _means(codes, values, others)).mean() / max(float(truth.var()), 1e-12))


def _means(codes: np.ndarray, values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The mean of `values` for each of the values `others` of the column, those of which nothing is known at the mean of all."""
    size = int(max(codes.max(), others.max())) + 1
    values = values.astype(np.float64)
    counts, sums = np.bincount(codes, minlength=size), np.bincount(codes, values, minlength=size)
    means: np.ndarray = np.where(counts > 0, sums / np.maximum(counts, 1), values.mean())[others]
    return means


def _leak(task: str, name: str, place: str, score: float, measure: str, count: int) -> Leak:
    certain = score >= CERTAIN
    if place == "data.exposures":
        advice = f"if it is written after the outcome, take the column out of the file or map {name} elsewhere (data.columns)"
    else:
        advice = f"it is known only afterwards, or is the label itself: take '{name}' out of {place}"
        if not certain:
            advice = f"if it is known only afterwards, take '{name}' out of {place}"
    return Leak(task, name, place, score, measure, count, certain, advice)


def _outcome_before(dataset: Dataset, task: str, values: np.ndarray) -> list[Leak]:
    """The row's own outcome standing in the history it may see: the last event before it is of the same item, at most a minute old."""
    rows, histories = dataset.exposures, dataset.histories
    assert rows is not None
    if rows.times is None or histories.times is None or not len(histories.items):
        return []
    last = np.maximum(rows.cuts - 1, 0)
    own = (rows.cuts > histories.offsets[rows.users]) & (histories.items[last] == rows.items)
    own &= rows.times - histories.times[last] <= JUST_BEFORE
    positive, negative = values == 1, values == 0
    if min(positive.sum(), negative.sum()) < FEWEST:
        return []
    share, otherwise = float(own[positive].mean()), float(own[negative].mean())
    if share < 0.2 or share < 10 * otherwise:
        return []
    advice = (
        f"an event of the same item stands within a minute before them ({otherwise:.1%} of the other rows), so the outcome is in the history: "
        "give events and exposures one clock, or leave such events out of data.events"
    )
    return [
        Leak(
            task, "item_id", "data.events", share, "is in the history of a share of the positive rows of", len(values), share >= 0.5, advice
        )
    ]


def _counts_of_the_period(dataset: Dataset) -> list[Leak]:
    """Number fields of the items that go with how often an item occurs in the data, the test included."""
    seen = dataset.seen_counts()
    if dataset.exposures is not None:
        seen = seen + np.bincount(dataset.exposures.items, minlength=len(dataset.items))
    found = []
    for name, kind in dataset.items.fields.items():
        if kind != FieldType.NUMBER:
            continue
        column = dataset.items.frame[name]
        known = column.is_not_null().to_numpy() & (seen > 0)
        if known.sum() < FEWEST or column.filter(pl.Series(known)).n_unique() < 2:
            continue
        score = abs(_rank_correlation(column.to_numpy()[known], seen[known]))
        named = bool(COUNT_WORDS & set(tokens(name)))
        if score >= COUNTED or (named and score >= COUNTED_BY_NAME):
            advice = f"if it was counted over the whole period it knows the test: take '{name}' out of fields.items"
            measure = "goes with how often an item occurs, rank correlation"
            found.append(Leak("", name, "fields.items", score, measure, int(known.sum()), False, advice))
    return found


def _rates_of_the_period(dataset: Dataset, labels: Mapping[str, Labels], parts: np.ndarray) -> list[Leak]:
    """Number fields of items (users) that are the mean, or the sum, of a label over all rows of each of them, the held-out ones too.

    Such a rate of the training rows alone is known in time, and what an item is truly like goes with its training rows, or with every other
    row, nearly as well as with all rows. A field made of all rows goes with all of them far better than with either.
    """
    rows = dataset.exposures
    assert rows is not None
    found: dict[tuple[str, str], Leak] = {}
    for place, table, keys in (("fields.items", dataset.items, rows.items), ("fields.users", dataset.users, rows.users)):
        numbers = [name for name, kind in table.fields.items() if kind == FieldType.NUMBER]
        for task, what, values in _judged_numbers(dataset, labels) if numbers else ():
            known = np.flatnonzero(~np.isnan(values))
            known = known[np.argsort(keys[known], kind="stable")]
            training, every_other = known[parts[known] == 0], known[::2]
            counts = np.bincount(keys[known], minlength=len(table))
            asked = (counts >= FEWEST_OF_ONE) & (np.bincount(keys[known[parts[known] > 0]], minlength=len(table)) > 0)
            for name in numbers:
                column = table.frame[name].fill_nan(None)
                some = asked & column.is_not_null().to_numpy()
                if some.sum() < FEWEST or (place, name) in found:
                    continue
                field = column.to_numpy()[some]
                for way in ("mean", "sum"):
                    rates = [_by_key(keys[of], values[of], len(table), way)[some] for of in (known, training, every_other)]
                    alike = abs(_rank_correlation(field, rates[0]))
                    if alike >= RATED and _made_of_the_first(field, rates):
                        one = place.removeprefix("fields.").removesuffix("s")
                        measure = f"is the {way} of {what} of each {one}, held-out rows counted in, rank correlation"
                        advice = f"it knows the test: take '{name}' out of {place}, or make it of training rows only"
                        found[place, name] = Leak(task, name, place, alike, measure, len(known), True, advice)
                        break
    return list(found.values())


def _made_of_the_first(field: np.ndarray, rates: list[np.ndarray]) -> bool:
    """Whether a field is nearer to the first of some rates than to all others: in rank by far, or because it equals the first alone."""
    first, *others = (1 - abs(_rank_correlation(field, rate)) for rate in rates)
    swaps = 12 * SWAPS / len(field) ** 3  # what so many swaps of neighbours take from a rank correlation of 1
    if min(others) >= swaps and first <= NEARER * min(others):
        return True
    equal, *others_equal = (np.allclose(field, rate, rtol=1e-4, atol=1e-6) for rate in rates)
    return bool(equal and not any(others_equal))


def _judged_numbers(dataset: Dataset, labels: Mapping[str, Labels]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Task, what it is called and float (X,), NaN unknown: labels that have a mean, and the columns of numbers that they are read from."""
    assert dataset.exposures is not None
    for task, known in labels.items():
        if known.kind in ("binary", "number"):
            yield task, "the label", known.values
        elif known.kind == "ordinal":
            codes = np.nan_to_num(known.values).astype(np.int64)
            yield task, "the label", np.where(np.isnan(known.values), np.nan, known.level_values()[codes])
    for name, column in dataset.exposures.labels.to_dict().items():
        if column.dtype.is_numeric():
            yield "", f"the label column '{name}'", column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _by_key(keys: np.ndarray, values: np.ndarray, size: int, way: str) -> np.ndarray:
    """float64 (size,): the sum or the mean of the values of each key; of a key without values 0, or the mean of all."""
    sums, counts = np.bincount(keys, values, minlength=size), np.bincount(keys, minlength=size)
    if way == "sum":
        return sums
    means: np.ndarray = np.where(counts > 0, sums / np.maximum(counts, 1), values.mean() if len(values) else 0.0)
    return means


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's; 0 where one of the two is the same everywhere."""
    found = pl.DataFrame({"one": one, "other": other}).select(pl.corr("one", "other", method="spearman")).item()
    return 0.0 if found is None or np.isnan(found) else float(found)
