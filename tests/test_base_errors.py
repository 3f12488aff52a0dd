"""What a message suggests: a name that is really like the one that was typed, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from m6rec.base.errors import DataError, closest, nearest
from m6rec.data.readers import require_file


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("categry", ["title", "category"], "category"),
        ("rel", ["head", "relation", "tail"], "relation"),
        ("relation", ["head", "rel", "tail"], "rel"),
        ("shopp", ["feed", "shop"], "shop"),
        ("mars", ["video", "shop", "feed", "farm"], ""),
        ("pr", ["price_of_one"], ""),
        ("colour", ["price", "title", "scenario"], ""),
        (5, ["5"], ""),
        ("", ["a"], ""),
    ],
)
def test_only_a_name_like_it_is_suggested(name: object, known: list[str], meant: str) -> None:
    assert closest(name, known) == meant
    assert nearest(name, known) == (f"; did you mean '{meant}'?" if meant else "")


@pytest.mark.parametrize(
    ("name", "beside", "meant"),
    [
        ("none.txt", ["err.txt", "b1.out"], ""),  # most of their letters are those of the ending
        ("a.csv", ["b.csv"], ""),
        ("event.csv", ["items.csv", "events.csv"], "events.csv"),
        ("events.csv", ["events.parquet", "items.csv"], "events.parquet"),
        ("events.csv", ["event.csv", "event.parquet"], "event.csv"),
    ],
)
def test_files_are_not_alike_for_their_ending(name: str, beside: list[str], meant: str, tmp_path: Path) -> None:
    for other in beside:
        (tmp_path / other).touch()
    with pytest.raises(DataError) as caught:
        require_file(tmp_path / name)
    assert str(caught.value) == f"no file {tmp_path / name}" + (f"; did you mean '{meant}'?" if meant else "")
