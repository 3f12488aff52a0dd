"""The settings that a proposal is made of, section by section, each with the fact that speaks for it."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import polars as pl

from m6rec.base.errors import DataError
from m6rec.data.columns import Columns
from m6rec.data.event_facts import EventFacts
from m6rec.data.fields import FieldType
from m6rec.data.guessing import explain_type
from m6rec.data.readers import table_stem
from m6rec.data.roles import UNWANTED, Role, TimeRole, tokens
from m6rec.data.settings_file import Setting
from m6rec.data.sketch import Sketch
from m6rec.data.table_roles import Entity, Tables, leaks
from m6rec.data.time_roles import SPOKEN_UNITS
from m6rec.data.times import DAY, spoken

ENOUGH_LONG = 0.3  # share of users with three events or more that leave-one-out can do with
OFTEN = 0.15  # share of events with an item the user had before, from which repeats are wanted
CHINESE_SHARE = 0.3
HELD_OUT = "it decides what is trained on; the held-out events are those of any action"


def files(tables: Tables, folder: Path, facts: EventFacts) -> list[Setting]:
    def relative(part: Sketch) -> str:
        return Path(os.path.relpath(part.sample.path.resolve(), folder.resolve())).as_posix()

    def several(parts: list[Sketch]) -> str | list[str]:
        names = [relative(part) for part in parts]
        return names[0] if len(names) == 1 else names

    extents = "; ".join(f"{part.name}: {part.sample.extent()}" for part in tables.events)
    why = f"{extents}. {facts.users:,} users with {facts.median:.0f} events each (median), {facts.items:,} items, in what was read."
    settings = [Setting(("data", "events"), several(tables.events), why)]
    if tables.exposures:
        outcomes = list(dict.fromkeys(name for part in tables.exposures for name in part.outcomes))
        why = f"what was shown, with outcomes of 0 and 1 ({', '.join(outcomes)}): take it in to judge them, with a task such as those below"
        settings.append(Setting(("data", "exposures"), several(tables.exposures), why, active=False))
    for name, entity in (("items", tables.items), ("users", tables.users)):
        if entity is None:
            continue
        column = tables.role(name.removesuffix("s"))
        assert column is not None
        why = f"{entity.found:.0%} of the values of {column.column} in the events are found in {entity.sketch.name}, column {entity.key}"
        check = "" if entity.found >= 0.9 else "many are not found; is it the table of these events?"
        if check and not (entity.sketch.sample.whole and all(part.sample.whole for part in tables.events)):
            check = "only parts of large files were compared; m6rec validate counts what is missing"
        settings.append(Setting(("data", name), relative(entity.sketch), why, check))
    if tables.texts:
        shown = "; ".join(f"{part.name}: {part.text.why} in {part.text.column}" for part in tables.texts if part.text)
        check = ""
        if any(part.item is None and part.user is None for part in tables.texts):
            check = "texts without users or items only teach words; take out what is not of this shop"
        settings.append(Setting(("data", "texts"), several(tables.texts), shown, check))
    if tables.relations:
        settings.append(Setting(("data", "relations"), relative(tables.relations), "it has the columns head, relation, tail"))
    if tables.faq:
        settings.append(Setting(("data", "faq"), relative(tables.faq), "it has the columns question, answer"))
    return settings


def columns(tables: Tables) -> list[Setting]:
    """`data.columns`: the events' columns, then what another table calls differently."""
    settings = []
    mapped: dict[str, str] = {}
    action = tables.role("action")
    if action is None and tables.events[0].outcomes:
        first = tables.events[0].outcomes[0]
        rest = ", ".join(tables.events[0].outcomes[1:])
        action = Role(first, f"0 or 1: the outcome of an impression, which becomes its action{'; other outcomes: ' + rest if rest else ''}")
    roles = {
        Columns.USER: tables.role("user"),
        Columns.ITEM: tables.role("item"),
        Columns.TIME: tables.role("time"),
        Columns.ORDER: tables.role("order"),
        Columns.ACTION: action,
        Columns.VALUE: tables.role("value"),
    }
    for name, role in roles.items():
        if role is not None:
            span = f", {_span(tables)}" if name == Columns.TIME else ""
            others = f"; also possible: {', '.join(role.others)}" if role.others else ""
            check = role.check if not (name == Columns.TIME and roles[Columns.ORDER]) else ""
            settings.append(Setting(("data", "columns", name), role.column, f"{role.why}{span}{others}", check))
            mapped[name] = role.column

    def differs(table: str, name: str, column: str, frame: pl.DataFrame, why: str) -> None:
        wanted = mapped.get(name, name)
        if (wanted if wanted in frame.columns else name) != column:
            settings.append(Setting(("data", "columns", f"{table}.{name}"), column, why))

    for table, name, entity in (("items", Columns.ITEM, tables.items), ("users", Columns.USER, tables.users)):
        if entity is not None:
            differs(table, name, entity.key, entity.sketch.frame, f"the column of {entity.sketch.name} that is different in every row")
    for part in tables.texts[:1]:
        assert part.text is not None
        others = f"; also possible: {', '.join(part.text.others)}" if part.text.others else ""
        differs("texts", Columns.TEXT, part.text.column, part.frame, f"{part.text.why}{others}")
        for name, role in ((Columns.USER, part.user), (Columns.ITEM, part.item), (Columns.TIME, part.time)):
            if role is not None:
                differs("texts", name, role.column, part.frame, role.why)
    return settings


def _span(tables: Tables) -> str:
    """From the first to the last time that was read, of all event files."""
    times = [part.time for part in tables.events if part.time]
    return f"{spoken(min(role.first for role in times))} to {spoken(max(role.last for role in times))}"


def reading(tables: Tables, facts: EventFacts, now: float) -> list[Setting]:
    """Unit, separator, encoding, repeats: how the files are to be read."""
    settings = []
    times = [part.time for part in (*tables.events, *tables.texts) if part.time]
    units = {role.unit for role in times}
    main = tables.role("time")
    if len(units) == 1 and isinstance(main, TimeRole) and main.unit != "auto":
        check = "days since 1970? another day zero shifts every date" if main.unit == "day" else ""
        settings.append(
            Setting(("data", "time_unit"), main.unit, f"{SPOKEN_UNITS[main.unit]} since 1970, by the size of the numbers", check)
        )
    parts = [*tables.events, *(entity.sketch for entity in (tables.items, tables.users) if entity), *tables.texts]
    parts += [part for part in (tables.relations, tables.faq) if part]
    encodings = {part.sample.encoding: part.name for part in parts if part.sample.encoding != "ascii"}
    if len(encodings) > 1:
        files = " and ".join(f"{name} {encoding}" for encoding, name in encodings.items())
        raise DataError(f"the files have several encodings ({files}); save them all as UTF-8")
    for encoding in encodings:
        if encoding != "utf-8":
            why = "not UTF-8; as GB18030 it reads as Chinese" if encoding == "gb18030" else "not UTF-8, and not Chinese"
            settings.append(
                Setting(("data", "encoding"), encoding, why, "" if encoding == "gb18030" else "are names and titles spelled right?")
            )
    separators = {part.sample.separator for part in parts}
    if separators != {None}:
        marks = " and ".join(f"{part.name} by '{part.sample.separator or 'comma, tab, semicolon or |'}'" for part in parts)
        if len(separators) > 1:
            raise DataError(f"the files are cut differently ({marks}), and one separator can be set; write them as CSV with commas")
        settings.append(Setting(("data", "separator"), separators.pop(), f"it cuts every line alike ({marks})"))
    if isinstance(main, TimeRole) and facts.last_time(tables) > now + DAY:
        settings.append(
            Setting(("data", "future_times"), "drop", "some times lie in the future", "is the unit right? else these events are wrong")
        )
    if facts.repeats and not (isinstance(main, TimeRole) and main.days_only):
        why = f"{facts.repeats:,} rows are the same as an earlier one in every column"
        settings.append(Setting(("data", "duplicates"), "drop", why))
    return settings


def fields(table: str, entity: Entity | None) -> list[Setting]:
    """Types of the fields; counts of the whole period stay out of the items."""
    if entity is None:
        return []
    frame, settings = entity.sketch.frame, []
    counts = leaks(entity.sketch) if table == "items" else []
    for name in frame.columns:
        if name == entity.key or name in entity.sketch.sample.nested or not name.strip():
            continue
        kind, why = explain_type(frame[name])
        if kind is None:
            continue
        if frame[name].n_unique() == 1 and frame.height > 1:
            settings.append(Setting(("fields", table, name), str(kind), "the same in every row", active=False))
        elif name in counts and kind == FieldType.NUMBER:
            note = f"{why}; by its name a count of the whole period: it knows the test, take it in only if it was known before"
            settings.append(Setting(("fields", table, name), str(kind), note, active=False))
        else:
            settings.append(Setting(("fields", table, name), str(kind), why))
    if not any(setting.active for setting in settings):
        settings.insert(0, Setting(("fields", table), {}, "no column of it says anything"))
        return settings[:1]
    return settings


def scenarios(tables: Tables) -> list[Setting]:
    role = tables.role("scenario")
    if role is not None:
        others = f"; also possible: {', '.join(role.others)}" if role.others else ""
        check = "" if role.column == Columns.SCENARIO else "is this where an event happened?"
        return [Setting(("scenarios", "column"), role.column, f"{role.why}{others}", check)]
    if len(tables.events) < 2:
        return []
    stems = [table_stem(part.sample.path) for part in tables.events]
    bare = {
        "".join(word for word in tokens(stem) if not word.isdigit() and word not in ("part", "train", "valid", "test", "dev"))
        for stem in stems
    }
    spans = sorted((part.time.first, part.time.last) for part in tables.events if part.time)
    apart = len(spans) == len(stems) and all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    if len(bare) == 1 or apart:
        why = "the names of the files differ in numbers only" if len(bare) == 1 else "each file begins where another ends"
        return [Setting(("scenarios", "by_file"), False, f"{why}: parts of one log")]
    return [Setting(("scenarios", "by_file"), True, f"one scenario a file: {', '.join(stems)}", "parts of one log instead? then false")]


def split(tables: Tables, facts: EventFacts) -> list[Setting]:
    role = tables.role("time")
    dated = isinstance(role, TimeRole) and tables.role("order") is None
    long = f"{facts.long_share:.0%} of the users have three events or more"
    if dated and (tables.events[0].outcomes or facts.long_share < ENOUGH_LONG):
        reason = "impressions are asked about as a live system is: by a moment" if tables.events[0].outcomes else f"only {long}"
        why = f"{reason}; also possible: leave_one_out (the last event of each user), cold_items"
        protocol = "time"
    else:
        other = "time (everything from a moment on), cold_items" if dated else "cold_items"
        why, protocol = f"{long}; also possible: {other}", "leave_one_out"
    settings = [Setting(("split", "protocol"), protocol, why)]
    if facts.ties > 0.01:
        why = f"{facts.ties:.0%} of the events have the time of the user's event before; true shuffles them, false keeps the order of the file"
        settings.append(Setting(("split", "shuffle_ties"), False, why))
    return settings


def language(tables: Tables) -> list[Setting]:
    """Chinese wording where most of the letters are Chinese."""
    texts = [part.frame[part.text.column] for part in tables.texts if part.text]
    if tables.items is not None:
        frame = tables.items.sketch.frame
        texts += [frame[name] for name in frame.columns if frame[name].dtype == pl.String]
    joined = "".join(text.drop_nulls().head(500).cast(pl.String).str.slice(0, 200).str.join("").item() for text in texts)
    letters = [character for character in joined if character.isalpha()]
    chinese = sum("一" <= character <= "鿿" for character in letters)
    if letters and chinese >= CHINESE_SHARE * len(letters):
        return [Setting(("text", "language"), "zh", f"{chinese / len(letters):.0%} of the letters are Chinese")]
    return []


def task(tables: Tables, facts: EventFacts, items: list[Setting]) -> list[Setting]:
    """Which actions are wanted, whether consumed items come back, and what typed words ask for where the fields of the `items` have words."""
    settings = []
    action, outcomes = tables.role("action"), tables.events[0].outcomes
    path = ("tasks", "next", "positive")
    if action is not None:
        names = facts.names(tables, action.column)
        unwanted = [name for name in names if set(tokens(name)) & UNWANTED]
        if unwanted and len(unwanted) < len(names):
            wanted = [name for name in names if name not in unwanted]
            why = f"{', '.join(unwanted)}: seen or refused, not wanted; they stay in the history"
            settings.append(Setting(path, wanted, why, HELD_OUT))
        else:
            settings.append(Setting(path, names, "every action counts; to train on some of them only, name them here", active=False))
    elif outcomes:
        column = outcomes[0]
        yes = [name for name in facts.names(tables, column) if name.lower() in ("1", "1.0", "true")]
        if yes:
            share = facts.share(tables, column, yes)
            why = f"{column} is {yes[0]} for {share:.1%} of the impressions; the others stay in the history"
            settings.append(Setting(path, yes, why, HELD_OUT))
    if facts.again >= OFTEN:
        why = f"{facts.again:.0%} of the events are of an item the user had before"
        settings.append(Setting(("tasks", "next", "repeat"), "allow", why, "exclude if only what is new to a user should be recommended"))
    if any(setting.active and setting.value in ("text", "category", "tags") for setting in items):
        why = "learns what typed words, tags and described people ask for, in a stage after the fit; null: such words only match"
        settings.append(Setting(("tasks", "next", "interest"), {}, why))
    for name in dict.fromkeys(name for part in tables.exposures for name in part.outcomes):
        judged = {"answer": "judge", "label": name}
        settings.append(Setting(("tasks", name), judged, "an outcome of the exposures, see data.exposures", active=False))
    return settings
