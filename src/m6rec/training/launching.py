"""Several processes on this machine that train one model: started, watched, and ended together.

`m6rec train --processes N` becomes the watcher; each of its N children is the same command with its place in the environment. They meet
over a file and talk over the loopback interface. The first one speaks; what the others say is heard only where they fail.

    its life    a pipe that ends when the watcher dies, however that dies; a child that sees this leaves
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from m6rec.base.errors import Interrupted, M6RecError
from m6rec.base.threads import VARIABLE, cores, threads_set

RANK, COUNT, MEETING, LIFE = "M6REC_RANK", "M6REC_PROCESSES", "M6REC_MEETING", "M6REC_LIFE"
GRACE = 10.0  # seconds that a child may take to leave before it is killed
LOOK = 0.05  # seconds between two looks at the children
ERROR = re.compile(r"(\[rank\d+\]: )?m6rec: error: ")  # torch puts the rank before what its own hook prints
UNEXPECTED = "unexpected "
GO_ON = "what is finished and the newest checkpoint are kept: run the same command to go on"


@dataclass
class Child:
    """One process. told: the errors it ended with on standard error, a line each. heard: whether what else it says there is passed on."""

    rank: int
    process: subprocess.Popen[bytes]
    heard: bool
    told: list[str] = field(default_factory=list)
    hearing: threading.Thread | None = None

    @property
    def code(self) -> int | None:
        return self.process.poll()


def place() -> tuple[int, int, Path] | None:
    """(rank, count, meeting) of a child; None in any other process."""
    if RANK not in os.environ:
        return None
    return int(os.environ[RANK]), int(os.environ[COUNT]), Path(os.environ[MEETING])


def join_group(rank: int, count: int, meeting: Path) -> None:
    """Become one of the processes; leave when the watcher is gone."""
    from m6rec.training.processes import join

    threading.Thread(target=_live, args=(int(os.environ[LIFE]),), daemon=True).start()
    join(rank, count, meeting)


def launch(command: Sequence[str], count: int) -> None:
    """Run `command` in `count` processes until all have ended well.

    Raises:
        Interrupted: Ctrl-C; all have ended.
        M6RecError: one of them failed or was killed; the others were ended. One line, with the exit code of the one that failed.
    """
    heard, life = os.pipe()
    children: list[Child] = []
    with tempfile.TemporaryDirectory(prefix="m6rec-") as folder:
        try:
            for rank in range(count):
                children.append(_start(command, rank, count, Path(folder) / "meeting", heard))
            while (failed := _failed(children)) is None and any(child.code is None for child in children):
                time.sleep(LOOK)
            if failed is not None:
                time.sleep(2 * LOOK)  # who lost the other end fails too: the one that was first to go is told
                _end(children, signal.SIGTERM)
                raise _why(children)
        except KeyboardInterrupt:
            for child in children:
                child.heard = False
            _end(children, signal.SIGINT)
            raise Interrupted(f"stopped, all {count} processes; {GO_ON}") from None
        finally:
            _end(children, signal.SIGKILL)
            os.close(heard)
            os.close(life)


def _start(command: Sequence[str], rank: int, count: int, meeting: Path, life: int) -> Child:
    environment = {
        **os.environ,
        RANK: str(rank),
        COUNT: str(count),
        MEETING: str(meeting),
        LIFE: str(life),
        "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo"),
        VARIABLE: str(threads_set() or max(1, cores() // count)),  # a share of the cores for each
    }
    process = subprocess.Popen(
        list(command),
        env=environment,
        pass_fds=(life,),
        stdin=subprocess.DEVNULL,
        stdout=None if rank == 0 else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches the watcher, which ends the children
    )
    child = Child(rank, process, heard=rank == 0)
    assert process.stderr is not None
    child.hearing = threading.Thread(target=_hear, args=(child, process.stderr), daemon=True)
    child.hearing.start()
    return child


def _hear(child: Child, stream: IO[bytes]) -> None:
    """Pass on what the first child says; errors of all are kept, and told once, at the end."""
    with stream:
        for raw in stream:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            if found := ERROR.match(line):
                child.told.append(line[found.end() :])
            elif child.heard:
                print(line, file=sys.stderr, flush=True)


def _failed(children: Sequence[Child]) -> Child | None:
    return next((child for child in children if child.code not in (None, 0)), None)


def _why(children: Sequence[Child]) -> M6RecError:
    """Of those that failed the one that says why: killed by somebody, else with a line of its own, else the first."""

    def order(child: Child) -> tuple[bool, bool, int]:
        known = any(not line.startswith(UNEXPECTED) for line in child.told)
        return (not _killed(child), not known, child.rank)

    first = min((child for child in children if child.code not in (None, 0)), key=order)
    code = first.code or 0
    if _killed(first):
        error = M6RecError(f"process {first.rank + 1} of {len(children)} was killed by signal {-code}; the others were ended; {GO_ON}")
    elif first.told:
        error = M6RecError(first.told[-1])
    else:
        error = M6RecError(f"process {first.rank + 1} of {len(children)} ended with code {code}; the others were ended; {GO_ON}")
    error.exit_code = code if code > 0 else 1
    return error


def _killed(child: Child) -> bool:
    """By a signal that was not ours."""
    return child.code is not None and child.code < 0 and -child.code not in (signal.SIGTERM, signal.SIGINT)


def _end(children: Sequence[Child], number: int) -> None:
    """Send a signal to those that are still there, and wait; whoever does not leave is killed."""
    for child in children:
        if child.code is None:
            with contextlib.suppress(ProcessLookupError):
                child.process.send_signal(number)
    until = time.monotonic() + GRACE
    for child in children:
        try:
            child.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
        if child.hearing is not None:
            child.hearing.join(1.0)


def _live(life: int) -> None:
    os.read(life, 1)  # nobody writes: it returns when the other end is gone
    os._exit(1)
