"""Settings of HTTP."""

from __future__ import annotations

import ipaddress

from pydantic import Field

from m6rec.base.configuration import Config


class GorseConfig(Config):
    """Which fields of the model a gorse client's Categories, Labels and Comment are."""

    categories: str = Field("category", description="Field of an item's Categories; a single value takes the first of them.")
    labels: str = Field("tags", description="Field of Labels that are a list; Labels that are an object name their fields themselves.")
    comment: str = Field("title", description="Field of Comment.")


class HttpConfig(Config):
    """Address, workers, keys and limits."""

    host: str = Field("127.0.0.1", description="Address to listen on; loopback unless said otherwise.")
    port: int = Field(8080, ge=0, le=65535, description="Port; 0 takes a free one.")
    workers: int = Field(1, ge=1, description="Processes that share the memory-mapped model.")
    trusted_hosts: list[str] = Field(
        default_factory=list,
        description="Host names that requests may carry beside loopback's own and `host`; *.shop.example for all below one, * for any.",
    )
    trusted_proxies: list[str] = Field(
        default_factory=list, description="Addresses of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."
    )
    tls_certificate: str = Field("", description="PEM file with the certificate and its chain; empty: no TLS.")
    tls_key: str = Field("", description="PEM file with the private key of the certificate.")
    threads: int = Field(4, ge=1, le=256, description="Reading requests that are computed at once, in one worker.")
    waiting: int = Field(64, ge=0, le=10_000, description="Requests that may wait for one of the threads; more are answered 503 at once.")
    rate: float = Field(0.0, ge=0.0, description="Requests a second for each key, over all workers; 0: as many as come.")
    burst: int = Field(200, ge=1, description="Requests of one key that may come at once before `rate` holds.")
    address_rate: float = Field(
        20.0,
        ge=0.0,
        description="Requests a second for each address whose requests bring no valid key, where keys exist; 0: as many as come.",
    )
    max_body_mb: float = Field(8.0, gt=0, le=1024, description="Largest body of a request, in megabytes; larger ones are answered 413.")
    body_seconds: float = Field(10.0, gt=0, description="Time for a body to arrive whole; slower ones are answered 408.")
    head_seconds: float = Field(10.0, gt=0, description="Time for request line and headers to arrive; slower connections are closed.")
    max_head_kb: int = Field(32, ge=4, le=1024, description="Largest request line and headers together, in kilobytes.")
    idle_seconds: int = Field(15, ge=1, description="How long a connection stays open without a request.")
    log: bool = Field(True, description="One JSON line on standard error for each request; never with ids or typed text.")
    model_folders: list[str] = Field(
        default_factory=list, description="Folders below which models may be loaded over HTTP, beside the one that holds the served run."
    )
    gorse: GorseConfig | None = Field(
        default_factory=GorseConfig, description="Routes under /api for clients of gorse; null: none of them."
    )
    docs: bool = Field(True, description="Serve /docs and /openapi.json.")

    @property
    def loopback(self) -> bool:
        """Whether nobody but this machine can connect."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether an address or name means this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
