"""Entering a key, leaving, and how the pages look: language and light."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from m6rec.serving.console.access import COOKIE
from m6rec.serving.console.page import LANGUAGE_COOKIE, ROOT, THEME_COOKIE, THEMES, Form, Page, page_of
from m6rec.serving.console.phrases import languages

router = APIRouter()
Anybody = Annotated[Page, Depends(page_of)]
YEAR = 365 * 86_400
BACK = "m6rec_back"


@router.get("/sign-in")
def ask_key(page: Anybody) -> Response:
    """The form for a key."""
    return page.show("sign_in", wrong=False) if not page.session.roles else page.go("/")


@router.post("/sign-in")
async def take_key(page: Anybody, form: Form) -> Response:
    """A key becomes a cookie. Whoever tries many is slowed down as over HTTP."""
    address = page.request.client.host if page.request.client else ""
    key = await page.request.app.state.doorkeeper.known(form.get("key", "").strip(), address)
    if key is None:
        return await run_in_threadpool(page.show, "sign_in", 401, wrong=True)
    page.session = page.access.of_key(key)
    response = RedirectResponse(_inside(page.request.cookies.get(BACK, "")), 303)
    response.delete_cookie(BACK, path=ROOT)
    return response


@router.post("/sign-out")
def leave(page: Anybody, form: Form) -> Response:
    """The cookie is dropped."""
    response = page.go("/sign-in")
    response.delete_cookie(COOKIE, path=ROOT)
    return response


@router.post("/preferences")
def prefer(page: Anybody, form: Form) -> Response:
    """Language and light, kept by the browser for a year."""
    response = RedirectResponse(_inside(form.get("back", "")), 303)
    for name, key, allowed in ((LANGUAGE_COOKIE, "language", tuple(languages())), (THEME_COOKIE, "theme", THEMES)):
        if form.get(key) in allowed:
            response.set_cookie(name, form[key], max_age=YEAR, path=ROOT, httponly=True, samesite="strict")
    return response


def _inside(where: str) -> str:
    """`where` if it is a page of the console, else its first page: a form must not send people to other hosts."""
    inside = where == ROOT or where.startswith((f"{ROOT}/", f"{ROOT}?"))
    return where if inside and "\\" not in where and where.isprintable() else ROOT + "/"
