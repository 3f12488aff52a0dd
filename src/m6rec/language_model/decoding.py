"""Decoding: from what a model says of the next token to written texts, by greedy choice, beam search or nucleus sampling.

Anything that speaks the three verbs of `Speaker` can be decoded. The order of things is fixed: the model's logits, then changes to them
(penalties, temperature), then masks, then the choice. Nothing after the masks can bring a token back. (`beam.py` has the search of several
texts side by side, `stream` gives a text out while it is written.)

Dimension keys: B rows being written, V vocabulary, T tokens of a text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from m6rec.base.errors import UsageError
from m6rec.language_model.beam import beam_search
from m6rec.language_model.choosing import NOTHING, Choice, log_normaliser
from m6rec.language_model.config import Decoding
from m6rec.language_model.masks import Length, Mask, Readable
from m6rec.language_model.spelling import Prefix, Spelling, last_sentence, last_word, whole_bytes
from m6rec.language_model.tries import Names


class Speaker(Protocol):
    """A model that has read what stands before the text and says what comes next. The state is its own affair; it is never changed in place."""

    def start(self, rows: int) -> tuple[Tensor, Any]:
        """Logits (B, V) of the first token of `rows` rows, and the state."""

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Logits (B, V) after one more token of each row, int64 (B,), and the new state."""

    def pick(self, state: Any, rows: Tensor) -> Any:
        """The state of the rows int64 (B',), in that order: repeated for beams, left out when finished."""


@dataclass(frozen=True)
class NameSpan:
    """Tokens start..end (exclusive, without the ids around it) are a name; `names` are the numbers it may stand for, several where names are alike."""

    start: int
    end: int
    names: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Decoded:
    """One written text.

    tokens           int64 (T,), without the ending id
    text             what they spell, cut behind a whole word where the last token goes further
    log_probability  of the tokens by the model itself, before any change or mask, the end included where it was written
    names            where names stand
    finish           "end": the text ended; "length": stopped at the most tokens and cut back; "stuck": the masks left nothing, cut back
    """

    tokens: np.ndarray
    text: str
    log_probability: float
    names: tuple[NameSpan, ...]
    finish: str


@dataclass(frozen=True)
class Streamed:
    """A piece of text given out while it is written; the last one has `finish` and may be empty. `names`: those that ended in this piece."""

    text: str
    names: tuple[tuple[int, ...], ...] = ()
    tokens: int = 0
    finish: str | None = None


def decode(
    speaker: Speaker,
    decoding: Decoding,
    masks: Sequence[Mask] = (),
    *,
    spelling: Spelling,
    rows: int = 1,
    own: Sequence[Sequence[Mask]] = (),
) -> list[list[Decoded]]:
    """Write the texts of `rows` rows.

    Args:
        masks: hold for every row. Names of items are only written where a `Names` is among them (or among `own`).
        own: further masks of each row.

    Returns:
        `decoding.best` texts of each row at most, best first (nucleus: in the order of the draws). A row gives the same alone or in a batch, to
        rounding of the speaker.
    """
    rules = [_rules(masks, own[row] if own else (), decoding) for row in range(rows)]
    if decoding.method == "beam":
        found = beam_search(speaker, decoding, rules, spelling)
        return [[_decoded(prefix, total, finish, rules[row]) for prefix, total, finish in texts] for row, texts in enumerate(found)]
    draws = decoding.best if decoding.method == "nucleus" else 1
    texts: list[list[Decoded]] = [[] for _ in range(rows)]
    done = {line.number: line for line in _written(speaker, decoding, rules, spelling, rows, draws) if line.finish}
    for number in range(rows * draws):
        line = done[number]
        texts[number // draws].append(_decoded(line.prefix, line.total, line.finish, line.rules))
    return texts


def stream(speaker: Speaker, decoding: Decoding, masks: Sequence[Mask] = (), *, spelling: Spelling) -> Iterator[Streamed]:
    """Write one text and give it out as it grows: whole words, whole names, never half a character.

    A word is given out when the next one begins, for until then it may be cut. Joined, the pieces are the text that `decode` gives; only where
    the most tokens stop a long sentence may they go further than the last sentence, up to the last word.

    Raises:
        UsageError: method beam, whose text is known when it is finished.
    """
    if decoding.method == "beam":
        raise UsageError("a text found by beam search cannot be streamed; use greedy or nucleus")
    if decoding.best > 1:
        raise UsageError(f"best={decoding.best} texts cannot be streamed at once; stream one")
    return _streamed(speaker, decoding, masks, spelling)


def _streamed(speaker: Speaker, decoding: Decoding, masks: Sequence[Mask], spelling: Spelling) -> Iterator[Streamed]:
    rules = _rules(masks, (), decoding)
    given, named, tokens = 0, 0, 0  # characters, names and tokens given out
    for line in _written(speaker, decoding, [rules], spelling, 1, 1):
        prefix = line.prefix
        if line.finish:
            last = _decoded(prefix, line.total, line.finish, rules, least=given)
            yield Streamed(last.text[given:], tuple(span.names for span in last.names[named:]), len(last.tokens) - tokens, line.finish)
            return
        if prefix.opened >= 0:
            continue
        text = prefix.text
        ready = last_word(text)  # what stands before the last word is whole: something followed it
        if ready > given:
            spans = _names(prefix, rules)
            yield Streamed(text[given:ready], tuple(span.names for span in spans[named:]), len(prefix) - tokens)
            given, named, tokens = ready, len(spans), len(prefix)


@dataclass(eq=False)
class _Line:
    """A text being written. `number` is row x draws + draw. Draws of a row that have said the same have the same `prefix`."""

    number: int
    rules: list[Mask]
    generator: np.random.Generator
    prefix: Prefix
    total: float = 0.0
    finish: str = ""


def _written(
    speaker: Speaker, decoding: Decoding, rules: Sequence[list[Mask]], spelling: Spelling, rows: int, draws: int
) -> Iterator[_Line]:
    """Write all rows; yields a line whenever a token was added to it or it is finished. What several draws of a row begin with is read once."""
    together: list[list[_Line]] = []  # lines that have said the same, and so have one state
    for row in range(rows):
        seeds = [[decoding.seed, row, draw] for draw in range(draws)]
        begun = Prefix(spelling)
        together.append([_Line(row * draws + seed[2], rules[row], np.random.default_rng(seed), begun) for seed in seeds])
    with torch.inference_mode():
        logits, state = speaker.start(rows)
    while True:
        following: list[tuple[int, int, list[_Line]]] = []  # the state gone on from, the token, those who say it
        for place, (lines, said) in enumerate(zip(together, said_of(logits), strict=True)):
            for token, some in _chosen(lines, said, decoding).items():
                yield from some
                if not some[0].finish:
                    following.append((place, token, some))
        if not following:
            return
        places, tokens = [place for place, _, _ in following], [token for _, token, _ in following]
        with torch.inference_mode():
            state = state if places == list(range(len(together))) else speaker.pick(state, torch.tensor(places))
            logits, state = speaker.step(torch.tensor(tokens), state)
        together = [lines for _, _, lines in following]


def _chosen(lines: list[_Line], logits: np.ndarray, decoding: Decoding) -> dict[int, list[_Line]]:
    """Choose the next token of lines that have said the same, from logits (V,): token -> the lines that say it, gone on or finished."""
    prefix, rules, spelling = lines[0].prefix, lines[0].rules, lines[0].prefix.spelling
    choice, normaliser = Choice(decoding, logits, rules, prefix), log_normaliser(logits)
    found: dict[int, list[_Line]] = {}
    for line in lines:
        found.setdefault(choice.next(line.generator), []).append(line)
    for token, some in found.items():
        longer, finish = prefix, "stuck" if token == NOTHING else "end" if token == spelling.end else ""
        if not finish:
            longer = prefix.then(token)
            finish = "length" if len(longer) >= decoding.most else ""
        for line in some:
            line.prefix, line.finish = longer, finish
            line.total += 0.0 if token == NOTHING else float(logits[token]) - normaliser
    return found


def said_of(logits: Tensor) -> np.ndarray:
    """float32 (B, V), in the memory of this machine's processor."""
    return logits.detach().float().cpu().numpy()


def _rules(masks: Sequence[Mask], own: Sequence[Mask], decoding: Decoding) -> list[Mask]:
    rules: list[Mask] = [Readable(), Length(decoding.least, decoding.most), *masks, *own]
    if not any(isinstance(mask, Names) for mask in rules):
        rules.append(Names((), begin=False))
    return rules


def _names(prefix: Prefix, rules: Sequence[Mask]) -> list[NameSpan]:
    """Where the complete names stand."""
    spans, begin = [], -1
    for place, token in enumerate(prefix.tokens):
        if token == prefix.spelling.opens:
            begin = place + 1
        elif token == prefix.spelling.closes:
            tokens = prefix.tokens[begin:place]
            meant = [name for mask in rules if isinstance(mask, Names) for name in mask.meant(tokens)]
            spans.append(NameSpan(begin, place, tuple(meant)))
    return spans


def _decoded(prefix: Prefix, total: float, finish: str, rules: Sequence[Mask], least: int = 0) -> Decoded:
    """Close a text: one that was stopped loses what is not whole, but never one of its first `least` characters."""
    spelling, spans = prefix.spelling, _names(prefix, rules)
    if finish == "end":
        return Decoded(np.array(prefix.tokens, dtype=np.int64), prefix.text, total, tuple(spans), finish)
    tokens = prefix.tokens if prefix.opened < 0 else prefix.tokens[: prefix.opened]
    ends = np.cumsum([0, *(len(spelling.pieces[token]) for token in tokens)])  # bytes up to each token
    spelled = prefix.spelled[: ends[-1]]
    text = spelled[: whole_bytes(spelled)].decode("utf-8", errors="replace")
    end = last_sentence(text)
    if end < 0:
        end = len(text) if tokens and tokens[-1] == spelling.closes else last_word(text)
    end = len(text[:end].rstrip())
    for span in reversed(spans):  # a cut never goes through a name
        first, last = (len(spelled[: ends[place]].decode("utf-8", errors="replace")) for place in (span.start, span.end))
        end = len(text[:first].rstrip()) if first < end < last else end
    text = text[: max(end, least)]
    kept = int(np.searchsorted(ends, len(text.encode("utf-8"))))
    kept += kept < len(tokens) and tokens[kept] == spelling.closes
    return Decoded(np.array(tokens[:kept], dtype=np.int64), text, total, tuple(span for span in spans if span.end < kept), finish)
