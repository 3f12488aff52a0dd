"""The program around the commands: what loads for --help, exit codes, one-line errors, pipes, colours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from m6rec.base import errors
from m6rec.cli import program

HEAVY = ("torch", "polars", "numpy", "scipy", "sklearn", "tokenizers", "pydantic", "pandas", "rich")
COMMANDS = list(program.COMMANDS)


def call(*words: str, **options: str) -> subprocess.CompletedProcess[str]:
    """The console script's own path, in a process of its own."""
    command = [sys.executable, "-c", "import sys; from m6rec.cli import main; sys.exit(main())", *words]
    environment = {**os.environ, **options}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, stdin=subprocess.DEVNULL)


def one_error_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("m6rec: error: ")
    return lines[0].removeprefix("m6rec: error: ")


def test_every_command_of_the_issue_is_there() -> None:
    assert {"sample", "import", "validate", "train", "evaluate", "recommend", "similar"} <= set(COMMANDS)


def test_help_loads_nothing_heavy() -> None:
    """One process for all of them: whatever any `--help` loaded would still be loaded at the end."""
    script = f"""
import sys
from m6rec.cli.program import run
codes = [run([*words, "--help"]) for words in [[], *[[name] for name in {COMMANDS!r}]]]
print(codes, [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == f"{[0] * (len(COMMANDS) + 1)} []"
    assert all(f"m6rec {name}" in done.stdout for name in COMMANDS)


def test_version_is_that_of_the_package() -> None:
    from m6rec import __version__

    done = call("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"m6rec {__version__}\n", "")


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run([]) == 0
    assert "recommend" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["trian"], ["trian", "train", "type: m6rec --help"]),
        (["train"], ["CONFIG", "type: m6rec train --help"]),
        (["similar", "runs/x"], ["--item", "type: m6rec similar --help"]),
        (["recommend", "runs/x", "--usr", "a"], ["--usr", "--user", "type: m6rec recommend --help"]),
        (["recommend", "runs/x", "-k", "none"], ["-k", "integer", "type: m6rec recommend --help"]),
        (["recommend", "runs/x", "--user", "a", "-k", "0"], ["-k", "1", "type: m6rec recommend --help"]),
        (["evaluate", "runs/x", "--without", "grahp"], ["grahp", "graph", "type: m6rec evaluate --help"]),
        (["recommend", "runs/x"], ["--user"]),
        (["recommend", "runs/x", "--user", "a", "--where", "boots"], ["--where takes field=value (a number also field<50), got 'boots'"]),
        (["recommend", "runs/x", "--profile", "age='25"], ["--profile"]),
    ],
)
def test_misuse_is_one_line_and_exit_2(words: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    line = one_error_line(captured.err)
    for part in parts:
        assert part in line


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Make `m6rec similar` raise what the test wants raised."""

    def arrange(error: BaseException) -> None:
        def similar() -> None:
            raise error

        monkeypatch.setitem(program.COMMANDS, "similar", similar)

    return arrange


EXCEPTIONS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.M6RecError)]


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_every_exception_of_the_tree_is_one_line_with_its_exit_code(
    kind: type[errors.M6RecError], failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(kind("a fact\nover two lines"))
    assert program.run(["similar"]) == kind.exit_code
    assert one_error_line(capsys.readouterr().err) == "a fact over two lines"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (FileNotFoundError(2, "No such file or directory", "shop.yaml"), 1, "No such file or directory: shop.yaml"),
    ],
)
def test_interrupts_and_the_operating_system(
    error: BaseException, code: int, line: str, failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(error)
    assert program.run(["similar"]) == code
    assert one_error_line(capsys.readouterr().err) == line


@pytest.mark.parametrize("words", [["--debug", "similar"], ["similar", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(
    words: list[str], failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(errors.DataError("a fact"))
    assert program.run(words) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "m6rec: error: a fact"


@pytest.mark.skipif(os.name == "nt", reason="no signals between processes")
def test_ctrl_c_ends_the_wait_for_a_typed_line() -> None:
    """Also once polars is imported, which has interrupted reads begun again."""
    program = """
import polars
import threading, os, signal
from m6rec.cli.typed_line import typed_line

def stop():
    os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # what is started in the background is deaf to it
threading.Timer(0.5, stop).start()
try:
    typed_line()
except KeyboardInterrupt:
    print("heard", flush=True)
"""
    reading, writing = os.pipe()
    try:
        done = subprocess.run([sys.executable, "-c", program], stdin=reading, capture_output=True, text=True, timeout=60)
    finally:
        os.close(reading)
        os.close(writing)
    assert (done.returncode, done.stdout) == (0, "heard\n")


def test_a_defect_is_one_line_too() -> None:
    script = """
import sys
from m6rec.cli import main, program
program.COMMANDS["similar"] = lambda: {}["gone"]
sys.argv = ["m6rec", "similar", *sys.argv[1:]]
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert one_error_line(done.stderr) == "unexpected KeyError: 'gone'; repeat with --debug to see where"
    done = subprocess.run([sys.executable, "-c", script, "--debug"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    """As in `m6rec ... | head -1`: more output than a pipe holds, to a reader that closes after one line."""
    script = """
import sys
from m6rec.cli import main, program
program.COMMANDS["similar"] = lambda: [print("line", number) for number in range(100_000)] and None
sys.argv = ["m6rec", "similar"]
sys.exit(main())
"""
    with open(tmp_path / "stderr", "w+") as stderr:
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=stderr, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "line 0\n"
        process.stdout.close()
        assert process.wait(timeout=60) == program.PIPE_CLOSED
        stderr.seek(0)
        assert stderr.read() == ""


def test_help_has_no_colour_codes() -> None:
    done = call("--help", NO_COLOR="1", FORCE_COLOR="")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
