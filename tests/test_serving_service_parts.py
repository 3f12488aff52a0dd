"""Parts of the service on their own: traffic, the audit's queue, chores, live quality, what a run folder says."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.contracts import Scored
from m6rec.base.errors import StorageError
from m6rec.serving.asked import Ask, Reply
from m6rec.serving.experiments.config import Experiment
from m6rec.serving.service.backlog import Backlog
from m6rec.serving.service.chores import Chores, exposures_of
from m6rec.serving.service.live_quality import rank_of
from m6rec.serving.service.loaded import LoadedModel
from m6rec.serving.service.run_reports import quality_board, training_progress
from m6rec.serving.service.shown_log import ShownLog, rows_shown
from m6rec.serving.service.traffic import BOUNDS, Traffic, quantile


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.3, 5_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_quantiles_are_read_within_a_fifth(times: list[float], share: float) -> None:
    traffic = Traffic()
    for took in times:
        traffic.answered("recommend", "v", took, "off", "")
    counts = [sum(column) for column in zip(*(minute[3] for minute in traffic.plain()["minutes"]), strict=True)]
    found = quantile(counts, share)
    exact = sorted(times)[max(int(np.ceil(share * len(times))) - 1, 0)]
    assert found is not None
    assert exact <= found + 1e-9
    assert found <= max(exact * 1.2 + 1e-3, BOUNDS[0])


def test_traffic_of_workers_is_added_up(tmp_path: Path) -> None:
    one = Traffic(tmp_path)
    one.answered("recommend", "v1", 3.0, "hit", "")
    one.answered("recommend", "v1", 3.0, "miss", "index only")
    one.failed("recommend", "UsageError")
    other = one.plain()
    other["counts"]["cache hit"] = 2
    (tmp_path / "99.json").write_text(json.dumps(other))
    (tmp_path / "98.json").write_text("{half a fi")
    total = one.total()
    assert total["workers"] == 2
    assert total["counts"]["answers recommend"] == 4
    assert total["counts"]["degraded index only"] == 2
    assert total["hit_rate"] == pytest.approx(3 / 5)
    assert [(minute["answers"], minute["errors"]) for minute in total["minutes"]] == [(4, 2)]


class Recorder:
    """A store that can be away."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.away = True

    def record_shown(self, rows: Sequence[Any]) -> None:
        if self.away:
            raise StorageError("away")
        self.rows.extend(rows)


def test_the_audit_waits_for_a_store_that_is_away_and_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from m6rec.serving.service import backlog, shown_log

    monkeypatch.setattr(backlog, "PAUSE", 0.02)
    monkeypatch.setattr(shown_log, "MOST_WAITING", 10)
    store = Recorder()
    log = ShownLog(store, every_ms=1.0)  # type: ignore[arg-type]
    answers = tuple(Scored(f"i{place}", -1.0, parts={"model": 0.123456}) for place in range(3))
    for number in range(5):
        reply = Reply(answers, "v", f"r{number}", 1.0, propensities=(1.0, 0.5, 0.5), experiment="e", variant="a")
        log.add(rows_shown(Ask(user="u", scenario="shop"), reply))
        time.sleep(0.03)
    store.away = False
    log.close()
    told = [(row.request_id, row.position) for row in store.rows]
    assert told == sorted(told)
    assert told[-1] == ("r4", 3)
    assert 0 < log.lost <= 15 - len(told)
    last = store.rows[-1]
    assert (last.user_id, last.scenario, last.propensity, last.experiment, last.variant) == ("u", "shop", 0.5, "e", "a")
    assert last.why == {"score": -1.0, "parts": {"model": 0.1235}, "took_ms": 1.0}


def test_a_backlog_goes_on_in_order_and_leaves_nothing_it_was_told_to_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m6rec.serving.service.backlog.PAUSE", 0.001)
    done: list[int] = []
    failures = iter([False, True, False, False])

    def do(lot: list[int]) -> bool:
        if next(failures, True):
            done.extend(lot)
            return True
        return False

    backlog = Backlog[int]("m6rec-test", do, at_once=3, gather=0.001)
    for number in range(20):
        backlog.add([number])
    until = time.monotonic() + 10
    while len(done) < 20 and time.monotonic() < until:
        time.sleep(0.001)
    backlog.close(10)
    assert done == list(range(20))
    assert (len(backlog), backlog.lost) == (0, 0)
    left = Backlog[int]("m6rec-test", lambda lot: False)
    left.add([1, 2, 3])
    left.close(10)
    assert (left.lost, len(left)) == (3, 0)
    dropped = Backlog[int]("m6rec-test", lambda lot: bool(time.sleep(0.01)) or True)
    dropped.add(range(1000))
    dropped.close(10, finish=False)
    assert len(dropped) == 0


def shown(experiment: str, people: int, harm: str) -> pl.DataFrame:
    """Every person sees one item; those of the arm `harm` never do anything, the others always do."""
    rows = []
    for number in range(people):
        arm = "old" if number % 2 else "new"
        rows.append(
            {
                "request_id": f"r{number}",
                "user_id": None if number == 0 else f"u{number}",
                "item_id": "i1",
                "time": 1000.0 + number,
                "position": 1,
                "propensity": 1.0,
                "experiment": experiment,
                "variant": arm,
                "took_ms": 5.0,
                "unit": None,
                "actions": [] if arm == harm or number % 10 == 1 else ["click"],
                "value": None,
            }
        )
    return pl.DataFrame(rows, schema_overrides={"actions": pl.List(pl.String), "value": pl.Float64, "user_id": pl.String})


class Judge:
    """A store of one experiment's outcomes."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self.saved: list[dict[str, Any]] = []

    def outcomes(self, name: str, window_s: float, *, since: float = 0.0) -> pl.DataFrame:
        return self.frame

    def save_experiment(self, body: dict[str, Any]) -> None:
        self.saved.append(body)


def test_an_arm_that_harms_is_rolled_back_by_itself() -> None:
    arms = [{"name": "old", "share": 0.5}, {"name": "new", "share": 0.5}]
    experiment = Experiment.build({"name": "e", "arms": arms})
    frame = shown("e", 600, harm="new")
    assert exposures_of(frame)["unit"][0] == "r0"  # a person nobody knows counts as a unit of one list
    store = Judge(frame)
    looks = Chores(store, lambda: [experiment], 60.0, 60.0).look()  # type: ignore[arg-type]
    assert looks[0].decision.action == "roll back"
    assert store.saved[0]["status"] == "stopped" or store.saved[0]["arms"][1]["share"] == 0
    alike = Judge(shown("e", 600, harm=""))
    assert Chores(alike, lambda: [experiment], 60.0, 60.0).look()[0].decision.action != "roll back"  # type: ignore[arg-type]
    json.dumps(looks[0].plain())


def test_the_rank_of_a_new_event_is_its_place_in_the_answer(judged_run: Path) -> None:
    model = LoadedModel.open(judged_run)
    user, names = 3, model.engine.items.ids
    answers = model.engine.recommend(user=model.engine.users.ids.ids[user], k=60)
    history = model.engine.histories.row(user)
    for place in (0, 4, len(answers) - 1):
        assert rank_of(model, user, history, names.dense(answers[place].item_id), -1) == pytest.approx(place + 1, abs=0.5)
    assert rank_of(model, user, history, -1, -1) == float("inf")


def test_the_board_and_a_training_under_way_are_read_from_files(judged_run: Path, tmp_path: Path) -> None:
    board = quality_board(judged_run)
    leading = {(cell.task, cell.scenario): cell for cell in board.cells if cell.leading}
    table = json.loads(next(judged_run.glob("stages/evaluate-*/table.json")).read_text())
    assert leading["next", ""].value == table[0]["metrics"]["ndcg@10"]["mean"]
    assert leading["next", ""].baseline_name == "popularity"
    assert leading["click", "shop"].low <= leading["click", "shop"].value <= leading["click", "shop"].high
    assert not leading["rating", "shop"].higher  # an error: less is better
    json.dumps(board.plain())
    told = training_progress(judged_run)
    errors = [value for _, value in told.curves["fit"]["rating rmse"]]
    assert min(errors) > 0, "the log has them negative"
    fitted = next(row["facts"] for row in told.stages if row["name"] == "fit")
    assert fitted["validation rating rmse"] == pytest.approx(errors[fitted["best epoch"] - 1], abs=1e-4)
    assert quality_board(tmp_path).cells == ()

    run = tmp_path / "run"
    shutil.copytree(judged_run / "stages", run / "stages")
    assert training_progress(run).status == "finished"
    shutil.copy(judged_run / "run.json", run)
    finished = next(run.glob("stages/fit-*"))
    given_up = finished.with_name("fit-000000000000")  # begun with other settings beside it, and copied with it
    given_up.mkdir()
    (given_up / "state.safetensors").write_bytes(b"")
    told = training_progress(run)
    assert (told.status, told.unclear) == ("finished", False)
    os.utime(given_up / "state.safetensors", (time.time() + 60,) * 2)  # begun after the other was finished
    told = training_progress(run)
    assert (told.status, told.stage, told.unclear) == ("running", "fit", True)
    shutil.rmtree(given_up)
    (run / "run.json").unlink()
    for stage in ("evaluate", "index", "report"):
        shutil.rmtree(next(run.glob(f"stages/{stage}-*")))
    fit = next(run.glob("stages/fit-*"))
    (fit / "done.json").unlink()
    with open(fit / "log.jsonl", "a", encoding="utf-8") as handle:
        handle.write('{"epoch": 3, "ndcg@10": 0.5}\n{"epoch": 4, "ndcg@')
    told = training_progress(run)
    assert (told.status, told.stage) == ("running", "fit")
    assert told.curves["fit"]["ndcg@10"][-1] == [3.0, 0.5]
    assert [row["status"] for row in told.stages] == ["done", "done", "done", "done", "running", "to do", "to do", "to do"]
    assert training_progress(run, now=time.time() + 3600).status == "stopped"
    assert training_progress(tmp_path / "nothing").status == "none"
