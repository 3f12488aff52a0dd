"""The one training loop. It knows tasks by `task.loss(model, batch)` and nothing else of them.

Resuming is exact: batches of an epoch depend on (seed, epoch) and what the epochs before led to, and weights, optimizer moments, the state
of torch's generator, of the balancer and the place in the epoch are written together, atomically. Killed at any moment, the run goes on to
the same bits at the same number of threads.

On a GPU weights and optimizer live there; between epochs the weights come to the CPU to be validated. What is written knows no device: a run
that was cut off on one goes on on the other.

Inside a torch.distributed group every process trains on batches of its own with the same gradients; the first one validates and writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.base.errors import DataError, Interrupted
from m6rec.language_model.checkpoint import load_weights, save_weights
from m6rec.language_model.devices import CPU, on_device, random_state, restore_random_state
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.precision import Setting, autocast
from m6rec.tasks.task import Batch, Task
from m6rec.training.adversarial import Adversary
from m6rec.training.averaging import WeightAverage
from m6rec.training.balance.balancer import make_balancer, weighted
from m6rec.training.cells import Cells
from m6rec.training.config import LoopConfig
from m6rec.training.drawing import Drawing
from m6rec.training.interruption import held_interrupt
from m6rec.training.loop_state import CellTaken, LoopState, Taken
from m6rec.training.processes import Processes
from m6rec.training.progress import Progress
from m6rec.training.row_optimizer import ROW_STATE, AdamWithRows, clip_gradients
from m6rec.training.steps import Mixing, Step
from m6rec.training.stopping import Stopping
from m6rec.training.training_log import TrainingLog

__all__ = ["Loop", "LoopState", "TrainingLog"]


class Loop:
    """Trains `tasks` on `model` jointly, validates, keeps the best weights. Parameters that are frozen stay as they are.

    Args:
        weights: weight of the losses, by name of a module of `tasks`, of a task or of a cell (see `cells.py`).
        epochs: passes over the data; None: those of `config`.
        validate: called with nothing between epochs, returns metrics, higher is better. None: the last weights are kept.
        metric: what early stopping looks at among those metrics; a mapping names one for each of several tasks (module, task or cell), of
            which those of weight 0 are left out.
        folder: state.safetensors (to resume from), best.safetensors (the result) and log.jsonl are written here.
        device: where it trains; before and after `run`, and inside `validate`, everything is on the CPU.

    Raises:
        ConfigError: no such balancer.  MissingExtraError: what the balancer is built on is not installed.
    """

    def __init__(
        self,
        model: LanguageModel,
        tasks: dict[str, Task],
        config: LoopConfig,
        *,
        weights: Mapping[str, float],
        seed: int,
        folder: Path,
        precision: Setting = "off",
        epochs: int | None = None,
        validate: Callable[[], dict[str, float]] | None = None,
        metric: str | Mapping[str, str] = "",
        progress: Progress | None = None,
        device: torch.device = CPU,
    ) -> None:
        self.model, self.tasks, self.config, self.cells = model, tasks, config, Cells(weights)
        self.seed, self.folder, self.precision, self.device = seed, folder, precision, device
        self.epochs = epochs or config.passes()
        self.validate = validate
        watched = {"": metric} if isinstance(metric, str) else {name: one for name, one in metric.items() if self.cells.weight(name) > 0}
        self.stopping = Stopping(watched, config.stopping, config.patience)
        self.processes = Processes()
        self.progress = progress if progress is not None and self.processes.first else Progress(visible=False)
        self.module = nn.ModuleDict({"model": model, **{f"task_{name}": task for name, task in tasks.items()}})
        self.parameters = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        self.optimizer = _optimizer(self.module, config)
        self.balancer = make_balancer(config.balancing, self.parameters, self.processes)
        joint = self.balancer.joint if config.balancing.joint is None else config.balancing.joint
        self.mixing = Mixing(config.accumulate, joint, self.processes.rank, self.processes.count)
        self.adversary = Adversary(self.module, config.adversarial) if config.adversarial else None
        self.average = WeightAverage(self.module, config.average, config.average_decay, config.average_last)
        self.state = LoopState()
        self.drawing = Drawing(config.balancing.sampling, self.cells, self.balancer, tasks)
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
        self.module.to(self.device)
        self.processes.gather(None)  # the first may still be writing what the others are about to read
        if self.state_file.exists():
            self._resume()
        else:
            torch.manual_seed(self.seed + self.processes.rank)
            self.state.plan = self.drawing.plan(self.state)
        self.processes.share_weights(self.module)
        per_epoch = self.state.per_epoch = self.state.per_epoch or sum(1 for _ in self._epoch(0))
        try:
            with self.progress.task(total=per_epoch * self.epochs, done=self.state.steps):
                while self.state.epoch < self.epochs and not self.state.done:
                    self._train_epoch(per_epoch)
                    self._finish_epoch()
        except KeyboardInterrupt:
            if self.processes.count == 1:  # else the others may stand at another step: the newest checkpoint is what all agree on
                with held_interrupt():
                    self._save()
            raise Interrupted(
                f"stopped at epoch {self.state.epoch + 1}, step {self.state.step}; the state is saved: run the same command to go on"
            ) from None
        finally:
            self.log.close()
            self.module.to(CPU)
        if self.processes.first and self.best_file.exists():
            tensors, _ = load_weights(self.best_file)
            self.module.load_state_dict(tensors)
        self.processes.share_weights(self.module)
        self.module.eval()
        return self.state

    def _epoch(self, epoch: int) -> Iterator[Step]:
        """The steps of an epoch, of the tasks that are still trained."""
        plan = self.state.plan
        generator = np.random.default_rng([self.seed, epoch])
        for task in self.tasks.values():
            task.begin(epoch)
        yield from self.mixing.steps(self.drawing.trained(plan), generator, lambda natural: self.drawing.often(plan, natural))

    def _train_epoch(self, per_epoch: int) -> None:
        self.module.train()
        state, begun, saved = self.state, time.monotonic(), time.monotonic()
        for number, step in enumerate(self._epoch(state.epoch)):
            if number < state.step:
                continue
            with held_interrupt():
                for group in self.optimizer.param_groups:
                    group["lr"] = self.config.learning_rate * self._rate(state.steps, per_epoch)
                taken, means = self._step(number, step)
                now = time.monotonic()
                state.add(taken, means, now - begun)
                state.step, state.steps, begun = number + 1, state.steps + 1, now
            self.progress.advance(self._running(), state.targets / max(state.seconds, 1e-9))
            if self.processes.gather(now - saved >= self.config.checkpoint_seconds)[0]:
                self._save()
                saved = time.monotonic()

    def _step(self, number: int, step: Step) -> tuple[Taken, dict[str, float]]:
        """Step `number` of the epoch: what it gave, and the mean loss of each cell that was trained on."""
        self.optimizer.zero_grad(set_to_none=True)
        taken, bad = Taken(), ""
        for group in step:
            losses, weights = self._forward(group, taken)
            bad = next((cell for cell, loss in losses.items() if not torch.isfinite(weights[cell] * loss)), "")
            if bad:
                break
            if losses:
                self._backward(group, losses, weights, 1 / len(step))
        means = self.processes.mean({name: sum(c.losses) / len(c.losses) for name, c in taken.cells.items() if c.losses})
        bad = next((found for found in self.processes.gather(bad) if found), "")
        if bad:
            raise DataError(
                f"the loss of task '{bad}' became {means[bad]} at step {self.state.steps + 1}; "
                f"lower {self.config.section}.learning_rate (now {self.config.learning_rate:g}) or look for extreme values in number and vector fields"
            )
        if means:
            self.balancer.finish(means)
            clip_gradients(self.parameters, self.config.clip)
            self.optimizer.step()
            self.average.after_step(self.state.steps + 1)
        return taken, means

    def _forward(self, group: dict[str, Batch], taken: Taken | None) -> tuple[dict[str, Tensor], dict[str, float]]:
        """(loss of each cell that is trained, weight of each); counted in `taken`."""
        losses: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        for name, batch in group.items():
            begun = time.monotonic()
            with autocast(self.precision, self.device):
                found = self.tasks[name].loss(self.model, batch)
            sums = self.cells.sums(name, found)
            if taken is not None:
                self._count(name, batch, found, sums, time.monotonic() - begun, taken)
            for cell, loss in sums.items():
                weight = self.drawing.weight(self.state, cell, name)
                if weight > 0 and loss.requires_grad:
                    losses[cell], weights[cell] = loss, weight
        return losses, weights

    def _count(self, name: str, batch: Batch, losses: dict[str, Tensor], sums: dict[str, Tensor], seconds: float, taken: Taken) -> None:
        targets, own = self.tasks[name].targets(batch), self.tasks[name].loss_targets(batch)
        taken.targets[name] = taken.targets.get(name, 0) + targets
        for loss_name, value in losses.items():
            count = own.get(loss_name, targets)
            row = taken.losses.setdefault(f"{name}.{loss_name}", [0.0, 0])
            row[0], row[1] = row[0] + float(value.detach()) * count, row[1] + count
        examples = {
            cell: max((own.get(loss, targets) for loss in losses if self.cells.cell(name, loss) == cell), default=0) for cell in sums
        }
        for cell, loss in sums.items():
            counted = taken.cells.setdefault(cell, CellTaken(name))
            counted.examples += examples[cell]
            counted.seconds += seconds * (examples[cell] / max(sum(examples.values()), 1))
            if self.drawing.weight(self.state, cell, name) > 0:
                counted.losses.append(float(loss.detach()))

    def _backward(self, group: dict[str, Batch], losses: dict[str, Tensor], weights: dict[str, float], scale: float) -> None:
        if self.adversary is None:
            self.balancer.backward(losses, weights, scale)
            return
        total = weighted([self.balancer.factor(cell) * weights[cell] for cell in losses], list(losses.values()))
        gradients = self.adversary.gradients(total)
        self.balancer.backward(losses, weights, scale)
        with self.adversary.moved(gradients):
            again, weights = self._forward(group, None)
            self.balancer.backward(again, weights, scale)

    def _running(self) -> dict[str, float]:
        """Mean losses of the epoch so far, in the order of the tasks: that in which batches are drawn is another in each epoch."""
        modules, found = list(self.tasks), self.state.running()

        def place(name: str) -> tuple[int, int, str]:
            module, _, loss = name.partition(".")
            return modules.index(module), self.cells.place(loss), loss

        return {name: found[name] for name in sorted(found, key=place)}

    def _finish_epoch(self) -> None:
        state = self.state
        losses = self._running()
        last = state.epoch + 1 == self.epochs
        metrics: dict[str, float] = {}
        self.average.after_epoch()
        if self.validate is not None and ((state.epoch + 1) % self.config.validate_every == 0 or last):
            self.module.eval()
            if self.processes.first:
                with torch.no_grad(), self.average.applied(), on_device(self.module, CPU):
                    metrics = self.validate()
            metrics = self.processes.gather(metrics)[0]
        with held_interrupt():
            self._close_epoch(losses, metrics, last)
        self.progress.note(state.epoch, losses, metrics)

    def _close_epoch(self, losses: dict[str, float], metrics: dict[str, float], last: bool) -> None:
        """Note the epoch: best weights, early stopping, log, the state to resume from."""
        state = self.state
        self.balancer.end_epoch(state.cell_means())
        if metrics:
            value, better = self.stopping.note(state.validations, state.epoch, metrics)
            if better:
                state.best, state.best_epoch, state.since_best = value, state.epoch, 0
                self._keep()
            else:
                state.since_best += 1
            state.done = self.stopping.done(state.validations, state.since_best)
        self._write_log(losses, metrics)
        if self.validate is None and last:
            self._keep()
        state.next_epoch()
        state.plan = self.drawing.plan(state)
        self._save()

    def _keep(self) -> None:
        """Write the weights of this epoch, or their average, as the result so far."""
        if self.processes.first:
            with self.average.applied():
                save_weights(self.best_file, self.module.state_dict(), {"epoch": self.state.epoch})

    def _write_log(self, losses: dict[str, float], metrics: dict[str, float]) -> None:
        state = self.state
        if not self.processes.first:
            return
        row = {
            "epoch": state.epoch + 1,
            "step": state.steps,
            "seconds": round(state.seconds, 3),
            "targets_per_second": state.targets / max(state.seconds, 1e-9),
            **losses,
            **metrics,
        }
        if len(state.modules) > 1:
            for cell, module in state.modules.items():
                row[f"weight of {cell}"] = self.drawing.weight(state, cell, module) * self.balancer.factor(cell)
            for name, (examples, seconds) in state.shares().items():
                row[f"examples of {name}"], row[f"seconds of {name}"] = examples, round(seconds, 3)
        self.log.write(row)

    def _rate(self, step: int, per_epoch: int) -> float:
        """Share of the peak learning rate: linear warm-up, then cosine down to `final_rate`."""
        warm = min(1.0, (step + 1) / max(1.0, self.config.warmup * per_epoch))
        done = min(1.0, step / max(1, per_epoch * self.epochs))
        return warm * (self.config.final_rate + (1 - self.config.final_rate) * 0.5 * (1 + math.cos(math.pi * done)))

    def _save(self) -> None:
        generators = self.processes.gather(torch.get_rng_state().tolist()) if self.processes.count > 1 else [[]]
        if not self.processes.first:
            return
        self.state.balance = self.balancer.state()
        tensors = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        names = {id(p): name for name, p in self.module.named_parameters()}
        for parameter, moments in self.optimizer.state.items():
            for key, value in moments.items():
                tensors[f"optimizer.{key}.{names[id(parameter)]}"] = value
        tensors |= {f"average.{name}": value for name, value in self.average.state().items()}
        tensors["generator"] = torch.get_rng_state()
        if (drawn := random_state(self.device)) is not None:
            tensors["device_generator"] = drawn
        tensors |= {f"generator.{rank}": torch.tensor(own, dtype=torch.uint8) for rank, own in enumerate(generators) if rank}
        save_weights(self.state_file, tensors, self.state.plain())

    def _resume(self) -> None:
        tensors, values = load_weights(self.state_file)
        self.state = LoopState.of(values)
        self.module.load_state_dict({n.removeprefix("module."): t for n, t in tensors.items() if n.startswith("module.")})
        for name, parameter in self.module.named_parameters():
            keys = ("step", "exp_avg", "exp_avg_sq", *ROW_STATE)
            moments = {key: tensors[f"optimizer.{key}.{name}"] for key in keys if f"optimizer.{key}.{name}" in tensors}
            if moments:  # AdamW counts its steps on the CPU
                self.optimizer.state[parameter] = {key: t if key == "step" else t.to(parameter.device) for key, t in moments.items()}
        self.average.restore({n.removeprefix("average."): t for n, t in tensors.items() if n.startswith("average.")})
        if self.state.balance:
            self.balancer.restore(self.state.balance)
        rank = self.processes.rank
        torch.set_rng_state(tensors.get(f"generator.{rank}", tensors["generator"]))
        restore_random_state(self.device, tensors.get("device_generator"))


def _optimizer(module: nn.Module, config: LoopConfig) -> AdamWithRows:
    """AdamW, row by row for tables with sparse gradients; biases, norms, gates and other vectors are not decayed."""
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    kept = [p for name, p in trained if p.dim() < 2 or ".biases." in name or name.endswith("recency")]
    kept_ids = {id(p) for p in kept}
    decayed = [p for _, p in trained if id(p) not in kept_ids]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return AdamWithRows(groups, lr=config.learning_rate, betas=(0.9, 0.98))
