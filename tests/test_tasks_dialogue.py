"""The item a dialogue names next: rows without a look ahead, neighbours that leave a dialogue's own words out, saved and loaded alike, used by chat."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from conftest import CommandLine
from m6rec import Recommender
from m6rec.base.contracts import Histories
from m6rec.base.errors import ConfigError, DataError, UsageError
from m6rec.config import M6RecConfig, load_config
from m6rec.data.dataset import Dataset, FieldType, Table, Vocabulary
from m6rec.data.dialogue_rows import joined, named_events, nameless, split_dialogues
from m6rec.data.dialogues import SCHEMA, dialogue_parts
from m6rec.evaluation.conversed import Conversed
from m6rec.serving.conversation.config import ConversationConfig
from m6rec.serving.conversation.measured import measured
from m6rec.serving.conversation.reply import ChatReply
from m6rec.serving.conversation.written import Manner
from m6rec.tasks.dialogue_neighbours import DialogueNeighbours, Turns
from m6rec.training.pipeline import open_run, train

QUICK = (Phase.explicit, Phase.generate)
TASKS = """  named: {answer: choose, of: dialogue}
  reply: {answer: write, from: dialogue, reads: [history, item, context], memory: 0, own: 0, longest: 24}
"""
SMALL = (
    *("model.width=16", "model.history=8", "pretrain.epochs=1", "train.epochs=2", "train.threads=1", "text.vocabulary=400"),
    *("evaluation.resamples=100", "evaluation.baselines=[popularity]", "writing.width=32", "writing.layers=1"),
)
TITLES = ["Heat", "Up", "Ronin", "Fargo"]
ITEMS = Table(Vocabulary(["a", "b", "c", "d"]), pl.DataFrame({"title": TITLES}), {"title": FieldType.TEXT})


def dialogue(name: str, *turns: tuple[str, str, str], split: int = 0, refused: str = "") -> list[dict[str, object]]:
    """Turns of (u or a, text, ids without blanks)."""
    facts = {"dialogue_id": name, "user_id": None, "lang": "en", "time": None, "split": split}
    return [
        {
            **facts,
            "turn": number,
            "role": {"u": "user", "a": "assistant"}[who],
            "text": text,
            "items": list(items),
            "liked": [],
            "refused": list(refused) if who == "u" else [],
        }
        for number, (who, text, items) in enumerate(turns)
    ]


def dataset(*dialogues: list[dict[str, object]]) -> Dataset:
    frame = pl.DataFrame([row for rows in dialogues for row in rows], schema=SCHEMA)
    return Dataset(ITEMS, Table(Vocabulary([]), pl.DataFrame(), {}), Histories.from_lists([]), dialogues=frame)


def test_rows_see_what_was_said_before_and_nothing_else() -> None:
    talk = dialogue(
        "1", ("u", "I loved Heat", "a"), ("a", "try Up or Ronin (1998)", "bc"), ("u", "no, scary please", ""), ("a", "Heat and Fargo", "ad")
    )
    split = split_dialogues(dataset(talk, dialogue("2", ("u", "hi", ""), ("a", "Heat", "a"), split=2)))
    rows = split.train
    assert rows.targets.tolist() == [1, 2, 3]  # Heat was named before: a repeated mention is no target
    assert [rows.histories.row(row).tolist() for row in range(3)] == [[0], [0], [0, 1, 2]]
    assert rows.texts == ["I loved", "I loved", "I loved try or no, scary please"]
    assert split.sequences.row(0).tolist() == [0, 1, 2, 3]
    assert (len(split.validation), len(split.test)) == (0, 1)


def test_refused_items_are_no_history() -> None:
    talk = dialogue("1", ("a", "Heat", "a"), ("u", "no", ""), ("a", "Up", "b"), refused="a")
    rows = split_dialogues(dataset(talk)).train
    assert rows.targets.tolist() == [0, 1]
    assert rows.histories.row(1).tolist() == []


def test_names_are_taken_out_of_words() -> None:
    assert nameless("I saw heat (1995), and Up!", ["Heat", "Up"]) == "I saw , and !"


def test_events_are_made_of_training_dialogues_alone() -> None:
    frame = dataset(dialogue("1", ("a", "x", "ab"), ("u", "y", "a")), dialogue("2", ("a", "x", "c"), split=2)).dialogues
    assert frame is not None
    assert named_events(frame).rows() == [("1", "a", 0), ("1", "b", 1)]
    with pytest.raises(DataError, match="no training dialogue names an item"):
        named_events(frame.filter(pl.col("dialogue_id") == "2"))


def test_neighbours_by_hand_and_without_oneself() -> None:
    named = Histories.from_lists([[0, 1], [2], [3]])
    found = DialogueNeighbours.fit(["scary night", "funny night", "funny clown"], named, 4)
    answers, near = found.answers(found.asked(["scary", "funny clown", "nothing of it"]))
    assert answers[0].tolist() == pytest.approx([0.5, 0.5, 0, 0])  # the one dialogue with the word, which names two
    assert near[1] == pytest.approx(1.0, abs=1e-6)
    assert answers[1].argmax() == 3
    assert answers[2].sum() == 0
    assert near[2] == 0
    mine, _ = found.at_targets(found.asked(["scary night"]), np.array([0]), np.array([0]))
    assert mine[0] == 0  # without its own dialogue nothing speaks for the item
    again = DialogueNeighbours.restored(found.plain(), found.tensors())
    np.testing.assert_array_equal(again.answers(again.asked(["scary"]))[0], answers[:1])
    assert found.grown(2).answers(found.asked(["scary"]))[0].shape == (1, 6)


def test_turns_and_centroids_by_hand() -> None:
    named = Histories.from_lists([[0, 1], [2]])
    turns = Turns(["scary", "scary night clown", "funny"], np.array([0, 1, 2], dtype=np.int32))
    found = DialogueNeighbours.fit(["scary night clown", "funny"], named, 4, turns=turns)
    asked = found.asked(["scary", "funny", "nothing of it"])
    then = found.said_then(asked)
    assert then[0, 0] > then[0, 1] > 0  # right after that very word; the longer turn is further away
    assert then[0].sum() == pytest.approx(1, abs=1e-6)
    assert then[1].tolist() == pytest.approx([0, 0, 1, 0])
    assert then[2].sum() == 0
    np.testing.assert_allclose(
        found.said_of(asked), [[3**-0.5, 3**-0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], atol=1e-6
    )  # three words of one weight
    again = DialogueNeighbours.restored(found.plain(), found.tensors())
    np.testing.assert_array_equal(again.said_then(asked), then)
    assert found.grown(2).said_then(asked).shape == found.grown(2).said_of(asked).shape == (3, 6)
    other = found.over(["scary"], Histories.from_lists([[3]]), Turns(["scary"], np.array([3], dtype=np.int32)))
    assert other.said_then(asked)[0].tolist() == other.said_of(asked)[0].tolist() == pytest.approx([0, 0, 0, 1])


def test_histories_are_joined() -> None:
    both = joined(Histories.from_lists([[1, 2], []]), Histories.from_lists([[3]]))
    assert [both.row(row).tolist() for row in range(3)] == [[1, 2], [], [3]]


def test_configuration() -> None:
    with pytest.raises(ConfigError, match="events is required"):
        M6RecConfig.build({"data": {"items": "items.csv"}})
    twice = {"a": {"answer": "choose"}, "b": {"answer": "choose", "of": "dialogue"}, "c": {"answer": "choose", "of": "dialogue"}}
    with pytest.raises(ConfigError, match="2 tasks with answer: choose, of: dialogue"):
        M6RecConfig.build({"data": {"dialogues": "d.jsonl"}, "tasks": twice})


@pytest.fixture(scope="module")
def talked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained on the talking sample, with dialogues and a task that writes replies."""
    from m6rec.data.sample import write_sample

    folder = tmp_path_factory.mktemp("talk")
    write_sample(folder, users=60, items=40, events_per_user=6.0, talk=True)
    lines = (folder / "config.yaml").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "config.yaml").write_text(
        "".join(line for line in lines if "answer: judge" not in line and "answer: write" not in line) + TASKS, encoding="utf-8"
    )
    run = folder / "run"
    train(load_config(folder / "config.yaml", SMALL), folder, run)
    return run


def test_it_answers_alike_when_loaded_and_alone(talked: Path) -> None:
    rec = Recommender.from_pretrained(talked)
    history = rec.engine.items.ids.ids[:3]
    best = rec.recommend(history=history, text="something for hiking", task="named", k=5)
    assert len({one.item_id for one in best} - set(history)) == 5
    rec.save_pretrained(talked.parent / "again")
    again = Recommender.from_pretrained(talked.parent / "again").recommend(history=history, text="something for hiking", task="named", k=5)
    assert [(one.item_id, one.score) for one in again] == [(one.item_id, pytest.approx(one.score, abs=1e-5)) for one in best]
    scorer = rec.engine.scorer.talking
    bench = open_run(talked)
    assert bench.talking is not None
    cases = bench.talking.split.train.cases().requests.rows(np.arange(5))
    together = scorer.scores(cases)
    single = np.concatenate([scorer.scores(cases.rows(np.array([row]))) for row in range(5)])
    np.testing.assert_allclose(together, single, atol=1e-4)
    parts = scorer.parts(cases)
    assert "dialogues" in parts
    assert set(scorer.pool.weights) == {
        "mixture",
        "next",
        "forward",
        "backward",
        "similar",
        "dialogues",
        "turns",
        "content",
        "typed",
        "said",
    }
    log_p, signals = scorer.evidence(cases)
    np.testing.assert_allclose(scorer.pool.scores(log_p, signals), together, atol=1e-6)
    np.testing.assert_allclose(log_p, np.log(sum(parts.values())), atol=1e-4)
    np.testing.assert_allclose(sum(parts.values()).sum(axis=1), 1.0, atol=1e-3)


def test_the_report_of_a_training_tells_what_is_named_in_dialogues(talked: Path) -> None:
    bench = open_run(talked)
    assert bench.talking is not None
    page = (talked / "report.html").read_text(encoding="utf-8")
    assert f"{len(bench.talking.split.test):,} items that an assistant is the first to name" in page


def test_the_task_that_reads_histories_is_explained_and_that_of_dialogues_is_not(talked: Path) -> None:
    rec = Recommender.from_pretrained(talked)
    assert rec.explain_overall(people=3).task == "next"
    items = rec.engine.items.ids.ids
    asked: list[Callable[[], object]] = [
        lambda: rec.explain_overall("named", people=3),
        lambda: rec.explain(history=items[:2], item=items[5], task="named"),
    ]
    for ask in asked:
        with pytest.raises(UsageError, match="'named' chooses out of dialogues, which is not explained; explained are next and tasks"):
            ask()


def test_new_items_can_be_named(talked: Path) -> None:
    rec = Recommender.from_pretrained(talked)
    rec.recommend(history=rec.engine.items.ids.ids[:2], task="named")
    rec.add_items([{"item_id": "fresh", "title": "Borea trail lantern"}])
    assert len(rec.recommend(history=["fresh"], text="hiking", task="named", k=len(rec.engine.items))) >= 40


def test_chat_asks_the_task_and_writes(talked: Path) -> None:
    rec = Recommender.from_pretrained(talked)
    talk = rec.conversation(config=ConversationConfig(questions=0))
    first = talk.say("I need something for hiking")
    assert first.items
    assert all(one.title in first.text for one in first.items)
    assert first.written in ("template", "model")
    refused = first.items[0].item_id
    later = talk.say(f"not {first.items[0].title}")
    assert refused in talk.refused
    assert refused not in [one.item_id for one in later.items]
    plain = rec.conversation(config=ConversationConfig(questions=0, written=False)).say("I need something for hiking")
    assert plain.written == "template"
    assert len(plain.items) == 3


@pytest.fixture(scope="module")
def writer(talked: Path) -> Recommender:
    return Recommender.from_pretrained(talked)


def test_a_reply_in_its_own_words_is_told_while_it_is_written(talked: Path) -> None:
    rec = Recommender.from_pretrained(talked)
    config = ConversationConfig(questions=0, written=True)

    def reply(**manner: Any) -> tuple[ChatReply, list[str]]:
        told: list[str] = []
        return rec.conversation(config=config).say("I need something for hiking", Manner(tell=told.append, **manner)), told

    for manner in ({}, {"temperature": 0.7, "seed": 5}, {"temperature": 0.7, "seed": 6}):
        (first, told), (second, _) = reply(**manner), reply(**manner)
        assert first.text == second.text
        assert all(first.text.startswith(text) for text in told)
        assert (told[-1:] == [first.text]) == (first.written == "model")


@settings(max_examples=6, deadline=None, phases=QUICK, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(["I need something for hiking", "not {0}", "I loved {0}", "something warm please"]), min_size=1, max_size=3),
    st.one_of(st.none(), st.integers(0, 1000)),
)
def test_a_streamed_reply_is_the_reply(writer: Recommender, turns: list[str], seed: int | None) -> None:
    """Joined, the pieces are the reply that is not streamed, items and all; drawn by the same seed too."""
    manner = Manner() if seed is None else Manner(temperature=0.7, seed=seed)
    config, messages = ConversationConfig(questions=0, written=True), list[dict[str, Any]]()
    titles = writer.engine.items.titles()
    for number, turn in enumerate(turns):
        messages.append({"role": "user", "content": turn.format(titles[number])})
        whole = writer.chat(messages, config=config, manner=manner)
        streamed = writer.chat(messages, stream=True, config=config, manner=manner)
        assert "".join(streamed) == whole.text
        assert streamed.reply == whole
        messages.append(whole.message())


def test_evaluating_a_run_tells_of_its_dialogues(talked: Path, m6rec: Callable[..., CommandLine], tmp_path: Path) -> None:
    """Items named, known questions and hand-overs, as counted from the planted dialogues by hand; in the JSON and on the page."""
    page = tmp_path / "page.html"
    told = {one.get("task", ""): one for one in m6rec("evaluate", talked, "--baselines", "none", "--report", page, "--json").json()}
    bench = open_run(talked)
    assert bench.talking is not None
    assert bench.dataset.dialogues is not None
    frame = bench.dataset.dialogues
    assert told["named in dialogues"]["cases"] == len(bench.talking.split.test)
    assert 0 <= told["named in dialogues"]["metrics"]["ndcg@10"]["low"] <= 1
    held = frame.filter(pl.Series(dialogue_parts(frame) == 2))
    talk = told["conversation"]
    assert talk["dialogues"] == held["dialogue_id"].n_unique()
    assert talk["hand_overs"] == held["hand_over"].sum()
    assert "Conversations (" in page.read_text(encoding="utf-8")


def test_conversations_are_measured_where_the_truth_is_known(writer: Recommender) -> None:
    """Every turn of a person counts once; a known question is one whose next words are a known answer."""
    dataset, talker = writer.engine.dataset, writer._talk()
    assert dataset.dialogues is not None
    assert dataset.faq is not None
    frame = dataset.dialogues.filter(pl.Series(dialogue_parts(dataset.dialogues) == 0))
    found = measured(talker, 0)
    assert found is not None
    assert len(found.wanted) == frame.filter(pl.col("role") == "user").height
    assert found.wanted.sum() == frame["hand_over"].sum() > 0
    answers = pl.col("text").is_in(dataset.faq["answer"].to_list())
    assert len(found.recalled) == frame.filter((pl.col("role") == "assistant") & answers).height > 0
    assert found.recalled.mean() >= 0.9  # what it learned from
    assert (found.handed & found.wanted).sum() > 0
    assert Conversed("m", 1, *[np.zeros(0, dtype=bool)] * 4).figures() == {}


def test_known_questions_are_learned_from_dialogues(talked: Path) -> None:
    faq = Recommender.from_pretrained(talked)._talk().faq
    assert faq is not None
    assert len(faq.questions) > 12  # more than the file has: as people asked
