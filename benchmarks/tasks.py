"""Judging on real data: ours, our single-task models, counters, logistic regression, LightGBM and other people's models on the same rows.

    python benchmarks/tasks.py --data DIR [--data DIR ...] [--only FORM ...] [--baselines [NAMES]] [--peers [NAMES]] [--work FOLDER]

DIR is a folder that task_data.py reads, a folder of texts with labels (texts.py measures them), or the word sample: what the sample planted
(planted.py); an option that such data have no use for is refused. A log is prepared once, under FOLDER, and everybody gets the rows, the split,
the fields and what was known before each row from there. Settings of baselines and peers are chosen on validation, ours are the defaults of the
prepared config.yaml. The test rows are measured once, by m6rec.evaluation, in the cells (scenario, task) that have enough positives.

What is finished is not repeated: predictions of baselines and runs of ours are kept in FOLDER, those of peers in benchmarks/peers/results, and
whatever is killed goes on where it stopped. Writes tasks.md and tasks.json into FOLDER. docs/tasks.md says how the comparison is kept fair.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import task_ours as ours
from m6rec.base.errors import nearest
from m6rec.base.storage import atomic_file, write_json
from m6rec.baselines.choosing import Predicted
from m6rec.baselines.counters import counters
from m6rec.baselines.logistic import logistic_regression
from m6rec.baselines.rows import measured_tasks
from m6rec.baselines.trees import lightgbm_counts, lightgbm_raw
from peers.environment import machine
from peers.judging import PEERS, Judges, fingerprint, suits
from task_beside import SAMPLE, TEXTS, form_beside, measure_beside, why_unfit
from task_counts import counts
from task_data import FORMS, prepare, recognise
from task_rows import Rows, read_rows
from task_studies import balance, interaction, lines, options, passes
from task_table import judged_cells, make_rows, markdown

#: Those of the package with their whole search, one thread each.
BASELINES: dict[str, Callable[..., Predicted]] = {
    "counters": counters,
    "logistic_regression": logistic_regression,
    "lightgbm_raw": lightgbm_raw,
    "lightgbm_counts": lightgbm_counts,
}
STUDIES = {"balance": balance, "interaction": interaction, "options": options, "passes": passes}
STATEMENT = (
    "{rows:,} exposures: {train:,} to train on, {validation:,} to choose on, {test:,} to measure, by the split column of the prepared folder. "
    "{cells} measured cells. Histories and counts of a row hold what was strictly before its time."
)


def main(words: list[str] | None = None) -> None:
    arguments = parse(words)
    results = []
    for folder in arguments.data:
        beside = form_beside(folder)
        form = beside or recognise(folder)
        if not arguments.only or form in arguments.only:
            results.append(measure_beside(beside, folder, arguments) if beside else measure_data(folder, form, arguments))
    write_json(arguments.work / "tasks.json", {"machine": machine(arguments.threads), "settings": arguments.set, "results": results})
    page = "\n\n".join(page_of(one) for one in results)
    with atomic_file(arguments.work / "tasks.md") as temporary:
        temporary.write_text(page + "\n", encoding="utf-8")
    print(page)


def page_of(result: dict[str, Any]) -> str:
    """Markdown of one data set."""
    if "page" in result:
        return str(result["page"])
    return "\n".join([markdown(result), *(line for name, study in result["studies"].items() for line in lines(name, study))])


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        required=True,
        help="a folder that task_data.py or texts.py reads, or: sample; may be repeated",
    )
    parser.add_argument("--only", nargs="*", default=[], choices=[*FORMS, TEXTS, SAMPLE], help="leave out folders of other forms")
    parser.add_argument("--work", type=Path, default=Path("runs/tasks"), help="where prepared folders, runs, environments and results go")
    parser.add_argument("--baselines", nargs="*", metavar="NAME", help=f"some of: {', '.join(BASELINES)}; all of them where it is not said")
    parser.add_argument("--peers", nargs="*", metavar="NAME", help=f"some of: {', '.join(PEERS)}; without a name all of them")
    parser.add_argument("--cached", action="store_true", help="peers from the cache only; none is trained")
    parser.add_argument("--seeds", type=int, nargs="*", help="of ours, 0 where it is not said; without a number ours is not trained")
    parser.add_argument(
        "--threads", type=int, help="of our trainings, every core where it is not said; baselines and peers always have one"
    )
    parser.add_argument("--set", action="append", help="passed on to m6rec train, e.g. --set train.epochs=5")
    parser.add_argument("--studies", nargs="*", choices=list(STUDIES), help="trained beside the table, with the first seed")
    parser.add_argument(
        "--kept", action="store_true", help="ours as they answered, whatever the code has become since; no speed or latency"
    )
    parser.add_argument("--only-studies", action="store_true", help="no model of ours for the table")
    parser.add_argument("--people", type=float, help="share of the people, drawn by hash: of everybody's rows, in a folder of its own")
    arguments = parser.parse_args(words)
    for folder in arguments.data:
        beside = form_beside(folder)
        if beside is not None and (not arguments.only or beside in arguments.only):
            unfit = why_unfit(beside, folder, said_options(arguments))
            if unfit is not None:
                parser.error(unfit)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for name, usual in {"baselines": list(BASELINES), "seeds": [0], "threads": cores, "set": [], "studies": [], "people": 1.0}.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, usual)
    if not 0 < arguments.people <= 1:
        parser.error(f"--people is a share, above 0 and at most 1, not {arguments.people}")
    if arguments.studies and not arguments.seeds:
        parser.error("--studies train ours; give --seeds a number")
    arguments.peers = [] if arguments.peers is None else arguments.peers or list(PEERS)
    for chosen, known in ((arguments.peers, PEERS), (arguments.baselines, BASELINES)):
        for name in chosen:
            if name not in known:
                parser.error(f"nothing here is called '{name}'{nearest(name, list(known))}; there are: {', '.join(known)}")
    return arguments


def said_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Option -> value, of those that say how to measure and are on the command line."""
    said = {name: value for name, value in vars(arguments).items() if value is not None and value is not False}
    return {f"--{name.replace('_', '-')}": value for name, value in said.items() if name not in ("data", "only", "work")}


def measure_data(folder: Path, form: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every line of one data set."""
    name = folder.resolve().name if arguments.people == 1 else f"{folder.resolve().name}-{arguments.people:g}"
    place = arguments.work / name
    if not (place / "data" / "config.yaml").exists():
        prepare(folder, place / "data", form, people=arguments.people)
    rows = read_rows(place / "data")
    prints = fingerprint(rows)

    @cache
    def counted() -> dict[str, np.ndarray]:
        return kept_counts(rows, place / f"counts-{prints[:12]}.npz")

    scorers = our_lines(rows, place, arguments) if arguments.seeds and not arguments.only_studies else []
    scorers += [("baseline", baseline(one, rows, counted, place / "baselines" / f"{one}-{prints[:12]}.npz")) for one in arguments.baselines]
    judges = Judges(rows, counted, place / "peers", arguments.work / "environments", only_cached=arguments.cached)
    for peer in arguments.peers:
        found = judges.measure(peer) if suits(peer, rows) else None
        if found is not None:
            scorers.append(("peer", found))
    reference = scorers[0][1].name if scorers else None
    studies = {study: STUDIES[study](rows, place, arguments) for study in arguments.studies}
    parts = {part: int((rows.parts == code).sum()) for code, part in enumerate(("train", "validation", "test"))}
    return {
        "data": name,
        "statement": STATEMENT.format(rows=len(rows), cells=len(rows.cells), **parts),
        "rows": make_rows(rows, scorers, reference),
        "studies": studies,
    }


def our_lines(rows: Rows, place: Path, arguments: argparse.Namespace) -> list[tuple[str, Predicted]]:
    """The joint model (of several seeds the one in the middle of the mean AUC over cells) and the single-task models with the first seed."""
    found = []
    for seed in arguments.seeds:
        predicted = answered("m6rec", f"seed-{seed}", seed, rows, place, arguments, arguments.set)
        found.append((float(np.mean([judged.value("auc") for judged in judged_cells(rows, predicted)])), seed, predicted))
    found.sort(key=lambda one: one[0])
    _, chosen, joint = found[(len(found) - 1) // 2]
    if len(found) > 1:
        joint.facts["note"] = f"seed {chosen}, in the middle of " + ", ".join(f"{value:.4f}" for value, _, _ in found)
    cell = rows.cells[0]
    if not arguments.kept:
        joint.facts |= ours.judging_speed(Path(joint.facts["run"]))
        joint.facts["latency"] = ours.latency(Path(joint.facts["run"]), cell["task"], cell["scenario"])
    scorers = [("ours", joint)]
    if len(rows.tasks) > 1:
        singles = []
        for task in measured_tasks(rows):
            config = ours.config_of(place, f"only-{task}", [task])
            alone = [*arguments.set, "tasks.next.weight=0"]  # nothing but the task trains, and it trains everything
            singles.append(answered(task, f"only-{task}", arguments.seeds[0], rows, place, arguments, alone, config))
        scorers.append(("single", ours.together("m6rec, single-task models", singles, rows)))
    return scorers


def answered(
    title: str, run: str, seed: int, rows: Rows, place: Path, arguments: argparse.Namespace, settings: list[str], config: Path | None = None
) -> Predicted:
    """What a training of ours says of the rows; with --kept as it was said, where it was."""
    kept = place / run / "answers.parquet"
    if arguments.kept and kept.exists():
        facts = place / run / "training.json"
        return ours.read_answers(title, rows, kept, json.loads(facts.read_text(encoding="utf-8")) if facts.exists() else {"seconds": 0.0})
    return ours.predicted(title, rows, place, ours.train(place, run, seed, arguments.threads, settings, config))


def kept_counts(rows: Rows, path: Path) -> dict[str, np.ndarray]:
    """Counts as of the time, made once."""
    if not path.exists():
        found = counts(rows)
        with atomic_file(path) as temporary, open(temporary, "wb") as handle:
            np.savez(
                handle,
                allow_pickle=False,
                **{str(number): values for number, values in enumerate(found.values())},
                names=np.array(list(found)),
            )
    with np.load(path, allow_pickle=False) as arrays:
        return {str(name): arrays[str(number)] for number, name in enumerate(arrays["names"])}


def baseline(name: str, rows: Rows, counted: Any, path: Path) -> Predicted:
    """A baseline's predictions, made once."""
    if not path.exists():
        found = BASELINES[name](rows, counted()) if name == "lightgbm_counts" else BASELINES[name](rows)
        about = json.dumps({"name": found.name, "facts": found.facts})
        with atomic_file(path) as temporary, open(temporary, "wb") as handle:
            np.savez_compressed(handle, values=found.values, about=np.array(about), allow_pickle=False)
    with np.load(path, allow_pickle=False) as arrays:
        return Predicted(values=arrays["values"], **json.loads(str(arrays["about"])))


if __name__ == "__main__":
    main()
