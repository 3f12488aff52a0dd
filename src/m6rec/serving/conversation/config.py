"""Settings of conversations."""

from __future__ import annotations

from pydantic import Field

from m6rec.base.configuration import Config


class ConversationConfig(Config):
    """How a conversation goes. Everything has a default."""

    items: int = Field(3, ge=1, le=20, description="Items that one answer recommends.")
    questions: int = Field(2, ge=0, description="Questions asked back in one conversation, at most; 0: none.")
    openness: float = Field(
        0.55, ge=0, le=1, description="A question is asked back where the answers left are at least this open: 0 one answer, 1 all alike."
    )
    misunderstandings: int = Field(2, ge=1, description="Turns in a row that are not understood before a person takes over.")
    anger: float = Field(0.9, gt=0, le=1, description="Probability of a negative sentiment, as a task judges it, that counts as anger.")
    sure: float = Field(0.6, gt=0, le=1, description="Probability of an intent, as a task judges it, from which it counts.")
    intent: str | None = Field(
        None,
        description="Task on texts whose labels are intents (recommend, like, refuse, hand_over, ...); null: one called intent, if any.",
    )
    sentiment: str | None = Field(None, description="Task on texts that judges sentiment; null: one called sentiment, if any.")
    written: bool = Field(
        False, description="Recommend in the words of a write task learned from dialogues, where the model has one; false: templates."
    )
    faq: str | None = Field(None, description="File of known questions (question, answer; optionally lang) instead of the model's own.")
    faq_precision: float = Field(
        0.9, gt=0, le=1, description="Share of answers to known questions that shall be right: what the threshold is calibrated for."
    )
    languages: list[str] = Field(
        default_factory=list, description="Files of phrases in further languages, of the form of conversations/en.yaml."
    )
    longest: int = Field(4000, ge=200, description="Characters of one message that are read: half from its beginning, half from its end.")
