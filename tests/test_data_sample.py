"""The built-in sample: same seed = same bytes, the files say what the truth says, and the truth is what the events follow."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import StorageError, UsageError
from m6rec.data.config import DataConfig, FieldsConfig, ScenariosConfig, SplitConfig
from m6rec.data.prepare import prepare
from m6rec.data.sample import FORMATS, Sample, generate, write_sample
from m6rec.data.sample_tastes import LONGEST_PAUSE, persona_topics
from m6rec.data.splits import Cases, split
from m6rec.data.transitions import count_transitions, normalise

FILES = ("config.yaml", "events", "exposures", "items", "users", "texts", "relations")


@pytest.fixture(scope="module")
def sample() -> Sample:
    return generate()


@pytest.fixture(scope="module")
def cases(sample: Sample) -> Cases:
    return split(sample.dataset(), SplitConfig.build({}), seed=0).test


@pytest.fixture(scope="module")
def oracle(sample: Sample, cases: Cases) -> np.ndarray:
    return sample.truth.scores(cases.requests)


def ranks(scores: np.ndarray, cases: Cases) -> np.ndarray:
    """Expected rank of the one target of each case among the items not in the history."""
    scores = scores.astype(np.float64)
    rows, targets = np.arange(len(cases)), cases.targets.items
    own = scores[rows, targets].copy()
    histories = cases.requests.histories
    scores[np.repeat(rows, histories.lengths), histories.items] = -np.inf
    scores[rows, targets] = own
    return 1 + (scores > own[:, None]).sum(axis=1) + ((scores == own[:, None]).sum(axis=1) - 1) / 2


def ndcg(scores: np.ndarray, cases: Cases) -> float:
    rank = ranks(scores, cases)
    return float(np.where(rank <= 10, 1 / np.log2(1 + rank), 0).mean())


def content_scores(sample: Sample, cases: Cases) -> np.ndarray:
    """A naive content scorer: tf-idf cosine of the words of title, description and tags with the recent history."""
    rows = sample.items.select(pl.concat_str("title", "description", pl.col("tags").list.join(" "), separator=" ")).to_series()
    words = [set(re.findall(r"\w+", row.lower())) for row in rows]
    column = {word: at for at, word in enumerate(sorted(set().union(*words)))}
    matrix = np.zeros((len(words), len(column)))
    for row, own in enumerate(words):
        matrix[row, [column[word] for word in own]] = 1
    matrix *= np.log(len(words) / matrix.sum(axis=0))
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    histories = cases.requests.histories
    recency = [0.8 ** np.arange(length)[::-1] for length in histories.lengths]
    return np.stack([weight @ (matrix[histories.row(row)] @ matrix.T) for row, weight in enumerate(recency)])


@pytest.mark.parametrize("format", FORMATS)
def test_same_seed_same_bytes(tmp_path: Path, format: str) -> None:
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder, seed in zip(folders, (5, 5, 6), strict=True):
        told = write_sample(folder, users=40, items=50, seed=seed, format=format)  # type: ignore[arg-type]
    names = sorted(path.name for path in folders[0].iterdir())
    assert names == sorted(name if "." in name else f"{name}.{format}" for name in FILES)
    assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in names)
    assert all((folders[0] / name).read_bytes() != (folders[2] / name).read_bytes() for name in names)
    assert told["files"][f"items.{format}"] == 50
    assert told["config"] == str(folders[2] / "config.yaml")


def test_the_three_formats_are_read_as_the_sample_in_memory(tmp_path: Path) -> None:
    memory = generate(users=40, items=95, seed=2)
    dataset = memory.dataset()
    for format in FORMATS:
        write_sample(tmp_path / format, users=40, items=95, seed=2, format=format)  # type: ignore[arg-type]
        config = yaml.safe_load((tmp_path / format / "config.yaml").read_text(encoding="utf-8"))
        assert config["tasks"] == {"next": {"answer": "choose", "positive": None, "interest": {}}}
        read, _ = prepare(
            DataConfig.build(config["data"]),
            FieldsConfig.build(config["fields"]),
            ScenariosConfig.build(config["scenarios"]),
            tmp_path / format,
        )
        for mine, theirs in ((dataset.items, read.items), (dataset.users, read.users)):
            assert mine.ids.ids == theirs.ids.ids
            assert mine.frame.equals(theirs.frame.select(mine.frame.columns))
            assert mine.fields == theirs.fields
        np.testing.assert_array_equal(dataset.histories.offsets, read.histories.offsets)
        np.testing.assert_array_equal(dataset.histories.items, read.histories.items)
        assert dataset.histories.times is not None
        assert dataset.histories.values is not None
        assert read.histories.times is not None
        assert read.histories.values is not None
        np.testing.assert_array_equal(dataset.histories.times, read.histories.times)
        np.testing.assert_array_equal(dataset.histories.values, read.histories.values)
        for names, codes, others, other_codes in (
            (dataset.action_names, dataset.histories.actions, read.action_names, read.histories.actions),
            (dataset.scenario_names, dataset.histories.scenarios, read.scenario_names, read.histories.scenarios),
        ):
            assert codes is not None
            assert other_codes is not None
            assert [names[code] for code in codes] == [others[code] for code in other_codes]
        assert read.texts is not None
        assert read.relations is not None
        assert len(read.texts) == len(memory.texts)
        assert len(read.relations) == len(memory.relations)


def test_the_written_configuration_is_a_whole_one(tmp_path: Path) -> None:
    from m6rec.config import load_config

    write_sample(tmp_path, users=10, items=10, language="zh")
    config = load_config(tmp_path / "config.yaml")
    assert config.text.language == "zh"
    assert config.choose.positive is None
    events, items = pl.read_parquet(tmp_path / "events.parquet"), pl.read_parquet(tmp_path / "items.parquet")
    kinds = dict(events.join(items, "item_id").select("scenario", "kind").iter_rows())
    assert config.scenarios.offers == {scenario: {"kind": kind} for scenario, kind in kinds.items()}


def test_languages_share_the_truth_and_differ_in_words(sample: Sample) -> None:
    chinese = generate(language="zh")
    np.testing.assert_array_equal(sample.histories.items, chinese.histories.items)
    np.testing.assert_array_equal(sample.truth.topic, chinese.truth.topic)
    assert all(re.search(r"[一-鿿]", title) for title in chinese.items["title"])
    assert not any(re.search(r"[一-鿿]", title) for title in sample.items["title"])
    assert chinese.items["title"].n_unique() == sample.items["title"].n_unique() == 300
    assert set(chinese.texts["lang"]) == {"zh"}
    assert not any(re.search(r"[a-z]{3,}", text) for text in chinese.texts["text"])
    assert not any("{" in text for made in (sample, chinese) for text in (*made.items["title"], *made.items["description"]))


def test_events_obey_the_truth(sample: Sample) -> None:
    histories, truth = sample.histories, sample.truth
    assert histories.times is not None
    assert histories.actions is not None
    assert histories.values is not None
    for row in range(len(histories)):
        assert len(set(histories.row(row).tolist())) == len(histories.row(row))  # nobody meets an item twice
        assert (np.diff(histories.times[histories.offsets[row] : histories.offsets[row + 1]]) > 0).all()
    assert (histories.times >= truth.release[histories.items]).all()
    np.testing.assert_array_equal(histories.scenarios, truth.scenario[histories.items])
    seen = sample.dataset().seen_counts()
    assert truth.cold.sum() == 18
    assert (seen[truth.cold] == 0).all()
    assert 15 < histories.lengths.mean() < 22
    assert (histories.lengths == 0).any()
    assert ((histories.lengths > 0) & (histories.lengths < 3)).any()
    strong = np.isin(histories.actions, (2, 3))
    np.testing.assert_array_equal(strong, ~np.isnan(histories.values))
    assert sorted(set(histories.actions[histories.scenarios == 0].tolist())) == [0, 1, 2]
    assert sorted(set(histories.actions[histories.scenarios == 2].tolist())) == [0, 1, 3]
    gaps = np.diff(histories.times)[np.diff(np.repeat(np.arange(len(histories)), histories.lengths)) == 0]
    assert 0.2 < (gaps > LONGEST_PAUSE).mean() < 0.3
    assert sample.events["time"].is_sorted()


def test_topics_are_in_the_words_and_profiles_tell_of_tastes(sample: Sample) -> None:
    truth = sample.truth
    assert not set(sample.relations["relation"]) ^ {"brand", "next_part", "goes_with", "follows"}
    major = persona_topics(12)[0][truth.persona]
    told = truth.age >= 0
    assert 0.6 < truth.interests[np.arange(len(major)), major][told].mean() < 0.8
    nothing = Histories(offsets=np.zeros(len(major) + 1, dtype=np.int64), items=np.zeros(0, dtype=np.int32), times=np.zeros(0))
    nobody = Requests(histories=nothing, users=np.arange(len(major)))
    scores = sample.truth.scores(nobody)
    by_topic = np.stack([scores[:, truth.topic == topic].sum(axis=1) for topic in range(12)], axis=1)
    assert (by_topic.argmax(axis=1) == major)[told].mean() > 0.7
    assert (by_topic.argmax(axis=1) == major)[~told].mean() < 0.3


def test_the_oracle_is_calibrated(sample: Sample, cases: Cases, oracle: np.ndarray) -> None:
    for scores in (oracle, sample.truth.scores(cases.requests, taste="known")):
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-5)
        promised = np.sort(scores, axis=1)[:, -10:].sum(axis=1)
        kept = ranks(scores, cases) <= 10
        assert abs(promised.mean() - kept.mean()) < 3 * np.sqrt((promised * (1 - promised)).mean() / len(kept))
    undated = sample.truth.scores(replace(cases.requests.rows(np.arange(50)), now=None))
    np.testing.assert_allclose(undated.sum(axis=1), 1.0, atol=1e-5)


def test_the_signal_is_strong(sample: Sample, cases: Cases, oracle: np.ndarray) -> None:
    """Leave-one-out NDCG@10: oracle > transition graph > content > popularity, each by a wide margin."""
    cut = split(sample.dataset(), SplitConfig.build({}), seed=0)
    popularity = ndcg(np.tile(cut.seen.astype(np.float64), (len(cases), 1)), cases)
    forward = normalise(count_transitions(cut.train, 300, backward=0.0)).toarray()
    histories = cases.requests.histories
    graph = ndcg(np.stack([0.5 ** np.arange(len(row))[::-1] @ forward[row] for row in map(histories.row, range(len(cases)))]), cases)
    content = ndcg(content_scores(sample, cases), cases)
    best = ndcg(oracle, cases)
    assert popularity < 0.07
    assert content > 3 * popularity
    assert graph > 1.5 * content
    assert best > 1.2 * graph


def test_text_carries_cold_items(sample: Sample) -> None:
    cold = split(sample.dataset(), SplitConfig.build({"protocol": "cold_items"}), seed=0).test
    assert ndcg(content_scores(sample, cold), cold) > 0.12
    assert ndcg(sample.truth.scores(cold.requests), cold) > 0.4


@pytest.mark.parametrize(("users", "items"), [(10, 10), (12, 29), (30, 65), (1500, 40)])
def test_other_sizes(users: int, items: int) -> None:
    made = generate(users=users, items=items, events_per_user=6)
    assert (len(made.users), len(made.items)) == (users, items)
    assert made.items["title"].n_unique() == items
    cut = split(made.dataset(), SplitConfig.build({}), seed=0)
    assert len(cut.test) > 0.8 * users


def test_titles_stay_unique_when_the_words_run_out() -> None:
    assert generate(users=10, items=9000).items["title"].n_unique() == 9000


def test_what_is_not_allowed_is_said_in_one_line(sample: Sample, cases: Cases) -> None:
    for wrong in ({"users": 9}, {"items": 3}, {"events_per_user": 1}, {"new_share": 0.9}, {"seed": -1}):
        with pytest.raises(UsageError, match="10 or more users"):
            generate(**wrong)
    with pytest.raises(UsageError, match=r"language is 'de'.*en and zh"):
        generate(language="de")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="needs times"):
        sample.truth.scores(Requests(histories=Histories.from_lists([[1]])))
    with pytest.raises(UsageError, match=r"needs requests\.users"):
        sample.truth.scores(replace(cases.requests, users=None), taste="known")


def test_only_a_sample_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write_sample(tmp_path, users=10, items=10)
    before = (tmp_path / "events.parquet").read_bytes()
    write_sample(tmp_path, users=10, items=10, seed=1)
    assert (tmp_path / "events.parquet").read_bytes() != before
    assert (tmp_path / "notes.txt").read_text() == "mine"
    (tmp_path / "config.yaml").write_text("data: {events: mine.csv}\n")
    with pytest.raises(UsageError, match=r"holds config\.yaml, which is not a sample's"):
        write_sample(tmp_path, users=10, items=10)
    with pytest.raises(UsageError, match=r"format is 'xml'.*parquet, csv, jsonl"):
        write_sample(tmp_path / "new", format="xml")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is a file"):
        write_sample(tmp_path / "notes.txt")


def test_no_space_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sample(tmp_path, users=10, items=10)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    written = []

    real = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        return real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(StorageError, match="No space left on device; nothing was changed"):
            write_sample(tmp_path, users=10, items=10, seed=1)
    assert len(written) == 3
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
