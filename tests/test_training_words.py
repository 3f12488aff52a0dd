"""Words labelled from end to end: spans in a file of texts, trained with the rest, measured, saved, asked for; and rows to label next."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from m6rec.data.row_splits import TRAINING, split_texts
from m6rec.recommender import Recommender
from m6rec.training.pipeline import open_run, train
from m6rec.training.stages_data import all_texts


def test_spans_of_a_file_are_learned_and_found_again(
    tiny_sample: Path, tiny_config: Callable[..., Any], m6rec: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "shop"
    shutil.copytree(tiny_sample, folder)
    texts, spans, topics = [], [], []
    for number in range(150):
        brand, place = ("Nike", "Puma", "Asics")[number % 3], ("Berlin", "Rome")[number % 2]
        text = f"{brand} shoes near {place} number {number}"
        at = text.index(place)
        texts.append(text)
        spans.append(
            json.dumps([{"start": 0, "end": len(brand), "label": "brand"}, {"start": at, "end": at + len(place), "label": "place"}])
        )
        topics.append(("south" if place == "Rome" else "north") if number % 4 else None)
    pl.DataFrame({"text": texts, "slots": spans, "topic": topics}).write_csv(folder / "queries.csv")
    config = tiny_config(
        "data.texts=queries.csv",
        "tasks.slots={answer: judge, on: text, label: slots, kind: tokens}",
        "tasks.topic={answer: judge, on: text, label: topic, kind: classes, unlabelled: pseudo}",
        "text.augment.copies=1",
        "train.epochs=6",
        "train.learning_rate=0.01",
        "evaluation.baselines=[popularity]",
        folder=folder,
    )
    run = tmp_path / "run"
    train(config, folder, run)
    bench = open_run(run)
    assert bench.dataset.texts is not None
    parts = split_texts(bench.dataset.texts)
    read = set(all_texts(bench))  # by pretraining: nothing that is held out to be judged
    assert {text for text, part in zip(texts, parts, strict=True) if part == TRAINING} == read & set(texts)
    recommender = Recommender.from_pretrained(run)
    found = recommender.classify("Puma socks near Berlin", task="slots")
    assert [(span["text"], span["label"]) for span in found] == [("Puma", "brand"), ("Berlin", "place")]
    assert next(iter(recommender.classify("shoes near Rome", task="topic"))) == "south"
    table = recommender.predict({"text": ["Puma socks near Berlin", None]})
    assert [(span["start"], span["end"], span["label"]) for span in json.loads(table["slots"][0])] == [(0, 4, "brand"), (16, 22, "place")]
    assert table["slots"][1] is table["topic"][1] is None
    out = tmp_path / "next.csv"
    told = m6rec("label", run, "--task", "topic", "--count", "5", "--out", out, "--json").json()
    assert told["rows"] == 5
    rows = pl.read_csv(out)
    assert set(rows["text"]) <= {text for text, topic in zip(texts, topics, strict=True) if topic is None}
    rows.with_columns(pl.lit("south").alias("topic")).write_csv(out)
    told = m6rec("label", run, "--task", "topic", "--filled", out, "--out", tmp_path / "done.csv", "--json").json()
    assert (told["rows"], told["blank"]) == (5, 0)
    assert "no task of this run" in m6rec("label", run, "--task", "topik", "--out", out).error(2)
    assert "for example --out to_label.csv" in m6rec("label", run, "--task", "topic", "--out", tmp_path / "x.txt").error(2)
