"""What somebody typed, taken apart: what is wanted, what is ruled out, and what the fields of the catalogue can decide exactly.

    "a thriller from the 1990s, no horror or war, under 10 dollars, for a child"
    wanted       "a thriller"            scored
    unwanted     "horror war"            scored against
    constraints  year >= 1990, year <= 1999, genres not in (Horror, War), price < 10, genres in (Children's)

What fields can decide is filtered; everything else moves scores. Cue words are data (`cues/*.yaml`), names of values come from the catalogue.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from m6rec.base.errors import UsageError
from m6rec.data.dataset import FieldType, Table
from m6rec.text.cues import Cues, built_in_cues, tokens
from m6rec.text.field_names import JOINING, FieldNames, Named
from m6rec.text.typed_audience import Suiting, audience_constraints
from m6rec.text.typed_numbers import FLIPPED, NumberSpan, number_spans
from m6rec.text.word_spans import Span

Operation = Literal["in", "not in", "<", "<=", ">", ">="]
MOST_TYPED = 20_000  # characters of what somebody types: a long review; more would keep the caller waiting
MOST_REQUESTED = 500  # characters of a request; a longer text tells a story, in which "not" and "under 50" decide nothing exactly
CONTROLS = frozenset({"Cc", "Cf"})
STOPS = frozenset(".;!?:\n，。；！？：…")
LIST_PIECE = 3  # words of one piece of a list like "horror, war or westerns"


@dataclass(frozen=True)
class Constraint:
    """What a field must say. value: names for `in` and `not in`, a number for the others. A missing value meets only `not in`."""

    field: str
    op: Operation
    value: tuple[str, ...] | float

    def __str__(self) -> str:
        said = " or ".join(self.value) if isinstance(self.value, tuple) else f"{self.value:g}"
        return f"{self.field} {'is' if self.op == 'in' else 'is not' if self.op == 'not in' else self.op} {said}"


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
        UsageError: no text, or a longer one.
    """
    if not isinstance(text, str):
        raise UsageError(f"text is {type(text).__name__}; give what somebody typed")
    if len(text) > MOST_TYPED:
        raise UsageError(f"the text has {len(text):,} characters; at most {MOST_TYPED:,} are read: shorten it")
    names = fields if isinstance(fields, FieldNames) else FieldNames(fields)
    text = _plain(text)
    if len(text) > MOST_REQUESTED:
        return Typed(text, "", (), text)
    return _Reading(text, names, built_in_cues() if cues is None else cues, spans).typed()


def meets(items: Table, constraints: Sequence[Constraint]) -> np.ndarray:
    """bool (N,): the items that meet every constraint."""
    mask = np.ones(len(items), dtype=bool)
    for constraint in constraints:
        mask &= _met(items, constraint)
    return mask


def contradiction(constraints: Sequence[Constraint]) -> str:
    """One sentence on constraints that exclude each other whatever the catalogue holds; "" for none."""
    for field in dict.fromkeys(constraint.field for constraint in constraints):
        mine = [constraint for constraint in constraints if constraint.field == field]
        names = [set(c.value) for c in mine if c.op == "in" and isinstance(c.value, tuple)]
        against = {value for c in mine if c.op == "not in" and isinstance(c.value, tuple) for value in c.value}
        for wanted in names:
            if wanted <= against:
                return f"{field} is asked to be {' or '.join(sorted(wanted))} and not to be that"
        lows = [c for c in mine if c.op in (">", ">=")]
        highs = [c for c in mine if c.op in ("<", "<=")]
        for low in lows:
            for high in highs:
                assert isinstance(low.value, float)
                assert isinstance(high.value, float)
                if low.value > high.value or (low.value == high.value and (low.op, high.op) != (">=", "<=")):
                    return f"{low} and {high} exclude each other"
    return ""


def why_nothing(items: Table, constraints: Sequence[Constraint], allowed: np.ndarray | None = None) -> str:
    """Why no item is left: the contradiction, or the smallest part of the constraints that no item meets; "" where some items meet all.

    allowed: bool (N,), items that may be answered anyway; None: all.
    """
    said = contradiction(constraints)
    if said:
        return said
    left = np.ones(len(items), dtype=bool) if allowed is None else allowed.copy()
    masks = [_met(items, constraint) for constraint in constraints]
    if not len(masks) or (left & np.logical_and.reduce(masks)).any():
        return ""
    for constraint, mask in zip(constraints, masks, strict=True):
        if not (left & mask).any():
            return f"no item has {constraint}"
    kept: list[int] = []
    for number, mask in enumerate(masks):
        left &= mask
        kept.append(number)
        if not left.any():
            break
    return "no item has " + " and ".join(str(constraints[number]) for number in kept) + " together"


def _met(items: Table, constraint: Constraint) -> np.ndarray:
    column = items.frame[constraint.field]
    if isinstance(constraint.value, tuple):
        import polars as pl

        wanted = list(constraint.value)
        if items.fields[constraint.field] == FieldType.TAGS:
            met = column.list.eval(pl.element().is_in(wanted)).list.any()
        else:
            met = column.is_in(wanted)
        found: np.ndarray = met.fill_null(False).to_numpy()
        return ~found if constraint.op == "not in" else found
    numbers = column.to_numpy()
    compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[constraint.op]
    return np.asarray(compare(numbers, constraint.value))


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
        self.folded = folded
        self.tokens = tokens(folded)
        self.words = [match.group() for match in self.tokens]
        self.named = self._named()
        self.cue = [""] * len(self.words)  # the kind of cue that begins here
        self.length = [0] * len(self.words)
        self.unwanted = [False] * len(self.words)
        self.gone = [False] * len(self.words)  # said exactly by a constraint, or a cue

    def typed(self) -> Typed:
        self._mark_cues()
        numbers = number_spans(self.folded, self.names, self.cues)
        constraints = [made for span in numbers for made in self._of_number(span)]
        for span in numbers:
            self._take(span.start, span.end)
        suiting = audience_constraints(self.folded, self.words, [m.span() for m in self.tokens], self.names, self.cues)
        self._mark_unwanted()
        constraints += self._of_audience(suiting)
        constraints += self._of_names()
        constraints += self._of_spans()
        fillers = set(self.cues.fillers)
        asks = [at for at, word in enumerate(self.words) if not self.unwanted[at] and not self.gone[at] and word[0].isalnum()]
        cued = {place for at in range(len(self.words)) for place in range(at, at + self.length[at])}
        says = any(at not in cued and self.words[at] not in fillers for at in asks)
        wanted = self._joined(lambda at: not self.unwanted[at] and not self.gone[at]) if says else ""
        inside = {at for one in self.named for at in range(one.first, one.last)}
        rest = self._joined(lambda at: not self.unwanted[at] and not self.gone[at] and at not in inside) if says else ""
        unwanted = self._joined(lambda at: self.unwanted[at] and not self.gone[at] and self.words[at] not in fillers)
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

    def _mark_cues(self) -> None:
        """The longest cue that begins at each place; not inside the name of a value, nor in a phrase that is spared."""
        inside = {at for one in self.named if one.last - one.first > 1 for at in range(one.first, one.last)}
        at = 0
        while at < len(self.words):
            kinds = ("spared", "by", "only", "not_", "directly", "ends", "joins")
            kind, length = max(((kind, self._phrase(kind, at)) for kind in kinds), key=lambda pair: pair[1])
            if kind == "directly" and not any(one.first == at + length + self._sign(at + length) for one in self.named):
                length = 0
            if length and at not in inside:
                self.cue[at], self.length[at] = kind, length
                at += length
            else:
                at += 1

    def _sign(self, at: int) -> int:
        return int(at < len(self.words) and self.words[at] in JOINING)

    def _phrase(self, kind: str, at: int) -> int:
        """How many tokens of a cue of this kind begin at a place, 0 for none."""
        known = self.cues.phrases[kind]
        longest = min(6, len(self.words) - at)
        return next((length for length in range(longest, 0, -1) if tuple(self.words[at : at + length]) in known), 0)

    def _mark_unwanted(self) -> None:
        at = 0
        while at < len(self.words):
            kind = self.cue[at]
            if kind not in ("not_", "directly"):
                at += max(1, self.length[at])
                continue
            start = at + self.length[at]
            self._hide(at, start)
            if kind == "directly":
                start += self._sign(start)
                end = max(one.last for one in self.named if one.first == start)
            else:
                end = self._scope(start)
            for place in range(start, end):
                self.unwanted[place] = True
                if self.cue[place] in ("not_", "joins", "spared"):
                    self._hide(place, place + self.length[place])
            at = max(end, start, at + 1)

    def _scope(self, start: int) -> int:
        """Where what a negation rules out ends."""
        at, joined = start, True  # right after the cue, or a word like "or", a word of `ends` ends nothing: "no war or with horror"
        while at < len(self.words):
            word, cue = self.words[at], self.cue[at]
            if word in STOPS or self._break(at) or (word == "," and not self._listed(at)):
                break
            if cue == "only" or (cue in ("ends", "by") and not joined):
                break
            joined = cue == "joins"
            at += max(1, self.length[at])
        return min(at, len(self.words))

    def _break(self, at: int) -> bool:
        """Whether a line ends before a token."""
        return at > 0 and "\n" in self.text[self.tokens[at - 1].end() : self.tokens[at].start()]

    def _listed(self, at: int) -> bool:
        """Whether a comma goes on with a list: short pieces, the last of them after a word like "or"."""
        pieces, length = 0, 0
        for place in range(at + 1, len(self.words)):
            word = self.words[place]
            if word in STOPS or self.cue[place] == "ends" or self._break(place):
                return False
            if self.cue[place] in ("joins", "not_") and word != ",":
                return length <= LIST_PIECE
            length = 0 if word == "," else length + 1
            pieces += word == ","
            if length > LIST_PIECE:
                return False
        return False

    def _of_number(self, span: NumberSpan) -> list[Constraint]:
        """The bounds of a span, turned round where a negation stands right before it."""
        before = next((at for at in range(len(self.words) - 1, -1, -1) if self.tokens[at].end() <= span.start), None)
        turned = False
        if before is not None:
            start = next((at for at in range(before, -1, -1) if self.cue[at] == "not_" and at + self.length[at] == before + 1), None)
            turned = start is not None and len(span.bounds) == 1
            if turned and start is not None:
                self._hide(start, before + 1)
                self.cue[start] = ""
        return [Constraint(span.field, FLIPPED[op] if turned else op, value) for op, value in span.bounds]  # type: ignore[arg-type]

    def _of_audience(self, found: Sequence[Suiting]) -> list[Constraint]:
        """Whom something is for, where fields can tell; ruled out where it stands in what is unwanted."""
        constraints = []
        for suiting in found:
            negated = any(self.unwanted[at] for at in range(suiting.first, suiting.last))
            if negated and suiting.op != "in":
                continue
            op: Operation = "not in" if negated else suiting.op
            constraints.append(Constraint(suiting.field, op, suiting.value))
            self._hide(suiting.first, suiting.last)
        return constraints

    def _of_names(self) -> list[Constraint]:
        """Values that are ruled out, and those that are a must; the rest of the named ones is a taste, and scored."""
        out: dict[str, list[str]] = {}
        must: dict[tuple[str, int], list[str]] = {}
        for one in self.named:
            if all(self.unwanted[at] for at in range(one.first, one.last)):
                out.setdefault(one.field, []).append(one.value)
            elif not any(self.gone[at] for at in range(one.first, one.last)):
                cue = self._must(one)
                if cue is not None:
                    must.setdefault((one.field, cue), []).append(one.value)
        constraints = [Constraint(field, "not in", tuple(dict.fromkeys(values))) for field, values in out.items()]
        # The values of one cue name one thing: "only comedies and musicals" is either.
        return constraints + [Constraint(field, "in", tuple(dict.fromkeys(values))) for (field, _), values in must.items()]

    def _must(self, one: Named) -> int | None:
        """Where the cue stands that makes a named value a must; None for a taste."""
        for at in range(one.first - 1, -1, -1):
            if self.cue[at] == "by" and at + self.length[at] == one.first:
                return at
            if self.cue[at] == "only":
                return at
            if self.words[at] in STOPS or self.words[at] == "," or self.cue[at] in ("not_", "ends", "spared"):
                break
        if self.cue[one.last : one.last + 1] == ["only"]:
            return one.last
        return None

    def _of_spans(self) -> list[Constraint]:
        """Labelled words whose label is a field: its value of that name."""
        constraints = []
        for span in self.spans:
            field = self.names.value_field([span.label])
            if field is None:
                continue
            here = [one for one in self.named if one.field == field and self._touches(one, span)]
            values = tuple(dict.fromkeys(one.value for one in here))
            if values:
                negated = all(self.unwanted[at] for one in here for at in range(one.first, one.last))
                constraints.append(Constraint(field, "not in" if negated else "in", values))
        return constraints

    def _touches(self, one: Named, span: Span) -> bool:
        return self.tokens[one.first].start() < span.end and self.tokens[one.last - 1].end() > span.start

    def _take(self, start: int, end: int) -> None:
        """The tokens within characters start..end are said by a constraint."""
        for at, match in enumerate(self.tokens):
            if match.start() < end and match.end() > start:
                self._hide(at, at + 1)

    def _hide(self, first: int, last: int) -> None:
        for at in range(first, min(last, len(self.gone))):
            self.gone[at] = True

    def _joined(self, keep: Any) -> str:
        """The kept tokens as they were typed, with the blanks between them."""
        said, last = [], None
        for at, match in enumerate(self.tokens):
            if keep(at):
                blank = last is not None and (last != at - 1 or self.tokens[at - 1].end() < match.start())
                said.append((" " if blank else "") + self.text[match.start() : match.end()])
                last = at
        return "".join(said).strip(" ,;.!?，。；！？、")


def plain(constraints: Sequence[Constraint]) -> list[Mapping[str, Any]]:
    """JSON-ready."""
    return [{"field": c.field, "op": c.op, "value": list(c.value) if isinstance(c.value, tuple) else c.value} for c in constraints]
