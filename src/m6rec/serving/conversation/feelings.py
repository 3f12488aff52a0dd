"""What a turn says of items: liked, refused, or known already. Clause by clause, each item by the cue nearest to it.

a cue that stands for a feeling     like, refuse, had
words that judge what is spoken of  bad, awful: they refuse an item that the clause speaks of, and say nothing without one
a negation before a cue             "don't really like" refuses, "not boring" and "don't dislike" say neither
a likeness behind a refusal         "no films like X" refuses X
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from m6rec.serving.conversation.naming import Named
from m6rec.serving.conversation.references import HAD, LIKED, REFUSED, Before, Mention, mentions, slice_of
from m6rec.text.phrases import Phrases, Said, earliest, found

BREAKS = re.compile(r"[.!?;,\n。！？；，、:：]")
STOPS = ".!?;\n。！？；"  # breaks over which no feeling is carried on
KINDS = (REFUSED, HAD, LIKED, "bad", "awful", "good", "negation", "spared")  # of overlapping cues of one length the earlier kind stands
BARE = (REFUSED, HAD, LIKED, "bad", "awful", "no", "yes", "thanks")  # cues whose words say nothing else: "no", "not for me"
NOTHING = ""


@dataclass(frozen=True)
class Cue:
    """Words `first` to `last` of a text, and what they mean."""

    first: int
    last: int
    kind: str
    negative: bool = False  # has a negation in it
    judges: bool = False  # only where an item is spoken of, and not in a question


@dataclass(frozen=True)
class Part:
    """A clause: words `first` to `last`, the feeling it says or goes on with, whether it says it itself, whether of items."""

    first: int
    last: int
    feeling: str
    own: bool
    of_items: bool


@dataclass(frozen=True)
class Felt:
    """Items by feeling, values of fields that are unwanted, the clauses, and what speaks of items.

    judging  places of words that judge items which were named or counted      clearly  whether something is felt of such items
    """

    liked: tuple[int, ...]
    refused: tuple[int, ...]
    had: tuple[int, ...]
    unwanted: list[Named]
    parts: list[Part]
    spoken: list[Mention]
    judging: frozenset[int]
    clearly: bool


def feelings(words: Said, named: list[Named], values: list[Named], before: Before, phrases: Phrases) -> Felt:
    """What `words` say of the items that they name or point at, and of the values that they name."""
    spoken, every = mentions(words, named, before, phrases), cues_of(words, named, phrases)
    silent = {place for kind in BARE for start, end in phrases.spans(kind, words) for place in range(start, end)}
    silent |= {place for place, word in enumerate(words.words) if word in phrases.plain}
    felt: dict[str, list[int]] = {LIKED: [], REFUSED: [], HAD: []}
    unwanted: list[Named] = []
    parts: list[Part] = []
    judging: set[int] = set()
    early: list[str] = []  # feelings that stand before anything is named: "no, not the first one"
    waiting: list[Mention] = []  # named in this turn, and nothing said of them so far
    newest: list[Mention] = []  # of the newest clause that named or counted some
    carried, clearly = NOTHING, False
    for first, last, hard in clauses(words, phrases, named):
        carried = NOTHING if hard else carried
        mine = [one for one in spoken if first <= one.first < last]
        clear = [one for one in mine if not one.pronoun]
        ours = [one for one in values if first <= one.first < last]
        cues = _composed([one for one in every if first <= one.first and one.last <= last], clear, words, phrases)
        bare = not mine and not ours and all(place in silent for place in range(first, last))
        asks = earliest(phrases.lists["question"], slice_of(words, first, last)) == 0
        asks = asks and not any(one.first <= first < one.last for one in named)  # a title like "Why we run"
        if asks or not (mine or (bare and waiting)):
            cues = [one for one in cues if not (one.judges or (asks and _is(one, "negation", words, phrases)))]
        wishes = not cues and not clear and phrases.has("recommend", slice_of(words, first, last))
        carried = NOTHING if wishes else carried  # "not that one, something for hiking"
        of_items = bool(clear)
        feeling = cues[0].kind if cues else carried
        if clear:
            goes_on = carried if _only_lists(words, first, last, mine, phrases) else NOTHING
            for one in clear:
                cue = _nearest(cues, one, clear)
                said_so = cue.kind if cue is not None else goes_on
                if cue is not None and cue.judges:
                    judging |= set(range(cue.first, cue.last))
                if said_so:
                    felt[said_so] += one.items
                    clearly = True
                    feeling = said_so
                waiting = [] if said_so else [*waiting, one]
            newest = clear
        elif cues and not ours and (mine or bare):
            meant = _meant(mine, waiting, newest, before)
            if mine or waiting or newest:
                felt[cues[0].kind] += meant
            else:
                early.append(cues[0].kind)
            clearly = clearly or bool(waiting or newest)
            of_items = bool(meant)
            waiting = []
        for value in ours:
            earlier = [one for one in cues if one.first <= value.first]
            if (earlier[-1].kind if earlier else NOTHING if cues else carried) == REFUSED:
                unwanted.append(value)
        if phrases.has("none", slice_of(words, first, last)) and not clear:
            felt[REFUSED] += before.shown
        # "not the first one, too sad": what follows is said of the item still; "not from Alpina, under 50" goes on with the wish.
        of_items = of_items or (not cues and not hard and not wishes and bool(parts) and parts[-1].of_items)
        parts.append(Part(first, last, cues[0].kind if cues else carried, bool(cues), of_items))
        carried = feeling
    if not any(item in before.shown for one in spoken if not one.pronoun for item in one.items):
        for kind in early:
            felt[kind] += before.shown
    refused = dict.fromkeys(felt[REFUSED])
    liked, had = (tuple(item for item in dict.fromkeys(felt[name]) if item not in refused) for name in (LIKED, HAD))
    return Felt(liked, tuple(refused), had, unwanted, parts, spoken, frozenset(judging), clearly)


def cues_of(words: Said, named: Sequence[Named], phrases: Phrases) -> list[Cue]:
    """The cues in order: of overlapping ones the longest; none inside a name."""
    every = [(start, end, kind) for kind in KINDS for start, end in phrases.spans(kind, words)]
    kept: list[Cue] = []
    for start, end, kind in sorted(every, key=lambda one: one[0] - one[1]):  # a stable sort: earlier kinds stay first
        if any(start < other.last and other.first < end for other in kept) or any(one.first <= start < one.last for one in named):
            continue
        negative = phrases.has("negation", slice_of(words, start, end))
        judges = kind in ("bad", "awful")
        kept.append(Cue(start, end, REFUSED if judges else kind, negative, judges))
    return sorted((one for one in kept if one.kind != "spared"), key=lambda one: one.first)


def cue_of(words: Said, clause: tuple[int, int], one: Mention, named: Sequence[Named], phrases: Phrases) -> Cue | None:
    """The cue that is meant of a mention in a clause (first word, word after the last)."""
    inside = [cue for cue in cues_of(words, named, phrases) if clause[0] <= cue.first and cue.last <= clause[1]]
    return _nearest(_composed(inside, [one], words, phrases), one, [one])


def _composed(cues: list[Cue], clear: list[Mention], words: Said, phrases: Phrases) -> list[Cue]:
    """The cues of a clause after negations and likenesses have had their effect; what says no feeling by itself is left out."""
    told: list[Cue] = []
    for cue in cues:
        before = told[-1] if told else None
        gap = [] if before is None else list(range(before.last, cue.first))
        if before is None or any(before.last <= one.first < cue.first for one in clear):
            told.append(cue)
        elif _is(before, "negation", words, phrases) and all(place in _degrees(words, phrases) for place in gap):
            told.pop()
            if cue.kind in (LIKED, "good"):
                told.append(Cue(before.first, cue.last, REFUSED, True))
            elif cue.kind != REFUSED or (cue.negative and gap):
                told += [before, cue]
        elif cue.kind == LIKED and before.kind == REFUSED and _is(cue, "alike", words, phrases):
            told.append(replace(cue, kind=REFUSED))
        else:
            told.append(cue)
    return [one for one in told if one.kind in (LIKED, REFUSED, HAD)]


def _is(cue: Cue, name: str, words: Said, phrases: Phrases) -> bool:
    """Whether the words of a cue are one of those called `name`."""
    return slice_of(words, cue.first, cue.last).joined in phrases.cues.get(name, ())


def _degrees(words: Said, phrases: Phrases) -> set[int]:
    """Words that may stand between a negation and what it turns round: "not all that good"."""
    return {place for first, last in phrases.spans("degree", words) for place in range(first, last)}


def _nearest(cues: list[Cue], one: Mention, others: list[Mention]) -> Cue | None:
    """The cue that is meant of a mention: words behind it that judge it, else the cue before it, else the first after it."""
    following = min((other.first for other in others if other.first >= one.last), default=None)
    behind = [cue for cue in cues if cue.first >= one.last and (following is None or cue.first < following)]
    earlier = [cue for cue in cues if cue.first < one.first]
    if behind and (behind[0].judges or not earlier):
        return behind[0]
    return earlier[-1] if earlier else cues[0] if cues else None


def _meant(mine: list[Mention], waiting: list[Mention], newest: list[Mention], before: Before) -> tuple[int, ...]:
    """What a clause without a name speaks of: "it" what was named before it in the turn, else before the turn; a bare feeling what still waits for
    one, else what was named last ("not the first one, too expensive"), else all that was shown."""
    if not mine:
        return tuple(item for one in waiting or newest for item in one.items) or before.shown
    many = any(one.many for one in mine)
    if newest:
        return tuple(item for one in (newest if many else newest[-1:]) for item in one.items)
    return mine[0].items if not many else next(one.items for one in mine if one.many)


def _only_lists(words: Said, first: int, last: int, mine: list[Mention], phrases: Phrases) -> bool:
    """Whether a clause is another piece of a list: items and plain words, nothing asked for."""
    clause = slice_of(words, first, last)
    if earliest(phrases.lists["question"], clause) == 0 or phrases.has("recommend", clause) or phrases.has("more", clause):
        return False
    others = (place for place in range(first, last) if not any(one.first <= place < one.last for one in mine))
    return all(words.words[place] in phrases.plain for place in others)


def clauses(words: Said, phrases: Phrases, named: Sequence[Named] = ()) -> list[tuple[int, int, bool]]:
    """(first word, word after the last, whether nothing is carried on from the clause before); a name is never cut."""
    cuts: dict[int, bool] = {0: True}
    for place in range(1, len(words.words)):
        between = words.text[words.ends[place - 1] : words.starts[place]]
        number = between in (".", ",", ":") and words.words[place - 1].isdigit() and words.words[place].isdigit()  # 0.99
        if BREAKS.search(between) and not number:
            cuts[place] = any(sign in STOPS for sign in between)
    held = {place for start, end in phrases.spans(REFUSED, words) for place in range(start + 1, end)}  # "anything but horror"
    for pattern in phrases.lists["clauses"]:
        for start, _ in found(pattern, words):
            if start not in held:
                cuts[start] = True
    inside = {place for one in named for place in range(one.first + 1, one.last)}
    edges = [*sorted(cuts.keys() - inside), len(words.words)]
    return [(first, last, cuts[first]) for first, last in pairwise(edges) if last > first]
