"""Measuring conversations on held-out dialogues: every turn of a person is answered after the turns before it, as they were said."""

from __future__ import annotations

import numpy as np
import polars as pl

from m6rec.data.columns import Columns
from m6rec.data.dialogues import ASSISTANT, HAND_OVER, ITEMS, ROLE, USER, conversations, dialogue_parts
from m6rec.evaluation.conversed import Conversed
from m6rec.serving.conversation.conversation import Conversation, Talker
from m6rec.text.words import normalise


def measured(talker: Talker, part: int, name: str = "m6rec") -> Conversed | None:
    """What the conversation answers in the dialogues of a part (1 validation, 2 test) of the model's data; None where nothing there has a known truth.

    A turn is a known question where the assistant's next words are one of the known answers; whether a person should have answered it is what
    `hand_over` of the dialogue file says.
    """
    frame = talker.engine.dataset.dialogues
    if frame is None:
        return None
    answers = {} if talker.faq is None else {normalise(str(answer)): str(answer) for answer in talker.faq.answers}
    recalled, answered, handed, wanted = list[bool](), list[bool](), list[bool](), list[bool]()
    held = frame.filter(pl.Series(dialogue_parts(frame) == part))
    dialogues = 0
    for _, messages in conversations(held):
        dialogues += 1
        talk = talker.start()
        for number, message in enumerate(messages):
            if message[ROLE] != USER:
                talk.tell(message[Columns.TEXT], message[ITEMS])
                continue
            after = messages[number + 1] if number + 1 < len(messages) else None
            right = None if after is None or after[ROLE] != ASSISTANT else answers.get(normalise(after[Columns.TEXT]))
            truth = message.get(HAND_OVER)
            if right is None and truth is None:
                talk.hear(message[Columns.TEXT])
                continue
            said, hand_over = _answer(talk, message[Columns.TEXT])
            if right is not None:
                assert talker.faq is not None
                recalled.append(str(talker.faq.answers[talker.faq.best([message[Columns.TEXT]])[0][0]]) == right)
                answered.append(said == right)
            if truth is not None:
                handed.append(hand_over)
                wanted.append(bool(truth))
    if not recalled and not wanted:
        return None
    columns = [np.array(values, dtype=bool) for values in (recalled, answered, handed, wanted)]
    return Conversed(name, dialogues, *columns)


def _answer(talk: Conversation, text: str) -> tuple[str, bool]:
    """(what is answered to a turn, whether it is handed over); the conversation hears the turn and not this answer."""
    turn = talk.hear(text)
    phrases = talk.talker.phrases_of(turn.text, turn.language)
    reply = talk.talker.policy.reply(turn, talk.state, talk.person, phrases)
    return reply.text, reply.hand_over
