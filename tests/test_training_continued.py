"""Continued pretraining: the words of a domain are learned, the folder is whole, and a training starts from it bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from m6rec import Recommender
from m6rec.base.errors import CheckpointError, ConfigError, DataError, UsageError
from m6rec.config import M6RecConfig
from m6rec.training.config import PretrainConfig
from m6rec.training.continued import continue_pretraining, load_language, texts_of
from m6rec.training.pipeline import open_run, train

WORDS = ("violin", "cello", "trumpet", "flute", "harp", "drum")


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of a domain that the sample knows nothing of."""
    path = tmp_path_factory.mktemp("domain") / "texts.txt"
    lines = [
        f"A {one} and a {other} play the {number} movement together" for one in WORDS for other in WORDS for number in ("slow", "last")
    ]
    path.write_text("\n".join([*lines, "", lines[0]]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def language(tiny_run: Path, domain: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("language") / "music"
    config = PretrainConfig.build({"epochs": 12, "batch_targets": 400, "continued_rate": 0.01})
    return out, continue_pretraining(tiny_run, [domain], out, config)


def test_the_words_of_the_domain_are_learned(tiny_run: Path, language: tuple[Path, dict[str, Any]]) -> None:
    out, told = language
    before, after = told["loss"]
    assert told["texts"] == 72 - 3  # each once, a twentieth kept back
    assert after < before - 0.5
    assert sorted(path.name for path in out.parent.iterdir()) == ["music"]  # nothing half done is left
    model, tokenizer = load_language(out)
    start, own = load_language(tiny_run)
    assert tokenizer.fingerprint() == own.fingerprint()
    assert model.shape == start.shape
    assert not torch.equal(model.embedding.weight, start.embedding.weight)


def test_same_arguments_same_weights(tiny_run: Path, domain: Path, tmp_path: Path) -> None:
    config = PretrainConfig.build({"epochs": 1, "batch_targets": 400})
    for name in ("one", "two"):
        continue_pretraining(tiny_run / "model", [domain], tmp_path / name, config, seed=3)
    assert (tmp_path / "one" / "model.safetensors").read_bytes() == (tmp_path / "two" / "model.safetensors").read_bytes()


def test_a_training_starts_from_it(
    tiny_sample: Path, tiny_config: Callable[..., M6RecConfig], language: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, _ = language
    model, tokenizer = load_language(out)
    taken = tiny_config("pretrain.epochs=0", "train.epochs=1", f"pretrain.from={out}", "text.vocabulary=300")
    taken = taken.model_copy(update={"model": taken.model.model_copy(update={"width": None})})  # the folder settles it
    train(taken, tiny_sample, tmp_path / "taken", until="fit")
    bench = open_run(tmp_path / "taken")
    assert bench.shape.width == model.shape.width == 16
    assert bench.tokenizer.fingerprint() == tokenizer.fingerprint()
    assert all(torch.equal(value, bench.model.state_dict()[name]) for name, value in model.state_dict().items())
    further = tiny_config("pretrain.epochs=1", f"pretrain.from={out}")
    train(further, tiny_sample, tmp_path / "further", until="pretrain")
    assert not torch.equal(open_run(tmp_path / "further").model.embedding.weight, model.embedding.weight)


def test_a_finished_run_does_not_need_where_it_started(
    tiny_sample: Path, tiny_config: Callable[..., M6RecConfig], language: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(language[0], tmp_path / "start")
    config = tiny_config("pretrain.epochs=0", "train.epochs=1", f"pretrain.from={tmp_path / 'start'}")
    train(config, tiny_sample, tmp_path / "run")
    shutil.rmtree(tmp_path / "start")
    assert len(open_run(tmp_path / "run").fitted().vectors) == 40
    assert Recommender.from_pretrained(tmp_path / "run").recommend(text="boots", k=1)


def test_what_can_not_be_is_said_in_one_line(
    tiny_sample: Path, tiny_config: Callable[..., M6RecConfig], language: tuple[Path, dict[str, Any]], domain: Path, tmp_path: Path
) -> None:
    out, _ = language
    with pytest.raises(ConfigError, match=r"model\.width is 32, .* has 16"):
        train(tiny_config(f"pretrain.from={out}", "model.width=32"), tiny_sample, tmp_path / "run", until="pretrain")
    with pytest.raises(ConfigError, match="two language models to start from"):
        tiny_config(f"pretrain.from={out}", "model.backbone=hf:some/where")
    with pytest.raises(CheckpointError, match="no finished run, model folder"):
        load_language(tmp_path)
    (tmp_path / "empty.txt").write_text(" \n\n")
    pl.DataFrame({"words": ["a"]}).write_csv(tmp_path / "table.csv")
    (tmp_path / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    for name, said in (
        ("empty.txt", "no text in there"),
        ("table.csv", "no column 'text'"),
        ("latin.txt", "not UTF-8"),
        ("none.txt", "none"),
    ):
        with pytest.raises(DataError, match=said):
            texts_of([tmp_path / name])
    pl.DataFrame({"text": ["one  two", None, "one two"]}).write_csv(tmp_path / "good.csv")
    assert texts_of([tmp_path / "good.csv"]) == ["one two"]
    with pytest.raises(UsageError, match="would be lost"):
        continue_pretraining(out, [domain], tmp_path, PretrainConfig.build({}))


def test_pretrain_on_the_command_line(m6rec: Callable[..., Any], tiny_run: Path, domain: Path, tmp_path: Path) -> None:
    words = ("pretrain", "--from", tiny_run, "--texts", domain, "--out", tmp_path / "out", "--set", "epochs=1")
    assert m6rec(*words, "--json").json()["texts"] == 69
    assert "next: m6rec train CONFIG --set pretrain.from=" in m6rec(*words).out
    assert "unknown key 'epoch'" in m6rec(*words[:-1], "epoch=1").error(2)
