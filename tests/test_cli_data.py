"""sample, import and validate: pure JSON, dry runs that write nothing, bad input in one line with nothing half-written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m6rec.cli.program import run

CommandLines = Callable[..., Any]
SMALL = ["--users", "40", "--items", "30", "--events-per-user", "6"]


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "shop"
    assert run(["sample", str(folder), *SMALL, "--format", "csv"]) == 0
    return folder


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_sample_is_written_and_says_what_to_type_next(m6rec: CommandLines, tmp_path: Path) -> None:
    code, out, err = m6rec("sample", tmp_path / "shop", *SMALL)
    assert (code, err) == (0, "")
    assert f"m6rec train {tmp_path / 'shop' / 'config.yaml'}" in out
    assert {"config.yaml", "events.parquet", "items.parquet"} <= set(files(tmp_path / "shop"))


def test_sample_json_is_the_only_thing_on_standard_output(m6rec: CommandLines, tmp_path: Path) -> None:
    written = m6rec("sample", tmp_path / "shop", *SMALL, "--json", "--language", "zh").json()
    assert (written["users"], written["items"], written["language"]) == (40, 30, "zh")


def test_same_arguments_same_bytes(m6rec: CommandLines, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert m6rec("sample", tmp_path / name, *SMALL, "--seed", "3", "--format", "jsonl")[0] == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()
    }


def test_dry_runs_write_nothing(m6rec: CommandLines, tmp_path: Path, shop: Path) -> None:
    assert m6rec("sample", tmp_path / "shop", "--dry-run")[0] == 0
    assert m6rec("sample", tmp_path / "shop", "--dry-run", "--json").json()["written"] is False
    code, out, _ = m6rec("import", "table", shop, "--out", tmp_path / "new", "--dry-run")
    assert code == 0
    assert "events read" in out
    assert "nothing was written" in out
    assert files(tmp_path) == []


def test_import_writes_tables_that_validate(m6rec: CommandLines, tmp_path: Path) -> None:
    lines = [f"u{user} " + " ".join(f"i{(user + step) % 9}" for step in range(6)) for user in range(12)]
    (tmp_path / "log.txt").write_text("\n".join(lines), encoding="utf-8")
    imported = m6rec("import", "auto", tmp_path / "log.txt", "--out", tmp_path / "new", "--json").json()
    assert imported["format"] == "sequences"
    assert imported["written"] is True
    checked = m6rec("validate", tmp_path / "new" / "config.yaml", "--json").json()
    assert checked["split"]["train"] == 12 * 4
    assert checked["split"]["test"] == checked["split"]["validation"] == 12
    assert any("no text" in warning for warning in checked["warnings"])


def test_import_names_formats_and_options(m6rec: CommandLines) -> None:
    formats = m6rec("import", "--list", "--json").json()
    assert {"recbole", "sequences", "movielens", "table"} <= set(formats)
    assert "encoding" in formats["sequences"]["options"]


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["import"], 2, "m6rec import auto SOURCE --out FOLDER"),
        (["import", "recbol", "SHOP", "--out", "NEW"], 2, "did you mean 'recbole'"),
        (["import", "table", "SHOP", "--out", "NEW", "--set", "separatr=;"], 2, "did you mean 'separator'"),
        (["import", "table", "SHOP", "--out", "NEW", "--set", "separator"], 2, "--set takes key=value"),
        (["import", "table", "MISSING", "--out", "NEW"], 1, "no file or folder"),
        (["import", "table", "SHOP", "--out", "SHOP"], 2, "holds the source itself"),
        (["sample", "FILE"], 2, "is a file"),
        (["validate", "MISSING"], 2, "can't read the configuration"),
        (["validate", "FILE"], 2, "file.yaml"),
        (["validate", "CONFIG", "--set", "data.evnts=x.csv"], 2, "unknown key 'data.evnts'; did you mean 'events'?"),
        (["validate", "CONFIG", "--set", "data.events=gone.csv"], 1, "gone.csv"),
        (["validate", "CONFIG", "--set", "data.events=items.csv"], 1, "has no column 'user_id'"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    words: list[str], code: int, part: str, m6rec: CommandLines, tmp_path: Path, shop: Path
) -> None:
    (tmp_path / "file.yaml").write_text("just text", encoding="utf-8")
    places = {
        "SHOP": shop,
        "NEW": tmp_path / "new",
        "MISSING": tmp_path / "missing",
        "FILE": tmp_path / "file.yaml",
        "CONFIG": shop / "config.yaml",
    }
    before = files(shop)
    assert part in m6rec(*(places.get(word, word) for word in words)).error(code)
    assert files(tmp_path) == ["file.yaml"]
    assert files(shop) == before


def test_validate_prints_the_account_and_writes_nothing(m6rec: CommandLines, shop: Path) -> None:
    before = files(shop)
    code, out, err = m6rec("validate", shop / "config.yaml")
    assert (code, err) == (0, "")
    for part in ("events read", "the catalogue", "leave-one-out", "training events"):
        assert part in out
    assert files(shop) == before


def test_unusable_data_shows_the_account_and_exits_1(m6rec: CommandLines, tmp_path: Path) -> None:
    """Two events a user: readable, and nothing to hold out."""
    (tmp_path / "events.csv").write_text(
        "user_id,item_id,order\n" + "".join(f"u{u},i{(u + s) % 5},{s}\n" for u in range(9) for s in range(2))
    )
    (tmp_path / "shop.yaml").write_text("data: {events: events.csv}\n", encoding="utf-8")
    result = m6rec("validate", tmp_path / "shop.yaml")
    assert "empty split" in result.error(1)
    assert "events read" in result.out
    result = m6rec("validate", tmp_path / "shop.yaml", "--json")
    assert "empty split" in result.error(1)
    assert result.out == ""
