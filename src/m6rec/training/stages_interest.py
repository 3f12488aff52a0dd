"""The stage that learns what somebody says of themselves: the interest vector, then how much it counts beside behaviour."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_array

from m6rec.base.contracts import Requests
from m6rec.base.storage import write_json
from m6rec.data.columns import Columns
from m6rec.data.dataset import FieldType, Table
from m6rec.language_model.checkpoint import load_into, load_weights, save_weights
from m6rec.tasks.agreement import TYPED_FLOOR
from m6rec.tasks.config import InterestConfig
from m6rec.tasks.interest import Interest, InterestExamples, InterestSizes, standing_out, value_columns
from m6rec.tasks.interest_blend import BlendCases, InterestBlend, Kind, fit_blend
from m6rec.tasks.interest_part import InterestPart
from m6rec.tasks.model_folder import ChooseScorer
from m6rec.text.bag import Bag
from m6rec.text.constraints import MOST_REQUESTED
from m6rec.training.config import LoopConfig
from m6rec.training.loop import Loop
from m6rec.training.run_folder import read_json
from m6rec.training.stage import Stage
from m6rec.training.workbench import Workbench

NAME, BAG, DOCUMENTS, BLEND, BEST = "interest", "bag.json", "documents.safetensors", "blend.json", "best.safetensors"
WRITTEN = "what people wrote"  # the field of an item's document that no catalogue has
MOST_WORDS = 4_000  # characters of one item's texts together that are read
WATCHED, LEAST_WATCHED, MOST_WATCHED = 0.05, 20, 1_000  # share and number of training users that early stopping looks at
STORIES = ("review",)
FIRST = 10  # events of a newcomer that are asked for
MOST_SCORES = 20_000_000  # cases x items held at a time


class LearnInterest(Stage):
    """Learn the interest vector of what people say, and how much it counts at each number of known events."""

    name = "interest"
    needs = ("fit",)

    def inputs(self, bench: Workbench) -> Any:
        return [_settings(bench).plain(), bench.config.text.language]

    def run(self, bench: Workbench) -> dict[str, Any]:
        config, folder = _settings(bench), bench.folder(self.name)
        scorer = bench.fitted()
        texts = written_texts(bench)
        bag, documents = documents_of(bench, texts)
        folder.mkdir(parents=True, exist_ok=True)
        bag.save(folder / BAG)
        save_weights(folder / DOCUMENTS, csr_tensors(documents))
        profiles = None if bench.profile_bag is None else bench.profile_bag.matrix(bench.dataset.users)
        examples = InterestExamples(
            bench.split.train,
            bag.matrix(bench.dataset.items),
            value_columns(bag),
            profiles,
            scorer.vectors,
            torch.from_numpy(np.log1p(bench.split.seen).astype(np.float32)),
            by_user(bag, texts),
        )
        task = Interest(config, InterestSizes(bag.size, 0 if profiles is None else profiles.shape[1], bench.shape.width))
        task.initialise(torch.Generator().manual_seed(bench.config.seed + 7), known_words(bag, scorer))
        watched = _watched(bench)
        held = np.ones(len(bench.split.train), dtype=bool)
        held[watched] = False
        task.bind(examples)
        validate = Validation(task, watched, bench.config.seed)
        task.keep(held)
        for parameter in scorer.model.parameters():
            parameter.requires_grad_(False)
        loop = Loop(
            scorer.model,
            {NAME: task},
            LoopConfig.build(
                {"epochs": config.epochs, "patience": config.patience, "learning_rate": config.learning_rate, "weight_decay": 0.01},
                source="interest",
            ),
            weights={NAME: 1.0},
            seed=bench.config.seed,
            folder=folder,
            precision="off",
            validate=validate,
            metric="log probability",
            progress=bench.progress,
        )
        state = loop.run()
        part = InterestPart(task, bag, InterestBlend({}, {}), documents)
        with torch.no_grad():
            part.blend = fit_blend(Cases(bench, scorer, part, profiles, texts), int(bench.config.train.validation_metric.partition("@")[2]))
        task.bind(None)
        write_json(folder / BLEND, part.plain())
        return {"best epoch": state.best_epoch + 1, "log probability": round(state.best, 4), **_shown(part.blend)}


def fitted_interest(bench: Workbench) -> InterestPart | None:
    """What the stage made; None where the configuration has none, or it was not run yet."""
    if bench.config.choose.interest is None or not (bench.folder(NAME) / BLEND).exists():
        return None
    folder = bench.folder(NAME)
    bag = Bag.load(folder / BAG)
    tensors, _ = load_weights(folder / DOCUMENTS)
    part = InterestPart.of(read_json(folder / BLEND), bag, csr_of(tensors, (len(bench.dataset.items), bag.size)))
    weights, _ = load_weights(folder / BEST)
    prefix = f"task_{NAME}."
    load_into(part.task, {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}, folder / BEST)
    return part


def written_texts(bench: Workbench) -> pl.DataFrame | None:
    """user, item (dense) and text of what people wrote about items; None where nobody did."""
    texts = bench.dataset.texts
    if texts is None or not {Columns.USER, Columns.ITEM, Columns.KIND}.issubset(texts.columns):
        return None
    kept = texts.filter(pl.col(Columns.KIND).is_in(STORIES) & pl.col(Columns.USER).is_not_null() & pl.col(Columns.ITEM).is_not_null())
    users = bench.dataset.users.ids.many(kept[Columns.USER].to_list())
    items = bench.dataset.items.ids.many(kept[Columns.ITEM].to_list())
    frame = pl.DataFrame({"user": users, "item": items, "text": kept[Columns.TEXT]}).filter((pl.col("user") >= 0) & (pl.col("item") >= 0))
    return frame if frame.height else None


def trained_texts(bench: Workbench, texts: pl.DataFrame) -> pl.DataFrame:
    """Those about events that are trained on: nothing else may be known when the held-out events are asked for."""
    train = bench.split.train
    pairs = pl.DataFrame({"user": np.repeat(np.arange(len(train)), train.lengths), "item": train.items.astype(np.int64)}).unique()
    return texts.join(pairs, on=["user", "item"], how="semi")


def documents_of(bench: Workbench, texts: pl.DataFrame | None) -> tuple[Bag, csr_array]:
    """The bag of what may be said, and each item's features with what people wrote about it: csr (N, F)."""
    return Bag.fit_matrix(raw_documents(bench, texts), bench.config.text.language)


def raw_documents(bench: Workbench, texts: pl.DataFrame | None) -> Table:
    """The items, with what training users wrote about each as one more field, where anybody did."""
    items = bench.dataset.items
    if texts is None:
        return items
    written = trained_texts(bench, texts).group_by("item", maintain_order=True).agg(pl.col("text").str.join(" ").str.head(MOST_WORDS))
    column = (
        pl.DataFrame({"item": np.arange(len(items))}).join(written, on="item", how="left", maintain_order="left")["text"].alias(WRITTEN)
    )
    return Table(items.ids, items.frame.with_columns(column), {**items.fields, WRITTEN: FieldType.TEXT})


def by_user(bag: Bag, texts: pl.DataFrame | None) -> dict[int, tuple[np.ndarray, csr_array]] | None:
    """Each user's texts: the items they are about, and their rows."""
    if texts is None:
        return None
    rows = bag.texts(texts["text"].to_list())
    users, items = texts["user"].to_numpy(), texts["item"].to_numpy()
    places: dict[int, list[int]] = defaultdict(list)
    for place, user in enumerate(users.tolist()):
        places[user].append(place)
    return {user: (items[own], csr_array(rows[own])) for user, own in places.items()}


def known_words(bag: Bag, scorer: ChooseScorer) -> torch.Tensor | None:
    """float32 (F, W): the vectors that the items' bag has for the same words and values, zeros for the others."""
    content = scorer.task.items.content
    if content is None:
        return None
    column = {feature: place for place, feature in enumerate(scorer.catalogue.bag.features)}
    places = torch.tensor([column.get(feature, -1) for feature in bag.features])
    found = content.bag.weight.detach()[places.clamp(min=0)]
    return found * (places >= 0)[:, None]


class Validation:
    """log p of what the watched users' words were not made of, always the same draw."""

    def __init__(self, task: Interest, users: np.ndarray, seed: int) -> None:
        self.task = task
        self.told, self.asked = task.draw(users, np.random.default_rng([seed, 11]))

    def __call__(self) -> dict[str, float]:
        return {"log probability": self.task.likelihood(self.told, self.asked)}


class Cases:
    """Validation cases for `fit_blend`: what the person might say, made of events that are neither given nor asked for."""

    def __init__(
        self, bench: Workbench, scorer: ChooseScorer, part: InterestPart, profiles: csr_array | None, texts: pl.DataFrame | None
    ) -> None:
        self.bench, self.scorer, self.part, self.profiles = bench, scorer, part, profiles
        self.texts = by_user(part.bag, texts)
        self.raw = {} if texts is None else {(u, i): t for u, i, t in zip(*(texts[name].to_list() for name in texts.columns), strict=True)}
        examples = part.task.examples
        assert examples is not None
        self.matrix, self.values = examples.matrix, examples.values
        seen = bench.split.seen
        self.spread = np.asarray((self.matrix[:, self.values].T @ seen) / max(seen.sum(), 1)).ravel()
        whole = MOST_SCORES // max(len(bench.dataset.items), 1)
        self.most = min(_settings(bench).cases, max(whole, 50))

    def __call__(self, kind: Kind, events: int) -> BlendCases | None:
        if (
            (kind == "profile" and self.profiles is None)
            or (kind == "story" and not self.raw)
            or (kind == "values" and not len(self.values))
        ):
            return None
        rows, said = self._drawn(kind, events)
        if not len(rows):
            return None
        cases = self.bench.split.validation
        requests = cases.requests.rows(rows)
        users = requests.users
        assert users is not None
        requests = Requests(requests.histories.window(keep=events), users, scenarios=requests.scenarios)
        profiles = None if self.profiles is None else csr_array(self.profiles[users])
        query = self.part.queries(said, profiles)
        match = None
        if kind != "profile":
            catalogue, prior = self.scorer.catalogue, self.scorer.task.config.prior
            match = np.log1p(self.part.looked_up(kind, catalogue)(said, prior) / TYPED_FLOOR).astype(np.float32)
        scores = self.scorer.scores(requests)
        if self.bench.config.measured.exclude_history:
            for row in range(len(rows)):
                scores[row, requests.histories.row(row)] = -1e4
        targets = [self._asked(kind, row, events) for row in rows.tolist()]
        popular = self.scorer.task.items.log_seen.numpy()
        return BlendCases(scores, (query @ self.scorer.vectors.T).numpy(), match, targets, None if events else popular)

    def _asked(self, kind: Kind, row: int, events: int) -> np.ndarray:
        """The target of a case; of a newcomer who is nowhere trained on, all of their first events: one alone says little of what they like."""
        cases = self.bench.split.validation
        if events or kind in ("story", "words") or self.bench.config.split.protocol != "cold_users":
            return cases.targets.row(row).astype(np.int64)
        assert cases.requests.users is not None
        return np.unique(self.bench.dataset.histories.row(int(cases.requests.users[row]))[:FIRST]).astype(np.int64)

    def _drawn(self, kind: Kind, events: int) -> tuple[np.ndarray, list[str]]:
        """Rows of the validation cases with one target and so many events at least, and what is said in each."""
        cases = self.bench.split.validation
        lengths = cases.requests.histories.lengths
        exact = np.flatnonzero((lengths == events) & (cases.targets.lengths == 1))
        able = exact if len(exact) else np.flatnonzero((lengths >= events) & (cases.targets.lengths == 1))
        generator = np.random.default_rng([self.bench.config.seed, 12, events])
        rows, said = [], []
        for row in generator.permutation(able).tolist():
            words = "" if kind == "profile" else self._said(kind, row, events)
            if words or kind == "profile":
                rows.append(row)
                said.append(words)
            if len(rows) == self.most:
                break
        return np.array(rows, dtype=np.int64), said

    def _said(self, kind: Kind, row: int, events: int) -> str:
        cases = self.bench.split.validation
        assert cases.requests.users is not None
        user, target = int(cases.requests.users[row]), int(cases.targets.row(row)[0])
        if kind in ("story", "words"):
            text = self.raw.get((user, target), "")
            return text if (len(text) > MOST_REQUESTED) == (kind == "story") else ""
        past = cases.requests.histories.row(row)
        pool = past[: len(past) - events] if events else past
        if self.bench.config.split.protocol == "cold_users":  # nobody of them was trained on: what they did later may be what they say
            pool = self.bench.dataset.histories.row(user)[len(past) :]
            pool = pool if events else pool[FIRST - len(past) :]
        pool = pool[pool != target]
        if not len(pool):
            return ""
        columns = standing_out(self.matrix, self.values, self.spread, pool, 3)
        return "; ".join(self.part.bag.features[column][1] for column in columns.tolist())


def csr_tensors(table: csr_array) -> dict[str, torch.Tensor]:
    """A sparse matrix as tensors to be saved."""
    arrays = {"data": table.data.astype(np.float32), "indices": table.indices.astype(np.int32), "indptr": table.indptr.astype(np.int64)}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def csr_of(tensors: dict[str, torch.Tensor], shape: tuple[int, int]) -> csr_array:
    """What `csr_tensors` gave."""
    return csr_array(tuple(tensors[name].numpy() for name in ("data", "indices", "indptr")), shape=shape)


def _settings(bench: Workbench) -> InterestConfig:
    config = bench.config.choose.interest
    assert config is not None
    return config


def _watched(bench: Workbench) -> np.ndarray:
    able = np.flatnonzero(bench.split.train.lengths >= 2)
    count = min(max(LEAST_WATCHED, round(WATCHED * len(able))), MOST_WATCHED, max(len(able) // 2, 1))
    drawn: np.ndarray = np.sort(np.random.default_rng([bench.config.seed, 10]).choice(able, count, replace=False))
    return drawn


def _shown(blend: InterestBlend) -> dict[str, str]:
    return {
        f"weights of {kind}": " ".join(f"{weight:g}" for weight in weights) for kind, weights in blend.interest.items() if kind != "words"
    }
