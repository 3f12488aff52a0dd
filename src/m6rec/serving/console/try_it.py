"""Try it: a list for somebody known or somebody described, why each answer stands there, and how the list changes with what they say of it.

Everything lies in the address of the page; nothing that is clicked here is kept as an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from m6rec.base.contracts import Scored
from m6rec.base.errors import M6RecError, UnknownUserError
from m6rec.serving.asked import Ask, Reason, Reply, Slate
from m6rec.serving.console import people
from m6rec.serving.console.page import Page, Reader, number
from m6rec.serving.console.titles import title_of
from m6rec.serving.console.told import limit, told

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

router = APIRouter()
MOST = 50
FACTS = 4  # fields of an item under its title
SHORT = 40  # characters of a field that is told there
REASONS = 4
LEAST_SHARE = 0.005  # what would be told as 0 %


class Wish(BaseModel):
    """What the form says. like, dislike, drop: the button that was pressed; liked, disliked: those pressed before."""

    user: str = Field("", max_length=500)
    text: str = Field("", max_length=2_000)
    scenario: str = Field("", max_length=200)
    k: int = Field(8, ge=1, le=MOST)
    diversity: float = Field(0.0, ge=0.0, le=1.0)
    novelty: float = Field(0.0, ge=0.0, le=1.0)
    model: str = Field("", max_length=200)
    against: str = Field("", max_length=200)
    like: str = ""
    dislike: str = ""
    drop: str = ""
    liked: list[str] = Field(default_factory=list, max_length=100)
    disliked: list[str] = Field(default_factory=list, max_length=100)
    about: str = Field("", max_length=64)  # whom the liked and disliked were said for: `person` of the page that they were pressed on

    @property
    def person(self) -> str:
        """Who is asked for, in short: what somebody liked says nothing of somebody else."""
        return sha256(f"{self.user}\0{self.text}".encode("utf-8", "replace")).hexdigest()[:12]


@dataclass(frozen=True)
class Line:
    """One answer as it is drawn. move: places up (+) or down (-) against the other list, None where it is not there."""

    rank: int
    item_id: str
    title: str
    score: float
    facts: list[tuple[str, str]]
    reasons: Sequence[Reason]
    parts: list[tuple[str, float]]
    move: int | None = None


@dataclass(frozen=True)
class Column:
    """One list. problem: why there is none.  near: ids that may have been meant.  changed: whether `move` is against the list before a button."""

    version: str
    lines: list[Line]
    took_ms: float = 0.0
    problem: str = ""
    notes: Sequence[str] = ()
    near: Sequence[str] = ()
    changed: bool = False


@router.get("/try")
def show(page: Reader, wish: Annotated[Wish, Query()]) -> Response:
    """The page, with lists where somebody was asked for."""
    before, wish = wish, pressed(wish)
    service = page.service
    versions = [one.version for one in service.models()]
    columns = lists(page, wish) if wish.user or wish.text or wish.liked else []
    if (before.like or before.dislike or before.drop) and not wish.against:
        columns = _changed(page, columns, before)
    past = people.past_of(service, wish.user) if wish.user else None
    return page.show(
        "try",
        wish=wish,
        columns=columns,
        titles={one: title_of(service, one) for one in (*wish.liked, *wish.disliked)},
        versions=versions,
        users=people.known_users(service),
        scenarios=service.info()["scenarios"],
        past=past,
        profile=[(name, in_words(value)) for name, value in past["fields"].items() if value not in (None, "", [], ())] if past else [],
        limits=limits(page, wish.text),
        nothing="user" in page.request.query_params and not columns,
    )


def limits(page: Page, text: str) -> list[str]:
    """What of a typed text decides exactly what may be in the list."""
    try:
        with page.service.loaded.use() as model:
            return [limit(page.t, one) for one in model.engine.understood(text).constraints] if text else []
    except M6RecError:
        return []  # the list itself says what is wrong with the text


def pressed(wish: Wish) -> Wish:
    """The same wish with the button that was pressed counted in. An item is liked or not, never both.

    What was said for somebody else, or for other words, is dropped.
    """
    if wish.about and wish.about != wish.person:
        wish = wish.model_copy(update={"liked": [], "disliked": []})
    touched = {wish.like, wish.dislike, wish.drop}
    liked = [one for one in dict.fromkeys(wish.liked) if one not in touched] + [wish.like] * bool(wish.like)
    disliked = [one for one in dict.fromkeys(wish.disliked) if one not in touched] + [wish.dislike] * bool(wish.dislike)
    return wish.model_copy(update={"liked": liked, "disliked": disliked, "like": "", "dislike": "", "drop": ""})


def lists(page: Page, wish: Wish) -> list[Column]:
    """One list, or two side by side with what moved between them."""
    ask = Ask(
        user=wish.user or None,
        text=wish.text or None,
        history=tuple(wish.liked) or None,
        disliked=tuple(wish.disliked),
        scenario=wish.scenario or None,
        k=wish.k,
        slate=Slate(diversity=wish.diversity, novelty=wish.novelty, weights=dict.fromkeys(wish.disliked, 0.0)),
        include=("reasons",),
        explore=False,
    )
    first = _column(page, ask, wish.model)
    if not wish.against:
        return [first]
    second = _column(page, ask, wish.against)
    return [_moved(first, second), _moved(second, first)]


def _changed(page: Page, columns: list[Column], before: Wish) -> list[Column]:
    """The list with what is new or moved against the one that the button was pressed on."""
    earlier = before.model_copy(update={"like": "", "dislike": "", "drop": ""})
    if not (earlier.user or earlier.text or earlier.liked) or not columns or (earlier.about and earlier.about != earlier.person):
        return columns
    return [replace(_moved(columns[0], lists(page, earlier)[0]), changed=True)]


def _column(page: Page, ask: Ask, version: str) -> Column:
    try:
        reply = page.service.recommend(ask, version or None)
    except UnknownUserError:
        near = people.nearest_users(page.service, ask.user or "")
        return Column(version, [], problem=page.t("try.nobody", user=ask.user), near=near)
    except M6RecError as error:
        return Column(version, [], problem=told(page.t, str(error)))
    lines = [
        Line(place, one.item_id, one.title, one.score, facts(page.service, one.item_id, one.title), reasons, shares(one))
        for place, (one, reasons) in enumerate(zip(reply.answers, _reasons(reply), strict=True), start=1)
    ]
    return Column(reply.model_version, lines, reply.took_ms, notes=_notes(page, ask, reply))


def _notes(page: Page, ask: Ask, reply: Reply) -> list[str]:
    """What should be known of the list. Of an empty one that a limit has emptied, the limit alone."""
    with page.service.loaded.use() as model:
        emptied = "" if reply.answers or not ask.text else model.engine.why_empty(ask.text, scenario=ask.scenario)
    if emptied:
        return [f"{told(page.t, emptied)} {page.t('try.loosen')}"]
    said = [told(page.t, note) for note in reply.notes]
    return [*said, *_fewer(page, reply, ask.k)] if reply.answers else said or [page.t("try.none")]


def _fewer(page: Page, reply: Reply, asked: int) -> list[str]:
    """Why a list is shorter than it was asked to be, in one line; none where it is not."""
    if len(reply.answers) >= asked:
        return []
    rules = ", ".join(f"{page.t.known('left_out.' + name.replace(' ', '_'), name)}: {count}" for name, count in reply.left_out.items())
    return [page.t("try.fewer_rules" if rules else "try.fewer", n=len(reply.answers), k=asked, rules=rules)]


def facts(service: Service, item: str, title: str) -> list[tuple[str, str]]:
    """A few fields of an item, as words, in their order: its numbers (a price is looked for first), and short ones of the others."""
    known = [
        (name, in_words(value), isinstance(value, int | float)) for name, value in service.item(item)["fields"].items() if value is not None
    ]
    short = [one for one in known if one[1] and one[1] != title and len(one[1]) <= SHORT]
    kept = sorted(short, key=lambda one: not one[2])[:FACTS]
    return [(name, words) for name, words, number in short if (name, words, number) in kept]


def in_words(value: Any) -> str:
    """A value of a field on one short line."""
    if isinstance(value, float):
        return number(value, 2)
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def shares(one: Scored) -> list[tuple[str, float]]:
    """What a score is made of, largest first, without what gives nothing."""
    return sorted(((name, share) for name, share in one.parts.items() if share >= LEAST_SHARE), key=lambda part: -part[1])


def _reasons(reply: Reply) -> list[Sequence[Reason]]:
    """What of the person speaks for each answer; the statistics where nothing of the person does (they also stand among the parts)."""
    known = [[one for one in reasons if one.share >= LEAST_SHARE] for reasons in reply.reasons]
    own = [[one for one in reasons if one.kind != "prior"] or reasons for reasons in known]
    return [one[:REASONS] for one in own] or [[] for _ in reply.answers]


def _moved(column: Column, other: Column) -> Column:
    there = {line.item_id: line.rank for line in other.lines}
    moves = [replace(line, move=there[line.item_id] - line.rank if line.item_id in there else None) for line in column.lines]
    return replace(column, lines=moves)
