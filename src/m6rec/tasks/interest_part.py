"""What serves of the interest vector: read what somebody says, and add what it changes to the scores.

Shapes: B requests, N items, W width, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array, vstack
from torch import Tensor

from m6rec.base.contracts import Requests
from m6rec.base.errors import CheckpointError, ConfigError
from m6rec.data.dataset import Table
from m6rec.language_model.checkpoint import load_into, save_weights
from m6rec.tasks.agreement import TYPED_FLOOR
from m6rec.tasks.catalogue import Catalogue, sharpened
from m6rec.tasks.config import InterestConfig, PriorConfig
from m6rec.tasks.interest import Interest, InterestSizes, Told, padded, telling
from m6rec.tasks.interest_blend import InterestBlend, Kind
from m6rec.tasks.meaning import Meaning
from m6rec.tasks.newcomers import Newcomer
from m6rec.tasks.text_reader import TextReader
from m6rec.tasks.told_prior import ToldPrior
from m6rec.text.bag import Bag
from m6rec.text.constraints import MOST_REQUESTED
from m6rec.text.cues import built_in_cues, tokens
from m6rec.text.lexical import Lexical
from m6rec.text.similarity import query_similarity, similarity_vectors

GROWING = Lock()  # the first story after items were added makes room for them; another that is asked meanwhile waits
LISTED = "; "  # between the tastes that a profile lists
MEANING = 1.0  # of a story's meaning beside its words, whose score is 1 for the best item; chosen on folds of training people


@dataclass(frozen=True)
class Lift:
    """What B people's words change: query float32 (B, W), whose products with the items' vectors are added to their scores, and match float32 (B, N),
    which is too; weights are in both. start float32 (B,): what their scores are multiplied by before."""

    query: Tensor
    match: np.ndarray | None
    start: np.ndarray

    def row(self, number: int) -> Lift:
        """One of the requests."""
        one = slice(number, number + 1)
        return Lift(self.query[one], None if self.match is None else self.match[one], self.start[one])

    def of(self, row: int, items: np.ndarray, vectors: Tensor) -> np.ndarray:
        """float32 (C,): what is added to the scores of `items` int64 (C,); vectors (N, W)."""
        found: np.ndarray = (vectors[torch.from_numpy(items)] @ self.query[row]).numpy()
        return found if self.match is None else found + self.match[row, items]


class InterestPart:
    """The trained interest vector with what it reads with.

    Args:
        bag: words and values that may be said; of the items, and of what people wrote about them.
        lexical: what is said of each item, counted; told: what people who say such things have, None where nothing can be said.
        meaning: what is said of each item as a pretrained checkpoint reads it; None over a model pretrained here.
        documents: csr (N, F): in a model of before, the items' features with the words that people wrote about each.
    """

    def __init__(
        self,
        task: Interest,
        bag: Bag,
        blend: InterestBlend,
        lexical: Lexical | None = None,
        told: ToldPrior | None = None,
        documents: csr_array | None = None,
        meaning: Meaning | None = None,
    ) -> None:
        self.task, self.bag, self.blend, self.documents = task.eval(), bag, blend, documents
        self.lexical, self.prior, self.meaning = lexical, told, meaning

    def kind(self, text: str) -> Kind:
        """values: a list of names of categories and tags and nothing else, with LISTED between them as in a profile, a taste; words: a request, which one
        name alone is too; story: more than anybody asks for in one breath."""
        if not text:
            return "profile"
        if len(text) > MOST_REQUESTED:
            return "story"
        if LISTED.strip() not in text:
            return "words"
        left = self.bag.without_names(text)
        return "words" if any(word not in self._empty for word in left) else "values"

    @cached_property
    def _empty(self) -> frozenset[str]:
        cues = built_in_cues()
        listed = (*cues.fillers, *cues.starts, *cues.wishes, *cues.ends, *cues.joins, *cues.only)
        return frozenset(match.group() for phrase in listed for match in tokens(phrase))

    def told(self, texts: Sequence[str], profiles: csr_array | None) -> Told:
        """What B people say, as ids; profiles csr (B, P)."""
        rows = self.bag.texts(list(texts))
        said = [telling(rows.indices[rows.indptr[row] : rows.indptr[row + 1]], self.bag.idf) for row in range(len(texts))]
        persons = [np.zeros(0, np.int64)] * len(texts)
        if profiles is not None:
            persons = [profiles.indices[profiles.indptr[row] : profiles.indptr[row + 1]] for row in range(len(texts))]
        return Told(padded(said, self.task.sizes.features), padded(persons, self.task.sizes.profile_features))

    @torch.no_grad()
    def queries(self, texts: Sequence[str], profiles: csr_array | None = None) -> Tensor:
        """float32 (B, W): q of `tasks/interest.py`."""
        found: Tensor = self.task(self.told(texts, profiles))
        return found

    def lift(
        self,
        requests: Requests,
        profile_bag: Bag | None,
        catalogue: Catalogue,
        reader: TextReader,
        config: PriorConfig,
        log_seen: np.ndarray,
    ) -> Lift | None:
        """What the words and described people of B requests change; None where nobody says anything. log_seen float32 (N,) of the items trained on."""
        count = len(requests)
        texts = requests.texts or [""] * count
        against = requests.unwanted or [""] * count
        described = requests.profiles or [""] * count
        if not any((*texts, *against, *described)):
            return None
        profiles = None if profile_bag is None or requests.profiles is None else profile_bag.texts(described)
        kinds = [self.kind(text) for text in texts]
        events = requests.histories.lengths
        said = [bool(text or one) for text, one in zip(texts, described, strict=True)]
        found = [self.blend.weights(kind, int(events[row])) if said[row] else (0.0, 0.0) for row, kind in enumerate(kinds)]
        weights = np.array(found, dtype=np.float32)  # B 2
        query = self.queries(texts, profiles) * torch.from_numpy(weights[:, :1])
        match = self._matched(texts, kinds, weights[:, 1], catalogue, reader, config)
        new = {row: self.blend.newcomer(kind, int(events[row])) for row, kind in enumerate(kinds) if said[row]}
        start, further = self._of_newcomers(
            {row: one for row, one in new.items() if one is not None}, texts, profiles, len(catalogue), log_seen
        )
        if further is not None:
            match = further if match is None else match + further
        if any(against):
            ruled = np.array([self.blend.weights("words", int(events[row])) for row in range(count)], dtype=np.float32)
            query = query - self.queries(against) * torch.from_numpy(ruled[:, :1])
            asked = np.array([float(bool(one)) for one in against])
            lost = self._matched(against, ["words"] * count, asked, catalogue, reader, config)
            if lost is not None:
                match = -lost if match is None else match - lost
        return Lift(query, match, start)

    def _of_newcomers(
        self, rows: dict[int, Newcomer], texts: Sequence[str], profiles: csr_array | None, size: int, log_seen: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Of all requests: what scores are multiplied by (B,), and what is added to them (B, N); rows: those of newcomers."""
        start = np.ones(len(texts), dtype=np.float32)
        if not rows:
            return start, None
        places, weights = np.array(list(rows)), np.array(list(rows.values()), dtype=np.float32)  # C, C 5
        start[places] = weights[:, 0]
        added = np.zeros((len(texts), size), dtype=np.float32)
        added[places, : len(log_seen)] = weights[:, 3:4] * log_seen
        if self.prior is not None:
            bags = self.bag.texts([texts[row] for row in rows])
            said = [bags.indices[bags.indptr[row] : bags.indptr[row + 1]] for row in range(len(rows))]
            told = self.prior.scores(said, None if profiles is None else csr_array(profiles[places]), size)
            added[places] += weights[:, 1:2] * told[0] + weights[:, 2:3] * told[1]
        return start, added

    def _matched(
        self,
        texts: Sequence[str],
        kinds: Sequence[Kind],
        weights: np.ndarray,
        catalogue: Catalogue,
        reader: TextReader,
        config: PriorConfig,
    ) -> np.ndarray | None:
        """float32 (B, N): what a text gives to the items whose words it names, by its weight."""
        wanted = [bool(text) and weight > 0 for text, weight in zip(texts, weights, strict=True)]
        if not any(wanted):
            return None
        result = np.zeros((len(texts), len(catalogue)), dtype=np.float32)
        for kind in dict.fromkeys(kinds):
            rows = [row for row, one in enumerate(wanted) if one and kinds[row] == kind]
            if rows:
                prior = self.looked_up(kind, catalogue, reader)
                result[rows] = weights[rows, None] * prior([texts[row] for row in rows], config)
        return result

    def looked_up(self, kind: Kind, catalogue: Catalogue, reader: TextReader) -> Callable[[list[str], PriorConfig], np.ndarray]:
        """What texts name, float32 (B, N): log(1 + `Catalogue.typed_prior` / floor); for a story, or where the items have no words of their own, over
        what people wrote about them too: `Lexical.scores`, and what `Meaning` adds."""
        wide = kind == "story" or not catalogue.search[0].size
        if wide and self.lexical is not None:
            return self._told_about(catalogue.items, reader)
        if not wide or self.documents is None:
            return lambda texts, config: np.log1p(catalogue.typed_prior(texts, config) / TYPED_FLOOR)
        vectors = similarity_vectors(self._grown(catalogue.items), self.bag.idf)

        def prior(texts: list[str], config: PriorConfig) -> np.ndarray:
            near = query_similarity(vectors, similarity_vectors(self.bag.texts(texts), self.bag.idf))
            return np.log1p(sharpened(near, config) / TYPED_FLOOR)

        return prior

    def _told_about(self, items: Table, reader: TextReader) -> Callable[[list[str], PriorConfig], np.ndarray]:
        """`looked_up` in what is said of the items, those added since included."""
        lexical, meaning = self.lexical, self.meaning
        assert lexical is not None
        with GROWING:
            if lexical.alike.shape[0] < len(items):
                lexical.extend(items.rows(list(range(lexical.alike.shape[0], len(items)))))
            if meaning is not None and len(meaning.about) < len(items):
                meaning.extend(reader, items.rows(list(range(len(meaning.about), len(items)))))
        if meaning is None:
            return lambda texts, config: lexical.scores(texts)
        return lambda texts, config: lexical.scores(texts) + MEANING * meaning.scores(reader, texts)

    def _grown(self, items: Table) -> csr_array:
        """The documents, with a row for each item added since."""
        assert self.documents is not None
        with GROWING:
            known = self.documents.shape[0]
            if known < len(items):
                self.documents = csr_array(
                    vstack([self.documents, self.bag.matrix(items.rows(list(range(known, len(items)))))], format="csr")
                )
            return self.documents

    def plain(self) -> dict[str, Any]:
        """JSON-ready: everything but weights, bag and what is counted."""
        counted = None if self.lexical is None else {"language": self.lexical.language, "length": self.lexical.length}
        people = None if self.prior is None else self.prior.people
        said = {"config": self.task.config.plain(), "sizes": vars(self.task.sizes), "blend": self.blend.plain()}
        return {**said, "lexical": counted, "people": people}

    @classmethod
    def of(cls, plain: dict[str, Any], bag: Bag, tensors: dict[str, Tensor]) -> InterestPart:
        """With the weights of the task to be loaded; raises KeyError, TypeError, ValueError or ConfigError where `plain` or `tensors` are something else."""
        task = Interest(InterestConfig.build(plain["config"], source="interest"), InterestSizes(**plain["sizes"]))
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        lexical = told = documents = None
        if plain.get("lexical") is not None:
            columns = bytes(arrays["lexical.columns"]).decode().split("\n")
            tables = (_table(arrays, f"lexical.{name}", len(columns)) for name in ("alike", "said"))
            numbers = (arrays["lexical.weights"], arrays["lexical.idf"], float(plain["lexical"]["length"]))
            lexical = Lexical(plain["lexical"]["language"], columns, *numbers, *tables)
        elif "documents.indptr" in arrays:
            documents = _table(arrays, "documents", bag.size)
        if plain.get("people") is not None:
            told = ToldPrior(arrays["told.weights"], arrays["told.means"], arrays["told.values"], int(plain["people"]))
        meaning = Meaning(arrays["meaning.centre"], arrays["meaning.about"]) if "meaning.centre" in arrays else None
        return cls(task, bag, InterestBlend.of(plain["blend"]), lexical, told, documents, meaning)

    def tensors(self) -> dict[str, Tensor]:
        """What is counted, to be saved."""
        arrays: dict[str, np.ndarray] = {}
        if self.lexical is not None:
            arrays |= {"lexical.weights": self.lexical.weights, "lexical.idf": self.lexical.idf}
            arrays["lexical.columns"] = np.frombuffer("\n".join(self.lexical.columns).encode(), dtype=np.uint8).copy()
            arrays |= _arrays(self.lexical.alike, "lexical.alike") | _arrays(self.lexical.said, "lexical.said")
        if self.documents is not None:
            arrays |= _arrays(self.documents, "documents")
        if self.prior is not None:
            arrays |= {"told.weights": self.prior.weights, "told.means": self.prior.means, "told.values": self.prior.values}
        if self.meaning is not None:
            arrays |= {"meaning.centre": self.meaning.centre, "meaning.about": self.meaning.about}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def _arrays(table: csr_array, name: str) -> dict[str, np.ndarray]:
    return {f"{name}.data": table.data, f"{name}.indices": table.indices, f"{name}.indptr": table.indptr}


def _table(arrays: dict[str, np.ndarray], name: str, columns: int) -> csr_array:
    """What `_arrays` gave; raises ValueError where it is no table."""
    data, indices, indptr = (arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    table = csr_array((data, indices, indptr), shape=(len(indptr) - 1, columns))
    table.check_format(full_check=True)
    return table


def save_interest(part: InterestPart, weights: Path, bag: Path, metadata: dict[str, str]) -> None:
    """Weights and what is counted into one file, the bag into another."""
    save_weights(weights, {f"task.{name}": value for name, value in part.task.state_dict().items()} | part.tensors(), metadata)
    part.bag.save(bag)


def load_interest(plain: dict[str, Any], bag: Bag, tensors: dict[str, Tensor], source: Path) -> InterestPart:
    """What `save_interest` wrote. Raises CheckpointError where the parts do not fit."""
    try:
        part = InterestPart.of(plain, bag, tensors)
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{source} is not what its folder describes ({reason}); keep the files of one folder together") from None
    load_into(part.task, {name.removeprefix("task."): value for name, value in tensors.items() if name.startswith("task.")}, source)
    return part
