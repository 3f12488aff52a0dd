"""`m6rec profile`: what the model holds about a person, in words, with the events behind it."""

from __future__ import annotations

from typing import Annotated

import typer

from m6rec.cli.options import Json, LanguageFile, RunFolder
from m6rec.cli.output import print_json, print_lines


def profile(
    run: RunFolder,
    user: Annotated[str, typer.Argument(metavar="USER", help="A user of the data.")],
    most: Annotated[int, typer.Option("--most", min=1, help="Interests of a field, at most.")] = 3,
    language: LanguageFile = "en",
    as_json: Json = False,
) -> None:
    """Say what the model holds about a person: interests by weight, time and scenario, with the events behind each."""
    from m6rec.explanation.interest_words import sentences, strength
    from m6rec.explanation.phrases import language_of
    from m6rec.recommender import Recommender

    language_of(language)  # says so before anything is loaded
    found = Recommender.from_pretrained(run).profile(user, most=most)
    said = sentences(found, language)
    if as_json:
        plain = found.plain()
        for row, interest in zip(plain["interests"], found.interests, strict=True):
            row["strength"] = strength(interest)
        print_json({**plain, "sentences": said})
        return
    print_lines(said)
