"""Surges planted into streams of texts: how many are found and how late; and false alarms on quiet streams, counted.

Streams of hourly windows over several topics, with hours, days, drifting levels and over-dispersion; no model takes part.

    python benchmarks/monitor.py
    python benchmarks/monitor.py --seeds 0,1,2,3,4 --windows 2000 --json
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from m6rec.evaluation.surges import SurgeDetector, SurgeSettings

START = 1_704_067_200.0  # Monday 2024-01-01
LEVELS = (2.0, 6.0, 20.0, 60.0)  # texts an hour, one topic each
DISPERSION = (0.0, 0.1, 0.3)
LENGTH = 6  # windows of a planted surge
CALM = 12  # windows after which another alarm is another alarm
SIZES = (2.0, 3.0, 5.0)
SHARES = (0.35, 0.5, 0.7)  # negative share within a surge; 0.15 outside


@dataclass(frozen=True)
class Stream:
    """counts, negative: int64 (windows,) of one topic; planted: (first window, kind, size)."""

    counts: np.ndarray
    negative: np.ndarray
    planted: list[tuple[int, str, float]]


def stream(windows: int, level: float, dispersion: float, generator: np.random.Generator, surges: bool) -> Stream:
    """Hours and days, a level that wanders by a third, negative binomial noise, a share of negatives that wanders a little."""
    at = np.arange(windows)
    season = np.exp(0.7 * np.sin(2 * np.pi * (at % 24) / 24)) * np.where((at // 24) % 7 >= 5, 0.6, 1.0)
    wander = np.exp(np.cumsum(generator.normal(0, 0.006, windows)))
    mean = level * season * wander
    share = np.clip(0.15 + np.cumsum(generator.normal(0, 0.001, windows)), 0.05, 0.3)
    planted = []
    if surges:
        for place in range(336, windows - LENGTH - CALM, 120):
            first = place + int(generator.integers(0, 24))
            if generator.random() < 0.5:
                size = float(generator.choice(SIZES))
                mean[first : first + LENGTH] *= size
                planted.append((first, "volume", size))
            else:
                size = float(generator.choice(SHARES))
                share[first : first + LENGTH] = size
                planted.append((first, "negative", size))
    noise = generator.gamma(1 / dispersion, dispersion, windows) if dispersion else np.ones(windows)
    counts = generator.poisson(mean * noise)
    return Stream(counts, generator.binomial(counts, share), planted)


def watch(streams: list[Stream], settings: SurgeSettings) -> list[list[tuple[int, str]]]:
    """(window, kind) of the alarms of each topic; what follows within CALM windows is the same alarm."""
    found = []
    for one in streams:
        detector = SurgeDetector(settings)
        alarms: list[tuple[int, str]] = []
        last: dict[str, int] = {}
        for window, (count, negative) in enumerate(zip(one.counts, one.negative, strict=True)):
            for surge in detector.close(START + window * settings.window, float(count), float(negative), len(streams)):
                if window - last.get(surge.kind, -CALM - 1) > CALM:
                    alarms.append((window, surge.kind))
                last[surge.kind] = window
        found.append(alarms)
    return found


def quiet(windows: int, seed: int, settings: SurgeSettings) -> float:
    """False alarms in 1,000 windows, all topics together."""
    generator = np.random.default_rng([seed, 1])
    streams = [stream(windows, level, d, generator, False) for level in LEVELS for d in DISPERSION]
    return sum(map(len, watch(streams, settings))) / windows * 1000


def planted(windows: int, seed: int, settings: SurgeSettings) -> list[dict[str, Any]]:
    """One row a planted surge: kind, size, level, whether found and how many windows after its first."""
    generator = np.random.default_rng([seed, 2])
    places = [(level, d) for level in LEVELS for d in DISPERSION]
    streams = [stream(windows, level, d, generator, True) for level, d in places]
    rows = []
    for (level, dispersion), one, alarms in zip(places, streams, watch(streams, settings), strict=True):
        for first, kind, size in one.planted:
            hits = [window - first for window, what in alarms if what == kind and first <= window < first + LENGTH + 2]
            rows.append({"kind": kind, "size": size, "level": level, "dispersion": dispersion, "delay": min(hits) if hits else None})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="seeds of the streams")
    parser.add_argument("--windows", type=int, default=2000, help="hours of each stream")
    parser.add_argument("--false-alarms", type=float, default=1.0, help="allowed in 1,000 windows, all topics together")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    settings = SurgeSettings(false_alarms=given.false_alarms)
    false = [quiet(given.windows, seed, settings) for seed in seeds]
    rows = [row for seed in seeds for row in planted(given.windows, seed, settings)]
    table = []
    for kind, sizes in (("volume", SIZES), ("negative", SHARES)):
        for size in sizes:
            for level in LEVELS:
                part = [row for row in rows if (row["kind"], row["size"], row["level"]) == (kind, size, level)]
                delays = [row["delay"] for row in part if row["delay"] is not None]
                recall = len(delays) / len(part) if part else float("nan")
                table.append(
                    {
                        "kind": kind,
                        "size": size,
                        "level": level,
                        "surges": len(part),
                        "recall": recall,
                        "delay": np.mean(delays) if delays else None,
                    }
                )
    if given.json:
        print(json.dumps({"seeds": seeds, "false_alarms_per_1000": false, "allowed": given.false_alarms, "table": table}, indent=2))
        return
    counted = ", ".join(f"{rate:.2f}" for rate in false)
    print(
        f"quiet streams, {len(LEVELS) * len(DISPERSION)} topics: false alarms in 1,000 windows {counted} (allowed {given.false_alarms:g})"
    )
    print(f"{'kind':<9} {'size':>5} {'texts/h':>8} {'planted':>8} {'found':>7} {'delay':>6}")
    for row in table:
        delay = "-" if row["delay"] is None else f"{row['delay']:.1f}"
        print(f"{row['kind']:<9} {row['size']:>5g} {row['level']:>8g} {row['surges']:>8} {row['recall']:>7.0%} {delay:>6}")


if __name__ == "__main__":
    main()
