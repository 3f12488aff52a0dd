"""Augmentation: the same text said otherwise, so that few labels go further.

Words left out and words replaced by synonyms (Wei and Zou, EDA, EMNLP 2019), fields of an item left out, translation there and back by a
program of the user's own (Sennrich et al., ACL 2016). The same generator gives the same copies.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.linalg import svds

from m6rec.base.errors import ConfigError, DataError
from m6rec.text.config import AugmentConfig
from m6rec.text.words import SPACELESS, is_spaceless, normalise

Synonyms = dict[str, list[str]]
Translate = Callable[[list[str]], list[str]]

MOST_WORDS = 4000  # words that get neighbours: the most frequent
LEAST_TEXTS = 5  # a word in fewer texts is known by too little company
WINDOW, RANK, NEIGHBOURS, NEAR = 3, 64, 3, 0.6  # words apart, dimensions, neighbours kept, least cosine
TRANSLATION_START, TRANSLATION_SECONDS = 600.0, 10.0  # seconds that a program of the user's has: to start, and more for each text
LONGEST_NAME = 8  # characters of a synonym in a script without spaces


class Augmenter:
    """Makes changed copies of texts.

    synonyms: normalised word -> others that may stand for it.  translate: texts there and back, as many as it was given.
    """

    def __init__(self, config: AugmentConfig, synonyms: Synonyms | None = None, translate: Translate | None = None) -> None:
        self.config, self.synonyms, self.translate = config, synonyms or {}, translate
        self._longest = min(max(map(len, self.synonyms), default=1), LONGEST_NAME)

    @classmethod
    def of(cls, config: AugmentConfig, texts: Sequence[str], source: Path) -> Augmenter:
        """As configured: synonyms from the file (relative to `source`), else from the company that words keep in `texts`.

        Raises:
            ConfigError: the file can't be read, or has no group of two words.
        """
        if not config.copies:
            synonyms: Synonyms = {}
        elif config.synonyms is not None:
            synonyms = read_synonyms(source / config.synonyms)
        else:
            synonyms = neighbouring_words(texts)
        command = config.back_translation
        return cls(config, synonyms, None if command is None else lambda batch: run_translation(command, batch))

    @property
    def copies(self) -> int:
        """Copies made of each text."""
        return self.config.copies + (self.translate is not None)

    def __call__(self, texts: Sequence[str], generator: np.random.Generator, joiner: str | None = None) -> list[list[str]]:
        """`copies` lists of as many texts as given; joiner: what stands between the worded fields, where the texts are items."""
        made = [[self.changed(text, generator, joiner) for text in texts] for _ in range(self.config.copies)]
        if self.translate is not None:
            given = self.translate(list(texts))
            if len(given) != len(texts):
                raise DataError(f"back translation gave {len(given)} texts for {len(texts)}; it must give one for each, in order")
            made.append(given)
        return made

    def changed(self, text: str, generator: np.random.Generator, joiner: str | None = None) -> str:
        """One changed copy; never empty unless the text is."""
        config = self.config
        if joiner is not None and config.field_dropout:
            fields = text.split(joiner)
            kept = generator.random(len(fields)) >= config.field_dropout
            text = joiner.join([field for field, keep in zip(fields, kept, strict=True) if keep]) or text
        pieces = self._pieces(text)
        words = [at for at, piece in enumerate(pieces) if piece[:1].isalnum()]
        dropped = generator.random(len(words)) < config.word_dropout
        replaced = generator.random(len(words)) < config.replace
        draws = generator.random(len(words))
        if dropped.all():
            dropped[:] = False
        for at, drop, replace, draw in zip(words, dropped, replaced, draws, strict=True):
            others = self.synonyms.get(normalise(pieces[at]), ()) if replace and not drop else ()
            if drop:
                pieces[at] = ""
            elif others:
                pieces[at] = others[int(draw * len(others))]
        return re.sub(r"  +", " ", "".join(pieces)).strip()

    def _pieces(self, text: str) -> list[str]:
        """The text cut into words and what stands between them. In scripts without spaces: the longest known synonyms, else characters."""
        pieces: list[str] = []
        for run in _runs().findall(text):
            if not is_spaceless(run[0]):
                pieces.append(run)
                continue
            at = 0
            while at < len(run):
                ends = range(min(self._longest, len(run) - at), 1, -1)
                length = next((size for size in ends if run[at : at + size] in self.synonyms), 1)
                pieces.append(run[at : at + length])
                at += length
        return pieces


def read_synonyms(path: Path) -> Synonyms:
    """Groups of words that may stand for each other, one a line, separated by commas or tabs; a line that starts with # is a remark.

    Raises:
        ConfigError: the file can't be read, or has no group of two words.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"text.augment.synonyms: {path} can't be read: {reason}; give one group of words a line") from None
    synonyms: Synonyms = {}
    for line in lines:
        words = [word for word in (normalise(part) for part in re.split(r"[,\t，]", line)) if word]
        if line.lstrip().startswith("#") or len(words) < 2:
            continue
        for word in words:
            synonyms.setdefault(word, []).extend([other for other in words if other != word])
    if not synonyms:
        raise ConfigError(f"text.augment.synonyms: {path} has no line with two words or more; write e.g. 'quick, fast, rapid'")
    return synonyms


def neighbouring_words(texts: Iterable[str]) -> Synonyms:
    """Words that keep the same company: neighbours by the cosine of positive pointwise mutual information with the words around them.

    Words of scripts with spaces only, and pairs of characters elsewhere. (Levy and Goldberg, NIPS 2014: an SVD of what word2vec factors.)
    """
    lists = [[normalise(piece) for piece in _runs().findall(text) if piece[:1].isalnum()] for text in texts]
    lists = [[part for word in words for part in _pairs(word)] for words in lists]
    having: dict[str, int] = {}
    for words in lists:
        for word in set(words):
            having[word] = having.get(word, 0) + 1
    frequent = sorted((-count, word) for word, count in having.items() if count >= LEAST_TEXTS)[:MOST_WORDS]
    code = {word: place for place, word in enumerate(sorted(word for _, word in frequent))}
    if len(code) <= RANK:
        return {}
    vectors = _company(lists, code)
    names = list(code)
    synonyms: Synonyms = {}
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    for row, word in enumerate(names):
        near = np.argsort(-cosines[row], kind="stable")[:NEIGHBOURS]
        others = [names[place] for place in near if cosines[row, place] >= NEAR]
        if others:
            synonyms[word] = others
    return synonyms


def _company(lists: list[list[str]], code: dict[str, int]) -> np.ndarray:
    """float32 (words, RANK), unit rows. Words to the left and to the right are told apart, so that what is swappable comes out near."""
    left: list[int] = []
    right: list[int] = []
    for words in lists:
        known = [code.get(word, -1) for word in words]
        for apart in range(1, WINDOW + 1):
            left += known[:-apart]
            right += known[apart:]
    first, second = np.array(left), np.array(right)
    both = (first >= 0) & (second >= 0)
    first, second = first[both], second[both]
    size = len(code)
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first + size])
    counts = csr_array(coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, 2 * size)))
    counts.sum_duplicates()
    of_word, of_context = np.asarray(counts.sum(axis=1)).ravel(), np.asarray(counts.sum(axis=0)).ravel() ** 0.75
    pairs = counts.tocoo()
    expected = of_word[pairs.coords[0]] * of_context[pairs.coords[1]] / of_context.sum()
    pairs.data = np.maximum(np.log(pairs.data / np.maximum(expected, 1e-12)), 0)
    start = np.random.default_rng(0).standard_normal(size)
    words, strengths, _ = svds(csr_array(pairs), k=RANK, v0=start)
    vectors = words * np.sqrt(strengths)
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def translation_command(command: str) -> list[str]:
    """The words of a `back_translation`, the program first. Raises ConfigError: they can't be told apart, or no such program is found."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"text.augment.back_translation: '{command}' can't be read: {error}; quote it as in a shell") from None
    if not words:
        raise ConfigError("text.augment.back_translation is empty; give a program, or leave it out")
    if shutil.which(words[0]) is None:
        raise ConfigError(
            f"text.augment.back_translation: '{command}' can't be started: no program '{words[0]}' is found that may be run; "
            "install it, or give its whole path"
        )
    return words


def run_translation(command: str, texts: list[str]) -> list[str]:
    """The lines that `command` writes when it reads the texts, one a line (blanks and line ends within a text become one blank).

    Raises:
        ConfigError: it can't be started, fails, does not end in time (TRANSLATION_SECONDS a text), or writes what is no text.
    """
    words = translation_command(command)
    lines = "".join(" ".join(text.split()) + "\n" for text in texts)
    most = TRANSLATION_START + TRANSLATION_SECONDS * len(texts)
    try:
        done = subprocess.run(words, input=lines, capture_output=True, text=True, encoding="utf-8", check=True, timeout=most)
    except OSError as error:
        raise ConfigError(f"text.augment.back_translation: '{command}' can't be started: {error.strerror}; give a program") from None
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split())[-200:]
        raise ConfigError(f"text.augment.back_translation: '{command}' ended with {error.returncode}: {said}; try it by hand") from None
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"text.augment.back_translation: '{command}' did not end within {most:,.0f} seconds, {len(texts):,} texts given; "
            "try it by hand: it must read texts to their end, write as many lines, and end"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"text.augment.back_translation: '{command}' wrote what is not UTF-8; let it write UTF-8") from None
    return done.stdout.splitlines()


def _pairs(word: str) -> list[str]:
    return [word[at : at + 2] for at in range(len(word) - 1)] if word and is_spaceless(word[0]) else [word]


@cache
def _runs() -> re.Pattern[str]:
    """Runs of a script without spaces, words, and anything else one character at a time."""
    return re.compile(f"[{SPACELESS}]+|(?:(?![{SPACELESS}_])\\w)+(?:'\\w+)?|[^\\w]|_")
