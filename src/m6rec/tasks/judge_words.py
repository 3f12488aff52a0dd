"""judge: labels of the words of a text (brand, place, price inside a query). One module holds all such tasks of a configuration.

A word is read by its own n-grams (so a new brand is read by its spelling) and by the frozen states of its tokens; a convolution over
neighbouring words and a linear chain over the labels (CRF: Lafferty et al., ICML 2001) decide jointly:
    log p(y | words) = sum_w e(w, y_w) + t(y_w-1, y_w) - log Z, with t = -inf where I-x would follow anything but B-x or I-x.

Shapes: G texts, S words of the longest, Y labels (O, B-x, I-x of every span label), W width, M words of all texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m6rec.base.contracts import Segment
from m6rec.base.errors import DataError, UsageError, nearest
from m6rec.language_model.config import ModelShape
from m6rec.language_model.devices import moved, tensor_of
from m6rec.language_model.layers import RMSNorm
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.segments import SegmentBatch
from m6rec.tasks.config import JudgeConfig, SharingConfig
from m6rec.tasks.options import module_name
from m6rec.tasks.task import Task
from m6rec.tasks.text_documents import LONGEST, TRAINING, VALIDATION, TextExamples
from m6rec.tasks.text_reader import TextReader
from m6rec.tasks.text_views import Pairs
from m6rec.text.ngrams import NGrams
from m6rec.text.word_spans import Span, bio_names, span_figures, spans_said, word_places, words_labelled

FORBIDDEN = -1e4


@dataclass(frozen=True)
class JudgeWordsSizes:
    """Sizes that come from the data; labels: task -> the labels of spans. Saved beside the weights (`plain`, `of`)."""

    labels: dict[str, list[str]]
    ngrams: int
    ngram_settings: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        return cls(**values)


@dataclass(frozen=True)
class WordRows:
    """G texts cut into words: places of each, the token segment of each word (words are read one by one), and their n-grams."""

    places: list[np.ndarray]
    segments: list[Segment]
    pairs: Any  # csr float32 (M, F)
    starts: np.ndarray  # int64 (G + 1,)


class Chain(nn.Module):
    """A linear chain over the labels of one task: transitions, the loss, and the best labels."""

    forbidden: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.steps = nn.Parameter(torch.zeros(len(names), len(names)))  # from, to
        allowed = [[not to.startswith("I-") or start[2:] == to[2:] for to in names] for start in names]
        self.register_buffer("forbidden", torch.where(torch.tensor(allowed), 0.0, FORBIDDEN), persistent=False)
        self.register_buffer("first", torch.tensor([FORBIDDEN if name.startswith("I-") else 0.0 for name in names]), persistent=False)

    def loss(self, scores: Tensor, wanted: Tensor, real: Tensor) -> Tensor:
        """(G,) minus log likelihood; scores (G, S, Y), wanted int64 (G, S), real bool (G, S), the first word of each real."""
        steps, first = self.steps + self.forbidden, cast(Tensor, self.first)
        total = scores[:, 0] + first
        path = total.gather(1, wanted[:, :1])[:, 0]
        for at in range(1, scores.shape[1]):
            here = real[:, at, None]
            grown = torch.logsumexp(total[:, :, None] + steps, dim=1) + scores[:, at]
            total = torch.where(here, grown, total)
            taken = steps[wanted[:, at - 1], wanted[:, at]] + scores[:, at].gather(1, wanted[:, at : at + 1])[:, 0]
            path = path + taken * real[:, at]
        return torch.logsumexp(total, dim=1) - path

    def best(self, scores: Tensor, real: Tensor) -> Tensor:
        """int64 (G, S): the likeliest labels (Viterbi); 0 at padding."""
        steps, first = self.steps + self.forbidden, cast(Tensor, self.first)
        total, back = scores[:, 0] + first, []
        for at in range(1, scores.shape[1]):
            highest, start = (total[:, :, None] + steps).max(dim=1)
            here = real[:, at, None]
            back.append(torch.where(here, start, torch.arange(scores.shape[2], device=start.device)))
            total = torch.where(here, highest + scores[:, at], total)
        label = total.argmax(dim=1)
        found = [label]
        for start in reversed(back):
            label = start.gather(1, label[:, None])[:, 0]
            found.append(label)
        return torch.stack(found[::-1], dim=1) * real


class JudgeWords(Task):
    """All tasks of a configuration that label words of texts."""

    answer: ClassVar[Literal["choose", "judge", "write"]] = "judge"
    hashes: Tensor
    idf: Tensor

    def __init__(self, configs: dict[str, JudgeConfig], sharing: SharingConfig, shape: ModelShape, sizes: JudgeWordsSizes) -> None:
        """configs: the tasks by name. Weights are meaningless until `initialise` or `load_state_dict`."""
        super().__init__()
        self.configs, self.sharing, self.shape, self.sizes = dict(configs), sharing, shape, sizes
        width = shape.width
        self.spelling = nn.Embedding(max(sizes.ngrams, 1), width)
        self.states = nn.Linear(shape.read_width, width, bias=False)
        self.norms = nn.ModuleList(RMSNorm(width) for _ in range(2))
        self.convolutions = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(2))
        self.dropout = nn.Dropout(sharing.dropout)
        names = {name: bio_names(sizes.labels[name]) for name in configs}
        self.vectors = nn.ModuleDict({module_name(name): nn.Linear(width, len(given)) for name, given in names.items()})
        self.chains = nn.ModuleDict({module_name(name): Chain(given) for name, given in names.items()})
        self.register_buffer("hashes", torch.zeros(sizes.ngrams, dtype=torch.int64))
        self.register_buffer("idf", torch.zeros(sizes.ngrams))
        self.examples: TextExamples | None = None
        self._rows: WordRows | None = None
        self._wanted: dict[str, list[np.ndarray | None]] = {}

    @classmethod
    def fit_sizes(cls, examples: TextExamples, labels: dict[str, list[str]]) -> tuple[JudgeWordsSizes, NGrams]:
        """Sizes and the n-grams of words from the training texts; labels: task -> the labels of spans."""
        labelled = np.any([examples.known(name) for name in labels], axis=0)
        texts = [examples.documents[row] for row in np.flatnonzero(labelled & (examples.parts == TRAINING)).tolist()]
        words = [text[start:end] for text in texts for start, end in word_places(text).tolist()]
        ngrams = NGrams.fit(words, characters=(1, 4), words=1, min_count=1, max_features=100_000)
        return JudgeWordsSizes(labels, ngrams.size, ngrams.settings()), ngrams

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, ngrams: NGrams) -> None:
        """Seeded start; `ngrams` are those that the sizes were made with."""
        for name, part in sorted(self.named_modules()):
            if isinstance(part, nn.Embedding | nn.Linear | nn.Conv1d):
                fan = 1 if isinstance(part, nn.Embedding) else part.weight[0].numel()
                part.weight.copy_(torch.randn(part.weight.shape, generator=generator) * (0.3 if name == "spelling" else 0.5 * fan**-0.5))
                if isinstance(part, nn.Linear | nn.Conv1d) and part.bias is not None:
                    part.bias.zero_()
        kept = ngrams.tensors()
        self.hashes.copy_(torch.from_numpy(kept["hashes"]))
        self.idf.copy_(torch.from_numpy(kept["idf"]))

    def bind(self, examples: TextExamples, reader: TextReader) -> None:
        """Give the task what it trains on. Raises DataError for a task without a labelled training text, or a label outside its set."""
        for name in self.configs:
            if not (examples.known(name) & (examples.parts == TRAINING)).any():
                raise DataError(f"task '{name}' has no labelled text to train on; label some, or leave the task out")
        self.examples = examples
        labelled = np.any([examples.known(name) for name in self.configs], axis=0)
        # Documents that no task on words reads have no words.
        self._rows = self._cut([text if keep else "" for text, keep in zip(examples.documents, labelled, strict=True)], reader)
        places = self._rows.places
        self._wanted = {
            name: [
                None if given is None else words_labelled(places[row], given, self.sizes.labels[name]) for row, given in enumerate(spans)
            ]
            for name, spans in examples.spans.items()
            if name in self.configs
        }

    def batches(self, generator: np.random.Generator) -> Iterator[np.ndarray]:
        assert self.examples is not None
        assert self._rows is not None
        lengths = np.diff(self._rows.starts)
        labelled = np.array([any(self._wanted[name][row] is not None for name in self.configs) for row in range(len(lengths))], dtype=bool)
        rows = generator.permutation(np.flatnonzero(labelled & (self.examples.parts == TRAINING) & (lengths > 0)))
        rows, size = rows[np.argsort(lengths[rows] // 4, kind="stable")], self.examples.step_rows(len(rows))
        runs = [rows[at : at + size] for at in range(0, len(rows), size)]
        for place in generator.permutation(len(runs)):
            yield runs[place]

    def targets(self, batch: np.ndarray) -> int:
        return len(batch)

    def loss(self, model: LanguageModel, batch: np.ndarray) -> dict[str, Tensor]:
        """{task: minus the log likelihood of the labels a word}; a task without a labelled document in the batch is left out."""
        assert self._rows is not None
        labelled = [any(self._wanted[name][row] is not None for name in self.configs) for row in batch.tolist()]
        batch = batch[np.array(labelled, dtype=bool) & (np.diff(self._rows.starts)[batch] > 0)]
        if not len(batch):
            return {}
        read, real = self._read(model, self._rows, batch)
        losses = {}
        for name in self.configs:
            known = [place for place, row in enumerate(batch.tolist()) if self._wanted[name][row] is not None]
            if not known:
                continue
            wanted = torch.zeros(real.shape, dtype=torch.int64)
            for place in known:
                codes = self._wanted[name][int(batch[place])]
                assert codes is not None
                wanted[place, : len(codes)] = torch.from_numpy(codes)
            chain = self._chain(name)
            rows = torch.tensor(known)
            scores, there = self.vectors[module_name(name)](read[rows]), real[rows]
            losses[name] = chain.loss(scores, moved(wanted[rows], scores.device), there).sum() / there.sum().clamp(min=1)
        return losses

    @torch.no_grad()
    def answers(self, reader: TextReader, texts: Sequence[str], task: str) -> list[list[Span]]:
        """The spans found in each text, with characters of the text as given.

        Raises:
            UsageError: a task that the model does not have.
        """
        if task not in self.configs:
            known = ", ".join(self.configs) or "none"
            raise UsageError(f"'{task}' is no task on words of texts{nearest(task, list(self.configs)) or f'; those: {known}'}")
        rows = self._cut(texts, reader)
        return [
            spans_said(places, codes, self.sizes.labels[task])
            for places, codes in zip(rows.places, self._codes(reader.model, rows, task), strict=True)
        ]

    @torch.no_grad()
    def figures(self, model: LanguageModel, task: str, part: int = VALIDATION) -> dict[str, tuple[float, float, float]]:
        """label -> (precision, recall, F1) of spans on a part of the bound examples."""
        assert self.examples is not None
        assert self._rows is not None
        codes, labels = self._codes(model, self._rows, task), self.sizes.labels[task]
        held = [row for row in np.flatnonzero(self.examples.parts == part).tolist() if self._wanted[task][row] is not None]
        truth = [spans_said(self._rows.places[row], cast(np.ndarray, self._wanted[task][row]), labels) for row in held]
        return span_figures(truth, [spans_said(self._rows.places[row], codes[row], labels) for row in held], labels)

    def measure(self, model: LanguageModel, part: int = VALIDATION) -> dict[str, float]:
        """task -> mean F1 of its labels on a part of the bound examples."""
        return {name: float(np.mean([figure[2] for figure in self.figures(model, name, part).values()] or [0.0])) for name in self.configs}

    def _codes(self, model: LanguageModel, rows: WordRows, task: str) -> list[np.ndarray]:
        training, found = self.training, [np.zeros(len(places), np.int64) for places in rows.places]
        self.eval()
        order = np.argsort(np.diff(rows.starts), kind="stable")
        order = order[np.diff(rows.starts)[order] > 0]
        for start in range(0, len(order), 64):
            index = order[start : start + 64]
            read, real = self._read(model, rows, index)
            best = self._chain(task).best(self.vectors[module_name(task)](read), real)
            for row, codes in zip(index.tolist(), best.numpy(), strict=True):
                found[row] = codes[: len(found[row])]
        self.train(training)
        return found

    def _chain(self, task: str) -> Chain:
        chain = self.chains[module_name(task)]
        assert isinstance(chain, Chain)
        return chain

    def _cut(self, texts: Sequence[str], reader: TextReader) -> WordRows:
        places = [word_places(text[: LONGEST * 8])[:LONGEST] for text in texts]
        words = [text[start:end] for text, some in zip(texts, places, strict=True) for start, end in some.tolist()]
        starts = np.concatenate([[0], np.cumsum([len(some) for some in places])]).astype(np.int64)
        segments = replace(reader, segment_tokens=16).segments([word.lower() for word in words])
        ngrams = NGrams.restored({"hashes": self.hashes.numpy(), "idf": self.idf.numpy()}, self.sizes.ngram_settings)
        return WordRows(places, segments, ngrams.matrix(words), starts)

    def _read(self, model: LanguageModel, rows: WordRows, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """States of the words (G, S, W) and which are real, bool (G, S)."""
        counts = np.diff(rows.starts)[index]
        real = np.arange(counts.max()) < counts[:, None]
        words = np.concatenate([np.arange(rows.starts[row], rows.starts[row + 1]) for row in index.tolist()])  # M
        device = self.states.weight.device
        pairs = Pairs.of(rows.pairs[words], device)
        if self.training and self.sharing.dropout:
            pairs = pairs.thinned(self.sharing.dropout)
        summaries = model.summaries(SegmentBatch.padded([rows.segments[word] for word in words.tolist()], self.shape.pad_id, device))
        own = pairs.summed(self.spelling.weight) + self.states(summaries.to(self.states.weight.dtype))
        mask = tensor_of(real, device)
        x = torch.zeros(*real.shape, own.shape[1], device=device).masked_scatter(mask[:, :, None], own.float())
        x = self.dropout(x)
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            x = (x + F.gelu(convolution(norm(x).transpose(1, 2)).transpose(1, 2))) * mask[:, :, None]
        return self.dropout(x), mask
