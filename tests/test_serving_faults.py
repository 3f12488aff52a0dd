"""The whole service under load while things break: PostgreSQL is restarted, a worker is killed, a model is switched, the disk is full."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from m6rec.serving.service.loaded import LoadedModel
from m6rec.serving.store.config import StoreConfig
from m6rec.serving.store.records import StoredEvent
from m6rec.serving.store.store import Store
from whole_service import Client, Load, served, until, workers_of

if TYPE_CHECKING:
    from postgres_server import Server


def kept(config: StoreConfig, state: Path, load: Load) -> list[StoredEvent]:
    """The events of a store that is whole: none of a load's acknowledged events is missing, and none is there twice."""
    store = Store.open(config, state)
    events = store.events(most=1_000_000)
    assert store.verify_audit().problem == ""
    store.close()
    names = [event.context["name"] for event in events if "name" in event.context]
    assert len(names) == len(set(names))
    assert set(load.acknowledged) <= set(names)
    return events


def test_model_switch_database_restart_and_a_killed_worker_under_load(
    judged_run: Path, postgres: Server, postgres_store: str, tmp_path: Path
) -> None:
    """Lists go on through all of it; events wait while the database is away, and each one acknowledged is there once."""
    shutil.copytree(judged_run, tmp_path / "runs" / "shop")
    shutil.copytree(judged_run, tmp_path / "runs" / "next")
    words = ("--workers", "2", "--set", "http.log=false", "--set", f"store.url={postgres_store}", "--set", "store.timeout_s=2")
    with served(tmp_path / "runs" / "shop", tmp_path / "state", *words) as (process, port, lines):
        until(lambda: len(workers_of(process)) == 2)
        load, admin = Load(port), Client(port)
        first = admin.get("/info")[1]["model_version"]
        load.start()
        try:
            until(lambda: len(load.acknowledged) > 20)
            assert admin.post("/v1/models", {"folder": "next", "version": "next"})[0] == 200
            assert admin.post("/v1/models/switch", {"version": "next"})[0] == 200
            until(lambda: load.versions[-1] == "next")

            postgres.stop("immediate")
            try:
                until(lambda: len(load.refused) > 10)
                asked, failed = load.asked, len(load.failures)
                until(lambda: load.asked > asked + 50)
                assert load.failures[failed:] == []
                status, problem = admin.post("/v1/events", {"events": [{"user_id": "u01", "item_id": "i03", "action": "click"}]})
                assert (status, problem["type"]) == (503, "urn:m6rec:problem:not-available")
                assert "does not answer" in problem["detail"]
                assert admin.post("/v1/models/switch", {"version": first})[0] == 503
                until(lambda: "does not answer" in admin.get("/info")[1]["info"]["store"])
                assert admin.get("/health/ready")[0] == 200
            finally:
                postgres.start()
            written = len(load.acknowledged)
            until(lambda: len(load.acknowledged) > written + 20)

            victim = workers_of(process)[0]
            os.kill(victim, signal.SIGKILL)
            until(lambda: victim not in workers_of(process) and len(workers_of(process)) == 2)
            written = len(load.acknowledged)
            until(lambda: len(load.acknowledged) > written + 20)
            assert admin.post("/v1/models/roll-back")[1]["model_version"] == first
            until(lambda: load.versions[-1] == first)
        finally:
            load.stop()
        assert admin.get("/info")[1]["info"]["audit"]["lost"] == 0
        admin.close()
        assert load.failures == []
        assert {status for status, _ in load.refused} == {503}
        assert load.lost <= 2 * load.people  # the connections that the killed worker held
    assert process.returncode == 0
    assert any("was killed by signal 9" in line for line in lines)
    kept(StoreConfig(url=postgres_store), tmp_path / "state", load)


def test_a_full_disk_and_a_killed_worker_stop_no_list_and_lose_nothing(judged_run: Path, tmp_path: Path) -> None:
    """The state lies on a disk of 24 MB of its own, that is filled and emptied again."""
    state = tmp_path / "state"
    state.mkdir()
    own = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    mounted = [*own, "sh", "-c", f'mount -t tmpfs -o size=24m,mode=0700 tmpfs "{state}" && exec "$@"', "sh"]
    with served(judged_run, state, "--workers", "2", "--set", "http.log=false", within=mounted) as (process, port, lines):
        until(lambda: len(workers_of(process)) == 2)
        disk = Path(f"/proc/{process.pid}/root{state}")
        load, admin = Load(port), Client(port)
        load.start()
        try:
            until(lambda: len(load.acknowledged) > 20)
            with (disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
                while True:
                    filler.write(b"\0" * 65536)
            until(lambda: len(load.refused) > 10)
            asked = load.asked
            until(lambda: load.asked > asked + 20)
            status, problem = admin.post("/v1/events", {"events": [{"user_id": "u01", "item_id": "i03", "action": "click"}]})
            assert (status, problem["type"]) == (503, "urn:m6rec:problem:not-available")
            assert "store.db can't grow, the disk is full; nothing was written; free some space" in problem["detail"]
            assert admin.get("/health/ready")[0] == 200
            (disk / "filler").unlink()
            written = len(load.acknowledged)
            until(lambda: len(load.acknowledged) > written + 20)

            victim = workers_of(process)[0]
            os.kill(victim, signal.SIGKILL)
            until(lambda: victim not in workers_of(process) and len(workers_of(process)) == 2)
            written = len(load.acknowledged)
            until(lambda: len(load.acknowledged) > written + 20)
        finally:
            load.stop()
        assert load.failures == []
        assert {status for status, _ in load.refused} == {503}
        assert admin.get("/info")[1]["info"]["store"] == "ok"
        counted = sum(admin.get(f"/v1/users/u0{place}")[1]["user"]["count"] for place in (1, 2, 3))
        admin.close()
        there = Path(shutil.copytree(disk, tmp_path / "copy"))
    assert process.returncode == 0
    assert any("was killed by signal 9" in line for line in lines)
    stored = kept(StoreConfig(), there, load)
    histories = LoadedModel.open(judged_run).engine.histories
    assert counted == len(stored) + sum(len(histories.row(row).items) for row in range(3))
