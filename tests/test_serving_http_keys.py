"""Who may do what: every route with every role and without a key, keys that go, rates, and what is open on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from starlette.requests import Request

from m6rec.base.errors import StorageError
from m6rec.serving.http.calls import Calls
from m6rec.serving.http.doorkeeper import presented
from m6rec.serving.http.keyring import STALE_SECONDS, KeyRing
from served_over_http import ADMIN, READ, WRITE, PlainService, app_of, client_of

ROLES = {"": set(), "wrong-secret": set(), READ: {"read"}, WRITE: {"write"}, ADMIN: {"read", "write", "admin"}}


def keyed() -> PlainService:
    service = PlainService()
    for role in ("read", "write", "admin"):
        service.store.add_key(role, [role])
    return service


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with client_of(keyed(), log=False, address_rate=0) as client:
        yield client


def operations() -> list[tuple[str, str, str]]:
    document = app_of(keyed(), log=False).openapi()
    return [(way.upper(), path, about["x-role"]) for path, ways in document["paths"].items() for way, about in ways.items()]


@pytest.mark.parametrize(("method", "path", "role"), operations())
def test_every_route_with_every_role(client: httpx.Client, method: str, path: str, role: str) -> None:
    """A body that is no JSON tells admission from what comes after it: 400, 404 or 422 is inside, 401 and 403 are not."""
    for secret, roles in ROLES.items():
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        body = {"content": "{", "headers": {**headers, "Content-Type": "application/json"}} if method != "GET" else {"headers": headers}
        answer = client.request(method, path.replace("{", "x").replace("}", "x"), **body)
        if role == "none" or role in roles:
            assert answer.status_code not in (401, 403), (secret, answer.text)
        elif roles:
            assert answer.status_code == 403, (secret, answer.text)
        else:
            assert answer.status_code == 401, (secret, answer.text)
            assert answer.headers["www-authenticate"] == 'Bearer realm="m6rec"'


def test_the_matrix_leaves_no_route_out() -> None:
    """What the document does not list is open on purpose."""
    app = app_of(keyed(), log=False)
    listed = {path for _, path, _ in operations()}
    hidden = {getattr(one, "path_format", getattr(one, "path", "")) for one in app.routes} - listed
    assert hidden == {"/docs", "/openapi.json", "/api/recommend/{user_id}/", "/api/item/{item_id}/neighbors/"}


def test_unlisted_spellings_ask_for_a_key_too(client: httpx.Client) -> None:
    for path in ("/api/recommend/u1/", "/api/item/i1/neighbors/", "//v1/items", "/v1/items/", "/V1/items", "/v1//items", "/v1/items/.."):
        assert client.get(path).status_code in (401, 404), path


def test_a_key_comes_by_either_header(client: httpx.Client) -> None:
    for headers in ({"Authorization": f"Bearer {READ}"}, {"authorization": f"bearer {READ}"}, {"X-API-Key": READ}):
        assert client.get("/v1/items", headers=headers).status_code == 200
    wrong = (
        {"Authorization": f"Basic {READ}"},
        {"Authorization": READ},
        {"Authorization": "Bearer"},
        {"X-API-Key": READ + "x"},
        {"X-API-Key": "x" * 5000},
    )
    for headers in wrong:
        assert client.get("/v1/items", headers=headers).status_code == 401, headers
    assert client.get(f"/v1/items?key={READ}").status_code == 401, "a key never stands in an address, where logs would see it"


def test_without_a_key_this_machine_is_open_and_nobody_else() -> None:
    service = PlainService()
    with client_of(service, log=False) as client:
        assert client.get("/v1/models").status_code == 200
        assert client.get("/v1/models", headers={"X-API-Key": "anything"}).status_code == 200, "a gorse client always sends one"
        assert client.get("/v1/models", headers={"X-Forwarded-For": "10.0.0.9"}).status_code == 401, "a proxy carries somebody else"
        assert client.get("/v1/models", headers={"Origin": "https://evil.example"}).status_code == 403
        assert client.get("/v1/models", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        own = str(client.base_url).rstrip("/")
        assert client.get("/v1/models", headers={"Origin": own}).status_code == 200
    with client_of(service, log=False, host="0.0.0.0", trusted_hosts=["*"]) as client:
        assert client.get("/v1/items").status_code == 401, "an address that others reach is never open"
        assert client.get("/health/ready").status_code == 200


def test_other_hosts_are_not_served(client: httpx.Client) -> None:
    """A page whose name was pointed at this machine (DNS rebinding) asks for its own name."""
    key = {"X-API-Key": READ}
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8080", ""):
        assert client.get("/v1/items", headers={"Host": host, **key}).status_code == 400, host
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8080"):
        assert client.get("/v1/items", headers={"Host": host, **key}).status_code == 200, host
    with client_of(PlainService(), log=False, trusted_hosts=["*.shop.example", "api.example"]) as other:
        for host, status in (("a.shop.example", 200), ("api.example:443", 200), ("shop.example", 400), ("evilshop.example", 400)):
            assert other.get("/v1/items", headers={"Host": host}).status_code == status, host


def test_many_requests_of_a_key_wait() -> None:
    with client_of(keyed(), READ, log=False, rate=1, burst=3) as client:
        codes = [client.get("/v1/items") for _ in range(5)]
        assert [one.status_code for one in codes][:3] == [200, 200, 200]
        assert codes[-1].status_code == 429
        assert codes[-1].headers["retry-after"] == "1"
        assert codes[-1].json()["detail"] == "too many requests; 1 a second are allowed"
        assert client.get("/v1/models", headers={"Authorization": f"Bearer {ADMIN}"}).status_code == 200, (
            "another key has tokens of its own"
        )
        assert client.get("/health/live").status_code == 200


def test_who_tries_keys_is_slowed_down() -> None:
    service = keyed()
    with client_of(service, log=False, address_rate=1) as client:
        tried = [client.get("/v1/items", headers={"X-API-Key": f"guess-{n}"}).status_code for n in range(30)]
        assert set(tried) == {401, 429}
        assert tried[-1] == 429
        assert service.store.asked < 20, "the store is asked no more often"


def ring(service: PlainService) -> tuple[KeyRing, Calls, list[float]]:
    now = [0.0]
    calls = Calls(1, 8)
    return KeyRing(service.store, calls, clock=lambda: now[0]), calls, now  # type: ignore[arg-type]


def test_a_dropped_key_opens_nothing_after_two_seconds_and_a_good_one_outlives_the_store() -> None:
    service = keyed()
    keys, calls, now = ring(service)

    async def lived() -> None:
        holder = await keys.who(READ)
        assert holder is not None
        assert holder.name == "read"
        del service.store.secrets[READ]
        assert await keys.who(READ) is not None, "remembered for a moment"
        now[0] += 2.1
        assert await keys.who(READ) is None
        assert (await keys.who(WRITE)) is not None
        service.store.away = True
        now[0] += 60
        assert (await keys.who(WRITE)) is not None, "the store is away, the key was good"
        with pytest.raises(StorageError):
            await keys.who(READ)  # not good before, so nobody knows
        now[0] += STALE_SECONDS
        with pytest.raises(StorageError):
            await keys.who(WRITE)

    asyncio.run(lived())
    calls.close()


def test_secrets_are_not_kept_as_they_came() -> None:
    keys, calls, _ = ring(keyed())
    asyncio.run(keys.who(READ))
    assert READ not in repr(keys._known)
    calls.close()


def test_which_key_a_request_brings() -> None:
    def of(**headers: str) -> str:
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        return presented(Request({"type": "http", "headers": raw}))

    assert of(authorization="Bearer  a ", x_api_key="b") == "a"
    assert of(authorization="Basic a", x_api_key=" b ") == "b"
    assert of() == ""
