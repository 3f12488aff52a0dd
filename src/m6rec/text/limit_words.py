"""What was typed exactly, and why nothing meets it, in the words of a language: the section `limits` of `templates/`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from m6rec.data.dataset import Table
from m6rec.text.field_constraints import TO, Constraint, Unmet, excluded, unmet
from m6rec.text.template import FIELD, NAME, VALUE, Template, base_template, filled

ENGLISH = "en"
_STRETCH = re.compile(rf"^(>?[-+.\de]+){TO}(<?[-+.\de]+)$")  # of numbers, see `stretch`


def limit_words(limit: Constraint, template: Template) -> str:
    """One limit: "price < 20"."""
    return filled(template.limits.signs[limit.op], _facts(limit, template))


def unmet_words(found: Unmet, template: Template, *, filtered: bool = False) -> str:
    """Why nothing is left, without a stop at its end. filtered: it is looked for among what filters leave."""
    words = template.limits
    if found.kind == "both":
        return filled(words.both, _facts(found.limits[0], template))
    said = [limit_words(limit, template) for limit in found.limits]
    if found.kind == "exclude":
        return filled(words.exclude, {"first": said[0], "second": said[1]})
    form = (words.none_left if filtered else words.none) if found.kind == "none" else words.together_left if filtered else words.together
    return filled(form, {"limits": words.every.join(said)})


def contradiction(constraints: Sequence[Constraint]) -> str:
    """One English sentence on constraints that exclude each other whatever the catalogue holds; "" for none."""
    found = excluded(constraints)
    return "" if found is None else unmet_words(found, base_template(ENGLISH))


def why_nothing(
    items: Table,
    constraints: Sequence[Constraint],
    allowed: np.ndarray | None = None,
    template: Template | None = None,
    *,
    filtered: bool = False,
) -> str:
    """Why no item is left: the contradiction, or the smallest part of the constraints that no item meets; "" where some items meet all.

    allowed: bool (N,), items that may be answered anyway; None: all.  filtered: those are what filters leave.  template: whose words it is said in;
    None: English.
    """
    found = unmet(items, constraints, allowed)
    return "" if found is None else unmet_words(found, template or base_template(ENGLISH), filtered=filtered)


def _facts(limit: Constraint, template: Template) -> dict[str, str]:
    words = template.limits
    value = (
        words.either.join(_STRETCH.sub(rf"\1{words.to}\2", one) for one in limit.value)
        if isinstance(limit.value, tuple)
        else f"{limit.value:g}"
    )
    return {FIELD: limit.field, NAME: template.names.get(limit.field, limit.field.replace("_", " ")), VALUE: value}
