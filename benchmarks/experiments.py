"""Whether experiments say what they should: false alarms under peeking, power, coverage, drift; by simulation with planted truths.

    python benchmarks/experiments.py peeking --runs 600
    python benchmarks/experiments.py returning --runs 300
    python benchmarks/experiments.py drift --runs 20
    python benchmarks/experiments.py off-policy --runs 60

People differ: each sees 1 + Poisson(3) exposures and clicks with a rate of their own (Beta, mean 0.1), so exposures of one person are alike.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from m6rec.serving.experiments.drift import AdaptiveWindow
from m6rec.serving.experiments.off_policy import off_policy
from m6rec.serving.experiments.outcomes import Ratio
from m6rec.serving.experiments.sequential import always_valid_p
from m6rec.serving.rules.exploration import explored

RATE, SPREAD = 0.1, 5.0  # mean of people's click rates; a + b of their Beta


def people(generator: np.random.Generator, shape: tuple[int, ...], lift: float) -> tuple[np.ndarray, np.ndarray]:
    """(clicks, exposures) of people, float64."""
    exposures = 1.0 + generator.poisson(3.0, shape)
    mean = RATE * (1 + lift)
    rates = generator.beta(mean * SPREAD, (1 - mean) * SPREAD, shape)
    return generator.binomial(exposures.astype(np.int64), rates).astype(np.float64), exposures


def figures(clicks: np.ndarray, exposures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(ratio, standard error) after each person, as `Ratio` has them; float64 (runs, people) each."""
    count = np.arange(1.0, clicks.shape[1] + 1)
    x, y = clicks.cumsum(axis=1), exposures.cumsum(axis=1)
    ratio, level = x / y, y / count
    squares = (clicks**2).cumsum(axis=1) - 2 * ratio * (clicks * exposures).cumsum(axis=1) + ratio**2 * (exposures**2).cumsum(axis=1)
    return ratio, np.sqrt(np.maximum(squares, 0) / np.maximum(count - 1, 1) / count) / level


def peeking(
    generator: np.random.Generator,
    runs: int,
    most: int,
    lift: float,
    *,
    fewest: int = 100,
    alpha: float = 0.05,
    scale: float = 0.05,
) -> dict[str, float]:
    """A look after every person of each arm: how often any look calls a difference, and at which look (median person)."""
    treated, error_treated = figures(*people(generator, (runs, most), lift))
    control, error_control = figures(*people(generator, (runs, most), 0.0))
    difference, error = treated - control, np.hypot(error_treated, error_control)
    found = always_valid_p(difference, error, scale * control)[:, fewest - 1 :] < alpha
    naive = (np.abs(difference) > 1.96 * error)[:, fewest - 1 :]
    called = found.any(axis=1)
    wrong = difference[np.arange(runs), fewest - 1 + found.argmax(axis=1)] * (1 if lift >= 0 else -1) < 0
    return {
        "called": float(called.mean()),
        "called the wrong way": float((called & wrong).mean()) if lift else float("nan"),
        "median people of an arm": float(np.median(found[called].argmax(axis=1) + fewest)) if called.any() else float("nan"),
        "called by the usual test at every look": float(naive.any(axis=1).mean()),
        "called by the usual test at the end": float(naive[:, -1].mean()),
    }


def returning(
    generator: np.random.Generator, runs: int, lift: float, *, most: int = 3_000, days: int = 60, scale: float = 0.05
) -> dict[str, float]:
    """People come on a day of their own and then come back every fifth day or so; a look a day, at sums over all their visits."""
    called, naive = 0, 0
    for _ in range(runs):
        sums = [np.zeros((2, most)), np.zeros((2, most))]  # clicks and exposures of the people of each arm
        rates = [generator.beta(mean * SPREAD, (1 - mean) * SPREAD, most) for mean in (RATE, RATE * (1 + lift))]
        since = generator.integers(0, days, (2, most))
        any_call = any_naive = False
        for day in range(days):
            means, errors = [], []
            for arm in (0, 1):
                here = (since[arm] == day) | ((since[arm] < day) & (generator.random(most) < 0.2))
                exposures = np.where(here, 1 + generator.poisson(2.0, most), 0)
                sums[arm] += generator.binomial(exposures, rates[arm]), exposures
                ratio = Ratio(*sums[arm][:, since[arm] <= day])
                means.append(ratio.mean)
                errors.append(ratio.error)
            if (since <= day).sum(axis=1).min() < 100:
                continue
            difference, error = means[1] - means[0], math.hypot(*errors)
            any_call |= bool(always_valid_p(difference, error, scale * means[0]) < 0.05)
            any_naive |= abs(difference) > 1.96 * error
        called, naive = called + any_call, naive + any_naive
    return {"called": called / runs, "called by the usual test at every look": naive / runs}


def stream(generator: np.random.Generator, before: int, after: int, rates: tuple[float, float], alike: bool) -> np.ndarray:
    """0 or 1 (before + after,): hits; `alike`: in visits of about five whose rate is the visit's own."""

    def part(count: int, rate: float) -> np.ndarray:
        if not alike:
            return generator.random(count) < rate
        visit = np.repeat(np.arange(count), generator.poisson(4.0, count) + 1)[:count]
        return generator.random(count) < generator.beta(rate * SPREAD, (1 - rate) * SPREAD, count)[visit]

    return np.concatenate([part(before, rates[0]), part(after, rates[1])]).astype(np.float64)


def drifts(generator: np.random.Generator, runs: int, alike: bool) -> dict[str, Any]:
    """False alarms in 50,000 events without drift; delay of three planted falls after 10,000 events."""
    false = 0
    for _ in range(runs):
        watch = AdaptiveWindow()
        false += sum(watch.add(value) is not None for value in stream(generator, 50_000, 0, (0.08, 0.08), alike))
    found: dict[str, Any] = {"false alarms in a million events": false / runs / 50_000 * 1e6}
    for drop in (0.05, 0.04, 0.06):
        delays: list[float] = []
        for _ in range(runs):
            watch = AdaptiveWindow()
            values = stream(generator, 10_000, 20_000, (0.08, drop), alike)
            alarms = [place for place, value in enumerate(values) if watch.add(value) is not None and place >= 10_000]
            delays.append(alarms[0] - 10_000 if alarms else float("inf"))
        found[f"0.08 to {drop}: found"] = float(np.isfinite(delays).mean())
        found[f"0.08 to {drop}: median events until"] = float(np.median(delays))
    return found


def judged_offline(generator: np.random.Generator, runs: int, exploration: float = 0.2, lists: int = 4_000) -> dict[str, float]:
    """Bias and coverage of IPS and SNIPS for a policy that shows two other items, against its true value."""
    items, k, examined = 12, 4, np.array([1.0, 0.7, 0.5, 0.4])
    worth = np.linspace(0.30, 0.05, items)  # probability of a click where it is looked at
    logged, other = np.arange(k), np.array([0, 7, 2, 4])  # the other policy puts items of the pool at two places
    truth = float((worth[other] * examined).mean())
    errors: dict[str, list[float]] = {"ips": [], "snips": []}
    covered = {"ips": 0, "snips": 0}
    for _ in range(runs):
        shown, chance = np.empty((lists, k), dtype=np.int64), np.empty((lists, k))
        for row in range(lists):
            shown[row], chance[row], _filled = explored(logged, np.arange(k, items), np.ones(k, dtype=bool), exploration, generator)
        taste = generator.beta(8, 2, lists)[:, None] / 0.8  # people differ
        clicks = generator.random((lists, k)) < worth[shown] * examined * taste
        frame = pl.DataFrame(
            {"unit": np.repeat(np.arange(lists), k).astype(str), "propensity": chance.ravel(), "outcome": clicks.ravel().astype(np.float64)}
        )
        found = off_policy(frame, (shown == other).astype(np.float64).ravel())
        for name, estimate in (("ips", found.ips), ("snips", found.snips)):
            errors[name].append(estimate.mean - truth)
            covered[name] += estimate.low <= truth <= estimate.high
    return {"true value": truth} | {
        f"{name}: {what}": value
        for name, found_errors in errors.items()
        for what, value in (
            ("mean error", float(np.mean(found_errors))),
            ("standard error of that", float(np.std(found_errors) / np.sqrt(runs))),
            ("root mean square error", float(np.sqrt(np.mean(np.square(found_errors))))),
            ("coverage of 95 % intervals", covered[name] / runs),
        )
    }


def chunks(runs: int, size: int, study: Callable[[int], dict[str, float]]) -> dict[str, float]:
    """Means over blocks of runs, so that memory stays small."""
    parts = [study(min(size, runs - start)) for start in range(0, runs, size)]
    known = {name: [part[name] for part in parts if not np.isnan(part[name])] for name in parts[0]}
    return {name: float(np.mean(values)) if values else float("nan") for name, values in known.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=("peeking", "returning", "drift", "off-policy"))
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--people", type=int, default=20_000, help="people an arm, at most")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    generator = np.random.default_rng(given.seed)
    started = time.perf_counter()
    found: dict[str, Any] = {}
    if given.study == "peeking":
        for lift in (0.0, 0.05, 0.1, 0.2, -0.1):
            found[f"effect {lift:+.0%}"] = chunks(given.runs, 100, partial(peeking, generator, most=given.people, lift=lift))
    elif given.study == "returning":
        found = {f"effect {lift:+.0%}": returning(generator, given.runs, lift) for lift in (0.0, 0.2)}
    elif given.study == "drift":
        found = {name: drifts(generator, given.runs, alike) for name, alike in (("independent events", False), ("visits alike", True))}
    else:
        found = judged_offline(generator, given.runs)
    print(json.dumps(found | {"seconds": round(time.perf_counter() - started, 1)}, indent=2))


if __name__ == "__main__":
    main()
