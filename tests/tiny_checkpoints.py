"""Tiny random checkpoints of every supported family, written by the library that defines the format."""

from __future__ import annotations

import json
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

VOCABULARY, WIDTH, LAYERS = 300, 32, 3
_PLAIN: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 70,
}
_T5: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": WIDTH,
    "d_ff": 48,
    "num_layers": LAYERS,
    "num_decoder_layers": 1,
    "num_heads": 4,
}
_STRETCHED = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
# family -> (configuration class, its arguments, model class)
KINDS: dict[str, tuple[str, dict[str, Any], str]] = {
    "bert": ("BertConfig", _PLAIN, "BertModel"),
    "roberta": ("RobertaConfig", {**_PLAIN, "pad_token_id": 1}, "RobertaModel"),
    "mpnet": ("MPNetConfig", _PLAIN, "MPNetModel"),
    "distilbert": (
        "DistilBertConfig",
        {"vocab_size": VOCABULARY, "dim": WIDTH, "n_layers": LAYERS, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 70},
        "DistilBertModel",
    ),
    "gpt2": (
        "GPT2Config",
        {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4, "n_positions": 70},
        "GPT2LMHeadModel",
    ),
    "llama": ("LlamaConfig", {**_PLAIN, "num_key_value_heads": 2, "rope_parameters": _STRETCHED}, "LlamaForCausalLM"),
    "mistral": ("MistralConfig", {**_PLAIN, "num_key_value_heads": 1, "head_dim": 16}, "MistralForCausalLM"),
    "qwen2": ("Qwen2Config", {**_PLAIN, "num_key_value_heads": 2, "tie_word_embeddings": True}, "Qwen2ForCausalLM"),
    "qwen3": ("Qwen3Config", {**_PLAIN, "num_key_value_heads": 2, "head_dim": 16}, "Qwen3ForCausalLM"),
    "t5": ("T5Config", {**_T5, "d_kv": 8}, "T5EncoderModel"),
    "mt5": ("MT5Config", {**_T5, "d_kv": 10, "feed_forward_proj": "gated-gelu"}, "MT5EncoderModel"),
}
WRITERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3")


@lru_cache
def reference(family: str) -> Any:
    """The library's own model, in evaluation mode, its weights far enough from their start that every one matters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the library warns of on import is not ours
        import transformers

        transformers.logging.set_verbosity_error()
        config_class, arguments, model_class = KINDS[family]
        torch.manual_seed(3)
        model = getattr(transformers, model_class)(getattr(transformers, config_class)(**arguments)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def write_checkpoint(folder: Path, family: str, texts: list[str]) -> Path:
    """A folder as the library's `save_pretrained` writes it, with a tokenizer trained on `texts`."""
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference(family).save_pretrained(folder)
    engine, names = _tokenizer(family, texts)
    engine.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return folder


def _tokenizer(family: str, texts: list[str]) -> tuple[Any, dict[str, str]]:
    """As the family has it: word pieces in [CLS] and [SEP], bytes with nothing around them, or pieces with an end."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    if family in WRITERS:
        engine = Tokenizer(models.BPE())
        engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        engine.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
        )
        engine.train_from_iterator(texts, trainer)
        return engine, {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    if family in ("t5", "mt5"):
        engine = Tokenizer(models.Unigram())
        engine.pre_tokenizer = pre_tokenizers.Metaspace()
        engine.decoder = decoders.Metaspace()
        special = ["<pad>", "</s>", "<unk>", "<extra_id_0>", "<extra_id_1>"]
        engine.train_from_iterator(
            texts, trainers.UnigramTrainer(vocab_size=VOCABULARY, special_tokens=special, unk_token="<unk>", show_progress=False)
        )
        engine.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
        return engine, {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    engine = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    engine.normalizer = normalizers.BertNormalizer()
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    engine.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False))
    frame = [("[CLS]", 2), ("[SEP]", 3)]
    engine.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=frame)
    engine.enable_truncation(max_length=12)  # as sentence encoders come; segments have a limit of their own
    engine.enable_padding(length=12)
    return engine, {f"{token[1:-1].lower()}_token": token for token in special}
