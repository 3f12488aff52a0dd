"""Moderation: what must not be shown, what waits for a person's eye, and the trail of what was shown to whom and why."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from m6rec.base.errors import UnknownItemError, UsageError
from m6rec.serving.console.page import Admin, Form, Page, Reader

router = APIRouter(prefix="/moderation")
KINDS = ("item", "word", "provider")
VERDICTS = ("approved", "rejected")
LISTED = 50


@router.get("")
def blocked(page: Reader) -> Response:
    """Blocked items, words and providers."""
    return _blocked(page)


@router.post("/block")
def block(page: Admin, form: Form) -> Response:
    """Never show it again, from the next answer on."""
    kind, value = form.get("kind", ""), form.get("value", "").strip()
    try:
        if kind == "item":
            page.service.item(value)
        page.service.store.block(kind, value, form.get("reason", "").strip())
    except (UsageError, UnknownItemError) as error:
        return _blocked(page, 422, kind, value, str(error))
    page.service.following.catch_up()
    if form.get("back") == "item":
        return page.go("/catalogue/item", id=value, done="blocked")
    return page.go("/moderation", done="blocked")


@router.post("/unblock")
def unblock(page: Admin, form: Form) -> Response:
    """May be shown again."""
    page.service.store.unblock(form.get("kind", ""), form.get("value", ""))
    page.service.following.catch_up()
    if form.get("back") == "item":
        return page.go("/catalogue/item", id=form.get("value", ""), done="unblocked")
    return page.go("/moderation", done="unblocked")


@router.get("/reviews")
def reviews(page: Reader, state: str = "waiting") -> Response:
    """What waits, oldest first, or what was decided."""
    state = state if state in ("waiting", *VERDICTS) else "waiting"
    rows = [(one, in_lines(one.content)) for one in page.service.store.reviews(state, LISTED)]
    return page.show("moderation_reviews", rows=rows, state=state, states=("waiting", *VERDICTS))


@router.post("/decide")
def decide(page: Admin, form: Form) -> Response:
    """Close a review."""
    number = form.get("id", "")
    if not number.isdigit():
        raise UsageError(page.t("moderation.no_review", id=number[:40]))
    page.service.store.decide(int(number), form.get("verdict", ""), page.session.key or page.t("moderation.somebody"))
    return page.go("/moderation/reviews", done=f"review_{form.get('verdict', '')}")


@router.get("/audit")
def audit(page: Reader, user: str = "", item: str = "", request: str = "", before: int = 0) -> Response:
    """What was shown, newest first."""
    asked = {"user_id": user or None, "item_id": item or None, "request_id": request or None}
    rows = page.service.store.shown(**asked, after=max(before, 0), most=LISTED + 1, newest_first=True)
    told = [(row, in_lines(row.why)) for row in rows[:LISTED]]
    return page.show("moderation_audit", rows=told, more=len(rows) > LISTED, user=user, item=item, request=request, check=None)


@router.post("/audit")
def verify(page: Admin, form: Form) -> Response:
    """Follow the chain of the whole trail."""
    check = page.service.store.verify_audit()
    rows = [(row, in_lines(row.why)) for row in page.service.store.shown(most=LISTED, newest_first=True)]
    return page.show("moderation_audit", rows=rows, more=False, user="", item="", request="", check=check)


def in_lines(value: Any) -> list[str]:
    """Anything that JSON can say as short lines."""
    if value is None or value == {} or value == []:
        return []
    if isinstance(value, dict):
        return [f"{name}: {one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)}" for name, one in value.items()]
    if isinstance(value, list):
        return [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in value]
    return [str(value)]


def _blocked(page: Page, status: int = 200, kind: str = "item", value: str = "", problem: str = "") -> Response:
    rules = page.service.config.rules
    always = {"item": rules.blocked_items, "word": rules.blocked_words, "provider": rules.blocked_providers}
    fixed = [(name, one) for name, several in always.items() for one in several]
    rows = page.service.store.blocked()
    return page.show("moderation", status, rows=rows, fixed=fixed, kinds=KINDS, kind=kind, value=value, problem=problem)
