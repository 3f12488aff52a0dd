"""Words of a text with their places, and spans of characters as labels of words (B-x begins a span, I-x goes on with it, O is in none).

A word is what a label can stand on: a run of letters and digits, one character of a script without spaces, or one other sign that is no
blank. A span covers the words that it touches. Offsets are characters of the text as given, end exclusive.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from m6rec.base.errors import DataError
from m6rec.text.words import SPACELESS

OUTSIDE = "O"


@dataclass(frozen=True)
class Span:
    """Characters start..end (exclusive) of a text, and their label."""

    start: int
    end: int
    label: str


def word_places(text: str) -> np.ndarray:
    """int64 (words, 2): start and end of each word, in order."""
    found = [match.span() for match in _word().finditer(text)]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def bio_names(labels: Sequence[str]) -> list[str]:
    """Codes of words for these labels of spans: O, then B-x and I-x of each."""
    return [OUTSIDE, *(f"{begin}-{label}" for label in labels for begin in ("B", "I"))]


def words_labelled(places: np.ndarray, spans: Sequence[Span], labels: Sequence[str]) -> np.ndarray:
    """int64 (words,): the code of each word among `bio_names(labels)`.

    Raises:
        DataError: a label that is not among `labels`.
    """
    codes = np.zeros(len(places), dtype=np.int64)
    for span in sorted(spans, key=lambda span: span.start):
        if span.label not in labels:
            raise DataError(f"the span {span.start}-{span.end} is labelled '{span.label}'; labels: {', '.join(labels)}")
        inside = np.flatnonzero((places[:, 1] > span.start) & (places[:, 0] < span.end) & (codes == 0))
        base = 1 + 2 * list(labels).index(span.label)
        codes[inside] = base + 1
        codes[inside[:1]] = base
    return codes


def spans_said(places: np.ndarray, codes: np.ndarray, labels: Sequence[str]) -> list[Span]:
    """The spans that the codes of the words say; an I that follows nothing of its kind begins a span."""
    spans: list[Span] = []
    open_label = -1
    for place, code in zip(places.tolist(), codes.tolist(), strict=True):
        label = (code - 1) // 2 if code else -1
        if code and code % 2 == 0 and label == open_label:
            spans[-1] = Span(spans[-1].start, place[1], spans[-1].label)
        elif code:
            spans.append(Span(place[0], place[1], labels[label]))
        open_label = label
    return spans


def span_figures(
    truth: Sequence[Sequence[Span]], said: Sequence[Sequence[Span]], labels: Sequence[str]
) -> dict[str, tuple[float, float, float]]:
    """label -> (precision, recall, F1) of spans that match in both ends and label, over all texts; 0 where nothing was said or is true."""
    figures = {}
    for label in labels:
        true = {(row, span) for row, spans in enumerate(truth) for span in spans if span.label == label}
        given = {(row, span) for row, spans in enumerate(said) for span in spans if span.label == label}
        right = len(true & given)
        precision, recall = right / max(len(given), 1), right / max(len(true), 1)
        figures[label] = (precision, recall, 2 * right / max(len(true) + len(given), 1))
    return figures


@cache
def _word() -> re.Pattern[str]:
    return re.compile(f"[{SPACELESS}]|(?:(?![{SPACELESS}_])\\w)+|[^\\w\\s]|_")
