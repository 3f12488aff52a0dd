"""Options that several commands share, each spelled and described once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML file that says what the data is and what is asked of it.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or the model folder inside one.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON value on standard output, and nothing else there.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one configuration value, for example train.epochs=5. May be repeated."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and write nothing.")]
Progress = Annotated[
    bool | None,
    typer.Option("--progress/--no-progress", help="Progress bars on standard error; default: on a terminal.", show_default=False),
]
Answers = Annotated[int, typer.Option("-k", "--k", min=1, help="How many items to answer with.")]


class Part(StrEnum):
    """What an ablation can leave out of the model."""

    GRAPH = "graph"
    ID = "id"
    TEXT = "text"


class Held(StrEnum):
    """Which held-out part is measured."""

    TEST = "test"
    VALIDATION = "validation"


class Repeat(StrEnum):
    """What becomes of items that were consumed before."""

    EXCLUDE = "exclude"
    ALLOW = "allow"


class Language(StrEnum):
    """Language of generated or worded text."""

    EN = "en"
    ZH = "zh"


class Window(StrEnum):
    """Windows of calendar time; a month is 30 days."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class FileFormat(StrEnum):
    """Format of written tables."""

    PARQUET = "parquet"
    CSV = "csv"
    JSONL = "jsonl"
