"""What the words of a text say of which known answer is asked for: by how few answers have a word, in their questions or in themselves.

Beside nearest questions and the regression on n-grams (`faq.py`), this reads whole words by what their forms have in common, and the answers, which often
say what no known question does. Words that much the same is asked by ("receipt", "invoice") find each other too (`word_groups.py`).

Dimension keys: Q known questions, A answers, T texts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from m6rec.serving.conversation.word_groups import Term, WordGroups, stems
from m6rec.text.phrases import said
from m6rec.text.words import singular, stem

DECIDED = 0.75  # of what has a word, from which one answer is meant by it alone
OF_ANSWER = 0.5  # a word of the answer itself counts as so many of its questions
OF_SAME = 0.95  # a word that means much the same counts as so much of the word itself

Held = dict[int, float]  # answer -> how many of its questions have it


class AnswerWords:
    """score(text, a) = sum over telling words w of idf(w) share(w, a) / sum of idf(w), share(w, a) = sqrt(n(w, a) / n(w)), idf(w) = ln(1 + A / answers with w).

    Unknown words have the highest idf, so a text that is mostly about something else scores low. A word that has others which mean much the same has
    share max(share(w, a), OF_SAME share(group, a)), its group counted as if it were one word, and where it is unknown itself the idf of its group.
    """

    def __init__(
        self,
        questions: Sequence[str],
        codes: np.ndarray,
        answers: Sequence[str],
        plain: Collection[str],
        same: Iterable[Sequence[str]] = (),
    ) -> None:
        """codes: int64 (Q,), the answer of each question.  plain: words that say nothing by themselves.  same: groups of words, or of several words."""
        self.answers = len(answers)
        self.asked = np.maximum(np.bincount(codes, minlength=len(answers)), 1)  # A: questions of each
        self._of = WordGroups(same, plain)
        texts = (*questions, *answers, *(one for group in self._of.same for one in group))
        self._known = {stem(singular(word)) for text in texts for word in said(text).words}
        self._words: dict[str, Held] = {}
        self._groups: dict[int, Held] = {}
        for text, code in zip(questions, codes.tolist(), strict=True):
            for held in self._counts(text):
                held[code] = held.get(code, 0.0) + 1.0
        for code, text in enumerate(answers):
            for held in self._counts(text):
                held[code] = max(held.get(code, 0.0), OF_ANSWER)

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        """float32 (T, A), from 0 to 1."""
        found = np.zeros((len(texts), self.answers), dtype=np.float32)
        for row, text in enumerate(texts):
            total = 0.0
            for word, group in self.terms(text):
                mine, alike = self._words.get(word, {}), self._groups.get(group, {})
                idf = float(np.log1p(self.answers / max(len(mine or alike), 1)))
                total += idf
                found[row] += idf * np.maximum(self.shares_of(mine), OF_SAME * self.shares_of(alike))
            found[row] /= max(total, 1e-9)
        return found

    def beside(self, text: str, catalogue: Collection[str]) -> bool:
        """Whether a word of the text is one of the catalogue and none of the known questions and answers."""
        had = stems(catalogue)
        return any(word in had and group < 0 and word not in self._words for word, group in self.terms(text))

    def shares(self, text: str, answer: int, catalogue: Collection[str]) -> bool:
        """Whether the answer or a question of it has a word of the text, or another of its group, that is none of the catalogue."""
        had = stems(catalogue)
        own = [(word, group) for word, group in self.terms(text) if word not in had]
        return any(answer in self._words.get(word, {}) or answer in self._groups.get(group, {}) for word, group in own)

    def undecided(self, text: str) -> bool:
        """Whether the one word that tells anything is of several answers, and of none far more than of the others: "where is my parcel"."""
        telling = self._of.telling(text)
        if len(telling) != 1 or telling[0] not in self._words:
            return False
        held = self._words[telling[0]]
        return max(held.values()) < DECIDED * sum(held.values())

    def said(self, text: str) -> frozenset[str | int]:
        """Its telling words, and the groups of those that have one."""
        terms = self.terms(text)
        return frozenset(word for word, _ in terms if word) | {group for _, group in terms if group >= 0}

    def terms(self, text: str) -> list[Term]:
        """Every telling word with its group, and the groups that several words say; see `WordGroups.terms`."""
        return self._of.terms(text, self._words)

    def met(self, stem: str) -> bool:
        """Whether a word of this stem stands in a known question, an answer or a group."""
        return stem in self._known

    def within(self, text: str) -> frozenset[str]:
        """The telling words that stand in sayings of groups."""
        return self._of.within(text)

    def held(self, term: Term) -> Held:
        """How many questions of each answer have a group, or a word of none."""
        word, group = term
        return self._words.get(word, {}) if group < 0 else self._groups.get(group, {})

    def corrected(self, text: str, catalogue: Collection[str]) -> str:
        """The text with mistyped words of groups put right; see `WordGroups.corrected`."""
        return self._of.corrected(text, self._known, catalogue)

    def shares_of(self, held: Held) -> np.ndarray:
        """float32 (A,)."""
        shares = np.zeros(self.answers, dtype=np.float32)
        shares[list(held)] = list(held.values())
        return np.sqrt(shares / max(sum(held.values()), 1e-9))

    def _counts(self, text: str) -> list[Held]:
        """The counts of every word of a text and of every group in it, each once; what is new begins empty."""
        found = [self._words.setdefault(word, {}) for word in self._of.telling(text)]
        terms = self.terms(text)
        return found + [self._groups.setdefault(group, {}) for group in dict.fromkeys(group for _, group in terms) if group >= 0]
