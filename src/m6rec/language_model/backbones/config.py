"""What a pretrained checkpoint is made of, and how it is adapted. No torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from m6rec.base.configuration import Config

Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]
Way = Literal["none", "lora", "prefix", "full"]


class AdaptConfig(Config):
    """The `adapt:` section of `model:`: how the upper layers of a checkpoint learn the tasks."""

    way: Way = Field(
        "lora",
        description="lora: low-rank changes of every matrix (arXiv 2106.09685); prefix: trained keys and values before the history "
        "(arXiv 2101.00190); full: all weights of the upper layers; none: they stay, and only what the tasks own is trained.",
    )
    rank: int = Field(8, ge=1, le=1024, description="lora: rank of the changes.")
    alpha: float = Field(16.0, gt=0, description="lora: the changes count alpha / rank.")
    prefix: int = Field(8, ge=1, le=1024, description="prefix: keys and values of each upper layer.")


class Rotary(Config):
    """Rotary positions: base of the frequencies and how they were stretched."""

    base: float = Field(10_000.0, gt=0, description="Base of the frequencies.")
    scaling: Literal["none", "linear", "llama3"] = Field("none", description="How frequencies were changed for longer texts.")
    factor: float = Field(1.0, gt=0, description="By how much.")
    low: float = Field(1.0, gt=0, description="llama3: wavelengths above positions / low are stretched whole.")
    high: float = Field(4.0, gt=0, description="llama3: wavelengths below positions / high are left as they are.")
    positions: int = Field(8192, ge=1, description="llama3: positions the checkpoint was first trained on.")


class BackboneShape(Config):
    """The architecture of a checkpoint's layers; saved in the model's config.json, so that nothing else is needed to build them."""

    family: str = Field(description="model_type of the checkpoint's config.json.")
    layers: int = Field(description="Layers of the checkpoint.", ge=1)
    width: int = Field(description="Width of its states.", ge=2)
    heads: int = Field(description="Attention heads.", ge=1)
    key_heads: int = Field(description="Heads of keys and values; each serves heads / key_heads heads.", ge=1)
    head_width: int = Field(description="Width of a head.", ge=1)
    hidden: int = Field(description="Hidden width of the feed-forward part.", ge=1)
    norm: Literal["layer", "rms"] = Field(description="Kind of norm.")
    eps: float = Field(description="Added to the variance.", gt=0)
    order: Literal["pre", "post"] = Field(description="Norms before the parts of a layer, or after their sums.")
    activation: Activation = Field(description="Of the feed-forward part.")
    gated: bool = Field(False, description="Whether the activation gates a second product.")
    query_bias: bool = Field(False, description="Queries, keys and values have biases.")
    out_bias: bool = Field(False, description="The output of the attention has a bias.")
    mlp_bias: bool = Field(False, description="The feed-forward part has biases.")
    head_norm: bool = Field(False, description="Queries and keys are normed head by head.")
    positions: int = Field(0, description="Learned absolute positions; 0: none.", ge=0)
    embedding_norm: bool = Field(False, description="A norm on the embedded tokens.")
    rotary: Rotary | None = Field(None, description="Rotary positions.")
    relative_buckets: int = Field(0, description="Buckets of a bias on the distance of two tokens (T5); 0: none.", ge=0)
    relative_distance: int = Field(128, description="Distance from which all share the last bucket.", ge=1)
    causal: bool = Field(False, description="Trained from left to right: context is read that way too.")
    own_head: bool = Field(False, description="A table of its own for writing; else the token embeddings.")
    adapt: AdaptConfig = Field(default_factory=AdaptConfig, description="How the upper layers learn.")
    own_upper: bool = Field(False, description="All layers of the checkpoint are lower ones; the upper ones are of the compact model.")
    slot_scale: float = Field(
        1.0, description="Slots times this enter the upper layers with the size of the checkpoint's own states.", gt=0
    )
