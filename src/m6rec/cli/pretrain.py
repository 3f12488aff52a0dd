"""`m6rec pretrain`: a language model that is there goes on learning the words of a domain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from m6rec.cli.options import Json, Progress
from m6rec.cli.output import print_json, print_lines, wants_progress


def pretrain(
    start: Annotated[Path, typer.Option("--from", metavar="FOLDER", help="A run, a model folder, or a folder of this command.")],
    texts: Annotated[
        list[Path],
        typer.Option(
            "--texts", metavar="FILE", help="Texts of the domain: a .txt of lines, or a table with a column text. May be repeated."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the language model goes; name it in pretrain.from.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A value of the section pretrain, for example epochs=5. May be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same arguments, same weights.")] = 0,
    progress: Progress = None,
    as_json: Json = False,
) -> None:
    """Continue pretraining on texts: infilling, left to right, telling texts apart. Killed, the same command goes on where it was."""
    from m6rec.base.configuration import set_dotted
    from m6rec.training.config import PretrainConfig
    from m6rec.training.continued import continue_pretraining

    values: dict[str, object] = {}
    for assignment in settings or []:
        set_dotted(values, assignment.removeprefix("pretrain."))
    config = PretrainConfig.build(values, source="--set")
    told = continue_pretraining(start, texts, out, config, seed=seed, progress=wants_progress(progress))
    if as_json:
        print_json({"out": str(out), **told})
        return
    loss = "" if told["loss"] is None else f"; loss on texts kept back: {told['loss'][0]:.3f} before, {told['loss'][1]:.3f} after"
    print_lines([f"{told['texts']:,} texts, {told['tokens']:,} tokens, {told['epochs']} epochs{loss}"])
    print_lines([f"next: m6rec train CONFIG --set pretrain.from={out.resolve()}"])
