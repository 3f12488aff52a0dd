"""`m6rec config-reference`: every configuration key with its type, default and meaning, written from the Config classes themselves."""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from m6rec.base.configuration import Config

OPENING = """# Configuration reference

Generated from the code by `make docs`; do not edit. A configuration file is YAML with the sections below. Every key has a default
unless it says *required*. Any key can be changed for one run with `--set section.key=value`. An unknown key is an error that names the
nearest known one.
"""
BOUNDS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "min_length": "length ≥ {}", "max_length": "length ≤ {}"}


def config_reference(
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it there instead of printing it.")] = None,
) -> None:
    """Print the configuration reference as Markdown, generated from the code."""
    from m6rec.base.storage import atomic_file

    text = reference()
    if out is None:
        print(text, end="")
        return
    with atomic_file(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"wrote {out}")


def reference() -> str:
    """The whole document: the root configuration, the options of every fusion member and importer found by discovery, and serving."""
    from m6rec.config import M6RecConfig
    from m6rec.data.importers.importer import IMPORTERS
    from m6rec.fusion.member import MEMBERS
    from m6rec.serving.config import ServeConfig

    parts = [OPENING, *_sections(M6RecConfig, "", 2)]
    parts.append("## Fusion members\n\nOptions of the scorers that stand beside the model as baselines.\n")
    parts += [_section(member.Options, member.name, 3, about=member) for member in map(MEMBERS.get, MEMBERS.names())]
    parts.append("## Importers\n\nOptions of `m6rec import`, given as `--set KEY=VALUE`.\n")
    parts += [_section(importer.Options, importer.name, 3, about=importer) for importer in map(IMPORTERS.get, IMPORTERS.names())]
    parts.append("## Serving\n\nThe file of `m6rec serve RUN --config FILE`, a file of its own.\n")
    sections = [_section(ServeConfig, "", 3)]
    for name in ServeConfig.model_fields:
        sections += _sections(_config_of(ServeConfig, name), name, 3)
    return "\n".join([*parts, *sections])


def _config_of(owner: type[Config], name: str) -> type[Config]:
    from m6rec.base.configuration import configs_in

    return next(iter(configs_in(owner.model_fields[name].annotation)))


def _sections(owner: type[Config], path: str, level: int) -> Iterator[str]:
    """The section of `owner`, then those of the Config classes in its fields, depth first."""
    from m6rec.base.configuration import configs_in

    yield _section(owner, path, level)
    for name, field in owner.model_fields.items():
        here = f"{path}.{name}" if path else name
        named = get_origin(_without_none(field.annotation)) is dict
        for inner in configs_in(field.annotation):
            yield from _sections(inner, f"{here}.<name>" if named else here, min(level + 1, 4) if path else level)


def _section(owner: type[Config], path: str, level: int, about: type | None = None) -> str:
    title = f"`{path}`" if path else "The file"
    lines = [f"{'#' * level} {title}", "", _prose(inspect.getdoc(about or owner) or ""), ""]
    if not owner.model_fields:
        return "\n".join([*lines, "No options.", ""])
    lines += ["| key | value | default | meaning |", "|---|---|---|---|"]
    for name, field in owner.model_fields.items():
        cells = (f"`{field.alias or name}`", _value(field), _default(field), field.description or "")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _prose(docstring: str) -> str:
    """A docstring as Markdown: paragraphs set in columns (runs of blanks) are fenced, so that they keep their shape."""
    paragraphs = docstring.split("\n\n")
    return "\n\n".join(f"```text\n{part}\n```" if re.search(r"\S {2,}\S", part) else part for part in paragraphs)


def _value(field: FieldInfo) -> str:
    bounds = [text.format(getattr(part, key)) for part in field.metadata for key, text in BOUNDS.items() if hasattr(part, key)]
    return ", ".join([_kind(field.annotation), *bounds])


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{argument}`" for argument in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(argument) for argument in arguments)
    if origin is list:
        return f"list of {_kind(arguments[0])}"
    if origin is dict:
        return f"mapping of name to {_kind(arguments[1])}"
    if annotation is type(None):
        return "null"
    if _is_config(annotation):
        return "section"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "any value"}
    return names.get(annotation) or str(getattr(annotation, "__name__", annotation))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    default = field.get_default(call_default_factory=True, validated_data={})
    if _is_config(type(default)):
        return "see below"
    if isinstance(default, dict) and any(_is_config(type(value)) for value in default.values()):
        return f"one: {', '.join(f'`{name}`' for name in default)}, see below"
    return f"`{json.dumps(default, ensure_ascii=False, default=str)}`"


def _is_config(annotation: Any) -> bool:
    from m6rec.base.configuration import Config

    return isinstance(annotation, type) and issubclass(annotation, Config)


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        kept = [argument for argument in get_args(annotation) if argument is not type(None)]
        return kept[0] if len(kept) == 1 else annotation
    return annotation
