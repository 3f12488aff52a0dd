"""serve.yaml: what `m6rec serve --config` reads. Loads nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m6rec.base.configuration import set_dotted
from m6rec.base.errors import ConfigError
from m6rec.serving.config import ServeConfig


def load_serve_config(path: Path | None, assignments: Sequence[str] = (), over: dict[str, dict[str, Any]] | None = None) -> ServeConfig:
    """Read a YAML file (None: everything at its default), apply `a.b=c` assignments, then `over` (section -> key -> value), check everything.

    Raises:
        ConfigError: no such file, not UTF-8, not YAML, a key twice, an unknown key (the nearest is named) or a wrong value.
    """
    values: dict[str, Any] = {}
    if path is not None:
        from m6rec.base.strict_yaml import read_yaml

        try:
            read = read_yaml(path.read_text(encoding="utf-8"), str(path))
        except OSError as error:
            raise ConfigError(f"can't read the configuration {path}: {error.strerror}; leave --config out to serve with defaults") from None
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
        if read is not None and not isinstance(read, dict):
            raise ConfigError(f"{path} holds {type(read).__name__}, not sections like 'http:'; for example http: {{port: 8080}}")
        values = read or {}
    for assignment in assignments:
        set_dotted(values, assignment)
    for section, changed in (over or {}).items():
        given = values.get(section) or {}
        values[section] = {**given, **changed} if isinstance(given, dict) else given
    return ServeConfig.build(values, source="the configuration" if path is None else str(path))


def state_of(run: Path, state: Path | None = None) -> Path:
    """Where the store lies: what was asked for, else RUN/serving, else (a bare model folder) NAME-serving beside it."""
    if state is not None:
        return state
    return run / "serving" if (run / "model").is_dir() else run.resolve().with_name(run.resolve().name + "-serving")
