"""write: text from left to right, about an item, for a person. One module holds all write tasks of a configuration; each is an option.

What is read (`write_sources.py`) stands before the text: the history as choosing reads it, the item's words, the profile, named columns, words that
are asked for, and known texts that resemble what is to be written (`write_memory.py`). How it is read and written: `language_model/writing.py`.

Shapes: X texts, B rows of a batch, T tokens of a text, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.base.contracts import Segment
from m6rec.language_model.config import HEAD_WIDTH, ModelShape
from m6rec.language_model.devices import moved
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.segments import SegmentBatch
from m6rec.language_model.writing import ReadSources, WriteOption, Writer, WriterSize
from m6rec.tasks.choose import Choose
from m6rec.tasks.config import WriteConfig, WritingConfig
from m6rec.tasks.judge_rows import of_epoch
from m6rec.tasks.options import module_name
from m6rec.tasks.task import Task
from m6rec.tasks.write_rows import TRAINING, AboutWords, WriteRows, naming_most
from m6rec.tasks.write_sources import (
    ABOUT,
    ITEM,
    KIND_NAMES,
    MEMORY,
    OWN,
    PAST,
    PROFILE,
    TYPED,
    Known,
    Piece,
    read_pieces,
    read_slots,
    sources,
)

VALIDATION = 1
PASSES = 12  # seeds the order of the rows where an epoch is a part of a pass
POOL_BATCHES = 20  # batches of texts of like length are cut out of pools of so many
LEAST_WIDTH, MOST_WIDTH = 128, 512


@dataclass(frozen=True)
class WriteSizes:
    """What the weights are cut from. columns: named columns that tasks read, each a kind of segment of its own."""

    writer: WriterSize
    columns: list[str]

    @classmethod
    def settle(cls, shape: ModelShape, writing: WritingConfig, configs: dict[str, WriteConfig]) -> Self:
        """Every number, from the settings and the model's shape."""
        width = min(max(2 * shape.width, LEAST_WIDTH), MOST_WIDTH) if writing.width is None else writing.width
        heads = max(width // HEAD_WIDTH, 1) if writing.heads is None else writing.heads
        if not writing.layers:
            width, heads = shape.width, shape.heads
        columns = list(dict.fromkeys(name for config in configs.values() for name in config.columns))
        kinds = len(KIND_NAMES) + len(columns)
        size = WriterSize(
            shape.read_width,
            shape.vocabulary,
            width,
            heads,
            writing.layers,
            kinds,
            writing.dropout,
            writing.copy_words,
            writing.own_words,
            slot_width=0 if shape.width == shape.read_width else shape.width,
        )
        return cls(size, columns)

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        return cls(WriterSize(**values["writer"]), list(values["columns"]))


@dataclass(frozen=True)
class WriteExamples:
    """What the tasks train on.

    rows     all texts, of every part                    targets  their tokens, with the end where it is reached
    memory, own  of each row, the texts (numbers of `rows`) that may be read before it, the best first
    items, profiles  token ids of every item and of every user, in words    names  of the name of every item
    columns  name -> token ids of each row                 known   what slots are made of
    about    token ids of the words that a row is given to name (none: drawn)     encode  words -> token ids
    """

    rows: WriteRows
    targets: list[np.ndarray]
    memory: list[list[int]]
    own: list[list[int]]
    items: list[np.ndarray]
    names: list[np.ndarray]
    profiles: list[np.ndarray]
    columns: dict[str, list[np.ndarray]]
    known: Known
    draw: AboutWords
    encode: Any


@dataclass(frozen=True)
class WriteBatch:
    """Rows of one task, and the seed of what is drawn for them; seed -1: nothing is drawn."""

    task: str
    rows: np.ndarray
    seed: int


class Write(Task):
    """All write tasks of a configuration."""

    reader: Choose
    answer: ClassVar[Literal["choose", "judge", "write"]] = "write"

    def __init__(
        self,
        configs: dict[str, WriteConfig],
        writing: WritingConfig,
        shape: ModelShape,
        sizes: WriteSizes,
        reader: Choose,
        bos_id: int,
        eos_id: int,
    ) -> None:
        """configs: the tasks by name. reader: owns the slots of histories; it is no part of this module's state."""
        super().__init__()
        self.configs, self.writing, self.shape, self.sizes = dict(configs), writing, shape, sizes
        self.__dict__["reader"] = reader
        self.bos_id, self.eos_id = bos_id, eos_id
        self.writer = Writer(sizes.writer)
        self.options = nn.ModuleDict()
        for name in configs:
            self.options[module_name(name)] = WriteOption(sizes.writer.width, writing.prompts, writing.adapter)
        if not writing.layers and not writing.copy_words:
            self.writer.requires_grad_(False)
        self.examples: WriteExamples | None = None
        self._epoch, self._epochs = 0, 1

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, model: LanguageModel) -> None:
        """Seeded start; `model` is the pretrained language model."""
        self.writer.initialise(generator, model)
        for name in sorted(self.configs):
            self.option(name).initialise(generator)

    def option(self, name: str) -> WriteOption:
        option = self.options[module_name(name)]
        assert isinstance(option, WriteOption)
        return option

    def option_names(self) -> list[str]:
        """The options; the writer is shared."""
        return [name for name, _ in self.named_parameters() if name.startswith("options.")]

    def freeze(self, tasks: Sequence[str]) -> None:
        """From now on only the options of `tasks` train."""
        self.requires_grad_(False)
        for name in tasks:
            self.option(name).requires_grad_()

    def kind_of(self, column: str) -> int:
        """The kind of a segment that a named column makes; typed words where no task reads it."""
        return len(KIND_NAMES) + self.sizes.columns.index(column) if column in self.sizes.columns else TYPED

    # ---- training

    def bind(self, examples: WriteExamples, epochs: int = 1) -> None:
        """epochs: of the whole training, over which the passes of every task are spread."""
        self.examples, self._epochs = examples, epochs

    def begin(self, epoch: int) -> None:
        self._epoch = epoch

    def batches(self, generator: np.random.Generator) -> Iterator[WriteBatch]:
        """Training texts of one task each, those of like length together: of every task its share of its passes, the tasks mixed."""
        found: list[WriteBatch] = []
        for number, (name, config) in enumerate(self.configs.items()):
            share = (config.passes or self.writing.passes) / self._epochs
            found += of_epoch(partial(self._pass, name), self._epoch, share, PASSES + number)
        yield from found if len(self.configs) == 1 else (found[place] for place in generator.permutation(len(found)))

    def _pass(self, task: str, generator: np.random.Generator) -> list[WriteBatch]:
        """All training texts of a task once, in random order."""
        assert self.examples is not None
        rows, size, found = self.examples.rows, self.writing.batch_rows, []
        lengths = np.array([len(ids) for ids in self.examples.targets])
        order = generator.permutation(np.flatnonzero((rows.parts == TRAINING) & (rows.task == list(self.configs).index(task))))
        for start in range(0, len(order), size * POOL_BATCHES):
            pool = order[start : start + size * POOL_BATCHES]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            found += [WriteBatch(task, pool[at : at + size], int(generator.integers(2**31))) for at in range(0, len(pool), size)]
        return [found[place] for place in generator.permutation(len(found))]

    def targets(self, batch: WriteBatch) -> int:
        """Tokens."""
        assert self.examples is not None
        return sum(len(self.examples.targets[row]) for row in batch.rows.tolist())

    def loss(self, model: LanguageModel, batch: WriteBatch) -> dict[str, Tensor]:
        """{task: mean over the tokens of -log p}."""
        likelihood, real, _ = self._likelihood(model, batch)
        return {batch.task: -likelihood[real].mean()}

    def _likelihood(self, model: LanguageModel, batch: WriteBatch) -> tuple[Tensor, Tensor, ReadSources]:
        """log p of every token (B, T), which are real, and what was read."""
        assert self.examples is not None
        targets = [self.examples.targets[row] for row in batch.rows.tolist()]
        read = self.read(model, batch)
        wanted, real = padded_tokens(targets)
        given = torch.cat([torch.full((len(targets), 1), self.bos_id), wanted[:, :-1]], dim=1)
        lower = self.lower_states(model, given, [len(ids) for ids in targets])
        wanted, real, given = (moved(one, lower.device) for one in (wanted, real, given))
        states = self.writer.states(model, read, lower, given, self.option(batch.task))
        return self.writer.log_likelihood(model, read, states, wanted, given), real, read

    def read(self, model: LanguageModel, batch: WriteBatch) -> ReadSources:
        """What stands before the texts of a batch of the bound examples."""
        examples, config = self.examples, self.configs[batch.task]
        assert examples is not None
        rows = examples.rows
        generator = np.random.default_rng(batch.seed) if batch.seed >= 0 else None
        pieces = [self._thinned(self._pieces(row, config, generator), generator) for row in batch.rows.tolist()]
        index = batch.rows
        items = np.where("item" in config.reads, rows.items[index], -1)
        with torch.set_grad_enabled(torch.is_grad_enabled() and model.embedding.weight.requires_grad):
            tokens = read_pieces(model, pieces, self.writing.source_tokens, self.shape.pad_id, self.bos_id)
        slots = read_slots(
            model,
            self.reader,
            examples.known,
            rows.users[index] if "profile" in config.reads else np.full(len(index), -1),
            items,
            rows.starts[index],
            rows.ends[index] if "history" in config.reads else rows.starts[index],
            self.writing.slots if "history" in config.reads else 0,
        )
        return self.writer.read(model, sources(tokens, slots), self.option(batch.task))

    def _pieces(self, row: int, config: WriteConfig, generator: np.random.Generator | None) -> list[Piece]:
        examples = self.examples
        assert examples is not None
        rows, found = examples.rows, list[Piece]()
        item, user = int(rows.items[row]), int(rows.users[row])
        about = rows.about[row]
        if config.about is None:
            about = "" if generator is None or generator.random() >= config.about_share else examples.draw.draw(rows.texts[row], generator)
        elif generator is not None and generator.random() >= config.about_share:
            about = ""
        if about:
            found.append((ABOUT, examples.encode(about)))
        found += [(self.kind_of(name), examples.columns[name][row]) for name in config.columns]
        if "item" in config.reads and item >= 0:
            found.append((ITEM, examples.items[item]))
        near = examples.memory[row]
        if about and len(near) > config.memory:
            texts = [rows.texts[other] for other in near]
            near = [near[place] for place in naming_most(texts, about)]
        found += [(MEMORY, without_end(examples.targets[other], self.eos_id)) for other in near[: config.memory]]
        if "history" in config.reads:
            found += [(PAST, examples.names[other]) for other in rows.past[row]]
        if "profile" in config.reads and user >= 0:
            found.append((PROFILE, examples.profiles[user]))
        found += [(OWN, without_end(examples.targets[other], self.eos_id)) for other in examples.own[row]]
        return [(kind, ids) for kind, ids in found if len(ids)]

    def _thinned(self, pieces: list[Piece], generator: np.random.Generator | None) -> list[Piece]:
        """Without some segments, so that the writer learns to do without them; words that are asked for stay."""
        if generator is None or not self.writing.source_dropout:
            return pieces
        return [piece for piece in pieces if piece[0] == ABOUT or generator.random() >= self.writing.source_dropout]

    def lower_states(self, model: LanguageModel, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """(B, T, D): the causal lower layers over the tokens ids (B, T), on the CPU, of which the first `lengths` of each row are real."""
        segments = [Segment(row[:length].numpy().astype(np.int32), True) for row, length in zip(ids, lengths, strict=True)]
        batch = SegmentBatch.padded(segments, self.shape.pad_id, model.embedding.weight.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and model.embedding.weight.requires_grad):
            return model.reading(model.encode(batch))

    # ---- validation

    @torch.no_grad()
    def measure(self, model: LanguageModel, part: int = VALIDATION, most: int = 2_000) -> dict[str, tuple[float, int]]:
        """Task -> (mean log p of a token, tokens) of the texts of a part, at most so many, with no word asked for unless a column names some."""
        found: dict[str, tuple[float, int]] = {}
        for name in self.configs:
            told = self.text_likelihoods(model, name, part, most).values()
            count = sum(tokens for _, tokens in told)
            if count:
                found[name] = (sum(total for total, _ in told) / count, count)
        return found

    def text_likelihoods(self, model: LanguageModel, name: str, part: int, most: int | None = None) -> dict[int, tuple[float, int]]:
        """Row of a text of a task and part -> (sum of log p of its tokens, tokens); at most so many texts."""
        assert self.examples is not None
        rows = self.examples.rows
        found: dict[int, tuple[float, int]] = {}
        index = np.flatnonzero((rows.parts == part) & (rows.task == list(self.configs).index(name)))[:most]
        for start in range(0, len(index), 2 * self.writing.batch_rows):
            some = index[start : start + 2 * self.writing.batch_rows]
            likelihood, real, _ = self._likelihood(model, WriteBatch(name, some, -1))
            sums, counts = torch.where(real, likelihood, 0.0).double().sum(1).tolist(), real.sum(1).tolist()
            found.update(zip(some.tolist(), zip(sums, counts, strict=True), strict=True))
        return found

    def perplexities(self, model: LanguageModel, part: int) -> dict[str, float]:
        """Task -> exp of minus the mean log p of a token."""
        return {name: math.exp(-value) for name, (value, _) in self.measure(model, part).items()}


def padded_tokens(rows: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """int64 (B, T) right-padded with 0, and bool (B, T) which are real."""
    lengths = np.array([len(row) for row in rows])
    real = np.arange(lengths.max()) < lengths[:, None]
    ids = np.zeros(real.shape, dtype=np.int64)
    ids[real] = np.concatenate(rows)
    return torch.from_numpy(ids), torch.from_numpy(real)


def without_end(ids: np.ndarray, eos_id: int) -> np.ndarray:
    """The tokens of a text without the end of it."""
    return ids[:-1] if len(ids) and ids[-1] == eos_id else ids
