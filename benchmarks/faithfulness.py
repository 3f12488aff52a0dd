"""Whether a reason is true of the ranker: what the score loses without the events that the sentence names, over as many random ones.

    python benchmarks/faithfulness.py --data FOLDER ... [--work FOLDER] [--users 300] [--held test]
    python benchmarks/faithfulness.py --run RUN ...

For every folder a model is trained with the default configuration (or a run is taken), people are drawn, and for each an item out of the
ten that are recommended to them is explained. The events that the sentence names (found in its words) are taken out of the history and
the model is asked again; so are as many random items of the whole history, and, harder, of the newest ten; and the newest ones. The score is the
log probability (with its gain for agreement) that orders the list. Ratios are of means; intervals by bootstrap over people.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from m6rec import Recommender
from m6rec.base.storage import write_json
from m6rec.explanation.question import Question, together
from m6rec.explanation.reason_words import shortened
from m6rec.serving.engine.explaining import question_of

DRAWS = 20  # random sets of a case
LIST = 10  # recommended items that one is drawn of
NEWEST = 10
RESAMPLES = 2000
OTHERS = {
    "random": "as many random ones",
    "near": f"as many random ones of the newest {NEWEST}",
    "unnamed": "as many random ones that it does not name",
    "newest": "the newest ones",
}


def measure(rec: Recommender, users: int, seed: int, task: str | None) -> dict[str, Any]:
    """Drops of the cases and what they make together."""
    generator = np.random.default_rng(seed)
    ids, histories = rec.engine.users.ids.ids, rec.engine.histories.compact()
    known = [row for row in generator.permutation(len(histories)).tolist() if len(np.unique(histories.row(row))) >= 2][:users]
    cases, without_words, untrue = [], 0, 0
    for row in known:
        answers = rec.recommend(ids[row], k=LIST)
        if not answers:
            continue
        item = answers[int(generator.integers(len(answers)))].item_id
        found = rec.explain(ids[row], item, counterfactuals=False, task=task)
        question = question_of(rec.engine, ids[row], None, None, None, None)
        named = [one for one in named_events(rec, question, found.reason) if one != item]
        untrue += len(found.dropped)
        if not named:
            without_words += 1
            continue
        cases.append(drops(rec, question, rec.engine.items.ids.dense(item), named, generator) | {"named": len(named)})
    return summary(cases) | {"people": len(known), "without events in the sentence": without_words, "untrue claims": untrue}


def named_events(rec: Recommender, question: Question, sentence: str) -> list[str]:
    """Ids of items of the history whose title the sentence says; where one title is part of another's, the longer one is meant."""
    ids, titles = rec.engine.items.ids.ids, rec.engine.items.titles()
    past = list(dict.fromkeys(question.whole.histories.items.tolist()))
    return [ids[one] for one in past if f"“{shortened(titles[one])}”" in sentence]


def drops(rec: Recommender, question: Question, item: int, named: list[str], generator: np.random.Generator) -> dict[str, float]:
    """What the log probability of `item` loses without the named events, and without others."""
    events = rec.engine.items.ids.many(named)
    past = np.array(list(dict.fromkeys(question.whole.histories.items[::-1].tolist())))  # newest first, each item once
    rest = past[~np.isin(past, events)]
    sets = {"cited": [events], "newest": [past[: len(events)]]}
    for name, among in (("random", past), ("near", past[:NEWEST]), ("unnamed", rest)):
        size = min(len(events), len(among))
        sets[name] = [generator.choice(among, size, replace=False) for _ in range(DRAWS)] if size else []
    asked = [question.whole, *(question.without_items(some.tolist()) for sets_of in sets.values() for some in sets_of)]
    scores = rec.engine.scorer.answer(together(asked))[0][:, item].astype(np.float64)
    found, place = {}, 1
    for name, some in sets.items():
        found[name] = float(np.mean(scores[0] - scores[place : place + len(some)])) if some else float("nan")
        place += len(some)
    return found | {"events": float(len(past))}


def summary(cases: list[dict[str, float]]) -> dict[str, Any]:
    """Mean drops, ratios of them with intervals, and the share of cases in which the cited ones lower the score more."""
    table = {name: np.array([case[name] for case in cases]) for name in (cases[0] if cases else ())}
    generator = np.random.default_rng(0)
    rows = [generator.integers(len(cases), size=len(cases)) for _ in range(RESAMPLES)] if cases else []
    found: dict[str, Any] = {"cases": len(cases)}
    if not cases:
        return found
    found["named events"] = round(float(table["named"].mean()), 2)
    found["events of a person"] = round(float(table["events"].mean()), 1)
    found["cited"] = interval(table["cited"], rows)
    for name in OTHERS:
        known = ~np.isnan(table[name])
        ratios = [ratio(table["cited"][row], table[name][row]) for row in rows]
        found[name] = {
            "drop": interval(table[name], rows),
            "ratio": [
                ratio(table["cited"], table[name]),
                *(float(value) for value in np.quantile(ratios, [0.025, 0.975], method="nearest")),
            ],
            "more often": float(np.mean(table["cited"][known] > table[name][known])),
        }
    return found


def ratio(cited: np.ndarray, other: np.ndarray) -> float:
    """Of the means over the cases that have both; infinite where the others lower nothing."""
    known = ~np.isnan(other)
    below = float(other[known].mean()) if known.any() else float("nan")
    return float(cited[known].mean()) / below if below > 0 else float("inf")


def interval(values: np.ndarray, rows: list[np.ndarray]) -> list[float]:
    """Mean and 95 % interval by bootstrap over cases, which are people."""
    means = [float(np.nanmean(values[row])) for row in rows]
    return [float(np.nanmean(values)), *(float(value) for value in np.quantile(means, [0.025, 0.975]))]


def table(results: dict[str, Any], line: str) -> str:
    """The results as Markdown."""
    head = ["data", "people", "events, named", "drop without the named", *(f"without {words}: drop, ratio" for words in OTHERS.values())]
    rows = [f"# Faithfulness of reasons\n\n`{line}`\n", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for name, one in results.items():
        cells = [name, str(one["cases"]), f"{one['events of a person']}, {one['named events']}", spoken(one["cited"])]
        cells += [
            f"{spoken(one[other]['drop'])}, **{one[other]['ratio'][0]:.1f}×** ({one[other]['ratio'][1]:.1f}-{one[other]['ratio'][2]:.1f})"
            for other in OTHERS
        ]
        rows.append("| " + " | ".join(cells) + " |")
    told = [
        f"{name}: {one['without events in the sentence']} of {one['people']} sentences name no event, {one['untrue claims']} untrue claims were taken out."
        for name, one in results.items()
    ]
    return "\n".join([*rows, "", *told, ""])


def spoken(values: list[float]) -> str:
    return f"{values[0]:.3f} ({values[1]:.3f}-{values[2]:.3f})"


def trained(folder: Path, work: Path, settings: list[str]) -> Path:
    """A run of the default configuration on a folder of data."""
    place = work / folder.name
    command(["import", "auto", str(folder), "--out", str(place / "data")])
    command(
        ["train", str(place / "data" / "config.yaml"), "--run", str(place / "run"), *(word for one in settings for word in ("--set", one))]
    )
    return place / "run"


def command(words: list[str]) -> None:
    """Run the m6rec command."""
    subprocess.run([sys.executable, "-m", "m6rec", *words], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", default=[], help="a folder that m6rec import reads; may be repeated")
    parser.add_argument("--run", action="append", default=[], metavar="[NAME=]RUN", help="a trained run instead; may be repeated")
    parser.add_argument("--work", type=Path, default=Path("runs/faithfulness"), help="where imports, runs and results go")
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1, help="of the people drawn; 0 is the one that settings were chosen on")
    parser.add_argument("--set", action="append", default=[], help="passed on to m6rec train; then it is no longer the default")
    given = parser.parse_args()
    runs = {name or Path(path).name: Path(path) for name, _, path in (run.rpartition("=") for run in given.run)}
    runs |= {folder.name: trained(folder, given.work, given.set) for folder in given.data}
    if not runs:
        parser.error("give --data FOLDER or --run RUN")
    results = {}
    for name, run in runs.items():
        results[name] = measure(Recommender.from_pretrained(run), given.users, given.seed, None)
        print(name, results[name], flush=True)
    line = "python benchmarks/faithfulness.py " + " ".join(sys.argv[1:])
    given.work.mkdir(parents=True, exist_ok=True)
    write_json(given.work / "faithfulness.json", {"command": line, "results": results})
    (given.work / "faithfulness.md").write_text(table(results, line), encoding="utf-8")
    print(table(results, line))


if __name__ == "__main__":
    main()
