"""What the words of a text say of which known answer is asked for: by how few answers have a word, in their questions or in themselves.

Beside nearest questions and the regression on n-grams (`faq.py`), this reads whole words, a few letters of their beginnings at most, so "downloading"
finds "download", and it reads the answers, which often say what no known question does. Words that much the same is asked by (`same` of a file of
phrases: "receipt", "invoice") find each other too.

Dimension keys: Q known questions, A answers, T texts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from m6rec.text.phrases import said
from m6rec.text.words import singular, words

STEM = 5  # letters of a longer word that are compared
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
        self.plain, self.answers = frozenset(plain), len(answers)
        self._group: dict[str, int] = {}  # word -> its group
        self._sayings: list[
            tuple[str, frozenset[str], int]
        ] = []  # several words as they stand in `Said.joined`, the telling ones, and their group
        for number, group in enumerate(same):
            for one in group:
                found = self._telling(one)
                if len(said(one).words) == 1 and found:
                    self._group.setdefault(found[0], number)
                else:
                    self._sayings.append((said(one).joined, frozenset(found), number))
        self._words: dict[str, Held] = {}
        self._groups: dict[int, Held] = {}
        for text, code in zip(questions, codes.tolist(), strict=True):
            for held in self._held(text):
                held[code] = held.get(code, 0.0) + 1.0
        for code, text in enumerate(answers):
            for held in self._held(text):
                held[code] = max(held.get(code, 0.0), OF_ANSWER)

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        """float32 (T, A), from 0 to 1."""
        found = np.zeros((len(texts), self.answers), dtype=np.float32)
        for row, text in enumerate(texts):
            total = 0.0
            for word, group in self._terms(text):
                mine, alike = self._words.get(word, {}), self._groups.get(group, {})
                idf = float(np.log1p(self.answers / max(len(mine or alike), 1)))
                total += idf
                found[row] += idf * np.maximum(self._shares(mine), OF_SAME * self._shares(alike))
            found[row] /= max(total, 1e-9)
        return found

    def undecided(self, text: str) -> bool:
        """Whether the one word that tells anything is of several answers, and of none far more than of the others: "where is my parcel"."""
        telling = self._telling(text)
        if len(telling) != 1 or telling[0] not in self._words:
            return False
        held = self._words[telling[0]]
        return max(held.values()) < DECIDED * sum(held.values())

    def said(self, text: str) -> frozenset[str | int]:
        """Its telling words, and the groups of those that have one."""
        terms = self._terms(text)
        return frozenset(word for word, _ in terms if word) | {group for _, group in terms if group >= 0}

    def _shares(self, held: Held) -> np.ndarray:
        """float32 (A,)."""
        shares = np.zeros(self.answers, dtype=np.float32)
        shares[list(held)] = list(held.values())
        return np.sqrt(shares / max(sum(held.values()), 1e-9))

    def _held(self, text: str) -> list[Held]:
        """The counts of every word of a text and of every group in it, each once; what is new begins empty."""
        found = [self._words.setdefault(word, {}) for word in self._telling(text)]
        terms = self._terms(text)
        return found + [self._groups.setdefault(group, {}) for group in dict.fromkeys(group for _, group in terms) if group >= 0]

    def _terms(self, text: str) -> list[tuple[str, int]]:
        """Every telling word with its group (-1: none), and ("", group) for groups that several words say; these words count by themselves where known."""
        joined = said(text).joined
        spoken = [(inside, group) for saying, inside, group in self._sayings if saying in joined]
        inside = frozenset[str]().union(*(some for some, _ in spoken))
        terms = [
            (word, self._group.get(word, -1))
            for word in self._telling(text)
            if word not in inside or word in self._words or word in self._group
        ]
        have = {group for _, group in terms}
        return terms + [("", group) for group in dict.fromkeys(group for _, group in spoken) if group not in have]

    def _telling(self, text: str) -> list[str]:
        told = [singular(word) for word in words(text) if word not in self.plain and singular(word) not in self.plain]
        return list(dict.fromkeys(word[:STEM] if len(word) > STEM and word.isascii() else word for word in told))
