"""Turns that ask for nothing new: somebody gives up ("never mind"), takes leave, asks whether a person answers, or wants to see again what was shown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from m6rec.serving.conversation.feelings import Felt, clauses
from m6rec.serving.conversation.references import Before, says_more, slice_of
from m6rec.text.phrases import Phrases, Said

Aside = Literal["never_mind", "bye", "program", "repeat"]


def aside(words: Said, before: Before, felt: Felt, phrases: Phrases, *, question: bool) -> Aside | None:
    """Which of these a turn is; None for another turn."""
    if asks_who_answers(words, before, phrases):
        return "program"
    silent = [*phrases.cues["never_mind"], *phrases.cues["bye"], *phrases.cues["no"]]
    asked = "?" in words.text or "？" in words.text
    ending = {place for cue in ("never_mind", "bye") for first, last in phrases.spans(cue, words) for place in range(first, last)}
    if ending and not asked and ending.issuperset(one.first for one in felt.spoken) and not says_more(words, silent, phrases):
        if phrases.has("never_mind", words):
            return "never_mind"
        if phrases.has("no", words):
            return "bye"  # "no thanks, bye": nothing is refused
    if phrases.has("repeat", words) and felt.spoken and not felt.clearly and (not question or phrases.has("recommend", words)):
        pointing = [*phrases.lists["it"], *phrases.lists["them"], *(one for some in phrases.places.values() for one in some)]
        cues = [*phrases.cues["repeat"], *phrases.cues["recommend"], *phrases.cues["rest"], *pointing]
        if any(one.items for one in felt.spoken) and before.shown and not says_more(words, cues, phrases):
            return "repeat"
    return None


def asks_who_answers(words: Said, before: Before, phrases: Phrases) -> bool:
    """Whether a turn asks if a person or a program answers ("are you human?"), and does not ask for a person besides."""
    asking: set[int] = set()
    for first, last, _ in clauses(words, phrases):
        clause = slice_of(words, first, last)
        cues = [*phrases.cues["who_answers"], *phrases.cues["person"], *phrases.cues["greet"]]
        whom = phrases.has("who_answers", clause) and phrases.has("person", clause)
        if whom and not says_more(clause, cues, phrases) and not (before.shown and phrases.listed("it", clause)):
            asking |= set(range(first, last))
    return bool(asking) and all(asking.issuperset(range(*span)) for span in phrases.spans("hand_over", words))


def agrees_to_person(words: Said, transcript: Sequence[tuple[str, str]], phrases: Phrases, every: Collection[Phrases]) -> bool:
    """Whether a turn agrees to the person that was offered where somebody asked who answers. transcript: (role, text), the turn last."""
    offers = [one for language in every for one in language.values["sayings"]["program"]]
    agrees = phrases.has("yes", words) and not phrases.has("no", words) and not says_more(words, [], phrases)
    return agrees and any(role == "assistant" and text in offers for role, text in transcript[-2:])
