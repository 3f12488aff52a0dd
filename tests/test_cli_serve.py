"""`m6rec serve` and `m6rec doctor`: what stands in the way of serving is told in a line (the running service: test_serving_faults.py)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from m6rec.serving import worker
from m6rec.serving.service import doctor
from m6rec.serving.supervisor import listen

CommandLine = Callable[..., Any]


def test_what_stands_in_the_way_of_serving_is_one_line(m6rec: CommandLine, judged_run: Path, tmp_path: Path) -> None:
    assert "does not exist" in m6rec("serve", tmp_path / "nothing").error(1)
    (tmp_path / "empty").mkdir()
    assert "config.json is missing" in m6rec("serve", tmp_path / "empty").error(1)
    (tmp_path / "half" / "stages").mkdir(parents=True)
    assert "is not finished" in m6rec("serve", tmp_path / "half").error(1)
    assert "needs --tls-key" in m6rec("serve", judged_run, "--tls-cert", "a.pem").error(2)
    assert "is no file" in m6rec("serve", judged_run, "--tls-cert", "a.pem", "--tls-key", "b.pem").error(2)
    assert "did you mean 'port'" in m6rec("serve", judged_run, "--set", "http.prot=1").error(2)
    assert "serve.yaml" in m6rec("serve", judged_run, "--config", tmp_path / "serve.yaml").error(2)
    with listen("127.0.0.1", 0) as taken:
        assert "choose another with --port" in m6rec("serve", judged_run, "--port", taken.getsockname()[1]).error(2)


def test_a_damaged_model_ends_a_worker_with_the_reason_once(judged_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(judged_run / "model", tmp_path / "model"))
    (folder / "model.safetensors").write_bytes(b"broken")
    told = {"run": str(folder), "state": str(tmp_path / "state"), "config": {}, "threads": 1, "grace": 1.0}
    assert worker.main([json.dumps(told)]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "is damaged or cut short" in said


def test_doctor_looks_at_everything_and_changes_nothing(m6rec: CommandLine, judged_run: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    found = {one["name"]: one for one in m6rec("doctor", judged_run, "--state", state, "--port", 0, "--json").json()["findings"]}
    assert {"python", "libraries", "processor", "memory", "disk", "writing", "port", "model", "store", "keys"} <= set(found)
    assert found["keys"]["status"] == "warn"
    assert not (state / "store.db").exists()
    with listen("127.0.0.1", 0) as taken:
        refused = m6rec("doctor", "--port", taken.getsockname()[1])
    assert refused.code == 1
    assert "FAIL  port" in refused.out
    exposed = m6rec("doctor", judged_run, "--state", state, "--port", 0, "--host", "192.0.2.1")
    assert "FAIL  keys" in exposed.out
    assert "WARN  tls" in exposed.out
    assert "m6rec keys add" in exposed.out


RULES = {
    "rules: {caps: [{name: few, field: brnd, per_list: 2}]}": ("rules", "brnd"),
    "rules: {audiences: [{name: adults, field: brnd, least: profile.age}]}": ("rules", "brnd"),
    "rules: {offers: {shop: {brnd: [x]}}}": ("rules", "brnd"),
    "experiments: {running: [{name: e, arms: [{name: a, share: 0.5}, {name: b, share: 0.5, slate: {caps: {brnd: 1}}}]}]}": (
        "experiment",
        "brnd",
    ),
    "experiments: {running: [{name: e, arms: [{name: a, share: 0.5}, {name: b, share: 0.5, option: clic}]}]}": ("experiment", "clic"),
}


@pytest.mark.parametrize("text", RULES)
def test_doctor_refuses_rules_that_do_not_suit_the_model(m6rec: CommandLine, judged_run: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "serve.yaml").write_text(text + "\n")
    told = m6rec("doctor", judged_run, "--config", tmp_path / "serve.yaml", "--state", tmp_path / "state", "--port", 0, "--json")
    assert told.code == 1
    name, word = RULES[text]
    found = {one["name"]: one for one in json.loads(told.out)["findings"]}
    assert found[name]["status"] == "fail"
    assert word in found[name]["fact"]


def test_doctor_says_whether_the_console_has_its_browser_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "BROWSER_FOLDER", tmp_path)
    (tmp_path / "htmx.min.js").write_text("")
    lacking = doctor._console()
    assert (lacking.status, "ECharts" in lacking.fact, "htmx" in lacking.fact) == ("warn", True, False)
    assert "make assets" in lacking.advice
    (tmp_path / "echarts.min.js").write_text("")
    assert doctor._console().status == "ok"


@pytest.fixture(autouse=True)
def _no_state_beside_the_shared_run(judged_run: Path) -> Iterator[None]:
    yield
    assert not (judged_run / "serving").exists()
