"""What tasks on texts say of a turn, and when words of the turn count for more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.serving.conversation.config import ConversationConfig
from m6rec.serving.conversation.judged import HAND_OVER, TaskJudge
from m6rec.serving.conversation.naming import Names
from m6rec.serving.conversation.references import Before
from m6rec.serving.conversation.understanding import understand
from m6rec.text.phrases import built_in_phrases


def judge(**answers: dict[str, float]) -> TaskJudge:
    """A judge whose tasks give `answers`, whatever is asked."""
    configs = {name: SimpleNamespace(on="text") for name in answers}
    engine: Any = SimpleNamespace(
        scorer=SimpleNamespace(texts=SimpleNamespace(judge=SimpleNamespace(configs=configs))), classify=lambda text, task: answers[task]
    )
    return TaskJudge(engine, ConversationConfig())


@pytest.mark.parametrize(
    ("away", "yes", "expected"),
    [
        (0.60, 0.45, HAND_OVER),  # .525 together: neither is sure alone
        (0.05, 0.90, None),  # .475: the one is sure, the other sees an ordinary turn
        (0.70, 0.10, HAND_OVER),  # .40 together, but the likeliest intent is one that a person answers
    ],
)
def test_two_tasks_decide_together_on_handing_over(away: float, yes: float, expected: str | None) -> None:
    intents = {"outside": away, "refuse": (1 - away) / 2, "like": (1 - away) / 2}
    assert judge(intent=intents, hand_over={"yes": yes, "no": 1 - yes}).intent("words") == expected


@pytest.mark.parametrize(("yes", "expected"), [(0.55, None), (0.65, HAND_OVER)])
def test_one_task_alone_has_to_be_sure(yes: float, expected: str | None) -> None:
    assert judge(hand_over={"yes": yes, "no": 1 - yes}).intent("words") == expected


class Sure:
    """Takes every text for one that a person should answer, and for an angry one."""

    def intent(self, text: str) -> str | None:
        return HAND_OVER

    def angry(self, text: str) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("I have seen that already", "refuse"),
        ("something else please", "more"),
        ("not that one", "refuse"),
        ("I would rather have no Borea", "refine"),
        ("this is rubbish", "hand_over"),
        ("my tooth hurts", "hand_over"),
    ],
)
def test_what_is_said_of_items_is_believed_before_the_tasks(text: str, intent: str) -> None:
    before = Before(shown=(0,), focus=0, known={0}, offered=True, language="en")
    frame = pl.DataFrame({"title": ["Alpine boots"], "brand": ["Borea"]})
    table = Table(Vocabulary(["i1"]), frame, {"title": FieldType.TEXT, "brand": FieldType.CATEGORY})
    phrases = built_in_phrases("en")
    turn = understand(text, before, Names(table, ["Alpine boots"], np.ones(1, np.int64), phrases.plain), phrases, Sure())
    assert turn.intent == intent
