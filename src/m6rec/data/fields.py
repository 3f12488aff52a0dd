"""What a declared field of an item or a user holds. No polars here, so that configurations can name the types."""

from __future__ import annotations

from enum import StrEnum


class FieldType(StrEnum):
    """What a declared field of an item or user holds.

    text      words, read by the language model        category  one of a few names
    tags      several names (list or separated text)   number    a quantity, bucketed by quantile
    id        a name that carries no meaning           vector    a list of floats of one length
    """

    TEXT = "text"
    CATEGORY = "category"
    TAGS = "tags"
    NUMBER = "number"
    ID = "id"
    VECTOR = "vector"
