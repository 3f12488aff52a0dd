"""Options that several commands share, each spelled and described once."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from m6rec.base.errors import UsageError

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
LanguageFile = Annotated[str, typer.Option("--language", help="Language of the words: en, zh, or another that has a file.")]
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


UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


def duration(text: str, option: str) -> float:
    """`30m` as seconds. Raises UsageError."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip())
    if parts is None or (parts.group(2) or "s") not in UNITS or not float(parts.group(1)) > 0:
        raise UsageError(f"{option} '{text}' is no length of time; give a number and s, m, h or d, for example {option} 30m")
    return float(parts.group(1)) * UNITS[parts.group(2) or "s"]
