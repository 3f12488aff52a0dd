"""judge: labels and numbers of candidates, in the light of the person's history. One module holds all candidate tasks of a configuration.

A candidate is a slot (`judge_slot.py`) that passes the upper layers over the cached keys and values of the history: one causal pass over a
history serves every exposure of that person, each seeing the events before its own time and no other exposure. Then the option of
its (scenario, task) reads the state (`options.py`). Histories are read without gradient: what judging teaches, it teaches the slots.

Shapes: X exposures, B blocks of one person's exposures, C exposures of a block, R = B C rows, T history slots, W width, L outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.language_model.config import ModelShape
from m6rec.language_model.layers import RMSNorm
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.choose import Choose, gather_slots
from m6rec.tasks.config import JudgeConfig, SharingConfig
from m6rec.tasks.judge_labels import LabelSize, answers, label_losses
from m6rec.tasks.judge_rows import Blocks, JudgeExamples, JudgeRows, batch_blocks, cut_blocks, padded, tensor_or_none
from m6rec.tasks.judge_slot import JudgeSlot
from m6rec.tasks.options import Option, OptionBank, module_name, stacked_logits
from m6rec.tasks.task import Task

EVENTS_A_ROW = 24  # a batch reads at most so many history slots for each exposure it asks for


@dataclass(frozen=True)
class JudgeSizes:
    """Sizes of a Judge that come from the data; saved beside its weights (`plain`, `of`)."""

    labels: dict[str, LabelSize]
    scenarios: list[str] = field(default_factory=list)
    statistics: list[str] = field(default_factory=list)
    timed: bool = False
    context_features: int = 0
    context_vectors: int = 0
    profile_features: int = 0
    profile_vectors: int = 0

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        return cls(**{**values, "labels": {name: LabelSize(**size) for name, size in values["labels"].items()}})


class Judge(Task):
    """All tasks of a configuration that judge candidates."""

    answer: ClassVar[Literal["choose", "judge", "write"]] = "judge"

    def __init__(
        self, configs: dict[str, JudgeConfig], sharing: SharingConfig, shape: ModelShape, sizes: JudgeSizes, reader: Choose
    ) -> None:
        """configs: the tasks by name. reader: owns the item encoder and the slots of histories; it is no part of this module's state."""
        super().__init__()
        self.configs, self.sharing, self.shape, self.sizes = dict(configs), sharing, shape, sizes
        self.__dict__["reader"] = reader  # not a submodule: its weights are saved, counted and trained as those of the choose task
        width = shape.width
        self.slot = JudgeSlot(
            width,
            scenarios=len(sizes.scenarios),
            timed=sizes.timed,
            statistics=len(sizes.statistics) if sharing.statistics else 0,
            context_features=sizes.context_features,
            context_vectors=sizes.context_vectors,
            profile_features=sizes.profile_features,
            profile_vectors=sizes.profile_vectors,
            dropout=sharing.dropout,
        )
        self.norm = RMSNorm(width)
        self.vectors = nn.ParameterDict(
            {module_name(task): nn.Parameter(torch.zeros(sizes.labels[task].outputs, width)) for task in configs}
        )
        self.biases = nn.ParameterDict({module_name(task): nn.Parameter(torch.zeros(sizes.labels[task].outputs)) for task in configs})
        self.options = OptionBank()
        for task in configs:
            for cell in self.cells(task):
                self.options.put(cell, Option(width, sizes.labels[task].outputs, sharing.prompts, sharing.adapter))
        self.examples: JudgeExamples | None = None
        self._blocks: Blocks | None = None
        self._ranks: Tensor | None = None

    # ---- what is asked where

    def scenarios_of(self, task: str) -> list[str]:
        """Scenarios that a task is asked in; [] where there are no scenarios."""
        served = self.configs[task].scenarios
        return self.sizes.scenarios if served is None else [name for name in self.sizes.scenarios if name in served]

    def cells(self, task: str) -> list[str]:
        """Names of the cells of a task: "scenario/task", or "task" where there are no scenarios."""
        return [f"{scenario}/{task}" for scenario in self.scenarios_of(task)] or [task]

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Seeded start; outputs start from what is usual for the label."""
        for name, part in sorted(self.named_modules()):
            if isinstance(part, nn.Embedding):
                part.weight.copy_(torch.randn(part.weight.shape, generator=generator) * 0.02)
            elif isinstance(part, nn.Linear):
                scale = 0.1 if name.endswith("write") else 0.3
                part.weight.copy_(torch.randn(part.weight.shape, generator=generator) * scale * part.in_features**-0.5)
                if part.bias is not None:
                    part.bias.zero_()
            elif isinstance(part, Option):
                part.initialise(generator)
        for task, size in sorted(self.sizes.labels.items()):
            vectors = self.vectors[module_name(task)]
            vectors.copy_(torch.randn(vectors.shape, generator=generator) * 0.5 * self.shape.width**-0.5)
            self.biases[module_name(task)].copy_(torch.tensor(size.start))

    # ---- training

    def bind(self, examples: JudgeExamples) -> None:
        """Give the task what it trains on; fits the scale of the statistics the first time."""
        self.examples = examples
        self._blocks = cut_blocks(examples.rows, examples.histories, self.shape.history)
        encoder = self.slot.statistics
        if encoder is not None:
            assert examples.rows.statistics is not None
            if not encoder.edges.any():
                encoder.fit(examples.rows.statistics)
            values = torch.from_numpy(examples.rows.statistics)
            self._ranks = torch.cat([encoder.ranks(part).half() for part in values.split(4096)]) if len(values) else None

    def batches(self, generator: np.random.Generator) -> Iterator[np.ndarray]:
        assert self.examples is not None
        assert self._blocks is not None
        rows = self.examples.batch_rows
        yield from batch_blocks(self._blocks, rows, EVENTS_A_ROW * rows, generator)

    def targets(self, batch: np.ndarray) -> int:
        assert self._blocks is not None
        return int(self._blocks.counts[batch].sum())

    def loss(self, model: LanguageModel, batch: np.ndarray) -> dict[str, Tensor]:
        """A mean loss for every cell that has rows in the batch."""
        assert self.examples is not None
        assert self._blocks is not None
        examples = self.examples
        places, real = padded(self._blocks, batch)
        states = self._states(model, examples, self._blocks, batch, places, self._ranks)[torch.from_numpy(real)]  # R W
        rows = places[real]
        found: dict[str, Tensor] = {}
        for scenario, chosen in self._by_scenario(examples.rows, rows):
            found.update(self._scenario_losses(states[torch.from_numpy(chosen)], examples.rows, rows[chosen], scenario))
        return found

    def _by_scenario(self, rows: JudgeRows, places: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        if not self.sizes.scenarios:
            yield "", np.arange(len(places))
            return
        assert rows.scenarios is not None
        codes = rows.scenarios[places]
        for code in np.unique(codes[codes >= 0]):
            yield self.sizes.scenarios[code], np.flatnonzero(codes == code)

    def _scenario_losses(self, states: Tensor, rows: JudgeRows, places: np.ndarray, scenario: str) -> dict[str, Tensor]:
        tasks = [task for task in self.configs if (not scenario or scenario in self.scenarios_of(task)) and task in rows.labels]
        if not tasks:
            return {}
        cells = [f"{scenario}/{task}" if scenario else task for task in tasks]
        names = [module_name(task) for task in tasks]
        logits = stacked_logits(
            states, [self.options.of(cell) for cell in cells], [self.vectors[n] for n in names], [self.biases[n] for n in names]
        )
        outputs = dict(zip(tasks, logits, strict=True))
        found = {}
        for task, cell in zip(tasks, cells, strict=True):
            labels = torch.from_numpy(rows.labels[task][places])
            known = ~(labels if labels.ndim == 1 else labels[:, 0]).isnan()
            if not bool(known.any()):
                continue
            config = self.configs[task]
            first = self._log_before(outputs, task)
            losses = label_losses(
                outputs[task][known],
                labels[known],
                self.sizes.labels[task],
                config.loss,
                config.label_smoothing,
                None if first is None else first[known],
            )
            found[cell] = losses.mean()
        return found

    def _log_before(self, outputs: dict[str, Tensor], task: str) -> Tensor | None:
        """(R,) log probability that all tasks before `task` are positive; None where it comes after none."""
        total, before = None, self.configs[task].after
        while before is not None:
            log = torch.nn.functional.logsigmoid(outputs[before][:, 0])
            total, before = log if total is None else total + log, self.configs[before].after
        return total

    # ---- states

    def _states(
        self, model: LanguageModel, examples: JudgeExamples, blocks: Blocks, batch: np.ndarray, places: np.ndarray, ranks: Tensor | None
    ) -> Tensor:
        """(B, C, W): the judged states of the exposures `places` int64 (B, C); ranks (X, 2 S) of all rows."""
        rows, reader = examples.rows, self.reader
        first, last, users = blocks.first[batch], blocks.last[batch], blocks.users[batch]
        width = self.shape.width
        events = first[:, None] + np.arange(int((last - first).max()))  # B T
        real = events < last[:, None]
        events = np.minimum(events, max(len(examples.histories.items) - 1, 0))
        flat = places.ravel()
        ids, where = np.unique(np.concatenate([rows.items[flat], examples.histories.items[events].ravel()]), return_inverse=True)
        known = torch.from_numpy(ids.astype(np.int64))
        vectors = reader.items.of(known, examples.contents.rows(known), sparse=False)  # distinct W
        place = torch.from_numpy(where)
        with torch.no_grad():
            profiles = None if examples.profiles is None else examples.profiles.rows(torch.from_numpy(users))
            slots = gather_slots(reader.start_slot(len(batch), profiles), examples.histories, events)
            embedded, slot_times = reader.embed_events(vectors[place[len(flat) :].view(events.shape)], slots)
            lengths = torch.from_numpy(real.sum(axis=1) + 1)
            states, cache = model.upper.extend(embedded, slot_times, lengths=lengths)
        seen = torch.from_numpy(rows.cuts[places] - first[:, None] + 1)  # B C: slots before the exposure, the start slot among them
        people = states.gather(1, (seen - 1)[:, :, None].expand(-1, -1, width)).flatten(0, 1)  # R W
        index = torch.from_numpy(flat)
        scenarios, times = tensor_or_none(rows.scenarios), tensor_or_none(rows.times)
        slot = self.slot(
            vectors[place[: len(flat)]],
            people,
            None if scenarios is None else scenarios[index],
            None if times is None else times[index],
            None if ranks is None else ranks[index].float(),
            None if rows.context is None else rows.context.rows(index),
            None if examples.profiles is None else examples.profiles.rows(torch.from_numpy(np.repeat(users, places.shape[1]))),
        ).view(*places.shape, width)
        asked = times[index].view(places.shape) if times is not None and self.shape.times else None
        states = model.upper.candidates(
            slot, cache, seen, asked, layers=self.sharing.joint_layers, window=self.shape.history if self.shape.history else None
        )
        judged: Tensor = self.norm(states)
        return judged

    # ---- answers

    @torch.no_grad()
    def answer_rows(self, model: LanguageModel, examples: JudgeExamples, tasks: list[str] | None = None) -> dict[str, np.ndarray]:
        """Answers for all rows: task -> float32 (X,) or (X, L); NaN where the task is not asked in the row's scenario.

        Binary: a probability; number: in the label's own unit; ordinal: the expected level; classes and tags: probabilities of each.
        """
        tasks = list(self.configs) if tasks is None else tasks
        rows = examples.rows
        results = {}
        for task in tasks:
            size = self.sizes.labels[task]
            wide = size.kind in ("classes", "tags")
            results[task] = np.full((len(rows), len(size.names)) if wide else len(rows), np.nan, dtype=np.float32)
        blocks = cut_blocks(rows, examples.histories, self.shape.history)
        encoder = self.slot.statistics
        ranks = None
        if encoder is not None and rows.statistics is not None:
            ranks = torch.cat([encoder.ranks(part) for part in torch.from_numpy(rows.statistics).split(4096)])
        for batch in batch_blocks(blocks, examples.batch_rows, EVENTS_A_ROW * examples.batch_rows, None):
            places, real = padded(blocks, batch)
            states = self._states(model, examples, blocks, batch, places, ranks)[torch.from_numpy(real)]
            for scenario, chosen in self._by_scenario(rows, places[real]):
                there = states[torch.from_numpy(chosen)]
                for task in tasks:
                    if not scenario or scenario in self.scenarios_of(task):
                        results[task][places[real][chosen]] = self._answers(there, scenario, task).numpy()
        return results

    def _answers(self, states: Tensor, scenario: str, task: str) -> Tensor:
        """Each option by itself, so that no other option has a part in its bits."""
        outputs = {task: self._logits(states, scenario, task)}
        before = self.configs[task].after
        while before is not None:
            outputs[before] = self._logits(states, scenario, before)
            before = self.configs[before].after
        return answers(outputs[task], self.sizes.labels[task], self._log_before(outputs, task))

    def _logits(self, states: Tensor, scenario: str, task: str) -> Tensor:
        option = self.options.of(f"{scenario}/{task}" if scenario else task)
        logits: Tensor = option(states, self.vectors[module_name(task)], self.biases[module_name(task)])
        return logits
