"""A profile in sentences, by the words of a language (`languages/`)."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from m6rec.explanation.interests import CLUSTERS, Interest, Profile, Support
from m6rec.explanation.phrases import ProfileWords, language_of
from m6rec.text.template import filled

STRONG, CLEAR = math.log(2.0), math.log(1.25)  # lift; strong also needs a share that is felt
FELT = 0.15
MOSTLY = 0.6  # share of the events behind an interest that are in one scenario


def sentences(profile: Profile, language: str = "en") -> list[str]:
    """One sentence an interest, the strongest of every field first, after one on who it is.

    Raises:
        UsageError: a language without a file.
    """
    words = language_of(language).profile
    told = [interest for interest in profile.interests if interest.lift > 0]
    facts = words.separator.join(f"{name} {_joined(value, words.separator)}" for name, value in profile.declared.items())
    first = words.who.format(user=profile.user or "?", events=profile.events) + (words.says.format(facts=facts) if facts else "")
    if not told:
        return [first, words.nothing.format(user=profile.user or "?")]
    return [first, *(_sentence(interest, words) for interest in told)]


def strength(interest: Interest) -> str:
    """strong, clear or slight: by how far the share lies above that of the average user."""
    if interest.lift >= STRONG and interest.share >= FELT:
        return "strong"
    return "clear" if interest.lift >= CLEAR else "slight"


def _sentence(interest: Interest, words: ProfileWords) -> str:
    value = words.cluster.format(value=interest.value) if interest.field == CLUSTERS else f"{interest.value}"
    strengths = {"strong": words.strong, "clear": words.clear, "slight": words.slight}
    trends = {"rising": words.rising, "falling": words.falling, "steady": words.steady}
    how = [strengths[strength(interest)], *([trends[interest.trend]] if interest.trend else [])]
    if not interest.events:
        how.append(words.expected)
    said = words.likes.format(value=value, how=words.separator.join(how))
    if interest.support:
        said += words.because.format(events=words.separator.join(_event(one, words) for one in interest.support))
    scenario = max(interest.scenarios, key=lambda name: interest.scenarios[name], default="")
    if len(interest.asked) > 1 and interest.events > 1 and interest.scenarios.get(scenario, 0.0) >= MOSTLY:
        said += words.mostly.format(scenario=scenario)
    return said + words.end


def _event(support: Support, words: ProfileWords) -> str:
    action = support.action or ""
    verb = words.verbs.get(action, action)
    if support.time is None:
        return filled(words.off, {"verb": verb, "title": support.title})
    day = datetime.fromtimestamp(support.time, UTC)
    month = words.months[day.month - 1] if words.months else str(day.month)
    date = words.date.format(day=day.day, month=month, year=day.year)
    return filled(words.on, {"verb": verb, "title": support.title, "date": date})


def _joined(value: Any, join: str) -> str:
    if isinstance(value, list):
        return join.join(str(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
