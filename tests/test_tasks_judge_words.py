"""Labels of words: places of characters, the chain against counting every path, planted brands and places found in both kinds of script."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from m6rec.base.errors import DataError, UsageError
from m6rec.language_model.config import ModelConfig
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.config import JudgeConfig, SharingConfig
from m6rec.tasks.judge_text import JudgeTexts, JudgeTextsSizes
from m6rec.tasks.judge_words import Chain, JudgeWords, JudgeWordsSizes
from m6rec.tasks.text_documents import TextExamples
from m6rec.tasks.text_reader import TextReader
from m6rec.text.tokenizer import Tokenizer
from m6rec.text.word_spans import Span, bio_names, span_figures, spans_said, word_places, words_labelled
from m6rec.text.wording import Wording
from m6rec.training.config import LoopConfig
from m6rec.training.loop import Loop

LABELS = ["brand", "place", "price"]


def test_words_have_the_places_of_their_characters() -> None:
    text = "A Nike-shoe, 北京 50€!"
    words = [text[start:end] for start, end in word_places(text).tolist()]
    assert words == ["A", "Nike", "-", "shoe", ",", "北", "京", "50", "€", "!"]


def test_spans_to_words_and_back() -> None:
    text = "new york new balance"
    spans = [Span(0, 8, "place"), Span(9, 20, "brand")]
    codes = words_labelled(word_places(text), spans, LABELS)
    assert [bio_names(LABELS)[code] for code in codes] == ["B-place", "I-place", "B-brand", "I-brand"]
    assert spans_said(word_places(text), codes, LABELS) == spans
    assert spans_said(word_places("a b"), np.array([2, 4]), LABELS) == [Span(0, 1, "brand"), Span(2, 3, "place")]
    with pytest.raises(DataError, match="labelled 'colour'; labels: brand, place, price"):
        words_labelled(word_places(text), [Span(0, 3, "colour")], LABELS)


@given(st.text(max_size=40), st.data())
def test_whole_word_spans_come_back_unchanged(text: str, data: st.DataObject) -> None:
    places = word_places(text)
    codes = np.array([data.draw(st.integers(0, 2 * len(LABELS))) for _ in places], dtype=np.int64)
    spans = spans_said(places, codes, LABELS)
    assert spans_said(places, words_labelled(places, spans, LABELS), LABELS) == spans


def test_figures_by_hand() -> None:
    truth = [[Span(0, 4, "brand"), Span(5, 9, "place")], [Span(0, 3, "brand")]]
    said = [[Span(0, 4, "brand"), Span(5, 8, "place")], [Span(0, 3, "place")]]
    figures = span_figures(truth, said, LABELS)
    assert figures["brand"] == (1.0, 0.5, pytest.approx(2 / 3))
    assert figures["place"] == (0.0, 0.0, 0.0)
    assert figures["price"] == (0.0, 0.0, 0.0)


def test_the_chain_agrees_with_counting_every_path() -> None:
    names = bio_names(["x", "y"])
    chain = Chain(names)
    torch.manual_seed(0)
    chain.steps.data.normal_()
    chain.requires_grad_(False)
    scores = torch.randn(1, 3, len(names))
    steps = chain.steps + chain.forbidden

    def worth(path: tuple[int, ...]) -> float:
        total = scores[0, 0, path[0]] + chain.first[path[0]]
        for at in (1, 2):
            total = total + steps[path[at - 1], path[at]] + scores[0, at, path[at]]
        return float(total)

    paths = list(itertools.product(range(len(names)), repeat=3))
    every = torch.logsumexp(torch.tensor([worth(path) for path in paths]), dim=0)
    wanted, real = torch.tensor([[1, 2, 0]]), torch.ones(1, 3, dtype=torch.bool)
    assert float(chain.loss(scores, wanted, real)) == pytest.approx(float(every) - worth((1, 2, 0)), abs=1e-4)
    assert tuple(chain.best(scores, real)[0].tolist()) == max(paths, key=worth)
    padded = torch.cat([scores, torch.randn(1, 2, len(names))], dim=1)
    mask = torch.tensor([[True, True, True, False, False]])
    assert chain.best(padded, mask)[0, :3].tolist() == chain.best(scores, real)[0].tolist()
    wide = torch.cat([wanted, torch.zeros(1, 2, dtype=torch.int64)], dim=1)
    torch.testing.assert_close(chain.loss(padded, wide, mask), chain.loss(scores, wanted, real))


def planted(count: int, seed: int) -> tuple[list[str], list[list[Span]]]:
    """Queries with brands, places of one or two words, prices; every third one in Chinese."""
    generator = np.random.default_rng(seed)
    brands, places, chinese = ["Nike", "Adidas", "Puma", "Asics"], ["Berlin", "New York", "Rome"], ["北京", "上海", "广州"]
    texts, spans = [], []
    for number in range(count):
        parts: list[tuple[str, str | None]] = [(str(generator.choice(["cheap", "want", "show me"])), None), (" ", None)]
        parts += [(str(generator.choice(brands)), "brand"), (" shoes ", None)]
        if number % 3 == 0:
            parts += [("在", None), (str(generator.choice(chinese)), "place"), ("的店", None)]
        else:
            parts += [("near ", None), (str(generator.choice(places)), "place")]
        if generator.random() < 0.5:
            parts += [(" under ", None), (str(generator.integers(10, 200)), "price"), (" euro", None)]
        text, found = "", []
        for words, label in parts:
            if label is not None:
                found.append(Span(len(text), len(text) + len(words), label))
            text += words
        texts.append(text)
        spans.append(found)
    return texts, spans


@pytest.fixture(scope="module")
def reader() -> TextReader:
    tokenizer = Tokenizer.train(planted(100, 9)[0], 400)
    model = LanguageModel(ModelConfig(width=16, lower_layers=1).resolve(vocabulary=tokenizer.size), seed=1)
    model.freeze_reading()
    return TextReader(model.eval(), tokenizer, Wording("en"), 64)


@pytest.fixture(scope="module")
def trained(reader: TextReader, tmp_path_factory: pytest.TempPathFactory) -> JudgeWords:
    texts, spans = planted(240, 0)
    parts = (np.arange(240) % 5 == 4).astype(np.int8)
    examples = TextExamples(
        texts, {}, parts, batch_rows=16, spans={"slots": [None if row % 7 == 3 else found for row, found in enumerate(spans)]}
    )
    sizes, ngrams = JudgeWords.fit_sizes(examples, {"slots": LABELS})
    task = JudgeWords({"slots": JudgeConfig(label="slots", on="text", kind="tokens")}, SharingConfig(), reader.model.shape, sizes)
    task.initialise(torch.Generator().manual_seed(2), ngrams)
    task.bind(examples, reader)
    loop = Loop(
        reader.model,
        {"words": task},
        LoopConfig(learning_rate=1e-2),
        weights={"slots": 1.0},
        seed=0,
        folder=tmp_path_factory.mktemp("words"),
        epochs=5,
    )
    loop.run()
    return task


def test_planted_spans_are_found_with_their_characters(trained: JudgeWords, reader: TextReader) -> None:
    texts, spans = planted(60, 5)
    figures = span_figures(spans, trained.answers(reader, texts, "slots"), LABELS)
    assert min(figure[2] for figure in figures.values()) > 0.9
    assert trained.measure(reader.model)["slots"] > 0.9


def test_batches_and_what_is_saved_answer_alike(trained: JudgeWords, reader: TextReader) -> None:
    texts = [*planted(8, 6)[0], "", "  "]
    together = trained.answers(reader, texts, "slots")
    assert together == [trained.answers(reader, [text], "slots")[0] for text in texts]
    assert together[-2:] == [[], []]
    again = JudgeWords(trained.configs, trained.sharing, trained.shape, JudgeWordsSizes.of(trained.sizes.plain()))
    again.load_state_dict(trained.state_dict())
    assert again.answers(reader, texts, "slots") == together
    with pytest.raises(UsageError, match="'slot' is no task on words of texts; did you mean 'slots'"):
        trained.answers(reader, texts, "slot")


def test_a_task_without_labels_is_refused(trained: JudgeWords, reader: TextReader, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="task 'slots' has no labelled text to train on"):
        trained.bind(TextExamples(["a"], {}, np.zeros(1, np.int8), spans={"slots": [None]}), reader)


def test_labels_of_words_and_of_whole_texts_train_together(reader: TextReader, tmp_path: Path) -> None:
    texts, spans = planted(120, 3)
    priced = np.array([float(any(span.label == "price" for span in found)) for found in spans], dtype=np.float32)
    parts = (np.arange(120) % 4 == 3).astype(np.int8)
    some = [found if row % 2 else None for row, found in enumerate(spans)]
    examples = TextExamples(texts, {"priced": priced}, parts, batch_rows=16, spans={"slots": some})
    configs = {
        "priced": JudgeConfig(label="priced", on="text", kind="binary"),
        "slots": JudgeConfig(label="slots", on="text", kind="tokens"),
    }
    sizes, spellings = JudgeTexts.fit_sizes(examples, {"priced": ("binary", []), "slots": ("tokens", LABELS)}, reader.model.shape)
    task = JudgeTexts(configs, SharingConfig(), reader.model.shape, sizes)
    task.initialise(torch.Generator().manual_seed(2), spellings)
    task.bind(examples, reader)
    weights = {"priced": 1.0, "slots": 1.0}
    loop = LoopConfig(learning_rate=1e-2)
    Loop(reader.model, {"texts": task}, loop, weights=weights, seed=0, folder=tmp_path, epochs=6).run()
    measured = task.measure(reader.model)
    assert measured["priced"] > 0.9
    assert measured["slots"] > 0.7
    again = JudgeTexts(configs, SharingConfig(), reader.model.shape, JudgeTextsSizes.of(task.sizes.plain()))
    again.load_state_dict(task.state_dict())
    assert again.words is not None
    assert task.words is not None
    assert again.words.answers(reader, texts[:9], "slots") == task.words.answers(reader, texts[:9], "slots")
