"""How many CPU threads to work on: what was asked for, else M6REC_THREADS, else every core the process may use."""

from __future__ import annotations

import os

from m6rec.base.errors import ConfigError

VARIABLE = "M6REC_THREADS"


def threads_wanted(asked: int | None = None) -> int:
    """At least 1. Raises ConfigError for a value of M6REC_THREADS that is no whole number above 0."""
    return asked or threads_set() or cores()


def threads_set() -> int | None:
    """What M6REC_THREADS says, if it is set. Raises ConfigError."""
    said = os.environ.get(VARIABLE, "").strip()
    if not said:
        return None
    if not said.isdecimal() or int(said) < 1:
        raise ConfigError(f"{VARIABLE} is '{said}'; it takes a whole number of threads from 1, for example {VARIABLE}={cores()}")
    return int(said)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
