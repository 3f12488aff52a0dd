"""People nobody knows, on real data: what their words are worth, alone and beside a few events of theirs.

    python benchmarks/open.py --data DIR [--data DIR ...] [--work FOLDER] [--seeds 0 1] [--held validation]

DIR is anything `m6rec import` reads. A tenth of the users is held out of training entirely (split.protocol=cold_users), half of them for
choosing (`--held validation`), half for the test. What such a person says is made of what they did *later*, never of what is asked for:
the profile of the users table, if any, and the three categories or tags that stand out most in their later events; where the texts table has
reviews, the review they wrote of the item asked for (it is nowhere else: what people wrote is learned from the training users alone); where
items have only titles, the title of a later item.

Cold: no event is known. Three ways to ask: for the person's first event; for all of their first ten; for a random half of all their items, the
words being of the other half; with reviews, for the first event and for the item of every review, each alone. Baselines: popularity; demographic
popularity (smoothed counts of people with the same fields) raised for items
of the tags named, both weights chosen on the validation people; BM25 over everything the items and their reviewers say; and, beside the
question of the first event, popularity among first events, which a list of bestsellers does not know.
Curve: 0, 1, 2, 5, 10, 50 first events known, the next one asked for; by words alone, by events alone, by both. Intervals: 95 %, bootstrap
over people. Writes open.md and open.json into FOLDER; trained runs are kept and not repeated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from m6rec.base.contracts import Requests
from m6rec.data.dataset import FieldType
from m6rec.fusion.member import MEMBERS
from m6rec.serving.engine.engine import Engine
from m6rec.tasks.interest import standing_out, value_columns
from m6rec.training.pipeline import open_run
from m6rec.training.stages_interest import fitted_interest, raw_documents, written_texts

EVENTS = (0, 1, 2, 5, 10, 50)
LATER = 5  # later events that what somebody says is made of, at least
SMOOTHING = 1000.0  # events of popularity beside those of a group
PROFILE_WEIGHTS, TAG_WEIGHTS = (0.0, 0.3, 0.6, 1.0), (0.0, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0)
RESAMPLES = 2000
TOP = 10


@dataclass(frozen=True)
class Asked:
    """P people with so many first events: what they say, and the items asked for."""

    users: np.ndarray
    events: int
    texts: list[str]
    profiles: list[str]
    targets: list[np.ndarray]
    names: list[list[int]]  # columns of the tags they name


class Bench:
    """A run with its held-out people."""

    def __init__(self, run: Path) -> None:
        self.bench = open_run(run)
        self.scorer = self.bench.fitted()
        self.scorer.interest = fitted_interest(self.bench)
        self.engine = Engine(self.scorer)
        self.data, self.histories = self.bench.dataset, self.bench.dataset.histories
        self.bag, self.matrix = self.scorer.catalogue.bag, self.scorer.catalogue.matrix
        self.values = value_columns(self.bag)
        self.seen = self.bench.split.seen.astype(np.float64)
        self.spread = np.asarray((self.matrix[:, self.values].T @ self.seen) / max(self.seen.sum(), 1)).ravel()
        texts = written_texts(self.bench)
        self.written = (
            {} if texts is None else {(u, i): t for u, i, t in zip(*(texts[n].to_list() for n in ("user", "item", "text")), strict=True)}
        )
        self.people = {held: np.unique(getattr(self.bench.split, held).requests.users) for held in ("validation", "test")}
        table = raw_documents(self.bench, texts)
        self.bm25 = MEMBERS.get("bm25")().fit(self.bench.split.train, table)

    @property
    def way(self) -> str:
        """What people say."""
        return "a review" if self.written else "profile and three tags" if len(self.values) else "a title"

    def said(self, user: int, later: np.ndarray, target: int) -> tuple[str, list[int]] | None:
        """The words of somebody who will do `later`, and the tags among them; None where nothing can be said."""
        if self.written:
            text = self.written.get((user, target), "")
            return (text, []) if text else None
        later = later[later != target]
        if len(self.values):
            columns = standing_out(self.matrix, self.values, self.spread, later, 3).tolist() if len(later) >= LATER else []
            return ("; ".join(self.bag.features[column][1] for column in columns), columns) if columns else None
        title = self.data.items.titles()[int(later[0])] if len(later) else ""
        return (title, []) if title else None

    def profile(self, user: int) -> str:
        """The fields of a person as the engine words them; "" where there are none."""
        table = self.data.users
        told = {name: table.frame[name][user] for name in table.fields}
        return self.engine._profile_words({name: value for name, value in told.items() if value is not None}) if told else ""

    def first(self, held: str, events: int, asked: int = 1) -> Asked:
        """The next `asked` events after the first `events`; the words are of what comes after those (of the curve, after event 51)."""
        rows = []
        for user in self.people[held].tolist():
            past = self.histories.row(user)
            if len(past) < events + asked:
                continue
            found = self.said(user, past[events + asked :], int(past[events]))
            if found is not None:
                rows.append((user, *found, np.unique(past[events : events + asked])))
        return self._asked(events, rows)

    def every(self, held: str) -> Asked:
        """The item of each review that a person wrote, each asked for alone."""
        rows = []
        for user in self.people[held].tolist():
            for item in np.unique(self.histories.row(user)).tolist():
                found = self.said(user, self.histories.row(user)[:0], item)
                if found is not None:
                    rows.append((user, *found, np.array([item])))
        return self._asked(0, rows)

    def half(self, held: str) -> Asked:
        """A random half of all items, the words being of the other half."""
        generator, rows = np.random.default_rng(5), []
        for user in self.people[held].tolist():
            past = self.histories.row(user)
            side = generator.random(len(past)) < 0.5
            if side.all() or not side.any():
                continue
            target = int(past[side][0])
            found = self.said(user, past[~side], target)
            if found is not None:
                rows.append((user, *found, np.unique(past[side])))
        return self._asked(0, rows)

    def _asked(self, events: int, rows: list[Any]) -> Asked:
        users = np.array([row[0] for row in rows], dtype=np.int64)
        return Asked(
            users, events, [r[1] for r in rows], [self.profile(u) for u in users.tolist()], [r[3] for r in rows], [r[2] for r in rows]
        )

    def scores(self, asked: Asked, *, words: bool, events: bool) -> np.ndarray:
        """float32 (P, N) of the model."""
        requests = self.requests(asked, words=words, events=events)
        return np.concatenate(
            [self.scorer.scores(requests.rows(np.arange(s, min(s + 100, len(requests))))) for s in range(0, len(requests), 100)]
        )

    def requests(self, asked: Asked, *, words: bool, events: bool) -> Requests:
        count = asked.events if events else 0
        starts = self.histories.offsets[asked.users]
        places = (starts[:, None] + np.arange(count)).ravel()
        past = self.histories.pick(places.astype(np.int64), np.arange(len(asked.users) + 1) * count)
        known = self.engine.understood
        texts = [known(text).wanted or text for text in asked.texts] if words else None
        profiles = asked.profiles if words and any(asked.profiles) else None
        return Requests(past, np.full(len(asked.users), -1, dtype=np.int64), texts=texts, profiles=profiles)

    def ndcg(self, scores: np.ndarray, asked: Asked) -> np.ndarray:
        """float64 (P,): NDCG@10 of each person, a mean where one asks several times; events known are no candidates, unless asked for."""
        found = np.zeros(len(asked.users))
        for row, (user, targets) in enumerate(zip(asked.users.tolist(), asked.targets, strict=True)):
            own = scores[row].astype(np.float64)
            past = self.histories.row(user)[: asked.events]
            own[past[~np.isin(past, targets)]] = -np.inf
            ranks = [(own > own[t]).sum() + ((own == own[t]).sum() - 1) / 2 for t in targets]
            ideal = sum(1 / np.log2(place + 2) for place in range(min(len(targets), TOP)))
            found[row] = sum(1 / np.log2(rank + 2) for rank in ranks if rank < TOP) / ideal
        _, person = np.unique(asked.users, return_inverse=True)
        means: np.ndarray = np.bincount(person, found) / np.bincount(person)
        return means


class Groups:
    """Popularity, and that of people with the same fields, raised for the tags that are named."""

    def __init__(self, bench: Bench, counted: np.ndarray) -> None:
        """counted: bool (E,) over the training events: those that count."""
        self.bench, train = bench, bench.bench.split.train
        size, users = len(bench.data.items), np.repeat(np.arange(len(train)), train.lengths)[counted]
        items = train.items[counted]
        popular = np.bincount(items, minlength=size) + 0.5
        self.popular = np.log(popular / popular.sum())
        self.lifts: dict[str, np.ndarray] = {}
        self.codes: dict[str, np.ndarray] = {}
        table = bench.data.users
        for name, kind in table.fields.items():
            if kind != FieldType.CATEGORY:
                continue
            column = table.frame[name].to_list()
            values = sorted({value for value in column if value is not None})
            code = np.array([values.index(value) if value is not None else len(values) for value in column])
            counts = np.zeros((len(values) + 1, size))
            np.add.at(counts, (code[users], items), 1.0)
            smooth = (counts + SMOOTHING * popular / popular.sum()) / (counts.sum(axis=1, keepdims=True) + SMOOTHING)
            self.lifts[name], self.codes[name] = np.log(smooth) - self.popular, code
            self.lifts[name][-1] = 0.0

    def scores(self, asked: Asked, profile: float, tags: float) -> np.ndarray:
        """(P, N): log popularity + profile * log lifts of the person's fields + tags * how many of the tags named an item has."""
        found = np.tile(self.popular, (len(asked.users), 1))
        if profile:
            for name, lifts in self.lifts.items():
                found += profile * lifts[self.codes[name][asked.users]]
        if tags:
            for row, columns in enumerate(asked.names):
                if columns:
                    found[row] += tags * np.asarray(self.bench.matrix[:, columns].sum(axis=1)).ravel()
        return found

    def chosen(self, validation: Asked) -> tuple[float, float]:
        """The weights that serve the validation people best."""
        pairs = [(p, t) for p in (PROFILE_WEIGHTS if self.lifts else (0.0,)) for t in (TAG_WEIGHTS if any(validation.names) else (0.0,))]
        return max(pairs, key=lambda pair: float(self.bench.ndcg(self.scores(validation, *pair), validation).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="a folder that m6rec import reads; may be repeated")
    parser.add_argument("--work", type=Path, default=Path("runs/open"), help="where imports, runs and results go")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the training; the held-out people are those of each seed")
    parser.add_argument("--held", choices=["validation", "test"], default="test", help="which of the held-out people are asked for")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="passed on to m6rec train; then it is no longer the default")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = [measure(folder, seed, arguments) for folder in arguments.data for seed in arguments.seeds]
    arguments.work.mkdir(parents=True, exist_ok=True)
    said = {"command": " ".join(["python", "benchmarks/open.py", *sys.argv[1:]]), "held": arguments.held, "results": results}
    (arguments.work / "open.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    page = "\n\n".join(markdown(result) for result in results)
    (arguments.work / "open.md").write_text(page + "\n", encoding="utf-8")
    print(page)


def measure(folder: Path, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Import, train without the held-out people, ask."""
    place = arguments.work / folder.resolve().name
    command(["import", "auto", str(folder), "--out", str(place / "data")])
    settings = [
        f"seed={seed}",
        "split.protocol=cold_users",
        f"split.given=[{','.join(map(str, EVENTS))}]",
        f"train.threads={arguments.threads}",
        "evaluation.baselines=[]",
        "evaluation.judged_baselines=[]",
        "tasks.next.interest={}",
        *arguments.set,
    ]
    flags = [word for setting in settings for word in ("--set", setting)]
    run = place / f"seed-{seed}"
    command(["train", str(place / "data" / "config.yaml"), "--run", str(run), *flags, "--until", "interest"])
    bench = Bench(run)
    result: dict[str, Any] = {"data": folder.resolve().name, "seed": seed, "words": bench.way, "statement": bench.bench.split.statement}
    result["cold"] = {name: cold(bench, arguments.held, make, counted, seed) for name, make, counted in questions(bench)}
    result["curve"] = [point(bench, arguments.held, events, seed) for events in EVENTS]
    return result


def questions(bench: Bench) -> list[tuple[str, Callable[[str], Asked], np.ndarray | None]]:
    """What is asked of people without events, and which training events the second popularity counts."""
    train = bench.bench.split.train
    place = np.arange(len(train.items)) - np.repeat(train.offsets[:-1], train.lengths)
    found: list[tuple[str, Callable[[str], Asked], np.ndarray | None]] = [("first event", lambda held: bench.first(held, 0), place == 0)]
    if not bench.written:
        found.append(("first ten events", lambda held: bench.first(held, 0, 10), place < 10))
    return [*found, ("each reviewed item", bench.every, None) if bench.written else ("random half of all items", bench.half, None)]


def cold(bench: Bench, held: str, make: Callable[[str], Asked], counted: np.ndarray | None, seed: int) -> dict[str, Any]:
    """Ours and the baselines without any event."""
    asked, validation = make(held), make("validation")
    everything = np.ones(len(bench.bench.split.train.items), dtype=bool)
    groups = Groups(bench, everything)
    weights = groups.chosen(validation)
    requests = bench.requests(asked, words=True, events=False)
    found = {
        "m6rec, words only": bench.ndcg(bench.scores(asked, words=True, events=False), asked),
        "popularity": bench.ndcg(groups.scores(asked, 0.0, 0.0), asked),
        "demographic and tag popularity": bench.ndcg(groups.scores(asked, *weights), asked),
        "BM25": bench.ndcg(bench.bm25.scores(requests), asked),
    }
    best = max(list(found)[1:], key=lambda name: found[name].mean())
    beside = {"m6rec, nothing said": bench.ndcg(bench.scores(asked, words=False, events=False), asked)}
    if counted is not None:
        early = Groups(bench, counted)
        own = early.chosen(validation)
        beside["popularity among such events"] = bench.ndcg(early.scores(asked, 0.0, 0.0), asked)
        beside["the same, demographic and tags"] = bench.ndcg(early.scores(asked, *own), asked)
    ours = found["m6rec, words only"]
    rows = {
        name: {"ndcg@10": interval(values, seed), "m6rec over this": ratio(ours, values, seed)}
        for name, values in {**found, **beside}.items()
    }
    return {"people": len(np.unique(asked.users)), "best baseline": best, "weights": weights, "rows": rows}


def point(bench: Bench, held: str, events: int, seed: int) -> dict[str, Any]:
    """One number of known events."""
    asked = bench.first(held, events)
    if len(asked.users) < 20:
        return {"known": events, "people": len(asked.users)}
    ways = {
        name: bench.ndcg(bench.scores(asked, words=words, events=known), asked)
        for name, words, known in (("words", True, False), ("events", False, True), ("both", True, True))
    }
    better = max(("words", "events"), key=lambda name: ways[name].mean())
    gain = interval(ways["both"] - ways[better], seed)
    return {
        "known": events,
        "people": len(asked.users),
        **{name: interval(v, seed) for name, v in ways.items()},
        "better": better,
        "gain": gain,
    }


def command(words: list[str]) -> None:
    """Run the m6rec command; what it says goes to standard error alone."""
    if subprocess.run([sys.executable, "-m", "m6rec", *words], stdout=subprocess.DEVNULL, check=False).returncode:
        raise SystemExit(f"m6rec {' '.join(words)} failed")


def interval(values: np.ndarray, seed: int) -> list[float]:
    """Mean and 95 % interval, bootstrap over people."""
    generator = np.random.default_rng(seed)
    means = values[generator.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1)
    return [round(float(value), 5) for value in (values.mean(), *np.percentile(means, (2.5, 97.5)))]


def ratio(ours: np.ndarray, other: np.ndarray, seed: int) -> list[float]:
    """Ours over the other with its interval, people drawn together."""
    rows = np.random.default_rng(seed).integers(0, len(ours), (RESAMPLES, len(ours)))
    drawn = ours[rows].mean(axis=1) / np.maximum(other[rows].mean(axis=1), 1e-9)
    return [min(round(float(value), 3), 999.0) for value in (ours.mean() / max(other.mean(), 1e-9), *np.percentile(drawn, (2.5, 97.5)))]


def markdown(result: dict[str, Any]) -> str:
    """The tables of one data set and seed."""
    lines = [f"## {result['data']}, seed {result['seed']}: {result['words']}", "", result["statement"]]
    for question, table in result["cold"].items():
        lines += ["", f"No event known; asked for: {question} ({table['people']} people)", ""]
        lines += ["| scorer | NDCG@10 (95 %) | m6rec, words only / this (95 %) |", "|---|---|---|"]
        for name, row in table["rows"].items():
            times = "{:.2f} ({:.2f} to {:.2f})".format(*row["m6rec over this"]) if name != "m6rec, words only" else ""
            mark = " (best baseline)" if name == table["best baseline"] else ""
            lines.append(f"| {name}{mark} | {'{:.4f} ({:.4f} to {:.4f})'.format(*row['ndcg@10'])} | {times} |")
    lines += [
        "",
        "NDCG@10 by number of events known",
        "",
        "| events | people | words only | events only | both | both - better of the two (95 %) |",
    ]
    lines.append("|---|---|---|---|---|---|")
    for row in result["curve"]:
        if "both" not in row:
            lines.append(f"| {row['known']} | {row['people']} | too few | | | |")
            continue
        cells = [f"{row[name][0]:.4f} ({row[name][1]:.4f} to {row[name][2]:.4f})" for name in ("words", "events", "both")]
        lines.append(f"| {row['known']} | {row['people']} | {' | '.join(cells)} | {'{:+.4f} ({:+.4f} to {:+.4f})'.format(*row['gain'])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
