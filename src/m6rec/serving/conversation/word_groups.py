"""The telling words of a text and the groups that they are of: words, and several words together, that much the same is asked by (`same` of a file of phrases).

Words are read by what their forms have in common, so "downloading" is "download"; long words of groups are found with one letter mistyped.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from m6rec.text.phrases import said
from m6rec.text.words import singular, stem, words

MISSPELT = 7  # letters of a word from which on it is found with one letter wrong, missing, too many or in the wrong place
GAP = "*"  # in a saying: up to four words
_GAP = r"(?:\S+ ){0,4}"

Term = tuple[str, int]  # a telling word and its group, -1 for none; "" and a group that several words say
Saying = tuple[str, re.Pattern[str] | None, frozenset[str], frozenset[str], int]
"""Its words, with gaps as a pattern; the telling ones; those of them that mean it alone: all of a name like "gift card", which is no card, and the first
before a gap ("pay * shipping"); its group."""


class WordGroups:
    """Groups of words, and of several words, that mean much the same."""

    def __init__(self, same: Iterable[Sequence[str]], plain: Collection[str]) -> None:
        """plain: words that say nothing by themselves."""
        self.plain = frozenset(plain) | {singular(word) for word in plain}
        self.same = [list(group) for group in same]
        self._group: dict[str, int] = {}  # word -> its group
        self._sayings: list[Saying] = []
        self._spelt: dict[str, list[str]] = defaultdict(list)  # a word less one letter -> the words of groups it may be
        for number, group in enumerate(self.same):
            for one in group:
                found = self.telling(one)
                if len(said(one).words) == 1 and found:
                    self._group.setdefault(found[0], number)
                else:
                    name = len(found) == len(said(one).words) and GAP not in one
                    own = found if name else self.telling(one.split(GAP)[0])[:1] if GAP in one else []
                    self._sayings.append((_joined(one), _pattern(one), frozenset(found), frozenset(own), number))
                for word in said(one).words:
                    if len(word) >= MISSPELT and word.isascii():
                        for form in _forms(word):
                            self._spelt[form].append(word)

    def telling(self, text: str) -> list[str]:
        """The words of a text that say something, each once, by their stems."""
        told = [singular(word) for word in words(text) if singular(word) not in self.plain]
        return list(dict.fromkeys(stem(word) if word.isascii() else word for word in told))

    def terms(self, text: str, known: Collection[str]) -> list[Term]:
        """Every telling word with its group (-1: none), and ("", group) for groups that several words say; these words count by
        themselves where `known`."""
        spoken = self._spoken(text)
        inside = frozenset[str]().union(*(some for some, _, _ in spoken))
        parts = frozenset[str]().union(*(own for _, own, _ in spoken))
        terms = [
            (word, -1 if word in parts else self._group.get(word, -1))
            for word in self.telling(text)
            if word not in inside or word in known or word in self._group
        ]
        have = {group for _, group in terms}
        return terms + [("", group) for group in dict.fromkeys(group for _, _, group in spoken) if group not in have]

    def within(self, text: str) -> frozenset[str]:
        """The telling words of a text that stand in what several words of a group say."""
        return frozenset[str]().union(*(inside for inside, _, _ in self._spoken(text)))

    def _spoken(self, text: str) -> list[tuple[frozenset[str], frozenset[str], int]]:
        """(telling words, those of them that mean it alone, group) of every saying in a text."""
        joined = _joined(text)
        return [
            (inside, own, group)
            for saying, gaps, inside, own, group in self._sayings
            if (gaps.search(joined) if gaps else saying in joined)
        ]

    def corrected(self, text: str, known: Collection[str], catalogue: Collection[str]) -> str:
        """The text with long words of groups where one of their letters was mistyped; words that the catalogue has, or whose stems are known, are none."""
        words = said(text).words
        for word in words:
            if len(word) < MISSPELT - 1 or not word.isascii() or word in catalogue or word in self.plain or stem(singular(word)) in known:
                continue
            meant = [
                one for form in _forms(word) for one in self._spelt.get(form, ()) if one[0] == word[0] and abs(len(one) - len(word)) < 2
            ]
            if meant and word not in meant:
                words = tuple(meant[0] if one == word else one for one in words)
        return " ".join(words)


def _pattern(saying: str) -> re.Pattern[str] | None:
    """Of a saying with gaps ("send * back"), to be looked for in what `_joined` makes; None where it has none."""
    parts = [_joined(part).lstrip() for part in saying.split(GAP)]
    return re.compile(" " + _GAP.join(map(re.escape, parts))) if len(parts) > 1 else None


def _joined(text: str) -> str:
    """Its words, of each the singular, a blank between and around them."""
    return f" {' '.join(map(singular, said(text).words))} "


def stems(terms: Iterable[str]) -> set[str]:
    return {stem(singular(word)) for word in terms}


def _forms(word: str) -> set[str]:
    """The word, and the word less any one letter."""
    return {word, *(word[:place] + word[place + 1 :] for place in range(len(word)))}
