"""Requests for lists and judgements, and the `Ask` that each becomes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, model_validator

from m6rec.serving.asked import Ask, Slate
from m6rec.serving.http.values import (
    MOST_ANSWERS,
    MOST_HISTORY,
    MOST_KEYS,
    MOST_RANKED,
    MOST_ROWS,
    MOST_TEXT,
    Context,
    Fields,
    Id,
    Ids,
    Name,
    Number,
    Scalar,
    Seconds,
    Share,
    Strict,
    Text,
    Where,
)


class Who(Strict):
    """Who asks, where and when: at least one of user, history, text, profile."""

    user: Id | None = Field(None, description="Id of a user.", examples=["u42"])
    history: Annotated[Ids, Field(max_length=MOST_HISTORY)] | None = Field(
        None, description="Items instead of what is stored of the user, oldest first.", examples=[["i7", "i3"]]
    )
    text: Text | None = Field(None, description="What the person typed.", examples=["a calm book about stoicism"])
    profile: Fields | Text | None = Field(
        None, description="Fields of a person who is not in the users table, or words about them.", examples=[{"age": 30}]
    )
    scenario: Name | None = Field(None, description="The scenario that asks.", examples=["shop"])
    context: Context | None = Field(
        None, description="Device, place, session and so on, as the training knew them.", examples=[{"device": "phone"}]
    )
    time: Seconds | None = Field(None, description="The moment of asking: seconds since 1970 or ISO 8601; now when left out.")
    include: Annotated[Ids, Field(max_length=MOST_KEYS)] = Field(
        (), description='Fields, tasks, and "reasons" that are said of each answer.', examples=[["category", "reasons"]]
    )
    language: Name | None = Field(
        None, description="Language of reasons in words, en or zh, for the first 20 answers; none: no words.", examples=["en"]
    )
    reason_by: Name | None = Field(None, description='The write task that words the reasons; templates when left out, or "template".')
    budget_ms: Annotated[Number, Field(gt=0, le=60_000)] | None = Field(
        None, description="Time that may be spent, in milliseconds; short of it fewer candidates are looked at, and `degraded` says so."
    )

    @model_validator(mode="after")
    def _somebody(self) -> Who:
        return _checked(self)

    def _who(self) -> dict[str, Any]:
        names = ("user", "history", "text", "profile", "scenario", "context", "time", "include", "language", "reason_by", "budget_ms")
        return {name: getattr(self, name) for name in names}


class RecommendRequest(Who):
    """The best of the catalogue for somebody."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user": "u42", "k": 5, "diversity": 0.3, "include": ["reasons"]}]})

    k: int = Field(10, ge=1, le=MOST_ANSWERS, description="How many answers.")
    where: Where | None = Field(
        None,
        description='Only items that meet this: field -> value, list of values, or for numbers "<50", ">=10", "10-50".',
        examples=[{"category": "boots", "price": "<80"}],
    )
    repeat: Literal["exclude", "allow", "model"] | None = Field(
        None, description="Items the person had already: leave out, let in, or let the model decide; the model's own setting when left out."
    )
    of: Name | None = Field(None, description="Values of this field (brand, author, ...) instead of items.")
    task: Name | None = Field(None, description="The choose task that orders the catalogue; the model's first one when left out.")
    dislike: Annotated[Ids, Field(max_length=MOST_HISTORY)] = Field((), description="Items whose likes sink within this request.")
    diversity: Share = Field(0.0, description="0 to 1: how much being unlike the items above counts.")
    novelty: Share = Field(0.0, description="0 to 1: how much being seldom seen counts.")
    weights: Annotated[dict[Name, Annotated[Number, Field(ge=0, le=1e6)]], Field(max_length=MOST_RANKED)] = Field(
        default_factory=dict,
        description='Item id or "field=value" -> factor on its probability; 0 leaves it out.',
        examples=[{"brand=Acme": 2.0}],
    )
    caps: Annotated[dict[Name, Annotated[int, Field(ge=0, le=MOST_ANSWERS)]], Field(max_length=MOST_KEYS)] = Field(
        default_factory=dict, description="Field -> most items with the same value of it.", examples=[{"brand": 2}]
    )
    mix: Annotated[dict[Name, Annotated[dict[Name, Share], Field(max_length=MOST_KEYS)]], Field(max_length=8)] = Field(
        default_factory=dict, description="Field -> value -> least share of the list.", examples=[{"kind": {"video": 0.3}}]
    )
    variant: Name | None = Field(None, description="Arm of an experiment by name, instead of by assignment.")
    explore: bool = Field(True, description="Whether places may be left to chance (where the service explores at all).")

    def ask(self, request_id: str) -> Ask:
        """The same for the service."""
        slate = Slate(self.diversity, self.novelty, self.weights, self.caps, self.mix)
        return Ask(
            **self._who(),
            k=self.k,
            where=self.where,
            repeat=self.repeat,
            of=self.of,
            task=self.task,
            disliked=self.dislike,
            slate=slate,
            variant=self.variant,
            explore=self.explore,
            request_id=request_id,
        )


class RankRequest(Who):
    """Given items in order."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user": "u42", "items": ["i1", "i2", "i3"], "task": "click"}]})

    items: Annotated[Ids, Field(min_length=1, max_length=MOST_RANKED)] = Field(description="Ids of the items to order.")
    task: Name | None = Field(None, description="What they are ordered by; the choose task when left out.")

    def ask(self, request_id: str) -> Ask:
        """The same for the service."""
        return Ask(**self._who(), items=self.items, k=len(self.items), task=self.task, request_id=request_id)


class PredictRow(Strict):
    """One pair of a user and an item, and what else the tasks read (context columns)."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Scalar]

    user_id: Id = Field(description="Id of a user.", examples=["u42"])
    item_id: Id = Field(description="Id of an item.", examples=["i7"])
    time: Seconds | None = Field(None, description="The moment of the exposure; now when left out.")
    scenario: Name | None = Field(None, description="The scenario it happens in.")

    @model_validator(mode="after")
    def _few(self) -> PredictRow:
        if len(self.__pydantic_extra__ or {}) > MOST_KEYS:
            raise ValueError(f"a row has at most {MOST_KEYS} columns more")
        return self


class PredictRequest(Strict):
    """What tasks say of pairs of a user and an item."""

    rows: Annotated[list[PredictRow], Field(min_length=1, max_length=MOST_ROWS)] = Field(description="The pairs.")
    tasks: Annotated[list[Name], Field(min_length=1, max_length=MOST_KEYS)] | None = Field(
        None, description="All judge tasks when left out."
    )


class ClassifyRequest(Strict):
    """What a task says of a text or of an item alone."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "battery died in a week", "task": "sentiment"}]})

    text: Text | None = Field(None, description="The text; or give `item`.")
    item: Id | None = Field(None, description="Id of an item; or give `text`.")
    task: Name | None = Field(None, description="The task; may be left out where there is one only.")

    @model_validator(mode="after")
    def _one_thing(self) -> ClassifyRequest:
        if (self.text is None) == (self.item is None):
            raise ValueError("give text or item, one of the two")
        return self


class SimilarRequest(Strict):
    """Items like one item."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"item": "i7", "k": 5}]})

    item: Id = Field(description="Id of an item.", examples=["i7"])
    k: int = Field(10, ge=1, le=MOST_ANSWERS, description="How many answers.")
    where: Where | None = Field(None, description="Only items that meet this, as in /v1/recommend.")


class SearchRequest(Strict):
    """Items by words."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "waterproof boots", "k": 5}]})

    text: Text = Field(description=f"The words, at most {MOST_TEXT} characters.")
    k: int = Field(10, ge=1, le=MOST_ANSWERS, description="How many answers.")
    where: Where | None = Field(None, description="Only items that meet this, as in /v1/recommend.")
    scenario: Name | None = Field(None, description="The scenario that asks.")


class ExplainRequest(Strict):
    """Why an item for somebody: at least one of user, history, text, profile."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user": "u42", "item": "i7"}]})

    item: Id = Field(description="Id of the item to explain.")
    user: Id | None = Field(None, description="Id of a user.")
    history: Annotated[Ids, Field(max_length=MOST_HISTORY)] | None = Field(None, description="Items, oldest first.")
    text: Text | None = Field(None, description="What the person typed.")
    profile: Fields | Text | None = Field(None, description="Fields of a person, or words about them.")
    scenario: Name | None = Field(None, description="The scenario that asks.")
    language: Name | None = Field(None, description="Language of a reason in words, en or zh; none: no words.")
    reason_by: Name | None = Field(
        None, description='The write task that words it, or "template"; when left out one that learned to give reasons, where there is one.'
    )

    @model_validator(mode="after")
    def _somebody(self) -> ExplainRequest:
        return _checked(self)


A = TypeVar("A", Who, ExplainRequest)


def _checked(asked: A) -> A:
    if asked.user is None and asked.history is None and asked.text is None and asked.profile is None:
        raise ValueError("nobody asks; give user, history, text or profile")
    return asked
