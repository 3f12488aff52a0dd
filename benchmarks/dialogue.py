"""Dialogues: the item an assistant names next, known questions, handing over; ours beside popularity and BM25 on the same rows.

    python benchmarks/dialogue.py --data FOLDER [--sequences FILE] [--known FOLDER] [--work FOLDER] [--seed 0] [--set KEY=VALUE ...]

--data       dialogues that `m6rec import redial` reads: files whose name holds "test" are the test, a tenth of the others (by hash) the validation
--sequences  a table in it of further dialogues whose items alone are known: they become events, for the histories and the transition counts of ours, and
             for popularity; measured with and without
--known      a folder with train.csv and test.csv (text, category): questions whose category is the answer
The built-in sample with planted questions and hand-overs is made, trained on and measured besides: on its held-out dialogues, which say things as the
others do, and on fresh ones in words that no sample has (dialogue_wordings.json, its part "test"; "development" is what was chosen by). The model is what
`m6rec train` makes of the imported configuration, with the weights and counts of the training dialogues alone. Constants of the baselines are chosen on
the validation dialogues; the test is measured once. Writes dialogue.md and dialogue.json into the work folder.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from dialogue_fresh import fresh_dialogues
from dialogue_named import AT, best_of, bm25, catalogue_documents, compared, dialogue_documents, measured, popularity
from dialogue_service import asked_freely, banking, on_sample, talked
from m6rec import Recommender
from m6rec.base.storage import write_json
from m6rec.config import load_config
from m6rec.data.importers.importer import import_data
from m6rec.data.sample import write_sample
from m6rec.training.pipeline import train, workbench
from m6rec.training.progress import Progress

SETTINGS = ["model.size=tiny", "pretrain.epochs=1", "train.threads=1", "evaluation.baselines=[popularity]", "evaluation.resamples=100"]
SAMPLE = [
    *("model.width=32", "model.history=20", "pretrain.epochs=1", "train.epochs=6", "train.threads=1", "text.vocabulary=800"),
    *("evaluation.baselines=[popularity]", "evaluation.resamples=100", "evaluation.worth={}"),
]
SHARES = ("right", "wrong", "handed", "others answered")
UNASKED = r"^  (click|purchase|like|long_view|dislike|rating|category|reason|review|query|reply): .*\n"  # no part of a conversation here


def named(source: Path, work: Path, sequences: str | None, settings: list[str], seed: int) -> dict[str, Any]:
    """The table of one variant."""
    name = "with-sequences" if sequences else "texts-alone"
    folder, run = work / name, work / f"run-{name}-{seed}"
    import_data("redial", source, folder, {} if sequences is None else {"sequences": sequences})
    config = load_config(folder / "config.yaml", [*SETTINGS, f"seed={seed}", *settings])
    train(config, folder, run, progress=True, until="fit")
    bench = workbench(config, folder, run, Progress(visible=False))
    talking, items = bench.talking, bench.dataset.items
    assert talking is not None
    split, model = talking.split, bench.fitted().talking
    events = None if sequences is None else bench.split.train
    chosen = [best_of(popularity(split, events, len(items)), split.validation)]
    chosen.append(best_of(bm25(catalogue_documents(items), "of the catalogue"), split.validation))
    chosen.append(best_of(bm25(dialogue_documents(split, len(items)), "of dialogues"), split.validation))
    found = [measured(name, scores, split.test) for name, scores in chosen]
    ours = measured("m6rec", model.scores, split.test)
    rows = compared([*found, ours], "m6rec", [one.name for one in found], seed)
    validation = measured("m6rec", model.scores, split.validation)
    return {
        "variant": name,
        "statement": split.statement,
        "rows": rows,
        "validation": {f"recall@{at}": float(validation.recall(at).mean()) for at in AT},
    }


def service(work: Path, settings: list[str], seed: int, users: int, items: int) -> dict[str, Any]:
    """The built-in sample: made, trained on, and talked to."""
    folder = work / "sample"
    write_sample(folder, users=users, items=items, events_per_user=12.0, seed=seed, tasks=True, talk=True)
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    text = re.sub(r"^  (exposures|context): .*\n", "", re.sub(UNASKED, "", text, flags=re.MULTILINE), flags=re.MULTILINE)
    (folder / "talk.yaml").write_text(text + "  named: {answer: choose, of: dialogue}\n", encoding="utf-8")
    run = work / f"run-sample-{seed}"
    train(load_config(folder / "talk.yaml", [*SAMPLE, f"seed={seed}", *settings]), folder, run, progress=True)
    fresh = fresh_dialogues("test", seed, users=users, items=items, events_per_user=12.0)
    return {
        "held-out dialogues": on_sample(run, folder / "dialogues.jsonl"),
        "in words that no sample has": talked(Recommender.from_pretrained(run), fresh),
        "shops": asked_freely(run, Path(__file__).with_name("dialogue_known.json"), work),
    }


def table(result: dict[str, Any]) -> list[str]:
    """Markdown of one variant."""
    lines = [f"## Items named next: {result['variant']}", "", result["statement"], ""]
    lines += ["| method | " + " | ".join(f"recall@{at}" for at in AT) + " |", "|---|" + "---|" * len(AT)]
    for row in result["rows"]:
        cells = [f"{row[f'recall@{at}']:.4f} ({row[f'interval@{at}'][0]:.4f}-{row[f'interval@{at}'][1]:.4f})" for at in AT]
        lines.append(f"| {row['method']} | " + " | ".join(cells) + " |")
        if "ratio@1" in row:
            over = [f"{row[f'ratio@{at}']:.2f} x ({row[f'ratio interval@{at}'][0]:.2f}-{row[f'ratio interval@{at}'][1]:.2f})" for at in AT]
            lines.append("| m6rec over the better baseline | " + " | ".join(over) + " |")
    return [*lines, ""]


def service_table(found: dict[str, Any]) -> list[str]:
    """Markdown of what `talked` gives."""
    lines = ["| what | of | share (95 %, Wilson) |", "|---|---|---|"]
    rows = [
        ("faq", "recall@1", "asked"),
        ("faq", "answered", "asked"),
        ("hand_over", "precision", "handed"),
        ("hand_over", "recall", "planted"),
    ]
    for part, name, of in rows:
        low, high = found[part][f"{name} interval"]
        lines.append(f"| {part.replace('_', ' ')} {name} | {found[part][of]} | {found[part][name]:.3f} ({low:.3f}-{high:.3f}) |")
    return lines


def shops_table(found: dict[str, Any]) -> list[str]:
    """Markdown of what `asked_freely` gives."""
    lines = ["| shop | asked | right | wrong | handed over | others | answered all the same |", "|---|---|---|---|---|---|---|"]
    for name, one in found.items():
        told = {key: f"{one[key]:.3f} ({one[f'{key} interval'][0]:.3f}-{one[f'{key} interval'][1]:.3f})" for key in SHARES}
        cells = [str(one["asked"]), *(told[key] for key in SHARES[:3]), str(one["others"]), told[SHARES[3]]]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="See the top of the file.")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sequences")
    parser.add_argument("--known", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/dialogue"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--users", type=int, default=600)
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--only", choices=["named", "service", "known"])
    parser.add_argument("--set", action="append", default=[])
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    command = f"python {' '.join(shlex.quote(word) for word in sys.argv)}"
    result: dict[str, Any] = {"command": command, "seed": asked.seed}
    lines = ["# Dialogues", "", f"`{command}`", ""]
    if asked.data is not None and asked.only in (None, "named"):
        variants = [asked.sequences, None] if asked.sequences else [None]
        result["named"] = [named(asked.data, asked.work, variant, asked.set, asked.seed) for variant in variants]
        lines += [line for one in result["named"] for line in table(one)]
    if asked.known is not None and asked.only in (None, "known"):
        result["known"] = banking(asked.known)
        lines += ["## Known questions", "", f"{result['known']}", ""]
    if asked.only in (None, "service"):
        result["service"] = service(asked.work, asked.set, asked.seed, asked.users, asked.items)
        lines += ["## The sample: known questions and handing over", ""]
        shops = result["service"].pop("shops")
        for name, found in result["service"].items():
            lines += [f"{name}: {found['dialogues']} dialogues, {found['turns']} turns", "", *service_table(found), ""]
        lines += ["## Known questions of shops, asked freely", "", *shops_table(shops), ""]
        result["shops"] = shops
    write_json(asked.work / "dialogue.json", result)
    (asked.work / "dialogue.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
