"""`m6rec chat`: talk with a trained model in the terminal, or pipe turns in, one a line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from m6rec.cli.options import Json
from m6rec.cli.output import print_json_line
from m6rec.cli.typed_line import typed_line


def chat(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder or a model folder.")],
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="Somebody known, whose history counts too.")] = None,
    scenario: Annotated[str | None, typer.Option("--scenario", metavar="NAME", help="Where the conversation takes place.")] = None,
    k: Annotated[int, typer.Option("--k", min=1, max=20, help="Items that one answer recommends.")] = 3,
    questions: Annotated[int, typer.Option("--questions", min=0, help="Questions asked back in a conversation, at most.")] = 2,
    faq: Annotated[
        Path | None, typer.Option("--faq", metavar="FILE", help="Known questions (columns question, answer) instead of the model's own.")
    ] = None,
    phrases: Annotated[
        list[Path] | None, typer.Option("--phrases", metavar="FILE", help="Phrases of a further language; may be repeated.")
    ] = None,
    written: Annotated[
        bool, typer.Option("--written", help="Recommend in the model's own words, where a write task learned them from dialogues.")
    ] = False,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, max=10, help="Of the model's own words; 0: the likeliest word each time.")
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of what a temperature draws.")] = 0,
    as_json: Json = False,
) -> None:
    """Talk: type what you look for; an empty line or Ctrl-D ends it. With turns piped in, one a line, each is answered in its turn, and empty lines are
    passed over. A reply is printed while it is written.

    --json prints one object a reply, each on a line of its own: text, items, intent, hand_over, asked, reason.
    """
    from m6rec.recommender import Recommender
    from m6rec.serving.conversation.config import ConversationConfig
    from m6rec.serving.conversation.written import Manner

    config = ConversationConfig(
        items=k,
        questions=questions,
        faq=None if faq is None else str(faq),
        languages=[str(path) for path in phrases or []],
        written=written,
    )
    manner = Manner(temperature=temperature, seed=seed)
    talk = Recommender.from_pretrained(run).conversation(user, scenario=scenario, config=config)
    typing = sys.stdin.isatty()
    while True:
        if typing:
            print("> ", end="", flush=True)
        line = typed_line()
        if not line or (typing and not line.strip()):
            break
        if not line.strip():
            continue
        spoken = talk.stream(line.rstrip("\n"), manner)
        if as_json:
            print_json_line(spoken.reply.plain())
            continue
        for piece in spoken:
            print(piece, end="", flush=True)
        print(f"\n[{spoken.reply.reason}]" if spoken.reply.hand_over else "", flush=True)
