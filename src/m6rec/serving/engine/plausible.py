"""Worded events and statements, scored by the language model alone: what `Recommender.plausibility` asks.

Shapes: R rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from m6rec.base.arguments import a_list, a_text, refused, whole_number
from m6rec.base.errors import UsageError, nearest
from m6rec.data.dataset import FieldType
from m6rec.data.schema import shown
from m6rec.serving.asked import HISTORY
from m6rec.serving.engine.asking import check_words
from m6rec.tasks.plausibility import plausibility

if TYPE_CHECKING:
    from m6rec.serving.engine.asking import Asking

COLUMNS = ("context", "user_id", "history", "profile", "scenario", "action", "item_id", "text")
EVENT = "event"  # the entity of the templates that words what stands before an item
FORMS = 100  # ids whose form is looked at
MOST_IDS = 20_000  # that a wrong one is looked for among
_DIGITS = re.compile(r"\d+")
SAID = ("profile", "history", "scenario", "action")


def score(asking: Asking, rows: Sequence[str | tuple[str, str] | Mapping[str, Any]], recent: int) -> list[float]:
    """Nats a token for every row; see `Recommender.plausibility`.

    Raises:
        UsageError: a row that says nothing, or says something unknown.  UnknownUserError, UnknownItemError: an id nobody has seen.
    """
    rows = a_list("rows", rows, "give a list of texts, of (context, text), or of rows with item_id and who it is for")
    recent = whole_number("recent", recent, "give the number of newest events that are worded, 0 or more")
    asked = [_worded(asking, row, recent, number) for number, row in enumerate(rows, start=1)]
    if not asked:
        return []
    contexts, bare, targets = zip(*asked, strict=True)
    return [float(value) for value in plausibility(asking.scorer.reader, contexts, targets, bare)]


def _worded(asking: Asking, row: str | tuple[str, str] | Mapping[str, Any], recent: int, number: int) -> tuple[str, str, str]:
    """What stands before, the same with nothing of the case said, and what is judged."""
    if isinstance(row, str):
        _no_id(asking, row, number)
        row = {"text": row}
    elif not isinstance(row, Mapping):
        if not isinstance(row, Sequence) or len(row) != 2 or not all(isinstance(part, str) for part in row):
            raise refused(f"row {number}", row, "a pair is (context, text), a row says for example {'item_id': 'i7'}")
        _no_id(asking, row[1], number)
        row = {"context": row[0], "text": row[1]}
    given = {name: value for name, value in row.items() if value is not None}
    for name in given:
        if name not in COLUMNS:
            raise UsageError(f"row {number} says '{name}'{nearest(name, COLUMNS) or '; it may say: ' + ', '.join(COLUMNS)}")
    wording = asking.scorer.reader.wording
    if ("text" in given) == ("item_id" in given):
        raise UsageError(
            f"row {number} needs either an item_id or a text to judge, for example {{'context': 'I need boots', 'item_id': 'i7'}}"
        )
    for name in ("text", "context"):
        if name in given:
            a_text(f"row {number}: {name}", given[name], "give words")
    if "text" in given:
        target = given["text"]
    else:
        target = wording.items(asking.items.rows([asking._item(given["item_id"])]))[0]
    if not target.strip():
        raise UsageError(f"row {number} has an empty text; there is nothing to judge")
    dataset = asking.scorer.dataset
    places = (*dataset.scenario_names, *asking.scorer.origin.later)
    for name, known in (("scenario", places), ("action", tuple(dataset.action_names))):
        if name in given and given[name] not in known:
            hint = nearest(given[name], known) or f"; {name}s: {', '.join(known) or 'none'}"
            raise UsageError(f"row {number}: there is no {name} {shown(given[name])}{hint}")
    said: dict[str, str] = {name: given[name] for name in ("scenario", "action") if name in given}
    bare = _event(asking, said)
    if "context" in given:
        return "; ".join(part for part in (bare, given["context"]) if part), bare, target
    titles: list[str] = []
    if "history" in given:
        past = a_list(f"row {number}: history", given["history"], HISTORY)
        titles = [asking.items.rows([asking._consumed(item)]).titles()[0] for item in past[max(len(past) - recent, 0) :]]
    user = asking._user(given["user_id"]) if "user_id" in given else -1
    if user >= 0 and "history" not in given:
        events = asking.histories.row(user).items
        titles = asking.items.rows(events[max(len(events) - recent, 0) :].tolist()).titles() if len(events) and recent else []
    profile = given.get("profile")
    check_words(None, profile)
    if isinstance(profile, Mapping):
        profile = asking._profile_words(profile)
    told = said | ({"history": "; ".join(titles)} if titles else {}) | ({"profile": profile} if profile else {})
    return _event(asking, told), bare, target


def _no_id(asking: Asking, text: str, number: int) -> None:
    """Raises UsageError: a text alone that is the id of an item, or formed like one (i7 beside i3): it would be judged as a word of the language."""
    word, ids = text.strip(), asking.items.ids
    if not word or any(letter.isspace() for letter in word) or not any(letter.isdigit() for letter in word):
        return
    known = ids.many([word])[0] >= 0
    if not known and _form(word) not in {_form(one) for one in ids.ids[:FORMS]}:
        return
    hint = "an item id" if known else "formed like an item id but is none" + nearest(word, ids.ids[:MOST_IDS])
    raise UsageError(f"row {number} is {shown(word)}, {hint}; say {{'item_id': {shown(word)}}} for an item, {{'text': ...}} for words")


def _form(name: str) -> str:
    return _DIGITS.sub("0", name.casefold())


def _event(asking: Asking, said: Mapping[str, str]) -> str:
    """In the words of the template, its parts in their order."""
    return asking.scorer.reader.wording.say(EVENT, said, {name: FieldType.TEXT for name in SAID if name in said}) if said else ""
