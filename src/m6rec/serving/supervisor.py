"""Several workers on one listening socket: started, watched, started again, drained.

The supervisor holds the socket and loads nothing heavy. A worker inherits it, so a connection that waits is taken by whichever worker is
free, and by another one when a worker dies. Each worker holds one end of two pipes:

    its voice   it writes "ready" when it can answer; the pipe ends when it dies, however it dies
    its life    it ends when the supervisor dies, however that dies; a worker that sees this drains and leaves
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType

from m6rec.base.errors import StorageError, UsageError

READY = b"ready\n"
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0  # seconds before a worker that died is started again; doubled each time it dies young
YOUNG = 10.0  # seconds: a worker that lived longer starts again at once
BACKLOG = 2048


@dataclass
class Worker:
    """One process and its pipes. began: monotonic seconds."""

    place: int
    process: subprocess.Popen[bytes]
    voice: int
    life: int
    began: float = field(default_factory=time.monotonic)
    ready: bool = False


class Supervisor:
    """Keeps `count` workers at work.

    command: of a worker; the numbers of its descriptors stand in M6REC_LISTEN, M6REC_VOICE and M6REC_LIFE.
    listening: the socket they share.  grace: seconds that a worker may take to end its requests.
    """

    def __init__(
        self,
        command: Sequence[str],
        listening: socket.socket,
        count: int,
        *,
        grace: float = 30.0,
        environment: dict[str, str] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.command, self.listening, self.count, self.grace = list(command), listening, count, grace
        self.environment = {**os.environ, **(environment or {})}
        self.tell = tell or (lambda line: print(f"m6rec: {line}", file=sys.stderr, flush=True))
        self.workers: dict[int, Worker] = {}  # by place
        self.selector = selectors.DefaultSelector()
        self.stopping = False
        self.code = 0
        self.ever_ready = False
        self._pauses: dict[int, float] = {}
        self._due: dict[int, float] = {}  # place -> when its worker is started again

    def run(self, on_ready: Callable[[], None] | None = None) -> int:
        """Until SIGTERM or SIGINT; the exit code: 0, or that of a worker that could not start.

        on_ready: called once, when the first worker can answer.
        """
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        before = {number: signal.signal(number, _noted) for number in (signal.SIGTERM, signal.SIGINT)}
        old = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self.selector.register(reading, selectors.EVENT_READ)
        try:
            for place in range(self.count):
                self._start(place)
            while self.workers or (self._due and not self.stopping):
                for key, _ in self.selector.select(self._patience()):
                    if key.fd == reading:
                        os.read(reading, 64)
                        self._stop("stopping: requests under way come to their end")
                    else:
                        self._hear(key.data, on_ready)
                self._start_due()
            return self.code
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)
            for worker in list(self.workers.values()):
                worker.process.kill()
                self._bury(worker)
            self.selector.close()
            os.close(reading)
            os.close(writing)

    def _start(self, place: int) -> None:
        voice, said = os.pipe()
        heard, life = os.pipe()
        listening = self.listening.fileno()
        numbers = {"M6REC_LISTEN": str(listening), "M6REC_VOICE": str(said), "M6REC_LIFE": str(heard), "M6REC_WORKER": str(place)}
        process = subprocess.Popen(
            self.command,
            env={**self.environment, **numbers},
            pass_fds=(listening, said, heard),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the supervisor, which drains the workers
        )
        os.close(said)
        os.close(heard)
        worker = Worker(place, process, voice, life)
        self.workers[place] = worker
        self.selector.register(voice, selectors.EVENT_READ, worker)

    def _hear(self, worker: Worker, on_ready: Callable[[], None] | None) -> None:
        if os.read(worker.voice, 64):
            worker.ready = True
            self._pauses.pop(worker.place, None)
            if not self.ever_ready:
                self.ever_ready = True
                if on_ready is not None:
                    on_ready()
            return
        code = self._bury(worker)
        if self.stopping:
            return
        if not worker.ready and not self.ever_ready:
            # It never could: the model, the store or the configuration. What was wrong stands on standard error already.
            self.code = code if 0 < code < 128 else 1
            self._stop(None)
            return
        lived = time.monotonic() - worker.began
        pause = 0.0 if lived > YOUNG and worker.ready else min(self._pauses.get(worker.place, FIRST_PAUSE / 2) * 2, LONGEST_PAUSE)
        self._pauses[worker.place] = pause
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        self.tell(f"worker {worker.place + 1} {how} after {lived:.0f} s; it is started again{f' in {pause:.1f} s' if pause else ''}")
        self._due[worker.place] = time.monotonic() + pause

    def _start_due(self) -> None:
        for place, due in list(self._due.items()):
            if due <= time.monotonic():
                del self._due[place]
                if not self.stopping:
                    self._start(place)

    def _stop(self, line: str | None) -> None:
        if self.stopping:  # asked twice: now
            for worker in self.workers.values():
                worker.process.kill()
            return
        self.stopping = True
        if line is not None:
            self.tell(line)
        self._due.clear()
        self._end = time.monotonic() + self.grace
        for worker in self.workers.values():
            with contextlib.suppress(ProcessLookupError):
                worker.process.send_signal(signal.SIGTERM)

    def _patience(self) -> float | None:
        """Seconds to wait for news; kills what has not ended by the end of the grace."""
        if self.stopping:
            left = self._end - time.monotonic()
            if left <= 0:
                for worker in self.workers.values():
                    worker.process.kill()
                return 1.0
            return left
        return max(min(self._due.values()) - time.monotonic(), 0.0) if self._due else None

    def _bury(self, worker: Worker) -> int:
        self.selector.unregister(worker.voice)
        os.close(worker.voice)
        os.close(worker.life)
        self.workers.pop(worker.place, None)
        return worker.process.wait()


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket that workers can share.

    Raises:
        UsageError: the port is taken, may not be used, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(BACKLOG)
    except OSError as error:
        found.close()
        reason = error.strerror or str(error)
        raise UsageError(f"can't listen on {host}, port {port}: {reason.lower()}; choose another with --port, 0 takes a free one") from None
    return found


def announce_ready() -> None:
    """Said by a worker that can answer."""
    if "M6REC_VOICE" in os.environ:
        os.write(int(os.environ["M6REC_VOICE"]), READY)


def inherited_socket() -> socket.socket:
    """The listening socket, in a worker. Raises StorageError: the process was not started by a supervisor."""
    if "M6REC_LISTEN" not in os.environ:
        raise StorageError("a worker is started by m6rec serve, not by itself")
    return socket.socket(fileno=int(os.environ["M6REC_LISTEN"]))


def leave_with_supervisor(leave: Callable[[], None]) -> None:
    """Call `leave` when the supervisor has gone; blocks: for a thread of its own."""
    if "M6REC_LIFE" in os.environ:
        os.read(int(os.environ["M6REC_LIFE"]), 1)
        leave()


def _noted(number: int, frame: FrameType | None) -> None:
    """The number goes into the wake-up pipe; that is all."""
