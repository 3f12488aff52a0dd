"""Train one RecBole sequence model on an exchange folder and score its test cases. Runs in the environment of requirements/recbole.txt.

    python run_recbole.py EXCHANGE WORK SETTINGS

RecBole trains on every prefix of a history as a sequence of its own: the prefixes are written to its own file format, its own trainer does each
epoch, and validation comes after each. A killed run goes on after its last whole epoch. RecBole's evaluation is not used.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from progress import Exchange, Progress, milliseconds, whole_catalogue, write_scores, write_whole
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.utils import get_model, get_trainer, init_seed

from m6rec.base.contracts import Histories


@dataclass(frozen=True)
class Settings:
    """A RecBole model by name, and what is set besides RecBole's own defaults."""

    model: str
    parameters: dict[str, Any]
    seed: int
    threads: int
    max_epochs: int
    patience: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("exchange", "work", "settings"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger().setLevel(logging.ERROR)
    settings = Settings(**json.loads(arguments.settings.read_text(encoding="utf-8")))
    torch.set_num_threads(settings.threads)
    exchange, work = Exchange.read(arguments.exchange), arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    os.chdir(work)  # RecBole leaves folders where it runs
    progress = Progress(work, exchange, max_epochs=settings.max_epochs, patience=settings.patience)
    config, dataset, train_data = prefixes(exchange.train, settings, work)
    progress.save(recbole=version("recbole"), torch=torch.__version__, targets=float(len(train_data.dataset)))
    scores = train(config, dataset, train_data, settings, progress, work)
    if "latency" not in progress.facts:
        rows = np.random.default_rng(0).choice(len(exchange.test), 100, replace=False)
        alone = [exchange.test.rows(np.array([row])) for row in rows]
        progress.save(latency={"bare": milliseconds(lambda number: np.argpartition(-scores(alone[number])[0], 10), len(alone))})
    write_scores(work / "scores.npy", exchange, scores)  # last: this file says that all is done


def prefixes(histories: Histories, settings: Settings, work: Path) -> tuple[Any, Any, Any]:
    """RecBole's configuration, dataset and training batches of every (prefix, next item). Its validation and test files repeat a few rows, unused."""
    length = settings.parameters["MAX_ITEM_LIST_LENGTH"]
    folder = work / "dataset" / "cases"
    folder.mkdir(parents=True, exist_ok=True)
    head = "user_id:token\titem_id_list:token_seq\titem_id:token"
    lines = []
    for user in range(len(histories)):
        row = histories.row(user).tolist()
        for place in range(1, len(row)):
            lines.append(f"{user}\t{' '.join(map(str, row[max(0, place - length) : place]))}\t{row[place]}")
    for name, rows in (("train", lines), ("valid", lines[:10]), ("test", lines[:10])):
        (folder / f"cases.{name}.inter").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    sys.argv = sys.argv[:1]  # RecBole would read our arguments as its own
    own = {
        "data_path": str(work / "dataset"),
        "benchmark_filename": ["train", "valid", "test"],
        "alias_of_item_id": ["item_id_list"],
        "load_col": {"inter": ["user_id", "item_id_list", "item_id"]},
        "train_neg_sample_args": None,
        "loss_type": "CE",
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "seed": settings.seed,
        "metrics": ["NDCG"],
        "valid_metric": "NDCG@10",
        "topk": [10],
        "checkpoint_dir": str(work / "saved"),
    }
    config = Config(model=settings.model, dataset="cases", config_dict={**own, **settings.parameters})
    init_seed(settings.seed, True)
    dataset = create_dataset(config)
    train_data, _, _ = data_preparation(config, dataset)
    return config, train_data.dataset, train_data


def train(config: Any, dataset: Any, train_data: Any, settings: Settings, progress: Progress, work: Path) -> Answers:
    """Epoch by epoch to the end of patience; the scorer of the best epoch."""
    last, best = work / "last.pt", work / "best.pt"
    init_seed(settings.seed, True)
    model = get_model(config["model"])(config, dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    if progress.epochs:
        kept = torch.load(last, weights_only=True)
        model.load_state_dict(kept["model"])
        trainer.optimizer.load_state_dict(kept["optimizer"])
    scores = Answers(model, dataset, progress.exchange.items, config["MAX_ITEM_LIST_LENGTH"])
    while not progress.finished:
        begun, cpu_begun = time.perf_counter(), time.process_time()
        epoch = len(progress.epochs)
        init_seed(settings.seed + 1 + epoch, True)  # the same draws whether resumed or not
        model.train()
        trainer._train_epoch(train_data, epoch, show_progress=False)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu_begun
        measured = {"seconds": seconds, "cpu_seconds": cpu, "targets_per_second": progress.facts["targets"] / seconds}
        if progress.add(measured, scores):
            write_whole(best, lambda path: torch.save(model.state_dict(), path))
        state = {"model": model.state_dict(), "optimizer": trainer.optimizer.state_dict()}
        write_whole(last, lambda path, state=state: torch.save(state, path))
        progress.save(wall_seconds=progress.facts.get("wall_seconds", 0.0) + time.perf_counter() - begun)
    model.load_state_dict(torch.load(best, weights_only=True))
    return scores


class Answers:
    """float32 (B, N) for histories of dense ids, by the model's own full_sort_predict."""

    def __init__(self, model: Any, dataset: Any, items: int, length: int) -> None:
        self.model, self.items, self.length = model, items, length
        tokens = dataset.field2id_token["item_id"][1:]  # 0 is padding
        self.known = np.asarray(tokens, dtype=np.int64)
        self.inner = np.zeros(items, dtype=np.int64)
        self.inner[self.known] = np.arange(1, len(tokens) + 1)

    @torch.no_grad()
    def __call__(self, histories: Histories) -> np.ndarray:
        self.model.eval()
        rows = np.zeros((len(histories), self.length), dtype=np.int64)
        lengths = np.ones(len(histories), dtype=np.int64)  # nothing known: one padded event
        for row in range(len(histories)):
            session = self.inner[histories.row(row)]
            session = session[session > 0][-self.length :]
            rows[row, : len(session)] = session
            lengths[row] = max(len(session), 1)
        asked = Interaction({"item_id_list": torch.from_numpy(rows), "item_length": torch.from_numpy(lengths)})
        scores = self.model.full_sort_predict(asked).view(len(histories), -1)[:, 1:]
        return whole_catalogue(self.known, scores.numpy().astype(np.float32), self.items)


if __name__ == "__main__":
    main()
