"""Where the cue words of a typed text stand, and of which kind each is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from m6rec.text.cues import Cues
from m6rec.text.field_names import JOINING, Named

STOPS = frozenset(".;!?:\n，。；！？：…()[]{}")
LONGEST = 6  # tokens of a cue
NEGATIONS = ("not_", "describes", "lacks", "except_", "unclear")
BEHIND_KINDS = ("behind_one", "behind", "last")
KINDS = ("spared", *BEHIND_KINDS, "by", "only", *NEGATIONS, "directly", "starts", "wishes", "ends", "joins")


@dataclass(frozen=True)
class TypedTokens:
    """The tokens of one text, and what is known of them. Positions are tokens.

    words: small letters; breaks: whether a line ends before each; attached: those with a blank before and none after.
    named: values of fields that are named.
    bounds: for each token the bound of a number that it belongs to, -1 for none; those are no cues.
    ceilings: the bounds that say how much somebody will spend at most.
    suiting: where words begin and end that say whom something is for.
    """

    words: Sequence[str]
    breaks: Sequence[bool]
    attached: Collection[int]
    named: Sequence[Named]
    bounds: Sequence[int]
    ceilings: Collection[int]
    suiting: Mapping[int, int]


class TypedCues:
    """The cues of one text."""

    def __init__(self, text: TypedTokens, cues: Cues) -> None:
        self.words, self.breaks, self.attached, self.named = text.words, text.breaks, text.attached, text.named
        self.bounds, self.ceilings, self.suiting, self.cues = text.bounds, text.ceilings, text.suiting, cues
        self.cue = [""] * len(self.words)  # the kind of cue that begins here
        self.length = [0] * len(self.words)
        self._mark_cues()

    def phrase(self, kind: str, at: int) -> int:
        """How many tokens of a cue of this kind begin at a place, 0 for none; it does not reach into a bound."""
        known = self.cues.phrases[kind]
        longest = next(
            (size for size, bound in enumerate(self.bounds[at : at + LONGEST]) if bound >= 0), min(LONGEST, len(self.words) - at)
        )
        return next((length for length in range(longest, 0, -1) if tuple(self.words[at : at + length]) in known), 0)

    def stops(self, at: int) -> bool:
        """Whether a clause ends before a token, commas apart."""
        return self.words[at] in STOPS or self.breaks[at]

    def _mark_cues(self) -> None:
        """The longest cue that begins at each place; not inside the name of a value, a bound or a phrase that is spared."""
        names = {at for one in self.named if one.last - one.first > 1 for at in range(one.first, one.last)}
        at = 0
        while at < len(self.words):
            kind, length = max(((kind, self._cue(kind, at)) for kind in KINDS), key=lambda pair: pair[1])
            if length and at not in names and self.bounds[at] < 0:
                self.cue[at], self.length[at] = kind, length
                at += length
            else:
                at += 1

    def _cue(self, kind: str, at: int) -> int:
        """How many tokens of a cue of this kind, with all that it asks for around it, begin at a place; a colon after a negation is of it."""
        length = self._alone(kind, at)
        colon = length > 0 and kind in NEGATIONS and self.words[at + length : at + length + 1] == [":"]
        return length + colon

    def _alone(self, kind: str, at: int) -> int:
        if kind in ("not_", "unclear"):
            auxiliary = self.phrase("auxiliary", at)
            verb = at + auxiliary
            while auxiliary and verb < len(self.words) and self.words[verb] in self.cues.adverbs:
                verb += 1
            if kind == "unclear":
                return max(self.phrase(kind, at), auxiliary)
            if kind == "not_" and (forbids := self.phrase("forbids", at)):
                auxiliary, verb = forbids, at + forbids  # "别再给我看"
                while verb < len(self.words) and self.words[verb] in self.cues.adverbs:
                    verb += 1
            removes = self.phrase("removes", at)
            if removes and not self._directly(at, at + removes):
                removes = 0
            return max(
                self.phrase(kind, at),
                self._with_adverbs(at),
                removes,
                verb - at + self.phrase("verbs", verb) if auxiliary and self.phrase("verbs", verb) else 0,
            )
        length = self.phrase(kind, at)
        if kind == "directly" and at in self.attached:
            length = max(length, self.phrase("signs", at))
        if not length:
            return 0
        end = at + length
        fits = {
            "directly": self._directly(at, end),
            "behind_one": self._named_before(at, kind),
            "last": self._ends_clause(end) and not self._begins_clause(at),
        }
        return length if fits.get(kind, True) else 0

    def _with_adverbs(self, at: int) -> int:
        """How many tokens of a negation with adverbs between begin at a place: "not really in the mood for"."""
        end = at + 1
        while end < len(self.words) and self.words[end] in self.cues.adverbs and self.bounds[end] < 0:
            end += 1
        if end == at + 1:
            return 0
        known = self.cues.phrases["not_"]
        said = [(self.words[at], *self.words[end : end + length]) for length in range(LONGEST, 0, -1) if end + length <= len(self.words)]
        return next((end - at + len(one) - 1 for one in said if one in known and max(self.bounds[end : end + len(one) - 1]) < 0), 0)

    def _directly(self, at: int, end: int) -> bool:
        """Whether a value, a bound of a number or whom something is for follows directly, of which the cue itself is no part."""
        return not self._inside(at) and (bool(self._names_at(end + self._sign(end))) or self._bound_at(end) or end in self.suiting)

    def _names_at(self, at: int) -> list[Named]:
        return [one for one in self.named if one.first == at]

    def _inside(self, at: int) -> bool:
        return any(one.first <= at < one.last for one in self.named)

    def _bound_at(self, at: int) -> bool:
        return at < len(self.words) and self.bounds[at] >= 0

    def _sign(self, at: int) -> int:
        return int(at < len(self.words) and self.words[at] in JOINING)

    def _ends_clause(self, at: int) -> bool:
        while at < len(self.words) and self.words[at] in self.cues.fillers and not self.stops(at):
            at += 1
        return at >= len(self.words) or self.words[at] == "," or self.stops(at)

    def _begins_clause(self, at: int) -> bool:
        """Whether nothing stands before a token in its clause; a question ("horror? no thanks") is of the same one."""
        return at == 0 or self.breaks[at] or (self.words[at - 1] in STOPS and self.words[at - 1] not in "?:")

    def _named_before(self, at: int, kind: str) -> list[Named]:
        """The values named right before a negation behind them, with those joined to them."""
        found: list[Named] = []
        signs = "" if kind == "behind_one" else "?,:"
        while at > 0:
            place = at
            while place > 0 and not any(one.last == place for one in self.named):
                word = self.words[place - 1]
                if word not in self.cues.fillers and word not in JOINING and (found or word not in signs):
                    break
                place -= 1
            here = [one for one in self.named if one.last == place]
            if not here:
                break
            found += here
            at = min(one.first for one in here) - 1
            if kind == "behind_one" or at < 0 or self.words[at] == "," or not self.phrase("joins", at):
                break
        return found
