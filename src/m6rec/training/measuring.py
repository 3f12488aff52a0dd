"""Measuring a run: the model, its parts switched off, and the baselines, on the same held-out cases; and the report of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from m6rec.base.contracts import Histories, Scorer
from m6rec.base.storage import atomic_file, write_json
from m6rec.data.dialogue_rows import DialogueRows
from m6rec.data.row_splits import NAMES as PARTS
from m6rec.data.splits import Cases
from m6rec.evaluation.calibration import Calibration
from m6rec.evaluation.conversed import Conversed
from m6rec.evaluation.curves import OF_CELLS
from m6rec.evaluation.evaluated import Evaluation
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.protocol import evaluate
from m6rec.evaluation.report import Sample, html_report
from m6rec.fusion.member import MEMBERS
from m6rec.index.exact import top_k
from m6rec.tasks.options import module_name
from m6rec.training.judged_baselines import Beside
from m6rec.training.judging import read_thresholds
from m6rec.training.run_folder import read_json
from m6rec.training.stages_blend import served
from m6rec.training.workbench import Workbench

BASKETS = "baskets"  # the folder of the evaluations of baskets, among the others
NAMED = "named"  # and that of items named in dialogues
JUDGED = "judged"  # and that of the judged rows
BEFORE = "uncalibrated"  # and of those rows before calibration
UNCALIBRATED = ("number", "ordinal")  # kinds of label whose answers are no probabilities
SAMPLES, SHOWN = 6, 5  # people in the report, and titles shown of each


def measure(
    bench: Workbench,
    *,
    baselines: Sequence[str],
    without: Sequence[str] = (),
    held: Literal["validation", "test"] = "test",
) -> list[Evaluation]:
    """What the run serves first (with a blend, the model without it second), then the model with each part of `without` switched off
    when answering, then the baselines fitted on the same training events."""
    everyone: Cases = getattr(bench.split, held)
    cases = everyone.drawn(bench.config.measured.most_cases(len(bench.dataset.items)), [bench.config.seed, 4])
    told = bench.split.statement
    if len(cases) < len(everyone):
        told += f" Measured on {len(cases):,} of the {len(everyone):,} cases, drawn with seed {bench.config.seed}."
    scorers: list[tuple[str, Scorer]] = [("m6rec", served(bench))]
    alone, blended = "m6rec", bench.config.fusion is not None
    if blended:
        alone = "m6rec without fusion"
        scorers.append((alone, bench.fitted()))
    scorers += [(f"{alone} {'and' if blended else 'without'} {part}", bench.fitted((part,))) for part in without]
    for name in baselines:
        bench.progress.say(f"  fitting {name}")
        scorers.append((name, MEMBERS.get(name)().fit(bench.split.train, bench.dataset.items, bench.refused)))
    found = []
    for name, scorer in scorers:
        bench.progress.say(f"  measuring {name}")
        config, statement = bench.config.measured, told
        if blended and held == "validation" and name == "m6rec":
            statement += " The blend was fitted on these cases: its figure out of fold is in the blend stage"
        contents, scenarios, seed = bench.catalogue.vectors, bench.dataset.scenario_names, bench.config.seed
        found.append(
            evaluate(
                scorer,
                cases,
                bench.split.seen,
                config,
                contents=contents,
                scenarios=scenarios,
                name=name,
                statement=statement,
                seed=seed,
            )
        )
    return found


def measure_baskets(bench: Workbench, *, baselines: Sequence[str], held: Literal["validation", "test"] = "test") -> list[Evaluation]:
    """Completing baskets: the model and the baselines fitted on the same training baskets; nothing where no task asks for it."""
    baskets = bench.baskets
    if baskets is None:
        return []
    cases: Cases = getattr(baskets, held)
    seen = np.bincount(baskets.train.items, minlength=len(bench.dataset.items)).astype(np.int64)
    scorers: list[tuple[str, Scorer]] = [("m6rec", bench.fitted().completing)]
    scorers += [(name, MEMBERS.get(name)().fit(baskets.train, bench.dataset.items)) for name in baselines]
    contents, seed = bench.catalogue.vectors, bench.config.seed
    return [
        evaluate(scorer, cases, seen, bench.config.measured, name=name, statement=baskets.statement, seed=seed, contents=contents)
        for name, scorer in scorers
    ]


def measure_named(bench: Workbench, *, baselines: Sequence[str], held: Literal["validation", "test"] = "test") -> list[Evaluation]:
    """Naming items in dialogues: the model, and the baselines fitted on the items that training dialogues name; nothing where no task asks for it."""
    talking = bench.talking
    if talking is None:
        return []
    rows: DialogueRows = getattr(talking.split, held)
    if not len(rows):
        return []
    bench.progress.say(f"  measuring {len(rows):,} items named in dialogues")
    sequences = talking.split.sequences
    seen = np.bincount(sequences.items, minlength=len(bench.dataset.items)).astype(np.int64)
    scorers: list[tuple[str, Scorer]] = [("m6rec", bench.fitted().talking)]
    scorers += [(name, MEMBERS.get(name)().fit(sequences, bench.dataset.items)) for name in baselines]
    config = bench.config.measured.model_copy(update={"exclude_history": True})  # what was named before is no answer
    contents, seed, told = bench.catalogue.vectors, bench.config.seed, talking.statement
    found = [
        evaluate(scorer, rows.cases(), seen, config, name=name, statement=told, seed=seed, contents=contents) for name, scorer in scorers
    ]
    return [replace(one, users=rows.dialogues) for one in found]


class JudgedRows(NamedTuple):
    """judged: what the run says of the held-out rows, task by task, and then what others say of the same rows.
    before: the tasks whose answers were calibrated: how, and the same rows before that.  notes: a sentence for each baseline that is missing."""

    judged: list[Judged]
    before: list[tuple[Calibration, Judged]]
    notes: tuple[str, ...] = ()

    def beside(self, others: Beside) -> JudgedRows:
        """With the baselines behind the run, and what is said of them."""
        if not self.judged:
            return self
        first = replace(self.judged[0], statements=[*self.judged[0].statements, *others.notes])
        return self._replace(judged=[first, *self.judged[1:], *others.judged], notes=tuple(others.notes))


def measure_judged(bench: Workbench, held: str = "test") -> list[Judged]:
    """What the run says of the held-out rows, task by task."""
    return judge_rows(bench, held).judged


def judge_rows(bench: Workbench, held: str = "test") -> JudgedRows:
    """What the run says of the held-out rows, without anybody beside it."""
    judging, documents = bench.judging, bench.judging_texts
    scorer = bench.fitted() if judging is not None or documents is not None else None
    about_texts = []
    if documents is not None and scorer is not None and scorer.texts is not None:
        about_texts = documents.judged(bench, scorer.texts.judge, PARTS.index(held))
    if judging is None or scorer is None:
        return JudgedRows(about_texts, [])
    chosen = judging.chosen(held)
    assert scorer.judging is not None
    bench.progress.say(f"  judging {len(chosen):,} {held} exposures")
    examples = judging.examples(bench, chosen, 4096)
    part, thresholds = scorer.judging, read_thresholds(bench.folder("fit"))
    plain = part.judge.answer_rows(scorer.model, examples)
    answers = {task: part.calibrated(task, values, examples.rows.scenarios) for task, values in plain.items()}
    found = judging.judged("m6rec", answers, chosen, bench, thresholds) + about_texts
    raw = {task: values for task, values in plain.items() if task in part.calibrations and judging.labels[task].kind not in UNCALIBRATED}
    before = [(part.calibrations[one.task], one) for one in judging.judged("m6rec", raw, chosen, bench, thresholds)]
    return JudgedRows(found, before)


def save_rows(rows: JudgedRows, folder: Path) -> None:
    """Into the folder of the evaluate stage; `kept_rows` reads it."""
    for number, one in enumerate(rows.judged):
        one.save(folder / JUDGED / f"{number:02d}-{one.name}-{module_name(one.task)}")
    for number, (calibration, one) in enumerate(rows.before):
        one.save(folder / BEFORE / f"{number:02d}-{module_name(one.task)}")
        write_json(folder / BEFORE / f"{number:02d}-{module_name(one.task)}.json", calibration.plain())


def kept_rows(folder: Path) -> JudgedRows:
    """What `save_rows` kept; nothing where no task judges, or none was calibrated."""
    judged = [Judged.load(child) for child in sorted((folder / JUDGED).iterdir())] if (folder / JUDGED).is_dir() else []
    before = [
        (Calibration.from_plain(read_json(child.with_name(f"{child.name}.json"))), Judged.load(child))
        for child in (sorted((folder / BEFORE).iterdir()) if (folder / BEFORE).is_dir() else [])
        if child.is_dir()
    ]
    return JudgedRows(judged, before)


def write_report(bench: Workbench, path: Path) -> None:
    """report.html of a run from what its stages kept."""
    folder = bench.folder("evaluate")
    rows = kept_rows(folder)
    found, completed, named = (kept_evaluations(place) for place in (folder, folder / BASKETS, folder / NAMED))
    write_page(path, page(bench, found, rows.judged, rows.before, completed, named))


def save_evaluations(evaluations: Sequence[Evaluation], folder: Path) -> None:
    """Into a folder of the evaluate stage; `kept_evaluations` reads it."""
    for number, one in enumerate(evaluations):
        one.save(folder / f"{number:02d}-{one.name}")


def kept_evaluations(folder: Path) -> list[Evaluation]:
    """What `save_evaluations` kept there, without the folders of others; nothing where there is no such folder."""
    others = (BASKETS, NAMED, JUDGED, BEFORE)
    return [Evaluation.load(one) for one in sorted(folder.glob("*/")) if one.name not in others]


def write_page(path: Path, text: str) -> None:
    """Atomically. Raises StorageError."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(
    bench: Workbench,
    evaluations: list[Evaluation],
    judged: Sequence[Judged] = (),
    calibrations: Sequence[tuple[Calibration, Judged]] = (),
    completed: Sequence[Evaluation] = (),
    named: Sequence[Evaluation] = (),
    conversed: Sequence[Conversed] = (),
) -> str:
    """The HTML report of `evaluations`, of the rows `judged`, of what calibration did to them, of baskets and of dialogues, with the run's data
    account, settings, curves and a few people."""
    account = json.loads((bench.folder("prepare") / "account.json").read_text(encoding="utf-8"))
    facts = {
        "data": {
            "users": len(bench.dataset.users),
            "items": len(bench.dataset.items),
            "events": len(bench.dataset.histories.items),
            "fingerprint": bench.dataset.fingerprint,
        },
        "model": {**bench.shape.plain(), **{f"weights, {name}": n for name, n in bench.model.count_parameters().items()}},
        "configuration": bench.config.plain(),
    }
    return html_report(
        evaluations,
        title=f"m6rec: {bench.run.root.resolve().name}",
        facts=facts,
        account=[(row["what"], row["rows"], row["why"]) for row in account],
        curves=[*_log(bench, "pretrain"), *_log(bench, "fit")],
        samples=_samples(bench),
        judged=judged,
        least=bench.config.evaluation.least,
        calibrations=calibrations,
        completed=completed,
        named=named,
        conversed=conversed,
    )


def _log(bench: Workbench, stage: str) -> list[dict[str, Any]]:
    """The log of a stage, one row an epoch (after a resume an epoch may stand there twice, and the later line counts); losses called so."""
    path = bench.folder(stage) / "log.jsonl"
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    newest = {row["epoch"]: row for row in rows}.values()
    return [{"stage": stage, **{f"loss {name}" if _is_loss(name) else name: value for name, value in row.items()}} for row in newest]


def _is_loss(name: str) -> bool:
    return "." in name and not name.startswith(OF_CELLS)


def _samples(bench: Workbench) -> list[Sample]:
    """A few people drawn by seed: what they had, what is recommended, what they chose."""
    cases, titles, ids = bench.split.test, bench.dataset.items.titles(), bench.dataset.users.ids.ids
    rows = np.sort(np.random.default_rng(bench.config.seed).choice(len(cases), min(SAMPLES, len(cases)), replace=False))
    requests = cases.requests.rows(rows)
    scores = served(bench).scores(requests)
    if bench.config.measured.exclude_history:
        mask_history(scores, requests.histories)
    best, _ = top_k(scores, SHOWN)
    users = requests.users if requests.users is not None else np.full(len(rows), -1)
    return [
        Sample(
            user=ids[users[i]] if users[i] >= 0 else "",
            history=[titles[item] for item in requests.histories.row(i)[-SHOWN:]],
            recommended=[titles[item] for item in best[i] if item >= 0],
            answer=titles[cases.targets.row(int(rows[i]))[0]],
        )
        for i in range(len(rows))
    ]


def mask_history(scores: np.ndarray, histories: Histories) -> None:
    """-inf for the items of each history, in place: scores (B, N)."""
    scores[np.repeat(np.arange(len(histories)), histories.lengths), histories.items] = -np.inf
