"""The task that names items in dialogues, on the workbench: what it learns from, how it is validated and calibrated.

Dimension keys: R rows, E events of the rows, M priors, K recent events.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse import csr_array

from m6rec.base.contracts import Histories
from m6rec.data.dialogue_rows import DialogueRows, DialogueSplit, all_dialogues, joined, split_dialogues
from m6rec.data.transitions import leaving_folds_out, user_folds
from m6rec.evaluation.metrics import METRICS, expected_ranks
from m6rec.tasks.choose import Choose, ChooseExamples
from m6rec.tasks.choose_mixture import ChooseMixture
from m6rec.tasks.dialogue import Dialogue, DialogueExamples, DialoguePart, DialogueScorer, SaidWords, newest, talking
from m6rec.tasks.dialogue_neighbours import DialogueNeighbours, Turns, evidence_of
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.log_linear import LogLinear, fit_log_linear
from m6rec.tasks.prior import TEXT_PART, PriorValues, countings, fill, graph_tables, part_names

if TYPE_CHECKING:
    from m6rec.training.workbench import Workbench

NAME = "dialogue"
POOL = "pool-dialogue.json"
METRIC, AT = "ndcg", 10  # what early stopping looks at
MOST_SCORES = 20_000_000  # cases x items that the pool is fitted on, a matrix of 80 MB for each signal


@dataclass
class Talking:
    """Dialogues of one training."""

    bench: Workbench
    split: DialogueSplit

    @classmethod
    def of(cls, bench: Workbench) -> Talking:
        """Raises DataError: no dialogues, or no item named in them."""
        return cls(bench, split_dialogues(bench.dataset))

    @property
    def statement(self) -> str:
        return self.split.statement

    @cached_property
    def neighbours(self) -> DialogueNeighbours:
        """The training dialogues by their words."""
        rows = self.split.train
        items, language = len(self.bench.dataset.items), self.bench.config.text.language
        return DialogueNeighbours.fit(self.split.words, self.split.sequences, items, language, Turns(rows.texts, rows.targets))

    @cached_property
    def counted(self) -> Histories:
        """What transitions are counted over in training: the training events, and what the training dialogues name."""
        return self._with_events(self.split.sequences, self.bench.had)

    @cached_property
    def priors(self) -> dict[str, csr_array]:
        """The priors of the mixture, counted over `counted`."""
        return self.bench.catalogue.with_priors(self.counted, self.bench.config.choose.prior).priors

    def new_task(self, reader: Choose) -> Dialogue:
        """With fresh weights."""
        return Dialogue(reader, len(self.neighbours.vocabulary))

    def part(self, task: Dialogue, pool: LogLinear | None = None) -> DialoguePart:
        """What answers with the weights of `task` and what the training dialogues count."""
        return DialoguePart(task.question, self.priors, self.neighbours, pool or LogLinear())

    def everything(self, part: DialoguePart) -> DialoguePart:
        """The same with the priors and the neighbours of all dialogues and events: what serves. Words that training did not know have no vector."""
        rows, sequences, words = all_dialogues(self.bench.dataset)
        priors = self.bench.catalogue.with_priors(self._with_events(sequences, self.bench.all_had), self.bench.config.choose.prior).priors
        return replace(part, priors=priors, neighbours=part.neighbours.over(words, sequences, Turns(rows.texts, rows.targets)))

    def examples(self) -> DialogueExamples:
        """Rows of the training dialogues with what the cross-fitted priors say of each target."""
        bench, rows = self.bench, self.split.train
        histories = with_targets(rows).window(keep=bench.fit_shape.history + 1)
        last = histories.offsets[1:] - 1
        wanted = np.zeros(len(histories.items), dtype=bool)
        wanted[last] = True
        said = self.neighbours.asked(rows.texts)
        values = self._values(rows, histories, last, said)
        targets = bench.config.train.step_targets(len(histories.items))
        choose = ChooseExamples(histories, wanted, values, bench.catalogue.contents, None, targets, self._typed(rows.texts))
        return DialogueExamples(choose, SaidWords.of(said))

    def scorer(self, task: Dialogue, scorer: ChooseMixture, pool: LogLinear | None = None) -> DialogueScorer:
        """The model as it is being trained, asked about dialogues."""
        return talking(self.part(task, pool), scorer, self.bench.catalogue)

    def watched(self) -> dict[str, str]:
        return {NAME: f"{NAME} {METRIC}@{AT}"} if len(self.split.validation) else {}

    def validate(self, task: Dialogue, scorer: ChooseMixture) -> dict[str, float]:
        """The metric on the validation dialogues; nothing where there are none."""
        rows = self.split.validation
        if not len(rows):
            return {}
        asked = self.scorer(task, scorer)
        asked.refresh()
        cases = rows.cases()
        ranks = expected_ranks(asked.scores(cases.requests), cases.targets, cases.requests.histories)
        return {f"{NAME} {METRIC}@{AT}": float(METRICS[METRIC](ranks, cases.targets.offsets, AT).mean())}

    def pooled(self, task: Dialogue, scorer: ChooseMixture) -> LogLinear:
        """The pool under which the validation dialogues are most likely (as many rows as memory holds, drawn by seed); none where there are none."""
        rows, items = self.split.validation, len(self.bench.dataset.items)
        if not len(rows):
            return LogLinear()
        count = min(len(rows), max(1, MOST_SCORES // items))
        some = np.sort(np.random.default_rng([self.bench.config.seed, 2]).choice(len(rows), count, replace=False))
        asked = self.scorer(task, scorer)
        asked.refresh()
        requests = rows.cases().requests.rows(some)
        histories = requests.histories
        return fit_log_linear(*asked.evidence(requests), rows.targets[some], [histories.row(row) for row in range(count)])

    def _with_events(self, sequences: Histories, events: Histories) -> Histories:
        """Dialogues first. Where the events were made of the dialogues they are not counted twice."""
        return sequences if self.bench.config.data.events is None else joined(sequences, events)

    def _typed(self, texts: list[str]) -> Contents:
        tails = [newest(text) for text in texts]
        bag = self.bench.catalogue.bag.texts(tails)
        return Contents.build(self.bench.reader.read(tails), bag, torch.zeros(len(tails), self.bench.catalogue.contents.vectors.shape[1]))

    def _values(self, rows: DialogueRows, histories: Histories, last: np.ndarray, said: csr_array) -> PriorValues:
        """float32 (E, M + 1, K): of the targets, each dialogue by the counts of the other folds of dialogues."""
        config, items = self.bench.config.choose.prior, len(self.bench.dataset.items)
        names = part_names(config)
        values = np.zeros((len(histories.items), len(names) + 1, config.recent), dtype=np.float32)
        evidence = np.zeros_like(values)
        if config.text:
            fill(values, evidence, names.index(TEXT_PART), last, histories, self.priors[TEXT_PART])
        if config.graph:
            own = user_folds(len(self.split.sequences), config.folds, self.bench.config.seed)
            counted = self.counted
            folds = np.concatenate(
                [own, np.full(len(counted) - len(own), config.folds)]
            )  # events of others are in a fold that is never left out
            others = (leaving_folds_out(counted, items, folds, **how) for how in countings(config))
            for fold, (near, wide) in enumerate(zip(*others, strict=True)):
                mine = last[own[rows.dialogues] == fold] if fold < config.folds else last[:0]
                if len(mine):
                    for name, table in graph_tables(near, wide, config).items():
                        fill(values, evidence, names.index(name), mine, histories, table)
        found, near_by = self.neighbours.at_targets(said, rows.targets, rows.dialogues)
        values[last, -1, 0], evidence[last, -1, 0] = found, evidence_of(near_by)
        return PriorValues(values, evidence)


def with_targets(rows: DialogueRows) -> Histories:
    """The rows' histories with the target as their newest event."""
    lengths = rows.histories.lengths
    offsets = np.concatenate([[0], np.cumsum(lengths + 1)]).astype(np.int64)
    items = np.empty(int(offsets[-1]), dtype=np.int32)
    items[offsets[1:] - 1] = rows.targets
    held = np.ones(len(items), dtype=bool)
    held[offsets[1:] - 1] = False
    items[held] = rows.histories.items
    return Histories(offsets=offsets, items=items)
