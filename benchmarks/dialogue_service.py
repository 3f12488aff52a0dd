"""What a help desk asks of a conversation: known questions answered, and handing over to a person, measured on dialogues with planted truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m6rec import Recommender
from m6rec.data.dialogues import conversations, dialogue_parts
from m6rec.evaluation.intervals import wilson
from m6rec.serving.conversation.config import ConversationConfig
from m6rec.serving.conversation.faq import Faq
from m6rec.text.phrases import built_in_phrases

TEST = 2


def faq_of_labelled(train: pl.DataFrame, test: pl.DataFrame, text: str, label: str) -> dict[str, Any]:
    """Recall at 1 of questions whose answers are known by other ways to ask for them: columns `text` and `label` of both tables."""
    known = pl.DataFrame({"question": train[text], "answer": train[label].cast(pl.String), "lang": [None] * train.height})
    faq = Faq(known.with_columns(pl.col("lang").cast(pl.String)), plain=built_in_phrases("en").plain)
    codes, _ = faq.best(test[text].to_list())
    right = faq.answers[codes] == test[label].cast(pl.String).to_numpy()
    return {"questions": train.height, "asked": test.height, **_share("recall@1", int(right.sum()), test.height)}


def on_sample(run: Path, source: Path) -> dict[str, Any]:
    """Known questions and hand-overs of the held-out dialogues of the sample at `source`, by the model in `run`."""
    rec = Recommender.from_pretrained(run)
    frame = rec.engine.dataset.dialogues
    if frame is None:
        return {}
    held = frame.filter(pl.Series(dialogue_parts(frame) == TEST))
    names = {name for name, _ in conversations(held)}
    planted = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    return talked(rec, [dialogue for dialogue in planted if dialogue["dialogue_id"] in names])


def talked(rec: Recommender, planted: list[dict[str, Any]]) -> dict[str, Any]:
    """Known questions answered and turns handed over in planted dialogues.

    Each turn of a person is answered after the planted turns before it. A question counts as answered where the reply is its planted answer.
    """
    asked = answered = recalled = handed = right = wanted = turns = 0
    missed: dict[str, int] = {}
    wordings: set[str] = set()
    for dialogue in planted:
        talk = rec.conversation()
        for message, after in zip(dialogue["messages"], [*dialogue["messages"][1:], None], strict=True):
            if message["role"] != "user":
                talk.tell(message["text"], message["items"])
                continue
            turns += 1
            turn = talk.hear(message["text"])
            phrases = talk.talker.phrases_of(turn.text, turn.language)
            reply = talk.talker.policy.reply(turn, talk.state, talk.person, phrases)
            handed += reply.hand_over
            wanted += message["hand_over"]
            right += reply.hand_over and message["hand_over"]
            if reply.hand_over != message["hand_over"]:
                case = f"{message['text']} -> {reply.intent}, {'handed over' if reply.hand_over else 'kept'}"
                missed[case] = missed.get(case, 0) + 1
            if message["intent"] == "faq" and after is not None:
                asked += 1
                wordings.add(message["text"])
                faq = talk.talker.faq
                recalled += faq is not None and str(faq.answers[faq.best([message["text"]])[0][0]]) == after["text"]
                answered += reply.text == after["text"]
                if reply.text != after["text"] and not reply.hand_over:
                    case = f"{message['text']} -> {reply.text[:60]}"
                    missed[case] = missed.get(case, 0) + 1
    precision, recall = _share("precision", right, handed), _share("recall", right, wanted)
    faq_facts = {"asked": asked, "wordings": len(wordings), **_share("recall@1", recalled, asked), **_share("answered", answered, asked)}
    return {
        "dialogues": len(planted),
        "turns": turns,
        "faq": faq_facts,
        "hand_over": {"planted": wanted, "handed": handed, **precision, **recall},
        "wrong": dict(sorted(missed.items(), key=lambda pair: -pair[1])),
    }


def asked_freely(run: Path, shops: Path, work: Path) -> dict[str, Any]:
    """Known questions of shops as people may ask them, and what none of these answers, each the first turn of a conversation over the model in `run`.

    shops: JSON, name -> {"known": [{question, answer}], "asked": [{text, question}], "others": [text]}.
    """
    rec, found = Recommender.from_pretrained(run), {}
    for name, shop in json.loads(shops.read_text(encoding="utf-8"))["shops"].items():
        path = work / f"known-{name}.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in shop["known"]), encoding="utf-8")
        config, answers = ConversationConfig(faq=str(path)), {one["question"]: one["answer"] for one in shop["known"]}
        counts = {"right": 0, "wrong": 0, "handed": 0}
        wrong: list[str] = []
        for one in shop["asked"]:
            reply = rec.chat([{"role": "user", "content": one["text"]}], config=config)
            if reply.intent == "faq":
                counts["right" if reply.text == answers[one["question"]] else "wrong"] += 1
                wrong += [] if reply.text == answers[one["question"]] else [f"{one['text']} -> {reply.text[:60]}"]
            counts["handed"] += reply.hand_over
        others = [text for text in shop["others"] if rec.chat([{"role": "user", "content": text}], config=config).intent == "faq"]
        asked, untold = len(shop["asked"]), len(shop["others"])
        shares = {key: value for name, count in counts.items() for key, value in _share(name, count, asked).items()}
        answered = _share("others answered", len(others), untold)
        found[name] = {"known": len(answers), "asked": asked, "others": untold, **shares, **answered, "misses": [*wrong, *others]}
    return found


def banking(folder: Path) -> dict[str, Any]:
    """Customer queries with their intents: the intent is the answer."""
    tables = {}
    for part in ("train", "test"):
        path = next(path for path in sorted(folder.iterdir()) if path.name.split(".")[0] == part)
        tables[part] = pl.read_csv(path) if ".csv" in path.name else pl.read_parquet(path)
    return faq_of_labelled(tables["train"], tables["test"], "text", "category")


def _share(name: str, hits: int, of: int) -> dict[str, Any]:
    low, high = wilson(hits / of, of) if of else (0.0, 0.0)
    return {name: hits / of if of else float(np.nan), f"{name} interval": [low, high]}
