"""`m6rec demo`: the whole path on the built-in sample, with nothing but the public API."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from m6rec.cli.options import Language, Progress
from m6rec.cli.output import wants_progress
from m6rec.cli.recommend import show_items

if TYPE_CHECKING:
    from m6rec import Recommender

SHOWN = 5
NEW_ITEM = "brand-new"
# What somebody nobody knows types, who they are, and the item added while they look: by language, as the sample's texts are.
WORDS = {
    Language.EN: ("something warm for hiking in the mountains", {"occupation": "physicist", "interests": ["science fiction"]}),
    Language.ZH: ("去山里徒步穿的保暖装备", {"occupation": "物理学家", "interests": ["科幻"]}),
}
NEW = {
    Language.EN: {
        "title": "Trailhead waterproof hiking boots, warm lining",
        "description": "Made for hiking: warm and dry in the mountains.",
    },
    Language.ZH: {"title": "山径防水徒步鞋，保暖内里", "description": "为徒步而生：在山里保暖又干爽。"},
}


def demo(
    folder: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the sample and the run go.")] = Path("runs/demo"),
    language: Annotated[Language, typer.Option("--language", help="Language of the sample.")] = Language.EN,
    progress: Progress = True,
) -> None:
    """Train on the built-in sample, then recommend: to a known user, from words alone, and an item added a second ago."""
    from m6rec import Recommender
    from m6rec.data.sample import write_sample
    from m6rec.evaluation.report import text_table
    from m6rec.training.assess import evaluate_run

    begun = time.monotonic()
    written = write_sample(folder / "shop", language=language.value)
    _heading(f"1. A made-up shop: {written['users']} users, {written['items']} items, {written['events']} events")
    recommender = Recommender.fit(written["config"], run=folder / "run", progress=wants_progress(progress))

    _heading("2. Measured on what was held out, beside the baselines")
    print(text_table(evaluate_run(folder / "run")[0]))

    _heading("3. A user we know")
    user = _show_history(folder / "shop")
    show_items(recommender.recommend(user=user, k=SHOWN), as_json=False)

    typed, profile = WORDS[language]
    _heading(f'4. Somebody nobody knows types: "{typed}"')
    show_items(recommender.recommend(text=typed, k=SHOWN), as_json=False)
    _heading(f"5. Somebody described by {profile}")
    show_items(recommender.recommend(profile=profile, k=SHOWN), as_json=False)

    _heading(f"6. An item added a second ago: {NEW[language]['title']}")
    _add_and_find(recommender, language)
    print(f"\n{time.monotonic() - begun:.0f} seconds in all; the report is {folder / 'run' / 'report.html'}")
    print(f"next: m6rec recommend {folder / 'run'} --user {user}")


def _heading(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def _show_history(shop: Path) -> str:
    """Print what the user with the longest history had last; return the user."""
    import polars as pl

    events = pl.read_parquet(shop / "events.parquet").join(pl.read_parquet(shop / "items.parquet"), on="item_id")
    user = str(events.group_by("user_id", maintain_order=True).len().sort("len", descending=True)["user_id"][0])
    last = events.filter(user_id=user).sort("time")["title"].tail(SHOWN)
    print("\n".join([f"{user} had, most recently:", *(f"  {title}" for title in reversed(last.to_list())), "and is recommended:"]))
    return user


def _add_and_find(recommender: Recommender, language: Language) -> None:
    """Add one item nobody has ever seen and ask for it in words."""
    recommender.add_items([{"item_id": NEW_ITEM, **NEW[language]}])
    answers = recommender.recommend(text=WORDS[language][0], k=SHOWN)
    show_items(answers, as_json=False)
    place = next((rank for rank, answer in enumerate(answers, start=1) if answer.item_id == NEW_ITEM), None)
    print(f"The new item is number {place}." if place else f"The new item is not among the first {SHOWN}.")
