"""Preferences under biased logging: what a model that learned from exposures thinks people would click if they looked, against what was planted.

    python benchmarks/planted.py [--work FOLDER] [--ways auto ignore propensity] [--users 1500] [--items 300] [--lists 12] [--set ...]

The built-in sample is shown by a policy that likes what is popular and is looked at from the top. For each way of treating the place of an exposure a
model is trained on it, then asked about people with every item that was out, no place given. The figure is Spearman's rank correlation of its
answers with the planted P(click | looked at), inside each person's items of one scenario (what a list is ordered by) and over items alone (their
means over people). Beside it: the items' click rates as logged, and with each click worth 1 / P(looked at).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from scipy.stats import rankdata

from m6rec.base.storage import atomic_file, write_json
from m6rec.data.sample import Sample, generate, write_sample
from m6rec.data.sample_tastes import SCENARIOS
from retrieval_ours import command

ASKED = 200  # people
WAYS = ("auto", "adjust", "propensity", "ignore")


def main(words: list[str] | None = None) -> str:
    """Measures, writes planted.json; returns the table, as Markdown."""
    arguments = parse(words)
    settings = {"users": arguments.users, "items": arguments.items, "lists_per_user": arguments.lists, "seed": arguments.seed}
    sample = generate(**settings)
    data = arguments.work / "data"
    if not (data / "config.yaml").exists():
        write_sample(data, tasks=True, **settings)
    people = chosen_people(sample, arguments.seed)
    planted = sample.exposure_truth.preferences(people)  # people, items
    shown = np.flatnonzero(np.bincount(places(sample.exposures["item_id"], sample.items["item_id"]), minlength=len(sample.items)) > 0)
    rows = [
        {"name": name, **measured(sample, np.tile(rate, (len(people), 1)), planted, shown)} for name, rate in click_rates(sample).items()
    ]
    rows += [
        {"name": f"m6rec, position: {way}", **measured(sample, answers(sample, way, people, arguments), planted, shown)}
        for way in arguments.ways
    ]
    rows.append({"name": "planted", **measured(sample, planted, planted, shown)})
    write_json(arguments.work / "planted.json", {"settings": settings, "set": arguments.set, "people": len(people), "rows": rows})
    print(markdown(rows))
    return markdown(rows)


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/planted"))
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=["auto", "propensity", "ignore"])
    parser.add_argument("--users", type=int, default=1500)
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--lists", type=float, default=12.0, help="lists of six items shown to a person, the mean")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="passed on to m6rec train")
    return parser.parse_args(words)


def places(ids: pl.Series, of: pl.Series) -> np.ndarray:
    """int64: where each id stands in `of`."""
    return ids.replace_strict(of, np.arange(len(of)), return_dtype=pl.Int64).to_numpy()


def chosen_people(sample: Sample, seed: int) -> np.ndarray:
    """Dense users who were shown something, drawn by seed."""
    known = np.unique(places(sample.exposures["user_id"], sample.users["user_id"]))
    return np.sort(np.random.default_rng(seed).choice(known, min(ASKED, len(known)), replace=False))


def click_rates(sample: Sample) -> dict[str, np.ndarray]:
    """float64 (items,): clicks over exposures, shrunk by five exposures of the mean rate; as logged, and with the planted P(looked at) undone."""
    item, clicked = places(sample.exposures["item_id"], sample.items["item_id"]), sample.exposures["clicked"].to_numpy().astype(np.float64)
    looked = sample.exposure_truth.examined[sample.exposures["position"].to_numpy() - 1]
    found = {}
    for name, worth in (("click rate of the item", np.ones_like(looked)), ("click rate, over P(looked at)", looked)):
        seen = np.bincount(item, worth, minlength=len(sample.items))
        found[name] = (np.bincount(item, clicked, minlength=len(sample.items)) + 5 * clicked.sum() / worth.sum()) / (seen + 5)
    return found


def answers(sample: Sample, way: str, people: np.ndarray, arguments: argparse.Namespace) -> np.ndarray:
    """float64 (people, items): a model's click probabilities, trained with one way of treating places."""
    data, run = arguments.work / "data", arguments.work / way
    settings = yaml.safe_load((data / "config.yaml").read_text(encoding="utf-8"))
    click = {key: value for key, value in settings["tasks"]["click"].items() if key != "metrics"} | {"position": way}
    settings["tasks"] = {name: click if name == "click" else settings["tasks"][name] for name in ("next", "click")}
    settings.pop("evaluation", None)  # what answers of tasks that are not trained here are worth
    config = data / f"config-{way}.yaml"
    with atomic_file(config) as temporary:
        temporary.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    words = [
        f"seed={arguments.seed}",
        f"train.threads={arguments.threads}",
        "evaluation.baselines=[]",
        "evaluation.judged_baselines=[]",
        *arguments.set,
    ]
    command(["train", str(config), "--run", str(run), *(word for setting in words for word in ("--set", setting))])
    ids = sample.items["item_id"]
    asked = pl.DataFrame(
        {
            "user_id": np.repeat(sample.users["user_id"].to_numpy()[people], len(ids)),
            "item_id": np.tile(ids.to_numpy(), len(people)),
            "scenario": np.tile(np.array(SCENARIOS)[sample.truth.scenario], len(people)),
        }
    )
    asked.write_parquet(run / "asked.parquet")
    command(["predict", str(run), str(run / "asked.parquet"), "--out", str(run / "answers.parquet"), "--tasks", "click"])
    return pl.read_parquet(run / "answers.parquet")["click"].to_numpy().astype(np.float64).reshape(len(people), len(ids))


def measured(sample: Sample, answered: np.ndarray, planted: np.ndarray, shown: np.ndarray) -> dict[str, Any]:
    """Rank correlations of (people, items): the mean over people and scenarios, and of the items' means; items that were shown at all."""
    each, alone = [], []
    for scenario in np.unique(sample.truth.scenario):
        items = shown[sample.truth.scenario[shown] == scenario]
        each += [rank_correlation(a[items], p[items]) for a, p in zip(answered, planted, strict=True)]
        alone.append(rank_correlation(answered[:, items].mean(axis=0), planted[:, items].mean(axis=0)))
    return {"of people": float(np.nanmean(each)), "of items": float(np.nanmean(alone))}


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's, ties at their mean rank; NaN where one is constant."""
    a, b = (rankdata(values) - (len(values) + 1) / 2 for values in (first, second))
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread else float("nan")


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table."""
    lines = ["| answers | preferences of people | means of items |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {row['name']} | {row['of people']:.3f} | {row['of items']:.3f} |" for row in rows)])


if __name__ == "__main__":
    main()
