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


DISLIKES = ("dislike", "disliked", "not_interested", "hide", "report")  # actions of events, and labels that become events, that say no
REFUSALS = (*DISLIKES, "skip", "skipped")  # read in a history, but never what a list should have held
