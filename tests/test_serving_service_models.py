"""Models side by side: loaded, switched, rolled back and dropped in every worker, and not one request fails meanwhile."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from m6rec.base.errors import CheckpointError, UsageError
from m6rec.serving.asked import Ask
from m6rec.serving.config import ServeConfig
from m6rec.serving.service.loaded import LoadedModel, version_of
from m6rec.serving.service.service import Service
from m6rec.serving.store.records import Event

Opener = Callable[[], Service]


@pytest.fixture
def opened(judged_run: Path, tmp_path: Path) -> Iterator[Opener]:
    services: list[Service] = []

    def make() -> Service:
        services.append(Service.open(judged_run, ServeConfig(), tmp_path / "state"))
        return services[-1]

    yield make
    for service in services:
        service.close()


@pytest.fixture
def following(judged_run: Path, tmp_path: Path) -> Path:
    """A second model folder over the same data, under another name."""
    return Path(shutil.copytree(judged_run / "model", tmp_path / "later"))


def until(true: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def test_a_model_is_loaded_switched_rolled_back_and_dropped_in_every_worker(opened: Opener, following: Path) -> None:
    one, other = opened(), opened()
    first = one.loaded.active.version
    one.add_events([Event("new", "i03", action="click")])
    facts = one.load_model(following)
    assert (facts.version, facts.status) == (version_of(following), "loaded")
    assert one.recommend(Ask(user="new", k=1)).model_version == first

    def versions(service: Service) -> list[str]:
        service.following.catch_up()
        return [model.version for model in service.loaded.all]

    assert until(lambda: facts.version in versions(other))
    one.switch(facts.version)
    assert one.recommend(Ask(user="new", k=1)).model_version == facts.version
    assert until(lambda: other.recommend(Ask(user="new", k=1)).model_version == facts.version)
    assert [(model.version, model.status) for model in other.models()] == [(facts.version, "active"), (first, "loaded")]
    other.roll_back()
    assert until(lambda: one.recommend(Ask(user="new", k=1)).model_version == first)
    with pytest.raises(UsageError, match=f"no switch to roll back: no model was active before '{first}'"):
        one.roll_back()
    with pytest.raises(UsageError, match="answers"):
        one.drop_model(first)
    one.drop_model(facts.version)
    assert until(lambda: versions(other) == [first])
    assert [(model.version, model.status) for model in one.models()] == [(first, "active"), (facts.version, "known")]
    other.switch(facts.version)  # known, not in memory: loaded first
    assert other.recommend(Ask(user="new", k=1)).model_version == facts.version


def test_a_start_goes_on_with_the_model_that_was_switched_to(opened: Opener, following: Path, judged_run: Path) -> None:
    one = opened()
    one.switch(one.load_model(following).version)
    again = opened()
    assert again.loaded.active.version == version_of(following)
    shutil.rmtree(following)
    lacking = opened()  # the folder is gone: the run that was named answers, and says why
    assert lacking.loaded.active.version == version_of(judged_run)
    assert any("later" in problem for problem in lacking.info()["problems"])


def test_requests_under_way_end_with_the_model_they_began_with(opened: Opener, following: Path) -> None:
    service = opened()
    first, later = service.loaded.active, service.load_model(following).version
    inside, go_on = threading.Event(), threading.Event()
    answered: list[str] = []
    book = service.rulings.book

    def slow(model: LoadedModel) -> object:
        inside.set()
        assert go_on.wait(30)
        return book(model)

    service.rulings.book = slow  # type: ignore[method-assign, assignment]
    thread = threading.Thread(target=lambda: answered.append(service.recommend(Ask(user="u01", k=1)).model_version))
    thread.start()
    assert inside.wait(30)
    service.rulings.book = book  # type: ignore[method-assign]
    service.switch(later)
    assert service.recommend(Ask(user="u01", k=1)).model_version == later
    assert service.models()[1].in_flight == 1
    go_on.set()
    thread.join()
    assert answered == [first.version]


def test_no_request_fails_while_models_change_under_load(opened: Opener, following: Path) -> None:
    service = opened()
    first = service.loaded.active.version
    stop = threading.Event()
    failures: list[BaseException] = []
    seen: set[str] = set()

    def ask(number: int) -> None:
        while not stop.is_set():
            try:
                seen.add(service.recommend(Ask(user=f"u0{1 + number}", k=3)).model_version)
                service.add_events([Event(f"u0{1 + number}", f"i0{1 + number}", action="click")])
            except BaseException as error:
                failures.append(error)
                raise

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        later = service.load_model(following).version
        for _ in range(3):
            service.switch(later)
            assert until(lambda: later in seen)
            service.roll_back()
            seen.clear()
            assert until(lambda: first in seen)
        service.drop_model(later)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    counts = [service.user(f"u0{1 + number}")["count"] for number in range(3)]
    assert sum(counts) == sum(len(service.store.events(f"u0{1 + number}")) for number in range(3)) + sum(
        len(LoadedModel.open(service.run).engine.histories.row(row).items) for row in range(3)
    )


def test_a_broken_folder_and_one_for_other_data_change_nothing(opened: Opener, following: Path, tiny_run: Path, tmp_path: Path) -> None:
    service = opened()
    (following / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(CheckpointError):
        service.load_model(following)
    with pytest.raises(CheckpointError, match="no model folder"):
        service.load_model(tmp_path / "nowhere")
    assert [model.status for model in service.models()] == ["active"]
    with pytest.raises(UsageError, match="no switch to roll back"):
        service.roll_back()
    with pytest.raises(UsageError, match="there is no model"):
        service.switch("nothing")
    assert service.recommend(Ask(user="u01", k=1)).answers
