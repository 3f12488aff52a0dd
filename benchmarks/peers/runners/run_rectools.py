"""Train one RecTools transformer on an exchange folder and score its test cases. Runs in the environment of requirements/rectools.txt.

    python run_rectools.py EXCHANGE WORK SETTINGS

EXCHANGE holds what the peer may know, WORK keeps checkpoints and results, SETTINGS is a JSON file (see `Settings`). One epoch at a time
through RecTools' own `fit_partial`, validation after each; a killed run goes on after its last whole epoch. Item and user ids are dense integers.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from progress import Exchange, Progress, milliseconds, whole_catalogue, write_scores, write_whole
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, HSTUModel, SASRecModel
from rectools.models.nn.item_net import IdEmbeddingsItemNet
from rectools.models.nn.transformers.lightning import TransformerLightningModule
from rectools.models.nn.transformers.ligr import LiGRLayers
from rectools_targets import RealTargetsModule

from m6rec.base.contracts import Histories

MODELS = {"sasrec": SASRecModel, "bert4rec": BERT4RecModel, "hstu": HSTUModel}
START = pd.Timestamp("2000-01-01")  # only the order is known: events get one second each


@dataclass(frozen=True)
class Settings:
    """One model as RecTools takes it, and how long it may train. Learning rate, blocks, heads and so on are RecTools' own words."""

    model: str
    parameters: dict[str, Any]
    ligr: bool
    seed: int
    threads: int
    max_epochs: int
    patience: int
    shipped_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exchange", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("settings", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="pytorch_lightning|torch|rectools|pydantic")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    settings = Settings(**json.loads(arguments.settings.read_text(encoding="utf-8")))
    torch.set_num_threads(settings.threads)
    exchange = Exchange.read(arguments.exchange)
    arguments.work.mkdir(parents=True, exist_ok=True)
    progress = Progress(arguments.work, exchange, max_epochs=settings.max_epochs, patience=settings.patience)
    dataset = events_of(exchange.train)
    targets = targets_per_epoch(exchange.train, settings)
    if "shipped" not in progress.facts:
        seed_everything(settings.seed, verbose=False)
        progress.save(rectools=version("rectools"), torch=torch.__version__, targets=targets, shipped=shipped_speed(dataset, settings))
    model = train(dataset, settings, progress, arguments.work, targets)
    scores = Answers(model, exchange.items)
    if "latency" not in progress.facts:
        progress.save(latency=latency(model, scores, exchange))
    write_scores(arguments.work / "scores.npy", exchange, scores)  # last: this file says that all is done


def new_model(settings: Settings, module: type[TransformerLightningModule] = RealTargetsModule) -> Any:
    """A RecTools model with ids as its only features."""
    parameters = dict(settings.parameters)
    if settings.ligr:
        parameters["transformer_layers_type"] = LiGRLayers
    if settings.model == "hstu":
        parameters["relative_time_attention"] = False  # times are unknown for most events of the data
    return MODELS[settings.model](
        item_net_block_types=[IdEmbeddingsItemNet],
        lightning_module_type=module,
        epochs=settings.max_epochs + 1,
        deterministic=False,
        recommend_torch_device="cpu",
        **parameters,
    )


def events_of(histories: Histories) -> Dataset:
    """RecTools' dataset: one row per event, times that say the order."""
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    places = np.arange(len(histories.items)) - np.repeat(histories.offsets[:-1], histories.lengths)
    frame = pd.DataFrame(
        {
            Columns.User: users,
            Columns.Item: histories.items,
            Columns.Weight: 1.0,
            Columns.Datetime: START + pd.to_timedelta(places, unit="s"),
        }
    )
    return Dataset.construct(frame)


def targets_per_epoch(histories: Histories, settings: Settings) -> float:
    """Events predicted in one epoch: all but the first of the last `session_max_len` + 1 of a user; for BERT4Rec the masked share."""
    length = settings.parameters["session_max_len"]
    lengths = histories.lengths[histories.lengths >= 2]
    if settings.model == "bert4rec":
        return float(settings.parameters.get("mask_prob", 0.15) * np.minimum(lengths, length).sum())
    return float((np.minimum(lengths, length + 1) - 1).sum())


class Clock(Callback):
    """Wall and CPU seconds between the first and the last batch of an epoch, and the targets in between; ends the epoch after `limit` CPU seconds."""

    def __init__(self, limit: float = float("inf")) -> None:
        self.limit, self.seconds, self.cpu_seconds, self.targets = limit, 0.0, 0.0, 0

    def on_train_epoch_start(self, trainer: Trainer, module: Any) -> None:
        self.begun, self.cpu_begun, self.targets = time.perf_counter(), time.process_time(), 0

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        self.targets += int((batch["y"] != 0).sum())
        self.seconds, self.cpu_seconds = time.perf_counter() - self.begun, time.process_time() - self.cpu_begun
        if self.cpu_seconds > self.limit:
            trainer.should_stop = True


def shipped_speed(dataset: Dataset, settings: Settings) -> dict[str, float]:
    """Training speed of RecTools exactly as shipped, over `shipped_seconds` CPU seconds of one epoch; and that our step has the same loss."""
    module = new_model(settings)
    module._build_model_from_dataset(dataset)
    module.lightning_model.train(False)
    batch = next(iter(module.data_preparator.get_dataloader_train()))
    with torch.no_grad():
        real, shipped = float(module.lightning_model.real_loss(batch)), float(module.lightning_model.shipped_loss(batch))
    if abs(real - shipped) > 1e-4 * max(1.0, abs(shipped)):
        sys.exit(f"the loss without padding is {real}, as shipped {shipped}: they must agree; this RecTools has another loss")
    clock = timed_epoch(new_model(settings, TransformerLightningModule), dataset, Clock(settings.shipped_seconds))
    return {"targets_per_second": clock.targets / clock.seconds, "targets_per_cpu_second": clock.targets / clock.cpu_seconds}


def timed_epoch(model: Any, dataset: Dataset, clock: Clock) -> Clock:
    """One more epoch of training, timed. RecTools copies a model's trainer when it first fits, callbacks and all."""
    trainer = model.fit_trainer or model._trainer
    trainer.callbacks = [kept for kept in trainer.callbacks if not isinstance(kept, Clock)] + [clock]
    model.fit_partial(dataset, min_epochs=0, max_epochs=1)
    return next(kept for kept in model.fit_trainer.callbacks if isinstance(kept, Clock))


def train(dataset: Dataset, settings: Settings, progress: Progress, work: Path, targets: float) -> Any:
    """Epoch by epoch to the end of patience; the model with the weights of the best epoch."""
    last, best = work / "last.ckpt", work / "best.pt"
    begun = time.perf_counter()
    done = len(progress.epochs)
    if done:
        model = type(new_model(settings)).load_from_checkpoint(last)
        model.data_preparator.process_dataset_train(dataset)
    else:
        model = new_model(settings)
    while not progress.finished:
        seed_everything(settings.seed + len(progress.epochs), verbose=False)  # the same draws whether resumed or not
        clock = timed_epoch(model, dataset, Clock())
        measured = {"seconds": clock.seconds, "cpu_seconds": clock.cpu_seconds, "targets_per_second": targets / clock.seconds}
        if progress.add(measured, Answers(model, progress.exchange.items)):
            write_whole(best, lambda path: torch.save(model.torch_model.state_dict(), path))
        write_whole(last, model.fit_trainer.save_checkpoint)
        progress.save(wall_seconds=progress.facts.get("wall_seconds", 0.0) + time.perf_counter() - begun)
        begun = time.perf_counter()
    model.torch_model.load_state_dict(torch.load(best, weights_only=True))
    return model


class Answers:
    """float32 (B, N) for histories of dense ids, from RecTools' own batches and network."""

    def __init__(self, model: Any, items: int) -> None:
        self.preparator, self.network, self.items = model.data_preparator, model.torch_model, items
        known = np.asarray(self.preparator.get_known_item_ids(), dtype=np.int64)
        self.columns = known
        self.inner = np.zeros(items, dtype=np.int64)  # 0 is padding: items RecTools never saw
        self.inner[known] = self.preparator.get_known_items_sorted_internal_ids()
        self.vectors: torch.Tensor | None = None

    @torch.no_grad()
    def __call__(self, histories: Histories) -> np.ndarray:
        self.network.eval()
        if self.vectors is None:
            self.vectors = self.network.item_model.get_all_embeddings()
        sessions = []
        for row in range(len(histories)):
            session = self.inner[histories.row(row)]
            sessions.append((session[session > 0].tolist() or [0], [], {}))
        batch = self.preparator._collate_fn_recommend(sessions)
        states = self.network.encode_sessions(batch, self.vectors)[:, -1:, :]  # B 1 D
        scores = self.network.similarity_module(states, self.vectors)[:, 0, self.preparator.n_item_extra_tokens :]  # B K
        return whole_catalogue(self.columns, scores.numpy().astype(np.float32), self.items)


def latency(model: Any, scores: Answers, exchange: Exchange) -> dict[str, dict[str, float]]:
    """Ten items for one warm user: through `recommend` (a dataset of this one user, made outside the clock), and the bare network."""
    rows = np.random.default_rng(0).choice(len(exchange.test), 100, replace=False)
    rows = [row for row in rows if (scores.inner[exchange.test.row(row)] > 0).any()]
    alone = [exchange.test.rows(np.array([row])) for row in rows]
    datasets = [events_of(history) for history in alone]

    def through_api(number: int) -> Any:
        return model.recommend(users=[0], dataset=datasets[number], k=10, filter_viewed=True)

    def bare(number: int) -> np.ndarray:
        found = scores(alone[number])[0]
        found[alone[number].items] = -np.inf
        return found[np.argpartition(-found, 10)[:10]]

    for number in range(5):  # the scores that are ranked have to be those that RecTools recommends by
        found, best = scores(alone[number])[0], bare(number)
        listed = through_api(number)[Columns.Item].to_numpy()
        if found[listed].min() < best.min() - 1e-4:
            sys.exit(
                f"case {rows[number]}: RecTools recommends items {listed.tolist()}, which are not the ten best by the scores written here"
            )
    return {"api": milliseconds(through_api, len(rows)), "bare": milliseconds(bare, len(rows))}


if __name__ == "__main__":
    main()
