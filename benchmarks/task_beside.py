"""What tasks.py measures that is no log of exposures: folders of texts with labels (texts.py), the sample with its planted truth (planted.py)."""

from __future__ import annotations

import argparse
import csv
import gzip
from pathlib import Path
from typing import Any

import planted
import texts

SAMPLE, TEXTS = "sample", "texts"
LABELS = ("label", "category", "intent")  # columns of which one makes a table with `text` or `review` a folder of texts


def form_beside(data: Path) -> str | None:
    """SAMPLE for the name of the built-in sample where no folder has it, TEXTS for CSV files of texts with labels, else None."""
    if not data.exists():
        return SAMPLE if str(data) == SAMPLE else None
    heads = [_columns(path) for path in sorted(data.glob("*.csv*"))]
    return TEXTS if any({"text", "review"} & head and set(LABELS) & head for head in heads) else None


def measure_beside(form: str, data: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """data, and page: Markdown. Texts: the accuracy of every task; the sample: planted preferences, with the settings of --set."""
    if form == SAMPLE:
        words = [word for setting in arguments.set for word in ("--set", setting)]
        page = planted.main(["--work", str(arguments.work / SAMPLE), "--ways", "auto", "--threads", str(arguments.threads), *words])
        return {"data": SAMPLE, "page": f"## {SAMPLE}: planted preferences under biased logging\n\n{page}"}
    name = data.resolve().name
    seeds = [str(seed) for seed in arguments.seeds or [0]]
    page = texts.main(["--data", f"{name}={data}", "--work", str(arguments.work / TEXTS), "--parts", "accuracy", "--seeds", *seeds])
    return {"data": name, "page": f"## {name}: accuracy of texts, per cent\n\n{page}"}


def _columns(path: Path) -> set[str]:
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        return set(next(csv.reader(file), []))
