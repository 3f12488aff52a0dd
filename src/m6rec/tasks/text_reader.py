"""Words to summaries: wording, tokenizer and the frozen lower layers in one hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from m6rec.base.contracts import Segment
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.segments import SegmentBatch, batches_by_length
from m6rec.text.tokenizer import Tokenizer
from m6rec.text.wording import Wording


@dataclass(frozen=True)
class TextReader:
    """Reads texts with the lower layers. Shapes: G texts, L width of summaries."""

    model: LanguageModel
    tokenizer: Tokenizer
    wording: Wording
    segment_tokens: int

    def segments(self, texts: list[str], causal: bool = False) -> list[Segment]:
        """Token ids of each text, at most `segment_tokens`, framed where the tokenizer frames what is read; an empty text is one end-of-text
        token."""
        tokenizer = self.tokenizer
        ids = tokenizer.encode_batch(texts, self.segment_tokens) if causal else tokenizer.framed(texts, self.segment_tokens)
        end = np.array([self.tokenizer.eos_id], dtype=np.int32)
        return [Segment(part if len(part) else end, causal) for part in ids]

    @torch.no_grad()
    def read(self, texts: list[str]) -> Tensor:
        """float32 (G, L): one summary a text; zeros for an empty one."""
        summaries = torch.zeros(len(texts), self.model.shape.read_width)
        training = self.model.training
        self.model.eval()
        for rows, batch in self._batches(self.segments(texts)):
            summaries[torch.from_numpy(rows)] = self.model.summaries(batch).float().cpu()
        self.model.train(training)
        summaries[torch.tensor([not text for text in texts], dtype=torch.bool)] = 0.0
        return summaries

    @torch.no_grad()
    def sentences(self, texts: Sequence[str], longest: int) -> np.ndarray:
        """float32 (G, L): the mean of the token states of each text, `longest` tokens at most, of unit length; zeros for an empty one."""
        found = torch.zeros(len(texts), self.model.shape.read_width)
        if not len(texts):
            return found.numpy()
        training = self.model.training
        self.model.eval()
        segments = replace(self, segment_tokens=longest).segments(list(texts))
        for rows, batch in self._batches(segments):
            states = self.model.reading(self.model.encode(batch)).float()
            found[torch.from_numpy(rows)] = (states * batch.real[:, :, None]).sum(dim=1).cpu()
        self.model.train(training)
        found[torch.tensor([not text for text in texts], dtype=torch.bool)] = 0.0
        return torch.nn.functional.normalize(found, dim=1).numpy()

    def _batches(self, segments: list[Segment]) -> Iterator[tuple[np.ndarray, SegmentBatch]]:
        """Segments of like length together, where the model is."""
        return batches_by_length(segments, pad_id=self.tokenizer.pad_id, device=self.model.embedding.weight.device)
