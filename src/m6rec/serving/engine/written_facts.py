"""What a written text is held against, besides the record of its item: words that tell items apart, numbers that are facts, the letters of a language."""

from __future__ import annotations

import numpy as np
import polars as pl

from m6rec.base.errors import UsageError
from m6rec.data.dataset import FieldType, Table
from m6rec.data.schema import shown
from m6rec.explanation.lexicon import Lexicon
from m6rec.explanation.phrases import language_of
from m6rec.explanation.telling import telling_words
from m6rec.tasks.write_part import WritePart
from m6rec.tasks.write_rows import TRAINING
from m6rec.text.scripts import script_of, scripts_of

LEAST_WRITTEN = 0.02  # of the known texts of a kind, for a language to be one that the writer knows
MOST_LOOKED_AT = 2_000


def telling_of(lexicon: Lexicon, part: WritePart) -> frozenset[str]:
    """The telling words by the known texts of every write task."""
    rows = part.inputs.rows
    about = np.flatnonzero((rows.parts == TRAINING) & (rows.items >= 0)).tolist()
    return telling_words(
        lexicon, [rows.texts[row] for row in about], rows.items[about].tolist(), [rows.past[row] for row in about], part.inputs.said
    )


def numbers_of(items: Table, row: int) -> list[str]:
    """What of an item has numbers in it, as it may be written: its number fields to the last decimal and to cents, its texts and values."""
    found: list[str] = []
    for name, kind in items.fields.items():
        value = None if kind == FieldType.VECTOR else items.frame[name][row]
        if value is None:
            continue
        if kind == FieldType.NUMBER:
            found += [f"{value:.12g}", f"{value:,.12g}", f"{value:.2f}", f"{value:,.2f}"]
        else:
            found += map(str, value.to_list() if isinstance(value, pl.Series) else [value])
    return found


def limits(language: str) -> list[str]:
    """Words after which a number is a limit."""
    words = language_of(language).claims
    return [*words.under, *words.over]


def written_in(part: WritePart, kind: str, language: str) -> tuple[int, int]:
    """(texts in the letters of the language, texts looked at) of the known texts of a kind."""
    rows, scripts = part.inputs.rows, scripts_of(language)
    number = list(part.write.configs).index(kind)
    texts = [rows.texts[row] for row in np.flatnonzero((rows.parts == TRAINING) & (rows.task == number))[:MOST_LOOKED_AT].tolist()]
    return sum(_mostly(text, scripts) for text in texts), len(texts)


def writes_in(part: WritePart, kind: str, language: str) -> bool:
    """Whether the writer has words of a language."""
    own, count = written_in(part, kind, language)
    return own >= LEAST_WRITTEN * count


def check_written_in(part: WritePart, kind: str, language: str) -> None:
    """Raises UsageError: next to no known text of the kind is written in the letters of the language, so the writer has no words of it."""
    own, count = written_in(part, kind, language)
    if own < LEAST_WRITTEN * count:
        raise UsageError(
            f"language is {shown(language)} and {own} of {count:,} known texts of {shown(kind)} are written in its letters, so the writer has no "
            "words of it; leave language out, or train with texts of that language"
        )


def _mostly(text: str, scripts: frozenset[str]) -> bool:
    letters = [script for letter in text if (script := script_of(letter))]
    return bool(letters) and 2 * sum(script in scripts for script in letters) > len(letters)
