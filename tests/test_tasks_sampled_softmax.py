"""Sampled softmax: the log-Q correction by hand, accidental hits, estimates against the full softmax, row-wise optimiser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from m6rec.base.errors import Interrupted
from m6rec.config import M6RecConfig
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.catalogue_softmax import mixture_loss
from m6rec.tasks.choose import Choose
from m6rec.tasks.config import AUTO_NEGATIVES, FULL_UP_TO, ChooseConfig
from m6rec.tasks.item_encoder import ContentEncoder, Contents, ItemEncoder
from m6rec.tasks.sampled_softmax import Negatives, NegativeSampler, sampled_mixture_loss
from m6rec.training.loop import Loop
from m6rec.training.pipeline import open_run, train
from m6rec.training.row_optimizer import AdamWithRows, clip_gradients
from m6rec.training.stages_fit import training_examples

R, N, W = 6, 40, 5  # rows, items, width


def problem(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """states (R, W), items (N, W), targets (R,), log gate (R,), log rest (R,)."""
    generator = torch.Generator().manual_seed(seed)
    states, items = torch.randn(R, W, generator=generator), torch.randn(N, W, generator=generator)
    targets = torch.tensor([0, 3, 3, 17, 39, 8])
    return states, items, targets, torch.full((R,), -0.5), torch.log(torch.linspace(0.001, 0.1, R))


def test_log_q_correction_by_hand() -> None:
    """One row, logits 0 for the target and log 2, log 3 for two negatives drawn 2 times and once of m = 4 by chances .5 and .125."""
    states, wanted = torch.tensor([[1.0]]), torch.tensor([[0.0]])
    others = torch.log(torch.tensor([[2.0], [3.0]]))
    negatives = Negatives(torch.tensor([5, 7]), torch.log(torch.tensor([4 * 0.5 / 2, 4 * 0.125 / 1])))
    nothing = torch.zeros(1), torch.full((1,), float("-inf"))
    loss, mixture, own = sampled_mixture_loss(states, wanted, others, torch.tensor([9]), negatives, *nothing)
    # Z = 1 + 2 * 2 / (4 * .5) + 1 * 3 / (4 * .125) = 1 + 2 + 6
    assert loss.item() == pytest.approx(np.log(9.0))
    assert mixture.item() == pytest.approx(np.log(9.0))
    assert own.item() == pytest.approx(np.log(9.0))


def test_draw_says_how_often_an_item_was_expected() -> None:
    seen = torch.tensor([4.0, 0.0, 1.0, 9.0])
    sampler = NegativeSampler(seen, 64, power=0.5, uniform=0.25)
    weights = 0.75 * torch.tensor([2.0, 0.0, 1.0, 3.0]) / 6 + 0.25 * torch.tensor([1.0, 0.0, 1.0, 1.0]) / 3
    torch.testing.assert_close(sampler.chance.float(), weights)
    torch.manual_seed(0)
    drawn = sampler.draw(torch.tensor([0]))
    assert drawn.items.tolist() == [0, 2, 3], "never an item that training has not seen"
    times = 64 * weights[drawn.items] / drawn.log_expected.exp()
    assert times.sum().item() == pytest.approx(64, rel=1e-5)
    torch.testing.assert_close(times, times.round())


def test_targets_of_the_batch_count_as_draws() -> None:
    sampler = NegativeSampler(torch.tensor([1.0, 1.0, 2.0]), 4, power=0.0, uniform=0.0, in_batch=True)
    torch.manual_seed(1)
    drawn = sampler.draw(torch.tensor([2, 2, 0]))
    expected = torch.tensor([4 / 3 + 3 * 0.25, 4 / 3 + 3 * 0.25, 4 / 3 + 3 * 0.5])[drawn.items]
    times = expected / drawn.log_expected.exp()
    assert times.sum().item() == pytest.approx(4 + 3, rel=1e-5)


def test_accidental_hit_counts_once() -> None:
    """A draw of the row's own target adds nothing to its normaliser; for another row the same draw is a negative like any other."""
    states, items, targets, log_gate, log_rest = problem()
    negatives = Negatives(torch.tensor([3, 20]), torch.tensor([0.3, -0.2]))
    _, _, own = sampled_mixture_loss(states, items[targets], items[negatives.items], targets, negatives, log_gate, log_rest)
    logits = states @ items.T
    total = 0.0
    for row, target in enumerate(targets.tolist()):
        others = [(3, 0.3), (20, -0.2)]
        z = logits[row, target].exp() + sum((logits[row, item] - by).exp() for item, by in others if item != target)
        total += float(z.log() - logits[row, target])
    assert own.item() == pytest.approx(total, rel=1e-5)


def test_every_item_as_a_negative_is_the_full_softmax() -> None:
    states, items, targets, log_gate, log_rest = problem()
    inputs = [part.clone().requires_grad_() for part in (states, items, log_gate, log_rest)]
    full, _, _ = mixture_loss(inputs[0], inputs[1], targets, inputs[2], inputs[3], own_share=0.3)
    expected = torch.autograd.grad(full, inputs)
    everything = Negatives(torch.arange(N), torch.zeros(N))
    loss, _, _ = sampled_mixture_loss(inputs[0], inputs[1][targets], inputs[1], targets, everything, inputs[2], inputs[3], own_share=0.3)
    torch.testing.assert_close(loss, full)
    for found, wanted in zip(torch.autograd.grad(loss, inputs), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_gradient_by_finite_differences() -> None:
    states, items, targets, log_gate, log_rest = (part.double() if part.is_floating_point() else part for part in problem())
    negatives = Negatives(torch.tensor([1, 3, 30]), torch.tensor([0.5, -0.5, 0.1], dtype=torch.float64))

    def loss(states: Tensor, items: Tensor, log_gate: Tensor, log_rest: Tensor) -> Tensor:
        return sampled_mixture_loss(states, items[targets], items[negatives.items], targets, negatives, log_gate, log_rest, own_share=0.3)[
            0
        ].double()

    inputs = [part.clone().requires_grad_() for part in (states, items, log_gate, log_rest)]
    found = torch.autograd.grad(loss(*inputs), inputs)
    step = 1e-2  # the loss is float32 inside
    for which, gradient in enumerate(found):
        direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(which), dtype=torch.float64)
        ahead, behind = ([part.detach().clone() for part in inputs] for _ in range(2))
        ahead[which] += step * direction
        behind[which] -= step * direction
        slope = (loss(*ahead) - loss(*behind)) / (2 * step)
        assert float(slope) == pytest.approx(float((gradient * direction).sum()), rel=2e-2, abs=2e-3)


@pytest.mark.parametrize("in_batch", [False, True])
def test_normaliser_is_unbiased_and_the_gradient_nearly_so(in_batch: bool) -> None:
    states, items, targets, _, _ = problem()
    seen = torch.arange(1, N + 1).float() ** 1.5
    plain = torch.zeros(R), torch.full((R,), float("-inf"))
    logits = states @ items.T
    normaliser = logits.exp().sum(dim=1)
    shares = torch.softmax(logits, dim=1)
    slope = (shares @ items - items[targets]) / R
    sampler = NegativeSampler(seen, 64, power=0.75, uniform=0.3, in_batch=in_batch)
    torch.manual_seed(0)
    found, gradient, rounds = torch.zeros(R), torch.zeros(R, W), 500
    batch = torch.distributions.Categorical(seen)  # in-batch targets come by popularity
    for _ in range(rounds):
        negatives = sampler.draw(batch.sample((20,)))
        inside = states.clone().requires_grad_()
        loss, _, _ = sampled_mixture_loss(inside, items[targets], items[negatives.items], targets, negatives, *plain)
        gradient += torch.autograd.grad(loss / R, inside)[0] / rounds
        with torch.no_grad():
            parts = (logits[:, negatives.items] - negatives.log_expected).exp()
            parts[negatives.items[None] == targets[:, None]] = 0
            found += (parts.sum(dim=1) + logits[torch.arange(R), targets].exp()) / rounds
    torch.testing.assert_close(found, normaliser, rtol=0.05, atol=0)
    assert (gradient - slope).norm() < 0.12 * slope.norm()


def test_vectors_of_some_items_are_those_of_all() -> None:
    generator = np.random.default_rng(0)
    counts = torch.tensor([0, 2, 5, 1, 9])
    contents = Contents(
        torch.from_numpy(generator.normal(size=(5, 3)).astype(np.float32)),
        torch.tensor([0, 1, 2, 1, 3]),
        torch.tensor([0, 2, 2, 3, 4, 5]),
        torch.from_numpy(generator.normal(size=(5, 2)).astype(np.float32)),
    )
    encoder = ItemEncoder(ContentEncoder(4, 3, 4, 2), counts, 4, identity=True)
    rows = torch.tensor([0, 2, 4])
    part = encoder.of(rows, contents.rows(rows), torch.tensor([False, True, False]))
    dropped = torch.tensor([False, False, True, False, False])
    torch.testing.assert_close(part, encoder(contents, dropped)[rows])
    part.sum().backward()
    assert encoder.identity is not None
    gradient = encoder.identity.weight.grad
    assert gradient is not None
    assert gradient.is_sparse
    assert gradient.coalesce().indices()[0].tolist() == [0, 2, 4]


def test_auto_draws_above_a_size() -> None:
    assert ChooseConfig().drawn(FULL_UP_TO) is None
    assert ChooseConfig().drawn(FULL_UP_TO + 1) == AUTO_NEGATIVES
    assert ChooseConfig(negatives="full").drawn(10**7) is None
    assert ChooseConfig(negatives=100).drawn(50) == 100


def test_rows_not_touched_stay_and_touched_ones_move_like_adam() -> None:
    """With a gradient that is alike in all elements of a row, and no momentum, the row-wise step is Adam's."""
    table, dense = nn.Parameter(torch.zeros(4, 3)), nn.Parameter(torch.zeros(2, 3))
    ours = AdamWithRows([table, dense], lr=0.1, betas=(0.0, 0.98), weight_decay=0.0)
    reference = nn.Parameter(torch.zeros(2, 3))
    adam = torch.optim.AdamW([reference], lr=0.1, betas=(0.0, 0.98), weight_decay=0.0)
    for size in (1.0, -3.0, 0.5):
        gradient = torch.full((2, 3), size)
        table.grad = torch.sparse_coo_tensor(torch.tensor([[1, 3]]), gradient, (4, 3), check_invariants=True)
        dense.grad, reference.grad = gradient.clone(), gradient.clone()
        ours.step()
        adam.step()
    torch.testing.assert_close(table[[1, 3]], reference)
    torch.testing.assert_close(dense, reference)
    assert not table[[0, 2]].any()
    assert ours.state[table]["visits"].tolist() == [0, 3, 0, 3]


def test_clipping_joins_dense_and_sparse() -> None:
    dense, table = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(5, 1))
    dense.grad = torch.tensor([3.0, 0.0])
    table.grad = torch.sparse_coo_tensor(torch.tensor([[2, 2]]), torch.tensor([[1.0], [3.0]]), (5, 1), check_invariants=True)
    # The same row twice: its gradient is 4.
    assert clip_gradients([dense, table, nn.Parameter(torch.zeros(1))], 1.0).item() == pytest.approx(5.0)
    assert dense.grad[0].item() == pytest.approx(0.6, rel=1e-4)
    assert table.grad.to_dense()[2].item() == pytest.approx(0.8, rel=1e-4)


# ---- the task


def gradients(task: Choose, model: LanguageModel, batch: np.ndarray) -> tuple[float, dict[str, Tensor]]:
    parameters = {name: part for name, part in task.named_parameters() if part.requires_grad}
    for part in parameters.values():
        part.grad = None
    torch.manual_seed(0)  # half of the histories are asked in their scenario
    loss = task.loss(model, batch)["choose"]
    loss.backward()
    return loss.item(), {name: part.grad.to_dense() for name, part in parameters.items() if part.grad is not None}


def test_a_step_that_draws_everything_is_the_step_over_the_catalogue(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = open_run(tiny_run)
    task, model = bench.fitted().task, bench.model
    calm = {"identity_dropout": 0.0, "profile_dropout": 0.0, "typed": 0.0}
    task.eval()
    model.eval()
    found = {}
    for negatives in ("full", 30):
        task.config = task.config.model_copy(update={**calm, "negatives": negatives})
        task.bind(training_examples(bench))
        seen = torch.nonzero(task.items.log_seen > 0).squeeze(1)
        monkeypatch.setattr(NegativeSampler, "draw", lambda *_, seen=seen: Negatives(seen, torch.zeros(len(seen))))
        batch = next(task.batches(np.random.default_rng(0)))
        found[negatives] = gradients(task, model, batch)
    (loss, slopes), (sampled_loss, sampled_slopes) = found["full"], found[30]
    assert sampled_loss == pytest.approx(loss, rel=1e-5)
    assert slopes.keys() == sampled_slopes.keys()
    for name, slope in slopes.items():
        torch.testing.assert_close(sampled_slopes[name], slope, rtol=1e-4, atol=1e-6, msg=lambda said, name=name: f"{name}: {said}")


def test_training_on_a_sample_learns_resumes_and_comes_near_the_full_softmax(
    tiny_sample: Path, tiny_config: Callable[..., M6RecConfig], tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 draws of 40 items: the loss of the last epoch is near that of the full softmax; cut off in the middle, it goes on to the same bits."""
    config = tiny_config("tasks.next.negatives=20")
    shutil.copytree(
        tiny_run / "stages", tmp_path / "whole" / "stages", ignore=shutil.ignore_patterns("fit-*", "index-*", "evaluate-*", "report-*")
    )
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    train(config, tiny_sample, tmp_path / "whole", until="fit")
    steps, step = [0], Loop._step

    def cut_short(self: Loop, name: str, batch: object) -> dict[str, float]:
        steps[0] += 1
        if steps[0] == 4:
            raise KeyboardInterrupt
        return step(self, name, batch)

    monkeypatch.setattr(Loop, "_step", cut_short)
    with pytest.raises(Interrupted):
        train(config, tiny_sample, tmp_path / "cut", until="fit")
    monkeypatch.undo()
    train(config, tiny_sample, tmp_path / "cut", until="fit")
    (whole,), (cut,), (full,) = (list(run.glob("stages/fit-*")) for run in (tmp_path / "whole", tmp_path / "cut", tiny_run))
    assert (whole / "best.safetensors").read_bytes() == (cut / "best.safetensors").read_bytes()
    losses = [json.loads((folder / "log.jsonl").read_text().splitlines()[-1])["choose.choose"] for folder in (whole, full)]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)
