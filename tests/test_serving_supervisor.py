"""The supervisor with workers of a few lines: kept at work, drained, never left behind, and a failing start is said once."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from m6rec.base.errors import UsageError
from m6rec.serving.supervisor import Supervisor, listen

# A worker that answers each connection with its process id until it is told to end; "ended" goes into a file then.
WORKER = """
import os, signal, socket, sys, threading
from m6rec.serving.supervisor import announce_ready, inherited_socket, leave_with_supervisor
ended = sys.argv[1]
def leave(*_):
    open(ended, "a").write(f"{os.getpid()} ")
    os._exit(0)
signal.signal(signal.SIGTERM, leave)
threading.Thread(target=leave_with_supervisor, args=(leave,), daemon=True).start()
listening = inherited_socket()
announce_ready()
while True:
    connection, _ = listening.accept()
    connection.sendall(str(os.getpid()).encode())
    connection.close()
"""


def asked(port: int) -> int:
    """The process id of the worker that answers; asked once more where a worker died with the connection in its hands."""
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection, contextlib.suppress(ConnectionError):
            if told := connection.recv(64):
                return int(told)
    raise AssertionError("two connections were lost")


def until(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def supervise(listening: socket.socket, script: str, ended: Path, count: int, lines: list[str]) -> Supervisor:
    return Supervisor([sys.executable, "-c", script, str(ended)], listening, count, grace=10.0, tell=lines.append)


def test_a_killed_worker_is_started_again_while_another_answers(tmp_path: Path) -> None:
    ended, lines, pids = tmp_path / "ended", list[str](), set[int]()
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        supervisor = supervise(listening, WORKER, ended, 2, lines)
        problems: list[str] = []

        def visit() -> None:
            try:
                assert until(lambda: pids.add(asked(port)) or len(pids) == 2)  # type: ignore[func-returns-value]
                victim = min(pids)
                os.kill(victim, signal.SIGKILL)
                for _ in range(20):  # not one connection is refused
                    asked(port)
                assert until(lambda: pids.add(asked(port)) or len(pids) == 3)  # type: ignore[func-returns-value]
            except AssertionError as error:
                problems.append(repr(error))
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

        visitor = threading.Thread(target=visit)
        assert supervisor.run(visitor.start) == 0
        visitor.join()
    assert problems == []
    assert any("was killed by signal 9" in line for line in lines)
    assert len(ended.read_text().split()) == 2  # both that were alive came to their end by themselves


def test_a_worker_that_cannot_start_ends_it_all_with_its_code(tmp_path: Path) -> None:
    lines: list[str] = []
    with listen("127.0.0.1", 0) as listening:
        assert supervise(listening, "import sys; sys.exit(2)", tmp_path / "ended", 2, lines).run() == 2
    assert lines == []


def test_workers_leave_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    script = f"""
import sys
from m6rec.serving.supervisor import Supervisor, listen
with listen("127.0.0.1", 0) as listening:
    told = lambda: print(listening.getsockname()[1], flush=True)
    Supervisor([sys.executable, "-c", {WORKER!r}, {str(ended)!r}], listening, 1).run(told)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = asked(int(process.stdout.readline()))
        process.kill()
    assert until(lambda: ended.exists() and str(worker) in ended.read_text())


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as listening, pytest.raises(UsageError, match="choose another with --port"):
        listen("127.0.0.1", listening.getsockname()[1])
