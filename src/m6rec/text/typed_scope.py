"""How far the negations of a typed text reach: which words they rule out, and which they leave in doubt.

A negation reaches to the end of its clause. It is of one kind of five:

    refuses    "no", "hate", "don't want": "no horror from Alpina" refuses the two together, and says nothing exact about either
    describes  "not", "isn't", and `lacks` ("without"): what follows its noun speaks of what is wanted again: "without leather from Alpina"
    except     "except", "除了"
    unclear    an auxiliary without a verb of wanting: "can't decide on horror". It rules nothing out, and nothing after it is a must
    behind     after what it rules out: "horror-free", "恐怖除外"

A negation of a negation ("not without comedy", "never say no to horror") rules nothing out either; of an exception to what is ruled out ("no horror, except
from Alpina", "except comedies, nothing from Alpina") neither part is sure.
"""

from __future__ import annotations

from typing import Literal

from m6rec.text.cues import Cues, phrase
from m6rec.text.field_names import JOINING
from m6rec.text.typed_cues import BEHIND_KINDS, LONGEST, NEGATIONS, TypedCues, TypedTokens

Turn = Literal["as said", "turned", "in doubt"]
LIST_PIECE = 3  # words of one piece of a list like "horror, war or westerns"
BEHIND = 4  # words before a negation behind them that it rules out, where none of them names a value
DESCRIBING = frozenset({"describes", "lacks"})


class Scope(TypedCues):
    """The negations of one text. Positions are tokens."""

    def __init__(self, text: TypedTokens, cues: Cues) -> None:
        super().__init__(text, cues)
        self.verbs = frozenset(token for verb in cues.phrases["verbs"] for token in verb)
        # Words that leave a negation as it is.
        lists = ("fillers", "talk", "amount_verbs", "adverbs")
        self.silent = self.verbs.union(token for kind in lists for phrase in cues.phrases[kind] for token in phrase)
        self.attaching = frozenset(token for words_of in cues.phrases["attaches"] for token in words_of)
        self.unwanted = [False] * len(self.words)
        self.doubtful = [False] * len(self.words)  # never a must, and never ruled out exactly
        self.turns: dict[int, Turn] = {}  # by bound; "as said" where it is not among them
        self.kept = [True] * len(self.words)  # False: a word that only serves a negation
        self._mark_prefixes()
        self._mark_suffixes()
        self._take_back()
        self._mark_lesser()
        self._doubt_exceptions()
        self._doubt_leading_exceptions()
        self._doubt_bounds()

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
        if start in self.suiting:
            self._refuse(start, self.suiting[start])

    def _read(self, kind: str, cue: int, start: int) -> int:
        """Read a negation whose cue stands at `cue`, from `start` on; returns where it ends."""
        at = start
        since = "cue"  # what the words up to here stand after: the cue, or a word like "or", with nothing but silent words; else "words"
        plain = True  # only silent words and bounds since the cue
        join, double = start, kind == "unclear"  # where the last word like "or" stands; whether it is a negation of a negation
        while at < len(self.words):
            word, now, end = self.words[at], self.cue[at], at + max(1, self.length[at])
            if self._over(at, kind, plain, since) and not (word == "," and self.words[start - 1] == ":"):  # "exclude: horror, war"
                if kind not in DESCRIBING and self.phrase("having", at):
                    end = self._clause_end(end)
                    self._doubt(at, end)  # "no shoes with laces from Alpina"
                    self._doubt_together(start, at, more=True)
                    return at
                break
            if now in NEGATIONS and not double and (since != "cue" or (now, word) != (self.cue[cue], self.words[cue])):  # "no no horror"
                double = now == "except_" or (now == "lacks" and since != "join") or (plain and since == "cue")
                if not double:
                    break  # a list: "no horror and not from Alpina"
            double = double or now == "only"  # "don't show me only horror"
            if now == "by" and since == "words" and kind in DESCRIBING:
                self._doubt(at, self._clause_end(at))
                break
            bound = self.bounds[at]
            if bound >= 0:
                self.turns[bound] = self._turn(kind, bound, since, plain=plain, join=join, double=double)
                at, since = next((place for place in range(at, len(self.words)) if self.bounds[place] != bound), len(self.words)), "words"
                continue
            if now == "joins":
                since, join = since if plain else "join", at
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
        if self.stops(at) or now in BEHIND_KINDS or now == "starts":
            return True
        if self.words[at] == "," and (since == "cue" or not self._listed(at)):  # "no, not over 40": an answer
            return True
        if kind == "unclear" and now == "ends":
            return False
        return (now in ("ends", "only") and since == "words") or (now == "only" and since == "join") or (now == "wishes" and not plain)

    def _turn(self, kind: str, bound: int, since: str, *, plain: bool, join: int, double: bool) -> Turn:
        """What a negation does to the bound of a number. Only one that surely is a wish of its own holds as it is said: a ceiling after "and", or one that
        is a negation itself ("no horror and no more than 50")."""
        if plain and (kind == "unclear" or not double):
            return "turned"
        if since == "join" and self.phrase("or_", join) and not double:
            return "turned"
        ceiling = bound in self.ceilings and (kind in DESCRIBING or (since == "join" and self.phrase("and_", join) > 0))
        negated = since == "join" and self._negates_itself(bound)
        return "as said" if not double and (ceiling or negated) else "in doubt"

    def _negates_itself(self, bound: int) -> bool:
        said = [tuple(self.words[self.bounds.index(bound) :][:length]) for length in range(1, LONGEST + 1)]
        return any(one in self.cues.phrases[kind] for one in said for kind in ("not_", "describes", "directly"))

    def _mark_lesser(self) -> None:
        """What something else is liked more than is scored against, and not ruled out: "rather comedy than horror", "比起恐怖更喜欢喜剧"."""
        preferring = False
        for at in range(len(self.words)):
            preferring = (preferring and not self.stops(at)) or self.phrase("prefers", at) > 0
            length = self.phrase("unlike", at) or (self.phrase("than", at) if preferring else 0)
            place = at + length
            while length and place < len(self.words):
                here = self._names_at(place)
                last = max((one.last for one in here), default=place + 1)
                if not here and self.words[place] not in self.cues.fillers:
                    break
                for lesser in range(place, last) if here else ():
                    self.unwanted[lesser] = self.doubtful[lesser] = True
                    self._hide(at, at + length)
                place = last

    def _doubt_bounds(self) -> None:
        """A bound whose clause begins with a negation, or ends with one, and that none has turned is in doubt; a ceiling is not after one that describes."""
        first = {bound: at for at, bound in reversed(list(enumerate(self.bounds))) if bound >= 0 and bound not in self.turns}
        for bound, start in first.items():
            at = start - 1
            while at >= 0 and not (self.stops(at + 1) or self.words[at] == "," or self.cue[at] in ("starts", "wishes", "only")):
                if self.cue[at] in NEGATIONS and not (bound in self.ceilings and self.cue[at] in DESCRIBING):
                    self.turns[bound] = "in doubt"
                at -= 1
            at = start
            while at < len(self.words) and not (self.stops(at) or self.words[at] == "," or self.cue[at] in ("starts", "wishes", "ends")):
                if self.cue[at] in ("behind", "last"):
                    self.turns[bound] = "in doubt"
                at += 1

    def _doubt_exceptions(self) -> None:
        """What is ruled out but for an exception, and the exception: "no horror, except from Alpina", "nothing over 50 except comedies"."""
        for cue in [at for at, kind in enumerate(self.cue) if kind == "except_"]:
            comma = cue > 0 and self.words[cue - 1] == ","
            if comma and self.words[cue] in self.cues.fillers:
                continue  # "no horror, anything but Alpina"
            last = cue - comma
            first = last
            while first > 0 and not self.stops(first - 1) and self.cue[first - 1] not in ("starts", "wishes"):
                if self.words[first - 1] == "," and not comma:
                    break
                first -= 1
            refusing = (*NEGATIONS, *BEHIND_KINDS, "directly")
            if not any(self.cue[at] in refusing and self.cue[at] != "except_" for at in range(first, last)):
                continue
            bounds = {self.bounds[at] for at in range(first, last) if self.turns.get(self.bounds[at]) == "turned"}
            out = [at for at in range(first, last) if self.unwanted[at] and self.kept[at] and self.words[at] not in self.silent]
            if not out and not bounds:
                continue
            end = start = cue + self.length[cue]
            while end < len(self.words) and not self.stops(end) and (end < self._clause_end(start) or self.unwanted[end]):
                self.unwanted[end] = False
                end += 1
            self._doubt(first, end)
            for bound in bounds.union(self.bounds[start:end]) - {-1}:
                self.turns[bound] = "in doubt"

    def _doubt_leading_exceptions(self) -> None:
        """The same where the exception stands first: "except comedies, nothing from Alpina". Values of one field are a list: "except horror, no war"."""
        for cue in [at for at, kind in enumerate(self.cue) if kind == "except_" and self.phrase("apart", at)]:
            start = cue + self.length[cue]
            ending = (*NEGATIONS, "starts", "wishes", "ends")
            split = next(
                (at for at in range(start, len(self.words)) if self.words[at] == "," or self.stops(at) or self.cue[at] in ending), start
            )
            if (
                split == start
                or self.stops(split)
                or self.cue[split] == "ends"
                or not (self._begins_clause(cue) or self.cue[cue - 1] == "joins")
            ):
                continue
            begin = split + (self.words[split] == ",")
            begin += self.length[begin] if self.cue[begin : begin + 1] in (["starts"], ["wishes"]) else 0
            end = self._clause_end(begin)
            fields = [{one.field for one in self.named if low <= one.first < high} for low, high in ((start, split), (begin, end))]
            bounds = {bound for bound in self.bounds[begin:end] if bound >= 0}
            refusing = [at for at in range(begin, end) if self.cue[at] in (*NEGATIONS, *BEHIND_KINDS, "directly")]
            likewise = any(self.phrase("likewise", at) for at in range(begin, end))
            if not refusing or likewise or not fields[0].isdisjoint(fields[1]) or not (fields[1] or bounds):
                continue
            if self.cue[refusing[0]] not in BEHIND_KINDS and any(self.words[at] not in self.silent for at in range(begin, refusing[0])):
                continue  # "except comedies, under 50 and nothing from Alpina"
            for at in range(start, split):
                self.unwanted[at] = False
            self._doubt(start, end)
            for bound in bounds:
                self.turns[bound] = "in doubt"

    def _listed(self, at: int) -> bool:
        """Whether a comma goes on with a list: short pieces, the last after a word like "or"."""
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
                joined = self.bounds.index(self.bounds[before - 1]) - 1
                if kind != "behind_one" and joined > 0 and self.cue[joined] == "joins":
                    for one in self._named_before(joined, kind):
                        self._refuse(one.first, one.last)  # "Horror和50以上的都不要"
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
