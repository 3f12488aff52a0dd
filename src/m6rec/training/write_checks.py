"""Whether the write tasks of a configuration have texts to learn from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from m6rec.base.errors import DataError, nearest
from m6rec.data.columns import Columns
from m6rec.data.dataset import Dataset
from m6rec.data.row_splits import NAMES, split_texts
from m6rec.tasks.config import WriteConfig

LEAST_TEXTS = 10  # of the training part


def check_writes(dataset: Dataset, configs: Mapping[str, WriteConfig]) -> None:
    """Raises DataError, one line that names the task: no texts table, no text of a kind, no column that is to be read, ids that no table knows, a part
    without texts."""
    texts = dataset.texts
    if texts is None:
        raise DataError(
            f"task {next(iter(configs))} writes, and there are no texts to learn from; say data.texts: <file>, or leave the task out"
        )
    kinds = texts[Columns.KIND].drop_nulls().unique(maintain_order=True).to_list()
    parts = split_texts(texts)
    for name, config in configs.items():
        for kind in config.from_:
            if kind not in kinds:
                hint = nearest(kind, kinds) or f"; kinds: {', '.join(kinds[:10])}"
                raise DataError(f"task {name}: there is no text of the kind '{kind}'{hint}; correct tasks.{name}.from")
        for column in (*config.columns, *([config.about] if config.about else [])):
            if column not in texts.columns:
                hint = nearest(column, ["history", "item", "profile", *texts.columns])
                raise DataError(f"task {name}: the texts have no column '{column}' to read{hint}; correct tasks.{name}.reads")
        chosen = texts[Columns.KIND].is_in(config.from_).fill_null(False)
        _check_ids(name, config, dataset, texts.filter(chosen))
        counts = np.bincount(parts[chosen.to_numpy()] + 1, minlength=4)[1:]
        if counts[0] < LEAST_TEXTS:
            found = ", ".join(f"{count:,} {part}" for part, count in zip(NAMES, counts.tolist(), strict=True))
            raise DataError(
                f"task {name}: {found} texts to write, at least {LEAST_TEXTS} training ones are needed; add texts of the kind {config.from_[0]}"
            )


def _check_ids(name: str, config: WriteConfig, dataset: Dataset, texts: object) -> None:
    import polars as pl

    assert isinstance(texts, pl.DataFrame)
    for read, column, table in (("item", Columns.ITEM, dataset.items), ("history", Columns.USER, dataset.users)):
        if read not in config.reads:
            continue
        given = texts[column].drop_nulls()
        if not len(given) or (table.ids.many(given.to_list()) < 0).all():
            what = (
                f"have no {column}"
                if not len(given)
                else f"have a {column} that no {'item' if read == 'item' else 'user'} has, e.g. '{given[0]}'"
            )
            rest = [one for one in config.reads if one != read and not (read == "history" and one == "profile")]
            raise DataError(
                f"task {name} reads the {read}, and its texts {what}; fill the column, or say tasks.{name}.reads: [{', '.join(rest)}]"
            )
