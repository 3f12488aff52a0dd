"""Dialogues of the built-in sample: somebody asks with constraints, refuses, likes, asks about items and known questions, or is handed over.

Every dialogue comes before an event of its user, and what it ends with is the item of that event: an item that satisfies all that was
said. What was refused on the way satisfies the constraints too, as they stood. One in six is handed over to a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from m6rec.base.contracts import Histories
from m6rec.data.columns import Columns
from m6rec.data.sample_facts import Facts
from m6rec.data.sample_tastes import Truth
from m6rec.data.sample_writings import SCHEMA, sentence

HANDED_OVER = 1 / 6
LENGTH = 300  # seconds from the first message to the event, where the event before is not nearer


@dataclass
class _Talk:
    """One dialogue while it is made."""

    words: dict[str, Any]
    generator: np.random.Generator
    messages: list[dict[str, Any]] = field(default_factory=list)

    def pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.generator.random() * len(options))]

    def chance(self, share: float) -> bool:
        return bool(self.generator.random() < share)

    def user(self, text: str, intent: str, **planted: Any) -> None:
        plain = {"items": [], "intent": intent, "sentiment": "neutral", "hand_over": False}
        self.messages.append({"role": "user", "text": text, **plain, **planted})

    def assistant(self, text: str, act: str, items: Sequence[str] = ()) -> None:
        self.messages.append({"role": "assistant", "text": sentence(text), "items": list(items), "act": act})


def satisfies(facts: Facts, constraints: Sequence[dict[str, Any]]) -> bool:
    """Whether an item satisfies all of [{field, op, value}]: op is = or != (for tags: has, has not), <= for the price."""
    for wanted in constraints:
        value, op = wanted["value"], wanted["op"]
        if wanted["field"] == "price":
            good = facts.price is not None and facts.price <= value
        elif wanted["field"] == "tags":
            good = (value in facts.tags) == (op == "=")
        else:
            good = (getattr(facts, wanted["field"]) == value) == (op == "=")
        if not good:
            return False
    return True


def dialogues(
    truth: Truth,
    facts: Sequence[Facts],
    histories: Histories,
    talk: dict[str, Any],
    user_ids: list[str],
    generator: np.random.Generator,
) -> list[dict[str, Any]]:
    """One dialogue for every second user on average, in order of time: {dialogue_id, user_id, lang, time, messages}.

    Message: {role, text, items}, of the user also {intent, sentiment, hand_over} and, where there is something to say, {constraints:
    [{field, op, value}], liked, refused: [item ids], about: the known question asked, wording: which of the hand-over phrases}; of the
    assistant {act: greet, ask, recommend, answer, faq, close or hand_over}.
    """
    assert histories.times is not None
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    made = []
    for event in np.sort(generator.permutation(len(users))[: len(histories) // 2]).tolist():
        user, start = int(users[event]), int(histories.offsets[users[event]])
        moment = float(histories.times[event])
        seen = histories.items[start:event]
        scene = _Talk(talk, generator)
        target = int(histories.items[event])
        _play(scene, facts[target], _others(truth, facts, seen, target, moment), [facts[item] for item in seen.tolist()])
        begun = int(moment) - LENGTH if event == start else max(int(moment) - LENGTH, int(histories.times[event - 1]) + 1)
        made.append({"user_id": user_ids[user], "lang": talk["language"], "time": begun, "messages": scene.messages})
    made.sort(key=lambda row: (row["time"], row["user_id"]))
    return [{"dialogue_id": f"d{number:05d}", **row} for number, row in enumerate(made, start=1)]


def _others(truth: Truth, facts: Sequence[Facts], seen: np.ndarray, target: int, moment: float) -> list[Facts]:
    """What could be offered instead of the target: released, of its kind, and new to the user."""
    open_ = (truth.release <= moment) & (truth.scenario == truth.scenario[target])
    open_[seen], open_[target] = False, False
    return [facts[item] for item in np.flatnonzero(open_).tolist()]


def _play(talk: _Talk, target: Facts, others: list[Facts], seen: list[Facts]) -> None:
    """The turns of one dialogue that ends with `target`, unless it is handed over."""
    said = talk.words["dialogues"]
    if talk.chance(0.3):
        talk.user(talk.pick(said["greetings"]), "greet")
        talk.assistant(talk.pick(said["greeted"]), "greet")
    if talk.chance(0.25):
        _known_question(talk)
    if talk.chance(HANDED_OVER / 2):
        return _hand_over(talk, target)
    if talk.chance(0.2):
        talk.user(talk.pick(said["vague"]), "recommend")
        talk.assistant(talk.pick(said["asks_back"]), "ask")
    constraints = _ask(talk, target, others, seen)
    decoys = [other for other in others if satisfies(other, constraints)]
    opening = "recommends"
    if decoys and talk.chance(0.6):
        decoy = talk.pick(decoys)
        _recommend(talk, said["recommends"], decoy)
        if talk.chance(HANDED_OVER / 2):
            return _hand_over(talk, target)
        if decoy.brand != target.brand and talk.chance(0.4):
            constraints.append({"field": "brand", "op": "!=", "value": decoy.brand})
            text = talk.pick(said["refuses_brand"]).format(brand=decoy.brand)
            talk.user(text, "refuse", sentiment="negative", refused=[decoy.item_id], constraints=constraints[-1:])
        else:
            talk.user(talk.pick(said["refusals"]), "refuse", sentiment="negative", refused=[decoy.item_id])
        opening = "again"
    _recommend(talk, said[opening], target)
    if talk.chance(0.4):
        _question(talk, target)
    if talk.chance(HANDED_OVER / 3):
        return _hand_over(talk, target)
    talk.user(talk.pick(said["likes"]), "like", sentiment="positive", liked=[target.item_id])
    talk.assistant(talk.pick(said["closes"]), "close")
    return None


def _ask(talk: _Talk, target: Facts, others: list[Facts], seen: list[Facts]) -> list[dict[str, Any]]:
    """The user's request with constraints that the target satisfies, said in words; returns the constraints."""
    said, tag = talk.words["dialogues"], talk.pick(target.tags)
    known = {"kind": talk.words["kinds"][target.kind], "tag": tag}
    constraints: list[dict[str, Any]] = [
        {"field": "kind", "op": "=", "value": target.kind},
        {"field": "tags", "op": "=", "value": tag},
    ]
    alike = [item for item in seen if tag in item.tags]
    planted: dict[str, Any] = {}
    if alike and talk.chance(0.3):
        earlier = talk.pick(alike)
        text = talk.pick(said["similar"]).format(**known, earlier=earlier.title)
        planted = {"items": [earlier.item_id], "liked": [earlier.item_id]}
    else:
        text = talk.pick(said["asks"]).format(**known)
    if target.price is not None and talk.chance(0.4):
        constraints.append({"field": "price", "op": "<=", "value": target.ceiling})
        text += talk.pick(said["price"]).format(ceiling=target.ceiling)
    more = talk.generator.random()
    other_brands = sorted({other.brand for other in others if tag in other.tags} - {target.brand})
    other_tags = sorted({other for item in others if tag in item.tags for other in item.tags} - set(target.tags))
    if more < 0.15:
        constraints.append({"field": "brand", "op": "=", "value": target.brand})
        text += talk.pick(said["brand"]).format(brand=target.brand)
    elif more < 0.35 and other_brands:
        constraints.append({"field": "brand", "op": "!=", "value": talk.pick(other_brands)})
        text += talk.pick(said["not_brand"]).format(other=constraints[-1]["value"])
    elif more < 0.5 and other_tags:
        constraints.append({"field": "tags", "op": "!=", "value": talk.pick(other_tags)})
        text += talk.pick(said["not_tag"]).format(other=constraints[-1]["value"])
    talk.user(text, "recommend", constraints=list(constraints), **planted)
    return constraints


def _recommend(talk: _Talk, templates: list[str], facts: Facts) -> None:
    talk.assistant(talk.pick(templates).format(**facts.words()), "recommend", [facts.item_id])


def _question(talk: _Talk, facts: Facts) -> None:
    """A question about the item just named, answered from its fields."""
    said = talk.words["dialogues"]
    asked = talk.pick([name for name in said["questions"] if name != "price" or facts.price is not None])
    talk.user(talk.pick(said["questions"][asked]), "ask_item", about=asked)
    talk.assistant(said["answers"][asked].format(**facts.words() | {"kind": talk.words["kinds"][facts.kind]}), "answer", [facts.item_id])


def _known_question(talk: _Talk) -> None:
    """A question of the FAQ in other words, and its answer."""
    entry = talk.pick(talk.words["faq"])
    talk.user(talk.pick(entry["asked"]), "faq", about=entry["question"])
    talk.assistant(entry["answer"], "faq")


def _hand_over(talk: _Talk, facts: Facts) -> None:
    said = talk.words["dialogues"]
    why = talk.pick(("anger", "outside", "person"))
    number = int(talk.generator.random() * len(said[why]))
    text = said[why][number].format(**facts.words())
    talk.user(text, why, sentiment="negative" if why == "anger" else "neutral", hand_over=True, wording=number)
    talk.assistant(talk.pick(said["hands_over"]), "hand_over")


def turn_table(made: list[dict[str, Any]], talk: dict[str, Any]) -> pl.DataFrame:
    """What users say in the dialogues (kind turn: intent, null where only one turn or two have it, sentiment, hand_over 0 or 1, wording) and
    every known question in every other wording (kind question: `about` is the question of the FAQ): columns of SCHEMA."""
    rows: list[dict[str, Any]] = []
    for dialogue in made:
        for place, message in enumerate(dialogue["messages"]):
            if message["role"] != "user":
                continue
            row = {name: message.get(name) for name in (Columns.TEXT, "intent", "sentiment", "about", "wording")}
            row |= {Columns.KIND: "turn", Columns.USER: dialogue["user_id"], Columns.LANG: dialogue["lang"]}
            rows.append(row | {Columns.TIME: dialogue["time"] + place, "hand_over": int(message["hand_over"])})
    for entry in talk["faq"]:
        for number, text in enumerate(entry["asked"]):
            about = {Columns.TEXT: text, "intent": "faq", "about": entry["question"], "wording": number}
            rows.append({Columns.KIND: "question", Columns.LANG: talk["language"], **about})
    said = pl.col(Columns.KIND) == "turn"
    rare = said & (pl.len().over(Columns.KIND, "intent") <= 2)  # so few can't be both learned from and measured
    return pl.DataFrame(rows, schema=SCHEMA).with_columns(intent=pl.when(~rare).then("intent"))


def faq_table(talk: dict[str, Any]) -> pl.DataFrame:
    """question, answer, lang."""
    rows = [{"question": entry["question"], "answer": entry["answer"], "lang": talk["language"]} for entry in talk["faq"]]
    return pl.DataFrame(rows, schema={"question": pl.String, "answer": pl.String, "lang": pl.String})
