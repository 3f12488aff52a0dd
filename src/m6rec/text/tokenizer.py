"""Byte-level byte-pair encoding trained on the user's own text (Sennrich et al. 2016; bytes as in GPT-2).

All 256 bytes are in every vocabulary, so any text can be encoded and comes back exactly. Special tokens are never read out
of text: a title "<mask>" is six ordinary characters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from m6rec.base.errors import CheckpointError, ConfigError, DataError
from m6rec.base.storage import atomic_file
from m6rec.text.config import SMALLEST_VOCABULARY

VERSION = 1
SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<mask>", "<sep>", *(f"<reserved-{n}>" for n in range(11)))
LONGEST_TOKEN = 24  # bytes; bounds how much of a long text can matter for its first tokens
LONGEST_TRAINING_TEXT = 20_000  # characters of one text that are counted: one huge document must not rule the vocabulary
BATCH = 4096  # texts encoded at once: bounds the memory of the encodings


class Tokenizer:
    """Text to token ids and back. Made by `train` or `load`.

    The ids 0-15 are special: pad, bos, eos, mask, sep, and 11 reserved for later uses. `encode` never gives one of them.
    """

    pad_id, bos_id, eos_id, mask_id, sep_id = range(5)
    reserved_ids = tuple(range(5, len(SPECIAL_TOKENS)))
    name_open_id, name_close_id = reserved_ids[:2]  # around the name of an item in text that is written

    def __init__(self, engine: tokenizers.Tokenizer) -> None:
        engine.encode_special_tokens = True  # text that looks like a special token is text
        self._engine = engine
        self.size: int = engine.get_vocab_size()

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary: int | None = None) -> Self:
        """Learn merges from `texts`. The same texts give the same tokenizer.

        vocabulary  tokens at most, at least 272; None: `vocabulary_size` of the text. Fewer when no pair is left that occurs twice.

        Raises:
            ConfigError: vocabulary below 272.   DataError: a text holds a lone surrogate.
        """
        kept = [text[:LONGEST_TRAINING_TEXT] for text in texts]
        if vocabulary is None:
            vocabulary = vocabulary_size(sum(map(len, kept)))
        if vocabulary < SMALLEST_VOCABULARY:
            raise ConfigError(f"vocabulary is {vocabulary}, at least {SMALLEST_VOCABULARY} are needed; leave it out to have it chosen")
        for text in kept:
            _check_text(text)
        engine = tokenizers.Tokenizer(models.BPE())
        engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        engine.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            min_frequency=2,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            max_token_length=LONGEST_TOKEN,
            show_progress=False,
        )
        engine.train_from_iterator(kept, trainer)
        return cls(engine)

    def encode(self, text: str, limit: int | None = None) -> np.ndarray:
        """int32 (T,): the ids of `text`, without special tokens; T = 0 for "". At most `limit` of them, from the start.

        Raises:
            DataError: the text holds a lone surrogate, which is no Unicode text.
        """
        return self.encode_batch([text], limit)[0]

    def encode_batch(self, texts: Sequence[str], limit: int | None = None) -> list[np.ndarray]:
        """`encode` of each text. With a limit, the time does not depend on how long a text is.

        A text longer than `limit` of the longest tokens can cover is cut to that many characters first, so its first tokens are those
        of the whole text unless a run without any break of words reaches across the cut.
        """
        if limit is not None:
            texts = [text[: (limit + 1) * LONGEST_TOKEN] for text in texts]
        for text in texts:
            _check_text(text)
        result: list[np.ndarray] = []
        for start in range(0, len(texts), BATCH):
            encodings = self._engine.encode_batch_fast(list(texts[start : start + BATCH]), add_special_tokens=False)
            result.extend(np.array(encoding.ids[:limit], dtype=np.int32) for encoding in encodings)
        return result

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of `ids`; special tokens give nothing. `decode(encode(text)) == text` for every text.

        Ids cut inside a character give U+FFFD for what is left of it.
        """
        return self._engine.decode([int(i) for i in ids], skip_special_tokens=True)

    def pieces(self) -> list[bytes]:
        """The bytes of every token, b"" for special ones: what decoding text piece by piece needs."""
        byte_of = _bytes_of_letters()
        result = [b""] * self.size
        for piece, token in self._engine.get_vocab().items():
            if token >= len(SPECIAL_TOKENS):
                result[token] = bytes(byte_of[letter] for letter in piece)
        return result

    def fingerprint(self) -> str:
        """Hash of vocabulary and merges: equal for tokenizers that encode alike. Saved beside weights to check that they match."""
        model = json.loads(self._engine.to_str())["model"]
        return _checksum({"vocab": model["vocab"], "merges": model["merges"]})[:16]

    def save(self, path: Path | str) -> None:
        """Write one JSON file: what the `tokenizers` library writes, with our version and a checksum. Raises StorageError."""
        content = json.loads(self._engine.to_str())
        saved = {"version": VERSION, "checksum": _checksum(content), "tokenizer": content}
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(saved, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """The tokenizer that `save` wrote.

        Raises:
            CheckpointError: the file is missing, damaged, from a newer version, or not made by m6rec.
        """
        again = "train again or restore the file"
        try:
            saved = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise CheckpointError(f"{path} can't be read: {error.strerror}; point to a complete model folder") from None
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged ({error}); {again}") from None
        version = saved.get("version") if isinstance(saved, dict) else None
        content = saved.get("tokenizer") if isinstance(saved, dict) else None
        if not isinstance(version, int) or not isinstance(content, dict):
            raise CheckpointError(f"{path} is not a tokenizer saved by m6rec; {again}")
        if version > VERSION:
            raise CheckpointError(f"{path} has tokenizer version {version}, this m6rec reads up to {VERSION}; upgrade m6rec")
        if saved.get("checksum") != _checksum(content):
            raise CheckpointError(f"{path} is damaged (its checksum does not match); {again}")
        readable = json.loads(tokenizers.Tokenizer(models.BPE()).to_str())["version"]
        if content.get("version") != readable:
            raise CheckpointError(
                f"{path} has format {content.get('version')} of the tokenizers library, the one installed reads {readable}; {again}"
            )
        return cls(tokenizers.Tokenizer.from_str(json.dumps(content)))


def vocabulary_size(characters: int) -> int:
    """Tokens for that much text: 8192 up to a million characters, doubled for each tenfold, at most 32768."""
    tenfolds = np.log10(max(characters, 1) / 1_000_000)
    return int(np.clip(round(8192 * 2.0**tenfolds / 1024) * 1024, 8192, 32_768))


def _bytes_of_letters() -> dict[str, int]:
    """The letters in which byte-level encoding writes the 256 bytes: printable ones of Latin-1 as themselves, the others behind Latin-1."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + number): byte for number, byte in enumerate(others)}


def _checksum(saved: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(saved, sort_keys=True).encode()).hexdigest()


def _check_text(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = f"U+{ord(text[error.start]):04X}"
        raise DataError(
            f"a text has the lone surrogate {code} at character {error.start}, which is not Unicode; read its file as UTF-8 again"
        ) from None
