"""`m6rec evaluate`: the trained model, its ablations and the baselines on the same held-out cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from m6rec.cli.options import DryRun, Held, Json, Part, Progress, RunFolder
from m6rec.cli.output import print_json, print_lines, wants_progress


def evaluate(
    run: RunFolder,
    without: Annotated[
        list[Part] | None,
        typer.Option("--without", help="Also measure the model with this part switched off. May be repeated."),
    ] = None,
    baselines: Annotated[
        str | None,
        typer.Option("--baselines", metavar="NAMES", help="Baselines, separated by commas; 'none' for none. Default: those of the run."),
    ] = None,
    judged_baselines: Annotated[
        str | None,
        typer.Option(
            "--judged-baselines",
            metavar="NAMES",
            help="The same of tasks that judge: counters, logistic_regression, lightgbm_raw, lightgbm_counts.",
        ),
    ] = None,
    split: Annotated[Held, typer.Option("--split", help="Which held-out part.")] = Held.TEST,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Where the self-contained HTML report goes; default: evaluation.html in RUN."),
    ] = None,
    progress: Progress = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Print the evaluation table of a run: full ranking, ties at their expected rank, 95 % intervals over users."""
    names, judged_names = _names(baselines), _names(judged_baselines)
    parts = [part.value for part in without or []]
    page = report or (run.parent if run.name == "model" else run) / "evaluation.html"
    if dry_run:
        plan = {
            "run": str(run),
            "split": split.value,
            "without": parts,
            "baselines": names,
            "judged_baselines": judged_names,
            "report": str(page),
        }
        if as_json:
            print_json(plan)
        else:
            print_lines([f"{key}: {value if value is not None else 'as in the run'}" for key, value in plan.items() if key != "report"])
            print_lines([f"would write {page}"])
        return

    from m6rec.evaluation.evaluated import Evaluation
    from m6rec.recommender import Recommender
    from m6rec.training.assess import evaluate_run
    from m6rec.training.pipeline import open_run

    config = open_run(run).config
    talked = Recommender.from_pretrained(run).measure_conversation(split.value) if config.data.dialogues is not None else None
    conversed = [] if talked is None else [talked]
    completed: list[Evaluation] = []
    named: list[Evaluation] = []
    found, rows = evaluate_run(
        run,
        without=parts,
        baselines=names,
        judged_baselines=judged_names,
        split=split.value,
        report=page,
        progress=wants_progress(progress),
        completed=completed,
        named=named,
        conversed=conversed,
    )
    if as_json:
        from m6rec.evaluation.judged_comparison import paired

        told = [one.plain() | {"task": task} for task, found in (("baskets", completed), ("named in dialogues", named)) for one in found]
        print_json(
            [
                *(evaluation.plain() for evaluation in found),
                *(one.plain() for one in rows.judged),
                *([{"name": "differences of judged tasks", "differences": paired(rows.judged)}] if rows.judged else []),
                *told,
                *(one.plain() for one in conversed),
            ]
        )
        return
    from m6rec.evaluation.choice_tables import basket_tables, dialogue_tables, scenario_tables, tables_text
    from m6rec.evaluation.judged_tables import judged_tables
    from m6rec.evaluation.report import text_table
    from m6rec.evaluation.seesaw import ALONE

    print(text_table(found))
    if by_scenario := scenario_tables(found):
        print(tables_text(by_scenario))
    if rows.judged:
        print("\n" + judged_tables(rows.judged, least=config.evaluation.least, calibrations=rows.before))
    for note in rows.notes:
        print(note)
    if len({one.task for one in rows.judged}) > 1 and not any(one.name == ALONE for one in rows.judged):
        print(f"m6rec seesaw {run} trains each task's own model; they then stand in this table too")
    if others := [*basket_tables(completed), *dialogue_tables(named, conversed)]:
        print("\n" + tables_text(others))
    print(f"\nwrote {page}")


def _names(given: str | None) -> list[str] | None:
    """Names separated by commas; None: not said."""
    return None if given is None else [] if given == "none" else [name.strip() for name in given.split(",") if name.strip()]
