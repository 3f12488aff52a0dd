"""Known questions: the one that a text asks, if any, by n-grams and by what the model reads of it; the threshold is calibrated.

A question is compared with every known one: the cosine of weighted n-grams, and where the model reads words well enough to help, the cosine of its
text states too. An answer's score is that of its nearest question, sharpened by the others of the same answer. Below the threshold nothing is known. Which
answer is meant is told by several things together: what the n-grams tell of the answers (ridge regression), the nearest questions, the words
(`faq_words.py`), and what the model reads in them, as far as that helps (`faq_reading.py`).

Dimension keys: Q known questions, A answers, T texts, L width of a text state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from m6rec.data.columns import Columns
from m6rec.data.dialogues import ASSISTANT, ROLE, USER, conversations, dialogue_parts
from m6rec.data.side_tables import faq_table
from m6rec.serving.conversation.faq_pointing import Evidence, Pointing
from m6rec.serving.conversation.faq_reading import ReadAnswers
from m6rec.serving.conversation.faq_words import AnswerWords
from m6rec.text.ngrams import NGrams
from m6rec.text.words import normalise

States = Callable[[Sequence[str]], np.ndarray]  # texts -> float32 (T, L), text states
SHARES = (0.0, 0.15, 0.3, 0.5)  # of the model's reading beside the n-grams: tried, and the best on the known questions kept
FIRST = 0.7  # of an answer's score by its nearest question; the rest by the mean of its three nearest
NEAREST = 3
UNKNOWN_QUANTILE = 0.98  # of how near different questions come to each other: where no answer has two questions to learn from
RIDGE, STEPS = 3.0, 15  # of the regression of answers on n-grams
CLOSE = 0.3  # answers whose scores are this near to the best are decided between by what the n-grams tell
LEAST, MOST = 0.25, 0.95
NEAR, WORDS = 0.25, 0.6  # beside what the n-grams tell, in the choice between answers; chosen on reworded questions
COVERED = 0.6  # of the telling words of a question, as `AnswerWords` weighs them, from which it is known
MOST_ASKED = 1_000  # known questions that are asked of the others to calibrate


@dataclass(frozen=True)
class Known:
    """A known question that a text asks: its answer, how near it is, and how much of what the text says the answer covers, from 0 to 1."""

    question: str
    answer: str
    score: float
    covered: float = 0.0


class Faq:
    """Known questions with their answers.

    threshold: nearness from which a question counts as known.  share: of the model's reading in the nearness.
    """

    def __init__(
        self,
        frame: pl.DataFrame,
        states: States | None = None,
        precision: float = 0.9,
        plain: Collection[str] = (),
        same: Iterable[Sequence[str]] = (),
    ) -> None:
        """frame: question, answer, lang, at least one row.  precision: share of right answers that the threshold shall reach.

        plain: words that say nothing by themselves; a known question shares at least one other word with what is asked, where it has any.
        same: groups of words that much the same is asked by.
        """
        self.questions = frame[Columns.QUESTION].to_list()
        self.answers, codes = np.unique(frame[Columns.ANSWER].to_numpy(), return_inverse=True)
        self.codes: np.ndarray = codes.astype(np.int64)  # Q: answer of each question
        self._words = AnswerWords(self.questions, self.codes, [str(one) for one in self.answers], plain, same)
        self._pointing = Pointing(self._words)
        self._contents = [self._words.said(question) for question in self.questions]
        self._states = states
        self._ngrams = NGrams.fit(self.questions, min_count=1)
        self._rows = self._ngram_rows(self.questions)
        self._centre, self._read = None, None
        self._reading: ReadAnswers | None = None
        if states is not None:
            read = states(self.questions)
            self._centre = read.mean(axis=0) if len(read) > 1 else np.zeros(read.shape[1], dtype=np.float32)
            self._read = _unit_rows(read - self._centre)
            self._reading = ReadAnswers(self._read, self.codes, self._states_of([str(one) for one in self.answers]))
        self._telling = _telling(self._ngrams.matrix(self.questions), self.codes, len(self.answers))
        self.share, self.threshold = self._calibrated(precision)

    @classmethod
    def read(
        cls,
        path: Path,
        states: States | None = None,
        precision: float = 0.9,
        plain: Collection[str] = (),
        same: Iterable[Sequence[str]] = (),
    ) -> Faq:
        """A file with columns question and answer. Raises DataError."""
        return cls(faq_table(path)[0], states, precision, plain, same)

    def find(self, text: str, *, sure: bool = False, wide: bool = False, catalogue: Collection[str] = ()) -> Known | None:
        """The known question that `text` asks; None where it is none of them.

        Args:
            sure: whether it is known to be one of them, so that being nearest to one is enough.
            wide: whether a text whose words one answer covers is one too, far as it may be from every known question.
            catalogue: words of the text that items have. Beside them the answer has another word of the text, or the question is hit squarely.
        """
        if not text.strip():
            return None
        nearness = self._nearness([text], self.share)[0]
        content = self._words.said(text)
        if content and not sure:
            nearness = np.where([not own or not own.isdisjoint(content) for own in self._contents], nearness, -1.0)
        scores, covered = self._scores(nearness[None], self.codes)[0], self._words.scores([text])[0]
        enough = scores.max() >= self.threshold
        if not enough and not (wide and covered.max() >= COVERED):
            return None
        near = scores >= scores.max() - CLOSE
        best = int(np.where(near | (covered >= COVERED), self._fused([text], scores[None], covered[None])[0], -np.inf).argmax())
        if sure and scores[best] < self.threshold and covered[best] < COVERED:
            return None  # what fits best is near to no question of its own
        squarely = scores[best] >= (1 + self.threshold) / 2
        if not squarely and (not content or self._words.undecided(text) or not self._words.shares(text, best, catalogue)):
            return None
        mine = np.flatnonzero(self.codes == best)
        question = int(mine[nearness[mine].argmax()])
        return Known(self.questions[question], str(self.answers[best]), float(scores[best]), float(covered[best]))

    def pointed(self, text: str, catalogue: Collection[str] = ()) -> Known | None:
        """The known question whose answer the groups of words in `text` point to, whatever else it says; see `Pointing.pointed`."""
        answer = self._pointing.pointed(text, catalogue)
        if answer is None:
            return None
        mine = np.flatnonzero(self.codes == answer)
        nearness = self._nearness([text], self.share)[0, mine]
        covered = float(self._words.scores([text])[0, answer])
        return Known(self.questions[mine[int(nearness.argmax())]], str(self.answers[answer]), float(nearness.max()), covered)

    def elsewhere(self, text: str) -> bool:
        """Whether `text` asks for something that no known question is about, by the groups of its words."""
        return self._pointing.elsewhere(text)

    def evidence(self, text: str, known: Known, catalogue: Collection[str], silent: Collection[str] = ()) -> Evidence:
        """What the words of `text` say of the answer to a known question; see `Pointing.evidence`."""
        answer = int(np.searchsorted(self.answers, known.answer))
        return self._pointing.evidence(text, answer, catalogue, silent)

    def beside(self, text: str, catalogue: Collection[str]) -> bool:
        """Whether `text` says a word of the catalogue that no known question and no answer has."""
        return self._words.beside(text, catalogue)

    def best(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """For each text the answer that fits best, whatever the threshold: (codes int64 (T,) into `answers`, scores float32 (T,))."""
        found, scores = [], []
        for start in range(0, len(texts), 512):
            part = texts[start : start + 512]
            some = self._scores(self._nearness(part, self.share), self.codes)
            found.append(self._fused(part, some, self._words.scores(part)).argmax(axis=1))
            scores.append(some.max(axis=1))
        return np.concatenate(found), np.concatenate(scores)

    def _fused(self, texts: Sequence[str], near: np.ndarray, covered: np.ndarray) -> np.ndarray:
        """float32 (T, A): which answer is meant, by the n-grams, the nearest questions, the words and what the model reads."""
        found = self._told(texts) + NEAR * near + WORDS * covered
        if self._reading is not None:
            found += self._reading.scores(self._states_of(texts))
        return found

    def _told(self, texts: Sequence[str]) -> np.ndarray:
        """float32 (T, A): what the n-grams tell of each answer, where its questions are several; decides between answers whose questions are near."""
        return np.asarray(self._ngrams.matrix(texts) @ self._telling, dtype=np.float32)

    def _ngram_rows(self, texts: Sequence[str]) -> csr_array:
        """csr (T, F), unit rows."""
        matrix = self._ngrams.matrix(texts)
        norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
        return csr_array(matrix.multiply((1 / np.maximum(norms, 1e-9))[:, None]))

    def _nearness(self, texts: Sequence[str], share: float) -> np.ndarray:
        """float32 (T, Q)."""
        near = csr_array(self._ngram_rows(texts) @ self._rows.T).toarray().astype(np.float32)
        if share and self._read is not None:
            near = (1 - share) * near + share * np.maximum(self._states_of(texts) @ self._read.T, 0)
        return near

    def _states_of(self, texts: Sequence[str]) -> np.ndarray:
        """float32 (T, L): unit rows, from the centre of the known questions."""
        assert self._states is not None
        return _unit_rows(self._states(texts) - self._centre)

    def _scores(self, nearness: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """float32 (T, A): of every answer, from nearness (T, Q); -1 where an answer has no question among them."""
        scores = np.full((len(nearness), len(self.answers)), -1.0, dtype=np.float32)
        for answer in range(len(self.answers)):
            mine = nearness[:, codes == answer]
            if mine.shape[1]:
                top = np.sort(mine, axis=1)[:, ::-1][:, :NEAREST]
                scores[:, answer] = FIRST * top[:, 0] + (1 - FIRST) * top.mean(axis=1)
        return scores

    def _calibrated(self, precision: float) -> tuple[float, float]:
        """(share, threshold): by asking every known question of the others; settles whether the reading of the answers is believed, too.

        Right where the nearest other question has its answer; and unknown where the questions of its own answer are taken away.
        """
        best = (0.0, LEAST, -1.0)
        for share in SHARES if self._read is not None else (0.0,):
            asked, scores = self._asked_of_each_other(share)
            own, sisters = self.codes[asked], np.bincount(self.codes)[self.codes[asked]] > 1
            if self._reading is not None and not share and not self._reading.helps(asked[sisters], own[sisters], NEAR * scores[sisters]):
                self._reading = None
            with_own, right = scores.max(axis=1)[sisters], (scores.argmax(axis=1) == own)[sisters]
            scores[np.arange(len(asked)), own] = -1.0
            threshold = _threshold(with_own, right, scores.max(axis=1), precision)
            quality = float((right & (with_own >= threshold)).mean()) if len(with_own) else 0.0
            if quality > best[2] + 0.005:
                best = (share, threshold, quality)
        return best[0], best[1]

    def _asked_of_each_other(self, share: float) -> tuple[np.ndarray, np.ndarray]:
        """Known questions int64 (R,), drawn where there are many, and the scores float32 (R, A) that the others give them."""
        asked = np.arange(len(self.codes))
        if len(asked) > MOST_ASKED:
            asked = np.sort(np.random.default_rng(0).choice(len(asked), MOST_ASKED, replace=False))
        nearness = self._nearness([self.questions[row] for row in asked.tolist()], share)
        nearness[np.arange(len(asked)), asked] = -1.0
        return asked, self._scores(nearness, self.codes)


def _threshold(known: np.ndarray, right: np.ndarray, unknown: np.ndarray, precision: float) -> float:
    """The nearness from which a question counts as known.

    With sisters to learn from, the one that lets most right answers through, counted against the unknown ones let through, at the precision
    wanted where one reaches it; else just above how near different questions come to each other.
    """
    if not len(known):
        return float(np.clip(np.quantile(unknown, UNKNOWN_QUANTILE) if len(unknown) > 1 else 0.5, LEAST, MOST))
    best, most = LEAST, -1.0
    for threshold in np.unique(np.clip(np.concatenate([known, unknown]), LEAST, MOST)):
        through, wrong = float((right & (known >= threshold)).mean()), float((unknown >= threshold).mean())
        balance = (through + 1 - wrong) / 2
        reached = through / max(through + wrong, 1e-9) >= precision
        if balance + reached > most:
            best, most = float(threshold), balance + reached
    below = np.sort(np.concatenate([known, unknown, [0.0]]))
    under = below[np.searchsorted(below, best) - 1]
    return float((best + max(under, LEAST)) / 2 if under < best else best)


def _telling(rows: csr_array, codes: np.ndarray, answers: int) -> np.ndarray:
    """float32 (F, A): ridge regression of the answers on the n-grams, (X X' + ridge) a = Y, telling = X' a, by conjugate gradients; columns centred.

    What several questions of one answer share, and others have not, weighs more than what all people say.
    """
    wanted = np.eye(answers, dtype=np.float32)[codes] - 1.0 / answers
    back = csr_array(rows.T)
    found, left, step = np.zeros_like(wanted), wanted.copy(), wanted.copy()
    size = (left * left).sum(axis=0)
    enough = 1e-4 * size.max()
    for _ in range(STEPS):
        if size.max() <= enough:
            break
        moved = rows @ (back @ step) + RIDGE * step
        length = size / np.maximum((step * moved).sum(axis=0), 1e-12)
        found += length * step
        left -= length * moved
        smaller = (left * left).sum(axis=0)
        step = left + (smaller / np.maximum(size, 1e-12)) * step
        size = smaller
    return np.asarray(back @ found, dtype=np.float32)


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)
    return found


def with_asked(faq: pl.DataFrame, dialogues: pl.DataFrame) -> pl.DataFrame:
    """The known questions, and how people asked them: what was said right before an assistant of a training dialogue gave one of the answers."""
    answers = {normalise(answer): answer for answer in faq[Columns.ANSWER].to_list()}
    rows: dict[tuple[str, str], None] = {}
    part = dialogue_parts(dialogues) == 0
    for _, messages in conversations(dialogues.filter(pl.Series(part))):
        for before, after in pairwise(messages):
            answer = answers.get(normalise(after[Columns.TEXT]))
            if answer is not None and after[ROLE] == ASSISTANT and before[ROLE] == USER and before[Columns.TEXT].strip():
                rows[before[Columns.TEXT], answer] = None
    known = set(zip(faq[Columns.QUESTION].to_list(), faq[Columns.ANSWER].to_list(), strict=True))
    fresh = [
        {Columns.QUESTION: question, Columns.ANSWER: answer, Columns.LANG: None}
        for question, answer in rows
        if (question, answer) not in known
    ]
    return faq if not fresh else pl.concat([faq, pl.DataFrame(fresh, schema=faq.schema)])
