"""What the words of a text say of which known answer is asked for: by how few answers have a word, in their questions or in themselves.

Beside nearest questions and the regression on n-grams (`faq.py`), this reads whole words by what their forms have in common, so "downloading" finds
"download", and it reads the answers, which often say what no known question does. Words that much the same is asked by (`same` of a file of
phrases: "receipt", "invoice") find each other too.

Dimension keys: Q known questions, A answers, T texts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from m6rec.text.phrases import said
from m6rec.text.words import singular, stem, words

DECIDED = 0.75  # of what has a word, from which one answer is meant by it alone
OF_ANSWER = 0.5  # a word of the answer itself counts as so many of its questions
OF_SAME = 0.95  # a word that means much the same counts as so much of the word itself
SINGLE = 0.35  # what a word of no group counts beside a group; and a group of a word that the catalogue has
BESIDE = 0.1  # a word that only the answer itself has, where questions of others have it
USUAL = 0.3  # share of the questions of an answer from which on a group belongs to it
HEARSAY = 0.7  # what a group counts that only answers have, no question
POINTED, AHEAD = 0.85, 0.3  # of what a group of one answer counts: what points to an answer, and how much further than to any other
MISSPELT = 7  # letters of a word from which on it is found with one letter wrong, missing, too many or in the wrong place
GAP = "*"  # in a saying: up to four words
_GAP = r"(?:\S+ ){0,4}"

Held = dict[int, float]  # answer -> how many of its questions have it
Saying = tuple[str, re.Pattern[str] | None, frozenset[str], frozenset[str], int]
"""Its words, with gaps as a pattern; the telling ones; those of them that mean it alone: all of a name like "gift card", which is no card, and the first
before a gap ("pay * shipping"); its group."""


class AnswerWords:
    """score(text, a) = sum over telling words w of idf(w) share(w, a) / sum of idf(w), share(w, a) = sqrt(n(w, a) / n(w)), idf(w) = ln(1 + A / answers with w).

    Unknown words have the highest idf, so a text that is mostly about something else scores low. A word that has others which mean much the same has
    share max(share(w, a), OF_SAME share(group, a)), its group counted as if it were one word, and where it is unknown itself the idf of its group.
    """

    def __init__(
        self,
        questions: Sequence[str],
        codes: np.ndarray,
        answers: Sequence[str],
        plain: Collection[str],
        same: Iterable[Sequence[str]] = (),
    ) -> None:
        """codes: int64 (Q,), the answer of each question.  plain: words that say nothing by themselves.  same: groups of words, or of several words."""
        self.plain, self.answers = frozenset(plain) | {singular(word) for word in plain}, len(answers)
        self._asked = np.maximum(np.bincount(codes, minlength=len(answers)), 1)  # A: questions of each
        self._group: dict[str, int] = {}  # word -> its group
        self._sayings: list[Saying] = []
        self._spelt: dict[str, list[str]] = defaultdict(list)  # a word less one letter -> the words of groups it may be
        same = list(same)
        for number, group in enumerate(same):
            for one in group:
                found = self._telling(one)
                if len(said(one).words) == 1 and found:
                    self._group.setdefault(found[0], number)
                else:
                    name = len(found) == len(said(one).words) and GAP not in one
                    own = found if name else self._telling(one.split(GAP)[0])[:1] if GAP in one else []
                    self._sayings.append((_joined(one), _pattern(one), frozenset(found), frozenset(own), number))
                for word in said(one).words:
                    if len(word) >= MISSPELT and word.isascii():
                        for form in _forms(word):
                            self._spelt[form].append(word)
        texts = (*questions, *answers, *(one for group in same for one in group))
        self._known = {stem(singular(word)) for text in texts for word in said(text).words}
        self._words: dict[str, Held] = {}
        self._groups: dict[int, Held] = {}
        for text, code in zip(questions, codes.tolist(), strict=True):
            for held in self._held(text):
                held[code] = held.get(code, 0.0) + 1.0
        for code, text in enumerate(answers):
            for held in self._held(text):
                held[code] = max(held.get(code, 0.0), OF_ANSWER)

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        """float32 (T, A), from 0 to 1."""
        found = np.zeros((len(texts), self.answers), dtype=np.float32)
        for row, text in enumerate(texts):
            total = 0.0
            for word, group in self._terms(text):
                mine, alike = self._words.get(word, {}), self._groups.get(group, {})
                idf = float(np.log1p(self.answers / max(len(mine or alike), 1)))
                total += idf
                found[row] += idf * np.maximum(self._shares(mine), OF_SAME * self._shares(alike))
            found[row] /= max(total, 1e-9)
        return found

    def pointed(self, text: str, catalogue: Collection[str] = ()) -> int | None:
        """The answer that the groups of a text point to, whatever else it says; None where they point to none, to several, or elsewhere.

            e(a) = sum over groups and words t of c(t) min(1, 2 max(n(t, a), 1) / questions of a) share(t, a) ln(1 + A / answers with t) / ln(1 + A)

        with c(t) = 1 for groups, SINGLE for other words and for words of the catalogue, HEARSAY times that where no question has t. Groups that no answer
        has ("size", where nothing is said of sizes), or few of its questions, count as another answer.

        Args:
            catalogue: words of the text that items have: a shop that sells videos hears the word often.
        """
        text = self._corrected(text, catalogue)
        had = _stems(catalogue)
        found, elsewhere = np.zeros(self.answers, dtype=np.float32), 0.0
        for word, group in self._terms(text):
            held = self._words.get(word, {}) if group < 0 else self._groups.get(group, {})
            counts = SINGLE if group < 0 or word in had else 1.0
            most = max(held.values(), default=1.0)
            if group >= 0 and most >= 1 and self._usual(held) < USUAL:
                elsewhere += counts
            if held:
                counts *= 1.0 if most >= 1 else HEARSAY
                held = {answer: count if count >= 1 or most < 1 else BESIDE for answer, count in held.items()}
                idf = np.log1p(self.answers * max(held.values()) / sum(held.values())) / np.log1p(self.answers)
                usual = np.minimum(2 * np.maximum([held.get(answer, 0.0) for answer in range(self.answers)], 1) / self._asked, 1)
                found += counts * idf * usual * self._shares(held)
        best = int(found.argmax())
        others = max(float(np.delete(found, best).max(initial=0)), elsewhere)
        return best if found[best] >= POINTED and found[best] - others >= AHEAD else None

    def _corrected(self, text: str, catalogue: Collection[str]) -> str:
        """With long words of groups where one of their letters was mistyped; words that the catalogue has are none."""
        words = said(text).words
        for word in words:
            if (
                len(word) < MISSPELT - 1
                or not word.isascii()
                or word in catalogue
                or word in self.plain
                or stem(singular(word)) in self._known
            ):
                continue
            meant = [
                one for form in _forms(word) for one in self._spelt.get(form, ()) if one[0] == word[0] and abs(len(one) - len(word)) < 2
            ]
            if meant and word not in meant:
                words = tuple(meant[0] if one == word else one for one in words)
        return " ".join(words)

    def elsewhere(self, text: str) -> bool:
        """Whether a group of the text is in no known question, or in few of any answer's: it asks for something else."""
        groups = [self._groups.get(group, {}) for _, group in self._terms(self._corrected(text, ())) if group >= 0]
        return any(self._usual(held) < USUAL for held in groups)

    def _usual(self, held: Held) -> float:
        """The largest share of the questions of an answer that have it; 0 where only answers do."""
        return max((count / self._asked[answer] for answer, count in held.items() if count >= 1), default=0.0)

    def beside(self, text: str, catalogue: Collection[str]) -> bool:
        """Whether a word of the text is one of the catalogue and none of the known questions and answers."""
        had = _stems(catalogue)
        return any(word in had and group < 0 and word not in self._words for word, group in self._terms(text))

    def shares(self, text: str, answer: int, catalogue: Collection[str]) -> bool:
        """Whether the answer or a question of it has a word of the text, or another of its group, that is none of the catalogue."""
        had = _stems(catalogue)
        own = [(word, group) for word, group in self._terms(text) if word not in had]
        return any(answer in self._words.get(word, {}) or answer in self._groups.get(group, {}) for word, group in own)

    def undecided(self, text: str) -> bool:
        """Whether the one word that tells anything is of several answers, and of none far more than of the others: "where is my parcel"."""
        telling = self._telling(text)
        if len(telling) != 1 or telling[0] not in self._words:
            return False
        held = self._words[telling[0]]
        return max(held.values()) < DECIDED * sum(held.values())

    def said(self, text: str) -> frozenset[str | int]:
        """Its telling words, and the groups of those that have one."""
        terms = self._terms(text)
        return frozenset(word for word, _ in terms if word) | {group for _, group in terms if group >= 0}

    def _shares(self, held: Held) -> np.ndarray:
        """float32 (A,)."""
        shares = np.zeros(self.answers, dtype=np.float32)
        shares[list(held)] = list(held.values())
        return np.sqrt(shares / max(sum(held.values()), 1e-9))

    def _held(self, text: str) -> list[Held]:
        """The counts of every word of a text and of every group in it, each once; what is new begins empty."""
        found = [self._words.setdefault(word, {}) for word in self._telling(text)]
        terms = self._terms(text)
        return found + [self._groups.setdefault(group, {}) for group in dict.fromkeys(group for _, group in terms) if group >= 0]

    def _terms(self, text: str) -> list[tuple[str, int]]:
        """Every telling word with its group (-1: none), and ("", group) for groups that several words say; these words count by themselves where known."""
        joined = _joined(text)
        spoken = [
            (inside, own, group)
            for saying, gaps, inside, own, group in self._sayings
            if (gaps.search(joined) if gaps else saying in joined)
        ]
        inside = frozenset[str]().union(*(some for some, _, _ in spoken))
        parts = frozenset[str]().union(*(own for _, own, _ in spoken))
        terms = [
            (word, -1 if word in parts else self._group.get(word, -1))
            for word in self._telling(text)
            if word not in inside or word in self._words or word in self._group
        ]
        have = {group for _, group in terms}
        return terms + [("", group) for group in dict.fromkeys(group for _, _, group in spoken) if group not in have]

    def _telling(self, text: str) -> list[str]:
        told = [singular(word) for word in words(text) if singular(word) not in self.plain]
        return list(dict.fromkeys(stem(word) if word.isascii() else word for word in told))


def _pattern(saying: str) -> re.Pattern[str] | None:
    """Of a saying with gaps ("send * back"), to be looked for in what `_joined` makes; None where it has none."""
    parts = [_joined(part).lstrip() for part in saying.split(GAP)]
    return re.compile(" " + _GAP.join(map(re.escape, parts))) if len(parts) > 1 else None


def _joined(text: str) -> str:
    """Its words, of each the singular, a blank between and around them."""
    return f" {' '.join(map(singular, said(text).words))} "


def _stems(terms: Iterable[str]) -> set[str]:
    return {stem(singular(word)) for word in terms}


def _forms(word: str) -> set[str]:
    """The word, and the word less any one letter."""
    return {word, *(word[:place] + word[place + 1 :] for place in range(len(word)))}
