"""`m6rec load-test`: figures by hand, the search for a rate, and a real server."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from m6rec.base.errors import UsageError
from m6rec.serving.http.load import Figures, Target, load, quantile, sustained
from served_over_http import PlainService, app_of, served

NOTHING = Figures(1, 1, 1, 1, 1, 1, 1, 1, 1, 0)


def test_quantiles_by_hand() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert [quantile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50.0, 95.0, 99.0, 100.0]
    assert (quantile([7.0], 0.99), quantile([1.0, 2.0], 0.5)) == (7.0, 1.0)
    assert math.isnan(quantile([], 0.5))


def test_the_search_finds_the_rate_at_which_it_breaks() -> None:
    def machine(rate: float) -> Figures:
        return replace(NOTHING, rate=rate, p99_ms=20.0 if rate <= 330 else 400.0)

    best, tried = sustained(machine, 50, 100.0)
    assert 305 <= best <= 330
    assert [one.rate for one in tried] == [50, 100, 200, 400, 300, 350, 325, 337.5]
    assert sustained(lambda rate: replace(NOTHING, rate=rate, errors={"503": 1}), 50, 100.0)[0] == 0.0
    assert sustained(lambda rate: replace(NOTHING, rate=rate, p99_ms=9.0 if rate <= 5 else 900.0), 50, 100.0)[0] == 5.0


@pytest.mark.parametrize(
    "url", ["http://example.org:8080", "http://10.0.0.1", "10.1.1.1:80", "http://localhost.example.org", "http://0.0.0.0:8080"]
)
def test_other_machines_are_left_alone(url: str) -> None:
    with pytest.raises(UsageError, match="is another machine"):
        Target.of(url)


def test_addresses_of_this_machine() -> None:
    assert Target.of("http://127.0.0.1:8080/") == Target("127.0.0.1", 8080)
    assert Target.of("localhost:81", "k") == Target("localhost", 81, "k")
    for url in ("https://127.0.0.1", "ftp://127.0.0.1", "http://127.0.0.1:99999"):
        with pytest.raises(UsageError):
            Target.of(url)


def test_a_service_that_stalls_is_seen_in_every_request_that_was_due_meanwhile() -> None:
    """One pause of 300 ms at 50 requests a second delays about 15 of 50: the median stays, the 95th percentile sees it."""
    service = PlainService()
    answer, calls = service.recommend, [0]

    def stalling(ask: Any) -> Any:
        calls[0] += 1
        if calls[0] == 25:
            time.sleep(0.3)
        return answer(ask)

    service.recommend = stalling  # type: ignore[method-assign]
    with served(app_of(service, log=False, threads=1)) as address:
        target = Target.of(address)
        request = target.request("POST", "/v1/recommend", b'{"user": "u1"}')
        figures = asyncio.run(load(target, [request], 50, 1.0))
    assert figures.errors == {}
    assert figures.answered == figures.sent
    assert 25 <= figures.sent <= 80
    assert figures.p95_ms > 150
    assert figures.p50_ms < figures.p95_ms


def test_the_command_over_a_real_server(m6rec: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    service = PlainService()
    secret = service.store.add_key("load", ["read", "write"])
    with served(app_of(service, log=False)) as address:
        assert "the service answers 401" in m6rec("load-test", address, "--seconds", "0.2").error(1)
        monkeypatch.setenv("M6REC_KEY", secret)
        told = m6rec("load-test", address, "--seconds", "0.4", "--rate", "40", "--ask", "mixed", "--action", "click", "--json").json()
        figures = told["rates"][0]
        assert figures["answered"] == figures["sent"] > 4
        assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"] <= figures["max_ms"]
        assert {ask.user for ask in service.asked} == {None}, "this key may not list users: histories are asked for"
        monkeypatch.setenv("M6REC_KEY", service.store.add_key("all", ["admin"]))
        assert m6rec("load-test", address, "--seconds", "0.2").code == 0
        assert service.asked[-1].user in {f"u{n}" for n in range(5)}
        for ask in ("rank", "similar", "events", "live"):
            assert m6rec("load-test", address, "--seconds", "0.1", "--ask", ask, "--action", "click").code == 0
        assert service.events
    assert "no service answers at 127.0.0.1" in m6rec("load-test", address).error(1)
    assert "--rate is 0" in m6rec("load-test", address, "--rate", "0").error(2)
    assert "--seconds is 6000" in m6rec("load-test", address, "--seconds", "6000").error(2)
