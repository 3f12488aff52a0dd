"""Which of several files holds the events, the items, the users, the texts: by their columns, and by whose ids are found in whose."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from m6rec.base.errors import DataError
from m6rec.data.columns import Columns
from m6rec.data.readers import table_stem
from m6rec.data.roles import COUNT_WORDS, OUTCOMES, SUBJECTS, Role, subject, tokens
from m6rec.data.sketch import Sketch, is_id_like

RELATIONS = {Columns.HEAD, Columns.RELATION, Columns.TAIL}
FAQ = {"question", "answer"}
ENTITIES = {Columns.ITEM: "items", Columns.USER: "users"}
SAME_EVENTS = 0.5  # share of the events of a file that another has too: then it is no second log
FOUND_NAMED, FOUND_UNNAMED = 0.05, 0.9  # share of the ids of the events that a table must hold, by how telling its column's name is
REPEATS = 0.98  # an event table has its items more than once


@dataclass(frozen=True)
class Entity:
    """A table of items or users: its key column, and the share of the events' ids (in the samples) that it holds."""

    sketch: Sketch
    key: str
    found: float


@dataclass
class Tables:
    """What each file is for. exposures: logs of what was shown, with outcomes, beside a log of what was done. unused: file name -> why."""

    events: list[Sketch]
    exposures: list[Sketch] = field(default_factory=list)
    items: Entity | None = None
    users: Entity | None = None
    texts: list[Sketch] = field(default_factory=list)
    relations: Sketch | None = None
    faq: Sketch | None = None
    unused: dict[str, str] = field(default_factory=dict)

    def role(self, name: str) -> Role | None:
        """The role of the events, the same in all of their files."""
        role: Role | None = getattr(self.events[0], name)
        return role

    def ids(self, column: str) -> pl.Series:
        """The different ids that the events have in `column`."""
        return pl.concat([part.ids(column).drop_nulls().unique() for part in self.events]).unique()


def choose_tables(sketches: list[Sketch], unreadable: dict[str, str]) -> Tables:
    """Sort the files into tables.

    Args:
        unreadable: name -> why, of files that are no tables; told where nothing else is left to say.

    Raises:
        DataError: no file is an event log; what each of them is instead is said.
    """
    logs = [part for part in sketches if _is_log(part)]
    if not logs:
        raise DataError(_no_events(sketches, unreadable))
    shown = [part for part in logs if part.outcomes and part.text is None]
    done = [part for part in logs if part not in shown and part.text is None]
    tables = Tables(_main_log(done or logs), unused=dict(unreadable))
    rest = [part for part in sketches if part not in tables.events]
    for part in logs:
        if part in shown and done and _signature(part) == _signature(tables.events[0]):
            tables.exposures.append(part)
            rest.remove(part)
        elif part not in tables.events and part.text is None:
            tables.unused[part.name] = _other_log(part, tables.events[0])
            rest.remove(part)
    tables.events = _without_copies(tables)
    rest = [part for part in rest if part.name not in tables.unused]
    tables.relations = next((part for part in rest if set(part.frame.columns) >= RELATIONS), None)
    tables.faq = next((part for part in rest if set(part.frame.columns) >= FAQ and part.user is None and part.item is None), None)
    rest = [part for part in rest if part is not tables.relations and part is not tables.faq]
    tables.items = _entity(Columns.ITEM, rest, tables)
    rest = [part for part in rest if tables.items is None or part is not tables.items.sketch]
    tables.users = _entity(Columns.USER, rest, tables)
    rest = [part for part in rest if tables.users is None or part is not tables.users.sketch]
    for part in rest:
        if part.name in tables.unused:
            continue
        if part.text is not None and not _has_lists(part):
            tables.texts.append(part)
        else:
            tables.unused[part.name] = _what(part)
    tables.texts += [part for part in tables.events if part.text is not None]
    return tables


def _is_log(part: Sketch) -> bool:
    """Users beside items, in an order, and items that come back."""
    if part.user is None or part.item is None or (part.time is None and part.order is None):
        return False
    return part.frame[part.item.column].n_unique() <= REPEATS * part.frame.height or part.frame.height < 20


def _signature(part: Sketch) -> tuple[str | None, ...]:
    """The columns that one mapping of the configuration has to serve in every event file."""
    return tuple(role.column if role else None for role in (part.user, part.item, part.time, part.order))


def _main_log(logs: list[Sketch]) -> list[Sketch]:
    """The files of one shape that hold the most; those without written texts before those with."""
    shapes: dict[tuple[bool, tuple[str | None, ...]], list[Sketch]] = {}
    for part in logs:
        shapes.setdefault((part.text is None, _signature(part)), []).append(part)

    def weight(parts: list[Sketch]) -> tuple[bool, int]:
        return all(part.text is None for part in parts), sum(part.sample.rows or part.frame.height for part in parts)

    return max(shapes.values(), key=weight)


def _other_log(part: Sketch, main: Sketch) -> str:
    for name, mine, theirs in zip(("user", "item", "time", "order"), _signature(part), _signature(main), strict=True):
        if mine != theirs:
            return f"another event log, whose {name} column is {mine or 'missing'} and not {theirs or 'missing'} as in {main.name}"
    return "another event log"


def _without_copies(tables: Tables) -> list[Sketch]:
    """Event files whose events are not those of an earlier one."""
    kept: list[Sketch] = []
    for part in tables.events:
        columns = [role.column for role in (part.user, part.item, part.time or part.order) if role]
        mine = part.frame.select(pl.col(columns).cast(pl.String)).unique()
        for other in kept:
            theirs = other.frame.select(pl.col(columns).cast(pl.String)).unique()
            shared = mine.join(theirs, on=columns, how="semi").height / mine.height
            if shared >= SAME_EVENTS:
                tables.unused[part.name] = f"{shared:.0%} of its events are in {other.name} too"
                break
        else:
            kept.append(part)
    return kept


def _entity(wanted: str, parts: list[Sketch], tables: Tables) -> Entity | None:
    """The table whose key holds the ids of the events; of several the one with the fewest counts of the whole period."""
    role = tables.role(wanted.removesuffix("_id"))
    assert role is not None
    known = tables.ids(role.column)
    parts = [part for part in parts if not _item_lists(part)]
    found = [entity for part in parts if (entity := _keyed(part, wanted, role.column, known)) is not None]
    if not found:
        return None
    found.sort(key=lambda entity: (-round(entity.found, 1), len(leaks(entity.sketch)), -entity.sketch.frame.width))
    best = found[0]
    for other in found[1:]:
        counts = leaks(other.sketch) if wanted == Columns.ITEM else []
        why = (
            f"; {len(counts)} of its columns ({', '.join(counts[:3])}, ...) are counts of the whole period, which know the test"
            if counts
            else ""
        )
        tables.unused[other.sketch.name] = f"another table of {ENTITIES[wanted]} ({best.sketch.name} is taken){why}"
    return best


def _keyed(part: Sketch, wanted: str, column: str, known: pl.Series) -> Entity | None:
    """`part` as a table of the wanted entity, by its best key column."""
    rated = []
    distinct_rows = _distinct_rows(part)
    stem = {word.rstrip("s") for word in tokens(table_stem(Path(part.name)))}
    for name in part.frame.columns:
        if name in part.sample.nested or not name.strip() or not is_id_like(part.frame[name]):
            continue
        keys = part.ids(name).drop_nulls()
        if keys.n_unique() != distinct_rows:
            continue
        role, _ = subject(name)
        if role is not None and role != wanted:
            continue
        telling = name == column or role == wanted or (tokens(name) == ["id"] and bool(stem & SUBJECTS[wanted]))
        share = int(known.is_in(keys.implode()).sum()) / known.len()
        if share >= (FOUND_NAMED if telling else FOUND_UNNAMED) or (telling and not part.sample.whole and share > 0):
            rated.append((telling, share, name))
    if not rated:
        return None
    _, share, name = max(rated, key=lambda entry: entry[:2])
    return Entity(part, name, share)


def _distinct_rows(part: Sketch) -> int:
    plain = [name for name, dtype in part.frame.schema.items() if not dtype.is_nested() and name not in part.sample.nested]
    return part.frame.select(plain).n_unique() if plain else 0


def leaks(part: Sketch) -> list[str]:
    """Number columns of an entity that count what happened to it, over a period nobody knows."""
    found = []
    for name in part.frame.columns:
        words = tokens(name)
        counted = bool(words) and (
            words[-1] in COUNT_WORDS or any(word in ("avg", "average", "popularity", "sales", "sold") for word in words)
        )
        done = len(words) > 1 and any(word in OUTCOMES for word in words) and words[-1] not in ("type", "id")
        if counted or (done and part.frame[name].n_unique() > 2):
            found.append(name)
    return found


def _has_lists(part: Sketch) -> bool:
    return bool(part.sample.nested) or any(dtype == pl.List for dtype in part.frame.schema.values())


def _item_lists(part: Sketch) -> list[str]:
    """Columns of whole numbers in lists beside users: histories, not properties."""
    if part.user is None:
        return []
    return [name for name, dtype in part.frame.schema.items() if isinstance(dtype, pl.List) and dtype.inner.is_integer()]


def _what(part: Sketch) -> str:
    """What a file that is no event log seems to be."""
    lists = _item_lists(part)
    if part.sample.nested:
        return f"objects inside rows ({', '.join(sorted(part.sample.nested)[:3])}), as dialogues have them"
    if part.user is not None and part.item is None and lists:
        return f"lists of items in one row ({', '.join(lists[:3])}), not one event a row"
    if part.user is not None and part.item is not None:
        missing = "neither a time nor an order" if part.time is None and part.order is None else "every item only once"
        return f"users ({part.user.column}) and items ({part.item.column}), but {missing}"
    if part.user is None and part.item is not None and part.outcomes:
        return f"impressions of items ({part.item.column}) with their outcome ({part.outcomes[0]}), but no column says of whom"
    if part.text is not None:
        return f"texts ({part.text.column}), but no users beside items"
    if part.user is not None or part.item is not None:
        role = part.user or part.item
        assert role is not None
        return f"a table by {role.column}"
    return f"no column that names users or items; columns: {', '.join(name for name in part.frame.columns[:6] if name.strip())}"


def _no_events(sketches: list[Sketch], unreadable: dict[str, str]) -> str:
    """What the files are instead, the nearest to an event log first, files of one kind together."""
    near = sorted(sketches, key=lambda part: (part.user is None) + (part.item is None) + (not part.outcomes) + (not part.sample.nested))
    kinds: dict[str, list[str]] = {}
    for name, why in [(part.name, _what(part)) for part in near] + list(unreadable.items()):
        kinds.setdefault(why, []).append(name)
    seen = [f"{', '.join(names[:2])}{f' and {len(names) - 2} more' if len(names) > 2 else ''}: {why}" for why, names in kinds.items()]
    more = f"; and {len(seen) - 3} more kinds" if len(seen) > 3 else ""
    return f"no event log: a row for each event, with a user, an item and a time or an order, is needed. {'; '.join(seen[:3])}{more}"
