"""Settings of search over item vectors."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from m6rec.base.configuration import Config

Kind = Literal["exact", "ivf", "ivf_int8", "ivf_pq", "hnsw"]


class IndexConfig(Config):
    """Search over item vectors, for catalogues too large to score whole for every request. A measured part of each answer's candidates.

    Under `exact_below` items nothing here matters but `user_states`: every item is scored. Above, candidates are what the index finds, what followed or
    resembles the recent items and what typed words name; they are scored exactly.
    """

    exact_below: int = Field(50_000, ge=0, description="Catalogues with fewer items are scored whole, without an index.")
    kind: Literal["auto", "exact", "ivf", "ivf_int8", "ivf_pq", "hnsw"] = Field(
        "auto",
        description="How the index is built. auto: ivf, then ivf_int8 from 2 million and ivf_pq from 20 million items; "
        "exact where faiss (the `ann` extra) is not installed. hnsw: a graph, the slowest to build.",
    )
    recall: float = Field(
        0.95, gt=0, le=1, description="Share of the exactly nearest that must be found; search effort is raised until it is, when built."
    )
    recall_at: int = Field(50, ge=1, description="How many nearest the recall looks at.")
    queries: int = Field(
        512, ge=4, description="Queries the recall is measured on: one half chooses the effort, the other half is reported."
    )
    candidates: int = Field(1000, ge=1, description="Items that the index hands on for a request, beside those the counts and words name.")
    tail: int = Field(
        131_072, ge=1, description="Items drawn at random that stand for the rest of the catalogue in the normaliser of the softmax."
    )
    threads: int = Field(
        1, ge=1, description="CPU threads of building and searching; an hnsw index is built by one, to be the same each time."
    )
    user_states: int = Field(
        200_000,
        ge=0,
        description="Users whose last state is packed with the model, the most recently active ones first; such a user is answered without "
        "reading the history, until an event is added. 0: none. A user takes W * 4 + 24 bytes (W: model.width).",
    )
    memory_map: bool = Field(True, description="Leave the index on disk and read what a query touches.")
