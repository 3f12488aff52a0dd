"""Which turns ask a known question: those put as a question, those that hit one squarely, and what somebody wants to do with what they have."""

from __future__ import annotations

from collections.abc import Collection

from m6rec.serving.conversation.faq import COVERED, Faq, Known
from m6rec.serving.conversation.fitting import telling_words
from m6rec.serving.conversation.references import slice_of
from m6rec.serving.conversation.understanding import Turn
from m6rec.serving.engine.engine import Engine
from m6rec.text.phrases import Phrases, said
from m6rec.text.words import is_spaceless

FEW_SIGNS = 2  # characters of a script without spaces that make a word


def known_answer(faq: Faq, turn: Turn, phrases: Phrases, engine: Engine) -> str | None:
    """The answer to a known question. A wish is one only where it is put as a question, hits it squarely, or says little else."""
    had, words = _of_catalogue(turn, phrases, engine), said(turn.text)
    pointed = faq.pointed(turn.unnamed, had)
    wish = phrases.has("recommend", words) and (faq.beside(turn.unnamed, had) or phrases.has("occasion", words))
    if pointed is not None and (turn.question or pointed.covered >= COVERED or not wish):
        return pointed.answer
    found = faq.find(turn.unnamed, sure=turn.told == "faq", wide=turn.intent in ("question", "unclear"), catalogue=had)
    if found is None or (faq.elsewhere(turn.unnamed) and not _squarely(faq, found)):
        return None
    sure = turn.told == "faq" and (turn.intent == "question" or found.covered >= COVERED)
    return found.answer if sure or turn.question or turn.intent == "unclear" or _squarely(faq, found) else None


def covered_answer(faq: Faq, turn: Turn, phrases: Phrases, engine: Engine) -> str | None:
    """The answer to a known question whose words the turn says, and little else, or which its words point to."""
    pointed = faq.pointed(turn.unnamed, _of_catalogue(turn, phrases, engine))
    if pointed is not None:
        return pointed.answer
    found = faq.find(turn.unnamed, wide=True)
    return found.answer if found is not None and (found.covered >= COVERED or _squarely(faq, found)) else None


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


def says_so(turn: Turn, phrases: Phrases) -> bool:
    """Whether words of the turn ask for a person or are angry, whatever a task says."""
    words = said(turn.text)
    return any(phrases.has(cue, words) for cue in ("hand_over", "anger", "awful"))


def _of_catalogue(turn: Turn, phrases: Phrases, engine: Engine) -> list[str]:
    """The words of a turn that items have."""
    return [word for word in said(turn.unnamed).words if word not in phrases.plain and engine.understands(word)]


def _squarely(faq: Faq, found: Known) -> bool:
    return found.score >= (1 + faq.threshold) / 2
