"""`m6rec validate`: read the configuration and the data, and say what was read, dropped and why, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m6rec.cli.options import ConfigFile, Json, Set
from m6rec.cli.output import print_json, print_lines

if TYPE_CHECKING:
    from m6rec.data.account import Account
    from m6rec.data.dataset import Dataset
    from m6rec.data.splits import Split

FEW_CASES = 200  # below this a 95 % interval of a hit rate is wider than most differences between models


def validate(config: ConfigFile, settings: Set = None, as_json: Json = False) -> None:
    """Read the configuration and the data, print the account of what was kept and dropped, and the sizes of the splits. Writes nothing."""
    from m6rec.config import load_config
    from m6rec.data.prepare import prepare
    from m6rec.data.splits import split

    settled = load_config(config, settings or [])
    dataset, account = prepare(settled.data, settled.fields, settled.scenarios, config.parent)
    if not as_json:
        print_lines(account.lines())  # before the split, so that an error there stands below what explains it
    cut = split(dataset, settled.split, settled.seed)
    sizes = {"train": len(cut.train.items), "validation": len(cut.validation), "test": len(cut.test)}
    found = warnings(dataset, account, cut)
    if as_json:
        print_json({"account": account.plain(), "split": {"statement": cut.statement, **sizes}, "warnings": found})
        return
    print_lines(["", cut.statement, f"{sizes['train']:,} training events"])
    print_lines(f"warning: {warning}" for warning in found)


def warnings(dataset: Dataset, account: Account, cut: Split) -> list[str]:
    """What does not stop training and will disappoint."""
    found = []
    without_text = account.count("items without text")
    if without_text > len(dataset.items) / 2:
        found.append(f"{without_text:,} of {len(dataset.items):,} items have no text: new items and typed requests have little to go by")
    single = account.count("users with one event")
    if single > len(dataset.users) / 2:
        found.append(f"{single:,} of {len(dataset.users):,} users have one event: nothing can be learned from what follows it")
    if len(cut.test) < FEW_CASES:
        found.append(f"{len(cut.test)} test cases: expect intervals wider than the difference between two models")
    return found
