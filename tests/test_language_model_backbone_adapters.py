"""Low-rank changes in peft's files, against peft itself: what it trained is read, and it reads what was trained here."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from m6rec.base.errors import CheckpointError, ConfigError
from m6rec.language_model.backbones.peft_files import PeftAdapter, save_adapter
from m6rec.language_model.backbones.weights import Checkpoint
from m6rec.language_model.segments import SegmentBatch
from test_language_model_backbones import built, opened, segments, stirred
from tiny_checkpoints import reference

Make = Callable[[str], Path]
TARGETS = {
    "qwen3": ["q_proj", "v_proj", "down_proj", "gate_proj"],
    "gpt2": ["c_attn", "c_fc"],
    "bert": ["query", "value", "attention.output.dense"],
    "t5": ["q", "v", "wi"],
}


def adapted_by_peft(family: str, folder: Path) -> Any:
    """The library's model with random changes, saved by peft into `folder`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft

        config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=TARGETS[family], fan_in_fan_out=family == "gpt2")
        model = peft.get_peft_model(copy.deepcopy(reference(family)), config).eval()
        torch.manual_seed(5)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.copy_(0.3 * torch.randn_like(parameter))
        model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("family", TARGETS)
def test_what_peft_trained_is_read(family: str, tiny_checkpoint: Make, tmp_path: Path) -> None:
    wanted = adapted_by_peft(family, tmp_path)
    plain = opened(tiny_checkpoint(family))
    model = built(Checkpoint(plain.files, PeftAdapter(tmp_path)), 2)
    given = segments()
    batch = SegmentBatch.padded(given)
    with torch.inference_mode():
        states, before = model.encode(batch), built(plain, 2).encode(batch)
        for number, segment in enumerate(given):
            ids = torch.from_numpy(segment.ids).long()[None]
            hidden = wanted.base_model.model(input_ids=ids, output_hidden_states=True).hidden_states[2][0]
            torch.testing.assert_close(states[number, : len(segment.ids)], hidden, atol=1e-4, rtol=1e-5)
            assert not torch.allclose(before[number, : len(segment.ids)], hidden, atol=1e-2)


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_peft_reads_what_was_trained_here(family: str, tiny_checkpoint: Make, tmp_path: Path) -> None:
    model = built(opened(tiny_checkpoint(family)), 1, adapt={"way": "lora", "rank": 2, "alpha": 3.0})
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items() if ".biases." in name}
    stirred(model)
    model.load_state_dict(fresh, strict=False)  # slots have biases that tokens have not
    assert save_adapter(model, tmp_path, "hf:somewhere")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft

        wanted = peft.PeftModel.from_pretrained(copy.deepcopy(reference(family)), str(tmp_path)).eval()
    given = segments(causal=True)[:3]
    batch = SegmentBatch.padded(given)
    with torch.inference_mode():
        states = model.encode(batch)
        logits = model.logits(model.upper(states))
        said = model.logits(model.write_states(batch, states, torch.ones(3, dtype=torch.bool)))
        for number, segment in enumerate(given):
            told = wanted(input_ids=torch.from_numpy(segment.ids).long()[None]).logits[0]
            torch.testing.assert_close(logits[number, : len(segment.ids)], told, atol=1e-4, rtol=1e-5)
            plain = reference(family)(input_ids=torch.from_numpy(segment.ids).long()[None]).logits[0]
            assert not torch.allclose(told, plain, atol=1e-2)
            # What the tasks taught is left out of what the checkpoint says of a text.
            torch.testing.assert_close(said[batch.segment[batch.real] == number], plain, atol=1e-4, rtol=1e-5)


def test_bidirectional_ones_are_written_under_their_names(tiny_checkpoint: Make, tmp_path: Path) -> None:
    """Written, and read again as an adapter of the checkpoint, the changes are those of the layers."""
    checkpoint = opened(tiny_checkpoint("t5"))
    model = stirred(built(checkpoint, 1))
    save_adapter(model, tmp_path, "hf:t5")
    again = built(Checkpoint(checkpoint.files, PeftAdapter(tmp_path)), 1, adapt="none")
    for own, other in zip(model.upper.layers, again.upper.layers, strict=True):
        for part in ("attention.q", "attention.kv", "attention.out", "mlp.gate_up", "mlp.down"):
            ours: Any = own.get_submodule(part)
            told: Any = other.get_submodule(part)
            torch.testing.assert_close(ours.weight + ours.change(), told.weight, atol=1e-5, rtol=0)


def test_without_low_rank_changes_nothing_is_written(tiny_checkpoint: Make, tmp_path: Path) -> None:
    assert not save_adapter(built(opened(tiny_checkpoint("bert")), 1, adapt="prefix"), tmp_path / "adapter", "hf:bert")
    assert not (tmp_path / "adapter").exists()


def test_adapters_that_do_not_fit(tiny_checkpoint: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder"):
        PeftAdapter(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"has no adapter_config.json"):
        PeftAdapter(tmp_path)
    folder = tmp_path / "qwen3"
    adapted_by_peft("qwen3", folder)
    bert = opened(tiny_checkpoint("bert"))
    with pytest.raises(CheckpointError, match=r"changes 'model.layers.0.mlp.down_proj', which model.backbone does not have"):
        built(Checkpoint(bert.files, PeftAdapter(folder)), 2)
    path = folder / "adapter_config.json"
    facts = json.loads(path.read_text())
    for name, value in (("use_dora", True), ("peft_type", "IA3"), ("bias", "all")):
        path.write_text(json.dumps({**facts, name: value}))
        with pytest.raises(CheckpointError, match=f"says {name} is"):
            PeftAdapter(folder)
    path.write_text("{}")
    with pytest.raises(CheckpointError, match="no adapter's configuration"):
        PeftAdapter(folder)
    path.write_text(json.dumps(facts))
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(CheckpointError, match="pickled adapters are not read"):
        PeftAdapter(folder).change("layers.0.mlp.down_proj")
