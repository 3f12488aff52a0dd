"""One page being answered: who asks, in which language and light, and how a template becomes a response."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import jinja2
from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from m6rec.base.errors import M6RecError
from m6rec.serving.config import ServeConfig
from m6rec.serving.console.access import Access, Session
from m6rec.serving.console.phrases import Phrases, chosen, languages

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

ROOT = "/console"
STATIC = Path(__file__).parent / "static"
BROWSER_FILES = frozenset(("htmx.min.js", "echarts.min.js"))
THEMES = ("auto", "light", "dark")
LANGUAGE_COOKIE, THEME_COOKIE = "m6rec_language", "m6rec_theme"
SECTIONS = ("overview", "try", "chat", "catalogue", "quality", "training", "experiments", "moderation", "settings")
SURE = "sure"  # the value of a form that was asked about and is meant
LONGEST_VALUE = 20_000  # characters of one value of a form


class Refused(M6RecError):
    """What a person may not do here, or a form that did not come from a page of theirs."""

    def __init__(self, phrase: str, status: int) -> None:
        super().__init__(phrase)
        self.status = status


class Page:
    """What a handler needs to answer one request."""

    def __init__(self, request: Request, session: Session) -> None:
        self.request = request
        self.session = session
        self.service: Service = request.app.state.service
        self.config: ServeConfig = request.app.state.config
        self.access: Access = request.app.state.access
        wanted = request.cookies.get(LANGUAGE_COOKIE, "") or request.app.state.language()
        self.t: Phrases = chosen(wanted, request.headers.get("accept-language", ""))
        theme = request.cookies.get(THEME_COOKIE, "auto")
        self.theme = theme if theme in THEMES else "auto"

    def show(self, template: str, status: int = 200, **values: Any) -> Response:
        """The page made of `template`.html.jinja."""
        return HTMLResponse(self.part(template, **values), status)

    def part(self, template: str, **values: Any) -> str:
        """The text made of `template`.html.jinja."""
        done = self.request.query_params.get("done", "")
        standing: Mapping[str, Any] = {
            "t": self.t,
            "page": self,
            "may": self.session.may,
            "form_token": self.access.token(self.session),
            "section": template.partition("_")[0],
            "sections": SECTIONS,
            "languages": languages(),
            "themes": THEMES,
            "vendored": vendored(),
            "root": ROOT,
            "here": self.here(),
            "done": self.t.known(f"done.{done}", "") if done else "",
        }
        return _templates().get_template(f"{template}.html.jinja").render({**standing, **values})

    def go(self, path: str, **query: str) -> Response:
        """Off to another page of the console, after a form."""
        return RedirectResponse(f"{ROOT}{path}" + (f"?{urlencode(query)}" if query else ""), 303)

    def ask_first(self, form: Mapping[str, str], question: str, verb: str, back: str) -> Response | None:
        """A page that asks `question` before the form is done, None where it was answered already.

        verb: what the button says that does it.  back: the page that one comes back to, below the console's root.
        """
        if form.get(SURE):
            return None
        path = self.request.url.path
        return self.show("confirm", question=question, verb=verb, back=back, path=path, form=form, sure=SURE)

    def roles(self) -> str:
        """What the key of this session may do, in words."""
        return ", ".join(self.t(f"role.{role}") for role in self.session.roles)

    def browser_files(self) -> bool:
        """Whether both third-party files are there: htmx, which brings pages up to date, and ECharts, which draws."""
        return vendored() >= BROWSER_FILES

    def here(self) -> str:
        """Path and query of this page, to come back to after signing in or changing the language."""
        query = self.request.url.query
        return self.request.url.path + (f"?{query}" if query else "")


def page_of(request: Request) -> Page:
    """The page of this request, as the middleware has made it."""
    page: Page = request.state.page
    return page


def needs(role: str) -> Callable[[Request], Page]:
    """A page that only those may open who may do what `role` may. Raises Refused."""

    def allowed(request: Request) -> Page:
        page = page_of(request)
        if not page.session.may(role):
            raise Refused("role", 403)
        return page

    return allowed


async def form_of(request: Request) -> dict[str, str]:
    """The text values of a form, checked to come from a page of this session. Raises Refused."""
    page = page_of(request)
    async with request.form(max_files=0, max_fields=200) as sent:
        values = {name: value.replace("\r\n", "\n") for name, value in sent.items() if isinstance(value, str)}
    if not page.access.holds(page.session, values.pop("csrf", "")):
        raise Refused("csrf", 403)
    if any(len(value) > LONGEST_VALUE for value in values.values()):
        raise Refused("too_long", 413)
    return values


Reader = Annotated[Page, Depends(needs("read"))]
Writer = Annotated[Page, Depends(needs("write"))]
Admin = Annotated[Page, Depends(needs("admin"))]
Form = Annotated[dict[str, str], Depends(form_of)]


@cache
def vendored() -> frozenset[str]:
    """The third-party browser files that are there (`make assets` fetches them); pages work without them."""
    return frozenset(path.name for path in (STATIC / "vendor").glob("*.js"))


@cache
def _templates() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("m6rec.serving.console"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"number": number, "percent": percent, "moment": moment, "query": lambda values: urlencode(values, doseq=True)}
    return found


def number(value: float | int | None, digits: int = 3) -> str:
    """A number as people read it: thousands apart, no digits that say nothing; a dash where there is none."""
    if value is None or value != value:
        return "–"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) >= 1):
        return f"{int(value):,}"
    return f"{value:,.{digits}f}" if abs(value) < 100 else f"{value:,.1f}"


def percent(value: float | None, digits: int = 0) -> str:
    """A share as per cent."""
    return "–" if value is None or value != value else f"{100 * value:.{digits}f} %"


def moment(value: float | None) -> str:
    """Seconds since 1970 as a UTC time."""
    if value is None or value != value:
        return "–"
    try:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return "–"
