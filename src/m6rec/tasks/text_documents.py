"""Documents that tasks on texts read, and their labels: n-grams and token segments, made once.

Shapes: G documents, T tokens of the longest, L width of token states, Q pairs (document, n-gram).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from m6rec.base.contracts import Segment
from m6rec.language_model.devices import CPU, device_of, moved
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.segments import SegmentBatch
from m6rec.language_model.store import read_segments
from m6rec.tasks.label_spreading import text_vectors
from m6rec.tasks.text_reader import TextReader
from m6rec.tasks.text_views import Pairs
from m6rec.text.augment import Augmenter
from m6rec.text.ngrams import NGrams
from m6rec.text.word_spans import Span

TRAINING, VALIDATION, TEST = range(3)
LONGEST = 128  # tokens of a text that are read in order; the n-grams are those of the whole text
READ_TOGETHER = 256  # documents
MOST_KEPT = 250_000_000  # numbers of token states that are kept of the documents: 1 GB


@dataclass(frozen=True)
class TextExamples:
    """What the tasks train on.

    documents   G texts: texts as they are, items as worded without the field that is asked for
    labels      task -> float32 (G,), or (G, C) for tags; NaN (a row of NaN) where the document has no label of the task
    parts       int8 (G,): 0 training, 1 validation, 2 test
    spans       task on words -> the labelled spans of each document, None where it has no label; such a task is not among `labels`
    batch_rows  documents of a training step; None: a 150th of the labelled ones, 16 to 64
    """

    documents: Sequence[str]
    labels: dict[str, np.ndarray]
    parts: np.ndarray
    batch_rows: int | None = None
    spans: Mapping[str, Sequence[Sequence[Span] | None]] = field(default_factory=dict)

    def known(self, task: str) -> np.ndarray:
        """bool (G,): which documents have a label of the task."""
        if task in self.spans:
            return np.fromiter((given is not None for given in self.spans[task]), dtype=bool, count=len(self.spans[task]))
        values = self.labels[task]
        return ~np.isnan(values if values.ndim == 1 else values[:, 0])

    def step_rows(self, labelled: int) -> int:
        """Documents of a step where so many are labelled: few labels need small steps."""
        return self.batch_rows or min(max(labelled // 150, 16), 64)


@dataclass(frozen=True)
class Documents:
    """G texts, ready to be read: n-gram rows and token segments."""

    rows: csr_array
    segments: list[Segment]
    pad_id: int
    kept: list[tuple[Tensor, Tensor]] = field(
        default_factory=list, compare=False
    )  # none, or what a checkpoint's frozen layers read: offsets, tokens

    @classmethod
    def of(cls, texts: Sequence[str], ngrams: NGrams, reader: TextReader) -> Documents:
        """Texts are lower-cased for their tokens where that changes nothing but the case."""
        tokens = replace(reader, segment_tokens=LONGEST)
        spelt = texts if reader.tokenizer.pretrained else [text.lower() for text in texts]
        return cls(ngrams.matrix(texts), tokens.segments(list(spelt)), reader.tokenizer.pad_id)

    def __len__(self) -> int:
        return len(self.segments)

    def lengths(self) -> np.ndarray:
        """int64 (G,): tokens of each."""
        return np.fromiter((len(segment.ids) for segment in self.segments), dtype=np.int64, count=len(self.segments))

    def pairs(self, index: np.ndarray, device: torch.device = CPU) -> Pairs:
        return Pairs.of(self.rows[index], device)

    def batch(self, index: np.ndarray, device: torch.device = CPU) -> SegmentBatch:
        return SegmentBatch.padded([self.segments[row] for row in index], self.pad_id, device)

    def states(self, model: LanguageModel, index: np.ndarray, batch: SegmentBatch) -> Tensor:
        """(G, T, L): token states of the documents `index`, which `batch` holds.

        A checkpoint's layers cost too much to pass in every epoch: while they are frozen, and where memory allows, all documents are read once.
        """
        frozen = not any(parameter.requires_grad for parameter in model.lower.parameters())
        if model.shape.backbone is None or not frozen or int(self.lengths().sum()) * model.shape.read_width > MOST_KEPT:
            return model.reading(model.encode(batch))
        if not self.kept:
            _, offsets, tokens = read_segments(model, self.segments, keep_tokens=True, dtype=torch.float32)
            assert tokens is not None
            self.kept.append((offsets, tokens))
        offsets, tokens = self.kept[0]
        first = offsets[torch.from_numpy(np.asarray(index, dtype=np.int64))]
        place = (first[:, None] + batch.position.cpu()).clamp(max=len(tokens) - 1)  # padding reads what is there; nobody looks at it
        return moved(tokens[place], batch.position.device)

    @torch.no_grad()
    def vectors(self, model: LanguageModel, seed: int = 0) -> np.ndarray:
        """float32 (G, D), unit rows (zero for an empty text) by which texts are alike: the mean of what a pretrained checkpoint makes of their tokens, else
        latent semantic analysis of their n-grams."""
        if model.shape.backbone is None:
            return text_vectors(self.rows, seed)
        found = torch.zeros(len(self), model.shape.read_width)
        order = np.argsort(self.lengths(), kind="stable")
        for start in range(0, len(order), READ_TOGETHER):
            index = order[start : start + READ_TOGETHER]
            batch = self.batch(index, device_of(model))
            states = self.states(model, index, batch).float()
            found[torch.from_numpy(index)] = (states * batch.real[:, :, None]).sum(dim=1).cpu()
        return torch.nn.functional.normalize(found, dim=1).numpy()


def augmented(examples: TextExamples, augmenter: Augmenter, seed: int, items: np.ndarray | None = None, joiner: str = "; ") -> TextExamples:
    """The examples and, behind them, changed copies of their labelled training documents, which carry the same labels.

    Args:
        items: bool (G,), which documents are worded items, whose fields stand between `joiner`; None: none.
    """
    if not augmenter.copies:
        return examples
    known = [np.zeros(len(examples.parts), dtype=bool), *(examples.known(name) for name in examples.labels)]
    labelled = np.any(known, axis=0) & (examples.parts == TRAINING)
    worded = np.zeros(len(examples.parts), dtype=bool) if items is None else items
    generator = np.random.default_rng([seed, 11])
    documents, rows = list(examples.documents), [np.arange(len(examples.parts))]
    for some, between in ((np.flatnonzero(labelled & ~worded), None), (np.flatnonzero(labelled & worded), joiner)):
        if not len(some):
            continue
        for copies in augmenter([examples.documents[row] for row in some.tolist()], generator, between):
            documents += copies
            rows.append(some)
    index = np.concatenate(rows)
    labels = {name: values[index] for name, values in examples.labels.items()}
    copies_of = len(index) - len(examples.parts)  # characters move in a copy: its spans are not known
    spans = {name: [*given, *[None] * copies_of] for name, given in examples.spans.items()}
    return TextExamples(documents, labels, examples.parts[index], examples.batch_rows, spans)
