"""Settings of what may be shown."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from m6rec.base.configuration import Config


class AudienceRule(Config):
    """Items that only some people may be shown. Without `least` and `only`, the items are shown to nobody (in `scenarios`).

    An age limit in the catalogue: `{name: age, field: age_limit, least: profile.age}`. A category for adults:
    `{name: wine, field: category, values: [wine], only: {age: ">=18"}}`. A category that has no place in a scenario:
    `{name: no ads, field: kind, values: [ad], scenarios: [kids]}`.
    """

    name: str = Field(min_length=1, description="Name of the rule, as it is counted in answers.")
    field: str = Field(min_length=1, description="Item field that the rule reads.")
    values: list[Any] | None = Field(
        None, description="Values of the field that the rule is about, as in `where`; null: every item that has a value."
    )
    least: str | None = Field(
        None, description="Number of the person, e.g. profile.age, that must be at least the item's number in `field`; null: not asked for."
    )
    only: dict[str, Any] = Field(
        default_factory=dict, description='What the person must be, e.g. {age: ">=18"} or {country: [de, at]}; all of it must hold.'
    )
    unknown: Literal["refuse", "allow"] = Field("refuse", description="For a person of whom it is not known.")
    scenarios: list[str] = Field(default_factory=list, description="Where the rule holds; empty: everywhere.")


class CapRule(Config):
    """Most of one value that one person is shown."""

    name: str = Field(min_length=1, description="Name of the rule, as it is counted in answers.")
    field: str | None = Field(None, description="Item field whose values are counted (provider, category); null: the item itself.")
    per_list: int | None = Field(None, ge=0, description="Most items of one value in a list; null: any number.")
    per_day: int | None = Field(None, ge=0, description="Most exposures of one value to one person in a day; null: any number.")
    scenarios: list[str] = Field(default_factory=list, description="Where the rule holds; empty: everywhere.")


class RulesConfig(Config):
    """Rules that hold for every answer, whatever a request says."""

    blocked_items: list[str] = Field(default_factory=list, description="Item ids that are never shown.")
    blocked_words: list[str] = Field(default_factory=list, description="Words or phrases; an item with one in a text is never shown.")
    blocked_providers: list[str] = Field(default_factory=list, description="Values of `provider_field` that are never shown.")
    provider_field: str | None = Field(None, description="Item field that names who offers an item (brand, seller, channel); null: none.")
    audiences: list[AudienceRule] = Field(default_factory=list, description="Who may be shown what.")
    caps: list[CapRule] = Field(default_factory=list, description="Most exposure of one value.")
    written: Literal["show", "watch", "hold"] = Field(
        "show",
        description="Texts that a model wrote. show: they go out; watch: they go out, and into the review queue; hold: they wait in the review queue.",
    )
    offers: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Scenario -> what it offers, as in `where`; scenarios not named offer everything."
    )
