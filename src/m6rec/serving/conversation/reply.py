"""What a conversation answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from m6rec.base.contracts import Scored


@dataclass(frozen=True)
class ChatReply:
    """One reply.

    items      what is recommended, best first; empty for other answers
    intent     what the person's turn was taken for
    hand_over  whether a person should take over, and why (`reason`)
    asked      whether the reply asks something back
    language   of the reply
    written    "template", or "model" where the sentence was written by a trained task
    dropped    claims of a written sentence that were not true, and taken out
    wanted     what the person has wished for so far, in their words; "" for nothing
    """

    text: str
    items: list[Scored] = field(default_factory=list)
    intent: str = ""
    hand_over: bool = False
    asked: bool = False
    reason: str = ""
    language: str = "en"
    written: str = "template"
    dropped: int = 0
    wanted: str = ""

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        items = [{"item_id": one.item_id, "title": one.title, "score": one.score} for one in self.items]
        return {**{name: value for name, value in vars(self).items() if name != "items"}, "items": items}

    def message(self) -> dict[str, Any]:
        """As a message of the conversation, for the next call: role, content, and the ids of the items."""
        return {"role": "assistant", "content": self.text, "items": [one.item_id for one in self.items]}


def pieces(text: str) -> Iterator[str]:
    """A text in pieces of a word each (a character in scripts without spaces), which joined are the text."""
    start = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or text[place - 1].isspace() or not text[place - 1].isascii():
            if place > start:
                yield text[start:place]
            start = place
