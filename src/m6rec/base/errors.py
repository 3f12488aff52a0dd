"""Everything m6rec raises on purpose.

M6RecError                     one line for the user; the CLI prints it and exits with `exit_code`
├── UsageError                 the call itself is wrong (exit 2)
├── ConfigError                a configuration file or --set value (exit 2)
├── DataError                  the user's tables
│   ├── UnknownUserError       an id that is not in the users seen
│   └── UnknownItemError       an id that is not in the catalogue
├── CheckpointError            a run or model folder that can't be read
├── StorageError               writing failed: no space, no permission
├── MissingExtraError          an optional dependency is not installed
└── Interrupted                Ctrl-C during training, state saved (exit 130)

A message gives the fact, the value received, what is allowed, and the next thing to type, on one line.
"""

from __future__ import annotations

from collections.abc import Iterable


class M6RecError(Exception):
    """Root of the tree: `str(error)` is one line meant for the user."""

    exit_code = 1


class UsageError(M6RecError):
    """The call itself is wrong: arguments that do not go together."""

    exit_code = 2


class ConfigError(M6RecError):
    """A configuration key or value is not allowed."""

    exit_code = 2


class DataError(M6RecError):
    """The user's tables cannot be used as they are."""


class UnknownUserError(DataError):
    """A user id that has no events and no row in the users table."""


class UnknownItemError(DataError):
    """An item id that is not in the catalogue."""


class CheckpointError(M6RecError):
    """A run or model folder is missing, truncated, from a newer version, or its parts do not match."""


class StorageError(M6RecError):
    """A file could not be written; what was there before is untouched."""


class MissingExtraError(M6RecError):
    """An optional dependency is not installed; the message names the extra."""


class Interrupted(M6RecError):
    """Training was stopped by the user; the state is saved and the message says how to go on."""

    exit_code = 130


ALIKE = 0.6  # of the letters of two names, from which one may have been meant by the other
BEGINNING = 3  # letters that begin another name, which may have been cut short
SHOWN = 60  # characters of a wrong value that a message repeats


def shown(value: object) -> str:
    """A value as it was given, on one line and not too long."""
    text = repr(value)
    text = " ".join(text.split()) if "\n" in text else text
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def closest(name: object, known: Iterable[str]) -> str:
    """The known name that may have been meant, or an empty string; nothing is close to what is no text."""
    import difflib

    if not isinstance(name, str):
        return ""
    known = list(known)
    begun = [one for one in known if min(len(one), len(name)) >= BEGINNING and (one.startswith(name) or name.startswith(one))]
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=ALIKE) or begun), "")


def nearest(name: object, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the closest known name, or an empty string."""
    found = closest(name, known)
    return f"; did you mean '{found}'?" if found else ""
