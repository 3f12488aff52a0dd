"""Words that tell one item from another: said of an item in known texts only where they are true of it, so that they are claims where one writes them.

In a shop whose reviews say "tent" of tents alone, "tent" is a claim; "guitar", which reviewers of strings and picks say as well, is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise

from m6rec.explanation.lexicon import Lexicon
from m6rec.text.words import is_spaceless, placed_units, singular

LEAST_SAID = 3  # texts that say a word, from which on what it is said of counts
ALWAYS = 0.97  # share of them whose item, or an item of whose reader, has it
SHORTEST = 3  # letters of such a word
MOST_TEXTS = 5_000
MOST_CHARACTERS = 1_000


def telling_words(
    lexicon: Lexicon, texts: Sequence[str], items: Sequence[int], past: Sequence[Sequence[int]], said: Collection[str]
) -> frozenset[str]:
    """The telling words of a catalogue, as units; of scripts without spaces pairs of characters, joined by a blank.

    Words of titles that no known text says are among them: only their own items bring them in.

    Args:
        texts, items, past: known texts, the row of the item each is about, the rows of what its reader had.
        said: every word of the known texts, in lower case.
    """
    counts, true = Counter[str](), Counter[str]()
    step = max(len(texts) // MOST_TEXTS, 1)
    for text, item, before in list(zip(texts, items, past, strict=True))[::step]:
        facts = [lexicon.facts(item), *(lexicon.facts(row) for row in before)]
        for word in {word for word, _, _ in word_claims(placed_units(text[:MOST_CHARACTERS], lexicon.language))} - lexicon.common:
            counts[word] += 1
            true[word] += any(one.has(word) for one in facts)
    learned = {word for word, count in counts.items() if count >= LEAST_SAID and true[word] >= ALWAYS * count}
    known = {*counts, *said, *(singular(word) for word in said)}
    return frozenset(learned | {word for word in _of_titles(lexicon) if word not in known and word not in lexicon.common})


def word_claims(said: Sequence[tuple[str, int, int]]) -> Iterable[tuple[str, int, int]]:
    """(word, first unit, unit after the last) of placed units: words with letters; pairs of neighbours in scripts without spaces."""
    for place, (unit, _, _) in enumerate(said):
        if not is_spaceless(unit) and len(unit) >= SHORTEST and unit.isalpha():
            yield unit, place, place + 1
    for place, ((unit, _, end), (after, start, _)) in enumerate(pairwise(said)):
        if end == start and is_spaceless(unit) and is_spaceless(after):
            yield f"{unit} {after}", place, place + 2


def _of_titles(lexicon: Lexicon) -> set[str]:
    return {
        word
        for title in lexicon.titles
        for word, _, _ in word_claims(placed_units(title[:MOST_CHARACTERS], lexicon.language))
        if " " not in word
    }
