"""Which turns ask a known question: those put as a question, those that hit one squarely, and what somebody wants to do with what they have."""

from __future__ import annotations

from collections.abc import Collection

from m6rec.serving.conversation.faq import COVERED, Faq, Known
from m6rec.serving.conversation.feelings import clauses
from m6rec.serving.conversation.fitting import telling_words
from m6rec.serving.conversation.references import slice_of
from m6rec.serving.conversation.understanding import Turn
from m6rec.serving.engine.engine import Engine
from m6rec.text.phrases import Phrases, earliest, said
from m6rec.text.words import is_spaceless

FEW_SIGNS = 2  # characters of a script without spaces that make a word


def known_answer(faq: Faq, turn: Turn, phrases: Phrases, engine: Engine) -> str | None:
    """The answer to a known question. A wish is one only where it is put as a question, hits it squarely, or says little else."""
    had, words = _of_catalogue(turn, phrases, engine), said(turn.text)
    pointed = faq.pointed(turn.unnamed, had)
    wish = phrases.has("recommend", words) and (faq.beside(turn.unnamed, had) or phrases.has("occasion", words))
    if pointed is not None and _of_the_world(faq, turn, pointed, had, phrases):
        pointed = None
    if pointed is not None and (turn.question or pointed.covered >= COVERED or not wish):
        return pointed.answer
    found = faq.find(turn.unnamed, sure=turn.told == "faq", wide=turn.intent in ("question", "unclear"), catalogue=had)
    if found is None or (faq.elsewhere(turn.unnamed) and not _squarely(faq, found)):
        return None
    if _of_the_world(faq, turn, found, had, phrases):
        return None
    sure = turn.told == "faq" and (turn.intent == "question" or found.covered >= COVERED)
    return found.answer if sure or turn.question or turn.intent == "unclear" or _squarely(faq, found) else None


def covered_answer(faq: Faq, turn: Turn, phrases: Phrases, engine: Engine) -> str | None:
    """The answer to a known question whose words the turn says, and little else, or which its words point to."""
    had = _of_catalogue(turn, phrases, engine)
    pointed = faq.pointed(turn.unnamed, had)
    found = faq.find(turn.unnamed, wide=True) if pointed is None else pointed
    if found is None or (pointed is None and found.covered < COVERED and not _squarely(faq, found)):
        return None
    return None if _of_the_world(faq, turn, found, had, phrases) else found.answer


def deed_answer(faq: Faq, turn: Turn, phrases: Phrases, every: Collection[Phrases], engine: Engine) -> str | None:
    """The answer to "I want to return my boots": what somebody wants to do is no word of the catalogue, and a known question has it.

    What the catalogue knows is left out: it says what is returned, not what is asked.
    """
    words = said(turn.unnamed)
    last = max((last for _, last in phrases.spans("deed", words)), default=None)
    if last is None or turn.feels:
        return None
    told = telling_words(slice_of(words, last, len(words.words)).joined, every)
    if not told or words.words[last] in phrases.plain or phrases.has("getting", slice_of(words, last, last + FEW_SIGNS)):
        return None
    deed = told[0][:FEW_SIGNS] if is_spaceless(told[0][0]) else told[0]
    if not told[0].startswith(words.words[last]) or engine.understands(deed):
        return None
    left = " ".join(word for word in told if word == told[0] or not engine.understands(word))
    found = faq.find(left, wide=True)
    return found.answer if found is not None and (found.covered >= COVERED or _squarely(faq, found)) else None


def _of_the_world(faq: Faq, turn: Turn, found: Known, had: Collection[str], phrases: Phrases) -> bool:
    """Whether a turn that shares words with a known question asks something else of anybody: "which country is the biggest", "who invented the card".

    It has no word for the person or the shop (`ours`), and what it says besides weighs no less than what the answer has: of a question that any fact is
    asked by (`world`) the words that no answer has, of what asks no question ("delete all videos") half of these, and those of other answers.
    """
    words = said(turn.text)
    opening = {place for cue in ("opening", "greet") for first, last in phrases.spans(cue, words) for place in range(first, last)}
    if _squarely(faq, found) or any(not opening.issuperset(range(*span)) for span in phrases.spans("ours", words)):
        return False
    begin = next((place for place in range(len(words.words)) if place not in opening), 0)
    asking = [span for span in phrases.spans("world", words) if span[0] == begin or is_spaceless(words.words[span[0]])]
    evidence = faq.evidence(turn.unnamed, found, had, {words.words[place] for span in asking for place in range(*span)})
    if asking:
        return evidence.strange + evidence.met / 2 >= evidence.own
    if any(is_spaceless(word) for word in words.words):
        return False  # whose words are not parted: too many of them would be strange
    asks = any(earliest(phrases.lists["question"], slice_of(words, first, last)) == 0 for first, last, _ in clauses(words, phrases))
    return not (asks or turn.question) and (evidence.strange + evidence.met) / 2 + evidence.other >= evidence.own


def says_so(turn: Turn, phrases: Phrases) -> bool:
    """Whether words of the turn ask for a person or are angry, whatever a task says."""
    words = said(turn.text)
    return any(phrases.has(cue, words) for cue in ("hand_over", "anger", "awful"))


def _of_catalogue(turn: Turn, phrases: Phrases, engine: Engine) -> list[str]:
    """The words of a turn that items have."""
    return [word for word in said(turn.unnamed).words if word not in phrases.plain and engine.understands(word)]


def _squarely(faq: Faq, found: Known) -> bool:
    return found.score >= (1 + faq.threshold) / 2
