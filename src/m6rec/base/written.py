"""What was written, and what became of what it claims."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Written:
    """One written text.

    text      as it is to be shown: what is not supported is no longer in it
    kind      the write task
    tokens    as they were written            log_probability   of all tokens, natural logarithm
    others    the other texts of n, best first
    kept, dropped  claims of the text that are true of the item and the history, and those that were taken out
    """

    text: str
    kind: str
    tokens: list[int] = field(default_factory=list)
    log_probability: float = 0.0
    others: list[Written] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "text": self.text,
            "kind": self.kind,
            "log_probability": self.log_probability,
            "others": [other.plain() for other in self.others],
            "claims": {"kept": self.kept, "dropped": self.dropped},
        }
