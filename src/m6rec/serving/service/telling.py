"""A reply on its way out: cut to the tokens that were asked for, ended before a stop, told while it is written, and never what rules forbid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from m6rec.language_model.spelling import last_sentence, last_word
from m6rec.serving.conversation.conversation import Talker
from m6rec.serving.rules.filters import RuleBook
from m6rec.serving.service.loaded import LoadedModel
from m6rec.text.phrases import said
from m6rec.text.tokenizer import Tokenizer

Finish = Literal["stop", "length", "content_filter"]
OPENING = " “‘\"'([「『（"  # what must not stand at the end of a reply that was cut


class Telling:
    """One reply. `hear` takes it as far as it stands, `ended` when it is whole.

    most: tokens at most.  stops: it ends before the first of these.  allowed: whether a text may be said at all.
    tell: given what may go out as soon as it may; it grows, and is the beginning of what `ended` gives.
    """

    def __init__(self, tokenizer: Tokenizer, most: int | None, stops: tuple[str, ...], allowed: Callable[[str], bool]) -> None:
        self.tokenizer, self.most, self.stops, self.allowed = tokenizer, most, tuple(stop for stop in stops if stop), allowed
        self.tell: Callable[[str], None] | None = None
        self.told = ""
        self._over = False

    def hear(self, text: str) -> None:
        """The reply as far as it stands."""
        if self.tell is None or self._over:
            return
        if not self.allowed(text) or self._cut(text)[0] != text:
            self._over = True
            return
        held = max((len(stop) for stop in self.stops), default=1) - 1  # a stop may begin in here
        text = text[: len(text) - held]
        if len(text) > len(self.told):
            self.told = text
            self.tell(text)

    def ended(self, text: str) -> tuple[str, int, Finish]:
        """The whole reply as it goes out, its tokens, and why it ends."""
        found = self._cut(text)
        if text.startswith(self.told):
            return found if found[0].startswith(self.told) else (self.told, len(self.tokenizer.encode(self.told)), "length")
        return self.told, len(self.tokenizer.encode(self.told)), "content_filter"

    def _cut(self, text: str) -> tuple[str, int, Finish]:
        places = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        return shortened(self.tokenizer, text[: min(places)] if places else text, self.most)


def shortened(tokenizer: Tokenizer, text: str, most: int | None) -> tuple[str, int, Finish]:
    """A text of at most so many tokens, behind a sentence or word; its tokens; whether it was cut."""
    tokens = tokenizer.encode(text)
    if most is None or len(tokens) <= most:
        return text, len(tokens), "stop"
    cut = tokenizer.decode(tokens[:most]).rstrip("\ufffd")
    end = last_sentence(cut)
    cut = cut[: end if end >= 0 else last_word(cut)].rstrip(OPENING)
    return cut, len(tokenizer.encode(cut)), "length"


def may_be_said(
    model: LoadedModel, book: RuleBook, talker: Talker, text: str, allowed: np.ndarray | None, items: Sequence[str] = ()
) -> bool:
    """Whether a text speaks of nothing that may not be shown: items by name, blocked words.

    allowed: bool (N,), items that may be shown; None: all.  items: ids that are offered with it.
    """
    dense = model.engine.items.ids.dense
    may = model.engine._without_gone(allowed)
    named = {one.item for one in talker.names.items(said(text))} | {dense(item) for item in items}
    return (may is None or all(may[row] for row in named)) and not book.words.found(text)
