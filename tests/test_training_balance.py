"""Balancers: one contract for all that are found, and for each a truth worked out by hand."""

from __future__ import annotations

import importlib.util
import json
import math

import pytest
import torch
from torch import Tensor, nn

from m6rec.base.errors import ConfigError, MissingExtraError
from m6rec.config import M6RecConfig
from m6rec.training.balance.balancer import BALANCERS, Balancer, check_balance, make_balancer
from m6rec.training.balance.cell_gradients import CellGradients
from m6rec.training.balance.dwa import DynamicWeightAverage
from m6rec.training.balance.gradnorm import GradNorm
from m6rec.training.balance.uncertainty import Uncertainty
from m6rec.training.config import WAYS, BalanceConfig, TrainConfig

SOLVER = all(importlib.util.find_spec(name) for name in ("quadprog", "qpsolvers"))
NAMES = [name for name in BALANCERS.names() if name != "upgrad" or SOLVER]
ONE = {"a": 1.0, "b": 1.0}


def quadratics(point: Tensor) -> dict[str, Tensor]:
    """Two bowls of different depth with their bottoms at (1, 0) and (0, 1)."""
    return {
        "a": ((point - torch.tensor([1.0, 0.0])) ** 2).sum(),
        "b": 4.0 * ((point - torch.tensor([0.0, 1.0])) ** 2).sum(),
    }


def means(losses: dict[str, Tensor]) -> dict[str, float]:
    return {cell: float(loss.detach()) for cell, loss in losses.items()}


def descend(balancer: Balancer, point: nn.Parameter, steps: int, rate: float = 0.02) -> None:
    for _ in range(steps):
        point.grad = None
        losses = quadratics(point)
        balancer.backward(losses, ONE)
        balancer.finish(means(losses))
        assert point.grad is not None
        with torch.no_grad():
            point -= rate * point.grad


# ---- the contract


def test_the_built_in_balancers_are_found() -> None:
    assert set(WAYS) == set(BALANCERS.names())


@pytest.fixture(params=NAMES)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_two_bowls_are_descended_to_between_their_bottoms(way: str) -> None:
    """Wherever on the Pareto set it ends: on the line from one bottom to the other."""
    torch.manual_seed(0)
    point = nn.Parameter(torch.tensor([2.0, 3.0]))
    balancer = make_balancer(BalanceConfig(way=way), [point])
    descend(balancer, point, 150, 0.05)
    x, y = point.detach().tolist()
    assert x + y == pytest.approx(1.0, abs=0.03)
    assert -0.02 <= x <= 1.02


def test_factors_are_positive_and_of_mean_one(way: str) -> None:
    torch.manual_seed(0)
    point = nn.Parameter(torch.tensor([2.0, 3.0]))
    balancer = make_balancer(BalanceConfig(way=way), [point])
    for epoch in range(3):
        descend(balancer, point, 10)
        balancer.end_epoch({"a": 1.0 / (epoch + 1), "b": 1.0})
        factors = [balancer.factor(cell) for cell in ONE]
        assert min(factors) >= 0.0
        assert sum(factors) / 2 == pytest.approx(1.0)


def test_a_state_through_json_goes_on_to_the_same_bits(way: str) -> None:
    torch.manual_seed(0)
    point = nn.Parameter(torch.tensor([2.0, 3.0]))
    balancer = make_balancer(BalanceConfig(way=way, every=3), [point])
    descend(balancer, point, 7)
    balancer.end_epoch({"a": 0.5, "b": 1.0})
    other = nn.Parameter(point.detach().clone())
    resumed = make_balancer(BalanceConfig(way=way, every=3), [other])
    resumed.restore(json.loads(json.dumps(balancer.state())))
    generator = torch.get_rng_state()
    for one, at in ((balancer, point), (resumed, other)):
        torch.set_rng_state(generator)
        descend(one, at, 8)
        one.end_epoch({"a": 0.4, "b": 0.9})
        descend(one, at, 8)
    assert torch.equal(point, other)
    assert balancer.state() == resumed.state()


def test_half_steps_add_up_to_the_whole(way: str) -> None:
    """Two batches of one step weigh half each: a batch given twice is that batch given once."""
    gradients = []
    for parts in (1, 2):
        torch.manual_seed(0)
        point = nn.Parameter(torch.tensor([2.0, 3.0]))
        balancer = make_balancer(BalanceConfig(way=way), [point])
        for _ in range(parts):
            balancer.backward(quadratics(point), ONE, 1 / parts)
        balancer.finish(means(quadratics(point)))
        gradients.append(point.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_loss_alone_with_its_parameters_keeps_its_gradient(way: str) -> None:
    shared, own = nn.Parameter(torch.tensor([2.0, 3.0])), nn.Parameter(torch.tensor([5.0]))
    balancer = make_balancer(BalanceConfig(way=way), [shared, own])
    losses = quadratics(shared)
    losses["b"] = losses["b"] + own.sum() ** 2
    balancer.backward(losses, ONE)
    balancer.finish(means(losses))
    torch.testing.assert_close(own.grad, torch.tensor([10.0]))


def test_bfloat16_losses(way: str) -> None:
    point = nn.Parameter(torch.tensor([[2.0, 3.0]]))
    balancer = make_balancer(BalanceConfig(way=way), [point])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        product = nn.functional.linear(point, torch.tensor([[1.0, 0.5], [0.25, 1.0]]))
    assert product.dtype == torch.bfloat16
    losses = {"a": (product[0, 0] - 1) ** 2, "b": (product[0, 1] - 2) ** 2}
    balancer.backward(losses, ONE)
    balancer.finish(means(losses))
    assert point.grad is not None
    assert point.grad.dtype == torch.float32
    assert torch.isfinite(point.grad).all()


def test_sparse_gradients_weigh_like_dense_ones(way: str) -> None:
    gradients = []
    for sparse in (False, True):
        torch.manual_seed(0)
        table = nn.Parameter(torch.arange(12.0).reshape(6, 2) / 10)
        balancer = make_balancer(BalanceConfig(way=way), [table])
        rows = nn.functional.embedding(torch.tensor([1, 4, 1, 2]), table, sparse=sparse)
        losses = {"a": (rows[:3] ** 2).sum(), "b": ((rows[1:] + 1.5) ** 3).sum() - 3 * rows[0].sum()}
        balancer.backward(losses, ONE)
        balancer.finish(means(losses))
        assert table.grad is not None
        assert table.grad.is_sparse == sparse
        gradients.append(table.grad.to_dense() if sparse else table.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("first", [True, False])
def test_a_table_read_sparsely_by_one_loss_and_densely_by_another(way: str, first: bool) -> None:
    gradients = []
    for sparse in (first, not first, False):
        torch.manual_seed(0)
        table = nn.Parameter(torch.arange(12.0).reshape(6, 2) / 10)
        balancer = make_balancer(BalanceConfig(way=way), [table])
        for _ in range(2):
            one = nn.functional.embedding(torch.tensor([1, 4]), table, sparse=sparse)
            other = nn.functional.embedding(torch.tensor([4, 2]), table, sparse=not sparse and len(gradients) < 2)
            losses = {"a": (one**2).sum(), "b": (other**3).sum() - 2 * one.sum()}
            balancer.backward(losses, ONE, 0.5)
        balancer.finish(means(losses))
        assert table.grad is not None
        gradients.append(table.grad.to_dense() if table.grad.is_sparse else table.grad)
    torch.testing.assert_close(gradients[0], gradients[2])
    torch.testing.assert_close(gradients[1], gradients[2])


# ---- each by hand


def surgery(way: str, matrix: list[list[float]]) -> Tensor:
    """The direction that a balancer makes of given gradients (one loss a row), at length 1."""
    torch.manual_seed(0)
    rows = torch.tensor(matrix)
    point = nn.Parameter(torch.zeros(rows.shape[1]))
    balancer = make_balancer(BalanceConfig(way=way), [point])
    losses = {f"cell {number}": row @ point for number, row in enumerate(rows)}
    balancer.backward(losses, dict.fromkeys(losses, 1.0))
    balancer.finish(means(losses))
    assert point.grad is not None
    return point.grad / point.grad.norm()


def unit(*values: float) -> Tensor:
    return nn.functional.normalize(torch.tensor(values), dim=0)


def test_pcgrad_by_hand() -> None:
    """g1 = (1, 0), g2 = (-1, 1): g1 - (g1.g2 / 2) g2 = (.5, .5) and g2 - (g1.g2 / 1) g1 = (0, 1), together (.5, 1.5)."""
    torch.testing.assert_close(surgery("pcgrad", [[1.0, 0.0], [-1.0, 1.0]]), unit(0.5, 1.5))
    torch.testing.assert_close(surgery("pcgrad", [[1.0, 0.0], [1.0, 1.0]]), unit(2.0, 1.0))  # no conflict: the sum


def test_mgda_by_hand() -> None:
    """The shortest vector between (2, 0) and (0, 1) is (2, 4) / 5: where the line is perpendicular to it."""
    torch.testing.assert_close(surgery("mgda", [[2.0, 0.0], [0.0, 1.0]]), unit(0.4, 0.8))
    torch.testing.assert_close(surgery("mgda", [[1.0, 0.0], [3.0, 0.5]]), unit(1.0, 0.0))  # one of them is the shortest


def test_aligned_mtl_by_hand() -> None:
    """Perpendicular gradients (3, 0) and (0, 1) are both cut to length 1."""
    torch.testing.assert_close(surgery("aligned_mtl", [[3.0, 0.0], [0.0, 1.0]]), unit(1.0, 1.0))


@pytest.mark.skipif(not SOLVER, reason="quadprog is GPL and not installed: pip install quadprog qpsolvers")
def test_upgrad_by_hand() -> None:
    """Two gradients: projecting one onto the cone is taking away its conflict with the other, as in PCGrad."""
    torch.testing.assert_close(surgery("upgrad", [[1.0, 0.0], [-1.0, 1.0]]), unit(0.5, 1.5), atol=1e-3, rtol=1e-3)


def test_surgery_never_raises_a_loss_that_a_plain_sum_would() -> None:
    rows = torch.tensor([[1.0, 0.0], [-6.0, 1.0]])
    assert (rows @ rows.sum(0)).min() < 0
    for way in ("pcgrad", "mgda"):
        assert (rows @ surgery(way, rows.tolist())).min() >= -1e-6


def test_uncertainty_finds_the_variance() -> None:
    """Squared errors of noise with known sigma: the learned variances are theirs, the factors their inverses."""
    generator = torch.Generator().manual_seed(0)
    sigmas = {"a": 0.5, "b": 2.0}
    point = nn.Parameter(torch.zeros(1))
    balancer = make_balancer(BalanceConfig(way="uncertainty", learning_rate=0.03), [point])
    assert isinstance(balancer, Uncertainty)
    for _ in range(500):
        point.grad = None
        losses = {cell: ((sigma * torch.randn(64, generator=generator) + 0 * point) ** 2).mean() for cell, sigma in sigmas.items()}
        balancer.backward(losses, ONE)
        balancer.finish(means(losses))
    for cell, sigma in sigmas.items():
        assert math.exp(balancer.log_variances.values[cell] / 2) == pytest.approx(sigma, rel=0.05)
    assert balancer.factor("a") / balancer.factor("b") == pytest.approx(16.0, rel=0.2)


def test_dwa_by_formula() -> None:
    balancer = make_balancer(BalanceConfig(way="dwa", temperature=2.0), [])
    assert isinstance(balancer, DynamicWeightAverage)
    balancer.end_epoch({"a": 2.0, "b": 1.0, "c": 4.0})
    assert [balancer.factor(cell) for cell in "abc"] == [1.0, 1.0, 1.0]  # one epoch shows no rate
    balancer.end_epoch({"a": 1.0, "b": 0.9, "c": 4.0})
    raw = [math.exp(rate / 2.0) for rate in (0.5, 0.9, 1.0)]
    assert [balancer.factor(cell) for cell in "abc"] == pytest.approx([3 * value / sum(raw) for value in raw])


def test_gradnorm_makes_the_norms_equal() -> None:
    """Two linear losses, one ten times as steep, restoring 0: in the end both weighted gradients are as long."""
    point = nn.Parameter(torch.zeros(2))
    balancer = make_balancer(BalanceConfig(way="gradnorm", restoring=0.0, learning_rate=0.01), [point])
    assert isinstance(balancer, GradNorm)
    for _ in range(300):
        losses = {"a": 10 * point[0] + 5, "b": point[1] + 5}
        balancer.backward(losses, ONE)
        balancer.finish(means(losses))
    assert balancer.factor("a") * 10 == pytest.approx(balancer.factor("b") * 1, rel=0.15)


def test_gradnorm_favours_what_learns_slowly() -> None:
    point = nn.Parameter(torch.zeros(2))
    balancer = make_balancer(BalanceConfig(way="gradnorm", restoring=1.5, learning_rate=0.01), [point])
    for step in range(200):
        losses = {"a": point[0] + 1.0, "b": point[1] + 1.0}
        balancer.backward(losses, ONE)
        balancer.finish({"a": 1.0 / (1 + step), "b": 1.0})
    assert balancer.factor("b") > 1.5


def test_gradients_are_compared_every_few_steps() -> None:
    calls: list[int] = []
    point = nn.Parameter(torch.tensor([2.0, 3.0]))
    balancer = make_balancer(BalanceConfig(way="mgda", every=4), [point])
    weigh = balancer.weigh  # type: ignore[attr-defined]
    balancer.weigh = lambda *given: calls.append(1) or weigh(*given)  # type: ignore[attr-defined]
    descend(balancer, point, 9)
    assert len(calls) == 3


def test_the_gramian_counts_shared_parameters_only() -> None:
    shared, own = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor([7.0]))
    gradients = CellGradients([shared, own])
    gradients.add({"a": shared.sum() + 100 * own.sum(), "b": 2 * shared[0]})
    torch.testing.assert_close(gradients.gramian(), torch.tensor([[2.0, 2.0], [2.0, 4.0]], dtype=torch.float64))


# ---- settings


def test_a_bare_word_and_a_section() -> None:
    assert TrainConfig.build({"balance": "uncertainty"}).balance == BalanceConfig(way="uncertainty")
    assert TrainConfig.build({"balance": {"way": "dwa", "temperature": 1.0}}).balance.temperature == 1.0
    config = M6RecConfig.build({"data": {"events": "e.csv"}, "train": {"balance": "dwa"}})
    assert config.train.balance.way == "dwa"
    with pytest.raises(ConfigError, match=r"'train\.balance\.way' is 'uncertanty': write one of .*did you mean 'uncertainty'") as caught:
        M6RecConfig.build({"data": {"events": "e.csv"}, "train": {"balance": "uncertanty"}})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("missing", "way"), [("torchjd", "pcgrad"), ("quadprog", "upgrad")])
def test_a_solver_that_is_missing_is_one_line(missing: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find, load = importlib.util.find_spec, importlib.import_module

    def absent(name: str, *rest: object) -> object:
        if name.split(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named '{missing}'", name=missing)
        return load(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == missing else find(name, *rest))
    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=rf"{missing}.*type: pip install") as caught:
        check_balance(BalanceConfig(way=way))
    assert "\n" not in str(caught.value)
