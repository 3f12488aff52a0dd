"""Optional dependencies: imported where they are used, named in the message when they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from m6rec.base.errors import MissingExtraError


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or raise MissingExtraError naming the extra that installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtraError(f"'{module}' is not installed; type: pip install 'm6rec[{extra}]'") from None
