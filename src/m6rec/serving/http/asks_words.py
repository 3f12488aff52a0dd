"""Requests for texts and conversations, and what the service is asked for with them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from m6rec.serving.conversation.written import Manner
from m6rec.serving.engine.how_to_write import HowToWrite
from m6rec.serving.http.values import (
    MOST_FIELD_TEXT,
    MOST_HISTORY,
    MOST_KEYS,
    NO_NULL,
    Fields,
    Id,
    Ids,
    Name,
    Number,
    Share,
    Strict,
    Text,
)
from m6rec.serving.service.words import WriteAsk

MOST_MESSAGES = 200
MOST_BANNED = 200
MOST_TEXTS = 8  # of one request
MOST_WORDS = 400
DRAWN = ("nucleus", "agreed")
WAYS = {"beams": ("beam",), "top_p": DRAWN, "temperature": DRAWN, "seed": DRAWN}  # what only some ways of decoding read
ACTIVE = ("m6rec", "default")  # names of whichever model is active

COLDEST = 0.01  # below it nothing is drawn any more

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Temperature = Annotated[Number, Field(ge=COLDEST, le=10)]
Said = Annotated[str, StringConstraints(max_length=MOST_FIELD_TEXT, pattern=NO_NULL)]


def _no_penalty(value: float) -> float:
    if value:
        raise ValueError("replies know no penalties; leave it out, or say 0")
    return value


NoPenalty = Annotated[Number, AfterValidator(_no_penalty)]


class WriteRequest(Strict):
    """A text: a reason for an item, a query somebody might type, a title, a review in somebody's manner."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"kind": "reason", "user": "u42", "item": "i7", "words": [5, 20]}]})

    kind: Name = Field(description="The write task, by its name in the configuration; GET /info lists them under `writes`.")
    user: Id | None = Field(None, description="Whom it is for, or whose manner it has.")
    item: Id | None = Field(None, description="What it is about.")
    history: Annotated[Ids, Field(max_length=MOST_HISTORY)] | None = Field(None, description="Items, oldest first.")
    text: Text | Annotated[dict[Name, Text], Field(max_length=MOST_KEYS)] | None = Field(
        None, description="What stands before it: the columns that the task reads, or the text of the only one."
    )
    profile: Fields | Text | None = Field(None, description="Fields of a person, or words about them.")
    scenario: Name | None = Field(None, description="Where it will be shown; rules of the scenario hold.")
    about: Annotated[list[Name], Field(max_length=16)] = Field([], description="Words or features that should be named.")
    decoding: Literal["beam", "greedy", "nucleus", "agreed"] | None = Field(
        None,
        description="How the next word is decided on. When left out: nucleus with top_p, temperature or seed, else beam, or greedy for a stream.",
    )
    beams: int = Field(4, ge=1, le=16, description="beam: texts side by side; refused for the other ways.")
    top_p: Annotated[Share, Field(gt=0)] = Field(0.9, description="nucleus, agreed: probability that the words drawn from hold.")
    temperature: Temperature | None = Field(None, description="nucleus, agreed: the higher, the more daring; 1, with agreed 0.5.")
    seed: Seed = Field(0, description="nucleus, agreed: what is drawn follows from it.")
    words: Annotated[list[Annotated[int, Field(ge=0, le=MOST_WORDS)]], Field(min_length=2, max_length=2)] | None = Field(
        None, description="Least and most words.", examples=[[5, 20]]
    )
    banned: Annotated[list[Name], Field(max_length=MOST_BANNED)] = Field([], description="Words that must not be written.")
    language: Name | None = Field(None, description="Language of the text: only its letters are written.", examples=["en"])
    n: int = Field(1, ge=1, le=MOST_TEXTS, description="How many texts; the others stand in `others`.")
    stream: bool = Field(False, description="Send the text while it is written, as server-sent events.")

    @model_validator(mode="after")
    def _fits(self) -> WriteRequest:
        if self.stream and (self.n > 1 or self.way in ("beam", "agreed")):
            raise ValueError("a stream is one text, greedy or nucleus")
        if self.way == "greedy" and self.n > 1:
            raise ValueError("n above 1 needs decoding beam, nucleus or agreed; greedy finds one text")
        strange = next((name for name, ways in WAYS.items() if name in self.model_fields_set and self.way not in ways), None)
        if strange is not None:
            raise ValueError(f"{strange} is of decoding {' and '.join(WAYS[strange])} and this is {self.way}; leave one of the two out")
        return self

    @property
    def way(self) -> Literal["beam", "greedy", "nucleus", "agreed"]:
        """The decoding, said or meant."""
        if self.decoding is not None:
            return self.decoding
        if any(name in self.model_fields_set for name, ways in WAYS.items() if ways == DRAWN):
            return "nucleus"
        return "greedy" if self.stream else "beam"

    def ask(self, request_id: str) -> WriteAsk:
        """The same for the service."""
        how = HowToWrite(
            decoding=self.way,
            beams=self.beams,
            top_p=self.top_p,
            temperature=self.temperature,
            seed=self.seed,
            words=None if self.words is None else (self.words[0], self.words[1]),
            banned=self.banned,
            language=self.language,
            n=self.n,
        )
        return WriteAsk(
            self.kind, self.user, self.item, self.history, self.text, self.profile, self.scenario, tuple(self.about), how, request_id
        )


class TextPart(Strict):
    """A part of a message, as OpenAI's clients may send it."""

    type: Literal["text"] = Field(description="text, the only kind of part that is read.")
    text: Said = Field(description="The words.")


class ChatMessage(Strict):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"] = Field(description="Who said it; what system messages say is not read.")
    content: Said | Annotated[list[TextPart], Field(max_length=MOST_KEYS)] = Field(description="What was said.")
    name: Name | None = Field(None, description="Not read.")
    items: Annotated[Ids, Field(max_length=MOST_KEYS)] | None = Field(
        None, description="Of an assistant's message: ids that it offered, as its reply said; without, they are found by their names."
    )

    def plain(self) -> dict[str, Any]:
        """As `Service.chat` takes it."""
        content = self.content if isinstance(self.content, str) else " ".join(part.text for part in self.content)
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": content} | ({} if self.items is None else {"items": list(self.items)})


class StreamOptions(Strict):
    """What a stream says besides."""

    include_usage: bool = Field(False, description="Whether a last chunk counts the tokens.")


class ChatRequest(Strict):
    """A conversation so far, in the form of OpenAI's chat completions; what that form has and recommendations have no use for is taken and not read."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "m6rec", "messages": [{"role": "user", "content": "I need a gift for a runner"}]}]}
    )

    model: Name = Field("m6rec", description='"m6rec" for the model that answers now, or the version of one that is loaded.')
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MOST_MESSAGES)] = Field(
        description="What was said so far, oldest first; the last one is the user's."
    )
    stream: bool = Field(False, description="Send the reply in chunks, as server-sent events.")
    stream_options: StreamOptions | None = Field(None, description="Of a stream.")
    user: Id | None = Field(None, description="Id of a user, whose history counts too; somebody unknown is talked to like anybody.")
    scenario: Name | None = Field(None, description="Where they are; only what it offers is recommended.")
    max_tokens: int | None = Field(None, ge=1, le=4096, description="Tokens of the reply at most; it is cut behind a sentence or word.")
    max_completion_tokens: int | None = Field(None, ge=1, le=4096, description="The same under its newer name.")
    n: Literal[1] = Field(1, description="Replies; there is one.")
    temperature: Annotated[Number, Field(ge=0, le=10)] | None = Field(
        None,
        description="Where the model writes the reply (conversation.written): 0 the likeliest word each time, as when left out; above, words are "
        "drawn by `seed`. Replies made of templates stay as they are, and `notes` say so.",
    )
    top_p: Annotated[Share, Field(gt=0)] | None = Field(None, description="Probability that the words drawn from hold; 1 when left out.")
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = Field(
        None, description="What is drawn follows from it; 0 when left out, so that the same request has the same reply."
    )
    stop: Said | Annotated[list[Said], Field(max_length=4)] | None = Field(None, description="The reply ends before the first of these.")
    presence_penalty: NoPenalty | None = Field(None, description="0, or left out: replies know no penalties.")
    frequency_penalty: NoPenalty | None = Field(None, description="0, or left out.")
    metadata: Annotated[dict[Name, Text], Field(max_length=16)] | None = Field(None, description="Taken and not read.")

    @property
    def version(self) -> str | None:
        """Of the model that shall answer; None is the active one."""
        return None if self.model in ACTIVE else self.model

    @property
    def most_tokens(self) -> int | None:
        """The smaller of the two."""
        return min((most for most in (self.max_tokens, self.max_completion_tokens) if most is not None), default=None)

    @property
    def manner(self) -> Manner:
        """How a reply is written where the model writes it."""
        drawn = self.temperature is None and (self.top_p is not None or self.seed is not None)
        temperature = 1.0 if drawn else self.temperature or 0.0
        return Manner(temperature if temperature >= COLDEST else 0.0, 1.0 if self.top_p is None else self.top_p, (self.seed or 0) % 2**32)

    @property
    def stops(self) -> list[str]:
        """Where the reply ends."""
        return [] if self.stop is None else [self.stop] if isinstance(self.stop, str) else self.stop
