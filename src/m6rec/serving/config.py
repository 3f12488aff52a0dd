"""The configuration of a running service (`m6rec serve RUN --config serve.yaml`), one section a room."""

from __future__ import annotations

from pydantic import Field

from m6rec.base.configuration import Config
from m6rec.serving.conversation.config import ConversationConfig
from m6rec.serving.engine.config import EngineConfig
from m6rec.serving.experiments.config import ExperimentsConfig
from m6rec.serving.http.config import HttpConfig
from m6rec.serving.rules.config import RulesConfig
from m6rec.serving.store.config import StoreConfig


class ServeConfig(Config):
    """Everything `m6rec serve` needs to know; all of it has a default."""

    engine: EngineConfig = Field(default_factory=EngineConfig, description="Candidates, caches, batches, time for a request.")
    store: StoreConfig = Field(default_factory=StoreConfig, description="Where events, items and users are kept.")
    rules: RulesConfig = Field(default_factory=RulesConfig, description="What may be shown to whom.")
    experiments: ExperimentsConfig = Field(default_factory=ExperimentsConfig, description="Traffic between models and options.")
    conversation: ConversationConfig = Field(default_factory=ConversationConfig, description="How conversations go.")
    http: HttpConfig = Field(default_factory=HttpConfig, description="Address, workers, keys, limits.")
