"""The documentation is held against the program: the tree, the commands, the Python calls, the configuration reference, the snippets."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from m6rec.base import errors
from m6rec.cli import program
from m6rec.cli.reference import reference

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "m6rec"
READMES = ["README.md", "README.zh.md"]
PAGES = [*READMES, *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Fenced code of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text(page), flags=re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[list[str]]:
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


@pytest.mark.parametrize("page", READMES)
def test_the_tree_is_what_is_on_disk(page: str) -> None:
    tree = next(block for block in blocks(page, "text") if block.startswith("src/m6rec/\n"))
    lines = [line.split(maxsplit=1) for line in tree.splitlines()[1:]]
    assert all(len(line) == 2 for line in lines), "every entry says what it is"
    rooms = {f"{path.name}/" for path in PACKAGE.iterdir() if any(path.glob("*.py"))}
    files = {path.name for path in PACKAGE.glob("[!_]*.py")}
    assert {line[0] for line in lines} == rooms | files


def test_the_two_readmes_are_in_step() -> None:
    english, chinese = READMES
    assert blocks(english, "bash") == blocks(chinese, "bash")
    assert blocks(english, "python") == blocks(chinese, "python")
    assert blocks(english, "yaml") == blocks(chinese, "yaml")

    def shape(page: str) -> list[str]:
        outside = re.sub(r"^```.*?^```$", "```", text(page), flags=re.DOTALL | re.MULTILINE)
        return [line.split()[0] for line in outside.splitlines() if line.startswith(("#", "* ", "```"))]

    assert shape(english) == shape(chinese)


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_understood(page: str) -> None:
    """Every `m6rec` line parses (nothing is run), every `make` line has a target."""
    root = typer.main.get_command(program.build())
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), flags=re.MULTILINE))
    for words in commands(page):
        if words[0] == "make":
            assert set(words[1:]) <= targets, words
        elif words[0] == "m6rec":
            inner = root.get_command(typer.Context(root), words[1])
            assert inner is not None, words
            inner.make_context(words[1], words[2:])
        else:
            assert words[0] in {"python", "pip"}, words


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", text(page)):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("page", READMES)
def test_python_calls_exist_with_these_arguments(page: str) -> None:
    from m6rec import Recommender

    seen = 0
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner, method = ast.unparse(node.func).split(".")
            assert owner in {"Recommender", "rec"}
            function = inspect.signature(getattr(Recommender, method))
            positional = [None] * (len(node.args) + (owner == "rec"))
            function.bind(*positional, **{str(keyword.arg): None for keyword in node.keywords})
            seen += 1
    assert seen >= 4


@pytest.mark.parametrize("page", READMES)
def test_every_exit_code_is_in_the_table(page: str) -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.M6RecError)]
    known = {0, program.INTERRUPTED, program.PIPE_CLOSED, *(kind.exit_code for kind in kinds)}
    table = text(page).partition("| 0 |")[2].partition("\n\n")[0]
    assert {0} | {int(code) for code in re.findall(r"^\| (\d+) \|", table, flags=re.MULTILINE)} == known


def test_the_configuration_reference_is_generated() -> None:
    assert text("docs/configuration.md") == reference(), "docs/configuration.md is not what the code says; type: make docs"


def test_every_configuration_key_is_described() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert [row for row in rows if row.rstrip("| ").endswith("` |") or re.search(r"\|\s*\|$", row)] == []


def test_the_snippets_of_extending_run(tmp_path: Path) -> None:
    """In a process of its own: what they register must not stay registered."""
    script = "\n".join(blocks("docs/extending.md", "python"))
    (tmp_path / "snippets.py").write_text(script, encoding="utf-8")
    done = subprocess.run([sys.executable, "snippets.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines(), "the snippets print what they show"
