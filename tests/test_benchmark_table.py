"""The retrieval benchmark's table: medians over seeds, paired differences, the race to a validation figure, and the front of the script."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import retrieval
from m6rec.evaluation.evaluated import Evaluation
from m6rec.evaluation.slices import Bounds
from peers.environment import machine
from peers.roster import PEERS
from retrieval_table import make_row, markdown, middle, race, reached


def evaluation(name: str, *ranks: float) -> Evaluation:
    """One case and user a rank."""
    count = len(ranks)
    return Evaluation(
        name=name,
        ranks=np.array(ranks),
        offsets=np.arange(count + 1),
        targets=np.arange(count, dtype=np.int32),
        users=np.arange(count),
        seen=np.ones(count, dtype=np.int64),
        catalogue=100,
        cutoffs=[10, 50],
        bounds=Bounds(1, 2),
        resamples=100,
    )


THIRD = 1 / math.log2(1 + 3)  # the gain of rank 3


def test_row_of_three_seeds_is_their_median() -> None:
    seeds = [evaluation("m6rec", 1, 20), evaluation("m6rec", 3, 20), evaluation("m6rec", 90, 60)]
    assert middle(seeds) is seeds[1]
    assert middle(seeds[:2]) is seeds[1]  # two in the middle: the lower
    row = make_row("m6rec", "ours", seeds, middle(seeds), seeds=[0, 1, 2])
    assert row["metrics"]["ndcg@10"]["median"] == pytest.approx(THIRD / 2)
    assert row["metrics"]["ndcg@10"]["seeds"] == pytest.approx([0.5, THIRD / 2, 0.0])
    assert row["metrics"]["hit_rate@10"]["median"] == 0.5
    assert row["metrics"]["hit_rate@50"]["median"] == 1.0
    assert "ours_minus_this" not in row


def test_row_of_another_has_the_paired_difference() -> None:
    ours, other = evaluation("m6rec", 1, 3), evaluation("peer", 3, 3)
    row = make_row("peer", "peer", [other], ours, training={"seconds": 3.0})
    mean, low, high = row["ours_minus_this"]
    assert mean == pytest.approx((1 - THIRD) / 2)
    assert low <= mean <= high
    assert row["training"] == {"seconds": 3.0}
    assert "ours_minus_this" not in make_row("peer", "peer", [other], None)


def curve(*rows: tuple[float, float | None]) -> dict[str, Any]:
    return {"epochs": [{"seconds_so_far": seconds, "ndcg@10": value} for seconds, value in rows]}


def test_seconds_until_a_figure_is_reached() -> None:
    ours = [curve((10, 0.1), (20, None), (30, 0.3)), curve((11, 0.2), (21, 0.4)), curve((12, 0.25))]
    assert reached(ours, "ndcg@10", 0.2) == 12  # 30, 11, 12
    assert reached(ours, "ndcg@10", 0.3) == 30  # 30, 21, never
    assert reached(ours, "ndcg@10", 0.4) is None
    assert reached([], "ndcg@10", 0.1) is None


def test_race_against_a_peer() -> None:
    epochs = [{"ndcg@10": value, "cpu_seconds": 5.0} for value in (0.1, 0.3, 0.2)]
    row = {"name": "peer", "epochs": epochs, "training": {"targets": 100.0, "shipped_targets_per_second": 4.0}}
    assert race(row, [curve((7, 0.29), (9, 0.31))]) == {
        "peer": "peer",
        "best": 0.3,
        "epoch": 2,
        "seconds": 10.0,
        "as_shipped": 50.0,
        "ours": 9,
    }
    assert race({"name": "popularity"}, []) is None


def test_page() -> None:
    ours, other = evaluation("m6rec", 1, 3), evaluation("peer", 3, 3)
    seeds = make_row("m6rec", "ours", [ours] * 3, ours, seeds=[0, 1, 2], training={"seconds": 90.0, "targets_per_second": 12345.6})
    training = {"seconds": 8.0, "targets_per_second": 50.0, "shipped_targets_per_second": 5.0, "peak_mb": 2048, "targets": 20.0}
    epochs = [{"ndcg@10": 0.5, "cpu_seconds": 8.0}]
    peer = make_row("peer", "peer", [other], ours, training=training, latency={"p50_ms": 1.234}, note="cached", epochs=epochs)
    page = markdown({"data": "d", "statement": "How it was cut.", "rows": [seeds, peer], "races": [None, race(peer, [curve((2, 0.6))])]})
    lines = [line for line in page.splitlines() if line.startswith(("| m6rec", "| peer |"))]
    assert lines[0].startswith(f"| m6rec, median of seeds 0, 1, 2 | 1.0000 | {(1 + THIRD) / 2:.4f} (")
    assert "| 1.5 min | 12,346 |  |  |  |" in lines[0]
    assert "| 8.0 s | 50 (5 as shipped) | 2.00 GB | 1.23 ms | cached |" in lines[1]
    assert f"| {(1 - THIRD) / 2:+.4f} (" in lines[1]
    assert lines[-1] == "| peer | 0.5000 | 1 | 8 | 4 | 2 |"
    assert len({line.count("|") for line in page.splitlines() if line.startswith(("| m6rec", "| scorer"))}) == 1


def test_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert retrieval.parse(["--data", "d"]).peers == []
    assert retrieval.parse(["--data", "d"]).seeds == [0, 1, 2]
    everyone = retrieval.parse(["--data", "d", "--peers"]).peers
    assert everyone == [name for name, peer in PEERS.items() if not peer.slow]
    assert retrieval.parse(["--data", "d", "--peers", "recbole-sasrec"]).peers == ["recbole-sasrec"]
    with pytest.raises(SystemExit):
        retrieval.parse(["--data", "d", "--peers", "rectools-sasrek"])
    assert "did you mean 'rectools-sasrec'" in capsys.readouterr().err


def test_the_whole_script_without_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    rows = [" ".join(map(str, [user, *generator.integers(0, 12, size=6)])) for user in range(40)]
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "events.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    words = ["retrieval.py", "--data", str(tmp_path / "small"), "--work", str(tmp_path / "work"), "--seeds", "--baselines", "popularity"]
    monkeypatch.setattr("sys.argv", [*words, "--peers", "--cached", "--threads", "1"])
    retrieval.main()
    record = json.loads((tmp_path / "work" / "retrieval.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in record["results"][0]["rows"]] == ["popularity"]
    assert record["machine"] == machine(1)
    assert "| popularity |" in (tmp_path / "work" / "retrieval.md").read_text(encoding="utf-8")
    assert "rectools-sasrec 0.19.0: not in" in capsys.readouterr().out
