"""What a turn wishes for or rules out, in the person's own words: without names of items, and without what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Collection

from m6rec.serving.conversation.feelings import STOPS, Felt, Part
from m6rec.serving.conversation.naming import Named
from m6rec.serving.conversation.references import HAD, REFUSED, spoken_of
from m6rec.text.phrases import Phrases, Said, found, said

SIGNS = "$€£¥%+"
WORDLESS = (
    "greet",
    "thanks",
    "bye",
    "more",
    "like",
    "had",
    "refuse",
    "yes",
    "no",
    "anything",
    "recommend",
    "none",
    "again",
    "negation",
    "help",
)


def wished(
    words: Said, named: list[Named], values: list[Named], phrases: Phrases, felt: Felt, bounds: Callable[[str], bool] | None = None
) -> str:
    """What is wished for or ruled out; "" where nothing is.

    bounds: whether a text says limits of numbers: "not i108, under 60" refuses an item and limits the others.
    """
    cues = {place for cue in WORDLESS for start, end in phrases.spans(cue, words) for place in range(start, end)}
    cues |= spoken_of(words, phrases)
    judging = {place for cue in ("bad", "awful") for start, end in phrases.spans(cue, words) for place in range(start, end)}
    kept, end = "", 0
    telling = False
    for part in felt.parts:
        first, last = part.first, part.last
        ours = any(first <= one.first < last for one in values)
        mine = any(first <= one.first < last for one in felt.spoken if not one.pronoun)
        of_item = part.feeling in (REFUSED, HAD) and not ours and part.of_items and (mine or not part.own)
        if of_item:  # "I did not like the first one, too sad": what is said of it is no wish
            runs = [] if bounds is None else [run for run in _runs(part, words, felt, phrases) if bounds(between(words, run))]
        else:
            runs = [[place for place in range(first, last) if not in_name(place, named)]]
        for places in filter(None, runs):
            over = any(sign in STOPS for sign in words.text[end : words.starts[places[0]]])  # a negation reaches to the end of its sentence
            kept += ((". " if over else ", ") if kept else "") + between(words, places)
            end = words.ends[places[-1]]
            silent = cues | judging if part.of_items else cues
            telling = telling or of_item or any(place not in silent and words.words[place] not in phrases.plain for place in places)
    return kept if telling else ""


def _runs(part: Part, words: Said, felt: Felt, phrases: Phrases) -> list[list[int]]:
    """Places before and behind what a clause says of items, unless they go on with it: "is over 60", "costs 80"."""
    spans = [(one.first, one.last) for one in felt.spoken]
    spans += [span for cue in (REFUSED, HAD, "bad", "awful", "none") for span in phrases.spans(cue, words)]
    here = [span for span in spans if part.first <= span[0] < part.last]
    first, last = min((span[0] for span in here), default=part.last), max((span[1] for span in here), default=part.first)
    before, behind = list(range(part.first, first)), list(range(last, part.last)) if here else []
    describes = {begin for begin, _ in phrases.spans("describing", words)}
    if any(one.pronoun and one.first >= part.first for one in felt.spoken if one.first < part.last):
        behind = []  # "not that one, it is over 60"
    return [run for run in (before, behind) if run and run[0] not in describes]


def in_name(start: int, named: list[Named]) -> bool:
    return any(one.first <= start < one.last for one in named)


def between(words: Said, places: list[int]) -> str:
    """The words at `places` as they were typed, with what stands between neighbours; "" for none."""
    if not places:
        return ""
    said_so = ""
    for number, place in enumerate(places):
        start = words.ends[place - 1] if number and places[number - 1] == place - 1 else words.starts[place]
        said_so += ("" if not number or start != words.starts[place] or start == words.ends[place - 1] else " ") + words.text[
            start : words.ends[place]
        ]
    after = words.text[words.ends[places[-1]] :]
    unit = after[: len(after) - len(after.lstrip(SIGNS))]  # "50$", "18+"
    return said_so + unit


def without_words(text: str, names: Collection[str]) -> str:
    """The text without `names`, each as it stands there word by word; the text itself where none does."""
    words = said(text)
    gone = {place for name in names for first, last in found(said(name).joined, words) for place in range(first, last)}
    return between(words, [place for place in range(len(words.words)) if place not in gone]) if gone else text
