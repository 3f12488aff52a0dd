"""Which items a conversation may offer, by what it asks the model for them, and how far they have the words of the wishes.

Shapes: N items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from m6rec.serving.asked import Ask
from m6rec.serving.conversation.asking_back import CONSIDERED
from m6rec.serving.conversation.fitting import Fit, ruled_out, telling_words
from m6rec.serving.conversation.state import State
from m6rec.serving.engine.candidates import Candidates
from m6rec.serving.engine.engine import Engine
from m6rec.text.constraints import meets
from m6rec.text.phrases import Phrases


@dataclass(frozen=True)
class Person:
    """Who is talking: a known user, where they are, and items that rules allow them (bool (N,), None for all)."""

    user: str | None = None
    scenario: str | None = None
    allowed: Callable[[], np.ndarray | None] | None = None


class Offers:
    """The items of an engine, as a conversation chooses among them. most: items of a list."""

    def __init__(self, engine: Engine, most: int, phrases: Sequence[Phrases]) -> None:
        self.engine, self.most, self.phrases = engine, most, tuple(phrases)

    def ask(self, state: State, person: Person) -> Ask:
        """The request for a list; by the task that names items in dialogues where the model has one, which learned from what both sides named."""
        ids = self.engine.items.ids.ids
        task = next((name for name, facts in self.engine.choosing.items() if facts.get("of") == "dialogue"), None)
        task = None if self.engine.scorer.dialogue is None else task
        history = (
            [*state.had, *state.liked]
            if task is None
            else [item for item in state.named if item not in state.refused and item not in state.passed]
        )
        text = state.wanted if task is None else state.spoken
        return Ask(
            user=person.user,
            history=tuple(ids[item] for item in history),
            text=text or None,
            task=task,
            disliked=tuple(ids[item] for item in state.refused),
            scenario=person.scenario,
            k=CONSIDERED,
            explore=False,
        )

    def allowed(self, state: State, person: Person) -> np.ndarray:
        """bool (N,): what may be recommended at all: never what was refused."""
        items = len(self.engine.items)
        ruled = None if person.allowed is None else person.allowed()
        allowed = np.ones(items, dtype=bool) if ruled is None else ruled.copy()
        if state.constraints:
            allowed &= meets(self.engine.items, state.constraints)
        for known in (state.refused, state.had, state.liked):
            allowed[list(known)] = False
        return allowed

    def unseen(self, state: State) -> np.ndarray:
        """bool (N,): what was not shown in this conversation."""
        unseen = np.ones(len(self.engine.items), dtype=bool)
        unseen[list(state.offered)] = False
        return unseen

    def events(self, person: Person) -> list[int]:
        """Items that a known person had before the conversation."""
        engine = self.engine
        events: list[int] = [] if person.user is None else engine.histories.row(engine.users.ids.dense(person.user)).items.tolist()
        return events

    def fit(self, state: State) -> Fit:
        return Fit(self.engine, self._standing(state.wanted, state))

    def _standing(self, text: str, state: State) -> list[str]:
        """The words of a wish that were not ruled out since."""
        gone = ruled_out(state.wishes, self.phrases)
        return [word for word in telling_words(text, self.phrases) if word not in gone]

    def foremost(self, ask: Ask, fresh: np.ndarray, found: Candidates, state: State) -> Candidates:
        """The items to offer: before others those that have most words of the newest wish; none without a word of any wish, where some have one."""
        newest = next((words for typed in reversed(state.wishes) if (words := self._standing(typed.wanted, state))), [])
        fit, most = Fit(self.engine, newest), self.most
        whole = fresh & (fit.counts == fit.best(fresh))
        if not fit.best(fresh):
            return found.at(np.arange(min(most, len(found))))
        first = self.engine.answer(ask, allowed=whole, count=most)
        other = ~whole[found.items] & (self.fit(state).counts[found.items] > 0)
        rest = found.at(np.flatnonzero(other)[: max(most - len(first), 0)])
        return Candidates(np.concatenate([first.items, rest.items])[:most], np.concatenate([first.scores, rest.scores])[:most])
