"""`m6rec recommend`: items for a known user, for a history, for typed words or for a described person."""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from m6rec.base.errors import UsageError, shown
from m6rec.cli.options import Answers, Json, Repeat, RunFolder
from m6rec.cli.output import columns, print_json, print_lines

if TYPE_CHECKING:
    import polars as pl

    from m6rec.base.contracts import Scored

WRITERS = {".parquet": "write_parquet", ".csv": "write_csv", ".jsonl": "write_ndjson"}


def recommend(
    run: RunFolder,
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="A user of the data.")] = None,
    history: Annotated[str | None, typer.Option("--history", metavar="A,B,C", help="Item ids, oldest first, separated by commas.")] = None,
    text: Annotated[str | None, typer.Option("--text", metavar="WORDS", help="What somebody nobody knows asks for.")] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="'AGE=25 ...'", help="Who somebody is: field=value pairs, a JSON object, or words.")
    ] = None,
    k: Answers = 10,
    scenario: Annotated[str | None, typer.Option("--scenario", help="The scenario that asks.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="FIELD=VALUE",
            help="Only such items; a number also as price<50. A range: price=20-60. Repeated for one field: any of them.",
        ),
    ] = None,
    repeat: Annotated[Repeat | None, typer.Option("--repeat", help="Whether consumed items may come again.")] = None,
    of: Annotated[
        str | None, typer.Option("--of", metavar="FIELD", help="Recommend values of a field (brand, artist, ...) instead of items.")
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="The choose task that is asked, for example one that completes baskets.")
    ] = None,
    include: Annotated[
        str | None, typer.Option("--include", metavar="NAMES", help="Fields and tasks to say of each item, separated by commas.")
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Answer every known user, into the file of --out.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="With --all: where the answers go, .parquet, .csv or .jsonl.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Recommend items from a run, best first. Give at least one of --user, --history, --text, --profile; or --all --out FILE."""
    if everybody or out is not None:
        if out is None or not everybody or any(given is not None for given in (user, history, text, profile)):
            raise UsageError("--all and --out go together, without --user, --history, --text and --profile: --all --out answers.parquet")
        answer_everybody(run, out, k, scenario, conditions(where or []), None if repeat is None else repeat.value, as_json)
        return
    if user is None and history is None and text is None and profile is None:
        raise UsageError("nobody to recommend to; give --user ID, --history A,B,C, --text WORDS or --profile 'field=value ...'")
    if text is not None and not text.strip():
        raise UsageError("--text is empty; type some words, or leave it out")
    filters = conditions(where or [])
    described = None if profile is None else person(profile)

    from m6rec.recommender import Recommender

    recommender = Recommender.from_pretrained(run)
    for note in (*recommender.engine.profile_notes(described), *recommender.engine.typed_notes(text, described, k)):
        print(f"m6rec: note: {note}", file=sys.stderr)
    answers = recommender.engine.recommend(
        user=user,
        history=None if history is None else [item.strip() for item in history.split(",") if item.strip()],
        text=text,
        profile=described,
        k=k,
        scenario=scenario,
        where=filters or None,
        repeat=None if repeat is None else repeat.value,
        of=of,
        task=task,
        include=[] if include is None else [name.strip() for name in include.split(",") if name.strip()],
    )
    if text is not None and not recommender.understands(text):
        print("m6rec: note: no word of the text stands in any item; the list goes by everything else", file=sys.stderr)
    if not answers:
        why = recommender.why_empty(text, described, scenario=scenario, where=filters or None)
        print(f"m6rec: note: {why or 'no item is left; loosen --where, or see --repeat'}", file=sys.stderr)
    show_items(answers, as_json)


def answer_everybody(
    run: Path,
    out: Path,
    k: int,
    scenario: str | None,
    where: dict[str, list[str]],
    repeat: Literal["exclude", "allow"] | None,
    as_json: bool,
) -> None:
    """The best k items of every known user as one table. Raises UsageError for a file of another kind, StorageError."""
    if out.suffix not in WRITERS:
        raise UsageError(f"--out {out} is no table that can be written; end it in {', '.join(WRITERS)}, for example --out answers.parquet")

    from m6rec.recommender import Recommender

    recommender = Recommender.from_pretrained(run)
    begun = time.perf_counter()
    answers = recommender.recommend_many(k=k, scenario=scenario, where=where or None, repeat=repeat)
    seconds = time.perf_counter() - begun
    write_table(answers, out)
    users = answers["user_id"].n_unique()
    if as_json:
        print_json({"out": str(out), "users": users, "rows": answers.height, "seconds": round(seconds, 3)})
        return
    print_lines([f"{answers.height:,} answers for {users:,} users in {seconds:.1f} s ({users / max(seconds, 1e-9):,.0f} users/s): {out}"])


def write_table(frame: pl.DataFrame, out: Path) -> None:
    """By the ending of `out`, one of WRITERS. CSV has no lists: their values are written as they are read, with | between them."""
    import polars as pl

    from m6rec.base.storage import atomic_file

    if out.suffix == ".csv":
        lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
        frame = frame.with_columns(pl.col(name).cast(pl.List(pl.String)).list.join("|") for name in lists)
    with atomic_file(out) as temporary:
        getattr(frame, WRITERS[out.suffix])(temporary)


def show_items(answers: list[Scored], as_json: bool) -> None:
    """The ranked items as JSON or as a table."""
    if as_json:
        print_json(
            [
                {"item_id": a.item_id, "title": a.title, "score": a.score, "parts": a.parts} | ({"labels": a.labels} if a.labels else {})
                for a in answers
            ]
        )
        return
    said = list(answers[0].labels) if answers else []
    rows = [
        [str(rank), f"{answer.score:.4f}", answer.item_id, answer.title, *(worded(answer.labels[name]) for name in said)]
        for rank, answer in enumerate(answers, start=1)
    ]
    print_lines(columns(rows, ["rank", "score", "item", "title", *said], right=(0, 1)))


def worded(value: Any) -> str:
    """A label in a table."""
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def conditions(words: list[str]) -> dict[str, list[str]]:
    """`["brand=Acme", "price<50"]` as `{"brand": ["Acme"], "price": ["<50"]}`. Raises UsageError for anything else."""
    found: dict[str, list[str]] = {}
    for word in words:
        parts = re.fullmatch(r"([^=<>]+)(<=|>=|=|<|>)(.+)", word.strip())
        if parts is None:
            raise UsageError(f"--where takes field=value (a number also field<50), got '{word}'; for example --where category=boots")
        field, sign, value = (part.strip() for part in parts.groups())
        found.setdefault(field, []).append(value if sign == "=" else sign + value)
    return found


def person(profile: str) -> dict[str, Any] | str:
    """`"age=25 job='web designer'"`, or a JSON object, as fields; what has no `=` is words about a person. Raises UsageError."""
    if profile.lstrip().startswith("{"):
        try:
            fields = json.loads(profile)
        except ValueError as error:
            why = f"--profile {shown(profile)} is no JSON object ({error})"
            raise UsageError(f"{why}; for example --profile 'age=25 job=\"web designer\"'") from None
        return {str(name): value for name, value in fields.items()}
    if "=" not in profile:
        return profile
    try:
        words = [word.partition("=") for word in shlex.split(profile)]
    except ValueError as error:
        raise UsageError(f"--profile {profile!r}: {str(error).lower()}; for example --profile 'age=25 job=\"web designer\"'") from None
    wrong = [word for word, equals, _ in words if not equals or not word]
    if wrong:
        raise UsageError(f"--profile takes field=value pairs, got '{wrong[0]}'; quote a value with blanks: 'age=25 job=\"web designer\"'")
    return {field: value for field, _, value in words}
