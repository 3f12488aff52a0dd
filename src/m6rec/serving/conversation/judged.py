"""Intent and sentiment of a turn as the model's tasks on texts judge them, where it has such tasks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from m6rec.base.errors import UsageError, nearest
from m6rec.serving.conversation.config import ConversationConfig
from m6rec.serving.engine.engine import Engine

HAND_OVER = "hand_over"
PASSED_ON = ("hand_over", "person", "human", "agent", "outside", "out_of_scope", "转人工")  # labels of intents that a person should answer
YES = ("yes", "true", "1")
NEGATIVE = ("negative", "neg", "angry", "anger", "bad", "消极", "负面", "差评")
TOGETHER = 0.5  # mean of what the two tasks say for a person from which a turn is handed over
INTENT, SENTIMENT = "intent", "sentiment"


class TaskJudge:
    """Asks the tasks named by the configuration, or those called intent and sentiment."""

    def __init__(self, engine: Engine, config: ConversationConfig) -> None:
        """Raises UsageError: the configuration names a task that the model has not."""
        self._engine, self._config = engine, config
        self._intent = _task(engine, config.intent, INTENT)
        self._sentiment = _task(engine, config.sentiment, SENTIMENT)
        self._hand_over = _task(engine, None, HAND_OVER)

    def intent(self, text: str) -> str | None:
        """The likeliest label of the intent task where it is sure enough; hand_over for labels that mean so, and where a task of that name says yes.

        Where both tasks are there their probabilities are averaged: in words that neither has read, each is sure of something wrong now and then,
        seldom of the same.
        """
        told, judged = self._ask(self._intent, text), self._ask(self._hand_over, text)
        label, share = _best(told)
        away = [_share(answers, meaning) for answers, meaning in ((told, (*PASSED_ON, *NEGATIVE)), (judged, YES)) if answers]
        if judged and sum(away) / len(away) >= (TOGETHER if told else self._config.sure):
            return HAND_OVER
        if label is None or share < self._config.sure:
            return None
        return HAND_OVER if label.casefold() in PASSED_ON else label

    def angry(self, text: str) -> bool:
        """Whether the sentiment task is sure that the text is negative."""
        told = self._ask(self._sentiment, text)
        return _share(told, NEGATIVE) >= self._config.anger

    def _ask(self, task: str | None, text: str) -> Mapping[str, float]:
        if task is None or not text.strip():
            return {}
        told: Any = self._engine.classify(text, task=task)
        return told if isinstance(told, dict) else {}


def _task(engine: Engine, wanted: str | None, usual: str) -> str | None:
    texts = engine.scorer.texts
    able = [] if texts is None else [name for name, config in texts.judge.configs.items() if config.on == "text"]
    if wanted is not None and wanted not in able:
        hint = nearest(wanted, able) or f"; tasks on texts: {', '.join(able) or 'none'}"
        raise UsageError(f"conversation.{usual} names '{wanted}', which is no task on texts of this model{hint}")
    return wanted if wanted is not None else usual if usual in able else None


def _share(told: Mapping[str, float], labels: Collection[str]) -> float:
    return float(sum(share for label, share in told.items() if label.casefold() in labels))


def _best(told: Mapping[str, float]) -> tuple[str | None, float]:
    label = max(told, key=lambda name: told[name], default=None)
    return label, 0.0 if label is None else float(told[label])
