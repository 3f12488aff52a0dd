"""Numbers as people write them: "1,000", "1.000,50", "1.5k", "two hundred and fifty", "twenty-five", "一百五十", "两百五", "2 thousand", "1.5万".

A run of words of number is read as a whole or not at all: where it makes no number ("several hundred", "二三十"), it has no value, and no part
of it has one either.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from m6rec.text.cues import Cues
from m6rec.text.words import is_spaceless

_POINTED = r"\d{1,3}(?:\.\d{3}){2,}(?:,\d{1,2})?(?![.,]?\d)|\d{1,3}\.\d{3},\d{1,2}(?![.,]?\d)"  # a point surely parts thousands
_DIGITS = rf"{_POINTED}|\d+(?:,\d+)*(?:\.\d+)?(?:e\d\d?(?!\w)|k(?![a-z]))?"
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?(?:e\d+)?")
_EITHER = re.compile(r"[1-9]\d{0,2}\.\d{3}")  # "1.000": one, or a thousand
CENTURIES = (18.0, 19.0, 20.0)  # "nineteen ninety-five"


@dataclass(frozen=True)
class SpelledNumber:
    """Characters start..end of a text, and the number that they say; None where they say none that can be told.

    scale: the word of scale that it ends with ("hundred" of "two hundred", "k" of "2k"), 1 where it has none or goes on after it.
    grouped: what it says if its point parts thousands ("1.000"), None where it does not or surely does.
    """

    start: int
    end: int
    value: float | None
    scale: float = 1.0
    grouped: float | None = None


@dataclass(frozen=True)
class _Part:
    """One word of number. joint: the sign or word between it and the one before ("" for blanks)."""

    start: int
    end: int
    value: float
    kind: str  # digits, word, scale
    spaceless: bool
    joint: str = ""


class NumberWords:
    """The words of number of a set of cues."""

    def __init__(self, cues: Cues) -> None:
        self.cues = cues

    @cached_property
    def _part(self) -> re.Pattern[str]:
        return re.compile(f"(?P<digits>{_DIGITS})|(?P<scale>{either(self.cues.number_scales)})|(?P<word>{either(self.cues.number_words)})")

    @cached_property
    def _joint(self) -> re.Pattern[str]:
        return re.compile(rf"\s*(-|(?:{either(self.cues.number_joins)})|(?:{either(self.cues.number_points)}))?\s*")

    @cached_property
    def _vague(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """What makes a number before or after it a rough one."""
        before, after = either(self.cues.number_vague.before), either(self.cues.number_vague.after)
        return re.compile(rf"(?:{before})\s*$"), re.compile(rf"[\s-]*(?:{after})")

    def found(self, text: str) -> list[SpelledNumber]:
        """The numbers of a text (small letters), in order."""
        return [number for run in self._runs(text) for number in self._numbers(run, text)]

    def _runs(self, text: str) -> list[list[_Part]]:
        runs: list[list[_Part]] = []
        for match in self._part.finditer(text):
            kind = str(match.lastgroup)
            value = self._value(match.group(), kind)
            part = _Part(match.start(), match.end(), value, kind, is_spaceless(match.group()[0]))
            joint = self._joint.fullmatch(text, runs[-1][-1].end, match.start()) if runs else None
            if joint is not None and self._goes_on(runs[-1][-1], part, joint[0]):
                runs[-1].append(_Part(part.start, part.end, value, kind, part.spaceless, joint[1] or ""))
            else:
                runs.append([part])
        return runs

    def _goes_on(self, last: _Part, part: _Part, between: str) -> bool:
        if part.kind == "digits":
            return False
        if last.kind == "digits":
            return part.kind == "scale" and not between.strip()
        return last.spaceless == part.spaceless or part.kind == "scale"

    def _value(self, text: str, kind: str) -> float:
        if kind != "digits":
            word = " ".join(text.split())
            return self.cues.number_scales[word] if kind == "scale" else self.cues.number_words[word]
        if re.fullmatch(_POINTED, text):
            return float(text.replace(".", "").replace(",", "."))
        plain = text.removesuffix("k")
        return float(plain.replace(",", "")) * (1000.0 if text != plain else 1.0) if _GROUPED.fullmatch(plain) else -1.0

    def _numbers(self, run: list[_Part], text: str) -> list[SpelledNumber]:
        """A run as one number, else as the fewest that it makes where it is parted at hyphens or "and"."""
        before, after = self._vague
        start, end = run[0].start, run[-1].end
        rough = run[0].kind == "scale" and before.search(text, 0, start) is not None
        parted = None if rough or after.match(text, end) else self._parted(run)
        if parted is None:
            return [SpelledNumber(start, end, None)]
        written = text[start:end]
        unsure = _EITHER.fullmatch(written) is not None and re.match(r"[.,]\d", text[end:]) is None
        grouped = float(written.replace(".", "")) if unsure else None
        return [SpelledNumber(part[0].start, part[-1].end, value, self._scale(part[-1], text), grouped) for part, value in parted]

    def _scale(self, part: _Part, text: str) -> float:
        if part.kind == "digits":
            return 1000.0 if text[part.end - 1] == "k" else 1.0
        return part.value if part.kind == "scale" and part.value >= 100 else 1.0

    def _parted(self, run: list[_Part]) -> list[tuple[list[_Part], float]] | None:
        for size in range(len(run), 0, -1):
            if size < len(run) and not (run[size].joint == "-" or run[size].joint in self.cues.number_joins):
                continue
            value = self._composed(run[:size])
            rest = [] if size == len(run) else self._parted(run[size:])
            if value is not None and rest is not None:
                return [(run[:size], value), *rest]
        return None

    def _composed(self, parts: Sequence[_Part]) -> float | None:
        """The number that all the parts say together: what stands before the greatest scale times it, and what stands after."""
        if any(part.joint in self.cues.number_points for part in parts[1:]):
            return None
        places = [place for place, part in enumerate(parts) if part.kind == "scale"]
        if not places:
            return _unscaled(parts, self.cues.number_joins)
        place = max(places, key=lambda one: parts[one].value)
        scale, left, right = parts[place], parts[:place], parts[place + 1 :]
        times = self._composed(left) if left else 1.0
        while right and right[0].value == 0:
            right = right[1:]
        if times is None or times < 0 or times >= max(scale.value, 100.0) or (left and scale.joint in self.cues.number_joins):
            return None
        if not right:
            return times * scale.value
        if right[0].kind == "scale" and right[0].value > 10:
            return None
        left_out = len(right) == 1 and right[0].spaceless and right[0] is parts[place + 1] and scale.value >= 100
        rest = right[0].value * scale.value / 10 if left_out and right[0].kind == "word" else self._composed(right)
        return None if rest is None or rest >= scale.value else times * scale.value + rest


def _unscaled(parts: Sequence[_Part], joins: Sequence[str]) -> float | None:
    """A number without hundreds: "five", "twenty-five", "nineteen ninety-five", "一九九五"."""
    first, rest = parts[0].value, parts[1:]
    if not rest:
        return first if first >= 0 else None
    if any(part.joint in joins for part in rest):
        return None
    if all(part.spaceless and part.value < 10 for part in parts):
        return float("".join(f"{part.value:g}" for part in parts)) if len(parts) == 4 or (len(parts) == 2 and rest[0].value == 0) else None
    if first in CENTURIES and rest[0].value >= 10 and not rest[0].joint:
        ending = _unscaled(rest, joins)
        return None if ending is None or ending >= 100 else first * 100 + ending
    return first + rest[0].value if len(rest) == 1 and first % 10 == 0 and 20 <= first <= 90 and 1 <= rest[0].value <= 9 else None


def either(words: Iterable[str]) -> str:
    """Pattern of any of some words, the longest first; words of scripts with blanks are whole ones."""
    patterns = []
    for word in sorted(words, key=len, reverse=True):
        escaped = r"\s+".join(map(re.escape, word.split()))
        head = r"(?<!\w)" if word[0].isalnum() and not is_spaceless(word[0]) else ""
        tail = r"(?!\w)" if word[-1].isalnum() and not is_spaceless(word[-1]) else ""
        patterns.append(head + escaped + tail)
    return "|".join(patterns) or r"(?!)"
