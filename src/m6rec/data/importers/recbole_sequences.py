"""Prefix-augmented rows back to one sequence per user.

RecBole's sequential files hold one row per target: the items before it, and it. Rows of one user are prefixes of each other, over train,
valid and test files, so the longest row plus its target is the history. Where prefixes are capped (the last 50 items, say), rows at
the cap slide instead of growing; they are chained by their overlap, so that nothing is lost. Rows that continue nothing are kept
as further sequences, appended in the order of the files.
"""

from __future__ import annotations

import polars as pl

from m6rec.base.errors import DataError
from m6rec.data.account import Account
from m6rec.data.columns import Columns
from m6rec.data.importers.sequences import exploded


def merged(frames: list[pl.DataFrame], prefix: str, account: Account, *, longest_row: bool = False) -> pl.DataFrame:
    """user_id, item_id, order of all rows; the column `prefix` holds the items before each row's own.

    longest_row: only the longest row of each user, the newest of several.

    Raises:
        DataError: a file without the column beside files with it.
    """
    absent = next((frame for frame in frames if prefix not in frame.columns), None)
    if absent is not None:
        raise DataError(f"one of the .inter files has no column {prefix} and another has; columns: {', '.join(absent.columns)}")
    # Every row as one string of its items, blank-separated and closed by a blank: prefixes of rows are prefixes of strings.
    items = pl.concat_str(pl.col(prefix).str.replace_all(r"\s+", " "), pl.col(Columns.ITEM), separator=" ", ignore_nulls=True) + " "
    rows = pl.concat([frame.select(Columns.USER, items.alias("row")) for frame in frames]).drop_nulls()
    rows = rows.with_columns(pl.col("row").str.count_matches(" ", literal=True).alias("length")).filter(pl.col("length") > 0)
    longest = rows.filter(pl.col("length") == pl.col("length").max().over(Columns.USER))
    order = rows.select(pl.col(Columns.USER).unique(maintain_order=True))
    longest = longest.unique([Columns.USER], keep="first", maintain_order=True).rename({"row": "whole"}).drop("length")
    joined = rows.join(longest, on=Columns.USER, how="left", maintain_order="left")
    apart = joined.filter(~pl.col("whole").str.starts_with(pl.col("row")))
    apart_users = apart[Columns.USER].unique(maintain_order=True)
    whole = order.join(longest, on=Columns.USER, how="left", maintain_order="left")
    sequences = dict(zip(whole[Columns.USER].to_list(), whole["whole"].to_list(), strict=True))
    if apart_users.len():
        cap = int(rows["length"].max()) - 1  # type: ignore[arg-type]
        mine = rows.filter(pl.col(Columns.USER).is_in(apart_users.implode())).group_by(Columns.USER, maintain_order=True).agg("row")
        recovered = several = 0
        for user, texts in mine.iter_rows():
            chains = chain([tuple(text.split()) for text in texts], cap)
            several += len(chains) > 1
            longest_chain = max(chains, key=len)
            if longest_row:
                chains = [longest_chain[-cap - 1 :]]
            else:
                recovered += max(0, len(longest_chain) - cap - 1)
            sequences[user] = " ".join(item for one in chains for item in one)
        account.add("events beyond the cap", recovered, f"prefixes stop at {cap} items: rows at the cap were chained by their overlap")
        account.add("users with several sequences", several, "their rows do not continue each other; joined in the order of the files")
    account.add("rows merged", rows.height, f"into {order.height:,} sequences, one a user")
    lines = pl.DataFrame({Columns.USER: list(sequences), "items": list(sequences.values())})
    return exploded(lines.with_columns(pl.col("items").str.extract_all(r"\S+")))


def chain(rows: list[tuple[str, ...]], cap: int) -> list[tuple[str, ...]]:
    """The maximal sequences that `rows` (prefix plus target each) are pieces of, in the order of their first row.

    A row continues a sequence when its prefix is that sequence, or, at the cap, the last `cap` items of it.
    """
    first = {row: index for index, row in reversed(list(enumerate(rows)))}  # the same row twice says nothing new
    tails = {row[-cap:] for row in first}
    by_prefix: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for row in first:
        by_prefix.setdefault(row[:-1], []).append(row)
    used: set[tuple[str, ...]] = set()
    chains: dict[tuple[str, ...], int] = {}
    for start in sorted(first, key=lambda row: (row[:-1] in tails, len(row), first[row])):  # rows that continue nothing begin
        if start in used:
            continue
        sequence, begun, following = start, first[start], [start]
        while following:
            used.add(following[0])
            begun = min(begun, first[following[0]])
            sequence = sequence if following[0] is start else (*sequence, following[0][-1])
            following = [row for row in by_prefix.get(sequence[-cap:], []) if row not in used]
        chains[sequence] = min(begun, chains.get(sequence, begun))
    whole = [one for one in chains if not any(one != other and other[: len(one)] == one for other in chains)]
    return sorted(whole, key=chains.__getitem__)
