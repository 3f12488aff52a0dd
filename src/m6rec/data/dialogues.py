"""Dialogues: files of them read and checked, cut by a hash of the dialogue, and worded for tasks that read and write texts.

One JSON object a line:

    {"dialogue_id": "d7", "user_id": "u3", "lang": "en", "time": 1700000000, "split": "test",
     "messages": [{"role": "user", "text": "I need boots", "items": [], "liked": [], "refused": []},
                  {"role": "assistant", "text": "How about Alpina 3?", "items": ["i12"]}]}

`dialogue_id`, `messages`, and of each message `role` (user or assistant) and `text` are required. `items` are the ids that a message names, in
the order in which it does; `liked` and `refused` what it says about them; `hand_over` (true or false, of what a user says) whether a person should answer
it, for measuring (null: not known). As a frame a dialogue is one row a message (see `SCHEMA`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m6rec.base.arguments import NO_CONTROLS, has_controls
from m6rec.base.errors import DataError, nearest
from m6rec.data.account import Account
from m6rec.data.columns import Columns
from m6rec.data.config import DataConfig
from m6rec.data.dataset import Vocabulary
from m6rec.data.exposure_columns import PARTS
from m6rec.data.readers import decoded, read_bytes, read_table
from m6rec.data.schema import shown
from m6rec.data.times import to_seconds

ID, TURN, ROLE, ITEMS, LIKED, REFUSED = "dialogue_id", "turn", "role", "items", "liked", "refused"
HAND_OVER = "hand_over"
USER, ASSISTANT = "user", "assistant"
ROLES = (USER, ASSISTANT)
KIND, CONTEXT = "dialogue", "context"  # of the texts made of replies: their kind, and the column of the words before them
MOST_CONTEXT = 2_000  # characters of the newest words before a reply
SCHEMA: dict[str, Any] = {
    ID: pl.String,
    Columns.USER: pl.String,
    Columns.LANG: pl.String,
    Columns.TIME: pl.Float64,
    Columns.SPLIT: pl.Int8,  # 0 training, 1 validation, 2 test; null: by hash
    TURN: pl.Int32,
    ROLE: pl.String,
    Columns.TEXT: pl.String,
    ITEMS: pl.List(pl.String),
    LIKED: pl.List(pl.String),
    REFUSED: pl.List(pl.String),
    HAND_OVER: pl.Boolean,  # frames of before have no such column
}
DIALOGUE_KEYS = (ID, Columns.USER, Columns.LANG, Columns.TIME, Columns.SPLIT, "messages")
MESSAGE_KEYS = (ROLE, Columns.TEXT, ITEMS, LIKED, REFUSED, HAND_OVER)


def read_dialogues(data: DataConfig, folder: Path, *, account: Account) -> pl.DataFrame | None:
    """The dialogues of `data.dialogues` as a frame of `SCHEMA`, one row a message; None where no file is named.

    A dialogue in which nobody says anything is left out and counted.

    Raises:
        DataError: a line that is no dialogue, with its number; an id twice.
    """
    if data.dialogues is None:
        return None
    rows: list[dict[str, Any]] = []
    known: dict[str, str] = {}
    empty = 0
    for file in data.dialogue_files():
        for place, value in _lines(folder / file, file, data.encoding):
            messages = _dialogue(value, place)
            name = messages[0][ID]
            if name in known:
                raise DataError(f"{place}: dialogue_id {shown(name)} was there before ({known[name]}); every dialogue needs its own")
            known[name] = place
            if not any(message[Columns.TEXT] for message in messages):
                empty += 1
                continue
            for message in messages:
                message[Columns.TEXT] = message[Columns.TEXT][: data.max_text_characters]
            rows += messages
    if not rows:
        raise DataError(f"{', '.join(data.dialogue_files())} hold no dialogue in which anybody says anything; give at least one")
    frame = pl.DataFrame(rows, schema=SCHEMA)
    account.add("dialogues read", frame[ID].n_unique(), ", ".join(data.dialogue_files()))
    account.add("dialogues dropped", empty, "nobody says anything")
    return frame


def with_known_items(frame: pl.DataFrame, items: Vocabulary, account: Account) -> pl.DataFrame:
    """The dialogues without ids that are not in the catalogue, which are counted."""
    strange = 0
    columns = []
    for name in (ITEMS, LIKED, REFUSED):
        held = frame[name].to_list()
        kept = [[item for item in one if item in items] for one in held]
        strange += sum(map(len, held)) - sum(map(len, kept))
        columns.append(pl.Series(name, kept, dtype=pl.List(pl.String)))
    account.add("items of dialogues dropped", strange, "ids that are not in the catalogue")
    return frame.with_columns(columns)


def dialogue_parts(frame: pl.DataFrame) -> np.ndarray:
    """int8, one a row: 0 training, 1 validation, 2 test. Of a dialogue's own `split`, else by a hash of its id, 80/10/10."""
    hashed = {name: _part(name) for name in frame[ID].unique().to_list()}
    parts = frame[Columns.SPLIT].fill_null(frame[ID].replace_strict(hashed, return_dtype=pl.Int8))
    return parts.to_numpy().astype(np.int8)


def dialogue_texts(frame: pl.DataFrame) -> pl.DataFrame:
    """What assistants said, as texts: kind, user_id, item_id (the first item named), text, lang, time, context (the words before), split."""
    rows = []
    parts = dialogue_parts(frame)
    for name, messages, part in _conversations(frame, parts):
        for number, message in enumerate(messages):
            if message[ROLE] != ASSISTANT or not message[Columns.TEXT].strip() or number == 0:
                continue
            rows.append(
                {
                    Columns.KIND: KIND,
                    Columns.USER: message[Columns.USER] or name,
                    Columns.ITEM: message[ITEMS][0] if message[ITEMS] else None,
                    Columns.TEXT: message[Columns.TEXT],
                    Columns.LANG: message[Columns.LANG],
                    Columns.TIME: message[Columns.TIME],
                    CONTEXT: context_of([(one[ROLE], one[Columns.TEXT]) for one in messages[:number]]),
                    Columns.SPLIT: part,
                }
            )
    strings = (Columns.KIND, Columns.USER, Columns.ITEM, Columns.TEXT, Columns.LANG, CONTEXT)
    schema = {**dict.fromkeys(strings, pl.String), Columns.TIME: pl.Float64, Columns.SPLIT: pl.Int8}
    return pl.DataFrame(rows, schema={name: schema[name] for name in (*strings[:5], Columns.TIME, CONTEXT, Columns.SPLIT)})


def context_of(turns: list[tuple[str, str]]) -> str:
    """The newest words of a conversation as one text: "user: ... assistant: ...", the oldest left out where it is long."""
    said = " ".join(f"{role}: {' '.join(text.split())}" for role, text in turns if text.strip())
    return said[-MOST_CONTEXT:]


def conversations(frame: pl.DataFrame) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(dialogue_id, its messages as rows of the frame, in order) of every dialogue, in the order of the file."""
    for name, messages, _ in _conversations(frame, np.zeros(frame.height, dtype=np.int8)):
        yield name, messages


def _conversations(frame: pl.DataFrame, parts: np.ndarray) -> Iterator[tuple[str, list[dict[str, Any]], int]]:
    messages: list[dict[str, Any]] = []
    part = 0
    for row, of in zip(frame.iter_rows(named=True), parts.tolist(), strict=True):
        if messages and messages[0][ID] != row[ID]:
            yield messages[0][ID], messages, part
            messages = []
        messages.append(row)
        part = of
    if messages:
        yield messages[0][ID], messages, part


def _part(name: str) -> int:
    share = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) / 2**64
    return 0 if share < 0.8 else 1 if share < 0.9 else 2


def _lines(path: Path, file: str, encoding: str) -> Iterator[tuple[str, Any]]:
    """("file: line n", value) of every line of JSON; of a Parquet file or a JSON array every entry."""
    if path.name.endswith(".parquet"):
        for number, row in enumerate(read_table(path).to_dicts(), start=1):
            yield f"{file}: row {number}", row
        return
    data = decoded(read_bytes(path), file, encoding)
    if not data.strip():
        raise DataError(
            f"{file} is empty; a dialogue a line is needed: " + '{"dialogue_id": ..., "messages": [{"role": "user", "text": ...}]}'
        )
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            yield f"{file}: line {number}", json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{file}: line {number} is not JSON ({str(error)[:100]}); one dialogue a line, as one object") from None


def _dialogue(value: Any, place: str) -> list[dict[str, Any]]:
    """The messages of one dialogue as rows of SCHEMA. Raises DataError."""
    if not isinstance(value, dict):
        raise DataError(f"{place} is {type(value).__name__}, not an object with dialogue_id and messages")
    for key in (ID, "messages"):
        if value.get(key) in (None, "", []):
            raise DataError(f"{place} has no {key}{nearest(key, list(value))}; keys of a dialogue: {', '.join(DIALOGUE_KEYS)}")
    messages = value["messages"]
    if not isinstance(messages, list):
        raise DataError(f"{place}: messages is {type(messages).__name__}, not a list of objects with role and text")
    part = value.get(Columns.SPLIT)
    if part is not None and str(part).lower() not in PARTS:
        raise DataError(f"{place}: split is {shown(part)}; allowed are train, validation and test")
    facts = {
        ID: _text(str(value[ID]), f"{place}: {ID}"),
        Columns.USER: _text(value.get(Columns.USER), f"{place}: user_id"),
        Columns.LANG: _text(value.get(Columns.LANG), f"{place}: lang"),
        Columns.TIME: _seconds(value.get(Columns.TIME), place),
        Columns.SPLIT: None if part is None else PARTS[str(part).lower()],
    }
    return [{**facts, TURN: turn, **_message(message, f"{place}: message {turn + 1}")} for turn, message in enumerate(messages)]


def _message(message: Any, place: str) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise DataError(f"{place} is {type(message).__name__}, not an object with role and text")
    role = message.get(ROLE)
    if role not in ROLES:
        raise DataError(f"{place}: role is {shown(role)}; allowed are user and assistant")
    if not isinstance(message.get(Columns.TEXT), str):
        raise DataError(f"{place}: text is {shown(message.get(Columns.TEXT))}, not words; keys of a message: {', '.join(MESSAGE_KEYS)}")
    found: dict[str, Any] = {ROLE: role, Columns.TEXT: message[Columns.TEXT]}
    for key in (ITEMS, LIKED, REFUSED):
        named = message.get(key)
        if named is not None and (not isinstance(named, list) or not all(isinstance(one, str | int) for one in named)):
            raise DataError(f"{place}: {key} is {shown(named)}, not a list of item ids")
        found[key] = list(dict.fromkeys(str(one) for one in named or []))
    found[HAND_OVER] = message.get(HAND_OVER)
    if found[HAND_OVER] is not None and not isinstance(found[HAND_OVER], bool):
        raise DataError(f"{place}: hand_over is {shown(found[HAND_OVER])}; allowed are true and false, or leave it out")
    return found


def _text(value: Any, what: str) -> str | None:
    if has_controls(value):
        raise DataError(f"{what} is {shown(value)}; {NO_CONTROLS}")
    if value is None or isinstance(value, str | int):
        return None if value is None or value == "" else str(value)
    raise DataError(f"{what} is {shown(value)}, not a text")


def _seconds(value: Any, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool | list | dict):
        raise DataError(f"{place}: time is {shown(value)}; give seconds since 1970 or an ISO date")
    return to_seconds(pl.Series("time", [value]), "auto", place)[0].to_list()[0]
