"""`m6rec doctor`: whether this machine, a model and its store are fit to serve, and what to do where they are not."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from m6rec.cli.options import Json, Set
from m6rec.cli.output import print_json, print_lines
from m6rec.cli.serve import Host, Port, ServeFile, State

SIGNS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


def doctor(
    run: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="A run folder, or the model folder inside one.")] = None,
    config: ServeFile = None,
    settings: Set = None,
    host: Host = None,
    port: Port = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Check machine, libraries, port, model, rules, console, store, keys and TLS; nothing is changed. Exit code 1 where anything fails."""
    from m6rec.serving.service.configuration_file import load_serve_config, state_of
    from m6rec.serving.service.doctor import Finding, examine

    said = {"host": host, "port": port}
    settled = load_serve_config(config, settings or [], {"http": {name: value for name, value in said.items() if value is not None}})
    found: list[Finding] = []
    place = state if run is None else state_of(run, state)
    for finding in examine(settled, run, place):
        found.append(finding)
        if not as_json:
            print_lines([f"{SIGNS[finding.status]}  {finding.name:<10} {finding.fact}"])
            if finding.advice:
                print_lines([f"{'':<17}{finding.advice}"])
    bad = sum(finding.status == "fail" for finding in found)
    if as_json:
        print_json({"fit": not bad, "findings": [asdict(finding) for finding in found]})
    elif bad:
        print_lines(["", f"{bad} of {len(found)} checks failed"])
    if bad:
        raise typer.Exit(1)
