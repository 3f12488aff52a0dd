"""What every part of the store has: the database, the configuration, the secret."""

from __future__ import annotations

import json
from typing import Any

from m6rec.base.arguments import NO_CONTROLS, has_controls
from m6rec.base.errors import DataError, shown
from m6rec.serving.store.config import StoreConfig
from m6rec.serving.store.database import Database, as_json
from m6rec.serving.store.secrets import Secret

MOST_CHARACTERS = 512  # of an id: an index entry of PostgreSQL holds 2,700 bytes


class Part:
    """A part of `Store`; the parts share these three."""

    database: Database
    config: StoreConfig
    secret: Secret

    def user_key(self, user_id: str) -> str:
        """What a user is called in the store: the id, or its keyed hash where `store.pseudonyms` is on."""
        return self.secret.pseudonym(user_id) if self.config.pseudonyms else user_id


def checked_name(value: Any, what: str) -> str:
    """An id or a name that both databases can hold.

    Raises:
        DataError: not text, empty, too long, or with characters that are no text.
    """
    if not isinstance(value, str) or not value:
        raise DataError(f"{what} is {value!r:.60}; it has to be text that is not empty")
    if len(value) > MOST_CHARACTERS:
        raise DataError(f"{what} has {len(value):,} characters ('{value[:20]}...'); at most {MOST_CHARACTERS} are allowed")
    if not is_text(value):
        raise DataError(f"{what} is {value!r:.60}; it holds a character that is no text (NUL or half a surrogate pair)")
    return value


def checked_id(value: Any, what: str) -> str:
    """An id or a name that may be written. Raises DataError as `checked_name` does, and for control characters."""
    refuse_controls(value, what)
    return checked_name(value, what)


def refuse_controls(value: Any, what: str) -> None:
    """Raises DataError for a text with control characters."""
    if has_controls(value):
        raise DataError(f"{what} is {shown(value)}; {NO_CONTROLS}")


def is_text(value: str) -> bool:
    """Whether both databases can hold it."""
    if "\x00" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_json(value: Any, what: str) -> str:
    """Compact JSON.

    Raises:
        DataError: a value that JSON can't say: NaN, infinity, an object of a program.
    """
    try:
        return as_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{what} can't be written as JSON ({str(error).splitlines()[0]:.80}); use text, numbers, true, false, lists"
        ) from None


def from_json(text: str | None) -> Any:
    return {} if text is None else json.loads(text)
