"""Splitting text into words for counting: one rule for catalogue texts, names of categories and what people type.

Text is NFKC-normalised and case-folded. A word is a run of letters, digits and combining marks. Scripts written without
spaces (Chinese, Japanese, Thai, ...) give one unit a character. Numbers stay; other single letters carry nothing and go.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache, lru_cache

# Han, Hiragana, Katakana, Thai, Lao, Myanmar, Khmer: no spaces between words.
SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
ENDINGS = ("ing", "ist", "er", "or", "ed")
_ASCII_WORD = re.compile(r"[a-z0-9]+")


def normalise(text: str) -> str:
    """NFKC, case-folded, blanks collapsed: the form under which names of values are the same name."""
    text = text.lower() if text.isascii() else unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(text.split())


def units(text: str, language: str = "en") -> list[str]:
    """Words in order; every character of a spaceless script on its own, with its combining marks.

    With `language` "en", plurals fold into the singular (Harman's S-stemmer, 1991), so that "boot" finds "boots".
    """
    text = normalise(text)
    if text.isascii():
        found = _ASCII_WORD.findall(text)
    else:
        word, character = _patterns()
        found = []
        for run in word.findall(text):
            if character.match(run):
                found.extend(character.findall(run))
            else:
                found.append(run)
    return [singular(word) for word in found] if language == "en" else found


def words(text: str, language: str = "en") -> list[str]:
    """`units` without single letters, plus the pairs of neighbouring characters in spaceless scripts."""
    if text.isascii():
        return [word for word in units(text, language) if len(word) > 1 or word.isdigit()]
    result: list[str] = []
    previous = ""
    for unit in units(text, language):
        if is_spaceless(unit):
            result.append(unit)
            if previous:
                result.append(previous + unit)
            previous = unit
        else:
            previous = ""
            if len(unit) > 1 or unit.isdigit():
                result.append(unit)
    return result


def written_apart(before: str, after: str) -> bool:
    """Whether a blank has to stand between two texts so that their words stay two: neither sign is a mark, neither script does without blanks."""
    ends = before[-1:], after[:1]
    return all(sign.isalnum() and not is_spaceless(sign) for sign in ends)


def placed_units(text: str, language: str = "en") -> list[tuple[str, int, int]]:
    """(unit, start, end) in order: `units` of every run of letters, with the characters of `text` as given that it stands at.

    Signs that only become letters when normalised (™) are none here.
    """
    word, character = _patterns()
    found = []
    for run in re.finditer(r"[A-Za-z0-9]+", text) if text.isascii() else word.finditer(text):
        parts = character.finditer(run[0]) if character.match(run[0]) else [run]
        start = run.start() if character.match(run[0]) else 0
        for part in parts:
            found += [(unit, start + part.start(), start + part.end()) for unit in units(part[0], language)]
    return found


def is_spaceless(unit: str) -> bool:
    """Whether a unit is one character of a script written without spaces."""
    return not unit.isascii() and _patterns()[1].match(unit) is not None


@lru_cache(maxsize=1 << 16)
def singular(word: str) -> str:
    """Harman's S-stemmer: -ies -> -y, -es -> -e, -s -> nothing, with its exceptions; words of three letters or fewer stay.

    Added to it: -sses, -shes, -ches, -xes lose -es ("dresses" is "dress").
    """
    if len(word) < 4 or not word.endswith("s"):
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    return word if word.endswith(("us", "ss")) else word[:-1]


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """What related forms of an English word have in common: "runner", "running" and "runs" are "run". Of other words more is cut than is right."""
    word = singular(word)
    ending = next((one for one in ENDINGS if word.endswith(one) and len(word) >= len(one) + 3), "")
    word = word[: len(word) - len(ending)]
    if ending and word[-1] == word[-2] and word[-1] not in "lsz":
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith(("e", "y")) else word


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """(runs of one kind of script, one spaceless character). Python's `\\w` leaves out the combining marks that Indic vowels are."""
    ranges: list[list[int]] = []
    for code in range(0x300, min(sys.maxunicode, 0x1F000)):
        if unicodedata.category(chr(code)).startswith("M"):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    marks = "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
    spaceless = f"(?=[\\w{marks}])[{SPACELESS}][{marks}]*"
    return re.compile(f"(?:{spaceless})+|(?:(?![{SPACELESS}_])[\\w{marks}])+"), re.compile(spaceless)
