"""What writes in a served model: the trained module, and everything that is read before a text, for training rows and requests alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

from m6rec.base.contracts import Histories
from m6rec.data.dataset import Dataset
from m6rec.language_model.config import ModelShape
from m6rec.language_model.decoding import Speaker
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.quick_speaking import QuickSpeaker, may_be_quick
from m6rec.language_model.speaking import WriterSpeaker
from m6rec.language_model.spelling import sentence_count
from m6rec.language_model.writing import ReadSources
from m6rec.language_model.writing_arrays import WriterArrays
from m6rec.tasks.catalogue import Catalogue
from m6rec.tasks.choose import Choose
from m6rec.tasks.choose_mixture import Profiles
from m6rec.tasks.config import WriteConfig, WritingConfig
from m6rec.tasks.known_words import Vocabulary, doubled_words, never_last, words_in
from m6rec.tasks.text_reader import TextReader
from m6rec.tasks.write import Write, WriteExamples, WriteSizes, without_end
from m6rec.tasks.write_memory import AT_HAND, Memory
from m6rec.tasks.write_rows import TRAINING, AboutWords, WriteRows, naming_most, target_tokens, write_rows
from m6rec.tasks.write_sources import ABOUT, ITEM, MEMORY, OWN, PAST, PROFILE, TYPED, Known, Piece, read_pieces, read_slots, sources
from m6rec.tasks.writing_masks import word_count
from m6rec.text.similarity import similarity_vectors
from m6rec.text.tokenizer import Tokenizer

USUALLY_TWICE = 0.01  # of the times that a word is said, from which on it is said twice in a row ("bye bye") on purpose
ENOUGH_TEXTS = 2_000  # that tell whether texts of a kind are one sentence


@dataclass(frozen=True)
class WriteRequest:
    """One text that is wanted.

    item, user  dense ids, -1 for none          words, profile  of the item and the person, "" where nothing is known
    texts       what stands before the text: named columns, "" for words that somebody typed
    past        names of the newest items of the history
    about       words that should be named      vector          csr (1, F) tf-idf of the item, None for none
    """

    item: int
    user: int
    words: str = ""
    profile: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    past: Sequence[str] = ()
    about: Sequence[str] = ()
    vector: csr_array | None = None


@dataclass
class WriteInputs:
    """How texts and requests are read: the tokenizer, and the known texts of every task, which are those of the training part.

    memories  task -> (its texts, their rows in `rows`)     limit  tokens of a segment
    """

    configs: dict[str, WriteConfig]
    tokenizer: Tokenizer
    limit: int
    rows: WriteRows
    names: Sequence[str]
    item_words: Sequence[str]
    user_words: Sequence[str]
    vectors: csr_array | None
    people: csr_array | None

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        configs: dict[str, WriteConfig],
        reader: TextReader,
        catalogue: Catalogue,
        profiles: Profiles | None,
        rows: WriteRows,
    ) -> WriteInputs:
        people = None
        if profiles is not None:
            people = similarity_vectors(profiles.bag.matrix(dataset.users), profiles.bag.idf)
        return cls(
            configs,
            reader.tokenizer,
            reader.segment_tokens,
            rows,
            dataset.items.titles(),
            reader.wording.items(dataset.items),
            reader.wording.users(dataset.users),
            catalogue.vectors,
            people,
        )

    @cached_property
    def memories(self) -> dict[str, tuple[Memory, np.ndarray]]:
        found = {}
        for number, name in enumerate(self.configs):
            known = np.flatnonzero((self.rows.parts == TRAINING) & (self.rows.task == number))
            order = known[np.argsort(np.nan_to_num(self.rows.times[known], nan=-np.inf), kind="stable")]
            texts = [self.rows.texts[row] for row in order.tolist()]
            found[name] = Memory(self.rows.users[order], self.rows.items[order], texts, self.vectors, self.people), order
        return found

    @cached_property
    def _known_texts(self) -> list[str]:
        return [text for text, part in zip(self.rows.texts, self.rows.parts.tolist(), strict=True) if part == TRAINING]

    @cached_property
    def said(self) -> frozenset[str]:
        """Every word of the known texts."""
        return words_in(self._known_texts)

    @cached_property
    def never_last(self) -> frozenset[str]:
        """Words that end no sentence of the known texts."""
        return never_last(self._known_texts)

    @cached_property
    def doubled(self) -> frozenset[str]:
        """Words that the known texts say twice in a row, and not by a slip; read when first asked for."""
        return doubled_words(self._known_texts, USUALLY_TWICE)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Every word of the known texts, the items and the people."""
        return Vocabulary(self.said | words_in([*self.item_words, *self.user_words]))

    @cached_property
    def usual_words(self) -> dict[str, float]:
        """Task -> mean number of words of its known texts; 0 for a task without any."""
        return {name: float(np.mean([word_count(text) for text in memory.texts] or [0])) for name, (memory, _) in self.memories.items()}

    @cached_property
    def single(self) -> frozenset[str]:
        """Tasks most of whose known texts are one sentence."""
        return frozenset(
            name
            for name, (memory, _) in self.memories.items()
            if memory.texts and np.mean([sentence_count(text) == 1 for text in memory.texts[:ENOUGH_TEXTS]]) > 0.5
        )

    def encode(self, text: str, *, begins: bool = False) -> np.ndarray:
        """int32 (T,): tokens of words in the middle of a sentence, or as they begin one, at most `limit`."""
        plain = " ".join(text.split())
        return self.tokenizer.encode(plain if begins else " " + plain, self.limit) if plain else np.zeros(0, np.int32)

    def target(self, row: int, text: str, task: int) -> np.ndarray:
        """int32 (T,): the tokens of the text of a row, with the end where it is reached."""
        item = int(self.rows.items[row])
        named = [self.names[one] for one in ([item] if item >= 0 else []) + self.rows.past[row]]
        return target_tokens(self.tokenizer, text, list(self.configs.values())[task].longest, named)

    def examples(self, rows: WriteRows, known: Known) -> WriteExamples:
        """All texts, tokenised, with the known texts that are read before each."""
        targets = [self.target(row, text, task) for row, (text, task) in enumerate(zip(rows.texts, rows.task.tolist(), strict=True))]
        memory: list[list[int]] = [[] for _ in targets]
        own: list[list[int]] = [[] for _ in targets]
        for number, (name, config) in enumerate(self.configs.items()):
            found, order = self.memories[name]
            place = {int(row): at for at, row in enumerate(order)}
            for row in np.flatnonzero((rows.task == number) & (rows.parts >= TRAINING)).tolist():
                item, user, without = int(rows.items[row]), int(rows.users[row]), place.get(row, -1)
                vector = None if item < 0 or self.vectors is None else self.vectors[[item]]
                near = found.about(item, user, AT_HAND * config.memory, vector=vector, without=without)
                memory[row] = order[near].tolist()
                own[row] = order[found.by(user, config.own, without=without)].tolist()
        training = [text for text, part in zip(rows.texts, rows.parts.tolist(), strict=True) if part == TRAINING]
        return WriteExamples(
            rows=rows,
            targets=targets,
            memory=memory,
            own=own,
            items=[self.encode(words, begins=True) for words in self.item_words],
            names=[self.encode(name, begins=True) for name in self.names],
            profiles=[self.encode(words) for words in self.user_words],
            columns={name: [self.encode(text) for text in texts] for name, texts in rows.columns.items()},
            known=known,
            draw=AboutWords(training),
            encode=self.encode,
        )

    def pieces(self, name: str, request: WriteRequest, kind_of: Any) -> list[Piece]:
        """The segments of a request, in the order in which training reads them."""
        config, (memory, order) = self.configs[name], self.memories[name]
        about = ", ".join(request.about)
        near = memory.about(request.item, request.user, AT_HAND * config.memory, vector=request.vector)
        if about and len(near) > config.memory:
            near = [near[place] for place in naming_most([memory.texts[one] for one in near], about)]
        own = memory.by(request.user, config.own)
        found = [(ABOUT, self.encode(about)), (TYPED, self.encode(request.texts.get("", "")))]
        found += [(kind_of(column), self.encode(request.texts.get(column, ""))) for column in config.columns]
        if "item" in config.reads:
            found.append((ITEM, self.encode(request.words, begins=True)))
        found += [(MEMORY, self._known(name, int(order[place]))) for place in near[: config.memory]]
        if "history" in config.reads:
            found += [(PAST, self.encode(name, begins=True)) for name in request.past]
        if "profile" in config.reads:
            found.append((PROFILE, self.encode(request.profile)))
        found += [(OWN, self._known(name, int(order[place]))) for place in own]
        return [(kind, ids) for kind, ids in found if len(ids)]

    def _known(self, name: str, row: int) -> np.ndarray:
        return without_end(self.target(row, self.rows.texts[row], list(self.configs).index(name)), self.tokenizer.eos_id)


@dataclass
class WritePart:
    """What writes, in evaluation mode: its weights are laid out once, and anew when they have changed. inputs: of the data that the model was trained on."""

    write: Write
    inputs: WriteInputs
    _arrays: WriterArrays | None = None
    _laid_out: tuple[tuple[int, int], ...] = ()  # of which weights, in which state, `_arrays` is

    def plain(self) -> dict[str, Any]:
        """JSON-ready facts, from which `of` makes it again."""
        tasks = {name: config.plain() for name, config in self.write.configs.items()}
        return {"order": list(tasks), "tasks": tasks, "writing": self.write.writing.plain(), "sizes": self.write.sizes.plain()}

    @classmethod
    def of(
        cls,
        facts: dict[str, Any],
        dataset: Dataset,
        shape: ModelShape,
        reader: Choose,
        texts: TextReader,
        catalogue: Catalogue,
        profiles: Profiles | None,
    ) -> WritePart:
        """From what `plain` gave; the weights are still to be loaded.

        Raises:
            KeyError, TypeError, ConfigError: facts that `plain` did not give.
        """
        configs = {name: WriteConfig.build(facts["tasks"][name], source=name) for name in facts["order"]}
        writing, sizes = WritingConfig.build(facts["writing"], source="writing"), WriteSizes.of(facts["sizes"])
        write = Write(configs, writing, shape, sizes, reader, texts.tokenizer.bos_id, texts.tokenizer.eos_id)
        return cls(write, WriteInputs.of(dataset, configs, texts, catalogue, profiles, write_rows(dataset, configs)))

    @torch.no_grad()
    def speaker(self, model: LanguageModel, name: str, requests: Sequence[WriteRequest], histories: Histories, known: Known) -> Speaker:
        """A Speaker for the texts that are wanted, one row each; row b of `histories` is what the person of request b had.

        Args:
            known: the catalogue's contents, vectors and profiles at hand; its histories are not looked at.
        """
        write, config = self.write, self.write.configs[name]
        tokens = read_pieces(
            model,
            [self.inputs.pieces(name, request, write.kind_of) for request in requests],
            write.writing.source_tokens,
            write.shape.pad_id,
            write.bos_id,
        )
        items = np.array([request.item if "item" in config.reads else -1 for request in requests], dtype=np.int64)
        users = np.array([request.user if "profile" in config.reads else -1 for request in requests], dtype=np.int64)
        slots = read_slots(
            model,
            write.reader,
            Known(histories, known.contents, known.profiles, known.vectors),
            users,
            items,
            histories.offsets[:-1],
            histories.offsets[1:] if "history" in config.reads else histories.offsets[:-1],
            write.writing.slots if "history" in config.reads else 0,
        )
        return self.speaking(model, name, write.writer.read(model, sources(tokens, slots), write.option(name)))

    def speaking(self, model: LanguageModel, name: str, read: ReadSources) -> Speaker:
        """A Speaker over what was read for a task: in plain arrays where that says the same."""
        write, option = self.write, self.write.option(name)
        if not may_be_quick(model, write.writer):
            return WriterSpeaker(model, write.writer, option, read, write.bos_id)
        return QuickSpeaker(self._arrays_of(model), option, read, write.bos_id)

    def _arrays_of(self, model: LanguageModel) -> WriterArrays:
        """Further training or loading writes into the weights in place, which counts their versions up."""
        state = tuple(
            (id(one), 0 if one.is_inference() else one._version) for one in (*model.parameters(), *self.write.writer.parameters())
        )
        if self._arrays is None or state != self._laid_out:
            self._arrays, self._laid_out = WriterArrays(model, self.write.writer), state
        return self._arrays
