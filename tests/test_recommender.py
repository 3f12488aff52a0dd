"""The library's front door, as design and README show it: fit, load, recommend, add, save; any shape of frame."""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest

import m6rec
from answers_alike import assert_alike
from m6rec import Recommender, Scored
from m6rec.base.errors import ConfigError, DataError, UnknownItemError, UnknownUserError, UsageError
from m6rec.tasks.config import JudgeConfig
from m6rec.training.adding import add_task

ROOT = Path(__file__).parents[1]


@pytest.fixture
def rec(tiny_run: Path) -> Recommender:
    return Recommender.from_pretrained(tiny_run)


def ids(answers: list[Scored]) -> list[str]:
    return [answer.item_id for answer in answers]


def test_public_names() -> None:
    assert set(m6rec.__all__) == {"ConversationConfig", "M6RecConfig", "Manner", "Recommender", "Scored", "__version__", "load_config"}
    assert all(getattr(m6rec, name) for name in m6rec.__all__)


def test_fit_trains_and_answers(tiny_run: Path, tiny_sample: Path, tmp_path: Path) -> None:
    """Training again into a new folder gives the same model, bit for bit."""
    from conftest import TINY

    fitted = Recommender.fit(tiny_sample / "config.yaml", tmp_path / "run", settings=TINY, progress=False)
    assert fitted.recommend(user="u05", k=9) == Recommender.from_pretrained(tiny_run).recommend(user="u05", k=9)
    assert (tmp_path / "run" / "report.html").exists()


def test_fit_takes_a_configuration_object(
    tiny_run: Path, tiny_sample: Path, tiny_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is trained twice: the finished run is found again."""
    monkeypatch.chdir(tiny_sample)
    found = Recommender.fit(tiny_config(), tiny_run, progress=False)
    assert len(found.recommend(user="u05", k=3)) == 3
    with pytest.raises(UsageError, match="settings change a file"):
        Recommender.fit(tiny_config(), tiny_run, settings=["seed=1"])


def test_fit_goes_where_the_command_goes(tiny_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"gone\.csv"):
        Recommender.fit(tiny_sample / "config.yaml", settings=["data.events=gone.csv"], progress=False)
    assert list(tmp_path.iterdir()) == [], "nothing half-written"
    with pytest.raises(UsageError, match="progress is 'no'; say True or False"):
        Recommender.fit(tiny_sample / "config.yaml", progress=cast(Any, "no"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="did you mean 'events'"):
        Recommender.fit(tiny_sample / "config.yaml", settings=["data.evnts=gone.csv"], progress=False)
    from m6rec.training.run_folder import default_folder

    assert default_folder(tiny_sample / "config.yaml") == Path("runs") / tiny_sample.name
    assert default_folder(Path("shops/boots.yaml")) == Path("runs/boots")


def test_a_run_and_its_model_folder_are_the_same(tiny_run: Path) -> None:
    run, model = Recommender.from_pretrained(tiny_run), Recommender.from_pretrained(str(tiny_run / "model"))
    assert run.recommend(user="u05", k=9) == model.recommend(user="u05", k=9)


def test_the_calls_of_the_design(rec: Recommender) -> None:
    assert len(rec.recommend(user="u05", k=10, scenario="shop")) == 10
    assert len(rec.recommend(text="a calm book about stoicism", k=5)) == 5
    assert len(rec.recommend(history=["i03", "i08"])) == 10
    assert len(rec.recommend(profile={"age": 25, "interests": ["camping", "running"]}, k=3)) == 3
    first = rec.similar_items("i01", k=1)[0]
    assert isinstance(first, Scored)
    assert first.title


def test_positional_user(rec: Recommender) -> None:
    assert rec.recommend("u05") == rec.recommend(user="u05")


NEW = {"item_id": 9001, "title": "Running shoes for the rain", "tags": ["running", "rain"], "price": 59}
FRAMES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "dict of lists": lambda row: {name: [value] for name, value in row.items()},
    "list of dicts": lambda row: [row],
    "polars": lambda row: pl.DataFrame([row]),
}


@pytest.mark.parametrize("shape", FRAMES)
def test_additions_of_every_shape(shape: str, rec: Recommender) -> None:
    """Integer ids are the same as their text; later rows may have more columns than the first."""
    table = FRAMES[shape]
    assert rec.add_items(table(NEW)) == 1
    assert "9001" in ids(rec.recommend(text="running shoes rain", k=3))
    assert rec.add_events(table({"user_id": 77, "item_id": 9001})) == 1
    assert "9001" not in ids(rec.recommend(user="77", k=99))
    assert rec.recommend(user=77, k=5) == rec.recommend(user="77", k=5)  # type: ignore[arg-type]


def test_rows_that_say_different_things(rec: Recommender) -> None:
    assert rec.add_items([{"item_id": "a"}, {"item_id": "b", "price": 5}, {"item_id": "c", "title": "Tent", "price": 7.5}]) == 3
    assert set(ids(rec.recommend(text="tent", where={"price": "<=7.5"}, k=99))) >= {"b", "c"}


@pytest.mark.parametrize(
    "rows",
    [
        {"item_id": ["a", "b"], "title": ["one"]},
        [{"item_id": "a"}, {"item_id": ["b"]}],
        [{"item_id": 1, "price": "cheap"}, {"item_id": "b", "price": 3}],
        [{"item_id": "a", "title": "fine"}, {"item_id": "b", "title": "a \ud800 b"}],
        7,
        {"item_id": [object()]},
    ],
)
def test_what_makes_no_table_is_one_line(rows: Any, rec: Recommender) -> None:
    before = rec.recommend(text="tent", k=99)
    with pytest.raises(DataError) as caught:
        rec.add_items(rows)
    assert "\n" not in str(caught.value)
    assert rec.recommend(text="tent", k=99) == before


def test_saved_with_everything_added(rec: Recommender, tmp_path: Path) -> None:
    rec.add_items([NEW])
    rec.add_events({"user_id": ["u05", "77"], "item_id": ["9001", "i03"]})
    rec.save_pretrained(str(tmp_path / "saved"))
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
    again = Recommender.from_pretrained(tmp_path / "saved")
    for who in ({"user": "u05"}, {"user": "77"}, {"text": "running shoes"}):
        assert_alike(again.recommend(**who, k=99), rec.recommend(**who, k=99))
    rec.save_pretrained(tmp_path / "saved")
    assert_alike(Recommender.from_pretrained(tmp_path / "saved").recommend(user="77"), rec.recommend(user="77"))


def test_saving_never_replaces_what_is_no_model(rec: Recommender, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"holds 'thesis\.txt', which is no part of a model folder and would be lost"):
        rec.save_pretrained(tmp_path / "home")
    with pytest.raises(UsageError, match="is a file"):
        rec.save_pretrained(tmp_path / "home" / "thesis.txt")
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    rec.save_pretrained(tmp_path / "empty")
    assert Recommender.from_pretrained(tmp_path / "empty").recommend(user="u05") == rec.recommend(user="u05")


def test_the_policy_for_unknown_ids(tiny_run: Path, rec: Recommender) -> None:
    with pytest.raises(UnknownUserError):
        rec.recommend(user="nobody")
    with pytest.raises(UnknownItemError):
        rec.recommend(history=["nothing"])
    lenient = Recommender.from_pretrained(tiny_run, unknown="popular")
    assert lenient.recommend(user="nobody") == lenient.recommend(history=["nothing"]) == rec.recommend(history=[])


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_the_readme_runs(
    name: str, tiny_run: Path, judged_run: Path, writing_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python blocks of the README, on the tiny runs in place of the shops: their ids have one digit less."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "shop").symlink_to(tiny_run)
    (tmp_path / "runs" / "shop3").symlink_to(writing_run)
    shutil.copytree(judged_run, tmp_path / "runs" / "shop2")
    add_task(tmp_path / "runs" / "shop2", "liked", JudgeConfig(label="liked"), settings={"epochs": 1})
    monkeypatch.chdir(tmp_path)
    real = inspect.signature(Recommender.fit)

    def trained_before(*arguments: Any, **options: Any) -> Recommender:
        return Recommender.from_pretrained(real.bind(*arguments, **options).arguments["run"])

    monkeypatch.setattr(Recommender, "fit", trained_before)
    code = re.sub(r'"([ui])0(\d\d)"', r'"\1\2"', "\n".join(blocks))
    exec(compile(code, name, "exec"), {})
