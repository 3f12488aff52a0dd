"""`m6rec explain`: why an item stands where it stands for somebody, or what a task goes by over a sample of people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from m6rec.base.errors import UsageError
from m6rec.cli.options import Answers, Json, LanguageFile, RunFolder
from m6rec.cli.output import columns, print_json, print_lines
from m6rec.cli.recommend import person

if TYPE_CHECKING:
    from m6rec.explanation.explained import Explanation
    from m6rec.explanation.overall import Overall

MOST_LINES = 12  # lines of evidence in a terminal; --json has all


def explain(
    run: RunFolder,
    item: Annotated[str | None, typer.Option("--item", metavar="ID", help="The item to explain; needed without --global.")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="A user of the data.")] = None,
    history: Annotated[str | None, typer.Option("--history", metavar="A,B,C", help="Item ids, oldest first, separated by commas.")] = None,
    text: Annotated[str | None, typer.Option("--text", metavar="WORDS", help="What somebody typed.")] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="'AGE=25 ...'", help="Who somebody is: field=value pairs, a JSON object, or words.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="The task whose answer is explained; default: the list itself.")] = None,
    scenario: Annotated[str | None, typer.Option("--scenario", help="The scenario that asks.")] = None,
    k: Answers = 10,
    language: LanguageFile = "en",
    by: Annotated[str | None, typer.Option("--by", metavar="TASK", help="The write task that words it, or: template.")] = None,
    gradients: Annotated[
        bool,
        typer.Option("--gradients", help="Integrated gradients of the events (with --task, of the fields too) beside the exact evidence."),
    ] = False,
    everybody: Annotated[
        bool, typer.Option("--global", help="What the task goes by over a sample of people, instead of one item.")
    ] = False,
    people: Annotated[int, typer.Option("--people", min=1, help="With --global: how many people are drawn.")] = 200,
    seed: Annotated[int, typer.Option("--seed", help="With --global: of the draw.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="With --global: where the HTML page goes.")] = None,
    as_json: Json = False,
) -> None:
    """Say why an item is recommended to somebody, with the evidence; or with --global what a task goes by."""
    asked = any(given is not None for given in (item, user, history, text, profile))
    if everybody and asked:
        raise UsageError("--global looks at a sample of people; leave out --item, --user, --history, --text and --profile")
    if not everybody and out is not None:
        raise UsageError("--out writes the page of --global; for one item, use --json > FILE")
    if not everybody and (item is None or all(given is None for given in (user, history, text, profile))):
        raise UsageError(
            "give --item ID and who it is for: --user ID, --history A,B,C, --text WORDS or --profile 'field=value ...'; or --global"
        )

    from m6rec.recommender import Recommender

    recommender = Recommender.from_pretrained(run)
    if everybody:
        show_overall(recommender.explain_overall(task, people=people, scenario=scenario, seed=seed), run, out, as_json)
        return
    found = recommender.explain(
        user,
        str(item),
        history=None if history is None else [one.strip() for one in history.split(",") if one.strip()],
        text=text,
        profile=None if profile is None else person(profile),
        task=task,
        scenario=scenario,
        k=k,
        language=language,
        by=by,
        gradients=gradients,
    )
    if as_json:
        print_json(found.plain())
        return
    show(found, language)


def show(found: Explanation, language: str) -> None:
    """One explanation in a terminal, with the labels of the language of its words."""
    from m6rec.explanation.phrases import language_of

    words = language_of(language).table
    place = words.place.format(rank=found.rank) if found.rank else words.unlisted
    head = words.head.format(title=found.title, item=found.item_id, what=found.task or words.score, score=f"{found.score:.4f}", place=place)
    print_lines([head, found.reason, *found.said])
    rows = [[words.kinds.get(one.kind, one.kind), f"{one.lift:+.4f}", _percent(one.share), one.title] for one in shortened(found)]
    print_lines(["", *columns(rows, [words.evidence, words.lift, words.share, words.without], right=(1, 2))])
    for what, given in ((words.event, found.attributions), (words.field, found.field_attributions)):
        if given:
            told = [[f"{value:+.4f}", name] for name, value in list(given.items())[:MOST_LINES]]
            print_lines(["", *columns(told, [words.gradients, what], right=(0,))])
    if found.baseline is not None:
        print_lines([words.begun.format(score=f"{found.baseline:.4f}")])


def shortened(found: Explanation) -> list[Any]:
    """What the reason names, and the evidence that moved the score most, in either direction."""
    named = [one for one in found.evidence if one.what in found.named]
    others = sorted((one for one in found.evidence if one not in named), key=lambda one: -abs(one.lift))
    kept = [*named, *others[: max(MOST_LINES - len(named), 0)]]
    return [one for one in found.evidence if one in kept]


def show_overall(found: Overall, run: Path, out: Path | None, as_json: bool) -> None:
    """A global view: the page, and the table."""
    from m6rec.base.storage import atomic_file
    from m6rec.evaluation.importance_report import Moved, importance_page

    page = out or (run.parent if run.name == "model" else run) / f"explain-{found.task}.html"
    rows = [Moved(one.kind, one.name, one.change, one.low, one.high, one.raised, one.replaced, one.people) for one in found.rows]
    with atomic_file(page) as temporary:
        temporary.write_text(
            importance_page(rows, task=found.task, people=found.people, items=found.items, unit=found.unit), encoding="utf-8"
        )
    if as_json:
        print_json({**found.plain(), "page": str(page)})
        return
    cells = [
        [one.kind, one.name, f"{one.change:.4f}", f"{one.low:.4f}-{one.high:.4f}", _percent(one.replaced), str(one.people)]
        for one in found.rows
    ]
    print_lines(columns(cells, ["kind", "name", f"change of {found.unit}", "95 % interval", "list replaced", "people"], right=(2, 3, 4, 5)))
    print_lines([f"wrote {page}"])


def _percent(share: float) -> str:
    return "-" if share != share else f"{100 * share:.0f} %"
