"""Names of columns, in one place."""

from __future__ import annotations


class Columns:
    """External column names of the canonical tables."""

    USER = "user_id"
    ITEM = "item_id"
    TIME = "time"
    ORDER = "order"
    SCENARIO = "scenario"
    ACTION = "action"
    VALUE = "value"
    # exposures
    POSITION = "position"
    PROPENSITY = "propensity"
    LIST = "list_id"
    SPLIT = "split"
    # texts
    KIND = "kind"
    TEXT = "text"
    LANG = "lang"
    # relations
    HEAD = "head"
    RELATION = "relation"
    TAIL = "tail"
    # known questions
    QUESTION = "question"
    ANSWER = "answer"
