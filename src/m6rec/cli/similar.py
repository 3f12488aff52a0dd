"""`m6rec similar`: the items most like one item."""

from __future__ import annotations

from typing import Annotated

import typer

from m6rec.cli.options import Answers, Json, RunFolder
from m6rec.cli.recommend import show_items


def similar(
    run: RunFolder,
    item: Annotated[str, typer.Option("--item", metavar="ID", help="An item of the catalogue.")],
    k: Answers = 10,
    as_json: Json = False,
) -> None:
    """Print the items most similar to one item, best first."""
    from m6rec.recommender import Recommender

    show_items(Recommender.from_pretrained(run).similar_items(item, k), as_json)
