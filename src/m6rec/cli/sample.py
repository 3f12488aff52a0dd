"""`m6rec sample`: write the built-in sample, generated on the spot with known hidden tastes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from m6rec.cli.options import DryRun, FileFormat, Json, Language
from m6rec.cli.output import print_json, print_lines


def sample(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write it; made if missing.")],
    language: Annotated[Language, typer.Option("--language", help="Language of all texts.")] = Language.EN,
    users: Annotated[int, typer.Option("--users", min=10, help="How many users.")] = 600,
    items: Annotated[int, typer.Option("--items", min=10, help="How many items.")] = 300,
    events_per_user: Annotated[float, typer.Option("--events-per-user", min=3, max=1000, help="Mean events of a user.")] = 20.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same arguments, same bytes.")] = 0,
    tasks: Annotated[
        bool, typer.Option("--tasks", help="With lists that were shown and what came of them, and tasks that judge in the configuration.")
    ] = False,
    talk: Annotated[
        bool, typer.Option("--talk", help="With reviews, reasons, queries, dialogues and known questions, and tasks that read them.")
    ] = False,
    format: Annotated[FileFormat, typer.Option("--format", help="Format of the tables.")] = FileFormat.PARQUET,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Write the built-in sample: events of three scenarios, items, users, texts, and a configuration that trains on them."""
    from m6rec.data.sample import refuse_foreign, write_sample

    if dry_run:
        refuse_foreign(folder, format.value)
        plan = {"folder": str(folder), "users": users, "items": items, "seed": seed, "language": language.value, "format": format.value}
        if as_json:
            print_json({"written": False, **plan})
        else:
            print_lines(
                [f"would write to {folder}: {users} users, {items} items, about {users * events_per_user:,.0f} events; nothing was written"]
            )
        return
    written = write_sample(
        folder,
        users=users,
        items=items,
        events_per_user=events_per_user,
        seed=seed,
        language=language.value,
        format=format.value,
        tasks=tasks,
        talk=talk,
    )
    if as_json:
        print_json(written)
        return
    print_lines(f"{rows:>9,}  {name}" for name, rows in written["files"].items())
    print_lines([f"next: m6rec train {written['config']}"])
