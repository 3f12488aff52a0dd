"""The writer: one token at a time gives what all at once gives, the mixture is a distribution, copying finds what it must."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from m6rec.language_model.config import ModelShape
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.softmax import target_log_likelihood
from m6rec.language_model.speaking import WriterSpeaker
from m6rec.language_model.writing import Sources, WriteOption, Writer, WriterSize

V, D = 40, 16
SHAPE = ModelShape(vocabulary=V, width=D, heads=2, lower_layers=1, upper_layers=2, history=5, dropout=0.0, lower_dropout=0.0)


def built(layers: int = 2, *, copy: bool = True, own_words: bool = True, width: int = 24) -> tuple[LanguageModel, Writer, WriteOption]:
    model = LanguageModel(SHAPE, seed=3).eval()
    model.freeze_reading()
    width, heads = (width, 2) if layers else (D, 2)
    writer = Writer(WriterSize(D, V, width, heads, layers, kinds=4, dropout=0.0, copy=copy, own_words=own_words))
    writer.initialise(torch.Generator().manual_seed(1), model)
    option = WriteOption(width, prompts=2, adapter=3)
    option.initialise(torch.Generator().manual_seed(2))
    for parameter in (*writer.distances, writer.kind_bias, writer.copy_kinds, option.up):
        parameter.data.normal_(generator=torch.Generator().manual_seed(5))
    return model, writer.eval(), option


def sources(lengths: list[int], seed: int = 0) -> Sources:
    generator = torch.Generator().manual_seed(seed)
    rows, longest = len(lengths), max(lengths)
    real = torch.arange(longest) < torch.tensor(lengths)[:, None]

    def ids(*shape: int, most: int = V) -> Tensor:
        return torch.randint(16, most, shape, generator=generator)

    return Sources(
        ids=ids(rows, longest),
        before=ids(rows, longest),
        states=torch.randn(rows, longest, D, generator=generator),
        kinds=torch.randint(0, 4, (rows, longest), generator=generator),
        real=real,
        slots=torch.randn(rows, 2, D, generator=generator),
        slot_kinds=torch.zeros(rows, 2, dtype=torch.int64),
        slot_real=torch.tensor([[True, False]] * rows),
    )


@pytest.mark.parametrize(("layers", "copy", "own_words"), [(2, True, True), (0, True, False), (1, False, True)])
@torch.no_grad()
def test_token_by_token_gives_what_all_at_once_gives(layers: int, copy: bool, own_words: bool) -> None:
    model, writer, option = built(layers, copy=copy, own_words=own_words)
    read = writer.read(model, sources([5, 3, 1]), option)
    said = torch.randint(16, V, (3, 6), generator=torch.Generator().manual_seed(9))
    given = torch.cat([torch.ones(3, 1, dtype=torch.int64), said[:, :-1]], dim=1)
    speaker = WriterSpeaker(model, writer, option, read, bos_id=1)
    logits, state = speaker.start(3)
    steps = [logits.gather(1, said[:, :1])]
    for place in range(1, 6):
        logits, state = speaker.step(said[:, place - 1], state)
        steps.append(logits.gather(1, said[:, place : place + 1]))
    from m6rec.language_model.segments import SegmentBatch

    count = torch.arange(3)[:, None].expand(-1, 6)
    place = torch.arange(6).expand(3, -1)
    lower = model.encode(SegmentBatch(given, count, place, torch.ones(3, 6, dtype=torch.bool), 3))
    states = writer.states(model, read, lower, given, option)
    torch.testing.assert_close(torch.cat(steps, dim=1), writer.log_likelihood(model, read, states, said, given), atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_probabilities_add_up_to_one_with_and_without_anything_to_copy() -> None:
    model, writer, option = built()
    some = sources([4, 2])
    some.real[1] = False
    read = writer.read(model, some, option)
    logits, _ = WriterSpeaker(model, writer, option, read, bos_id=1).start(2)
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(2), atol=1e-4, rtol=0)
    # The row without sources says what the words alone say.
    states = writer.step(model, read, None, torch.zeros(2, 1, D), torch.ones(2, 1, dtype=torch.int64), option)[0]
    said = torch.log_softmax(states @ writer._table(model).T, dim=1)
    torch.testing.assert_close(
        writer.log_probabilities(model, read, states, torch.ones(2, dtype=torch.int64))[1], said[1], atol=1e-4, rtol=0
    )


@torch.no_grad()
def test_a_row_says_the_same_alone_and_beside_longer_ones() -> None:
    model, writer, option = built()
    some = sources([6, 2, 4])
    together, _ = WriterSpeaker(model, writer, option, writer.read(model, some, option), 1).start(3)
    short = some.rows(torch.tensor([1]))
    cut = Sources(short.ids[:, :2], short.before[:, :2], short.states[:, :2], short.kinds[:, :2], short.real[:, :2], *_slots(short))
    alone, _ = WriterSpeaker(model, writer, option, writer.read(model, cut, option), 1).start(1)
    torch.testing.assert_close(together[1], alone[0], atol=1e-5, rtol=1e-5)


def _slots(some: Sources) -> tuple[Tensor, Tensor, Tensor]:
    return some.slots, some.slot_kinds, some.slot_real


@torch.no_grad()
def test_rows_can_be_picked_and_multiplied() -> None:
    model, writer, option = built()
    speaker = WriterSpeaker(model, writer, option, writer.read(model, sources([3, 5]), option), 1)
    logits, state = speaker.start(2)
    four, _ = speaker.start(4)
    torch.testing.assert_close(four, logits[torch.tensor([0, 0, 1, 1])])
    _, state = speaker.step(torch.tensor([20, 21]), state)
    picked = speaker.pick(state, torch.tensor([1, 1, 0]))
    after, _ = speaker.step(torch.tensor([22, 22, 22]), picked)
    torch.testing.assert_close(after[0], after[1])
    straight, _ = speaker.step(torch.tensor([22, 22]), state)
    torch.testing.assert_close(after[[2, 0]], straight, atol=1e-5, rtol=1e-5)


def test_copying_is_learned() -> None:
    """The text is the source token by token: only copying can know it, the words being drawn anew every time."""
    model, writer, option = built()
    generator = torch.Generator().manual_seed(4)
    optimizer = torch.optim.Adam([*writer.parameters(), *option.parameters()], 5e-3)
    losses = []
    for _ in range(120):
        ids = torch.randint(16, V, (32, 4), generator=generator)
        before = torch.cat([torch.ones(32, 1, dtype=torch.int64), ids[:, :-1]], dim=1)
        real = torch.ones(32, 4, dtype=torch.bool)
        some = Sources(
            ids,
            before,
            model.embed(ids).detach(),
            torch.zeros_like(ids),
            real,
            torch.zeros(32, 1, D),
            torch.zeros(32, 1).long(),
            real[:, :1],
        )
        read = writer.read(model, some, option)
        lower = model.embed(before).detach()
        loss = -writer.log_likelihood(model, read, writer.states(model, read, lower, before, option), ids, before).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) / 10 < 0.5 < 3.0 < losses[0]


def test_likelihood_of_targets_is_that_of_the_whole_softmax_with_its_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(7, 5, generator=generator, requires_grad=True)
    table = torch.randn(11, 5, generator=generator, requires_grad=True)
    targets, weights = torch.randint(0, 11, (7,), generator=generator), torch.rand(7, generator=generator)
    wanted = torch.log_softmax(states @ table.T, dim=1).gather(1, targets[:, None])[:, 0]
    expected = torch.autograd.grad((wanted * weights).sum(), (states, table))
    for chunk in (11 * 3, 10_000):  # computed again in chunks, and kept
        found = target_log_likelihood(states, table, targets, chunk)
        torch.testing.assert_close(found, wanted)
        got = torch.autograd.grad((found * weights).sum(), (states, table))
        for mine, theirs in zip(got, expected, strict=True):
            torch.testing.assert_close(mine, theirs)
