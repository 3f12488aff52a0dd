"""What to answer: the template policy. It recommends real items with reasons, asks back when that helps, answers questions, and hands over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from m6rec.base.contracts import Scored
from m6rec.serving.conversation.asides import agrees_to_person
from m6rec.serving.conversation.asking_back import CONSIDERED, best_split, openness
from m6rec.serving.conversation.config import ConversationConfig
from m6rec.serving.conversation.faq import Faq
from m6rec.serving.conversation.fitting import Fit, ruled_out, strange_words, subject, telling_words
from m6rec.serving.conversation.known import covered_answer, deed_answer, known_answer, says_so
from m6rec.serving.conversation.limits import excluding, tightest
from m6rec.serving.conversation.naming import Names
from m6rec.serving.conversation.offers import Offers, Person
from m6rec.serving.conversation.questions import ItemFacts
from m6rec.serving.conversation.reasons import Told, reasons
from m6rec.serving.conversation.reply import ChatReply
from m6rec.serving.conversation.state import State
from m6rec.serving.conversation.understanding import Turn
from m6rec.serving.conversation.written import PLAIN, Manner, replies_in, reply_sentences, reply_task
from m6rec.serving.engine.candidates import Candidates
from m6rec.serving.engine.engine import Engine
from m6rec.text.constraints import Constraint, meets
from m6rec.text.phrases import Phrases, said

WISHES = ("recommend", "refine", "like", "refuse", "more", "anything")
AGAIN = ("refuse", "more", "anything")  # another list of what was asked for before
SHORT = 3  # words of a wish that may be a bare name
WIDE = ("。", "！", "？")  # signs that end a sentence, and no blank behind them
SMALL = ("greet", "thanks", "bye", "help", "never_mind", "program")


class Policy:
    """Replies to a turn, given the state after it."""

    def __init__(
        self, engine: Engine, config: ConversationConfig, facts: ItemFacts, names: Names, faq: Faq | None, phrases: Sequence[Phrases]
    ) -> None:
        self.phrases = tuple(phrases)
        self.engine, self.config, self.facts, self.names, self.faq = engine, config, facts, names, faq
        self.offers = Offers(engine, config.items, phrases)
        self.writer = reply_task(engine) if config.written else None

    def reply(self, turn: Turn, state: State, person: Person, phrases: Phrases, manner: Manner = PLAIN) -> ChatReply:
        """The reply; `state` has taken the turn in already."""
        if agrees_to_person(said(turn.text), state.transcript, phrases, self.phrases):
            return self._hand_over(turn, state, phrases, "person")
        if turn.intent in ("hand_over", "anger") and self.faq is not None and not says_so(turn, phrases):
            known = covered_answer(
                self.faq, turn, phrases, self.engine
            )  # a task alone takes it for that: a question that is known is answered
            if known is not None:
                return self._made(phrases, "faq", known)
        if turn.intent == "hand_over":
            return self._hand_over(turn, state, phrases, "person" if phrases.has("hand_over", said(turn.text)) else "judged")
        if turn.intent == "anger":
            return self._hand_over(turn, state, phrases, "anger")
        if turn.intent == "ask_item":
            plainly = bool(turn.about) and (bool(turn.asked or turn.values) or phrases.has("tell", said(turn.text)))
            known = None if self.faq is None or plainly else known_answer(self.faq, turn, phrases, self.engine)  # "can I return it?"
            told = known or self.facts.answer(turn, phrases, state.turns) or phrases.say("unknown_item", state.turns)
            return self._made(phrases, "ask_item" if known is None else "faq", told)
        if turn.among:
            return self._made(
                phrases, turn.intent, phrases.say("leave_out", state.turns - 1, values=phrases.several(turn.among, "last")), asked=True
            )
        if turn.intent == "why":
            return self._why(turn, state, person, phrases)
        known = None
        felt = (turn.feels or turn.had) and not turn.question
        silent = turn.intent in (*SMALL, "repeat") or turn.unseen or turn.settles or turn.beyond or felt
        if self.faq is not None and not silent:
            known = known_answer(self.faq, turn, phrases, self.engine) or deed_answer(self.faq, turn, phrases, self.phrases, self.engine)
        if known is not None:
            return self._made(phrases, "faq", known)
        if turn.intent == "question":
            return self._question(turn, state, person, phrases, manner)
        if turn.intent in SMALL:
            return self._made(phrases, turn.intent, phrases.say(turn.intent, state.turns - 1))
        if turn.intent == "repeat":
            return self._repeat(turn, state, person, phrases)
        if turn.beyond and not state.shown:
            return self._made(phrases, turn.intent, phrases.say("none_shown", state.turns - 1), asked=True)
        if turn.beyond:
            shown = phrases.several([self._called(item, phrases) for item in state.shown])
            return self._made(phrases, turn.intent, phrases.say("only", state.turns - 1, items=shown), asked=True)
        if turn.intent in WISHES:
            return self._recommend(turn, state, person, phrases, manner)
        if state.unclear >= self.config.misunderstandings:
            return self._hand_over(turn, state, phrases, "misunderstood")
        if not turn.text:
            return self._made(phrases, "greet", phrases.say("greet", state.turns - 1), asked=True)
        return self._made(phrases, turn.intent, phrases.say("again", state.turns - 1), asked=True)

    def _repeat(self, turn: Turn, state: State, person: Person, phrases: Phrases) -> ChatReply:
        """What was shown and is asked for again, but for what was refused."""
        rows = [item for item in turn.about if item not in state.refused]
        if not rows:
            return self._made(phrases, turn.intent, phrases.say("nothing_more", state.turns - 1))
        offers = self._with_reasons(rows, state, person, phrases)
        ids = self.engine.items.ids.ids
        items = [Scored(ids[item], 0.0, self.facts.titles[item]) for item in rows]
        return self._made(phrases, turn.intent, phrases.say("repeat", state.turns - 1, items=phrases.several(offers)), items=items)

    def _question(self, turn: Turn, state: State, person: Person, phrases: Phrases, manner: Manner) -> ChatReply:
        """A question that is about no item and not among the known ones: out of depth, unless its words are those of the catalogue."""
        wish = state.wishes[-1] if turn.wish and state.wishes else None
        if wish is not None and (wish.constraints or wish.named):
            return self._recommend(turn, state, person, phrases, manner)
        again = [one for language in self.phrases for one in language.values["sayings"]["again"]]
        if (
            self.faq is not None
            and turn.told == "faq"
            and not any(role == "assistant" and text in again for role, text in state.transcript[-2:])
        ):
            return self._made(
                phrases, "question", phrases.say("again", state.turns - 1), asked=True
            )  # one that is known, in words that tell not which
        if self.faq is not None and turn.told in (None, "faq", "hand_over"):  # else a task is sure that it is about something that is sold
            return self._hand_over(turn, state, phrases, "unknown")
        if wish is not None and wish.wanted and self.engine.understands(wish.wanted):
            return self._recommend(turn, state, person, phrases, manner)
        return self._made(phrases, "question", phrases.say("again", state.turns - 1), asked=True)

    def _why(self, turn: Turn, state: State, person: Person, phrases: Phrases) -> ChatReply:
        """What speaks for the items that are asked about; of those that nobody recommended, what is known."""
        named = [item for item in turn.about if item in state.offered]
        if not named:
            return self._made(phrases, turn.intent, self.facts.answer(turn, phrases, state.turns))
        offers = self._with_reasons(named, state, person, phrases, phrases.say("because_all"))
        return self._made(phrases, turn.intent, phrases.say("why", state.turns - 1, items=phrases.several(offers)))

    def _with_reasons(self, items: Sequence[int], state: State, person: Person, phrases: Phrases, otherwise: str = "") -> list[str]:
        """What the items are called, each with the reasons for it, or with `otherwise` where there are none to tell."""
        wanted = [pair for typed in state.wishes for pair in typed.named]
        had = {*state.had, *self.offers.events(person)} - {*state.refused}
        told = Told(wanted, frozenset(said(state.wanted).words), state.liked, had, state.had)
        why = reasons(self.engine, self.facts, self.offers.ask(state, person), np.array(items), told, phrases)
        return [
            phrases.say("reason", title=self._called(item, phrases), reasons=told or otherwise)
            if told or otherwise
            else self._called(item, phrases)
            for item, told in zip(items, why, strict=True)
        ]

    def _recommend(self, turn: Turn, state: State, person: Person, phrases: Phrases, manner: Manner) -> ChatReply:
        heard = self._heard(turn, state, phrases)
        nothing_known = (
            person.user is None
            and not subject(state.wanted, self.phrases, self.engine)
            and not state.constraints
            and not state.liked
            and not state.had
        )
        if nothing_known and not heard and turn.intent == "recommend" and state.asked < self.config.questions and not state.waiting:
            return self._made(phrases, turn.intent, phrases.say("ask_wish", state.turns - 1), asked=True)
        if self.faq is not None and self._out_of_depth(turn, state, phrases):
            return self._hand_over(turn, state, phrases, "unknown")
        if turn.past:
            return self._nothing_past(turn, heard, state, phrases)
        allowed = self.offers.allowed(state, person)
        unmet = self._unmet(turn, state, allowed, phrases)
        if unmet:
            return self._made(phrases, turn.intent, _joined(heard, unmet), asked=True)
        fit = self.offers.fit(state)
        fresh = allowed & self.offers.unseen(state)
        unwanted = Fit(self.engine, ruled_out(state.wishes, self.phrases)).counts > 0
        fresh = fresh & ~unwanted if (fresh & ~unwanted).any() else fresh
        compared = bool(state.offered) and turn.intent in ("refine", "like") and bool(phrases.compared(said(turn.text)))
        if compared and not fresh.any() and allowed[list(state.offered)].any():
            return self._still(turn, [item for item in state.offered if allowed[item]], heard, state, phrases)
        if (turn.intent in AGAIN or compared) and fit.known:
            standing = [item for item in state.offered if allowed[item] and fit.counts[item] > fit.best(fresh)]
            if standing and (turn.intent == "refuse" or compared):
                return self._still(turn, standing, heard, state, phrases)
            if not fit.best(fresh) and turn.intent != "anything":
                return self._made(phrases, turn.intent, _joined(heard, phrases.say("nothing_more", state.turns - 1)))
            if 0 < fit.best(fresh) < fit.counts.max():
                heard = _joined(heard, phrases.say("nearest", state.turns - 1, words=", ".join(fit.known)))
            if fit.best(fresh):
                fresh &= fit.counts > 0  # what was refused moves scores; the wish stays
        if not fresh.any():
            return self._made(phrases, turn.intent, _joined(heard, phrases.say("nothing_more", state.turns - 1)))
        ask = self.offers.ask(state, person)
        found = self.engine.answer(ask, allowed=fresh, count=CONSIDERED)
        if not len(found):
            return self._made(phrases, turn.intent, _joined(heard, phrases.say("nothing_more", state.turns - 1)))
        question = self._back(turn, state, found, phrases)
        if question:
            return self._made(phrases, turn.intent, _joined(heard, question), asked=True)
        best = self.offers.foremost(ask, fresh, found, state)
        if self.writer is not None:
            spoken = self._written(self.writer, turn, state, best, heard, phrases, manner)
            if spoken is not None:
                return spoken
        offers = self._with_reasons(best.items.tolist(), state, person, phrases)
        saying = "offer_one" if len(offers) == 1 else "offer"
        text = phrases.say(saying, state.turns - 1, items=phrases.several(offers, "last"))
        return self._made(phrases, turn.intent, _joined(heard, text), items=self._scored(best))

    def _nothing_past(self, turn: Turn, heard: str, state: State, phrases: Phrases) -> ChatReply:
        """That nothing is cheaper, and which of those shown is the cheapest."""
        signs = {(new.field, new.op) for new in turn.past}
        older = [one for one in state.constraints if one.field in dict(signs) and (one.field, one.op[:1]) not in signs]
        limits = phrases.several([self._limit(one, phrases) for one in (*older, *turn.past)])
        reached = meets(self.engine.items, [replace(one, op="<=" if one.op == "<" else ">=") for one in turn.past])
        rows = [row for row in turn.against if reached[row]]
        items = phrases.several([self._called(row, phrases) for row in rows])
        said_so = phrases.say("furthest", state.turns - 1, limits=limits, items=items)
        return self._made(phrases, turn.intent, _joined(heard, said_so), asked=True)

    def lacking(self, state: State) -> bool:
        """Whether no item meets what is asked: the constraints, or those and any word of the wish that the catalogue knows."""
        if not state.constraints:
            return False
        met = meets(self.engine.items, state.constraints)
        fit = self.offers.fit(state)
        return not met.any() or (bool(fit.known) and not fit.best(met))

    def _unmet(self, turn: Turn, state: State, allowed: np.ndarray, phrases: Phrases) -> str:
        """Why nothing can be recommended as it was asked: contradictions, words that nobody knows, limits that nothing meets; "" where something can."""
        number = state.turns - 1
        limits = [self._limit(one, phrases) for one in tightest(state.constraints)]
        apart = excluding(state.constraints)
        if apart:
            return phrases.say("contradiction", number, limits=phrases.several([self._limit(one, phrases) for one in apart]))
        newest = state.wishes[-1] if turn.wish and state.wishes else None
        if newest is not None:
            words = subject(newest.wanted, self.phrases, self.engine)
            both = [word for word in words if word in telling_words(newest.unwanted, self.phrases)]
            if both:
                return phrases.say("contrary", number, words=", ".join(both))
            asking = turn.intent in ("recommend", "refine") and not turn.liked and not turn.settles
            if asking and (strange := strange_words(newest, self.phrases, self.engine)):
                return phrases.say("strange", number, words=" ".join(strange))
        if state.constraints and not allowed.any():
            return phrases.say("nothing", number, limits=phrases.several(limits))
        fit = self.offers.fit(state)
        if limits and fit.known and fit.counts.any() and not fit.best(meets(self.engine.items, state.constraints)):
            said_so = phrases.values["sayings"]["limit_words"].format(words=" ".join(fit.known))
            return phrases.say("nothing", number, limits=phrases.several([said_so, *limits]))
        return ""

    def _out_of_depth(self, turn: Turn, state: State, phrases: Phrases) -> bool:
        """Whether a turn that asks for nothing in the words of asking is mostly about what the catalogue knows nothing of."""
        if turn.intent not in ("recommend", "refine") or not turn.wish or turn.told in ("recommend", "refine") or not state.wishes:
            return False
        newest, words = state.wishes[-1], said(turn.text)
        if (
            newest.constraints
            or newest.named
            or phrases.compared(words)
            or phrases.has("recommend", words)
            or phrases.has("more", words)
            or len(words.words) <= SHORT
        ):
            return False
        fit = Fit(self.engine, telling_words(turn.wish, self.phrases))
        return len(fit.unknown) > len(fit.known)

    def _limit(self, one: Constraint, phrases: Phrases) -> str:
        value = phrases.several(list(one.value), "last") if isinstance(one.value, tuple) else f"{one.value:g}"
        return phrases.say(f"limit_{one.op}", name=one.field.replace("_", " "), value=value)

    def _still(self, turn: Turn, standing: list[int], heard: str, state: State, phrases: Phrases) -> ChatReply:
        """What was shown, not refused, and fits better than anything else."""
        kept = standing[-self.config.items :]
        text = phrases.say("still", state.turns - 1, items=phrases.several([self._called(item, phrases) for item in kept], "last"))
        ids = self.engine.items.ids.ids
        items = [Scored(ids[item], 0.0, self.facts.titles[item]) for item in kept]
        return self._made(phrases, turn.intent, _joined(heard, text), items=items)

    def _written(
        self, task: str, turn: Turn, state: State, best: Candidates, heard: str, phrases: Phrases, manner: Manner
    ) -> ChatReply | None:
        """The reply in the model's own words; None where it names none of the items, and the templates answer.

        A sentence that names another item ends the reply before it. Nothing is told before an item is named: until then templates may answer.
        """
        if not replies_in(self.engine, task, phrases.language):
            return None
        rows = best.items.tolist()
        allowed = np.zeros(len(self.engine.items), dtype=bool)
        allowed[best.items] = True
        history = [item for item in state.named if item not in state.refused]
        dropped: list[str] = []
        text, named = "", set[int]()
        how = manner.how(phrases.language, allowed)
        for sentence in reply_sentences(self.engine, task, rows[0], history, state.transcript, how, dropped):
            found = {one.item for one in self.names.items(said(text + sentence), rows)}
            if found - set(rows):
                break
            text, named = text + sentence, found
            if named and manner.tell is not None:
                manner.tell(_joined(heard, " ".join(text.split())))
        if not named:
            return None
        places = [place for place, item in enumerate(rows) if item in named]
        made = self._made(phrases, turn.intent, _joined(heard, " ".join(text.split())), items=self._scored(best.at(np.array(places))))
        return replace(made, written="model", dropped=len(dropped))

    def _scored(self, best: Candidates) -> list[Scored]:
        return [
            Scored(self.engine.items.ids.ids[item], float(score), self.facts.titles[item])
            for item, score in zip(best.items.tolist(), best.scores.tolist(), strict=True)
        ]

    def _back(self, turn: Turn, state: State, found: Candidates, phrases: Phrases) -> str:
        """A question that would tell the answers apart, "" where none is due."""
        compared = phrases.compared(said(turn.text))  # "cheaper" is answered with something cheaper
        if turn.intent not in ("recommend", "refine") or compared or state.waiting or state.asked >= self.config.questions or state.liked:
            return ""
        if openness(found.scores) < self.config.openness:
            return ""
        split = best_split(self.engine.items, found.items, found.scores, state.fields)
        return "" if split is None else phrases.say("ask_field", state.asked, values=phrases.several(split.values, "last"))

    def _heard(self, turn: Turn, state: State, phrases: Phrases) -> str:
        """That likes and refusals were taken in. What was refused by all that was shown is not listed."""
        told = []
        for saying, items in (("liked", turn.liked), ("refused", turn.refused), ("had", turn.had)):
            named = [item for item in items if item in turn.items] or list(items if len(items) <= 2 else ())
            if not named and saying == "refused" and items:
                told.append(phrases.say("refused_all", state.turns - 1))
            if named:
                titles = [self._called(item, phrases) for item in named]
                told.append(phrases.say(saying, state.turns - 1, items=phrases.several(titles)))
        return " ".join(told)

    def _called(self, item: int, phrases: Phrases) -> str:
        return phrases.say("title", title=self.facts.title(item))

    def _hand_over(self, turn: Turn, state: State, phrases: Phrases, why: str) -> ChatReply:
        reason = phrases.values["reasons"][why]
        return ChatReply(phrases.say("hand_over", state.turns - 1), [], turn.intent, True, False, reason, phrases.language)

    def _made(self, phrases: Phrases, intent: str, text: str, *, items: list[Scored] | None = None, asked: bool = False) -> ChatReply:
        return ChatReply(text, items or [], intent, False, asked, "", phrases.language)


def _joined(*sentences: str) -> str:
    """One behind the other, with a blank between them but for scripts that set none."""
    joined = ""
    for one in sentences:
        joined += (" " if joined and one and not joined.endswith(WIDE) else "") + one
    return joined
