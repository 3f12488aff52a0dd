"""What the model reads in a text of which known answer is asked for: ridge regression of the answers on text states, and the answers' own texts.

    score(x, a) = x W_a + OF_ANSWER cos(x, text of a),   W = (X' X + RIDGE)^-1 X' Y,   columns of Y centred, states from their centre and of length 1

A sentence encoder finds "can I order from abroad" near "do you ship to other countries", which share no word; a tiny model of the user's own does not.
Whether it is believed is decided on the known questions themselves: each is asked of the others, in closed form (leave-one-out of a ridge regression).

Dimension keys: Q known questions, A answers, T texts, L width of a text state.
"""

from __future__ import annotations

import numpy as np

RIDGE = 0.3
OF_ANSWER = 0.25
SURE = 2.0  # standard errors by which more questions must come right than go wrong (sign test), and than chance would have


class ReadAnswers:
    """What text states tell of the answers."""

    def __init__(self, questions: np.ndarray, codes: np.ndarray, answers: np.ndarray) -> None:
        """questions, answers: unit rows float32 (Q, L), (A, L).  codes: int64 (Q,), the answer of each question."""
        self._answers = answers
        wanted = np.eye(len(answers), dtype=np.float32)[codes] - 1.0 / len(answers)
        inverse = np.linalg.inv(questions.T @ questions + RIDGE * np.eye(questions.shape[1], dtype=np.float32))
        self._regression = (inverse @ (questions.T @ wanted)).astype(np.float32)
        self._questions, self._wanted, self._inverse = questions, wanted, inverse

    def scores(self, states: np.ndarray) -> np.ndarray:
        """float32 (T, A) of unit rows (T, L)."""
        return np.asarray(states @ self._regression + OF_ANSWER * (states @ self._answers.T), dtype=np.float32)

    def left_out(self, rows: np.ndarray) -> np.ndarray:
        """float32 (R, A): the scores of the known questions `rows`, each by the regression on the others: (f - h y) / (1 - h), h = x' (X' X + RIDGE)^-1 x."""
        states = self._questions[rows]
        own = np.minimum((states @ self._inverse * states).sum(axis=1), 1 - 1e-6)[:, None]
        regression = (states @ self._regression - own * self._wanted[rows]) / (1 - own)
        return np.asarray(regression + OF_ANSWER * (states @ self._answers.T), dtype=np.float32)

    def helps(self, rows: np.ndarray, codes: np.ndarray, others: np.ndarray) -> bool:
        """Whether it is worth believing beside `others`, float32 (R, A), what else is said of the known questions `rows` (R,) of the answers `codes` (R,)."""
        mine = self.left_out(rows)
        before, after = others.argmax(axis=1) == codes, (others + mine).argmax(axis=1) == codes
        righted, spoilt = int((after & ~before).sum()), int((before & ~after).sum())
        chance = 1.0 / len(self._answers)
        alone = int((mine.argmax(axis=1) == codes).sum())
        by_chance = chance * len(rows) + SURE * (chance * (1 - chance) * len(rows)) ** 0.5
        return righted - spoilt > SURE * (righted + spoilt) ** 0.5 and alone > by_chance
