"""Settings of HTTP."""

from __future__ import annotations

from pydantic import Field

from m6rec.base.configuration import Config


class HttpConfig(Config):
    """Address, workers, keys and limits."""

    host: str = Field("127.0.0.1", description="Address to listen on; loopback unless said otherwise.")
    port: int = Field(8080, ge=0, le=65535, description="Port; 0 takes a free one.")
    workers: int = Field(1, ge=1, description="Processes that share the memory-mapped model.")
