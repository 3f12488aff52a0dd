"""What a conversation has come to: liked, refused and known items, what is wished for, what was shown and asked.

It is worked out from the messages alone, turn by turn, so a stateless caller and one that keeps a `Conversation` get the same answers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from m6rec.serving.conversation.limits import Limits
from m6rec.serving.conversation.references import Before
from m6rec.serving.conversation.understanding import Turn
from m6rec.serving.conversation.wishing import without_words
from m6rec.text.constraints import MOST_TYPED, Constraint, Typed

NEWEST_WISHES = 4  # wishes whose words are scored, of those that have some; constraints hold until they are taken back


@dataclass
class State:
    """Where a conversation stands. Items are rows of the catalogue; dicts keep the order in which things were said.

    named     all items that either side named          said     words of the person, turn by turn, names of items and limits left out
    transcript  (role, text) of every turn              wished    the turn of the newest wish
    limits    what is held of the limits typed and of "cheaper" and the like      held      the same before the newest turn
    shown     the list shown last                       offered  everything that was ever shown
    about     items that the newest turn asked about    focus    the item spoken of last
    passed    items that were offered, and left behind by another wish without a word about them
    asked     questions asked back so far               waiting  whether the newest reply was one
    unclear   turns in a row that were not understood   turns    of the person so far
    """

    liked: dict[int, None] = field(default_factory=dict)
    refused: dict[int, None] = field(default_factory=dict)
    had: dict[int, None] = field(default_factory=dict)
    named: dict[int, None] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    transcript: list[tuple[str, str]] = field(default_factory=list)
    wishes: list[Typed] = field(default_factory=list)
    wished: int = 0
    limits: Limits = field(default_factory=Limits)
    held: Limits = field(default_factory=Limits)
    shown: tuple[int, ...] = ()
    offered: dict[int, None] = field(default_factory=dict)
    passed: dict[int, None] = field(default_factory=dict)
    about: tuple[int, ...] = ()
    focus: int | None = None
    asked: int = 0
    waiting: bool = False
    unclear: int = 0
    turns: int = 0
    language: str = ""

    def before(self) -> Before:
        """What the next turn may refer to."""
        known = {*self.liked, *self.refused, *self.had, *self.offered}
        return Before(self.shown or self.about, self.focus, known, bool(self.offered), self.waiting, self.language)

    def hear(self, turn: Turn, typed: Typed | None, words: str | None = None) -> None:
        """Take in a turn of the person. typed: its wish, taken apart.  words: of it that are scored, None: all. What was refused once stays refused."""
        self.turns += 1
        self.held = self.limits
        self.said.append(turn.words if words is None else words)
        self.transcript.append(("user", turn.text))
        self.named |= dict.fromkeys(turn.items)
        self.language, self.about = turn.language, turn.about
        self.refused |= dict.fromkeys(turn.refused)
        self.had |= dict.fromkeys(turn.had)
        self.liked = {item: None for item in [*self.liked, *turn.liked] if item not in self.refused}
        if len(turn.items) == 1:
            self.focus = turn.items[0]
        elif turn.about:
            self.focus = turn.about[0] if len(turn.about) == 1 else None
        if turn.intent in ("recommend", "refine") and turn.wish:
            self.passed |= dict.fromkeys(self.offered)
        self.passed = {item: None for item in self.passed if item not in (*turn.items, *self.liked, *self.had)}
        if typed is not None:
            self.wishes.append(typed)
            self.wished = len(self.said) - 1
            self.limits = self.limits.after(typed)
        self.unclear = self.unclear + 1 if turn.intent in ("unclear", "again") else 0

    def forget_wish(self) -> None:
        """Leave out the newest wish, which nothing answers: what was wished before it still holds."""
        self.wishes.pop()
        self.said[self.wished] = ""

    def settle(self, left: tuple[Constraint, ...]) -> None:
        """Hold the limits left of those that exclude each other; of a value that does not count no wish speaks any longer."""
        musts = [one for one in self.constraints if one not in left and one.op == "in"]
        self._unsay({(one.field, value) for one in musts if isinstance(one.value, tuple) for value in one.value})
        self.limits = self.limits.only(left)

    def leave_open(self, fields: Collection[str]) -> None:
        """Any value of `fields` will do: no wish speaks of one any longer."""
        self._unsay({(field, value) for typed in self.wishes for field, value in typed.named if field in fields})

    def rule_out(self, limit: Constraint) -> None:
        """Hold a limit that rules values out; no wish speaks of them any longer."""
        self._unsay({(limit.field, value) for value in limit.value} if isinstance(limit.value, tuple) else ())
        self.limits = self.limits.after(Typed("", "", (limit,), ""))

    def _unsay(self, gone: Collection[tuple[str, str]]) -> None:
        """Leave out of the wishes, and of what was said, the words that name these (field, value)."""
        values = [value for _, value in gone]
        for place, typed in enumerate(self.wishes):
            if any(pair in gone for pair in typed.named):
                kept = without_words(typed.wanted, values)
                named = tuple(pair for pair in typed.named if pair not in gone)
                self.wishes[place] = replace(typed, wanted=typed.rest if kept == typed.wanted else kept, named=named)
        self.said = [without_words(words, values) for words in self.said]

    def compare(self, bounds: Sequence[Constraint]) -> None:
        """Hold what the newest wish compares, on top of the limits that were typed."""
        self.limits = self.limits.beside(bounds)
        self.wishes[-1] = replace(self.wishes[-1], constraints=(*self.wishes[-1].constraints, *bounds))

    def forget_turn(self) -> None:
        """Leave out what the newest turn wishes for, and its words: it was a question."""
        if self.wishes and self.wished == len(self.said) - 1:
            self.wishes.pop()
            self.limits = self.held
        if self.said:
            self.said[-1] = ""

    def tell(self, items: Sequence[int], asked: bool) -> None:
        """Take in a turn of ours: the items it offered, and whether it asked something."""
        spoken = {*self.liked, *self.had, *self.refused, *self.about}  # named in passing: as what was liked, or what was asked about
        fresh = tuple(dict.fromkeys(item for item in items if item not in spoken))
        self.named |= dict.fromkeys(fresh)
        if fresh:
            self.shown = fresh
            self.offered |= dict.fromkeys(fresh)
            self.focus = fresh[0] if len(fresh) == 1 else None
        self.asked += asked
        self.waiting = asked

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """All limits held, those of comparisons last."""
        return self.limits.all

    @property
    def spoken(self) -> str:
        """The words of the person, of the newest turns as many as can be read at once."""
        turns = [words for words in reversed(self.said) if words]
        lengths = accumulate(len(words) + 2 for words in turns)
        return "; ".join(reversed([words for words, length in zip(turns, lengths, strict=True) if length <= MOST_TYPED]))

    @property
    def wanted(self) -> str:
        """The newest wishes in words, "" for none."""
        return "; ".join(list(dict.fromkeys(typed.wanted for typed in self.wishes if typed.wanted))[-NEWEST_WISHES:])

    @property
    def fields(self) -> set[str]:
        """Fields that the person has spoken of."""
        return {one.field for one in self.constraints} | {name for typed in self.wishes for name, _ in typed.named}
