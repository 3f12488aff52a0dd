"""What `m6rec tune` may change: ranges and choices of configuration keys, checked against the configuration before anything runs."""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from m6rec.base.configuration import Config
from m6rec.base.errors import ConfigError, nearest
from m6rec.config import M6RecConfig
from m6rec.language_model.config import DIALS

SECTIONS = ("model", "text", "pretrain", "tasks", "train")
# What is asked, how it is measured, and what changes no result: trials that differ in these could not be compared.
FIXED = ("answer", "repeat", "positive", "validation_metric", "threads", "device", "checkpoint_seconds", "autocast", "templates")
FORMS = "low..high, low..high:log, low..high:step=2 or a,b,c"


@dataclass(frozen=True)
class Dimension:
    """One configuration key and the values it may take: a range with both ends in it, or `choices`.

    log: equal ratios are equally likely.  step: of a range, None for every value.  whole: whole numbers only.
    """

    key: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    whole: bool = False
    choices: tuple[Any, ...] = ()

    def __contains__(self, value: Any) -> bool:
        if self.choices:
            return (tuple(value) if isinstance(value, list) else value) in self.choices
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def wording(self) -> str:
        """As `--search` takes it."""
        if self.choices:
            return ", ".join(str(choice) for choice in self.choices)
        return f"{self.low:g}..{self.high:g}" + (":log" if self.log else "") + (f":step={self.step:g}" if self.step else "")

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        if self.choices:
            return {"key": self.key, "choices": list(self.choices)}
        return {"key": self.key, "low": self.low, "high": self.high, "log": self.log, "step": self.step, "whole": self.whole}


Space = list[Dimension]


def default_space(config: M6RecConfig) -> Space:
    """The dials that mattered most so far, each range wide enough to hold the configuration's own value."""
    task = f"tasks.{config.choose_name}"
    dial = DIALS["tiny" if config.model.size == "auto" else config.model.size]
    width, layers = config.model.width or dial.width, config.model.upper_layers or dial.upper_layers
    ranges: list[tuple[str, float, float, bool, bool]] = [
        ("train.learning_rate", 5e-4, 8e-3, True, False),
        ("train.weight_decay", 1e-4, 0.3, True, False),
        ("train.dropout", 0.1, 0.7, False, False),
    ]
    if config.choose.prior.graph or config.choose.prior.text:
        ranges.append((f"{task}.own_share", 0.0, 2.0, False, False))
    if config.choose.identity and config.choose.text:
        ranges.append((f"{task}.identity_dropout", 0.0, 0.5, False, False))
    if config.choose.prior.graph:
        ranges += [
            (f"{task}.prior.window", 2, 20, True, True),
            (f"{task}.prior.decay", 0.6, 1.0, False, False),
            (f"{task}.prior.damping", 0.0, 0.5, False, False),
        ]
    if config.choose.prior.text:
        ranges.append((f"{task}.prior.sharpness", 1.0, 6.0, True, False))
    space = []
    for key, low, high, log, whole in ranges:
        own = value_of(config, key)
        if own is not None and (own > 0 or not log):
            low, high = min(low, own), max(high, own)
        space.append(Dimension(key, low, high, log=log, whole=whole))
    space.append(Dimension("model.width", choices=(width, 2 * width)))
    space.append(Dimension("model.upper_layers", choices=tuple(sorted({1, 2, 3, layers}))))
    return space


def read_space(path: Path | str, config: M6RecConfig) -> Space:
    """A YAML file of keys: `key: {low: 0.1, high: 0.5, log: true, step: 0.1}`, `key: [a, b]`, or the text that `--search` takes.

    Raises:
        ConfigError: no such file, not YAML, an unknown key (the nearest is named), a range that is none.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"can't read the search space {path}: {error.strerror}; `m6rec tune CONFIG --dry-run` prints the default one"
        ) from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or not values:
        raise ConfigError(f"{path} holds no keys; write lines like train.learning_rate: 5e-4..1e-2:log")
    return check_space([_entry(str(key), entry, config) for key, entry in values.items()], config)


def parse_searches(texts: Sequence[str], config: M6RecConfig) -> Space:
    """`key=low..high`, `key=low..high:log`, `key=low..high:step=2`, `key=a,b,c`.

    Raises:
        ConfigError: as `read_space`.
    """
    space = []
    for text in texts:
        key, equals, values = text.partition("=")
        if not equals or not key.strip() or not values.strip():
            raise ConfigError(
                f"--search takes key={FORMS.replace(' or ', ' or key=')}, got '{text}'; for example --search train.dropout=0.1..0.6"
            )
        space.append(_entry(key.strip(), values.strip(), config))
    return check_space(space, config)


def check_space(space: Space, config: M6RecConfig) -> Space:
    """The space, when each of its keys can be searched and both ends of each range (every choice) are allowed.

    Raises:
        ConfigError: nothing to search, a key twice, a value the configuration refuses.
    """
    if not space:
        raise ConfigError("the search space is empty; name at least one key, for example --search train.dropout=0.1..0.6")
    keys = [dimension.key for dimension in space]
    if len(set(keys)) < len(keys):
        raise ConfigError(f"'{max(keys, key=keys.count)}' is in the search space twice; name each key once")
    for dimension in space:
        for value in dimension.choices or (dimension.low, dimension.high):
            try:
                with_values(config, {dimension.key: int(value) if dimension.whole else value})
            except ConfigError as error:
                raise ConfigError(f"the search space goes too far: {error}") from None
    return space


def with_values(config: M6RecConfig, values: dict[str, Any]) -> M6RecConfig:
    """The configuration with dotted keys set; what was left to defaults stays so.

    Raises:
        ConfigError: a value that is not allowed.
    """
    plain = config.model_dump(mode="json", exclude_unset=True)
    for key, value in values.items():
        *parents, last = key.split(".")
        here = plain
        for part in parents:
            here = here.setdefault(part, {})
        here[last] = value
    return M6RecConfig.build(plain, source="search space")


def value_of(config: M6RecConfig, key: str) -> Any:
    """The value of a dotted key."""
    here: Any = config
    for part in key.split("."):
        here = here[part] if isinstance(here, dict) else getattr(here, part)
    return here


def searchable(config: M6RecConfig) -> dict[str, Any]:
    """Dotted key -> type of its value without `None`, for every key that may be searched."""
    found: dict[str, Any] = {}

    def walk(owner: Config, path: str) -> None:
        for name, field in type(owner).model_fields.items():
            value, key = getattr(owner, name), f"{path}{name}"
            if isinstance(value, Config):
                walk(value, f"{key}.")
            elif isinstance(value, dict) and value and all(isinstance(one, Config) for one in value.values()):
                for inner, one in value.items():
                    walk(one, f"{key}.{inner}.")
            elif key.split(".")[0] in SECTIONS and name not in FIXED:
                found[key] = _without_none(field.annotation)

    walk(config, "")
    return found


def _entry(key: str, entry: Any, config: M6RecConfig) -> Dimension:
    known = searchable(config)
    if key not in known:
        first = key.split(".")[0]
        if first in M6RecConfig.model_fields and (first not in SECTIONS or key.split(".")[-1] in FIXED):
            raise ConfigError(
                f"'{key}' can't be searched: trials that differ in it could not be compared; searchable are keys of {', '.join(SECTIONS)}"
            )
        hint = nearest(key, list(known)) or f"; searchable are keys of {', '.join(SECTIONS)}, see docs/configuration.md"
        raise ConfigError(f"unknown key '{key}' in the search space{hint}")
    if isinstance(entry, list):
        return _choices(key, entry)
    if isinstance(entry, dict):
        unknown = next((name for name in entry if name not in ("low", "high", "log", "step", "choices")), None)
        if unknown is not None:
            raise ConfigError(f"search space, {key}: unknown '{unknown}'; a range has low, high, log and step, a choice has choices")
        if "choices" in entry:
            if len(entry) > 1 or not isinstance(entry["choices"], list):
                raise ConfigError(f"search space, {key}: choices is a list and stands alone, got {entry}")
            return _choices(key, entry["choices"])
        if "low" not in entry or "high" not in entry:
            raise ConfigError(f"search space, {key}: a range needs low and high, got {entry}")
        return _range(key, entry["low"], entry["high"], entry.get("log"), entry.get("step"), known[key], config)
    text = str(entry)
    low, dots, rest = text.partition("..")
    if not dots:
        import yaml

        try:
            return _choices(key, [yaml.safe_load(part) for part in text.split(",")])
        except yaml.YAMLError:
            raise ConfigError(f"search space, {key}: '{text}' is neither a range nor a list; write {FORMS}") from None
    high, *options = rest.split(":")
    log, step = None, None
    for option in options:
        if option == "log":
            log = True
        elif option.startswith("step="):
            step = option.removeprefix("step=")
        else:
            raise ConfigError(f"search space, {key}: unknown '{option}' after the range; write {FORMS}")
    return _range(key, low, high, log, step, known[key], config)


def _choices(key: str, values: list[Any]) -> Dimension:
    distinct = tuple(dict.fromkeys(tuple(value) if isinstance(value, list) else value for value in values))
    if len(distinct) < 2:
        raise ConfigError(f"search space, {key}: {list(distinct)} is no choice; give two values or more, or use --set {key}=VALUE")
    return Dimension(key, choices=distinct)


def _range(key: str, low: Any, high: Any, log: Any, step: Any, kind: Any, config: M6RecConfig) -> Dimension:
    if kind not in (int, float):
        raise ConfigError(f"search space, {key}: {low}..{high} is a range, but the values of {key} are no numbers; write {key}=a,b")
    try:
        first, last, each = float(low), float(high), None if step is None else float(step)
    except (TypeError, ValueError):
        raise ConfigError(f"search space, {key}: '{low}..{high}' is no range of numbers; write {FORMS}") from None
    if not first < last:
        raise ConfigError(f"search space, {key}: {low}..{high} is empty; the low end must be below the high end")
    # A range of a key that is searched by ratios by default is searched so, unless it is said otherwise.
    usual = next((dimension.log for dimension in default_space(config) if dimension.key == key), False)
    by_ratio = bool(log) if log is not None else usual and first > 0 and each is None
    if by_ratio and first <= 0:
        raise ConfigError(f"search space, {key}: a range searched by ratios (log) must start above 0, not at {low}")
    if by_ratio and each is not None:
        raise ConfigError(f"search space, {key}: a range has log or step, not both")
    if each is not None and not 0 < each <= last - first:
        raise ConfigError(f"search space, {key}: step {step} does not fit into {low}..{high}")
    whole = kind is int
    if whole and not (first.is_integer() and last.is_integer() and (each is None or each.is_integer())):
        raise ConfigError(f"search space, {key}: {low}..{high} has to be whole numbers")
    if each is not None:
        last = first + each * int((last - first) / each + 1e-9)  # the last value that the steps reach
    return Dimension(key, first, last, log=by_ratio, step=each, whole=whole)


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        kept = [argument for argument in get_args(annotation) if argument is not type(None)]
        return kept[0] if len(kept) == 1 else annotation
    return annotation
