"""Decode speed on one core: tokens a second, and milliseconds until the first streamed token.

    python benchmarks/decoding.py [--out FILE] [--vocabulary 8192] [--run FOLDER]

The model has the size small (width 128, 2 + 2 layers) with the writer of its size (2 layers of width 256, copying, words of its own), over 64 source
tokens and 50 slots of history, with random weights: what is said does not change how long it takes. Every row is decoded under all masks (valid
text, length, banned words, names of 10,000 items). Figures are the median of the repetitions, in processor time and by the clock. "first token" is
from the sources' tokens to the first piece of a stream: reading the sources is part of it. --run measures `rec.write_stream` of a trained run too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch

from m6rec.base.contracts import Segment
from m6rec.language_model.config import Decoding, ModelConfig
from m6rec.language_model.decoding import decode, stream
from m6rec.language_model.layers import initialise
from m6rec.language_model.masks import Mask
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.quick_speaking import QuickSpeaker
from m6rec.language_model.segments import SegmentBatch
from m6rec.language_model.speaking import WriterSpeaker
from m6rec.language_model.spelling import Spelling
from m6rec.language_model.tries import Names, NameTrie
from m6rec.language_model.writing import Sources, WriteOption, Writer, WriterSize
from m6rec.language_model.writing_arrays import WriterArrays
from m6rec.tasks.writing_masks import Banned
from m6rec.text.blocked_words import BlockedWords

BOS, END, OPENS, CLOSES, FIRST_WORD = 1, 2, 5, 6, 16
SOURCE_TOKENS, SLOTS, ITEMS, TOKENS = 64, 50, 10_000, 64


class Small:
    """A model and a writer of the size small, and what stands before a text."""

    def __init__(self, vocabulary: int) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = ModelConfig(size="small").resolve(vocabulary=vocabulary)
        self.model = LanguageModel(shape).eval()
        width = 2 * shape.width
        self.writer = Writer(WriterSize(shape.width, vocabulary, width, width // 32, 2, 8, 0.0, True, True)).eval()
        initialise(self.writer, generator)
        self.option = WriteOption(width, 4, 16)
        self.ids = torch.randint(FIRST_WORD, vocabulary, (SOURCE_TOKENS,), generator=generator)
        self.slots = torch.randn(1, SLOTS, shape.width, generator=generator)
        names = np.random.default_rng(0)
        letters = [f" {''.join(names.choice(list('abcdefghijklmnop'), 5))}".encode() for _ in range(vocabulary - FIRST_WORD)]
        self.spelling = Spelling([b""] * FIRST_WORD + letters, END, OPENS, CLOSES)
        trie = NameTrie([names.integers(FIRST_WORD, vocabulary, names.integers(1, 8)) for _ in range(ITEMS)])
        self.masks: list[Mask] = [Names([trie]), Banned(BlockedWords([f"banned{number}" for number in range(50)]))]
        self.arrays = WriterArrays(self.model, self.writer)

    @torch.no_grad()
    def speaker(self, rows: int = 1, quick: bool = True) -> Any:
        """Reads the sources of so many requests."""
        ids = self.ids.expand(rows, -1)
        batch = SegmentBatch.padded([Segment(row.numpy().astype(np.int32)) for row in ids])
        everywhere = torch.ones(rows, SOURCE_TOKENS, dtype=torch.bool)
        there = torch.ones(rows, SLOTS, dtype=torch.bool)
        sources = Sources(
            ids,
            torch.roll(ids, 1, dims=1),
            self.model.encode(batch),
            everywhere.long(),
            everywhere,
            self.model.upper(self.slots).expand(rows, -1, -1),
            there.long(),
            there,
        )
        read = self.writer.read(self.model, sources, self.option)
        return (
            QuickSpeaker(self.arrays, self.option, read, BOS) if quick else WriterSpeaker(self.model, self.writer, self.option, read, BOS)
        )


def timed(work: Callable[[], int], repeats: int) -> dict[str, float]:
    """Median milliseconds by the clock and by the processor, and what was made a second of processor time."""
    work()
    clock, processor, made = [], [], 0
    for _ in range(repeats):
        wall, own = time.perf_counter(), time.process_time()
        made = work()
        clock.append(1000 * (time.perf_counter() - wall))
        processor.append(1000 * (time.process_time() - own))
    own = statistics.median(processor)
    return {"clock_ms": statistics.median(clock), "processor_ms": own, "per_second": 1000 * made / own}


def measures(small: Small, repeats: int) -> Iterator[tuple[str, dict[str, float]]]:
    """(what, figures): whole texts of exactly TOKENS tokens, and first pieces."""
    exactly = {"least": TOKENS, "most": TOKENS}

    def whole(decoding: Decoding, rows: int, quick: bool) -> Callable[[], int]:
        def work() -> int:
            speaker = small.speaker(rows, quick)
            decode(speaker, decoding, small.masks, spelling=small.spelling, rows=rows)
            return rows * TOKENS

        return work

    greedy, nucleus = Decoding(**exactly), Decoding(method="nucleus", **exactly)
    yield "greedy, one text", timed(whole(greedy, 1, True), repeats)
    yield "nucleus, one text", timed(whole(nucleus, 1, True), repeats)
    yield "beam of 4, one text", timed(whole(Decoding(method="beam", beams=4, **exactly), 1, True), repeats)
    for rows in (8, 16, 32):
        yield f"greedy, batch of {rows}", timed(whole(greedy, rows, True), repeats)
    yield "greedy, one text, tensors", timed(whole(greedy, 1, False), max(repeats // 3, 1))

    def first() -> int:
        next(iter(stream(small.speaker(), nucleus, small.masks, spelling=small.spelling)))
        return 1

    yield "first streamed piece", timed(first, 3 * repeats)


def of_run(folder: str, repeats: int) -> Iterator[tuple[str, dict[str, float]]]:
    """The same by the front door of a trained run."""
    from m6rec import Recommender

    rec = Recommender.from_pretrained(folder)
    part = rec.engine.scorer.writing
    assert part is not None, "the run has no task that writes"
    kind, user, item = next(iter(part.write.configs)), rec.engine.users.ids.ids[0], rec.engine.items.ids.ids[0]

    def whole() -> int:
        return len(rec.write(kind, user, item, decoding="greedy").tokens)

    def first() -> int:
        next(iter(rec.write_stream(kind, user, item)))
        return 1

    yield f"rec.write('{kind}'), greedy", timed(whole, repeats)
    yield f"rec.write_stream('{kind}'), first piece", timed(first, 3 * repeats)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the table and a JSON file beside it")
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[8192, 16384], help="tokens of the vocabulary")
    parser.add_argument("--run", help="also measure a trained run folder")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--data", help="not read: the weights are random")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows: list[tuple[str, str, dict[str, float]]] = []
    for vocabulary in options.vocabulary:
        rows += [(str(vocabulary), name, figures) for name, figures in measures(Small(vocabulary), options.repeats)]
    if options.run:
        rows += [("as trained", name, figures) for name, figures in of_run(options.run, options.repeats)]
    command = " ".join(["python", "benchmarks/decoding.py", *(arguments if arguments is not None else sys.argv[1:])])
    lines = [f"`{command}` (one core)", "", "| vocabulary | what | tokens/s | clock, ms | processor, ms |", "|---|---|---|---|---|"]
    for size, name, figures in rows:
        speed = "" if "first" in name else f"{figures['per_second']:,.0f}"
        lines.append(f"| {size} | {name} | {speed} | {figures['clock_ms']:.1f} | {figures['processor_ms']:.1f} |")
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
        told = [{"vocabulary": size, "what": name, **figures} for size, name, figures in rows]
        options.out.with_suffix(".json").write_text(json.dumps({"command": command, "rows": told}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
