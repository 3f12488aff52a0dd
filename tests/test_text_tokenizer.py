"""The tokenizer: every text comes back exactly, special ids never come out of text, files are checked."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.errors import CheckpointError, ConfigError, DataError
from m6rec.text.config import SMALLEST_VOCABULARY, TextConfig
from m6rec.text.tokenizer import LONGEST_TOKEN, SPECIAL_TOKENS, Tokenizer, vocabulary_size

TEXTS = ["waterproof hiking boots", "hiking shoes <mask> <mask>", "防水登山靴", "防水登山鞋 <pad>", "red boots; price 60-80"] * 4


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, 400)


AWKWARD = [
    "", " ", "   ", "\n", "\t\r\n ", "\x00", "\x00\x01\x1f\x7f", "\ufeff", "\u200b\u200d", "\u2028a", "e\u0301", "\u0301", "\U0010ffff",
    "\U0001f469\u200d\U0001f467", "\U0001f1e8\U0001f1f3", "Ġhello", "Ċ", "ﬁ", "<mask>", "a<pad>b", "<reserved-3><eos>", "##ing", "</s>",
    "[MASK]", "\ufffd", "a  b   c ", " lead and trail ",
]  # fmt: skip


@pytest.mark.parametrize("text", AWKWARD + list(SPECIAL_TOKENS))
def test_awkward_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert (ids >= len(SPECIAL_TOKENS)).all()


pieces = st.lists(st.one_of(st.text(), st.sampled_from(AWKWARD), st.sampled_from(SPECIAL_TOKENS)), max_size=6).map("".join)


@given(pieces)
@settings(max_examples=300, deadline=None)
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert tokenizer.decode(ids) == text
    assert ((ids >= len(SPECIAL_TOKENS)) & (ids < tokenizer.size)).all()


@given(st.lists(pieces, min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_any_text_comes_back_from_a_tokenizer_trained_on_it(texts: list[str]) -> None:
    tokenizer = Tokenizer.train(texts * 2, 500)
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        assert tokenizer.decode(ids) == text
        assert (ids >= len(SPECIAL_TOKENS)).all()


@pytest.mark.parametrize("text", ["\ud800", "ok \udfff", "\ude00\ud83d"])
def test_surrogates_are_a_data_error(tokenizer: Tokenizer, text: str) -> None:
    with pytest.raises(DataError, match=r"lone surrogate U\+D"):
        tokenizer.encode(text)
    with pytest.raises(DataError, match="lone surrogate"):
        tokenizer.encode_batch(["fine", text])
    with pytest.raises(DataError, match="lone surrogate"):
        Tokenizer.train([text], 300)


def test_special_ids(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.mask_id, tokenizer.sep_id, *tokenizer.reserved_ids]
    assert ids == list(range(16))
    assert tokenizer.decode([1, *tokenizer.encode("boots"), 4, 2, 0]) == "boots"


def test_merges_are_learned(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode(" hiking")) == 1
    assert len(tokenizer.encode("登山")) < len("登山".encode())


def test_training_is_deterministic(tokenizer: Tokenizer) -> None:
    assert Tokenizer.train(iter(TEXTS), 400).fingerprint() == tokenizer.fingerprint()
    assert Tokenizer.train(TEXTS[1:], 300).fingerprint() != tokenizer.fingerprint()


def test_vocabulary_is_what_the_text_supports() -> None:
    assert Tokenizer.train([]).size == SMALLEST_VOCABULARY == len(SPECIAL_TOKENS) + 256
    assert Tokenizer.train(TEXTS, 300).size == 300
    assert Tokenizer.train(TEXTS).size < 600
    with pytest.raises(ConfigError, match="vocabulary is 100, at least 272"):
        Tokenizer.train(TEXTS, 100)
    with pytest.raises(ConfigError, match="'vocabulary' is 100"):
        TextConfig.build({"vocabulary": 100})


def test_vocabulary_size_grows_with_the_text() -> None:
    assert [vocabulary_size(10**n) for n in (0, 6, 7, 8, 12)] == [8192, 8192, 16384, 32768, 32768]


def test_limit_gives_the_first_tokens(tokenizer: Tokenizer) -> None:
    text = "waterproof hiking boots; 防水登山靴, " * 200
    for limit in (1, 5, 64):
        np.testing.assert_array_equal(tokenizer.encode(text, limit), tokenizer.encode(text)[:limit])
    assert len(tokenizer.encode("red", 64)) == len(tokenizer.encode("red"))


def test_a_megabyte_title_is_cut_fast(tokenizer: Tokenizer) -> None:
    texts = ["a" * 1_000_000, "boots " * 170_000, "防" * 350_000]
    start = time.process_time()
    encoded = tokenizer.encode_batch(texts, limit=64)
    assert time.process_time() - start < 0.5
    assert [len(ids) for ids in encoded] == [64, 64, 64]


def test_no_token_is_longer_than_the_cut_allows() -> None:
    tokenizer = Tokenizer.train(["a" * 100_000, "x" * 64] * 2)
    assert max(len(tokenizer.decode([i])) for i in range(tokenizer.size)) <= LONGEST_TOKEN


def test_batch_equals_single(tokenizer: Tokenizer) -> None:
    texts = [*AWKWARD, *TEXTS]
    for ids, text in zip(tokenizer.encode_batch(texts), texts, strict=True):
        np.testing.assert_array_equal(ids, tokenizer.encode(text))
    assert tokenizer.encode_batch([]) == []


def test_save_and_load(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    again = Tokenizer.load(path)
    assert again.fingerprint() == tokenizer.fingerprint()
    assert again.size == tokenizer.size
    for text in AWKWARD:
        np.testing.assert_array_equal(again.encode(text), tokenizer.encode(text))
    first = path.read_bytes()
    again.save(path)
    assert path.read_bytes() == first


def test_damaged_files(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(CheckpointError, match="can't be read"):
        Tokenizer.load(path)
    tokenizer.save(path)
    whole = path.read_bytes()
    saved = json.loads(whole)
    vocabulary = saved["tokenizer"]["model"]["vocab"]
    swapped = {**vocabulary, "a": vocabulary["b"], "b": vocabulary["a"]}
    model = {**saved["tokenizer"]["model"], "vocab": swapped}
    cases = {
        "is damaged": [
            whole[:-200],
            b"",
            b"\xff\xfe" + whole,
            json.dumps({**saved, "tokenizer": {**saved["tokenizer"], "model": model}}).encode(),
        ],
        "is not a tokenizer saved by m6rec": [b"[]", b"{}", json.dumps(saved["tokenizer"]).encode()],
        "version 3, this m6rec reads up to 2": [json.dumps({**saved, "version": 3}).encode()],
        "does not say which of its tokens are special": [json.dumps({**saved, "version": 2}).encode()],
    }
    for message, contents in cases.items():
        for content in contents:
            path.write_bytes(content)
            with pytest.raises(CheckpointError, match=message):
                Tokenizer.load(path)
