"""What is explained to whom, and how it is asked again.

Dimension keys: B requests, C items, N items of the catalogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m6rec.base.contracts import Requests
from m6rec.data.dataset import Table
from m6rec.explanation.counterfactual import Places
from m6rec.explanation.evidence import Scores, chosen
from m6rec.explanation.judged_evidence import JudgedAsk, judged_scores
from m6rec.explanation.question import Question
from m6rec.tasks.choose_mixture import ChooseMixture
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.served_model import ServedModel
from m6rec.text.field_constraints import Constraint


@dataclass(frozen=True)
class Subject:
    """What is explained to whom: the model, the question, the item (its row), how long the list is, and what the engine knows of places.

    places  the item's place in the answer to each of several requests
    judged  how a task on candidates is asked; None: a choose task
    nothing_said  the context of a request that says nothing; None where the task reads none
    ruled_out  limits in what was typed that the item does not meet
    actions names of the codes of the events' actions; empty where those of the events are not known
    """

    scorer: ServedModel
    chooser: ChooseMixture
    question: Question
    item: int
    k: int
    places: Places
    users: Table
    actions: Sequence[str]
    judged: JudgedAsk | None = None
    context: tuple[tuple[str, str, float], ...] = ()
    exclude: bool = True
    nothing_said: Contents | None = None
    ruled_out: tuple[Constraint, ...] = ()

    @property
    def items(self) -> Table:
        return self.scorer.catalogue.items

    @property
    def scores(self) -> Scores:
        """Of the task that is asked."""
        return chosen(self.chooser.answer) if self.judged is None else judged_scores(self.scorer, self.judged)

    def score(self, requests: Requests) -> np.ndarray:
        """float64 (B,): of the item."""
        return self.scores(requests, np.array([self.item]))[0][:, 0]

    def margin(self, requests: Requests) -> np.ndarray:
        """float64 (B,): by how much the item stands above the last place of the list; of a task on candidates its score."""
        if self.judged is not None:
            return self.score(requests)
        scores = self.chooser.answer(requests)[0]
        own = scores[:, self.item].astype(np.float64)
        histories = requests.histories
        if self.exclude:
            scores[np.repeat(np.arange(len(histories)), histories.lengths), histories.items] = -np.inf
        scores[:, self.item] = -np.inf
        last = min(self.k, scores.shape[1] - 1)
        return own - np.partition(scores, scores.shape[1] - last, axis=1)[:, scores.shape[1] - last]
