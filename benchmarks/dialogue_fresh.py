"""Dialogues of the sample in words that no sample has: the wordings of `dialogue_wordings.json` in the place of those that a model has read.

Items and users are those of the sample that was trained on, so that what is asked about is known; which events the talk is about, and every word that a person
says, are fresh.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from m6rec.data.sample import generate
from m6rec.data.sample_dialogues import dialogues
from m6rec.data.sample_facts import facts_of, load_talk
from m6rec.data.sample_titles import load_words

WORDINGS = Path(__file__).with_name("dialogue_wordings.json")


def reworded(talk: dict[str, Any], wordings: dict[str, Any]) -> dict[str, Any]:
    """What people say, in the other words; what assistants say stays."""
    said, found = wordings, copy.deepcopy(talk)
    for name in found["dialogues"]:
        if name in said:
            found["dialogues"][name] = said[name]
    for entry in found["faq"]:
        entry["asked"] = said["faq"][entry["question"]]
    return found


def fresh_dialogues(part: Literal["development", "test"], seed: int, draws: int = 1, **sizes: Any) -> list[dict[str, Any]]:
    """As `sample_dialogues.dialogues` gives them: of the users and items of the sample of `seed` and `sizes`, other events and other words.

    draws: of half as many dialogues as there are users, each.
    """
    talk = reworded(load_talk("en"), json.loads(WORDINGS.read_text(encoding="utf-8"))[part])
    sample = generate(seed=seed, **sizes)
    facts = facts_of(sample.truth, sample.items, load_words("en"))
    ids = sample.users["user_id"].to_list()
    found: list[dict[str, Any]] = []
    for draw in range(draws):
        found += dialogues(sample.truth, facts, sample.histories, talk, ids, np.random.default_rng([seed, 77, draw]))
    return found
