"""`m6rec serve` and `m6rec doctor` as people run them: real workers on loopback, one of them killed under load."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from m6rec.serving import worker
from m6rec.serving.service import doctor
from m6rec.serving.supervisor import listen

CommandLine = Callable[..., Any]


@contextmanager
def served(run: Path, state: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], int, list[str]]]:
    """The command on a free port, once it answers: process, port, its lines on standard error."""
    command = [sys.executable, "-m", "m6rec", "serve", str(run), "--state", str(state), "--port", "0", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        lines: list[str] = []
        try:
            port = 0
            for line in process.stderr:
                lines.append(line)
                if found := re.search(r"on http://127\.0\.0\.1:(\d+)", line):
                    port = int(found[1])
                    break
            assert port, lines
            reader = threading.Thread(target=lambda: lines.extend(process.stderr or ()), daemon=True)
            reader.start()
            yield process, port, lines
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
            reader.join(timeout=10)


class Client:
    """One connection that is opened again when it was lost; a question that got no answer is asked once more, as HTTP clients do."""

    def __init__(self, port: int) -> None:
        self.port, self.lost = port, 0
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def post(self, path: str, body: dict[str, Any], **headers: str) -> tuple[int, Any]:
        for attempt in (0, 1):
            try:
                self.connection.request("POST", path, json.dumps(body), {"content-type": "application/json", **headers})
                reply = self.connection.getresponse()
                return reply.status, json.loads(reply.read())
            except (http.client.HTTPException, OSError):
                self.connection.close()
                self.lost += 1
                if attempt:
                    raise
        raise AssertionError


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in children]


def test_a_worker_killed_under_load_costs_no_answer_and_no_event(judged_run: Path, tmp_path: Path) -> None:
    with served(judged_run, tmp_path / "state", "--workers", "2", "--set", "http.log=false") as (process, port, lines):
        stop, failures, acknowledged = threading.Event(), list[str](), list[str]()

        def ask(place: int) -> None:
            client, number = Client(port), 0
            while not stop.is_set():
                number += 1
                name = f"e-{place}-{number}"
                status, body = client.post(
                    "/v1/events", {"events": [{"user_id": f"u0{place}", "item_id": "i03", "action": "click", "event_id": name}]}
                )
                if status == 200:
                    acknowledged.append(name)
                else:
                    failures.append(f"{status} {body}")
                status, body = client.post("/v1/recommend", {"user": f"u0{place}", "k": 3})
                if status != 200 or len(body["answers"]) != 3:
                    failures.append(f"{status} {body}")
            client.connection.close()

        threads = [threading.Thread(target=ask, args=(place,)) for place in (1, 2, 3)]
        for thread in threads:
            thread.start()
        first = workers_of(process)
        assert len(first) == 2
        time.sleep(0.7)
        os.kill(first[0], signal.SIGKILL)
        deadline = time.monotonic() + 60
        while len(set(workers_of(process)) - set(first)) < 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.7)
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(set(workers_of(process)) - set(first)) == 1
        kept = 0
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for place in (1, 2, 3):
            connection.request("GET", f"/v1/users/u0{place}")
            kept += json.loads(connection.getresponse().read())["user"]["count"]
        connection.close()
    from m6rec.serving.service.loaded import LoadedModel
    from m6rec.serving.store.config import StoreConfig
    from m6rec.serving.store.store import Store

    store = Store.open(StoreConfig(), tmp_path / "state")
    stored = {event.event_id for event in store.events(most=1_000_000)}
    store.close()
    assert set(acknowledged) <= stored
    histories = LoadedModel.open(judged_run).engine.histories
    assert kept == len(stored) + sum(len(histories.row(row).items) for row in range(3))
    assert process.returncode == 0
    assert any("was killed by signal 9" in line for line in lines)


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
