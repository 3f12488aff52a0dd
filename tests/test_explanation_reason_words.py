"""Reasons in words: what is said of events, values, words and people, in English and Chinese."""

from __future__ import annotations

import pytest

from m6rec.explanation.phrases import known_languages, language_of
from m6rec.explanation.reason_words import Cited, Told, counterfactual_words, dropping_words, reason, shortened

BOOTS = Cited("i1", "Trail Boots", "buy", (("category", "boots"), ("tags", "red")), counted=True)
SOCKS = Cited("i2", "Wool Socks", "view", (("category", "boots"),))
HAT = Cited("i3", "Hat", "wink", alike=True)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (Told(), "Nothing that is known of you moved its score much."),
        (
            Told((BOOTS,)),
            "Because you bought “Trail Boots”: it shares category boots and tags red with that, and what others had after that leads to it.",
        ),
        (Told((HAT,)), "Because you had “Hat”: its words are close to those of that."),
        (
            Told((SOCKS, BOOTS)),
            "Because you viewed “Wool Socks” and bought “Trail Boots”: it shares category boots with them, "
            "and what others had after “Trail Boots” leads to it.",
        ),
        (Told(typed=("warm", "red")), "You asked for “warm” and “red”."),
        (Told(person=(("age", "30"), ("likes", "trail"))), "Your profile speaks for it: age 30 and likes trail."),
        (Told(values=(("tags", "red"), ("category", "boots"), ("tags", "new"))), "It is tags red, new and category boots."),
    ],
)
def test_english(told: Told, said: str) -> None:
    assert reason(told) == said


def test_chinese() -> None:
    said = "因为你买过《Trail Boots》，也看过《Wool Socks》：它与《Trail Boots》同为类别boots和标签red，而且其他人在《Trail Boots》之后常会走到它。"
    assert reason(Told((BOOTS, SOCKS)), "zh") == said
    told = Told(values=(("plug", "EU"), ("kind", "product"), ("volts", "230"), ("plug", "欧")))
    assert reason(told, "zh") == "它是plug EU、欧、种类product和volts 230。"
    assert counterfactual_words(["a"], 14, "zh") == "如果没有《a》，它会排在第 14 位。"


def test_what_would_have_been() -> None:
    assert counterfactual_words(["a", "b"], 14) == "Without “a” and “b” it would have been number 14."
    assert counterfactual_words(["a"], 0) == "Without “a” it would not have been in the list."
    assert dropping_words(["a", "b", "c"]) == "It leaves the list without “a”, “b” and “c”."


def test_long_titles_are_cut_after_a_word() -> None:
    title = "word " * 40
    assert shortened(title) == "word " * 15 + "word…"
    assert shortened("a\nb\tc") == "a b c"
    assert len(shortened("x" * 500)) == 81
    assert shortened("boots\x1b[31m\x00") == "boots [31m"


def test_every_language_has_every_phrase_and_place() -> None:
    """A place in braces that a translation lacks would say less than was found."""
    english = language_of("en").reason.plain()
    for code in known_languages():
        other = language_of(code).reason.plain()
        for name, text in english.items():
            if isinstance(text, str):
                assert set(_places(text)) == set(_places(other[name])), (code, name)


def _places(text: str) -> list[str]:
    return [part.partition("}")[0] for part in text.split("{")[1:]]
