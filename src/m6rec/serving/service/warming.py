"""The first questions of a model, asked by itself before anybody else asks: they load code, open the index and lay weights out."""

from __future__ import annotations

from typing import Any

from m6rec.serving.asked import Ask
from m6rec.serving.engine.engine import Engine

PEOPLE = 4  # the newest: what is worked out for the first of them is the model's, for the others it is only theirs


def warm(engine: Engine) -> None:
    """Ask for people who are known, one after another and several at once, plainly and by every task that orders candidates."""
    users = engine.users.ids.ids
    known = [users[row] for row in range(max(len(users) - 2 * PEOPLE, 0), len(users)) if row not in engine.forgotten][-PEOPLE:]
    who: list[dict[str, Any]] = [{"user": user} for user in known] or [{"history": ()}]
    engine.recommend(**who[0], k=1)  # titles too
    engine.answer_many([Ask(**one, k=1) for one in who])
    part = engine.scorer.judging
    for task in [] if part is None else part.judge.configs:
        if part is not None and part.judge.sizes.labels[task].kind not in ("classes", "tags"):  # those order nothing
            for one in who:
                engine.answer(Ask(**one, k=1, task=task, scenario=next(iter(part.judge.scenarios_of(task)), None)))
