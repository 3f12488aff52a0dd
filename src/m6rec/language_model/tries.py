"""Names as tries over token ids: what may follow inside a name, so that a name once begun can only become one of those allowed.

A name stands between two special ids: the one that opens it and the one that closes it. Between them only tokens of names that are allowed
may come, and the closing id only where such a name is complete. Names are numbers here, their owner knows what they are names of.

Dimension keys: N names, E nodes, C children of a node.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m6rec.base.errors import UsageError
from m6rec.language_model.spelling import Prefix


class NameTrie:
    """The token sequences of N names, each of one token or more; sequences may repeat and begin alike.

    Sorted, the names below a node are a run: whether any of them is allowed is a difference of running sums, so that a filter costs one
    pass over N and no change to the trie.

    Raises:
        UsageError: a name without tokens.
    """

    def __init__(self, names: Sequence[Sequence[int] | np.ndarray]) -> None:
        rows = [np.asarray(name, dtype=np.int64) for name in names]
        empty = sum(not len(row) for row in rows)
        if empty:
            raise UsageError(f"{empty} of {len(rows)} names have no tokens; leave them out, a name needs 1 token or more")
        keys = [row.astype(">u4").tobytes() for row in rows]  # sorts like the ids
        self.order = np.array(sorted(range(len(rows)), key=keys.__getitem__), dtype=np.int64)  # N
        lengths = np.array([len(row) for row in rows], dtype=np.int64)[self.order] if rows else np.zeros(0, np.int64)
        self._lengths = lengths
        tokens = np.concatenate([rows[name] for name in self.order]) if rows else np.zeros(0, np.int64)
        starts = np.cumsum(lengths) - lengths
        self._build(tokens, starts, lengths)

    def __len__(self) -> int:
        return len(self.order)

    def _build(self, tokens: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> None:
        """Nodes level by level. Node 0 is the root; the children of a node stand in a row, by token."""
        count = len(lengths)
        token, low, high, first = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)], [np.full(1, count, np.int64)], []
        names, owner, depth, made = np.arange(count), np.zeros(count, np.int64), 0, 1
        parents = 1
        while parents:
            longer = lengths[names] > depth
            names, owner = names[longer], owner[longer]  # owner: number of the node on the level above, from 0
            here = tokens[starts[names] + depth]
            new = np.ones(len(names), dtype=bool)
            new[1:] = (owner[1:] != owner[:-1]) | (here[1:] != here[:-1])
            begins = np.flatnonzero(new)
            children = np.bincount(owner[begins], minlength=parents)
            first.append(made + np.cumsum(children) - children)
            token.append(here[begins])
            low.append(names[begins])
            high.append(names[np.append(begins[1:], len(names)) - 1] + 1 if len(begins) else begins)
            owner = np.cumsum(new) - 1
            parents, depth = len(begins), depth + 1
            made += parents
        self.token, self.low, self.high = np.concatenate(token), np.concatenate(low), np.concatenate(high)  # E each
        self.first = np.append(np.concatenate(first), made)  # E + 1: the children of node e are first[e] .. first[e + 1]
        level = np.repeat(np.arange(len(token)), [len(part) for part in token])  # E
        self._ending = self._run_ends(level)

    def _run_ends(self, level: np.ndarray) -> np.ndarray:
        """int64 (E,): end of the run of names that are over at each node; they are the first ones below it, being shorter."""
        over = np.flatnonzero(self._lengths[self.low] == level) if len(self._lengths) else np.zeros(0, np.int64)
        ends = self.low.copy()
        children = self.first[over], self.first[over + 1]
        ends[over] = np.where(children[0] < children[1], self.low[np.minimum(children[0], len(self.low) - 1)], self.high[over])
        return ends

    def children(self, node: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens (C,), sorted, and nodes (C,) below a node."""
        nodes = np.arange(self.first[node], self.first[node + 1])
        return self.token[nodes], nodes

    def find(self, tokens: Sequence[int]) -> int:
        """The node at the end of a path from the root, -1 where no name goes that way."""
        node = 0
        for token in tokens:
            start, end = int(self.first[node]), int(self.first[node + 1])
            node = start + int(self.token[start:end].searchsorted(token))
            if node == end or self.token[node] != token:
                return -1
        return node

    def over_at(self, node: int) -> np.ndarray:
        """Names, int64, that are complete at a node."""
        return self.order[self.low[node] : self._ending[node]]

    def running(self, allowed: np.ndarray) -> np.ndarray:
        """int64 (N + 1,): running count of the allowed names (bool (N,)) in the order of the trie."""
        return np.append(0, np.cumsum(allowed[self.order]))

    def any_below(self, nodes: np.ndarray, running: np.ndarray) -> np.ndarray:
        """bool: whether an allowed name goes on through each node, or is over at it."""
        return np.asarray(running[self.high[nodes]] > running[self.low[nodes]])

    def any_over(self, node: int, running: np.ndarray) -> bool:
        """Whether an allowed name is complete at the node."""
        return bool(running[self._ending[node]] > running[self.low[node]])


class Names:
    """The mask: a name may begin wherever one is allowed, and can only become an allowed one.

    Args:
        tries: the names, in one trie or in several whose names are numbered on (those added since the first was built).
        allowed: bool (N,) over the names of all tries; None: all. Taken as it is now: a filter, what is blocked, refused, removed.
        begin: False where names may not begin (the mask then only forbids them).
    """

    def __init__(self, tries: Sequence[NameTrie], allowed: np.ndarray | None = None, *, begin: bool = True) -> None:
        self.tries = tuple(tries)
        self.starts = np.cumsum([0, *(len(trie) for trie in self.tries)])
        every = np.ones(int(self.starts[-1]), dtype=bool) if allowed is None else np.asarray(allowed, dtype=bool)
        self._allowed = every
        self._running = [
            trie.running(every[start : start + len(trie)]) for trie, start in zip(self.tries, self.starts[:-1].tolist(), strict=True)
        ]
        self.begin = begin and bool(every.any())

    def allowed(self, prefix: Prefix) -> np.ndarray | None:
        """Inside a name the ids that go on with it; outside None (`accepts` decides about the two that mark names)."""
        named = prefix.named
        if named is None:
            return None
        found = []
        for trie, running in zip(self.tries, self._running, strict=True):
            node = trie.find(named)
            if node < 0:
                continue
            tokens, nodes = trie.children(node)
            found.append(tokens[trie.any_below(nodes, running)])
            if trie.any_over(node, running):
                found.append(np.array([prefix.spelling.closes]))
        return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)

    def accepts(self, prefix: Prefix, token: int) -> bool:
        if prefix.opened >= 0:
            return True
        return token != prefix.spelling.closes and (token != prefix.spelling.opens or self.begin)

    def meant(self, tokens: Sequence[int]) -> list[int]:
        """The allowed names that these tokens spell, several where names are alike."""
        found = []
        for trie, start in zip(self.tries, self.starts[:-1].tolist(), strict=True):
            node = trie.find(tokens)
            if node > 0:
                found += [start + name for name in trie.over_at(node).tolist() if self._allowed[start + name]]
        return sorted(found)
