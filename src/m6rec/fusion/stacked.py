"""Members that learn nothing by themselves, joined by trees that learn from the training events.

Dimension keys: B requests, N items, M members, C candidates.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field, field_validator

from m6rec.base.configuration import Config
from m6rec.base.contracts import Histories, Requests
from m6rec.data.dataset import Table
from m6rec.fusion.candidates import Candidates, answers, joined, union
from m6rec.fusion.config import FusionConfig, TreesConfig
from m6rec.fusion.member import MEMBERS, Matrix, Member, State, dense_state
from m6rec.fusion.normalisation import Z
from m6rec.fusion.quality import Quality
from m6rec.fusion.way import Known
from m6rec.fusion.ways_learned import LambdaMART

BATCH = 256  # requests scored at a time
LEAST = 1e-3  # of a candidate beside an item that is none
INNER = "inner"


@MEMBERS.register("stacked")
class Stacked(Member):
    """Gradient-boosted trees (LambdaMART, see `how: lambdamart`) over what cheap members say of their best items.

    The trees learn from training events: people are cut into `folds`; the members fitted on the other folds score the last `targets`
    events of the people of a fold, each from the events before it. So no member has seen an answer, nor the person, that it is judged by,
    and there are several times as many cases to learn from as in validation. Afterwards the members are fitted on everybody.
    An item is scored where it is among the `candidates` best of a member; needs LightGBM (`pip install 'm6rec[fusion]'`).
    """

    name = "stacked"
    built_on = (("lightgbm", "fusion"),)

    class Options(Config):
        """The members, the cases, the trees."""

        members: list[str] = Field(
            default=["transition_graph_text", "transition_next", "transition_graph", "item_knn", "content_knn", "bm25"],
            description="Members that are joined; the trees correct the first",
        )
        folds: int = Field(4, ge=2, description="Parts of the people: members that score one are fitted on the others")
        targets: int = Field(4, ge=1, description="Events of each person that are predicted, the last ones")
        cases: int = Field(60_000, ge=1, description="Events that are learnt from at most, drawn by seed")
        candidates: int = Field(40, ge=1, description="Best items of each member that are looked at")
        rounds: int = Field(400, ge=1, description="Trees at most")
        patience: int = Field(40, ge=1, description="Trees without a gain after which to stop")
        learning_rate: float = Field(0.06, gt=0, le=1, description="Weight of each tree")
        leaves: int = Field(15, ge=2, description="Leaves of a tree")
        leaf_rows: int = Field(100, ge=1, description="Candidates that a leaf needs")
        negatives: int = Field(200, ge=1, description="Candidates a case that are no target, at most")
        exclude_history: bool = Field(True, description="Whether consumed items are no answers")
        seed: int = Field(0, ge=0, description="Seed of the folds and of the trees")

        @field_validator("members")
        @classmethod
        def _others(cls, members: list[str]) -> list[str]:
            if not members or len(set(members)) < len(members) or "stacked" in members:
                raise ValueError("name one or more members, each once, and not stacked itself")
            return members

    options: Options

    def _fit(self, histories: Histories, items: Table) -> None:
        options = self.options
        random = np.random.default_rng([options.seed, 7])
        fold = random.permutation(len(histories)) % options.folds
        share = min(1.0, options.cases / max(1, np.minimum(np.maximum(histories.lengths - 1, 0), options.targets).sum()))
        blocks: list[Candidates] = []
        wanted: list[np.ndarray] = []
        for number in range(options.folds):
            people = np.flatnonzero((fold == number) & (histories.lengths > 1))
            if not len(people):
                continue
            others = histories.rows(np.flatnonzero(fold != number))
            self._inner = self._fitted(others, items)
            self._log_seen = np.log1p(np.bincount(others.items, minlength=len(items)))
            for drop in range(1, options.targets + 1):
                chosen = people[(histories.lengths[people] > drop) & (random.random(len(people)) < share)]
                rows = histories.rows(chosen)
                past, answer = rows.window(drop_last=drop), rows.items[rows.offsets[1:] - drop]
                for start in range(0, len(chosen), BATCH):
                    here = np.arange(start, min(start + BATCH, len(chosen)))
                    blocks.append(self._look(Requests(past.rows(here))))
                    wanted.append(answer[here])
        self._way = self._trees()
        if blocks:
            candidates, items_wanted = joined(blocks), np.concatenate(wanted)
            targets = Histories(np.arange(len(items_wanted) + 1, dtype=np.int64), items_wanted.astype(np.int32))
            quality = Quality(candidates, targets, "ndcg@10")
            self._way.fit(Known(candidates, Z().apply(candidates), candidates.wanted(targets), quality))
        self._inner = self._fitted(histories, items)
        self._log_seen = np.log1p(np.bincount(histories.items, minlength=len(items)))

    def _personal(self, requests: Requests) -> Matrix:
        scores = np.zeros((len(requests), len(self._log_seen)), dtype=np.float32)
        said = [any(texts[row] for texts in (requests.texts, requests.profiles) if texts is not None) for row in range(len(requests))]
        asked = np.flatnonzero((requests.histories.lengths > 0) | np.array(said, dtype=bool))
        if not len(asked):
            return scores
        candidates = self._look(requests.rows(asked))
        found = self._way.scores(candidates, Z().apply(candidates))
        low = np.full(len(asked), np.inf)
        np.minimum.at(low, candidates.requests, found)
        scores[asked[candidates.requests], candidates.items] = found - low[candidates.requests] + LEAST
        return scores

    def _extend(self, new: Table, items: Table) -> bool:
        for member in self._inner.values():
            member.extend(items)
        self._log_seen = np.concatenate([self._log_seen, np.zeros(len(new))])
        return True

    def _state(self) -> State:
        return {"log_seen": self._log_seen, **{f"way_{name}": value for name, value in self._way.state().items()}}

    def _restore(self, state: State) -> None:
        self._log_seen, self._way = dense_state(state, "log_seen"), self._trees()
        self._way.restore({name.removeprefix("way_"): dense_state(state, name) for name in state if name.startswith("way_")})

    def _save_files(self, folder: Path) -> None:
        self._way.save_files(folder)
        for name, member in self._inner.items():
            (folder / INNER / name).mkdir(parents=True, exist_ok=True)
            member.save(folder / INNER / name)

    def _load_files(self, folder: Path) -> None:
        self._way.load_files(folder)
        self._inner = {name: Member.load(folder / INNER / name) for name in self.options.members}

    def _fitted(self, histories: Histories, items: Table) -> dict[str, Member]:
        return {name: MEMBERS.get(name)().fit(histories, items) for name in self.options.members}

    def _trees(self) -> LambdaMART:
        options = self.options
        sizes = {name: getattr(options, name) for name in TreesConfig.model_fields}
        config = FusionConfig(members=options.members, how="lambdamart", candidates=options.candidates, trees=TreesConfig(**sizes))
        return LambdaMART(config, options.members, [], options.seed)

    def _look(self, requests: Requests) -> Candidates:
        scores, _ = answers(self._inner, requests, explained=False)
        return union(scores, [], requests.histories, self._log_seen, self.options.candidates, self.options.exclude_history)
