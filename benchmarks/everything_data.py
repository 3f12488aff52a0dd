"""Two prepared folders for the benchmark of one checkpoint for everything: films (ratings joined to dialogues) and shops (three data sets as scenarios).

What decides a figure is decided here once: splits, joins, which text is to be written and what is read before it. No target stands in what is read:
plots that are written as reasons are no field of the films, and of a review that is headed nothing but its text is read.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from m6rec.base.storage import atomic_folder, write_json
from task_data import PARTS, prepare, read_movielens

TEXTS = ("kind", "user_id", "item_id", "text", "split", "review")
FIELDS = {"title": "text", "labels": "tags"}  # of the items of shops, where they have them
FILES = {
    "ratings": ("interactions.csv.gz", "movies.dat"),
    "dialogues": ("kgsf_test_data.jsonl.gz",),
    "sequences": ("leave_one_out.txt", "items.csv"),
    "titled": ("*.item2index", "*.text"),
    "reviews": ("reviews_*.json.gz",),
}
MENTION = re.compile(r"@(\d+)")
PLOT_WORDS = 40  # of a plot that is to be written, whole sentences


def recognise(folders: Sequence[Path]) -> dict[str, Path]:
    """Kind of data -> folder. Raises SystemExit for a folder of none."""
    found = {}
    for folder in folders:
        kind = next((kind for kind, patterns in FILES.items() if all(any(folder.glob(pattern)) for pattern in patterns)), None)
        if kind is None:
            raise SystemExit(f"{folder} is none of the folders that are known here; known by: {FILES}")
        found[kind] = folder
    return found


# --- films: ratings, dialogues and plots ------------------------------------------------------------------------------------------------------


def films(ratings: Path, dialogues: Path, out: Path) -> None:
    """Events, judged ratings, dialogues about the films that both name, and plots as texts to be written."""
    if (out / "config.yaml").exists():
        return
    base = out.with_name(f"{out.name}-ratings")
    if not (base / "config.yaml").exists():
        prepare(ratings, base, "ml-1m")
    items = read_movielens(ratings).tables["items"].with_columns(pl.col("item_id").cast(pl.String))
    shared = joined(items, dialogues)
    config = yaml.safe_load((base / "config.yaml").read_text(encoding="utf-8"))
    config["fields"]["items"].pop("plot", None)
    config["data"] |= {"texts": "texts.parquet", "dialogues": "dialogues.jsonl"}
    config["tasks"] |= {
        "reply": {"answer": "write", "from": ["dialogue"], "reads": ["history", "item", "context"]},
        "reason": {"answer": "write", "from": ["reason"], "reads": ["item"]},
    }
    plots = items.drop_nulls("plot").select("item_id", text=pl.col("plot").map_elements(first_sentences, return_dtype=pl.String))
    plots = plots.filter(pl.col("text").str.len_chars() > 20)
    with atomic_folder(out) as temporary:
        for path in base.glob("*.parquet"):
            (temporary / path.name).write_bytes(path.read_bytes())
        texts = plots.with_columns(kind=pl.lit("reason"), split=split_of(plots["item_id"], "plot"))
        texts.write_parquet(temporary / "texts.parquet")
        talks = list(read_dialogues(dialogues, shared))
        (temporary / "dialogues.jsonl").write_text("".join(json.dumps(talk, ensure_ascii=False) + "\n" for talk in talks), encoding="utf-8")
        write_json(temporary / "facts.json", {"shared films": len(set(shared.values())), "dialogues": len(talks), "plots": texts.height})
        _write_config(temporary, config)


def joined(items: pl.DataFrame, dialogues: Path) -> dict[str, str]:
    """Number of a film in the dialogues -> its id among the ratings, by title and year."""
    known = {(plain(row["title"]), row["year"]): row["item_id"] for row in items.iter_rows(named=True) if row["title"]}
    with gzip.open(dialogues / "movies.json.gz", "rt", encoding="utf-8") as handle:
        movies = {number: movie["name"] for number, movie in json.load(handle).items()}
    for _, talk in _talks(dialogues):
        movies |= {number: name for number, name in (talk["movieMentions"] or {}).items() if name}
    found = {}
    for number, name in movies.items():
        year = re.search(r"\((\d{4})\)\s*$", name)
        key = (plain(re.sub(r"\(\d{4}\)\s*$", "", name)), int(year[1])) if year else None
        if key in known:
            found[number] = known[key]
    return found


def plain(title: str) -> str:
    """A title as both sides write it: the article in front, no signs, no accents.

    >>> plain("Shawshank Redemption, The"), plain("The Shawshank  Redemption!")
    ('the shawshank redemption', 'the shawshank redemption')
    """
    title = re.sub(r"\(.*?\)", " ", title).strip()
    moved = re.fullmatch(r"(.*), (The|A|An|Le|La|Les|Il|Das|Der|Die|El|L')", title)
    title = f"{moved[2]} {moved[1]}" if moved else title
    title = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower().replace("&", " and ")
    return " ".join(re.findall(r"[a-z0-9]+", title))


def read_dialogues(folder: Path, shared: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Dialogues as m6rec reads them; the official test is the test, a tenth of the rest validates."""
    seen = set()
    for part, talk in _talks(folder):
        name = str(talk["conversationId"])
        if name in seen:
            continue
        seen.add(name)
        names, answers = talk["movieMentions"] or {}, talk["initiatorQuestions"] or {}
        messages = []
        for message in talk["messages"]:
            seeker = message["senderWorkerId"] == talk["initiatorWorkerId"]
            numbers = MENTION.findall(message["text"])
            items = list(dict.fromkeys(shared[number] for number in numbers if number in shared))
            liked = [shared[n] for n in numbers if n in shared and (answers.get(n) or {}).get("liked") == 1]
            text = named(message["text"], names)
            said = {"role": "user" if seeker else "assistant", "text": text, "items": items}
            messages.append(said | ({"liked": liked} if seeker and liked else {}))
        split = part or ("validation" if _digest(name) % 10 == 0 else "train")
        yield {"dialogue_id": name, "lang": "en", "split": split, "messages": messages}


def named(text: str, names: dict[str, str]) -> str:
    """The words of a message, its numbers replaced by the names of the films.

    >>> named("See @12!", {"12": "Heat (1995)"})
    'See Heat (1995)!'
    """
    return MENTION.sub(lambda found: (names.get(found[1]) or found[0]).strip(), text)


def _talks(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """("test" or "", dialogue), the test first."""
    for part, name in (("test", "kgsf_test_data"), ("", "kgsf_valid_data"), ("", "ievalm_valid_data")):
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as handle:
            for line in handle:
                yield part, json.loads(line)


def first_sentences(text: str) -> str:
    """Whole sentences of PLOT_WORDS words together at most, the first at any length up to that."""
    kept: list[str] = []
    for sentence in re.split(r"(?<=[.!?])\s+", " ".join(text.split())):
        if kept and len(" ".join([*kept, sentence]).split()) > PLOT_WORDS:
            break
        kept.append(sentence)
    return " ".join(" ".join(kept).split()[:PLOT_WORDS])


# --- shops: three data sets as scenarios -------------------------------------------------------------------------------------------------------


def shops(sequences: Path, titled: Path, reviews: Path, out: Path) -> list[str]:
    """The three together in out/all, each alone in out/NAME; returns the names of the three."""
    made = {"sequences": _sequences(sequences), "titled": _titled(titled), "reviews": _reviews(reviews)}
    for name, parts in {"all": list(made.values()), **{name: [one] for name, one in made.items()}}.items():
        if not (out / name / "config.yaml").exists():
            _shop(out / name, parts)
    return list(made)


def _shop(out: Path, parts: list[dict[str, pl.DataFrame]]) -> None:
    def together(table: str) -> pl.DataFrame | None:
        frames = [part[table] for part in parts if table in part]
        return pl.concat(frames, how="diagonal_relaxed") if frames else None

    config: dict[str, Any] = {
        "data": {"events": "events.parquet", "items": "items.parquet"},
        "fields": {"items": {name: kind for name, kind in FIELDS.items() if any(name in part["items"].columns for part in parts)}},
        "scenarios": {"column": "scenario"},
        "tasks": {"next": {"answer": "choose", "positive": None}},
    }
    with atomic_folder(out) as temporary:
        for table in ("events", "items", "exposures", "texts"):
            frame = together(table)
            if frame is None:
                continue
            config["data"][table] = f"{table}.parquet"
            frame.write_parquet(temporary / f"{table}.parquet")
        if "exposures" in config["data"]:
            config["tasks"] |= {
                "glad": {"answer": "judge", "label": "glad", "scenarios": ["reviews"]},
                "headline": {"answer": "write", "from": ["headline"], "reads": ["history", "item", "review"]},
            }
        _write_config(temporary, config)


def _sequences(folder: Path) -> dict[str, pl.DataFrame]:
    rows = [line.split() for line in (folder / "leave_one_out.txt").read_text(encoding="utf-8").splitlines() if line.strip()]
    items = pl.read_csv(folder / "items.csv", infer_schema_length=None).select(
        item_id=pl.format("s-{}", "item_id"), title="title", labels=pl.col("attribute_ids").cast(pl.String).str.split(" ")
    )
    return {"events": _events("sequences", "s", rows), "items": items}


def _titled(folder: Path) -> dict[str, pl.DataFrame]:
    path = next(folder.glob("*.item2index"))
    index = {line.split("\t")[0]: line.split("\t")[1] for line in path.read_text(encoding="utf-8").splitlines() if "\t" in line}
    rows = []
    for line in (folder / f"{path.stem}.test.inter").read_text(encoding="utf-8").splitlines()[1:]:
        user, before, item = line.split("\t")
        rows.append([user, *before.split(), item])
    texts = (folder / f"{path.stem}.text").read_text(encoding="utf-8").splitlines()[1:]
    named = [line.split("\t", 1) for line in texts]
    items = pl.DataFrame(
        {"item_id": [f"t-{index[name]}" for name, _ in named if name in index], "title": [t for n, t in named if n in index]}
    )
    return {"events": _events("titled", "t", rows), "items": items}


def _reviews(folder: Path) -> dict[str, pl.DataFrame]:
    """An item is told by what the first reviewers of it headed their reviews with, none of them held out."""
    with gzip.open(next(folder.glob("reviews_*.json.gz")), "rt", encoding="utf-8") as handle:
        log = pl.DataFrame([json.loads(line) for line in handle]).select(
            user_id=pl.format("r-{}", "reviewerID"),
            item_id=pl.format("r-{}", "asin"),
            review="reviewText",
            text="summary",
            glad=(pl.col("overall") >= 5).cast(pl.Int64),
            time="unixReviewTime",
        )
    log = log.sort("user_id", "time", maintain_order=True).with_columns(order=pl.int_range(pl.len()).over("user_id"))
    left = pl.len().over("user_id") - 1 - pl.col("order")
    log = log.with_columns(
        split=pl.when(left == 0).then(pl.lit(PARTS[2])).when(left == 1).then(pl.lit(PARTS[1])).otherwise(pl.lit(PARTS[0]))
    )
    told = log.filter((pl.col("split") == PARTS[0]) & (pl.col("text").str.len_chars() > 0)).sort("time", maintain_order=True)
    items = log.select("item_id").unique(maintain_order=True)
    heads = told.group_by("item_id", maintain_order=True).agg(title=pl.col("text").head(3).str.join("; "))
    events = log.select("user_id", "item_id", "order", scenario=pl.lit("reviews"))
    return {
        "events": events,
        "items": items.join(heads, on="item_id", how="left", maintain_order="left"),
        "exposures": log.select("user_id", "item_id", "order", "glad", "split", scenario=pl.lit("reviews")),
        "texts": log.filter(pl.col("text").str.len_chars() > 0).select(
            "user_id", "item_id", "text", "review", "split", kind=pl.lit("headline")
        ),
    }


def _events(scenario: str, letter: str, rows: list[list[str]]) -> pl.DataFrame:
    users = [f"{letter}-{row[0]}" for row in rows for _ in row[1:]]
    items = [f"{letter}-{item}" for row in rows for item in row[1:]]
    order = [place for row in rows for place in range(len(row) - 1)]
    return pl.DataFrame({"user_id": users, "item_id": items, "order": order, "scenario": [scenario] * len(users)})


def split_of(ids: pl.Series, salt: str) -> pl.Series:
    """By a hash: 80 % train, 10 % validation, 10 % test."""
    codes = [_digest(f"{salt} {one}") % 10 for one in ids.to_list()]
    return pl.Series([PARTS[2] if code == 0 else PARTS[1] if code == 1 else PARTS[0] for code in codes])


def _digest(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def _write_config(folder: Path, config: dict[str, Any]) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=140), encoding="utf-8")
