"""A chart of a page as a picture of its own, for documentation: its colours, light and dark, go inside."""

from __future__ import annotations

import re
from importlib import resources

import jinja2

from m6rec.base.errors import UsageError


def standalone_svg(chart: str) -> str:
    """`chart` (what `plots.svg` gave) with the page's colours inside and a background, as the text of an .svg file.

    It follows the reader's light or dark setting where the viewer does.
    """
    style = resources.files("m6rec.evaluation").joinpath("templates/style.css.jinja").read_text(encoding="utf-8")
    rules = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, autoescape=False).from_string(style).render()
    colours = [line for line in rules.splitlines() if line.startswith((":root", "@media (prefers", "  --c0"))]
    drawn = [line for line in rules.splitlines() if line.startswith(("svg text", ".grid", ".line", ".d1", ".heat", ".ring", ".point"))]
    opening = re.match(r"<svg [^>]*viewBox=\"0 0 (\d+) (\d+)\"[^>]*>", chart)
    if opening is None:
        raise UsageError("standalone_svg takes the text of a chart as plots.svg makes it, this is something else")
    ground = f'<rect width="{opening[1]}" height="{opening[2]}" style="fill: var(--card)"/>'
    return chart[: opening.end()] + "<style>" + "\n".join([*colours, *drawn]) + "</style>" + ground + chart[opening.end() :] + "\n"
