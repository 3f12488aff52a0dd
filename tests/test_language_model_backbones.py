"""Layers of pretrained checkpoints: the states and logits of the library that defines the format, however segments are packed, and all
that `UpperLayers` promises of histories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from m6rec.base.contracts import Segment
from m6rec.language_model.backbones.adapt import is_adapter, join_adapters
from m6rec.language_model.backbones.files import find_checkpoint
from m6rec.language_model.backbones.weights import Checkpoint
from m6rec.language_model.config import ModelConfig
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.segments import SegmentBatch
from m6rec.language_model.upper_tensors import UpperTensors, laid_out
from m6rec.text.packing import pack
from tiny_checkpoints import KINDS, LAYERS, VOCABULARY, WIDTH, WRITERS, reference

Make = Callable[[str], Path]
LENGTHS = (7, 12, 3, 31, 1)


def opened(folder: Path) -> Checkpoint:
    return Checkpoint(find_checkpoint(f"hf:{folder}", Path("/")))


def built(checkpoint: Checkpoint, lower: int, **settings: object) -> LanguageModel:
    config = ModelConfig.build({"size": "tiny", "lower_layers": lower, **settings})
    model = LanguageModel(config.resolve(vocabulary=VOCABULARY, backbone=checkpoint.shape)).eval()
    checkpoint.fill(model)
    return model


def segments(causal: bool = False) -> list[Segment]:
    generator = np.random.default_rng(1)
    return [Segment(generator.integers(5, VOCABULARY, length).astype(np.int32), causal) for length in LENGTHS]


def told(family: str, ids: np.ndarray) -> tuple[list[Tensor], Tensor | None]:
    """Hidden states after every layer (T D), and logits (T V), of the library's own model."""
    with torch.no_grad():
        output = reference(family)(input_ids=torch.from_numpy(ids.astype(np.int64))[None], output_hidden_states=True)
    return [states[0] for states in output.hidden_states], output.logits[0] if "logits" in output else None


@pytest.mark.parametrize("family", KINDS)
def test_states_are_those_of_the_library_padded_and_packed(tiny_checkpoint: Make, family: str) -> None:
    checkpoint, given = opened(tiny_checkpoint(family)), segments()
    wanted = [told(family, segment.ids)[0] for segment in given]
    packed = SegmentBatch.from_packed(pack(given, 40))
    for lower in range(1, LAYERS + 1):
        model = built(checkpoint, lower)
        with torch.inference_mode():
            for batch in (SegmentBatch.padded(given), packed):
                states = model.encode(batch)
                for number, layers in enumerate(wanted):
                    torch.testing.assert_close(states[batch.segment == number], layers[lower], atol=2e-5, rtol=0)


@pytest.mark.parametrize("family", WRITERS)
def test_writing_has_the_logits_of_the_library(tiny_checkpoint: Make, family: str) -> None:
    """Lower and upper layers together are the whole model, wherever it is split."""
    checkpoint, given = opened(tiny_checkpoint(family)), segments(causal=True)
    batch = SegmentBatch.padded(given)
    for lower, way in ((1, "lora"), (2, "prefix")):
        model = stirred(built(checkpoint, lower, adapt=way))  # what adapts the layers to slots is left out
        with torch.inference_mode():
            states = model.write_states(batch, model.encode(batch), torch.ones(len(given), dtype=torch.bool))
            logits = model.logits(states)
        for number, segment in enumerate(given):
            wanted = told(family, segment.ids)[1]
            torch.testing.assert_close(logits[batch.segment[batch.real] == number], wanted, atol=2e-5, rtol=0)


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_written_segments_are_read_from_left_to_right(tiny_checkpoint: Make, family: str) -> None:
    model = built(opened(tiny_checkpoint(family)), 2)
    ids = segments()[1].ids
    with torch.inference_mode():
        whole = model.encode(SegmentBatch.padded([Segment(ids, True)]))[0]
        torch.testing.assert_close(model.encode(SegmentBatch.padded([Segment(ids[:5], True)]))[0], whole[:5], atol=1e-5, rtol=0)
        assert not torch.allclose(model.encode(SegmentBatch.padded([Segment(ids)]))[0][:5], whole[:5], atol=1e-3)


@pytest.mark.parametrize("family", ["bert", "mpnet", "gpt2", "llama", "t5"])
def test_texts_being_written_are_read_on_token_by_token(tiny_checkpoint: Make, family: str) -> None:
    """What `encode` gives for causal segments, from kept keys and values."""
    model = built(opened(tiny_checkpoint(family)), 2)
    ids = segments()[1].ids
    with torch.inference_mode():
        whole = model.encode(SegmentBatch.padded([Segment(ids, True)]))[0]
        embedded = model.embed(torch.from_numpy(ids.astype(np.int64))[None])
        first, kept = model.lower.extend(embedded[:, :5])
        parts = [first[0]]
        for place in range(5, len(ids)):
            told, kept = model.lower.extend(embedded[:, place : place + 1], kept)
            parts.append(told[0])
        torch.testing.assert_close(torch.cat(parts), whole, atol=2e-5, rtol=0)


def history() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    gaps = torch.exp(torch.rand(3, 9, generator=generator, dtype=torch.float64) * 14)
    return torch.randn(3, 9, WIDTH, generator=generator), 1.6e9 + gaps.cumsum(1)


def stirred(model: LanguageModel) -> LanguageModel:
    """Slot biases and adapters start at nothing: make them matter."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.upper.named_parameters():
            if name.startswith("biases.") or is_adapter(name):
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        for bias in model.upper.biases:
            bias.time[0] = 0
    return model


@pytest.mark.parametrize("way", ["lora", "prefix"])
@pytest.mark.parametrize("family", ["bert", "gpt2", "qwen3", "t5"])
def test_upper_layers_keep_their_promises(tiny_checkpoint: Make, family: str, way: str) -> None:
    """Cached = uncached, the last slot alone, questions = candidates, one request = a batch, plain arrays = tensors."""
    upper = stirred(built(opened(tiny_checkpoint(family)), 1, adapt=way)).upper
    slots, times = history()

    def close(got: Tensor, wanted: Tensor) -> None:
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-5)

    with torch.no_grad():
        whole = upper(slots, times)
        first, cache = upper.extend(slots[:, :4], times[:, :4])
        second, cache = upper.extend(slots[:, 4:], times[:, 4:], cache)
        close(torch.cat([first, second], dim=1), whole)
        close(upper.last(slots, times, torch.tensor([8, 3, 0])), whole[torch.arange(3), torch.tensor([8, 3, 0])])
        asked, moment = torch.randn(3, 5, WIDTH, generator=torch.Generator().manual_seed(4)), float(times.max()) + 60
        moments = torch.full((3, 5), moment, dtype=torch.float64)
        answers = upper.question(asked, cache, moments)
        _, read = upper.read(slots, times, torch.full((3,), 9))
        close(upper.norm(upper.candidates(asked, read, torch.full((3, 5), 9), moments)), answers)
        earlier = upper.candidates(asked, read, torch.full((3, 5), 4), moments)
        _, short = upper.read(slots[:, :4], times[:, :4], torch.full((3,), 4))
        close(earlier, upper.candidates(asked, short, torch.full((3, 5), 4), moments))
        _, alone = upper.read(slots[:1], times[:1], torch.tensor([9]))
        close(upper.norm(upper.candidates_of_one(asked[0], alone, moment)), answers[0])
        arrays = laid_out(upper)
        assert isinstance(arrays, UpperTensors)
        known = arrays.read(slots[0].numpy(), times[0].numpy())
        close(torch.from_numpy(known.state), whole[0, -1])
        shorter = arrays.read(slots[0, :-1].numpy(), times[0, :-1].numpy())
        close(torch.from_numpy(arrays.extend(shorter, slots[0, -1].numpy(), float(times[0, -1])).state), whole[0, -1])
        close(upper.norm(torch.from_numpy(arrays.candidates(asked[0].numpy(), known, moment))), answers[0])


def test_t5_slots_start_with_the_bias_of_its_tokens(tiny_checkpoint: Make) -> None:
    """Causal upper layers over token states give what T5 would with its view cut to the left: the slot bias says its distances."""
    model = built(opened(tiny_checkpoint("t5")), 1, adapt="none")
    segment = Segment(segments()[3].ids, True)
    batch = SegmentBatch.padded([segment])
    deeper = built(opened(tiny_checkpoint("t5")), LAYERS)
    with torch.inference_mode():
        states = model.upper(model.encode(batch))
        torch.testing.assert_close(states, deeper.encode(batch), atol=2e-5, rtol=0)


@pytest.mark.parametrize(("way", "share"), [("none", 0.005), ("lora", 0.2), ("prefix", 0.04), ("full", 1.0)])
def test_only_what_adapts_is_trained(tiny_checkpoint: Make, way: str, share: float) -> None:
    model = built(opened(tiny_checkpoint("bert")), 2, adapt={"way": way, "rank": 2, "prefix": 4})
    model.freeze_reading()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(name.startswith("upper.") for name in trained)
    if way != "full":
        assert all(name.startswith("upper.biases.") or is_adapter(name) for name in trained)
    own = sum(p.numel() for name, p in trained.items() if not name.startswith("upper.biases."))
    assert own <= share * sum(p.numel() for p in model.upper.parameters())
    before = model.upper(history()[0]).detach()
    fresh = built(opened(tiny_checkpoint("bert")), 2, adapt="none")
    if way != "prefix":  # low-rank changes start at nothing
        torch.testing.assert_close(before, fresh.upper(history()[0]).detach())


def test_joined_changes_answer_alike(tiny_checkpoint: Make) -> None:
    upper = stirred(built(opened(tiny_checkpoint("qwen3")), 1, adapt="lora")).upper
    slots, times = history()
    with torch.no_grad():
        before = upper(slots, times)
        join_adapters(upper)
        torch.testing.assert_close(upper(slots, times), before, atol=2e-5, rtol=0)
        assert all(name.rpartition(".")[2] != "joined" for name in upper.state_dict())
        upper.layers[0].get_submodule("attention.q").lora_up.zero_()  # type: ignore[union-attr]
        torch.testing.assert_close(upper(slots, times), before, atol=2e-5, rtol=0)
        assert not torch.allclose(upper.train().eval()(slots, times), before, atol=1e-3)


def test_a_checkpoint_below_and_our_own_layers_above(tiny_checkpoint: Make) -> None:
    """All layers of the checkpoint read; slots have a width of their own, and token states can still be written from."""
    model = built(opened(tiny_checkpoint("bert")), LAYERS, width=16)
    assert (model.shape.read_width, model.shape.width) == (WIDTH, 16)
    batch = SegmentBatch.padded(segments(causal=True))
    states = model.encode(batch)
    assert model.summaries(batch, states).shape == (len(LENGTHS), WIDTH)
    written = model.write_states(batch, states, torch.ones(len(LENGTHS), dtype=torch.bool))
    assert written.shape == (sum(LENGTHS), 16)
    assert model.logits(written).shape == (sum(LENGTHS), VOCABULARY)
    assert laid_out(model.upper).read(np.zeros((2, 16), np.float32), None).state.shape == (16,)


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_half_precision_weights_are_read(tiny_checkpoint: Make, tmp_path: Path, stored: torch.dtype) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_checkpoint("qwen2")
    halves = {name: tensor.to(stored) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(halves, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    model = built(opened(tmp_path), 2)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    batch = SegmentBatch.padded(segments())
    with torch.inference_mode():
        whole = built(opened(folder), 2).encode(batch)
        torch.testing.assert_close(model.encode(batch), whole, atol=0.2, rtol=0.05)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert bool(torch.isfinite(model.summaries(batch)).all())
