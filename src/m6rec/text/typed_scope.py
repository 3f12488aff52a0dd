"""How far the negations of a typed text reach: which words they rule out, and which they leave in doubt.

A negation reaches to the end of its clause. It is of one kind of five:

    refuses    "no", "hate", "don't want": "no horror from Alpina" refuses the two together, and says nothing exact about either
    describes  "not", "isn't", and `lacks` ("without"): what follows its noun speaks of what is wanted again: "without leather from Alpina"
    except     "except", "除了"
    unclear    an auxiliary without a verb of wanting: "can't decide on horror". It rules nothing out, and nothing after it is a must
    behind     after what it rules out: "horror-free", "恐怖除外"

A negation of a negation ("not without comedy", "never say no to horror") rules nothing out either.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from m6rec.text.cues import Cues, phrase
from m6rec.text.field_names import JOINING, Named

Turn = Literal["as said", "turned", "in doubt"]
STOPS = frozenset(".;!?:\n，。；！？：…()[]{}")
LONGEST = 6  # tokens of a cue
LIST_PIECE = 3  # words of one piece of a list like "horror, war or westerns"
BEHIND = 4  # words before a negation behind them that it rules out, where none of them names a value
NEGATIONS = ("not_", "describes", "lacks", "except_", "unclear")
BEHIND_KINDS = ("behind_one", "behind", "last")
KINDS = ("spared", *BEHIND_KINDS, "by", "only", *NEGATIONS, "directly", "starts", "wishes", "ends", "joins")
DESCRIBING = frozenset({"describes", "lacks"})


class Scope:
    """The negations of one text. Positions are tokens.

    Args:
        words: tokens, small letters; breaks: whether a line ends before each; attached: those with a blank before and none after.
        named: values of fields that are named.
        bounds: for each token the bound of a number that it belongs to, -1 for none; those are no cues.
        ceilings: the bounds that say how much somebody will spend at most.
    """

    def __init__(
        self,
        words: Sequence[str],
        breaks: Sequence[bool],
        attached: Collection[int],
        named: Sequence[Named],
        bounds: Sequence[int],
        ceilings: Collection[int],
        cues: Cues,
    ) -> None:
        self.words, self.breaks, self.attached, self.named = words, breaks, attached, named
        self.bounds, self.ceilings, self.cues = bounds, ceilings, cues
        self.verbs = frozenset(token for verb in cues.phrases["verbs"] for token in verb)
        # Words that leave a negation as it is.
        lists = ("fillers", "talk", "amount_verbs", "adverbs")
        self.silent = self.verbs.union(token for kind in lists for phrase in cues.phrases[kind] for token in phrase)
        self.attaching = frozenset(token for words_of in cues.phrases["attaches"] for token in words_of)
        self.cue = [""] * len(words)  # the kind of cue that begins here
        self.length = [0] * len(words)
        self.unwanted = [False] * len(words)
        self.doubtful = [False] * len(words)  # never a must, and never ruled out exactly
        self.turns: dict[int, Turn] = {}  # by bound; "as said" where it is not among them
        self.kept = [True] * len(words)  # False: a word that only serves a negation
        self._mark_cues()
        self._mark_prefixes()
        self._mark_suffixes()
        self._take_back()

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
            return max(self.phrase(kind, at), verb - at + self.phrase("verbs", verb) if auxiliary and self.phrase("verbs", verb) else 0)
        length = self.phrase(kind, at)
        if kind == "directly" and at in self.attached:
            length = max(length, self.phrase("signs", at))
        if not length:
            return 0
        end = at + length
        fits = {
            "directly": not self._inside(at) and (self._names_at(end + self._sign(end)) or self._bound_at(end)),
            "behind_one": self._named_before(at, kind),
            "last": self._ends_clause(end) and not self._begins_clause(at),
        }
        return length if fits.get(kind, True) else 0

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

    def _mark_prefixes(self) -> None:
        at = 0
        while at < len(self.words):
            kind = self.cue[at]
            start = at + self.length[at]
            if kind == "directly":
                self._hide(at, start)
                self._rule_out_directly(start)
                at = max(start, at + 1)
            elif kind in NEGATIONS:
                self._hide(at, start)
                at = max(self._read(kind, at, start), at + 1)
            else:
                at += max(1, self.length[at])

    def _rule_out_directly(self, start: int) -> None:
        if start < len(self.words) and self.bounds[start] >= 0:
            self.turns[self.bounds[start]] = "turned"
        for one in self._names_at(start + self._sign(start)):
            self._refuse(one.first, one.last)

    def _read(self, kind: str, cue: int, start: int) -> int:
        """Read a negation whose cue stands at `cue`, from `start` on; returns where it ends."""
        at = start
        since = "cue"  # what the words up to here stand after: the cue, or a word like "or", with nothing but silent words; else "words"
        plain = True  # only silent words and bounds since the cue
        by_or, double = False, kind == "unclear"
        while at < len(self.words):
            word, now, end = self.words[at], self.cue[at], at + max(1, self.length[at])
            if self._over(at, kind, plain, since) and not (word == "," and self.words[start - 1] == ":"):  # "exclude: horror, war"
                if kind not in DESCRIBING and self.phrase("having", at):
                    end = self._clause_end(end)
                    self._doubt(at, end)  # "no shoes with laces from Alpina"
                    self._doubt_together(start, at, more=True)
                    return at
                break
            if now in NEGATIONS and (now, word) != (self.cue[cue], self.words[cue]) and not double:
                double = now == "except_" or (now == "lacks" and since != "join") or (plain and since == "cue")
                if not double:
                    break  # a list: "no horror and not from Alpina"
            double = double or now == "only"  # "don't show me only horror"
            if now == "by" and since == "words" and kind in DESCRIBING:
                self._doubt(at, self._clause_end(at))
                break
            bound = self.bounds[at]
            if bound >= 0:
                self.turns[bound] = self._turn(kind, bound, since, plain=plain, by_or=by_or, double=double)
                at, since = next((place for place in range(at, len(self.words)) if self.bounds[place] != bound), len(self.words)), "words"
                continue
            if now == "joins":
                since, by_or = since if plain else "join", self.phrase("or_", at) > 0
            elif not (now or word in self.silent or word in JOINING):
                since, plain = "words", False
            for place in range(at, end):
                self.unwanted[place] = not double
                self.doubtful[place] = self.doubtful[place] or double
                if now in (*NEGATIONS, "joins", "spared", "by") or (plain and self.words[place] in self.verbs):
                    self.kept[place] = False
            at = end
        self._doubt_together(start, at)
        return at

    def _doubt_together(self, start: int, end: int, *, more: bool = False) -> None:
        """What is refused together with something else may be fine without it: "no red boots", "no horror from Alpina", "no heavy boots", "no boots over 50".

        A word like "or" parts things that are refused one by one, unless they are of one kind: "no red or blue boots".
        more: what is refused goes on behind `end`.
        """
        doubted: set[str] = set()
        last = end
        for at in range(end - 1, start - 2, -1):
            if at >= start and self.cue[at] not in ("joins", *NEGATIONS):
                continue
            here = [one for one in self.named if at < one.first and one.last <= last]
            places = {(one.first, one.last) for one in here}
            if places:
                first = min(places)[0]
                known = {token for one in here for token in phrase(one.field.replace("_", " "))} | self.silent
                foreign = any(
                    self.words[place][0].isalnum() and self.words[place] not in known and not self._in_cue(place)
                    for place in range(max(at, start), first)
                )
                bounded = any(self.turns.get(self.bounds[place]) == "in doubt" for place in range(first, last))
                if len(places) > 1 or foreign or bounded or (more and last == end):
                    doubted.update(one.field for one in here)
                if not doubted.isdisjoint(one.field for one in here):
                    for low, high in places:
                        self._doubt(low, high)
            last = at

    def _in_cue(self, at: int) -> bool:
        return any(self.cue[start] and start + self.length[start] > at for start in range(max(0, at - LONGEST), at + 1))

    def _over(self, at: int, kind: str, plain: bool, since: str) -> bool:
        """Whether a negation ends before a token."""
        now = self.cue[at]
        if kind == "lacks" and not plain and self.phrase("attaches", at):
            return True
        if self.stops(at) or now in BEHIND_KINDS or now == "starts" or (self.words[at] == "," and not self._listed(at)):
            return True
        if kind == "unclear" and now == "ends":
            return False
        return (now in ("ends", "only") and since == "words") or (now == "only" and since == "join") or (now == "wishes" and not plain)

    def _turn(self, kind: str, bound: int, since: str, *, plain: bool, by_or: bool, double: bool) -> Turn:
        """What a negation does to the bound of a number."""
        if plain and (kind == "unclear" or not double):
            return "turned"
        if since == "join" and by_or and not double:
            return "turned"
        if not double and (since == "join" or (kind in DESCRIBING and bound in self.ceilings)):
            return "as said"
        return "in doubt"

    def _listed(self, at: int) -> bool:
        """Whether a comma goes on with a list: short pieces, the last of them after a word like "or"."""
        length = 0
        for place in range(at + 1, len(self.words)):
            word = self.words[place]
            if self.cue[place] in ("ends", "wishes", "starts") or self.stops(place):
                return False
            if self.cue[place] in ("joins", *NEGATIONS) and word != ",":
                return length <= LIST_PIECE
            length = 0 if word == "," else length + 1
            if length > LIST_PIECE:
                return False
        return False

    def _clause_end(self, at: int) -> int:
        while at < len(self.words) and not self.stops(at) and self.words[at] != "," and self.cue[at] not in ("ends", "wishes", "starts"):
            at += max(1, self.length[at])
        return min(at, len(self.words))

    def _mark_suffixes(self) -> None:
        for at, kind in enumerate(self.cue):
            if kind not in BEHIND_KINDS:
                continue
            self._hide(at, at + self.length[at])
            before = at
            while before > 0 and (self.words[before - 1] in self.cues.fillers or self.words[before - 1] in "?:"):
                before -= 1
            if before > 0 and self.bounds[before - 1] >= 0:
                self.turns[self.bounds[before - 1]] = "turned"
                continue
            values = self._named_before(at, kind)
            for one in values:
                self._refuse(one.first, one.last)
            first = min((one.first for one in values), default=at)
            while first > 0 and at - first < BEHIND and not self._begins_clause(first):
                if (
                    self.cue[first - 1]
                    or self.words[first - 1] == ","
                    or (values and self.words[first - 1] in self.silent - self.attaching)
                ):
                    break
                first -= 1
            if not values:
                self._refuse(first, at)
            if kind != "behind_one":
                self._doubt_together(first, at)

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

    def _refuse(self, first: int, last: int) -> None:
        """Rule words out; where a negation has done so already, but for one that this one closes ("除了...以外"), they are in doubt."""
        for at in range(first, last):
            if self.unwanted[at] and not self._closes(at):
                self.unwanted[at], self.doubtful[at] = False, True
            else:
                self.unwanted[at] = True

    def _take_back(self) -> None:
        """A negation after which nothing comes speaks of what stands before it: "除了恐怖不看", "非恐怖不看", "except horror, nothing" ask for horror."""
        for start, kind in enumerate(self.cue):
            if kind not in ("except_", "directly"):
                continue
            at, commas = start + self.length[start], 0
            while at < len(self.words) and not self.stops(at):
                now, end = self.cue[at], at + max(1, self.length[at])
                commas += self.words[at] == ","
                if commas > 1 or (now in ("joins", "by") and self.words[at] != ","):
                    break
                if now in (*NEGATIONS, *BEHIND_KINDS) and not self.phrase("ends", at):
                    if self._ends_clause(end):
                        self._hide(at, end)
                        for place in range(start, end):
                            self.unwanted[place], self.doubtful[place] = False, True
                    break
                if commas and self.words[at] != "," and self.words[at] not in self.silent and not now:
                    break
                at = end

    def _closes(self, at: int) -> bool:
        before = next((place for place in range(at, -1, -1) if self.cue[place] in (*NEGATIONS, "directly")), None)
        return before is not None and self.cue[before] in ("except_", "directly")

    def _doubt(self, first: int, last: int) -> None:
        for at in range(first, last):
            self.doubtful[at] = True

    def _hide(self, first: int, last: int) -> None:
        for at in range(first, min(last, len(self.words))):
            self.kept[at] = False
