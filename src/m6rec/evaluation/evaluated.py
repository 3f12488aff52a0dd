"""What an evaluation keeps: the rank of every target, from which every figure and interval can be made again.

Dimension keys: C cases, T targets of all cases together (T >= C), M metrics at all cutoffs.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from m6rec.base.errors import CheckpointError, UsageError, nearest
from m6rec.base.storage import atomic_folder, recover_folder, write_json
from m6rec.evaluation.intervals import bootstrap_columns, paired
from m6rec.evaluation.metrics import METRICS
from m6rec.evaluation.slices import NAMES, Bounds, given_groups, select

FORMAT = 3  # 1 had no history lengths and nothing beyond accuracy, 2 no scenarios
FACTS_FILE = "evaluation.json"
RANKS_FILE = "ranks.npz"


class Estimate(NamedTuple):
    """A mean over cases and its 95 % interval; NaN where there is no case."""

    mean: float
    low: float
    high: float


@dataclass
class Evaluation:
    """One scorer measured on one set of cases.

    ranks    float64 (T,)     expected rank of each target, from 1
    offsets  int64 (C + 1,)   the targets of case c are ranks[offsets[c] : offsets[c + 1]]; never none
    targets  int32 (T,)       dense item ids
    users    int64 (C,)       dense user ids, -1 for nobody known
    seen     int64 (T,)       training events of each target
    given    int64 (C,)       events in the history of each case, or None where that was not kept
    scenarios  int16 (T,)     code of `scenario_names` that each target was chosen in, or None where that is not known
    beyond   metric@k -> float64 (C,): novelty, popularity, diversity, serendipity of each case's list; NaN where there is none
    gini     k -> how unevenly the lists of k show the catalogue
    """

    name: str
    ranks: np.ndarray
    offsets: np.ndarray
    targets: np.ndarray
    users: np.ndarray
    seen: np.ndarray
    catalogue: int
    cutoffs: list[int]
    bounds: Bounds
    coverage: dict[int, float] = field(default_factory=dict)
    given: np.ndarray | None = None
    scenarios: np.ndarray | None = None
    scenario_names: list[str] = field(default_factory=list)
    beyond: dict[str, np.ndarray] = field(default_factory=dict)
    gini: dict[int, float] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)
    seconds: float = 0.0
    milliseconds: float = 0.0
    batch: int = 1
    resamples: int = 1000
    seed: int = 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def names(self) -> list[str]:
        """The metrics this evaluation answers for: `ndcg@1`, ... in the order of METRICS and cutoffs."""
        return [f"{metric}@{k}" for metric in METRICS for k in self.cutoffs]

    def values(self, name: str) -> np.ndarray:
        """float64 (C,): the value of one metric for every case, e.g. `values("ndcg@10")`. Any k >= 1 is allowed.

        Raises:
            UsageError: no such metric.
        """
        metric, _, k = name.partition("@")
        if metric not in METRICS or not k.isdigit() or int(k) < 1:
            hint = nearest(metric, list(METRICS)) if metric not in METRICS else ""
            raise UsageError(f"unknown metric '{name}'{hint}; write metric@k with one of {', '.join(METRICS)}, for example ndcg@10")
        return METRICS[metric](self.ranks, self.offsets, int(k))

    def table(self) -> dict[str, Estimate]:
        """metric@k -> (mean, low, high) over all cases."""
        return self._estimates["all"]

    def slices(self) -> dict[str, dict[str, Estimate]]:
        """cold, warm, hot -> metric@k -> (mean, low, high); a slice without targets is left out.

        A slice looks at its own targets only: a case with one hot and one cold target is a case of both slices, each
        with one target. The candidates are the whole catalogue all the same.
        """
        return {name: estimates for name, estimates in self._estimates.items() if name != "all"}

    def slice_sizes(self) -> dict[str, int]:
        """Targets in each slice."""
        counts = np.bincount(self.bounds.slice_of(self.seen), minlength=len(NAMES))
        return {name: int(counts[code]) for code, name in enumerate(NAMES)}

    def difference(self, other: Evaluation, name: str) -> Estimate:
        """This minus `other` in one metric, paired case by case, with its 95 % interval.

        Raises:
            UsageError: the two were not measured on the same cases.
        """
        if (
            not np.array_equal(self.offsets, other.offsets)
            or not np.array_equal(self.targets, other.targets)
            or not np.array_equal(self.users, other.users)
        ):
            raise UsageError(f"'{self.name}' and '{other.name}' were not measured on the same cases; evaluate both on one split")
        return Estimate(*paired(self.values(name), other.values(name), self.resamples, self.seed, self.users))

    @cached_property
    def beyond_accuracy(self) -> dict[str, Estimate]:
        """novelty@k, popularity@k, diversity@k, serendipity@k -> (mean, low, high) over the cases that have one."""
        if not self.beyond:
            return {}
        found = np.stack(bootstrap_columns(np.stack(list(self.beyond.values()), axis=1), self.resamples, self.seed, self.users)).T
        return {name: Estimate(*row) for name, row in zip(self.beyond, found.tolist(), strict=True)}

    def by_given(self, name: str) -> list[tuple[str, int, Estimate]]:
        """(events given, cases, one metric) for cases with a like number of events in the history; empty where that was not kept.

        Raises:
            UsageError: no such metric.
        """
        if self.given is None or not len(self):
            return []
        groups, values = given_groups(self.given), self.values(name)
        columns = np.stack([np.where(inside, values, np.nan) for _, inside in groups], axis=1)
        found = np.stack(bootstrap_columns(columns, self.resamples, self.seed, self.users)).T.tolist()
        return [(word, int(inside.sum()), Estimate(*row)) for (word, inside), row in zip(groups, found, strict=True)]

    @cached_property
    def by_scenario(self) -> dict[str, tuple[int, dict[str, Estimate]]]:
        """Scenario -> its targets, metric@k -> (mean, low, high); empty where targets are of one scenario, or that is not known.

        A case looks at its targets of that scenario only, as in `slices`.
        """
        codes = np.zeros(0, dtype=np.int64) if self.scenarios is None else np.unique(self.scenarios)
        if len(codes) < 2:
            return {}
        parts = {self.scenario_names[code]: self.scenarios == code for code in codes.tolist()}
        found = self._of_parts(parts)
        return {name: (int(chosen.sum()), found[name]) for name, chosen in parts.items()}

    @cached_property
    def _estimates(self) -> dict[str, dict[str, Estimate]]:
        """All metrics of all cases and of every slice, over one set of resamples."""
        codes = self.bounds.slice_of(self.seen)
        parts = {name: codes == code for code, name in enumerate(NAMES)}
        return self._of_parts(parts, {"all": self._columns(self.ranks, self.offsets)})

    def _of_parts(self, parts: dict[str, np.ndarray], whole: dict[str, np.ndarray] | None = None) -> dict[str, dict[str, Estimate]]:
        """All metrics of the targets chosen by each part, bool (T,), over one set of resamples; parts without targets are left out.

        Args:
            whole: name -> float64 (C, M), metrics that are known already.
        """
        names, blocks = self.names(), dict(whole or {})  # each C M
        for name, chosen in parts.items():
            ranks, offsets, cases = select(self.ranks, self.offsets, chosen)
            if len(cases):
                blocks[name] = np.full((len(self), len(names)), np.nan)
                blocks[name][cases] = self._columns(ranks, offsets)
        columns = np.concatenate(list(blocks.values()), axis=1)
        found = np.stack(bootstrap_columns(columns, self.resamples, self.seed, self.users)).T.tolist()
        width = len(names)
        return {
            name: {metric: Estimate(*found[block * width + column]) for column, metric in enumerate(names)}
            for block, name in enumerate(blocks)
        }

    def _columns(self, ranks: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        return np.stack([metric(ranks, offsets, k) for metric in METRICS.values() for k in self.cutoffs], axis=1)

    def plain(self) -> dict[str, Any]:
        """JSON-ready: every figure with its interval, the slices, coverage, times, and how it was measured. What is unknown is None."""
        sizes = self.slice_sizes()
        by_given = {name: self.by_given(name) for name in self.names()} if self.given is not None and len(self) else {}
        return {
            "name": self.name,
            "cases": len(self),
            "targets": len(self.ranks),
            "catalogue": self.catalogue,
            "metrics": {name: estimate._asdict() for name, estimate in self.table().items()},
            "coverage": {f"coverage@{k}": share for k, share in self.coverage.items()},
            "beyond_accuracy": {
                **{name: {part: _number(v) for part, v in e._asdict().items()} for name, e in self.beyond_accuracy.items()},
                **{f"gini@{k}": _number(value) for k, value in self.gini.items()},
            },
            "given": [
                {
                    "events": word,
                    "cases": cases,
                    "metrics": {
                        name: {part: _number(v) for part, v in rows[place][2]._asdict().items()} for name, rows in by_given.items()
                    },
                }
                for place, (word, cases, _) in enumerate(next(iter(by_given.values()), []))
            ],
            "slices": {
                name: {
                    "targets": sizes[name],
                    "items": self.bounds.wording()[name],
                    "metrics": {m: e._asdict() for m, e in estimates.items()},
                }
                for name, estimates in self.slices().items()
            },
            "scenarios": {
                name: {"targets": targets, "metrics": {m: e._asdict() for m, e in estimates.items()}}
                for name, (targets, estimates) in self.by_scenario.items()
            },
            "mean_rank": float(self.ranks.mean()),
            "median_rank": float(np.median(self.ranks)),
            "seconds": self.seconds,
            "milliseconds_per_case": self.milliseconds,
            "batch": self.batch,
            "resamples": self.resamples,
            "seed": self.seed,
            "statements": self.statements,
        }

    def save(self, folder: Path | str) -> None:
        """Write `evaluation.json` (facts and figures) and `ranks.npz` (arrays, no pickle) as one folder, whole or not at all.

        Raises:
            StorageError: no space or no permission; what was there is untouched.
        """
        facts = {
            "format": FORMAT,
            "kept": {
                "name": self.name,
                "catalogue": self.catalogue,
                "cutoffs": self.cutoffs,
                "bounds": [self.bounds.warm_from, self.bounds.hot_from],
                "coverage": [self.coverage.get(k) for k in self.cutoffs],
                "gini": [_number(self.gini.get(k, math.nan)) for k in self.cutoffs],
                "beyond": list(self.beyond),
                "scenario_names": self.scenario_names,
                "statements": self.statements,
                "seconds": self.seconds,
                "milliseconds": self.milliseconds,
                "batch": self.batch,
                "resamples": self.resamples,
                "seed": self.seed,
            },
            "figures": self.plain(),
        }
        with atomic_folder(folder) as temporary:
            arrays = {name: getattr(self, name) for name in ("ranks", "offsets", "targets", "users", "seen")}
            arrays |= {name: values for name in ("given", "scenarios") if (values := getattr(self, name)) is not None}
            if self.beyond:
                arrays["beyond"] = np.stack(list(self.beyond.values()))
            np.savez_compressed(temporary / RANKS_FILE, allow_pickle=False, **arrays)
            write_json(temporary / FACTS_FILE, facts)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """What `save` wrote.

        Raises:
            CheckpointError: missing, truncated, from a newer version, or the two files do not match.
        """
        folder = Path(folder)
        recover_folder(folder)
        try:
            facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
            if facts["format"] > FORMAT:
                raise CheckpointError(
                    f"{folder} was written in format {facts['format']}, this version reads up to {FORMAT}; update m6rec or evaluate again"
                )
            kept = dict(facts["kept"])
            kept["bounds"] = Bounds(*kept["bounds"])
            kept["coverage"] = {k: share for k, share in zip(kept["cutoffs"], kept["coverage"], strict=True) if share is not None}
            kept["gini"] = {k: share for k, share in zip(kept["cutoffs"], kept.get("gini", []), strict=False) if share is not None}
            beyond = kept.pop("beyond", [])
            # Opened here, so that it is closed here: numpy leaves a file that is no zip open.
            with open(folder / RANKS_FILE, "rb") as handle, np.load(handle, allow_pickle=False) as arrays:
                kept["given"], kept["scenarios"] = arrays.get("given"), arrays.get("scenarios")
                kept["beyond"] = dict(zip(beyond, arrays["beyond"], strict=True)) if beyond else {}
                loaded = cls(**kept, **{key: arrays[key] for key in ("ranks", "offsets", "targets", "users", "seen")})
        except FileNotFoundError as error:
            raise CheckpointError(f"{folder} holds no evaluation: {Path(error.filename).name} is missing; run m6rec evaluate") from None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{folder} is damaged ({type(error).__name__}: {error}); run m6rec evaluate again") from None
        lengths = {len(loaded.ranks), len(loaded.targets), len(loaded.seen), int(loaded.offsets[-1]) if len(loaded.offsets) else -1}
        per_case = [loaded.users, *loaded.beyond.values(), *([] if loaded.given is None else [loaded.given])]
        lengths |= set() if loaded.scenarios is None else {len(loaded.scenarios)}
        if len(lengths) != 1 or any(len(values) != len(loaded) for values in per_case):
            raise CheckpointError(f"{folder} is damaged: {RANKS_FILE} does not match itself; run m6rec evaluate again")
        return loaded


def _number(value: float) -> float | None:
    """NaN, which JSON has no number for, as None."""
    return None if math.isnan(value) else value
