"""`model.backbone` from the command line to answers: a checkpoint of each family is trained on, saved and loaded, and the folder needs nothing else."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from answers_alike import assert_alike
from m6rec import Recommender
from m6rec.config import M6RecConfig, load_config
from m6rec.language_model.backbones.adapt import is_adapter
from m6rec.tasks.model_folder import ChooseScorer
from m6rec.training.pipeline import open_run, train

Make = Callable[[str], Path]
QUICK = ["train.epochs=1", "train.threads=1", "model.history=12", "evaluation.resamples=100", "evaluation.baselines=[popularity]"]


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("bert", ["model.adapt=prefix", "tasks.next.interest={epochs: 1, cases: 50}"]),
        ("qwen3", ["model.lower_layers=1", "model.adapt={way: lora, rank: 4}"]),
    ],
)
def test_train_recommend_save_load(
    family: str, settings: list[str], tiny_checkpoint: Make, tiny_sample: Path, tmp_path: Path, m6rec: Any
) -> None:
    """Through `m6rec train`; the checkpoint is gone when the model answers."""
    checkpoint = shutil.copytree(tiny_checkpoint(family), tmp_path / "checkpoint")
    said = [f"model.backbone=hf:{checkpoint}", *QUICK, *settings]
    run = tmp_path / "run"
    told = m6rec("train", tiny_sample / "config.yaml", "--run", run, "--json", *(word for one in said for word in ("--set", one))).json()
    assert told["pretrain"]["family"] == family
    shutil.rmtree(checkpoint)
    rec = Recommender.from_pretrained(run)
    user = pl.read_parquet(tiny_sample / "events.parquet")["user_id"][0]
    first = rec.recommend(user=user, k=5)
    assert len(first) == 5
    assert rec.recommend(text="quiet morning", k=3)
    assert (run / "model" / "adapter").exists() == ("lora" in str(settings))
    ChooseScorer.load(run / "model").save(tmp_path / "saved")
    again = Recommender.from_pretrained(tmp_path / "saved")
    assert_alike(again.recommend(user=user, k=5), first)
    if "interest" in str(settings):  # a story is read by the checkpoint, and an item added later is near to what it says of itself
        assert again.engine.scorer.interest is not None
        assert again.engine.scorer.interest.meaning is not None
        story = "a quiet morning by the river with good boots and a warm coat, " * 4
        assert_alike(again.recommend(text=story, k=5), rec.recommend(text=story, k=5))
        again.add_items(pl.DataFrame({"item_id": ["late"], "title": [story]}))
        assert again.recommend(text=story, k=1)[0].item_id == "late"


def test_only_the_adapters_moved(tiny_checkpoint: Make, tiny_sample: Path, tiny_config: Callable[..., M6RecConfig], tmp_path: Path) -> None:
    """The checkpoint's own weights have their bits after training; what adapts them does not."""
    config = tiny_config(f"model.backbone=hf:{tiny_checkpoint('gpt2')}", "model.width=null", "train.epochs=1")
    train(config, tiny_sample, tmp_path / "run", until="fit")
    bench = open_run(tmp_path / "run")
    start, end = (load_file(bench.folder(stage) / "best.safetensors") for stage in ("pretrain", "fit"))
    moved = {name for name in start if name.startswith("model.") and not torch.equal(start[name], end[name])}
    assert moved
    assert all(is_adapter(name) or ".biases." in name for name in moved)


def test_judging_beside_it(judged_sample: Path, tiny_checkpoint: Make, tmp_path: Path) -> None:
    """Candidates, items and texts are judged over a checkpoint's layers; one request is answered as a batch is."""
    settings = [*QUICK, f"model.backbone=hf:{tiny_checkpoint('roberta')}", "evaluation.worth={click: 1}"]
    train(load_config(judged_sample / "config.yaml", settings), judged_sample, tmp_path / "run")
    rec = Recommender.from_pretrained(tmp_path / "run")
    exposures = pl.read_parquet(judged_sample / "exposures.parquet")
    user, items = exposures["user_id"][0], exposures["item_id"].unique().sort().to_list()[:6]
    ranked = rec.rank(user=user, items=items, task="click", scenario="shop")
    asked = pl.DataFrame({"user_id": [user] * 6, "item_id": items, "scenario": ["shop"] * 6})
    together = rec.predict(asked, ["click"])["click"].to_list()
    alone = {one.item_id: one.score for one in ranked}
    assert [alone[item] for item in items] == pytest.approx(together, abs=2e-5)
    assert rec.classify("what a calm and lovely thing", task="sentiment")
    mixing = [tensor for name, tensor in load_file(tmp_path / "run" / "model" / "model.safetensors").items() if name.endswith(".mixing")]
    assert {len(views) for views in mixing} == {4}, "of three views and that of the checkpoint's mean state"


@pytest.mark.parametrize(
    ("family", "settings"), [("gpt2", ["writing.layers=0"]), ("t5", ["writing.layers=1", "model.lower_layers=3", "model.width=16"])]
)
def test_writing_beside_it(family: str, settings: list[str], judged_sample: Path, tiny_checkpoint: Make, tmp_path: Path) -> None:
    """A write task learns over a checkpoint's layers, saved and loaded; words are written by the layers above or by the writer's own."""
    config = load_config(
        judged_sample / "config.yaml",
        [
            *QUICK,
            *settings,
            f"model.backbone=hf:{tiny_checkpoint(family)}",
            "writing.passes=1",
            "tasks={next: {}, say: {answer: write, from: review}}",
        ],
    )
    train(config, judged_sample, tmp_path / "run")
    rec = Recommender.from_pretrained(tmp_path / "run")
    items = pl.read_parquet(judged_sample / "items.parquet")["item_id"].to_list()
    said = rec.write("say", user="u01", item=items[0], decoding="greedy", words=(1, 8))
    assert said.kind == "say"
    assert all(map(math.isfinite, rec.plausibility(["quiet morning", "morning quiet"])))
    assert (
        Recommender.from_pretrained(tmp_path / "run").write("say", user="u01", item=items[0], decoding="greedy", words=(1, 8)).text
        == said.text
    )


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_pretraining_goes_on_from_it(
    family: str, tiny_checkpoint: Make, tiny_sample: Path, tiny_config: Callable[..., M6RecConfig], tmp_path: Path
) -> None:
    config = tiny_config(
        f"model.backbone=hf:{tiny_checkpoint(family)}",
        "model.width=null",
        "pretrain.from_checkpoint=continue",
        "pretrain.checkpoint_rate=1e-3",
    )
    train(config, tiny_sample, tmp_path / "run", until="pretrain")
    bench = open_run(tmp_path / "run")
    rows = [json.loads(line) for line in (bench.folder("pretrain") / "log.jsonl").read_text().splitlines()]
    losses = {name for name in rows[-1] if name.startswith("infill.") or name in ("left_to_right", "infill", "views")}
    assert any("left_to_right" in name for name in losses) == (family == "gpt2")
    fresh = bench.new_model()
    assert bench.checkpoint is not None
    bench.checkpoint.fill(fresh)
    assert not torch.equal(bench.model.embedding.weight, fresh.embedding.weight)
    torch.testing.assert_close(bench.model.embedding.weight, fresh.embedding.weight, atol=0.2, rtol=0)


def test_without_a_backbone_nothing_is_different(tiny_config: Callable[..., M6RecConfig], tiny_run: Path) -> None:
    """The shape of a compact model is saved as it was before there were others, so folders of then and now are one kind."""
    facts = json.loads((tiny_run / "model" / "config.json").read_text())
    assert "backbone" not in facts["shape"]
    shape = open_run(tiny_run).shape
    assert shape.fingerprint() == type(shape).build(facts["shape"]).fingerprint()
