"""Upper layers: one pass = slot by slot over a cache; questions disturb nothing; padding and unknown times change nothing."""

import math

import pytest
import torch
from torch import Tensor

from m6rec.language_model.layers import initialise
from m6rec.language_model.upper import UpperLayers, distance_bucket, time_bucket

WIDTH, HEADS, SLOTS, ROWS = 16, 2, 9, 3


@pytest.fixture(scope="module")
def upper() -> UpperLayers:
    built = UpperLayers(WIDTH, HEADS, 2, 0.0).eval()
    generator = torch.Generator().manual_seed(0)
    initialise(built, generator)
    with torch.no_grad():  # biases start at zero: make them matter
        for name, parameter in built.named_parameters():
            if name.endswith((".distance", ".time")):
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return built


@pytest.fixture(scope="module")
def slots() -> Tensor:
    return torch.randn(ROWS, SLOTS, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def times() -> Tensor:
    """Seconds since 1970, minutes to weeks apart; float64, for float32 has no minutes left at this size."""
    gaps = torch.exp(torch.rand(ROWS, SLOTS, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 14)
    return 1.6e9 + gaps.cumsum(1)


def close(got: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("steps", [[1] * SLOTS, [4, 5], [SLOTS], [2, 1, 6]])
def test_cached_equals_uncached(upper: UpperLayers, slots: Tensor, times: Tensor, known: bool, steps: list[int]) -> None:
    with torch.no_grad():
        whole = upper(slots, times if known else None)
        cache, begin = None, 0
        for length in steps:
            part = slice(begin, begin + length)
            states, cache = upper.extend(slots[:, part], times[:, part] if known else None, cache)
            close(states, whole[:, part])
            begin += length


def test_causal(upper: UpperLayers, slots: Tensor, times: Tensor) -> None:
    changed = slots.clone()
    changed[:, 6:] += 1
    with torch.no_grad():
        close(upper(changed, times)[:, :6], upper(slots, times)[:, :6])
        assert not torch.allclose(upper(changed, times)[:, 6:], upper(slots, times)[:, 6:])


def test_positions_are_relative(upper: UpperLayers, slots: Tensor) -> None:
    """Two equal slots after any number of hidden ones: a row whose padding comes first in the cache has the states of a plain row."""
    with torch.no_grad():
        _, cache = upper.extend(slots[:, :4], None, None, torch.zeros(ROWS, dtype=torch.long))
        states, _ = upper.extend(slots[:, 4:], None, cache)
        close(states, upper(slots[:, 4:]))


@pytest.mark.parametrize("known", [True, False])
def test_padding_does_not_matter(upper: UpperLayers, slots: Tensor, times: Tensor, known: bool) -> None:
    lengths = torch.tensor([9, 5, 2])
    noise = slots.clone()
    for row, length in enumerate(lengths.tolist()):
        noise[row, length:] = 100.0
    given = times if known else None
    with torch.no_grad():
        states, cache = upper.extend(noise, given, None, lengths)
        assert torch.isfinite(states).all()
        question = torch.randn(ROWS, 1, WIDTH, generator=torch.Generator().manual_seed(3))
        now = None if given is None else times.amax(1, keepdim=True) + 60
        answers = upper.question(question, cache, now)
        more, _ = upper.extend(slots[:, :2], None if given is None else now.expand(-1, 2), cache)
        for row, length in enumerate(lengths.tolist()):
            own = None if given is None else times[row : row + 1, :length]
            alone, short = upper.extend(slots[row : row + 1, :length], own)
            close(states[row, :length], alone[0])
            at = None if now is None else now[row : row + 1]
            close(answers[row], upper.question(question[row : row + 1], short, at)[0])
            later, _ = upper.extend(slots[row : row + 1, :2], None if at is None else at.expand(-1, 2), short)
            close(more[row], later[0])


def test_questions_disturb_neither_the_history_nor_each_other(upper: UpperLayers, slots: Tensor, times: Tensor) -> None:
    questions = torch.randn(ROWS, 4, WIDTH, generator=torch.Generator().manual_seed(3))
    now = times[:, -1:].expand(-1, 4) + 30
    with torch.no_grad():
        _, cache = upper.extend(slots[:, :8], times[:, :8])
        before = [t.clone() for pair in cache.layers for t in pair]
        together = upper.question(questions, cache, now)
        for index in range(4):
            close(upper.question(questions[:, index : index + 1], cache, now[:, :1]), together[:, index : index + 1])
        close(upper.question(questions.flip(1), cache, now), together.flip(1))
        assert all(torch.equal(a, b) for a, b in zip(before, [t for pair in cache.layers for t in pair], strict=True))
        after, _ = upper.extend(slots[:, 8:], times[:, 8:], cache)
        close(after, upper(slots, times)[:, 8:])


def test_a_question_reads_like_the_next_slot(upper: UpperLayers, slots: Tensor, times: Tensor) -> None:
    with torch.no_grad():
        _, cache = upper.extend(slots[:, :8], times[:, :8])
        close(upper.question(slots[:, 8:], cache, times[:, 8:]), upper(slots, times)[:, 8:])


def test_a_question_with_no_history_sees_itself_only(upper: UpperLayers, slots: Tensor) -> None:
    with torch.no_grad():
        _, empty = upper.extend(slots[:, :3], None, None, torch.zeros(ROWS, dtype=torch.long))
        close(upper.question(slots[:, 4:5], empty), upper(slots[:, 4:5]))


def test_unknown_times_equal_no_times(upper: UpperLayers, slots: Tensor, times: Tensor) -> None:
    with torch.no_grad():
        without = upper(slots)
        close(upper(slots, torch.full_like(times, math.nan)), without)
        assert not torch.allclose(upper(slots, times), without, atol=1e-3)
        close(upper(slots, times + 86_400.0 * 1000), upper(slots, times))  # gaps only, never dates


def test_gradients_are_finite_everywhere(slots: Tensor, times: Tensor) -> None:
    upper = UpperLayers(WIDTH, HEADS, 2, 0.1).train()
    initialise(upper, torch.Generator().manual_seed(0))
    partly = times.clone()
    partly[:, ::2] = math.nan
    states, cache = upper.extend(slots, partly, None, torch.tensor([9, 0, 4]))
    (states[0].sum() + upper.question(slots[:, :2], cache).sum()).backward()
    grads = [p.grad for p in upper.parameters() if p.grad is not None]
    assert grads
    assert all(torch.isfinite(g).all() for g in grads)


def test_buckets_by_hand() -> None:
    assert distance_bucket(torch.tensor([0, 1, 31, 32, 1024, 10**6])).tolist() == [0, 1, 31, 32, 47, 47]
    minute = 60.0
    gaps = torch.tensor([math.nan, 0.0, minute, 3 * minute, 1e12], dtype=torch.float64)
    assert time_bucket(gaps).tolist() == [0, 1, 3, 5, 39]


@pytest.mark.parametrize("known", [True, False])
def test_the_last_state_alone_is_that_of_the_whole_pass(upper: UpperLayers, slots: Tensor, times: Tensor, known: bool) -> None:
    place = torch.tensor([SLOTS - 1, 3, 0])
    told = times if known else None
    close(upper.last(slots, told, place), upper(slots, told)[torch.arange(ROWS), place])


def test_the_bias_of_a_whole_row_is_that_of_its_buckets(upper: UpperLayers, times: Tensor) -> None:
    """Read along the diagonals of one vector, it is what looking up every pair gives, values and gradients alike; the future is shut out."""
    bias = upper.biases[0]
    length = 60  # distances beyond the exact ones too
    place = torch.arange(length)
    pairs = distance_bucket((place[:, None] - place[None]).clamp(min=0))[None]
    past = (place[:, None] >= place[None])[None, None]
    whole, looked_up = bias.causal(distance_bucket(place.flip(0)), None), bias(pairs, None)
    assert torch.equal(whole.masked_fill(~past, 0), looked_up.masked_fill(~past, 0))
    assert torch.isneginf(whole[~past.expand_as(whole)]).all()
    weights = torch.randn(whole.shape, generator=torch.Generator().manual_seed(3)).masked_fill(~past, 0)
    grads = [torch.autograd.grad((b.masked_fill(~past, 0) * weights).sum(), bias.distance)[0] for b in (whole, looked_up)]
    torch.testing.assert_close(*grads, atol=1e-4, rtol=1e-4)
    gap = time_bucket((times[:, :, None] - times[:, None]).float())
    with_times = bias.causal(distance_bucket(torch.arange(SLOTS).flip(0)), gap)
    at = (times[1, 5] - times[1, 2]).float()
    assert with_times[1, 0, 5, 2] == bias.distance[3, 0] + bias.time[time_bucket(at), 0]


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("known", [True, False])
def test_candidates_over_what_was_read_once(upper: UpperLayers, slots: Tensor, times: Tensor, known: bool, layers: int) -> None:
    """Each candidate's state is that of a question over a history of its own length; layers before the last `layers` are passed by no candidate."""
    lengths = torch.tensor([SLOTS, 5, 2])
    seen = torch.tensor([[SLOTS, 4], [5, 1], [2, 2]])
    asked, at = torch.randn(ROWS, 2, WIDTH, generator=torch.Generator().manual_seed(3)), times[:, -1:].expand(-1, 2) + 60
    with torch.no_grad():
        entered, kept = upper.read(slots, times if known else None, lengths, layers)
        found = upper.candidates(asked, kept, seen, at if known else None, layers=layers)
        for row in range(ROWS):
            for column in range(2):
                part = slice(0, int(seen[row, column]))
                states, cache = upper.extend(slots[row : row + 1, part], times[row : row + 1, part] if known else None)
                if layers == 2:
                    one = at[row : row + 1, column : column + 1] if known else None
                    close(upper.norm(found[row, column]), upper.question(asked[row : row + 1, column : column + 1], cache, one)[0, 0])
                if layers == 0:
                    close(found[row, column], asked[row, column])
                    close(upper.norm(entered[row, int(seen[row, column]) - 1]), states[0, -1])
                if layers == 1:  # keys and values of the second layer alone
                    close(kept.layers[0][0][row, :, part], cache.layers[1][0][0])
        if layers == 1:
            whole = upper.read(slots, times if known else None, lengths, 2)[1]
            close(upper.candidates(asked, whole, seen, at if known else None, layers=1), found)
        if layers == 2:  # there are no more
            more = upper.read(slots, times if known else None, lengths, 9)[1]
            close(upper.candidates(asked, more, seen, at if known else None, layers=9), found)


def test_candidates_look_at_the_newest_slots_and_the_start(upper: UpperLayers, slots: Tensor, times: Tensor) -> None:
    asked, seen = torch.randn(ROWS, 1, WIDTH, generator=torch.Generator().manual_seed(3)), torch.full((ROWS, 1), SLOTS)
    changed = slots.clone()
    changed[:, 3] += 1
    with torch.no_grad():
        _, cache = upper.read(slots, times, torch.full((ROWS,), SLOTS), 1)
        moved = upper.read(slots, times, torch.full((ROWS,), SLOTS), 1)[1]
        keys, values = (part.clone() for part in moved.layers[0])
        keys[:, :, 3], values[:, :, 3] = 9.0, 9.0
        moved.layers[0] = (keys, values)
        close(upper.candidates(asked, moved, seen, layers=1, window=5), upper.candidates(asked, cache, seen, layers=1, window=5))
        assert not torch.allclose(
            upper.candidates(asked, moved, seen, layers=1, window=6), upper.candidates(asked, cache, seen, layers=1, window=6)
        )
