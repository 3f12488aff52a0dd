"""The console as one application under /console: routes, static files, who may come in, headers, errors as pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.routing import Route

from m6rec.base.errors import M6RecError, StorageError, UnknownItemError, UnknownUserError
from m6rec.serving.config import ServeConfig
from m6rec.serving.console import catalogue, chat, experiments, moderation, overview, quality, settings, sign_in, training, try_it
from m6rec.serving.console.access import COOKIE, HOURS, Access
from m6rec.serving.console.page import ROOT, STATIC, Page, Refused
from m6rec.serving.console.told import told
from m6rec.serving.store.deeds import acting

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
ANYBODY = (f"{ROOT}/sign-in", f"{ROOT}/preferences")


def mount(app: FastAPI, service: Service, config: ServeConfig) -> FastAPI:
    """Put the console under /console of `app`, over the same service and with the same keys; returns the application that was mounted.

    It is an application of its own: its errors are pages and not problem JSON, and its routes are no part of the documented interface.
    """
    console = FastAPI(title="m6rec console", openapi_url=None, docs_url=None, redoc_url=None)
    console.state.service = service
    console.state.config = config
    console.state.access = Access(service.store, config.http.host)
    console.state.language = lambda: service.store.setting(settings.LANGUAGE, "")
    console.state.doorkeeper = app.state.doorkeeper
    for room in (overview, try_it, chat, catalogue, quality, training, experiments, moderation, settings, sign_in):
        console.include_router(room.router)
    console.mount("/static", StaticFiles(directory=STATIC), name="static")
    console.middleware("http")(_guarded)
    for kind in (M6RecError, HTTPException, RequestValidationError):
        console.add_exception_handler(kind, _as_page)
    app.router.routes.append(Route(ROOT, lambda request: RedirectResponse(f"{ROOT}/", 307)))
    app.mount(ROOT, console)
    return console


async def _guarded(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    """Every request: a session, the way to the key form for those without one, and headers that keep foreign script out."""
    path = request.url.path
    if path.startswith(f"{ROOT}/static/"):
        response = await answer(request)
        response.headers["cache-control"] = "no-cache"
    else:
        response = await _with_session(request, path, answer)
        response.headers["cache-control"] = "no-store"
    response.headers.update(HEADERS)
    return response


async def _with_session(request: Request, path: str, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    try:
        page = request.state.page = await run_in_threadpool(_page, request)
    except StorageError as error:
        # Without the store nobody can be let in: who may do what stands there.
        return PlainTextResponse(str(error), 503, {"retry-after": "5"})
    if not page.session.roles and path not in ANYBODY:
        where = "" if request.method != "GET" else page.here()
        response: Response = RedirectResponse(f"{ROOT}/sign-in", 303)
        if where and where != ROOT:
            response.set_cookie("m6rec_back", where, max_age=600, path=ROOT, httponly=True, samesite="strict")
    else:
        with acting(page.session.key):
            response = await answer(request)
    if page.session.fresh:
        secure = request.url.scheme == "https"
        value = await run_in_threadpool(page.access.cookie, page.session)
        response.set_cookie(COOKIE, value, max_age=HOURS * 3600, path=ROOT, httponly=True, samesite="strict", secure=secure)
    return response


def _page(request: Request) -> Page:
    """Who asks. What a proxy carries comes from elsewhere, whatever address it has."""
    access: Access = request.app.state.access
    through_proxy = "x-forwarded-for" in request.headers or "forwarded" in request.headers
    return Page(request, access.session(request.cookies.get(COOKIE, ""), through_proxy=through_proxy))


def _as_page(request: Request, error: Exception) -> Response:
    """An error as a page with one line, and a status that says whose fault it is."""
    page: Page = request.state.page
    if isinstance(error, Refused):
        return page.show("error", error.status, message=page.t(f"error.{error}"))
    if isinstance(error, HTTPException):
        known = page.t.known(f"error.{error.status_code}", "")
        return page.show("error", error.status_code, message=known or page.t("error.400"))
    if isinstance(error, RequestValidationError):
        return page.show("error", 422, message=page.t("error.400"))
    away = isinstance(error, StorageError)
    unknown = isinstance(error, UnknownItemError | UnknownUserError)
    return page.show("error", 503 if away else 404 if unknown else 400, message=told(page.t, str(error)))
