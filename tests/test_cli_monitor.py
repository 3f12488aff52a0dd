"""`m6rec monitor`: from JSON lines to alerts; states that survive kill -9; a trained task or a column as the judge; wrong input in one line."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from m6rec.base.errors import UsageError
from m6rec.data import text_stream
from m6rec.data.text_stream import Position, Texts, stream_files
from m6rec.evaluation.surges import SurgeSettings
from m6rec.recommender import Recommender
from m6rec.serving.monitoring import Monitor, mood_of_column, mood_of_labels

MONDAY = 1_704_067_200


def lines(windows: int = 230, surge: int | None = 200, seed: int = 0) -> list[dict[str, Any]]:
    """Two topics; in the surge, four windows of the first hold many negative texts."""
    generator, rows = np.random.default_rng(seed), []
    for window in range(windows):
        for topic in ("battery", "screen"):
            wild = surge is not None and topic == "battery" and surge <= window < surge + 4
            for place in range(int(generator.poisson(40 if wild else 8))):
                bad = bool(generator.random() < (0.8 if wild else 0.15))
                text = "it broke" if bad else "works well"
                mood = "negative" if bad else "positive"
                rows.append({"time": MONDAY + 3600 * window + 30 * place, "topic": topic, "text": text, "mood": mood})
    return sorted(rows, key=lambda row: row["time"])


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_surge_is_told_once_and_written(m6rec: Callable[..., Any], tmp_path: Path) -> None:
    source = write(tmp_path / "texts.jsonl", lines())
    done = m6rec("monitor", source, "--sentiment", "mood", "--alerts", tmp_path / "a.jsonl", "--report", tmp_path / "page.html")
    assert (done.code, done.err) == (0, "")
    told = done.out.splitlines()
    assert [line.split("  ")[0] for line in told[:-1]] == ["2024-01-09 08:00", "2024-01-09 08:00"]
    assert all("battery: " in line for line in told[:-1])
    assert "2 alerts" in told[-1]
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert kinds == ["volume", "negative"]
    assert "it broke" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_quiet_stream_is_quiet(m6rec: Callable[..., Any], tmp_path: Path) -> None:
    source = write(tmp_path / "texts.jsonl", lines(surge=None))
    assert m6rec("monitor", source, "--sentiment", "mood").out.count("\n") == 1


def test_standard_input_and_json(m6rec: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    raw = "".join(json.dumps({**row, "time": f"2024-01-01T00:{n % 60:02d}:00", "mood": 0.5}) + "\n" for n, row in enumerate(lines(3)))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(raw.encode() + b"nonsense\n{}x\n\n")))
    told = m6rec("monitor", "-", "--sentiment", "mood", "--json").json()
    assert (told["texts"], told["topics"], told["broken"]) == (len(lines(3)), 2, 2)


def test_reading_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    """A run stopped anywhere and repeated tells and writes what one run would have, each alert once."""
    rows = lines()
    whole = watched(write(tmp_path / "whole.jsonl", rows), tmp_path / "whole", None)
    source = write(tmp_path / "texts.jsonl", rows)
    pieces = [watched(source, tmp_path / "cut", stop) for stop in (1, 4, 11, None)]
    assert (tmp_path / "cut.alerts").read_bytes() == (tmp_path / "whole.alerts").read_bytes()
    assert pieces[-1].windows.plain() == whole.windows.plain()
    assert len((tmp_path / "whole.alerts").read_text().splitlines()) == 2


class Killed(BaseException):
    pass


def watched(source: Path, name: Path, stop: int | None) -> Monitor:
    """Read with a state; with `stop`, die before the batch of that number without any farewell, after alerts that the state does not know."""
    monitor = Monitor(
        SurgeSettings(),
        lambda batch: mood_of_column([row["mood"] for row in batch.rows], "mood"),
        lambda batch: [row["topic"] for row in batch.rows],
        state=name.with_suffix(".state"),
        alerts=name.with_suffix(".alerts"),
    )
    for number, batch in enumerate(stream_files([source], monitor.position, text="text", when="time")):
        monitor._tell(monitor._take(batch), lambda alert: None)
        if number % 2:
            monitor.save()
        if number == stop:
            return monitor
    monitor.save()
    return monitor


def test_files_are_followed_and_half_lines_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_stream, "PAUSE", 0.01)
    source, position = tmp_path / "texts.jsonl", Position()
    one, two = (json.dumps({"time": MONDAY + n, "text": f"text {n}"}) for n in range(2))
    source.write_text(one + "\n" + two[:10])
    reading = stream_files([tmp_path], position, text="text", when="time", follow=True)
    assert next(reading).texts == ["text 0"]
    assert position.offsets == {str(source): len(one) + 1}
    assert len(next(reading)) == 0
    with open(source, "a") as handle:
        handle.write(two[10:] + "\n")
    write(tmp_path / "later.jsonl", [{"time": MONDAY, "text": "new file"}])
    found = [next(reading).texts, next(reading).texts]
    assert sorted(found) == [["new file"], ["text 1"]]
    source.write_text(one + "\n")  # replaced by a shorter one
    rest = next(reading)
    while not len(rest):
        rest = next(reading)
    assert rest.texts == ["text 0"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are not known here")
def test_a_pipe_is_told_of_while_it_is_open(tmp_path: Path) -> None:
    """What has come is handed on though the writer has not finished."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    go = threading.Event()

    def talk() -> None:
        with open(pipe, "wb", buffering=0) as handle:
            handle.write(json.dumps({"time": MONDAY, "text": "first"}).encode() + b"\n")
            go.wait(10)
            handle.write(json.dumps({"time": MONDAY, "text": "second"}).encode() + b"\n")

    writer = threading.Thread(target=talk)
    writer.start()
    got: list[Sequence[str]] = []
    with open(pipe, "rb") as handle:
        for batch in text_stream.stream_lines(handle, Position(), text="text", when="time"):
            got.append(batch.texts)
            go.set()
    writer.join()
    assert got == [["first"], ["second"]]


def test_moods() -> None:
    three = [{"negative": 0.7, "neutral": 0.2, "positive": 0.1}, {"negative": 0.1, "neutral": 0.1, "positive": 0.8}]
    assert mood_of_labels(three).negative == [0.7, 0.1]
    assert np.allclose(mood_of_labels(three).sentiment, [-0.6, 0.7])
    assert np.allclose(mood_of_labels([{"0": 0.25, "1": 0.75}]).sentiment, [0.5])
    assert np.allclose(mood_of_labels([{"差评": 0.9, "好评": 0.1}]).negative, [0.9])
    assert mood_of_labels([{"angry": 0.6, "calm": 0.4}], "angry").negative == [0.6]
    with pytest.raises(UsageError, match="none of the labels angry, calm is called negative; say which with --negative LABEL"):
        mood_of_labels([{"angry": 0.6, "calm": 0.4}])
    assert mood_of_column([-0.5, "good", "negative", "meh"], "mood").sentiment == [-0.5, 1.0, -1.0, 0.0]
    with pytest.raises(UsageError, match="column 'mood' holds 7"):
        mood_of_column([7], "mood")


def test_a_task_of_a_run_judges(m6rec: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def classify(self: Any, texts: Sequence[str], *, task: str) -> list[dict[str, float]]:
        if task == "about":
            return [{"power": 0.9, "glass": 0.1} for _ in texts]
        return [{"negative": float("broke" in text), "positive": float("broke" not in text)} for text in texts]

    judge = type("Judge", (), {"classify": classify})()
    monkeypatch.setattr(Recommender, "from_pretrained", classmethod(lambda cls, folder: judge))
    source = write(tmp_path / "texts.jsonl", lines())
    done = m6rec("monitor", source, "--run", "runs/x", "--task", "sentiment", "--topic-task", "about")
    assert "power: " in done.out
    assert "1 topics" in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{source}"], "say who judges"),
        (["{source}", "--run", "r"], "--run needs --task NAME"),
        (["{source}", "--sentiment", "mood", "--topic-task", "x"], "--topic-task needs --run"),
        (["-", "{source}", "--sentiment", "mood"], "stands alone"),
        (["{source}", "--sentiment", "mood", "--window", "soon"], "--window 'soon' is no length of time"),
        (["{source}", "--sentiment", "mood", "--topic", "subject"], "no line has a column 'subject'"),
        (["{source}", "--sentiment", "text"], None),
        (["{source}", "--sentiment", "time"], "column 'time' holds 1704067200"),
    ],
)
def test_misuse(m6rec: Callable[..., Any], tmp_path: Path, words: list[str], said: str | None) -> None:
    source = write(tmp_path / "texts.jsonl", lines(2))
    done = m6rec("monitor", *[word.format(source=source) for word in words])
    if said is None:
        assert done.code == 0  # any text is a label: it is neither negative nor positive
    else:
        assert said in done.error(2)


def test_wrong_data(m6rec: Callable[..., Any], tmp_path: Path) -> None:
    assert "there is no file or folder" in m6rec("monitor", tmp_path / "none", "--sentiment", "mood").error(1)
    source = write(tmp_path / "texts.jsonl", [{"tiem": 1, "text": "a"}])
    assert "has no column 'time'; did you mean 'tiem'?" in m6rec("monitor", source, "--sentiment", "mood").error(1)
    state = tmp_path / "state"
    state.write_text("{}")
    good = write(tmp_path / "good.jsonl", lines(2))
    assert "is no state of a monitor" in m6rec("monitor", good, "--sentiment", "mood", "--state", state).error(1)
    state.unlink()
    assert m6rec("monitor", good, "--sentiment", "mood", "--state", state).code == 0
    assert "go on with the same options" in m6rec("monitor", good, "--sentiment", "mood", "--state", state, "--window", "1d").error(2)
    assert "0 alerts" in m6rec("monitor", good, "--sentiment", "mood", "--state", state).out


def test_an_empty_batch_is_nothing() -> None:
    assert mood_of_labels([]).negative == []
    assert len(Texts([], [], [])) == 0
