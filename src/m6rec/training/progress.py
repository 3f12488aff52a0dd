"""Progress on stderr: stage, loss, examples/s, time left; one line an epoch where stderr is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from m6rec.evaluation.metric_names import told_value

MOST_LOSSES = 4  # shown one by one


class Progress:
    """What the loop and the stages tell the user while they work. `visible=False` shows nothing but, with `notes`, a line an epoch."""

    def __init__(self, visible: bool, notes: bool = False) -> None:
        self.visible, self.notes = visible, notes or visible
        self.console = Console(file=sys.stderr, highlight=False)
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self.stage = ""

    def say(self, line: str) -> None:
        if self.visible:
            self.console.print(line, markup=False)

    @contextmanager
    def task(self, total: int, done: int = 0) -> Iterator[None]:
        """A bar of `total` steps for the stage that runs."""
        if not self.visible:
            yield
            return
        columns = (
            TextColumn("  {task.description:<9}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=self.console, transient=True) as bar:
            self._bar, self._task = bar, bar.add_task(self.stage, total=total, completed=done, facts="")
            try:
                yield
            finally:
                self._bar, self._task = None, None

    def advance(self, losses: dict[str, float], rate: float) -> None:
        if self._bar is not None and self._task is not None:
            shown = " ".join(f"{name} {value:.3f}" for name, value in few(losses).items())
            self._bar.update(self._task, advance=1, facts=f"{shown}  {rate:,.0f} examples/s")

    def note(self, epoch: int, losses: dict[str, float], metrics: dict[str, float]) -> None:
        """One line an epoch. metrics: as training watches them, higher being better."""
        parts = [f"{name} {value:.4f}" for name, value in few(losses).items()]
        parts += [f"{name} {told_value(name, value):.4f}" for name, value in metrics.items()]
        if self.notes:
            self.console.print(f"  epoch {epoch:<3} " + "  ".join(parts), markup=False, soft_wrap=not self.visible)


def few(losses: dict[str, float]) -> dict[str, float]:
    """What fits into a line: the losses "module.name" by name; of many, the mean of each module's."""
    if len(losses) <= MOST_LOSSES:
        return {name.partition(".")[2] or name: value for name, value in losses.items()}
    found: dict[str, list[float]] = {}
    for name, value in losses.items():
        found.setdefault(name.partition(".")[0], []).append(value)
    return {
        f"{module} (mean of {len(values)})" if len(values) > 1 else module: sum(values) / len(values) for module, values in found.items()
    }
