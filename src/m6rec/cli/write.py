"""`m6rec write`: a text by one of the write tasks of a run."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from m6rec.base.errors import UsageError
from m6rec.cli.options import Json, RunFolder
from m6rec.cli.output import print_json, print_lines


class DecodingName(StrEnum):
    """How the next word is decided on."""

    BEAM = "beam"
    GREEDY = "greedy"
    NUCLEUS = "nucleus"
    AGREED = "agreed"


def write(
    run: RunFolder,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="The write task, by its name in the configuration.")],
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="Whom it is for, or whose manner it has.")] = None,
    item: Annotated[str | None, typer.Option("--item", metavar="ID", help="What it is about.")] = None,
    history: Annotated[str | None, typer.Option("--history", metavar="A,B,C", help="Item ids, oldest first, separated by commas.")] = None,
    text: Annotated[
        str | None, typer.Option("--text", metavar="WORDS", help="What stands before it, where the task reads such a text.")
    ] = None,
    profile: Annotated[str | None, typer.Option("--profile", metavar="WORDS", help="Who it is for, in words.")] = None,
    about: Annotated[str | None, typer.Option("--about", metavar="A,B", help="Words that should be named, separated by commas.")] = None,
    language: Annotated[str | None, typer.Option("--language", help="Language of the text, for example en or zh.")] = None,
    decoding: Annotated[
        DecodingName | None,
        typer.Option("--decoding", help="How the next word is decided on.", show_default="beam; greedy with --stream"),
    ] = None,
    beams: Annotated[int, typer.Option("--beams", help="beam: texts side by side.")] = 4,
    top_p: Annotated[float, typer.Option("--top-p", help="nucleus, agreed: probability that the words drawn from hold.")] = 0.9,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="nucleus, agreed: the higher, the more daring.", show_default="1; agreed 0.5")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="nucleus, agreed: what is drawn follows from it.")] = 0,
    words: Annotated[str | None, typer.Option("--words", metavar="LEAST-MOST", help="Length in words, for example 5-20.")] = None,
    banned: Annotated[
        str | None, typer.Option("--banned", metavar="A,B", help="Words that must not be written, separated by commas.")
    ] = None,
    n: Annotated[int, typer.Option("-n", "--n", help="How many texts.")] = 1,
    stream: Annotated[bool, typer.Option("--stream", help="Print the text while it is written (greedy or nucleus).")] = False,
    as_json: Json = False,
) -> None:
    """Write a text: a reason for an item, a query somebody might type, a title, a review in somebody's manner."""
    from m6rec.serving.engine.how_to_write import HowToWrite, check_kind_of

    if stream and (as_json or n > 1 or decoding in (DecodingName.BEAM, DecodingName.AGREED)):
        raise UsageError(
            "--stream prints one text as it grows; leave out --json and -n, and --decoding beam or agreed, whose text is known when it is finished"
        )
    how: Any = (decoding or (DecodingName.GREEDY if stream else DecodingName.BEAM)).value
    lengths, unwanted = None if words is None else span(words), listed(banned or "")
    HowToWrite(how, beams, top_p, temperature, seed, lengths, unwanted, language, n)
    check_kind_of(run, kind)
    from m6rec.recommender import Recommender

    asked: dict[str, Any] = {
        "history": None if history is None else listed(history),
        "text": text,
        "profile": profile,
        "language": language,
        "about": listed(about or ""),
        "decoding": how,
        "top_p": top_p,
        "temperature": temperature,
        "seed": seed,
        "words": lengths,
        "banned": unwanted,
    }
    rec = Recommender.from_pretrained(run)
    if stream:
        for piece in rec.write_stream(kind, user, item, **asked):
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
        return
    written = rec.write(kind, user, item, beams=beams, n=n, **asked)
    if as_json:
        print_json(written.plain())
        return
    print_lines([written.text, *(other.text for other in written.others)])


def listed(text: str) -> list[str]:
    """What stands between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def span(text: str) -> tuple[int, int]:
    """`5-20` as (5, 20). Raises UsageError."""
    least, _, most = text.partition("-")
    if not least.strip().isdigit() or not (most or least).strip().isdigit():
        raise UsageError(f"--words '{text}' is no span of lengths; for example --words 5-20")
    return int(least), int(most or least)
