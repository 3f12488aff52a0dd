"""The stage that learns what somebody says of themselves: the interest vector, then how much it counts beside behaviour."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_array

from m6rec.base.contracts import Histories, Requests
from m6rec.base.storage import write_json
from m6rec.data.columns import Columns
from m6rec.data.dataset import FieldType, Table
from m6rec.language_model.checkpoint import load_into, load_weights, save_weights
from m6rec.tasks.config import InterestConfig
from m6rec.tasks.interest import Interest, InterestExamples, InterestSizes, standing_out, value_columns
from m6rec.tasks.interest_blend import LEAST_CASES, BlendCases, InterestBlend, Kind, fit_blend
from m6rec.tasks.interest_part import InterestPart
from m6rec.tasks.meaning import Meaning
from m6rec.tasks.model_folder import ChooseScorer
from m6rec.tasks.newcomers import NewcomerCases, fit_newcomer
from m6rec.tasks.told_prior import FIRST, ToldPrior, fit_told, named_values
from m6rec.text.bag import Bag
from m6rec.text.constraints import MOST_REQUESTED
from m6rec.text.lexical import Lexical
from m6rec.training.config import LoopConfig
from m6rec.training.loop import Loop
from m6rec.training.run_folder import read_json
from m6rec.training.stage import Stage
from m6rec.training.workbench import Workbench

NAME, BAG, COUNTED, BLEND, BEST = "interest", "bag.json", "counted.safetensors", "blend.json", "best.safetensors"
WRITTEN = "what people wrote"  # the field of an item's document that no catalogue has
MOST_WORDS = 4_000  # characters of one item's texts together that are read
WATCHED, LEAST_WATCHED, MOST_WATCHED = 0.05, 20, 1_000  # share and number of training users that early stopping looks at
STORIES = ("review",)
NEWCOMERS: tuple[Kind, ...] = ("profile", "values")
MOST_SCORES = 20_000_000  # cases x items held at a time


class LearnInterest(Stage):
    """Learn the interest vector of what people say, and how much it counts at each number of known events."""

    name = "interest"
    needs = ("fit",)
    version = 3

    def inputs(self, bench: Workbench) -> Any:
        return [_settings(bench).plain(), bench.config.text.language]

    def run(self, bench: Workbench) -> dict[str, Any]:
        config, folder = _settings(bench), bench.folder(self.name)
        scorer = bench.fitted()
        texts = written_texts(bench)
        bag = Bag.fit(raw_documents(bench, texts, MOST_WORDS), bench.config.text.language)
        folder.mkdir(parents=True, exist_ok=True)
        bag.save(folder / BAG)
        profiles = None if bench.profile_bag is None else bench.profile_bag.matrix(bench.dataset.users)
        examples = InterestExamples(
            bench.had,
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
        told = told_of(bench, examples, config)
        part = InterestPart(task, bag, InterestBlend({}, {}), lexical_of(bench, texts), told, meaning=meaning_of(bench, scorer, texts))
        k = int(bench.config.train.validation_metric.partition("@")[2])
        with torch.no_grad():
            cases = Cases(bench, scorer, part, profiles, texts)
            blend = fit_blend(cases, k)
            asked = {kind: cases.newcomers(kind) for kind in NEWCOMERS} if part.prior is not None else {}
            part.blend = replace(blend, newcomers={kind: fit_newcomer(some, k) for kind, some in asked.items() if some})
        task.bind(None)
        save_weights(folder / COUNTED, part.tensors())
        write_json(folder / BLEND, part.plain())
        return {"best epoch": state.best_epoch + 1, "log probability": round(state.best, 4), **_shown(part.blend)}


def fitted_interest(bench: Workbench) -> InterestPart | None:
    """What the stage made; None where the configuration has none, or it was not run yet."""
    if bench.config.choose.interest is None or not (bench.folder(NAME) / BLEND).exists():
        return None
    folder = bench.folder(NAME)
    tensors, _ = load_weights(folder / COUNTED)
    part = InterestPart.of(read_json(folder / BLEND), Bag.load(folder / BAG), tensors)
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


def raw_documents(bench: Workbench, texts: pl.DataFrame | None, most: int | None = None) -> Table:
    """The items, with what training users wrote about each as one more field, where anybody did; most: characters of it that are kept."""
    items = bench.dataset.items
    if texts is None:
        return items
    together = pl.col("text").str.join(" ")
    written = trained_texts(bench, texts).group_by("item", maintain_order=True).agg(together if most is None else together.str.head(most))
    column = (
        pl.DataFrame({"item": np.arange(len(items))}).join(written, on="item", how="left", maintain_order="left")["text"].alias(WRITTEN)
    )
    return Table(items.ids, items.frame.with_columns(column), {**items.fields, WRITTEN: FieldType.TEXT})


def lexical_of(bench: Workbench, texts: pl.DataFrame | None) -> Lexical:
    """The words of the items and of what training users wrote about them, counted."""
    written, about = told_texts(bench, texts)
    return Lexical.fit(bench.dataset.items, written, about, bench.config.text.language)


def meaning_of(bench: Workbench, scorer: ChooseScorer, texts: pl.DataFrame | None) -> Meaning | None:
    """The same texts as the checkpoint under the model reads them; None where there is none, or nobody wrote anything."""
    if texts is None or scorer.model.shape.backbone is None:
        return None
    return Meaning.fit(scorer.reader, bench.dataset.items, *told_texts(bench, texts))


def told_texts(bench: Workbench, texts: pl.DataFrame | None) -> tuple[list[str], np.ndarray]:
    """What training users wrote, and the item int64 that each is about."""
    if texts is None:
        return [], np.zeros(0, np.int64)
    written = trained_texts(bench, texts)
    return written["text"].to_list(), written["item"].to_numpy()


def told_of(bench: Workbench, examples: InterestExamples, config: InterestConfig) -> ToldPrior | None:
    """What training people who say such things have."""
    spread = spread_of(examples, bench.split.seen)
    people = np.arange(len(bench.split.train))
    generator = np.random.default_rng([bench.config.seed, 13])
    return fit_told(examples.histories, people, examples.matrix, examples.values, spread, examples.profiles, config.smoothing, generator)


def spread_of(examples: InterestExamples, seen: np.ndarray) -> np.ndarray:
    """float (V,): the share of all events whose item has each value."""
    found: np.ndarray = np.asarray((examples.matrix[:, examples.values].T @ seen) / max(seen.sum(), 1)).ravel()
    return found


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
        self.spread = spread_of(examples, bench.split.seen)
        whole = MOST_SCORES // max(len(bench.dataset.items), 1)
        self.most = min(_settings(bench).cases, max(whole, 50))

    def __call__(self, kind: Kind, events: int) -> BlendCases | None:
        if (
            (kind == "profile" and self.profiles is None)
            or (kind == "story" and not self.raw)
            or (kind == "values" and not len(self.values))
        ):
            return None
        if kind in ("words", "story") and not events:
            return self._written(kind)
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
            match = self.part.looked_up(kind, catalogue, self.scorer.reader)(said, prior).astype(np.float32)
        scores = self.scorer.scores(requests)
        if self.bench.config.measured.exclude_history:
            for row in range(len(rows)):
                scores[row, requests.histories.row(row)] = -1e4
        targets = [self._asked(kind, row, events) for row in rows.tolist()]
        return BlendCases(scores, (query @ self.scorer.vectors.T).numpy(), match, targets)

    def _written(self, kind: Kind) -> BlendCases | None:
        """The texts of validation people of whom nothing is known, and the items they are about; where those of a kind are too few, all texts."""
        people = set() if self.bench.split.validation.requests.users is None else set(self.bench.split.validation.requests.users.tolist())
        told = [(user, item, text) for (user, item), text in self.raw.items() if user in people]
        own = [one for one in told if (len(one[2]) > MOST_REQUESTED) == (kind == "story")]
        told = own if len(own) >= LEAST_CASES else told
        if len(told) < LEAST_CASES:
            return None
        order = np.random.default_rng([self.bench.config.seed, 16]).permutation(len(told))[: self.most]
        users, items, said = zip(*(told[place] for place in order.tolist()), strict=True)
        people_of = np.array(users, dtype=np.int64)
        profiles = None if self.profiles is None else csr_array(self.profiles[people_of])
        query = (self.part.queries(said, profiles) @ self.scorer.vectors.T).numpy()
        match = self.part.looked_up(kind, self.scorer.catalogue, self.scorer.reader)(list(said), self.scorer.task.config.prior).astype(
            np.float32
        )
        scores = self.scorer.scores(Requests(self._empty(len(users)), people_of))
        return BlendCases(scores, query, match, [np.array([item], dtype=np.int64) for item in items])

    def _empty(self, count: int) -> Histories:
        """People without events."""
        return self.bench.dataset.histories.pick(np.zeros(0, np.int64), np.zeros(count + 1, np.int64))

    def newcomers(self, kind: Kind) -> list[NewcomerCases]:
        """Validation people of whom nothing is known, three questions: their first event, their first ten, and, of people nowhere trained on, half of
        all they have, the other half being told of."""
        assert self.part.prior is not None
        requests, histories = self.bench.split.validation.requests, self.bench.dataset.histories
        if (kind == "profile" and self.profiles is None) or requests.users is None:
            return []
        users = np.unique(requests.users)
        users = np.random.default_rng([self.bench.config.seed, 14]).permutation(users[histories.lengths[users] >= 2])[: self.most]
        generator = np.random.default_rng([self.bench.config.seed, 15])
        halves = [(row, generator.random(len(row)) < 0.5) for row in (histories.row(int(user)) for user in users)]
        asked = [([row[:first] for row, _ in halves], [row[first:] for row, _ in halves]) for first in (1, FIRST)]
        if self.bench.config.split.protocol == "cold_users":
            asked.append(([row[side] for row, side in halves], [row[~side] for row, side in halves]))
        found = [self._newcomers(kind, users, *one) for one in asked]
        return [cases for cases in found if cases is not None]

    def _newcomers(self, kind: Kind, users: np.ndarray, targets: list[np.ndarray], told: list[np.ndarray]) -> NewcomerCases | None:
        """Those who have something to say, and items to be asked for; None where they are too few."""
        assert self.part.prior is not None
        said = [named_values(self.matrix, self.values, self.spread, items) if kind == "values" else self.values[:0] for items in told]
        able = [len(one) > 0 and (kind == "profile" or len(words) > 0) for one, words in zip(targets, said, strict=True)]
        rows = np.flatnonzero(np.array(able, dtype=bool))
        if len(rows) < LEAST_CASES:
            return None
        people, words = users[rows], [said[row] for row in rows.tolist()]
        profiles = None if self.profiles is None else csr_array(self.profiles[people])
        texts = ["; ".join(self.part.bag.features[column][1] for column in columns.tolist()) for columns in words]
        start = self.scorer.scores(Requests(self._empty(len(people)), people))
        lift = (self.part.queries(texts, profiles) @ self.scorer.vectors.T).numpy()
        scores = self.part.prior.scores(words, profiles, start.shape[1])
        return NewcomerCases(start, scores, lift, [np.unique(targets[row]).astype(np.int64) for row in rows.tolist()])

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
            return text
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


def _settings(bench: Workbench) -> InterestConfig:
    config = bench.config.choose.interest
    assert config is not None
    return config


def _watched(bench: Workbench) -> np.ndarray:
    able = np.flatnonzero(bench.had.lengths >= 2)
    count = min(max(LEAST_WATCHED, round(WATCHED * len(able))), MOST_WATCHED, max(len(able) // 2, 1))
    drawn: np.ndarray = np.sort(np.random.default_rng([bench.config.seed, 10]).choice(able, count, replace=False))
    return drawn


def _shown(blend: InterestBlend) -> dict[str, str]:
    return {
        f"weights of {kind}": " ".join(f"{weight:g}" for weight in weights) for kind, weights in blend.interest.items() if kind != "words"
    }
