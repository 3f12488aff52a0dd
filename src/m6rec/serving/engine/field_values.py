"""Recommending values of a field (an artist, a brand, a category): p(value) is what the items with that value have together.

Dimension keys: N items, V values of a field.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.base.errors import UsageError, nearest
from m6rec.data.dataset import FieldType, Table

NAMEABLE = (FieldType.CATEGORY, FieldType.TAGS, FieldType.ID)


@dataclass(frozen=True)
class FieldValues:
    """Which items have which value of one field.

    names        V values, in the order of the catalogue
    item, value  int64 (P,) pairs: the item has the value; an item with several tags stands in several pairs
    """

    names: list[str]
    item: np.ndarray
    value: np.ndarray

    @classmethod
    def of(cls, items: Table, field: str) -> FieldValues:
        """Raises UsageError: no such field, or one whose values name nothing (text, number, vector)."""
        if field not in items.fields:
            hint = nearest(field, list(items.fields)) or f"; fields: {', '.join(items.fields) or 'none'}"
            raise UsageError(f"items have no field '{field}' to recommend values of{hint}")
        kind = items.fields[field]
        if kind not in NAMEABLE:
            able = [name for name, other in items.fields.items() if other in NAMEABLE]
            raise UsageError(
                f"'{field}' is a {kind} field; values of a category, tags or id field can be recommended: {', '.join(able) or 'none'}"
            )
        column = items.frame[field]
        pairs = pl.DataFrame({"item": np.arange(len(items)), "value": column})
        if kind == FieldType.TAGS:
            pairs = pairs.explode("value")
        pairs = pairs.drop_nulls("value")
        names = pairs["value"].unique(maintain_order=True)
        codes = pairs["value"].replace_strict(names, pl.int_range(len(names), dtype=pl.Int64, eager=True))
        return cls(names.to_list(), pairs["item"].to_numpy(), codes.to_numpy())

    def best(self, scores: np.ndarray, k: int, *, allowed: np.ndarray | None, known: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The k values with the largest probability; fewer where fewer are allowed.

        Args:
            scores: float32 (N,), log of what each item has (of a probability up to a factor).
            allowed: bool (N,), items that may count; None for all.
            known: dense items somebody had: their values are no answers; None to allow them.

        Returns:
            int64 (K,) values, float64 (K,) log of their share of what is allowed; equal ones in the order of the catalogue.
        """
        logits = scores.astype(np.float64) if allowed is None else np.where(allowed, scores.astype(np.float64), -np.inf)
        top = logits.max(initial=-np.inf)
        if np.isneginf(top):
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        weights = np.exp(logits - top)
        mass = np.bincount(self.value, weights=weights[self.item], minlength=len(self.names))
        if known is not None:
            had = np.zeros(len(scores), dtype=bool)
            had[known] = True
            mass[self.value[had[self.item]]] = 0.0
        best = np.argsort(-mass, kind="stable")[:k]
        best = best[mass[best] > 0]
        return best, np.log(mass[best] / weights.sum())
