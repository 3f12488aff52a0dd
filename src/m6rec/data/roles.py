"""The parts that columns play, and the words by which a column's name says its part."""

from __future__ import annotations

import re
from dataclasses import dataclass

from m6rec.data.columns import Columns

WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[一-鿿]+")
ID_ENDINGS = {"id", "no", "nr", "number", "key", "code", "uuid", "guid", "hash", "token", "编号"}
SUBJECTS = {
    Columns.USER: {
        *("user", "u", "visitor", "customer", "reviewer", "client", "member", "session", "account", "buyer", "person", "device", "cookie"),
        *("player", "learner", "student", "subscriber", "listener", "reader", "shopper", "consumer", "guest", "用户", "会员", "客户"),
    },
    Columns.ITEM: {
        *(
            "item",
            "i",
            "product",
            "prod",
            "asin",
            "sku",
            "article",
            "movie",
            "video",
            "song",
            "track",
            "book",
            "isbn",
            "news",
            "post",
            "ad",
        ),
        *(
            "business",
            "poi",
            "listing",
            "recipe",
            "game",
            "photo",
            "goods",
            "merchandise",
            "content",
            "course",
            "creative",
            "anime",
            "show",
        ),
        *("document", "doc", "app", "place", "venue", "restaurant", "商品", "物品", "视频", "电影"),
    },
}
OWN_IDS = {"asin", "sku", "isbn"}  # words that are ids by themselves
TIME_WORDS = {"time", "timestamp", "ts", "date", "datetime", "day", "dt", "dat", "when", "created", "at", "ms", "时间", "日期"}
NO_TIMES = {"duration", "play", "stay", "watch", "length", "spent", "elapsed", "dwell", "gap", "lag", "offset"}
ORDER_WORDS = {"order", "position", "pos", "rank", "seq", "sequence", "step", "index", "idx", "nr", "number", "顺序", "序号"}
ACTION_WORDS = {"action", "event", "behavior", "behaviour", "interaction", "activity", "verb", "type", "feedback", "行为"}
SCENARIO_WORDS = {
    "scenario",
    "scene",
    "channel",
    "surface",
    "placement",
    "tab",
    "page",
    "domain",
    "feed",
    "section",
    "site",
    "store",
    "shop",
    "app",
    "source",
    "platform",
    "场景",
}
VALUE_WORDS = ("rating", "ratings", "overall", "stars", "star", "score", "value", "grade", "评分")
TEXT_WORDS = ("review", "text", "comment", "content", "body", "message", "utterance", "description", "评论", "内容")
# Outcomes of an impression; the first of them that a table has is what it is asked about.
OUTCOMES = (
    *(
        "click",
        "clicked",
        "clk",
        "positive",
        "label",
        "purchase",
        "purchased",
        "buy",
        "bought",
        "order",
        "ordered",
        "conversion",
        "converted",
    ),
    *(
        "like",
        "liked",
        "watch",
        "view",
        "finish",
        "finished",
        "complete",
        "completed",
        "play",
        "cart",
        "favorite",
        "favourite",
        "save",
        "collect",
    ),
    *("share", "forward", "comment", "follow", "subscribe", "enter", "install", "download", "hate", "dislike", "skip"),
)
UNWANTED = {
    *(
        "hate",
        "hated",
        "dislike",
        "skip",
        "skipped",
        "impression",
        "impressions",
        "impress",
        "show",
        "shown",
        "exposure",
        "exposed",
        "hide",
        "hidden",
    ),
    *("remove", "removed", "return", "returned", "refund", "refunded", "unlike", "unfollow", "block", "report", "negative", "曝光", "退货"),
}
COUNT_WORDS = {
    *("cnt", "count", "counts", "num", "votes", "views", "hits", "rank", "salesrank", "ranking", "popularity", "sales", "sold"),
    *("reviews", "ratings", "downloads", "plays", "likes", "clicks"),
}


def tokens(name: str) -> list[str]:
    """`unixReviewTime` and `unix_review_time` are the same three words."""
    return [word.lower() for word in WORDS.findall(name)]


def subject(name: str) -> tuple[str | None, int]:
    """user_id, item_id or None, and how surely: 4 the canonical name, 3 a word and "id", 2 the bare word, 1 a session or device."""
    parts = tokens(name)
    if name in (Columns.USER, Columns.ITEM):
        return name, 4
    if not parts:
        return None, 0
    core, marked = parts, parts[-1] in OWN_IDS
    if parts[-1] in ID_ENDINGS and len(parts) > 1:
        core, marked = parts[:-1], True
    elif parts[-1].endswith("id") and len(parts[-1]) > 2:
        core, marked = [*parts[:-1], parts[-1][:-2]], True
    for role, words in SUBJECTS.items():
        if core[-1] in words and (marked or (len(core) == 1 and len(core[-1]) > 1)):
            return role, 1 if core[-1] in ("session", "device", "cookie") else 3 if marked else 2
    return None, 0


@dataclass(frozen=True)
class Role:
    """A column with a part to play, the fact that speaks for it, and what is doubtful about it ("" where nothing is)."""

    column: str
    why: str
    check: str = ""
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class TimeRole(Role):
    """unit: what `data.time_unit` has to say, auto where the readers see it by themselves. first, last: seconds since 1970."""

    unit: str = "auto"
    first: float = 0.0
    last: float = 0.0
    days_only: bool = False
