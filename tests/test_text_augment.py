"""Augmentation: what may change, what must stay, and that a seed decides."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m6rec.base.errors import ConfigError, DataError
from m6rec.text import augment
from m6rec.text.augment import Augmenter, neighbouring_words, read_synonyms, run_translation, translation_command
from m6rec.text.config import AugmentConfig

QUIET = {"word_dropout": 0.0, "field_dropout": 0.0, "replace": 0.0}


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_synonyms_of_a_file_replace_words_in_both_kinds_of_script(tmp_path: Path) -> None:
    path = tmp_path / "synonyms.txt"
    path.write_text("# remarks stay out\nquick, Fast\n手机，电话\n", encoding="utf-8")
    synonyms = read_synonyms(path)
    assert synonyms == {"quick": ["fast"], "fast": ["quick"], "手机": ["电话"], "电话": ["手机"]}
    augmenter = Augmenter(AugmentConfig(**{**QUIET, "replace": 1.0}), synonyms)
    assert augmenter.changed("A Quick test, 我的手机很好!", draw()) == "A fast test, 我的电话很好!"


def test_fields_are_dropped_whole_and_something_always_stays() -> None:
    augmenter = Augmenter(AugmentConfig(**{**QUIET, "field_dropout": 0.6}))
    text = "boots; waterproof shoes; brand X"
    made = {augmenter.changed(text, draw(seed), "; ") for seed in range(60)}
    assert all(set(copy.split("; ")) <= set(text.split("; ")) for copy in made)
    assert len(made) > 3
    everything = Augmenter(AugmentConfig(**{**QUIET, "word_dropout": 0.99}))
    assert all(everything.changed("one two", draw(seed)) for seed in range(20))


@given(st.text(max_size=60))
def test_nothing_switched_on_changes_only_blanks(text: str) -> None:
    copy = Augmenter(AugmentConfig(**QUIET)).changed(text, draw())
    assert copy.replace(" ", "") == text.strip().replace(" ", "")


def test_equal_generators_make_equal_copies_and_the_share_of_dropped_words_is_as_asked() -> None:
    augmenter = Augmenter(AugmentConfig(copies=2, word_dropout=0.25))
    texts = [" ".join(f"w{number}" for number in range(40))] * 50
    first, second = (augmenter(texts, draw(4)) for _ in range(2))
    assert first == second
    assert len(first) == augmenter.copies == 2
    kept = np.mean([len(copy.split()) for copies in first for copy in copies]) / 40
    assert kept == pytest.approx(0.75, abs=0.03)


def test_words_that_keep_the_same_company_are_neighbours() -> None:
    generator = draw(1)
    filler = [f"f{number}" for number in range(90)]
    texts = []
    for _ in range(1500):
        thing = generator.choice(["parcel", "package", "banana"])
        around = ["arrived", "late", "at", "door"] if thing != "banana" else ["ripe", "yellow", "sweet", "fruit"]
        texts.append(
            " ".join([*generator.choice(filler, 3), around[0], around[1], thing, around[2], around[3], *generator.choice(filler, 3)])
        )
    synonyms = neighbouring_words(texts)
    assert "package" in synonyms["parcel"]
    assert "banana" not in synonyms["parcel"]
    assert neighbouring_words(["too few words"]) == {}


def test_translation_there_and_back_is_the_users_own_program() -> None:
    upper = f'{sys.executable} -c "import sys; sys.stdout.write(sys.stdin.read().upper())"'
    augmenter = Augmenter.of(AugmentConfig(back_translation=upper), [], Path())
    assert augmenter.copies == 1
    assert augmenter(["one\ntwo", "drei"], draw()) == [["ONE TWO", "DREI"]]
    with pytest.raises(DataError, match="back translation gave 1 texts for 2"):
        Augmenter(AugmentConfig(), translate=lambda texts: texts[:1])(["a", "b"], draw())
    with pytest.raises(ConfigError, match="can't be started: no program 'no-such-program-here' is found that may be run"):
        run_translation("no-such-program-here --fast", ["a"])
    with pytest.raises(ConfigError, match="ended with 3"):
        run_translation(f'{sys.executable} -c "raise SystemExit(3)"', ["a"])


@pytest.mark.parametrize(("command", "said"), [("tr 'a b", "can't be read: No closing quotation"), (" ", "is empty; give a program")])
def test_a_translation_that_is_no_command_is_refused(command: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        translation_command(command)


def test_a_translation_that_hangs_or_writes_no_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="wrote what is not UTF-8"):
        run_translation(f"{sys.executable} -c \"import sys; sys.stdout.buffer.write(b'\\xff')\"", ["a"])
    monkeypatch.setattr(augment, "TRANSLATION_START", 0.1)
    monkeypatch.setattr(augment, "TRANSLATION_SECONDS", 0.1)
    with pytest.raises(ConfigError, match="did not end within 0 seconds, 2 texts given; try it by hand"):
        run_translation(f'{sys.executable} -c "import time; time.sleep(60)"', ["a", "b"])


def test_a_file_without_groups_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("alone\n")
    config = AugmentConfig(copies=1, synonyms="empty.txt")
    with pytest.raises(ConfigError, match="no line with two words or more"):
        Augmenter.of(config, [], tmp_path)
    with pytest.raises(ConfigError, match=r"can't be read: No such file"):
        Augmenter.of(AugmentConfig(copies=1, synonyms="missing.txt"), [], tmp_path)
