"""Moderation: what must not be shown, what waits for a person's eye, and the trail of what was shown to whom and why."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from m6rec.base.errors import UnknownItemError, UsageError
from m6rec.serving.console.marks import blockers
from m6rec.serving.console.page import Admin, Form, Page, Reader
from m6rec.serving.console.titles import title_of
from m6rec.serving.console.told import told
from m6rec.serving.store.records import AuditCheck, Deed, StoredShown

router = APIRouter(prefix="/moderation")
KINDS = ("item", "word", "provider")
VERDICTS = ("approved", "rejected")
LISTED = 50
MATCHES = 12  # items offered where what was typed is no id that was shown
MOST_ROWS = 1_000  # of the audit that are read for one page of lists


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
        return _blocked(page, 422, kind, value, told(page.t, str(error)), form.get("reason", ""))
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


@dataclass(frozen=True)
class ShownList:
    """One list as it was shown. places: its items by position, each with what explains it in short lines.  first: number of its first row."""

    head: StoredShown
    places: list[tuple[StoredShown, list[str]]]
    first: int


@router.get("/audit")
def audit(page: Reader, user: str = "", item: str = "", request: str = "", before: int = 0) -> Response:
    """The lists that were shown, newest first."""
    asked = {"user_id": user or None, "item_id": item or None, "request_id": request or None}
    rows = page.service.store.shown(**asked, after=max(before, 0), most=MOST_ROWS, newest_first=True)
    lists = in_lists(rows)
    if len(rows) == MOST_ROWS and len(lists) > 1:
        lists = lists[:-1]  # its other rows may lie behind those that were read
    more = len(lists) > LISTED or len(rows) == MOST_ROWS
    matches = page.service.items(item, MATCHES) if item and not lists else []  # a title was typed, or a part of an id
    return page.show(
        "moderation_audit", lists=lists[:LISTED], more=more, user=user, item=item, request=request, check=None, matches=matches
    )


@router.post("/audit")
def verify(page: Admin, form: Form) -> Response:
    """Follow the chain of the whole trail."""
    check = page.service.store.verify_audit()
    lists = in_lists(page.service.store.shown(most=MOST_ROWS, newest_first=True))
    return page.show("moderation_audit", lists=lists[:LISTED], more=False, user="", item="", request="", check=check, matches=[])


@router.get("/deeds")
def deeds(page: Admin, before: int = 0, target: str = "") -> Response:
    """What was done to the service, or to one thing of it, newest first."""
    return _deeds(page, max(before, 0), target=target)


@router.post("/deeds")
def verify_deeds(page: Admin, form: Form) -> Response:
    """Follow the chain of the whole record."""
    return _deeds(page, 0, page.service.store.verify_deeds())


def _deeds(page: Page, before: int, check: AuditCheck | None = None, target: str = "") -> Response:
    rows = page.service.store.deeds(after=before, most=LISTED + 1, newest_first=True, target=target or None)
    deeds = [told_deed(page, row) for row in rows[:LISTED]]
    return page.show(
        "moderation_deeds", rows=deeds, last=rows[:LISTED][-1].seq if rows else 0, more=len(rows) > LISTED, check=check, target=target
    )


@dataclass(frozen=True)
class Told:
    """A deed in words. item: its id where it is one thing of the catalogue, for a link."""

    deed: Deed
    did: str
    target: str
    before: str
    after: str
    item: str = ""


def told_deed(page: Page, deed: Deed) -> Told:
    """What somebody did as a page says it: adding, changing and stopping are called so, states and kinds are in words."""
    t, did, target, before, after, item = page.t, deed.did, deed.target, deed.before, deed.after, ""
    if did in ("block", "unblock"):
        kind, _, reason = (after or before).partition(": ")
        item = target if kind == "item" else ""
        named = t.known(f"moderation.kinds.{kind}", kind)
        before, after = ("", reason) if did == "block" else ("", "")
        target = f"{named}: {target}"
    elif did == "items_write":
        item = target if ", " not in target and " + " not in target else ""
        did = "items_write" if not item else "item_change" if before else "item_add" if after else did
        before, after = _plainly(before), _plainly(after)
    elif did == "item_delete":
        item = ""
    elif did == "experiment":
        did = (
            {"running": "experiment_resume", "paused": "experiment_pause", "stopped": "experiment_stop"}.get(after, did) if before else did
        )
        before, after = (t.known(f"experiments.states.{one}", one) for one in (before, after))
    elif did == "review":
        before, after = (t.known(f"moderation.states.{one}", one) for one in (before, after))
    elif did == "setting":
        target = t.known(f"setting.{target.replace('.', '_')}", target)
    elif did == "key_add":
        after = ", ".join(t.known(f"role.{one}", one) for one in after.split(", "))
    elif did == "key_drop":
        before = ", ".join(t.known(f"role.{one}", one) for one in before.split(", "))
    return Told(deed, t.known(f"deed.{did}", did), target, before, after, item)


def _plainly(text: str) -> str:
    """Values of fields without the marks of a program: `tags: ['hiking', 'mountains']` is `tags: hiking, mountains`."""
    return re.sub(r"\[([^\[\]]*)\]", lambda found: found[1].replace("'", "").replace('"', ""), text)


def in_lists(rows: Sequence[StoredShown]) -> list[ShownList]:
    """Rows of the audit, newest first, as the lists that they were parts of, in the same order."""
    together: dict[str, list[StoredShown]] = {}
    for row in rows:
        together.setdefault(row.request_id, []).append(row)
    found = []
    for several in together.values():
        places = sorted(several, key=lambda row: row.position)
        found.append(ShownList(places[0], [(row, in_lines(row.why)) for row in places], min(row.seq for row in several)))
    return found


def in_lines(value: Any) -> list[str]:
    """Anything that JSON can say as short lines."""
    if value is None or value == {} or value == []:
        return []
    if isinstance(value, dict):
        return [f"{name}: {one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)}" for name, one in value.items()]
    if isinstance(value, list):
        return [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in value]
    return [str(value)]


def _blocked(page: Page, status: int = 200, kind: str = "item", value: str = "", problem: str = "", reason: str = "") -> Response:
    rules = page.service.config.rules
    always = {"item": rules.blocked_items, "word": rules.blocked_words, "provider": rules.blocked_providers}
    fixed = [(name, one) for name, several in always.items() for one in several]
    rows = page.service.store.blocked()
    titles = {one: title_of(page.service, one) for name, one in [*((row.kind, row.value) for row in rows), *fixed] if name == "item"}
    return page.show(
        "moderation",
        status,
        rows=rows,
        fixed=fixed,
        titles=titles,
        blockers=blockers(page, rows),
        kinds=KINDS,
        kind=kind,
        value=value,
        reason=reason,
        problem=problem,
    )
