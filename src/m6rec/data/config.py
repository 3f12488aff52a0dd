"""What the data room is told: which files, which columns, which fields, how to clean, how to split."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from m6rec.base.arguments import NO_CONTROLS, has_controls
from m6rec.base.configuration import Config
from m6rec.base.errors import nearest, shown
from m6rec.data.columns import Columns

FieldTypeName = Literal["text", "category", "tags", "number", "id", "vector"]
Encoding = Literal["utf-8", "latin-1", "gb18030"]
TimeUnit = Literal["auto", "s", "ms", "us", "ns", "day", "iso"]

TABLES = ("events", "exposures", "items", "users", "texts", "relations", "faq")
MAPPABLE = (
    *(Columns.USER, Columns.ITEM, Columns.TIME, Columns.ORDER, Columns.SCENARIO, Columns.ACTION, Columns.VALUE),
    *(Columns.POSITION, Columns.PROPENSITY, Columns.LIST, Columns.SPLIT),
    *(Columns.KIND, Columns.TEXT, Columns.LANG, Columns.HEAD, Columns.RELATION, Columns.TAIL, Columns.QUESTION, Columns.ANSWER),
)


class DataConfig(Config):
    """The files and how they are cleaned. Paths are relative to the configuration file.

    Policy for missing values:

    * a required column that does not exist: an error naming the nearest column;
    * an event without a user or an item: dropped and counted, or an error with `missing: error`;
    * an event without a time where time decides the sequence: the same; where an `order` column decides it, the time is kept as unknown;
    * NaN counts as missing, everywhere;
    * an item of the events that is not in the items table: kept as an item with no text, counted (`unlisted_items`);
    * a missing text, category, tag or id: the item is worded from its other fields; an item with no text at all is allowed and counted;
    * a missing number: its own "unknown" bucket; a missing vector: no vector.
    """

    events: str | list[str] | None = Field(
        None,
        description="Event file, or several (each one a scenario named by the file, unless a column names it); null: what dialogues name are the events.",
    )
    exposures: str | list[str] | None = Field(
        None,
        description="What was shown and what came of it: user_id, item_id, time or order, label columns; if known scenario, position, propensity, "
        "list_id, split. One file or several; null: judge tasks read their labels in the event files.",
    )
    history_labels: list[str] = Field(
        default_factory=list, description="Label columns whose positive exposures also are events, with the label as their action."
    )
    items: str | None = Field(None, description="Items table. Without one the catalogue is what the events hold.")
    users: str | None = Field(None, description="Users table. Without one the users are those of the events.")
    texts: str | list[str] | None = Field(
        None, description="Texts (kind, text; optionally user_id, item_id, lang, time), one file or several."
    )
    relations: str | None = Field(None, description="Relations: head, relation, tail (social ties, knowledge).")
    dialogues: str | list[str] | None = Field(
        None,
        description="Dialogues, a JSON object a line: dialogue_id, messages of role, text, items, liked, refused. One file or several.",
    )
    faq: str | list[str] | None = Field(
        None, description="Questions with their answers (question, answer; optionally lang), one file or several."
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Canonical name -> the file's column, e.g. {user_id: uid, time: timestamp}; 'items.item_id' is for one table.",
    )
    time_unit: TimeUnit = Field("auto", description="Unit of the time column since 1970; auto goes by magnitude and reads ISO 8601 text.")
    separator: str | None = Field(None, min_length=1, max_length=1, description="CSV separator; null sniffs comma, tab, semicolon, |.")
    tags_separator: str | None = Field(
        None, min_length=1, description="Separator of tags in one text; null takes the first of | ; , blank that the column uses."
    )
    encoding: Encoding = Field("utf-8", description="Encoding of CSV and JSON Lines files.")
    missing: Literal["drop", "error"] = Field("drop", description="Events without user, item or (where it decides the order) time.")
    future_times: Literal["error", "drop", "keep"] = Field("error", description="Events more than a day after now.")
    unlisted_items: Literal["keep", "drop", "error"] = Field("keep", description="Items of the events that the table does not list.")
    unseen_items: Literal["keep", "drop"] = Field("keep", description="Items without events; kept, they can be recommended (cold).")
    duplicates: Literal["keep", "drop"] = Field("keep", description="Repeats of an event, equal in every column read.")
    min_user_events: int = Field(1, ge=1, description="Users with fewer events lose them (iterated with min_item_events).")
    min_item_events: int = Field(1, ge=1, description="Items with fewer events lose them (iterated with min_user_events).")
    max_text_characters: int = Field(20_000, ge=100, description="Texts of fields are cut to this many characters, and counted.")

    @field_validator("columns", mode="before")
    @classmethod
    def _flat_columns(cls, value: Any) -> Any:
        """`{items: {item_id: asin}}` is the same as `{items.item_id: asin}`."""
        if not isinstance(value, dict):
            return value
        flat: dict[str, Any] = {}
        for key, column in value.items():
            if isinstance(column, dict):
                flat.update({f"{key}.{inner}": name for inner, name in column.items()})
            else:
                flat[str(key)] = column
        return flat

    @field_validator("columns")
    @classmethod
    def _known_columns(cls, value: dict[str, str]) -> dict[str, str]:
        for key in value:
            table, dot, name = key.rpartition(".")
            if dot and table not in TABLES:
                raise ValueError(f"unknown table '{table}' in '{key}'{nearest(table, TABLES)}; tables: {', '.join(TABLES)}")
            if name not in MAPPABLE:
                raise ValueError(f"unknown canonical column '{name}'{nearest(name, MAPPABLE)}; known: {', '.join(MAPPABLE)}")
        return value

    @field_validator("events", "texts", "exposures", "dialogues", "faq")
    @classmethod
    def _some_file(cls, value: str | list[str] | None) -> str | list[str] | None:
        if value is not None and not value:
            raise ValueError("at least one file is needed; for example events: events.parquet")
        return value

    @model_validator(mode="after")
    def _something_happened(self) -> Self:
        if self.events is None and self.dialogues is None:
            raise ValueError("events is required: name the file of what happened, for example events: events.parquet (or dialogues)")
        return self

    @model_validator(mode="after")
    def _outcomes_are_no_events_yet(self) -> Self:
        if self.history_labels and self.exposures is None:
            raise ValueError(
                "history_labels is for exposures in files of their own; name them under exposures, or leave history_labels out"
            )
        return self

    def event_files(self) -> list[str]:
        return [] if self.events is None else [self.events] if isinstance(self.events, str) else list(self.events)

    def exposure_files(self) -> list[str]:
        return [] if self.exposures is None else [self.exposures] if isinstance(self.exposures, str) else list(self.exposures)

    def text_files(self) -> list[str]:
        return [] if self.texts is None else [self.texts] if isinstance(self.texts, str) else list(self.texts)

    def dialogue_files(self) -> list[str]:
        return [] if self.dialogues is None else [self.dialogues] if isinstance(self.dialogues, str) else list(self.dialogues)

    def faq_files(self) -> list[str]:
        return [] if self.faq is None else [self.faq] if isinstance(self.faq, str) else list(self.faq)


class FieldsConfig(Config):
    """The declared fields of items and users: column -> type. null: typed by guess (see `m6rec.data.schema`); {}: no fields."""

    items: dict[str, FieldTypeName] | None = Field(None, description="Item column -> type; null guesses the types.")
    users: dict[str, FieldTypeName] | None = Field(None, description="User column -> type; null guesses the types.")
    context: dict[str, FieldTypeName] = Field(
        default_factory=dict,
        description="Column of the exposures -> type: what is known of a request (device, place, session). Hour and weekday come from the time.",
    )


class ScenariosConfig(Config):
    """Where an event happened: shop, feed, video, ..."""

    column: str | None = Field(None, description="Event column that names the scenario; null: 'scenario' where it exists, else by file.")
    by_file: bool = Field(True, description="Several event files without such a column are a scenario each; false: parts of one log.")
    offers: dict[str, dict[str, str | list[str]]] = Field(
        default_factory=dict,
        description="What a scenario may recommend: scenario -> {item field: value or values}, e.g. {feed: {kind: [post, video]}}; others: everything.",
    )

    later: list[str] = Field(
        default_factory=list,
        description="Scenarios that the data has no rows of yet: asked there, tasks answer from what the scenarios share.",
    )

    @field_validator("later")
    @classmethod
    def _names(cls, value: list[str]) -> list[str]:
        for name in value:
            if not name.strip() or has_controls(name):
                raise ValueError(f"{shown(name)} is no name of a scenario; {NO_CONTROLS}" if name.strip() else "a scenario needs a name")
        return value


class SplitConfig(Config):
    """How a dataset is cut into training, validation and test.

    leave_one_out  the last event of every user is the test, the one before it the validation
    time           every event from a moment on; the moments are given, or are quantiles of all event times
    cold_items     a share of the items is never trained on; every event with one of them is a target
    cold_users     a share of the users is never trained on; what each of them did after their first n events is asked, for every n of `given`
    """

    protocol: Literal["leave_one_out", "time", "cold_items", "cold_users"] = Field(
        "leave_one_out", description="How validation and test are cut off."
    )
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="time: share of the events between training and test.")
    test_fraction: float = Field(0.1, gt=0, lt=1, description="time: share of the events (the newest) that are tested.")
    validation_from: float | str | None = Field(
        None, description="time: validation starts here (seconds since 1970 or ISO); null: by fraction."
    )
    test_from: float | str | None = Field(None, description="time: test starts here (seconds since 1970 or ISO); null: by fraction.")
    cold_fraction: float = Field(
        0.1, gt=0, lt=1, description="cold_items, cold_users: share of the items or users held out, half for validation, half for test."
    )
    given: list[Annotated[int, Field(ge=0)]] = Field(
        [0, 1, 2, 5, 10], description="cold_users: how many first events of a held-out user are known when the next one is asked for."
    )
    min_history: int = Field(1, ge=0, description="Cases whose history is shorter than this are left out (cold_users: `given` decides).")
    shuffle_ties: bool = Field(False, description="Shuffle events of equal time (seeded) instead of keeping the order of the file.")

    @field_validator("validation_from", "test_from")
    @classmethod
    def _moment(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, str):
            try:
                datetime.fromisoformat(value)
            except ValueError:
                raise ValueError("a moment is seconds since 1970 or an ISO date like 2024-05-01T00:00:00") from None
        return value

    @field_validator("given")
    @classmethod
    def _some_numbers(cls, value: list[int]) -> list[int]:
        if not value:
            raise ValueError("give at least one number of known events, for example [0, 1, 5]")
        return sorted(set(value))

    @model_validator(mode="after")
    def _room_for_training(self) -> Self:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction + test_fraction must leave something to train on: together below 1")
        return self
