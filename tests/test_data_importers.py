"""Foreign formats to canonical tables and a configuration that prepares; planted files, then the real ones."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.errors import ConfigError, DataError, UsageError
from m6rec.data.account import Account
from m6rec.data.config import DataConfig, FieldsConfig, ScenariosConfig
from m6rec.data.dataset import Dataset, FieldType
from m6rec.data.importers.importer import IMPORTERS, detect_format, import_data
from m6rec.data.importers.recbole_sequences import chain
from m6rec.data.prepare import prepare

NOW = 1_750_000_000.0


def put(folder: Path, files: dict[str, str | bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def imported(source: Path, out: Path, format: str = "auto", **options: object) -> tuple[Dataset, Account]:
    """Import, then prepare from the written configuration alone, as `m6rec train` does."""
    account = import_data(format, source, out, options)
    config = yaml.safe_load((out / "config.yaml").read_text(encoding="utf-8"))
    assert set(config) <= {"data", "fields"}
    fields = FieldsConfig.build(config.get("fields", {}))
    return prepare(DataConfig.build(config["data"]), fields, ScenariosConfig(), out, now=NOW)[0], account


def sequence(dataset: Dataset, user: str) -> list[str]:
    return [dataset.items.ids.ids[item] for item in dataset.histories.row(dataset.users.ids.dense(user))]


SEQUENCES = {"log.txt": "u1 b a b\nu2 c\nu3\nu1 c\n\n", "items.csv": "item_id,title,tag_ids\na,Ay,1 2\nb,Bee,2\n"}


def test_lines_of_user_and_items(tmp_path: Path) -> None:
    dataset, account = imported(put(tmp_path / "in", SEQUENCES), tmp_path / "out")
    assert sequence(dataset, "u1") == ["b", "a", "b", "c"]
    assert sequence(dataset, "u2") == ["c"]
    assert dataset.histories.times is None
    assert dataset.items.ids.ids == ["a", "b", "c"]
    assert dataset.items.fields == {"title": FieldType.TEXT, "tag_ids": FieldType.TAGS}
    assert dataset.items.frame["tag_ids"].to_list() == [["1", "2"], ["2"], []]
    assert account.count("sequences dropped") == 1
    assert account.count("sequences joined") == 1


def test_lines_without_a_table_and_with_another_id_column(tmp_path: Path) -> None:
    put(tmp_path / "in", {"log.txt": "u1 b a\nu2 c a\n", "names.csv": "code,title\na,Ay\n"})
    assert imported(tmp_path / "in" / "log.txt", tmp_path / "one")[0].items.fields == {}
    dataset, _ = imported(tmp_path / "in", tmp_path / "two", items="names.csv", item_column="code")
    assert dataset.items.frame["title"].to_list() == ["Ay", None, None]


RECBOLE = {
    "shop.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu\ta\t4\t20\nu\tb\t5\t10\nv\ta\t1\t5\n",
    "shop.item": "item_id:token\tmovie_title:token_seq\tclass:token_seq\tprice:float\tvec:float_seq\tbrand:token\n"
    'b\tThe "Bee\tx y\t2.5\t1 2\tq\n',
    "shop.user": "user_id:token\tage:float\tgender:token\nv\t30\tF\n",
    "shop.kg": "head_id:token\trelation_id:token\ttail_id:token\na\tmade_by\tX\n",
    "shop.net": "source_id:token\ttarget_id:token\nu\tv\n",
}


def test_recbole_atomic_files(tmp_path: Path) -> None:
    dataset, _ = imported(put(tmp_path / "in", RECBOLE), tmp_path / "out")
    assert sequence(dataset, "u") == ["b", "a"]
    assert dataset.histories.times.tolist() == [5, 10, 20]
    assert dataset.histories.values.tolist() == [1, 5, 4]
    assert dataset.items.fields == {"movie_title": "text", "class": "tags", "price": "number", "vec": "vector", "brand": "category"}
    assert dataset.items.frame.row(0) == ("b", 'The "Bee', ["x", "y"], 2.5, [1.0, 2.0], "q")
    assert dataset.users.fields == {"age": "number", "gender": "category"}
    assert dataset.users.ids.ids == ["v", "u"]
    assert dataset.relations.rows() == [("a", "made_by", "X"), ("u", "follows", "v")]


def test_recbole_with_other_column_names_and_line_order(tmp_path: Path) -> None:
    put(tmp_path / "in", {"s.inter": "session_id:token\tsku:token\ns\tb\ns\ta\n", "s.item": "sku:token\tprice:float\na\t1\n"})
    names = {"user_column": "session_id", "item_column": "sku"}
    with pytest.raises(DataError, match="line_order: true"):
        import_data("recbole", tmp_path / "in", tmp_path / "out", names)
    assert not (tmp_path / "out").exists()
    dataset, _ = imported(tmp_path / "in", tmp_path / "out", line_order=True, **names)
    assert sequence(dataset, "s") == ["b", "a"]
    assert dataset.items.ids.ids == ["a", "b"]


def inter(rows: list[tuple[str, list[int], int]]) -> str:
    lines = [f"{user}\t{' '.join(map(str, prefix))}\t{item}" for user, prefix, item in rows]
    return "\n".join(["user_id:token\titem_id_list:token_seq\titem_id:token", *lines]) + "\n"


def augmented(user: str, items: list[int], cap: int = 50) -> list[tuple[str, list[int], int]]:
    """As RecBole writes them: the longest first, prefixes of at most `cap` items."""
    return [(user, items[max(0, end - cap) : end], items[end]) for end in range(len(items) - 1, 0, -1)]


def test_prefix_augmented_rows_become_one_sequence_a_user(tmp_path: Path) -> None:
    histories = {"0": [0, 1, 2, 3, 4], "1": [2, 2, 2, 1], "2": [4, 0, 1]}
    parts: dict[str, list] = {"train": [], "valid": [], "test": []}
    for user, items in histories.items():
        rows = augmented(user, items)
        parts["test"] += rows[:1]
        parts["valid"] += rows[1:2]
        parts["train"] += rows[2:]
    files = {f"D.{part}.inter": inter(rows) for part, rows in parts.items()}
    index = "".join(f"item{i}\t{i}\n" for i in range(5))
    text = "item_id:token\ttext:token_seq\n" + "".join(f"item{i}\tThing {i}. Some words.\n" for i in (3, 0, 1, 2, 4))
    put(tmp_path / "in", {**files, "D.item2index": index, "D.text": text})
    dataset, account = imported(tmp_path / "in", tmp_path / "out")
    assert dataset.users.ids.ids == ["0", "1", "2"], "users in the order of the rows"
    for user, items in histories.items():
        assert sequence(dataset, user) == [f"item{i}" for i in items]
    assert dataset.items.ids.ids == ["item3", "item0", "item1", "item2", "item4"]
    assert dataset.items.fields == {"text": FieldType.TEXT}
    assert account.count("rows merged") == 9


def test_rows_at_the_cap_are_chained_and_other_rows_are_appended(tmp_path: Path) -> None:
    rows = augmented("u", [0, 1, 2, 3, 0, 4, 5], cap=3) + augmented("v", [6, 7]) + augmented("v", [7, 8, 9])
    put(tmp_path / "in", {"D.train.inter": inter(rows)})
    dataset, account = imported(tmp_path / "in", tmp_path / "out")
    assert sequence(dataset, "u") == list("0123045")
    assert sequence(dataset, "v") == list("67789")
    assert account.count("events beyond the cap") == 3
    assert account.count("users with several sequences") == 1
    newest, _ = imported(tmp_path / "in", tmp_path / "out", longest_row=True)
    assert sequence(newest, "u") == list("3045")


@given(st.lists(st.integers(0, 3), min_size=2, max_size=14), st.integers(2, 16), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_chains_are_found_whatever_the_order_of_the_rows(items: list[int], cap: int, random: object) -> None:
    rows = [tuple(map(str, (*prefix, item))) for _, prefix, item in augmented("u", items, cap)]
    windows = [row[:-1] for row in rows]
    random.shuffle(rows)  # type: ignore[attr-defined]
    found = chain(rows, cap)
    if len(set(windows)) == len(windows):  # a window that comes twice leaves open what follows it
        assert found == [tuple(map(str, items))]
    assert found == chain(rows, cap)


MOVIES = {
    "movies.dat": "1::Matrix, The (1999)::Action|Sci-Fi\n2::Misérables, Les (1995)::Drama\n3::Unseen (2001)::\n".encode("latin-1"),
    "users.dat": "10::F::1::10::48067\n11::M::56::16::70072\n",
    "ratings.dat": "10::1::5::978300760\n10::2::3::978300750\n11::1::4::978300760\n",
}


def test_movielens_1m(tmp_path: Path) -> None:
    dataset, _ = imported(put(tmp_path / "in", MOVIES), tmp_path / "out")
    assert sequence(dataset, "10") == ["2", "1"]
    assert dataset.histories.values.tolist() == [3, 5, 4]
    assert dataset.items.frame.rows() == [
        ("1", "The Matrix", 1999.0, ["Action", "Sci-Fi"]),
        ("2", "Les Misérables", 1995.0, ["Drama"]),
        ("3", "Unseen", 2001.0, []),
    ]
    assert dataset.users.frame.rows() == [("10", "female", "under 18", "K-12 student"), ("11", "male", "56 or older", "self-employed")]


def test_movielens_positions_decide_and_blank_times_stay_unknown(tmp_path: Path) -> None:
    log = "user_id,item_id,rating,position,timestamp\n10,1,4,1,\n10,2,5,0,978300750\n11,2,3,0,\n"
    files = {name: text for name, text in MOVIES.items() if name != "ratings.dat"}
    put(tmp_path / "in", {**files, "interactions.csv.gz": gzip.compress(log.encode())})
    dataset, _ = imported(tmp_path / "in", tmp_path / "out", "movielens", articles_first=False)
    assert sequence(dataset, "10") == ["2", "1"]
    np.testing.assert_array_equal(dataset.histories.times, [978300750, np.nan, np.nan])
    assert dataset.items.frame["title"][0] == "Matrix, The"


def test_movielens_100k_and_later_releases(tmp_path: Path) -> None:
    flags = "|".join("1" if place in (1, 16) else "0" for place in range(19))
    files = {
        "u.data": "10\t1\t5\t978300760\n10\t2\t3\t978300750\n",
        "u.item": f"1|Heat (1995)|01-Jan-1995||http://x|{flags}\n2|Crash|||x|{flags}\n".encode("latin-1"),
        "u.user": "10|24|M|technician|85711\n",
    }
    dataset, _ = imported(put(tmp_path / "100k", files), tmp_path / "one")
    assert dataset.items.frame["genres"].to_list() == [["Action", "Thriller"]] * 2
    assert dataset.items.frame["year"].to_list() == [1995, None]
    assert dataset.users.frame.rows() == [("10", "male", "18-24", "technician")]
    files = {
        "ratings.csv": "userId,movieId,rating,timestamp\n1,5,4.5,978300760\n1,6,2,978300750\n",
        "movies.csv": 'movieId,title,genres\n5,"American President, The (1995)",Comedy|Drama\n6,Odd,(no genres listed)\n',
    }
    dataset, _ = imported(put(tmp_path / "latest", files), tmp_path / "two")
    assert dataset.items.frame.rows() == [("5", "The American President", 1995.0, ["Comedy", "Drama"]), ("6", "Odd", None, [])]
    assert sequence(dataset, "1") == ["6", "5"]


def test_movielens_extra_information(tmp_path: Path) -> None:
    extra = "1::The Matrix::1999::R::1999::Action::Lana Wachowski, Lilly Wachowski::x::Keanu Reeves, Carrie-Anne Moss::A hacker.::url\r\n"
    put(tmp_path / "in", {**MOVIES, "movies_extrainfos.dat": extra + "2::a::b::c::d::e::N/A::f::N/A::N/A::g\r\n"})
    dataset, _ = imported(tmp_path / "in", tmp_path / "out", extra=True)
    assert dataset.items.frame.select("plot", "director", "actors").rows() == [
        ("A hacker.", ["Lana Wachowski", "Lilly Wachowski"], ["Keanu Reeves", "Carrie-Anne Moss"]),
        (None, [], []),
        (None, [], []),
    ]


def test_generic_tables_with_a_mapping(tmp_path: Path) -> None:
    put(
        tmp_path / "in",
        {
            "reviews.jsonl": '{"who": "u", "asin": "a", "when": 1700000000000, "stars": 5}\n'
            '{"who": "u", "asin": "b", "when": 1600000000000}\n',
            "products.csv": "sku;title\na;Ay\nb;Bee\n",
        },
    )
    columns = {"user_id": "who", "item_id": "asin", "time": "when", "value": "stars", "items": {"item_id": "sku"}}
    options = {"events": "reviews.jsonl", "items": "products.csv", "columns": columns, "duplicates": "drop"}
    dataset, _ = imported(tmp_path / "in", tmp_path / "out", "table", **options)
    assert sequence(dataset, "u") == ["b", "a"]
    assert dataset.histories.times.tolist() == [1.6e9, 1.7e9]
    assert dataset.items.frame["title"].to_list() == ["Ay", "Bee"]
    assert yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["data"]["duplicates"] == "drop"


def test_generic_tables_are_found_by_their_names_and_line_order_is_said(tmp_path: Path) -> None:
    put(tmp_path / "in", {"clicks.csv": "user_id,item_id\nu,b\nu,a\nv,a\n", "users.csv": "user_id,city\nv,Rome\n"})
    with pytest.raises(DataError, match="line_order: true"):
        import_data("auto", tmp_path / "in", tmp_path / "out")
    dataset, _ = imported(tmp_path / "in", tmp_path / "out", line_order=True)
    assert sequence(dataset, "u") == ["b", "a"]
    assert dataset.users.frame.rows() == [("v", "Rome"), ("u", None)]


@pytest.mark.parametrize(
    ("format", "files", "words"),
    [
        ("sequences", {"log.txt": "\n\n"}, ["log.txt is empty"]),
        ("sequences", {"a.txt": "u a b\n", "b.txt": "u a b\n"}, ["2 text files (a.txt, b.txt)", "option lines"]),
        ("sequences", {"a.txt": "u1 caf\u00e9 b\n".encode("latin-1")}, ["not UTF-8", "line 1"]),
        ("recbole", {"a.inter": "user_id\titem_id:token\nu\ta\n"}, ["header cell 'user_id' is not name:type", "token_seq"]),
        ("recbole", {"a.inter": "user_id:token\titem_id:token\nu\n"}, ["line 2 has 1 cells, the header has 2"]),
        ("recbole", {"a.inter": "uid:token\titem_id:token\nu\ta\n"}, ["no column 'user_id'"]),
        ("recbole", {"a.inter": "", "b.inter": ""}, ["several data sets (a, b)", "option dataset"]),
        ("recbole", {"x.txt": ""}, ["no *.inter file"]),
        ("recbole", {"a.inter": inter([("0", [0], 9)]), "a.item2index": "x\t0\n"}, ["item_id", "not in the 2index file"]),
        ("movielens", {"movies.dat": "1::A::B\n"}, ["none of ratings.dat"]),
        ("movielens", {**MOVIES, "ratings.dat": "1::2::3::4\n1::2\n"}, ["ratings.dat: line 2 has 2 cells"]),
        ("table", {"x.csv": "a,b\n1,2\n"}, ["no table called events", "option events"]),
        ("table", {"events.csv": "user,item_id,time\nu,a,1\n"}, ["no column 'user_id'", "did you mean 'user'"]),
    ],
)
def test_bad_sources_are_one_line_and_leave_nothing(tmp_path: Path, format: str, files: dict, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        import_data(format, put(tmp_path / "in", files), tmp_path / "out")
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_what_is_there_is_never_removed_unless_an_import_wrote_it(tmp_path: Path) -> None:
    source = put(tmp_path / "in", SEQUENCES)
    out = put(tmp_path / "out", {"thesis.tex": "x"})
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        import_data("sequences", source, out)
    with pytest.raises(UsageError, match="holds the source"):
        import_data("sequences", source, tmp_path)
    import_data("sequences", source, tmp_path / "new")
    import_data("sequences", source, tmp_path / "new")
    assert (out / "thesis.tex").read_text() == "x"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["config.yaml", "events.parquet", "items.parquet"]


def test_a_failed_import_leaves_the_old_one(tmp_path: Path) -> None:
    source = put(tmp_path / "in", SEQUENCES)
    import_data("sequences", source, tmp_path / "out")
    before = (tmp_path / "out" / "events.parquet").read_bytes()
    put(source, {"log.txt": "\n"})
    with pytest.raises(DataError):
        import_data("sequences", source, tmp_path / "out")
    assert (tmp_path / "out" / "events.parquet").read_bytes() == before


def test_formats_are_recognised(tmp_path: Path) -> None:
    sources = {
        "sequences": SEQUENCES,
        "recbole": RECBOLE,
        "movielens": MOVIES,
        "table": {"events.csv": "user_id,item_id,time\nu,a,1\n"},
        "amazon": {"r.json": '{"reviewerID": "u", "asin": "a", "overall": 5.0, "unixReviewTime": 1400000000}\n'},
        "redial": {"d.jsonl": '{"messages": [], "movieMentions": {}}\n'},
    }
    assert set(sources) == set(IMPORTERS.names())
    for name, files in sources.items():
        assert detect_format(put(tmp_path / name, files)) == name
    with pytest.raises(UsageError, match="looks like no known format; say which"):
        detect_format(put(tmp_path / "none", {"a.pdf": "x"}))
    with pytest.raises(DataError, match="no file or folder"):
        detect_format(tmp_path / "nowhere")


def test_ids_with_control_characters_are_not_imported(tmp_path: Path) -> None:
    source = put(tmp_path / "in", {"events.csv": "user_id,item_id,time\nu,a,1\n", "items.csv": 'item_id,title\na,A\n"b\x00",B\n'})
    with pytest.raises(DataError, match=r"items of the source: row 2: item_id is 'b\\x00'; .* without control characters"):
        import_data("table", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", IMPORTERS.names())
def test_contract_of_every_importer(tmp_path: Path, name: str) -> None:
    importer = IMPORTERS.get(name)
    assert importer.name == name
    assert importer.description
    assert "\n" not in importer.description
    assert importer.detect(put(tmp_path / "empty", {})) is False
    for key, option in importer.Options.model_fields.items():
        assert option.description, key
    with pytest.raises(ConfigError, match="unknown key 'nonsense'"):
        import_data(name, tmp_path, tmp_path / "out", {"nonsense": 1})


@pytest.fixture(scope="module")
def real(real_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Dataset]:
    """`real("beauty")`: the imported and prepared folder, once a module."""
    done: dict[str, Dataset] = {}

    def find(folder: str, **options: object) -> Dataset:
        key = f"{folder} {options}"
        if key not in done:
            done[key] = imported(real_data(folder), tmp_path_factory.mktemp("real") / "out", "auto", **options)[0]
        return done[key]

    return find


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("folder", "options", "users", "items", "interacted", "events", "untitled"),
    [
        ("beauty", {}, 22_363, 12_101, 12_101, 198_502, 15),
        # Three users have more than the 51 events of a capped row: 43 of theirs come back by chaining.
        ("scientific", {}, 8_442, 4_385, 4_385, 59_427, 0),
        ("scientific", {"longest_row": True}, 8_442, 4_385, 4_385, 59_384, 0),
        ("ml-1m", {}, 6_040, 3_883, 3_706, 1_000_209, 0),
    ],
)
def test_real_data_counts(
    real: Callable[..., Dataset], folder: str, options: dict, users: int, items: int, interacted: int, events: int, untitled: int
) -> None:
    dataset = real(folder, **options)
    seen = dataset.seen_counts()
    assert (len(dataset.users), len(dataset.items), int((seen > 0).sum()), int(seen.sum())) == (users, items, interacted, events)
    assert dataset.histories.lengths.min() >= 1
    text = next(name for name, kind in dataset.items.fields.items() if kind == FieldType.TEXT)
    assert dataset.items.frame[text].null_count() == untitled


@pytest.mark.real_data
def test_real_sequences_are_those_of_the_file(real_data: Callable[[str], Path], real: Callable[..., Dataset]) -> None:
    for line in (real_data("beauty") / "leave_one_out.txt").read_text().splitlines()[::997]:
        user, *items = line.split()
        assert sequence(real("beauty"), user) == items


@pytest.mark.real_data
def test_real_test_rows_end_their_sequences(real_data: Callable[[str], Path], real: Callable[..., Dataset]) -> None:
    folder = real_data("scientific")
    asin = dict(line.split("\t")[::-1] for line in (folder / "Scientific.item2index").read_text().splitlines())
    user_of = dict(line.split("\t")[::-1] for line in (folder / "Scientific.user2index").read_text().splitlines())
    for line in (folder / "Scientific.test.inter").read_text().splitlines()[1:]:
        user, prefix, item = line.split("\t")
        expected = [asin[index] for index in (*prefix.split(), item)]
        assert sequence(real("scientific"), user_of[user])[-len(expected) :] == expected


@pytest.mark.real_data
def test_real_positions_and_times(real_data: Callable[[str], Path], real: Callable[..., Dataset]) -> None:
    dataset = real("ml-1m")
    assert int(np.isfinite(dataset.histories.times).sum()) == 62_221
    with gzip.open(real_data("ml-1m") / "interactions.csv.gz", "rt") as handle:
        rows = [line.split(",") for line in handle if line.startswith("1234,")]
    assert sequence(dataset, "1234") == [row[1] for row in sorted(rows, key=lambda row: int(row[3]))]
