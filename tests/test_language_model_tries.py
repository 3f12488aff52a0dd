"""Names are always real: properties of the mask itself against a plain list, and ten thousand sampled names under every setting."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babbler import BYTES, CLOSES, LETTERS, OPENS, Babbler
from m6rec.base.errors import UsageError
from m6rec.language_model.config import Decoding
from m6rec.language_model.decoding import decode
from m6rec.language_model.masks import Length, Readable, everything_allowed
from m6rec.language_model.spelling import Prefix, Spelling
from m6rec.language_model.tries import Names, NameTrie

TOKENS = range(3, len(LETTERS))
name_lists = st.lists(st.lists(st.sampled_from(TOKENS[:4]), min_size=1, max_size=5), max_size=12)


def inside(named: list[int]) -> Prefix:
    prefix = Prefix(LETTERS).then(5).then(OPENS)
    for token in named:
        prefix = prefix.then(token)
    return prefix


@settings(max_examples=60, deadline=None)
@given(data=st.data(), first=name_lists, added=name_lists)
def test_the_mask_is_what_a_plain_list_of_names_says(data: st.DataObject, first: list[list[int]], added: list[list[int]]) -> None:
    names = first + added
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names))), dtype=bool)
    mask = Names([NameTrie(first), NameTrie(added)], allowed)
    kept = [name for name, keep in zip(names, allowed, strict=True) if keep]
    for length in range(5):
        for named in itertools.product(TOKENS[:4], repeat=length) if length < 3 else (tuple(name[:length]) for name in names):
            beginning = [name for name in kept if tuple(name[: len(named)]) == named]
            expected = {name[len(named)] for name in beginning if len(name) > len(named)}
            expected |= {CLOSES for name in beginning if len(name) == len(named)}
            found = mask.allowed(inside(list(named)))
            assert found is not None
            assert sorted(found.tolist()) == sorted(expected)
            assert mask.meant(named) == [n for n, name in enumerate(names) if allowed[n] and tuple(name) == named]
    outside = Prefix(LETTERS).then(5)
    assert mask.allowed(outside) is None
    assert not mask.accepts(outside, CLOSES)
    assert mask.accepts(outside, OPENS) == bool(kept)


@settings(max_examples=30, deadline=None)
@given(names=name_lists, seed=st.integers(0, 99))
def test_decoding_never_takes_what_the_masks_forbid(names: list[list[int]], seed: int) -> None:
    masks = [Names([NameTrie(names)])]
    decoding = Decoding(method="nucleus", temperature=5.0, top_p=1.0, most=12, seed=seed, no_repeat_ngram=1, repetition_penalty=2.0)
    text = decode(Babbler(len(LETTERS), seed), decoding, masks, spelling=LETTERS)[0][0]
    prefix = Prefix(LETTERS)
    for token in text.tokens.tolist():
        assert everything_allowed([Readable(), Length(1, 12), *masks], prefix)[token]
        prefix = prefix.then(token)
    assert prefix.opened < 0


def catalogue(generator: np.random.Generator, count: int, spelling: Spelling) -> list[list[int]]:
    """Names that begin alike, repeat, are beginnings of others, or are one token."""
    letters = np.flatnonzero(~spelling.special)
    names: list[list[int]] = []
    for _ in range(count):
        start = names[int(generator.integers(len(names)))][: int(generator.integers(3))] if names and generator.random() < 0.6 else []
        names.append([*start, *generator.choice(letters, int(generator.integers(1, 4))).tolist()])
    return [*names, *names[:5], *(name[:1] for name in names[5:10])]


SETTINGS = {
    "greedy": Decoding(),
    "greedy, penalties": Decoding(repetition_penalty=5.0, no_repeat_ngram=1),
    "beam": Decoding(method="beam", beams=5, best=5),
    "beam, penalties": Decoding(method="beam", beams=3, best=3, repetition_penalty=3.0, no_repeat_ngram=2, length_penalty=0.0),
    "nucleus": Decoding(method="nucleus", best=5),
    "nucleus, hot": Decoding(method="nucleus", top_p=1.0, temperature=10.0, repetition_penalty=2.0, best=5),
    "nucleus, cold": Decoding(method="nucleus", top_p=0.05, temperature=0.1, no_repeat_ngram=3, best=5),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_sampled_names_are_real_and_allowed(setting: str) -> None:
    """1,430 names or more of each of the seven settings: more than 10,000 in all."""
    generator = np.random.default_rng(5)
    names = catalogue(generator, 200, LETTERS)
    allowed = generator.random(len(names)) < 0.5
    real = {tuple(name) for name, keep in zip(names, allowed, strict=True) if keep}

    decoding = SETTINGS[setting].model_copy(update={"most": 48, "least": 40})

    def talk_of_items(logits: np.ndarray) -> None:
        logits[OPENS] += 10.0 * max(decoding.temperature, 1.0)

    speaker = Babbler(len(LETTERS), seed=2, spread=4.0, change=talk_of_items)
    mask = Names([NameTrie(names[:150]), NameTrie(names[150:])], allowed)
    found, said = 0, set()
    rows = 210 // decoding.best
    for row in decode(speaker, decoding, [mask], spelling=LETTERS, rows=rows):
        for text in row:
            tokens = text.tokens.tolist()
            assert tokens.count(OPENS) == tokens.count(CLOSES) == len(text.names)
            for span in text.names:
                assert tokens[span.start - 1] == OPENS
                assert tokens[span.end] == CLOSES
                name = tuple(tokens[span.start : span.end])
                assert name in real
                assert [names[number] for number in span.names] == [list(name)] * len(span.names)
                assert span.names
                assert allowed[list(span.names)].all()
                said.add(name)
            found += len(text.names)
    assert found >= 1430
    assert len(said) > 5


def test_without_names_nothing_opens() -> None:
    def only_names(logits: np.ndarray) -> None:
        logits[[OPENS, CLOSES]] += 50.0

    for masks in ([], [Names([])], [Names([NameTrie([[3]])], np.zeros(1, bool))], [Names([NameTrie([[3]])], begin=False)]):
        for method in ("greedy", "beam", "nucleus"):
            text = decode(Babbler(len(LETTERS), change=only_names), Decoding(method=method, most=20), masks, spelling=LETTERS)[0][0]
            assert not {OPENS, CLOSES} & set(text.tokens.tolist())


def test_names_cut_by_the_length_are_left_out_whole() -> None:
    def open_a_name(logits: np.ndarray) -> None:
        logits[OPENS] += 8.0

    names = Names([NameTrie([[3, 4, 5, 6, 7, 8]])])
    for most in range(1, 20):
        text = decode(Babbler(len(LETTERS), change=open_a_name), Decoding(most=most, least=most), [names], spelling=LETTERS)[0][0]
        assert text.text.count("abcdef") == len(text.names)
        assert text.tokens.tolist().count(OPENS) == len(text.names)


def test_a_name_without_tokens_is_an_error() -> None:
    with pytest.raises(UsageError, match="1 of 2 names have no tokens"):
        NameTrie([[3], []])


def test_a_large_trie_agrees_with_its_names() -> None:
    generator = np.random.default_rng(1)
    names = catalogue(generator, 5_000, BYTES)
    trie = NameTrie(names)
    picked = generator.integers(len(names), size=300)
    for number in picked.tolist():
        node = trie.find(names[number])
        assert number in trie.over_at(node)
    allowed = generator.random(len(names)) < 0.01
    tokens, nodes = trie.children(0)
    expected = {name[0] for name, keep in zip(names, allowed, strict=True) if keep}
    assert set(tokens[trie.any_below(nodes, trie.running(allowed))].tolist()) == expected
