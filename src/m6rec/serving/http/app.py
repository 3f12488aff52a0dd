"""The application: the service behind the gate, route by route. Nothing is decided here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI

from m6rec.serving.config import ServeConfig
from m6rec.serving.http.calls import Calls
from m6rec.serving.http.documentation import add_documentation
from m6rec.serving.http.doorkeeper import Doorkeeper
from m6rec.serving.http.gate import Gate
from m6rec.serving.http.guarded_route import GuardedRoute
from m6rec.serving.http.keyring import KeyRing
from m6rec.serving.http.logs import AccessLog
from m6rec.serving.http.metrics import HttpMetrics, service_gauges
from m6rec.serving.http.problems import add_problem_handlers
from m6rec.serving.http.routes_admin import add_admin_routes
from m6rec.serving.http.routes_ask import add_ask_routes
from m6rec.serving.http.routes_data import add_data_routes
from m6rec.serving.http.routes_experiments import add_experiment_routes
from m6rec.serving.http.routes_gorse_ask import add_gorse_ask_routes
from m6rec.serving.http.routes_gorse_data import add_gorse_data_routes
from m6rec.serving.http.routes_reviews import add_review_routes
from m6rec.serving.http.routes_state import add_state_routes
from m6rec.serving.http.routes_words import add_word_routes

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service


def create_app(service: Service, config: ServeConfig) -> FastAPI:
    """The service over HTTP. Closing it (the end of its lifespan) lets running calls end; the service itself stays open.

    What a page that is mounted on it needs stands in `app.state`: service, config, calls (`await calls.run("read", service.recommend, ask)`),
    keyring and doorkeeper (`await doorkeeper.known(secret, address)`, `await doorkeeper.is_open()`), metrics.
    """
    http = config.http
    calls = Calls(http.threads, http.waiting)
    metrics = HttpMetrics(lambda: {**service_gauges(service), **{f"calls_{lane}": float(count) for lane, count in calls.busy().items()}})

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        calls.close()

    app = FastAPI(
        title="m6rec",
        version=version("m6rec"),
        description="Recommendations from one language model. Errors are problem JSON (RFC 9457).",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.router.route_class = GuardedRoute
    app.state.service, app.state.config, app.state.calls, app.state.metrics = service, config, calls, metrics
    app.state.keyring = KeyRing(service.store, calls)
    app.state.doorkeeper = Doorkeeper(app.state.keyring, http)
    add_problem_handlers(app, hidden=(service.run, service.state))
    app.add_middleware(Gate, http=http, metrics=metrics, log=AccessLog(http.log))
    add_ask_routes(app, service, calls)
    add_word_routes(app, service, calls)
    add_data_routes(app, service, calls)
    add_state_routes(app, service, calls, metrics)
    add_admin_routes(app, service, calls, http)
    add_review_routes(app, service, calls)
    add_experiment_routes(app, service, calls)
    if http.gorse is not None:
        add_gorse_ask_routes(app, service, calls, http.gorse)
        add_gorse_data_routes(app, service, calls, http.gorse)
    add_documentation(app, http)
    return app
