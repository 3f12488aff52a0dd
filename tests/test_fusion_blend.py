"""Blends: a planted truth is found, a member that knows its training events by heart is not believed, saved is loaded, bad input is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from m6rec.base.contracts import Histories, Requests, Scorer
from m6rec.base.errors import CheckpointError, ConfigError, DataError, M6RecError, MissingExtraError, UsageError
from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.evaluation.metrics import expected_ranks, ndcg
from m6rec.fusion import ways_learned
from m6rec.fusion.blend import WAYS, Blend
from m6rec.fusion.config import FusionConfig, TreesConfig
from m6rec.fusion.member import MEMBERS

ITEMS, PEOPLE = 60, 240
HOWS = sorted(WAYS)
TREES = TreesConfig(rounds=40, leaf_rows=20, learning_rate=0.15, patience=20)


class Told(Scorer):
    """Scores as written down for each user; `answer` has parts, as the trained model has."""

    name = "told"

    def __init__(self, table: np.ndarray) -> None:
        self.table = table.astype(np.float32)

    def scores(self, requests: Requests) -> np.ndarray:
        assert requests.users is not None
        return self.table[requests.users]

    def save(self, folder: Path) -> None:
        raise AssertionError("a scorer that is no fusion member is not saved with the blend")

    @classmethod
    def load(cls, folder: Path) -> Told:
        raise AssertionError


class Explained(Told):
    def answer(self, requests: Requests) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        scores = self.scores(requests)
        chance = np.exp(scores - scores.max(axis=1, keepdims=True))
        return scores, {"inner": 0.75 * chance, "outer": 0.25 * chance}


def people(seed: int = 0) -> tuple[Requests, Histories]:
    """Requests of people with short (2 to 4) and long (16 to 24) histories by turns, and a target that is not in them."""
    random = np.random.default_rng(seed)
    lengths = np.where(np.arange(PEOPLE) % 2 == 0, random.integers(2, 5, PEOPLE), random.integers(16, 25, PEOPLE))
    rows = [random.choice(ITEMS, size + 1, replace=False) for size in lengths]
    requests = Requests(Histories.from_lists([row[:-1] for row in rows]), users=np.arange(PEOPLE))
    return requests, Histories.from_lists([row[-1:] for row in rows])


def knowing(targets: Histories, who: np.ndarray, seed: int, strength: float = 2.5) -> np.ndarray:
    """(B, N) noise, with the target of the people `who` (bool B) lifted."""
    table = np.random.default_rng(seed).normal(size=(PEOPLE, ITEMS))
    table[np.flatnonzero(who), targets.items[who]] += strength
    return table


def blend(scorers: dict[str, Scorer], seen: np.ndarray | None = None, **settings: Any) -> Blend:
    config = FusionConfig.build({"members": list(scorers), "candidates": 20, "folds": 2, "trees": TREES.plain(), **settings})
    return Blend(config, scorers, np.full(ITEMS, 5) if seen is None else seen)


def worth(scorer: Scorer, requests: Requests, targets: Histories) -> float:
    ranks = expected_ranks(scorer.scores(requests), targets, requests.histories)
    return float(ndcg(ranks, targets.offsets, 10).mean())


def halves(seed: int = 0) -> tuple[Requests, Histories, dict[str, Scorer]]:
    """One member knows people of short histories, the other those of long ones."""
    requests, targets = people(seed)
    short = requests.histories.lengths < 10
    return requests, targets, {"short": Explained(knowing(targets, short, seed + 1)), "long": Told(knowing(targets, ~short, seed + 2))}


# --- planted truths


@pytest.mark.parametrize("how", HOWS)
def test_two_members_that_know_half_of_the_people_each_are_better_together(how: str) -> None:
    requests, targets, members = halves()
    joined = blend(members, how=how).fit(requests, targets)
    fresh_requests, fresh_targets, fresh = halves(seed=10)
    joined.scorers = dict(fresh)
    alone = max(worth(member, fresh_requests, fresh_targets) for member in fresh.values())
    assert worth(joined, fresh_requests, fresh_targets) > 1.15 * alone
    assert joined.facts["out of fold"] > 1.15 * max(joined.facts["alone"].values())


def test_the_gate_finds_who_knows_whom() -> None:
    requests, targets, members = halves()
    gated = blend(members, how="gated").fit(requests, targets)
    way = gated._way
    assert way is not None
    short, long = way.weights(np.array([3, 20]))  # type: ignore[attr-defined]
    assert short[0] > 4 * short[1]
    assert long[1] > 4 * long[0]
    fresh_requests, fresh_targets, fresh = halves(seed=10)
    plain = blend(members, how="weighted").fit(requests, targets)
    gated.scorers, plain.scorers = dict(fresh), dict(fresh)
    assert worth(gated, fresh_requests, fresh_targets) > 1.05 * worth(plain, fresh_requests, fresh_targets)


@pytest.mark.parametrize("how", HOWS)
def test_a_member_that_knows_its_training_events_by_heart_gets_no_weight(how: str) -> None:
    """It would look perfect on events it was fitted on; on held-out ones it is noise, and the blend is fitted on those."""
    requests, targets = people()
    train = np.ones((PEOPLE, ITEMS)) * np.random.default_rng(3).normal(size=(PEOPLE, ITEMS))
    rows = np.repeat(np.arange(PEOPLE), requests.histories.lengths)
    train[rows, requests.histories.items] += 100.0  # every training event stands on top
    honest = knowing(targets, np.ones(PEOPLE, dtype=bool), 4, strength=2.0)
    members: dict[str, Scorer] = {"honest": Told(honest), "by_heart": Told(train)}
    joined = blend(members, how=how).fit(requests, targets)
    assert joined.facts["out of fold"] > 0.93 * joined.facts["alone"]["honest"]
    shares = joined.answer(requests)[1]
    target = (np.arange(PEOPLE), targets.items)
    assert shares["by_heart"][target].sum() < 0.35 * shares["honest"][target].sum()
    if how == "weighted":
        assert joined.facts["weights"] == {"honest": 1.0, "by_heart": 0.0}


def test_out_of_fold_is_not_in_sample() -> None:
    """Trees that could learn each case by heart: the figure that is told is of cases they have not seen."""
    requests, targets = people()
    nobody = np.zeros(PEOPLE, dtype=bool)
    noise: dict[str, Scorer] = {str(seed): Told(knowing(targets, nobody, seed)) for seed in range(1, 9)}
    joined = blend(noise, how="logistic", penalty=0.0).fit(requests, targets)
    assert worth(joined, requests, targets) > 1.3 * joined.facts["out of fold"]


# --- the contract of a scorer


@pytest.fixture(scope="module", params=HOWS)
def fitted(request: pytest.FixtureRequest) -> tuple[Blend, Requests]:
    requests, targets, members = halves()
    return blend(members, how=request.param).fit(requests, targets), requests


def test_scores_are_float32_finite_and_a_batch_is_its_rows(fitted: tuple[Blend, Requests]) -> None:
    joined, requests = fitted
    together = joined.scores(requests.rows(np.arange(12)))
    assert together.shape == (12, ITEMS)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    alone = np.concatenate([joined.scores(requests.rows(np.array([row]))) for row in range(12)])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
    assert joined.scores(requests.rows(np.arange(0))).shape == (0, ITEMS)


def test_what_is_no_candidate_stands_below_in_the_order_of_the_base(fitted: tuple[Blend, Requests]) -> None:
    joined, requests = fitted
    rows = requests.rows(np.arange(20))
    scores, base = joined.scores(rows), joined.scorers["short"].scores(rows)
    candidates, _, _ = joined._look(rows)
    inside = np.zeros(scores.shape, dtype=bool)
    inside[candidates.requests, candidates.items] = True
    for row in range(20):
        rest = np.flatnonzero(~inside[row])
        assert len(rest)
        assert scores[row, rest].max() < scores[row, inside[row]].min()
        order = rest[np.argsort(base[row, rest])]
        assert (np.diff(scores[row, order]) >= 0).all()


def test_parts_are_shares_of_members_and_of_their_parts(fitted: tuple[Blend, Requests]) -> None:
    joined, requests = fitted
    scores, parts = joined.answer(requests.rows(np.arange(9)))
    np.testing.assert_array_equal(scores, joined.scores(requests.rows(np.arange(9))))
    assert set(parts) == {"short/inner", "short/outer", "long"}
    total = np.sum(list(parts.values()), axis=0)
    assert all((part >= 0).all() for part in parts.values())
    assert (total > 0).all()
    known = parts["short/inner"] > 1e-6
    np.testing.assert_allclose(parts["short/outer"][known] / parts["short/inner"][known], 1 / 3, rtol=1e-4)


def test_equal_data_give_equal_bytes(fitted: tuple[Blend, Requests], tmp_path: Path) -> None:
    joined, requests = fitted
    members, targets = halves()[2], halves()[1]
    again = blend(members, how=joined.config.how).fit(requests, targets)
    for name, one in (("a", joined), ("b", again)):
        (tmp_path / name).mkdir()
        one.save(tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert files
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_saved_and_loaded_is_identical(fitted: tuple[Blend, Requests], tmp_path: Path) -> None:
    joined, requests = fitted
    joined.save(tmp_path)
    loaded = Blend.load(tmp_path, joined.scorers)
    np.testing.assert_allclose(loaded.scores(requests), joined.scores(requests), rtol=1e-4, atol=1e-6)  # trees are kept as text
    for name, part in joined.answer(requests)[1].items():
        np.testing.assert_allclose(loaded.answer(requests)[1][name], part, rtol=1e-4, atol=1e-6)
    assert loaded.facts == joined.facts


@pytest.mark.parametrize("how", ["weighted", "gated", "soft_or", "logistic"])
def test_relabelling_the_items_permutes_the_scores(how: str) -> None:
    requests, targets, members = halves()
    place = np.random.default_rng(7).permutation(ITEMS)  # old item -> new
    moved = Requests(Histories(requests.histories.offsets, place[requests.histories.items].astype(np.int32)), users=requests.users)
    there = {name: type(member)(member.table[:, np.argsort(place)]) for name, member in members.items()}  # type: ignore[attr-defined, call-arg]
    first = blend(members, how=how).fit(requests, targets)
    second = blend(there, how=how).fit(moved, Histories(targets.offsets, place[targets.items].astype(np.int32)))
    np.testing.assert_allclose(second.scores(moved)[:, place], first.scores(requests), rtol=1e-4, atol=1e-4)


def test_one_member_only_keeps_its_order() -> None:
    requests, targets, members = halves()
    for how in HOWS:
        one = blend({"short": members["short"]}, how=how).fit(requests, targets)
        if how in ("weighted", "gated"):
            np.testing.assert_array_equal(
                np.argsort(-one.scores(requests)[:5])[:, 0], np.argmax(members["short"].scores(requests)[:5], axis=1)
            )
        assert np.isfinite(one.scores(requests)).all()


def test_given_weights_are_kept() -> None:
    requests, targets, members = halves()
    given = blend(members, how="weighted", weights={"short": 0.0, "long": 2.0}).fit(requests, targets)
    assert given.facts["weights"] == {"short": 0.0, "long": 2.0}
    order = np.argsort(-given.scores(requests), axis=1)[:, 0]
    masked = members["long"].scores(requests).copy()
    rows = np.repeat(np.arange(PEOPLE), requests.histories.lengths)
    masked[rows, requests.histories.items] = -np.inf
    scores = given.scores(requests)
    scores[rows, requests.histories.items] = -np.inf
    np.testing.assert_array_equal(scores.argmax(1), masked.argmax(1))
    assert len(order) == PEOPLE


def test_consumed_items_are_scored_like_others() -> None:
    """Leaving them out is the caller's part: an item of the history that every member likes best stands on top."""
    requests, targets, members = halves()
    joined = blend(members, how="weighted").fit(requests, targets)
    first = requests.histories.offsets[:-1]
    tops = requests.histories.items[first]
    joined.scorers = {name: Told(member.table.copy()) for name, member in members.items()}  # type: ignore[attr-defined]
    for member in joined.scorers.values():
        member.table[np.arange(PEOPLE), tops] = 50.0  # type: ignore[attr-defined]
    assert (joined.scores(requests).argmax(1) == tops).mean() > 0.99


def test_several_targets_and_targets_that_are_lost() -> None:
    requests, targets, members = halves()
    random = np.random.default_rng(1)
    several = Histories.from_lists([[int(item), *random.choice(ITEMS, 2)] for item in targets.items])
    for how in HOWS:
        assert 0 < blend(members, how=how).fit(requests, several).facts["out of fold"] < 1
    nobody = {
        "short": Told(-np.eye(ITEMS)[targets.items] * 9),
        "long": Told(-np.eye(ITEMS)[targets.items] * 9),
    }  # the target is always last
    for how in HOWS:
        assert np.isfinite(blend(nobody, how=how, candidates=5).fit(requests, targets).scores(requests)).all()


# --- fusion members in a blend: folders, newcomers


def catalogue(items: int = ITEMS) -> Table:
    words = ("boot", "trail", "kitchen", "pan", "guitar", "string", "garden", "soil")
    titles = [f"{words[item % 8]} {words[(item // 8) % 8]} thing" for item in range(items)]
    frame = pl.DataFrame({"item_id": [f"i{item}" for item in range(items)], "title": titles})
    return Table(Vocabulary(frame["item_id"]), frame, {"title": FieldType.TEXT})


def shop() -> tuple[Blend, Requests]:
    requests, targets = people()
    members = {name: MEMBERS.get(name)().fit(requests.histories, catalogue()) for name in ("item_knn", "content_knn", "bm25", "popularity")}
    return blend(dict(members), how="gated").fit(requests, targets), requests


def test_members_are_saved_with_the_blend_and_newcomers_are_scored(tmp_path: Path) -> None:
    joined, requests = shop()
    before = joined.scores(requests)
    joined.extend(catalogue(ITEMS + 8))
    joined.extend(catalogue(ITEMS + 8))  # told twice: nothing more happens
    after = joined.scores(requests)
    assert after.shape == (PEOPLE, ITEMS + 8)
    assert np.isfinite(after).all()
    assert before.shape == (PEOPLE, ITEMS)
    asked = Requests(Histories.from_lists([[ITEMS + 3], []]), texts=["", "guitar boot"])
    assert np.isfinite(joined.scores(asked)).all()
    joined.save(tmp_path)
    np.testing.assert_array_equal(Blend.load(tmp_path).scores(asked), joined.scores(asked))
    content = joined.scorers["content_knn"].scores(asked)
    assert content[0].argmax() % 64 == (ITEMS + 3) % 64  # the newcomer's own words are read
    assert joined.scorers["item_knn"].scores(asked)[:, ITEMS:].max() < 0  # no evidence


def test_refitting_changes_the_members_and_not_the_weights() -> None:
    joined, requests = shop()
    weights = joined.facts["weights"]
    joined.refit(requests.histories.window(drop_last=1), catalogue())
    assert joined.facts["weights"] == weights
    assert joined.seen.sum() == len(requests.histories.items) - PEOPLE


# --- bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"members": []}, "name at least one member"),
        ({"members": ["ease", "ease"]}, "'ease' stands there twice"),
        ({"members": ["ease"], "base": "m6rec"}, "base is 'm6rec', which is no member"),
        ({"members": ["ease"], "weights": {"m6rec": 1}}, "weights name 'm6rec', which is no member"),
        ({"members": ["ease", "m6rec"], "weights": {"ease": 1}}, "weights lack 'm6rec'"),
        ({"members": ["ease"], "weights": {"ease": -1}}, "0 or more"),
        ({"members": ["ease"], "weights": {"ease": 0}}, "at least one is above 0"),
        ({"members": ["ease"], "weights": {"ease": 1}, "how": "gated"}, "how is 'gated', which finds its own"),
        ({"how": "stacked"}, "'stacked'"),
        ({"normalization": "z"}, "did you mean 'normalisation'"),
        ({"folds": 1}, "folds"),
    ],
)
def test_a_wrong_section_is_an_error_of_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        FusionConfig.build(settings)
    assert "\n" not in str(caught.value)


def test_scores_that_are_not_finite_are_an_error() -> None:
    requests, targets, members = halves()
    broken = np.zeros((PEOPLE, ITEMS))
    broken[3, 3] = np.nan
    with pytest.raises(M6RecError, match="'broken' gave 1 scores that are not finite"):
        blend({"short": members["short"], "broken": Told(broken)}).fit(requests, targets)


def test_members_of_two_catalogues_are_an_error() -> None:
    requests, targets, members = halves()
    with pytest.raises(M6RecError, match=r"'other' scores \(240, 61\)"):
        blend({"short": members["short"], "other": Told(np.zeros((PEOPLE, ITEMS + 1)))}).fit(requests, targets)


def test_too_few_cases_and_no_fit(tmp_path: Path) -> None:
    requests, targets, members = halves()
    few = np.arange(9)
    with pytest.raises(DataError, match="needs 10 cases or more, there are 9"):
        blend(members, folds=5).fit(requests.rows(few), targets.rows(few))
    for call in (lambda fresh: fresh.scores(requests), lambda fresh: fresh.save(tmp_path)):
        with pytest.raises(UsageError, match="was not fitted"):
            call(blend(members))
    with pytest.raises(ConfigError, match="got the scorers long"):
        Blend(FusionConfig(members=["short", "long"]), {"long": members["long"]}, np.zeros(ITEMS))


def test_without_lightgbm_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str, extra: str) -> None:
        raise MissingExtraError(f"'{module}' is not installed; type: pip install 'm6rec[{extra}]'")

    monkeypatch.setattr(ways_learned, "require", missing)
    requests, targets, members = halves()
    with pytest.raises(MissingExtraError, match=r"'lightgbm' is not installed; type: pip install 'm6rec\[fusion\]'"):
        blend(members, how="lambdamart").fit(requests, targets)
    blend(members, how="gated").fit(requests, targets)  # needs none of it


def test_damaged_folders_are_an_error(tmp_path: Path) -> None:
    joined, _ = shop()
    with pytest.raises(CheckpointError, match="can't be read"):
        Blend.load(tmp_path / "nowhere")
    joined.save(tmp_path)
    about = (tmp_path / "blend.json").read_text()
    for old, new, message in (
        ('"version": 1', '"version": 9', "reads up to 1"),
        ('"how": "gated"', '"how": "unheard"', "unheard"),
        ('"seed": 0', '"sed": 0', "damaged"),
    ):
        assert old in about
        (tmp_path / "blend.json").write_text(about.replace(old, new))
        with pytest.raises(CheckpointError, match=message):
            Blend.load(tmp_path)
    (tmp_path / "blend.json").write_text(json.dumps(json.loads(about)))
    arrays = (tmp_path / "arrays.npz").read_bytes()
    (tmp_path / "arrays.npz").write_bytes(arrays[: len(arrays) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        Blend.load(tmp_path)


def test_damaged_trees_are_an_error(tmp_path: Path) -> None:
    requests, targets, members = halves()
    joined = blend(members, how="lambdamart").fit(requests, targets)
    joined.save(tmp_path)
    assert joined.facts["weights"]["trees"] > 0
    (tmp_path / "trees.txt").write_text("not a tree")
    with pytest.raises(CheckpointError, match="is no LightGBM model"):
        Blend.load(tmp_path, members)
    (tmp_path / "trees.txt").unlink()
    with pytest.raises(CheckpointError, match=r"trees\.txt is missing"):
        Blend.load(tmp_path, members)
