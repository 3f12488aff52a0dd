"""The program: its commands, and the one place where an exception becomes a line on standard error and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Annotated, Any

import typer

from m6rec.base.errors import M6RecError
from m6rec.cli import (
    add_task,
    analyse,
    chat,
    demo,
    doctor,
    evaluate,
    explain,
    import_data,
    init,
    keys,
    label,
    load_test,
    monitor,
    onboard,
    predict,
    pretrain,
    profile,
    recommend,
    reference,
    sample,
    seesaw,
    serve,
    similar,
    simulate,
    store,
    train,
    tune,
    validate,
    write,
)

INTERRUPTED = 130  # 128 + SIGINT, what a shell expects after Ctrl-C
PIPE_CLOSED = 141  # 128 + SIGPIPE, what a shell expects when the reader (`| head`) has gone
EPILOG = "--debug, anywhere on the line, shows the traceback of an error."

# typer publishes one class of click's tree of misuse; its parent is what every misuse derives from.
Misuse: type[Exception] = typer.BadParameter.__mro__[1]


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own) and return its exit code.

    0 done · 1 the data, a checkpoint or the disk · 2 misuse or configuration · 130 Ctrl-C · 141 the reader of a pipe has gone.
    An error is one line on standard error, `m6rec: error: ...`; with `--debug` its traceback stands above it.
    """
    words, debug = _take_debug(list(sys.argv[1:] if arguments is None else arguments))
    if arguments is None and not debug:
        sys.excepthook = _unexpected
    try:
        code = _invoke(words)
        sys.stdout.flush()
        return code
    except M6RecError as error:
        return _fail(error, str(error), error.exit_code, debug)
    except BrokenPipeError:
        return _reader_gone()
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _fail(error, f"{error.strerror or error}{where}", 1, debug)
    except (KeyboardInterrupt, typer.Abort) as error:
        return _fail(error, "interrupted", INTERRUPTED, debug)


def build() -> typer.Typer:
    """The typer application with every command registered."""
    app = typer.Typer(name="m6rec", no_args_is_help=False, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback(invoke_without_command=True)(_root)
    for name, function in COMMANDS.items():
        app.command(name, epilog=EPILOG)(function)
    return app


COMMANDS: dict[str, Callable[..., None]] = {
    "sample": sample.sample,
    "init": init.init,
    "import": import_data.import_data,
    "validate": validate.validate,
    "analyse": analyse.analyse,
    "train": train.train,
    "tune": tune.tune,
    "evaluate": evaluate.evaluate,
    "seesaw": seesaw.seesaw,
    "recommend": recommend.recommend,
    "chat": chat.chat,
    "explain": explain.explain,
    "pretrain": pretrain.pretrain,
    "onboard": onboard.onboard,
    "predict": predict.predict,
    "similar": similar.similar,
    "write": write.write,
    "simulate": simulate.simulate,
    "add-task": add_task.add_task,
    "profile": profile.profile,
    "monitor": monitor.monitor,
    "label": label.label,
    "keys": keys.keys,
    "load-test": load_test.load_test,
    "demo": demo.demo,
    "serve": serve.serve,
    "doctor": doctor.doctor,
    "store": store.store,
    "config-reference": reference.config_reference,
}


def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; allowed anywhere on the line.")] = False,
) -> None:
    """m6rec: one generative language model that is a whole recommender system.

    Start with `m6rec sample shop`, then `m6rec train shop/config.yaml`, then `m6rec recommend runs/shop --user ID`.

    Exit codes: 0 done, with an empty list too; 1 the data, a model or the disk; 2 misuse or configuration; 130 Ctrl-C; 141 the reader of a pipe has gone.
    """
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"m6rec {installed('m6rec')}")


def _invoke(words: list[str]) -> int:
    command = typer.main.get_command(build())
    asked = _help(command, words)
    if asked is not None:
        print(asked)
        return 0
    try:
        with command.make_context("m6rec", words) as context:
            command.invoke(context)
    except typer.Exit as done:
        return int(done.exit_code)
    except Misuse as error:
        return _misuse(error)
    return 0


def _help(command: Any, words: list[str]) -> str | None:
    """The help asked for, or None. Answered before the line is parsed: parsing loads typer's validation, a quarter of a second."""
    root = typer.Context(command, info_name="m6rec")
    if not words or words[0] == "--help":
        return command.get_help(root)
    inner = command.get_command(root, words[0])
    if inner is None or "--help" not in words[: words.index("--") if "--" in words else None]:
        return None
    return inner.get_help(typer.Context(inner, info_name=words[0], parent=root))


def _misuse(error: Exception) -> int:
    """One line for a wrong option or argument, ending in what to type next."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "m6rec"
    message = str(error.format_message() if hasattr(error, "format_message") else error).replace("\n", " ").rstrip(". ")
    print(f"m6rec: error: {message}; type: {path} --help", file=sys.stderr)
    return 2


def _fail(error: BaseException, message: str, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    print(f"m6rec: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _reader_gone() -> int:
    """Nothing more can be written; what is still buffered goes nowhere instead of failing once more at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return PIPE_CLOSED


def _take_debug(words: list[str]) -> tuple[list[str], bool]:
    """`--debug` is taken out wherever it stands before a bare `--`."""
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != "--debug"]
    return kept + words[end:], len(kept) < end


def _unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What is no M6RecError is a defect of ours: still one line, and how to see where it happened."""
    print(f"m6rec: error: unexpected {kind.__name__}: {' '.join(str(error).split())}; repeat with --debug to see where", file=sys.stderr)
