"""Writing end to end: trained beside the other tasks, saved and loaded, resumed to the same bits, asked by the library and the command line."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from m6rec.base.errors import ConfigError, DataError, Interrupted, UnknownItemError, UnknownUserError, UsageError
from m6rec.explanation.claims import Checked, Facts
from m6rec.language_model.quick_speaking import QuickSpeaker
from m6rec.language_model.speaking import WriterSpeaker
from m6rec.recommender import Recommender
from m6rec.serving.engine.how_to_write import DRAFTS, HowToWrite
from m6rec.tasks.drafts import least_words
from m6rec.tasks.known_words import KnownWords
from m6rec.tasks.write import VALIDATION, Write, WriteBatch
from m6rec.tasks.write_part import WriteRequest
from m6rec.tasks.write_sources import Known
from m6rec.tasks.writing_masks import word_count
from m6rec.training.loop import Loop
from m6rec.training.pipeline import open_run
from m6rec.training.task_checks import check_tasks
from m6rec.training.workbench import Workbench

if TYPE_CHECKING:
    from conftest import CommandLine


@pytest.fixture(scope="module")
def sample(writing_sample: Path) -> Path:
    return writing_sample


@pytest.fixture(scope="module")
def run(writing_run: Path) -> Path:
    return writing_run


@pytest.fixture(scope="module")
def rec(run: Path) -> Recommender:
    return Recommender.from_pretrained(run)


@pytest.fixture(scope="module")
def bench(run: Path) -> Workbench:
    return open_run(run)


def test_texts_are_learned_and_the_log_says_how_well(run: Path, bench: Workbench) -> None:
    rows = [json.loads(line) for line in next((run / "stages").glob("fit-*/log.jsonl")).read_text(encoding="utf-8").splitlines()]
    assert rows[-1]["search perplexity"] < rows[0]["search perplexity"] < bench.tokenizer.size / 2
    assert rows[-1]["reason log likelihood"] == pytest.approx(-np.log(rows[-1]["reason perplexity"]))


def test_what_is_loaded_says_what_was_trained(bench: Workbench, rec: Recommender) -> None:
    trained, loaded = bench.fitted().writing, rec.engine.scorer.writing
    assert trained is not None
    assert loaded is not None
    assert bench.writing is not None
    examples = bench.writing.examples(bench)
    found = []
    for part, model in ((trained, bench.model), (loaded, rec.engine.scorer.model)):
        part.write.bind(examples)
        found.append(part.write.measure(model, VALIDATION)["reason"][0])
    assert found[0] == found[1]
    assert loaded.inputs.rows.texts == trained.inputs.rows.texts


def test_a_request_reads_what_a_training_row_reads(bench: Workbench, rec: Recommender) -> None:
    """A held-out text asked for again, with what was before it: the same pieces and slots, so the same first word."""
    scorer, writing = rec.engine.scorer, bench.writing
    part = scorer.writing
    assert part is not None
    assert writing is not None
    examples, rows = writing.examples(bench), writing.rows
    part.write.bind(examples)
    chosen = np.flatnonzero((rows.parts == VALIDATION) & (rows.task == 0))[:4]
    with torch.no_grad():
        read = part.write.read(scorer.model, WriteBatch("reason", chosen, -1))
        expected, _ = WriterSpeaker(scorer.model, part.write.writer, part.write.option("reason"), read, part.write.bos_id).start(
            len(chosen)
        )
    histories, titles = bench.dataset.histories, bench.dataset.items.titles()
    before = [np.arange(rows.starts[row], rows.ends[row]) for row in chosen.tolist()]
    past = histories.pick(np.concatenate(before), np.cumsum([0, *map(len, before)]))
    requests = [
        WriteRequest(
            item=int(rows.items[row]),
            user=int(rows.users[row]),
            words=part.inputs.item_words[rows.items[row]],
            profile=part.inputs.user_words[rows.users[row]],
            past=[titles[item] for item in rows.past[row]],
            vector=scorer.catalogue.vectors[[int(rows.items[row])]],
        )
        for row in chosen.tolist()
    ]
    profiles = None if scorer.profiles is None else scorer.profiles.contents
    speaker = part.speaker(scorer.model, "reason", requests, past, Known(past, scorer.catalogue.contents, profiles, scorer.vectors))
    assert isinstance(speaker, QuickSpeaker)
    torch.testing.assert_close(speaker.start(len(chosen))[0], expected, atol=1e-4, rtol=1e-4)


def test_writing_is_the_same_twice_and_keeps_to_what_was_asked(rec: Recommender) -> None:
    one, two = (rec.write("reason", "u01", "i01", decoding="nucleus", seed=5, n=3, check=False) for _ in range(2))
    assert one == two
    assert len({one.text, *(other.text for other in one.others)}) > 1
    best = rec.write("reason", "u01", "i01", words=(2, 6), banned=["the"])
    assert len(best.text.split()) <= 6
    assert "the" not in best.text.lower().split()
    assert rec.write("search", "u02").kind == "search"
    streamed = "".join(rec.write_stream("search", "u02", decoding="greedy"))
    assert streamed.strip() == rec.write("search", "u02", decoding="greedy").text


def test_of_a_banned_phrase_each_word_may_be_written(rec: Recommender) -> None:
    ask = HowToWrite(banned=["of the", "Boots ", "well-known", "the"])
    known = next(mask for mask in rec.engine._masks("reason", "i01", None, ask, {}) if isinstance(mask, KnownWords))
    assert known.banned == {"boots", "the"}


def test_a_stream_of_somebody_unknown_is_refused_at_the_call(rec: Recommender) -> None:
    with pytest.raises(UnknownUserError, match="nobody"):
        rec.write_stream("search", "nobody")


def test_a_stream_that_comes_to_nothing_has_the_text_of_a_wider_search(rec: Recommender) -> None:
    """Of so little training most draws are untrue of their item from end to end."""
    nothing = 0
    for seed in range(8):
        dropped: list[str] = []
        ask = HowToWrite("nucleus", seed=seed)
        pieces = list(rec.engine.write_stream("search", "u01", "i01", ask=ask, dropped=dropped))
        text = rec.write("search", "u01", "i01", decoding="nucleus", seed=seed).text
        assert bool(pieces) == bool(text)
        if pieces == [text]:
            nothing += 1
    assert nothing >= 2


def test_names_are_those_of_the_item_and_the_history(rec: Recommender) -> None:
    engine = rec.engine
    titles = engine._titles()
    allowed = {titles[engine._item("i03")], *(titles[item] for item in engine._request("u01", None, None, None, None).histories.items)}
    others = {title for title in titles if len(title) > 3} - allowed
    for seed in range(5):
        text = rec.write("reason", "u01", "i03", decoding="nucleus", seed=seed, temperature=1.5, top_p=1.0).text
        assert not [title for title in others if title in text]


def test_a_stranger_an_added_item_and_a_described_person(rec: Recommender, run: Path) -> None:
    import polars as pl

    fresh = Recommender.from_pretrained(run)
    fresh.add_items(pl.DataFrame({"item_id": ["new"], "title": ["Blue lantern"], "description": ["A lamp for camping."]}))
    assert fresh.write("reason", None, "new").text
    assert fresh.write("search", profile="likes hiking").text
    assert fresh.write("reason", None, "new", history=["i01", "i02"], about=["lamp"]).kind == "reason"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("reasn", "u01", "i01"), "no write task 'reasn'; did you mean 'reason'"),
        (("reason",), "nothing to write about"),
    ],
)
def test_wrong_questions_are_one_line(rec: Recommender, arguments: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        rec.write(*arguments)


def test_more_wrong_questions(rec: Recommender, tiny_run: Path) -> None:
    with pytest.raises(UnknownItemError):
        rec.write("reason", "u01", "i99999")
    with pytest.raises(UsageError, match="give a list of words"):
        rec.write("reason", "u01", "i01", about="battery")
    for about in (["x" * 1_000_000], ["battery"] * 101):
        with pytest.raises(UsageError, match="give at most 100 words or phrases of at most 500 characters"):
            rec.write("reason", "u01", "i01", about=about)
    with pytest.raises(UsageError, match="reads no 'plot'"):
        rec.write("reason", "u01", "i01", text={"plot": "x"})
    with pytest.raises(UsageError, match="greedy decoding finds one text"):
        rec.write("reason", "u01", "i01", decoding="greedy", n=2)
    with pytest.raises(UsageError, match="no task that writes"):
        Recommender.from_pretrained(tiny_run).write("reason", "u01")


def test_a_model_of_before_has_nothing_that_writes_and_loads(tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(tiny_run / "model", folder)
    facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    facts.pop("writing", None)
    (folder / "config.json").write_text(json.dumps(facts), encoding="utf-8")
    assert Recommender.from_pretrained(folder).engine.scorer.writing is None


def test_killed_and_resumed_ends_with_the_same_bits(bench: Workbench, tmp_path: Path) -> None:
    def loop(folder: Path) -> Loop:
        assert bench.writing is not None
        task = bench.new_task()
        write = bench.writing.new_task(bench, task)
        write.bind(bench.writing.examples(bench), 15)  # so an epoch ends amid a pass
        config = bench.config.train.model_copy(update={"checkpoint_seconds": 1e-9, "epochs": 2})
        return Loop(bench.model, {"write": write}, config, weights={"reason": 1.0, "search": 1.0}, seed=1, folder=folder)

    whole = loop(tmp_path / "whole")
    whole.run()
    killed = loop(tmp_path / "killed")
    step, taken = killed._step, [0]

    def stopping(*arguments: Any) -> Any:
        taken[0] += 1
        if taken[0] == 4:
            raise KeyboardInterrupt
        return step(*arguments)

    killed._step = stopping  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        killed.run()
    torch.manual_seed(99)
    resumed = loop(tmp_path / "killed")
    resumed.run()
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, resumed.module.state_dict()[name]), name


def test_every_task_has_its_own_passes_spread_over_the_epochs(bench: Workbench) -> None:
    assert bench.writing is not None
    write = bench.writing.new_task(bench, bench.new_task())
    first, second, *_ = write.configs
    write.configs[second] = write.configs[second].model_copy(update={"passes": 1.5})
    examples, epochs = bench.writing.examples(bench), 3
    write.bind(examples, epochs)
    seen = {name: Counter[int]() for name in write.configs}
    for epoch in range(epochs):
        write.begin(epoch)
        for batch in write.batches(np.random.default_rng(epoch)):
            seen[batch.task].update(batch.rows.tolist())
    training = {
        name: np.flatnonzero((examples.rows.parts == 0) & (examples.rows.task == number)) for number, name in enumerate(write.configs)
    }
    assert set(seen[first]) == set(training[first].tolist())
    assert set(seen[first].values()) == {int(write.writing.passes)}
    assert set(seen[second]) == set(training[second].tolist())
    assert set(seen[second].values()) <= {1, 2}
    assert abs(seen[second].total() - 1.5 * len(training[second])) <= write.writing.batch_rows


def test_an_option_alone_learns_on_what_is_frozen(bench: Workbench) -> None:
    """No layers of the writer's own: the upper layers stay as they are, soft prompts and the adapter learn."""
    assert bench.writing is not None
    settings = bench.config.writing.model_copy(update={"layers": 0, "own_words": False, "copy_words": False, "dropout": 0.0})
    from m6rec.tasks.write import WriteSizes

    sizes = WriteSizes.settle(bench.fit_shape, settings, bench.writing.configs)
    task = Write(bench.writing.configs, settings, bench.fit_shape, sizes, bench.new_task(), bench.tokenizer.bos_id, bench.tokenizer.eos_id)
    task.initialise(torch.Generator().manual_seed(1), bench.model)
    task.bind(bench.writing.examples(bench))
    trained = [name for name, parameter in task.named_parameters() if parameter.requires_grad]
    assert trained
    assert all(name.startswith("options.") for name in trained)
    before = {name: value.clone() for name, value in bench.model.state_dict().items()}
    optimizer = torch.optim.Adam([value for value in task.parameters() if value.requires_grad], 1e-2)
    losses = []
    for _ in range(6):
        for batch in list(task.batches(np.random.default_rng(0)))[:4]:
            loss = sum(task.loss(bench.model, batch).values())
            assert isinstance(loss, torch.Tensor)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.3
    assert all(torch.equal(value, before[name]) for name, value in bench.model.state_dict().items())


def test_a_task_without_its_texts_is_refused_before_training(bench: Workbench) -> None:
    config = bench.config.model_copy(
        update={"tasks": {**bench.config.tasks, "x": bench.config.writes["reason"].model_copy(update={"from_": ["poem"]})}}
    )
    with pytest.raises(DataError, match="no text of the kind 'poem'"):
        check_tasks(bench.dataset, config)


def test_the_command_line_writes(m6rec: Callable[..., CommandLine], run: Path) -> None:
    told = m6rec("write", run, "reason", "--user", "u01", "--item", "i01", "--json").json()
    assert told["kind"] == "reason"
    assert set(told["claims"]) == {"kept", "dropped"}
    assert m6rec("write", run, "search", "--user", "u01", "--stream").out.strip()
    assert len(m6rec("write", run, "search", "--user", "u01", "--decoding", "nucleus", "-n", "3").out.splitlines()) == 3
    assert "--words 'few'" in m6rec("write", run, "search", "--user", "u01", "--words", "few").error(2)
    assert "--stream prints one text" in m6rec("write", run, "search", "--user", "u01", "--stream", "--decoding", "beam").error(2)
    assert "not in the catalogue" in m6rec("write", run, "reason", "--item", "nothing").error(1)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["reasn"], "no write task 'reasn'; did you mean 'reason'"),
        (["reason", "-n", "0"], "n is 0; give a whole number of texts from 1 to 64"),
        (["reason", "--temperature", "0"], "temperature is 0.0; give a number above 0"),
        (["reason", "--words", "9-3"], "words are (9, 3)"),
        (["reason", "--language", "klingon"], "no language 'klingon'"),
        (["reason", "--top-p", "0"], "top_p is 0.0"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_loaded(
    m6rec: Callable[..., CommandLine], run: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], complaint: str
) -> None:
    def loaded(*arguments: Any) -> None:
        raise AssertionError("loaded before the options were looked at")

    monkeypatch.setattr(Recommender, "from_pretrained", loaded)
    assert complaint in m6rec("write", run, *options, "--user", "u01").error(2)


def test_wrong_ways_to_write_are_one_line(rec: Recommender) -> None:
    asked: list[tuple[dict[str, Any], str]] = [
        ({"n": 0}, "n is 0; give a whole number of texts from 1 to 64"),
        ({"n": 1000}, "n is 1000; give a whole number of texts from 1 to 64"),
        ({"decoding": "foo"}, "decoding is 'foo'; say beam, greedy, nucleus or agreed"),
        ({"decoding": "gredy"}, "decoding is 'gredy'; did you mean 'greedy'"),
        ({"temperature": 0}, "temperature is 0; give a number above 0"),
        ({"top_p": 1.5}, "top_p is 1.5; give a share"),
        ({"banned": "boots"}, r"banned is the text 'boots'; give a list of words, for example banned=\['boots'\]"),
        ({"words": (0, 0)}, r"words are \(0, 0\)"),
        ({"text": "waterproof"}, "the write task 'reason' reads no text; it reads: history, item, profile"),
        ({"language": "zh"}, "language is 'zh' and 0 of .* known texts of 'reason' are written in its letters"),
    ]
    for options, complaint in asked:
        with pytest.raises(UsageError, match=complaint) as error:
            rec.write("reason", "u01", "i01", **options)
        assert "\n" not in str(error.value)


def test_a_profile_that_a_task_does_not_read_is_told(rec: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    part = rec.engine.scorer.writing
    assert part is not None
    deaf = part.write.configs["search"].model_copy(update={"reads": ["history"]})
    monkeypatch.setitem(part.write.configs, "search", deaf)
    with pytest.raises(UsageError, match="'search' reads no profile; it reads: history; leave profile out"):
        rec.write("search", "u01", profile="likes running")


def test_several_texts_differ_and_none_is_empty(rec: Recommender) -> None:
    for decoding in ("beam", "nucleus"):
        told = rec.write("reason", "u01", "i01", decoding=decoding, n=3, words=(1, 3), check=False)
        texts = [told.text, *(other.text for other in told.others)]
        assert all(texts)
        assert len({tuple(re.findall(r"\w+", text.lower())) for text in texts}) == len(texts)  # a sign or a capital makes no other text


def test_the_least_words_hold_for_what_the_check_leaves(rec: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    """The likeliest text loses all but three words to the check: another one, long enough, is found by a wider search."""
    whole = rec.write("reason", "u01", "i01", words=(4, 8), check=False).text
    assert word_count(whole) >= 4

    def short(text: str, facts: Facts) -> Checked:
        return Checked(" ".join(text.split()[:3]), (), ()) if text == whole else Checked(text, (), ())

    monkeypatch.setattr("m6rec.serving.engine.writing.check", short)
    assert word_count(rec.write("reason", "u01", "i01", words=(4, 8)).text) >= 4


def test_drafts_that_agree_are_true_and_of_the_usual_length(rec: Recommender) -> None:
    part = rec.engine.scorer.writing
    assert part is not None
    usual = part.inputs.usual_words["reason"]
    assert usual == pytest.approx(np.mean([word_count(text) for text in part.inputs.memories["reason"][0].texts]))
    free = [rec.write("reason", "u01", "i05", decoding="agreed", seed=2, check=False) for _ in range(2)]
    assert free[0] == free[1]
    assert word_count(free[0].text) >= least_words(usual)
    assert word_count(rec.write("reason", "u01", "i05", decoding="agreed", words=(1, 3), check=False).text) <= 3
    # The first is one of the drafts: the same ones, drawn as nucleus.
    drawn = rec.write(
        "reason", "u01", "i05", decoding="nucleus", seed=2, temperature=0.5, n=DRAFTS, check=False, words=(least_words(usual), 99)
    )
    assert free[0].text in {drawn.text, *(one.text for one in drawn.others)}
    checked = rec.write("reason", "u01", "i05", decoding="agreed", seed=2, n=4)
    assert [len(one.dropped) for one in (checked, *checked.others)] == sorted(len(one.dropped) for one in (checked, *checked.others))


def test_weights_that_change_are_laid_out_anew(run: Path) -> None:
    """Further training or loading writes into the same tensors: the arrays made of them before do not stay."""
    rec = Recommender.from_pretrained(run)
    part = rec.engine.scorer.writing
    assert part is not None
    before = rec.engine.speaker("reason", "u01", "i01").start(1)[0]
    with torch.no_grad():
        for weight in part.write.writer.parameters():
            weight.mul_(1.5)
    after = rec.engine.speaker("reason", "u01", "i01").start(1)[0]
    assert not torch.allclose(before, after)
    part.write.writer.load_state_dict({name: value / 1.5 for name, value in part.write.writer.state_dict().items()})
    torch.testing.assert_close(rec.engine.speaker("reason", "u01", "i01").start(1)[0], before, atol=1e-4, rtol=1e-4)


def test_configuration_errors_name_the_key() -> None:
    from m6rec.tasks.config import WriteConfig

    with pytest.raises(ConfigError, match="unknown key 'form'; did you mean"):
        WriteConfig.build({"form": "review"})
