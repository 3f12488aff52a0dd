"""The one training loop. It knows tasks by `task.loss(model, batch)` and nothing else of them.

Resuming is exact: batches of an epoch depend on (seed, epoch) only, and weights, optimizer moments, the state of torch's generator
and the place in the epoch are written together, atomically. Killed at any moment, the run goes on to the same bits at the same
number of threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.base.errors import DataError, Interrupted
from m6rec.language_model.checkpoint import load_weights, save_weights
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.precision import Setting, autocast
from m6rec.tasks.task import Batch, Task
from m6rec.training.config import LoopConfig
from m6rec.training.interruption import held_interrupt
from m6rec.training.progress import Progress
from m6rec.training.row_optimizer import ROW_STATE, AdamWithRows, clip_gradients
from m6rec.training.training_log import TrainingLog


@dataclass
class LoopState:
    """Where a run stands; everything but the tensors."""

    epoch: int = 0
    step: int = 0  # of the epoch
    steps: int = 0  # of the run
    best: float = -math.inf
    best_epoch: int = -1
    since_best: int = 0
    done: bool = False
    sums: dict[str, float] = field(default_factory=dict)  # of each loss, times the targets it is a mean of
    counts: dict[str, int] = field(default_factory=dict)  # those targets
    targets: int = 0
    seconds: float = 0.0


class Loop:
    """Trains `tasks` on `model` jointly, validates, keeps the best weights.

    Args:
        weights: weight of each task's losses.
        epochs: passes over the data; None: those of `config`.
        validate: called with nothing between epochs, returns metrics; higher `metric` is better. None: the last weights are kept.
        folder: state.safetensors (to resume from), best.safetensors (the result) and log.jsonl are written here.
    """

    def __init__(
        self,
        model: LanguageModel,
        tasks: dict[str, Task],
        config: LoopConfig,
        *,
        weights: dict[str, float],
        seed: int,
        folder: Path,
        precision: Setting = "off",
        epochs: int | None = None,
        validate: Callable[[], dict[str, float]] | None = None,
        metric: str = "",
        progress: Progress | None = None,
    ) -> None:
        self.model, self.tasks, self.config, self.weights = model, tasks, config, weights
        self.seed, self.folder, self.precision = seed, folder, precision
        self.epochs = epochs or config.passes()
        self.validate, self.metric = validate, metric
        self.progress = progress or Progress(visible=False)
        self.module = nn.ModuleDict({"model": model, **{f"task_{name}": task for name, task in tasks.items()}})
        self.optimizer = _optimizer(self.module, config)
        self.state = LoopState()
        self.log = TrainingLog(folder)

    @property
    def best_file(self) -> Path:
        return self.folder / "best.safetensors"

    @property
    def state_file(self) -> Path:
        return self.folder / "state.safetensors"

    def run(self) -> LoopState:
        """Train to the end, from where an earlier run was cut off if there is a state; afterwards the module holds the best weights.

        Raises:
            Interrupted: Ctrl-C; the state is saved.
            DataError: a loss that is not finite.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.state_file.exists():
            self._resume()
        else:
            torch.manual_seed(self.seed)
        per_epoch = sum(1 for _ in self._epoch(0))
        try:
            with self.progress.task(total=per_epoch * self.epochs, done=self.state.steps):
                while self.state.epoch < self.epochs and not self.state.done:
                    self._train_epoch(per_epoch)
                    self._finish_epoch()
        except KeyboardInterrupt:
            with held_interrupt():
                self._save()
            raise Interrupted(
                f"stopped at epoch {self.state.epoch + 1}, step {self.state.step}; the state is saved: run the same command to go on"
            ) from None
        finally:
            self.log.close()
        if self.best_file.exists():
            tensors, _ = load_weights(self.best_file)
            self.module.load_state_dict(tensors)
        self.module.eval()
        return self.state

    def _epoch(self, epoch: int) -> Iterator[tuple[str, Batch]]:
        """Batches of every task, mixed in proportion to how many each has."""
        generator = np.random.default_rng([self.seed, epoch])
        queues = {name: list(task.batches(generator)) for name, task in self.tasks.items()}
        owners = [name for name, queue in queues.items() for _ in queue]
        for place in generator.permutation(len(owners)):
            yield owners[place], queues[owners[place]].pop()

    def _train_epoch(self, per_epoch: int) -> None:
        self.module.train()
        state, begun, saved = self.state, time.monotonic(), time.monotonic()
        for number, (name, batch) in enumerate(self._epoch(state.epoch)):
            if number < state.step:
                continue
            with held_interrupt():
                for group in self.optimizer.param_groups:
                    group["lr"] = self.config.learning_rate * self._rate(state.steps, per_epoch)
                losses = self._step(name, batch)
                targets = self.tasks[name].targets(batch)
                for loss_name, value in losses.items():
                    key = f"{name}.{loss_name}"
                    state.sums[key] = state.sums.get(key, 0.0) + value * targets
                    state.counts[key] = state.counts.get(key, 0) + targets
                state.targets += targets
                state.step, state.steps = number + 1, state.steps + 1
                now = time.monotonic()
                state.seconds, begun = state.seconds + now - begun, now
            self.progress.advance(self._running(), state.targets / max(state.seconds, 1e-9))
            if now - saved >= self.config.checkpoint_seconds:
                self._save()
                saved = time.monotonic()

    def _step(self, name: str, batch: Batch) -> dict[str, float]:
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.precision):
            losses = self.tasks[name].loss(self.model, batch)
        total = self.weights[name] * sum(losses.values(), start=torch.zeros(()))
        assert isinstance(total, Tensor)
        if not torch.isfinite(total):
            raise DataError(
                f"the loss of task '{name}' became {total.item()} at step {self.state.steps + 1}; "
                f"lower {self.config.section}.learning_rate (now {self.config.learning_rate:g}) or look for extreme values in number and vector fields"
            )
        total.backward()
        clip_gradients(self.module.parameters(), self.config.clip)
        self.optimizer.step()
        return {loss_name: float(value.detach()) for loss_name, value in losses.items()}

    def _finish_epoch(self) -> None:
        state = self.state
        losses = self._running()
        last = state.epoch + 1 == self.epochs
        metrics: dict[str, float] = {}
        if self.validate is not None and ((state.epoch + 1) % self.config.validate_every == 0 or last):
            self.module.eval()
            with torch.no_grad():
                metrics = self.validate()
        with held_interrupt():
            self._close_epoch(losses, metrics, last)
        self.progress.note(state.epoch, losses, metrics)

    def _close_epoch(self, losses: dict[str, float], metrics: dict[str, float], last: bool) -> None:
        """Note the epoch: best weights, early stopping, log, the state to resume from."""
        state = self.state
        if metrics:
            value = metrics[self.metric]
            if value > state.best:
                state.best, state.best_epoch, state.since_best = value, state.epoch, 0
                save_weights(self.best_file, self.module.state_dict(), {"epoch": state.epoch})
            else:
                state.since_best += 1
                state.done = state.since_best >= self.config.patience
        self.log.write(
            {
                "epoch": state.epoch + 1,
                "step": state.steps,
                "seconds": round(state.seconds, 3),
                "targets_per_second": state.targets / max(state.seconds, 1e-9),
                **losses,
                **metrics,
            }
        )
        state.epoch, state.step = state.epoch + 1, 0
        state.sums, state.counts, state.targets, state.seconds = {}, {}, 0, 0.0
        if self.validate is None and last:
            save_weights(self.best_file, self.module.state_dict(), {"epoch": state.epoch - 1})
        self._save()

    def _running(self) -> dict[str, float]:
        """Mean losses of the epoch so far."""
        return {name: value / max(self.state.counts[name], 1) for name, value in self.state.sums.items()}

    def _rate(self, step: int, per_epoch: int) -> float:
        """Share of the peak learning rate: linear warm-up, then cosine down to `final_rate`."""
        warm = min(1.0, (step + 1) / max(1.0, self.config.warmup * per_epoch))
        done = step / max(1, per_epoch * self.epochs)
        return warm * (self.config.final_rate + (1 - self.config.final_rate) * 0.5 * (1 + math.cos(math.pi * done)))

    def _save(self) -> None:
        tensors = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        names = {id(p): name for name, p in self.module.named_parameters()}
        for parameter, moments in self.optimizer.state.items():
            for key, value in moments.items():
                tensors[f"optimizer.{key}.{names[id(parameter)]}"] = value
        tensors["generator"] = torch.get_rng_state()
        save_weights(self.state_file, tensors, self.state.__dict__)

    def _resume(self) -> None:
        tensors, values = load_weights(self.state_file)
        self.state = LoopState(**values)
        self.module.load_state_dict({n.removeprefix("module."): t for n, t in tensors.items() if n.startswith("module.")})
        for name, parameter in self.module.named_parameters():
            keys = ("step", "exp_avg", "exp_avg_sq", *ROW_STATE)
            moments = {key: tensors[f"optimizer.{key}.{name}"] for key in keys if f"optimizer.{key}.{name}" in tensors}
            if moments:
                self.optimizer.state[parameter] = moments
        torch.set_rng_state(tensors["generator"])


def _optimizer(module: nn.Module, config: LoopConfig) -> AdamWithRows:
    """AdamW, row by row for tables with sparse gradients; biases, norms, gates and other vectors are not decayed."""
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    kept = [p for name, p in trained if p.dim() < 2 or ".biases." in name or name.endswith("recency")]
    kept_ids = {id(p) for p in kept}
    decayed = [p for _, p in trained if id(p) not in kept_ids]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return AdamWithRows(groups, lr=config.learning_rate, betas=(0.9, 0.98))
