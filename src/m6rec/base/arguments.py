"""Arguments as a caller gave them: each of the kind that is wanted, or one line with the value and what is allowed.

A number may be one of numpy's. A list may be whatever can be gone through and is no text and no mapping: a tuple, a set, an array, a series.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any

from m6rec.base.errors import UsageError, shown

CONTROLS = r"\x00-\x1f\x7f-\x9f"  # inside [] of a regular expression: what no id and no name holds
NO_CONTROLS = "an id or a name is text without control characters (no line break, tab, NUL or escape); take them out"
NUMPY_FLAGS = (("numpy", "bool"), ("numpy", "bool_"))  # without loading it
_CONTROL = re.compile(f"[{CONTROLS}]")


def whole_number(name: str, value: Any, told: str, least: int = 0, most: int | None = None) -> int:
    """A whole number from `least` to `most`, as Python's int. told: what is allowed, for the message ("give ...")."""
    if type(value) is not int and (isinstance(value, bool) or not isinstance(value, Integral)):
        raise refused(name, value, told)
    found = int(value)
    if found < least or (most is not None and found > most):
        raise refused(name, found, told)
    return found


def real_number(name: str, value: Any, told: str, *, above: float = -math.inf, most: float = math.inf) -> float:
    """A finite number above one limit and up to another, as Python's float."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise refused(name, value, told)
    found = float(value)
    if not math.isfinite(found) or not above < found <= most:
        raise refused(name, value, told)
    return found


def a_flag(name: str, value: Any) -> bool:
    """True or False; nothing that merely counts as one of them ("no" would count as true). numpy's too."""
    if not isinstance(value, bool) and (type(value).__module__, type(value).__name__) not in NUMPY_FLAGS:
        raise refused(name, value, "say True or False")
    return bool(value)


def a_text(name: str, value: Any, told: str) -> str:
    if not isinstance(value, str):
        raise refused(name, value, told)
    return value


def a_list(name: str, value: Any, told: str) -> list[Any]:
    """Several of something; a text alone is not taken for its letters. Ids are told from what is none where they are looked up."""
    if isinstance(value, list):
        return value
    if not isinstance(value, str | bytes | Mapping) and isinstance(value, Iterable):
        try:
            return list(value)
        except TypeError:  # an array without a dimension
            pass
    raise refused(name, value, told, "is the text" if isinstance(value, str) else "is")


def list_of_texts(name: str, value: Any, told: str) -> list[str]:
    """Several texts."""
    found = a_list(name, value, told)
    for one in found:
        if not isinstance(one, str):
            raise refused(name, one, told, "holds")
    return found


def a_mapping(name: str, value: Any, told: str) -> Mapping[str, Any]:
    """Values by the names of fields."""
    if not isinstance(value, Mapping):
        raise refused(name, value, told)
    for key in value:
        if not isinstance(key, str):
            raise refused(name, key, told, "has a field")
    return value


def an_id(name: str, value: Any) -> None:
    """Raises UsageError for what can be no id. Ids that are found need no look: this is for the message about one that is not."""
    if not isinstance(value, str | Real):
        raise refused(name, value, "give one id, a text")
    if has_controls(value):
        raise refused(name, value, NO_CONTROLS)


def has_controls(value: Any) -> bool:
    """Whether a text holds a character that would end a line, a cell or a text, or that a terminal obeys."""
    return isinstance(value, str) and _CONTROL.search(value) is not None


def a_path(name: str, value: Any) -> Path:
    if not isinstance(value, str | PathLike):
        raise refused(name, value, "give a path, a text or a pathlib.Path")
    return Path(value)


def refused(name: str, value: Any, told: str, verb: str = "is") -> UsageError:
    """What is said of an argument that is not as it may be."""
    return UsageError(f"{name} {verb} {shown(value)}; {told}")
