"""How a text is to be written, checked where it is said: before anything is loaded or read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from m6rec.base.arguments import a_flag, a_text, list_of_texts, real_number, refused, whole_number
from m6rec.base.errors import UsageError, nearest, shown

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
                f"decoding is {shown(self.decoding)}{nearest(str(self.decoding), DECODINGS) or '; say beam, greedy, nucleus or agreed'}"
            )
        for name, what in (("n", "texts"), ("beams", "texts side by side")):
            told = f"give a whole number of {what} from 1 to {MOST_TEXTS}"
            self._take(name, whole_number(name, getattr(self, name), told, 1, MOST_TEXTS))
        if self.decoding == "greedy" and self.n > 1:
            raise UsageError(f"n is {self.n} and greedy decoding finds one text; say decoding='beam', 'nucleus' or 'agreed'")
        if self.temperature is not None:
            told = f"give a number above 0 and at most {MOST_TEMPERATURE:g}, or say decoding='greedy' for the likeliest word each time"
            self._take("temperature", real_number("temperature", self.temperature, told, above=0, most=MOST_TEMPERATURE))
        told = "give a share of the probability above 0 and at most 1"
        self._take("top_p", real_number("top_p", self.top_p, told, above=0, most=1))
        self._take("seed", whole_number("seed", self.seed, "give a whole number, 0 or more"))
        example = shown(self.banned) if isinstance(self.banned, str) else "'word'"
        self._take("banned", tuple(list_of_texts("banned", self.banned, f"give a list of words, for example banned=[{example}]")))
        self._take("check", a_flag("check", self.check))
        if self.words is not None:
            self._take("words", span_of_words(self.words))
        if self.language is not None:
            from m6rec.text.scripts import scripts_of

            scripts_of(a_text("language", self.language, "give the name of a language, for example 'en'"))

    def _take(self, name: str, value: Any) -> None:
        """A value as Python's own: a seed says the same whoever gave it."""
        object.__setattr__(self, name, value)

    @property
    def warmth(self) -> float:
        """The temperature that holds."""
        return TEMPERATURES.get(self.decoding, 1.0) if self.temperature is None else self.temperature


def check_kind(kind: str, known: list[str]) -> None:
    """Raises UsageError: no such write task among `known`."""
    if not known:
        raise UsageError("this model has no task that writes; declare one ({answer: write, from: KIND OF TEXT}) and train again")
    if kind not in known:
        raise UsageError(f"there is no write task {shown(kind)}{nearest(kind, known) or '; those: ' + ', '.join(known)}")


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
    told = "give least and most, at least 0 and 1, the second no smaller than the first"
    if not isinstance(words, tuple | list) or len(words) != 2:
        raise refused("words", words, told, "are")
    least, most = (whole_number(f"words[{place}]", one, told) for place, one in enumerate(words))
    if most < max(least, 1):
        raise refused("words", words, told, "are")
    return least, most
