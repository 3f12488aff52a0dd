"""`m6rec simulate`: people that the model makes up, as a log, and how far that log is like the real one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from m6rec.base.errors import UsageError
from m6rec.cli.options import Json, Repeat, RunFolder
from m6rec.cli.output import columns, print_json, print_lines
from m6rec.cli.recommend import WRITERS

if TYPE_CHECKING:
    from m6rec.evaluation.simulated import LogFigures


def simulate(
    run: RunFolder,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where the log goes: .parquet, .csv or .jsonl.")] = None,
    users: Annotated[int, typer.Option("--users", min=2, help="How many people are gone on with.")] = 500,
    given: Annotated[int, typer.Option("--given", min=0, help="Events of theirs that are kept; 0: their profile alone.")] = 1,
    by: Annotated[str | None, typer.Option("--by", metavar="FIELD", help="Field of the items whose transitions are compared.")] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Always the best item, instead of drawing.")] = False,
    temperature: Annotated[float, typer.Option("--temperature", help="Above 1: more daring; below: more of the same.")] = 1.0,
    top_p: Annotated[float, typer.Option("--top-p", help="Draw out of the likeliest items of so much probability.")] = 1.0,
    repeat: Annotated[Repeat | None, typer.Option("--repeat", help="Whether items may come again; default: as trained.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same arguments, same log.")] = 0,
    as_json: Json = False,
) -> None:
    """Go on with the histories of people of the data for as long as they really went on, and compare both logs."""
    if out is not None and out.suffix not in WRITERS:
        raise UsageError(f"--out {out} is no table that can be written; end it in {', '.join(WRITERS)}, for example --out log.parquet")

    if greedy and (temperature != 1 or top_p != 1):
        raise UsageError("--greedy draws nothing, so --temperature and --top-p have nothing to change; leave either those or --greedy out")

    from m6rec.base.storage import atomic_file
    from m6rec.recommender import Recommender
    from m6rec.serving.engine.rollout import Policy
    from m6rec.serving.engine.simulation import simulate as go_on
    from m6rec.serving.engine.simulation import simulated_table

    engine = Recommender.from_pretrained(run).engine
    decoding: Literal["sample", "greedy"] = "greedy" if greedy else "sample"
    policy = Policy(decoding, temperature, top_p, engine.scorer.task.config.repeat if repeat is None else repeat.value)
    made = go_on(engine, users, given=given, seed=seed, policy=policy, by=by)
    table = simulated_table(engine, made)
    if out is not None:
        with atomic_file(out) as temporary:
            getattr(table, WRITERS[out.suffix])(temporary)
    if as_json:
        figures = {name: one.plain() for name, one in made.figures.items()}
        print_json({"users": len(made.users), "events": table.height, "out": None if out is None else str(out), "figures": figures})
        return
    print_lines([f"{len(made.users):,} people, {table.height:,} events ({given} of each given){'' if out is None else f': {out}'}"])
    print_lines(columns(_rows(made.figures), ["against the real log", *made.figures], right=(1, 2, 3)))


def _rows(figures: dict[str, LogFigures]) -> list[list[str]]:
    """A line a figure, a column a log."""
    one = list(figures.values())
    rows = [
        ["category transitions, divergence (bits)", *(f"{f.transitions:.4f}" for f in one)],
        ["item transitions that are real ones", *(f"{f.observed:.1%}" for f in one)],
        ["popularity of items, divergence (bits)", *(f"{f.popularity:.4f}" for f in one)],
        ["events that repeat an item", *(f"{f.repeats:.1%}" for f in one)],
        ["neighbours of different categories", *(f"{f.switches:.1%}" for f in one)],
        ["events of a person, mean", *(f"{f.events[0]:.1f}" for f in one)],
        ["events, 10 / 50 / 90 %", *(" / ".join(f"{value:.0f}" for value in f.events[1:]) for f in one)],
    ]
    if all(f.gap_days is not None for f in one):
        rows.append(["days between, 10 / 50 / 90 %", *(" / ".join(f"{value:.3g}" for value in f.gap_days or []) for f in one)])
    return rows
