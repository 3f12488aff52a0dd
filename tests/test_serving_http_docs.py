"""docs/http.md and the files of deploy/ against the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from m6rec.serving.http.config import GorseConfig, HttpConfig
from m6rec.serving.http.values import MOST_ANSWERS, MOST_EVENTS, MOST_HISTORY, MOST_ID, MOST_RANKED, MOST_ROWS, MOST_TEXT
from m6rec.serving.service.configuration_file import load_serve_config
from served_over_http import PlainService, app_of

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")


def test_the_page_lists_every_route_with_its_role() -> None:
    paths = app_of(PlainService(), log=False).openapi()["paths"]
    routes = {
        (f"{way.upper()} {path}", about["x-role"].replace("none", "-")) for path, ways in paths.items() for way, about in ways.items()
    }
    listed = set(re.findall(r"^\| `([A-Z]+ /\S+)` \| (\S+) \|", PAGE, flags=re.MULTILINE))
    assert listed == routes


def test_the_page_lists_every_setting_and_limit() -> None:
    named = [f"gorse.{name}" for name in GorseConfig.model_fields] + list(HttpConfig.model_fields)
    assert [name for name in named if f"| `{name}` |" not in PAGE] == []
    assert MOST_ANSWERS == MOST_HISTORY == MOST_RANKED == MOST_ROWS == 1000
    limits = PAGE.split("## Limits")[1]
    assert all(f"{number:,}" in limits for number in (MOST_EVENTS, MOST_ID, MOST_TEXT))


def test_every_status_of_the_document_is_explained() -> None:
    paths = app_of(PlainService(), log=False).openapi()["paths"]
    statuses = {status for ways in paths.values() for about in ways.values() for status in about["responses"]} - {"200"}
    table = PAGE.split("## Errors")[1].split("## Keys")[0]
    assert statuses - set(re.findall(r"\b[45]\d\d\b", table)) == set()


@pytest.mark.parametrize("name", ["serve.yaml", "serve-compose.yaml"])
def test_the_configurations_are_read(name: str) -> None:
    config = load_serve_config(ROOT / "deploy" / name)
    assert config.http.workers == 2


def test_images_do_not_run_as_root_and_listen_where_they_are_asked() -> None:
    image = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^USER 10001:10001$", image, flags=re.MULTILINE)
    assert image.index("USER 10001") < image.index("ENTRYPOINT")
    assert "/health/ready" in image.split("HEALTHCHECK")[1].split("ENTRYPOINT")[0]
    pinned = re.search(r"torch==(\S+)", image)
    assert pinned is not None
    assert f"torch=={pinned.group(1)}" in (ROOT / "Makefile").read_text(encoding="utf-8")
    fetched = re.search(r"^NPM_FILES := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert fetched is not None
    assert f"--no-save {fetched.group(1)} " in image  # the console's browser files, of the same versions
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    service = compose["services"]["m6rec"]
    assert service["ports"] == ["127.0.0.1:8080:8080"]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert "ports" not in compose["services"]["database"]
    mounted = [mount.split(":")[0] for mount in service["volumes"]]
    assert (ROOT / "deploy" / mounted[1]).is_file()


def test_the_proxy_asks_again_only_where_that_changes_nothing() -> None:
    """A POST goes to a second worker where it only asks, or carries an idempotency key."""
    proxy = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"^    location ([^{]+) \{\n(.*?)^    \}", proxy, flags=re.MULTILINE | re.DOTALL))
    twice = {place for place, body in blocks.items() if "non_idempotent" in body}
    asking = next(place for place in twice if place.startswith("~"))
    assert twice == {asking, "/keyed/"}
    assert "if ($http_idempotency_key)" in blocks["= /v1/events"]
    pattern = re.compile(asking.removeprefix("~ "))
    paths = app_of(PlainService(), log=False).openapi()["paths"]
    posts = {path: ways["post"]["x-role"] for path, ways in paths.items() if "post" in ways and path.startswith("/v1/")}
    assert {path for path in posts if pattern.match(path)} == {path for path, role in posts.items() if role == "read"}


def test_the_unit_gives_up_what_it_does_not_need() -> None:
    unit = (ROOT / "deploy" / "m6rec.service").read_text(encoding="utf-8")
    for line in ("User=m6rec", "NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=", "KillSignal=SIGTERM"):
        assert f"\n{line}\n" in unit
