"""ReDial (Li et al., 2018) and files of its form: dialogues in which a seeker and a recommender name movies as @id.

The seeker is the user, the recommender the assistant; "@111776" becomes the movie's title and an entry of `items`. With the option `judgements`,
what the seeker's form says of a movie becomes `liked` and `refused` of the first message of the seeker that names it or follows its naming.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from m6rec.base.configuration import Config
from m6rec.base.errors import DataError
from m6rec.data.account import Account
from m6rec.data.columns import Columns
from m6rec.data.fields import FieldType
from m6rec.data.importers.importer import IMPORTERS, Imported, Importer
from m6rec.data.readers import decoded, read_bytes, read_table

MENTION = re.compile(r"@(\d+)")
YEAR = re.compile(r"\s*\((\d{4})\)\s*$")
DIALOGUES = (".jsonl", ".jsonl.gz")
MOVIES = ("movies.json", "movies.json.gz")
TITLES = "entity_titles.json"
LIKED, NOT_LIKED = 1, 0  # of the forms; 2 is "did not say"
ITEM_FIELDS = {
    "title": FieldType.TEXT,
    "year": FieldType.NUMBER,
    "genre": FieldType.TAGS,
    "director": FieldType.TAGS,
    "star": FieldType.TAGS,
    "plot": FieldType.TEXT,
}


@IMPORTERS.register("redial")
class RedialImporter(Importer):
    """A folder of dialogue files with movies.json, or one dialogue file. Files whose name holds "test" are the test."""

    name = "redial"
    description = "ReDial dialogues (messages with @id, movieMentions), with movies.json and sequences of further dialogues beside them"

    class Options(Config):
        """Options of `m6rec import redial`."""

        test: str = Field("test", description="Files whose name holds this are the test; of the others a part is held back by hash.")
        validation: float = Field(0.1, ge=0, lt=1, description="Share of the other dialogues held back for validation, by hash of the id.")
        judgements: bool = Field(
            False,
            description="Take from the seeker's form, filled in afterwards, which movies were liked and refused, as if they had said so.",
        )
        sequences: str | None = Field(
            None,
            description="Table of further dialogues as sequences (conversationId, movie_sent) whose movies become events of their own.",
        )

    @classmethod
    def detect(cls, path: Path) -> bool:
        """A folder or file whose dialogues have messages and movieMentions."""
        for file in _files(path)[:1]:
            first = read_bytes(file).split(b"\n", 1)[0]
            return b'"movieMentions"' in first and b'"messages"' in first
        return False

    def read(self, source: Path, options: Options, account: Account) -> Imported:
        """Dialogues, the movies, and events where `sequences` names a table of them; a dialogue that two files have is taken once."""
        files = _files(source)
        if not files:
            raise DataError(f"{source} has no dialogues; name a folder with .jsonl files of messages and movieMentions")
        folder = source if source.is_dir() else source.parent
        movies = _movies(folder, account)
        dialogues: dict[str, dict[str, Any]] = {}
        for file in files:
            before = len(dialogues)
            test = bool(options.test) and options.test in file.name
            read = 0
            for place, row in _rows(file):
                dialogue = _dialogue(row, movies, place, options.judgements)
                dialogue[Columns.SPLIT] = "test" if test else _part(dialogue["dialogue_id"], options.validation)
                if dialogue["dialogue_id"] not in dialogues or test:
                    dialogues[dialogue["dialogue_id"]] = dialogue
                read += 1
            account.add("dialogues read", read, file.name)
            account.add("dialogues met before", read - (len(dialogues) - before), file.name)
        items = pl.DataFrame(list(movies.values()), schema=_schema(), orient="row")
        account.add("movies", items.height)
        events = None
        if options.sequences is not None:
            events = _sequences(folder / options.sequences, folder / TITLES, set(dialogues), set(movies), account)
        settings: dict[str, Any] = {"split": {"protocol": "cold_users", "cold_fraction": 0.02}}
        settings["tasks"] = {"next": {"answer": "choose"}, "named": {"answer": "choose", "of": "dialogue"}}
        return Imported(events=events, items=items, item_fields=dict(ITEM_FIELDS), dialogues=list(dialogues.values()), settings=settings)


def _schema() -> dict[str, Any]:
    strings = pl.List(pl.String)
    return {
        Columns.ITEM: pl.String,
        "title": pl.String,
        "year": pl.Int64,
        "genre": strings,
        "director": strings,
        "star": strings,
        "plot": pl.String,
    }


def _files(path: Path) -> list[Path]:
    found = sorted(path.iterdir()) if path.is_dir() else [path]
    return [file for file in found if file.name.endswith(DIALOGUES) and file.is_file()]


def _rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(decoded(read_bytes(file), file.name).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{file.name}: line {number} is not JSON ({error.msg}); one dialogue a line") from None
        if not isinstance(row, dict) or not isinstance(row.get("messages"), list) or "conversationId" not in row:
            raise DataError(f"{file.name}: line {number} is no dialogue of ReDial; it needs conversationId and messages")
        yield f"{file.name}: line {number}", row


def _movies(folder: Path, account: Account) -> dict[str, dict[str, Any]]:
    """Movies by id, as rows of the items table; empty where there is no file of them."""
    path = next((folder / name for name in MOVIES if (folder / name).is_file()), None)
    if path is None:
        return {}
    try:
        told = json.loads(decoded(read_bytes(path), path.name))
    except json.JSONDecodeError as error:
        raise DataError(f"{path.name}: line {error.lineno} is not JSON ({error.msg})") from None
    movies = {str(name): _movie(str(name), str(facts.get("name") or ""), facts) for name, facts in told.items()}
    account.add("movies read", len(movies), path.name)
    return movies


def _movie(name: str, title: str, facts: dict[str, Any]) -> dict[str, Any]:
    year = YEAR.search(title)
    row: dict[str, Any] = {Columns.ITEM: name, "title": YEAR.sub("", title).strip() or None, "year": int(year[1]) if year else None}
    row |= {field: facts.get(field) or [] for field in ("genre", "director", "star")}
    return row | {"plot": facts.get("plot") or None}


def _dialogue(row: dict[str, Any], movies: dict[str, dict[str, Any]], place: str, judgements: bool) -> dict[str, Any]:
    """One dialogue of our form. Movies that only its mentions know are added to `movies`."""
    mentions = row.get("movieMentions")
    mentions = mentions if isinstance(mentions, dict) else {}
    for name, title in mentions.items():
        if name not in movies:
            movies[name] = _movie(name, str(title or ""), {})
    seeker, form = row.get("initiatorWorkerId"), row.get("initiatorQuestions")
    said: dict[str, Any] = form if judgements and isinstance(form, dict) else {}
    messages: list[dict[str, Any]] = []
    waiting: list[str] = []  # named, and not judged by the seeker yet
    for message in row["messages"]:
        text, user = str(message.get("text") or ""), message.get("senderWorkerId") == seeker
        items = [name for name in dict.fromkeys(MENTION.findall(text)) if name in movies]
        plain = MENTION.sub(lambda found: _title(movies.get(found[1])) or found[0], text)
        told: dict[str, Any] = {"role": "user" if user else "assistant", "text": " ".join(plain.split()), "items": items}
        waiting += [name for name in items if name not in waiting and name in said]
        if user and waiting:
            told["liked"] = [name for name in waiting if said[name].get("liked") == LIKED]
            told["refused"] = [name for name in waiting if said[name].get("liked") == NOT_LIKED]
            for name in waiting:
                said = {other: value for other, value in said.items() if other != name}
            waiting = []
        messages.append(told)
    if not messages:
        raise DataError(f"{place} has no messages; leave it out")
    return {"dialogue_id": str(row["conversationId"]), "lang": "en", "messages": messages}


def _title(movie: dict[str, Any] | None) -> str:
    if movie is None or not movie["title"]:
        return ""
    return f"{movie['title']} ({movie['year']})" if movie["year"] else str(movie["title"])


def _part(name: str, validation: float) -> str:
    share = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) / 2**64
    return "validation" if share < validation else "train"


def _sequences(path: Path, titles: Path, known: set[str], movies: set[str], account: Account) -> pl.DataFrame:
    """Events of dialogues of which only the movies are known: one user a dialogue that no file has, in order."""
    if not titles.is_file():
        raise DataError(f"no file {titles}: it says which movie an entity of {path.name} is; leave the option sequences out")
    told = json.loads(decoded(read_bytes(titles), titles.name)).get("map", {})
    movie_of = {entity: str(facts["redial_movie_id"]) for entity, facts in told.items()}
    rows = []
    unknown = 0
    for line in read_table(path).select("conversationId", "movie_sent").iter_rows(named=True):
        if line["conversationId"] in known:
            continue
        order = 0
        seen: set[str] = set()
        for entity, feeling, _ in ast.literal_eval(line["movie_sent"]):
            movie = movie_of.get(str(entity))
            if movie is None or movie not in movies:
                unknown += 1
            elif movie not in seen:
                seen.add(movie)
                action = "liked" if feeling == 1 else "refused"
                rows.append({Columns.USER: f"d{line['conversationId']}", Columns.ITEM: movie, Columns.ORDER: order, Columns.ACTION: action})
                order += 1
    account.add("movies of sequences dropped", unknown, f"{path.name}: entities that {titles.name} does not name")
    return pl.DataFrame(rows)
