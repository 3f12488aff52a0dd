"""Byte-level byte-pair encoding trained on the user's own text (Sennrich et al. 2016; bytes as in GPT-2).

All 256 bytes are in every vocabulary, so any text can be encoded and comes back exactly. Special tokens are never read out
of text: a title "<mask>" is six ordinary characters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from m6rec.base.errors import CheckpointError, ConfigError, DataError
from m6rec.base.storage import atomic_file
from m6rec.text.config import SMALLEST_VOCABULARY

VERSION = 1  # of what `train` makes; that of a checkpoint says version 2, for older programs must not read it as theirs
CHECKPOINT_VERSION = 2
SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<mask>", "<sep>", *(f"<reserved-{n}>" for n in range(11)))
LONGEST_TOKEN = 24  # bytes; bounds how much of a long text can matter for its first tokens
LONGEST_TRAINING_TEXT = 20_000  # characters of one text that are counted: one huge document must not rule the vocabulary
BATCH = 4096  # texts encoded at once: bounds the memory of the encodings


@dataclass(frozen=True)
class Specials:
    """Ids that stand for no text, and those that a segment of context is framed by: [CLS] and [SEP] of a BERT."""

    pad: int = 0
    bos: int = 1
    eos: int = 2
    mask: int = 3
    sep: int = 4
    reserved: tuple[int, ...] = tuple(range(5, len(SPECIAL_TOKENS)))
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    never: tuple[int, ...] = ()  # left out of what a text gives: some vocabularies have "</s>" among their pieces of words
    longest: int = LONGEST_TOKEN  # characters that one token can stand for
    added: int = 0  # ids behind the checkpoint's own, for reserved tokens that it lacked


class Tokenizer:
    """Text to token ids and back. Made by `train` or `load`, or of a checkpoint's files by `pretrained_tokenizer.read_tokenizer`.

    Of one that was trained here the ids 0-15 are special: pad, bos, eos, mask, sep, and 11 reserved for later uses. `encode` never gives one
    of them. One of a checkpoint has its own; what it lacks has a stand-in (`Specials`), and a text may not come back exactly.
    """

    def __init__(self, engine: tokenizers.Tokenizer, specials: Specials | None = None) -> None:
        """specials: of a checkpoint's tokenizer."""
        engine.encode_special_tokens = True  # text that looks like a special token is text
        self._engine, self._specials = engine, specials
        self.size: int = engine.get_vocab_size()
        told = specials or Specials()
        if specials is not None:
            self.size = max(engine.get_vocab(with_added_tokens=True).values()) + 1  # some leave ids out
        self.pad_id, self.bos_id, self.eos_id, self.mask_id, self.sep_id = told.pad, told.bos, told.eos, told.mask, told.sep
        self.reserved_ids, self._before, self._after, self._longest = told.reserved, told.before, told.after, told.longest
        self.name_open_id, self.name_close_id = told.reserved[:2]  # around the name of an item in text that is written
        self._never, self.added = np.array(told.never, dtype=np.int32), told.added

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
            check_text(text)
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

    @property
    def pretrained(self) -> bool:
        """Whether it is a checkpoint's."""
        return self._specials is not None

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
            texts = [text[: (limit + 1) * self._longest] for text in texts]
        for text in texts:
            check_text(text)
        result: list[np.ndarray] = []
        for start in range(0, len(texts), BATCH):
            encodings = self._engine.encode_batch_fast(list(texts[start : start + BATCH]), add_special_tokens=False)
            result.extend(np.array(encoding.ids[:limit], dtype=np.int32) for encoding in encodings)
        return [ids[~np.isin(ids, self._never)] for ids in result] if len(self._never) else result

    def framed(self, texts: Sequence[str], limit: int) -> list[np.ndarray]:
        """`encode_batch` as the segments of context that the language model was trained to read: within `limit` with what frames them."""
        if not self._before and not self._after:
            return self.encode_batch(texts, limit)
        before, after = (np.array(part, dtype=np.int32) for part in (self._before, self._after))
        inside = self.encode_batch(texts, max(limit - len(before) - len(after), 1))
        return [np.concatenate([before, ids, after]) if len(ids) else ids for ids in inside]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of `ids`; special tokens give nothing. `decode(encode(text)) == text` for every text.

        Ids cut inside a character give U+FFFD for what is left of it.
        """
        return self._engine.decode([int(i) for i in ids], skip_special_tokens=True)

    def pieces(self) -> list[bytes]:
        """The bytes of every token, b"" for special ones: what decoding text piece by piece needs."""
        of_bytes = "ByteLevel" in json.dumps(json.loads(self._engine.to_str())["decoder"])
        byte_of = _bytes_of_letters() if of_bytes else {}
        special = {self.pad_id, self.bos_id, self.eos_id, self.mask_id, self.sep_id, *self.reserved_ids}
        result = [b""] * self.size
        before = self.encode("a")[-1:].tolist()  # a word that stands before the token, so that the space of a new word shows
        start = len(self.decode(before))
        for piece, token in self._engine.get_vocab(with_added_tokens=True).items():
            if token in special:
                continue
            if of_bytes and all(letter in byte_of for letter in piece):
                result[token] = bytes(byte_of[letter] for letter in piece)
            else:  # pieces of words or of sentences, as other tokenizers have them
                result[token] = self.decode([*before, token])[start:].encode()
        return result

    def fingerprint(self) -> str:
        """Hash of vocabulary and merges: equal for tokenizers that encode alike. Saved beside weights to check that they match."""
        content = json.loads(self._engine.to_str())
        if self._specials is not None:
            return _checksum({"tokenizer": content, "specials": asdict(self._specials)})[:16]
        model = content["model"]
        return _checksum({"vocab": model["vocab"], "merges": model["merges"]})[:16]

    def save(self, path: Path | str) -> None:
        """Write one JSON file: what the `tokenizers` library writes, with our version and a checksum. Raises StorageError."""
        content = json.loads(self._engine.to_str())
        saved: dict[str, Any] = {"version": VERSION, "checksum": _checksum(content), "tokenizer": content}
        if self._specials is not None:
            saved |= {"version": CHECKPOINT_VERSION, "specials": asdict(self._specials)}
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
        if version > CHECKPOINT_VERSION:
            raise CheckpointError(f"{path} has tokenizer version {version}, this m6rec reads up to {CHECKPOINT_VERSION}; upgrade m6rec")
        if saved.get("checksum") != _checksum(content):
            raise CheckpointError(f"{path} is damaged (its checksum does not match); {again}")
        readable = json.loads(tokenizers.Tokenizer(models.BPE()).to_str())["version"]
        if content.get("version") != readable:
            raise CheckpointError(
                f"{path} has format {content.get('version')} of the tokenizers library, the one installed reads {readable}; {again}"
            )
        return cls(tokenizers.Tokenizer.from_str(json.dumps(content)), None if version == VERSION else _specials(saved, path))


def _specials(saved: dict[str, Any], path: Path | str) -> Specials:
    try:
        told: dict[str, Any] = saved["specials"]
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else int(value) for name, value in told.items()}
        return Specials(**values)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CheckpointError(f"{path} does not say which of its tokens are special; train again or restore the file") from None


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


def check_text(text: str) -> None:
    """Raises DataError: a text holds a lone surrogate, which is no Unicode text."""
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = f"U+{ord(text[error.start]):04X}"
        raise DataError(
            f"a text has the lone surrogate {code} at character {error.start}, which is not Unicode; read its file as UTF-8 again"
        ) from None
