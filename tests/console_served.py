"""For the tests of the console: a real service over a tiny model, behind real uvicorn on loopback."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import httpx
import uvicorn

from m6rec.serving.config import ServeConfig
from m6rec.serving.console.pages import mount
from m6rec.serving.http.app import create_app
from m6rec.serving.service.service import Service


@dataclass(frozen=True)
class Served:
    """A running console. url: of its first page, without the last slash.  runs: folder with the served run `shop` and a copy of it, `next`."""

    url: str
    service: Service
    runs: Path


class Visitor:
    """One browser's worth of cookies, without a browser."""

    opened: ClassVar[list[httpx.Client]] = []

    def __init__(self, served: Served, **headers: str) -> None:
        self.http = httpx.Client(base_url=served.url, headers=headers, timeout=30)
        self.opened.append(self.http)

    def get(self, path: str) -> httpx.Response:
        return self.http.get(path)

    def token(self, path: str = "/nothing") -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', self.http.get(path, follow_redirects=True).text)
        assert found is not None
        return found[1]

    def post(self, path: str, **values: str) -> httpx.Response:
        return self.http.post(path, data={"csrf": self.token(), **values})

    def sign_in(self, key: str) -> httpx.Response:
        return self.http.post("/sign-in", data={"csrf": self.token("/sign-in"), "key": key})


@contextmanager
def console(run: Path, folder: Path) -> Iterator[Served]:
    """Serve a copy of `run` until the block ends."""
    runs = folder / "runs"
    for name in ("shop", "next"):
        shutil.copytree(run, runs / name)
    config = ServeConfig.build({"http": {"log": False, "address_rate": 5}})
    service = Service.open(runs / "shop", config, folder / "state")
    app = create_app(service, config)
    if not any(getattr(route, "path", "") == "/console" for route in app.routes):
        mount(app, service, config)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", access_log=False))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    try:
        yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}/console", service, runs)
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
        service.close()


def drop_keys(served: Served) -> None:
    """Leave no key behind."""
    held = served.service.store.keys()
    for key in held:
        served.service.store.drop_key(key.name)
