"""The words of the console: every language has the same phrases, and no template says anything by itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import m6rec.serving.console
from m6rec.base.errors import UsageError
from m6rec.serving.console.phrases import chosen, languages

FOLDER = Path(m6rec.serving.console.__file__).parent
TEMPLATES = sorted((FOLDER / "templates").glob("*.jinja"))
PLACES = re.compile(r"\{(\w+)\}")
SPOKEN = ("aria-label", "placeholder", "title", "alt", "data-announce")  # attributes whose value people see or hear


def test_languages_have_the_same_phrases_with_the_same_places() -> None:
    known = languages()
    assert {"en", "zh"} <= set(known)
    for one in known.values():
        assert set(one.texts) == set(known["en"].texts), one.language
        for key, text in one.texts.items():
            assert text.strip(), key
            assert set(PLACES.findall(text)) == set(PLACES.findall(known["en"].texts[key])), key
    assert all(re.search(r"[一-鿿]", text) for key, text in known["zh"].texts.items() if re.search(r"[a-z]{3}", known["en"].texts[key]))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_a_phrase_of_its_own(path: Path) -> None:
    source = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "", path.read_text(encoding="utf-8"), flags=re.S)
    attributes = re.findall(rf'\b(?:{"|".join(SPOKEN)})="([^"]*)"', source)
    between = re.sub(r"<[^>]*>", " ", source)
    assert [text for text in [between, *attributes] if re.search(r"[^\W\d_]", text)] == []


def test_every_phrase_that_a_template_names_is_there() -> None:
    texts = languages()["en"].texts
    for path in [*TEMPLATES, *FOLDER.glob("*.py")]:
        for key in re.findall(r'\bt\("([a-z_.]+)"(?!\s*~)[,)]', path.read_text(encoding="utf-8")):
            assert key in texts, f"{path.name}: {key}"


@pytest.mark.parametrize(
    ("wanted", "accepted", "expected"),
    [
        ("", "", "en"),
        ("zh", "en", "zh"),
        ("xx", "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("", "fr, en;q=0.4, zh;q=0.7", "zh"),
        ("", "q;q=x,,", "en"),
    ],
)
def test_the_chosen_language_goes_before_what_the_browser_accepts(wanted: str, accepted: str, expected: str) -> None:
    assert chosen(wanted, accepted).language == expected


def test_a_phrase_that_is_missing_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no phrase 'nav\.overvew'; did you mean 'nav\.overview'"):
        chosen("en", "")("nav.overvew")
