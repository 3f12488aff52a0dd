"""`m6rec store`: what a service keeps, as files to train on and back, and whether its audit holds."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from m6rec.base.errors import CheckpointError, DataError, UsageError
from m6rec.cli.options import Json, RunFolder, Set
from m6rec.cli.output import print_json, print_lines
from m6rec.cli.serve import ServeFile, State

if TYPE_CHECKING:
    from m6rec.serving.store.store import Store


class Deed(StrEnum):
    """What is done with a store."""

    EXPORT = "export"
    IMPORT = "import"
    VERIFY = "verify"
    PRUNE = "prune"


def store(
    deed: Annotated[Deed, typer.Argument(help="export, import, verify or prune.", metavar="DEED")],
    run: RunFolder,
    folder: Annotated[
        Path | None, typer.Argument(help="Where to export to, or what to import.", metavar="[FOLDER]", show_default=False)
    ] = None,
    since: Annotated[int, typer.Option("--since", min=0, help="export: only events after this watermark of an earlier export.")] = 0,
    head: Annotated[
        str | None, typer.Option("--head", metavar="SEQ:HASH", help="verify: the end of the audit as it was noted before.")
    ] = None,
    config: ServeFile = None,
    settings: Set = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Export what a service keeps to files that `m6rec train` reads, import such files, verify the audit, delete what is too old.

    `m6rec store import runs/shop runs/shop` takes over the events that the run was trained on: do that before it is served. The others
    work beside a running service.
    """
    if (folder is None) != (deed in (Deed.VERIFY, Deed.PRUNE)):
        what = "no folder" if folder is not None else "a folder"
        raise UsageError(f"m6rec store {deed.value} takes {what}: m6rec store {deed.value} RUN{'' if folder is not None else ' FOLDER'}")
    if (since and deed != Deed.EXPORT) or (head and deed != Deed.VERIFY):
        raise UsageError("--since goes with export, --head with verify")

    from m6rec.serving.service.configuration_file import load_serve_config, state_of
    from m6rec.serving.store.store import Store

    if not run.is_dir():
        raise CheckpointError(f"{run} is no run folder; give the one that m6rec serve is given")
    opened = Store.open(load_serve_config(config, settings or []).store, state_of(run, state))
    try:
        found, words = _do(opened, run, deed, folder or Path(), since, head)
    finally:
        opened.close()
    print_json(found) if as_json else print_lines([words])


def _do(opened: Store, run: Path, deed: Deed, folder: Path, since: int, head: str | None) -> tuple[dict[str, Any], str]:
    """What was done, as JSON and as a line."""
    from dataclasses import asdict

    if deed == Deed.EXPORT:
        done = opened.export(folder, since)
        words = f"{done.events:,} events, {done.items:,} items, {done.users:,} users, {done.exposures:,} exposures in {folder}"
        words += f"; watermark {done.watermark}"
        if not done.items:
            words += f"\nnote: the catalogue of the training is not in it; m6rec store import {run} {run}, before serving, takes it over"
        return asdict(done), words
    if deed == Deed.IMPORT:
        taken = opened.import_(folder)
        words = f"{taken.events:,} events taken over ({taken.duplicates:,} were there before), {taken.items:,} items, {taken.users:,} users"
        if taken.forgotten:
            words += f"; {taken.forgotten:,} people who were forgotten here are left out"
        return asdict(taken), words
    if deed == Deed.PRUNE:
        pruned = opened.enforce_retention()
        words = f"deleted {pruned.events:,} events, {pruned.audits:,} audit rows, {pruned.requests:,} idempotency keys, {pruned.changes:,} changes"
        return asdict(pruned), pruned.skipped or words
    check = opened.verify_audit(_head(head))
    if check.problem:
        raise DataError(f"the audit does not hold: {check.problem}; compare with a backup")
    return asdict(check), f"{check.rows:,} rows hold; note the end elsewhere: --head {check.head.seq}:{check.head.hash}"


def _head(text: str | None) -> Any:
    if text is None:
        return None
    from m6rec.serving.store.records import AuditHead

    seq, _, hash = text.partition(":")
    if not seq.isdigit() or len(hash) != 64:
        raise UsageError(f"--head is '{text}'; give it as m6rec store verify printed it, SEQ:HASH")
    return AuditHead(int(seq), hash)
