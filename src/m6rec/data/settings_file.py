"""A configuration as text that explains itself: every setting stands below the fact that speaks for it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

WIDTH = 132
CHECK = "check: "


@dataclass(frozen=True)
class Setting:
    """One key of a configuration file.

    path   ("data", "events") is `data: {events: ...}`          why    what speaks for the value, and what else was possible
    check  what a person should look at; "" where nothing is    active False: written as a comment, to be taken in by hand
    """

    path: tuple[str, ...]
    value: Any
    why: str = ""
    check: str = ""
    active: bool = True


def plain(settings: Iterable[Setting]) -> dict[str, Any]:
    """The values of the active settings, nested."""
    values: dict[str, Any] = {}
    for setting in settings:
        if setting.active:
            here = values
            for part in setting.path[:-1]:
                here = here.setdefault(part, {})
            here[setting.path[-1]] = setting.value
    return values


def written(settings: list[Setting], opening: list[str], closing: list[str]) -> str:
    """YAML with comments; `opening` and `closing` are paragraphs of comment. Settings of one section have to follow each other."""
    lines = [line for paragraph in opening for line in _comment(paragraph, 0)]
    open_sections: tuple[str, ...] = ()
    for setting in settings:
        sections = setting.path[:-1]
        shared = next(
            (i for i, (a, b) in enumerate(zip(open_sections, sections, strict=False)) if a != b), min(len(open_sections), len(sections))
        )
        if shared == 0:
            lines.append("")
        alone = not any(other.active and other.path[: len(sections)] == sections for other in settings)
        for depth in range(shared, len(sections)):
            lines.append(f"{'  ' * depth}{'# ' if alone else ''}{sections[depth]}:")
        open_sections = sections
        lines += _entry(setting, len(sections))
    if closing:
        lines += ["", *(line for paragraph in closing for line in _comment(paragraph, 0))]
    return "\n".join(lines) + "\n"


def _entry(setting: Setting, depth: int) -> list[str]:
    lines = _comment(setting.why, depth) + _comment(f"{CHECK}{setting.check}" if setting.check else "", depth)
    mark = "" if setting.active else "# "
    return [*lines, f"{'  ' * depth}{mark}{_scalar(setting.path[-1])}: {_scalar(setting.value)}"]


def _scalar(value: Any) -> str:
    """A value as it stands on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")


def _comment(text: str, depth: int) -> list[str]:
    """Wrapped; control characters of the data never reach the file."""
    safe = "".join(character if character.isprintable() else " " for character in text)
    return [f"{'  ' * depth}# {line}" for line in textwrap.wrap(safe, WIDTH - 2 * depth, break_long_words=False, break_on_hyphens=False)]
