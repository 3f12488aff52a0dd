"""Weights and item states on disk: the same again, or one clear line."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from m6rec.base.contracts import Segment
from m6rec.base.errors import CheckpointError, StorageError
from m6rec.language_model import checkpoint
from m6rec.language_model.checkpoint import load_into, load_model, load_weights, save_model, save_weights
from m6rec.language_model.config import ModelConfig
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.segments import SegmentBatch
from m6rec.language_model.store import ItemStates, texts_fingerprint

SHAPE = ModelConfig(width=16, heads=2, lower_layers=1, upper_layers=1).resolve(vocabulary=40)


@pytest.fixture
def model() -> LanguageModel:
    return LanguageModel(SHAPE, seed=1)


def make_segments(count: int, seed: int = 0) -> list[Segment]:
    generator = np.random.default_rng(seed)
    return [Segment(generator.integers(5, 40, size=generator.integers(1, 12)).astype(np.int32)) for _ in range(count)]


def test_states_from_the_store_equal_recomputed(model: LanguageModel, tmp_path: Path) -> None:
    segments = make_segments(60)
    ItemStates.compute(model, segments, tokenizer="t", keep_tokens=True, dtype=torch.float32, batch_tokens=64).save(
        tmp_path / "states.safetensors"
    )
    stored = ItemStates.load(tmp_path / "states.safetensors")
    assert stored.fits(model, segments, "t")
    assert model.training
    model.eval()
    with torch.no_grad():
        for item, segment in enumerate(segments):
            batch = SegmentBatch.padded([segment])
            torch.testing.assert_close(stored.token_states(item), model.encode(batch)[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(stored.summaries[item], model.summaries(batch)[0], atol=1e-5, rtol=0)


def test_half_precision_tokens_and_summaries_only(model: LanguageModel) -> None:
    segments = make_segments(10)
    full = ItemStates.compute(model, segments, keep_tokens=True, dtype=torch.float32)
    half = ItemStates.compute(model, segments, keep_tokens=True)
    assert half.tokens is not None
    assert full.tokens is not None
    assert half.tokens.dtype == torch.float16
    torch.testing.assert_close(half.tokens.float(), full.tokens, atol=5e-3, rtol=0)
    light = ItemStates.compute(model, segments)
    assert torch.equal(light.summaries, full.summaries)
    with pytest.raises(CheckpointError, match="keep_tokens=True"):
        light.token_states(0)


@pytest.mark.parametrize("keep_tokens", [True, False])
def test_appending_equals_computing_all(model: LanguageModel, tmp_path: Path, keep_tokens: bool) -> None:
    segments = make_segments(30)
    whole = ItemStates.compute(model, segments, keep_tokens=keep_tokens)
    grown = ItemStates.compute(model, segments[:20], keep_tokens=keep_tokens).append(model, segments[20:25]).append(model, segments[25:])
    torch.testing.assert_close(grown.summaries, whole.summaries, atol=1e-5, rtol=0)
    assert grown.texts == whole.texts == texts_fingerprint(segments)
    assert grown.fits(model, segments)
    if keep_tokens:
        assert whole.offsets is not None
        assert grown.offsets is not None
        assert torch.equal(whole.offsets, grown.offsets)
        torch.testing.assert_close(grown.token_states(27), whole.token_states(27), atol=5e-3, rtol=0)


def test_states_know_what_they_were_read_with(model: LanguageModel) -> None:
    segments = make_segments(5)
    states = ItemStates.compute(model, segments, tokenizer="t")
    assert not states.fits(model, segments[::-1], "t")
    assert not states.fits(model, segments, "another")
    with pytest.raises(CheckpointError, match="compute them again"):
        states.append(LanguageModel(SHAPE, seed=2), segments, tokenizer="t")
    with torch.no_grad():  # what items do not depend on may change
        model.upper.norm.weight.add_(1)
    assert states.fits(model, segments, "t")
    with torch.no_grad():
        model.pooling.query.add_(1)
    assert not states.fits(model, segments, "t")


def test_a_saved_model_is_the_same_model(model: LanguageModel, tmp_path: Path) -> None:
    save_model(tmp_path, model, tokenizer="t")
    loaded = load_model(tmp_path, tokenizer="t")
    assert loaded.shape == model.shape
    assert not loaded.training
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True))


def test_saving_twice_gives_the_same_bytes(model: LanguageModel, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_weights(tmp_path / name, model.state_dict(), {"x": 1, "a": "é"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert load_weights(tmp_path / "a")[1] == {"x": 1, "a": "é"}


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def cut_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5])


def empty_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def cut_config(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text()[:40])


def newer_config(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 99, "written_by": "9.0"}))


def other_shape(folder: Path) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values["model"]["width"] = 32
    path.write_text(json.dumps(values))


def unknown_setting(folder: Path) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values["model"]["widht"] = 32
    path.write_text(json.dumps(values))


def foreign_weights(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.ones(1)}, folder / "model.safetensors")


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_weights, "model.safetensors is damaged or cut short"),
        (cut_header, "model.safetensors is damaged or cut short"),
        (empty_weights, "model.safetensors is damaged or cut short"),
        (cut_config, "config.json cannot be read"),
        (newer_config, r"was written by version 9\.0 \(format 99\), this is .* \(format 1\); upgrade m6rec"),
        (other_shape, "were not saved together"),
        (unknown_setting, "unknown key 'widht'; did you mean 'width'"),
        (foreign_weights, "was not written by m6rec"),
        (no_weights, "model.safetensors does not exist"),
        (no_config, "config.json does not exist"),
    ],
)
def test_a_damaged_folder_is_one_line(model: LanguageModel, tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    save_model(tmp_path, model, tokenizer="t")
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_newer_weights_and_another_tokenizer(model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(tmp_path, model, tokenizer="t")
    with pytest.raises(CheckpointError, match=r"trained with tokenizer t, the one at hand is u; use the tokenizer\.json"):
        load_model(tmp_path, tokenizer="u")
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 2)
    save_weights(tmp_path / "new.safetensors", {"w": torch.ones(1)})
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 1)
    with pytest.raises(CheckpointError, match="upgrade m6rec"):
        load_weights(tmp_path / "new.safetensors")


def test_tensors_that_do_not_match_the_module_are_named(model: LanguageModel) -> None:
    tensors = model.state_dict()
    with pytest.raises(CheckpointError, match=r"tensor 'embedding\.weight' is \[3, 16\], the configuration asks for \[40, 16\]"):
        load_into(model, tensors | {"embedding.weight": torch.ones(3, 16)}, "file")
    with pytest.raises(CheckpointError, match=r"no tensor 'pooling\.query'"):
        load_into(model, {n: t for n, t in tensors.items() if n != "pooling.query"}, "file")
    with pytest.raises(CheckpointError, match="has a tensor 'extra'"):
        load_into(model, tensors | {"extra": torch.ones(1)}, "file")


def test_no_space_left_leaves_the_old_file(model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_weights(tmp_path / "w.safetensors", {"w": torch.ones(3)})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device; nothing was changed"):
        save_weights(tmp_path / "w.safetensors", model.state_dict())
    monkeypatch.undo()
    assert load_weights(tmp_path / "w.safetensors")[0]["w"].tolist() == [1, 1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="file size limits exist on Unix only")
    path = tmp_path / "w.safetensors"
    save_weights(path, {"w": torch.ones(3)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # the kernel refuses to let a file grow further
    try:
        with pytest.raises(StorageError, match=r"could not write .*w\.safetensors") as caught:
            save_weights(path, {"w": torch.ones(200_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert load_weights(path)[0]["w"].tolist() == [1, 1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_item_states_refuse_other_files(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", {"w": torch.ones(1)})
    with pytest.raises(CheckpointError, match="holds no item states"):
        ItemStates.load(tmp_path / "w.safetensors")
