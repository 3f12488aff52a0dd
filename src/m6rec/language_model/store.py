"""Item states kept on disk: with frozen lower layers every text is read once, for training, serving and every user alike.

Shapes: N items, M tokens of all items, D width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from m6rec.base.contracts import Segment
from m6rec.base.errors import CheckpointError
from m6rec.language_model.checkpoint import load_weights, save_weights
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.segments import batches_by_length


@dataclass(frozen=True)
class ItemStates:
    """Row i belongs to item i.

    summaries float32 (N, D)   attention-pooled
    offsets   int64 (N + 1,)   tokens of item i are offsets[i]..offsets[i + 1]; None when only summaries are kept
    tokens    float16 or float32 (M, D), or None
    reader    fingerprint of the weights that read them and of the tokenizer
    texts     fingerprint of the segments, in order
    """

    summaries: Tensor
    offsets: Tensor | None
    tokens: Tensor | None
    reader: str
    texts: str

    def __len__(self) -> int:
        return len(self.summaries)

    @classmethod
    def compute(
        cls,
        model: LanguageModel,
        segments: Sequence[Segment],
        *,
        tokenizer: str = "",
        keep_tokens: bool = False,
        dtype: torch.dtype = torch.float16,
        batch_tokens: int = 16_384,
        progress: Callable[[int], None] | None = None,
    ) -> Self:
        """Read every segment once, in evaluation mode and full precision.

        Args:
            segments: one of each item, in order.
            tokenizer: fingerprint of the tokenizer that made the ids.
            keep_tokens: keep the token states too, as `dtype`.
            batch_tokens: tokens read at a time.
            progress: called with the number of segments just read.
        """
        summaries, offsets, tokens = read_segments(model, segments, keep_tokens, dtype, batch_tokens, progress)
        return cls(
            summaries,
            None if tokens is None else offsets,
            tokens,
            reader_fingerprint(model, tokenizer),
            texts_fingerprint(segments),
        )

    def append(self, model: LanguageModel, segments: Sequence[Segment], *, tokenizer: str = "", batch_tokens: int = 16_384) -> Self:
        """These states and those of new items after them; the old are not read again.

        Raises:
            CheckpointError: `model` or `tokenizer` is not what these states were read with.
        """
        self.check(model, tokenizer)
        dtype = torch.float16 if self.tokens is None else self.tokens.dtype
        new = self.compute(
            model, segments, tokenizer=tokenizer, keep_tokens=self.tokens is not None, dtype=dtype, batch_tokens=batch_tokens
        )
        summaries, texts = torch.cat((self.summaries, new.summaries)), texts_fingerprint(segments, self.texts)
        if self.tokens is None or self.offsets is None or new.tokens is None or new.offsets is None:
            return type(self)(summaries, None, None, self.reader, texts)
        offsets = torch.cat((self.offsets, new.offsets[1:] + self.offsets[-1]))
        return type(self)(summaries, offsets, torch.cat((self.tokens, new.tokens)), self.reader, texts)

    def token_states(self, item: int) -> Tensor:
        """(T, D), the token states of one item, as stored.

        Raises:
            CheckpointError: only summaries are kept.
        """
        if self.tokens is None or self.offsets is None:
            raise CheckpointError("these item states hold summaries only; compute them with keep_tokens=True")
        return self.tokens[int(self.offsets[item]) : int(self.offsets[item + 1])]

    def fits(self, model: LanguageModel, segments: Sequence[Segment], tokenizer: str = "") -> bool:
        """True when computing again would give the same."""
        return self.reader == reader_fingerprint(model, tokenizer) and self.texts == texts_fingerprint(segments)

    def check(self, model: LanguageModel, tokenizer: str = "") -> None:
        """Raises CheckpointError when these states were read with other weights or another tokenizer."""
        reader = reader_fingerprint(model, tokenizer)
        if self.reader != reader:
            raise CheckpointError(
                f"item states were read by {self.reader}, the model and tokenizer at hand are {reader}; compute them again"
            )

    def save(self, path: Path | str) -> None:
        """One safetensors file. Raises StorageError."""
        tensors = {"summaries": self.summaries}
        if self.tokens is not None and self.offsets is not None:
            tensors |= {"offsets": self.offsets, "tokens": self.tokens}
        save_weights(path, tensors, {"reader": self.reader, "texts": self.texts})

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """What `save` wrote. Raises CheckpointError."""
        tensors, metadata = load_weights(path)
        if "summaries" not in tensors or not {"reader", "texts"} <= metadata.keys():
            raise CheckpointError(f"{path} holds no item states; compute them again")
        return cls(tensors["summaries"], tensors.get("offsets"), tensors.get("tokens"), metadata["reader"], metadata["texts"])


def read_segments(
    model: LanguageModel,
    segments: Sequence[Segment],
    keep_tokens: bool = False,
    dtype: torch.dtype = torch.float16,
    batch_tokens: int = 16_384,
    progress: Callable[[int], None] | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Every segment read once, in evaluation mode and full precision: (summaries, offsets, tokens) as `ItemStates` holds them."""
    device = model.embedding.weight.device
    offsets = torch.from_numpy(np.cumsum([0, *(len(s.ids) for s in segments)]).astype(np.int64))
    summaries = torch.zeros(len(segments), model.shape.read_width)
    tokens = torch.zeros(int(offsets[-1]), model.shape.read_width, dtype=dtype) if keep_tokens else None
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for rows, batch in batches_by_length(segments, batch_tokens, model.shape.pad_id, device):
                states = model.encode(batch)
                summaries[torch.from_numpy(rows)] = model.summaries(batch, states).cpu()
                if tokens is not None:
                    place = (offsets[torch.from_numpy(rows)].to(device)[:, None] + batch.position)[batch.real]
                    tokens[place.cpu()] = model.reading(states)[batch.real].to("cpu", dtype)
                if progress is not None:
                    progress(len(rows))
    finally:
        model.train(training)
    return summaries, offsets, tokens


def reader_fingerprint(model: LanguageModel, tokenizer: str = "") -> str:
    """Hash of every weight that token states and summaries depend on, and of the tokenizer's fingerprint."""
    digest = hashlib.sha256(f"{tokenizer}|{model.shape.heads}".encode())
    for part in model.READING:
        for name, tensor in getattr(model, part).state_dict().items():
            digest.update(f"{part}.{name}{list(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()[:16]


def texts_fingerprint(segments: Sequence[Segment], before: str = "") -> str:
    """Hash of the segments' ids, chained segment by segment so that it can be continued from the hash `before`."""
    state = before
    for segment in segments:
        flag = b"w" if segment.causal else b"r"
        state = hashlib.sha256(state.encode() + flag + np.ascontiguousarray(segment.ids, dtype=np.int32).tobytes()).hexdigest()
    return state
