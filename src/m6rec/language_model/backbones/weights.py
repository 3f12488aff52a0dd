"""A checkpoint's weights into the model's layers.

Shapes: V vocabulary, D width of the checkpoint's states.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from m6rec.base.errors import CheckpointError, ConfigError
from m6rec.language_model.backbones.config import BackboneShape
from m6rec.language_model.backbones.families import Facts, Family, family_of, shape_of
from m6rec.language_model.backbones.files import CheckpointFiles, find_checkpoint
from m6rec.language_model.backbones.parts import relative_bucket
from m6rec.language_model.backbones.peft_files import PeftAdapter
from m6rec.language_model.backbones.split import BackboneLower, BackboneUpper
from m6rec.language_model.config import ModelConfig
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.upper import DISTANCE_BUCKETS, EXACT_DISTANCES, LONGEST_DISTANCE, SlotBias


class Checkpoint:
    """A pretrained checkpoint on this machine, checked to be whole and of a family that is understood.

    Raises:
        CheckpointError: half downloaded, damaged, pickled, of another family.
    """

    def __init__(self, files: CheckpointFiles, adapter: PeftAdapter | None = None) -> None:
        """adapter: low-rank changes that are put into the weights as they are read."""
        self.files, self.adapter = files, adapter
        self.family: Family = family_of(files.facts, files.name)
        shape = shape_of(files.facts, files.name)
        self.prefix = self._prefix()
        own_head = not _tied(files.facts) and self._head is not None
        self.shape = shape.model_copy(update={"own_head": own_head})
        self._check_layers()

    @classmethod
    def find(cls, config: ModelConfig, beside: Path) -> Checkpoint:
        """The one that `model.backbone` names; relative paths start from `beside`.  Raises as `find_checkpoint` and the class."""
        assert config.backbone is not None
        adapter = None if config.adapter is None else PeftAdapter(beside / os.path.expanduser(config.adapter))
        return cls(find_checkpoint(config.backbone, beside, config.download), adapter)

    @property
    def fingerprint(self) -> str:
        """Of everything that is read."""
        return self.files.fingerprint + ("" if self.adapter is None else CheckpointFiles(self.adapter.folder, "").fingerprint)

    @property
    def rows(self) -> int:
        """Tokens that the weights know."""
        return len(self.tensor(self._embedding))

    def tensor(self, name: str) -> Tensor:
        """By the family's name, without the prefix; with its change, where there is one."""
        told = self.files.tensor(self.prefix + name)
        change = None if self.adapter is None or told.dim() != 2 else self.adapter.change(name.removesuffix(".weight"))
        if change is None:
            return told
        change = change.T if self.family.transposed else change
        if change.shape != told.shape:
            assert self.adapter is not None
            raise CheckpointError(
                f"{self.adapter.folder} changes '{name}' by {list(change.shape)}, it is {list(told.shape)}; give an adapter of that checkpoint"
            )
        return told + change

    def check_tokens(self, size: int) -> None:
        """Raises CheckpointError: a tokenizer with so many ids of its own has some that the weights do not know."""
        if size > self.rows:
            raise CheckpointError(
                f"the tokenizer of {self.files.name} has {size} tokens, its weights know {self.rows}; they are not of one model: fetch it again"
            )

    def check_length(self, tokens: int) -> None:
        """Raises ConfigError: segments of so many tokens are longer than the checkpoint reads."""
        most = self.shape.positions or _window(self.files.facts)
        if most and tokens > most:
            raise ConfigError(f"text.segment_tokens is {tokens}, {self.files.name} reads {most} tokens at most; write {most} or less")

    @torch.no_grad()
    def fill(self, model: LanguageModel) -> None:
        """Put the weights into `model`, which was built for this shape.

        Raises:
            CheckpointError: a tensor that is missing or of another shape.
        """
        shape = model.shape.backbone
        assert shape is not None
        self._put(model.embedding.weight, _rows(self.tensor(self._embedding), model.shape.vocabulary), self._embedding)
        lower = cast(BackboneLower, model.lower)
        if lower.positions is not None:
            self._put(lower.positions.weight, self._positions(), f"{self.family.positions}.weight")
        if self.family.embedding_norm is not None:
            self._fill_part(lower.embedding_norm, (self.family.embedding_norm,))
        if lower.relative is not None:
            self._put(lower.relative.weight, self.tensor(f"{self.family.relative}.weight"), f"{self.family.relative}.weight")
        for number, block in enumerate(lower.blocks):
            self._fill_layer(block, number, shape)
        if self.family.final_norm is not None:
            self._fill_part(lower.norm, (self.family.final_norm,))
        if isinstance(model.upper, BackboneUpper):
            for number, block in enumerate(model.upper.layers, len(lower.blocks)):
                self._fill_layer(block, number, shape)
            if self.family.final_norm is not None:
                self._fill_part(model.upper.norm, (self.family.final_norm,))
            if lower.relative is not None:
                falling = slot_distances(lower.relative.weight, shape)
                for bias in model.upper.biases:
                    cast(SlotBias, bias).distance.copy_(falling)
        above = len(model.upper.layers) if isinstance(model.upper, BackboneUpper) else 0
        if self.adapter is not None and len(lower.blocks) + above == shape.layers:
            self.adapter.check_used()
        if model.head is not None and self._head is not None:
            self._put(model.head.weight, _rows(self.files.tensor(self._head), model.shape.vocabulary), self._head)

    def _fill_layer(self, block: nn.Module, number: int, shape: BackboneShape) -> None:
        for part, names in self.family.layer.items():
            named = tuple(name.format(n=number) for name in names)
            if part == "attention.qkv":  # queries, keys and values in one matrix
                width = shape.heads * shape.head_width
                self._fill_part(block.get_submodule("attention.q"), named, slice(0, width))
                self._fill_part(block.get_submodule("attention.kv"), named, slice(width, None))
            else:
                self._fill_part(block.get_submodule(part), named)
        if not self.family.scaled:  # ours divide by the root of the head's width
            query = cast(nn.Linear, block.get_submodule("attention.q"))
            query.weight.mul_(shape.head_width**0.5)

    def _fill_part(self, part: nn.Module, names: tuple[str, ...], rows: slice = slice(None)) -> None:
        """Weight and bias of a part from the named ones, laid on top of each other; names that the checkpoint lacks are other ways to say it."""
        for kind in ("weight", "bias"):
            ours = getattr(part, kind, None)
            if ours is None:
                continue
            known = [f"{name}.{kind}" for name in names if self._has(f"{name}.{kind}")] or [f"{names[0]}.{kind}"]
            told = [self.tensor(self._spelt(name)) for name in known]
            told = [tensor.T if tensor.dim() == 2 and self.family.transposed else tensor for tensor in told]
            self._put(ours, torch.cat(told)[rows], known[0])

    def _put(self, ours: Tensor, told: Tensor, name: str) -> None:
        if ours.shape != told.shape:
            raise CheckpointError(
                f"{self.files.name}: tensor '{name}' gives {list(told.shape)}, its config.json asks for {list(ours.shape)}; fetch it again"
            )
        if not bool(torch.isfinite(told).all()):
            raise CheckpointError(f"{self.files.name}: tensor '{name}' has values that are no finite numbers; fetch it again")
        ours.copy_(told)

    def _positions(self) -> Tensor:
        """A token's type is always the first one here, so its vector stands in the position's."""
        positions = self.tensor(f"{self.family.positions}.weight")[self.family.skipped(self.files.facts) :]
        types = None if self.family.token_types is None else f"{self.family.token_types}.weight"
        return positions if types is None or not self._has(types) else positions + self.tensor(types)[0]

    @property
    def _embedding(self) -> str:
        return next(f"{name}.weight" for name in self.family.embedding if self.prefix + f"{name}.weight" in self.files.places)

    @property
    def _head(self) -> str | None:
        """The whole name of a table for writing beside the embedding."""
        name = None if self.family.head is None else f"{self.family.head}.weight"
        return name if name in self.files.places else None

    def _has(self, name: str) -> bool:
        return self.prefix + self._spelt(name) in self.files.places

    def _spelt(self, name: str) -> str:
        """Norms of old BERT checkpoints are called gamma and beta."""
        old = name.removesuffix("weight") + "gamma" if name.endswith("weight") else name.removesuffix("bias") + "beta"
        return old if self.prefix + name not in self.files.places and self.prefix + old in self.files.places else name

    def _prefix(self) -> str:
        for prefix in self.family.prefixes:
            if any(f"{prefix}{name}.weight" in self.files.places for name in self.family.embedding):
                return prefix
        wanted = f"{self.family.embedding[0]}.weight"
        raise CheckpointError(
            f"{self.files.name} has no tensor '{wanted}'; its weights are not of the family {self.files.facts['model_type']}"
        )

    def _check_layers(self) -> None:
        """The last layer is there, and no other after it: config.json and weights are of one model."""
        name = next(iter(self.family.layer.values()))[0]
        for number, wanted in ((self.shape.layers - 1, True), (self.shape.layers, False)):
            if self._has(f"{name.format(n=number)}.weight") != wanted:
                raise CheckpointError(
                    f"{self.files.name}: config.json speaks of {self.shape.layers} layers, the weights have "
                    f"{'fewer' if wanted else 'more'}; they are not of one model: fetch it again"
                )


def slot_distances(relative: Tensor, shape: BackboneShape) -> Tensor:
    """(buckets of slots, H): T5's bias on the distance of tokens, said in the buckets that slots use; equal below EXACT_DISTANCES."""
    bucket = torch.arange(DISTANCE_BUCKETS)
    share = (bucket - EXACT_DISTANCES).clamp(min=0) / (DISTANCE_BUCKETS - EXACT_DISTANCES)
    distance = torch.where(bucket < EXACT_DISTANCES, bucket, (EXACT_DISTANCES * (LONGEST_DISTANCE / EXACT_DISTANCES) ** share).long())
    return relative[relative_bucket(-distance, shape.relative_buckets, shape.relative_distance)]


def _rows(table: Tensor, count: int) -> Tensor:
    """The first `count` rows; tokens that were added to the checkpoint's own start from the mean of all."""
    added = max(count - len(table), 0)
    return torch.cat([table[:count], table.mean(dim=0, keepdim=True).expand(added, -1)])


def _tied(facts: Facts) -> bool:
    """The library's own default is that they are, but for Llama and Qwen."""
    default = facts.get("model_type") not in ("llama", "mistral", "qwen2", "qwen3")
    return bool(facts.get("tie_word_embeddings", default))


def _window(facts: Facts) -> int | None:
    """Tokens that a checkpoint without learned positions can look back."""
    sliding = facts.get("sliding_window") if facts.get("use_sliding_window", facts.get("model_type") == "mistral") else None
    most = [value for value in (sliding, facts.get("max_position_embeddings")) if isinstance(value, int)]
    return min(most, default=None)
