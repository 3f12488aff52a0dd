"""The peer of the benchmark of writing: a Transformer after PETER (Li, Zhang, Chen, ACL 2021, arXiv 2105.11601), written anew from the paper.

User and item are tokens with embeddings of their ids, in front of the words; they see each other (and the feature, where one is given), words
see what is before them (the paper's masking). Three losses: the words (NLL), context prediction (every word of the text from the item's position:
it ties the ids to words), and the rating from the user's position where ratings are known; weights 1, 1, 0.1 as in the paper. Words are lower-case
tokens, the most frequent ones; greedy decoding, as in the paper. Trained with early stopping on the validation loss.

Shapes: B rows, T tokens, L positions (user, item, [feature], <bos>, words), D width, V vocabulary.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from writing_rows import TRAINING, VALIDATION, Case, WritingData

PAD, BOS, EOS, UNKNOWN = range(4)
TOKEN = re.compile(r"[a-z0-9]+(?:['’-][a-z0-9]+)*|[^\sa-z0-9]")
MOST_WORDS, LEAST_COUNT = 20_000, 2


@dataclass(frozen=True)
class PeterSettings:
    """The paper's layers, heads, dropout and weights of the losses. It has width 512 and SGD with learning rate 1 for a hundred times as many rows;
    here AdamW, and a width that rows so few can fill."""

    width: int = 128
    layers: int = 2
    heads: int = 2
    hidden: int = 512
    dropout: float = 0.2
    learning_rate: float = 2e-3
    batch: int = 64
    epochs: int = 30
    patience: int = 2
    longest: int = 60


class Peter(nn.Module):
    """The network."""

    def __init__(self, users: int, items: int, words: int, settings: PeterSettings, rated: bool) -> None:
        super().__init__()
        width = settings.width
        self.users, self.items, self.words = nn.Embedding(users, width), nn.Embedding(items, width), nn.Embedding(words, width)
        self.positions = nn.Embedding(settings.longest + 4, width)
        layer = nn.TransformerEncoderLayer(width, settings.heads, settings.hidden, settings.dropout, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, settings.layers, enable_nested_tensor=False)
        self.out = nn.Linear(width, words)
        self.rating = nn.Sequential(nn.Linear(width, width), nn.Sigmoid(), nn.Linear(width, 1)) if rated else None
        for table in (self.users, self.items, self.words, self.positions):
            nn.init.uniform_(table.weight, -0.1, 0.1)
        nn.init.uniform_(self.out.weight, -0.1, 0.1)
        nn.init.zeros_(self.out.bias)

    def forward(self, users: Tensor, items: Tensor, feature: Tensor | None, words: Tensor) -> tuple[Tensor, int]:
        """States (B, L, D), and how many positions stand before the words."""
        front = [self.users(users)[:, None], self.items(items)[:, None]]
        if feature is not None:
            front.append(self.words(feature)[:, None])
        x = torch.cat([*front, self.words(words)], dim=1)
        x = x + self.positions(torch.arange(x.shape[1]))
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        mask[: len(front), : len(front)] = False  # user, item and feature see each other
        return self.layers(x, mask=mask), len(front)


class PeterWriter:
    """Trained on the training rows of a data set. given: whether the feature word stands in front."""

    def __init__(self, data: WritingData, *, given: bool, seed: int = 0, settings: PeterSettings | None = None) -> None:
        self.settings = settings or PeterSettings()
        self.given = given
        torch.manual_seed(seed)
        training = data.of(TRAINING)
        counts = Counter(token for case in training for token in TOKEN.findall(case.text.lower()))
        self.vocabulary = ["", "", "", "", *(word for word, count in counts.most_common(MOST_WORDS) if count >= LEAST_COUNT)]
        self.code = {word: number for number, word in enumerate(self.vocabulary) if word}
        self.users = {user: number for number, user in enumerate(dict.fromkeys(case.user for case in data.cases))}
        self.items = {item: number for number, item in enumerate(dict.fromkeys(case.item for case in data.cases))}
        rated = not any(np.isnan(case.rating) for case in training)
        self.model = Peter(len(self.users), len(self.items), len(self.vocabulary), self.settings, rated)
        self.losses = self._train(data, seed)

    def _train(self, data: WritingData, seed: int) -> list[float]:
        settings, generator = self.settings, np.random.default_rng(seed)
        optimizer = torch.optim.AdamW(self.model.parameters(), settings.learning_rate, weight_decay=0.01)
        training, validation = data.of(TRAINING), data.of(VALIDATION)
        best, kept, losses = float("inf"), copy.deepcopy(self.model.state_dict()), []
        for _ in range(settings.epochs):
            self.model.train()
            order = generator.permutation(len(training))
            for start in range(0, len(order), settings.batch):
                loss, _ = self._loss([training[row] for row in order[start : start + settings.batch].tolist()])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                optimizer.step()
            self.model.eval()
            with torch.no_grad():
                told = [
                    (self._loss(validation[start : start + 128])[1], len(validation[start : start + 128]))
                    for start in range(0, len(validation), 128)
                ]
            losses.append(sum(value * count for value, count in told) / len(validation))
            if losses[-1] < best:
                best, kept = losses[-1], copy.deepcopy(self.model.state_dict())
            elif len(losses) - 1 - int(np.argmin(losses)) >= settings.patience:
                break
        self.model.load_state_dict(kept)
        self.model.eval()
        return losses

    def _loss(self, cases: list[Case]) -> tuple[Tensor, float]:
        """The sum of the losses, and the mean negative log likelihood of a word."""
        tokens = [
            [self.code.get(token, UNKNOWN) for token in TOKEN.findall(case.text.lower())][: self.settings.longest - 1] for case in cases
        ]
        width = max(map(len, tokens)) + 1
        given = torch.tensor([[BOS, *row, *[PAD] * (width - 1 - len(row))] for row in tokens])
        wanted = torch.tensor([[*row, EOS, *[PAD] * (width - 1 - len(row))] for row in tokens])
        states, front = self.model(*self._front(cases), given)
        logits = self.model.out(states[:, front:])
        nll = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=PAD)
        context = torch.log_softmax(self.model.out(states[:, 1]), dim=1)  # every word of the text, from the item's position
        words = given[:, 1:]
        picked = context.gather(1, words)
        loss = nll - picked[words != PAD].mean()
        if self.model.rating is not None:
            ratings = torch.tensor([case.rating for case in cases])
            loss = loss + 0.1 * F.mse_loss(self.model.rating(states[:, 0])[:, 0], ratings)
        return loss, float(nll.detach())

    def _front(self, cases: list[Case]) -> tuple[Tensor, Tensor, Tensor | None]:
        feature = torch.tensor([self.code.get(case.feature, UNKNOWN) for case in cases]) if self.given else None
        return torch.tensor([self.users[case.user] for case in cases]), torch.tensor([self.items[case.item] for case in cases]), feature

    @torch.no_grad()
    def write(self, cases: list[Case]) -> list[str]:
        """One text a case, greedily."""
        texts = []
        for start in range(0, len(cases), 128):
            some = cases[start : start + 128]
            front = self._front(some)
            words = torch.full((len(some), 1), BOS)
            ended = torch.zeros(len(some), dtype=torch.bool)
            for _ in range(self.settings.longest - 1):
                states, _ = self.model(*front, words)
                logits = self.model.out(states[:, -1])
                logits[:, [PAD, BOS, UNKNOWN]] = float("-inf")
                following = torch.where(ended, EOS, logits.argmax(dim=1))
                words = torch.cat([words, following[:, None]], dim=1)
                ended |= following == EOS
                if bool(ended.all()):
                    break
            texts += [joined([self.vocabulary[word] for word in row if word > UNKNOWN]) for row in words.tolist()]
        return texts


def joined(tokens: list[str]) -> str:
    """Tokens as a sentence: no blank before a stop."""
    return re.sub(r" ([.,!?;:%)])", r"\1", " ".join(tokens)).replace("( ", "(")
