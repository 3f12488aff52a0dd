"""Answers in words: texts that a model writes, and conversations, under the same rules as lists.

What may not be shown is not named, whatever a request or a message says: names are masked while a text is written, items are chosen out of what the
rules allow, and what was said is looked at once more before it goes out.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from m6rec.base.contracts import Scored
from m6rec.base.errors import UsageError
from m6rec.base.written import Written
from m6rec.data.schema import shown
from m6rec.serving.asked import Ask, Reply
from m6rec.serving.conversation.conversation import Talker
from m6rec.serving.conversation.offers import Person
from m6rec.serving.conversation.reply import ChatReply
from m6rec.serving.conversation.written import PLAIN, Manner
from m6rec.serving.engine.how_to_write import HowToWrite
from m6rec.serving.rules.filters import RuleBook
from m6rec.serving.service.answering import known_person, rule_profile
from m6rec.serving.service.core import Core
from m6rec.serving.service.loaded import LoadedModel
from m6rec.serving.service.shown_log import rows_shown
from m6rec.serving.service.telling import Finish, Telling, may_be_said

HELD = "this text waits for a person to look at it (review {number})"
CHAT, WRITTEN = "chat", "written"  # kinds of reviews
UNDRAWN = "this reply is made of templates, so temperature, top_p and seed change nothing of it"


@dataclass(frozen=True)
class WriteAsk:
    """A text that is wanted; see `Recommender.write`. how: decoding, length, banned words, language."""

    kind: str
    user: str | None = None
    item: str | None = None
    history: tuple[str, ...] | None = None
    text: str | Mapping[str, str] | None = None
    profile: Mapping[str, Any] | str | None = None
    scenario: str | None = None
    about: tuple[str, ...] = ()
    how: HowToWrite = field(default_factory=HowToWrite)
    request_id: str = ""


@dataclass(frozen=True)
class WriteReply:
    """A text as it goes out. items: ids of those that it names.  notes: what else should be known, that it is held back for one."""

    written: Written
    items: tuple[str, ...]
    model_version: str
    request_id: str
    took_ms: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Talked:
    """A reply of a conversation as it goes out. tokens: of what was said to it, and of the reply, as the model's tokenizer counts.

    finish: "stop", "length" where the reply was cut to the tokens asked for, or "content_filter" where rules broke off what was told already.
    """

    reply: ChatReply
    model_version: str
    request_id: str
    took_ms: float
    tokens: tuple[int, int]
    finish: Finish = "stop"
    notes: tuple[str, ...] = ()


class Words(Core):
    """What is written and said."""

    def write(self, ask: WriteAsk) -> WriteReply:
        """A text of a write task.

        Raises:
            UsageError: the model writes nothing, no such task, nothing to write about, an item that rules keep back, decoding out of range.
            UnknownUserError, UnknownItemError: an id nobody has seen.
        """
        begun = time.perf_counter()
        request_id = ask.request_id or uuid.uuid4().hex
        with self._counted("write"):
            self.following.catch_up()
            with self.loaded.use() as model:
                book = self.rulings.book(model)
                how, about = self._about(model, book, ask)
                written = model.engine.write(ask.kind, ask=how, **about)
                items = tuple(model.engine.items_named(written))
                notes: tuple[str, ...] = ()
                if self.config.rules.written != "show":
                    number = self._queued(WRITTEN, {"task": ask.kind, "item": ask.item, "text": written.text}, ask.user)
                    if self.config.rules.written == "hold":
                        written, items, notes = replace(written, text="", others=[]), (), (HELD.format(number=number),)
                reply = WriteReply(written, items, model.version, request_id, (time.perf_counter() - begun) * 1e3, notes)
                self._note_shown(
                    model, ask.user, ask.scenario, [*([ask.item] if ask.item else []), *items], request_id, f"write {ask.kind}"
                )
            self.traffic.answered("write", reply.model_version, reply.took_ms, "off", "")
        return reply

    def write_stream(self, ask: WriteAsk) -> tuple[str, Iterator[str]]:
        """The version that writes, and the text piece by piece. What is wrong is raised here, before the first piece. Raises as `write`, and
        UsageError where a person looks at texts before they go out."""
        if self.config.rules.written == "hold":
            raise UsageError(
                "texts wait for a person to look at them here (rules.written is hold), so none can be streamed; ask without stream"
            )
        with self._counted("write"):
            self.following.catch_up()
            with self.loaded.use() as model:
                how, about = self._about(model, self.rulings.book(model), ask)
                pieces = model.engine.write_stream(ask.kind, ask=how, **about)
                first = next(pieces, "")
        return model.version, self._streamed(ask, model.version, first, pieces)

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        user: str | None = None,
        scenario: str | None = None,
        most_tokens: int | None = None,
        stops: Sequence[str] = (),
        manner: Manner = PLAIN,
        tell: Callable[[str, str], None] | None = None,
        version: str | None = None,
        request_id: str = "",
    ) -> Talked:
        """The reply to the last of `messages`; see `Recommender.chat`. A user nobody knows is talked to like anybody else.

        Args:
            most_tokens: the reply is cut behind a sentence or a word to so many.  stops: it ends before the first of these.
            manner: how it is written where the model writes it (`conversation.written`).
            tell: given the model's version and the reply as far as it stands, while the model writes it; what was told is the beginning of the
                reply. Templates, and texts that wait for a person to look at them, are told of when they are whole.
            version: a loaded model that answers in place of the active one.

        Raises:
            UsageError: no messages, a wrong one, the last is not the person's, an unknown model or scenario.
        """
        begun = time.perf_counter()
        request_id = request_id or uuid.uuid4().hex
        with self._counted("chat"):
            self.following.catch_up()
            with self.loaded.use(version) as model:
                book, talker = self.rulings.book(model), self._talker(model)
                notes: list[str] = []
                ask = Ask(user=user, scenario=scenario)
                allowed = book.allowed(scenario, rule_profile(model, book, ask)).mask
                person = None if user is None else known_person(model, ask).user
                if person is not None and not model.knows(person):
                    person, notes = None, [f"user {shown(user)} is not known; this is the answer for anybody"]
                if scenario is not None:
                    model.engine._scenario(scenario)
                tokenizer = model.engine.scorer.reader.tokenizer
                told = Telling(tokenizer, most_tokens, tuple(stops), lambda text: may_be_said(model, book, talker, text, allowed))
                if tell is not None and self.config.rules.written != "hold":
                    told.tell = partial(tell, model.version)
                manner = replace(manner, banned=(*manner.banned, *book.words.words.values()), tell=told.hear)
                reply = talker.chat(messages, Person(person, scenario, lambda: allowed), manner)
                if manner.temperature and reply.written != "model":
                    notes.append(UNDRAWN)
                kept = may_be_said(model, book, talker, reply.text, allowed, [one.item_id for one in reply.items])
                if not kept:
                    reply = ChatReply(talker.phrases_of("", reply.language).say("nothing_more"), [], reply.intent, language=reply.language)
                if reply.written == "model" and self.config.rules.written != "show":
                    number = self._queued(CHAT, {"text": reply.text, "items": [one.item_id for one in reply.items]}, user)
                    if self.config.rules.written == "hold":
                        reply = replace(reply, text="; ".join(one.title for one in reply.items), written="template")
                        notes.append(HELD.format(number=number))
                heard = sum(len(tokenizer.encode(str(message.get("content", "")))) for message in messages)
                text, tokens, finish = told.ended(reply.text)
                reply = reply if text == reply.text else replace(reply, text=text)
                took = (time.perf_counter() - begun) * 1e3
                talked = Talked(reply, model.version, request_id, took, (heard, tokens), finish, tuple(notes))
                self._note_shown(model, user, scenario, [one.item_id for one in reply.items], request_id, "chat")
            self.traffic.answered("chat", talked.model_version, talked.took_ms, "off", "")
        return talked

    def _about(self, model: LoadedModel, book: RuleBook, ask: WriteAsk) -> tuple[HowToWrite, dict[str, Any]]:
        """How to write under the rules, and what about."""
        who = Ask(user=ask.user, history=ask.history, profile=ask.profile, scenario=ask.scenario)
        verdict = book.allowed(ask.scenario, rule_profile(model, book, who))
        if ask.item is not None:
            row = model.check_item(ask.item)
            if verdict.mask is not None and not verdict.mask[row]:
                raise UsageError(f"the rules keep item {shown(ask.item)} from being shown here; ask for a text about another item")
        who = known_person(model, who)
        how = replace(ask.how, banned=[*ask.how.banned, *book.words.words.values()], allowed=verdict.mask)
        about = {
            "user": who.user,
            "item": ask.item,
            "history": None if who.history is None else list(who.history),
            "text": ask.text,
            "profile": who.profile,
            "scenario": ask.scenario,
            "about": ask.about,
        }
        return how, about

    def _streamed(self, ask: WriteAsk, version: str, first: str, pieces: Iterator[str]) -> Iterator[str]:
        begun, told = time.perf_counter(), [first]
        yield first
        for piece in pieces:
            told.append(piece)
            yield piece
        if self.config.rules.written == "watch":
            self._queued(WRITTEN, {"task": ask.kind, "item": ask.item, "text": "".join(told)}, ask.user)
        self.traffic.answered("write", version, (time.perf_counter() - begun) * 1e3, "off", "")

    def _talker(self, model: LoadedModel) -> Talker:
        """Of a model, knowing its catalogue as it is now."""
        with self._talking:
            held = self._talkers.get(model.version)
            if held is None or held[0] is not model.engine:
                loaded = {one.version for one in self.loaded.all}
                self._talkers = {version: kept for version, kept in self._talkers.items() if version in loaded}
                held = self._talkers[model.version] = (model.engine, Talker(model.engine, self.config.conversation))
            held[1].refresh()
        return held[1]

    def _queued(self, kind: str, content: Mapping[str, Any], user: str | None) -> int:
        """Number in the review queue. Raises StorageError: the store is away, and what nobody could look at does not go out."""
        return self.store.queue_review(kind, dict(content), "generated", user_id=user)

    def _note_shown(
        self, model: LoadedModel, user: str | None, scenario: str | None, items: Sequence[str], request_id: str, why: str
    ) -> None:
        """Into the audit: items that a text was about or named, in their order."""
        if not self.config.engine.audit or not items:
            return
        answers = tuple(Scored(item, 0.0, parts={why: 1.0}) for item in dict.fromkeys(items))
        reply = Reply(answers, model.version, request_id, 0.0)
        self.shown.add(rows_shown(Ask(user=user, scenario=scenario), reply))
