"""The catalogue: search it, look at an item and at who would be shown it, change it, add one, take one out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from fastapi.responses import Response

from m6rec.base.errors import DataError, UnknownItemError, UsageError
from m6rec.serving.console.marks import blockers, kept_back
from m6rec.serving.console.page import SURE, Form, Page, Reader, Writer, number
from m6rec.serving.console.told import field_name, told
from m6rec.serving.console.who_gets import who_gets

router = APIRouter(prefix="/catalogue")
LISTED = 40
MOST_PARTS = 1_000_000
SIMILAR = 6
MOST_CHOICES = 200  # values that are offered for a category
NAMED = 12  # of them that a doubt names
PREFIX = "field."  # of the names of inputs that hold an item's fields


@router.get("")
def show(page: Reader, q: str = "", part: int = 1) -> Response:
    """Items whose title, id, tags or categories hold what was typed, page by page."""
    part = min(max(part, 1), MOST_PARTS)
    found, total = page.service.search_items(q, LISTED, LISTED * (part - 1))
    last = -(-total // LISTED)
    count, blocked = page.service.info()["items"], kept_back(page.service)
    return page.show("catalogue", q=q, items=found, total=total, part=part, last=last, count=count, blocked=blocked)


@router.get("/item")
def one(page: Reader, id: str, who: bool = False) -> Response:
    """An item: its fields, what is like it, and on request who would be shown it."""
    return _item(page, id, who=who)


@router.get("/new")
def blank(page: Writer) -> Response:
    """The form for a new item."""
    return page.show("catalogue_new", kinds=kinds(page), choices=choices(page), values={}, id="", problem="", doubts=[])


@router.post("/new")
def add(page: Writer, form: Form) -> Response:
    """A new item; its page says who would be shown it."""
    id = form.get("id", "").strip()
    values = {name.removeprefix(PREFIX): value for name, value in form.items() if name.startswith(PREFIX)}
    try:
        if known(page, id):
            raise UsageError(page.t("catalogue.taken", id=id))
        fields = read_fields(kinds(page), values)
        if id and not form.get(SURE) and (found := doubts(page, fields)):
            return page.show("catalogue_new", kinds=kinds(page), choices=choices(page), values=values, id=id, problem="", doubts=found)
        page.service.upsert_items([{"item_id": id, **fields}])
    except (DataError, UsageError) as error:
        return page.show(
            "catalogue_new",
            422,
            kinds=kinds(page),
            choices=choices(page),
            values=values,
            id=id,
            problem=told(page.t, str(error)),
            doubts=[],
        )
    return page.go("/catalogue/item", id=id, who="1", done="item_added")


@router.post("/change")
def change(page: Writer, form: Form) -> Response:
    """New fields of an item."""
    id = form.get("id", "")
    values = {name.removeprefix(PREFIX): value for name, value in form.items() if name.startswith(PREFIX)}
    facts = page.service.item(id)
    try:
        page.service.upsert_items([{"item_id": id, **read_fields(kinds(page), values)}])
    except (DataError, UsageError) as error:
        return _item(page, id, 422, values={**written(facts["fields"]), **values}, problem=told(page.t, str(error)))
    return page.go("/catalogue/item", id=id, done="item_changed")


@router.post("/delete")
def delete(page: Writer, form: Form) -> Response:
    """Take an item out, once that was asked: it is never shown again."""
    id = form.get("id", "")
    question = page.t("catalogue.delete_sure", title=page.service.item(id)["title"] or id, id=id)
    asked = page.ask_first(form, question, page.t("catalogue.delete_it"), f"/catalogue/item?{urlencode({'id': id})}")
    if asked is not None:
        return asked
    page.service.delete_item(id)
    return page.go("/catalogue", done="item_deleted")


def doubts(page: Page, fields: Mapping[str, Any]) -> list[str]:
    """What is probably a slip in a new item: no title, a category that no item has, a number below 0 where none is. It may be meant."""
    with page.service.loaded.use() as model:
        frame = model.engine.items.frame
    found = [page.t("catalogue.no_title")] if "title" in frame.columns and "title" not in fields else []
    for name, kind in kinds(page).items():
        value = fields.get(name)
        if value is None:
            continue
        known = frame[name].drop_nulls()
        if kind == "category" and value not in set(known.to_list()):
            found.append(
                page.t("catalogue.new_value", field=field_name(page.t, name), value=value, known=", ".join(choices(page)[name][:NAMED]))
            )
        if kind == "number" and value < 0 and min(known.to_list(), default=0.0) >= 0:
            found.append(page.t("catalogue.below", field=field_name(page.t, name), value=number(value, 2)))
    return found


def choices(page: Page) -> dict[str, list[str]]:
    """Values that the catalogue has of each category, the most frequent first."""
    with page.service.loaded.use() as model:
        frame = model.engine.items.frame
        found = {}
        for name, kind in kinds(page).items():
            if kind == "category":
                counted = frame[name].drop_nulls().value_counts(sort=True)
                found[name] = [str(value) for value in counted[name].head(MOST_CHOICES).to_list()]
        return found


def kinds(page: Page) -> dict[str, str]:
    """The fields that people can write, and their kinds."""
    fields: Mapping[str, str] = page.service.info()["item_fields"]
    return {name: kind for name, kind in fields.items() if kind != "vector"}


def known(page: Page, item: str) -> bool:
    """Whether the catalogue has the item."""
    try:
        page.service.item(item)
    except UnknownItemError:
        return False
    return True


def written(fields: Mapping[str, Any]) -> dict[str, str]:
    """Values of fields as they stand in inputs."""
    return {
        name: ", ".join(map(str, value)) if isinstance(value, list | tuple) else "" if value is None else str(value)
        for name, value in fields.items()
    }


def read_fields(kinds: Mapping[str, str], values: Mapping[str, str]) -> dict[str, Any]:
    """What was written in the inputs as values; empty inputs are left out.

    Raises:
        DataError: something that is no number where one belongs.
    """
    read: dict[str, Any] = {}
    for name, kind in kinds.items():
        text = values.get(name, "").strip()
        if not text:
            continue
        if kind == "tags":
            read[name] = [part for one in text.split(",") if (part := one.strip())]
        elif kind == "number":
            try:
                read[name] = float(text)
            except ValueError:
                raise DataError(f"'{name}' is a number, got '{text[:80]}'; write it like 12.5") from None
        else:
            read[name] = text
    return read


def _item(
    page: Page, id: str, status: int = 200, *, values: Mapping[str, str] | None = None, who: bool = False, problem: str = ""
) -> Response:
    facts = page.service.item(id)
    blocked = next((one for one in page.service.store.blocked() if (one.kind, one.value) == ("item", id)), None)
    return page.show(
        "catalogue_item",
        status,
        item=facts,
        kinds=kinds(page),
        choices=choices(page),
        values=values or written(facts["fields"]),
        similar=page.service.similar(id, SIMILAR).answers,
        audience=who_gets(page.service, id) if who else None,
        blocked=blocked,
        blocker=blockers(page, [blocked]).get(("item", id)) if blocked is not None else None,
        rule=kept_back(page.service).get(id, ""),
        problem=problem,
    )
