"""Who is measured and how it is set up. Settings follow from the size of the data by the rules below, never from a name.

Where they come from: width, blocks, heads, dropout, length and negatives are those the eSASRec authors chose by validation over a grid for data of
short and of long histories (arXiv 2508.06450, its repository's table of hyperparameters); gBCE as in gSASRec (arXiv 2308.07192); HSTU with the
cosine similarity and temperature of its authors (arXiv 2402.17152). The full softmax runs use the same network. The number of epochs is
chosen by validation. RecBole's models keep its own defaults (arXiv 2211.15148). `--set` of the benchmark never reaches a peer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LONG = 50  # a median training history of at least this many events counts as long


@dataclass(frozen=True)
class Peer:
    """One row of the table.

    environment  the file in requirements/ (without .txt) and the virtual environment made of it
    runner       the file in runners/
    package      whose version is part of the cache key
    network      what differs from the other peers of the same environment
    slow         left out unless it is asked for by name
    """

    name: str
    environment: str
    package: str
    runner: str
    network: dict[str, Any]
    slow: bool = False


@dataclass(frozen=True)
class DataSize:
    """What the rules may look at."""

    users: int
    items: int
    median_history: float


SAMPLED = {"loss": "sampled_softmax", "n_negatives": 256}
GBCE = {"loss": "gBCE", "n_negatives": 256, "gbce_t": 0.75}
SOFTMAX = {"loss": "softmax"}
TEMPERED = {"lightning_module_kwargs": {"logits_t": 0.05}}  # HSTU's similarity is a cosine


def _rectools(name: str, model: str, ligr: bool = False, **parameters: Any) -> Peer:
    return Peer(name, "rectools", "rectools", "run_rectools.py", {"model": model, "ligr": ligr, "parameters": parameters})


def _recbole(name: str, model: str, **parameters: Any) -> Peer:
    return Peer(name, "recbole", "recbole", "run_recbole.py", {"model": model, "parameters": parameters}, slow=True)


PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        _rectools("rectools-sasrec", "sasrec", **SOFTMAX),
        _rectools("rectools-esasrec", "sasrec", ligr=True, use_key_padding_mask=True, **SAMPLED),
        _rectools("rectools-hstu", "hstu", **SOFTMAX, **TEMPERED),
        _rectools("rectools-sasrec-gbce", "sasrec", **GBCE),
        _rectools("rectools-bert4rec", "bert4rec", mask_prob=0.2, **SOFTMAX),
        _recbole("recbole-sasrec", "SASRec"),
        _recbole("recbole-gru4rec", "GRU4Rec"),
    )
}


def settings(peer: Peer, size: DataSize, seed: int) -> dict[str, Any]:
    """The whole configuration of a run, JSON-ready: what goes to the runner and, as part of the key, into the cache."""
    long = size.median_history >= LONG
    run = {"seed": seed, "threads": 1, "max_epochs": 30 if long else 60, "patience": 3}
    if peer.environment == "rectools":
        run["shipped_seconds"] = 15.0
    shared = {"rectools": _rectools_network, "recbole": _recbole_network}[peer.environment](size, long)
    return {**run, **peer.network, "parameters": {**shared, **peer.network["parameters"]}}


def _rectools_network(size: DataSize, long: bool) -> dict[str, Any]:
    batch = steps_batch(size.users)
    return {
        "n_factors": 64,
        "n_blocks": 2 if long else 1,
        "n_heads": 1,
        "dropout_rate": 0.1 if long else 0.2,
        "session_max_len": 200 if long else 50,
        "lr": 2e-3 if long else round(1e-3 * (batch / 32) ** 0.5, 6),
        "batch_size": batch,
    }


def _recbole_network(size: DataSize, long: bool) -> dict[str, Any]:
    """Every prefix is a sequence of its own, so a short length cuts what is read and no target."""
    return {"MAX_ITEM_LIST_LENGTH": 200 if long else 20, "train_batch_size": 256, "learning_rate": 1e-3}


def steps_batch(users: int) -> int:
    """Sequences in a batch: the power of two from 32 to 128 (RecTools' own) that comes nearest to 350 steps an epoch."""
    return min((32, 64, 128), key=lambda size: abs(users / size - 350))
