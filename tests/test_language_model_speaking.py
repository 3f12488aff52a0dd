"""What comes next, token by token: kept keys and values against reading everything again, plain arrays against tensors, beams against rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from m6rec.base.contracts import Segment
from m6rec.language_model.config import Decoding, ModelShape
from m6rec.language_model.decoding import decode
from m6rec.language_model.layers import initialise
from m6rec.language_model.lower import LowerLayers
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.quick_speaking import QuickSpeaker, may_be_quick
from m6rec.language_model.segments import SegmentBatch
from m6rec.language_model.speaking import WriterSpeaker
from m6rec.language_model.spelling import Spelling
from m6rec.language_model.writing import ReadSources, Sources, WriteOption, Writer, WriterSize
from m6rec.language_model.writing_arrays import WriterArrays

VOCABULARY, BOS = 60, 1
SHAPE = ModelShape(
    vocabulary=VOCABULARY, width=32, heads=2, lower_layers=2, upper_layers=2, history=5, dropout=0.0, lower_dropout=0.0, times=False
)


def speakers(requests: int, *, copy: bool = True, own_words: bool = True, layers: int = 2) -> tuple[WriterSpeaker, QuickSpeaker]:
    """The same random writer as tensors and as arrays, over random sources, some of them padded."""
    generator = torch.Generator().manual_seed(7)
    model = LanguageModel(SHAPE, seed=1).eval()
    width = 64 if layers else SHAPE.width
    writer = Writer(WriterSize(SHAPE.width, VOCABULARY, width, 4 if layers else 2, layers, 3, 0.0, copy, own_words)).eval()
    option = WriteOption(width, 2, 8)
    initialise(writer, generator)
    with torch.no_grad():
        for module in (model, writer, option):
            for weight in module.parameters():
                weight.copy_(weight + 0.1 * torch.randn(weight.shape, generator=generator))
    lengths = torch.arange(requests) % 4 + 6

    def randoms(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def ids(*shape: int) -> Tensor:
        return torch.randint(2, VOCABULARY, shape, generator=generator)

    sources = Sources(
        ids(requests, 9),
        ids(requests, 9),
        randoms(requests, 9, SHAPE.width),
        torch.zeros(requests, 9, dtype=torch.int64),
        torch.arange(9) < lengths[:, None],
        randoms(requests, 4, SHAPE.width),
        torch.ones(requests, 4, dtype=torch.int64),
        torch.arange(4) < (torch.arange(requests) % 3 + 1)[:, None],
    )
    if requests > 2:
        sources.real[2] = False  # nothing to copy
    with torch.no_grad():
        read: ReadSources = writer.read(model, sources, option)
    assert may_be_quick(model, writer)
    return WriterSpeaker(model, writer, option, read, BOS), QuickSpeaker(WriterArrays(model, writer), option, read, BOS)


KINDS: list[dict[str, Any]] = [{}, {"copy": False}, {"own_words": False}, {"layers": 0, "copy": False, "own_words": False}]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("requests", [1, 3])
def test_arrays_say_what_tensors_say(kind: dict[str, Any], requests: int) -> None:
    slow, quick = speakers(requests, **kind)
    generator = np.random.default_rng(0)
    (said, state), (same, quick_state) = slow.start(2 * requests), quick.start(2 * requests)
    for number in range(40):
        torch.testing.assert_close(same, said, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(np.exp(same.double().numpy()).sum(axis=1), 1, atol=1e-4)
        if number % 7 == 3:  # as a beam search does
            rows = torch.from_numpy(generator.integers(len(said), size=int(generator.integers(1, 6))))
            state, quick_state = slow.pick(state, rows), quick.pick(quick_state, rows)
            said = said[rows]
        tokens = torch.from_numpy(generator.integers(2, VOCABULARY, len(said)))
        said, state = slow.step(tokens, state)
        same, quick_state = quick.step(tokens, quick_state)


def test_a_state_is_not_changed_by_what_comes_after_it() -> None:
    _, quick = speakers(2)
    _, start = quick.start(2)
    first, after = quick.step(torch.tensor([5, 6]), start)
    quick.step(torch.tensor([7, 8]), after)
    other, _ = quick.step(torch.tensor([9, 9]), start)
    again, after_again = quick.step(torch.tensor([5, 6]), start)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    one, _ = quick.step(torch.tensor([3, 4]), after)
    two, _ = quick.step(torch.tensor([3, 4]), after_again)
    assert torch.equal(one, two)


def test_kept_lower_layers_give_what_reading_again_gives() -> None:
    lower = LowerLayers(32, 2, 3)
    initialise(lower, torch.Generator().manual_seed(0))
    lower.eval()
    x = torch.randn(3, 12, 32, generator=torch.Generator().manual_seed(1))
    batch = SegmentBatch.padded([Segment(np.arange(1, 13, dtype=np.int32), True)] * 3)
    whole = lower(x, batch.segment, batch.position, batch.causal)
    past, parts = None, []
    for start, end in [(0, 5), (5, 6), (6, 7), (7, 12)]:
        states, past = lower.extend(x[:, start:end], past)
        parts.append(states)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["greedy", "beam", "nucleus"])
def test_both_speakers_write_the_same_texts(method: str) -> None:
    spelling = Spelling([b"", b"", *(bytes([letter, 32]) for letter in range(65, 65 + VOCABULARY - 2))], 0)
    decoding = Decoding(method=method, most=20, beams=3, temperature=0.7)
    texts = [[row[0].text for row in decode(speaker, decoding, spelling=spelling, rows=3)] for speaker in speakers(3)]
    assert texts[0] == texts[1]
    alone = [decode(speakers(1)[1], decoding, spelling=spelling)[0][0].text]
    assert alone == [decode(speakers(1)[0], decoding, spelling=spelling)[0][0].text]


def test_a_model_in_half_precision_is_left_to_tensors() -> None:
    slow, _ = speakers(1)
    assert not may_be_quick(slow.model.bfloat16(), slow.writer)
