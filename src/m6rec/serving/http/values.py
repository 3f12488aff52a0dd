"""The values that requests are made of, and how much of each a request may bring. Anything larger is answered 422."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from m6rec.base.arguments import CONTROLS

MOST_ANSWERS = 1000  # k
MOST_HISTORY = 1000
MOST_RANKED = 1000
MOST_ROWS = 1000  # items, users, rows to predict
MOST_EVENTS = 5000
MOST_ID = 256
MOST_TEXT = 4000
MOST_FIELD_TEXT = 20_000  # characters of one text field of an item
MOST_KEYS = 64  # of one object
LATEST = 4_102_444_800.0  # 2100-01-01: a clock that says more is wrong

# No control characters (U+0000 can't be stored, a line break would end a line of a log), not empty.
ID_PATTERN = rf"^[^{CONTROLS}]+$"
NO_NULL = r"^[^\x00]*$"


class Strict(BaseModel):
    """Base of every request: unknown keys are refused, numbers are finite, text is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=(), strict=True)


def _moment(value: Any) -> Any:
    """ISO 8601 text as seconds since 1970; without a zone it is UTC."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("a time is seconds since 1970 or ISO 8601 text, for example 2026-03-01T12:00:00Z") from None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except OverflowError:
        raise ValueError("a time lies between 1970 and 2100") from None


def _list_as_tuple(value: Any) -> Any:
    """JSON has lists only, a frozen request tuples."""
    return tuple(value) if isinstance(value, list) else value


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


Id = Annotated[str, StringConstraints(min_length=1, max_length=MOST_ID, pattern=ID_PATTERN)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=ID_PATTERN)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=MOST_TEXT, pattern=NO_NULL)]
FieldText = Annotated[str, StringConstraints(max_length=MOST_FIELD_TEXT, pattern=NO_NULL)]
Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False, ge=-1e15, le=1e15)]
Share = Annotated[float, BeforeValidator(_no_bool), Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[
    float,
    BeforeValidator(_moment, json_schema_input_type=float | str),
    BeforeValidator(_no_bool),
    Field(ge=0, le=LATEST, allow_inf_nan=False, description="Seconds since 1970, or ISO 8601 text (UTC without a zone)."),
]
Whole = Annotated[int, Field(ge=-(10**15), le=10**15)]  # before Number: 1999 is the category "1999" and not "1999.0"
Value = bool | Whole | Number | FieldText
Scalar = Value | None
Values = Annotated[list[Value], Field(max_length=MOST_KEYS)]
FieldValue = Value | None | Annotated[list[Value], Field(max_length=2048)]
Fields = Annotated[dict[Name, FieldValue], Field(max_length=MOST_KEYS)]
Where = Annotated[dict[Name, Value | Values], Field(max_length=MOST_KEYS)]
Context = Annotated[dict[Name, Scalar], Field(max_length=MOST_KEYS)]
Labels = Annotated[dict[Name, Scalar], Field(max_length=MOST_KEYS)]
Ids = Annotated[tuple[Id, ...], BeforeValidator(_list_as_tuple, json_schema_input_type=list[Id])]
