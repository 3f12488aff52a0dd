"""`m6rec validate`: read the configuration and the data, and say what was read, dropped and why, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m6rec.cli.options import ConfigFile, Json, Set
from m6rec.cli.output import print_json, print_lines

if TYPE_CHECKING:
    from m6rec.config import M6RecConfig
    from m6rec.data.account import Account
    from m6rec.data.dataset import Dataset
    from m6rec.data.splits import Cases, Split

FEW_CASES = 200  # below this a 95 % interval of a hit rate is wider than most differences between models
MANY_REPEATS = 0.05  # share of held-out targets that no list without the history can hold, from which it is worth a warning


def validate(config: ConfigFile, settings: Set = None, as_json: Json = False) -> None:
    """Read the configuration and the data, print what was kept and dropped, the splits, and what the data decide. Writes nothing."""
    from m6rec.cli.decisions import decision_lines, decisions
    from m6rec.config import load_config
    from m6rec.data.leaks import refuse_leaks
    from m6rec.data.prepare import prepare
    from m6rec.data.row_splits import hold_back, split_rows
    from m6rec.data.splits import split
    from m6rec.training.configuration_checks import check_configuration, wording_of
    from m6rec.training.setting_checks import check_settings, check_wording, training_targets
    from m6rec.training.task_checks import check_tasks

    settled = load_config(config, settings or [])
    check_configuration(settled, config.parent)
    dataset, account = prepare(settled.data, settled.fields, settled.scenarios, config.parent, labels=settled.label_columns)
    if not as_json:
        print_lines(account.lines())  # before the split, so that an error there stands below what explains it
    check_wording(dataset, wording_of(settled, config.parent))
    cut = split(dataset, settled.split, settled.seed)
    checked = check_tasks(dataset, settled, refuse=False)
    check_settings(dataset, settled, {name: check.labels for name, check in checked.tasks.items()})
    if dataset.exposures is not None:
        cut = hold_back(cut, dataset, split_rows(dataset, settled.split, settled.seed))
    training_targets(cut.train, dataset.action_names, settled.choose)
    if not as_json:
        print_lines(
            ["", *(task.line() for task in checked.tasks.values()), *(f"leak: {leak.line()}" for leak in checked.leaks if leak.certain)]
        )
    sizes = {"train": len(cut.train.items), "validation": len(cut.validation), "test": len(cut.test)}
    found = [*warnings(dataset, account, cut, settled), *checked.warnings, *refuse_leaks(checked.leaks)]
    decided = decisions(settled, dataset, cut)
    repeats = {"validation": repeated(cut.validation), "test": repeated(cut.test)}
    if as_json:
        facts = {"statement": cut.statement, **sizes, "repeated_targets": repeats}
        tasks = {name: task.line() for name, task in checked.tasks.items()}
        print_json({"account": account.plain(), "split": facts, "tasks": tasks, "decisions": decided, "warnings": found})
        return
    print_lines(["", cut.statement, f"{sizes['train']:,} training events"])
    shares = [f"{repeats[name]:,} of {len(cases.targets.items):,} {name} targets" for name, cases in held_out(cut).items()]
    print_lines([f"{' and '.join(shares)} repeat an earlier item of the user's history", "", *decision_lines(decided)])
    print_lines(f"warning: {warning}" for warning in found)


def held_out(cut: Split) -> dict[str, Cases]:
    return {"validation": cut.validation, "test": cut.test}


def repeated(cases: Cases) -> int:
    """Targets that stand in their case's own history: where it is excluded, no list can hold them."""
    import numpy as np

    def pairs(row_lengths: np.ndarray, items: np.ndarray) -> np.ndarray:
        return np.repeat(np.arange(len(cases)), row_lengths) * (1 << 32) + items

    targets, past = cases.targets, cases.requests.histories
    return int(np.isin(pairs(targets.lengths, targets.items), pairs(past.lengths, past.items)).sum())


def warnings(dataset: Dataset, account: Account, cut: Split, settled: M6RecConfig) -> list[str]:
    """What does not stop training and will disappoint."""
    found = []
    for name, cases in held_out(cut).items():
        share = repeated(cases) / len(cases.targets.items)
        if share >= MANY_REPEATS and settled.choose.repeat == "exclude":
            found.append(
                f"{share:.0%} of the {name} targets repeat an item of the history, which is not recommended again: they count as missed; "
                f"type --set tasks.{settled.choose_name}.repeat=allow"
            )
    if settled.choose.positive is not None:
        found.append(f"tasks.{settled.choose_name}.positive decides what is trained on; the held-out targets are events of any action")
    without_text = account.count("items without text")
    if without_text > len(dataset.items) / 2:
        found.append(f"{without_text:,} of {len(dataset.items):,} items have no text: new items and typed requests have little to go by")
    single = account.count("users with one event")
    if single > len(dataset.users) / 2:
        found.append(f"{single:,} of {len(dataset.users):,} users have one event: nothing can be learned from what follows it")
    if len(cut.test) < FEW_CASES:
        found.append(f"{len(cut.test)} test cases: expect intervals wider than the difference between two models")
    return found
