"""Wording templates as checked objects: what a template file may say. `templates/en.yaml` documents the file itself."""

from __future__ import annotations

import string
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import Field, model_validator

from m6rec.base.configuration import Config
from m6rec.base.errors import ConfigError, nearest
from m6rec.data.fields import FieldType
from m6rec.text.cues import Cues
from m6rec.text.field_constraints import Operation
from m6rec.text.words import written_apart

NAME, VALUE, FIELD = "name", "value", "field"


class Bands(Config):
    """Words for the band a number falls into, instead of the number."""

    edges: list[float] | Literal["round"] = Field(
        description="rising edges, or round: 1, 1.5, 2, 3, 4, 6, 8, 10 times powers of ten; an edge belongs to the band above it"
    )
    whole: bool = Field(default=False, description="name the last whole number of a band (25-34) instead of the next edge (60-80)")
    between: str = Field(default="{low}-{high}", description="words for a band; {low} and {high}")
    below: str = Field(default="{high}", description="words below the first edge; {high} is the edge")
    above: str = Field(default="{low}", description="words from the last edge on; {low} is the edge")

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if isinstance(self.edges, list) and (not self.edges or sorted(set(self.edges)) != self.edges):
            raise ValueError("give one or more rising numbers, or round")
        for words, allowed in ((self.between, ["low", "high"]), (self.below, ["high"]), (self.above, ["low"])):
            for name in placeholders(words):
                if name not in allowed:
                    raise ValueError(f"unknown placeholder '{{{name}}}' in '{words}'; allowed: {', '.join(allowed)}")
        return self


class Part(Config):
    """One way to say one field (`field` or `type` given) or several fields at once (neither given)."""

    say: str = Field(description="the words; {value} and {name} of the field, or fields by name: '{brand} from {country}'")
    field: str | list[str] | None = Field(
        default=None, description="the field, or several names it may have; one the data lacks is left out"
    )
    type: FieldType | None = Field(default=None, description="every declared field of this type that no earlier part says")
    values: dict[str, str] = Field(default={}, description="words for single values: {m: male}; capitals make no difference")
    bands: Bands | None = Field(default=None, description="words for bands of numbers")
    joiner: str = Field(default=", ", description="between several tags")
    most: int = Field(default=16, ge=1, description="tags said at most")
    longest: int = Field(default=600, ge=1, description="characters of one value at most; the cut is at a blank where there is one")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.field is not None and self.type is not None:
            raise ValueError("a part has either field or type, not both")
        found = placeholders(self.say)
        if self.single:
            for name in found:
                if name not in (NAME, VALUE):
                    hint = nearest(name, [NAME, VALUE])
                    raise ValueError(
                        f"unknown placeholder '{{{name}}}' in '{self.say}'; a part with field or type knows {{value}} and {{name}}{hint}"
                    )
        elif not found:
            raise ValueError(f"'{self.say}' says no field; name one in braces, or give field or type")
        return self

    @property
    def single(self) -> bool:
        return self.field is not None or self.type is not None


class Entity(Config):
    """How one kind of thing (item, profile, query, ...) is worded: its parts in order, joined."""

    parts: list[Part] = Field(description="in the order they are said; the first part that fits a field says it")
    joiner: str = Field(default="; ", description="between the parts")
    nothing: str = Field(default="", description="said when nothing is known")


class Limits(Config):
    """How limits that were typed are said, and why nothing meets them."""

    signs: dict[Operation, str] = Field(description="one limit, by its sign; {field} as it is declared, {name} it is called by, {value}")
    either: str = Field(description="between several values")
    to: str = Field(description="between the ends of a stretch of numbers")
    every: str = Field(description="between several limits")
    both: str = Field(description="{field} or {name} is asked to be {value} and not to be it")
    exclude: str = Field(description="the limits {first} and {second} exclude each other")
    none: str = Field(description="no item meets {limits}, one")
    together: str = Field(description="no item meets {limits}, several, together")
    none_left: str = Field(description="as none, of the items that filters leave")
    together_left: str = Field(description="as together, of the items that filters leave")
    filters: str = Field(description="the filters leave nothing, whatever is typed")

    @model_validator(mode="after")
    def _placeholders(self) -> Self:
        several = (self.none, self.together, self.none_left, self.together_left)
        sentences = [*((words, (FIELD, NAME, VALUE)) for words in (*self.signs.values(), self.both)), (self.exclude, ("first", "second"))]
        for words, names in [*sentences, *((words, ("limits",)) for words in several)]:
            for name in placeholders(words):
                if name not in names:
                    raise ValueError(f"unknown placeholder '{{{name}}}' in '{words}'; allowed: {', '.join(names)}")
        missing = next((sign for sign in get_args(Operation) if sign not in self.signs), None)
        if missing is not None:
            raise ValueError(f"signs has no '{missing}'; those: {', '.join(get_args(Operation))}")
        return self


class Template(Config):
    """A whole template file."""

    version: Literal[1] = Field(default=1, description="version of the file's form")
    entities: dict[str, Entity] = Field(default={}, description="item, profile, query, review, ...")
    names: dict[str, str] = Field(default={}, description="what a field is called in words; others: the field's name, _ read as a blank")
    missing: list[str] = Field(default=[], description="category and tag values that mean nothing is known; capitals make no difference")
    limits: Limits = Field(
        default_factory=lambda: english_limits(), description="how what was typed exactly is said; see text/limit_words.py"
    )
    cues: Cues = Field(default_factory=Cues, description="cue words of typed text, beside the packaged ones; see text/cues/en.yaml")
    decimals: int = Field(default=2, ge=0, le=9, description="decimals of a number at most; zeros at the end are dropped")


def placeholders(words: str) -> list[str]:
    """Names in braces, in order. `{{` and `}}` are plain braces. Raises ValueError for braces that do not pair."""
    try:
        parsed = list(string.Formatter().parse(words))
    except ValueError as error:
        raise ValueError(f"'{words}': {error}; write {{{{ or }}}} for a plain brace") from None
    for _, name, form, conversion in parsed:
        if name is not None and (form or conversion or not name.strip()):
            raise ValueError(f"'{words}': a placeholder is one name in braces, such as {{value}}")
    return [name for _, name, _, _ in parsed if name is not None]


def filled(words: str, values: Mapping[str, str]) -> str:
    """`words` with its placeholders replaced; values are never read as templates.

    Where one placeholder follows another with nothing between, as in Chinese, words of a script with blanks stay two words.
    """
    said, last = "", ""
    for before, name in _pieces(words):
        value = values[name] if name is not None else ""
        if last and not before and written_apart(last, value):
            said += " "
        said += before + value
        last = value
    return said


@lru_cache(256)
def _pieces(words: str) -> tuple[tuple[str, str | None], ...]:
    return tuple((before, name) for before, name, _, _ in string.Formatter().parse(words))


@cache
def built_in(language: str) -> Template:
    """The template packaged for a language. Raises ConfigError for a language without one."""
    folder = resources.files("m6rec.text") / "templates"
    if language not in packaged():
        raise ConfigError(
            f"no wording for language '{language}'; there are: {', '.join(packaged())}; another one is a file of yours: text.templates"
        )
    return Template.build(yaml.safe_load((folder / f"{language}.yaml").read_text(encoding="utf-8")), f"templates/{language}.yaml")


def base_template(language: str) -> Template:
    """The packaged template of a language, the English one for a language that a user's own file adds."""
    return built_in(language if language in packaged() else "en")


def english_limits() -> Limits:
    """Those of a language that does not say them."""
    return built_in("en").limits


@cache
def packaged() -> tuple[str, ...]:
    """Languages with a packaged template: one file each."""
    folder = resources.files("m6rec.text") / "templates"
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def load_template(path: Path | str | None, language: str) -> tuple[Template, set[str]]:
    """The template of a language, with what the user's file at `path` says instead (whole entities, single names), and the
    entities that come from that file.

    Raises:
        ConfigError: the file is missing, not YAML, or says something a template can't say.
    """
    base = built_in(language) if path is None else base_template(language)
    if path is None:
        return base, set()
    own = Template.build(_read(Path(path)), str(path))
    given: dict[str, Any] = {name: getattr(own, name) for name in own.model_fields_set - {"entities", "names"}}
    merged = {"entities": {**base.entities, **own.entities}, "names": {**base.names, **own.names}, **given}
    return base.model_copy(update=merged), set(own.entities)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"templates file {path} can't be read: {error.strerror}; check text.templates") from None
    except UnicodeDecodeError:
        raise ConfigError(f"templates file {path} is not UTF-8; save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise ConfigError(f"templates file {path} is not YAML{where}; quote words that hold ': ' or start with '{{'") from None
    if not isinstance(values, dict):
        raise ConfigError(f"templates file {path} holds {type(values).__name__}, not a mapping; it starts with 'entities:'")
    return values
