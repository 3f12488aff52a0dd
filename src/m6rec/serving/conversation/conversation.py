"""A conversation over a trained model: messages in, replies out. The state is worked out from the messages, so nothing need be kept between calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from m6rec.base.errors import UsageError
from m6rec.data.columns import Columns
from m6rec.data.schema import shown
from m6rec.serving.conversation.config import ConversationConfig
from m6rec.serving.conversation.faq import Faq, with_asked
from m6rec.serving.conversation.field_pointing import Pointed, pointed_out
from m6rec.serving.conversation.fitting import strange_words, telling_words
from m6rec.serving.conversation.judged import TaskJudge
from m6rec.serving.conversation.limits import Limits, declined, excluding, moved, named_out, picked, taken_back, without
from m6rec.serving.conversation.naming import Names
from m6rec.serving.conversation.offers import Person
from m6rec.serving.conversation.policy import Policy
from m6rec.serving.conversation.questions import ItemFacts
from m6rec.serving.conversation.reply import ChatReply
from m6rec.serving.conversation.speaking import ChatStream, Tell
from m6rec.serving.conversation.state import State
from m6rec.serving.conversation.understanding import Turn, cleaned, language_of, understand
from m6rec.serving.conversation.written import PLAIN, Manner
from m6rec.serving.engine.engine import Engine
from m6rec.text.constraints import Constraint, Typed
from m6rec.text.constraints import understand as take_apart
from m6rec.text.field_names import FieldNames
from m6rec.text.phrases import Phrases, built_in, built_in_phrases, said

ROLES = ("user", "assistant", "system")
MOST_MESSAGES = 1_000
MOST_STRANGE = 0.5  # of the words of a text, from which it is not understood
ASKING = ("?", "？")


class Talker:
    """What all conversations over one engine share: names of the catalogue, phrases, known questions, tasks."""

    def __init__(self, engine: Engine, config: ConversationConfig | None = None) -> None:
        """Raises ConfigError, UsageError, DataError: a language file, a task or a FAQ file of the configuration that can't be used."""
        self.engine = engine
        self.config = config or ConversationConfig()
        own = [Phrases.load(Path(path)) for path in self.config.languages]
        self.phrases = [*own, *(built_in_phrases(name) for name in built_in() if name not in {one.language for one in own})]
        self.judge = TaskJudge(engine, self.config)
        self.faq = self._faq()
        answers = [] if self.faq is None else [cleaned(str(answer), self.config.longest)[0] for answer in self.faq.answers]
        answers += [way for phrases in self.phrases for saying in ("again", "hand_over") for way in phrases.values["sayings"][saying]]
        self.no_wish = tuple(answer for answer in answers if answer)  # what answers a question, or says that nobody here can: no wish
        self._met = self._words_met()
        self._made_for: object = None
        self.refresh()

    def refresh(self) -> None:
        """Read the catalogue anew where it has changed."""
        items = self.engine.items
        if self._made_for is items:
            return
        titles = items.titles()
        seen = np.bincount(self.engine.histories.compact().items, minlength=len(items))
        self.names = Names(items, titles, seen, {word for phrases in self.phrases for word in phrases.plain})
        self.facts = ItemFacts(items, titles)
        self.fields = FieldNames(items)
        self.policy = Policy(self.engine, self.config, self.facts, self.names, self.faq, self.phrases)
        self._made_for = items

    def start(self, person: Person | None = None) -> Conversation:
        """A new conversation. Raises UnknownUserError, UsageError: a person or a scenario that nobody knows."""
        person = person or Person()
        if person.user is not None:
            self.engine._user(person.user)
        self.engine._scenario(person.scenario)
        self.refresh()
        return Conversation(self, person)

    def chat(self, messages: Sequence[Mapping[str, Any]], person: Person | None = None, manner: Manner = PLAIN) -> ChatReply:
        """The reply to the last of `messages`, which is the person's.

        Args:
            manner: how it is written where the model writes it, and who is told of each sentence.

        Raises:
            UsageError: no messages, one without role or words, or the last one is not the person's.
        """
        talk = self.start(person)
        told = checked(messages)
        for message in told[:-1]:
            if message["role"] == "user":
                talk.hear(message["content"])
            elif message["role"] == "assistant":
                talk.tell(message["content"], message.get("items"))
        return talk.say(told[-1]["content"], manner)

    def stream(self, messages: Sequence[Mapping[str, Any]], person: Person | None = None, manner: Manner = PLAIN) -> ChatStream:
        """The same reply in pieces while it is made. Raises as `chat`."""
        return ChatStream(lambda tell: self.chat(messages, person, manner.told(tell)))

    def knows(self, wish: str) -> bool:
        """Whether a wish has a word of the catalogue, or says something that its fields decide."""
        return self.engine.understands(wish) or bool(take_apart(wish, self.fields).constraints)

    def bounds(self, text: str) -> bool:
        """Whether a text says limits of numbers."""
        return any(isinstance(one.value, float) for one in take_apart(text, self.fields).constraints)

    def unseen(self, text: str) -> bool:
        """Whether most words of a text are met nowhere: in no item, no known question, no dialogue, and not among the words of any language here."""
        if take_apart(text, self.fields).constraints:
            return False
        words = [word for word in said(text).words if not word.isdigit()]
        strange = [word for word in words if word not in self._met and not self.engine.understands(word)]
        return len(strange) > MOST_STRANGE * len(words)

    def phrases_of(self, text: str, usual: str) -> Phrases:
        """The phrases of the language that a text is in; names of items are of every language."""
        words = said(text)
        named = {place for one in self.names.items(words) for place in range(one.first, one.last)}
        spoken = " ".join(word for place, word in enumerate(words.words) if place not in named)
        return language_of(spoken, self.phrases, usual or self.engine.scorer.reader.wording.language)

    def _words_met(self) -> frozenset[str]:
        """The words of every language here, of the known questions and answers, and of what people said in dialogues."""
        met = {word for phrases in self.phrases for word in phrases.vocabulary}
        texts: list[str] = [] if self.faq is None else [*self.faq.questions, *map(str, self.faq.answers)]
        dialogues = self.engine.dataset.dialogues
        texts += [] if dialogues is None else dialogues[Columns.TEXT].to_list()
        return frozenset(met.union(*(said(text).words for text in texts)))

    def _faq(self) -> Faq | None:
        reader, plain = self.engine.scorer.reader, {word for phrases in self.phrases for word in phrases.plain}
        same = [group for phrases in self.phrases for group in phrases.same]

        def states(texts: Sequence[str]) -> np.ndarray:
            return np.asarray(reader.read(list(texts)).float().numpy())

        if self.config.faq is not None:
            return Faq.read(Path(self.config.faq), states, self.config.faq_precision, plain, same)
        frame = self.engine.dataset.faq
        if frame is None or not frame.height:
            return None
        dialogues = self.engine.dataset.dialogues
        asked = frame if dialogues is None else with_asked(frame, dialogues)
        return Faq(asked, states, self.config.faq_precision, plain, same)


class Conversation:
    """One conversation; keeps its state. `messages` is what was said so far, ready for `Recommender.chat`."""

    def __init__(self, talker: Talker, person: Person) -> None:
        self.talker, self.person = talker, person
        self.state = State()
        self.messages: list[dict[str, Any]] = []
        self._turn = Lock()  # who speaks while a reply is still streamed waits for its end

    @property
    def liked(self) -> list[str]:
        """Ids of items that the person said they like, in order."""
        return [self.talker.engine.items.ids.ids[item] for item in self.state.liked]

    @property
    def refused(self) -> list[str]:
        """Ids of items that the person refused: they never come again in this conversation."""
        return [self.talker.engine.items.ids.ids[item] for item in self.state.refused]

    def say(self, text: str, manner: Manner = PLAIN) -> ChatReply:
        """What the conversation answers to a turn of the person, written as `manner` says. Raises UsageError: no text."""
        with self._turn:
            turn = self.hear(text)
            phrases = self.talker.phrases_of(turn.text, turn.language)
            cut = f"{phrases.say('too_long')} " if turn.cut else ""
            if cut and manner.tell is not None:
                manner = replace(manner, tell=_behind(cut, manner.tell))
            reply = self.talker.policy.reply(turn, self.state, self.person, phrases, manner)
            reply = replace(reply, text=cut + reply.text, wanted=self.state.wanted)
            self.tell(reply.text, [one.item_id for one in reply.items])
            return reply

    def stream(self, text: str, manner: Manner = PLAIN) -> ChatStream:
        """The same answer in pieces while it is made; `ChatStream.reply` is the whole. Raises UsageError: no text."""
        return ChatStream(lambda tell: self.say(text, manner.told(tell)))

    def hear(self, text: str) -> Turn:
        """Take in a turn of the person without answering it."""
        if not isinstance(text, str):
            raise UsageError(f"a message is {type(text).__name__}; give what the person typed as text")
        talker = self.talker
        plain, cut = cleaned(text, talker.config.longest)
        phrases = talker.phrases_of(plain, self.state.language)
        before = self.state.before()
        pointed = pointed_out(plain, before, talker.names, talker.facts, phrases)
        turn = understand(
            plain if pointed is None or not pointed.rest else pointed.rest,
            before,
            talker.names,
            phrases,
            talker.judge,
            talker.facts.told,
            talker.knows,
            cut,
            talker.unseen,
            talker.bounds,
        )
        typed = None
        if pointed is not None and pointed.sure:
            self.state.rule_out(pointed.limit)
        limited = self._limited(turn, phrases, pointed)
        if limited is None:
            typed = self._typed(turn, phrases)
            if self._settles(turn, typed):
                felt = turn.liked or turn.refused or turn.had
                turn = replace(turn, intent=turn.intent if felt else "refine", settles=True, told=None)
        else:
            turn, self.state.limits = limited
        if (
            self.state.wishes
            and not self.state.wishes[-1].constraints
            and strange_words(self.state.wishes[-1], talker.phrases, talker.engine)
        ):
            self.state.forget_wish()
        if pointed is not None and not pointed.sure:
            turn = replace(turn, among=pointed.values)
        self.state.hear(turn, typed, self._scored(turn))
        if typed is not None:
            turn = self._compare(turn, self._compared(turn, phrases))
        self._loosen(turn)
        self.messages.append({"role": "user", "content": text})
        return turn

    def tell(self, text: str, items: Sequence[str] | None = None) -> None:
        """Take in a reply that was given. items: ids that it offers; None: those that it names."""
        plain, _ = cleaned(text, self.talker.config.longest)
        ids = self.talker.engine.items.ids
        if items is None:
            phrases = self.talker.phrases_of(plain, self.state.language)
            named = understand(plain, self.state.before(), self.talker.names, phrases).items
        else:
            named = tuple(row for row in ids.many(list(items)).tolist() if row >= 0)
        if not named and plain.endswith(self.talker.no_wish):
            self.state.forget_turn()
        self.state.tell(named, plain.rstrip().endswith(ASKING) and not named)
        self.state.transcript.append(("assistant", plain))
        self.messages.append({"role": "assistant", "content": text, "items": [ids.ids[row] for row in named]})

    def _typed(self, turn: Turn, phrases: Phrases) -> Typed | None:
        """The wish of a turn, taken apart; one that only compares has no words."""
        if turn.beyond or turn.intent in ("ask_item", "hand_over", "anger", "greet", "thanks", "bye"):
            return None
        compared = bool(phrases.compared(said(turn.text)))
        if not turn.wish:
            return Typed("", "", (), "") if compared and self._compared(turn, phrases) else None
        typed = take_apart(turn.wish, self.talker.fields)
        silent = compared and not typed.named and not telling_words(typed.wanted, self.talker.phrases)
        return replace(typed, wanted="", rest="") if silent else typed  # "even cheaper"

    def _compared(self, turn: Turn, phrases: Phrases) -> tuple[Constraint, ...]:
        """What "cheaper" and the like mean: less than all that the turn holds it against."""
        bounds = [self.talker.facts.bound(field, sign, turn.against) for field, sign in phrases.compared(said(turn.text))]
        return tuple(bound for bound in bounds if bound is not None)

    def _compare(self, turn: Turn, past: tuple[Constraint, ...]) -> Turn:
        """Hold what a turn compares. Where nothing that fits is then, but something is without it, the turn is `past` what there is, and it is not held."""
        state, lacking = self.state, self.talker.policy.lacking
        older, held = state.limits.turned(past), state.constraints
        if past:
            state.compare(past)
        if not past or state.constraints == held or not lacking(state):
            return turn
        state.limits = older
        return replace(turn, past=() if lacking(state) else past)

    def _scored(self, turn: Turn) -> str:
        """The words of a turn that are scored. Limits are kept by the state, which takes them back, too; here they would hold for ever."""
        typed = take_apart(turn.words, self.talker.fields)
        return typed.wanted if typed.constraints else turn.words

    def _limited(self, turn: Turn, phrases: Phrases, pointed: Pointed | None) -> tuple[Turn, Limits] | None:
        """A turn that speaks of the limits held and of nothing else, and the limits after it: it takes some back, says which counts, or moves one, or it rules
        out no more than what it points at."""
        limits, told, shown = self.state.limits, self.talker.facts.told, self.state.shown
        held = limits.all
        of_limits = replace(turn, wish="", liked=(), refused=(), had=(), beyond=False, settles=True, told=None)
        if pointed is not None:
            return None if pointed.rest else (replace(of_limits, intent="refine"), limits)
        left = picked(held, turn, phrases) if self.state.waiting else None
        if left is not None:
            self.state.settle(left)
            return replace(of_limits, intent="anything" if left == without(held, excluding(held)) else "refine"), limits.only(left)
        asked = self.state.transcript[-1][1] if self.state.waiting and self.state.transcript else ""
        left_out = named_out(turn, asked, self.talker.names, phrases, self.talker.phrases)
        if left_out is not None:
            self.state.rule_out(left_out)
            return replace(of_limits, intent="refine"), self.state.limits
        ruled = declined(turn, asked, self.talker.names, phrases, self.talker.phrases)
        if ruled:  # given up again where nothing is left, see _loosen
            return replace(of_limits, intent="anything"), limits.after(Typed("", "", ruled, ""))
        back = taken_back(held, turn, phrases, told, bool(shown))
        if back is not None:
            self.state.leave_open(back[1])
            return replace(of_limits, intent="anything"), limits.only(back[0])
        exact = take_apart(turn.text, self.talker.fields).constraints  # "up to 100 then" says by itself what it is
        limit = None if exact else moved((*limits.compared, *limits.typed), turn, phrases, told, len(shown))
        if limit is not None:
            return replace(of_limits, intent="refine"), limits.after(Typed("", "", (limit,), ""))
        return None

    def _settles(self, turn: Turn, typed: Typed | None) -> bool:
        """Whether a turn says again which of the limits counts that exclude each other."""
        held = self.state.constraints
        return typed is not None and self.state.waiting and bool(excluding(held)) and not excluding(self.state.limits.after(typed).all)

    def _loosen(self, turn: Turn) -> None:
        """Where nothing meets the constraints and the person is open to something else, those that exclude each other are given up, then the newest."""
        state = self.state
        if turn.intent == "anything":
            state.limits = state.limits.only(without(state.constraints, excluding(state.constraints)))
        while turn.intent == "anything" and state.constraints and self.talker.policy.lacking(state):
            state.limits = state.limits.only(state.constraints[:-1])


def _behind(words: str, tell: Tell) -> Tell:
    return lambda text: tell(words + text)


def checked(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages with role and content, as many programs send them; content may be parts of {"type": "text", "text": ...}.

    Raises:
        UsageError: in one line.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise UsageError(f"messages is {shown(messages)}; give a list like " + '[{"role": "user", "content": "something for a runner"}]')
    if len(messages) > MOST_MESSAGES:
        raise UsageError(f"there are {len(messages):,} messages; at most {MOST_MESSAGES:,} are read: leave the oldest out")
    found = []
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, Mapping):
            raise UsageError(f"message {number} is {shown(message)}; give " + '{"role": "user", "content": "..."}')
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise UsageError(f"message {number} has the role {shown(role)}; allowed are {', '.join(ROLES)}")
        if isinstance(content, list):
            content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping) and part.get("type") == "text")
        if not isinstance(content, str):
            raise UsageError(f"message {number} has the content {shown(content)}; give text")
        items = message.get("items")
        if items is not None and (isinstance(items, str) or not isinstance(items, Sequence)):
            raise UsageError(f"message {number} has the items {shown(items)}; give a list of item ids")
        found.append({"role": role, "content": content, "items": items})
    if found[-1]["role"] != "user":
        raise UsageError(f"the last message is the {found[-1]['role']}'s; chat answers a message of the user, so end with one")
    return found
