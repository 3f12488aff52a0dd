"""`m6rec train --processes N`: started with what was typed, watched; whoever dies ends all, in one line. What they train is in test_training_processes.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from m6rec.base.errors import Interrupted, M6RecError
from m6rec.training import launching, pipeline
from m6rec.training.launching import launch


def test_the_command_becomes_as_many_as_asked_for(tiny_sample: Path, m6rec: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was typed is what each of them gets; the first one alone speaks."""
    launched: list[tuple[list[str], int]] = []
    monkeypatch.setattr(launching, "launch", lambda command, count: launched.append((command, count)))
    config, run = tiny_sample / "config.yaml", tmp_path / "run"
    said = ["train", config, "--run", run, "--set", "seed=3", "--set", "train.epochs=1", "--without", "graph", "--until", "fit", "--json"]
    assert m6rec(*said, "--processes", "3") == (0, "", "")
    (command, count) = launched.pop()
    assert count == 3
    assert command[1:3] == ["-m", "m6rec"]
    joined: list[tuple[int, int, Path]] = []
    monkeypatch.setattr(launching, "join_group", lambda *place: joined.append(place))
    monkeypatch.setattr(
        pipeline, "train", lambda config, folder, out, **how: {"seen": [config.seed, config.choose.prior.graph, str(out), how["until"]]}
    )
    for rank, name in enumerate(("0", "1")):
        for variable, value in ((launching.RANK, name), (launching.COUNT, "3"), (launching.MEETING, str(tmp_path / "meeting"))):
            monkeypatch.setenv(variable, value)
        out = m6rec(*command[3:])
        assert joined.pop() == (rank, 3, tmp_path / "meeting")
        assert (out.code, out.err) == (0, "")
        assert out.out == "" if rank else json.loads(out.out)["seen"] == [3, False, str(run), "fit"]
    assert not launched


def child(body: str) -> list[str]:
    """A child without any library: `rank` is known, `pid` files say who lived."""
    head = (
        "import os, signal, sys, time; rank = int(os.environ['M6REC_RANK']); open(sys.argv[1] + f'/{rank}', 'w').write(str(os.getpid()))\n"
    )
    return [sys.executable, "-c", head + body]


def gone(folder: Path, count: int) -> bool:
    """Whether all that wrote their id have left, within five seconds."""
    until = time.monotonic() + 5
    pids = [int((folder / str(rank)).read_text()) for rank in range(count)]
    while time.monotonic() < until:
        if not any(Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2] for pid in pids):
            return True
        time.sleep(0.05)
    return False


WAIT = "while not all(os.path.exists(f := sys.argv[1] + f'/{other}') and os.path.getsize(f) for other in range(3)): time.sleep(0.01)\n"


def test_one_that_is_killed_ends_all(tmp_path: Path) -> None:
    body = WAIT + "if rank == 1: os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(60)"
    with pytest.raises(M6RecError, match=r"process 2 of 3 was killed by signal 9; the others were ended; .*run the same command") as caught:
        launch([*child(body), str(tmp_path)], 3)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    assert gone(tmp_path, 3)


def test_one_that_fails_says_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The line of the one that knows why, once, and its exit code; not the complaint of another that lost it."""
    body = WAIT + (
        "print('epoch 1', file=sys.stderr, flush=True)\n"
        "if rank == 2: print('m6rec: error: no such column', file=sys.stderr); sys.exit(2)\n"
        "print(f'[rank{rank}]: m6rec: error: unexpected RuntimeError: connection closed', file=sys.stderr, flush=True); sys.exit(1)"
    )
    with pytest.raises(M6RecError, match=r"^no such column$") as caught:
        launch([*child(body), str(tmp_path)], 3)
    assert caught.value.exit_code == 2
    assert capfd.readouterr().err == "epoch 1\n"  # of the first one
    assert gone(tmp_path, 3)


def test_an_interrupt_ends_all(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        while not all((tmp_path / str(rank)).exists() and (tmp_path / str(rank)).read_text() for rank in range(3)):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(Interrupted, match=r"stopped, all 3 processes; .*run the same command to go on") as caught:
            launch([*child("time.sleep(60)"), str(tmp_path)], 3)
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught.value.exit_code == 130
    assert capfd.readouterr().err == "", "one line, said by who catches the error"
    assert gone(tmp_path, 3)


def test_children_leave_when_their_watcher_is_killed(tmp_path: Path) -> None:
    living = "from m6rec.training.launching import LIFE, _live; import threading; threading.Thread(target=_live, args=(int(os.environ[LIFE]),)).start()"
    script = f"from m6rec.training.launching import launch; launch({[*child(living), str(tmp_path)]!r}, 2)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    watcher = subprocess.Popen([sys.executable, "-c", script], env=environment)
    until = time.monotonic() + 30
    while not all((tmp_path / str(rank)).exists() and (tmp_path / str(rank)).read_text() for rank in range(2)):
        assert time.monotonic() < until
        time.sleep(0.05)
    watcher.kill()
    watcher.wait()
    assert gone(tmp_path, 2)
