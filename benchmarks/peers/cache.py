"""What a peer's run left, small enough for the repository: figures as JSON, the rank of every test case as one compressed array.

    results/<cases>/<peer>-<key>.json   who, version, settings, seed, machine, epochs, speed, memory, latency
    results/<cases>/<peer>-<key>.npz    ranks float32 (T,), in the order of the test cases

The data themselves are not kept: users, targets and slices come from the split whose fingerprint names the folder. A result is found by peer,
version, settings (the seed is one of them) and cases; the machine is kept and shown, but does not decide: its times are its own, the ranks are not.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m6rec.base.storage import atomic_file, write_json
from m6rec.data.splits import Split
from m6rec.evaluation.config import EvaluationConfig
from m6rec.evaluation.evaluated import Evaluation
from m6rec.evaluation.protocol import distinct, statements
from m6rec.evaluation.slices import find_bounds
from peers.roster import Peer

RESULTS = Path(__file__).parent / "results"
TIMING_ONLY = ("shipped_seconds",)  # settings that change no rank


@dataclass(frozen=True)
class Result:
    """A finished run of a peer.

    measured  what the runner reported: speed, memory, latency, versions; seconds, all of them wall time unless they say cpu.
    epochs    one row an epoch: seconds of training, seconds so far, validation NDCG@10 and HR@10
    machine   cpu, cores, threads
    """

    peer: str
    package: str
    version: str
    settings: dict[str, Any]
    machine: dict[str, Any]
    measured: dict[str, Any]
    epochs: list[dict[str, float]]
    coverage: dict[str, float]

    @property
    def best_epoch(self) -> int:
        """Counted from 1."""
        return 1 + int(np.argmax([epoch["ndcg@10"] for epoch in self.epochs]))


def key(peer: Peer, version: str, settings: dict[str, Any]) -> str:
    """Eight hex digits of peer, version and settings."""
    deciding = {name: value for name, value in settings.items() if name not in TIMING_ONLY}
    text = json.dumps([peer.name, peer.package, version, deciding], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class Cache:
    """The results of one set of cases. `root` defaults to the folder in the repository."""

    def __init__(self, cases: str, root: Path = RESULTS) -> None:
        self.folder = root / cases[:12]

    def path(self, peer: Peer, version: str, settings: dict[str, Any]) -> Path:
        return self.folder / f"{peer.name}-{key(peer, version, settings)}.json"

    def find(self, peer: Peer, version: str, settings: dict[str, Any]) -> Path | None:
        """Where the result is, or None: both of its files have to be there."""
        path = self.path(peer, version, settings)
        return path if path.exists() and path.with_suffix(".npz").exists() else None

    def save(self, path: Path, result: Result, ranks: np.ndarray) -> None:
        """The ranks first: a result that is found is whole."""
        with atomic_file(path.with_suffix(".npz")) as temporary, open(temporary, "wb") as handle:
            np.savez_compressed(handle, ranks=ranks.astype(np.float32))
        write_json(path, asdict(result))


def load(path: Path, split: Split, config: EvaluationConfig) -> tuple[Result, Evaluation]:
    """A result and its ranks as an evaluation of `split`, comparable with any other of these cases.

    Raises:
        SystemExit: the ranks are not those of this split.
    """
    result = Result(**json.loads(path.read_text(encoding="utf-8")))
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
        ranks = arrays["ranks"].astype(np.float64)
    targets = distinct(split.test.targets)
    if len(ranks) != len(targets.items):
        raise SystemExit(f"{path} has {len(ranks)} ranks for {len(targets.items)} targets; remove it and run the peer again")
    requests = split.test.requests
    users = np.full(len(targets), -1, dtype=np.int64) if requests.users is None else np.asarray(requests.users, dtype=np.int64)
    evaluation = Evaluation(
        name=result.peer,
        ranks=ranks,
        offsets=targets.offsets,
        targets=targets.items,
        users=users,
        seen=split.seen[targets.items].astype(np.int64),
        catalogue=len(split.seen),
        cutoffs=list(config.cutoffs),
        bounds=find_bounds(split.seen, config),
        coverage={int(k): share for k, share in result.coverage.items()},
        statements=statements(split.test, len(split.seen), config, split.statement),
        resamples=config.resamples,
    )
    return result, evaluation
