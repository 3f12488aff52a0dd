"""m6rec init: the file that is written validates; what exists stays; the sample and real folders come out right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m6rec.config import load_config

CommandLines = Callable[..., Any]
LOG = "user_id,item_id,time\n" + "".join(f"u{u},i{(u + n) % 5},{1_700_000_000 + 90 * (5 * u + n)}\n" for u in range(9) for n in range(4))


def test_the_sample_comes_back_as_it_was_written(m6rec: CommandLines, tmp_path: Path) -> None:
    sample = tmp_path / "shop"
    assert m6rec("sample", sample, "--users", "150").code == 0
    code, out, err = m6rec("init", sample, "--out", tmp_path / "guess.yaml")
    assert (code, err) == (0, "")
    for part in ("wrote", "from 6 files", "what the data decide", "history", "batch", "negatives", "m6rec validate"):
        assert part in out
    guessed, given = load_config(tmp_path / "guess.yaml"), load_config(sample / "config.yaml")
    assert guessed.fields == given.fields
    assert guessed.scenarios.column == given.scenarios.column
    assert guessed.split == given.split
    assert guessed.choose == given.choose
    for name in ("events", "items", "users", "texts", "relations"):
        assert (tmp_path / getattr(guessed.data, name)).resolve() == (sample / getattr(given.data, name)).resolve()
    text = (tmp_path / "guess.yaml").read_text()
    for line in (
        "  # exposures: shop/exposures.parquet",
        "  # clicked: {answer: judge, label: clicked}",
        "  # bought: {answer: judge, label: bought}",
    ):
        assert f"{line}\n" in text  # proposed, to be taken in by hand
    decided = m6rec("validate", tmp_path / "guess.yaml", "--json").json()["decisions"]
    assert set(decided) == {"model", "history", "batch", "epochs", "negatives"}


def test_a_table_of_known_questions_is_no_table_of_texts(m6rec: CommandLines, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    rows = "".join(f"How do I send thing number {row} back?,Put it into its box and bring it to a post office.,en\n" for row in range(12))
    (tmp_path / "faq.csv").write_text(f"question,answer,lang\n{rows}")
    out = tmp_path / "shop.yaml"
    assert m6rec("init", tmp_path, "--out", out).code == 0
    guessed = load_config(out)
    assert guessed.data.faq == "faq.csv"
    assert not guessed.data.texts


def test_what_exists_is_kept_unless_forced_and_dry_runs_print(m6rec: CommandLines, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    out = tmp_path / "shop.yaml"
    text = m6rec("init", tmp_path / "log.csv", "--out", out, "--dry-run").out
    assert text.startswith("# Written by `m6rec init`")
    assert not out.exists()
    assert m6rec("init", tmp_path / "log.csv", "--out", out).code == 0
    assert out.read_text() == text
    out.write_text("mine")
    assert "exists; add --force" in m6rec("init", tmp_path / "log.csv", "--out", out).error(2)
    assert out.read_text() == "mine"
    answer = m6rec("init", tmp_path, "--out", out, "--force", "--json").json()
    assert answer["config"]["data"]["events"] == "log.csv"
    assert answer["written"] is True
    assert out.read_text() == text
    assert "is a folder" in m6rec("init", tmp_path, "--out", tmp_path).error(2)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "log.csv is empty"),
        (b"user_id,item_id,time\n", "has columns but no rows"),
        (b"\x00\x01\x02" * 99, "is not text"),
        (LOG.replace("user_id", "shelf").encode(), "no event log"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(m6rec: CommandLines, tmp_path: Path, content: bytes, part: str) -> None:
    (tmp_path / "log.csv").write_bytes(content)
    assert part in m6rec("init", tmp_path / "log.csv", "--out", tmp_path / "shop.yaml").error(1)
    assert not (tmp_path / "shop.yaml").exists()


def test_a_guess_that_does_not_hold_is_not_written(m6rec: CommandLines, tmp_path: Path) -> None:
    """All at one moment: readable, and nothing to hold out."""
    (tmp_path / "log.csv").write_text(
        "user_id,item_id,time\n" + "".join(f"u{u},i{(u + n) % 2},{1_700_000_000}\n" for u in range(9) for n in range(2))
    )
    result = m6rec("init", tmp_path / "log.csv", "--out", tmp_path / "shop.yaml")
    assert "the guessed configuration does not hold: split: validation starts at" in result.error(1)
    assert not (tmp_path / "shop.yaml").exists()
    assert m6rec("init", tmp_path / "log.csv", "--out", tmp_path / "shop.yaml", "--dry-run").code == 0


def test_repeated_targets_are_counted_and_named(m6rec: CommandLines, tmp_path: Path) -> None:
    """The last event of u0 to u3 is their first item again."""
    rows = [(u, n, (u + (0 if n == 4 and u < 4 else n)) % 7) for u in range(8) for n in range(5)]
    (tmp_path / "log.csv").write_text("user_id,item_id,order\n" + "".join(f"u{u},i{item},{n}\n" for u, n, item in rows))
    (tmp_path / "shop.yaml").write_text("data: {events: log.csv}\n")
    answer = m6rec("validate", tmp_path / "shop.yaml", "--json").json()
    assert answer["split"]["repeated_targets"] == {"validation": 0, "test": 4}
    assert any("50% of the test targets repeat" in warning and "tasks.next.repeat=allow" in warning for warning in answer["warnings"])
    plain = m6rec("validate", tmp_path / "shop.yaml").out
    assert "0 of 8 validation targets and 4 of 8 test targets repeat an earlier item of the user's history" in plain
    answer = m6rec("validate", tmp_path / "shop.yaml", "--json", "--set", "tasks.next.repeat=allow").json()
    assert not any("repeat" in warning for warning in answer["warnings"])


def test_sample_foresees_in_a_dry_run_what_it_would_refuse(m6rec: CommandLines, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("data: {events: mine.csv}\n")
    assert "holds config.yaml, which is not a sample's" in m6rec("sample", tmp_path, "--dry-run").error(2)


def test_real_reviews_and_bandit_logs(m6rec: CommandLines, real_data: Callable[[str], Path], tmp_path: Path) -> None:
    answer = m6rec("init", real_data("instruments-reviews"), "--out", tmp_path / "shop.yaml", "--json").json()
    columns = {"user_id": "reviewerID", "item_id": "asin", "time": "unixReviewTime", "value": "overall", "texts.text": "reviewText"}
    assert answer["config"]["data"]["columns"] == columns
    assert "says of whom" in m6rec("init", real_data("open-bandit"), "--out", tmp_path / "b.yaml").error(1)
    assert "import sequences" in m6rec("init", real_data("beauty"), "--out", tmp_path / "c.yaml").error(1)
