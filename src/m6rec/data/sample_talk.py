"""What is said in and around the built-in sample, made after everything else with seeds of its own, so that the rest keeps its bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m6rec.base.contracts import Histories
from m6rec.data.columns import Columns
from m6rec.data.sample_dialogues import dialogues, faq_table, turn_table
from m6rec.data.sample_facts import facts_of, load_talk
from m6rec.data.sample_tastes import Truth
from m6rec.data.sample_writings import writing_table
from m6rec.data.store import write_ndjson

JUDGED = 20  # fewer turns with an intent than this are not asked for it
DIALOGUES, FAQ = "dialogues.jsonl", "faq.jsonl"


@dataclass(frozen=True)
class Talk:
    """The texts with planted truth.

    writings   kinds review, reason, query, turn, question; columns and labels as `sample_writings.writing_table`, `turn_table` say
    dialogues  as `sample_dialogues.dialogues` says
    faq        question, answer, lang
    """

    writings: pl.DataFrame
    dialogues: list[dict[str, Any]]
    faq: pl.DataFrame

    def write_dialogues(self, path: Path) -> None:
        """JSON Lines, a dialogue a line. Raises OSError."""
        lines = [json.dumps(dialogue, ensure_ascii=False) for dialogue in self.dialogues]
        path.write_bytes("".join(f"{line}\n" for line in lines).encode())

    def write_faq(self, path: Path) -> None:
        """JSON Lines, a question a line. Raises OSError."""
        write_ndjson(self.faq, path)


def make_talk(
    truth: Truth, items: pl.DataFrame, histories: Histories, words: dict[str, Any], ids: tuple[list[str], list[str]], seed: int
) -> Talk:
    """The texts around these events.

    Args:
        words: of `load_words`, which says the language.  ids: user ids, item ids.
    """
    talk = load_talk(words["language"])
    facts = facts_of(truth, items, words)
    written = writing_table(facts, histories, talk, ids, np.random.default_rng([seed, 31]))
    made = dialogues(truth, facts, histories, talk, ids[0], np.random.default_rng([seed, 32]))
    writings = pl.concat([written, turn_table(made, talk)]).sort(Columns.TIME, maintain_order=True, nulls_last=True)
    return Talk(writings=writings, dialogues=made, faq=faq_table(talk))


def talk_tasks(talk: Talk) -> str:
    """Lines of a `tasks:` section: what the texts can be asked; a small sample may have too few turns to be judged."""
    turns = talk.writings.filter(pl.col(Columns.KIND) == "turn")
    lines = []
    if turns["intent"].count() >= JUDGED:
        lines.append("intent: {answer: judge, on: text, label: intent, texts: [turn]}")
        if turns["hand_over"].sum() > 1:
            lines.append("hand_over: {answer: judge, on: text, label: hand_over, texts: [turn]}")
    lines += [
        "reason: {answer: write, from: reason}",
        "review: {answer: write, from: review}",
        "query: {answer: write, from: query, reads: [history, item]}",
        "reply: {answer: write, from: dialogue, reads: [history, item, context]}",
    ]
    return "".join(f"  {line}\n" for line in lines)
