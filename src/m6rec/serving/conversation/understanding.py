"""What one turn of a person means: intent, items liked and refused, what is wished for, what is asked about an item.

Cue words and names decide; where the model has tasks on texts for intent or sentiment, they are asked too (see `Judged`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from m6rec.serving.conversation.asides import aside
from m6rec.serving.conversation.comparing import held_against
from m6rec.serving.conversation.feelings import Felt, clauses, feelings
from m6rec.serving.conversation.naming import Named, Names
from m6rec.serving.conversation.references import Before, about_items, beyond, says_more, slice_of, spoken_of
from m6rec.serving.conversation.wishing import between, in_name, wished
from m6rec.text.constraints import Constraint
from m6rec.text.phrases import Phrases, Said, earliest, said
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
    "help",
    "again",
    "never_mind",
    "program",
    "repeat",
    "unclear",
]
ASKING = ("?", "？")
FEW = 3  # words from which a text can be judged angry
SMALL_TALK: tuple[Intent, ...] = ("thanks", "bye", "help", "greet")
ORDINARY = ("recommend", "more", "like", "greet", "thanks", "bye", "anything")
KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa]")
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
    wish      the words that say what is wanted and what is not, "" for none      words  all words but the names of items, each by itself
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
    beyond: bool = False  # speaks of a place that the list shown last has not, or of which none was shown
    against: tuple[int, ...] = ()  # what "cheaper" and the like are held against
    past: tuple[Constraint, ...] = ()  # "cheaper" than what was shown, where nothing that fits is; not held then
    feels: bool = False  # says what is thought of items that it names or counts
    unnamed: str = ""  # the text without names of items
    settles: bool = False  # speaks of the limits held, and of nothing else, or says which of them counts
    among: tuple[str, ...] = ()  # values of which one is ruled out, and it does not tell which
    unseen: bool = False  # most of its words are met nowhere: it is not understood


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
        kana = any(KANA.search(sign) for sign in phrases.plain)
        if own != (spaceless > 0.3) or (own and not kana and KANA.search(text)):
            continue  # Japanese has Chinese characters, Chinese has no kana
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
    unseen: Callable[[str], bool] | None = None,
    bounds: Callable[[str], bool] | None = None,
) -> Turn:
    """`text` as a Turn.

    Args:
        text: as `cleaned` gives it.
        fields: of the items that may be asked about.
        knows: whether any word of a text is one of the catalogue; words that nobody knows are no wish by themselves. None: all are.
        unseen: whether most words of a text are met nowhere; what tasks say of such a text is not believed. None: none is.
        bounds: whether a text says limits of numbers, which beside a refusal are a wish all the same. None: none does.
    """
    words = said(text)
    named = names.items(words, before.known)
    values = [one for one in names.values(words) if not any(item.first <= one.first < item.last for item in named)]
    felt = feelings(words, named, values, before, phrases)
    question = any(sign in text for sign in ASKING) or (
        bool(words.words) and earliest(phrases.lists["question"], words) == 0 and not in_name(0, named)
    )
    question = question or (any(is_spaceless(word) for word in words.words) and phrases.listed("question", words))
    compared = phrases.compared(words)
    asked = fields_asked(words, phrases, fields)
    spoken, which = felt.spoken, phrases.has("which", words)
    about = tuple(item for item in (about_items(spoken, before) if spoken or not which else before.shown) if item not in felt.refused)
    bare = bool(asked) and not says_more(words, field_cues(asked, phrases), phrases)
    if bare and question and not about and not felt.refused:
        about = before.shown  # "who is the maker?", of each of those
    if which and len(about) > 1 and not asked:
        asked = tuple(field for field, _ in compared if field in fields)  # "which is the cheapest?"
    against = held_against(words, felt, before, phrases)
    wish = wished(words, named, values, phrases, felt, bounds)
    unnamed = [place for place in range(len(words.words)) if not in_name(place, named)]
    pointed = spoken_of(words, phrases)
    unspoken = [place for place in unnamed if place not in pointed or not before.shown]
    strange = bool(wish) and knows is not None and not values and not knows(wish) and not compared
    facts: dict[str, Any] = {
        "text": text,
        "language": phrases.language,
        "items": tuple(dict.fromkeys(one.item for one in named)),
        "liked": felt.liked,
        "refused": felt.refused,
        "had": felt.had,
        "wish": wish,
        "words": " ".join(words.words[place] for place in unnamed),
        "question": question,
        "cut": cut,
        "beyond": not named and beyond(words, before, phrases),
        "feels": felt.clearly,
        "against": against,
        "unnamed": text if len(unspoken) == len(words.words) else between(words, unspoken),
        "unseen": not named and not values and unseen is not None and unseen(text),
    }
    if facts["unseen"]:
        judged, question = None, False
    if not words.words:
        judged, question = None, False
    asks = bool(about and (named or pointed)) and ((bool(asked) and not compared) or phrases.has("tell", words))
    if named and not unnamed and not felt_of_items(facts):  # a title or an id alone: what is known of it?
        about, question = facts["items"], True
        asked = asked or fields_asked(said(str(next(iter(phrases.values["cues"]["tell"]), ""))), phrases, fields)
    question = question or (asks and not felt_of_items(facts) and not phrases.has("recommend", words))
    if judged is not None and len(set(facts["items"])) == 1 and not felt_of_items(facts) and not question and judged.angry(text):
        facts |= {"refused": facts["items"], "feels": True}  # a task is sure that this is said badly of the one item that is named
    facts["question"] = question
    wanted = [value for value in values if value not in felt.unwanted]
    told = None if judged is None else judged.intent(text)
    facts["told"] = told
    asked_of = bool(about) and (bool(asked) or bool(wanted) or _of_it(words, named, which, phrases))
    pointing = bool(spoken) and all(one.pronoun for one in spoken)
    asked_of = asked_of and not (compared and not asked and not which and (pointing or len(about) == 1))  # "anything cheaper than these?"
    asked_of = asked_of or (bool(asked) and (bare or bool(pointed)) and not before.shown)  # "what does it cost?" of nothing that was shown
    if question and asked_of and (which or bare or any(not one.pronoun for one in spoken)):
        told = None  # of an item that is named, or of those shown
    intent = _intent(words, phrases, judged, told, before, question, bool(compared), asked_of, bool(about), wanted, felt, strange, facts)
    if intent == "anything":
        facts["wish"] = ""  # "any brand is fine": nothing that an item could have
    beside = aside(words, before, felt, phrases, question=question)
    if beside is not None and (intent != "hand_over" or beside == "program"):
        quiet: dict[str, Any] = {"liked": (), "refused": (), "had": (), "wish": "", "told": None}
        return Turn(intent=beside, **(facts | quiet), about=about if beside == "repeat" else ())
    if intent in ("ask_item", "why"):
        facts |= {"about": about, "asked": asked, "values": tuple(wanted), "wish": ""}
    return Turn(intent=intent, **facts)


def _intent(
    words: Said,
    phrases: Phrases,
    judged: Judged | None,
    told: str | None,
    before: Before,
    question: bool,
    compared: bool,
    asked_of: bool,
    about: bool,
    wanted: list[Named],
    told_of: Felt,
    strange: bool,
    facts: dict[str, Any],
) -> Intent:
    """The main thing a turn wants."""
    has = {cue: phrases.has(cue, words) for cue in phrases.cues}
    felt = felt_of_items(facts)
    ordinary = compared or phrases.alone("more_alone", words) or any(has[cue] for cue in ORDINARY)
    of_items = felt or bool(told_of.unwanted) or compared
    if told in ("hand_over", "anger") and not has["awful"] and (of_items or (not facts["wish"] and ordinary)):
        told = None  # it speaks of items, or every word of it is one of asking: a task that says otherwise has not read such words
    if told == "faq" and not question and (compared or not facts["wish"]):
        told = None  # no word of it says what is asked
    asking = has["recommend"] or has["more"] or has["anything"]
    small = next((cue for cue in SMALL_TALK if has[cue]), None)
    says_little = not (felt or facts["wish"] or asking)
    if has["hand_over"] or told == "hand_over":
        return "hand_over"
    angry = any(not told_of.judging.issuperset(range(*span)) for span in phrases.spans("anger", words))
    if angry or _shouted(words.text) or (told == "anger" and not felt) or _of_us(words, phrases, before, bool(facts["items"])):
        return "anger"
    if facts["beyond"]:
        return "unclear"
    if small is not None and says_little and (small == "help" or not question):
        return small
    if has["why"] and about:
        return "why"
    if told == "faq" and not felt and (question or not has["recommend"]):
        return "question"
    if question and asked_of and not facts["had"]:
        return "ask_item"
    if (
        has["anything"]
        and not felt
        and not wanted
        and (before.waiting or not (question or facts["wish"] or has["recommend"] or has["more"]))
    ):
        return "anything"
    wishes = bool(facts["wish"]) and not ((strange or facts["unseen"]) and not has["recommend"])
    plain = not felt and not wishes
    if judged is not None and plain and not question and not ordinary and len(words.words) >= FEW and judged.angry(words.text):
        return "anger"
    if has["again"] and plain:
        return "again"
    if facts["refused"] or facts["had"]:
        return "refuse"
    if facts["liked"]:
        return "like"
    if (has["more"] or phrases.alone("more_alone", words)) and before.offered and not wanted and not facts["unseen"]:
        return "more"
    if wishes or compared or has["recommend"] or told in ("recommend", "refine"):
        if question and not has["recommend"] and not wanted and not compared and told not in ("recommend", "refine"):
            return "question"
        return "refine" if before.offered else "recommend"
    for cue in SMALL_TALK:
        if has[cue] or told == cue:
            return cue
    if question:
        return "question"
    if has["anything"] or has["yes"] or has["more"] or phrases.alone("more_alone", words):
        return "anything"
    return "unclear"


def _of_it(words: Said, named: list[Named], which: bool, phrases: Phrases) -> bool:
    """Whether a question is of an item that it names or points at, and of little else: "is it waterproof?"."""
    pointed = spoken_of(words, phrases)
    telling = [
        place for place, word in enumerate(words.words) if place not in pointed and word not in phrases.plain and not in_name(place, named)
    ]
    return bool(pointed or named or which) and len(telling) < FEW - 1 and not phrases.has("recommend", words)


def _of_us(words: Said, phrases: Phrases, before: Before, items: bool) -> bool:
    """Whether somebody speaks badly of whoever answers, and of no item: hard words about the shop, shouted ones, or about "this" where nothing was shown."""
    if items or not phrases.has("awful", words):
        return False
    if words.text.count("!") + words.text.count("！") > 1:
        return True
    hard = [part for first, last, _ in clauses(words, phrases) if phrases.has("awful", part := slice_of(words, first, last))]
    nothing = not before.shown and before.focus is None
    return any(phrases.has("us", part) or (nothing and phrases.listed("it", part) and _says_little(part, phrases)) for part in hard)


def _says_little(part: Said, phrases: Phrases) -> bool:
    """Whether a clause has nothing but hard words and plain ones."""
    hard = {place for first, last in phrases.spans("awful", part) for place in range(first, last)}
    return all(place in hard or word in phrases.plain for place, word in enumerate(part.words))


def felt_of_items(facts: dict[str, Any]) -> bool:
    """Whether a turn says what is thought of items."""
    return bool(facts["liked"] or facts["refused"] or facts["had"])


def _shouted(text: str) -> bool:
    """Several words in capitals with more than one exclamation mark."""
    capitals = [sign.isupper() for sign in text if sign.isalpha()]
    return text.count("!") > 1 and len(text.split()) > 2 and sum(capitals) > 0.8 * max(len(capitals), 1)


def fields_asked(words: Said, phrases: Phrases, fields: Iterable[str]) -> tuple[str, ...]:
    """Fields that the words ask for: those of the longest cue; a field is asked by its own name too."""
    asked: list[tuple[int, str]] = []
    for name in fields:
        lengths = [len(pattern) for pattern in field_cues([name], phrases) if pattern in words.joined]
        if lengths:
            asked.append((max(lengths), name))
    return tuple(name for length, name in asked if length == max(asked)[0])


def field_cues(fields: Iterable[str], phrases: Phrases) -> list[str]:
    """What fields are asked by: their cues and their own names."""
    return [cue for name in fields for cue in (*phrases.fields.get(name, ()), said(name.replace("_", " ")).joined)]
