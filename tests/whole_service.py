"""`m6rec serve` as people run it, for the tests of the whole service: the command on a free port, and a client that asks again."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@contextmanager
def served(run: Path, state: Path, *words: str, within: Sequence[str] = ()) -> Iterator[tuple[subprocess.Popen[str], int, list[str]]]:
    """The command on a free port, once it answers: process, port, its lines on standard error.

    within: a command that runs the rest of its words, for a service in surroundings of its own (`unshare ...`).
    """
    command = [*within, sys.executable, "-m", "m6rec", "serve", str(run), "--state", str(state), "--port", "0", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(process.stderr or ()), daemon=True)
        try:
            port = 0
            for line in process.stderr:
                lines.append(line)
                if found := re.search(r"on http://127\.0\.0\.1:(\d+)", line):
                    port = int(found[1])
                    break
            assert port, lines
            reader.start()
            yield process, port, lines
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
            if reader.ident is not None:
                reader.join(timeout=10)


class Client:
    """One connection that is opened again when it was lost; a question that got no answer is asked once more, as HTTP clients do."""

    def __init__(self, port: int) -> None:
        self.port, self.lost = port, 0
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON."""
        content = None if body is None else json.dumps(body)
        for attempt in (0, 1):
            try:
                self.connection.request(method, path, content, {"content-type": "application/json", **headers})
                reply = self.connection.getresponse()
                return reply.status, json.loads(reply.read())
            except (http.client.HTTPException, OSError):
                self.connection.close()
                self.lost += 1
                if attempt:
                    raise
        raise AssertionError

    def post(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        return self.ask("POST", path, {} if body is None else body, **headers)

    def get(self, path: str) -> tuple[int, Any]:
        return self.ask("GET", path)

    def close(self) -> None:
        self.connection.close()


@dataclass
class Load:
    """People who ask and send events at a service, until `stop`.

    acknowledged: names of events that were answered 200.  refused: (status, detail) of events that were not; each is sent again with its key
    until it is.  failures: anything else than a whole list for a question, or than 200 and 503 for an event.
    """

    port: int
    people: int = 3
    acknowledged: list[str] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    asked: int = 0
    lost: int = 0
    versions: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        for place in range(1, self.people + 1):
            for work in (self._ask, self._send):
                self._threads.append(threading.Thread(target=work, args=(place,)))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, place: int) -> None:
        client = Client(self.port)
        while not self._stop.is_set():
            try:
                status, body = client.post("/v1/recommend", {"user": f"u0{place}", "k": 3})
            except (http.client.HTTPException, OSError) as error:
                self.failures.append(f"two connections lost: {error!r}")
                continue
            self.asked += 1
            if status != 200 or len(body["answers"]) != 3:
                self.failures.append(f"{status} {body}")
            elif not self.versions or self.versions[-1] != body["model_version"]:
                self.versions.append(body["model_version"])
            self._stop.wait(0.005)
        self.lost += client.lost
        client.close()

    def _send(self, place: int) -> None:
        client, number = Client(self.port), 0
        while not self._stop.is_set():
            number += 1
            name = f"e-{place}-{number}"
            event = {"user_id": f"u0{place}", "item_id": "i03", "action": "click", "context": {"name": name}}
            while True:
                try:
                    status, body = client.post("/v1/events", {"events": [event]}, **{"Idempotency-Key": name})
                except (http.client.HTTPException, OSError) as error:
                    self.failures.append(f"two connections lost: {error!r}")
                    continue
                if status == 200:
                    self.acknowledged.append(name)
                    break
                self.refused.append((status, body["detail"]))
                if status != 503:
                    self.failures.append(f"{status} {body}")
                    break
                if self._stop.wait(0.05):
                    break
            self._stop.wait(0.005)
        self.lost += client.lost
        client.close()


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of the workers."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in children]


def until(true: Callable[[], bool], seconds: float = 60.0, what: str = "waited in vain") -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.01)
