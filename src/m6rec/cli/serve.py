"""`m6rec serve`: a trained folder as a service over HTTP."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from m6rec.base.errors import CheckpointError, MissingExtraError, UsageError
from m6rec.cli.options import RunFolder, Set

if TYPE_CHECKING:
    from m6rec.serving.config import ServeConfig

NEEDED = ("fastapi", "uvicorn", "uvloop", "httptools", "sqlalchemy", "alembic", "prometheus_client", "multipart")

ServeFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A YAML file with sections engine, store, rules, experiments, http.")
]
State = Annotated[
    Path | None, typer.Option("--state", metavar="DIR", help="Where store and counters lie; default: RUN/serving.", show_default=False)
]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on; default: 127.0.0.1.", show_default=False)]
Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port, 0 for a free one; default: 8080.", show_default=False)]


def serve(
    run: RunFolder,
    config: ServeFile = None,
    settings: Set = None,
    host: Host = None,
    port: Port = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default: 1.", show_default=False)] = None,
    certificate: Annotated[
        str | None, typer.Option("--tls-cert", metavar="FILE", help="PEM file with the certificate and its chain; needs --tls-key.")
    ] = None,
    key: Annotated[str | None, typer.Option("--tls-key", metavar="FILE", help="PEM file with the certificate's private key.")] = None,
    state: State = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads of the tensor library in each worker.")] = 1,
    grace: Annotated[float, typer.Option("--grace", min=0.0, help="Seconds that requests under way get when the service stops.")] = 30.0,
) -> None:
    """Serve RUN: recommendations, events, models and a console over HTTP, on loopback unless --host says otherwise.

    SIGTERM (or Ctrl-C) lets requests under way come to their end. A worker that dies is started again. `m6rec doctor RUN` checks the
    machine, the model and the store first.
    """
    import importlib.util

    from m6rec.serving.service.configuration_file import load_serve_config, state_of

    said = {"host": host, "port": port, "workers": workers, "tls_certificate": certificate, "tls_key": key}
    settled = load_serve_config(config, settings or [], {"http": {name: value for name, value in said.items() if value is not None}})
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"serving needs {', '.join(missing)}; install them with: pip install 'm6rec[serve]'")
    check_run(run)
    check_tls(settled)
    raise typer.Exit(start(run, state_of(run, state), settled, threads, grace))


def start(run: Path, state: Path, config: ServeConfig, threads: int, grace: float) -> int:
    """Bind the socket, keep the workers at work; the exit code. Raises UsageError: the port is taken."""
    import tempfile

    from m6rec.serving.supervisor import Supervisor, listen

    for counts in (state / "traffic").glob("*.json"):
        counts.unlink()  # of workers of an earlier start
    told = {"run": str(run), "state": str(state), "config": config.plain(), "threads": threads, "grace": grace}
    with listen(config.http.host, config.http.port) as listening, tempfile.TemporaryDirectory(prefix="m6rec-metrics-") as counters:
        address, number = listening.getsockname()[:2]
        scheme = "https" if config.http.tls_certificate else "http"
        url = f"{scheme}://{f'[{address}]' if ':' in address else address}:{number}"
        environment = {"PROMETHEUS_MULTIPROC_DIR": counters} if config.http.workers > 1 else {}
        command = [sys.executable, "-m", "m6rec.serving.worker", json.dumps(told)]
        supervisor = Supervisor(command, listening, config.http.workers, grace=grace, environment=environment)
        several = f", {config.http.workers} workers" if config.http.workers > 1 else ""
        return supervisor.run(lambda: supervisor.tell(f"serving {run} on {url} (console: {url}/console){several}; Ctrl-C stops"))


def check_run(run: Path) -> None:
    """What can be seen of a model without loading it. Raises CheckpointError."""
    model = run / "model" if (run / "model").is_dir() else run
    if not run.exists():
        raise CheckpointError(f"{run} does not exist; give the folder of a finished run, e.g. runs/shop")
    if (run / "stages").is_dir() and not (run / "model").is_dir():
        raise CheckpointError(f"the training in {run} is not finished; run the same `m6rec train` command to go on")
    if not (model / "config.json").is_file():
        raise CheckpointError(f"{run} is no model folder: config.json is missing; give a finished run, or train one with m6rec train")


def check_tls(config: ServeConfig) -> None:
    """Raises UsageError: one of certificate and key without the other, or a file that is not there."""
    files: dict[str, Any] = {"--tls-cert": config.http.tls_certificate, "--tls-key": config.http.tls_key}
    if any(files.values()) and not all(files.values()):
        given, lacking = sorted(files, key=lambda name: not files[name])
        raise UsageError(f"{given} needs {lacking}; give both, or none to serve without TLS")
    for name, file in files.items():
        if file and not Path(file).is_file():
            raise UsageError(f"{name} {file} is no file; give a PEM file")
