"""What one turn of a person means: intent, items liked and refused, what is wished for, what is asked about an item.

Cue words and names decide; where the model has tasks on texts for intent or sentiment, they are asked too (see `Judged`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

from m6rec.serving.conversation.naming import Named, Names
from m6rec.serving.conversation.references import HAD, LIKED, REFUSED, Before, about_items, beyond, referred, slice_of, spoken_of
from m6rec.text.phrases import Phrases, Said, earliest, found, said
from m6rec.text.words import is_spaceless

Intent = Literal[
    "hand_over",
    "anger",
    "ask_item",
    "why",
    "faq",
    "question",
    "refuse",
    "like",
    "refine",
    "recommend",
    "more",
    "anything",
    "greet",
    "thanks",
    "bye",
    "again",
    "unclear",
]
BREAKS = re.compile(r"[.!?;,\n。！？；，、:]")
STOPS = ".!?;\n。！？；"  # breaks over which no feeling is carried on
ASKING = ("?", "？")
FEW = 3  # words from which a text can be judged angry
SIGNS = "$€£¥%+"
WORDLESS = ("greet", "thanks", "bye", "more", "like", "had", "refuse", "yes", "no", "anything", "recommend", "none", "again")
SMALL_TALK: tuple[Intent, ...] = ("thanks", "bye", "greet")
ORDINARY = ("recommend", "more", "like", "greet", "thanks", "bye", "anything")
HIDDEN = ("Cc", "Cf", "Co", "Cs")  # control, formatting, private and broken characters say nothing


class Judged(Protocol):
    """What tasks on texts say of a turn."""

    def intent(self, text: str) -> str | None:
        """The likeliest intent where the model is sure of it."""

    def angry(self, text: str) -> bool:
        """Whether the text is negative beyond doubt."""


@dataclass(frozen=True)
class Turn:
    """What a person said, understood. Items are rows of the catalogue.

    about     items a question is about        asked   fields it asks for        values  values it asks after ("is it a comedy?")
    wish      the words that say what is wanted and what is not, "" for none      words  all words but the names of items
    """

    intent: Intent
    text: str
    language: str
    items: tuple[int, ...] = ()
    liked: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    had: tuple[int, ...] = ()
    about: tuple[int, ...] = ()
    asked: tuple[str, ...] = ()
    values: tuple[Named, ...] = ()
    wish: str = ""
    words: str = ""
    question: bool = False
    cut: bool = False
    told: str | None = None  # the intent as a task judges it, where it is sure
    beyond: bool = False  # speaks of a place that the list shown last has not


def cleaned(text: str, longest: int) -> tuple[str, bool]:
    """The text without characters that nobody sees, and whether it was cut: of a long one the beginning and the end are kept."""
    cut = len(text) > longest
    if cut:
        text = f"{text[: longest // 2]} {text[-(longest // 2) :]}"
    plain = "".join(" " if sign in "\t\r" or (sign != "\n" and unicodedata.category(sign) in HIDDEN) else sign for sign in text)
    return re.sub(r"[ \n]*\n[ \n]*", "\n", re.sub(r" {2,}", " ", plain)).strip(), cut


def language_of(text: str, known: Sequence[Phrases], usual: str) -> Phrases:
    """The phrases of the language that `text` is in: the one more of whose common words it has; `usual` where that does not tell."""
    words = said(text)
    spaceless = sum(is_spaceless(word) for word in words.words) / max(len(words.words), 1)
    best, most = next((one for one in known if one.language == usual), known[0]), 0.0
    for phrases in sorted(known, key=lambda one: one.language != usual):
        own = any(is_spaceless(sign) for word in phrases.plain for sign in word)
        hits = sum(word in phrases.plain for word in words.words) / max(len(words.words), 1)
        hits += 0.5 * any(earliest(cues, words) is not None for cues in phrases.cues.values())
        if own != (spaceless > 0.3):
            continue
        if hits + (spaceless if own else 0.0) > most:
            best, most = phrases, hits + (spaceless if own else 0.0)
    return best


def understand(
    text: str,
    before: Before,
    names: Names,
    phrases: Phrases,
    judged: Judged | None = None,
    fields: Iterable[str] = (),
    knows: Callable[[str], bool] | None = None,
    cut: bool = False,
) -> Turn:
    """`text` as a Turn.

    Args:
        text: as `cleaned` gives it.
        fields: of the items that may be asked about.
        knows: whether any word of a text is one of the catalogue; words that nobody knows are no wish by themselves. None: all are.
    """
    words = said(text)
    named = names.items(words, before.known)
    values = [one for one in names.values(words) if not any(item.first <= one.first < item.last for item in named)]
    feelings, unwanted, parts = _feelings(words, named, values, before, phrases)
    question = any(sign in text for sign in ASKING) or (bool(words.words) and earliest(phrases.lists["question"], words) == 0)
    question = question or (any(is_spaceless(word) for word in words.words) and phrases.listed("question", words))
    asked = _fields_asked(words, phrases, fields)
    about = about_items(words, named, before, phrases)
    wish = _wish(words, named, values, phrases, parts)
    strange = bool(wish) and knows is not None and not values and not knows(wish) and not phrases.compared(words)
    facts = {
        "text": text,
        "language": phrases.language,
        "items": tuple(dict.fromkeys(one.item for one in named)),
        "liked": feelings[LIKED],
        "refused": feelings[REFUSED],
        "had": feelings[HAD],
        "wish": wish,
        "words": " ".join(word for place, word in enumerate(words.words) if not _in_name(place, named)),
        "question": question,
        "cut": cut,
        "beyond": not named and beyond(words, before, phrases),
    }
    wanted = [value for value in values if value not in unwanted]
    told = None if judged is None else judged.intent(text)
    facts["told"] = told
    asked_of = bool(about) and (bool(asked) or bool(wanted) or _of_it(words, named, phrases))
    intent = _intent(words, phrases, judged, told, before, question, asked_of, bool(about), wanted, bool(unwanted), strange, facts)
    if intent == "anything":
        facts["wish"] = ""  # "any brand is fine": nothing that an item could have
    if intent in ("ask_item", "why"):
        facts |= {"about": about, "asked": asked, "values": tuple(wanted), "wish": ""}
    return Turn(intent=intent, **facts)  # type: ignore[arg-type]


def _intent(
    words: Said,
    phrases: Phrases,
    judged: Judged | None,
    told: str | None,
    before: Before,
    question: bool,
    asked_of: bool,
    about: bool,
    wanted: list[Named],
    ruled_out: bool,
    strange: bool,
    facts: dict[str, object],
) -> Intent:
    """The main thing a turn wants."""
    has = {cue: phrases.has(cue, words) for cue in phrases.cues}
    felt = felt_of_items(facts)
    ordinary = any(has[cue] for cue in ORDINARY)
    if told in ("hand_over", "anger") and not has["awful"] and (felt or ruled_out or (not facts["wish"] and ordinary)):
        told = None  # it speaks of items, or every word of it is one of asking: a task that says otherwise has not read such words
    if has["hand_over"] or told == "hand_over":
        return "hand_over"
    if has["anger"] or _shouted(words.text) or (told == "anger" and not felt) or _of_us(words, phrases, bool(facts["items"])):
        return "anger"
    if facts["beyond"]:
        return "unclear"
    if has["why"] and about:
        return "why"
    if told == "faq" and not felt:
        return "question"
    if question and asked_of and not facts["had"]:
        return "ask_item"
    if before.waiting and has["anything"] and not felt and not wanted:
        return "anything"
    wishes = bool(facts["wish"]) and not (strange and not has["recommend"])
    plain = not felt and not wishes
    if judged is not None and plain and not question and not ordinary and len(words.words) >= FEW and judged.angry(words.text):
        return "anger"
    if has["again"] and plain:
        return "again"
    if facts["refused"] or facts["had"]:
        return "refuse"
    if facts["liked"]:
        return "like"
    if has["more"] and before.offered and not wanted:
        return "more"
    if wishes or has["recommend"] or told in ("recommend", "refine"):
        if question and not has["recommend"] and not wanted and told not in ("recommend", "refine"):
            return "question"
        return "refine" if before.offered else "recommend"
    for cue in SMALL_TALK:
        if has[cue] or told == cue:
            return cue
    if question:
        return "question"
    if has["anything"] or has["yes"] or has["more"]:
        return "anything"
    return "unclear"


def _of_it(words: Said, named: list[Named], phrases: Phrases) -> bool:
    """Whether a question is of an item that it names or points at, and of little else: "is it waterproof?"."""
    pointed = spoken_of(words, phrases)
    telling = [
        place for place, word in enumerate(words.words) if place not in pointed and word not in phrases.plain and not _in_name(place, named)
    ]
    return bool(pointed or named) and len(telling) < FEW - 1


def _of_us(words: Said, phrases: Phrases, items: bool) -> bool:
    """Whether somebody speaks badly of whoever answers, and of no item: hard words about the shop, or shouted ones."""
    if items or not phrases.has("awful", words):
        return False
    return words.text.count("!") + words.text.count("！") > 1 or any(
        phrases.has("awful", part) and phrases.has("us", part)
        for first, last, _ in _clauses(words, phrases)
        for part in [slice_of(words, first, last)]
    )


def felt_of_items(facts: dict[str, object]) -> bool:
    """Whether a turn says what is thought of items."""
    return bool(facts["liked"] or facts["refused"] or facts["had"])


def _shouted(text: str) -> bool:
    """Several words in capitals with more than one exclamation mark."""
    capitals = [sign.isupper() for sign in text if sign.isalpha()]
    return text.count("!") > 1 and len(text.split()) > 2 and sum(capitals) > 0.8 * max(len(capitals), 1)


def _feelings(
    words: Said, named: list[Named], values: list[Named], before: Before, phrases: Phrases
) -> tuple[dict[str, tuple[int, ...]], list[Named], list[tuple[int, int, str, bool, bool]]]:
    """Items by feeling, values that are unwanted, and the clauses: (first word, word after the last, feeling or "", whether it says so, whether of items)."""
    spans = _cue_spans(words, phrases)
    parts: list[tuple[int, int, str, bool, bool]] = []
    felt: dict[str, list[int]] = {LIKED: [], REFUSED: [], HAD: []}
    unwanted: list[Named] = []
    carried = ""
    for first, last, hard in _clauses(words, phrases):
        inside = [(start, cue) for start, end, cue in spans if first <= start and end <= last and not _in_name(start, named)]
        mine = [one for one in named if first <= one.first < last]
        ours = [one for one in values if first <= one.first < last]
        feeling = inside[0][1] if inside else ("" if hard else carried)
        for one in mine:
            felt_of = _nearest(inside, one) or feeling
            if felt_of:
                felt[felt_of].append(one.item)
        meant = referred(words, first, last, before, phrases, inside[0][1]) if not mine and inside and not ours else ()
        for item in meant:
            felt[inside[0][1]].append(item)
        for value in ours:
            if (_nearest([one for one in inside if one[0] <= value.first], value) or ("" if inside else feeling)) == REFUSED:
                unwanted.append(value)
        # "not the first one, too sad": what follows is said of the item still; "not from Alpina, under 50" goes on with the wish.
        of_items = bool(mine or meant) or (not inside and not hard and bool(parts) and parts[-1][4])
        parts.append((first, last, feeling, bool(inside), of_items))
        carried = feeling
    if phrases.has("none", words):
        felt[REFUSED] += before.shown
    refused = dict.fromkeys(felt[REFUSED])
    others = {name: tuple(item for item in dict.fromkeys(felt[name]) if item not in refused) for name in (LIKED, HAD)}
    return {**others, REFUSED: tuple(refused)}, unwanted, parts


def _cue_spans(words: Said, phrases: Phrases) -> list[tuple[int, int, str]]:
    """(first, last, cue) of feelings: of overlapping ones the longest, a refusal before a liking of equal length."""
    every = [(start, end, cue) for cue in (REFUSED, HAD, LIKED) for start, end in phrases.spans(cue, words)]
    kept: list[tuple[int, int, str]] = []
    for start, end, cue in sorted(every, key=lambda one: one[0] - one[1]):  # a stable sort: refusals stay first
        if not any(start < other[1] and other[0] < end for other in kept):
            kept.append((start, end, cue))
    return sorted(kept)


def _nearest(cues: list[tuple[int, str]], one: Named) -> str:
    """The cue before a name that is nearest to it, else the first after it."""
    earlier = [cue for start, cue in cues if start < one.first]
    return earlier[-1] if earlier else cues[0][1] if cues else ""


def _in_name(start: int, named: list[Named]) -> bool:
    return any(one.first <= start < one.last for one in named)


def _clauses(words: Said, phrases: Phrases) -> list[tuple[int, int, bool]]:
    """(first word, word after the last, whether nothing is carried on from the clause before)."""
    cuts: dict[int, bool] = {0: True}
    for place in range(1, len(words.words)):
        between = words.text[words.ends[place - 1] : words.starts[place]]
        number = between in (".", ",", ":") and words.words[place - 1].isdigit() and words.words[place].isdigit()  # 0.99
        if BREAKS.search(between) and not number:
            cuts[place] = any(sign in STOPS for sign in between)
    for pattern in phrases.lists["clauses"]:
        for start, _ in found(pattern, words):
            cuts[start] = True
    edges = [*sorted(cuts), len(words.words)]
    return [(first, last, cuts[first]) for first, last in pairwise(edges) if last > first]


def _fields_asked(words: Said, phrases: Phrases, fields: Iterable[str]) -> tuple[str, ...]:
    """Fields that the words ask for: those of the longest cue; a field is asked by its own name too."""
    asked: list[tuple[int, str]] = []
    for name in fields:
        own = said(name.replace("_", " ")).joined
        lengths = [len(pattern) for pattern in (*phrases.fields.get(name, ()), own) if pattern in words.joined]
        if lengths:
            asked.append((max(lengths), name))
    return tuple(name for length, name in asked if length == max(asked)[0])


def _wish(words: Said, named: list[Named], values: list[Named], phrases: Phrases, parts: list[tuple[int, int, str, bool, bool]]) -> str:
    """What is wished for or ruled out, in the person's words: names of items and what is said of items left out; "" where nothing is."""
    cues = {place for cue in WORDLESS for start, end in phrases.spans(cue, words) for place in range(start, end)}
    cues |= spoken_of(words, phrases)
    kept: list[str] = []
    telling = False
    for first, last, feeling, own, of_items in parts:
        ours = any(first <= one.first < last for one in values)
        mine = any(first <= one.first < last for one in named)
        if feeling in (REFUSED, HAD) and not ours and of_items and (mine or not own):
            continue  # "I did not like the first one, too sad": what is said of it is no wish
        places = [place for place in range(first, last) if not _in_name(place, named)]
        if places:
            kept.append(_between(words, places))
            telling = telling or any(place not in cues and words.words[place] not in phrases.plain for place in places)
    return ", ".join(kept) if telling else ""


def _between(words: Said, places: list[int]) -> str:
    """The words at `places` as they were typed, with what stands between neighbours."""
    said_so = ""
    for number, place in enumerate(places):
        start = words.ends[place - 1] if number and places[number - 1] == place - 1 else words.starts[place]
        said_so += ("" if not number or start != words.starts[place] or start == words.ends[place - 1] else " ") + words.text[
            start : words.ends[place]
        ]
    after = words.text[words.ends[places[-1]] :]
    unit = after[: len(after) - len(after.lstrip(SIGNS))]  # "50$", "18+"
    return said_so + unit
