"""The tokenizer of a pretrained checkpoint: its tokenizer.json, and what its special tokens are to us.

A model of another kind has no mask, or no token for the start of a text; what it lacks is stood in for by the nearest it has. Reserved tokens
that it lacks are added behind its own.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import TracebackType
from typing import Any

import tokenizers

from m6rec.base.errors import CheckpointError
from m6rec.base.extras import require
from m6rec.text.tokenizer import LONGEST_TOKEN, SPECIAL_TOKENS, Specials, Tokenizer

FILE, SETTINGS, NAMES = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"
SLOW_FILES = ("vocab.txt", "vocab.json", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
LONGEST = 256  # characters of one token at most that a limit reckons with: longer ones are runs of spaces
# Written in many vocabularies for later uses.
SPARE = re.compile(r"\[unused\d+\]|<extra_id_\d+>|<\|reserved_special_token_\d+\|>|<unused\d+>|madeupword\d+")
KINDS = ("pad", "bos", "cls", "eos", "sep", "mask", "unk")


def read_tokenizer(folder: Path, name: str) -> Tokenizer:
    """The tokenizer of the checkpoint in `folder`; `name` as the user wrote it, for messages.

    Raises:
        CheckpointError: there is none, or it is damaged.
        MissingExtraError: it is one of the older files, and the library that converts them is not installed.
    """
    engine = _fast(folder, name) if (folder / FILE).exists() else _converted(folder, name)
    engine.no_padding()
    engine.no_truncation()
    vocabulary = engine.get_vocab(with_added_tokens=True)
    if not vocabulary:
        raise CheckpointError(f"{folder / FILE} has no tokens; fetch {name} again")
    named = _named(folder, vocabulary)
    before, after = _frame(engine)
    end = named.get("eos", named.get("sep", named.get("pad", 0)))
    start = named.get("bos", named.get("cls", end))
    spare = sorted(number for token, number in vocabulary.items() if SPARE.fullmatch(token))
    mask = named.get("mask", spare.pop() if spare else named.get("unk", end))
    lacking = max(len(SPECIAL_TOKENS) - 5 - len(spare), 0)
    engine.add_special_tokens([tokenizers.AddedToken(f"<reserved-{number}>", normalized=False) for number in range(lacking)])
    last = max(vocabulary.values())
    vocabulary = engine.get_vocab(with_added_tokens=True)
    spare += [vocabulary[f"<reserved-{number}>"] for number in range(lacking)]
    return Tokenizer(
        engine,
        Specials(
            pad=named.get("pad", named.get("unk", end)),
            bos=start,
            eos=end,
            mask=mask,
            sep=named.get("sep", end),
            reserved=tuple(spare[: len(SPECIAL_TOKENS) - 5]),
            added=max(vocabulary.values()) - last,
            before=before,
            after=after,
            never=tuple(sorted(_special(engine) - {named.get("unk", -1)})),
            longest=min(max(LONGEST_TOKEN, max(map(len, vocabulary))), LONGEST),
        ),
    )


def _fast(folder: Path, name: str) -> tokenizers.Tokenizer:
    path = folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read ({_one_line(error)}); fetch {name} again") from None
    with _Refusals(path, name):
        return tokenizers.Tokenizer.from_str(text)


class _Refusals:
    """The tokenizers library says what it can't read by the bare class of all exceptions; only that one is turned into a CheckpointError."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is Exception:
            said = " ".join(str(error).split())
            raise CheckpointError(
                f"{self.path} is no tokenizer that the installed library reads ({said}); fetch {self.name} again"
            ) from None


def _converted(folder: Path, name: str) -> tokenizers.Tokenizer:
    """Made of the files that older checkpoints have instead."""
    older = next((file for file in SLOW_FILES if (folder / file).exists()), None)
    if older is None:
        raise CheckpointError(f"{name} has no tokenizer: {folder} holds no {FILE}; fetch it again with its tokenizer")
    transformers = require("transformers", "hf")
    again = f"write one: AutoTokenizer.from_pretrained('{folder}').save_pretrained('{folder}')"
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        raise CheckpointError(f"{name} has {older} and no {FILE}, and it can't be converted ({_one_line(error)[:160]}); {again}") from None
    engine = getattr(tokenizer, "backend_tokenizer", None)
    if engine is None:
        raise CheckpointError(f"{name} has {older} and no {FILE}, and the library does not convert it; {again}")
    return tokenizers.Tokenizer.from_str(engine.to_str())


def _named(folder: Path, vocabulary: dict[str, int]) -> dict[str, int]:
    """Kind of special token -> its id, of those that the files name and the vocabulary has; else the usual spellings."""
    usual = {
        "pad": ("[PAD]", "<pad>", "<|endoftext|>"),
        "cls": ("[CLS]",),
        "sep": ("[SEP]",),
        "bos": ("<s>", "<|begin_of_text|>"),
        "eos": ("</s>", "<|end_of_text|>", "<|endoftext|>"),
        "mask": ("[MASK]", "<mask>"),
        "unk": ("[UNK]", "<unk>"),
    }
    told = _settings(folder / NAMES) | _settings(folder / SETTINGS)
    found = {}
    for kind in KINDS:
        entry = told.get(f"{kind}_token")
        written = entry.get("content") if isinstance(entry, dict) else entry
        for token in (written, *usual[kind]):
            if isinstance(token, str) and token in vocabulary:
                found[kind] = vocabulary[token]
                break
    return found


def _settings(path: Path) -> dict[str, Any]:
    """What a file beside the tokenizer says; a checkpoint may come without it."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read ({_one_line(error)}); restore it or take it away") from None
    return values if isinstance(values, dict) else {}


def _special(engine: tokenizers.Tokenizer) -> set[int]:
    return {number for number, token in engine.get_added_tokens_decoder().items() if token.special}


def _frame(engine: tokenizers.Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the tokenizer puts before and after a text."""
    inside = engine.encode("a", add_special_tokens=False).ids
    whole = engine.encode("a", add_special_tokens=True).ids
    at = next((at for at in range(len(whole)) if whole[at : at + len(inside)] == inside), 0)
    return tuple(whole[:at]), tuple(whole[at + len(inside) :])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
