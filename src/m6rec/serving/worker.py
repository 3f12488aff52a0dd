"""One worker of `m6rec serve`: a service, the application over it, and uvicorn on the socket that all workers share."""

from __future__ import annotations

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
    import torch
    import uvicorn

    from m6rec.serving.http.app import create_app
    from m6rec.serving.service.service import Service

    torch.set_num_threads(threads)
    service = Service.open(run, config, state)
    try:
        app = create_app(service, config)
        _mount_console(app, service, config)
        server = uvicorn.Server(uvicorn.Config(app, **_settings(config, grace)))
        threading.Thread(target=leave_with_supervisor, args=(lambda: os.kill(os.getpid(), signal.SIGTERM),), daemon=True).start()
        announce_ready()
        server.run(sockets=[inherited_socket()])
    finally:
        service.close()


def _settings(config: ServeConfig, grace: float) -> dict[str, Any]:
    http = config.http
    tls = {"ssl_certfile": http.tls_certificate or None, "ssl_keyfile": http.tls_key or None}
    return {
        "loop": "uvloop",
        "http": "httptools",
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "log_level": "warning",
        "server_header": False,
        "timeout_keep_alive": http.idle_seconds,
        "timeout_graceful_shutdown": max(int(grace), 1),
        "proxy_headers": bool(http.trusted_proxies),
        "forwarded_allow_ips": http.trusted_proxies,
        **tls,
    }


def _mount_console(app: Any, service: Any, config: ServeConfig) -> None:
    from m6rec.serving.console.pages import mount

    mount(app, service, config)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
