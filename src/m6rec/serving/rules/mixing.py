"""What a list may still take (caps) and what it still has to hold (a mix), kept up to date place by place.

Candidates are numbered from the best to the worst. Dimension keys: C candidates, P pairs of (candidate, value).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from m6rec.serving.rules.facts import CatalogueFacts
from m6rec.serving.rules.filters import Limit


@dataclass
class _Count:
    """The limits of one field over the candidates: candidate `position[p]`, in ascending order, has value `code[p]`.

    most  int64 (V,): how many of each value the tightest of them leaves room for
    room  how many more of each value may come, of the values that came
    shut  bool (C,): candidates that may not come any more
    """

    limits: list[Limit]
    most: np.ndarray
    position: np.ndarray
    code: np.ndarray
    room: dict[int, int]
    shut: np.ndarray

    def left(self, code: int) -> int:
        return self.room.get(code, int(self.most[code]))


class Room:
    """open bool (C,): candidates that no limit forbids now."""

    def __init__(self, limits: Sequence[Limit], items: np.ndarray, fields: CatalogueFacts) -> None:
        self.open = np.ones(len(items), dtype=bool)
        self._counts: list[_Count] = []
        for field in dict.fromkeys(limit.field for limit in limits):
            same = [limit for limit in limits if limit.field == field]
            most = same[0].room if len(same) == 1 else np.minimum.reduce([limit.room for limit in same])
            position, code = fields.values(field).pairs(items)
            shut = np.zeros(len(items), dtype=bool)
            shut[position[most[code] <= 0]] = True
            self._counts.append(_Count(same, most, position, code, {}, shut))
            self.open &= ~shut

    @property
    def free(self) -> bool:
        """Whether there is no limit at all."""
        return not self._counts

    def take(self, candidate: int) -> list[np.ndarray]:
        """A place goes to a candidate; the candidates that may not come any more."""
        closed = []
        for count in self._counts:
            first, last = count.position.searchsorted((candidate, candidate + 1))
            for code in count.code[first:last].tolist():
                count.room[code] = count.left(code) - 1
                if count.room[code] <= 0:
                    gone = count.position[count.code == code]
                    count.shut[gone] = True
                    self.open[gone] = False
                    closed.append(gone)
        return closed

    def refused(self, order: np.ndarray) -> dict[str, int]:
        """Limit -> how many candidates it keeps out of the list `order`, now that it is made (with two reasons, counted for both)."""
        found: dict[str, int] = {}
        for count in self._counts:
            out = count.shut.copy()
            out[order] = False
            if not out.any():
                continue
            here = out[count.position]
            position, code = count.position[here], count.code[here]
            taken = np.zeros(len(count.most), dtype=np.int64)
            for value, left in count.room.items():
                taken[value] = count.most[value] - left
            for limit in count.limits:
                refused = len(np.unique(position[limit.room[code] <= taken[code]]))
                if refused:
                    found[limit.name] = found.get(limit.name, 0) + refused
        return found

    def spare(self, order: np.ndarray, most: int) -> np.ndarray:
        """int64 (S,), S <= most: candidates outside the made list, best first, that can join it all at once without breaking a limit.

        Any of them may therefore stand in for any place of the list: what chance draws needs no second look.
        """
        outside = self.open.copy()
        outside[order] = False
        kept = outside.copy()
        for count in self._counts:
            here = outside[count.position]
            position, code = count.position[here], count.code[here]
            room = count.most[code]
            for taken, left in count.room.items():
                room[code == taken] = left
            # The n-th candidate with a value joins while there is room for n of them.
            kept[position[_nth(code) > room]] = False
        return np.flatnonzero(kept)[:most]


def _nth(codes: np.ndarray) -> np.ndarray:
    """int64 (P,): 1 for the first pair with its code, 2 for the second, ..."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(codes) else np.zeros(0, dtype=np.int64)
    nth = np.empty(len(codes), dtype=np.int64)
    nth[order] = np.arange(len(codes)) - np.repeat(starts, np.diff(np.append(starts, len(codes)))) + 1
    return nth


@dataclass(eq=False)
class _Share:
    """One value that a list has to hold so much of: `need` of its places; `count` it has. has bool (C,)."""

    share: float
    has: np.ndarray
    need: int
    count: int = 0


class Mix:
    """The shares of a slate over its candidates."""

    def __init__(self, mix: Mapping[str, Mapping[str, float]], items: np.ndarray, fields: CatalogueFacts, k: int) -> None:
        self._fields: list[list[_Share]] = []
        self.placed = 0
        for field, shares in mix.items():
            values = fields.values(field)
            position, codes = values.pairs(items)
            wanted = []
            for (value, share), need in zip(shares.items(), whole_numbers(list(shares.values()), k), strict=True):
                has = np.zeros(len(items), dtype=bool)
                has[position[codes == values.code.get(str(value).lower(), -1)]] = True
                if need:
                    wanted.append(_Share(share, has, need))
            if wanted:
                self._fields.append(wanted)

    @property
    def free(self) -> bool:
        """Whether nothing is asked for."""
        return not self._fields

    def wanted(self, value: np.ndarray, left: int) -> np.ndarray | None:
        """int (W,): candidates that the shares ask for at this place; None where any will do.

        Args:
            value: float (C,), -inf for who may not come.
            left: places of the list that are still free, this one among them.
        """
        found: np.ndarray | None = None
        for shares in self._fields:
            asked = self._of_field(shares, value, left)
            if asked is not None:
                both = asked if found is None else found & asked
                found = both if both.any() else found  # where two fields can't both be served, the one named first is
        return None if found is None else np.flatnonzero(found)

    def _of_field(self, shares: Sequence[_Share], value: np.ndarray, left: int) -> np.ndarray | None:
        due = [share for share in shares if share.count < share.need]
        behind = [share for share in due if share.count < int(share.share * (self.placed + 1) + 1e-9)]
        if not behind and sum(share.need - share.count for share in due) < left:
            return None
        may = value > -np.inf
        able = [(share, may & share.has) for share in due]
        there = [(share, which, int(np.count_nonzero(which))) for share, which in able]
        pressed = sum(min(share.need - share.count, number) for share, _, number in there) >= left
        chosen = [which for share, which, number in there if number and (pressed or share in behind)]
        return np.logical_or.reduce(chosen) if chosen else None

    def take(self, candidate: int) -> None:
        """A place goes to a candidate."""
        self.placed += 1
        for shares in self._fields:
            for share in shares:
                share.count += int(share.has[candidate])

    def needed(self, order: np.ndarray) -> np.ndarray:
        """bool (K,): places whose answer has a value that a share asks for; chance leaves them alone."""
        kept = np.zeros(len(order), dtype=bool)
        for shares in self._fields:
            for share in shares:
                kept |= share.has[order]
        return kept


def whole_numbers(shares: Sequence[float], k: int) -> list[int]:
    """Places for each share of a list of k: rounded half up, and together no more than k (the smallest remainders give way)."""
    exact = [share * k for share in shares]
    rounded = [int(value + 0.5 + 1e-9) for value in exact]
    while sum(rounded) > k:
        up = [place for place, value in enumerate(exact) if rounded[place] > 0]
        least = min(up, key=lambda place: exact[place] - rounded[place])
        rounded[least] -= 1
    return rounded
