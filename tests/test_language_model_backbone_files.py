"""Checkpoints that can't be used: each is one line that says what is wrong and what to type, before anything is trained."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from m6rec.base.errors import CheckpointError, ConfigError, M6RecError, MissingExtraError
from m6rec.language_model.backbones.families import FAMILIES
from m6rec.language_model.backbones.files import find_checkpoint
from m6rec.language_model.backbones.weights import Checkpoint
from m6rec.language_model.config import ModelConfig
from m6rec.text.pretrained_tokenizer import read_tokenizer
from m6rec.training.from_checkpoint import check_backbone
from tiny_checkpoints import LAYERS

Make = Callable[[str], Path]


@pytest.fixture
def folder(tiny_checkpoint: Make, tmp_path: Path) -> Path:
    """A copy of a tiny BERT that may be spoilt."""
    return shutil.copytree(tiny_checkpoint("bert"), tmp_path / "bert")


def config(name: str, **changes: Any) -> Any:
    """A configuration with this backbone, of what `check_backbone` reads."""
    from m6rec.config import M6RecConfig

    return M6RecConfig.build({"data": {"events": "events.csv"}, "model": {"backbone": name, **changes}})


def refusal(folder: Path, **changes: Any) -> str:
    with pytest.raises(M6RecError) as caught:
        check_backbone(config(f"hf:{folder}", **changes), Path("/"))
    said = str(caught.value)
    assert "\n" not in said
    return said


def facts(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_good_one_is_let_through(folder: Path) -> None:
    check_backbone(config(f"hf:{folder}"), Path("/"))
    check_backbone(config("hf:bert"), folder.parent)


def test_family(folder: Path) -> None:
    facts(folder, model_type="mamba")
    said = refusal(folder)
    assert "'mamba'" in said
    assert all(family in said for family in FAMILIES)
    facts(folder, model_type=None)
    assert "not supported" in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_act": "mish"}, "activation is 'mish'"),
        ({"hidden_size": "wide"}, "says hidden_size is 'wide'"),
        ({"num_hidden_layers": None}, "num_hidden_layers is None"),
        ({"num_attention_heads": 5}, "do not fit width"),
        ({"num_hidden_layers": LAYERS + 2}, "the weights have fewer"),
        ({"num_hidden_layers": LAYERS - 1}, "the weights have more"),
        ({"position_embedding_type": "relative_key"}, "'absolute' is understood"),
        ({"is_decoder": True}, "trained as a decoder"),
    ],
)
def test_config_that_does_not_fit(folder: Path, changes: dict[str, Any], words: str) -> None:
    facts(folder, **changes)
    assert words in refusal(folder)


def test_config_that_is_broken(folder: Path) -> None:
    for content, words in (("{", "can't be read"), ("[]", "holds list"), ("\x00", "can't be read")):
        (folder / "config.json").write_text(content)
        assert words in refusal(folder)
    (folder / "config.json").unlink()
    assert "has no config.json" in refusal(folder)


@pytest.mark.parametrize("left", [0, 4, 100, -1, -1000])
def test_half_downloaded_weights(folder: Path, left: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:left])
    said = refusal(folder)
    assert "half downloaded" in said
    assert "fetch" in said


def test_weights_that_are_something_else(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 90000000\n")
    assert "git lfs pull" in refusal(folder)
    weights.write_bytes((20).to_bytes(8, "little") + b"x" * 20)
    assert "damaged" in refusal(folder)
    weights.unlink()
    assert "without its weights, or is half downloaded" in refusal(folder)
    weights.symlink_to(folder / "gone")  # as an interrupted download leaves the hub's cache
    assert "half downloaded: 1 of 1 weight files" in refusal(folder)
    weights.unlink()
    weights.mkdir()
    assert "half downloaded: 1 of 1 weight files are missing, first model.safetensors" in refusal(folder)


def test_shards(folder: Path) -> None:
    """Weights in several files are read; a missing one, or one without what the index says, is named."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    (folder / "model.safetensors").unlink()
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, some in parts.items():
        save_file({name: tensors[name] for name in some}, folder / file)
    index = {"weight_map": {name: file for file, some in parts.items() for name in some}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    check_backbone(config(f"hf:{folder}"), Path("/"))
    (folder / "b.safetensors").rename(folder / "c")
    assert "1 of 2 weight files are missing, first b.safetensors" in refusal(folder)
    (folder / "c").rename(folder / "b.safetensors")
    index["weight_map"]["extra"] = "a.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "has no tensor 'extra'" in refusal(folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    assert "lists no weights" in refusal(folder)


def test_pickled_weights_are_never_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    said = refusal(folder)
    assert "pickled weights only (pytorch_model.bin)" in said
    assert "save_pretrained" in said


def test_tensors_of_another_model(folder: Path) -> None:
    from m6rec.language_model.model import LanguageModel

    facts(folder, intermediate_size=64)
    checkpoint = Checkpoint(find_checkpoint(f"hf:{folder}", Path("/")))
    model = LanguageModel(ModelConfig().resolve(vocabulary=300, backbone=checkpoint.shape))
    with pytest.raises(CheckpointError, match=r"gives \[48, 32\], its config.json asks for \[64, 32\]"):
        checkpoint.fill(model)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: t for name, t in tensors.items() if "word_embeddings" not in name}, folder / "model.safetensors")
    assert "has no tensor 'embeddings.word_embeddings.weight'" in refusal(folder)


def test_values_that_are_no_numbers(folder: Path) -> None:
    from m6rec.language_model.model import LanguageModel

    tensors = load_file(folder / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"][3, 3] = float("nan")
    save_file(tensors, folder / "model.safetensors")
    checkpoint = Checkpoint(find_checkpoint(f"hf:{folder}", Path("/")))
    with pytest.raises(CheckpointError, match="no finite numbers"):
        checkpoint.fill(LanguageModel(ModelConfig().resolve(vocabulary=300, backbone=checkpoint.shape)))


def test_tokenizer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "tokenizer.json"
    whole = path.read_text()
    path.write_text(whole[:500])
    assert "can't be read" in refusal(folder)
    path.write_text('{"version": "1.0", "model": {"type": "Magic"}}')
    assert "no tokenizer that the installed library reads" in refusal(folder)
    path.unlink()
    assert "has no tokenizer" in refusal(folder)
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'm6rec\[hf\]'"):
        read_tokenizer(folder, "bert")


def test_tokenizer_of_another_model(folder: Path) -> None:
    told = json.loads((folder / "tokenizer.json").read_text())
    told["model"]["vocab"] |= {f"more{number}": 1000 + number for number in range(50)}
    (folder / "tokenizer.json").write_text(json.dumps(told))
    assert "has 1050 tokens, its weights know 300" in refusal(folder)


def test_sizes_that_do_not_fit(folder: Path) -> None:
    assert f"model.lower_layers is {LAYERS + 1}" in refusal(folder, lower_layers=LAYERS + 1)
    assert "has 1 layers; write 1 or less" in refusal(folder, lower_layers=2, upper_layers=2)
    checkpoint = Checkpoint(find_checkpoint(f"hf:{folder}", Path("/")))
    with pytest.raises(ConfigError, match=r"model.width is 64, the layers of .* have 32"):
        ModelConfig(backbone=f"hf:{folder}", width=64).resolve(vocabulary=300, backbone=checkpoint.shape)
    with pytest.raises(ConfigError, match=r"text.segment_tokens is 71, .* reads 70 tokens"):
        checkpoint.check_length(71)


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A name is looked for in the hub's cache and nowhere else, unless fetching is allowed."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ConfigError, match=r"no some/model in the local cache; .* --set model.download=true"):
        find_checkpoint("hf:some/model", tmp_path)
    snapshot = tmp_path / "hub" / "models--some--model" / "snapshots" / "abc"
    shutil.copytree(folder, snapshot)
    (tmp_path / "hub" / "models--some--model" / "refs").mkdir()
    (tmp_path / "hub" / "models--some--model" / "refs" / "main").write_text("abc")
    assert find_checkpoint("hf:some/model", tmp_path).folder == snapshot
    assert find_checkpoint("hf:some/model@abc", tmp_path).folder == snapshot
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'm6rec\[hf\]'"):
        find_checkpoint("hf:other/model", tmp_path, download=True)


@pytest.mark.parametrize("name", ["/nowhere/x", "some/more/parts", "~nobody-of-this-name/x", "./x"])
def test_a_path_without_a_folder_is_nothing_to_fetch(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"there is no folder .*x; give the folder of a checkpoint|there is no folder .*parts; give"
    ) as caught:
        find_checkpoint(f"hf:{name}", tmp_path, download=True)
    assert "model.download" not in str(caught.value)


def test_a_file_instead_of_its_folder(folder: Path) -> None:
    with pytest.raises(ConfigError, match=f"which is a file; give the folder that it is in: hf:{folder}$"):
        find_checkpoint(f"hf:{folder / 'model.safetensors'}", Path("/"))


def test_fetching_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Only where it is allowed; what goes wrong is one line."""
    hub = pytest.importorskip("huggingface_hub")
    asked: list[tuple[Any, ...]] = []

    def fetch(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision, allow_patterns))
        if name == "some/model":
            return str(folder)
        raise hub.errors.LocalEntryNotFoundError("no connection\nat all")

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "snapshot_download", fetch)
    assert find_checkpoint("hf:some/model@v2", tmp_path, download=True).folder == folder
    assert asked[0][:2] == ("some/model", "v2")
    assert not any("bin" in pattern or "pt" in pattern for pattern in asked[0][2])  # nothing pickled is even fetched
    with pytest.raises(ConfigError, match=r"other/model can't be fetched \(no connection at all\)"):
        find_checkpoint("hf:other/model", tmp_path, download=True)
    assert len(asked) == 2


def test_names_that_are_none() -> None:
    for name in ("bert", "hf:", "hf: ", {"hf": None}, 5):  # `--set model.backbone=hf:` is a mapping in YAML
        with pytest.raises(ConfigError, match="write hf: and a folder or a name"):
            ModelConfig.build({"backbone": name})


def test_train_says_it_first(folder: Path, tiny_sample: Path, tmp_path: Path, m6rec: Any) -> None:
    (folder / "model.safetensors").write_bytes(b"")
    assert "write hf: and a folder or a name" in m6rec("train", tiny_sample / "config.yaml", "--set", "model.backbone=hf:").error(2)
    told = m6rec("train", tiny_sample / "config.yaml", "--run", tmp_path / "run", "--set", f"model.backbone=hf:{folder}")
    assert "half downloaded" in told.error(1)
    assert not (tmp_path / "run" / "stages").exists()
    assert "half downloaded" in m6rec("validate", tiny_sample / "config.yaml", "--set", f"model.backbone=hf:{folder}").error(1)
