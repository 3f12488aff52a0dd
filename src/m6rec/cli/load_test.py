"""`m6rec load-test`: how many requests a service of this machine answers, and how fast."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from m6rec.base.errors import DataError, StorageError, UsageError
from m6rec.cli.options import Answers, Json
from m6rec.cli.output import columns, print_json, print_lines

if TYPE_CHECKING:
    from m6rec.serving.http.load import Figures, Target

WARM_SECONDS = 1.0


class Asked(StrEnum):
    """What is asked."""

    RECOMMEND = "recommend"
    RANK = "rank"
    SIMILAR = "similar"
    EVENTS = "events"
    MIXED = "mixed"
    LIVE = "live"


def load_test(
    url: Annotated[str, typer.Argument(metavar="URL", help="Address of a service on this machine, for example http://127.0.0.1:8080.")],
    rate: Annotated[float, typer.Option("--rate", help="Requests a second; with --find the first rate that is tried.")] = 50.0,
    seconds: Annotated[float, typer.Option("--seconds", help="How long each rate is kept up.")] = 10.0,
    ask: Annotated[
        Asked, typer.Option("--ask", help="What is asked; events writes clicks into the store, mixed is nine lists to one of those.")
    ] = Asked.RECOMMEND,
    k: Answers = 10,
    find: Annotated[bool, typer.Option("--find", help="Find the largest rate at which --limit holds and nothing fails.")] = False,
    limit: Annotated[float, typer.Option("--limit", metavar="MS", help="Time that 99 of 100 answers stay within.")] = 100.0,
    action: Annotated[str | None, typer.Option("--action", help="Action of written events; the first one that the model knows.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="A key of the service; default: the environment's M6REC_KEY.")] = None,
    as_json: Json = False,
) -> None:
    """Send requests for the service's own users at a steady rate and tell how fast they were answered.

    Listing users takes a key of an administrator; with another one, requests are made for histories of one item.
    Requests come when they are due, whether earlier ones were answered or not, and their time counts from then. Only addresses of this
    machine are loaded.
    """
    from m6rec.serving.http.load import MOST_RATE, MOST_SECONDS, Target, load, sustained

    if not 0 < rate <= MOST_RATE:
        raise UsageError(f"--rate is {rate:g}; give more than 0, {MOST_RATE:g} at the most")
    if not 0 < seconds <= MOST_SECONDS:
        raise UsageError(f"--seconds is {seconds:g}; give more than 0, {MOST_SECONDS:g} at the most")
    if not limit > 0:
        raise UsageError(f"--limit is {limit:g}; give milliseconds, for example --limit 100")
    target = Target.of(url, key or os.environ.get("M6REC_KEY", ""))
    requests = asyncio.run(prepared(target, ask, k, action))

    def measure(at: float) -> Figures:
        return asyncio.run(load(target, requests, at, seconds))

    asyncio.run(load(target, requests, min(rate, 20.0), WARM_SECONDS))
    best, tried = sustained(measure, rate, limit) if find else (None, [measure(rate)])
    if as_json:
        print_json({"sustained": best, "limit_ms": limit, "rates": [asdict(one) for one in tried]})
    else:
        show(tried, best, limit)
    if not find and not tried[0].answered:
        raise StorageError(f"nothing was answered: {said(tried[0].errors)}; see m6rec doctor")


def show(tried: list[Figures], best: float | None, limit: float) -> None:
    """One line a rate."""
    rows = [
        [
            *(f"{one.rate:.0f}", f"{one.sent:,}", f"{one.throughput:.1f}"),
            *(f"{value:.1f}" for value in (one.p50_ms, one.p95_ms, one.p99_ms, one.max_ms, one.behind_ms)),
            said(one.errors),
        ]
        for one in tried
    ]
    header = ["asked/s", "sent", "answered/s", "p50 ms", "p95 ms", "p99 ms", "max ms", "client late ms", "failed"]
    print_lines(columns(rows, header, right=range(8)))
    if best is not None:
        print_lines(
            [f"sustained: {best:.0f} requests/s with p99 within {limit:g} ms" if best else f"not even {tried[-1].rate:g} requests/s hold"]
        )


def said(errors: dict[str, int]) -> str:
    """`503: 4, no answer: 1`, or a dash."""
    return ", ".join(f"{what}: {count}" for what, count in sorted(errors.items())) or "-"


async def prepared(target: Target, ask: Asked, k: int, action: str | None) -> list[bytes]:
    """Requests for up to 1,000 users of the service. Raises StorageError: no service there; DataError: it has nobody to ask for."""
    if ask == Asked.LIVE:
        return [target.request("GET", "/health/live")]
    items = [one["item_id"] for one in (await _read(target, "/v1/items?most=1000"))["items"]]
    listed = await _read(target, "/v1/users?most=1000", refused={"users": []})  # takes an admin's key; else histories are asked for
    users = [one["user_id"] for one in listed["users"]]
    if not items:
        raise DataError("the service has no items to ask for; add some first")
    whom: list[dict[str, Any]] = [{"user": user} for user in users] or [{"history": [item]} for item in items]
    lists = [_post(target, "recommend", {**who, "k": k}) for who in whom]
    if ask == Asked.RECOMMEND:
        return lists
    if ask == Asked.SIMILAR:
        return [_post(target, "similar", {"item": item, "k": k}) for item in items]
    if ask == Asked.RANK:
        return [_post(target, "rank", {**who, "items": items[:200]}) for who in whom]
    actions = (await _read(target, "/info"))["info"].get("actions", [])
    written = []
    for number, item in enumerate(items):
        row = {"user_id": users[number % len(users)] if users else f"load-{number}", "item_id": item}
        told = action or (actions[0] if actions else None)
        written.append(_post(target, "events", {"events": [row | ({"action": told} if told else {})]}))
    if ask == Asked.EVENTS:
        return written
    return [written[number % len(written)] if number % 10 == 9 else lists[number % len(lists)] for number in range(10 * len(lists))]


def _post(target: Target, route: str, body: dict[str, Any]) -> bytes:
    return target.request("POST", f"/v1/{route}", json.dumps(body, ensure_ascii=False).encode())


async def _read(target: Target, path: str, refused: dict[str, Any] | None = None) -> dict[str, Any]:
    from m6rec.serving.http.load import Client

    client = Client(target)
    try:
        status, body = await client.ask(target.request("GET", path))
    except (OSError, TimeoutError):
        raise StorageError(f"no service answers at {target.host}:{target.port}; start one with m6rec serve RUN") from None
    finally:
        client.close()
    if status == 403 and refused is not None:
        return refused
    answer = json.loads(body or b"{}")
    if status != 200:
        hint = "; give --key, or set M6REC_KEY" if status in (401, 403) else ""
        raise StorageError(f"the service answers {status}: {answer.get('detail', '')}{hint}")
    return dict(answer)
