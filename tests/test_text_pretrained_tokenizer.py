"""Tokenizers of pretrained checkpoints: the ids of the library that wrote them, special tokens in the places we have for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from m6rec.text.pretrained_tokenizer import read_tokenizer
from m6rec.text.tokenizer import Tokenizer

Make = Callable[[str], Path]
TEXTS = ["A calm guide to bees", "Ten questions!", "waterproof 防水 boots", "  spaces \t and\x00controls  ", "[SEP] </s> <|endoftext|>", ""]


@pytest.fixture(params=["bert", "gpt2", "t5"])
def folder(request: pytest.FixtureRequest, tiny_checkpoint: Make) -> Path:
    return tiny_checkpoint(request.param)


@pytest.fixture
def tokenizer(folder: Path) -> Tokenizer:
    return read_tokenizer(folder, folder.name)


def test_ids_are_those_of_the_library(folder: Path, tokenizer: Tokenizer) -> None:
    """Framed as the library frames a text; nothing is cut or padded to the sizes that the file sets, and special tokens are not read."""
    engine = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    engine.no_padding()
    engine.no_truncation()
    for text, plain, framed in zip(TEXTS[:4], tokenizer.encode_batch(TEXTS[:4]), tokenizer.framed(TEXTS[:4], 500), strict=True):
        assert plain.tolist() == engine.encode(text, add_special_tokens=False).ids
        assert framed.tolist() == engine.encode(text).ids
    special = {
        number for number, token in engine.get_added_tokens_decoder().items() if token.content != "[UNK]" and token.content != "<unk>"
    }
    assert special
    assert not special & set(tokenizer.encode(TEXTS[4]).tolist())


def test_limit_counts_what_frames_a_text(tokenizer: Tokenizer) -> None:
    text = "waterproof hiking boots " * 200
    whole = tokenizer.framed([text], 5000)[0]
    for limit in (4, 16, 64):
        cut = tokenizer.framed([text], limit)[0]
        assert len(cut) == limit
        ends = len(whole) - len(tokenizer.encode(text))
        np.testing.assert_array_equal(cut[: limit - ends], whole[: limit - ends])
    assert len(tokenizer.framed(["x" * 1_000_000], 64)[0]) <= 64
    assert tokenizer.framed([""], 64)[0].tolist() == []


def test_special_ids_have_a_place(folder: Path, tokenizer: Tokenizer) -> None:
    wanted = {
        "bert": {"pad_id": "[PAD]", "bos_id": "[CLS]", "eos_id": "[SEP]", "sep_id": "[SEP]", "mask_id": "[MASK]"},
        "gpt2": {"pad_id": "<|endoftext|>", "bos_id": "<|endoftext|>", "eos_id": "<|endoftext|>"},
        "t5": {"pad_id": "<pad>", "eos_id": "</s>", "sep_id": "</s>", "mask_id": "<extra_id_1>"},
    }[folder.name]
    engine = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert {name: engine.id_to_token(getattr(tokenizer, name)) for name in wanted} == wanted
    assert len(set(tokenizer.reserved_ids)) == 11
    assert not {tokenizer.bos_id, tokenizer.eos_id, tokenizer.mask_id} & set(tokenizer.reserved_ids)
    assert all(0 <= number < tokenizer.size for number in (*tokenizer.reserved_ids, tokenizer.mask_id, tokenizer.bos_id))


def test_save_and_load(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert again.fingerprint() == tokenizer.fingerprint()
    assert (again.size, again.pad_id, again.reserved_ids) == (tokenizer.size, tokenizer.pad_id, tokenizer.reserved_ids)
    for one, other in zip(again.framed(TEXTS, 12), tokenizer.framed(TEXTS, 12), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.pretrained
    assert again.fingerprint() != Tokenizer.train(TEXTS, 300).fingerprint()


def test_bytes_come_back(tiny_checkpoint: Make) -> None:
    folder = tiny_checkpoint("gpt2")
    tokenizer = read_tokenizer(folder, folder.name)
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text)) == text
