"""Judging peers of torch-rechub (and STAR, PEPNet on its layers): train on the exposures of an exchange folder, predict its validation and test rows.

    python run_rechub.py EXCHANGE WORK SETTINGS.json

Every peer sees the same columns. A short search on validation comes first, one setting at a time from what the package's examples use; each
trial stops early by the mean validation AUC over the measured cells, looked at twice an epoch. A killed run goes on with the next trial. One
loop serves all models; it slices tensors instead of going through the package's loader row by row. `shipped` is the speed of the package's own
loader and trainer.
"""

from __future__ import annotations

import copy
import json
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from progress import write_whole
from scenario_models import STAR, PEPNet
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch_rechub.basic.features import SequenceFeature, SparseFeature
from torch_rechub.models.multi_task import ESMM, MMOE, PLE, SharedBottom
from torch_rechub.models.ranking import DIN, DeepFM
from torch_rechub.trainers import MTLTrainer
from torch_rechub.utils.data import DataGenerator

TRAIN, VALIDATION, TEST = 0, 1, 2
PREDICT_BATCH = 8192
CHECKS = 2  # validations an epoch: with user and item embeddings the best moment often comes within the first or second epoch
MULTI_TASK = {"MMOE", "PLE", "SharedBottom", "PEPNet"}


@dataclass
class Data:
    """An exchange folder as tensors. Labels of test rows are NaN: they are not there."""

    about: dict[str, Any]
    columns: dict[str, Tensor]  # X (categories) or X n (lists)
    parts: np.ndarray
    labels: Tensor  # X T

    @classmethod
    def read(cls, folder: Path) -> Data:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        with np.load(folder / "rows.npz", allow_pickle=False) as arrays:
            columns = {name: torch.from_numpy(arrays[name]) for name in arrays.files if name not in ("parts", "labels")}
            return cls(about, columns, arrays["parts"], torch.from_numpy(arrays["labels"]))

    def rows(self, part: int) -> Tensor:
        return torch.from_numpy(np.flatnonzero(self.parts == part))

    def batch(self, names: list[str], index: Tensor) -> dict[str, Tensor]:
        return {name: self.columns[name][index] for name in names}

    def cell_rows(self, cell: dict[str, Any], part: int) -> np.ndarray:
        inside = self.parts == part
        if cell["scenario"] is not None:
            inside = inside & (self.columns["scenario"].numpy() == cell["scenario_code"])
        return np.flatnonzero(inside)


class Columns:
    """The feature objects of one trial. torch-rechub keeps the embedding in the object, so each trial makes its own."""

    def __init__(self, data: Data, settings: dict[str, Any]) -> None:
        dim, sizes = settings["dim"], data.about["sizes"]
        counted = data.about["counts"] if settings["counts"] else []
        self.plain = {name: SparseFeature(name, sizes[name], embed_dim=dim) for name in [*data.about["categories"], *counted]}
        self.lists = {
            name: SequenceFeature(name, sizes[name], embed_dim=dim, pooling="mean", padding_idx=0) for name in data.about["lists"]
        }
        self.past = {
            name: SequenceFeature(name, sizes[name], embed_dim=dim, pooling="mean", shared_with=name.removeprefix("past "), padding_idx=0)
            for name in (data.about["past"] if settings["history"] else [])
        }
        self.names = [*self.plain, *self.lists, *self.past]

    def all(self) -> list[Any]:
        return [*self.plain.values(), *self.lists.values(), *self.past.values()]


def build(kind: str, data: Data, settings: dict[str, Any], tasks: int) -> tuple[nn.Module, list[str]]:
    """A fresh model and the columns it reads."""
    columns, dropout = Columns(data, settings), settings["dropout"]
    features, types = columns.all(), ["classification"] * tasks
    tower = [{"dims": [64], "dropout": dropout} for _ in range(tasks)]
    if kind == "SharedBottom":
        model = SharedBottom(features, types, {"dims": [256, 128], "dropout": dropout}, tower)
    elif kind == "MMOE":
        model = MMOE(features, types, 4, {"dims": [128, 64], "dropout": dropout}, tower)
    elif kind == "PLE":
        model = PLE(features, types, 2, 1, 2, {"dims": [64], "dropout": dropout}, tower)
    elif kind == "ESMM":
        params = {"dims": [128, 64], "dropout": dropout}
        model = ESMM(features[:1], features[1:], dict(params), dict(params))
    elif kind == "DeepFM":
        model = DeepFM(features, features, {"dims": [128, 64], "dropout": dropout})
    elif kind == "DIN":
        past = [
            SequenceFeature(f.name, f.vocab_size, embed_dim=f.embed_dim, pooling="concat", shared_with=f.shared_with, padding_idx=0)
            for f in columns.past.values()
        ]
        targets = [columns.plain[f.shared_with] for f in past]
        rest = [f for f in [*columns.plain.values(), *columns.lists.values()] if f not in targets]
        model = DIN(rest, past, targets, {"dims": [128, 64], "dropout": dropout}, {"dims": [36], "activation": "dice"})
    elif kind == "STAR":
        model = STAR(features, "scenario", data.about["sizes"]["scenario"], [128, 64], dropout)
    else:
        ids = [columns.plain[name] for name in ("user", "item")]
        model = PEPNet(
            features, [columns.plain[name] for name in ("scenario",) if name in columns.plain] or ids[:1], ids, tasks, [128, 64], dropout
        )
    return model, columns.names


class Trainer:
    """One model on some tasks: epochs until validation does not improve, the best weights kept."""

    def __init__(self, kind: str, data: Data, tasks: list[int], settings: dict[str, Any], seed: int) -> None:
        torch.manual_seed(seed)
        self.kind, self.data, self.tasks, self.settings = kind, data, tasks, settings
        self.model, self.names = build(kind, data, settings, len(tasks))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=settings["lr"], weight_decay=settings["weight_decay"])
        self.generator = torch.Generator().manual_seed(seed)
        self.cells = [cell for cell in data.about["cells"] if cell["task"] in tasks]

    def targets(self, index: Tensor) -> Tensor:
        """B T; for ESMM click and click-and-the-other, as columns 1 and 2 of its answer."""
        labels = self.data.labels[index][:, self.tasks]
        if self.kind == "ESMM":
            return torch.stack([labels[:, 0], labels[:, 0] * labels[:, 1]], dim=1)
        return labels

    def answers(self, index: Tensor) -> Tensor:
        found = self.model(self.data.batch(self.names, index))
        found = found[:, None] if found.dim() == 1 else found
        return found[:, 1:] if self.kind == "ESMM" else found

    def learn(self, rows: Tensor) -> tuple[float, float]:
        """One pass over `rows`; CPU and wall seconds."""
        self.model.train()
        begun, cpu = time.perf_counter(), time.process_time()
        for index in rows.split(self.settings["batch"]):
            if len(index) < 2:  # batch normalisation
                continue
            answers = self.answers(index).clamp(1e-7, 1 - 1e-7)
            loss = nn.functional.binary_cross_entropy(answers, self.targets(index))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return time.process_time() - cpu, time.perf_counter() - begun

    @torch.no_grad()
    def predict(self, index: Tensor) -> np.ndarray:
        """float32 (N, T)."""
        self.model.eval()
        return torch.cat([self.answers(some) for some in index.split(PREDICT_BATCH)]).numpy()

    def validation(self) -> float:
        """Mean AUC over the measured cells of the tasks."""
        found = []
        values = np.full((len(self.data.parts), len(self.tasks)), np.nan, dtype=np.float32)
        values[self.data.rows(VALIDATION)] = self.predict(self.data.rows(VALIDATION))
        for cell in self.cells:
            index = self.data.cell_rows(cell, VALIDATION)
            truth = self.data.labels[index, cell["task"]].numpy()
            if 0 < truth.sum() < len(truth):
                found.append(roc_auc_score(truth, values[index, self.tasks.index(cell["task"])]))
        return float(np.mean(found))

    def fit(self, most: int, patience: int) -> dict[str, Any]:
        """Train for `most` epochs, or until `patience` validations brought nothing; the model has its best weights afterwards."""
        best, weights, curve, cpu, wall, examples = -1.0, None, [], 0.0, 0.0, 0
        train = self.data.rows(TRAIN)
        for _ in range(most):
            shuffled = train[torch.randperm(len(train), generator=self.generator)]
            for rows in shuffled.chunk(CHECKS):
                spent, passed = self.learn(rows)
                cpu, wall, examples = cpu + spent, wall + passed, examples + len(rows)
                curve.append(self.validation())
                if curve[-1] > best:
                    best, weights = curve[-1], copy.deepcopy(self.model.state_dict())
                if len(curve) - 1 - int(np.argmax(curve)) >= patience:
                    break
            else:
                continue
            break
        self.model.load_state_dict(weights)
        rounded = [round(value, 5) for value in curve]
        return {"validation": best, "curve": rounded, "cpu_seconds": cpu, "wall_seconds": wall, "examples": examples}


def groups(kind: str, data: Data) -> list[list[int]]:
    """Which tasks share a network: all; ESMM: the first with each other; else each its own."""
    tasks = sorted({cell["task"] for cell in data.about["cells"]})
    if kind in MULTI_TASK:
        return [tasks]
    if kind == "ESMM":
        return [[tasks[0], other] for other in tasks[1:]]
    return [[task] for task in tasks]


def main() -> None:
    exchange, work = Path(sys.argv[1]), Path(sys.argv[2])
    settings = json.loads(Path(sys.argv[3]).read_text(encoding="utf-8"))
    torch.set_num_threads(settings["threads"])
    data, kind = Data.read(exchange), settings["model"]
    path = work / "progress.json"
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"trials": []}

    def save() -> None:
        kept["peak_mb"] = max(kept.get("peak_mb", 0.0), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        write_whole(path, lambda temporary: temporary.write_text(json.dumps(kept, indent=1), encoding="utf-8"))

    every, asked = groups(kind, data), torch.from_numpy(np.flatnonzero(data.parts != TRAIN))
    search = settings["search"]
    for number in range(len(kept["trials"]), 1 + len(search)):  # on the first network: all tasks, or the first
        chosen = best_trial(kept["trials"])["settings"] | search[number - 1] if number else settings["start"]
        trainer = Trainer(kind, data, every[0], chosen, settings["seed"])
        trial = {"settings": chosen, **trainer.fit(settings["max_epochs"], settings["patience"])}
        if not kept["trials"] or trial["validation"] > best_trial(kept["trials"])["validation"]:
            found = trainer.predict(asked)
            write_whole(work / "best.npy", lambda temporary, found=found: save_array(temporary, found))
        kept["trials"].append(trial)
        print(json.dumps(trial), flush=True)
        save()
    best = best_trial(kept["trials"])
    chosen = best["settings"]
    values = np.full((len(asked), data.labels.shape[1]), np.nan, dtype=np.float32)
    values[:, every[0]] = np.load(work / "best.npy", allow_pickle=False)
    runs = [{"tasks": every[0], **best}]
    for tasks in every[1:]:
        trainer = Trainer(kind, data, tasks, chosen, settings["seed"])
        runs.append({"tasks": tasks, **trainer.fit(settings["max_epochs"], settings["patience"])})
        print(json.dumps(runs[-1]), flush=True)
        new = slice(1, None) if kind == "ESMM" else slice(None)  # the first task as its first network says
        values[:, tasks[new]] = trainer.predict(asked)[:, new]
    examples = sum(run["examples"] for run in runs)
    cpu = sum(run["cpu_seconds"] for run in runs)
    kept |= {"settings": chosen, "runs": runs, "cpu_seconds": cpu, "examples_per_cpu_second": examples / cpu, "networks": len(every)}
    kept["search_cpu_seconds"] = sum(trial["cpu_seconds"] for trial in kept["trials"])
    if kind in MULTI_TASK - {"PEPNet"}:
        kept["shipped_examples_per_cpu_second"] = shipped_speed(kind, data, every[0], chosen, settings["shipped_rows"])
    save()
    write_whole(work / "predictions.npy", lambda temporary: save_array(temporary, values))


def best_trial(trials: list[dict[str, Any]]) -> dict[str, Any]:
    return max(trials, key=lambda trial: trial["validation"])


def shipped_speed(kind: str, data: Data, tasks: list[int], settings: dict[str, Any], count: int) -> float:
    """Training rows a CPU second of the package's own loader and trainer, over the first `count` rows."""
    model, names = build(kind, data, settings, len(tasks))
    rows = data.rows(TRAIN)[:count]
    columns = {name: data.columns[name][rows].numpy() for name in names}
    loader, _, _ = DataGenerator(columns, data.labels[rows][:, tasks].numpy()).generate_dataloader(
        x_val=columns,
        y_val=data.labels[rows][:, tasks].numpy(),
        x_test=columns,
        y_test=data.labels[rows][:, tasks].numpy(),
        batch_size=settings["batch"],
    )
    trainer = MTLTrainer(model, task_types=["classification"] * len(tasks), optimizer_params={"lr": settings["lr"]}, n_epoch=1)
    begun = time.process_time()
    trainer.train_one_epoch(loader)
    return len(rows) / (time.process_time() - begun)


def save_array(path: Path, values: np.ndarray) -> None:
    with open(path, "wb") as handle:
        np.save(handle, values)


if __name__ == "__main__":
    main()
