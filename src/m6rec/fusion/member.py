"""What every fusion member shares: options, fitting, saving, and the order of items nothing is known about.

Dimension keys: B requests, N items, E events.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self, TypeAlias

import numpy as np
from scipy import sparse

from m6rec.base.configuration import Config
from m6rec.base.contracts import Histories, Requests, Scorer
from m6rec.base.errors import CheckpointError, ConfigError, DataError, UnknownItemError, UsageError
from m6rec.base.plugins import Registry
from m6rec.base.storage import atomic_file, write_json
from m6rec.data.dataset import Table, Vocabulary
from m6rec.data.splits import without_refusals

VERSION = 1
# Scores of items without evidence lie in (-FALLBACK, 0): under every positive score, in the order of popularity.
FALLBACK = 1e-6
# A history event with less weight than this beside the newest is left out: it could not move a score by a visible digit.
LEAST_WEIGHT = 1e-5

Matrix: TypeAlias = np.ndarray | sparse.csr_array
State: TypeAlias = dict[str, Matrix]


class Member(Scorer):
    """A recommender that is fitted to behaviour and catalogue at once and answers for any history afterwards.

    A subclass declares `Options` and fills four hooks: `_fit` learns, `_personal` scores, `_state` and `_restore` carry what was
    learnt through a file. It keeps no users: what it knows of a person is the history in the request, so people who came after
    the fit, and events that came after it, are served like any other.

    Where a member has no evidence about an item (its personal score is exactly 0), the item gets FALLBACK * (share - 1), with
    share = events / (most events of an item + 1): negative, tiny, in the order of popularity. It reorders no items that have
    evidence, breaks the ties of those that have none, and makes an empty history answer with the popular items.
    """

    class Options(Config):
        """No options."""

    name = "member"
    built_on: ClassVar[tuple[tuple[str, str], ...]] = ()  # (module, extra that installs it) that the fit needs
    options: Config

    def __init__(self, options: Config | None = None) -> None:
        """options: this class's own `Options`; None takes the defaults. Raises ConfigError for another class's options."""
        if options is not None and not isinstance(options, self.Options):
            raise ConfigError(f"{self.name} takes {type(self).__qualname__}.Options, got {type(options).__qualname__}")
        self.options = options or self.Options()
        self.popularity: np.ndarray | None = None  # int64 (N,)
        self.refused: list[int] = []
        self.known = 0  # the first so many items are those that the hooks know

    def fit(self, histories: Histories, items: Table, refused: Sequence[int] = ()) -> Self:
        """Learn from `histories` (one row a user, oldest first; rows may be empty) over the catalogue `items` (N rows).

        Args:
            refused: codes of the actions that say no (`data.splits.refusals`). Such events are no sign of liking, here and in the histories of
                requests: a member that counts what people had does not see them.

        Raises:
            DataError: an empty catalogue, or more items than the member can hold.
            UnknownItemError: an event with an item outside the catalogue.
        """
        if not len(items):
            raise DataError(f"{self.name} can't be fitted: the catalogue has 0 items, 1 or more are needed; check data.items")
        _check_items(histories, len(items))
        self.popularity = None  # a fit that fails leaves nothing half-fitted behind
        self.refused = list(refused)
        histories = without_refusals(histories, self.refused)
        self._fit(histories, items)
        self.popularity = np.bincount(histories.items, minlength=len(items)).astype(np.int64)
        self.known = len(items)
        return self

    def extend(self, items: Table) -> None:
        """The catalogue has grown at its end to `items`. A member that reads texts reads the new ones; for others there is no evidence of them.

        Raises:
            UsageError: the member was not fitted.
        """
        if self.popularity is None:
            raise UsageError(f"{self.name} was not fitted; call fit(histories, items) or load(folder) first")
        old = len(self.popularity)
        if len(items) == old:
            return
        new = Table(Vocabulary(items.ids.ids[old:]), items.frame[old:], items.fields)
        if self.known == old and self._extend(new, items):
            self.known = len(items)
        self.popularity = np.concatenate([self.popularity, np.zeros(len(new), dtype=np.int64)])

    def scores(self, requests: Requests) -> np.ndarray:
        """float32 (B, N), finite, higher is better; see the class for items without evidence.

        Raises:
            UsageError: the member was not fitted.
            UnknownItemError: a history with an item outside the catalogue.
        """
        if self.popularity is None:
            raise UsageError(f"{self.name} was not fitted; call fit(histories, items) or load(folder) first")
        _check_items(requests.histories, len(self.popularity))
        share = self.popularity / (self.popularity.max() + 1)
        fallback = (FALLBACK * (share - 1)).astype(np.float32)  # N
        if self.refused:
            requests = replace(requests, histories=without_refusals(requests.histories, self.refused))
        if self.known < len(self.popularity):
            requests = replace(requests, histories=_without(requests.histories, self.known))
        personal = self._personal(requests)  # B N
        dense = personal.toarray() if isinstance(personal, sparse.csr_array) else personal
        if self.known < len(self.popularity):
            dense = np.concatenate([dense, np.zeros((len(dense), len(self.popularity) - self.known), dense.dtype)], axis=1)
        return np.where(dense == 0, fallback, dense).astype(np.float32, copy=False)

    def save(self, folder: Path) -> None:
        """Write `member.json` and `arrays.npz` (no pickles) into the existing `folder`. Raises StorageError."""
        if self.popularity is None:
            raise UsageError(f"{self.name} was not fitted, there is nothing to save; call fit(histories, items) first")
        with atomic_file(Path(folder) / "arrays.npz") as temporary, open(temporary, "wb") as handle:
            own = {"popularity": self.popularity, "known": np.array(self.known), "refused": np.array(self.refused, dtype=np.int64)}
            np.savez(handle, allow_pickle=False, **_flatten({**own, **self._state()}))
        self._save_files(Path(folder))
        write_json(Path(folder) / "member.json", {"member": self.name, "version": VERSION, "options": self.options.plain()})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The member that `save` wrote; `Member.load` finds the class by the name in the file.

        Raises:
            CheckpointError: missing, damaged, from a newer version, or another member's folder.
        """
        folder = Path(folder)
        try:
            about = json.loads((folder / "member.json").read_text(encoding="utf-8"))
            name, version = about["member"], int(about["version"])
            if version > VERSION:
                raise CheckpointError(f"{folder} has member version {version}, this m6rec reads up to {VERSION}; upgrade m6rec")
            found = MEMBERS.get(name) if cls is Member else cls
            if not issubclass(found, cls) or found.name != name:
                raise CheckpointError(f"{folder} holds the member '{name}', not '{cls.name}'; load it with Member.load")
            member = found(found.Options.build(about["options"], str(folder / "member.json")))
            with open(folder / "arrays.npz", "rb") as handle, np.load(handle, allow_pickle=False) as arrays:
                state = _unflatten({key: arrays[key] for key in arrays.files})
            member.popularity = dense_state(state, "popularity")
            member.known = int(dense_state(state, "known")) if "known" in state else len(member.popularity)
            member.refused = dense_state(state, "refused").tolist() if "refused" in state else []
            member._restore(state)
            member._load_files(folder)
        except OSError as error:
            raise CheckpointError(f"{folder} can't be read: {error.strerror or error}; fit the member again and save it") from None
        except ConfigError as error:
            raise CheckpointError(f"{folder} does not suit this m6rec: {error}; fit the member again and save it") from None
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise CheckpointError(f"{folder} is damaged ({type(error).__name__}: {error}); fit the member again and save it") from None
        return member

    @abstractmethod
    def _fit(self, histories: Histories, items: Table) -> None:
        """Learn from checked histories over a catalogue of at least one item."""

    @abstractmethod
    def _personal(self, requests: Requests) -> Matrix:
        """(B, N), finite; exactly 0 where there is no evidence, whole rows of it for empty histories."""

    @abstractmethod
    def _state(self) -> State:
        """What `_personal` needs, by name."""

    @abstractmethod
    def _restore(self, state: State) -> None:
        """Take what `_state` gave."""

    def _extend(self, new: Table, items: Table) -> bool:
        """Take the items `new` that came after the fit, the last of `items`; False where nothing can be known of them without events."""
        return False

    def _save_files(self, folder: Path) -> None:
        """Files beside the arrays, for members that have any."""

    def _load_files(self, folder: Path) -> None:
        """Read what `_save_files` wrote."""


MEMBERS: Registry[Member] = Registry("fusion member", "m6rec.fusion")


def history_weights(histories: Histories, items: int, recency: float) -> sparse.csr_array:
    """How much each item of a history counts: float32 (B, N), rows sum to 1, empty histories are empty rows.

    The newest event weighs 1, the one before it `recency`, then recency**2, ..., before the row is scaled; an item that occurs
    twice gets the sum. With recency 1 all events count alike.
    """
    ages = np.repeat(histories.offsets[1:], histories.lengths) - 1 - np.arange(len(histories.items))  # E: events since
    weights = np.power(float(recency), ages)  # E
    kept = weights >= LEAST_WEIGHT
    rows = np.repeat(np.arange(len(histories)), histories.lengths)  # E
    totals = np.bincount(rows[kept], weights=weights[kept], minlength=len(histories))  # B
    values = (weights[kept] / totals[rows[kept]]).astype(np.float32)
    matrix = sparse.coo_array((values, (rows[kept], histories.items[kept])), shape=(len(histories), items)).tocsr()
    matrix.sort_indices()
    return matrix


def interactions(histories: Histories, items: int) -> sparse.csr_array:
    """Who had what: float32 (U, N) of ones, however often an item occurs in a history."""
    rows = np.repeat(np.arange(len(histories)), histories.lengths)
    matrix = sparse.coo_array((np.ones(len(rows), np.float32), (rows, histories.items)), shape=(len(histories), items)).tocsr()
    matrix.data[:] = 1.0
    matrix.sort_indices()
    return matrix


def weigh_people(had: sparse.csr_array, activity: float) -> sparse.csr_array:
    """`interactions` with each row times (its length / the mean length)**-activity: float32 (U, N).

    Someone who had everything says little about any pair of items.
    """
    lengths = np.diff(had.indptr)  # U
    says = (np.maximum(lengths, 1) / max(lengths.mean(), 1e-300)) ** -activity  # U
    return sparse.csr_array((np.repeat(says, lengths).astype(np.float32), had.indices, had.indptr), shape=had.shape)


def _without(histories: Histories, known: int) -> Histories:
    """The same rows without the items from `known` on."""
    kept = histories.items < known
    return histories.pick(np.flatnonzero(kept), np.concatenate([[0], np.cumsum(kept)])[histories.offsets])


def _check_items(histories: Histories, items: int) -> None:
    wrong = histories.items[(histories.items < 0) | (histories.items >= items)]
    if len(wrong):
        raise UnknownItemError(f"item {int(wrong[0])} is not in the catalogue (dense ids 0..{items - 1}); leave unknown items out")


def _flatten(state: State) -> dict[str, np.ndarray]:
    """Sparse matrices as their four arrays, `name.part`."""
    flat: dict[str, np.ndarray] = {}
    for name, value in state.items():
        if isinstance(value, np.ndarray):
            flat[name] = value
        else:
            flat |= {f"{name}.data": value.data, f"{name}.indices": value.indices, f"{name}.indptr": value.indptr}
            flat[f"{name}.shape"] = np.array(value.shape, dtype=np.int64)
    return flat


def _unflatten(flat: dict[str, np.ndarray]) -> State:
    state: State = {name: value for name, value in flat.items() if "." not in name}
    for name in (key.removesuffix(".shape") for key in flat if key.endswith(".shape")):
        parts = (flat[f"{name}.data"], flat[f"{name}.indices"], flat[f"{name}.indptr"])
        state[name] = sparse.csr_array(parts, shape=tuple(int(size) for size in flat[f"{name}.shape"]))
    return state


def sparse_state(state: State, name: str) -> sparse.csr_array:
    """The sparse matrix `name` of a restored state. Raises KeyError, TypeError (which `Member.load` reports)."""
    value = state[name]
    if not isinstance(value, sparse.csr_array):
        raise TypeError(f"'{name}' is not a sparse matrix")
    return value


def dense_state(state: State, name: str) -> np.ndarray:
    """The array `name` of a restored state. Raises KeyError, TypeError (which `Member.load` reports)."""
    value = state[name]
    if not isinstance(value, np.ndarray):
        raise TypeError(f"'{name}' is not an array")
    return value
