"""What somebody typed, taken apart: what is wanted, what is ruled out, and what the fields of the catalogue can decide exactly.

    "a thriller from the 1990s, no horror or war, under 10 dollars, for a child"
    wanted       "a thriller"            scored
    unwanted     "horror war"            scored against
    constraints  year >= 1990, year <= 1999, genres not in (Horror, War), price < 10, genres in (Children's)

What fields can decide is filtered; everything else moves scores. Cue words are data (`cues/*.yaml`), names of values come from the catalogue.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

from m6rec.base.errors import UsageError
from m6rec.data.dataset import Table
from m6rec.text.cues import Cues, built_in_cues, tokens
from m6rec.text.field_constraints import Constraint, Operation, meets, plain
from m6rec.text.field_names import JOINING, FieldNames, Named
from m6rec.text.limit_words import contradiction, why_nothing
from m6rec.text.number_sets import NumberSet
from m6rec.text.tokenizer import check_text
from m6rec.text.typed_audience import audience_constraints
from m6rec.text.typed_cues import LONGEST, NEGATIONS, STOPS, TypedTokens
from m6rec.text.typed_numbers import number_spans
from m6rec.text.typed_scope import Scope
from m6rec.text.word_spans import Span

__all__ = ["MOST_REQUESTED", "MOST_TYPED", "Constraint", "Typed", "contradiction", "meets", "plain", "understand", "why_nothing"]

MOST_TYPED = 20_000  # characters of what somebody types: a long review; more would keep the caller waiting
MOST_REQUESTED = 500  # characters of a request; a longer text tells a story, in which "not" and "under 50" decide nothing exactly
CONTROLS = frozenset({"Cc", "Cf"})


@dataclass(frozen=True)
class Typed:
    """A typed text understood.

    wanted       what asks for something, to be scored: the text without what is ruled out and what a constraint says exactly
    unwanted     words that are ruled out, to be scored against ("" for none); those that a constraint decides too are among them
    constraints  what the fields decide
    rest         `wanted` without the words that name a value of a field
    named        (field, value) of the values that `wanted` names
    """

    wanted: str
    unwanted: str
    constraints: tuple[Constraint, ...]
    rest: str
    named: tuple[tuple[str, str], ...] = ()

    @property
    def contradiction(self) -> str:
        """Why no item whatever can meet the constraints, "" where one could."""
        return contradiction(self.constraints)


def understand(text: str, fields: FieldNames | Table, spans: Sequence[Span] = (), cues: Cues | None = None) -> Typed:
    """Take a typed text apart.

    Args:
        text: at most `MOST_TYPED` characters; control characters are read as blanks. One of more than `MOST_REQUESTED` is no request but a story
            (a review): all of it is wanted, and scored.
        fields: names in the catalogue; made once for a catalogue (`FieldNames`), or here of a table.
        spans: labelled words of the text, of a task that labels them; a label that is the name of a field says that its value must be met.
        cues: cue words; None: all packaged languages.

    Raises:
        UsageError: no text, or a longer one.  DataError: it holds a lone surrogate.
    """
    if not isinstance(text, str):
        raise UsageError(f"text is {type(text).__name__}; give what somebody typed")
    if len(text) > MOST_TYPED:
        raise UsageError(f"the text has {len(text):,} characters; at most {MOST_TYPED:,} are read: shorten it")
    check_text(text)
    names = fields if isinstance(fields, FieldNames) else FieldNames(fields)
    text = _plain(text)
    if len(text) > MOST_REQUESTED:
        return Typed(text, "", (), text)
    return _Reading(text, names, built_in_cues() if cues is None else cues, spans).typed()


def _plain(text: str) -> str:
    """NFKC, control and format characters as blanks, one kind of apostrophe; blanks collapsed but for line breaks, capitals kept."""
    text = unicodedata.normalize("NFKC", text).replace("’", "'").replace("‘", "'")
    text = "".join(c if c == "\n" or unicodedata.category(c) not in CONTROLS else " " for c in text)
    return "\n".join(" ".join(line.split()) for line in text.split("\n"))


class _Reading:
    """One text being read. Positions are tokens of it."""

    def __init__(self, text: str, names: FieldNames, cues: Cues, spans: Sequence[Span]) -> None:
        self.text, self.names, self.cues, self.spans = text, names, cues, spans
        # Case-folding may lengthen a text ("ß"): then positions would shift, so letters that do are left alone.
        folded = "".join(c.casefold() if len(c.casefold()) == 1 else c for c in text)
        self.tokens = tokens(folded)
        self.words = [match.group() for match in self.tokens]
        self.named = self._named()
        self.numbers = number_spans(folded, names, cues)
        self.suiting = audience_constraints(folded, self.words, [m.span() for m in self.tokens], names, cues)
        self.bound = [-1] * len(self.words)  # the bound of a number that a token belongs to
        for number, span in enumerate(self.numbers):
            for at, match in enumerate(self.tokens):
                if match.start() < span.end and match.end() > span.start:
                    self.bound[at] = number
        price = names.number_field(cues.unsaid)
        ceilings = {at for at, span in enumerate(self.numbers) if span.field == price and all(op in ("<", "<=") for op, _ in span.bounds)}
        breaks = [at > 0 and "\n" in text[self.tokens[at - 1].end() : self.tokens[at].start()] for at in range(len(self.words))]
        blank = [" "] + [text[left.end() : right.start()] for left, right in pairwise(self.tokens)]
        attached = {at for at in range(1, len(self.words) - 1) if blank[at] == " " and not blank[at + 1]}
        suiting = {one.first: one.last for one in self.suiting}
        self.scope = Scope(TypedTokens(self.words, breaks, attached, self.named, self.bound, ceilings, suiting), cues)
        self.cue, self.unwanted, self.doubtful = self.scope.cue, self.scope.unwanted, self.scope.doubtful
        # Said exactly by a constraint, or a word that only serves a negation.
        self.gone = [not kept or bound >= 0 for kept, bound in zip(self.scope.kept, self.bound, strict=True)]

    def typed(self) -> Typed:
        constraints = [*self._of_numbers(), *self._of_audience(), *self._of_names(), *self._of_spans()]
        empty = {
            token for kind in ("fillers", "amount_verbs") for words in self.cues.phrases[kind] for token in words if token[0].isalnum()
        }
        asks = [at for at, word in enumerate(self.words) if not self.unwanted[at] and not self.gone[at] and word[0].isalnum()]
        cued = {place for at in range(len(self.words)) for place in range(at, at + self.scope.length[at])}
        says = any(at not in cued and self.words[at] not in empty for at in asks)
        wanted = self._joined(lambda at: not self.unwanted[at] and not self.gone[at]) if says else ""
        inside = {at for one in self.named for at in range(one.first, one.last)}
        rest = self._joined(lambda at: not self.unwanted[at] and not self.gone[at] and at not in inside) if says else ""
        unwanted = self._joined(lambda at: self.unwanted[at] and not self.gone[at] and self.words[at] not in empty)
        liked = [one for one in self.named if not any(self.unwanted[at] or self.gone[at] for at in range(one.first, one.last))]
        return Typed(wanted, unwanted, tuple(dict.fromkeys(constraints)), rest, tuple(dict.fromkeys((o.field, o.value) for o in liked)))

    def _named(self) -> list[Named]:
        """Values named, in places of tokens; signs that may stand inside a name are passed over."""
        places, sequence = [], []
        for at, word in enumerate(self.words):
            if word in JOINING:
                continue
            places.append(at)
            sequence.append(word if word[0].isalnum() else "")
        found = self.names.named(sequence)
        return [Named(one.field, one.value, places[one.first], places[one.last - 1] + 1) for one in found]

    def _of_numbers(self) -> list[Constraint]:
        """The bounds of numbers: alternatives ("under 50 or over 100") together, what is negated turned round, what is in doubt left out."""
        constraints = []
        for group in self._alternatives():
            turns = {self.scope.turns.get(number, "as said") for number in group}
            spans = [self.numbers[number] for number in group]
            if turns == {"as said"} and len(group) == 1:
                constraints += [Constraint(spans[0].field, op, value) for op, value in spans[0].bounds]  # type: ignore[arg-type]
            elif len(turns) == 1 and turns != {"in doubt"} and len({span.field for span in spans}) == 1:
                allowed = reduce(NumberSet.either, (NumberSet.of(span.bounds) for span in spans))
                allowed = allowed.others() if turns == {"turned"} else allowed
                year = self.names.number_field(self.cues.year_fields)
                constraints += allowed.constraints(spans[0].field, whole=spans[0].field == year)
        return constraints

    def _alternatives(self) -> list[list[int]]:
        """The bounds, those that a word like "or" joins together; one that is joined so to anything else, if not negated, is not among them."""
        groups: list[list[int]] = []
        for number in range(len(self.numbers)):
            at, joined = self.bound.index(number), False
            closed = bool(groups) and all(len(self.numbers[one].bounds) == 2 for one in (groups[-1][-1], number))  # "80s and 90s" is either
            while at > 0 and (self.cue[at - 1] in ("joins", "by") or self._joining(at - 1) or self.words[at - 1] in self.cues.fillers):
                at -= 1
                joined = joined or self.scope.phrase("joins" if closed else "or_", at) > 0
            behind = bool(groups) and joined and at > 0 and self.bound[at - 1] == groups[-1][-1]
            if behind or (groups and self._elsewhere(groups[-1][-1], number, joined=joined)):
                groups[-1].append(number)
            elif not joined or number in self.scope.turns or at == 0:
                groups.append([number])
        return groups

    def _elsewhere(self, first: int, second: int, *, joined: bool) -> bool:
        """Whether a bound is of another alternative than the one before, with other words between: "80s comedies or 90s films".

        joined: a word like "or" stands right before the second; if it stands elsewhere between them, only bounds that exclude each other are alternatives.
        """
        if first in self.scope.turns or second in self.scope.turns:
            return False
        spans = self.numbers[first], self.numbers[second]
        between = range(len(self.bound) - self.bound[::-1].index(first), self.bound.index(second))
        same = spans[0].field == spans[1].field
        if any(self.scope.stops(at) or (self.words[at] == "," and not same) for at in between):
            return False
        if joined:
            return True
        apart = same and not NumberSet.of((*spans[0].bounds, *spans[1].bounds)).parts
        return apart and any(self.scope.phrase("or_", at) and not self.unwanted[at] for at in between)

    def _joining(self, at: int) -> bool:
        """Whether a token is the last of a word that joins."""
        return any(self.cue[start] == "joins" and start + self.scope.length[start] == at + 1 for start in range(max(0, at - 3), at))

    def _of_audience(self) -> list[Constraint]:
        """Whom something is for, where fields can tell; ruled out where it stands in what is unwanted."""
        constraints = []
        for suiting in self.suiting:
            places = range(suiting.first, suiting.last)
            negated = any(self.unwanted[at] for at in places)
            if any(self.doubtful[at] for at in places) or (negated and suiting.op != "in"):
                continue
            op: Operation = "not in" if negated else suiting.op
            constraints.append(Constraint(suiting.field, op, suiting.value))
            for at in places:
                self.gone[at] = True
        return constraints

    def _of_names(self) -> list[Constraint]:
        """Values that are ruled out, and those that are a must; the rest of the named ones is a taste, and scored."""
        out: dict[str, list[str]] = {}
        must: dict[tuple[str, int], list[str]] = {}
        for one in self.named:
            places = range(one.first, one.last)
            if any(self.doubtful[at] for at in places):
                continue
            if all(self.unwanted[at] for at in places):
                out.setdefault(one.field, []).append(one.value)
            elif not any(self.gone[at] for at in places):
                cue = self._must(one)
                if cue is None and self._ruled_out_too(one):
                    cue = one.first
                if cue is not None:
                    must.setdefault((one.field, cue), []).append(one.value)
        constraints = [Constraint(field, "not in", tuple(dict.fromkeys(values))) for field, values in out.items()]
        # The values of one cue name one thing: "only comedies and musicals" is either.
        return constraints + [Constraint(field, "in", tuple(dict.fromkeys(values))) for (field, _), values in must.items()]

    def _must(self, one: Named) -> int | None:
        """Where the cue stands that makes a named value a must; None for a taste."""
        for at in range(one.first - 1, -1, -1):
            if self.cue[at] == "by" and at + self.scope.length[at] == one.first:
                return None if self._or_else(one) or self._spared(at) else self._joined_to(one, self._only(at))
            if self.cue[at] == "only":
                return at
            if self.words[at] in STOPS or self.words[at] == "," or self.cue[at] in (*NEGATIONS, "ends", "wishes", "starts", "spared"):
                break
        if self.cue[one.last : one.last + 1] == ["only"]:
            return one.last
        cue = self._joined_to(one, -1)
        return None if cue == -1 or self._or_else(one) else cue

    def _spared(self, by: int) -> bool:
        """Whether a word like "from" follows a phrase that asks for nothing: "not necessarily from Alpina"."""
        at = next((at for at in range(by - 1, -1, -1) if self.cue[at] or self.words[at] not in self.scope.silent), -1)
        return any(self.cue[start] == "spared" and start + self.scope.length[start] > at for start in range(max(0, at - LONGEST), at + 1))

    def _only(self, by: int) -> int:
        """Where a word like "only" stands right before one like "from", else where that one does: "only from Northwind or Alpina" is one must."""
        return next((at for at in range(by) if self.cue[at] == "only" and at + self.scope.length[at] == by), by)

    def _joined_to(self, one: Named, cue: int) -> int:
        """The cue of the value of the same field that a word like "or" joins one to ("from Northwind or Alpina"); `cue` where there is none."""
        at = one.first
        while at > 0 and (self.cue[at - 1] in ("joins", "by") and self.words[at - 1] != "not"):
            at -= 1
        before = next((other for other in self.named if other.last == at < one.first and other.field == one.field), None)
        found = None if before is None or not any(self.cue[place] == "joins" for place in range(at, one.first)) else self._by(before)
        return cue if found is None else found

    def _by(self, one: Named) -> int | None:
        """Where the word like "from" stands that a value, or the first of those joined to it, follows."""
        at = next((at for at in range(one.first) if self.cue[at] == "by" and at + self.scope.length[at] == one.first), None)
        found = self._joined_to(one, -1 if at is None else at)
        return None if found == -1 else found

    def _or_else(self, one: Named) -> bool:
        """Whether something that is no value of its field is the alternative to a value: "from Northwind or anything red"."""
        at = one.last
        while at < len(self.words) and self.words[at] == ",":
            at += 1
        length = self.scope.phrase("or_", at) if at < len(self.words) else 0
        if not length:
            after = next((other for other in self.named if at > one.last and other.first == at and other.field == one.field), None)
        else:
            at += length
            while at < len(self.words) and self.cue[at] == "by":
                at += self.scope.length[at]
            after = next((other for other in self.named if other.first == at and other.field == one.field), None)
        return self._or_else(after) if after is not None else length > 0

    def _ruled_out_too(self, one: Named) -> bool:
        """Whether the same value is ruled out in the same breath: only values and words that name nothing stand between ("comedy but no comedy")."""
        return any(
            (other.field, other.value) == (one.field, one.value)
            and all(self.unwanted[at] and not self.doubtful[at] for at in range(other.first, other.last))
            and all(self._says_nothing(at) for at in range(min(one.last, other.last), max(one.first, other.first)))
            for other in self.named
        )

    def _says_nothing(self, at: int) -> bool:
        word = self.words[at]
        if self.scope.stops(at):
            return False
        named = any(other.first <= at < other.last for other in self.named)
        return named or self.gone[at] or bool(self.cue[at]) or word in self.scope.silent or not word[0].isalnum()

    def _of_spans(self) -> list[Constraint]:
        """Labelled words whose label is a field: its value of that name."""
        constraints = []
        for span in self.spans:
            field = self.names.value_field([span.label])
            here = [one for one in self.named if one.field == field and self._touches(one, span)]
            values = tuple(dict.fromkeys(one.value for one in here))
            places = [at for one in here for at in range(one.first, one.last)]
            if field is not None and values and not any(self.doubtful[at] for at in places):
                negated = [self.unwanted[at] for at in places]
                if all(negated) or not any(negated):
                    constraints.append(Constraint(field, "not in" if all(negated) else "in", values))
        return constraints

    def _touches(self, one: Named, span: Span) -> bool:
        return self.tokens[one.first].start() < span.end and self.tokens[one.last - 1].end() > span.start

    def _joined(self, keep: Callable[[int], bool]) -> str:
        """The kept tokens as they were typed, with the blanks between them."""
        said, last = [], None
        for at, match in enumerate(self.tokens):
            if keep(at):
                blank = last is not None and (last != at - 1 or self.tokens[at - 1].end() < match.start())
                said.append((" " if blank else "") + self.text[match.start() : match.end()])
                last = at
        return "".join(said).strip(" ,;.!?，。；！？、")
