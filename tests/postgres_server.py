"""A PostgreSQL server of one's own: started for a session of tests or a benchmark, in a temporary folder, on loopback, without a password.

`with running_postgres() as server: server.new_database()` gives a URL for `store.url`. Needs Debian's package `postgresql` (no running service).
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

USER = "postgres"


def binaries() -> Path | None:
    """Folder of the newest installed server; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parents[1].name))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def why_not() -> str:
    """Why no server can be started here, or ""."""
    if binaries() is None:
        return "PostgreSQL's server is not installed (Debian: apt-get install postgresql)"
    if os.geteuid() == 0 and USER not in {entry.pw_name for entry in pwd.getpwall()}:
        return "PostgreSQL refuses to run as root, and there is no user postgres"
    return ""


@dataclass
class Server:
    """A running server. `stop` and `start` are for tests of a database that goes away."""

    folder: Path
    port: int
    durable: bool
    names: Iterator[int] = field(default_factory=count)

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """URL of an empty database. It takes the server a second on a busy machine."""
        name = f"m6rec_{next(self.names)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def sql(self, statement: str, database: str = "postgres") -> None:
        import psycopg

        with psycopg.connect(self.url(database).replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(statement)

    def start(self) -> None:
        log = self.folder / "log"
        sync = "on" if self.durable else "off"
        options = (
            f"-c fsync={sync} -p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c max_connections=100 -c shared_buffers=32MB"
        )
        _run("pg_ctl", "start", "-w", "-t", "60", "-D", str(self.folder / "data"), "-l", str(log), "-o", options)

    def stop(self, mode: str = "immediate") -> None:
        """immediate: as if it was killed."""
        _run("pg_ctl", "stop", "-w", "-D", str(self.folder / "data"), "-m", mode)


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[Server]:
    """A server with nothing in it; stopped and deleted in the end.

    durable: whether what is committed survives the machine. What dies in tests are processes, so they need not wait for the disk.
    """
    folder = Path(tempfile.mkdtemp(prefix="m6rec-pg-", dir="/tmp"))  # short: the path of a unix socket holds 107 characters
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        _run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", USER, "-E", "UTF8", "--no-locale", "--no-sync")
        server = Server(folder, _free_port(), durable)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _run(program: str, *words: str) -> None:
    """As user postgres where we are root, which the server refuses."""
    folder = binaries()
    assert folder is not None, why_not()
    command = [str(folder / program), *words]
    if os.geteuid() == 0:
        command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", *command]
    # The server inherits the output: a pipe would never end.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/tmp", check=False)
        output.seek(0)
        assert done.returncode == 0, f"{program}: {output.read().decode()[-2000:]}"
