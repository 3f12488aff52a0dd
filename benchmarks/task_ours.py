"""Our side of the tasks benchmark: trainings in processes of their own, and their answers about the rows that everybody answers.

The answers come from `m6rec predict` on a table without labels, the command that a user would type, so what is measured is what is served.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from latency import milliseconds
from m6rec.base.memory import hold_what_is_loaded
from m6rec.base.storage import atomic_file
from m6rec.baselines.choosing import Predicted
from retrieval_ours import command
from task_rows import HISTORY, TRAIN, Rows, in_milliseconds

CANDIDATES = 200
REQUESTS = 200
WARM_UP, STEPS = 3, 30  # of the training speed


def config_of(place: Path, name: str, tasks: Sequence[str]) -> Path:
    """The prepared configuration with these judging tasks alone, as config-NAME.yaml beside it."""
    settings = yaml.safe_load((place / "data" / "config.yaml").read_text(encoding="utf-8"))
    settings["tasks"] = {name: one for name, one in settings["tasks"].items() if one["answer"] != "judge" or name in tasks}
    path = place / "data" / f"config-{name}.yaml"
    with atomic_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=140), encoding="utf-8")
    return path


def train(place: Path, name: str, seed: int, threads: int, settings: Sequence[str], config: Path | None = None) -> dict[str, Any]:
    """One `m6rec train` under place/name; what is done is not repeated. Returns name, run, seconds, peak_mb: of the run that did the work."""
    run = place / name
    kept, log = run / "training.json", run / "logs" / "run.jsonl"  # the log has one line for every stage that was done
    stages = log.read_bytes() if log.exists() else b""
    words = [f"seed={seed}", f"train.threads={threads}", "evaluation.baselines=[]", "evaluation.judged_baselines=[]", *settings]
    flags = [word for setting in words for word in ("--set", setting)]
    begun = time.monotonic()
    peak = command(["train", str(config or place / "data" / "config.yaml"), "--run", str(run), *flags, "--progress"])
    measured = {"name": name, "run": str(run), "seconds": round(time.monotonic() - begun, 1), "peak_mb": round(peak)}
    if kept.exists() and log.read_bytes() == stages:  # all were done before
        return json.loads(kept.read_text(encoding="utf-8"))
    kept.write_text(json.dumps(measured), encoding="utf-8")
    return measured


def judging_speed(run: Path, steps: int = STEPS) -> dict[str, float]:
    """examples_per_second: exposures trained on a CPU second of one thread, all tasks of a row at once, over steps of the fit stage from fresh
    weights (forward, backward, clipping, update); the choose task, which trains beside, left out.
    """
    import torch

    from m6rec.language_model.precision import autocast
    from m6rec.training.pipeline import open_run
    from m6rec.training.stages_fit import BATCH_EXPOSURES

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    bench = open_run(run)
    judging, reader = bench.judging, bench.new_task()
    assert judging is not None, "the configuration judges candidates"
    judge = judging.new_judge(bench, reader)
    judge.bind(judging.examples(bench, judging.chosen("training"), BATCH_EXPOSURES))
    parts = torch.nn.ModuleDict({"model": bench.model, "reader": reader, "judge": judge}).train()
    optimizer = torch.optim.AdamW([p for p in parts.parameters() if p.requires_grad], lr=1e-3)
    batches = list(judge.batches(np.random.default_rng(bench.config.seed)))
    rates = []
    for number in range(WARM_UP + steps):
        batch = batches[number % len(batches)]
        begun = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        with autocast(bench.config.model.autocast):
            loss = torch.stack(list(judge.loss(bench.model, batch).values())).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
        optimizer.step()
        if number >= WARM_UP:
            rates.append(judge.targets(batch) / (time.process_time() - begun))
    torch.set_num_threads(threads)
    return {"examples_per_second": round(float(np.median(rates)))}


def predicted(name: str, rows: Rows, place: Path, training: dict[str, Any], note: str = "") -> Predicted:
    """A training's answers about the validation and test rows. Kept in the run's folder."""
    run = Path(training["run"])
    answers = run / "answers.parquet"
    newest = run / "logs" / "run.jsonl"
    if not answers.exists() or answers.stat().st_mtime < newest.stat().st_mtime:
        asked = place / "data" / "asked.parquet"
        if not asked.exists():
            questions(place / "data").write_parquet(asked)
        command(["predict", str(run), str(asked), "--out", str(answers)])
    return read_answers(name, rows, answers, {**training, "note": note})


def read_answers(name: str, rows: Rows, answers: Path, facts: dict[str, Any]) -> Predicted:
    """What `m6rec predict` wrote about `questions`."""
    found = pl.read_parquet(answers)
    where = np.flatnonzero(rows.parts != TRAIN)
    values = np.full(rows.labels.shape, np.nan, dtype=np.float32)
    for task in (task for task in rows.tasks if task in found.columns):
        values[where, rows.tasks.index(task)] = found[task].cast(pl.Float32).fill_null(np.nan).to_numpy()
    return Predicted(name, values, facts)


def questions(folder: Path) -> pl.DataFrame:
    """The validation and test rows in the order of `read_rows`, without labels: who, what, when, where, and the request's context."""
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    exposures = pl.read_parquet(folder / "exposures.parquet")
    order = exposures.with_columns(in_milliseconds("time")).with_row_index("row").sort("time", maintain_order=True)["row"]
    asked = exposures[order].filter(pl.col("split") != "train")
    columns = [
        "user_id",
        "item_id",
        "time",
        *(["scenario"] if "scenario" in asked.columns else []),
        *(settings["fields"].get("context") or {}),
    ]
    return asked.select(columns)


def together(name: str, singles: Sequence[Predicted], rows: Rows) -> Predicted:
    """The single-task models as one scorer: each task as its own model answers it."""
    values = np.full(rows.labels.shape, np.nan, dtype=np.float32)
    for one in singles:
        values = np.where(np.isnan(values), one.values, values)
    seconds = sum(one.facts["seconds"] for one in singles)
    return Predicted(name, values, {"seconds": round(seconds, 1), "note": f"{len(singles)} models"})


def latency(run: Path, task: str, scenario: str | None, *, anew: bool = False, requests: int = REQUESTS) -> dict[str, float]:
    """Milliseconds of `Recommender.rank` of CANDIDATES items, for people with at least fifty events, one at a time on one core.

    anew: the events are given with the request instead of the person, so that nothing that was read before can be used.
    """
    import torch

    from m6rec import Recommender

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rec = Recommender.from_pretrained(run)
    lengths = rec.engine.dataset.histories.lengths
    generator = np.random.default_rng(0)
    longest = np.flatnonzero(lengths >= min(HISTORY, int(lengths.max())))
    users = generator.choice(longest, requests)
    people = [rec.engine.users.ids.ids[user] for user in users]
    items = rec.engine.items.ids.ids
    chosen = [[items[item] for item in generator.choice(len(items), min(CANDIDATES, len(items)), replace=False)] for _ in range(requests)]
    read = [[items[item] for item in rec.engine.histories.row(int(user)).items[-HISTORY:]] for user in users] if anew else []

    def answer(number: int) -> object:
        if anew:
            return rec.rank(None, chosen[number], task, history=read[number], scenario=scenario)
        return rec.rank(people[number], chosen[number], task, scenario=scenario)

    answer(0)
    hold_what_is_loaded()  # as a service does once its model is warm
    wall, cpu = milliseconds(answer, requests, lambda: None)
    torch.set_num_threads(threads)
    found = {f"p{share}_ms": round(float(np.percentile(cpu, share)), 2) for share in (50, 95)}
    return {**found, "wall_p50_ms": round(float(np.median(wall)), 2), "candidates": CANDIDATES, "requests": requests}
