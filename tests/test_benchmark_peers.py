"""The harness that runs peers: what they are given, how their scores are ranked, what is kept. No peer's environment is needed."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from progress import Exchange, Progress, whole_catalogue, write_scores

from m6rec.base.contracts import Histories, Requests
from m6rec.data.config import SplitConfig
from m6rec.data.dataset import Dataset, Table, Vocabulary
from m6rec.data.splits import Cases, Split, split
from m6rec.evaluation.config import EvaluationConfig
from m6rec.evaluation.protocol import evaluate
from m6rec.fusion.item_knn import ItemKNN
from peers import cache, environment, running
from peers.cache import Cache, Result
from peers.exchange import cases_fingerprint, rank_scores, write_exchange
from peers.roster import PEERS, DataSize, Peer, settings, steps_batch
from peers.running import Peers

ITEMS, USERS = 30, 80
CONFIG = EvaluationConfig(resamples=100)
SECRET = ITEMS - 1  # an item that is the test target of somebody and stands nowhere else


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    generator = np.random.default_rng(0)
    rows = [generator.integers(0, ITEMS - 1, size=generator.integers(1, 12)).tolist() for _ in range(USERS)]
    rows[3] = [1, 2, 3, SECRET]
    names = [str(i) for i in range(ITEMS)]
    users = [str(u) for u in range(USERS)]
    items = Table(Vocabulary(names), pl.DataFrame({"item_id": names}), {})
    return Dataset(items, Table(Vocabulary(users), pl.DataFrame({"user_id": users}), {}), Histories.from_lists(rows))


@pytest.fixture(scope="module")
def cut(dataset: Dataset) -> Split:
    return split(dataset, SplitConfig(), 0)


@pytest.fixture
def member(dataset: Dataset, cut: Split) -> ItemKNN:
    return ItemKNN().fit(cut.train, dataset.items)


def test_no_test_target_is_given_away(cut: Split, tmp_path: Path) -> None:
    assert SECRET in cut.test.targets.items
    write_exchange(tmp_path / "exchange", cut, exclude_history=True)
    with np.load(tmp_path / "exchange" / "cases.npz") as arrays:
        assert sorted(arrays) == sorted(
            f"{n}_{p}" for n in ("train", "validation", "validation_targets", "test") for p in ("items", "offsets")
        )
        assert all(SECRET not in arrays[name] for name in arrays if name.endswith("items"))


@pytest.mark.parametrize("exclude", [True, False])
def test_scores_through_files_rank_as_the_scorer_itself(cut: Split, member: ItemKNN, tmp_path: Path, exclude: bool) -> None:
    write_exchange(tmp_path / "exchange", cut, exclude)
    given = Exchange.read(tmp_path / "exchange")
    assert (given.items, given.exclude_history) == (ITEMS, exclude)
    write_scores(tmp_path / "scores.npy", given, lambda histories: member.scores(Requests(histories=histories)))
    config = EvaluationConfig(resamples=100, exclude_history=exclude, batch=7)
    direct = evaluate(member, cut.test, cut.seen, config)
    through = rank_scores(tmp_path / "scores.npy", cut, config, "peer")
    np.testing.assert_array_equal(through.ranks, direct.ranks)
    assert through.coverage == direct.coverage

    progress = Progress(tmp_path, given, max_epochs=3, patience=1)
    measured = progress.measure(lambda histories: member.scores(Requests(histories=histories)))
    validation = evaluate(member, cut.validation, cut.seen, config)
    assert measured["ndcg@10"] == pytest.approx(validation.values("ndcg@10").mean(), abs=1e-12)
    assert measured["hit_rate@10"] == pytest.approx(validation.values("hit_rate@10").mean(), abs=1e-12)


def test_items_a_peer_never_saw_come_last_and_tied() -> None:
    found = whole_catalogue(np.array([2, 0]), np.array([[5.0, -3.0], [1.0, 1.0]]), 4)
    np.testing.assert_array_equal(found, [[-3, -4, 5, -4], [1, 0, 1, 0]])
    assert found.dtype == np.float32


def test_progress_stops_early_and_goes_on_after_a_kill(cut: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_exchange(tmp_path / "exchange", cut, exclude_history=True)
    given = Exchange.read(tmp_path / "exchange")
    curve = iter([0.1, 0.3, 0.2, 0.25, 0.9])
    monkeypatch.setattr(Progress, "measure", lambda self, scores: {"ndcg@10": next(curve), "hit_rate@10": 0.5})

    def start() -> Progress:
        return Progress(tmp_path, given, max_epochs=10, patience=2)

    spent = {"seconds": 2.0, "cpu_seconds": 1.0}
    first = start()
    assert first.add(spent, lambda histories: np.zeros((0, 0)))
    first.save(wall_seconds=3.0)
    assert first.add(spent, lambda histories: np.zeros((0, 0)))  # killed before it was saved: 0.3 is measured in vain
    second = start()
    assert [epoch["ndcg@10"] for epoch in second.epochs] == [0.1]
    assert second.facts["wall_seconds"] == 3.0
    assert second.add(spent, lambda histories: np.zeros((0, 0)))
    assert not second.finished
    assert second.add(spent, lambda histories: np.zeros((0, 0)))
    second.save()
    assert (second.best, second.epochs[-1]["training_seconds_so_far"]) == (2, 6.0)
    monkeypatch.setattr(Progress, "measure", lambda self, scores: {"ndcg@10": 0.2, "hit_rate@10": 0.5})
    third = start()
    for done in (False, True):
        assert not third.add(spent, lambda histories: np.zeros((0, 0)))
        assert third.finished == done
    assert start().facts["peak_mb"] > 1


def test_fingerprint_of_cases(cut: Split) -> None:
    same = cases_fingerprint(cut, True)
    assert same == cases_fingerprint(cut, True)
    assert same != cases_fingerprint(cut, False)
    targets = Histories(cut.test.targets.offsets, (cut.test.targets.items + 1) % ITEMS)
    assert same != cases_fingerprint(replace(cut, test=Cases(cut.test.requests, targets)), True)


def test_settings_follow_the_size_of_the_data() -> None:
    assert [steps_batch(users) for users in (500, 6_000, 13_000, 22_000, 1_000_000)] == [32, 32, 32, 64, 128]
    short, long = (DataSize(6_000, 4_000, median) for median in (49.0, 50.0))
    for peer in PEERS.values():
        wanted = settings(peer, short, seed=7)
        assert json.loads(json.dumps(wanted)) == wanted
        assert (wanted["seed"], wanted["threads"]) == (7, 1)
        assert settings(peer, long, seed=7) != wanted
        assert environment.pinned(peer.environment, peer.package)
        assert (running.RUNNERS / peer.runner).exists()


def test_key_of_a_result() -> None:
    peer, size = PEERS["rectools-sasrec"], DataSize(100, 50, 5.0)
    wanted = settings(peer, size, 0)
    keys = [
        cache.key(peer, "0.19.0", wanted),
        cache.key(peer, "0.20.0", wanted),
        cache.key(peer, "0.19.0", settings(peer, size, 1)),
        cache.key(peer, "0.19.0", {**wanted, "patience": 4}),
        cache.key(PEERS["rectools-hstu"], "0.19.0", wanted),
    ]
    assert len(set(keys)) == len(keys)
    assert cache.key(peer, "0.19.0", {**wanted, "shipped_seconds": 1.0}) == keys[0]


def test_a_kept_result_is_the_evaluation_it_was(cut: Split, member: ItemKNN, tmp_path: Path) -> None:
    peer, wanted = PEERS["rectools-sasrec"], {"seed": 0}
    evaluation = evaluate(member, cut.test, cut.seen, CONFIG, name=peer.name)
    kept = Cache("0123456789abcdef", tmp_path)
    assert kept.find(peer, "1", wanted) is None
    epochs = [{"ndcg@10": value} for value in (0.1, 0.3, 0.2)]
    result = Result(peer.name, "rectools", "1", wanted, {"cpu": "x"}, {}, epochs, {str(k): v for k, v in evaluation.coverage.items()})
    kept.save(kept.path(peer, "1", wanted), result, evaluation.ranks)
    path = kept.find(peer, "1", wanted)
    assert path is not None
    found, again = cache.load(path, cut, CONFIG)
    assert (asdict(found), found.best_epoch) == (asdict(result), 2)
    np.testing.assert_array_equal(again.ranks, evaluation.ranks)
    assert again.table() == evaluation.table()
    assert again.coverage == evaluation.coverage
    assert tuple(again.difference(evaluation, "ndcg@10")) == (0.0, 0.0, 0.0)

    other = Histories(cut.test.targets.offsets[:-1], cut.test.targets.items[:-1])
    with pytest.raises(SystemExit, match="remove it and run the peer again"):
        cache.load(path, replace(cut, test=Cases(cut.test.requests.rows(np.arange(len(other))), other)), CONFIG)
    path.with_suffix(".npz").unlink()
    assert kept.find(peer, "1", wanted) is None


FAKE_RUNNER = """
import sys
from pathlib import Path
import numpy as np
from progress import Exchange, Progress, write_scores

exchange, work = Exchange.read(Path(sys.argv[1])), Path(sys.argv[2])
counts = np.bincount(exchange.train.items, minlength=exchange.items).astype(np.float32)
scores = lambda histories: np.tile(counts, (len(histories), 1))
progress = Progress(work, exchange, max_epochs=2, patience=5)
while not progress.finished:
    progress.add({"seconds": 1.0, "cpu_seconds": 0.5}, scores)
    progress.save(targets=10.0)
    if len(progress.epochs) == 1:
        sys.exit("killed after the first epoch")
progress.save(latency={"bare": {"p50_ms": 1.0, "p95_ms": 2.0}})
write_scores(work / "scores.npy", exchange, scores)
"""


def test_a_peer_from_start_to_cache(
    cut: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    (tmp_path / "fake.py").write_text(FAKE_RUNNER, encoding="utf-8")
    (tmp_path / "progress.py").write_text((running.RUNNERS / "progress.py").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(running, "RUNNERS", tmp_path)
    monkeypatch.setattr(running, "ready", lambda environment, root: sys.executable)
    monkeypatch.setattr(running, "pinned", lambda environment, package: "1.0")
    peer = Peer("fake-popularity", "recbole", "fake", "fake.py", {"model": "counts", "parameters": {}})
    peers = Peers(cut, CONFIG, tmp_path / "place", tmp_path / "environments")
    peers.cache = Cache(peers.cases, tmp_path / "results")

    peers.only_cached = True
    assert peers.measure(peer) is None
    peers.only_cached = False
    assert peers.measure(peer) is None
    assert "goes on where it stopped" in capsys.readouterr().out
    fresh = peers.measure(peer)
    assert fresh is not None
    assert not fresh.cached
    assert len(fresh.result.epochs) == 2
    again = peers.measure(peer)
    assert again is not None
    assert again.cached
    np.testing.assert_array_equal(again.evaluation.ranks, fresh.evaluation.ranks)
    assert fresh.result.machine["threads"] == 1
    assert not list((tmp_path / "place").glob("fake-*"))  # what is large is gone
