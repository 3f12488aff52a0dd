"""Logs as JSON lines on standard error, without personal text: no ids of people or items, no typed words, no addresses."""

from __future__ import annotations

import json
import logging
import time
import traceback
from typing import Any

import orjson
from starlette.types import Scope

LOGGER = "m6rec.http"


class AccessLog:
    """One line a request: which route, who (the name of the key), what came of it, how long."""

    def __init__(self, on: bool) -> None:
        self.logger = logging.getLogger(LOGGER)
        self.on = on

    def request(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        if not self.on or not self.logger.isEnabledFor(logging.INFO):
            return
        facts = {
            "request_id": scope["request_id"],
            "method": scope["method"] if scope["method"].isalpha() else "?",
            "route": route,
            "status": status,
            "took_ms": round(seconds * 1000, 3),
            "key": getattr(scope.get("holder"), "name", ""),
        }
        self.logger.info("request", extra={"facts": facts})


class JsonLines(logging.Formatter):
    """A record as one JSON object. Of an exception the class and where it came from, not its words: those may quote a request."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "facts", {})
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            line["at"] = [f"{frame.filename.rpartition('site-packages/')[2]}:{frame.lineno} {frame.name}" for frame in frames[-12:]]
        try:
            return orjson.dumps(line).decode()
        except TypeError:
            return json.dumps(line, default=repr)


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "m6rec.serving.http.logs.JsonLines"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
    "loggers": {
        "m6rec": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "uvicorn.error": {"level": "WARNING"},
    },
}
"""For `logging.config.dictConfig`: what the service and uvicorn say, as JSON lines on standard error."""
