"""The OpenAPI document against the application: schemathesis makes requests of it, good ones and wrong ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import checks
from schemathesis.specs.openapi import checks as openapi_checks

from served_over_http import PlainService, app_of, served

APP = app_of(PlainService(), log=False)
OPERATIONS = {one.ok().label: one.ok() for one in schemathesis.openapi.from_dict(APP.openapi()).get_all_operations()}
LOOKED_AT = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(APP) as address:
        yield address


@pytest.mark.parametrize("label", OPERATIONS)
def test_nothing_fails_that_is_not_documented(label: str, address: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        _ask(OPERATIONS[label].as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE), 3, address, session)
        if not label.startswith("GET /health/"):  # which take nothing that could be wrong
            _ask(OPERATIONS[label].as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE), 2, address, session)


def _ask(cases: object, examples: int, address: str, session: requests.Session) -> None:
    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def ask(case: schemathesis.Case) -> None:
        case.validate_response(case.call(base_url=address, session=session), checks=LOOKED_AT)

    ask()


def test_every_route_says_who_may_and_answers_errors_as_problems() -> None:
    document = APP.openapi()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert {one["x-role"] for one in operations} == {"none", "read", "write", "admin"}
    assert [one["operationId"] for one in operations if not one.get("summary")] == []
    for one in operations:
        problems = {status: answer for status, answer in one["responses"].items() if status != "200"}
        assert {"422", "429", "503"} <= set(problems)
        assert all(list(answer["content"]) == ["application/problem+json"] for answer in problems.values())
        assert ("security" in one) == (one["x-role"] != "none")


def test_the_document_and_its_page_load_nothing_from_elsewhere(address: str) -> None:
    page = requests.get(f"{address}/docs", timeout=20)
    assert page.status_code == 200
    assert "//" not in page.text.replace("https://gorse.io", "")
    assert "<script" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert all(f"{method.upper()} {path}" in page.text for path, ways in APP.openapi()["paths"].items() for method in ways)
