"""Known questions by what the model reads in them: believed where it helps, and only there; leave-one-out is the regression on the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from m6rec.serving.conversation.faq import Faq
from m6rec.serving.conversation.faq_reading import OF_ANSWER, ReadAnswers

SUBJECTS = {
    "ship": ["do you ship abroad", "can I order from overseas", "is posting to other countries possible", "I live on another continent"],
    "return": ["how do I send it back", "I changed my mind", "may I return an item", "it does not suit me"],
    "offline": ["watch without internet", "can I download", "videos on the plane", "is there a way with no connection"],
}
ANSWERS = {"ship": "We deliver to 27 countries.", "return": "Within 30 days.", "offline": "Downloaded videos play anywhere."}


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def meant(texts: Sequence[str]) -> np.ndarray:
    """States of a reader that knows what is meant: the subject, and a little of each text's own."""
    said = {text: subject for subject, asked in SUBJECTS.items() for text in [*asked, ANSWERS[subject]]}
    return np.stack([_row(list(SUBJECTS).index(said.get(text, "ship")), text) for text in texts])


def drawn(texts: Sequence[str]) -> np.ndarray:
    """States of a reader that knows nothing."""
    return np.stack([np.random.default_rng(list(text.encode())).normal(size=8) for text in texts]).astype(np.float32)


def _row(subject: int, text: str) -> np.ndarray:
    row = drawn([text])[0] * 0.3
    row[subject] += 1.0
    return row


def known(left_out: int) -> pl.DataFrame:
    """All questions but one of each answer."""
    rows = [(text, ANSWERS[subject]) for subject, asked in SUBJECTS.items() for number, text in enumerate(asked) if number != left_out]
    return pl.DataFrame({"question": [text for text, _ in rows], "answer": [answer for _, answer in rows], "lang": ["en"] * len(rows)})


def test_leaving_a_question_out_is_fitting_without_it() -> None:
    random = np.random.default_rng(0)
    questions, answers, codes = unit(random.normal(size=(9, 5))), unit(random.normal(size=(3, 5))), np.arange(9) % 3
    found = ReadAnswers(questions, codes, answers).left_out(np.arange(9))
    for row in range(9):
        rest = np.arange(9) != row
        wanted = np.eye(3)[codes] - 1 / 3
        inverse = np.linalg.inv(questions[rest].T @ questions[rest] + 0.3 * np.eye(5))
        told = questions[row] @ inverse @ questions[rest].T @ wanted[rest] + OF_ANSWER * answers @ questions[row]
        np.testing.assert_allclose(found[row], told, atol=1e-5)


def test_a_reader_that_understands_finds_questions_that_share_no_word() -> None:
    for left_out in range(4):
        asked = [texts[left_out] for texts in SUBJECTS.values()]
        right = [
            (faq.answers[faq.best(asked)[0]] == list(ANSWERS.values())).sum() for faq in (Faq(known(left_out), meant), Faq(known(left_out)))
        ]
        assert right[0] == 3
        assert right[1] < 3


def test_a_reader_that_understands_nothing_is_not_believed() -> None:
    """48 questions, the subject in half of them; states are drawn."""
    texts = [
        f"{'about' if number % 2 else ('parcels', 'returns', 'invoices')[number % 3]} w{number} v{number * 7 % 48}" for number in range(48)
    ]
    frame = pl.DataFrame({"question": texts, "answer": [f"answer {number % 3}" for number in range(48)], "lang": ["en"] * 48})
    with_it, without = Faq(frame, states=drawn), Faq(frame)
    asked = [f"{word} w{number}" for word in ("parcels", "returns", "about") for number in range(48)]
    assert with_it.best(asked)[0].tolist() == without.best(asked)[0].tolist()
