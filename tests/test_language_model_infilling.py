"""Pretraining examples: what is hidden, what is asked, and that learning from them works."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.contracts import Segment
from m6rec.language_model.config import InfillingConfig, ModelConfig
from m6rec.language_model.infilling import IGNORED, corrupt, masked_spans, partial_view, view_agreement
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.precision import autocast
from m6rec.language_model.segments import SegmentBatch
from m6rec.language_model.softmax import linear_cross_entropy
from m6rec.language_model.spectral import spectral_embedding
from m6rec.language_model.store import ItemStates
from m6rec.tasks.infill import Infill
from m6rec.text.packing import pack

MASK, BOS, VOCABULARY = 3, 1, 60


def make_segments(lengths: list[int], seed: int = 0) -> list[Segment]:
    generator = np.random.default_rng(seed)
    return [Segment(generator.integers(5, VOCABULARY, size=n).astype(np.int32)) for n in lengths]


lengths_strategy = st.lists(st.integers(1, 12), min_size=1, max_size=15)


@settings(max_examples=50, deadline=None)
@given(lengths=lengths_strategy, seed=st.integers(0, 10_000), packed=st.booleans(), share=st.sampled_from([0.0, 0.4, 1.0]))
def test_inputs_and_targets(lengths: list[int], seed: int, packed: bool, share: float) -> None:
    segments = make_segments(lengths, seed)
    batch = SegmentBatch.from_packed(pack(segments, 20)) if packed else SegmentBatch.padded(segments)
    example = corrupt(batch, np.random.default_rng(seed), mask_id=MASK, bos_id=BOS, keep=0.0, write_share=share)
    assert not ((example.infill != IGNORED) & (example.write != IGNORED)).any()
    assert (example.infill[~batch.real] == IGNORED).all()
    assert (example.write[~batch.real] == IGNORED).all()
    for g, segment in enumerate(segments):
        here = batch.segment == g
        ids, shown = torch.from_numpy(segment.ids).long(), example.batch.ids[here]
        assert (example.batch.causal[here] == example.written[g]).all()
        if example.written[g]:
            assert shown.tolist() == [BOS, *segment.ids[:-1].tolist()]
            assert torch.equal(example.write[here], ids)
        else:
            asked = example.infill[here] != IGNORED
            assert 1 <= int(asked.sum()) <= max(len(ids) - 1, 1)
            assert (shown[asked] == MASK).all()
            assert torch.equal(shown[~asked], ids[~asked])
            assert torch.equal(example.infill[here][asked], ids[asked])
    if share in (0.0, 1.0):
        assert bool(example.written.all()) == bool(share)


def test_masking_rate_span_length_and_seed() -> None:
    segment = np.zeros((40, 500), dtype=np.int64) + np.arange(40)[:, None]
    allowed = np.ones_like(segment, dtype=bool)
    masked = masked_spans(segment, allowed, 40, np.random.default_rng(0), rate=0.3, span=3.0)
    assert masked.mean() == pytest.approx(0.3, abs=0.01)
    runs = np.diff(np.flatnonzero(np.diff(np.pad(masked.astype(int), ((0, 0), (1, 1))).ravel()))[:])[::2]
    assert runs.mean() > 3.0  # spans of mean 3, some of them joined
    assert np.array_equal(masked, masked_spans(segment, allowed, 40, np.random.default_rng(0), rate=0.3, span=3.0))
    assert not np.array_equal(masked, masked_spans(segment, allowed, 40, np.random.default_rng(1), rate=0.3, span=3.0))


def test_some_masked_tokens_are_shown() -> None:
    batch = SegmentBatch.padded(make_segments([50] * 40))
    example = corrupt(batch, np.random.default_rng(0), mask_id=MASK, bos_id=BOS, keep=0.2, write_share=0.0)
    asked = example.infill != IGNORED
    assert float((example.batch.ids[asked] == batch.ids[asked]).float().mean()) == pytest.approx(0.2, abs=0.05)


@settings(max_examples=30, deadline=None)
@given(lengths=lengths_strategy, seed=st.integers(0, 10_000), keep=st.floats(0.01, 1.0))
def test_partial_views_keep_a_token_of_every_segment(lengths: list[int], seed: int, keep: float) -> None:
    batch = SegmentBatch.from_packed(pack(make_segments(lengths, seed), 20))
    view = partial_view(batch, np.random.default_rng(seed), keep)
    left = view.segment >= 0
    assert torch.equal(view.segment[left], batch.segment[left])
    assert set(view.segment[left].tolist()) == set(range(len(lengths)))


@pytest.mark.parametrize("chunk", [1, 70, 10**6])
def test_fused_cross_entropy_equals_the_plain_one(chunk: int) -> None:
    generator = torch.Generator().manual_seed(0)
    states, table = (torch.randn(n, 6, generator=generator, dtype=torch.float64, requires_grad=True) for n in (13, 30))
    targets = torch.randint(0, 30, (13,), generator=generator)
    plain = F.cross_entropy(states @ table.T, targets)
    expected = torch.autograd.grad(3 * plain, (states, table))
    fused = linear_cross_entropy(states, table, targets, chunk)
    torch.testing.assert_close(fused.double(), plain, atol=1e-6, rtol=0)
    for got, wanted in zip(torch.autograd.grad(3 * fused, (states, table)), expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-6, rtol=0)


def test_fused_cross_entropy_with_a_frozen_table() -> None:
    states = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    linear_cross_entropy(states, torch.ones(5, 6), torch.tensor([0, 1, 2, 3])).backward()
    assert states.grad is not None


def test_view_agreement_by_hand() -> None:
    same = torch.eye(2)
    expected = -np.log(np.e / (np.e + 1))  # cosine 1 against 0 at temperature 1
    assert float(view_agreement(same, same, 1.0)) == pytest.approx(expected)
    assert float(view_agreement(same, same.flip(0), 1.0)) == pytest.approx(expected + 1)


def topical_segments(count: int, seed: int) -> tuple[list[Segment], np.ndarray]:
    """Planted truth: each segment has one of four topics, and its tokens come from the topic's ten words or from ten common ones."""
    generator = np.random.default_rng(seed)
    topic = generator.integers(0, 4, size=count)
    rows = []
    for t in topic:
        own = generator.random(8) < 0.5
        rows.append(Segment(np.where(own, 20 + 10 * t + generator.integers(0, 10, 8), generator.integers(5, 15, 8)).astype(np.int32)))
    return rows, topic


def neighbours_share_topic(summaries: np.ndarray, topic: np.ndarray) -> float:
    unit = summaries - summaries.mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -2)
    return float((topic[np.argsort(-likeness, axis=1)[:, :5]] == topic[:, None]).mean())


def test_pretraining_finds_planted_topics() -> None:
    segments, topic = topical_segments(300, seed=0)
    shape = ModelConfig(width=16, heads=1, lower_layers=1, upper_layers=1, lower_dropout=0, dropout=0).resolve(vocabulary=VOCABULARY)
    model = LanguageModel(shape, seed=0)
    task = Infill(InfillingConfig(spectral_start=False), segments, batch_tokens=600, mask_id=MASK, bos_id=BOS)
    before = neighbours_share_topic(ItemStates.compute(model, segments).summaries.numpy(), topic)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for epoch in range(12):
        for batch in task.batches(np.random.default_rng([0, epoch])):
            losses = task.loss(model, batch)
            optimizer.zero_grad()
            sum(losses.values(), start=torch.zeros(())).backward()
            optimizer.step()
            last = {name: float(value.detach()) for name, value in losses.items()}
            first = first or last
    assert set(first) == {"infill", "left_to_right", "views"}
    assert all(last[name] < first[name] for name in first)
    after = neighbours_share_topic(ItemStates.compute(model, segments).summaries.numpy(), topic)
    assert after > before + 0.1
    assert after > 0.75


def test_infill_batches_cover_everything_and_repeat_with_the_seed() -> None:
    segments = make_segments(list(np.random.default_rng(0).integers(1, 30, 200)))
    task = Infill(InfillingConfig(), segments, batch_tokens=200, mask_id=MASK, bos_id=BOS)
    first, second, other = (list(task.batches(np.random.default_rng(seed))) for seed in (0, 0, 1))
    assert sorted(np.concatenate([b.rows for b in first]).tolist()) == list(range(200))
    assert all(np.array_equal(a.rows, b.rows) and a.seed == b.seed for a, b in zip(first, second, strict=True))
    assert any(not np.array_equal(a.rows, b.rows) for a, b in zip(first, other, strict=False))
    assert sum(task.targets(b) for b in first) == sum(len(s.ids) for s in segments)
    padded = sum(len(b.rows) * max(len(segments[i].ids) for i in b.rows) for b in first)
    assert padded < 1.25 * sum(len(s.ids) for s in segments)


def test_equal_batches_give_equal_losses_and_one_segment_is_enough() -> None:
    shape = ModelConfig(width=8, heads=1, lower_layers=1, upper_layers=1).resolve(vocabulary=VOCABULARY)
    model = LanguageModel(shape).eval()
    task = Infill(InfillingConfig(), make_segments([1]), batch_tokens=10, mask_id=MASK, bos_id=BOS)
    (batch,) = task.batches(np.random.default_rng(0))
    first, second = task.loss(model, batch), task.loss(model, batch)
    assert first.keys() == second.keys()
    assert "views" not in first
    assert all(torch.equal(first[name], second[name]) for name in first)
    sum(first.values(), start=torch.zeros(())).backward()


def test_losses_and_gradients_in_bfloat16_stay_near_float32() -> None:
    shape = ModelConfig(width=16, heads=2, lower_layers=1, upper_layers=1).resolve(vocabulary=VOCABULARY)
    model = LanguageModel(shape).eval()
    task = Infill(InfillingConfig(write_share=0.5), make_segments([4, 6, 8, 8]), batch_tokens=100, mask_id=MASK, bos_id=BOS)
    (batch,) = task.batches(np.random.default_rng(0))
    exact = task.loss(model, batch)
    with autocast("bfloat16", "cpu"):
        rounded = task.loss(model, batch)
    sum(rounded.values(), start=torch.zeros(())).backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert {name.split(".")[0] for name in grads} == {"embedding", "lower", "pooling", "upper"}
    assert all(torch.isfinite(grad).all() for grad in grads.values())
    for name, value in exact.items():
        assert rounded[name].dtype == torch.float32
        torch.testing.assert_close(rounded[name], value, atol=0.1, rtol=0)


def test_spectral_table_brings_words_of_a_topic_together() -> None:
    segments, _ = topical_segments(300, seed=0)
    table = spectral_embedding(segments, VOCABULARY, 16, seed=0)
    assert torch.equal(table, spectral_embedding(segments, VOCABULARY, 16, seed=0))
    torch.testing.assert_close(table.norm(dim=1), torch.ones(VOCABULARY))
    likeness = table[20:60] @ table[20:60].T
    same = torch.block_diag(*[torch.ones(10, 10)] * 4).bool() & ~torch.eye(40, dtype=torch.bool)
    across = torch.block_diag(*[torch.ones(10, 10)] * 4) == 0
    assert float(likeness[same].mean()) > float(likeness[across].mean()) + 0.1


@pytest.mark.parametrize("segments", [[], [Segment(np.array([5], np.int32))], [Segment(np.array([5, 5], np.int32))] * 3])
def test_spectral_table_of_next_to_no_text(segments: list[Segment]) -> None:
    table = spectral_embedding(segments, VOCABULARY, 16, seed=0)
    assert table.shape == (VOCABULARY, 16)
    assert torch.isfinite(table).all()
