"""`m6rec store`: export, import, verify, prune."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from m6rec.serving.store.config import StoreConfig
from m6rec.serving.store.records import Event, Shown
from m6rec.serving.store.store import Store


def test_a_store_is_exported_imported_verified_and_pruned(m6rec: Callable[..., Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    store = Store.open(StoreConfig(), run / "serving")
    store.add_events([Event("u", "i", time=5.0), Event("u", "j", time=6.0)])
    store.record_shown([Shown("r", "u", "i", 1, "v")])
    store.close()
    done = m6rec("store", "export", run, tmp_path / "out", "--json").json()
    assert (done["events"], done["watermark"]) == (2, 2)
    assert m6rec("store", "export", run, tmp_path / "later", "--since", 2, "--json").json()["events"] == 0
    hint = f"m6rec store import {run} {run}, before serving, takes it over"
    assert hint in m6rec("store", "export", run, tmp_path / "told").out
    taken = m6rec("store", "import", run, tmp_path / "out", "--state", tmp_path / "other", "--json").json()
    assert (taken["events"], taken["duplicates"]) == (2, 0)
    store = Store.open(StoreConfig(), run / "serving")
    store.upsert_items([{"item_id": "i", "title": "Tent"}])
    store.close()
    assert hint not in m6rec("store", "export", run, tmp_path / "told").out
    said = m6rec("store", "verify", run)
    assert said.out.startswith("1 rows hold; note the end elsewhere: --head 1:")
    head = said.out.rstrip().rpartition(" ")[2]
    assert m6rec("store", "verify", run, "--head", head).code == 0
    assert "does not hold" in m6rec("store", "verify", run, "--head", f"1:{'0' * 64}").error(1)
    assert m6rec("store", "prune", run, "--set", "store.retention.events_days=1", "--json").json()["events"] == 2


def test_misuse_is_one_line(m6rec: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert "takes a folder" in m6rec("store", "export", tmp_path).error(2)
    assert "takes no folder" in m6rec("store", "verify", tmp_path, "x").error(2)
    assert "--since goes with export" in m6rec("store", "verify", tmp_path, "--since", 3).error(2)
    assert "as m6rec store verify printed it" in m6rec("store", "verify", tmp_path, "--head", "3").error(2)
    assert "no run folder" in m6rec("store", "verify", tmp_path / "nowhere").error(1)
