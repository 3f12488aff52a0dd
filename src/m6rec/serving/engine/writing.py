"""Writing at the time of asking: who, about what, after which events, as a request of the writer.

Shapes: B texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from m6rec.base.errors import ConfigError, UsageError, nearest
from m6rec.base.written import Written
from m6rec.data.schema import shown
from m6rec.language_model.config import Decoding
from m6rec.language_model.decoding import Streamed, decode, stream
from m6rec.language_model.masks import Mask
from m6rec.language_model.quick_speaking import Quickening, QuickSpeaker
from m6rec.language_model.speaking import WriterSpeaker
from m6rec.language_model.spelling import Spelling
from m6rec.serving.engine.asking import Unknown
from m6rec.serving.engine.changing import Changing
from m6rec.serving.engine.config import EngineConfig
from m6rec.serving.engine.turns import reading
from m6rec.tasks.item_names import ItemNames, spelling_of
from m6rec.tasks.model_folder import ChooseScorer
from m6rec.tasks.served_model import ServedModel
from m6rec.tasks.write_part import WritePart, WriteRequest
from m6rec.tasks.write_rows import newest_items
from m6rec.tasks.write_sources import Known
from m6rec.tasks.writing_masks import writing_masks
from m6rec.text.blocked_words import BlockedWords


def write_part(scorer: ServedModel) -> WritePart:
    """Raises UsageError: the model writes nothing."""
    if scorer.writing is None:
        raise UsageError("this model has no task that writes; declare one ({answer: write, from: KIND OF TEXT}) and train again")
    return scorer.writing


def kind_named(part: WritePart, kind: str) -> str:
    """Raises UsageError: no such write task."""
    known = list(part.write.configs)
    if kind not in known:
        raise UsageError(f"there is no write task {shown(kind)}{nearest(kind, known) or '; those: ' + ', '.join(known)}")
    return kind


def texts_named(part: WritePart, kind: str, text: str | Mapping[str, str] | None) -> dict[str, str]:
    """What stands before the text by column: a text alone is that of the only column the task reads, else of none (typed words).

    Raises:
        UsageError: a column that the task does not read.
    """
    columns = part.write.configs[kind].columns
    if text is None:
        return {}
    if isinstance(text, str):
        return {columns[0] if len(columns) == 1 else "": text}
    for name in text:
        if name not in columns:
            raise UsageError(
                f"the write task {shown(kind)} reads no {shown(name)}{nearest(name, columns) or '; it reads: ' + (', '.join(columns) or 'no column')}"
            )
    return dict(text)


@dataclass(frozen=True)
class HowToWrite:
    """How a text is to be written; see `Recommender.write`."""

    decoding: Literal["beam", "greedy", "nucleus"] = "beam"
    beams: int = 4
    top_p: float = 0.9
    temperature: float = 1.0
    seed: int = 0
    words: tuple[int, int] | None = None
    banned: Sequence[str] = ()
    language: str | None = None
    n: int = 1

    def settings(self, most: int) -> Decoding:
        """For texts of at most so many tokens. Raises UsageError: a value out of range, or several texts of a method that finds one."""
        if self.n > 1 and self.decoding == "greedy":
            raise UsageError(f"n is {self.n} with decoding greedy, which finds one text; use beam or nucleus")
        values = {
            "method": self.decoding,
            "beams": max(self.beams, self.n),
            "top_p": self.top_p,
            "temperature": self.temperature,
            "seed": self.seed,
            "best": self.n,
            "most": most,
        }
        try:
            return Decoding.build(values, source="decoding")
        except ConfigError as error:
            raise UsageError(str(error)) from None


@dataclass(frozen=True)
class _Ready:
    """What decoding needs, as things stand at the time of asking; the engine may change while it goes on. ids: of the items that `names` are of."""

    speaker: WriterSpeaker | QuickSpeaker
    decoding: Decoding
    masks: list[Mask]
    names: ItemNames
    ids: list[str]


class Writing(Changing):
    """What the engine writes."""

    def __init__(self, scorer: ChooseScorer, unknown: Unknown = "raise", config: EngineConfig | None = None) -> None:
        super().__init__(scorer, unknown, config)
        self._quickening = Quickening()
        self._named: ItemNames | None = None

    @cached_property
    def _spelling(self) -> Spelling:
        return spelling_of(self.scorer.reader.tokenizer)

    @reading
    def speaker(
        self,
        kind: str,
        user: str | None = None,
        item: str | None = None,
        *,
        history: Sequence[str] | None = None,
        text: str | Mapping[str, str] | None = None,
        profile: Mapping[str, Any] | str | None = None,
        scenario: str | None = None,
        about: Sequence[str] = (),
    ) -> WriterSpeaker:
        """A Speaker for one text; arguments as in `Recommender.write`.

        Raises:
            UsageError: no such write task, nothing that the text could be about.  UnknownUserError, UnknownItemError: an id nobody has seen.
        """
        part = write_part(self.scorer)
        kind_named(part, kind)
        if isinstance(about, str):
            raise UsageError(f"about is the text {shown(about)}; give a list of words that should be named")
        if user is None and item is None and history is None and text is None and profile is None and not about:
            raise UsageError("nothing to write about; give user, item, history, text, profile or about")
        texts = texts_named(part, kind, text)
        requests = self._request(user, history, None, profile, scenario)
        row = -1 if user is None else self._user(user)
        place = -1 if item is None else self._item(item)
        known = 0 <= row < len(part.inputs.user_words)
        words, vector = "", None
        if place >= 0:
            words = self.scorer.reader.wording.items(self.items.rows([place]))[0]
            vector = self.scorer.catalogue.vectors[[place]]
        described = requests.profiles[0] if requests.profiles else part.inputs.user_words[row] if known else ""
        titles = self._titles()
        past = [titles[one] for one in newest_items(requests.histories.items)]
        request = WriteRequest(place, row, words, described, texts, past, tuple(about), vector)
        profiles = None if self.scorer.profiles is None else self.scorer.profiles.contents
        at_hand = Known(requests.histories, self.scorer.catalogue.contents, profiles, self.scorer.vectors)
        return part.speaker(self.scorer.model, kind, [request], requests.histories, at_hand)

    def write(
        self,
        kind: str,
        user: str | None = None,
        item: str | None = None,
        *,
        ask: HowToWrite,
        allowed: np.ndarray | None = None,
        **about: Any,
    ) -> Written:
        """A text, and the others of n; see `Recommender.write`. allowed bool (N,): items that may be named; None: all that are not gone."""
        ready = self._ready(kind, user, item, ask, allowed, **about)
        texts = decode(ready.speaker, ready.decoding, ready.masks, spelling=self._spelling)[0]
        best, *others = [
            Written(
                one.text.strip(),
                kind,
                one.tokens.tolist(),
                one.log_probability,
                items=[ready.ids[ready.names.meant(span.names)[0]] for span in one.names],
                finish=one.finish,
            )
            for one in texts
        ]
        return replace(best, others=others)

    def write_stream(
        self,
        kind: str,
        user: str | None = None,
        item: str | None = None,
        *,
        ask: HowToWrite,
        allowed: np.ndarray | None = None,
        **about: Any,
    ) -> Iterator[str]:
        """The text piece by piece; see `Recommender.write_stream`."""
        ready = self._ready(kind, user, item, ask, allowed, **about)
        return _pieces(stream(ready.speaker, ready.decoding, ready.masks, spelling=self._spelling))

    @reading
    def _ready(self, kind: str, user: str | None, item: str | None, ask: HowToWrite, allowed: np.ndarray | None, **about: Any) -> _Ready:
        speaker = self._quickening(self.speaker(kind, user, item, **about))
        most = write_part(self.scorer).write.configs[kind].longest
        banned, names = BlockedWords(ask.banned), self._item_names()
        masks = [*writing_masks(ask.words, banned, ask.language), names.mask(self._without_gone(allowed), banned)]
        return _Ready(speaker, ask.settings(most), masks, names, self.items.ids.ids)

    def _item_names(self) -> ItemNames:
        """Of the catalogue as it is now."""
        titles = self._titles()
        if self._named is None:
            self._named = ItemNames(titles, self.scorer.reader.tokenizer)
        self._named = self._named.updated(titles)
        return self._named


def _pieces(streamed: Iterator[Streamed]) -> Iterator[str]:
    """The texts, without blanks before the first."""
    begun = False
    for piece in streamed:
        text = piece.text if begun else piece.text.lstrip()
        if text:
            begun = True
            yield text
