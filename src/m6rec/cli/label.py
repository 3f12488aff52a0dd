"""`m6rec label`: which rows to label next, and why; and the labels that were filled in, read back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from m6rec.base.errors import UsageError
from m6rec.cli.options import Json, RunFolder
from m6rec.cli.output import columns, print_json, print_lines
from m6rec.cli.recommend import WRITERS

SHOWN, WIDTH = 10, 60


def label(
    run: RunFolder,
    task: Annotated[str, typer.Option("--task", metavar="NAME", help="A task on texts or items.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the table goes: .csv, .jsonl or .parquet.")],
    count: Annotated[int, typer.Option("--count", min=1, help="How many rows to label next.")] = 50,
    texts: Annotated[
        Path | None, typer.Option("--texts", metavar="FILE", help="Choose among these texts (a column `text`) instead of the run's own.")
    ] = None,
    filled: Annotated[
        Path | None,
        typer.Option("--filled", metavar="FILE", help="A table with the labels filled in: check it and write what data.texts can name."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides between rows that are worth the same.")] = 0,
    as_json: Json = False,
) -> None:
    """Write the rows that are most worth a label into a table to fill in; with --filled, read the filled table back."""
    if out.suffix not in WRITERS:
        raise UsageError(f"--out {out} is no table that can be written; end it in {', '.join(WRITERS)}, for example --out to_label.csv")
    if filled is not None and texts is not None:
        raise UsageError("--texts and --filled do not go together: choose rows first, then read them back")

    from m6rec.base.storage import atomic_file
    from m6rec.data.readers import read_table
    from m6rec.recommender import Recommender
    from m6rec.training.labelling import read_filled, to_label

    model = Recommender.from_pretrained(run).engine.scorer
    if filled is None:
        rows = to_label(model, task, count, None if texts is None else read_table(texts), seed)
        said = f"wrote {rows.height:,} rows to label into {out}; next: fill in the labels, then m6rec label {run} --task {task} --filled {out} --out labels.csv"
        facts = {"out": str(out), "rows": rows.height, "task": task}
    else:
        rows, blank = read_filled(model, task, read_table(filled))
        said = f"wrote {rows.height:,} labelled rows into {out} ({blank:,} were left blank); next: name {out} in the data beside the others and train again"
        facts = {"out": str(out), "rows": rows.height, "blank": blank, "task": task}
    with atomic_file(out) as temporary:
        getattr(rows, WRITERS[out.suffix])(temporary)
    if as_json:
        print_json(facts)
        return
    if filled is None:
        what = "text" if "text" in rows.columns else "title"
        print_lines(
            columns([[str(row["worth"]), row["reason"], _short(row[what])] for row in rows.head(SHOWN).to_dicts()], ["worth", "why", what])
        )
    print_lines([said])


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
