"""`m6rec import`: files of another format become tables and a configuration that `m6rec train` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from m6rec.base.errors import UsageError
from m6rec.cli.options import DryRun, Json, Set
from m6rec.cli.output import print_json, print_lines


def import_data(
    format: Annotated[str | None, typer.Argument(metavar="FORMAT", help="The format, or auto; --list names them.")] = None,
    source: Annotated[Path | None, typer.Argument(metavar="SOURCE", help="The file or folder to read.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="Where the tables and config.yaml go.")] = None,
    settings: Set = None,
    formats: Annotated[bool, typer.Option("--list", help="Print the formats and their options (for --set), and stop.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Read files of another format and write Parquet tables with a configuration that trains on them."""
    if formats:
        _show_formats(as_json)
        return
    if format is None or source is None or (out is None and not dry_run):
        raise UsageError("import takes a format, a source and a folder: m6rec import auto SOURCE --out FOLDER; type: m6rec import --list")
    from m6rec.base.configuration import set_dotted
    from m6rec.data.account import Account
    from m6rec.data.importers import importer

    options: dict[str, Any] = {}
    for assignment in settings or []:
        set_dotted(options, assignment)
    name = importer.detect_format(source) if format == "auto" else format
    if dry_run or out is None:
        account = Account()
        reader = importer.IMPORTERS.get(name)
        reader().read(source, reader.Options.build(options, f"import {name}"), account)
        outcome = "nothing was written" + (f"; without --dry-run: {out}/*.parquet and {out}/config.yaml" if out else "")
    else:
        account = importer.import_data(name, source, out, options)
        outcome = f"wrote {out}; next: m6rec train {out / 'config.yaml'}"
    if as_json:
        print_json({"format": name, "out": out and str(out), "written": not dry_run, "account": account.plain()})
        return
    print_lines([*account.lines(), outcome])


def _show_formats(as_json: bool) -> None:
    from m6rec.data.importers.importer import IMPORTERS

    found = [IMPORTERS.get(name) for name in IMPORTERS.names()]
    if as_json:
        print_json(
            {importer.name: {"description": importer.description, "options": list(importer.Options.model_fields)} for importer in found}
        )
        return
    for importer in found:
        print_lines([f"{importer.name}: {importer.description}", f"    options: {', '.join(importer.Options.model_fields) or 'none'}"])
