"""One checkpoint for everything, against its own single-task models: choosing, judging and writing in one training, and each by itself.

    python benchmarks/everything.py --data RATINGS --data DIALOGUES [--data SEQUENCES --data TITLED --data REVIEWS] [--work FOLDER] [--set KEY=VALUE ...]

Folders are told by their files (everything_data.py). Ratings and dialogues make `films`: ratings joined to dialogues by title and year, tasks next
(choose), like (judge: rating of 4 or more), reply (write: what the recommender of a dialogue says) and reason (write: the beginning of the plot). The
other three make `shops`: three data sets as three scenarios, tasks next, glad (judge: five stars) and headline (write: the head of a review).

The single-task models have the same data, sizes and settings and one task; of `shops` each data set is also chosen from alone. What is finished is not
repeated. Writes everything.md and everything.json into FOLDER: NDCG@10 over held-out cases, AUC, nats a token of held-out texts; differences are paired
over cases, rows and texts, with 95 % intervals.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import task_ours as ours
from everything_data import films, recognise, shops
from m6rec.base.storage import atomic_file, write_json
from m6rec.data.row_splits import TEST
from m6rec.evaluation.intervals import bootstrap_columns, paired
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.judged_intervals import resampled
from m6rec.training.measuring import JUDGED, kept_evaluations
from m6rec.training.pipeline import open_run
from peers.environment import machine

METRIC = "ndcg@10"
RESAMPLES = 500
SETTINGS = ["evaluation.resamples=100"]


@dataclass(frozen=True)
class Study:
    """One joint training in `place`/data and what it is held against: name -> (tasks kept, folder of the data)."""

    name: str
    place: Path
    data: Path
    singles: dict[str, tuple[list[str], Path]]


def main(words: list[str] | None = None) -> None:
    arguments = parse(words)
    studies = [one for one in studies_of(recognise(arguments.data), arguments.work) if not arguments.only or one.name in arguments.only]
    if not studies:
        raise SystemExit("nothing to compare: ratings and dialogues make films, sequences, titled and reviews make shops")
    result = {"command": shlex.join(["python", *sys.argv]), "machine": machine(arguments.threads), "settings": [*SETTINGS, *arguments.set]}
    result["studies"] = {}
    for study in studies:
        result["studies"][study.name] = measured(study, arguments)
        write_json(arguments.work / "everything.json", result)
        with atomic_file(arguments.work / "everything.md") as temporary:
            temporary.write_text(markdown(result), encoding="utf-8")
    print(markdown(result))


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="a folder that everything_data.py knows; may be repeated")
    parser.add_argument("--work", type=Path, default=Path("runs/everything"), help="where prepared folders, runs and results go")
    parser.add_argument("--only", nargs="*", default=[], choices=["films", "shops"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="passed on to every m6rec train, e.g. --set train.epochs=3")
    return parser.parse_args(words)


def studies_of(folders: dict[str, Path], work: Path) -> list[Study]:
    """What the folders that are there make, prepared."""
    found = []
    if {"ratings", "dialogues"} <= set(folders):
        place = work / "films"
        films(folders["ratings"], folders["dialogues"], place / "data")
        singles = {name: ([name], place / "data") for name in ("next", "like", "reply", "reason")}
        found.append(Study("films", place, place / "data", singles))
    if {"sequences", "titled", "reviews"} <= set(folders):
        place = work / "shops"
        names = shops(folders["sequences"], folders["titled"], folders["reviews"], place / "data")
        singles = {name: (["next"], place / "data" / name) for name in names}
        singles |= {name: ([name], place / "data" / "all") for name in ("glad", "headline")}
        found.append(Study("shops", place, place / "data" / "all", singles))
    return found


def measured(study: Study, arguments: argparse.Namespace) -> dict[str, Any]:
    """A line for every task, in every single-task model that has it."""
    joint = train(study, "everything", None, study.data, arguments)
    rows = []
    for name, (tasks, data) in study.singles.items():
        alone = train(study, f"only-{name}", tasks, data, arguments)
        for task in tasks:
            rows.append({"task": task, "alone": name} | compared(task, Path(joint["run"]), Path(alone["run"]), arguments.seed))
    facts = study.data / "facts.json"
    return {"facts": json.loads(facts.read_text(encoding="utf-8")) if facts.exists() else {}, "seconds": joint["seconds"], "rows": rows}


def train(study: Study, name: str, tasks: list[str] | None, data: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One training; tasks None: all of them. What does not choose leaves the choose task untrained."""
    config = yaml.safe_load((data / "config.yaml").read_text(encoding="utf-8"))
    if tasks is not None:
        config["tasks"] = {task: settings for task, settings in config["tasks"].items() if task in (*tasks, "next")}
        if "next" not in tasks:
            config["tasks"]["next"]["weight"] = 0
    path = data / f"config-{name}.yaml"
    with atomic_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=140), encoding="utf-8")
    return ours.train(study.place, name, arguments.seed, arguments.threads, [*SETTINGS, *arguments.set], path)


def compared(task: str, joint: Path, alone: Path, seed: int) -> dict[str, Any]:
    """Metric, its value in both, the paired difference (joint minus single), each with its interval; higher is better."""
    settings = open_run(joint).config.tasks[task]
    if settings.answer == "choose":
        metric, first, second = METRIC, ranked(joint), ranked(alone)
    elif settings.answer == "judge":
        sides = [[judged(run, task)] for run in (joint, alone)]
        estimates = resampled(sides, ["auc"], RESAMPLES, seed)["auc"]
        told = dict(zip(("joint", "single", "difference"), map(list, estimates), strict=True))
        return {"metric": "AUC", "cases": len(sides[0][0]), **told}
    else:
        metric, first, second = "nats a token", likelihoods(joint, task), likelihoods(alone, task)
    both = sorted(set(first) & set(second))
    values = np.array([[first[case], second[case]] for case in both])
    means = np.stack(bootstrap_columns(values, RESAMPLES, seed), axis=1).tolist()  # of each side mean, low, high
    difference = list(paired(values[:, 0], values[:, 1], RESAMPLES, seed))
    return {"metric": metric, "cases": len(both), "joint": means[0], "single": means[1], "difference": difference}


def ranked(run: Path) -> dict[Any, float]:
    """(user, number of the case) -> NDCG@10 of the model alone."""
    bench = open_run(run)
    found = next(one for one in kept_evaluations(bench.folder("evaluate")) if one.name == "m6rec")
    names, counted, cases = bench.dataset.users.ids.ids, {}, {}
    for user, value in zip(found.users.tolist(), found.values(METRIC).tolist(), strict=True):
        counted[user] = counted.get(user, -1) + 1
        cases[names[user], counted[user]] = value
    return cases


def judged(run: Path, task: str) -> Judged:
    """The test rows of a task on candidates as the model answered them."""
    folder = open_run(run).folder("evaluate") / JUDGED
    found = [Judged.load(child) for child in sorted(folder.iterdir())]
    return next(one for one in found if one.task == task and one.name == "m6rec")


@torch.no_grad()
def likelihoods(run: Path, task: str) -> dict[Any, float]:
    """(text, number of it) -> mean log p of a token, of the held-out texts."""
    bench = open_run(run)
    scorer = bench.fitted()
    assert bench.writing is not None
    assert scorer.writing is not None
    write = scorer.writing.write.eval()
    write.bind(bench.writing.examples(bench))
    found, counted = {}, {}
    for row, (total, tokens) in write.text_likelihoods(bench.model, task, TEST).items():
        text = bench.writing.rows.texts[row]
        counted[text] = counted.get(text, -1) + 1
        found[text, counted[text]] = total / tokens
    return found


def markdown(result: dict[str, Any]) -> str:
    lines = [
        "# One checkpoint for everything",
        "",
        f"`{result['command']}`; {result['machine']}; settings: {', '.join(result['settings'])}.",
    ]
    for name, study in result["studies"].items():
        facts = ", ".join(f"{value:,} {what}" for what, value in study["facts"].items())
        lines += ["", f"## {name}", "", f"{facts + '; ' if facts else ''}the joint training took {study['seconds']:,.0f} s.", ""]
        lines += ["| task | metric | cases | one checkpoint | single-task model | difference |", "|---|---|---|---|---|---|"]
        for row in study["rows"]:
            sides = ["{:.4f} ({:.4f} to {:.4f})".format(*row[side]) for side in ("joint", "single")]
            difference = "{:+.4f} ({:+.4f} to {:+.4f})".format(*row["difference"])
            shown = row["task"] if row["alone"] == row["task"] else f"{row['task']}, {row['alone']}"
            lines.append(f"| {shown} | {row['metric']} | {row['cases']:,} | {' | '.join(sides)} | {difference} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
