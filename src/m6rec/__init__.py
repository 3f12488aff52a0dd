"""m6rec: one generative language model that is a whole recommender system. Public names, loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from m6rec.base.contracts import Scored
    from m6rec.config import M6RecConfig, load_config
    from m6rec.recommender import Recommender
    from m6rec.serving.conversation.config import ConversationConfig
    from m6rec.serving.conversation.written import Manner

__version__ = "0.1.0"
__all__ = ["ConversationConfig", "M6RecConfig", "Manner", "Recommender", "Scored", "__version__", "load_config"]

_HOMES = {
    "Recommender": "m6rec.recommender",
    "M6RecConfig": "m6rec.config",
    "load_config": "m6rec.config",
    "Scored": "m6rec.base.contracts",
    "ConversationConfig": "m6rec.serving.conversation.config",
    "Manner": "m6rec.serving.conversation.written",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'm6rec' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
