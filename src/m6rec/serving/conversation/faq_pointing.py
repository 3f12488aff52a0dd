"""Which known answer the groups of words in a text point to, whatever else it says, and whether they point elsewhere."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from m6rec.serving.conversation.faq_words import AnswerWords, Held
from m6rec.serving.conversation.word_groups import stems
from m6rec.text.words import is_spaceless

SINGLE = 0.35  # what a word of no group counts beside a group; and a group of a word that the catalogue has
BESIDE = 0.1  # a word that only the answer itself has, where questions of others have it
USUAL = 0.3  # share of the questions of an answer from which on a group belongs to it
HEARSAY = 0.7  # what a group counts that only answers have, no question
POINTED, AHEAD = 0.85, 0.3  # of what a group of one answer counts: what points to an answer, and how much further than to any other


@dataclass(frozen=True)
class Evidence:
    """How many words and groups of a text an answer has; of the others, how many other answers have, how many only items or groups (met), how many nobody."""

    own: float
    other: int
    met: int
    strange: int


class Pointing:
    """What the words of known questions and answers point to."""

    def __init__(self, words: AnswerWords) -> None:
        self._words = words

    def pointed(self, text: str, catalogue: Collection[str] = ()) -> int | None:
        """The answer that the groups of a text point to, whatever else it says; None where they point to none, to several, or elsewhere.

            e(a) = sum over groups and words t of c(t) min(1, 2 max(n(t, a), 1) / questions of a) share(t, a) ln(1 + A / answers with t) / ln(1 + A)

        with c(t) = 1 for groups, SINGLE for other words and for words of the catalogue, HEARSAY times that where no question has t. Groups that no answer
        has ("size", where nothing is said of sizes), or few of its questions, count as another answer.

        Args:
            catalogue: words of the text that items have: a shop that sells videos hears the word often.
        """
        text = self._words.corrected(text, catalogue)
        had = stems(catalogue)
        found, elsewhere = np.zeros(self._words.answers, dtype=np.float32), 0.0
        for word, group in self._words.terms(text):
            held = self._words.held((word, group))
            counts = SINGLE if group < 0 or word in had else 1.0
            most = max(held.values(), default=1.0)
            if group >= 0 and most >= 1 and self._usual(held) < USUAL:
                elsewhere += counts
            if held:
                counts *= 1.0 if most >= 1 else HEARSAY
                held = {answer: count if count >= 1 or most < 1 else BESIDE for answer, count in held.items()}
                idf = np.log1p(self._words.answers * max(held.values()) / sum(held.values())) / np.log1p(self._words.answers)
                usual = np.minimum(
                    2 * np.maximum([held.get(answer, 0.0) for answer in range(self._words.answers)], 1) / self._words.asked, 1
                )
                found += counts * idf * usual * self._words.shares_of(held)
        best = int(found.argmax())
        others = max(float(np.delete(found, best).max(initial=0)), elsewhere)
        return best if found[best] >= POINTED and found[best] - others >= AHEAD else None

    def elsewhere(self, text: str) -> bool:
        """Whether a group of the text is in no known question, or in few of any answer's: it asks for something else."""
        terms = self._words.terms(self._words.corrected(text, ()))
        return any(self._usual(self._words.held(term)) < USUAL for term in terms if term[1] >= 0)

    def evidence(self, text: str, answer: int, catalogue: Collection[str], silent: Collection[str] = ()) -> Evidence:
        """What the words of a text say of an answer; words of one group count once, a word that only the answer itself has half.

        silent: words that only ask; of scripts without spaces characters are counted beside what the answer has, not pairs of them.
        """
        text, had = self._words.corrected(text, catalogue), stems(catalogue)
        own = dict[str | int, float]()
        other, met, strange = set[str | int](), set[str | int](), set[str | int]()
        within = self._words.within(text)
        for word, group in self._words.terms(text):
            held, key = self._words.held((word, group)), word if group < 0 else group
            if answer in held:
                own[key] = min(held[answer], 1.0)
            elif group >= 0 or not (word in within or word in silent or (len(word) > 1 and is_spaceless(word[0]))):
                (other if held else met if word in had or self._words.met(word) else strange).add(key)
        if any(isinstance(key, int) for key in own):
            own = {key: share for key, share in own.items() if key not in within}
        return Evidence(sum(own.values()), len(other - own.keys()), len(met), len(strange))

    def _usual(self, held: Held) -> float:
        """The largest share of the questions of an answer that have it; 0 where only answers do."""
        return max((count / self._words.asked[answer] for answer, count in held.items() if count >= 1), default=0.0)
