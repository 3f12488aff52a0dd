"""One peer on one set of cases: from the cache, or trained now in its own environment and then kept in the cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import m6rec
from m6rec.data.splits import Split
from m6rec.evaluation.config import EvaluationConfig
from m6rec.evaluation.evaluated import Evaluation
from peers.cache import Cache, Result, key, load
from peers.environment import machine, pinned, ready
from peers.exchange import cases_fingerprint, rank_scores, write_exchange
from peers.roster import DataSize, Peer, settings

RUNNERS = Path(__file__).parent / "runners"


@dataclass(frozen=True)
class Measured:
    """A peer's row: what its run left, its ranks, and whether somebody ran it before."""

    result: Result
    evaluation: Evaluation
    cached: bool


class Peers:
    """The peers on one split.

    place         where runs of these data go; a run that was killed goes on from there
    environments  where virtual environments are made, shared by all data
    only_cached   never start a run: a peer without a result is left out
    """

    def __init__(self, split: Split, config: EvaluationConfig, place: Path, environments: Path, *, only_cached: bool = False) -> None:
        self.split, self.config, self.place, self.environments, self.only_cached = split, config, place, environments, only_cached
        self.cases = cases_fingerprint(split, config.exclude_history)
        self.cache = Cache(self.cases)
        lengths = split.train.lengths
        self.size = DataSize(int((lengths > 0).sum()), len(split.seen), float(np.median(lengths[lengths > 0])))

    def measure(self, peer: Peer, seed: int = 0) -> Measured | None:
        """The peer's result; None where it has none and none was asked for, or its run failed (its log says why)."""
        version = pinned(peer.environment, peer.package)
        wanted = settings(peer, self.size, seed)
        found = self.cache.find(peer, version, wanted)
        if found is not None:
            return Measured(*load(found, self.split, self.config), cached=True)
        if self.only_cached:
            print(f"{peer.name} {version}: not in {self.cache.folder}; left out")
            return None
        work = self.place / f"{peer.name}-{key(peer, version, wanted)}"
        if not self._run(peer, wanted, work):
            return None
        path = self.cache.path(peer, version, wanted)
        self._keep(path, peer, version, wanted, work)
        return Measured(*load(path, self.split, self.config), cached=False)

    def _run(self, peer: Peer, wanted: dict[str, Any], work: Path) -> bool:
        """Train and score, in the peer's environment and a process of its own; all it prints goes to log.txt."""
        if (work / "scores.npy").exists():
            return True
        python = ready(peer.environment, self.environments)
        exchange = self.place / f"exchange-{self.cases[:12]}"
        if not exchange.exists():
            write_exchange(exchange, self.split, self.config.exclude_history)
        work.mkdir(parents=True, exist_ok=True)
        (work / "settings.json").write_text(json.dumps(wanted, indent=1), encoding="utf-8")
        threads = str(wanted["threads"])
        # The metrics of validation come from this m6rec; what they need besides numpy is nothing.
        source = str(Path(m6rec.__file__).parents[1])
        environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        command = [str(python), str(RUNNERS / peer.runner), str(exchange), str(work), str(work / "settings.json")]
        print(f"{peer.name}: running, see {work / 'log.txt'}", flush=True)
        with open(work / "log.txt", "a", encoding="utf-8") as log:
            done = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        if done.returncode:
            print(f"{peer.name}: failed with code {done.returncode}, see {work / 'log.txt'}; the same command goes on where it stopped")
        return done.returncode == 0

    def _keep(self, path: Path, peer: Peer, version: str, wanted: dict[str, Any], work: Path) -> None:
        """Rank by our code, write the cache, and drop what is large."""
        evaluation = rank_scores(work / "scores.npy", self.split, self.config, peer.name)
        progress = json.loads((work / "progress.json").read_text(encoding="utf-8"))
        result = Result(
            peer=peer.name,
            package=peer.package,
            version=version,
            settings=wanted,
            machine=machine(wanted["threads"]),
            measured=progress["facts"],
            epochs=progress["epochs"],
            coverage={str(k): share for k, share in evaluation.coverage.items()},
        )
        self.cache.save(path, result, evaluation.ranks)
        shutil.rmtree(work)
