"""The counted priors: values by brute force, no leak from one's own events, no dependence on how items are numbered, gates that
never trust a prior with nothing to say.

Dimension keys: U users, N items, E events, M priors, K recent events, R rows.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from torch import Tensor

from m6rec.base.contracts import Histories
from m6rec.data.transitions import user_folds
from m6rec.tasks.config import PriorConfig
from m6rec.tasks.prior import PriorGate, graph_tables, look_up, part_names, prior_tables, training_values
from m6rec.text.similarity import similarity_vectors

CONFIG = PriorConfig(window=3, decay=0.8, damping=0.5, keep=100, similar=100, sharpness=2.0, recent=4, folds=3)


def random_histories(users: int, items: int, seed: int, longest: int = 9) -> Histories:
    generator = np.random.default_rng(seed)
    return Histories.from_lists([generator.integers(items, size=generator.integers(0, longest)).tolist() for _ in range(users)])


def random_vectors(items: int, seed: int, features: int = 6) -> csr_array:
    bag = (np.random.default_rng(seed).random((items, features)) < 0.4).astype(np.float32)
    return similarity_vectors(csr_array(bag), np.linspace(1, 2, features, dtype=np.float32))


def brute_graph(rows: list[list[int]], items: int, config: PriorConfig) -> dict[str, np.ndarray]:
    """One loop over every pair of events; hops 1. A row sums to the root of what was counted in it."""
    near, wide = np.zeros((items, items)), np.zeros((items, items))
    for row in rows:
        for place, later in enumerate(row):
            for gap in range(1, min(config.window, place) + 1):
                wide[row[place - gap], later] += config.decay ** (gap - 1)
            if place:
                near[row[place - 1], later] += 1
    popularity = np.maximum(wide.sum(axis=0) + wide.sum(axis=1), 1)
    tables = {}
    for name, table in (("next", near), ("forward", wide), ("backward", wide.T)):
        damped = table / popularity**config.damping
        mass = damped.sum(axis=1, keepdims=True)
        tables[name] = np.divide(damped, np.sqrt(mass), out=np.zeros_like(damped), where=mass > 0)
    return tables


def brute_text(vectors: csr_array, config: PriorConfig) -> np.ndarray:
    cosine = (vectors @ vectors.T).toarray().astype(np.float64)
    np.fill_diagonal(cosine, 0)
    weights = cosine**config.sharpness
    mass = weights.sum(axis=1, keepdims=True)
    return np.divide(weights, mass, out=np.zeros_like(weights), where=mass > 0)


def test_training_values_equal_brute_force() -> None:
    items, seed = 8, 5
    histories, vectors = random_histories(14, items, seed=1), random_vectors(items, seed=2)
    rows = [histories.row(user).tolist() for user in range(len(histories))]
    got = training_values(histories, prior_tables(histories, vectors, CONFIG), CONFIG, seed)
    folds, text = user_folds(len(rows), CONFIG.folds, seed), brute_text(vectors, CONFIG)
    event = 0
    for user, row in enumerate(rows):
        graph = brute_graph([other for place, other in enumerate(rows) if folds[place] != folds[user]], items, CONFIG)
        tables = [*graph.values(), text]
        for place, target in enumerate(row):
            for part, table in enumerate(tables):
                for k in range(CONFIG.recent):
                    source = row[place - 1 - k] if place - 1 - k >= 0 else None
                    mass = 0.0 if source is None else table[source].sum()
                    wanted = table[source, target] / mass if mass else 0.0
                    assert got.values[event, part, k] == pytest.approx(wanted, abs=1e-6)
                    assert got.evidence[event, part, k] == pytest.approx(np.log1p(mass), abs=1e-6)
            event += 1
    assert event == len(got.values)


def test_serving_tables_equal_brute_force() -> None:
    histories, vectors = random_histories(14, 8, seed=3), random_vectors(8, seed=4)
    tables = prior_tables(histories, vectors, CONFIG)
    wanted = brute_graph([histories.row(user).tolist() for user in range(len(histories))], 8, CONFIG)
    wanted["text"] = brute_text(vectors, CONFIG)
    assert list(tables) == part_names(CONFIG) == list(wanted)
    for name, table in tables.items():
        np.testing.assert_allclose(table.toarray(), wanted[name], atol=1e-6, err_msg=name)


def test_own_transitions_never_score_their_user() -> None:
    """One user alone goes 8 -> 9, and the others 0 -> 1: the pair only one user has is worth nothing to that user, whatever the fold."""
    for seed in range(6):
        lists = [[0, 1, 2] for _ in range(11)]
        lists.insert(seed, [8, 9])
        histories = Histories.from_lists(lists)
        vectors = csr_array((10, 4), dtype=np.float32)
        tables = prior_tables(histories, vectors, CONFIG)
        assert tables["forward"][8, 9] > 0  # it is in the tables that serve
        assert tables["next"][8, 9] > 0
        got = training_values(histories, tables, CONFIG, seed)
        lonely = histories.offsets[seed] + 1
        assert not got.values[lonely].any()
        assert not got.evidence[lonely].any()
        crowd = histories.offsets[seed + 1] + 1
        assert got.values[crowd, 0, 0] > 0.3  # others' evidence for the same step stays


@pytest.mark.parametrize("hops", [1, 3])
def test_renumbering_items_changes_nothing(hops: int) -> None:
    config, items = CONFIG.model_copy(update={"hops": hops}), 9
    histories, vectors = random_histories(15, items, seed=6), random_vectors(items, seed=7)
    new_name = np.random.default_rng(8).permutation(items)
    renamed = Histories(histories.offsets, new_name[histories.items].astype(np.int32))
    moved = csr_array(vectors[np.argsort(new_name)])
    before = training_values(histories, prior_tables(histories, vectors, config), config, 0)
    after = training_values(renamed, prior_tables(renamed, moved, config), config, 0)
    np.testing.assert_allclose(after.values, before.values, atol=1e-7)
    np.testing.assert_allclose(after.evidence, before.evidence, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(users=st.integers(1, 12), items=st.integers(1, 9), seed=st.integers(0, 10**6), hops=st.integers(1, 3), keep=st.integers(1, 9))
def test_rows_are_never_negative_and_text_rows_are_distributions(users: int, items: int, seed: int, hops: int, keep: int) -> None:
    config = CONFIG.model_copy(update={"hops": hops, "keep": keep, "similar": keep})
    for name, table in prior_tables(random_histories(users, items, seed), random_vectors(items, seed), config).items():
        mass = np.asarray(table.sum(axis=1)).ravel()
        stored = np.diff(table.indptr) > 0
        assert (mass[stored] > 0).all()
        if name == "text":
            np.testing.assert_allclose(mass[stored], 1.0, atol=1e-5)
        assert (table.data >= 0).all()


def test_no_events_and_no_words() -> None:
    histories = Histories.from_lists([[], [], []])
    tables = prior_tables(histories, csr_array((4, 3), dtype=np.float32), CONFIG)
    assert all(table.nnz == 0 for table in tables.values())
    assert training_values(histories, tables, CONFIG, 0).values.shape == (0, len(tables), CONFIG.recent)


def test_look_up_equals_indexing() -> None:
    generator = np.random.default_rng(0)
    dense = np.where(generator.random((6, 6)) < 0.4, generator.random((6, 6)), 0).astype(np.float32)
    sources, targets = generator.integers(6, size=50), generator.integers(6, size=50)
    np.testing.assert_array_equal(look_up(csr_array(dense), sources, targets), dense[sources, targets])
    assert not look_up(csr_array((6, 6), dtype=np.float32), sources, targets).any()


def random_gate(parts: int, recent: int, seed: int = 0) -> PriorGate:
    gate = PriorGate(5, parts, recent)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return gate


def random_evidence(rows: int, parts: int, recent: int, generator: torch.Generator) -> Tensor:
    """log(1 + neighbours), more than half of the items without any."""
    neighbours = torch.randint(1, 50, (rows, parts, recent), generator=generator)
    return torch.log1p(neighbours * (torch.rand(rows, parts, recent, generator=generator) < 0.4).float())


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 6), parts=st.integers(0, 3), recent=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_gates_and_recency_are_distributions_over_what_is_alive(rows: int, parts: int, recent: int, seed: int) -> None:
    gate, generator = random_gate(parts, recent), torch.Generator().manual_seed(seed)
    evidence = random_evidence(rows, parts, recent, generator)
    states, length = torch.randn(rows, 5, generator=generator), torch.randint(50, (rows,), generator=generator)
    weights = gate.log_gates(states, evidence, length).exp()
    assert weights.shape == (rows, 1 + parts)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(rows))
    alive = (evidence > 0).any(dim=2)
    assert (weights[:, 0] > 0).all()
    assert (weights[:, 1:][~alive] == 0).all()
    assert (weights[:, 1:][alive] > 0).all()
    recency = gate.recency_weights(evidence)
    assert (recency[evidence == 0] == 0).all()
    torch.testing.assert_close(recency.sum(dim=2), alive.float())


def test_what_the_priors_give_by_hand() -> None:
    """Two priors of equal gates (1/3 each), equal recency: .5 * .4 + .5 * .2 = .3 from the first, the second is dead -> its third is shared."""
    gate = PriorGate(2, 2, 2)
    with torch.no_grad():
        gate.recency.zero_()
        gate.strength.copy_(torch.tensor([1.0, 0.0]))
    values = torch.tensor([[[0.4, 0.2], [0.9, 0.9]]])
    both = torch.ones(1, 2, 2)  # evidence
    states, length = torch.zeros(1, 2), torch.tensor([2])
    gates = gate.log_gates(states, both, length)
    assert gate.log_rest(gates, values, both).exp().item() == pytest.approx((0.3 + 0.9) / 3)
    dead = both * torch.tensor([1.0, 0.0])[None, :, None]
    gates = gate.log_gates(states, dead, length)
    assert gate.log_rest(gates, values, dead).exp().item() == pytest.approx(0.3 / 2)
    # ln 3 more evidence for the newer event: it counts three times as much, .75 * .4 + .25 * .2.
    newer = both + torch.tensor([[[math.log(3), 0.0], [0.0, 0.0]]])
    gates = gate.log_gates(states, newer, length)
    assert gate.log_rest(gates, values, newer).exp().item() == pytest.approx((0.35 + 0.9) / 3)


def test_gradients_are_finite_where_every_prior_is_dead() -> None:
    gate = random_gate(3, 4)
    evidence = torch.zeros(2, 3, 4)
    evidence[1, 0, 2] = 1.5
    states = torch.randn(2, 5, requires_grad=True)
    gates = gate.log_gates(states, evidence, torch.tensor([0, 3]))
    (gate.log_rest(gates, torch.rand(2, 3, 4) * (evidence > 0), evidence).sum() + gates[:, 0].sum()).backward()
    for tensor in (states, *gate.parameters()):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()


def test_parts_that_are_switched_off_are_not_made() -> None:
    histories, vectors = random_histories(6, 5, seed=1), random_vectors(5, seed=1)
    for graph, text in ((True, False), (False, True), (False, False)):
        config = CONFIG.model_copy(update={"graph": graph, "text": text})
        tables = prior_tables(histories, vectors, config)
        assert list(tables) == part_names(config)
        assert training_values(histories, tables, config, 0).values.shape == (len(histories.items), len(tables), config.recent)


def test_walks_reach_further_than_one_step() -> None:
    """0 -> 1 and 1 -> 2 were seen with window 1, 0 -> 2 never: only a walk of two steps connects them."""
    forward = csr_array(np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=np.float32))
    assert graph_tables(forward, forward, CONFIG)["forward"][0, 2] == 0
    table = graph_tables(forward, forward, CONFIG.model_copy(update={"hops": 2, "hop_decay": 0.5}))["forward"]
    mass = np.sqrt(2**-0.5)  # one transition, to an item with two of them and damping 0.5
    assert table[0, 2] == pytest.approx(mass / 3)  # 1 : 0.5
    assert table[0, 1] == pytest.approx(mass * 2 / 3)
