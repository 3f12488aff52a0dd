"""The words of the console: one YAML file a language, sections of phrases, with `{name}` where a value stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from m6rec.base.errors import UsageError, nearest
from m6rec.base.strict_yaml import read_yaml

FOLDER = "languages"
DEFAULT = "en"


@dataclass(frozen=True)
class Phrases:
    """The phrases of one language: "section.key" -> text."""

    language: str
    texts: Mapping[str, str]

    def __call__(self, key: str, **values: Any) -> str:
        """The phrase `key` with its places filled in. Raises UsageError: no such phrase."""
        text = self.texts.get(key)
        if text is None:
            raise UsageError(f"languages/{self.language}.yaml has no phrase '{key}'{nearest(key, list(self.texts))}")
        return text.format(**values) if values else text

    def known(self, key: str, otherwise: str) -> str:
        """The phrase `key`, or `otherwise` where the language has no word for it (names that plug-ins bring)."""
        return self.texts.get(key, otherwise)


@cache
def languages() -> dict[str, Phrases]:
    """Every language that has a file, by its code, in the order of the codes."""
    found = sorted((one for one in (files(__package__) / FOLDER).iterdir() if one.name.endswith(".yaml")), key=lambda one: one.name)
    return {code: Phrases(code, dict(_flat(read_yaml(one.read_text("utf-8"), one.name)))) for one in found if (code := one.name[:-5])}


def chosen(wanted: str, accepted: str) -> Phrases:
    """The language that was chosen, else the first known one of an Accept-Language header, else English."""
    known = languages()
    if wanted in known:
        return known[wanted]
    weighed = []
    for place, part in enumerate(accepted.split(",")[:20]):
        code, _, weight = part.partition(";q=")
        try:
            weighed.append((-float(weight or 1), place, code.strip().lower().partition("-")[0]))
        except ValueError:
            continue
    return next((known[code] for _, _, code in sorted(weighed) if code in known), known[DEFAULT])


def _flat(tree: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in tree.items():
        name = f"{before}{key}"
        found += _flat(value, f"{name}.") if isinstance(value, dict) else [(name, str(value))]
    return found
