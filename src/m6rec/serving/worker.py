"""One worker of `m6rec serve`: a service, the application over it, and uvicorn on the socket that all workers share."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from m6rec.base.errors import M6RecError
from m6rec.serving.config import ServeConfig
from m6rec.serving.supervisor import announce_ready, inherited_socket, leave_with_supervisor

SWITCH_SECONDS = 0.001  # a thread that writes the audit must not hold an answer up for Python's 5 ms


def main(words: list[str]) -> int:
    """`words`: one JSON value, {run, state, config, threads, grace}. The exit code."""
    told = json.loads(words[0])
    try:
        serve(Path(told["run"]), Path(told["state"]), ServeConfig.build(told["config"]), told["threads"], told["grace"])
    except M6RecError as error:
        print(f"m6rec: error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


def serve(run: Path, state: Path, config: ServeConfig, threads: int, grace: float) -> None:
    """Answer until SIGTERM.

    threads: of the tensor library; one for each request that is computed at once is usually best.

    Raises:
        M6RecError: the model, the store or the configuration can't be used.
    """
    gc.disable()  # what is imported and loaded stays: looking through it for cycles again and again took a fifth of the start
    try:
        import torch
        import uvicorn

        from m6rec.serving.http.app import create_app
        from m6rec.serving.http.listening import uvicorn_settings
        from m6rec.serving.service.service import Service

        torch.set_num_threads(threads)
        sys.setswitchinterval(SWITCH_SECONDS)
        service = Service.open(run, config, state)
    finally:
        gc.enable()
    try:
        app = create_app(service, config)
        _mount_console(app, service, config)
        server = uvicorn.Server(uvicorn.Config(app, **uvicorn_settings(config.http, grace)))
        threading.Thread(target=leave_with_supervisor, args=(lambda: os.kill(os.getpid(), signal.SIGTERM),), daemon=True).start()
        announce_ready()
        server.run(sockets=[inherited_socket()])
    finally:
        service.close()


def _mount_console(app: Any, service: Any, config: ServeConfig) -> None:
    from m6rec.serving.console.pages import mount

    mount(app, service, config)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
