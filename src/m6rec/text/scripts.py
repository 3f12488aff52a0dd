"""Scripts: which letters a language is written with, told by its own words (`text/conversations`), so that a new language is one file.

The script of a letter is the first word of its name in Unicode: LATIN, CJK, HIRAGANA, CYRILLIC. Digits, signs and pictures belong to every script.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import cache, lru_cache
from typing import Any

from m6rec.base.errors import UsageError, nearest
from m6rec.text.phrases import built_in, built_in_phrases

LEAST_SHARE = 0.05  # of the letters: a few of another script are names
_SLOT = re.compile(r"\{[^}]*\}")


@lru_cache(maxsize=1 << 16)
def script_of(character: str) -> str:
    """Of one character; "" for what is no letter or mark."""
    if character.isascii():
        return "LATIN" if character.isalpha() else ""
    if unicodedata.category(character)[0] not in "LM":
        return ""
    name = unicodedata.name(character, "")
    return "" if name.startswith(("COMBINING", "VARIATION", "MODIFIER")) else name.partition(" ")[0].partition("-")[0]


@cache
def scripts_of(language: str) -> frozenset[str]:
    """The scripts that a language is written with.

    Raises:
        UsageError: a language without a file.
    """
    known = list(built_in())
    if language not in known:
        raise UsageError(f"there is no language '{language}'{nearest(language, known) or '; there are: ' + ', '.join(known)}")
    values = built_in_phrases(language).values
    counts = Counter(script for text in _texts(values["sayings"]) for letter in _SLOT.sub("", text) if (script := script_of(letter)))
    return frozenset(script for script, count in counts.items() if count >= LEAST_SHARE * counts.total())


def _texts(values: Any) -> list[str]:
    if isinstance(values, str):
        return [values]
    parts = values.values() if isinstance(values, dict) else values if isinstance(values, list) else []
    return [text for part in parts for text in _texts(part)]
