"""`m6rec keys` over a real store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "shop" / "model").mkdir(parents=True)
    return tmp_path / "shop"


def test_a_key_is_shown_once_and_kept_as_a_hash(run: Path, m6rec: Callable[..., Any]) -> None:
    assert "no key: whoever is on this machine" in m6rec("keys", "list", run).out
    made = m6rec("keys", "add", run, "website", "--role", "read", "--role", "write", "--json").json()
    assert (made["name"], made["roles"]) == ("website", ["read", "write"])
    assert m6rec("keys", "add", run, "reader").out.strip() != made["key"]
    listed = m6rec("keys", "list", run, "--json").json()
    assert [(one["name"], one["roles"]) for one in listed] == [("reader", ["read"]), ("website", ["read", "write"])]
    with sqlite3.connect(run / "serving" / "store.db") as database:
        kept = "\n".join(database.iterdump())
    assert "website" in kept
    assert made["key"].split("_", 2)[2] not in kept  # the secret part
    assert "'website' opens nothing any more" in m6rec("keys", "drop", run, "website").out
    assert [one["name"] for one in m6rec("keys", "list", run, "--json").json()] == ["reader"]


def test_misuse_is_one_line(run: Path, m6rec: Callable[..., Any]) -> None:
    assert "takes a name: m6rec keys add RUN NAME" in m6rec("keys", "add", run).error(2)
    assert "takes no name: m6rec keys list RUN" in m6rec("keys", "list", run, "x").error(2)
    assert "--role goes with add" in m6rec("keys", "drop", run, "x", "--role", "read").error(2)
    assert "there is no key named 'x'" in m6rec("keys", "drop", run, "x").error(2)
    assert "is no run folder" in m6rec("keys", "list", run / "none").error(1)
    m6rec("keys", "add", run, "twice")
    assert "there is a key named 'twice'" in m6rec("keys", "add", run, "twice").error(2)
    assert "read, write, admin" in m6rec("keys", "add", run, "x", "--role", "reed").err.replace("'", "")
