"""Audience rules made ready: which items a rule is about, and what it says to one person.

Dimension keys: N items.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from m6rec.base.errors import ConfigError, UsageError
from m6rec.data.dataset import FieldType
from m6rec.serving.engine.filters import allowed_items
from m6rec.serving.rules.config import AudienceRule
from m6rec.serving.rules.facts import CatalogueFacts

PREFIX = "profile."
SIGNS = {"<=": np.less_equal, ">=": np.greater_equal, "<": np.less, ">": np.greater}


@dataclass(frozen=True)
class Audience:
    """One rule over one catalogue.

    about   bool (N,): the items that it is about
    limits  float64 (N,): the number of each item (`least`), NaN for none; None without `least`
    fields  fields of a profile that it reads
    """

    rule: AudienceRule
    about: np.ndarray
    limits: np.ndarray | None
    fields: tuple[str, ...]

    @classmethod
    def of(cls, rule: AudienceRule, facts: CatalogueFacts) -> Audience:
        """Raises ConfigError: a field that items don't have or that does not suit, a condition that can't be read."""
        try:
            about = allowed_items(facts.items, {rule.field: rule.values}) if rule.values is not None else _has_value(rule, facts)
        except UsageError as error:
            raise ConfigError(f"rules.audiences '{rule.name}': {error}") from None
        limits = None
        if rule.least is not None:
            if facts.items.fields[rule.field] != FieldType.NUMBER:
                kind = facts.items.fields[rule.field]
                raise ConfigError(f"rules.audiences '{rule.name}': 'least' compares with a number field, '{rule.field}' is a {kind} field")
            limits = facts.items.frame[rule.field].cast(float).fill_null(np.nan).to_numpy()
        for field, wanted in rule.only.items():
            _check_condition(rule.name, field, wanted)
        named = [*([rule.least] if rule.least is not None else []), *rule.only]
        return cls(rule, about, limits, tuple(dict.fromkeys(name.removeprefix(PREFIX) for name in named)))

    def forbidden(self, profile: Mapping[str, Any]) -> np.ndarray | None:
        """bool (N,): what this person must not be shown; None for nothing."""
        rule = self.rule
        if not self.fields:
            return self.about
        unknown = rule.unknown == "refuse"
        for field, wanted in rule.only.items():
            met = meets(profile.get(field.removeprefix(PREFIX)), wanted)
            if not (met if met is not None else not unknown):
                return self.about
        if self.limits is None or rule.least is None:
            return None
        number = _number(profile.get(rule.least.removeprefix(PREFIX)))
        if number is None and not unknown:
            return None
        return self.about & (self.limits > (number or 0.0))  # of whom nothing is known may see what asks for nothing


def meets(value: Any, wanted: Any) -> bool | None:
    """Whether a fact of a person meets a condition (a value, a list of values, "<50", ">=18", "10-50"); None where it is not known."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, list | tuple | set):
        met = [meets(one, wanted) for one in value]
        return None if not met or all(one is None for one in met) else any(met)
    if isinstance(wanted, list | tuple | set):
        return any(meets(value, one) for one in wanted)
    number = _number(value)
    span = _span(wanted)
    if span is not None and number is not None:
        return span[0] <= number <= span[1]
    text = str(wanted).strip()
    for sign, compare in SIGNS.items():
        bound = _number(text[len(sign) :]) if text.startswith(sign) else None
        if bound is not None:
            return None if number is None else bool(compare(number, bound))
    if number is not None and (other := _number(wanted)) is not None:
        return number == other
    return str(value).strip().casefold() == text.casefold()


def _has_value(rule: AudienceRule, facts: CatalogueFacts) -> np.ndarray:
    allowed_items(facts.items, {rule.field: []})  # says what is wrong with the field, if anything
    column = facts.items.frame[rule.field]
    if facts.items.fields[rule.field] == FieldType.TAGS:
        return (column.list.len().fill_null(0) > 0).to_numpy()
    if facts.items.fields[rule.field] == FieldType.NUMBER:
        return ~np.isnan(column.cast(float).fill_null(np.nan).to_numpy())
    return column.is_not_null().to_numpy()


def _check_condition(rule: str, field: str, wanted: Any) -> None:
    for one in wanted if isinstance(wanted, list | tuple | set) else [wanted]:
        text = str(one).strip()
        sign = next((sign for sign in SIGNS if text.startswith(sign)), None)
        if one is None or isinstance(one, Mapping) or (sign and _number(text[len(sign) :]) is None):
            raise ConfigError(f"rules.audiences '{rule}': only.{field} is {one!r}; give a value, '<50', '>=18', '10-50' or a list of them")


def _number(value: Any) -> float | None:
    """A finite number, or None: "25" is one, "25-34", True and "" are none."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _span(wanted: Any) -> tuple[float, float] | None:
    if not isinstance(wanted, str):
        return None
    low, dash, high = wanted.strip()[1:].partition("-")  # the first character may be a minus sign
    first, last = _number(wanted.strip()[:1] + low), _number(high)
    return (first, last) if dash and first is not None and last is not None else None
