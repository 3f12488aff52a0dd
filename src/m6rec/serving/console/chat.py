"""Chat: a conversation as a customer would have it, with what is known of each offer and two buttons to say what one thinks of it.

The conversation lies in the page (one hidden value a message), nothing of it is kept as an event. Without script every turn is a form; with script
the reply appears word by word, and its offers when it is complete.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse

from m6rec.base.errors import DataError, M6RecError, UsageError
from m6rec.serving.asked import Ask
from m6rec.serving.console import people
from m6rec.serving.console.catalogue import choices, kinds
from m6rec.serving.console.page import Form, Page, Reader
from m6rec.serving.console.told import told
from m6rec.serving.console.try_it import LEAST_SHARE, Line, facts
from m6rec.serving.conversation.speaking import Speaking
from m6rec.serving.service.words import Talked

router = APIRouter(prefix="/chat")
MOST = 120  # messages of one conversation
LONGEST = 2_000  # characters of one message
REASONS = 3
MESSAGE = "m"  # m0, m1, ...: the messages so far


@dataclass(frozen=True)
class Turn:
    """One message as it is drawn. lines: offers, of the newest reply only.  plain: as it lies in the page."""

    role: str
    text: str
    plain: str
    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()
    hand_over: bool = False
    took_ms: float = 0.0


@router.get("")
def begin(page: Reader, user: str = "") -> Response:
    """An empty conversation."""
    return _page(page, {"user": user}, [])


@router.post("")
def reply(page: Reader, form: Form) -> Response:
    """The conversation with one turn more, as a page."""
    try:
        messages = heard(page, form)
        talked = _talked(page, form, messages)
    except M6RecError as error:
        return _page(page, form, _kept(form), told(page.t, str(error)))
    return _page(page, form, [*map(_drawn, messages), _answered(page, form, talked)])


@router.post("/stream")
def stream(page: Reader, form: Form) -> Response:
    """The same as events: {"said"} what the person said as it is drawn, {"text"} pieces while they are written, {"turn"} the reply as it is drawn;
    or {"problem"}."""
    return StreamingResponse(_events(page, form), media_type="text/event-stream")


def _events(page: Page, form: Mapping[str, str]) -> Iterator[bytes]:
    try:
        messages = heard(page, form)
        spoken = spoken_pieces(lambda tell: _talked(page, form, messages, tell))
        for number, piece in enumerate(spoken):
            if number == 0:
                said = page.part("chat_turn", turn=_drawn(messages[-1]), number=len(messages) - 1, newest=False)
                yield _event({"said": said})
            if isinstance(piece, Talked):
                last = _answered(page, form, piece)
                yield _event({"turn": page.part("chat_turn", turn=last, number=len(messages), newest=True)})
            else:
                yield _event({"text": piece})
    except M6RecError as error:
        yield _event({"problem": told(page.t, str(error))})


def spoken_pieces(talk: Callable[[Callable[[str, str], None]], Talked]) -> Iterator[str | Talked]:
    """What `talk` tells while it runs in a thread of its own, what was not told of its reply, and last the reply. Raises what `talk` raises."""
    speaking = Speaking(lambda tell: talk(lambda version, text: tell(text)), lambda talked: talked.reply.text)
    yield from speaking
    yield speaking.whole


def heard(page: Page, form: Mapping[str, str]) -> list[dict[str, Any]]:
    """The messages so far and the new one: what was typed, or what a button says. Raises UsageError: nothing new, too long, too many."""
    messages = [_message(turn.plain) for turn in _kept(form)]
    if len(messages) + 1 >= MOST:
        raise UsageError(page.t("chat.full", n=MOST))
    text = form.get("text", "").strip()
    for button in ("like", "dislike"):
        if form.get(button):
            text = page.t(f"chat.{button}_said", title=page.service.item(form[button])["title"])
    if not text:
        raise UsageError(page.t("chat.nothing"))
    if len(text) > LONGEST:
        raise UsageError(page.t("chat.too_long", n=LONGEST))
    return [*messages, {"role": "user", "content": text}]


def _talked(page: Page, form: Mapping[str, str], messages: list[dict[str, Any]], tell: Callable[[str, str], None] | None = None) -> Talked:
    return page.service.chat(messages, user=form.get("user") or None, scenario=form.get("scenario") or None, tell=tell)


def _page(page: Page, form: Mapping[str, str], turns: list[Turn], problem: str = "") -> Response:
    return page.show(
        "chat",
        422 if problem else 200,
        turns=turns,
        problem=problem,
        user=form.get("user", ""),
        scenario=form.get("scenario", ""),
        typed=form.get("text", "") if problem else "",
        users=people.known_users(page.service),
        scenarios=page.service.info()["scenarios"],
        longest=LONGEST,
        example="" if turns else _example(page),
    )


def _example(page: Page) -> str:
    """What may be asked for: the most frequent tag, else the most frequent value of a category; "" where there is neither."""
    tags = next((name for name, kind in kinds(page).items() if kind == "tags"), None)
    if tags is not None:
        with page.service.loaded.use() as model:
            counted = model.engine.items.frame[tags].explode().drop_nulls().value_counts(sort=True)
        return str(counted[tags][0]) if counted.height else ""
    return next((known[0] for known in choices(page).values() if known), "")


def _kept(form: Mapping[str, str]) -> list[Turn]:
    """The turns that lie in the page. Raises UsageError: something else lies there."""
    return [_drawn(_message(form[f"{MESSAGE}{number}"])) for number in range(MOST) if f"{MESSAGE}{number}" in form]


def _message(plain: str) -> dict[str, Any]:
    try:
        kept = json.loads(plain)
        role, content, items = kept["role"], kept["content"], kept.get("items", [])
    except (ValueError, TypeError, KeyError, AttributeError):
        raise DataError("a message of this conversation can't be read; begin a new one") from None
    if role not in ("user", "assistant") or not isinstance(content, str) or not isinstance(items, list):
        raise DataError("a message of this conversation can't be read; begin a new one")
    return {"role": role, "content": content} | ({"items": [str(one) for one in items]} if role == "assistant" else {})


def _drawn(message: Mapping[str, Any]) -> Turn:
    return Turn(message["role"], message["content"], json.dumps(message, ensure_ascii=False))


def _answered(page: Page, form: Mapping[str, str], talked: Talked) -> Turn:
    """The newest reply, with what is known of its offers."""
    service, found = page.service, talked.reply
    items = [one.item_id for one in found.items]
    why: dict[str, Any] = {}
    if items:
        ask = Ask(
            user=form.get("user") or None,
            text=found.wanted or None,  # a title that was refused in the newest message is no reason for what else is offered
            items=tuple(items),
            scenario=form.get("scenario") or None,
            include=("reasons",),
        )
        try:
            ranked = service.rank(ask)
            why = {one.item_id: reasons for one, reasons in zip(ranked.answers, ranked.reasons, strict=True)}
        except M6RecError:
            why = {}  # somebody unknown: the reply's own words say why
    lines = tuple(
        Line(
            place,
            one.item_id,
            one.title,
            one.score,
            facts(service, one.item_id, one.title),
            [reason for reason in why.get(one.item_id, ()) if reason.share >= LEAST_SHARE][:REASONS],
            [],
        )
        for place, one in enumerate(found.items, start=1)
    )
    plain = json.dumps({"role": "assistant", "content": found.text, "items": items}, ensure_ascii=False)
    return Turn("assistant", found.text, plain, lines, tuple(told(page.t, note) for note in talked.notes), found.hand_over, talked.took_ms)


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"
