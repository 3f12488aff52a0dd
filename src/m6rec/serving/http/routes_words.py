"""Routes that answer in words: texts, and conversations in the form of OpenAI's chat completions. Role: read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import orjson
from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from m6rec.base.errors import M6RecError
from m6rec.serving.conversation.reply import pieces
from m6rec.serving.http.asks_words import ChatRequest, WriteRequest
from m6rec.serving.http.calls import Calls
from m6rec.serving.http.guarded_route import route
from m6rec.serving.http.problems import Refused, status_of, took_ms
from m6rec.serving.http.replies import Said, send
from m6rec.serving.service.words import Talked

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

TAG = "words"
EVENTS = "text/event-stream"
DONE = b"data: [DONE]\n\n"


class Claims(BaseModel):
    """What became of what a text claims."""

    kept: list[str] = Field(description="Claims that are true of the item and the history.")
    dropped: list[str] = Field(description="Claims that were not, and are no longer in the text.")


class TextOut(BaseModel):
    """One text."""

    text: str = Field(description="The text; empty where it waits for a person to look at it, which `notes` say.")
    log_probability: float = Field(description="Of all its tokens by the model, natural logarithm.")
    claims: Claims = Field(description="What it claims.")


class WriteReplyOut(Said, TextOut):
    """A text that was written."""

    kind: str = Field(description="The write task.")
    items: list[str] = Field(description="Ids of the items that it names.")
    others: list[TextOut] = Field(description="The other texts of n, best first.")
    notes: list[str] = Field(description="What else should be known.")


class AssistantMessage(BaseModel):
    """The reply as a message: put it into `messages` of the next request as it is."""

    role: Literal["assistant"] = Field(description="assistant.")
    content: str = Field(description="The reply.")
    items: list[str] = Field(description="Ids of the items that it offers, best first.")


class Choice(BaseModel):
    """The only choice."""

    index: int = Field(description="0.")
    message: AssistantMessage = Field(description="The reply.")
    finish_reason: Literal["stop", "length"] = Field(description="length: it was cut to the tokens asked for.")


class Usage(BaseModel):
    """Tokens as the model's own tokenizer counts them."""

    prompt_tokens: int = Field(description="Of all messages.")
    completion_tokens: int = Field(description="Of the reply.")
    total_tokens: int = Field(description="Of both.")


class Offered(BaseModel):
    """One recommended item."""

    item_id: str = Field(description="Id of the item.")
    title: str = Field(description="Its title.")
    score: float = Field(description="What the list is ordered by.")


class Conversed(BaseModel):
    """What a recommender knows of its reply and OpenAI's form has no place for."""

    items: list[Offered] = Field(description="What is recommended, best first.")
    intent: str = Field(description="What the last message was taken for.")
    hand_over: bool = Field(description="Whether a person should take over.")
    asked: bool = Field(description="Whether the reply asks something back.")
    reason: str = Field(description="Why a person should take over.")
    language: str = Field(description="Of the reply.")
    written: str = Field(description="template, or model where a trained task wrote it.")
    notes: list[str] = Field(description="What else should be known.")


class ChatReplyOut(Said):
    """A reply in the form of OpenAI's chat completions."""

    id: str = Field(description="chatcmpl- and the request's id.")
    object: Literal["chat.completion"] = Field(description="chat.completion.")
    created: int = Field(description="Seconds since 1970.")
    model: str = Field(description="Version of the model that answered.")
    choices: list[Choice] = Field(description="One.")
    usage: Usage = Field(description="Tokens.")
    m6rec: Conversed = Field(description="What else is known of the reply.")


def add_word_routes(app: FastAPI, service: Service, calls: Calls) -> None:
    """Add the routes to `app`."""

    async def write(request: Request, body: WriteRequest) -> Response:
        """A text by one of the model's write tasks.

        With `stream`, server-sent events: `data: {"text": PIECE}` as the text grows, whole words and names only, and at its end
        `data: {"finish": "stop", ...}` and `data: [DONE]`.
        """
        ask = body.ask(request.scope["request_id"])
        if body.stream:
            version, texts = await calls.run("read", service.write_stream, ask)
            return StreamingResponse(_text_events(request, calls, version, texts), media_type=EVENTS, headers={"X-Accel-Buffering": "no"})
        found = await calls.run("read", service.write, ask)
        plain = found.written.plain()
        return send(request, {**plain, "items": found.items, "notes": found.notes})

    async def chat_completions(request: Request, body: ChatRequest) -> Response:
        """The reply to a conversation: real items with reasons, a question back, or an answer.

        OpenAI's form of requests and replies, so its clients work with this address as their base. Nothing is kept between requests: what was
        liked and refused is found again in `messages`. Errors are problem JSON like everywhere here.
        """
        asked = partial(
            service.chat,
            [message.plain() for message in body.messages],
            user=body.user,
            scenario=body.scenario,
            most_tokens=body.most_tokens,
            stops=body.stops,
            manner=body.manner,
            version=body.version,
            request_id=request.scope["request_id"],
        )
        if body.stream:
            spoken = Spoken(calls, asked)
            await spoken.begun()  # what is wrong with the request is a problem, and no event
            usage = body.stream_options is not None and body.stream_options.include_usage
            return StreamingResponse(_chat_events(request, spoken, usage), media_type=EVENTS, headers={"X-Accel-Buffering": "no"})
        talked = await calls.run("read", asked)
        message = {"role": "assistant", "content": talked.reply.text, "items": [one.item_id for one in talked.reply.items]}
        choice = {"index": 0, "message": message, "finish_reason": talked.finish}
        head = _head(request, talked.model_version)
        return send(request, {**head, "object": "chat.completion", "choices": [choice], "usage": _usage(talked), "m6rec": _told(talked)})

    route(app, "POST", "/v1/write", write, role="read", tag=TAG, reply=WriteReplyOut, also=(404, 409), streams=True)
    route(app, "POST", "/v1/chat/completions", chat_completions, role="read", tag=TAG, reply=ChatReplyOut, also=(404, 409), streams=True)


async def _text_events(request: Request, calls: Calls, version: str, texts: Iterator[str]) -> AsyncIterator[bytes]:
    """The pieces of a text, each made in a thread of the reading lane; what goes wrong on the way is the last event."""
    try:
        while (piece := await calls.run("read", next, texts, None)) is not None:
            if piece:
                yield _event({"text": piece})
    except (M6RecError, Refused) as error:
        yield _problem_event(error)
        return
    yield _event({"finish": "stop", "model_version": version, "request_id": request.scope["request_id"], "took_ms": took_ms(request)})
    yield DONE


class Spoken:
    """A reply while it is spoken: `asked` runs in the reading lane and tells of each sentence; `texts` gives what is new."""

    def __init__(self, calls: Calls, asked: Callable[..., Talked]) -> None:
        self.told = asyncio.Queue[tuple[str, str] | None]()
        loop = asyncio.get_running_loop()

        def tell(version: str, text: str) -> None:
            loop.call_soon_threadsafe(self.told.put_nowait, (version, text))

        self.talked = asyncio.ensure_future(calls.run("read", asked, tell=tell))
        self.talked.add_done_callback(self._ended)
        self.first: tuple[str, str] | None = None

    async def begun(self) -> None:
        """Wait for the first sentence or the whole reply. Raises what `asked` raises."""
        self.first = await self.told.get()
        if self.first is None:
            await self.talked

    @property
    def version(self) -> str:
        """Of the model that speaks."""
        return self.talked.result().model_version if self.first is None else self.first[0]

    async def texts(self) -> AsyncIterator[str]:
        """The reply in pieces that joined are its text. Raises what `asked` raises."""
        given, found = 0, self.first
        while found is not None:
            yield found[1][given:]
            given, found = len(found[1]), await self.told.get()
        for piece in pieces((await self.talked).reply.text[given:]):
            yield piece

    def _ended(self, talked: asyncio.Future[Talked]) -> None:
        if not talked.cancelled():
            talked.exception()  # looked at, where nobody waits for the reply any more
        self.told.put_nowait(None)


async def _chat_events(request: Request, spoken: Spoken, usage: bool) -> AsyncIterator[bytes]:
    """A reply as OpenAI's chunks; the last one before [DONE] has what is known of it besides. What goes wrong on the way is the last event."""
    head = {**_head(request, spoken.version), "object": "chat.completion.chunk"}

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        return _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})

    yield chunk({"role": "assistant", "content": ""})
    try:
        async for text in spoken.texts():
            yield chunk({"content": text})
        talked = await spoken.talked
    except (M6RecError, Refused) as error:
        yield _problem_event(error)
        return
    yield chunk({}, talked.finish, m6rec=_told(talked))
    if usage:
        yield _event({**head, "choices": [], "usage": _usage(talked)})
    yield DONE


def _problem_event(error: M6RecError | Refused) -> bytes:
    """What went wrong after the reply had begun."""
    status, detail = (error.status_code, str(error.detail)) if isinstance(error, Refused) else (status_of(error), str(error))
    return _event({"error": {"status": status, "detail": " ".join(detail.split())}})


def _head(request: Request, version: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{request.scope['request_id']}", "created": int(time.time()), "model": version}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def _usage(talked: Talked) -> dict[str, int]:
    heard, replied = talked.tokens
    return {"prompt_tokens": heard, "completion_tokens": replied, "total_tokens": heard + replied}


def _told(talked: Talked) -> dict[str, Any]:
    reply = talked.reply
    items = [{"item_id": one.item_id, "title": one.title, "score": one.score} for one in reply.items]
    names = ("intent", "hand_over", "asked", "reason", "language", "written")
    return {"items": items, **{name: getattr(reply, name) for name in names}, "notes": list(talked.notes)}
