"""The strict-configuration mechanism: every room's `config.py` builds on `Config`.

A configuration object is keyword-only, frozen, described field by field, and checked when built. An unknown key is an
error that names the nearest known one; a wrong value is one line: key, value received, what is allowed.
"""

from __future__ import annotations

import hashlib
import json
from types import UnionType
from typing import Any, Self, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from m6rec.base.errors import ConfigError, nearest


class Config(BaseModel):
    """Base of every configuration object. Fields are declared with `pydantic.Field(default, description=...)`."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())

    @classmethod
    def build(cls, values: dict[str, Any], source: str = "configuration") -> Self:
        """Checked object from plain values (as read from YAML).

        Raises:
            ConfigError: one line naming the key (dotted), the value received and what is allowed.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{source}: {_first_line(cls, error)}") from None

    def plain(self) -> dict[str, Any]:
        """JSON-ready values, defaults included: what is saved beside every artefact."""
        return self.model_dump(mode="json")

    def fingerprint(self) -> str:
        """Hash of the resolved values; two equal configurations have equal fingerprints."""
        return hashlib.sha256(json.dumps(self.plain(), sort_keys=True).encode()).hexdigest()[:16]


C = TypeVar("C", bound=Config)
MOST_KEYS = 12  # of a section named in a message


def set_dotted(values: dict[str, Any], assignment: str) -> None:
    """Apply one `a.b=c` in place; the value is read as YAML (`3`, `true`, `[a, b]`, `null`, text).

    Raises:
        ConfigError: no '=', or a part of the path holds a plain value.
    """
    from m6rec.base.strict_yaml import read_yaml

    key, equals, text = assignment.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set takes key=value, got '{assignment}'; for example --set train.epochs=5")
    parts = key.strip().split(".")
    here = values
    for depth, part in enumerate(parts[:-1], 1):
        child = here.setdefault(part, {})
        if not isinstance(child, dict):
            section = ".".join(parts[:depth])
            raise ConfigError(
                f"--set {key}: '{part}' holds the value {child!r}, not a section; leave that out and set each key of it, as in {section}.KEY={child}"
            )
        here = child
    try:
        here[parts[-1]] = read_yaml(text, f"--set {key}")
    except ConfigError:
        raise ConfigError(f"--set {key}: '{text}' is not a YAML value; quote it") from None


def _first_line(cls: type[Config], error: ValidationError) -> str:
    details = error.errors()
    # An unknown key explains the most: a misspelt key also makes the right one "missing".
    first = next((d for d in details if d["type"] == "extra_forbidden"), details[0])
    path = [str(part) for part in first["loc"] if not (isinstance(part, str) and part.startswith("function-"))]
    extra = first["type"] == "extra_forbidden"
    owner, shown_path = _walk(cls, path[:-1] if extra else path)
    dotted = ".".join([*shown_path, path[-1]] if extra else shown_path)
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    if extra:
        known = sorted(owner.model_fields) if owner else []
        hint = nearest(path[-1], known) or (f"; known keys: {', '.join(known)}" if known else "")
        return f"unknown key '{dotted}'{hint}{more}"
    if first["type"] == "missing":
        return f"'{dotted}' is required{more}"
    if first["type"] == "union_tag_invalid":
        key = first["ctx"]["discriminator"].strip("'")
        return f"'{dotted}.{key}' is {first['ctx']['tag']!r}: allowed are {first['ctx']['expected_tags']}{more}"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if first["type"] in ("model_type", "model_attributes_type") and owner is not None:
        return f"'{dotted}' is {first.get('input')!r} and not a section; {_hint_of_section(owner, dotted, first.get('input'))}{more}"
    if first["type"] == "value_error" and isinstance(first.get("input"), dict) and dotted:
        return f"'{dotted}': {message}{more}"
    shown = repr(first.get("input"))
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return f"'{dotted}' is {shown}: {message[:1].lower() + message[1:]}{more}" if dotted else f"{message}{more}"


def _hint_of_section(owner: type[Config], dotted: str, given: Any) -> str:
    """What to write where a section is wanted: the key that a bare word is a value of, else the first keys."""
    fitting = next((name for name, field in owner.model_fields.items() if given in get_args(field.annotation)), None)
    if fitting is not None:
        return f"say {dotted}.{fitting}={given}"
    keys = list(owner.model_fields)
    shown = ", ".join(keys[:MOST_KEYS]) + (", ..." if len(keys) > MOST_KEYS else "")
    return f"set one of its keys, e.g. {dotted}.{keys[0]}=VALUE; keys: {shown}"


def _walk(cls: type[Config], path: list[str]) -> tuple[type[Config] | None, list[str]]:
    """The Config class that `path` leads to, looking through Optional, dict and list, and the path as the user wrote it.

    Of several classes at one place (`answer: choose | judge`) pydantic names the one by its tag, a step nobody wrote.
    """
    owners: list[type[Config]] = [cls]
    written, key = [], False
    for part in path:
        if key:  # of a dict[str, Config], or an index of a list: a name of the user's, and the same classes stand there
            written.append(part)
            key = False
            continue
        tagged = [owner for owner in owners if any(part == field.default for field in owner.model_fields.values())]
        if len(owners) > 1 and len(tagged) == 1:
            owners = tagged
            continue
        written.append(part)
        field = next((owner.model_fields[part] for owner in owners if part in owner.model_fields), None)
        if field is not None:
            owners, key = configs_in(field.annotation), _holds_many(field.annotation)
    return (owners[0] if owners else None), written


def _holds_many(annotation: Any) -> bool:
    """Whether an annotation is of a dict or a list, looking through Optional."""
    return get_origin(annotation) in (dict, list) or (
        get_origin(annotation) in (Union, UnionType) and any(_holds_many(argument) for argument in get_args(annotation))
    )


def configs_in(annotation: Any) -> list[type[Config]]:
    """The Config classes an annotation speaks of, inside Optional, Union, dict and list."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [found for argument in get_args(annotation) for found in configs_in(argument)]
