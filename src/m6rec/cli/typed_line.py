"""A line that somebody types."""

from __future__ import annotations

import re
import signal
import sys

_KEYS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.)?")  # what an arrow or a function key sends


def typed_line() -> str:
    """The next line of standard input without keys that are no words, "" at its end. Ctrl-C ends the wait for it at once.

    Polars, once imported, has the system go on with a read that a signal interrupted, so that Ctrl-C would be heard only after the next line.
    """
    if hasattr(signal, "siginterrupt"):  # Windows has none, and needs none
        signal.siginterrupt(signal.SIGINT, True)
    return _KEYS.sub("", sys.stdin.readline())
