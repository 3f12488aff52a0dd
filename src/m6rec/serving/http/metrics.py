"""Counters for Prometheus. Names carry no ids: routes are templates, keys and people do not appear."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.2, 0.4, 1.0, 3.0, 10.0)
SHARED = "PROMETHEUS_MULTIPROC_DIR"  # a folder that all workers write their counters to; set before the first import


class HttpMetrics:
    """Requests by route and status, time by route, answers by cache and by what they were cut to."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, gauges: Callable[[], Mapping[str, float]]) -> None:
        """gauges: name -> value of what is measured at the moment of asking."""
        self.registry = CollectorRegistry()
        self.requests = Counter("m6rec_http_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry)
        self.seconds = Histogram(
            "m6rec_http_request_seconds", "Time from arrival to the last byte.", ["route"], buckets=BUCKETS, registry=self.registry
        )
        self.answers = Counter("m6rec_answers", "Lists answered.", ["kind", "cache", "degraded"], registry=self.registry)
        self.gauges = _Gauges(gauges)
        self.registry.register(self.gauges)
        self._children: dict[tuple[str, ...], Any] = {}

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        method = method if method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS") else "?"
        self._child(self.requests, method, route, str(status)).inc()
        self._child(self.seconds, route).observe(seconds)

    def answer(self, kind: str, cache: str, degraded: str) -> None:
        """Count one list: of which kind, out of the cache or not, cut to what."""
        self._child(self.answers, kind, cache, degraded or "none").inc()

    def page(self) -> bytes:
        """The page that Prometheus reads; with a shared folder, of all workers together."""
        if SHARED not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)
        together.register(self.gauges)
        return generate_latest(together)

    def _child(self, metric: Any, *labels: str) -> Any:
        """`metric.labels(...)`, whose own look-up takes a lock."""
        key = (metric._name, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child


def service_gauges(service: Service) -> dict[str, float]:
    """What an operator watches, out of `Service.info`."""
    info = service.info()
    audit = info.get("audit", {})
    return {
        "items": float(info.get("items", 0)),
        "users": float(info.get("users", 0)),
        "newest_event_seconds": float(info.get("newest_event") or "nan"),
        "model_written_seconds": float(info.get("model_written") or "nan"),
        "retrain": float(bool(info.get("retrain"))),
        "store_away": float(info.get("store", "ok") != "ok"),
        "audit_waiting": float(audit.get("waiting", 0)),
        "audit_lost": float(audit.get("lost", 0)),
        "problems": float(len(info.get("problems", ()))),
    }


class _Gauges(Collector):
    def __init__(self, gauges: Callable[[], Mapping[str, float]]) -> None:
        self.gauges = gauges

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        worker = str(os.getpid())
        for name, value in sorted(self.gauges().items()):
            gauge = GaugeMetricFamily(f"m6rec_{name}", name.replace("_", " "), labels=["worker"])
            gauge.add_metric([worker], value)
            yield gauge
