"""The templates that every page is made of."""

from __future__ import annotations

import jinja2


def page_templates() -> jinja2.Environment:
    """The room's templates: what is put into them is escaped, and a name that a template uses must be given."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("m6rec.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
