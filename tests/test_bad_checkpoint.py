"""Damaged, foreign and half-written model folders: one line that says what to do; a failing or killed save leaves the old folder."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from m6rec import Recommender
from m6rec.base.errors import CheckpointError, StorageError
from m6rec.language_model.checkpoint import FORMAT_VERSION, load_weights, save_weights
from m6rec.tasks import model_folder
from m6rec.text.tokenizer import Tokenizer
from m6rec.training.pipeline import train
from m6rec.training.run_folder import RunFolder

CommandLines = Callable[..., Any]


@pytest.fixture
def model(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run / "model", tmp_path / "model"))


def cut(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def change_config(model: Path, **values: Any) -> None:
    facts = json.loads((model / "config.json").read_text(encoding="utf-8"))
    facts.update(values)
    (model / "config.json").write_text(json.dumps(facts), encoding="utf-8")


def without_config(model: Path, key: str) -> None:
    facts = json.loads((model / "config.json").read_text(encoding="utf-8"))
    del facts[key]
    (model / "config.json").write_text(json.dumps(facts), encoding="utf-8")


def change_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], Any], **metadata: str) -> None:
    tensors, known = load_weights(path)
    change(tensors)
    save_weights(path, tensors, {**known, **metadata})


def other_tokenizer(model: Path) -> None:
    Tokenizer.train(["words of another shop"] * 9, 300).save(model / "tokenizer.json")


def other_graph(model: Path) -> None:
    """A whole graph, of a catalogue with one item less."""

    def shorten(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if name.endswith(".indptr")]:
            tensors[name] = tensors[name][:-1].contiguous()

    change_tensors(model / "graph.safetensors", shorten)


def wild_graph(model: Path) -> None:
    def point_nowhere(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if name.endswith(".indices")]:
            tensors[name] = tensors[name] + 1000

    change_tensors(model / "graph.safetensors", point_nowhere)


def partless_graph(model: Path) -> None:
    def forget(tensors: dict[str, torch.Tensor]) -> None:
        del tensors[sorted(tensors)[0]]

    change_tensors(model / "graph.safetensors", forget)


def smaller_bag(model: Path) -> None:
    bag = json.loads((model / "bag.json").read_text(encoding="utf-8"))
    bag["features"], bag["idf"] = bag["features"][1:], bag["idf"][1:]
    (model / "bag.json").write_text(json.dumps(bag), encoding="utf-8")


def halve(tensors: dict[str, torch.Tensor]) -> None:
    tensors["summaries"] = tensors["summaries"][::2].contiguous()


DAMAGE: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "weights cut": (lambda m: cut(m / "model.safetensors"), ["model.safetensors is damaged or cut short", "train again"]),
    "weights empty": (lambda m: (m / "model.safetensors").write_bytes(b""), ["model.safetensors is damaged or cut short"]),
    "weights of noise": (lambda m: (m / "model.safetensors").write_bytes(b"\x00" * 500), ["model.safetensors is damaged"]),
    "weights missing": (lambda m: (m / "model.safetensors").unlink(), ["model.safetensors does not exist"]),
    "weights of another model": (
        lambda m: change_tensors(m / "model.safetensors", lambda t: t.pop(sorted(t)[0])),
        ["has no tensor", "keep the files of one folder together"],
    ),
    "weights of other data": (
        lambda m: change_tensors(m / "model.safetensors", lambda t: None, data="0" * 16),
        ["saved with another data", "keep the files"],
    ),
    "configuration cut": (lambda m: cut(m / "config.json"), ["config.json can't be read", "restore it from a copy or train again"]),
    "configuration a list": (lambda m: (m / "config.json").write_text("[]"), ["config.json holds list"]),
    "configuration not UTF-8": (lambda m: (m / "config.json").write_bytes(b'{"a": "\xff"}'), ["config.json can't be read"]),
    "configuration without sizes": (lambda m: without_config(m, "sizes"), ["config.json is damaged ('sizes')"]),
    "configuration without data": (lambda m: without_config(m, "data"), ["config.json is damaged ('data')"]),
    "configuration with a wrong shape": (lambda m: change_config(m, shape={"width": "wide"}), ["config.json is damaged"]),
    "configuration with another task": (lambda m: change_config(m, task={"answr": "choose"}), ["did you mean 'answer'"]),
    "configuration missing": (lambda m: (m / "config.json").unlink(), ["is no model folder: config.json is missing", "m6rec train"]),
    "newer version": (lambda m: change_config(m, format_version=FORMAT_VERSION + 1, written_by="9.9"), ["version 9.9", "upgrade m6rec"]),
    "no version": (lambda m: without_config(m, "format_version"), ["no format_version"]),
    "another tokenizer": (other_tokenizer, ["was trained with tokenizer", "use the tokenizer.json saved beside it"]),
    "tokenizer cut": (lambda m: cut(m / "tokenizer.json"), ["tokenizer.json is damaged"]),
    "tokenizer missing": (lambda m: (m / "tokenizer.json").unlink(), ["tokenizer.json can't be read"]),
    "bag cut": (lambda m: cut(m / "bag.json"), ["bag.json is damaged"]),
    "bag missing": (lambda m: (m / "bag.json").unlink(), ["bag.json can't be read"]),
    "another bag": (smaller_bag, ["bag.json has", "keep the files of one folder together"]),
    "profile bag missing": (lambda m: (m / "profile_bag.json").unlink(), ["profile_bag.json can't be read"]),
    "graph of another catalogue": (other_graph, ["graph.safetensors is of 39 items, the catalogue has 40"]),
    "graph that points nowhere": (wild_graph, ["graph.safetensors is not the graph of this model"]),
    "graph without a part": (partless_graph, ["graph.safetensors is not the graph of this model"]),
    "graph cut": (lambda m: cut(m / "graph.safetensors"), ["graph.safetensors is damaged"]),
    "item states of another catalogue": (
        lambda m: change_tensors(m / "item_states.safetensors", halve),
        ["item_states.safetensors does not hold 40 summaries"],
    ),
    "user states missing": (lambda m: (m / "user_states.safetensors").unlink(), ["user_states.safetensors does not exist"]),
    "items cut": (lambda m: cut(m / "data" / "items.parquet"), ["data", "damaged"]),
    "histories cut": (lambda m: cut(m / "data" / "histories-items.npy"), ["data", "damaged"]),
    "histories missing": (lambda m: (m / "data" / "histories-items.npy").unlink(), ["histories-items.npy is missing"]),
    "data missing": (lambda m: shutil.rmtree(m / "data"), ["no prepared dataset", "dataset.json is missing"]),
    "data of another version": (
        lambda m: (m / "data" / "dataset.json").write_text('{"version": 99}'),
        ["dataset of version 99", "upgrade m6rec"],
    ),
    "other data": (lambda m: change_config(m, data="0" * 16), ["keep the files of one folder together"]),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_one_line_that_says_what_to_do(name: str, model: Path) -> None:
    damage, words = DAMAGE[name]
    damage(model)
    with pytest.raises(CheckpointError) as caught:
        Recommender.from_pretrained(model)
    message = str(caught.value)
    assert "\n" not in message
    assert str(model) in message
    assert len(message) < 500
    for word in words:
        assert word in message


@pytest.mark.parametrize("name", ["weights cut", "configuration cut", "newer version", "another tokenizer", "histories missing"])
def test_the_command_line_says_the_same(name: str, model: Path, m6rec: CommandLines) -> None:
    damage, words = DAMAGE[name]
    damage(model)
    for command in (["recommend", model, "--user", "u01"], ["similar", model, "--item", "i01"]):
        assert words[0] in m6rec(*command).error(1)


def stopped(run: Path, stage: str) -> None:
    """As `m6rec train --until` leaves it before `stage`."""
    order = ["prepare", "tokenizer", "pretrain", "encode", "fit", "evaluate", "index", "report"]
    for name in order[order.index(stage) :]:
        shutil.rmtree(next(run.glob(f"stages/{name}-*")))


def killed(run: Path, stage: str) -> None:
    """As a training that was killed in `stage` leaves it: the stage is begun, nothing says of what the run was."""
    (begun,) = run.glob(f"stages/{stage}-*")
    stopped(run, stage)
    begun.mkdir()
    (run / "run.json").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: shutil.rmtree(run / "model"), "is not finished; run the same"),
        (lambda run: cut(run / "run.json"), "run.json is damaged"),
        (lambda run: (run / "run.json").unlink(), "run.json is missing; `m6rec train CONFIG --run"),
        (
            lambda run: killed(run, "fit"),
            "is not finished (finished: prepare, tokenizer, pretrain, encode; next: fit); go on with `m6rec train CONFIG --run",
        ),
        (lambda run: killed(run, "prepare"), "is not finished (next: prepare); go on with"),
        (lambda run: stopped(run, "encode"), "next: encode); go on with"),
        (lambda run: (run / "run.json").write_text('{"format": 99}'), "upgrade m6rec"),
    ],
)
def test_damaged_runs_are_one_line(damage: Callable[[Path], Any], words: str, tiny_run: Path, tmp_path: Path, m6rec: CommandLines) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    damage(run)
    command = ["recommend", run, "--user", "u01"] if "not finished; run" in words else ["evaluate", run, "--baselines", "none"]
    assert words in m6rec(*command).error(1)


def full(*arguments: object, **options: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FAILING = {
    "weights": (model_folder, "save_weights"),
    "data": (model_folder, "save_dataset"),
    "any text": (Path, "write_text"),
    "any bytes": (Path, "write_bytes"),
    "sync": (os, "fsync"),
    "rename": (os, "replace"),
}


@pytest.mark.parametrize("name", FAILING)
def test_no_space_while_saving_leaves_the_old_folder(name: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rec = Recommender.from_pretrained(model)
    before = rec.recommend(user="u01", k=99)
    rec.add_events({"user_id": ["u01", "zed"], "item_id": ["i01", "i02"]})
    with monkeypatch.context() as patch:
        patch.setattr(*FAILING[name], full)
        with pytest.raises(StorageError) as caught:
            rec.save_pretrained(model)
    assert str(caught.value).count("No space left on device; nothing was changed there") == 1
    assert str(model) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ".tmp" not in str(caught.value)
    assert [path.name for path in model.parent.iterdir()] == ["model"], "nothing half-written"
    assert Recommender.from_pretrained(model).recommend(user="u01", k=99) == before
    rec.save_pretrained(model)
    assert Recommender.from_pretrained(model).recommend(user="zed", k=99) == rec.recommend(user="zed", k=99)


def test_no_space_while_training_keeps_finished_stages(
    tiny_sample: Path, tmp_path: Path, tiny_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever in a stage it happens, also in its plain log lines; the same call then goes on."""
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "log", full)
        with pytest.raises(StorageError, match="No space left on device; finished stages are kept") as caught:
            train(tiny_config(), tiny_sample, run, until="tokenizer")
    assert "\n" not in str(caught.value)
    assert train(tiny_config(), tiny_sample, run, until="tokenizer")["prepare"]["skipped"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device"):
            train(tiny_config("text.vocabulary=350"), tiny_sample, run, until="tokenizer")
    assert all((folder / "done.json").exists() for folder in run.glob("stages/*") if any(folder.iterdir()))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("format", ["parquet", "csv", "jsonl"])
def test_a_truly_full_disk_while_writing_tables(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, m6rec: CommandLines) -> None:
    """Every write goes to /dev/full, as the operating system itself fails; also through the command line."""
    real = Path.write_bytes

    def write(path: Path, content: bytes) -> int:
        path.symlink_to("/dev/full")
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", write)
    out = tmp_path / "shop"
    error = m6rec("sample", out, "--users", 20, "--items", 20, "--format", format).error(1)
    assert "No space left on device; nothing was changed there" in error
    assert not out.exists() or list(out.iterdir()) == []


def test_what_polars_says_of_a_full_disk_is_a_storage_error(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left to write a file by itself, polars calls a full disk a ComputeError; so it is only given memory to write to."""
    real = pl.DataFrame.write_parquet

    def write(frame: pl.DataFrame, file: Any, **options: Any) -> None:
        if isinstance(file, str | Path):
            raise pl.exceptions.ComputeError("No space left on device (os error 28)")
        real(frame, file, **options)

    monkeypatch.setattr(pl.DataFrame, "write_parquet", write)
    rec = Recommender.from_pretrained(model)
    rec.save_pretrained(model)
    assert len(Recommender.from_pretrained(model).recommend(user="u01", k=3)) == 3


def test_every_moment_of_a_save_leaves_a_folder_that_loads(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the disk before and after every sync and rename is what kill -9 would leave there: old or new, never half."""
    rec = Recommender.from_pretrained(model)
    old = rec.recommend(user="u01", k=99)
    rec.add_events({"user_id": ["u01"], "item_id": [old[0].item_id]})
    new = rec.recommend(user="u01", k=99)
    moments = tmp_path / "moments"
    moments.mkdir()
    place = tmp_path / "place"
    place.mkdir()
    model.rename(place / "model")

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            shutil.copytree(place, moments / f"{len(list(moments.iterdir())):03d}")
            result = real(*arguments, **options)
            shutil.copytree(place, moments / f"{len(list(moments.iterdir())):03d}")
            return result

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", watched(os.replace))
        patch.setattr(os, "fsync", watched(os.fsync))
        rec.save_pretrained(place / "model")
    found = [Recommender.from_pretrained(moment / "model").recommend(user="u01", k=99) for moment in sorted(moments.iterdir())]
    assert len(found) > 20
    turn = found.index(new)
    assert found == [old] * turn + [new] * (len(found) - turn)
    last = sorted(moments.iterdir())[turn - 1]
    Recommender.from_pretrained(last / "model").save_pretrained(last / "model")
    assert [path.name for path in last.iterdir()] == ["model"], "what the killed one left is cleared away"


# Saves again and again; every generation has one event more.
SAVES = """
import sys
from m6rec import Recommender

rec = Recommender.from_pretrained(sys.argv[1])
print("ready", flush=True)
while True:
    rec.add_events({"user_id": ["zed"], "item_id": ["i01"]})
    rec.save_pretrained(sys.argv[1])
"""


def test_kill_while_saving(model: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SAVES, str(model)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    rec = Recommender.from_pretrained(model)
    assert len(rec.recommend(user="u01", k=5)) == 5
    rec.save_pretrained(model)
    assert [path.name for path in model.parent.iterdir()] == ["model"]
