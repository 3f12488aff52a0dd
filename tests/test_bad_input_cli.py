"""Every bad input of a shop through `m6rec validate` and `m6rec train`: one line on standard error, the exit code, nothing half-written.

What is odd but allowed (items without text, users with one event, a megabyte of title) trains and answers.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from answers_alike import assert_alike
from m6rec import Recommender

CommandLines = Callable[..., Any]
QUICK = (
    "model.width=8",
    "model.history=6",
    "pretrain.epochs=0",
    "train.epochs=1",
    "train.threads=1",
    "text.vocabulary=300",
    "evaluation.resamples=100",
    "evaluation.baselines=[popularity]",
)
USERS, ITEMS, EVENTS = 12, 9, 6
SEQUENCES = [(f"u{user}", f"i{(user + step) % ITEMS}", 100 * user + step) for user in range(USERS) for step in range(EVENTS)]


def table(header: str, rows: list[Any]) -> str:
    return "\n".join([header, *[",".join(str(cell) for cell in row) for row in rows]]) + "\n"


GOOD: dict[str, str | bytes] = {
    "events.csv": table("user_id,item_id,time", SEQUENCES),
    "items.csv": table("item_id,title", [(f"i{item}", f"thing number {item}") for item in range(ITEMS)]),
}
CONFIG: dict[str, Any] = {"data": {"events": "events.csv", "items": "items.csv"}, "fields": {"items": {"title": "text"}}}


def changed(name: str, old: str, new: str) -> dict[str, str | bytes]:
    text = GOOD[name]
    assert isinstance(text, str)
    assert text.count(old) >= 1, f"'{old}' is not in {name}"
    return {**GOOD, name: text.replace(old, new, 1)}


def shop(folder: Path, files: dict[str, str | bytes] | None = None, config: Any = None) -> Path:
    """The folder with its files; returns the path of the configuration."""
    folder.mkdir()
    for name, content in (GOOD if files is None else files).items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    written = config if isinstance(config, str | bytes) else yaml.safe_dump({**CONFIG, **(config or {})})
    (folder / "shop.yaml").write_bytes(written.encode() if isinstance(written, str) else written)
    return folder / "shop.yaml"


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def quick() -> list[str]:
    return [word for assignment in QUICK for word in ("--set", assignment)]


# name: files, configuration, exit code, what the line says
BAD: dict[str, tuple[dict[str, str | bytes], Any, int, list[str]]] = {
    "missing file": (
        {"event.csv": GOOD["events.csv"], "items.csv": GOOD["items.csv"]},
        None,
        1,
        ["no file", "events.csv", "did you mean 'event.csv'?"],
    ),
    "missing column": (changed("events.csv", "user_id", "user"), None, 1, ["events.csv has no column 'user_id'", "did you mean 'user'?"]),
    "missing field": (GOOD, {"fields": {"items": {"titel": "text"}}}, 1, ["no column 'titel'", "did you mean 'title'?"]),
    "wrong type of time": (
        changed("events.csv", "u3,i5,302", "u3,i5,soon"),
        None,
        1,
        ["events.csv: row 21", "time is 'soon'", "not a number"],
    ),
    "wrong type of number": (
        changed("items.csv", "thing number 4", "cheap"),
        {"fields": {"items": {"title": "number"}}},
        1,
        ["items.csv: row 1", "'thing number 0'", "not a number"],
    ),
    "wrong type of value": (GOOD, {"train": {"epochs": "many"}}, 2, ["'train.epochs' is 'many'", "integer"]),
    "value not allowed": (GOOD, {"train": {"epochs": 0}}, 2, ["'train.epochs' is 0", "greater than or equal to 1"]),
    "unknown key": (GOOD, {"data": {"evnts": "events.csv"}}, 2, ["unknown key 'data.evnts'; did you mean 'events'?"]),
    "unknown section": (GOOD, {"modle": {"size": "tiny"}}, 2, ["unknown key 'modle'; did you mean 'model'?"]),
    "two tasks": (GOOD, {"tasks": {"a": {}, "b": {}}}, 2, ["'tasks': 2 tasks with answer: choose are declared"]),
    "unknown answer": (GOOD, {"tasks": {"click": {"answer": "juge"}}}, 2, ["'tasks.click.answer' is 'juge'", "'choose', 'judge'"]),
    "no label": (GOOD, {"tasks": {"next": {}, "click": {"answer": "judge"}}}, 2, ["'tasks.click.label' is required"]),
    "after nothing": (
        GOOD,
        {"tasks": {"next": {}, "buy": {"label": "bought", "after": "clik"}}},
        2,
        ["tasks.buy.after is 'clik'", "there is none, so leave `after` out"],
    ),
    "not YAML": (GOOD, "data: [events.csv", 2, ["shop.yaml is not valid YAML at line 1"]),
    "key twice": (
        GOOD,
        "data:\n  events: events.csv\n  items: items.csv\n  events: items.csv\n",
        2,
        ["shop.yaml: 'events' stands twice", "line 2 and line 4"],
    ),
    "configuration not UTF-8": (GOOD, "data: {events: café.csv}".encode("latin-1"), 2, ["shop.yaml is not UTF-8 text (byte 18)"]),
    "empty configuration": (GOOD, "", 2, ["'data' is required"]),
    "neither time nor order": (
        changed("events.csv", "time", "event_ts"),
        None,
        1,
        ["neither a time nor an order column", "data.columns: {time: event_ts}"],
    ),
    "time in the future": (changed("events.csv", "u3,i5,302", "u3,i5,4000000000"), None, 1, ["row 21", "in the future", "data.time_unit"]),
    "NaN refused": (
        changed("events.csv", "u3,i5,302", "u3,NaN,302"),
        {"data": {**CONFIG["data"], "missing": "error"}},
        1,
        ["row 21 has no item_id"],
    ),
    "infinite number": (changed("events.csv", "u3,i5,302", "u3,i5,inf"), None, 1, ["row 21", "finite"]),
    "one id with two texts": (
        changed("items.csv", "i4,thing number 4", "i4,thing number 4\ni4,another thing"),
        None,
        1,
        ["item_id 'i4' stands for different rows", "'thing number 4' and 'another thing'"],
    ),
    "empty split": ({**GOOD, "events.csv": table("user_id,item_id,time", SEQUENCES[::3])}, None, 1, ["empty split"]),
    "one item": (
        {
            "events.csv": table("user_id,item_id,time", [(user, "i0", time) for user, _, time in SEQUENCES]),
            "items.csv": "item_id,title\ni0,x\n",
        },
        None,
        1,
        ["the catalogue has one item ('i0')", "at least two are needed"],
    ),
    "no events": ({**GOOD, "events.csv": "user_id,item_id,time\n"}, None, 1, ["events.csv", "no rows"]),
    "empty file": ({**GOOD, "items.csv": ""}, None, 1, ["items.csv is empty"]),
    "not UTF-8": (
        {**GOOD, "items.csv": "item_id,title\ni0,café\n".encode("latin-1")},
        None,
        1,
        ["items.csv is not UTF-8", "line 2", "latin-1"],
    ),
    "ragged CSV": (changed("events.csv", "u3,i5,302", "u3,i5,302,9"), None, 1, ["line 22 has 4 cells", "the header has 3"]),
    "not Parquet": (
        {**GOOD, "events.parquet": b"PAR1 nonsense"},
        {"data": {**CONFIG["data"], "events": "events.parquet"}},
        1,
        ["events.parquet is not a readable Parquet file"],
    ),
    "unknown positive action": (GOOD, {"tasks": {"next": {"positive": ["buy"]}}}, 1, ["'buy'", "no event has"]),
    "missing templates": (GOOD, {"text": {"templates": "words.yaml"}}, 2, ["words.yaml"]),
    "unknown word of a template": (
        {**GOOD, "words.yaml": "entities:\n  item: {parts: [{say: 'called {titel}'}]}\n"},
        {"text": {"templates": "words.yaml"}},
        2,
        ["words.yaml", "placeholder '{titel}'", "did you mean 'title'?"],
    ),
    "missing translation": (
        GOOD,
        {"text": {"augment": {"back_translation": "nosuchprogram --fast"}}},
        2,
        ["text.augment.back_translation", "no program 'nosuchprogram' is found"],
    ),
    "missing synonyms": (GOOD, {"text": {"augment": {"copies": 1, "synonyms": "same.txt"}}}, 2, ["text.augment.synonyms", "same.txt"]),
    "unknown baseline": (GOOD, {"evaluation": {"baselines": ["popularty"]}}, 2, ["evaluation.baselines names 'popularty'; did you mean"]),
    "unknown member": (
        GOOD,
        {"fusion": {"members": ["m6rec", "item_kn"]}},
        2,
        ["fusion.members names 'item_kn'; did you mean 'item_knn'?"],
    ),
    "nothing to start from": (GOOD, {"pretrain": {"from": "runs/other"}}, 1, ["runs/other is no finished run", "m6rec pretrain"]),
    "no basket": (
        GOOD,
        {"tasks": {"next": {}, "basket": {"answer": "choose", "of": "basket", "within": 0}}},
        1,
        ["no basket of two different items", "raise `within`"],
    ),
    "no dialogues": (
        GOOD,
        {"tasks": {"next": {}, "talk": {"answer": "choose", "of": "dialogue"}}},
        1,
        ["of: dialogue", "data.dialogues: <file>"],
    ),
    "no training target": (
        {
            **GOOD,
            "events.csv": table(
                "user_id,item_id,time,action", [(*row, "buy" if row[2] % 100 == EVENTS - 1 else "view") for row in SEQUENCES]
            ),
        },
        {"tasks": {"next": {"answer": "choose", "positive": ["buy"]}}},
        1,
        ["there is no training target", "`positive`"],
    ),
}
STAGES_BEFORE = {
    "unknown word of a template": {"prepare"},
    "no basket": {"prepare"},
    "no dialogues": {"prepare"},
    "no training target": {"prepare"},
    "empty split": {"prepare"},
    "unknown positive action": {"prepare"},
}


@pytest.mark.parametrize("name", BAD)
def test_validate_says_it_in_one_line_and_writes_nothing(name: str, tmp_path: Path, m6rec: CommandLines) -> None:
    files, config, code, words = BAD[name]
    path = shop(tmp_path / "shop", files, config)
    before = listing(tmp_path)
    line = m6rec("validate", path).error(code)
    assert all(word in line for word in words), line
    assert len(line) < 500
    assert listing(tmp_path) == before


@pytest.mark.parametrize("name", BAD)
def test_train_leaves_nothing_but_finished_stages(name: str, tmp_path: Path, m6rec: CommandLines) -> None:
    files, config, code, words = BAD[name]
    path = shop(tmp_path / "shop", files, config)
    before = listing(tmp_path)
    result = m6rec("train", path, "--run", tmp_path / "run", *(quick() if code == 1 else []))
    line = result.error(code)
    assert all(word in line for word in words), line
    assert result.out == ""
    stages = [folder.name.split("-")[0] for folder in (tmp_path / "run" / "stages").iterdir()] if name in STAGES_BEFORE else []
    assert set(stages) == STAGES_BEFORE.get(name, set())
    assert all((folder / "done.json").exists() for folder in (tmp_path / "run").glob("stages/*"))
    if name not in STAGES_BEFORE:
        assert listing(tmp_path) == before
    else:
        assert not (tmp_path / "run" / "model").exists()
        assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(
    ("settings", "missing", "told"),
    [
        ({"train": {"balance": "pcgrad"}}, "torchjd.aggregation", "pip install 'm6rec[train]'"),
        ({"train": {"balance": "upgrad"}}, "quadprog", "pip install quadprog"),
        ({"fusion": {"how": "lambdamart"}}, "lightgbm", "pip install 'm6rec[fusion]'"),
        ({"fusion": {"members": ["m6rec", "ials"]}}, "implicit.cpu.als", "pip install 'm6rec[fusion]'"),
        ({"index": {"kind": "ivf", "exact_below": 0}}, "faiss", "pip install 'm6rec[ann]'"),
    ],
    ids=["pcgrad", "upgrad", "lambdamart", "ials", "ivf"],
)
def test_what_is_not_installed_is_said_before_training(
    settings: Any, missing: str, told: str, tmp_path: Path, m6rec: CommandLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `validate` as by `train`: one line, and no stage is begun but reading the data."""
    find, load = importlib.util.find_spec, importlib.import_module

    def absent(name: str, *rest: Any, **more: Any) -> object:
        if name == missing:
            raise ModuleNotFoundError(f"No module named '{missing}'", name=missing)
        return load(name, *rest, **more)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == missing else find(name, *rest))
    monkeypatch.setattr(importlib, "import_module", absent)
    monkeypatch.setattr("m6rec.index.build.LEAST", 0)
    path = shop(tmp_path / "shop", None, settings)
    for command in (["validate", path], ["train", path, "--run", tmp_path / "run", *quick()]):
        line = m6rec(*command).error(1)
        assert missing in line
        assert told in line
    assert {folder.name.split("-")[0] for folder in tmp_path.glob("run/stages/*")} <= {"prepare"}


def train(folder: Path, m6rec: CommandLines, files: dict[str, str | bytes], config: Any = None) -> tuple[dict[str, int], Recommender]:
    """What the account of `validate` counted, and the recommender that `train` made."""
    path = shop(folder, files, config)
    account = {row["what"]: row["rows"] for row in m6rec("validate", path, "--json").json()["account"]}
    m6rec("train", path, "--run", folder / "run", *quick(), "--json").json()
    return account, Recommender.from_pretrained(folder / "run")


def test_odd_data_trains_and_is_counted(tmp_path: Path, m6rec: CommandLines) -> None:
    """A megabyte of title, no title, no row in the table, users with one event, NaN in events, integer-like ids: all at once."""
    titles = {
        "i1": "running shoes " * 75_000,
        "i2": "",
        "i3": '"quoted, with ""quotes"" and\na line"',
        "i4": "靴子 👢 \x01",
        "i5": "shoes for running",
        "i6": "靴子",
    }
    rows = [(f"i{item}", titles.get(f"i{item}", f"thing number {item}")) for item in range(ITEMS - 1)]  # i8 is not listed
    events = [*SEQUENCES, *[(f"single{user}", "i0", 5) for user in range(3)], ("u1", "NaN", 7), ("", "i1", 8), ("u2", "i1", "nan")]
    account, rec = train(
        tmp_path / "shop", m6rec, {"events.csv": table("user_id,item_id,time", events), "items.csv": table("item_id,title", rows)}
    )
    assert account["texts cut"] == 1
    assert account["items without text"] == 2
    assert account["users with one event"] == 3
    assert (account["items"], account["users"], account["events"]) == (ITEMS, USERS + 3, len(SEQUENCES) + 3)
    assert "i1" in {answer.item_id for answer in rec.recommend(text="running shoes", k=3)}
    assert "i4" in {answer.item_id for answer in rec.recommend(text="靴子", k=3)}
    assert len(rec.recommend(user="single1", k=99)) == ITEMS - 1
    assert len(rec.recommend(user="u1", k=99, repeat="allow")) == ITEMS


def test_data_without_any_text_or_time_trains(tmp_path: Path, m6rec: CommandLines) -> None:
    """Ids and an order are enough; a typed text then finds nothing in particular and is no error."""
    events = table("user_id,item_id,order", SEQUENCES)
    config = {"data": {"events": "events.csv"}, "fields": {}}
    account, rec = train(tmp_path / "shop", m6rec, {"events.csv": events}, config)
    assert account["items without text"] == ITEMS
    assert len(rec.recommend(user="u1", k=99, repeat="allow")) == ITEMS
    assert len(rec.recommend(text="running shoes", k=3)) == 3
    with pytest.warns(UserWarning, match="'age' of the profile is no field of users"):
        assert len(rec.recommend(profile={"age": 25}, k=3)) == 3
    assert rec.add_items([{"item_id": "new", "title": "not a field here"}]) == 1
    assert rec.add_events({"user_id": ["u1", "zed"], "item_id": ["new", "new"]}) == 2
    assert "new" not in {answer.item_id for answer in rec.recommend(user="zed", k=99)}
    rec.save_pretrained(tmp_path / "saved")
    assert_alike(Recommender.from_pretrained(tmp_path / "saved").recommend(user="zed"), rec.recommend(user="zed"))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["recommend", "RUN", "--user", "nobody"], 1, "user 'nobody' is not known"),
        (["recommend", "RUN", "--user", "u01", "--history", "i01,gone"], 1, "item 'gone' is not in the catalogue"),
        (["similar", "RUN", "--item", "gone"], 1, "item 'gone' is not in the catalogue"),
        (["recommend", "RUN", "--text", "boots", "--scenario", "shp"], 2, "did you mean 'shop'"),
        (["recommend", "RUN", "--text", "boots", "--where", "brnd=x"], 2, "did you mean 'brand'"),
        (["recommend", "RUN", "--text", "boots", "--where", "price=cheap"], 2, "'price' is a number"),
        (["recommend", "NOWHERE", "--user", "u01"], 1, "config.json is missing"),
    ],
)
def test_unknown_ids_and_names(words: list[str], code: int, said: str, tiny_run: Path, tmp_path: Path, m6rec: CommandLines) -> None:
    places = {"RUN": tiny_run, "NOWHERE": tmp_path / "nowhere"}
    result = m6rec(*(places.get(word, word) for word in words))
    assert said in result.error(code)
    assert result.out == ""
    assert listing(tmp_path) == []


def test_a_run_folder_that_cannot_be_written(tmp_path: Path, m6rec: CommandLines) -> None:
    path = shop(tmp_path / "shop")
    (tmp_path / "run").write_text("a file, not a folder")
    assert "could not write" in m6rec("train", path, "--run", tmp_path / "run", *quick()).error(1)
    assert (tmp_path / "run").read_text() == "a file, not a folder"


def test_errors_with_json_leave_standard_output_empty(tmp_path: Path, m6rec: CommandLines) -> None:
    path = shop(tmp_path / "shop", changed("events.csv", "user_id", "user"))
    for command in (["validate", path, "--json"], ["train", path, "--run", tmp_path / "run", "--json"]):
        result = m6rec(*command)
        assert "no column 'user_id'" in result.error(1)
        assert result.out == ""
    assert json.loads(m6rec("validate", shop(tmp_path / "good"), "--json").out)["split"]["test"] == USERS
