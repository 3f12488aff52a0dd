"""Ours in the benchmark of writing: the product trained on the rows, by its own configuration and stages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from m6rec.config import M6RecConfig, load_config
from m6rec.language_model.decoding import Speaker
from m6rec.tasks.write import WriteBatch, WriteExamples
from m6rec.tasks.write_part import WritePart
from m6rec.training.pipeline import open_run, train
from writing_rows import TEST, TRAINING, VALIDATION, WritingData

KIND = "reason"
PARTS = {TRAINING: "train", VALIDATION: "validation", TEST: "test"}


def prepare(data: WritingData, folder: Path) -> Path:
    """Tables and a configuration; returns the configuration. Held-out texts are there, as held out."""
    folder.mkdir(parents=True, exist_ok=True)
    timed = not any(np.isnan(case.time) for case in data.cases)
    rows = [
        {"kind": KIND, "user_id": case.user, "item_id": case.item, "text": case.text, "feature": case.feature, "split": PARTS[case.part]}
        | ({"time": int(case.time)} if timed else {})
        for case in data.cases
    ]
    pl.DataFrame(rows).write_parquet(folder / "texts.parquet")
    events = [
        {"user_id": case.user, "item_id": case.item} | ({"time": int(case.time)} if timed else {"order": place})
        for place, case in enumerate(data.cases)
        if case.part == TRAINING
    ]
    pl.DataFrame(events).write_parquet(folder / "events.parquet")
    fields = {}
    for table, column, values in (("items", "item_id", data.items), ("users", "user_id", data.users)):
        pl.DataFrame([{column: one, **told} for one, told in values.items()]).write_parquet(folder / f"{table}.parquet")
        first = next(iter(values.values()))
        fields[table] = {name: "tags" if isinstance(value, list) else "text" for name, value in first.items()}
    # Nothing is asked of the next item here: the choose task has no weight, and a history is read as it starts.
    settings = {
        "data": {
            "events": "events.parquet",
            "items": "items.parquet",
            "users": "users.parquet",
            "texts": "texts.parquet",
            "min_user_events": 1,
        },
        "fields": fields,
        "tasks": {"next": {"answer": "choose", "weight": 0.0}, KIND: {"answer": "write", "from": KIND, "about": "feature"}},
        "evaluation": {"baselines": [], "resamples": 100},
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return path


def trained(config: Path, run: Path, settings: Sequence[str]) -> tuple[WritePart, WriteExamples, Any]:
    """Train (what is there is not trained again); the part that writes, its rows, and the model."""
    resolved: M6RecConfig = load_config(config, list(settings))
    train(resolved, config.parent, run, progress=True, until="fit")
    bench = open_run(run, False)
    scorer = bench.fitted()
    assert scorer.writing is not None
    assert bench.writing is not None
    examples = bench.writing.examples(bench)
    scorer.writing.write.bind(examples)
    return scorer.writing, examples, scorer.model


def without_features(examples: WriteExamples) -> WriteExamples:
    """The rows asked for no feature."""
    return replace(examples, rows=replace(examples.rows, about=[""] * len(examples.rows)))


def speakers(part: WritePart, examples: WriteExamples, model: Any, rows: np.ndarray) -> Iterator[tuple[int, Speaker]]:
    """Each row and a Speaker for its texts."""
    write = part.write
    write.bind(examples)
    for row in rows.tolist():
        with torch.no_grad():
            read = write.read(model, WriteBatch(KIND, np.array([row]), -1))
        yield row, part.speaking(model, KIND, read)


__all__ = ["KIND", "prepare", "speakers", "trained", "without_features"]
