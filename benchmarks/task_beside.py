"""What tasks.py measures that is no log of exposures: folders of texts with labels (texts.py), the sample with its planted truth (planted.py)."""

from __future__ import annotations

import argparse
import csv
import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import planted
import texts

SAMPLE, TEXTS = "sample", "texts"
TAKES = {SAMPLE: ("--set", "--threads", "--seeds"), TEXTS: ("--seeds",)}  # options of tasks.py, beside --data, --only and --work
SAID = {SAMPLE: "the word sample", TEXTS: "folders of texts"}
LABELS = ("label", "category", "intent")  # columns of which one makes a table with `text` or `review` a folder of texts


def form_beside(data: Path) -> str | None:
    """SAMPLE for the name of the built-in sample where no folder has it, TEXTS for CSV files of texts with labels, else None."""
    if not data.exists():
        return SAMPLE if str(data) == SAMPLE else None
    heads = [_columns(path) for path in sorted(data.glob("*.csv*"))]
    return TEXTS if any({"text", "review"} & head and set(LABELS) & head for head in heads) else None


def why_unfit(form: str, data: Path, given: Mapping[str, Any]) -> str | None:
    """One line on an option that this data would be measured without; None where all fit. given: the options that were said -> their values."""
    for option, value in given.items():
        if option not in TAKES[form]:
            others = " and ".join(["logs of exposures", *(SAID[one] for one in TAKES if option in TAKES[one])])
            return f"{option} is for {others}, not for {SAID[form]} ({data}); leave it out, or measure {data} apart, with another --work"
        if option == "--seeds" and not value:
            return (
                f"--seeds without a number trains nothing of ours, which is what {SAID[form]} are measured for ({data}); give it a number"
            )
        if option == "--seeds" and form == SAMPLE and len(value) > 1:
            return f"--seeds takes one number for {SAID[form]}, not {len(value)}: the sample is drawn with it; measure each apart, with another --work"
    return None


def measure_beside(form: str, data: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """data, and page: Markdown. Texts: the accuracy of every task; the sample: planted preferences, with the settings of --set."""
    seeds = [str(seed) for seed in arguments.seeds]
    if form == SAMPLE:
        words = [word for setting in arguments.set for word in ("--set", setting)]
        work = arguments.work / (SAMPLE if seeds == ["0"] else f"{SAMPLE}-{seeds[0]}")  # the sample that lies there is drawn with the seed
        page = planted.main(["--work", str(work), "--ways", "auto", "--threads", str(arguments.threads), "--seed", seeds[0], *words])
        return {"data": SAMPLE, "page": f"## {SAMPLE}: planted preferences under biased logging\n\n{page}"}
    name = data.resolve().name
    page = texts.main(["--data", f"{name}={data}", "--work", str(arguments.work / TEXTS), "--parts", "accuracy", "--seeds", *seeds])
    return {"data": name, "page": f"## {name}: accuracy of texts, per cent\n\n{page}"}


def _columns(path: Path) -> set[str]:
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        return set(next(csv.reader(file), []))
