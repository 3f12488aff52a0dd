"""The house rules of docs/design.md, read from the source: who may import whom, what loads lazily, what must not appear at all."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "m6rec"
SOURCES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file())

# room: what it may import besides itself and base. The root configuration (`m6rec.config`) counts as a room of its own.
MAY_IMPORT = {
    "base": set(),
    "data": set(),
    "index": set(),
    "language_model": set(),
    "text": {"data"},
    "evaluation": {"data"},
    "tasks": {"data", "text", "language_model", "evaluation"},
    "fusion": {"data", "text", "evaluation"},
    "baselines": {"data"},
    "training": {"data", "text", "index", "language_model", "tasks", "evaluation", "fusion", "baselines", "config"},
    "explanation": {"data", "text", "language_model", "tasks"},
    "compression": {"data", "text", "language_model", "tasks", "training", "evaluation"},
    "serving": {
        *("data", "text", "index", "language_model", "tasks", "evaluation", "fusion", "explanation", "compression"),
        "config",
    },
}
ANYTHING = {"cli", "recommender", "recommender_unseen", "recommender_words", "__init__", "__main__"}
HEAVY = ("torch", "polars", "numpy", "scipy", "sklearn", "tokenizers", "safetensors", "jinja2", "pandas")
PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
ODDS_AND_ENDS = {"utils", "util", "helpers", "common", "misc", "manager"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> Iterator[str]:
    """Every module that a file imports, inside functions too, relative imports resolved."""
    package = ["m6rec", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) - node.level + 1]) + "." if node.level else ""
            module = (start + (node.module or "")).rstrip(".")
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def rooms_imported(path: Path) -> set[str]:
    parts = [module.split(".") for module in imported_modules(path)]
    return {part[1] for part in parts if part[0] == "m6rec" and len(part) > 1 and ((PACKAGE / part[1]).is_dir() or part[1] == "config")}


def show(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_room_is_in_the_table() -> None:
    assert set(ROOMS) - ANYTHING <= set(MAY_IMPORT)


@pytest.mark.parametrize("path", SOURCES, ids=show)
def test_import_direction(path: Path) -> None:
    room = room_of(path)
    if room in ANYTHING:
        return
    if room == "config":
        others = {module for module in imported_modules(path) if module.startswith("m6rec.") and len(module.split(".")) > 2}
        assert {module for module in others if module.split(".")[1] != "base" and module.split(".")[2] != "config"} == set()
        return
    assert rooms_imported(path) - {room, "base"} - MAY_IMPORT[room] == set()


def test_the_import_check_sees_imports_inside_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    for room in ("data", "text", "training"):
        (tmp_path / room).mkdir()
    path = tmp_path / "data" / "a.py"
    path.write_text("def f():\n    from m6rec.training.loop import run\n    from ..text import wording\n    from m6rec import config\n")
    assert rooms_imported(path) == {"training", "text", "config"}


@pytest.mark.parametrize("room", ROOMS)
def test_room_opens_with_a_docstring_and_imports_nothing(room: str) -> None:
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    modules = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [module for module in modules if module != "from __future__ import annotations"] == []


def test_every_public_name_is_there() -> None:
    import m6rec

    assert {"ConversationConfig", "Manner", "Recommender"} <= set(m6rec.__all__)
    assert [name for name in m6rec.__all__ if not hasattr(m6rec, name)] == []


def test_configuration_and_commands_load_nothing_heavy() -> None:
    configs = [path for path in SOURCES if path.name == "config.py"]
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in configs]
    assert names, "no config.py found"
    script = f"import importlib, sys\nfor name in {[*names, 'm6rec', 'm6rec.cli.program']!r}:\n    importlib.import_module(name)\n"
    script += f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("path", SOURCES, ids=show)
def test_nothing_is_pickled(path: Path) -> None:
    assert {module.split(".")[0] for module in imported_modules(path)} & PICKLERS == set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"torch.load", "torch.save"}, f"{show(path)}:{node.lineno} {called}"
            allowed = [keyword.value for keyword in node.keywords if keyword.arg == "allow_pickle"]
            assert all(isinstance(value, ast.Constant) and value.value is False for value in allowed), f"{show(path)}:{node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=show)
def test_no_broad_except_and_no_catch_all_module(path: Path) -> None:
    assert path.stem not in ODDS_AND_ENDS
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            kind = ast.unparse(node.type) if node.type else ""
            assert kind not in {"", "Exception", "BaseException"}, f"{show(path)}:{node.lineno}"


@pytest.mark.parametrize("path", [*SOURCES, *sorted((ROOT / "benchmarks").rglob("*.py"))], ids=show)
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
