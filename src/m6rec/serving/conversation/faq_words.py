"""What the words of a text say of which known answer is asked for: by how few answers have a word, in their questions or in themselves.

Beside nearest questions and the regression on n-grams (`faq.py`), this reads whole words, a few letters of their beginnings at most, so "downloading"
finds "download", and it reads the answers, which often say what no known question does.

Dimension keys: Q known questions, A answers, T texts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from m6rec.text.words import singular, words

STEM = 5  # letters of a longer word that are compared
DECIDED = 0.75  # of what has a word, from which one answer is meant by it alone
OF_ANSWER = 0.5  # a word of the answer itself counts as so many of its questions


class AnswerWords:
    """score(text, a) = sum over telling words w of idf(w) sqrt(n(w, a) / n(w)) / sum of idf(w), idf(w) = ln(1 + A / answers with w); unknown words have the
    highest idf, so a text that is mostly about something else scores low."""

    def __init__(self, questions: Sequence[str], codes: np.ndarray, answers: Sequence[str], plain: Collection[str]) -> None:
        """codes: int64 (Q,), the answer of each question.  plain: words that say nothing by themselves."""
        self.plain, self.answers = frozenset(plain), len(answers)
        counts: dict[str, dict[int, float]] = {}
        for text, code in zip(questions, codes.tolist(), strict=True):
            for word in self._telling(text):
                held = counts.setdefault(word, {})
                held[code] = held.get(code, 0.0) + 1.0
        for code, text in enumerate(answers):
            for word in self._telling(text):
                held = counts.setdefault(word, {})
                held[code] = max(held.get(code, 0.0), OF_ANSWER)
        self._unknown = float(np.log1p(self.answers))
        self._weights = {word: (float(np.log1p(self.answers / len(held))), held, sum(held.values())) for word, held in counts.items()}

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        """float32 (T, A), from 0 to 1."""
        found = np.zeros((len(texts), self.answers), dtype=np.float32)
        for row, text in enumerate(texts):
            total = 0.0
            for word in self._telling(text):
                idf, held, count = self._weights.get(word, (self._unknown, {}, 1.0))
                total += idf
                for code, number in held.items():
                    found[row, code] += idf * (number / count) ** 0.5
            found[row] /= max(total, 1e-9)
        return found

    def undecided(self, text: str) -> bool:
        """Whether the one word that tells anything is of several answers, and of none far more than of the others: "where is my parcel"."""
        telling = self._telling(text)
        if len(telling) != 1 or telling[0] not in self._weights:
            return False
        _, held, count = self._weights[telling[0]]
        return max(held.values()) < DECIDED * count

    def _telling(self, text: str) -> list[str]:
        said = [singular(word) for word in words(text) if word not in self.plain and singular(word) not in self.plain]
        return list(dict.fromkeys(word[:STEM] if len(word) > STEM and word.isascii() else word for word in said))
