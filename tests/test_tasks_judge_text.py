"""Tasks on texts and items alone: planted labels are found, one text is answered as in a batch, what is saved answers alike."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from m6rec.base.errors import DataError, UsageError
from m6rec.language_model.checkpoint import load_weights, save_weights
from m6rec.language_model.config import ModelConfig
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.config import JudgeConfig, SharingConfig
from m6rec.tasks.judge_text import JudgeTexts, JudgeTextsSizes
from m6rec.tasks.text_documents import Documents, TextExamples, augmented
from m6rec.tasks.text_reader import TextReader
from m6rec.text.augment import Augmenter
from m6rec.text.config import AugmentConfig
from m6rec.text.tokenizer import Tokenizer
from m6rec.text.wording import Wording
from m6rec.training.config import LoopConfig
from m6rec.training.loop import Loop

SUBJECTS = {
    "phone": ["screen", "battery", "camera", "call", "charger", "signal"],
    "food": ["soup", "noodles", "spicy", "taste", "dinner", "waiter"],
}
PRAISE, BLAME = ["great", "lovely", "perfect", "happy", "满意"], ["awful", "broken", "rude", "slow", "失望"]
FILLER = ["the", "it", "was", "really", "a", "bit", "my", "order", "yesterday", "with", "and", "very"]


def planted(count: int, seed: int) -> tuple[list[str], dict[str, np.ndarray]]:
    """Texts whose words say a subject, a mood, how many stars, and which flaws; a third has no label of the subject."""
    generator = np.random.default_rng(seed)
    texts, subject, mood, stars, tags = [], [], [], [], []
    for _ in range(count):
        topic, good = int(generator.integers(2)), int(generator.integers(2))
        loud = int(generator.integers(1, 3))
        words = [*generator.choice(FILLER, 6), *generator.choice(list(SUBJECTS.values())[topic], 2)]
        words += [*generator.choice(PRAISE if good else BLAME, loud, replace=False)]
        texts.append(" ".join(generator.permutation(words)))
        subject.append(np.nan if generator.random() < 0.3 else topic)
        mood.append(good)
        stars.append(3 + loud * (1 if good else -1))
        tags.append(["slow" in words, "broken" in words, "awful" in words])
    labels = {"subject": subject, "mood": mood, "stars": stars, "flaws": tags}
    return texts, {name: np.array(values, dtype=np.float32) for name, values in labels.items()}


CONFIGS = {
    "subject": JudgeConfig(label="subject", on="text", kind="classes", label_smoothing=0.05),
    "mood": JudgeConfig(label="mood", on="text", kind="binary", loss="focal"),
    "stars": JudgeConfig(label="stars", on="text", kind="number"),
    "flaws": JudgeConfig(label="flaws", on="text", kind="tags"),
}
LABELS = {
    "subject": ("classes", list(SUBJECTS)),
    "mood": ("binary", []),
    "stars": ("number", []),
    "flaws": ("tags", ["slow", "broken", "awful"]),
}


@pytest.fixture(scope="module")
def reader() -> TextReader:
    tokenizer = Tokenizer.train(planted(300, 9)[0], 500)
    model = LanguageModel(ModelConfig(width=16, lower_layers=1).resolve(vocabulary=tokenizer.size), seed=1)
    model.freeze_reading()
    return TextReader(model.eval(), tokenizer, Wording("en"), 64)


def build(examples: TextExamples, reader: TextReader, configs: dict[str, JudgeConfig] = CONFIGS) -> JudgeTexts:
    sizes, ngrams = JudgeTexts.fit_sizes(examples, {name: LABELS[name] for name in configs}, reader.model.shape)
    task = JudgeTexts(configs, SharingConfig(), reader.model.shape, sizes)
    task.initialise(torch.Generator().manual_seed(3), ngrams)
    task.bind(examples, reader)
    return task


def examples_of(count: int = 500, seed: int = 0) -> TextExamples:
    texts, labels = planted(count, seed)
    parts = (np.arange(count) % 5 == 4).astype(np.int8)
    return TextExamples(texts, labels, parts, batch_rows=32)


def fitted(examples: TextExamples, reader: TextReader, folder: Path, epochs: int = 6) -> JudgeTexts:
    task = build(examples, reader)
    config = LoopConfig(learning_rate=5e-3)
    Loop(reader.model, {"texts": task}, config, weights={"texts": 1.0}, seed=0, folder=folder, epochs=epochs).run()
    return task


@pytest.fixture(scope="module")
def trained(reader: TextReader, tmp_path_factory: pytest.TempPathFactory) -> JudgeTexts:
    return fitted(examples_of(), reader, tmp_path_factory.mktemp("texts"))


def test_planted_labels_are_found(trained: JudgeTexts, reader: TextReader) -> None:
    texts, labels = planted(200, 7)
    given = {name: trained.answers(reader, texts, name) for name in CONFIGS}
    known = ~np.isnan(labels["subject"])
    assert given["subject"].shape == (200, 2)
    np.testing.assert_allclose(given["subject"].sum(axis=1), 1, atol=1e-5)
    assert (given["subject"].argmax(axis=1) == labels["subject"])[known].mean() > 0.95
    assert ((given["mood"] > 0.5) == labels["mood"]).mean() > 0.95
    assert np.corrcoef(given["stars"], labels["stars"])[0, 1] > 0.9
    assert ((given["flaws"] > 0.5) == labels["flaws"]).mean() > 0.9


def test_one_text_is_answered_as_in_a_batch(trained: JudgeTexts, reader: TextReader) -> None:
    texts = [*planted(12, 5)[0], "", "好" * 900]
    together = trained.answers(reader, texts, "subject")
    alone = np.concatenate([trained.answers(reader, [text], "subject") for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert trained.answers(reader, [], "mood").shape == (0,)


def test_what_is_saved_answers_alike(trained: JudgeTexts, reader: TextReader, tmp_path: Path) -> None:
    save_weights(tmp_path / "task.safetensors", trained.state_dict(), {})
    again = JudgeTexts(CONFIGS, SharingConfig(), reader.model.shape, JudgeTextsSizes.of(trained.sizes.plain()))
    again.load_state_dict(load_weights(tmp_path / "task.safetensors")[0])
    texts = planted(20, 6)[0]
    for name in CONFIGS:
        np.testing.assert_array_equal(again.answers(reader, texts, name), trained.answers(reader, texts, name))


def test_equal_seeds_train_to_equal_weights(reader: TextReader, tmp_path: Path) -> None:
    examples = examples_of(80)
    first, second = (fitted(examples, reader, tmp_path / name, epochs=1).state_dict() for name in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_mixing_never_harms_the_validation_and_is_positive(reader: TextReader, tmp_path: Path) -> None:
    task = fitted(examples_of(200), reader, tmp_path, epochs=2)
    before = task.measure(reader.model)
    task.fit_mixing(reader.model)
    assert all(bool((task.option(name).mixing > 0).all()) for name in CONFIGS)
    assert task.measure(reader.model)["stars"] >= before["stars"] - 1e-6
    assert set(before) == set(CONFIGS)


def test_few_validation_texts_do_not_make_answers_certain(trained: JudgeTexts, reader: TextReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty texts answered rightly are no proof of certainty; of many texts the weights are those that the labels were drawn by."""
    task, true = copy.deepcopy(trained), torch.tensor([1.5, 0.5, 0.1])
    generator = torch.Generator().manual_seed(0)

    def mixing(rows: int, labels: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        outputs = torch.randn(3, rows, 1, generator=generator) * 2
        monkeypatch.setattr(task, "_held_out", lambda *_: {"mood": (outputs, labels(torch.einsum("v,vgc->gc", true, outputs))[:, 0])})
        task.fit_mixing(reader.model)
        return task.option("mood").mixing

    assert float(mixing(20, lambda logits: (logits > 0).float()).max()) < 1.5
    drawn = mixing(20_000, lambda logits: torch.bernoulli(logits.sigmoid(), generator=generator))
    torch.testing.assert_close(drawn, true, atol=0.06, rtol=0)


def test_over_a_checkpoint_the_mean_state_answers_as_well(reader: TextReader) -> None:
    """The view is linear in the mean state of the text, brought to one length; the folder of a model without it has no width of it."""
    examples, configs = examples_of(20), {"mood": CONFIGS["mood"]}
    plain, ngrams = JudgeTexts.fit_sizes(examples, {"mood": LABELS["mood"]}, reader.model.shape)
    old = {name: value for name, value in plain.plain().items() if name != "sentence_width"}
    assert JudgeTextsSizes.of(old) == plain
    task = JudgeTexts(configs, SharingConfig(), reader.model.shape, replace(plain, sentence_width=reader.model.shape.read_width))
    task.initialise(torch.Generator().manual_seed(3), ngrams)
    view = task.option("mood").sentence
    assert view is not None
    torch.nn.init.normal_(view.weight, generator=torch.Generator().manual_seed(4))
    documents = Documents.of(examples.documents, task.ngrams, reader)
    answered = task.predict(reader.model, documents, ["mood"])["mood"]
    assert len(answered) == len(task.option("mood").mixing) == 4
    row = 7
    states = reader.model.reading(reader.model.encode(documents.batch(np.array([row]))))[0]
    mean = states.mean(dim=0)
    expected = view(mean / mean.norm() * len(mean) ** 0.5)
    torch.testing.assert_close(answered[3, row], expected, rtol=1e-4, atol=1e-5)


def test_an_unknown_task_and_unlabelled_ones_are_refused(trained: JudgeTexts, reader: TextReader) -> None:
    with pytest.raises(UsageError, match="'moot' is no task on texts or items; did you mean 'mood'"):
        trained.answers(reader, ["fine"], "moot")
    texts, labels = planted(50, 0)
    parts = np.zeros(50, np.int8)
    with pytest.raises(DataError, match="task 'mood' has no labelled text to train on"):
        build(TextExamples(texts, {**labels, "mood": np.full(50, np.nan, np.float32)}, parts), reader)
    parts[labels["subject"] == 1] = 2
    with pytest.raises(DataError, match=r"task 'subject': class 'food' is unseen in training \(\d+ rows elsewhere\)"):
        build(TextExamples(texts, labels, parts), reader)


@pytest.mark.parametrize("way", ["pseudo", "consistency", "spread"])
def test_unlabelled_texts_teach_words_that_no_label_has_seen(
    way: Literal["pseudo", "consistency", "spread"], reader: TextReader, tmp_path: Path
) -> None:
    """Labels on texts that name half of the words only: the others are learned from texts that have both."""
    texts, _ = planted(400, 2)
    words_of = [set(text.split()) for text in texts]
    rare = {word for words in SUBJECTS.values() for word in words[3:]}
    subject = np.array([0 if words & set(SUBJECTS["phone"]) else 1 for words in words_of], dtype=np.float32)
    parts = (np.arange(400) % 4 == 3).astype(np.int8)
    seen = np.array([not (words & rare) for words in words_of])
    given = np.where((seen & (parts == 0)) | (parts == 1), subject, np.nan).astype(np.float32)
    hard = [
        at for at, words in enumerate(words_of) if parts[at] == 1 and not words & {word for all in SUBJECTS.values() for word in all[:3]}
    ]

    def accuracy(unlabelled: Literal["ignore", "pseudo", "consistency", "spread"]) -> float:
        config = {"subject": JudgeConfig(label="subject", on="text", kind="classes", unlabelled=unlabelled, confidence=0.7)}
        task = build(TextExamples(texts, {"subject": given}, parts, batch_rows=16), reader, config)
        loop = LoopConfig(learning_rate=5e-3)
        Loop(reader.model, {"texts": task}, loop, weights={"texts": 1.0}, seed=0, folder=tmp_path / unlabelled, epochs=7).run()
        return float((task.answers(reader, [texts[at] for at in hard], "subject").argmax(axis=1) == subject[hard]).mean())

    assert accuracy(way) > max(accuracy("ignore") + 0.1, 0.8)


def test_changed_copies_stand_behind_and_carry_the_labels_of_training_texts_only() -> None:
    documents = ["red boots; brand x", "slow and rude", "held out", "no label"]
    labels = {"mood": np.array([1, 0, 1, np.nan], dtype=np.float32)}
    examples = TextExamples(documents, labels, np.array([0, 0, 1, 0], dtype=np.int8))
    augmenter = Augmenter(AugmentConfig(copies=2, word_dropout=0.0, field_dropout=0.9, replace=0.0))
    more = augmented(examples, augmenter, 0, items=np.array([True, False, False, False]))
    assert list(more.documents[:4]) == documents
    assert more.labels["mood"][4:].tolist() == [0, 0, 1, 1]
    assert more.parts[4:].tolist() == [0, 0, 0, 0]
    assert more.documents[4:6] == ["slow and rude"] * 2
    assert set(more.documents[6:]) <= {"red boots; brand x", "red boots", "brand x"}
    assert augmented(examples, Augmenter(AugmentConfig()), 0) is examples
