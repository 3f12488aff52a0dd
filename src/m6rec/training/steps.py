"""Which batches make up the steps of an epoch: mixed over the tasks, dealt to the processes, drawn as often as asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from m6rec.tasks.task import Batch, Task

Batches = dict[str, Batch]  # by module: those whose losses are taken together
Step = list[Batches]  # their gradients are averaged


@dataclass(frozen=True)
class Mixing:
    """How steps are made of batches.

    accumulate: batches, or joint groups of them, in a step.
    joint: a group has one batch of every module, of one with few batches only as often as they last.
    rank, count: this process, and how many deal the batches among them; all take as many steps, of the same modules.
    """

    accumulate: int = 1
    joint: bool = False
    rank: int = 0
    count: int = 1

    def steps(
        self, tasks: Mapping[str, Task], generator: np.random.Generator, often: Callable[[dict[str, int]], dict[str, int]]
    ) -> Iterator[Step]:
        """The steps of one epoch; equal generators give equal steps.

        Args:
            often: how many batches an epoch takes of each module, given how many each has.
        """
        queues = {name: list(task.batches(generator)) for name, task in tasks.items()}
        wanted = often({name: len(queue) for name, queue in queues.items()})
        for name, task in tasks.items():
            while queues[name] and len(queues[name]) < wanted[name]:
                queues[name] += list(task.batches(generator))
            del queues[name][wanted[name] :]
            queues[name] = self._dealt(queues[name])
        groups = self._joint(queues) if self.joint else _mixed(queues, generator)
        step: Step = []
        for group in groups:
            step.append(group)
            if len(step) == self.accumulate:
                yield step
                step = []
        if step:
            yield step

    def _dealt(self, queue: list[Batch]) -> list[Batch]:
        """This process's share; the last round is filled up from the start, so that all have as many."""
        if self.count == 1 or not queue:
            return queue
        rounds = -(-len(queue) // self.count)
        return [queue[(turn * self.count + self.rank) % len(queue)] for turn in range(rounds)]

    def _joint(self, queues: dict[str, list[Batch]]) -> Iterator[Batches]:
        counts = {name: len(queue) for name, queue in queues.items()}
        longest = max(counts.values(), default=0)
        for turn in range(longest):
            yield {
                name: queue.pop() for name, queue in queues.items() if (turn + 1) * counts[name] // longest > turn * counts[name] // longest
            }


def _mixed(queues: dict[str, list[Batch]], generator: np.random.Generator) -> Iterator[Batches]:
    owners = [name for name, queue in queues.items() for _ in queue]
    for place in generator.permutation(len(owners)):
        yield {owners[place]: queues[owners[place]].pop()}


def module_counts(natural: dict[str, int], shares: Mapping[str, float] | None) -> dict[str, int]:
    """Batches of an epoch by module: as many in all as there are, each module's number times its share; None: as many as each has."""
    if shares is None:
        return natural
    raw = {name: count * shares[name] for name, count in natural.items()}
    scale = sum(natural.values()) / max(sum(raw.values()), 1e-12)
    return {name: max(1, round(raw[name] * scale)) if natural[name] else 0 for name in natural}
