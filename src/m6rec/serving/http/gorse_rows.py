"""The JSON of gorse's REST interface (https://gorse.io), with its own names, and what each becomes here."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, StringConstraints

from m6rec.serving.http.config import GorseConfig
from m6rec.serving.http.problems import Refused
from m6rec.serving.http.values import LATEST, MOST_ANSWERS, MOST_FIELD_TEXT, MOST_ID, MOST_KEYS, NO_NULL, FieldText, Id, Name
from m6rec.serving.store.records import Event, StoredEvent

DURATION = re.compile(r"([0-9]{1,9})(h|ms|m|s)")
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
NO_TIME = "0001-01-01T00:00:00Z"  # what gorse says where no time is known


def _moment(value: Any) -> Any:
    """gorse reads times in many ways; here it is ISO 8601, with or without a zone, with / for -."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip().replace("/", "-").removesuffix(" UTC"))
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise ValueError("a Timestamp is ISO 8601, for example 2026-03-01T12:00:00Z") from None
        if seconds > LATEST:
            raise ValueError("a Timestamp lies before 2100")
        return None if seconds < 0 else seconds  # gorse's zero time is the year 1
    raise ValueError("a Timestamp is ISO 8601 text, for example 2026-03-01T12:00:00Z")


GorseTime = Annotated[
    float | None,
    BeforeValidator(_moment, json_schema_input_type=Annotated[str, StringConstraints(max_length=64)] | None),
    Field(description="ISO 8601; now when left out."),
]
GorseComment = Annotated[str, StringConstraints(max_length=MOST_FIELD_TEXT, pattern=NO_NULL)]


class Gorse(BaseModel):
    """Base: keys that gorse knows and m6rec does not are passed over, as gorse does."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class FeedbackPageAsked(Gorse):
    """Which part of the feedback."""

    cursor: Annotated[str, StringConstraints(max_length=18, pattern=r"^[0-9]*$")] = Field("", description="Of the page before.")
    n: int = Field(10, ge=1, le=MOST_ANSWERS, description="How many.")


class PageAsked(Gorse):
    """Which part of a list."""

    cursor: Annotated[str, StringConstraints(max_length=MOST_ID, pattern=NO_NULL)] = Field("", description="Of the page before.")
    n: int = Field(10, ge=1, le=MOST_ANSWERS, description="How many.")


class ScoresAsked(Gorse):
    """How much of a list."""

    n: int = Field(10, ge=1, le=MOST_ANSWERS, description="How many.")
    offset: int = Field(0, ge=0, le=MOST_ANSWERS, description="How many to pass over.")

    @property
    def k(self) -> int:
        """Answers that are needed."""
        return min(self.n + self.offset, MOST_ANSWERS)


class RecommendAsked(ScoresAsked):
    """How much of a list, of what, and whether it is written back."""

    category: Annotated[list[Id], Field(max_length=16)] = Field(default_factory=list, description="Only items of one of these categories.")
    write_back_type: Annotated[str, StringConstraints(max_length=128, pattern=NO_NULL)] = Field(
        "", alias="write-back-type", description="Write the answers back as feedback of this type; takes a key that may write."
    )
    write_back_delay: Annotated[str, StringConstraints(max_length=32, pattern=r"^([0-9]{1,9}(h|ms|m|s))*$")] = Field(
        "", alias="write-back-delay", description="Time of that feedback from now, 0h10m0s."
    )


class FeedbackIn(Gorse):
    """Somebody did something with an item."""

    FeedbackType: Name = Field(description="The action.", examples=["like"])
    UserId: Id = Field(description="Id of the user.")
    ItemId: Id = Field(description="Id of the item.")
    Value: Annotated[float, Field(allow_inf_nan=False, ge=-1e15, le=1e15)] | None = Field(None, description="A number that goes with it.")
    Timestamp: GorseTime = Field(None, description="ISO 8601; now when left out.")
    Comment: GorseComment = Field("", description="Not kept.")

    def event(self, overwrite: bool) -> Event:
        """As an event. One of each type, user and item counts, as in gorse; `overwrite` (PUT) lets one of another time in."""
        named = [self.FeedbackType, self.UserId, self.ItemId] + ([repr(self.Timestamp)] if overwrite else [])
        event_id = "gorse-" + hashlib.sha256("\x00".join(named).encode()).hexdigest()[:40]
        if overwrite and self.Timestamp is None:
            event_id = ""
        return Event(self.UserId, self.ItemId, self.Timestamp, self.FeedbackType, value=self.Value, event_id=event_id or None)


class Labelled(Gorse):
    """What items and users have in common."""

    Labels: dict[Name, JsonValue] | list[FieldText] | None = Field(None, description="Fields by name, or a list for the field of labels.")
    Comment: GorseComment | None = Field(None, description="Goes into the field of comments, the title.")


class ItemIn(Labelled):
    """An item."""

    ItemId: Id = Field(description="Id of the item.")
    IsHidden: bool = Field(False, description="Never shown while true.")
    Categories: Annotated[list[FieldText], Field(max_length=MOST_KEYS)] | None = Field(None, description="Go into the field of categories.")
    Timestamp: GorseTime = Field(None, description="Not kept.")


class ItemPatch(Labelled):
    """What changes of an item."""

    IsHidden: bool | None = Field(None, description="Never shown while true.")
    Categories: Annotated[list[FieldText], Field(max_length=MOST_KEYS)] | None = Field(None, description="Go into the field of categories.")
    Timestamp: GorseTime = Field(None, description="Not kept.")


class UserIn(Labelled):
    """A user."""

    UserId: Id = Field(description="Id of the user.")
    Subscribe: list[FieldText] | None = Field(None, description="Not kept.")


class UserPatch(Labelled):
    """What changes of a user."""

    Subscribe: list[FieldText] | None = Field(None, description="Not kept.")


class FeedbackOut(BaseModel):
    """Feedback as it is read back."""

    FeedbackType: str
    UserId: str
    ItemId: str
    Timestamp: str
    Comment: str


class FeedbackPage(BaseModel):
    """A page of feedback."""

    Cursor: str
    Feedback: list[FeedbackOut]


class ItemOut(BaseModel):
    """An item as it is read back."""

    ItemId: str
    IsHidden: bool
    Categories: list[str]
    Timestamp: str
    Labels: Any
    Comment: str


class ItemPage(BaseModel):
    """A page of items."""

    Cursor: str
    Items: list[ItemOut]


class UserOut(BaseModel):
    """A user as it is read back."""

    UserId: str
    Labels: Any
    Subscribe: list[str]
    Comment: str


class UserPage(BaseModel):
    """A page of users."""

    Cursor: str
    Users: list[UserOut]


class ScoreOut(BaseModel):
    """An item and its score."""

    Id: str
    Score: float


class Success(BaseModel):
    """How many rows were written."""

    RowAffected: int


class Fieldwise:
    """Which fields of the model gorse's Categories, Labels and Comment are, there and back."""

    def __init__(self, names: GorseConfig, kinds: dict[str, str]) -> None:
        """kinds: the fields that the model declares, name -> text, category, tags, number, id or vector."""
        self.names, self.kinds = names, kinds

    def fields(self, row: Labelled, categories: list[str] | None = None) -> dict[str, Any]:
        """The fields of an item or user. Raises Refused (422): something is given for which there is no field."""
        found: dict[str, Any] = {}
        if categories:
            found[self.names.categories] = categories
        if isinstance(row.Labels, dict):
            found |= row.Labels
        elif row.Labels:
            found[self.names.labels] = row.Labels
        if row.Comment:
            found[self.names.comment] = row.Comment
        for name in found:
            if name not in self.kinds:
                known = ", ".join(self.kinds) or "none"
                raise Refused(422, f"there is no field '{name[:80]}' to put it in; fields: {known}; see http.gorse in the configuration")
        return {name: self._shaped(name, value) for name, value in found.items()}

    def _shaped(self, name: str, value: Any) -> Any:
        if isinstance(value, list) and self.kinds[name] in ("category", "id", "number"):
            return value[0] if value else None
        if isinstance(value, list) and self.kinds[name] == "text":
            return ", ".join(map(str, value))
        return [value] if self.kinds[name] == "tags" and isinstance(value, str) else value

    def item(self, row: dict[str, Any], hidden: bool) -> dict[str, Any]:
        """An item of the service with gorse's names."""
        fields = {name: value for name, value in row.get("fields", {}).items() if value is not None}
        return {
            "ItemId": row["item_id"],
            "IsHidden": hidden,
            "Categories": _listed(fields.pop(self.names.categories, None)),
            "Timestamp": NO_TIME,
            "Labels": fields,
            "Comment": str(fields.pop(self.names.comment, "") or row.get("title", "")),
        }

    def user(self, user_id: str, fields: dict[str, Any]) -> dict[str, Any]:
        """A user of the service with gorse's names."""
        return {"UserId": user_id, "Labels": fields, "Subscribe": [], "Comment": str(fields.get(self.names.comment, ""))}


def feedback(event: StoredEvent) -> dict[str, Any]:
    """An event of the store with gorse's names."""
    moment = datetime.fromtimestamp(event.time, UTC).isoformat().replace("+00:00", "Z")
    return {"FeedbackType": event.action or "", "UserId": event.user_id, "ItemId": event.item_id, "Timestamp": moment, "Comment": ""}


def seconds_of(duration: str) -> float:
    """Seconds of "1h30m0s"."""
    return sum(float(number) * UNITS[unit] for number, unit in DURATION.findall(duration))


def _listed(value: Any) -> list[str]:
    return [] if value is None else [str(one) for one in value] if isinstance(value, list) else [str(value)]
