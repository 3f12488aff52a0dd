"""`m6rec predict`: what would come of showing items to users, or what texts and items are, for a whole file of rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from m6rec.base.errors import UsageError
from m6rec.cli.options import Json, RunFolder
from m6rec.cli.output import print_json, print_lines
from m6rec.cli.recommend import WRITERS, write_table


def predict(
    run: RunFolder,
    rows: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Rows to judge: user_id and item_id, with time, scenario and context where known; or text; or item_id alone.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the rows with the answers go: .parquet, .csv or .jsonl.")],
    tasks: Annotated[
        str | None, typer.Option("--tasks", metavar="NAMES", help="Tasks, separated by commas; default: all on what FILE holds.")
    ] = None,
    options: Annotated[
        list[Path] | None,
        typer.Option("--option", metavar="FOLDER", help="A task that m6rec add-task trained on this run, to answer too. May be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge every row of FILE by the tasks of a run: a column a task, probabilities calibrated."""
    if out.suffix not in WRITERS:
        raise UsageError(f"--out {out} is no table that can be written; end it in {', '.join(WRITERS)}, for example --out answers.parquet")

    from m6rec.data.readers import read_table
    from m6rec.recommender import Recommender

    frame = read_table(rows)
    names = None if tasks is None else [name.strip() for name in tasks.split(",") if name.strip()]
    recommender = Recommender.from_pretrained(run)
    for folder in options or ():
        recommender.load_option(folder)
    answers = recommender.predict(frame, names)
    for sentence in recommender.unseen_context(frame):
        print(f"m6rec: note: {sentence}", file=sys.stderr)
    write_table(answers, out)
    replaced = [name for name in frame.columns if not answers[name].equals(frame[name])]  # labels with the name of their task
    columns = [name for name in answers.columns if name not in frame.columns or name in replaced]
    if as_json:
        print_json({"out": str(out), "rows": answers.height, "columns": columns, "replaced": replaced})
        return
    said = f"; answers stand in place of the columns {', '.join(replaced)} of {rows.name}" if replaced else ""
    print_lines([f"judged {answers.height:,} rows: {', '.join(columns)}{said}; wrote {out}"])
