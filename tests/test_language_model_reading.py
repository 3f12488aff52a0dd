"""Segments are read alone: packed = padded, nothing sees its neighbours or its future, summaries are proper means."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.contracts import Segment
from m6rec.base.errors import ConfigError, DataError
from m6rec.language_model.config import ModelConfig
from m6rec.language_model.layers import Attention, Block, RMSNorm, initialise, rotation_of
from m6rec.language_model.lower import sight
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.pooling import AttentionPooling
from m6rec.language_model.precision import autocast, statement, supported
from m6rec.language_model.segments import SegmentBatch, batches_by_length
from m6rec.text.packing import pack

VOCABULARY = 50
SHAPE = ModelConfig(width=16, heads=2, lower_layers=2, upper_layers=1, dropout=0.0, lower_dropout=0.0).resolve(vocabulary=VOCABULARY)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    built = LanguageModel(SHAPE, seed=1).eval()
    torch.nn.init.normal_(built.pooling.query, generator=torch.Generator().manual_seed(2))  # so that weights differ
    return built


def make_segments(count: int, seed: int = 0, longest: int = 9) -> list[Segment]:
    generator = np.random.default_rng(seed)
    return [
        Segment(generator.integers(5, VOCABULARY, size=generator.integers(1, longest + 1)).astype(np.int32), bool(generator.random() < 0.4))
        for _ in range(count)
    ]


def states_of(model: LanguageModel, batch: SegmentBatch) -> dict[int, torch.Tensor]:
    """Token states of each segment, in order of position."""
    states = model.encode(batch)
    return {g: states[batch.segment == g] for g in range(batch.count)}


@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 12), seed=st.integers(0, 1000), row=st.integers(9, 40))
def test_packed_equals_padded_equals_alone(count: int, seed: int, row: int) -> None:
    model = LanguageModel(SHAPE, seed=1).eval()
    segments = make_segments(count, seed)
    with torch.no_grad():
        packed, padded = SegmentBatch.from_packed(pack(segments, row)), SegmentBatch.padded(segments)
        for batch in (packed, padded):
            together = states_of(model, batch)
            for g, segment in enumerate(segments):
                alone = model.encode(SegmentBatch.padded([segment]))[0]
                torch.testing.assert_close(together[g], alone, atol=1e-5, rtol=0)
        torch.testing.assert_close(model.summaries(packed), model.summaries(padded), atol=1e-5, rtol=0)


def test_segments_never_see_each_other(model: LanguageModel) -> None:
    segments = make_segments(6, seed=3)
    others = [segments[0], *make_segments(5, seed=4)]
    others = [
        segments[0],
        *(Segment(np.resize(new.ids, len(old.ids)), old.causal) for new, old in zip(others[1:], segments[1:], strict=True)),
    ]
    with torch.no_grad():
        first, second = (SegmentBatch.from_packed(pack(rows, 60)) for rows in (segments, others))
        assert not torch.equal(first.ids, second.ids)
        torch.testing.assert_close(states_of(model, first)[0], states_of(model, second)[0], atol=1e-6, rtol=0)


def test_padding_ids_do_not_matter(model: LanguageModel) -> None:
    batch = SegmentBatch.padded(make_segments(5, seed=5))
    noisy = batch.with_ids(torch.where(batch.real, batch.ids, 7), batch.causal)
    with torch.no_grad():
        assert torch.equal(model.encode(batch)[batch.real], model.encode(noisy)[batch.real])
        assert torch.isfinite(model.encode(batch)).all()


@pytest.mark.parametrize("causal", [True, False])
def test_only_causal_segments_are_blind_to_the_future(model: LanguageModel, causal: bool) -> None:
    ids = np.arange(5, 13, dtype=np.int32)
    changed = ids.copy()
    changed[5] = 40
    with torch.no_grad():
        before, after = (model.encode(SegmentBatch.padded([Segment(i, causal)]))[0] for i in (ids, changed))
    assert torch.equal(before[:5], after[:5]) == causal
    assert not torch.allclose(before[5:], after[5:])


def test_order_of_tokens_matters_and_only_distances_count() -> None:
    block = Block(16, 2)
    initialise(block, torch.Generator().manual_seed(0))
    x = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(1))
    here = block(x, rotation=rotation_of(torch.arange(6), 8))
    there = block(x, rotation=rotation_of(torch.arange(6) + 31, 8))
    swapped = block(x, rotation=rotation_of(torch.tensor([1, 0, 2, 3, 4, 5]), 8))
    torch.testing.assert_close(here, there, atol=1e-5, rtol=0)
    assert not torch.allclose(here, swapped, atol=1e-3)


def test_sight_by_hand() -> None:
    segment = torch.tensor([[0, 0, 1, 1, -1]])
    position = torch.tensor([[0, 1, 0, 1, 0]])
    causal = torch.tensor([[False, False, True, True, False]])
    expected = [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]]
    assert sight(segment, position, causal)[0].int().tolist() == expected


def test_attention_against_the_formula_and_with_a_past() -> None:
    attention = Attention(8, 2)
    initialise(attention, torch.Generator().manual_seed(0))
    x = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        q, (k, v) = attention.queries(x), attention.keys_values(x)
        seen = torch.tril(torch.ones(5, 5, dtype=torch.bool))
        weights = torch.softmax((q @ k.transpose(2, 3) / 2).masked_fill(~seen, float("-inf")), dim=-1)
        expected = attention.out((weights @ v).transpose(1, 2).reshape(1, 5, 8))
        torch.testing.assert_close(attention(x, causal=True), expected, atol=1e-6, rtol=0)
        past = attention.keys_values(x[:, :4])
        torch.testing.assert_close(attention(x[:, 4:], past=past), expected[:, 4:], atol=1e-6, rtol=0)


def test_rms_norm_is_exact_in_half_precision() -> None:
    x = torch.tensor([[300.0, -300.0, 300.0, 300.0]], dtype=torch.float16)  # its square overflows float16
    assert RMSNorm(4)(x).tolist() == [[1.0, -1.0, 1.0, 1.0]]


def test_pooling_by_hand() -> None:
    pooling = AttentionPooling(4)
    states = torch.tensor([[[2.0, 0, 0, 0], [0, 4.0, 0, 0], [0, 0, 9.0, 0]], [[0, 0, 0, 5.0], [1.0, 1, 1, 1], [7.0, 7, 7, 7]]])
    segment = torch.tensor([[0, 0, 2], [2, 1, -1]])
    mean = pooling(states, segment, 4)
    assert mean.tolist() == [[1, 2, 0, 0], [1, 1, 1, 1], [0, 0, 4.5, 2.5], [0, 0, 0, 0]]
    with torch.no_grad():
        pooling.query.copy_(torch.tensor([np.log(3.0), 0, 0, 0]))  # scores: log 3 and 0 -> weights 3/4 and 1/4
    torch.testing.assert_close(pooling(states, segment, 4)[0], torch.tensor([1.5, 1.0, 0, 0]))
    weights = pooling.weights(states, segment, 4)
    assert weights[1, 2] == 0
    torch.testing.assert_close(weights.sum(), torch.tensor(3.0))


def test_pooling_survives_huge_scores_and_passes_gradients() -> None:
    pooling = AttentionPooling(2)
    with torch.no_grad():
        pooling.query.fill_(1e4)
    states = torch.tensor([[3.0, 0.0], [1.0, 1.0], [-50.0, 0.0]], requires_grad=True)
    summary = pooling(states, torch.tensor([0, 0, 1]), 2)
    torch.testing.assert_close(summary, torch.tensor([[3.0, 0.0], [-50.0, 0.0]]))
    summary.sum().backward()
    assert states.grad is not None
    assert torch.isfinite(states.grad).all()


def test_one_a_row_puts_every_token_in_its_place(model: LanguageModel) -> None:
    batch = SegmentBatch.from_packed(pack(make_segments(7, seed=8), 14))
    chosen = torch.tensor([True, False, True, True, False, False, True])
    values = batch.segment * 100 + batch.position
    rows, place = batch.one_a_row(values.unsqueeze(-1).float(), chosen)
    for row, segment in enumerate([0, 2, 3, 6]):
        length = int(batch.lengths()[segment])
        assert rows[row, :length, 0].tolist() == [segment * 100 + i for i in range(length)]
        assert not rows[row, length:].any()
    token = batch.real & chosen[batch.segment.clamp(min=0)]
    assert torch.equal(rows[place[:, 0], place[:, 1], 0], values[token].float())


def test_writing_does_not_see_the_token_to_be_written(model: LanguageModel) -> None:
    ids = np.array([1, 10, 11, 12, 13], dtype=np.int32)
    changed = ids.copy()
    changed[3:] = 20
    with torch.no_grad():
        states = [
            model.write_states(b, model.encode(b), torch.tensor([True]))
            for b in (SegmentBatch.padded([Segment(i, True)]) for i in (ids, changed))
        ]
        together = SegmentBatch.from_packed(pack([Segment(ids, True), *make_segments(4, seed=9)], 30))
        written = torch.zeros(5, dtype=torch.bool)
        written[0] = True
        packed = model.write_states(together, model.encode(together), written)
    assert torch.equal(states[0][:3], states[1][:3])
    assert not torch.allclose(states[0][3], states[1][3])
    torch.testing.assert_close(packed, states[0], atol=1e-5, rtol=0)
    assert model.logits(packed).shape == (5, VOCABULARY)


def test_batches_by_length_cover_everything_once_with_little_padding() -> None:
    segments = make_segments(100, seed=6)
    seen, area = [], 0
    for rows, batch in batches_by_length(segments, tokens=64):
        seen += rows.tolist()
        area += batch.ids.numel()
        assert batch.ids.numel() <= 64
        for row, index in enumerate(rows):
            assert batch.ids[row][batch.real[row]].tolist() == segments[index].ids.tolist()
    assert sorted(seen) == list(range(100))
    assert area <= 1.15 * sum(len(s.ids) for s in segments)


def test_a_segment_longer_than_the_budget_still_gets_its_batch() -> None:
    sizes = [b.ids.shape for _, b in batches_by_length([Segment(np.ones(n, np.int32)) for n in (3, 90)], tokens=10)]
    assert sizes == [(1, 3), (1, 90)]


def test_empty_segments_are_refused() -> None:
    with pytest.raises(DataError, match="1 of 2 segments have no tokens"):
        SegmentBatch.padded([Segment(np.ones(2, np.int32)), Segment(np.zeros(0, np.int32))])


def test_weights_depend_on_shape_and_seed_only() -> None:
    torch.manual_seed(5)
    first = LanguageModel(SHAPE, seed=3).state_dict()
    torch.manual_seed(6)
    second, other = LanguageModel(SHAPE, seed=3).state_dict(), LanguageModel(SHAPE, seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["embedding.weight"], other["embedding.weight"])


def test_parameters_are_counted_by_part(model: LanguageModel) -> None:
    counts = model.count_parameters()
    assert counts["embedding"] == VOCABULARY * 16
    assert counts["pooling"] == 16
    assert (
        counts["total"] == sum(p.numel() for p in model.parameters()) == sum(counts[k] for k in ("embedding", "lower", "pooling", "upper"))
    )


def test_freezing_leaves_the_upper_layers_trainable() -> None:
    model = LanguageModel(SHAPE)
    model.freeze_reading()
    trainable = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == {"upper"}
    model.freeze_reading(False)
    assert all(p.requires_grad for p in model.parameters())


def test_the_dial_and_its_overrides() -> None:
    tiny = ModelConfig().resolve(vocabulary=8000, events=1_000_000, median_history=6)
    assert (tiny.width, tiny.lower_layers, tiny.upper_layers, tiny.heads, tiny.history) == (64, 1, 2, 2, 50)
    long = ModelConfig(size="base", dropout=0.5).resolve(vocabulary=8000, median_history=96)
    assert (long.width, long.lower_layers, long.upper_layers, long.history, long.dropout) == (256, 4, 4, 200, 0.5)
    assert ModelConfig().resolve(vocabulary=9, events=10**9).width == 128  # never above small without an accelerator
    assert ModelConfig().resolve(vocabulary=9, events=10**9, accelerator=True).width == 512
    assert ModelConfig(width=96, history=7).resolve(vocabulary=9).heads == 3


def test_heads_that_do_not_fit_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"heads=3 must divide width=64 into even parts; allowed: 1, 2, 4, 8, 16, 32$"):
        ModelConfig(heads=3).resolve(vocabulary=10)


def test_autocast_is_a_no_op_where_bfloat16_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(2, 2)
    monkeypatch.setattr("m6rec.language_model.precision.cpu_has_bfloat16", lambda: False)
    with autocast("auto", "cpu"):
        assert (x @ x).dtype == torch.float32
    assert "no bfloat16 hardware" in statement("auto", "cpu")
    assert not supported("cpu")
    monkeypatch.setattr("m6rec.language_model.precision.cpu_has_bfloat16", lambda: True)
    with autocast("auto", "cpu"):
        assert (x @ x).dtype == torch.bfloat16
    with autocast("off", "cpu"):
        assert (x @ x).dtype == torch.float32


def test_bfloat16_states_stay_near_float32(model: LanguageModel) -> None:
    batch = SegmentBatch.padded(make_segments(6, seed=11))
    with torch.no_grad():
        exact = model.summaries(batch)
        with autocast("bfloat16", "cpu"):
            rounded = model.summaries(batch)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, atol=0.1, rtol=0)
