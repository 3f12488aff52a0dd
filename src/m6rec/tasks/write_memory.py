"""Known texts that are read before a new one is written: about the same item by others, about items that resemble it, by the same person.

Shapes: M texts known, N items, F features of the bag.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

AT_HAND = 3  # times as many texts are found as are read, to choose from by what is asked
MOST_LOOKED_AT = 2_000  # texts of one item that are compared
SAME_ITEM = 1.0  # what a text gains for being about the item itself
PERSON = 0.5  # and for being by somebody alike


class Memory:
    """Texts of one kind.

    Args:
        users, items: int64 (M,), -1 unknown.
        vectors: csr (N, F), rows of length 1 (or empty): what the items' words say. None: items resemble nothing.
        people: csr (U, G), the same of the users' profiles.
    """

    def __init__(
        self, users: np.ndarray, items: np.ndarray, texts: Sequence[str], vectors: csr_array | None = None, people: csr_array | None = None
    ) -> None:
        self.users, self.items, self.texts = users, items, list(texts)
        self.of_item, self.of_user = _grouped(items), _grouped(users)
        self.people = people
        told = np.array([item for item in sorted(self.of_item) if item >= 0], dtype=np.int64)
        self._told = told
        self._vectors = csr_array(vectors[told]) if vectors is not None and len(told) and vectors.nnz else None

    def about(self, item: int, user: int, most: int, *, vector: csr_array | None = None, without: int = -1) -> list[int]:
        """At most `most` texts, the best first: about the item by others, then about what resembles it.

        Args:
            vector: csr (1, F) of the item.  without: a text that is not to be found.
        """
        if most <= 0:
            return []
        own = [
            place for place in self.of_item.get(item, [])[-MOST_LOOKED_AT:] if place != without and (self.users[place] != user or user < 0)
        ]
        found = dict.fromkeys(own, SAME_ITEM) if item >= 0 else {}
        if len(found) < most:
            found |= {place: alike for place, alike in self._resembling(item, vector, 4 * most) if place not in found and place != without}
        if not found:
            return []
        places = list(found)
        gains = np.array([found[place] for place in places])
        if self.people is not None and 0 <= user < self.people.shape[0]:
            by = self.users[places]
            alike = (self.people[np.maximum(by, 0)] @ self.people[[user]].T).toarray()[:, 0]
            gains = gains + PERSON * np.where(by >= 0, alike, 0.0)
        order = np.lexsort((-np.array(places), -gains))
        return [places[at] for at in order[:most].tolist()]

    def by(self, user: int, most: int, *, without: int = -1) -> list[int]:
        """At most `most` texts of the person, the newest first (as the table has them)."""
        if user < 0 or most <= 0:
            return []
        return [place for place in reversed(self.of_user.get(user, [])) if place != without][:most]

    def _resembling(self, item: int, vector: csr_array | None, most: int) -> list[tuple[int, float]]:
        if self._vectors is None or vector is None or not vector.nnz:
            return []
        alike = (self._vectors @ vector.T).toarray()[:, 0]
        best = np.argsort(-alike, kind="stable")[: most + 1]
        return [
            (place, float(alike[at]))
            for at in best.tolist()
            if alike[at] > 0 and self._told[at] != item
            for place in self.of_item[int(self._told[at])][-2:]
        ]


def _grouped(keys: np.ndarray) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for place, key in enumerate(keys.tolist()):
        found.setdefault(key, []).append(place)
    return found
