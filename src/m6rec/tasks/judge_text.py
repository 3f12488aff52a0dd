"""judge: labels and numbers of free texts and of items alone. One module holds all such tasks of a configuration.

The layers that read a text are shared (`text_views.py`), so that tasks help each other; each task has an option of its own. What a text
is made into (n-grams) belongs to the weights and is saved with them, so a model folder needs the state, the sizes and nothing else.

Shapes: G texts, V views, C outputs of a task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.base.errors import DataError, UsageError, nearest
from m6rec.language_model.config import ModelShape
from m6rec.language_model.devices import tensor_of
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.config import JudgeConfig, SharingConfig
from m6rec.tasks.judge_labels import Kind, LabelSize, answers, label_losses
from m6rec.tasks.judge_words import JudgeWords, JudgeWordsSizes
from m6rec.tasks.options import module_name
from m6rec.tasks.task import Task
from m6rec.tasks.text_documents import TRAINING, VALIDATION, Documents, TextExamples
from m6rec.tasks.text_reader import TextReader
from m6rec.tasks.text_unlabelled import Spread, unlabelled_loss
from m6rec.tasks.text_views import TextEncoder, TextOption
from m6rec.text.ngrams import NGrams

ANSWERED_TOGETHER = 256
POOL_BATCHES = 32  # texts are sorted by length within so many batches' worth of random ones
UNLABELLED = 2  # texts without a label read beside each labelled one, where a task learns from them


@dataclass(frozen=True)
class TextBatch:
    """Rows of the documents bound: `rows` have a label of some task, `unlabelled` lack one of some task that learns from such texts."""

    rows: np.ndarray
    unlabelled: np.ndarray


@dataclass(frozen=True)
class JudgeTextsSizes:
    """Sizes of a JudgeTexts that come from the data; saved beside its weights (`plain`, `of`)."""

    labels: dict[str, LabelSize]
    ngrams: int
    ngram_settings: dict[str, Any] = field(default_factory=dict)
    bag_width: int = 128
    token_width: int = 128
    sentence_width: int = 0
    words: JudgeWordsSizes | None = None

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        labels = {name: LabelSize(**size) for name, size in values["labels"].items()}
        words = values.get("words")
        return cls(**{**values, "labels": labels, "words": None if words is None else JudgeWordsSizes.of(words)})


@dataclass(frozen=True)
class Spellings:
    """The n-grams that weights are made for: of texts, and of words where a task labels them."""

    texts: NGrams
    words: NGrams | None = None


class JudgeTexts(Task):
    """All tasks of a configuration that judge texts or items alone. `words` holds those that label words, `judged` are the others."""

    answer: ClassVar[Literal["choose", "judge", "write"]] = "judge"
    hashes: Tensor
    idf: Tensor

    def __init__(self, configs: dict[str, JudgeConfig], sharing: SharingConfig, shape: ModelShape, sizes: JudgeTextsSizes) -> None:
        """configs: the tasks by name. Weights are meaningless until `initialise` or `load_state_dict`."""
        super().__init__()
        self.configs, self.sharing, self.shape, self.sizes = dict(configs), sharing, shape, sizes
        self.encoder = TextEncoder(sizes.ngrams, shape.vocabulary, shape.read_width, sizes.token_width, sizes.bag_width)
        self.judged = {name: config for name, config in configs.items() if config.kind != "tokens" and name in sizes.labels}
        labelling = {name: config for name, config in configs.items() if name not in self.judged}
        self.words = None if sizes.words is None else JudgeWords(labelling, sharing, shape, sizes.words)
        self.options = nn.ModuleDict()
        for name in self.judged:
            self._put(name, sizes.labels[name])
        self.register_buffer("hashes", torch.zeros(sizes.ngrams, dtype=torch.int64))
        self.register_buffer("idf", torch.zeros(sizes.ngrams))
        self.examples: TextExamples | None = None
        self.documents: Documents | None = None
        self._spread: dict[str, Spread] = {}

    def _put(self, name: str, label: LabelSize) -> None:
        sizes, sharing = self.sizes, self.sharing
        option = TextOption(
            sizes.ngrams, sizes.token_width, sizes.bag_width, label.outputs, sharing.prompts, sharing.adapter, sizes.sentence_width
        )
        self.options[module_name(name)] = option

    @classmethod
    def fit_sizes(
        cls, examples: TextExamples, labels: Mapping[str, tuple[str, list[str]]], shape: ModelShape, **ngram_settings: Any
    ) -> tuple[JudgeTextsSizes, Spellings]:
        """Sizes and n-grams from the training documents; labels: task -> (kind, names). Over a pretrained checkpoint there is a view more."""
        training = examples.parts == TRAINING
        ngrams = NGrams.fit([examples.documents[row] for row in np.flatnonzero(training).tolist()], **ngram_settings)
        settled = {
            name: LabelSize.of(cast(Kind, kind), examples.labels[name][training], names)
            for name, (kind, names) in labels.items()
            if kind != "tokens"
        }
        of_words = {name: names for name, (kind, names) in labels.items() if kind == "tokens"}
        words, spellings = JudgeWords.fit_sizes(examples, of_words) if of_words else (None, None)
        sentence = 0 if shape.backbone is None else shape.read_width
        sizes = JudgeTextsSizes(settled, ngrams.size, ngrams.settings(), sentence_width=sentence, words=words)
        return sizes, Spellings(ngrams, spellings)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, spellings: Spellings) -> None:
        """Seeded start; `spellings` are those that the sizes were made with."""
        self.encoder.initialise(generator)
        for name in sorted(self.judged):
            self.option(name).initialise(generator, torch.tensor(self.sizes.labels[name].start))
        if self.words is not None and spellings.words is not None:
            self.words.initialise(generator, spellings.words)
        kept = spellings.texts.tensors()
        self.hashes.copy_(torch.from_numpy(kept["hashes"]))
        self.idf.copy_(torch.from_numpy(kept["idf"]))

    @property
    def ngrams(self) -> NGrams:
        return NGrams.restored({"hashes": self.hashes.numpy(), "idf": self.idf.numpy()}, self.sizes.ngram_settings)

    def option(self, name: str) -> TextOption:
        option = self.options[module_name(name)]
        assert isinstance(option, TextOption)
        return option

    # ---- training

    def option_names(self) -> list[str]:
        """The options; of words their labels' vectors and chains. The encoders are shared."""
        own = ("options.", "words.vectors.", "words.chains.")
        return [name for name, _ in self.named_parameters() if name.startswith(own)]

    def upper_names(self) -> list[str]:
        """All: the encoders begin at random, so frozen ones would say nothing."""
        return [name for name, _ in self.named_parameters()]

    def bind(self, examples: TextExamples, reader: TextReader, documents: Documents | None = None) -> None:
        """Give the task what it trains on; `reader` has the frozen lower layers.

        documents: those of the examples, where they were made before for the same n-grams.

        Raises:
            DataError: a task has no label, or no document of one of its classes, in the training part.
        """
        for name in self.judged:
            training = examples.known(name) & (examples.parts == TRAINING)
            if not training.any():
                raise DataError(f"task '{name}' has no labelled text to train on; label some, or leave the task out")
            size = self.sizes.labels[name]
            if size.kind == "classes":
                missing = np.setdiff1d(np.arange(len(size.names)), examples.labels[name][training].astype(np.int64))
                if len(missing):
                    unseen = size.names[missing[0]]
                    elsewhere = int((examples.labels[name] == missing[0]).sum())
                    raise DataError(
                        f"task '{name}': class '{unseen}' is unseen in training ({elsewhere} rows elsewhere); "
                        "label training texts of it, or take its rows out"
                    )
        if self.words is not None:
            self.words.bind(examples, reader)
        self.examples = examples
        self.documents = documents or Documents.of(examples.documents, self.ngrams, reader)
        self._spread = {}
        spreading = [name for name, config in self.judged.items() if config.unlabelled == "spread"]
        if spreading:
            vectors, training = self.documents.vectors(reader.model), examples.parts == TRAINING
        for name in spreading:
            self._spread[name] = Spread(vectors, training, examples.labels[name], self.sizes.labels[name])

    def batches(self, generator: np.random.Generator) -> Iterator[TextBatch]:
        """Training documents with a label of any task, those of like length together, and beside them some without."""
        assert self.examples is not None
        assert self.documents is not None
        lengths = self.documents.lengths()
        known = {name: self.examples.known(name) for name in self.configs}
        training = self.examples.parts == TRAINING
        rows = generator.permutation(np.flatnonzero(np.any(list(known.values()), axis=0) & training))
        learning = [~known[name] for name, config in self.judged.items() if config.unlabelled != "ignore"]
        without = np.flatnonzero(np.any(learning, axis=0) & training) if learning else np.zeros(0, np.int64)
        size, runs = self.examples.step_rows(len(rows)), []
        for start in range(0, len(rows), size * POOL_BATCHES):
            pool = rows[start : start + size * POOL_BATCHES]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            runs += [pool[at : at + size] for at in range(0, len(pool), size)]
        for place in generator.permutation(len(runs)):
            drawn = generator.choice(len(without), min(UNLABELLED * len(runs[place]), len(without)), replace=False)
            yield TextBatch(runs[place], without[drawn])

    def targets(self, batch: TextBatch) -> int:
        return len(batch.rows)

    def loss(self, model: LanguageModel, batch: TextBatch) -> dict[str, Tensor]:
        """{task: mean over its labelled documents of the summed losses of the views}; a task without a label in the batch is left out.

        What the unlabelled documents of the batch say is added to the loss of each task that learns from them.
        """
        assert self.examples is not None
        assert self.documents is not None
        outputs = self.outputs(model, self.documents, batch.rows) if self.judged else {}
        losses: dict[str, Tensor] = {}
        for name, values in outputs.items():
            known = self.examples.known(name)[batch.rows]
            if not known.any():
                continue
            labels = tensor_of(self.examples.labels[name][batch.rows][known], values.device)
            config, size, rows = self.judged[name], self.sizes.labels[name], torch.from_numpy(known)
            of_views = [label_losses(view[rows], labels, size, config.loss, config.label_smoothing).mean() for view in values]
            losses[name] = torch.stack(of_views).sum()
        for name, value in self._unlabelled_losses(model, batch.unlabelled).items():
            losses[name] = losses[name] + value if name in losses else value
        return losses if self.words is None else losses | self.words.loss(model, batch.rows)

    def _unlabelled_losses(self, model: LanguageModel, rows: np.ndarray) -> dict[str, Tensor]:
        names = [name for name, config in self.judged.items() if config.unlabelled != "ignore"]
        if not len(rows) or not names:
            return {}
        assert self.examples is not None
        assert self.documents is not None
        guessing = [name for name in names if name not in self._spread]
        whole = self.predict(model, self.documents, guessing, rows) if guessing else {}
        parts = self.outputs(model, self.documents, rows, names)
        losses = {}
        for name in names:
            config, wanted = self.judged[name], torch.from_numpy(~self.examples.known(name)[rows])
            if not wanted.any():
                continue
            if name in self._spread:
                losses[name] = self._spread[name].loss(parts[name][:, wanted], torch.from_numpy(rows)[wanted])
                continue
            target = self.option(name).mixed(whole[name])[wanted]
            way: Literal["pseudo", "consistency"] = "pseudo" if config.unlabelled == "pseudo" else "consistency"
            losses[name] = unlabelled_loss(parts[name][:, wanted], target, self.sizes.labels[name], way, config.confidence)
        return losses

    def outputs(
        self, model: LanguageModel, documents: Documents, index: np.ndarray, names: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """task -> (V, G, C) for the documents `index`, of the tasks `names` (all)."""
        device = self.encoder.states.weight.device
        batch, pairs = documents.batch(index, device), documents.pairs(index, device)
        states = documents.states(model, index, batch)
        read = self.encoder(pairs, batch.ids, states.to(self.encoder.states.weight.dtype), batch.real)
        return {name: self.option(name)(read) for name in (self.judged if names is None else names)}

    # ---- answers

    @torch.no_grad()
    def predict(
        self, model: LanguageModel, documents: Documents, names: Sequence[str], index: np.ndarray | None = None
    ) -> dict[str, Tensor]:
        """task -> (V, G, C) in evaluation mode, of the documents `index` (all)."""
        index = np.arange(len(documents)) if index is None else index
        order = index[np.argsort(documents.lengths()[index], kind="stable")]
        back = np.empty(len(documents), dtype=np.int64)
        parts: dict[str, list[Tensor]] = {name: [] for name in names}
        training = self.training
        self.eval()
        for start in range(0, len(order), ANSWERED_TOGETHER):
            rows = order[start : start + ANSWERED_TOGETHER]
            back[rows] = np.arange(start, start + len(rows))
            for name, values in self.outputs(model, documents, rows, names).items():
                parts[name].append(values)
        self.train(training)
        place = torch.from_numpy(back[index])
        return {name: torch.cat(values, dim=1)[:, place] for name, values in parts.items()}

    def answers(self, reader: TextReader, texts: Sequence[str], task: str) -> np.ndarray:
        """float32 (G,): probability, number or level; (G, C) probabilities of classes (summing to 1) or tags; names: `sizes.labels[task].names`.

        Raises:
            UsageError: a task that the model does not have.
        """
        if task not in self.judged:
            known = ", ".join(self.judged) or "none"
            raise UsageError(f"'{task}' is no task on texts or items{nearest(task, list(self.judged)) or f'; those: {known}'}")
        if not texts:
            label = self.sizes.labels[task]
            return np.zeros((0, label.outputs) if label.kind in ("classes", "tags") else 0, np.float32)
        return self.answered(reader.model, Documents.of(texts, self.ngrams, reader), task)

    def answered(self, model: LanguageModel, documents: Documents, task: str, index: np.ndarray | None = None) -> np.ndarray:
        """As `answers`, of the documents `index` (all)."""
        outputs = self.predict(model, documents, [task], index)[task]
        return answers(self.option(task).mixed(outputs), self.sizes.labels[task]).float().numpy()

    # ---- validation

    def measure(self, model: LanguageModel, part: int = VALIDATION) -> dict[str, float]:
        """{"task": accuracy (labels), minus the root mean squared error (numbers, levels), mean F1 of spans (words)} on a part of the bound examples."""
        measured = {}
        for name, (outputs, labels) in self._held_out(model, part).items():
            size = self.sizes.labels[name]
            given = answers(self.option(name).mixed(outputs), size)
            if size.kind in ("number", "ordinal"):
                measured[name] = -float((given - labels).square().mean().sqrt())
            elif size.kind == "classes":
                measured[name] = float((given.argmax(dim=1) == labels.long()).float().mean())
            else:
                measured[name] = float(((given > 0.5) == (labels > 0.5)).float().mean())
        return measured if self.words is None else measured | self.words.measure(model, part)

    def fit_mixing(self, model: LanguageModel) -> None:
        """Weigh the views of each task by what the validation labels say (log loss, L-BFGS); this calibrates them as well.

        With few labels the weights stay near even ones, which is what they start from: the inverse softplus of a weight has a normal prior of
        deviation 1 around its start. Without, twenty texts that are all answered rightly would make every answer certain.
        """
        for name, (outputs, labels) in self._held_out(model, VALIDATION).items():
            option, size, config = self.option(name), self.sizes.labels[name], self.judged[name]
            even = torch.log(torch.expm1(torch.full_like(option.mixing, 1 / len(option.mixing))))
            raw = even.clone().requires_grad_()
            optimizer = torch.optim.LBFGS([raw], max_iter=50, line_search_fn="strong_wolfe")

            def closure(
                raw: Tensor = raw,
                even: Tensor = even,
                outputs: Tensor = outputs,
                labels: Tensor = labels,
                size: LabelSize = size,
                loss: Any = "auto" if config.loss == "focal" else config.loss,  # focal answers are not probabilities
            ) -> Tensor:
                raw.grad = None
                mixed = torch.einsum("v,vgc->gc", nn.functional.softplus(raw), outputs)
                value = label_losses(mixed, labels, size, loss).mean() + (raw - even).square().sum() / (2 * len(labels))
                value.backward()
                return value

            with torch.enable_grad():
                optimizer.step(closure)
            if bool(torch.isfinite(raw).all()):
                option.mixing.copy_(nn.functional.softplus(raw.detach()))

    def _held_out(self, model: LanguageModel, part: int) -> dict[str, tuple[Tensor, Tensor]]:
        """task -> (V, G, C) outputs and labels of the documents of `part` that have one; tasks without any are left out."""
        assert self.examples is not None
        assert self.documents is not None
        held = {}
        for name in self.judged:
            index = np.flatnonzero(self.examples.known(name) & (self.examples.parts == part))
            if len(index):
                outputs = self.predict(model, self.documents, [name], index)[name]
                held[name] = outputs, torch.from_numpy(self.examples.labels[name][index])
        return held
