"""Retrieval on real data: ours, our ablations, the built-in baselines and other people's recommenders on the same cases, in one table.

    python benchmarks/retrieval.py --data DIR [--data DIR ...] [--peers [NAMES]] [--seeds 0 1 2] [--work FOLDER]

DIR is anything `m6rec import` reads. Ours is the default configuration that `m6rec import` writes; nothing is tuned here, and nothing knows
a data set by name. All get the same training events, validation cases and test histories, and all ranks are made by m6rec.evaluation.

Every training is a process of its own, so that its wall time and peak memory are its own. A finished training is not repeated (stages are
content-addressed), a peer's result is read from benchmarks/peers/results where it has one, and whatever is killed goes on where it stopped.
Writes retrieval.md and retrieval.json into FOLDER. docs/peers.md says how the comparison is kept fair.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import retrieval_ours as ours
from m6rec.base.errors import nearest
from m6rec.base.storage import atomic_file, write_json
from peers.environment import machine
from peers.roster import PEERS
from peers.running import Measured, Peers
from retrieval_table import Row, make_row, markdown, middle, race

BASELINES = ["popularity", "transition_graph", "transition_graph_text", "item_knn", "ease", "ials", "content_knn"]


def main() -> None:
    arguments = parse()
    results = [measure_data(folder, arguments) for folder in arguments.data]
    record = {"machine": machine(arguments.threads), "settings": arguments.set, "results": results}
    write_json(arguments.work / "retrieval.json", record)
    page = "\n\n".join(markdown(result) for result in results)
    with atomic_file(arguments.work / "retrieval.md") as temporary:
        temporary.write_text(page + "\n", encoding="utf-8")
    print(page)


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="a folder that m6rec import reads; may be repeated")
    parser.add_argument("--work", type=Path, default=Path("runs/retrieval"), help="where imports, runs, environments and results go")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="of ours; without a number ours is not trained")
    parser.add_argument(
        "--ablations",
        nargs="*",
        default=["graph"],
        choices=["graph", "id", "text"],
        help="trained again without this part, with the first seed",
    )
    parser.add_argument("--baselines", nargs="*", default=BASELINES)
    parser.add_argument("--peers", nargs="*", metavar="NAME", help=f"some of: {', '.join(PEERS)}; without a name all that are not slow")
    parser.add_argument("--cached", action="store_true", help="peers from the cache only; none is trained")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser.add_argument("--threads", type=int, default=cores, help="of our trainings; a peer always has one")
    parser.add_argument(
        "--set", action="append", default=[], help="passed on to m6rec train, e.g. --set train.epochs=5; then it is no longer the default"
    )
    arguments = parser.parse_args(words)
    if arguments.peers is None:
        arguments.peers = []
    elif not arguments.peers:
        arguments.peers = [name for name, peer in PEERS.items() if not peer.slow]
    for name in arguments.peers:
        if name not in PEERS:
            parser.error(f"there is no peer '{name}'{nearest(name, list(PEERS))}; peers: {', '.join(PEERS)}")
    return arguments


def measure_data(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every row of one data set: ours, ablations, baselines, peers."""
    place = arguments.work / folder.resolve().name
    config = ours.import_data(folder, place)
    dataset, split = ours.cases(config, place)

    trainings = [ours.train(place, f"seed-{seed}", seed, arguments, []) for seed in arguments.seeds]
    evaluations = [ours.assess(training, "m6rec") for training in trainings]
    reference = middle(evaluations) if evaluations else None
    rows: list[Row] = []
    if reference is not None:
        chosen = trainings[[evaluation is reference for evaluation in evaluations].index(True)]
        timed = ours.latency(chosen["run"])
        facts = {"training": ours.typical(trainings), "latency": timed}
        rows.append(make_row("m6rec", "ours", evaluations, reference, seeds=arguments.seeds, **facts))
    for part in arguments.ablations if arguments.seeds else []:
        training = ours.train(place, f"without-{part}", arguments.seeds[0], arguments, ["--without", part])
        found = ours.assess(training, f"m6rec trained without {part}")
        rows.append(make_row(found.name, "ablation", [found], reference, seeds=arguments.seeds[:1], training=training))
    for name in arguments.baselines:
        found, facts = ours.baseline(name, dataset, split, config)
        rows.append(make_row(name, "baseline", [found], reference, training={"seconds": facts["seconds"]}, latency=facts["latency"]))

    peers = Peers(split, config.measured, place / "peers", arguments.work / "environments", only_cached=arguments.cached)
    for name in arguments.peers:
        measured = peers.measure(PEERS[name])
        if measured is not None:
            rows.append(peer_row(measured, reference))
    races = [race(row, trainings) for row in rows if row["kind"] == "peer"]
    return {"data": folder.resolve().name, "statement": split.statement, "rows": rows, "trainings": trainings, "races": races}


def peer_row(measured: Measured, reference: Any) -> Row:
    """A peer's line: speed on one core, memory, latency through its own API, and where the figures come from."""
    result, facts = measured.result, measured.result.measured
    cpu = sum(epoch["cpu_seconds"] for epoch in result.epochs)
    shipped = facts.get("shipped", {})
    timed = facts["latency"].get("api") or facts["latency"]["bare"]
    where = f"{result.machine['cpu']}, {result.machine['threads']} thread"
    note = f"{result.package} {result.version}, seed {result.settings['seed']}, best epoch {result.best_epoch} of {len(result.epochs)}"
    return make_row(
        result.peer,
        "peer",
        [measured.evaluation],
        reference,
        seeds=[result.settings["seed"]],
        training={
            "seconds": cpu,
            "wall_seconds": facts.get("wall_seconds"),
            "targets": facts["targets"],
            "targets_per_second": facts["targets"] * len(result.epochs) / cpu,
            "shipped_targets_per_second": shipped.get("targets_per_cpu_second"),
            "peak_mb": facts["peak_mb"],
        },
        latency={"p50_ms": timed["p50_cpu_ms"]} if "p50_cpu_ms" in timed else None,
        epochs=result.epochs,
        settings=result.settings,
        machine=result.machine,
        cached=measured.cached,
        note=f"{note}; {'cached' if measured.cached else 'run now'}: {where}",
    )


if __name__ == "__main__":
    main()
