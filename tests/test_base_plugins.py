"""Discovery: the modules of a room register by decorator, installed packages by entry point, and names are checked."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from m6rec.base.errors import ConfigError, MissingExtraError
from m6rec.base.extras import require
from m6rec.base.plugins import Registry


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[object]]:
    """A throw-away package with its own registry and two modules that register themselves when imported."""
    package = tmp_path / "throwaway_room"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "member.py").write_text("from m6rec.base.plugins import Registry\nMEMBERS = Registry('test member', 'throwaway_room')\n")
    for name in ("popular", "nearest"):
        (package / f"{name}.py").write_text(
            f"from throwaway_room.member import MEMBERS\n\n@MEMBERS.register('{name}')\nclass Made:\n    pass\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = __import__("throwaway_room.member", fromlist=["MEMBERS"])
    yield module.MEMBERS
    for loaded in [name for name in sys.modules if name.startswith("throwaway_room")]:
        del sys.modules[loaded]


def test_modules_are_found_without_being_named(room: Registry[object]) -> None:
    assert "throwaway_room.popular" not in sys.modules
    assert room.names() == ["nearest", "popular"]
    assert room.get("popular").__module__ == "throwaway_room.popular"


def test_unknown_name_names_the_nearest(room: Registry[object]) -> None:
    with pytest.raises(ConfigError, match="unknown test member 'populr'; did you mean 'popular'"):
        room.get("populr")
    with pytest.raises(ConfigError, match="known: nearest, popular"):
        room.get("zzz")


def test_one_name_for_two_classes_is_an_error(room: Registry[object]) -> None:
    class Other:
        pass

    room.names()
    with pytest.raises(ConfigError, match="registered twice"):
        room.register("popular")(Other)


def test_installed_packages_register_by_entry_point(room: Registry[object], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def entry_points(group: str) -> list[importlib.metadata.EntryPoint]:
        asked.append(group)
        return [importlib.metadata.EntryPoint("outside", "pathlib:PurePath", group)]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    assert room.names() == ["nearest", "outside", "popular"]
    assert asked == ["m6rec.test_member"]


def test_missing_extra_names_what_to_install() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'm6rec\[fusion\]'") as caught:
        require("no_such_module_anywhere", "fusion")
    assert "\n" not in str(caught.value)


def test_a_module_that_fails_inside_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_installed.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        require("half_installed", "fusion")


def test_installed_extra_is_returned() -> None:
    assert require("json.decoder", "none") is sys.modules["json.decoder"]
