"""Decoding: against brute force, batch against single, streams against whole texts, cuts at words and sentences."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from babbler import BYTES, CLOSES, END, LETTERS, OPENS, WORDS, Babbler
from m6rec.base.errors import ConfigError, UsageError
from m6rec.language_model.choosing import best_first
from m6rec.language_model.config import Decoding
from m6rec.language_model.decoding import Decoded, decode, stream
from m6rec.language_model.masks import Length
from m6rec.language_model.spelling import Spelling, ends_sentence, last_sentence, last_word, whole_bytes
from m6rec.language_model.tries import Names, NameTrie


def tokens_of(texts: list[list[Decoded]]) -> list[list[list[int]]]:
    return [[text.tokens.tolist() for text in row] for row in texts]


def test_greedy_takes_the_likeliest_token_of_every_step() -> None:
    speaker = Babbler(len(LETTERS), seed=3)
    text = decode(speaker, Decoding(most=6), spelling=LETTERS)[0][0]
    so_far = (0,)
    for token in text.tokens.tolist():
        logits = speaker.after(so_far).clone()
        logits[[OPENS, CLOSES]] = -torch.inf
        if len(so_far) == 1:
            logits[END] = -torch.inf
        assert token == int(logits.argmax())
        so_far = (*so_far, token)


def test_log_probability_is_that_of_the_model_with_the_end() -> None:
    speaker = Babbler(len(LETTERS), seed=1)
    texts = [row[0] for row in decode(speaker, Decoding(method="nucleus", most=200), spelling=LETTERS, rows=9)]
    row, text = next((row, text) for row, text in enumerate(texts) if text.finish == "end")
    so_far, total = (row,), 0.0
    for token in [*text.tokens.tolist(), END]:
        total += float(torch.log_softmax(speaker.after(so_far).double(), 0)[token])
        so_far = (*so_far, token)
    assert text.log_probability == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_what_brute_force_finds(seed: int) -> None:
    small = Spelling([b"", b"a", b"b", b" "], END)
    speaker = Babbler(len(small), seed=seed)
    most = 3
    every: dict[tuple[int, ...], float] = {}
    for length in range(1, most):
        for tokens in itertools.product((1, 2, 3), repeat=length):
            so_far, total = (0,), 0.0
            for token in (*tokens, END):
                total += float(torch.log_softmax(speaker.after(so_far).double(), 0)[token])
                so_far = (*so_far, token)
            every[tokens] = total
    best = sorted(every, key=lambda tokens: -every[tokens])
    decoding = Decoding(method="beam", beams=40, best=3, length_penalty=0, most=most)
    found = decode(speaker, decoding, spelling=small)[0]
    assert [tuple(text.tokens.tolist()) for text in found] == best[:3]
    assert [text.log_probability for text in found] == pytest.approx([every[tokens] for tokens in best[:3]], abs=1e-4)


SETTINGS = [
    Decoding(most=12),
    Decoding(method="beam", beams=3, best=2, most=12),
    Decoding(method="nucleus", most=12, best=2, seed=7),
    Decoding(method="nucleus", most=12, top_p=1.0, temperature=2.0, repetition_penalty=1.3, no_repeat_ngram=2),
]


@pytest.mark.parametrize("decoding", SETTINGS, ids=lambda decoding: decoding.method)
def test_a_row_is_written_alone_as_in_a_batch(decoding: Decoding) -> None:
    class OneRow(Babbler):
        row = 0

        def start(self, rows: int) -> tuple[Tensor, Any]:
            state = np.array([self.row + 1])
            return torch.from_numpy(self.said[state]), state

    whole = decode(Babbler(len(LETTERS)), decoding, spelling=LETTERS, rows=1)
    batch = decode(Babbler(len(LETTERS)), decoding, spelling=LETTERS, rows=5)
    assert tokens_of(whole)[0] == tokens_of(batch)[0]
    if decoding.method != "nucleus":  # a draw depends on the number of the row
        for row in range(5):
            alone = OneRow(len(LETTERS))
            alone.row = row
            assert tokens_of(decode(alone, decoding, spelling=LETTERS))[0] == tokens_of(batch)[row]


def test_the_same_seed_draws_the_same_texts_and_another_one_others() -> None:
    def drawn(seed: int) -> list[list[list[int]]]:
        return tokens_of(decode(Babbler(len(LETTERS)), Decoding(method="nucleus", most=20, best=3, seed=seed), spelling=LETTERS, rows=2))

    assert drawn(1) == drawn(1) != drawn(2)
    assert len({tuple(text) for text in drawn(1)[0]}) > 1


def test_nucleus_draws_by_probability_and_only_from_the_nucleus() -> None:
    flat = Spelling([b"", b"a", b"b", b"c", b"d"], END)
    shares = np.array([0.0, 0.5, 0.3, 0.15, 0.05])

    def say(logits: np.ndarray) -> None:
        with np.errstate(divide="ignore"):
            logits[:] = np.log(shares)

    drawn = decode(Babbler(5, change=say), Decoding(method="nucleus", top_p=0.75, most=1), spelling=flat, rows=1500)
    # One token at most: the cut leaves no whole word, so the tokens are counted where they were chosen, by their probability.
    counts = np.bincount([round(float(np.exp(row[0].log_probability)) * 100) for row in drawn], minlength=51)
    assert counts[50] + counts[30] == 1500
    assert counts[50] / 1500 == pytest.approx(0.5 / 0.8, abs=0.05)


def test_no_run_of_tokens_is_repeated() -> None:
    text = decode(Babbler(len(LETTERS)), Decoding(method="nucleus", most=60, no_repeat_ngram=2), [Length(60, 60)], spelling=LETTERS)[0][0]
    pairs = list(itertools.pairwise(text.tokens.tolist()))
    assert len(pairs) > 20
    assert len(pairs) == len(set(pairs))


def test_a_repetition_penalty_makes_repeats_rarer() -> None:
    def different(penalty: float) -> int:
        texts = decode(Babbler(len(LETTERS)), Decoding(most=10, least=10, repetition_penalty=penalty), spelling=LETTERS, rows=30)
        return sum(len(set(row[0].tokens.tolist())) for row in texts)

    assert different(3.0) > different(1.0)


def test_every_text_is_readable() -> None:
    """A model that babbles bytes still writes Unicode: no half characters, no control characters."""
    for text in (row[0] for row in decode(Babbler(len(BYTES)), Decoding(method="nucleus", most=40), spelling=BYTES, rows=40)):
        assert "\ufffd" not in text.text
        assert all(letter in "\n\u200c\u200d" or letter.isprintable() or letter.isspace() for letter in text.text)


@pytest.mark.parametrize("method", ["greedy", "nucleus"])
@pytest.mark.parametrize("seed", range(6))
def test_a_stream_joined_is_the_text(method: str, seed: int) -> None:
    for spelling in (LETTERS, WORDS, BYTES):
        decoding = Decoding(method=method, most=30, seed=seed)
        text = decode(Babbler(len(spelling), seed=seed), decoding, spelling=spelling)[0][0]
        pieces = list(stream(Babbler(len(spelling), seed=seed), decoding, spelling=spelling))
        joined = "".join(piece.text for piece in pieces)
        assert [piece.finish for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
        assert pieces[-1].finish == text.finish
        assert joined == text.text if text.finish == "end" else joined.startswith(text.text)
        assert "\ufffd" not in joined


def test_a_stopped_text_ends_at_its_sentence_or_word() -> None:
    sentence, word = [], 0
    for row in decode(Babbler(len(WORDS)), Decoding(method="nucleus", most=16, least=16), spelling=WORDS, rows=60):
        text = row[0]
        assert text.finish == "length"
        assert len(text.tokens) <= 16
        whole = WORDS.text(text.tokens)
        assert whole.startswith(text.text)
        sentence.append(ends_sentence(text.text))
        word += bool(text.text)
    assert word == 60
    assert any(sentence)


def test_from_three_quarters_on_a_text_ends_with_its_sentence() -> None:
    def talk(logits: np.ndarray) -> None:
        logits[END] = -20.0  # a model that never ends by itself

    texts = [row[0] for row in decode(Babbler(len(WORDS), change=talk), Decoding(method="nucleus", most=40), spelling=WORDS, rows=40)]
    ended = [text for text in texts if text.finish == "end"]
    assert len(ended) > 20
    assert all(ends_sentence(text.text) and len(text.tokens) >= 30 for text in ended)


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        ("Good boots.", True),
        ("It costs 3.", False),
        ("Mr.", False),
        ("很好。", True),
        ('"Really good!"', True),
        ("warm", False),
        ("等等…", True),
    ],
)
def test_sentence_ends(text: str, ended: bool) -> None:
    assert ends_sentence(text) is ended


def test_cuts() -> None:
    assert last_sentence("Warm boots. For long") == 11
    assert last_sentence("Warm. For very long walks in the snow and the co") == -1
    assert last_word("For long wal") == len("For long")
    assert last_word("长途步行") == 4
    assert last_word("word") == 0
    assert whole_bytes("é鞋".encode()[:-1]) == 2


def test_best_first_is_a_full_order() -> None:
    generator = np.random.default_rng(0)
    for size in (1, 5, 64, 65, 500):
        scores = generator.integers(0, 20, size).astype(np.float32)
        scores[generator.random(size) < 0.2] = -np.inf
        expected = [place for place in np.argsort(-scores, kind="stable").tolist() if np.isfinite(scores[place])]
        assert list(best_first(scores)) == expected


def test_settings_that_make_no_sense_are_one_line() -> None:
    for values, part in [
        ({"least": 9, "most": 5}, "least=9"),
        ({"best": 3}, "greedy"),
        ({"method": "beam", "beams": 2, "best": 3}, "beams=2"),
        ({"top_p": 0}, "top_p"),
    ]:
        with pytest.raises(ConfigError, match=part) as error:
            Decoding.build(values)
        assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="cannot be streamed"):
        stream(Babbler(4), Decoding(method="beam"), spelling=LETTERS)


def test_a_row_that_nothing_may_follow_stops_without_half_a_name() -> None:
    def open_a_name(logits: np.ndarray) -> None:
        logits[OPENS] = 50.0

    class Dead:
        """Lets a name begin and then nothing."""

        def allowed(self, prefix: Any) -> np.ndarray | None:
            return np.zeros(0, np.int64) if len(prefix.named or ()) == 1 else None

        def accepts(self, prefix: Any, token: int) -> bool:
            return True

    names = Names([NameTrie([[3, 4]])])
    for method in ("greedy", "beam", "nucleus"):
        text = decode(Babbler(len(LETTERS), change=open_a_name), Decoding(method=method), [names, Dead()], spelling=LETTERS)[0][0]
        assert (text.finish, text.text, text.names) == ("stuck", "", ())
