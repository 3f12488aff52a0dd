"""judge: labels and numbers of candidates, in the light of the person's history. One module holds all candidate tasks of a configuration.

A candidate is a slot (`judge_slot.py`) that passes the upper layers over the cached keys and values of the history (`judge_reading.py`): one
causal pass over a history serves every exposure of that person, each seeing the events before its own time and no other exposure.
Then the option of its (scenario, task) reads the state (`options.py`). Beside a choose task that trains, histories are read without gradient:
what judging teaches, it teaches the item vectors, the layers as candidates pass them, and what is the judge's own.

Shapes: X exposures, B blocks of one person's exposures, C exposures of a block, R rows, W width, L outputs of a task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.language_model.config import ModelShape
from m6rec.language_model.devices import moved, tensor_of
from m6rec.language_model.layers import RMSNorm
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.choose import Choose
from m6rec.tasks.config import JudgeConfig, SharingConfig
from m6rec.tasks.judge_cells import NEW, SHARED, JudgeCells, JudgeSizes
from m6rec.tasks.judge_labels import LabelSize, answers, label_losses
from m6rec.tasks.judge_new import as_new
from m6rec.tasks.judge_reading import ReadHistories, read_histories
from m6rec.tasks.judge_rows import Blocks, JudgeExamples, JudgeRows, batch_blocks, cut_blocks, drawn_rows, of_epoch, padded
from m6rec.tasks.judge_slot import JudgeSlot
from m6rec.tasks.options import Option, OptionBank, module_name, stacked_logits
from m6rec.tasks.position import PositionEffect, position_bucket, propensity_weights
from m6rec.tasks.sharing import ScenarioScaling, TaskSharing
from m6rec.tasks.task import Task

PASSES = 11  # seeds the order of the rows where an epoch is a part of a pass
EVENTS_A_ROW = 24  # a batch reads at most so many history slots for each exposure it asks for
ANSWERED_BLOCK = 1024  # exposures of one person that are answered over one pass


class Judge(JudgeCells, Task):
    """All tasks of a configuration that judge candidates."""

    reader: Choose

    answer: ClassVar[Literal["choose", "judge", "write"]] = "judge"

    def __init__(
        self, configs: dict[str, JudgeConfig], sharing: SharingConfig, shape: ModelShape, sizes: JudgeSizes, reader: Choose
    ) -> None:
        """configs: the tasks by name. reader: owns the item encoder and the slots of histories; it is no part of this module's state."""
        super().__init__()
        self.configs, self.sharing, self.shape, self.sizes = dict(configs), sharing, shape, sizes
        self.__dict__["reader"] = reader  # not a submodule: its weights are saved, counted and trained as those of the choose task
        width, scenarios = shape.width, len(sizes.scenarios)
        self.slot = JudgeSlot(
            width,
            read_width=shape.read_width,
            scenarios=scenarios,
            timed=sizes.timed,
            statistics=len(sizes.statistics) if sharing.statistics else 0,
            context_features=sizes.context_features,
            context_vectors=sizes.context_vectors,
            profile_features=sizes.profile_features,
            profile_vectors=sizes.profile_vectors,
            dropout=sharing.dropout,
        )
        self.scaling = ScenarioScaling(sharing, width, scenarios)
        self.norm = RMSNorm(width)
        self.shared = TaskSharing(sharing, width, list(configs))
        self.vectors, self.biases, self.wide = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        self.options = OptionBank()
        self.position = PositionEffect([task for task in configs if self._adjusts(task)])
        for task in configs:
            self._make_room(task)
        self.version = 0  # raised when tasks come or go: what was laid out of the weights before is of others
        self.counted: dict[str, int] = {}  # rows of each cell in the batch that `loss` was asked for last
        self.examples: JudgeExamples | None = None
        self._epoch = 0
        self._blocks: Blocks | None = None
        self._ranks: Tensor | None = None
        self._elsewhere: Tensor | None = None
        self._rates: dict[str, float] | None = None
        self._places: Tensor | None = None
        self._weights: Tensor | None = None

    def _adjusts(self, task: str) -> bool:
        binary = self.sizes.labels[task].kind == "binary"
        return binary and self.configs[task].position in ("adjust", "auto") and self.sizes.placed

    def _make_room(self, task: str) -> None:
        name, outputs = module_name(task), self.sizes.labels[task].outputs
        self.vectors[name], self.biases[name] = nn.Parameter(torch.zeros(outputs, self.shape.width)), nn.Parameter(torch.zeros(outputs))
        if self.slot.statistics is not None:
            self.wide[name] = nn.Parameter(torch.zeros(outputs, 2 * len(self.sizes.statistics)))  # read directly: rare labels learn fast
        for cell in self.cells(task):
            self.options.put(cell, Option(self.shape.width, outputs, self.sharing.prompts, self.sharing.adapter))

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
        for task in sorted(self.configs):
            self._start(task, generator)

    @torch.no_grad()
    def _start(self, task: str, generator: torch.Generator) -> None:
        vectors = self.vectors[module_name(task)]
        vectors.copy_(torch.randn(vectors.shape, generator=generator) * 0.5 * self.shape.width**-0.5)
        self.biases[module_name(task)].copy_(torch.tensor(self.sizes.labels[task].start))
        for cell in self.cells(task):
            self.options.of(cell).initialise(generator)

    @torch.no_grad()
    def _start_from_rates(self, deviation: Tensor) -> None:
        """Binary tasks start from the log odds that the rates of the user and of the item say together; the rest is what is to be learned."""
        names = self.sizes.statistics
        for task in self.configs:
            for column in (f"user: {task}", f"item: {task}"):
                if column in names and self.sizes.labels[task].kind == "binary":
                    number = names.index(column)
                    self.wide[module_name(task)][0, len(names) + number] = deviation[
                        number
                    ]  # of the standardised value: its log odds again

    # ---- options that come and go

    @torch.no_grad()
    def add_task(self, task: str, config: JudgeConfig, size: LabelSize, generator: torch.Generator) -> None:
        """Room for one more task; nothing of the others is touched, so their answers keep their bits."""
        self.configs[task] = config
        self.sizes.labels[task] = size
        self.sizes.later.append(task)
        self._make_room(task)
        self.shared.add(task)
        if self._adjusts(task):
            self.position.add(task)
        self._start(task, generator)
        self.version += 1

    def drop_task(self, task: str) -> None:
        """Take a task out, with its options."""
        for cell in self.cells(task):
            self.options.drop(cell)
        self.shared.drop(task)
        self.position.drop(task)
        if module_name(task) in self.wide:
            del self.wide[module_name(task)]
        del self.vectors[module_name(task)], self.biases[module_name(task)], self.configs[task], self.sizes.labels[task]
        if task in self.sizes.later:
            self.sizes.later.remove(task)
        self.version += 1

    def freeze(self, model: LanguageModel, policy: Literal["options", "upper", "everything"], tasks: Sequence[str] = ()) -> None:
        """What may train from now on.

        options: what belongs to `tasks` alone; upper: that, and the upper layers; everything: all but what reads segments.
        """
        for module in (self, self.reader, model):
            module.requires_grad_(policy == "everything")
        model.freeze_reading()
        if policy != "everything":
            own = {name for task in tasks for name in self.own_names(task)}
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(name in own)
            model.upper.trained(policy == "upper")

    # ---- training

    def bind(self, examples: JudgeExamples) -> None:
        """Give the task what it trains on; the first time, what is measured on training rows (quantiles, shares of places) is settled."""
        self.examples, rows = examples, examples.rows
        self._blocks = cut_blocks(rows, examples.histories, self.shape.history)
        encoder = self.slot.statistics
        if encoder is not None:
            assert rows.statistics is not None
            if not encoder.edges.any():
                encoder.fit(rows.statistics)
                self._start_from_rates(encoder.deviation)
            self._ranks, self._elsewhere = self.ranks(rows.statistics), self.ranks(rows.elsewhere)
        if rows.positions is not None and self.sizes.placed:
            if bool((self.position.shares == self.position.shares[0]).all()):
                adjusted = {t: rows.labels[t] for t in rows.labels if t in self.configs and self._adjusts(t)}
                self.position.fit(rows.positions, rows.items, adjusted)
            self._places = torch.from_numpy(position_bucket(rows.positions))
        self._weights = None if rows.propensities is None else torch.from_numpy(propensity_weights(rows.propensities))

    def begin(self, epoch: int) -> None:
        self._epoch = epoch

    def batches(self, generator: np.random.Generator) -> Iterator[np.ndarray]:
        assert self.examples is not None
        if self._rates is not None:  # told once an epoch: what is asked for later in it is of the same rows
            chosen = drawn_rows(self.row_rates(self.examples.rows, self._rates), generator)
            self._blocks = cut_blocks(self.examples.rows, self.examples.histories, self.shape.history, chosen=chosen)
            self._rates = None
        assert self._blocks is not None
        blocks, rows = self._blocks, self.examples.batch_rows
        seed = int(generator.integers(2**31)) if self.examples.share == 1 else PASSES

        def one_pass(order: np.random.Generator) -> list[np.ndarray]:
            return list(batch_blocks(blocks, rows, EVENTS_A_ROW * rows, order))

        yield from of_epoch(one_pass, self._epoch, self.examples.share, seed)

    def targets(self, batch: np.ndarray) -> int:
        assert self._blocks is not None
        return int(self._blocks.counts[batch].sum())

    def loss_targets(self, batch: np.ndarray) -> dict[str, int]:
        """Rows of each cell."""
        assert self.examples is not None
        assert self._blocks is not None
        places, real = padded(self._blocks, batch)
        return {cell: len(rows) for cell, rows in self.labelled(self.examples.rows, places[real])}

    def steer(self, rates: dict[str, float]) -> None:
        self._rates = rates

    def loss(self, model: LanguageModel, batch: np.ndarray) -> dict[str, Tensor]:
        """For every cell that has rows in the batch the sum of its rows' losses, divided by all rows of the batch.

        Losses are in units of `LabelSize.base`. So the plain sum is the likelihood of all rows, in which every row counts alike and rare labels
        are heard: a mean loss for each cell, of however few rows, would learn tiny cells by heart. `counted` says how many rows a cell had.
        """
        assert self.examples is not None
        assert self._blocks is not None
        rows = self.examples.rows
        places, real = padded(self._blocks, batch)
        read = read_histories(model, self.reader, self.examples, self._blocks, batch, self.sharing.joint_layers)
        index = torch.from_numpy(places.ravel())
        ranks = None if self._ranks is None else self._ranks[index]
        codes = self._codes(rows, places)
        if codes is not None and self.sharing.new_scenarios:
            codes, ranks = as_new(codes, self.sharing.new_scenarios, ranks, None if self._elsewhere is None else self._elsewhere[index])
        ranks = None if ranks is None else moved(ranks, self.slot.start.device)
        states = self.judged(model, self.examples, read, places, ranks, codes)[torch.from_numpy(real)]  # R W
        near, chosen = None if ranks is None else ranks[torch.from_numpy(real.ravel())].float(), places[real]
        codes = None if codes is None else codes[real]
        found: dict[str, Tensor] = {}
        self.counted = {}
        for scenario, there in self.by_scenario(rows, chosen):
            tasks = [task for task in self.configs if self.asks(scenario, task) and task in rows.labels]
            new = np.zeros(len(there), dtype=bool) if codes is None else codes[there] == NEW
            for some, told in ((there[~new], scenario), (there[new], SHARED)):
                if not len(some) or not tasks:
                    continue
                some_ranks = None if near is None else near[torch.from_numpy(some)]
                outputs = self._outputs(states[torch.from_numpy(some)], some_ranks, tasks, told)
                losses = self._scenario_losses(outputs, rows, chosen[some], scenario, len(chosen))
                for cell, (loss, count) in losses.items():
                    found[cell] = found[cell] + loss if cell in found else loss
                    self.counted[cell] = self.counted.get(cell, 0) + count
        return found

    def _scenario_losses(
        self, outputs: dict[str, Tensor], rows: JudgeRows, places: np.ndarray, scenario: str, total: int
    ) -> dict[str, tuple[Tensor, int]]:
        """Loss of each cell with how many rows it had, from the logits of the exposures `places`."""
        tasks, index, found = list(outputs), torch.from_numpy(places), {}
        if self._places is not None:
            buckets = self._places[index]
            outputs = {t: o + self.position(t, buckets)[:, None] if self._adjusts(t) else o for t, o in outputs.items()}
        for task in tasks:
            labels = torch.from_numpy(rows.labels[task][places])
            known = ~(labels if labels.ndim == 1 else labels[:, 0]).isnan()
            if not bool(known.any()):
                continue
            config, first = self.configs[task], self._log_before(outputs, task)
            first = None if first is None else first[known]
            wanted = moved(labels[known], outputs[task].device)
            losses = label_losses(outputs[task][known], wanted, self.sizes.labels[task], config.loss, config.label_smoothing, first)
            if config.position == "propensity" and self._weights is not None:
                losses = losses * moved(self._weights[index][known], losses.device)
            cell = f"{scenario}/{task}" if scenario else task
            found[cell] = losses.sum() / (total * self.sizes.labels[task].base), len(losses)
        return found

    def _outputs(self, states: Tensor, ranks: Tensor | None, tasks: Sequence[str], scenario: str) -> dict[str, Tensor]:
        """(R, L) logits of each task, those with equally many outputs in one go."""
        own = self.shared(states, tasks)  # 1 or T, R, W
        outputs: dict[str, Tensor] = {}
        for width in sorted({self.sizes.labels[task].outputs for task in tasks}):
            members = [number for number, task in enumerate(tasks) if self.sizes.labels[task].outputs == width]
            names = [module_name(tasks[number]) for number in members]
            labels, biases = torch.stack([self.vectors[n] for n in names]), torch.stack([self.biases[n] for n in names])
            options = [self.option(scenario, tasks[n]) for n in members]
            logits = stacked_logits(own[members] if len(own) > 1 else own, options, labels, biases)
            if ranks is not None:
                direct = self.slot.thinned(ranks) @ torch.cat([self.wide[n] for n in names]).T  # R O*C
                logits = logits + direct.unflatten(1, (len(names), width)).transpose(0, 1)
            outputs.update(zip([tasks[n] for n in members], logits, strict=True))
        return outputs

    def option(self, scenario: str, task: str) -> Option:
        """What reads the state for a task in a scenario; in a new scenario nothing stands beside what the task says everywhere."""
        if scenario == SHARED:
            outputs, device = self.sizes.labels[task].outputs, self.slot.start.device
            return Option(self.shape.width, outputs, self.sharing.prompts, self.sharing.adapter).requires_grad_(False).to(device)
        return self.options.of(f"{scenario}/{task}" if scenario else task)

    # ---- states

    def ranks(self, statistics: np.ndarray | None) -> Tensor | None:
        """Statistics (X, S) as the slot reads them, (X, 2 S) float16."""
        if self.slot.statistics is None or statistics is None or not len(statistics):
            return None
        return torch.cat([self.slot.statistics.ranks(part).half() for part in torch.from_numpy(statistics).split(4096)])

    def judged(
        self,
        model: LanguageModel,
        examples: JudgeExamples,
        read: ReadHistories,
        places: np.ndarray,
        ranks: Tensor | None,
        codes: np.ndarray | None,
    ) -> Tensor:
        """(B, C, W): the states of the exposures `places` int64 (B, C), a row a history that was read.

        Args:
            ranks: (B * C, 2 S) of those exposures.  codes: int64 (B, C) of their scenarios, negative for none that training knew.
        """
        rows, shape, device = examples.rows, places.shape, self.slot.start.device
        index = torch.from_numpy(places.ravel())
        seen = tensor_of(rows.cuts[places] - read.first[:, None] + 1, device)  # B C: slots before the exposure, the start slot among them
        people = read.states.gather(1, (seen - 1)[:, :, None].expand(-1, -1, self.shape.width)).flatten(0, 1)
        scenarios = None if codes is None else tensor_of(np.maximum(codes.ravel(), -1), device)
        times = None if rows.times is None else tensor_of(rows.times[places.ravel()], device)
        profiles = None if examples.profiles is None else examples.profiles.rows(torch.from_numpy(rows.users[places[:, 0]]))
        slots = self.slot(
            read.item_vectors(rows.items[places.ravel()]),
            people,
            scenarios,
            times,
            None if ranks is None else ranks.float(),
            None if rows.context is None else rows.context.rows(index),
            profiles,
        )
        slots = self.scaling.slot(slots, scenarios).view(*shape, -1)
        asked = times.view(shape) if times is not None and self.shape.times else None
        states = model.upper.candidates(slots, read.cache, seen, asked, layers=self.sharing.joint_layers, window=self.shape.history)
        bent: Tensor = self.scaling.state(self.norm(states).flatten(0, 1), scenarios)
        return bent.view(*shape, -1)

    # ---- answers

    @torch.no_grad()
    def answer_rows(self, model: LanguageModel, examples: JudgeExamples, tasks: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Answers for all rows: task -> float32 (X,), or (X, L) for classes and tags; NaN where the task is not asked in the row's scenario.

        Binary: a probability; number: in the label's own unit; ordinal: the expected level; classes and tags: probabilities of each.
        """
        for module in (self, self.reader, model):
            if module.training:
                module.eval()  # an answer is not a matter of chance
        tasks = list(self.configs) if tasks is None else list(tasks)
        rows, results = examples.rows, {}
        for task in tasks:
            size = self.sizes.labels[task]
            wide = (len(size.names),) if size.kind in ("classes", "tags") else ()
            results[task] = np.full((len(rows), *wide), np.nan, dtype=np.float32)
        blocks = cut_blocks(rows, examples.histories, self.shape.history, block=ANSWERED_BLOCK, exact=True)
        ranks = self.ranks(rows.statistics)
        for batch in batch_blocks(blocks, examples.batch_rows, EVENTS_A_ROW * examples.batch_rows, None):
            places, real = padded(blocks, batch)
            read = read_histories(model, self.reader, examples, blocks, batch, self.sharing.joint_layers)
            codes = self._codes(rows, places)
            near = None if ranks is None else ranks[torch.from_numpy(places.ravel())]
            states = self.judged(model, examples, read, places, near, codes)[torch.from_numpy(real)]
            for scenario, chosen in self.by_scenario(rows, places[real]):
                there = states[torch.from_numpy(chosen)]
                told = None if ranks is None else ranks[torch.from_numpy(places[real][chosen])].float()
                for task in tasks:
                    if self.asks(scenario, task):
                        results[task][places[real][chosen]] = self._answers(there, told, scenario, task).numpy()
        return results

    def _answers(self, states: Tensor, ranks: Tensor | None, scenario: str, task: str) -> Tensor:
        """Each option by itself, so that no other option has a part in its bits."""
        outputs = {task: self._logits(states, ranks, scenario, task)}
        before = self.configs[task].after
        while before is not None and self.asks(scenario, before):
            outputs[before] = self._logits(states, ranks, scenario, before)
            before = self.configs[before].after
        return answers(outputs[task], self.sizes.labels[task], self._log_before(outputs, task))

    def _logits(self, states: Tensor, ranks: Tensor | None, scenario: str, task: str) -> Tensor:
        tasks = self.beside(scenario, task) if self.sharing.way == "attention" else [task]
        return self._outputs(states, ranks, tasks, scenario)[task]
