"""How a text is to be written, checked where it is said: before anything is loaded or read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from m6rec.base.errors import UsageError, nearest

if TYPE_CHECKING:
    import numpy as np

DECODINGS = ("beam", "greedy", "nucleus", "agreed")
MOST_TEXTS = 64
MOST_TEMPERATURE = 10.0
DRAFTS, SAID = 48, 64  # of decoding agreed: drafts that are drawn, and texts as the model says them that these are held against
TEMPERATURES = {"agreed": 0.5}  # where none is said, else 1: bold drafts agree on less than the model is sure of


@dataclass(frozen=True)
class HowToWrite:
    """How a text is to be written; see `Recommender.write`.

    Raises:
        UsageError: a setting outside its range, a language without a file.
    """

    decoding: Literal["beam", "greedy", "nucleus", "agreed"] = "beam"
    beams: int = 4
    top_p: float = 0.9
    temperature: float | None = None  # None: TEMPERATURES
    seed: int = 0
    words: tuple[int, int] | None = None
    banned: Sequence[str] = ()
    language: str | None = None
    n: int = 1
    check: bool = True
    allowed: np.ndarray | None = None  # bool (N,): items that may be named; None: all that are not gone

    def __post_init__(self) -> None:
        if self.decoding not in DECODINGS:
            raise UsageError(
                f"decoding is {said(self.decoding)}{nearest(str(self.decoding), DECODINGS) or '; say beam, greedy, nucleus or agreed'}"
            )
        for name, what in (("n", "texts"), ("beams", "texts side by side")):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_TEXTS:
                raise UsageError(f"{name} is {said(value)}; give a whole number of {what} from 1 to {MOST_TEXTS}")
        if self.decoding == "greedy" and self.n > 1:
            raise UsageError(f"n is {self.n} and greedy decoding finds one text; say decoding='beam', 'nucleus' or 'agreed'")
        if self.temperature is not None and (not _number(self.temperature) or not 0 < self.temperature <= MOST_TEMPERATURE):
            raise UsageError(
                f"temperature is {said(self.temperature)}; give a number above 0 and at most {MOST_TEMPERATURE:g}, or say decoding='greedy' "
                "for the likeliest word each time"
            )
        if not _number(self.top_p) or not 0 < self.top_p <= 1:
            raise UsageError(f"top_p is {said(self.top_p)}; give a share of the probability above 0 and at most 1")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise UsageError(f"seed is {said(self.seed)}; give a whole number, 0 or more")
        if isinstance(self.banned, str):
            raise UsageError(f"banned is the text {said(self.banned)}; give a list of words, for example banned=[{said(self.banned)}]")
        if self.words is not None:
            span_of_words(self.words)
        if self.language is not None:
            from m6rec.text.scripts import scripts_of

            scripts_of(self.language)

    @property
    def warmth(self) -> float:
        """The temperature that holds."""
        return TEMPERATURES.get(self.decoding, 1.0) if self.temperature is None else self.temperature


def check_kind(kind: str, known: list[str]) -> None:
    """Raises UsageError: no such write task among `known`."""
    if not known:
        raise UsageError("this model has no task that writes; declare one ({answer: write, from: KIND OF TEXT}) and train again")
    if kind not in known:
        raise UsageError(f"there is no write task {said(kind)}{nearest(kind, known) or '; those: ' + ', '.join(known)}")


def check_kind_of(folder: Path, kind: str) -> None:
    """The same by the file of a run or model folder, before its weights are loaded; a folder that can't be read is left to the loader."""
    try:
        path = folder / "model" if (folder / "model").is_dir() else folder
        facts = json.loads((path / "config.json").read_text(encoding="utf-8"))
        known = list((facts.get("writing") or {}).get("order", []))
    except (OSError, ValueError, AttributeError):
        return
    check_kind(kind, known)


def span_of_words(words: Any) -> tuple[int, int]:
    """(least, most) words. Raises UsageError."""
    good = isinstance(words, tuple | list) and len(words) == 2 and all(isinstance(one, int) and not isinstance(one, bool) for one in words)
    if not good or words[0] < 0 or words[1] < max(words[0], 1):
        raise UsageError(f"words are {said(words)}; give least and most, at least 0 and 1, the second no smaller than the first")
    return words[0], words[1]


def said(value: Any) -> str:
    """A value as it was given, not too long."""
    return repr(value)[:80]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
