"""Explanations written for (user, item) pairs: ours beside a PETER-style Transformer, copying the summary, and the nearest known explanation.

    python benchmarks/writing.py --data NAME=FOLDER ... [--work FOLDER] [--held validation|test] [--seed 0] [--set KEY=VALUE ...]

Folders are read as `writing_rows.py` says; needs the extra `bench` (sacrebleu, rouge-score). Every method is run twice: with the feature word of
the row given, and without. Everything is chosen on the validation rows; the test rows are measured once, by what was chosen. Texts, weights and
figures that are in the work folder are not made again. Writes writing.md and writing.json there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from m6rec.base.storage import write_json
from m6rec.language_model.config import Decoding
from m6rec.language_model.decoding import decode
from m6rec.language_model.sampling import sample
from m6rec.serving.engine.how_to_write import DRAFTS, SAID, TEMPERATURES
from m6rec.tasks.drafts import by_agreement, least_words
from m6rec.tasks.item_names import ItemNames, spelling_of
from m6rec.tasks.known_words import Ends, KnownWords
from m6rec.tasks.write import WriteExamples
from m6rec.tasks.write_rows import naming_most
from m6rec.tasks.writing_masks import Signs, Words
from writing_metrics import METRICS, Measured, compare
from writing_ours import prepare, speakers, trained, without_features
from writing_peter import PeterWriter
from writing_rows import TEST, VALIDATION, WritingData, named, read_writing

VARIETY = ("distinct-2", "unique sentences")  # of a whole set of rows: drawing rows twice makes repeats that nobody wrote
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {"method": "greedy", "no_repeat_ngram": 3},
    "beam 4": {"method": "beam", "beams": 4, "best": 4, "no_repeat_ngram": 3},
    "beam 4, long": {"method": "beam", "beams": 4, "best": 4, "no_repeat_ngram": 3, "length_penalty": 2.0},
    "agreed": {"method": "nucleus", "best": DRAFTS, "temperature": TEMPERATURES["agreed"], "top_p": 0.9, "no_repeat_ngram": 3},
}
NEAR = 6  # known explanations that the nearest is taken from: about the item, one that names what is asked for goes first
LONGEST = 400  # words: beyond what any text here has
SETTINGS = [  # for a few thousand texts; what they are was decided by the cost of a step on two busy cores and by the validation rows
    "text.vocabulary=4096",
    "pretrain.epochs=1",
    "train.epochs=4",
    "train.patience=2",
    "writing.passes=8",
    "writing.width=96",
    "writing.source_tokens=200",
    "tasks.reason.memory=2",
]


class Ours:
    """The product, trained on a data set, and how its texts are decoded."""

    def __init__(self, data: WritingData, work: Path, settings: Sequence[str], seed: int) -> None:
        self.data = data
        chosen = [*SETTINGS, f"seed={seed}", "train.threads=1", *settings]
        self.part, self.examples, self.model = trained(prepare(data, work / "data"), work / f"run-{seed}", chosen)
        self.tokenizer = self.part.inputs.tokenizer
        self.spelling = spelling_of(self.tokenizer)
        inputs = self.part.inputs
        self.length = [Words(least_words(inputs.usual_words["reason"]), LONGEST, "reason" in inputs.single)]
        self.names = ItemNames(self.part.inputs.names, self.tokenizer)
        self._banned: dict[frozenset[str], frozenset[str]] = {}

    def write(self, part: int, way: str, *, given: bool, truth: bool = True) -> list[str]:
        """The texts of a part. truth: of the texts found for a row those go first that name no feature but what is known of the item or asked for; where
        there is none, it is written once more with the others banned."""
        examples = self.examples if given else without_features(self.examples)
        rows = np.flatnonzero(examples.rows.parts == part)[: len(self.data.held(part))]
        decoding = Decoding(most=self.part.write.configs["reason"].longest, **WAYS[way])
        found = self._decoded(examples, rows, decoding, banned=False)
        if truth:
            true = {row: [text for text in texts if not self._untrue(examples, row, text)] for row, texts in found.items()}
            left = np.array([row for row, texts in true.items() if not texts], dtype=np.int64)
            found = true | self._decoded(examples, left, decoding, banned=True)
        return [found[row][0] for row in rows.tolist()]

    def _decoded(self, examples: WriteExamples, rows: np.ndarray, decoding: Decoding, *, banned: bool) -> dict[int, list[str]]:
        """The texts of each row, the best first."""
        found: dict[int, list[str]] = {}
        for row, speaker in speakers(self.part, examples, self.model, rows):
            drawn = decoding.method == "nucleus"
            masks = self._masks(examples, row, banned) + self.length * drawn
            own = decoding.model_copy(update={"seed": row})  # as in the product: draws of its own
            texts = [one.text for one in decode(speaker, own, masks, spelling=self.spelling)[0]]
            if drawn:
                said = sample(speaker, 1, SAID, spelling=self.spelling, most=own.most, seed=own.seed)[0]
                texts = [texts[place] for place in by_agreement(texts, said)]
            found[row] = texts
        return found

    def _known(self, examples: WriteExamples, row: int) -> set[str]:
        return self.data.known[self.data.cases[row].item] | {examples.rows.about[row]}

    def _untrue(self, examples: WriteExamples, row: int, text: str) -> bool:
        return not set(named(text, self.data.features)) <= self._known(examples, row)

    def _masks(self, examples: WriteExamples, row: int, banned: bool) -> list[Any]:
        allowed = np.zeros(len(self.names.titles), dtype=bool)
        allowed[[int(examples.rows.items[row]), *examples.rows.past[row]]] = True
        untrue = frozenset(self.data.features - self._known(examples, row)) if banned else frozenset[str]()
        if untrue not in self._banned:
            self._banned[untrue] = frozenset(form for word in untrue for form in forms(word))
        inputs = self.part.inputs
        return [Signs(), Ends(inputs.never_last), self.names.mask(allowed), KnownWords(inputs.vocabulary, without=self._banned[untrue])]

    def nearest(self, part: int, *, given: bool) -> list[str]:
        """The known explanation that is read first: about the item by others, or about what resembles it most; with the feature, if one names it."""
        rows, texts, inputs = self.examples.rows, [], self.part.inputs
        known, order = inputs.memories["reason"]
        for row in np.flatnonzero(rows.parts == part)[: len(self.data.held(part))].tolist():
            vector = None if inputs.vectors is None else inputs.vectors[[int(rows.items[row])]]
            found = known.about(int(rows.items[row]), int(rows.users[row]), NEAR, vector=vector, without=-1)
            near = [rows.texts[other] for other in order[found].tolist()]
            if given and rows.about[row]:
                near = [near[place] for place in naming_most(near, rows.about[row])]
            texts.append(near[0] if near else "")
        return texts


def forms(word: str) -> list[str]:
    """A noun and its plurals."""
    return [word, f"{word}s", f"{word}es", f"{word[:-1]}ies"] if word.endswith("y") else [word, f"{word}s", f"{word}es"]


def all_texts(data: WritingData, work: Path, part: int, arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Method -> its texts for the rows of a part."""
    kept = work / f"texts-{part}.json"
    texts: dict[str, list[str]] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    cases, ours = data.held(part), None
    for given in (False, True):
        mark = "feature given" if given else "no feature"
        ways = list(WAYS) if part == VALIDATION else [arguments.way]
        wanted = [f"ours, {way}, {mark}" for way in ways] + [f"nearest explanation, {mark}"]
        if any(name not in texts for name in wanted):
            ours = ours or Ours(data, work, arguments.set or [], arguments.seed)
            for way in ways:
                name = f"ours, {way}, {mark}"
                if name not in texts:
                    begun = time.process_time()
                    texts[name] = ours.write(part, way, given=given)
                    print(f"{data.name}: {name}: {time.process_time() - begun:.0f} CPU s", flush=True)
                    write_json(kept, texts)
            texts[f"nearest explanation, {mark}"] = ours.nearest(part, given=given)
        name, trained_before = f"PETER-style, {mark}", work / f"peter-{given}.json"
        if name not in texts and trained_before.exists():
            texts[name] = json.loads(trained_before.read_text(encoding="utf-8"))["texts"][str(part)]
        if name not in texts:
            begun = time.process_time()
            peter = PeterWriter(data, given=given, seed=arguments.seed)
            both = {one: peter.write(data.held(one)) for one in (VALIDATION, TEST)}
            write_json(trained_before, {"losses": peter.losses, "texts": {str(one): some for one, some in both.items()}})
            texts[name] = both[part]
            print(
                f"{data.name}: {name}: {time.process_time() - begun:.0f} CPU s, validation losses {np.round(peter.losses, 3).tolist()}",
                flush=True,
            )
        write_json(kept, texts)
    texts["copied summary"] = [data.summaries.get(case.item, "") for case in cases]
    texts["as people wrote it"] = [case.text for case in cases]
    write_json(kept, texts)
    return texts


def report(data: WritingData, texts: dict[str, list[str]], part: int, way: str) -> tuple[str, dict[str, Any]]:
    """Markdown, and the same as values."""
    measured = {name: Measured(data, part, some) for name, some in texts.items()}
    columns = [*METRICS, "features a text", "asked feature named"]
    lines = [f"## {data.name}", "", f"{data.statement}; {len(data.held(part)):,} rows; {len(data.features)} features.", ""]
    lines += ["| method | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    values: dict[str, Any] = {}
    for name, one in measured.items():
        figures, spans = one.figures(), one.intervals()
        values[name] = {metric: {"value": figures[metric], "interval": spans[metric]} for metric in columns}
        cells = [f"{figures[m]:.2f} [{spans[m][0]:.2f}, {spans[m][1]:.2f}]" if m not in VARIETY else f"{figures[m]:.1f}" for m in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "Ours minus another on the same rows, 95 % interval of the difference by bootstrap over rows:", ""]
    lines += ["| difference | " + " | ".join(METRICS) + " |", "|---" * (len(METRICS) + 1) + "|"]
    for mark in ("no feature", "feature given"):
        mine = measured.get(f"ours, {way}, {mark}")
        for other in (f"PETER-style, {mark}", f"nearest explanation, {mark}", "copied summary"):
            if mine is None or other not in measured:
                continue
            found = compare(mine, measured[other])
            values[f"ours ({mark}) minus {other}"] = found
            cells = [
                f"{point:+.2f}" + ("" if metric in VARIETY else f" [{low:+.2f}, {high:+.2f}]")
                for metric, (point, low, high) in found.items()
            ]
            lines.append(f"| {mark}: {other} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""]), values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--work", type=Path, default=Path("runs/writing"))
    parser.add_argument("--held", choices=("validation", "test"), default="validation")
    parser.add_argument("--way", choices=tuple(WAYS), default="agreed", help="How the test texts are decoded; chosen on validation.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", metavar="KEY=VALUE", help="Changes to the configuration of ours.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    part = VALIDATION if arguments.held == "validation" else TEST
    pages, values = [], {}
    for one in arguments.data:
        name, _, folder = one.partition("=")
        data = read_writing(name, Path(folder))
        work = arguments.work / name
        work.mkdir(parents=True, exist_ok=True)
        page, values[name] = report(data, all_texts(data, work, part, arguments), part, arguments.way)
        pages.append(page)
    again = "--data " + " ".join(f"{name.partition('=')[0]}=FOLDER" for name in arguments.data)
    command = f"python benchmarks/writing.py {again} --held {arguments.held} --way '{arguments.way}' --seed {arguments.seed}"
    head = f"# Writing, {arguments.held} rows\n\n`{command}`\n\n"
    text = head + "\n".join(pages)
    (arguments.work / f"writing-{arguments.held}.md").write_text(text, encoding="utf-8")
    write_json(arguments.work / f"writing-{arguments.held}.json", values)
    print(text)


if __name__ == "__main__":
    main()
