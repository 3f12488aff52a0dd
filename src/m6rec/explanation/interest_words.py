"""A profile in sentences, English or Chinese."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from m6rec.base.errors import UsageError
from m6rec.explanation.interests import CLUSTERS, Interest, Profile, Support

LANGUAGES = ("en", "zh")
STRONG, CLEAR = math.log(2.0), math.log(1.25)  # lift; strong also needs a share that is felt
FELT = 0.15
MOSTLY = 0.6  # share of the events behind an interest that are in one scenario
VERBS = {
    "en": {
        "view": "viewed",
        "click": "clicked",
        "buy": "bought",
        "purchase": "bought",
        "like": "liked",
        "cart": "put in the cart",
        "rate": "rated",
    },
    "zh": {"view": "看过", "click": "点过", "buy": "买过", "purchase": "买过", "like": "喜欢", "cart": "加购", "rate": "评过"},
}
WORDS: dict[str, dict[str, str]] = {
    "en": {
        "likes": "Likes {value} ({how})",
        "because": ": {events}",
        "mostly": "; mostly in {scenario}",
        "strong": "strong",
        "clear": "clear",
        "slight": "slight",
        "rising": "rising",
        "falling": "falling",
        "steady": "steady",
        "profile": "expected from the profile",
        "on": "{verb} {title} on {date}",
        "off": "{verb} {title}",
        "had": "had",
        "join": ", ",
        "end": ".",
        "nothing": "Nothing sets {user} apart from the average user yet.",
        "who": "{user}: {events} events.",
        "says": " Says of themselves: {facts}.",
        CLUSTERS: "items like {value}",
    },
    "zh": {
        "likes": "喜欢{value}（{how}）",
        "because": "：{events}",
        "mostly": "；多在 {scenario}",
        "strong": "强烈",
        "clear": "明显",
        "slight": "略有",
        "rising": "上升",
        "falling": "下降",
        "steady": "稳定",
        "profile": "由资料推测",
        "on": "{date} {verb}{title}",
        "off": "{verb}{title}",
        "had": "有过",
        "join": "、",
        "end": "。",
        "nothing": "{user} 目前与普通用户没有明显不同。",
        "who": "{user}：{events} 条行为。",
        "says": "自述：{facts}。",
        CLUSTERS: "类似 {value} 的物品",
    },
}


def sentences(profile: Profile, language: str = "en") -> list[str]:
    """One sentence an interest, the strongest of every field first, after one on who it is.

    Raises:
        UsageError: another language.
    """
    if language not in WORDS:
        raise UsageError(f"language is '{language}': profiles are worded in {' and '.join(LANGUAGES)}; for example --language en")
    words = WORDS[language]
    told = [interest for interest in profile.interests if interest.lift > 0]
    facts = words["join"].join(f"{name} {_joined(value, words['join'])}" for name, value in profile.declared.items())
    first = words["who"].format(user=profile.user or "?", events=profile.events) + (words["says"].format(facts=facts) if facts else "")
    if not told:
        return [first, words["nothing"].format(user=profile.user or "?")]
    return [first, *(_sentence(interest, language) for interest in told)]


def strength(interest: Interest) -> str:
    """strong, clear or slight: by how far the share lies above that of the average user."""
    if interest.lift >= STRONG and interest.share >= FELT:
        return "strong"
    return "clear" if interest.lift >= CLEAR else "slight"


def _sentence(interest: Interest, language: str) -> str:
    words = WORDS[language]
    value = words[CLUSTERS].format(value=interest.value) if interest.field == CLUSTERS else f"{interest.value}"
    how = [words[strength(interest)], *([words[interest.trend]] if interest.trend else [])]
    if not interest.events:
        how.append(words["profile"])
    said = words["likes"].format(value=value, how=words["join"].join(how))
    if interest.support:
        said += words["because"].format(events=words["join"].join(_event(one, language) for one in interest.support))
    scenario = max(interest.scenarios, key=lambda name: interest.scenarios[name], default="")
    if len(interest.asked) > 1 and interest.events > 1 and interest.scenarios.get(scenario, 0.0) >= MOSTLY:
        said += words["mostly"].format(scenario=scenario)
    return said + words["end"]


def _event(support: Support, language: str) -> str:
    words = WORDS[language]
    verb = VERBS[language].get(support.action, support.action or words["had"])
    if support.time is None:
        return words["off"].format(verb=verb, title=support.title)
    date = datetime.fromtimestamp(support.time, UTC)
    spoken = f"{date.day} {date:%b %Y}" if language == "en" else f"{date.year}年{date.month}月{date.day}日"
    return words["on"].format(verb=verb, title=support.title, date=spoken)


def _joined(value: Any, join: str) -> str:
    if isinstance(value, list):
        return join.join(str(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
