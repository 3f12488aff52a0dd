"""Known questions by the groups of words that much the same is asked by: what they point to, and what they never answer."""

from __future__ import annotations

import polars as pl
import pytest

from m6rec.serving.conversation.faq import Faq
from m6rec.text.phrases import built_in_phrases

EN = built_in_phrases("en")
KNOWN = {
    "How long does delivery take?": "Parcels arrive within three working days.",
    "How do I return an item?": "Print the label in your account.",
    "How can I pay?": "By card or with a gift card.",
    "How do I change my password?": "Open Settings.",
    "Do you deliver abroad?": "To 27 countries.",
    "Where is my invoice?": "Under Orders in your account.",
    "How long is the warranty?": "Two years from the day of delivery.",
    "How do gift cards work?": "Type the code at checkout.",
    "Can I watch videos offline?": "Press the arrow below a video.",
    "How do I change my address?": "Open Addresses.",
}


@pytest.fixture(scope="module")
def faq() -> Faq:
    frame = pl.DataFrame({"question": list(KNOWN), "answer": list(KNOWN.values()), "lang": ["en"] * len(KNOWN)})
    return Faq(frame, plain=EN.plain, same=EN.same)


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("when will my parcel be here?", "How long does delivery take?"),
        ("my aunt changed her mind about the lamp, how do I send the thing back to you", "How do I return an item?"),  # send * back
        ("can I get a refund if it doesn't fit?", "How do I return an item?"),
        ("do you take paypal", "How can I pay?"),
        ("I was given a gift card, and now?", "How do gift cards work?"),  # its card is no card to pay with
        ("the invocie for the kettle never came", "Where is my invoice?"),
        ("is my guarrantee still running", "How long is the warranty?"),
        ("I moved house last week", "How do I change my address?"),
        ("do you ship to Norway", "Do you deliver abroad?"),
    ],
)
def test_a_long_text_is_known_by_the_groups_of_its_words(faq: Faq, text: str, question: str) -> None:
    found = faq.pointed(text)
    assert found is not None
    assert (found.question, found.answer) == (question, KNOWN[question])


@pytest.mark.parametrize(
    "text",
    [
        "where is my parcel",  # a group that no question has
        "about a delivery",  # two answers
        "how do I change my username",
        "can I cancel my order",
        "can I change my order",
        "my item arrived broken",
        "what is the capital of France",
        "how do I hack an account",
        "how much does the invoice cost",  # half of it asks for something else
        "I am interested in lamps for the weekend",  # no form of international
        "a nice red lamp",
        "",
    ],
)
def test_what_points_nowhere_or_elsewhere_is_not_answered(faq: Faq, text: str) -> None:
    assert faq.pointed(text) is None


def test_asking_for_something_else_is_told(faq: Faq) -> None:
    assert faq.elsewhere("how do I change my username")
    assert not faq.elsewhere("how do I change my password")


def test_words_that_the_catalogue_has_point_to_no_answer_alone(faq: Faq) -> None:
    assert faq.pointed("any video for tonight") is not None  # of a shop that sells none
    assert faq.pointed("any video for tonight", ["video"]) is None
    assert faq.pointed("can I watch a video on the plane", ["video", "watch"]) is not None
    assert faq.find("anything to watch tonight", sure=True, catalogue=["watch", "tonight"]) is None


def test_a_question_that_few_ask_in_these_words_is_weak_evidence() -> None:
    """One in six questions of an answer speaks of prices: a price alone does not point to it."""
    asked = ["return it", "send it back", "get a refund", "return label", "money back", "does a refund cost anything", "how do I pay"]
    frame = pl.DataFrame({"question": asked, "answer": ["returns"] * 6 + ["paying"], "lang": ["en"] * 7})
    faq = Faq(frame, plain=EN.plain, same=EN.same)
    assert faq.pointed("how much is it") is None
    assert faq.pointed("how do I send this back") is not None


def test_evidence_counts_groups_once_and_what_nobody_has(faq: Faq) -> None:
    found = faq.pointed("when will my parcel be here?")
    assert found is not None
    told = faq.evidence("the huge parcel, the package, by violin or to my lamp, or hours", found, ["lamp"])
    assert (told.own, told.other, told.met, told.strange) == (1.0, 0, 2, 2)  # lamp and hours; huge and violin
    told = faq.evidence("is the parcel under warranty", found, [])
    assert (told.own, told.other, told.strange) == (1.0, 2, 0)  # "under" of the answer to another question, too
