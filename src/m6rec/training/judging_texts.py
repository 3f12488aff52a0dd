"""What the stages know of the tasks that judge texts and items alone: one list of documents, labels by task, validation and measuring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from m6rec.data.columns import Columns
from m6rec.data.labels import Labels
from m6rec.evaluation.judged import Judged
from m6rec.tasks.config import JudgeConfig
from m6rec.tasks.judge_text import JudgeTexts
from m6rec.tasks.text_documents import TRAINING, TextExamples, augmented
from m6rec.text.augment import Augmenter
from m6rec.text.word_spans import Span, bio_names, word_places, words_labelled
from m6rec.text.wording import without_field

if TYPE_CHECKING:
    from m6rec.training.task_checks import TaskCheck
    from m6rec.training.workbench import Workbench

NAME = "texts"  # the module of the loop


@dataclass
class TextJudging:
    """The documents of a run: the texts of its tasks, then for each task on items the items worded without the field it asks for.

    place  task -> the documents it reads, a slice     labels  of those documents
    """

    configs: dict[str, JudgeConfig]
    examples: TextExamples
    place: dict[str, slice]
    labels: dict[str, Labels]

    @classmethod
    def of(cls, bench: Workbench, configs: dict[str, JudgeConfig], checks: Mapping[str, TaskCheck]) -> TextJudging:
        dataset = bench.dataset
        documents: list[str] = []
        place: dict[str, slice] = {}
        if any(config.on == "text" for config in configs.values()):
            assert dataset.texts is not None, "the labels of texts were read"
            documents += dataset.texts[Columns.TEXT].to_list()
            place |= {name: slice(0, len(documents)) for name, config in configs.items() if config.on == "text"}
        for name, config in configs.items():
            if config.on == "item":
                start = len(documents)
                documents += bench.wording.items(without_field(dataset.items, config.label))
                place[name] = slice(start, len(documents))
        parts = np.full(len(documents), -1, dtype=np.int8)
        labels: dict[str, np.ndarray] = {}
        spans: dict[str, Sequence[Sequence[Span] | None]] = {}
        for name in configs:
            check, here = checks[name], place[name]
            if check.labels.kind == "tokens":
                spans[name] = _spans(check, len(documents))
                parts[here] = np.maximum(parts[here], check.parts)
                continue
            values = np.full((len(documents), *check.labels.values.shape[1:]), np.nan, dtype=np.float32)
            values[here] = check.labels.values
            values[here][check.parts < 0] = np.nan  # repeats of a text, of which one is in a part
            labels[name] = values
            parts[here] = np.maximum(parts[here], check.parts)
        examples = _augmented(
            bench, TextExamples(documents, labels, parts, spans=spans), [place[name] for name in configs if configs[name].on == "item"]
        )
        return cls(configs, examples, place, {name: checks[name].labels for name in configs})

    def new_task(self, bench: Workbench) -> JudgeTexts:
        """The module with fresh, seeded weights."""
        kinds = {name: (part.kind, own_names(part)) for name, part in self.labels.items()}
        sizes, ngrams = JudgeTexts.fit_sizes(self.examples, kinds, bench.fit_shape)
        task = JudgeTexts(self.configs, bench.config.sharing, bench.fit_shape, sizes)
        task.initialise(torch.Generator().manual_seed(bench.config.seed + 3), ngrams)
        return task

    def watched(self) -> dict[str, str]:
        """Task -> the metric that early stopping looks at."""
        return {name: f"{name} quality" for name in self.configs}

    def validate(self, bench: Workbench, task: JudgeTexts) -> dict[str, float]:
        measured = task.measure(bench.model)
        return {metric: measured.get(name, float("nan")) for name, metric in self.watched().items()}

    def judged(self, bench: Workbench, task: JudgeTexts, part: int) -> list[Judged]:
        """The answers about the documents of a part, task by task."""
        found = []
        for name, config in self.configs.items():
            labels = self.labels[name]
            if labels.kind == "tokens":
                found += self._judged_words(bench, task, name, part)
                continue
            rows = np.flatnonzero(self.examples.known(name) & (self.examples.parts == part))
            if not len(rows):
                continue
            predicted = task.answers(bench.reader, [self.examples.documents[row] for row in rows.tolist()], name)
            found.append(
                Judged(
                    "m6rec",
                    name,
                    labels.kind,
                    self.examples.labels[name][rows],
                    predicted,
                    names=own_names(labels),
                    metrics=config.metrics or [],
                    resamples=bench.config.evaluation.resamples,
                    seed=bench.config.seed,
                )
            )
        return found

    def _judged_words(self, bench: Workbench, task: JudgeTexts, name: str, part: int) -> list[Judged]:
        """The words of the texts of a part, one row a word: which label each has, and which it was given."""
        assert task.words is not None
        rows = np.flatnonzero(self.examples.known(name) & (self.examples.parts == part)).tolist()
        labels = task.words.sizes.labels[name]
        texts = [self.examples.documents[row] for row in rows]
        said = task.words.answers(bench.reader, texts, name)
        truth, given, owner = [], [], []
        for place, (row, spans) in enumerate(zip(rows, said, strict=True)):
            places = word_places(texts[place])
            truth.append(words_labelled(places, self.examples.spans[name][row] or [], labels))
            given.append(words_labelled(places, spans, labels))
            owner.append(np.full(len(places), place))
        if not sum(map(len, truth)):
            return []
        names = bio_names(labels)
        return [
            Judged(
                "m6rec",
                name,
                "tokens",
                np.concatenate(truth).astype(np.float32),
                np.eye(len(names), dtype=np.float32)[np.concatenate(given)],
                names=names,
                lists=np.concatenate(owner),
                metrics=self.configs[name].metrics or [],
                resamples=bench.config.evaluation.resamples,
                seed=bench.config.seed,
            )
        ]


def _spans(check: TaskCheck, documents: int) -> list[list[Span] | None]:
    """The spans of each document; None where it has no label."""
    assert check.labels.spans is not None, "labels of words come with their spans"
    known = check.labels.known & (check.parts >= 0)
    found: list[list[Span] | None] = [None] * documents
    for row in np.flatnonzero(known).tolist():
        found[row] = []
    for row, start, end, code in check.labels.spans.select("row", "start", "end", "label").iter_rows():
        given = found[row]
        if given is not None:
            given.append(Span(start, end, check.labels.names[code]))
    return found


def _augmented(bench: Workbench, examples: TextExamples, items: list[slice]) -> TextExamples:
    """With changed copies of the labelled training documents behind them, where `text.augment` asks for some."""
    config = bench.config.text.augment
    if not config.copies and config.back_translation is None:
        return examples
    worded = np.zeros(len(examples.parts), dtype=bool)
    for some in items:
        worded[some] = True
    training = [examples.documents[row] for row in np.flatnonzero(examples.parts == TRAINING).tolist()]
    augmenter = Augmenter.of(config, training, bench.source)
    return augmented(examples, augmenter, bench.config.seed, worded, bench.wording.template.entities["item"].joiner)


def own_names(labels: Labels) -> list[str]:
    """The names that a binary label or a number has none of."""
    return [] if labels.kind in ("binary", "number") else labels.names
