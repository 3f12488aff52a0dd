"""Fixtures every test may use."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from m6rec.config import M6RecConfig
    from postgres_server import Server


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """`real_data("beauty")`: the folder of a real data set, or a skip that says where it was looked for."""
    root = Path(os.environ.get("M6REC_DATA") or Path(__file__).parents[2] / "shared" / "data")

    def find(name: str) -> Path:
        folder = root / name
        if not folder.is_dir():
            pytest.skip(f"real data not found: {folder} (set M6REC_DATA)")
        return folder

    return find


OFFERED = "scenarios.offers={}"  # every scenario may recommend everything: most tests ask for all items of a small catalogue
PLAIN = "tasks.next.interest=null"  # the interest vector is a stage more; test_tasks_interest.py and test_recommender.py have it
TINY = (
    "model.width=16",
    "model.history=12",
    "pretrain.epochs=1",
    "train.epochs=2",
    "train.threads=1",
    "text.vocabulary=400",
    "evaluation.resamples=100",
    OFFERED,
    PLAIN,
)


@pytest.fixture(scope="session")
def tiny_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built-in sample of 60 users and 40 items, and its config.yaml. Read it, do not change it: copy it first."""
    from m6rec.data.sample import write_sample

    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder, users=60, items=40, events_per_user=12.0)
    return folder


@pytest.fixture(scope="session")
def tiny_config(tiny_sample: Path) -> Callable[..., M6RecConfig]:
    """`tiny_config("train.epochs=1", ...)`: the configuration of the tiny run, changed; `tiny_config(..., folder=f)` reads that of `f`."""
    from m6rec.config import load_config

    def build(*assignments: str, folder: Path | None = None) -> M6RecConfig:
        return load_config((folder or tiny_sample) / "config.yaml", [*TINY, *assignments])

    return build


@pytest.fixture(scope="session")
def tiny_run(tiny_sample: Path, tiny_config: Callable[..., M6RecConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run folder (trained once a session on `tiny_sample`); its model folder is `tiny_run / "model"`. Read only."""
    from m6rec.training.pipeline import train

    run = tmp_path_factory.mktemp("runs") / "tiny"
    train(tiny_config(), tiny_sample, run)
    return run


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny_checkpoint("bert")`: the folder of a tiny random checkpoint of that family, its tokenizer trained on the tiny sample. Read only."""
    from functools import lru_cache

    import polars as pl

    from tiny_checkpoints import write_checkpoint

    texts = pl.read_parquet(tiny_sample / "items.parquet")["title"].to_list()

    @lru_cache
    def make(family: str) -> Path:
        return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / family, family, texts)

    return make


class CommandLine(NamedTuple):
    """What one command line left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The value on standard output, of a command that went well and printed nothing else anywhere."""
        assert (self.code, self.err) == (0, ""), self
        return json.loads(self.out)

    def error(self, code: int) -> str:
        """The one line on standard error of a command that failed with this exit code."""
        assert self.code == code, self
        assert len(self.err.splitlines()) == 1, self.err
        assert self.err.startswith("m6rec: error: ")
        return self.err


@pytest.fixture
def m6rec(capsys: pytest.CaptureFixture[str]) -> Callable[..., CommandLine]:
    """`m6rec("train", path, ...)`: one command line, run in this process."""
    from m6rec.cli.program import run

    def call(*words: object) -> CommandLine:
        capsys.readouterr()
        code = run([str(word) for word in words])
        return CommandLine(code, *capsys.readouterr())

    return call


JUDGED = (
    "train.epochs=2",
    "train.threads=1",
    "model.width=16",
    "model.history=12",
    "pretrain.epochs=1",
    "text.vocabulary=400",
    OFFERED,
    PLAIN,
)


@pytest.fixture(scope="session")
def judged_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small sample whose config.yaml has tasks that judge candidates, items and texts. Read only.

    Without likes, dislikes and long views: they cost time and are clicks over again; test_data_sample_exposures.py has them.
    """
    from m6rec.data.sample import write_sample

    folder = tmp_path_factory.mktemp("judged")
    write_sample(folder, users=80, items=60, events_per_user=10.0, tasks=True)
    config, left_out = folder / "config.yaml", ("  like:", "  long_view:", "  dislike:", "evaluation:", "  worth:")
    lines = config.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = "".join(line for line in lines if not line.startswith(left_out))
    config.write_text(kept.replace(", metrics: [auc, gauc, log_loss, ece, pr_auc, best_f1, ndcg@3, satisfaction@3]", ""), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def judged_run(judged_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `judged_sample`, trained once a session. Read only."""
    from m6rec.config import load_config
    from m6rec.training.pipeline import train

    run = tmp_path_factory.mktemp("runs") / "judged"
    settings = [*JUDGED, "evaluation.resamples=100", "evaluation.baselines=[popularity]", "evaluation.worth={click: 1}"]
    train(load_config(judged_sample / "config.yaml", settings), judged_sample, run)
    return run


WRITING = (
    *("model.width=16", "model.history=12", "pretrain.epochs=1", "text.vocabulary=700", "text.segment_tokens=24"),
    *("train.epochs=2", "train.threads=1", "evaluation.resamples=100", "evaluation.baselines=[]", "writing.width=32", "writing.passes=6"),
    *("writing.source_tokens=64", "writing.batch_rows=16", "tasks.next.prior.graph=false", PLAIN),
)
WRITE_TASKS = """  reason: {answer: write, from: reason, memory: 1, longest: 24}
  search: {answer: write, from: [query], reads: [history, profile], memory: 0, own: 0, longest: 12}
"""


@pytest.fixture(scope="session")
def writing_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small sample that talks, whose config.yaml has two write tasks: reason, search. Read only."""
    from m6rec.data.sample import write_sample

    folder = tmp_path_factory.mktemp("writing")
    write_sample(folder, users=60, items=40, events_per_user=8.0, talk=True)
    config = folder / "config.yaml"
    lines = config.read_text(encoding="utf-8").splitlines(keepends=True)
    config.write_text(
        "".join(line for line in lines if "on: text" not in line and "answer: write" not in line) + WRITE_TASKS, encoding="utf-8"
    )
    return folder


@pytest.fixture(scope="session")
def writing_run(writing_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `writing_sample`, trained once a session. Read only."""
    from m6rec.config import load_config
    from m6rec.training.pipeline import train

    run = tmp_path_factory.mktemp("runs") / "writing"
    train(load_config(writing_sample / "config.yaml", WRITING), writing_sample, run)
    return run


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A running PostgreSQL of the session's own; `postgres.new_database()` is the URL of an empty database."""
    from postgres_server import running_postgres, why_not

    if why_not():
        pytest.skip(why_not())
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a PostgreSQL database with the store's tables, for `postgres_store` to empty."""
    from m6rec.serving.store.config import StoreConfig
    from m6rec.serving.store.store import Store

    url = postgres.new_database()
    Store.open(StoreConfig(url=url), tmp_path_factory.mktemp("postgres_store")).close()
    return url


@pytest.fixture
def postgres_store(postgres: Server, migrated_postgres: str) -> str:
    """`store.url` of an empty store in PostgreSQL."""
    from m6rec.serving.store.tables import metadata

    # As a replica no trigger runs: the one that guards the audit refuses this, as it should.
    emptied = f"SET session_replication_role = replica; TRUNCATE {', '.join(metadata.tables)}"
    postgres.sql(emptied, migrated_postgres.rpartition("/")[2])
    return migrated_postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """`store.url` of an empty store, once for SQLite (in the state folder) and once for PostgreSQL."""
    return "" if request.param == "sqlite" else request.getfixturevalue("postgres_store")
