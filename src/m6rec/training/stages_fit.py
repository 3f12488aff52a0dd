"""Stages that fit, measure and pack: fit, evaluate, index, report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from m6rec.base.storage import write_json
from m6rec.data.baskets import all_baskets
from m6rec.evaluation.config import LEAST_CASES
from m6rec.evaluation.metric_names import told_value
from m6rec.evaluation.metrics import METRICS, expected_ranks
from m6rec.index.approximate import FaissIndex
from m6rec.index.build import build_index, describe
from m6rec.language_model.checkpoint import save_weights
from m6rec.tasks.agreement import Agreement
from m6rec.tasks.choose import ChooseExamples
from m6rec.tasks.choose_candidates import sample_states
from m6rec.tasks.choose_mixture import ChooseMixture
from m6rec.tasks.model_folder import INDEX
from m6rec.tasks.pack_states import pack_states
from m6rec.tasks.prior import training_values
from m6rec.tasks.prior_store import stored_values, too_large
from m6rec.tasks.spectral_identity import spectral_identity
from m6rec.tasks.task import Task
from m6rec.training.calibration import calibrate
from m6rec.training.dialogues import NAME as DIALOGUE
from m6rec.training.dialogues import POOL as DIALOGUE_POOL
from m6rec.training.freezing import freeze
from m6rec.training.judged_baselines import judge_beside, usual_baselines
from m6rec.training.judging import CALIBRATIONS, THRESHOLDS, JudgeValidation, calibrate_judge
from m6rec.training.judging import NAME as JUDGE
from m6rec.training.judging_texts import NAME as TEXTS
from m6rec.training.loop import Loop, LoopState
from m6rec.training.measuring import (
    BASKETS,
    NAMED,
    judge_rows,
    measure,
    measure_baskets,
    measure_named,
    save_evaluations,
    save_rows,
    write_report,
)
from m6rec.training.processes import Processes
from m6rec.training.setting_checks import training_targets
from m6rec.training.stage import Stage
from m6rec.training.stages_blend import refit, served
from m6rec.training.stages_interest import fitted_interest
from m6rec.training.workbench import AGREEMENT, Workbench
from m6rec.training.writing import NAME as WRITE

# Early stopping looks at no more than so many cases, drawn once by seed: a large catalogue makes every one of them dear.
BEST = "best.safetensors"  # the weights that the loop kept
BATCH_EXPOSURES = 1024  # judged in a step
MOST_VALIDATION_CASES, MOST_VALIDATION_SCORES = 20_000, 500_000_000


class Fit(Stage):
    """Train the tasks on the frozen item states; stop early by the validation."""

    name = "fit"
    needs = ("encode",)
    together = True

    def inputs(self, bench: Workbench) -> Any:
        config = bench.config
        # How often the state is saved, and where it runs, change nothing that is asked for.
        train = {k: v for k, v in config.train.plain().items() if k not in ("checkpoint_seconds", "threads", "device")}
        tasks = {name: task.plain() for name, task in config.tasks.items()}
        for task in tasks.values():
            task.pop("interest", None)  # learned after the fit, in a stage of its own
        if bench.config.judges:
            tasks["sharing"] = config.sharing.plain()
        if config.writes:
            tasks["writing"] = config.writing.plain()
        inputs = [config.model.history, config.split.plain(), tasks, train, config.measured.exclude_history, config.seed]
        return inputs if bench.processes == 1 else [*inputs, bench.processes]  # a step has a batch of each

    def run(self, bench: Workbench) -> dict[str, Any]:
        config = bench.config
        model, task = bench.model, bench.new_task()
        bench.progress.say(f"  {bench.split.statement}")
        if task.items.identity is not None and config.choose.spectral_start:
            start = spectral_identity(bench.had, len(bench.dataset.items), bench.shape.width, config.choose.prior, config.seed)
            task.items.identity.weight.data.copy_(start)
        task.bind(training_examples(bench))
        scorer = bench.scorer(model, task)
        tasks: dict[str, Task] = {"choose": task}
        weights = {"choose": config.choose.weight}
        basket = bench.new_basket(task)
        if basket is not None:
            assert config.basket is not None
            basket.bind(basket_examples(bench))
            tasks["basket"], weights["basket"] = basket, config.basket.weight
        watched: dict[str, str] = {}
        validations: list[Callable[[], dict[str, float]]] = []
        if config.choose.weight > 0:
            watched["choose"] = config.train.validation_metric
            validations.append(Validation(bench, scorer))
        judging = bench.judging
        if judging is not None:
            judge = judging.new_judge(bench, task)
            chosen = judging.chosen("training")
            passes = config.train.judged_passes(len(chosen), len(np.unique(judging.exposures.items[chosen])))
            share = min(1.0, passes / config.train.passes(bench.median_history))
            judge.bind(replace(judging.examples(bench, chosen, BATCH_EXPOSURES, trained=True), share=share))
            tasks[JUDGE] = judge
            for name, settings in judging.configs.items():
                weights |= settings.weights(name)
            watched |= judging.watched()
            judge_validation = JudgeValidation(bench, judging, judge)
            validations.append(judge_validation)
            bench.progress.say(f"  {judging.statement}")
        documents = bench.judging_texts
        if documents is not None:
            reading = documents.new_task(bench)
            reading.bind(documents.examples, bench.reader)
            tasks[TEXTS] = reading
            weights |= {name: settings.weight for name, settings in documents.configs.items()}
            watched |= documents.watched()
            validations.append(lambda: documents.validate(bench, reading))
        talking = bench.talking
        if talking is not None:
            assert config.dialogue is not None
            dialogue = talking.new_task(task)
            dialogue.bind(talking.examples())
            tasks[DIALOGUE], weights[DIALOGUE] = dialogue, config.dialogue.weight
            watched |= talking.watched()
            validations.append(lambda: talking.validate(dialogue, scorer))
            bench.progress.say(f"  {talking.statement}")
        writing = bench.writing
        if writing is not None:
            write = writing.new_task(bench, task)
            write.bind(writing.examples(bench), config.train.passes(bench.median_history))
            tasks[WRITE] = write
            weights |= {name: settings.weight for name, settings in writing.configs.items()}
            watched |= writing.watched()
            validations.append(lambda: writing.validate(bench, write))
            bench.progress.say(f"  {writing.statement}")
        freeze(model, tasks, config.train.trainable)
        loop = Loop(
            model,
            tasks,
            config.train,
            weights=weights,
            seed=config.seed,
            folder=bench.folder(self.name),
            precision=config.model.autocast,
            epochs=config.train.passes(bench.median_history),
            validate=lambda: {name: value for validation in validations for name, value in validation().items()},
            metric=watched,
            progress=bench.progress,
            device=bench.device,
        )
        state = loop.run()
        if not loop.processes.first:
            return {}
        task.bind(None)  # the calibration needs the memory
        agreement, agreed = Agreement(), None
        if config.choose.weight > 0:  # else nothing has learned to choose, and there is nothing to agree with
            with torch.no_grad():
                agreement, agreed = calibrate(bench, scorer)
        write_json(bench.folder(self.name) / AGREEMENT, agreement.plain())
        if talking is not None:
            dialogue.bind(None)
            with torch.no_grad():
                write_json(bench.folder(self.name) / DIALOGUE_POOL, talking.pooled(dialogue, scorer).plain())
        if documents is not None:
            with torch.no_grad():
                reading.fit_mixing(model)
            save_weights(bench.folder(self.name) / BEST, loop.module.state_dict(), {"epoch": state.best_epoch})
        if judging is not None:
            calibrations, thresholds = calibrate_judge(judge_validation)
            write_json(bench.folder(self.name) / THRESHOLDS, thresholds)
            for name, calibration in calibrations.items():
                write_json(bench.folder(self.name) / CALIBRATIONS / f"{name}.json", calibration.plain())
        reached = reached_at_best(state, watched)
        with_agreement = {} if agreed is None else {"with_agreement": agreed}
        write_json(bench.folder(self.name) / "fit.json", {"best_epoch": state.best_epoch + 1, **reached, **with_agreement})
        told = {f"validation {name}": round(told_value(name, value), 4) for name, value in reached.items()}
        return {"best epoch": state.best_epoch + 1, **told, **({} if agreed is None else {"with agreement": round(agreed, 4)})}


def reached_at_best(state: LoopState, watched: dict[str, str]) -> dict[str, float]:
    """The watched metrics at the epoch whose weights are kept."""
    if len(watched) == 1:
        return dict.fromkeys(watched.values(), state.best)
    seen = dict(state.validations.seen)[state.best_epoch]
    return {watched[task]: value for task, value in seen.items()}


class Validation:
    """The metric that early stopping looks at, on the validation cases."""

    def __init__(self, bench: Workbench, scorer: ChooseMixture) -> None:
        items = len(bench.dataset.items)
        most = min(MOST_VALIDATION_CASES, max(LEAST_CASES, MOST_VALIDATION_SCORES // items))
        cases = bench.split.validation.drawn(most, bench.config.seed)
        self.requests, self.targets, self.batch = cases.requests, cases.targets, bench.config.measured.batch_of(items)
        self.scorer, self.config, self.name = scorer, bench.config.measured, bench.config.train.validation_metric

    def __call__(self) -> dict[str, float]:
        self.scorer.refresh()
        metric, _, k = self.name.partition("@")
        total = 0.0
        for start in range(0, len(self.requests), self.batch):
            rows = np.arange(start, min(start + self.batch, len(self.requests)))
            requests, targets = self.requests.rows(rows), self.targets.rows(rows)
            excluded = requests.histories if self.config.exclude_history else None
            ranks = expected_ranks(self.scorer.scores(requests), targets, excluded)
            total += float(METRICS[metric](ranks, targets.offsets, int(k)).sum())
        self.scorer.refresh()
        return {self.name: total / len(self.requests)}


def training_examples(bench: Workbench) -> ChooseExamples:
    """Histories, the wanted targets, and what the cross-fitted priors say of each.

    Raises:
        DataError: no target at all.
    """
    config, histories, names = bench.config.choose, bench.split.train, bench.dataset.action_names
    wanted = training_targets(histories, names, config)
    tables, seed = bench.catalogue.priors, bench.config.seed
    if too_large(histories, config.prior):
        if not Processes().first:
            Processes().gather(None)  # until the first has written them
        values = stored_values(histories, tables, config.prior, seed, bench.folder("fit"), bench.had)
        if Processes().first:
            Processes().gather(None)
    else:
        values = training_values(histories, tables, config.prior, seed, bench.had)
    profiles = None if bench.profiles is None else bench.profiles.contents
    return ChooseExamples(
        histories, wanted, values, bench.catalogue.contents, profiles, bench.config.train.step_targets(len(histories.items))
    )


def basket_examples(bench: Workbench) -> ChooseExamples:
    """Training baskets: every item but the first is a target given those before it, with counts of the other folds of baskets."""
    config, baskets = bench.config.choose, bench.baskets
    assert baskets is not None
    wanted = np.ones(len(baskets.train.items), dtype=bool)
    wanted[baskets.train.offsets[:-1]] = False
    values = training_values(baskets.train, bench.basket_priors(baskets.train), config.prior, bench.config.seed)
    profiles = None if bench.profiles is None else bench.profiles.contents.rows(torch.from_numpy(baskets.users))
    targets = bench.config.train.step_targets(len(baskets.train.items))
    return ChooseExamples(baskets.train, wanted, values, bench.catalogue.contents, profiles, targets)


class Evaluate(Stage):
    """Measure the model and the baselines on the test cases."""

    name = "evaluate"
    needs = ("fit",)

    def inputs(self, bench: Workbench) -> Any:
        return _beside_blend(bench, bench.config.evaluation.plain())

    def run(self, bench: Workbench) -> dict[str, Any]:
        folder, baselines = bench.folder(self.name), bench.config.evaluation.baselines
        evaluations = measure(bench, baselines=baselines)
        save_evaluations(evaluations, folder)
        write_json(folder / "table.json", [evaluation.plain() for evaluation in evaluations])
        save_evaluations(measure_baskets(bench, baselines=baselines), folder / BASKETS)
        save_evaluations(measure_named(bench, baselines=baselines), folder / NAMED)
        rows = judge_rows(bench)
        if rows.judged:
            rows = rows.beside(judge_beside(bench, rows.judged, "test", *usual_baselines(bench.config, cheap=True)))
        save_rows(rows, folder)
        facts = {f"test {one.task} {one.metrics[0]}": round(one.value(one.metrics[0]), 4) for one in rows.judged if one.name == "m6rec"}
        return {"test ndcg@10": round(float(evaluations[0].values("ndcg@10").mean()), 4), **facts}


class Index(Stage):
    """Pack what serving needs into the model folder: weights, catalogue, the newest histories and user states, counts of all events, the index."""

    name = "index"
    needs = ("fit",)

    def inputs(self, bench: Workbench) -> Any:
        return _beside_blend(bench, [str(bench.run.model), bench.config.index.plain()])

    def run(self, bench: Workbench) -> dict[str, Any]:
        config, scorer = bench.config, served(bench)
        scorer.interest = fitted_interest(bench)
        # The weights were fitted without the held-out events; the counts and histories that serve are those of all events.
        scorer.catalogue = scorer.catalogue.with_priors(bench.all_had, config.choose.prior)
        refit(bench, scorer)
        if scorer.basket is not None:
            assert config.basket is not None
            scorer.basket = replace(
                scorer.basket, priors=bench.basket_priors(all_baskets(bench.all_had, config.basket.within, config.seed))
            )
        if scorer.dialogue is not None and bench.talking is not None:
            scorer.dialogue = bench.talking.everything(scorer.dialogue)
        if config.index.user_states:
            scorer.packed = pack_states(scorer, bench.dataset.histories, config.index.user_states)
        if scorer.blend is not None or len(scorer.catalogue) < config.index.exact_below:
            scorer.save(bench.run.model)
            return {"model": str(bench.run.model), "index": "none: the catalogue is scored whole"}
        queries = sample_states(scorer, bench.dataset.histories, config.index.queries, config.seed)
        index = build_index(scorer.vectors.numpy(), config.index, queries, config.seed)
        kept = (lambda folder: index.save(folder / INDEX)) if isinstance(index, FaissIndex) else None
        scorer.save(bench.run.model, beside=kept)
        return {"model": str(bench.run.model), **describe(index)}

    def output(self, bench: Workbench) -> Path | None:
        return bench.run.model / "config.json"


def _beside_blend(bench: Workbench, inputs: Any) -> Any:
    """`inputs`, and the keys of what is joined with the model where anything is: that is measured and packed then."""
    if bench.config.choose.interest is not None:
        inputs = [inputs, bench.key("interest")]
    return inputs if bench.config.fusion is None else [inputs, bench.key("blend")]


class Report(Stage):
    """Write report.html."""

    name = "report"
    needs = ("prepare", "fit", "evaluate")

    def inputs(self, bench: Workbench) -> Any:
        return str(bench.run.report)

    def run(self, bench: Workbench) -> dict[str, Any]:
        write_report(bench, bench.run.report)
        return {"report": str(bench.run.report)}

    def output(self, bench: Workbench) -> Path | None:
        return bench.run.report
