"""The families of checkpoints that are understood: how their config.json speaks of the architecture, and what they call their weights.

A family is a row of this table; another one of the same kinds of layers is another row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from m6rec.base.errors import CheckpointError, ConfigError
from m6rec.language_model.backbones.config import Activation, BackboneShape, Rotary

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
Facts = dict[str, Any]  # what config.json says


@dataclass(frozen=True)
class Family:
    """Names of a family's weights, without ".weight" and ".bias".

    shape       config.json -> BackboneShape
    prefixes    what may stand before every name, the first that fits is taken
    layer       our part of a layer -> its names, {n} being the layer; several are laid on top of each other
    skipped     rows of the position table before the first position
    transposed  matrices of layers are stored (inputs, outputs)
    scaled      queries are not divided by the root of the head's width
    """

    shape: Callable[[Facts], BackboneShape]
    prefixes: tuple[str, ...]
    embedding: tuple[str, ...]
    layer: Mapping[str, tuple[str, ...]]
    positions: str | None = None
    token_types: str | None = None
    embedding_norm: str | None = None
    final_norm: str | None = None
    relative: str | None = None
    head: str | None = None
    skipped: Callable[[Facts], int] = field(default=lambda facts: 0)
    transposed: bool = False
    scaled: bool = True


def _number(facts: Facts, name: str, default: Any = None) -> Any:
    value = facts.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CheckpointError(f"config.json of the checkpoint says {name} is {value!r}, a number is needed; restore the file")
    return value


def _activation(name: Any) -> Activation:
    if name not in ACTIVATIONS:
        raise CheckpointError(f"the checkpoint's activation is {name!r}; those understood are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _bert(facts: Facts) -> BackboneShape:
    if facts.get("position_embedding_type", "absolute") != "absolute":
        raise CheckpointError(f"the checkpoint's position_embedding_type is {facts['position_embedding_type']!r}; 'absolute' is understood")
    if facts.get("is_decoder"):
        raise CheckpointError("the checkpoint is a BERT trained as a decoder (is_decoder); an encoder, or a GPT-like model, is understood")
    width, heads = _number(facts, "hidden_size"), _number(facts, "num_attention_heads")
    return BackboneShape.build(
        {
            "family": facts["model_type"],
            "layers": _number(facts, "num_hidden_layers"),
            "width": width,
            "heads": heads,
            "key_heads": heads,
            "head_width": width // heads,
            "hidden": _number(facts, "intermediate_size"),
            "norm": "layer",
            "eps": _number(facts, "layer_norm_eps", 1e-12),
            "order": "post",
            "activation": _activation(facts.get("hidden_act", "gelu")),
            "query_bias": True,
            "out_bias": True,
            "mlp_bias": True,
            "positions": _number(facts, "max_position_embeddings") - SKIPPED.get(facts["model_type"], lambda _: 0)(facts),
            "embedding_norm": True,
            "relative_buckets": _number(facts, "relative_attention_num_buckets", 32) if facts["model_type"] == "mpnet" else 0,
        },
        source="config.json",
    )


def _distilbert(facts: Facts) -> BackboneShape:
    renamed = {
        "hidden_size": facts.get("dim"),
        "num_attention_heads": facts.get("n_heads"),
        "num_hidden_layers": facts.get("n_layers"),
        "intermediate_size": facts.get("hidden_dim"),
        "hidden_act": facts.get("activation", "gelu"),
    }
    return _bert({**facts, **renamed})


def _gpt2(facts: Facts) -> BackboneShape:
    if facts.get("scale_attn_by_inverse_layer_idx") or facts.get("scale_attn_weights") is False:
        raise CheckpointError("the checkpoint scales its attention layer by layer, which is not understood; use another GPT-2")
    width, heads = _number(facts, "n_embd"), _number(facts, "n_head")
    return BackboneShape.build(
        {
            "family": facts["model_type"],
            "layers": _number(facts, "n_layer"),
            "width": width,
            "heads": heads,
            "key_heads": heads,
            "head_width": width // heads,
            "hidden": _number(facts, "n_inner", 4 * width),
            "norm": "layer",
            "eps": _number(facts, "layer_norm_epsilon", 1e-5),
            "order": "pre",
            "activation": _activation(facts.get("activation_function", "gelu_new")),
            "query_bias": True,
            "out_bias": True,
            "mlp_bias": True,
            "positions": _number(facts, "n_positions", 1024),
            "causal": True,
        },
        source="config.json",
    )


def _llama(facts: Facts) -> BackboneShape:
    kind = facts["model_type"]
    width, heads = _number(facts, "hidden_size"), _number(facts, "num_attention_heads")
    biased = kind == "qwen2" or bool(facts.get("attention_bias"))
    return BackboneShape.build(
        {
            "family": kind,
            "layers": _number(facts, "num_hidden_layers"),
            "width": width,
            "heads": heads,
            "key_heads": _number(facts, "num_key_value_heads", heads),
            "head_width": _number(facts, "head_dim", 128 if kind == "qwen3" else width // heads),
            "hidden": _number(facts, "intermediate_size"),
            "norm": "rms",
            "eps": _number(facts, "rms_norm_eps", 1e-6),
            "order": "pre",
            "activation": _activation(facts.get("hidden_act", "silu")),
            "gated": True,
            "query_bias": biased,
            "out_bias": biased and kind != "qwen2",
            "mlp_bias": bool(facts.get("mlp_bias")) and kind == "llama",
            "head_norm": kind == "qwen3",
            "rotary": _rotary(facts),
            "causal": True,
        },
        source="config.json",
    )


def _rotary(facts: Facts) -> Facts:
    """Older files say rope_theta and rope_scaling, newer ones rope_parameters."""
    told = facts.get("rope_parameters") or facts.get("rope_scaling") or {}
    kind = told.get("rope_type", told.get("type", "default"))
    base = _number(told, "rope_theta", facts.get("rope_theta", 10_000.0))
    if kind == "default":
        return Rotary(base=base).plain()
    if kind == "linear":
        return Rotary(base=base, scaling="linear", factor=_number(told, "factor")).plain()
    if kind == "llama3":
        return Rotary(
            base=base,
            scaling="llama3",
            factor=_number(told, "factor"),
            low=_number(told, "low_freq_factor"),
            high=_number(told, "high_freq_factor"),
            positions=_number(told, "original_max_position_embeddings"),
        ).plain()
    raise CheckpointError(f"the checkpoint's rotary positions are of the kind {kind!r}; default, linear and llama3 are understood")


def _t5(facts: Facts) -> BackboneShape:
    spoken = facts.get("feed_forward_proj", "relu")
    act = spoken.removeprefix("gated-")
    heads = _number(facts, "num_heads")
    return BackboneShape.build(
        {
            "family": facts["model_type"],
            "layers": _number(facts, "num_layers"),
            "width": _number(facts, "d_model"),
            "heads": heads,
            "key_heads": heads,
            "head_width": _number(facts, "d_kv"),
            "hidden": _number(facts, "d_ff"),
            "norm": "rms",
            "eps": _number(facts, "layer_norm_epsilon", 1e-6),
            "order": "pre",
            "activation": _activation("gelu_new" if spoken == "gated-gelu" else act),
            "gated": spoken.startswith("gated-"),
            "relative_buckets": _number(facts, "relative_attention_num_buckets", 32),
            "relative_distance": _number(facts, "relative_attention_max_distance", 128),
        },
        source="config.json",
    )


def _after_padding(facts: Facts) -> int:
    """RoBERTa counts positions from the padding id on."""
    return int(_number(facts, "pad_token_id", 1)) + 1


SKIPPED = dict.fromkeys(("roberta", "xlm-roberta", "camembert", "mpnet"), _after_padding)
_BERT_LAYER = {
    "attention.q": ("encoder.layer.{n}.attention.self.query",),
    "attention.kv": ("encoder.layer.{n}.attention.self.key", "encoder.layer.{n}.attention.self.value"),
    "attention.out": ("encoder.layer.{n}.attention.output.dense",),
    "after_attention": ("encoder.layer.{n}.attention.output.LayerNorm",),
    "mlp.gate_up": ("encoder.layer.{n}.intermediate.dense",),
    "mlp.down": ("encoder.layer.{n}.output.dense",),
    "after_mlp": ("encoder.layer.{n}.output.LayerNorm",),
}
_BERT = Family(
    _bert,
    prefixes=("", "bert."),
    embedding=("embeddings.word_embeddings",),
    layer=_BERT_LAYER,
    positions="embeddings.position_embeddings",
    token_types="embeddings.token_type_embeddings",
    embedding_norm="embeddings.LayerNorm",
)
_ROBERTA = Family(
    _bert,
    prefixes=("", "roberta."),
    embedding=_BERT.embedding,
    layer=_BERT_LAYER,
    positions=_BERT.positions,
    token_types=_BERT.token_types,
    embedding_norm=_BERT.embedding_norm,
    skipped=_after_padding,
)
_MPNET = Family(
    _bert,
    prefixes=("", "mpnet."),
    embedding=_BERT.embedding,
    layer={
        **_BERT_LAYER,
        "attention.q": ("encoder.layer.{n}.attention.attn.q",),
        "attention.kv": ("encoder.layer.{n}.attention.attn.k", "encoder.layer.{n}.attention.attn.v"),
        "attention.out": ("encoder.layer.{n}.attention.attn.o",),
        "after_attention": ("encoder.layer.{n}.attention.LayerNorm",),
    },
    positions=_BERT.positions,
    embedding_norm=_BERT.embedding_norm,
    relative="encoder.relative_attention_bias",
    skipped=_after_padding,
)
_DISTILBERT = Family(
    _distilbert,
    prefixes=("", "distilbert."),
    embedding=_BERT.embedding,
    layer={
        "attention.q": ("transformer.layer.{n}.attention.q_lin",),
        "attention.kv": ("transformer.layer.{n}.attention.k_lin", "transformer.layer.{n}.attention.v_lin"),
        "attention.out": ("transformer.layer.{n}.attention.out_lin",),
        "after_attention": ("transformer.layer.{n}.sa_layer_norm",),
        "mlp.gate_up": ("transformer.layer.{n}.ffn.lin1",),
        "mlp.down": ("transformer.layer.{n}.ffn.lin2",),
        "after_mlp": ("transformer.layer.{n}.output_layer_norm",),
    },
    positions=_BERT.positions,
    embedding_norm=_BERT.embedding_norm,
)
_GPT2 = Family(
    _gpt2,
    prefixes=("", "transformer."),
    embedding=("wte",),
    layer={
        "attention_norm": ("h.{n}.ln_1",),
        "attention.qkv": ("h.{n}.attn.c_attn",),
        "attention.out": ("h.{n}.attn.c_proj",),
        "mlp_norm": ("h.{n}.ln_2",),
        "mlp.gate_up": ("h.{n}.mlp.c_fc",),
        "mlp.down": ("h.{n}.mlp.c_proj",),
    },
    positions="wpe",
    final_norm="ln_f",
    head="lm_head",
    transposed=True,
)
_LLAMA_LAYER = {
    "attention_norm": ("layers.{n}.input_layernorm",),
    "attention.q": ("layers.{n}.self_attn.q_proj",),
    "attention.kv": ("layers.{n}.self_attn.k_proj", "layers.{n}.self_attn.v_proj"),
    "attention.out": ("layers.{n}.self_attn.o_proj",),
    "mlp_norm": ("layers.{n}.post_attention_layernorm",),
    "mlp.gate_up": ("layers.{n}.mlp.gate_proj", "layers.{n}.mlp.up_proj"),
    "mlp.down": ("layers.{n}.mlp.down_proj",),
}
_LLAMA = Family(_llama, ("model.", ""), ("embed_tokens",), _LLAMA_LAYER, final_norm="norm", head="lm_head")
_QWEN3_LAYER = {
    **_LLAMA_LAYER,
    "attention.q_norm": ("layers.{n}.self_attn.q_norm",),
    "attention.k_norm": ("layers.{n}.self_attn.k_norm",),
}
_QWEN3 = Family(_llama, ("model.", ""), ("embed_tokens",), _QWEN3_LAYER, final_norm="norm", head="lm_head")
_T5_LAYER = {
    "attention_norm": ("encoder.block.{n}.layer.0.layer_norm",),
    "attention.q": ("encoder.block.{n}.layer.0.SelfAttention.q",),
    "attention.kv": ("encoder.block.{n}.layer.0.SelfAttention.k", "encoder.block.{n}.layer.0.SelfAttention.v"),
    "attention.out": ("encoder.block.{n}.layer.0.SelfAttention.o",),
    "mlp_norm": ("encoder.block.{n}.layer.1.layer_norm",),
    "mlp.gate_up": (
        "encoder.block.{n}.layer.1.DenseReluDense.wi",
        "encoder.block.{n}.layer.1.DenseReluDense.wi_0",
        "encoder.block.{n}.layer.1.DenseReluDense.wi_1",
    ),
    "mlp.down": ("encoder.block.{n}.layer.1.DenseReluDense.wo",),
}
_T5 = Family(
    _t5,
    prefixes=("",),
    embedding=("shared", "encoder.embed_tokens"),
    layer=_T5_LAYER,
    final_norm="encoder.final_layer_norm",
    relative="encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
    scaled=False,
)
FAMILIES: dict[str, Family] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "mpnet": _MPNET,
    "distilbert": _DISTILBERT,
    "gpt2": _GPT2,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _QWEN3,
    "t5": _T5,
    "mt5": _T5,
}


def family_of(facts: Facts, name: str) -> Family:
    """Raises CheckpointError: a family that is not understood."""
    kind = facts.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise CheckpointError(
            f"{name} is of the family {kind!r} (model_type of its config.json), which is not supported; name one of those that are: {', '.join(FAMILIES)}"
        )
    return FAMILIES[kind]


def shape_of(facts: Facts, name: str) -> BackboneShape:
    """The architecture a config.json describes.

    Raises:
        CheckpointError: a family that is not understood, or a file that does not say what it must.
    """
    family = family_of(facts, name)
    try:
        shape = family.shape(facts)
    except ConfigError as error:
        raise CheckpointError(f"{name}: {error}; its config.json is not one of the family {facts['model_type']}") from None
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from None
    if shape.heads % shape.key_heads or (
        not facts.get("head_dim") and not facts.get("d_kv") and shape.heads * shape.head_width != shape.width
    ):
        raise CheckpointError(
            f"{name}: {shape.heads} heads and {shape.key_heads} of keys do not fit width {shape.width}; restore its config.json"
        )
    return shape
