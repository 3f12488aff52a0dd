"""The search space: how it is written, what can't be in it, and that the default one holds the configuration's own values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from m6rec.base.errors import ConfigError
from m6rec.config import M6RecConfig
from m6rec.training.search_space import Dimension, default_space, parse_searches, read_space, value_of, with_values

CONFIG = M6RecConfig.build({"data": {"events": "e.csv"}})


def one(text: str) -> Dimension:
    (dimension,) = parse_searches([text], CONFIG)
    return dimension


def test_ranges_and_choices() -> None:
    assert one("train.dropout=0.1..0.6") == Dimension("train.dropout", 0.1, 0.6)
    assert one("train.clip=1e-2..1:log") == Dimension("train.clip", 0.01, 1.0, log=True)
    assert one("model.history=20..101:step=10") == Dimension("model.history", 20, 100, step=10, whole=True)
    assert one("model.width=32, 64") == Dimension("model.width", choices=(32, 64))
    assert one("tasks.next.identity=true,false") == Dimension("tasks.next.identity", choices=(True, False))
    assert one("model.size=tiny,small").choices == ("tiny", "small")
    assert one("train.learning_rate=1e-3..1e-2").log  # what is searched by ratios by default


def test_a_file_takes_all_three_forms(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        "train.learning_rate: {low: 1e-3, high: 0.01, log: false}\nmodel.upper_layers: [1, 2]\ntrain.dropout: 0.1..0.6\n"
        "model.lower_layers: {choices: [1, 2]}\n"
    )
    space = read_space(path, CONFIG)
    assert space == [
        Dimension("train.learning_rate", 0.001, 0.01),
        Dimension("model.upper_layers", choices=(1, 2)),
        Dimension("train.dropout", 0.1, 0.6),
        Dimension("model.lower_layers", choices=(1, 2)),
    ]
    again = tmp_path / "again.yaml"
    again.write_text("".join(f"{dimension.key}: {dimension.wording()}\n" for dimension in space[1:]))
    assert read_space(again, CONFIG) == space[1:]  # what --dry-run prints is what a file takes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.learning_rat=1..2", "unknown key 'train.learning_rat' in the search space; did you mean 'train.learning_rate'"),
        ("tasks.nxt.own_share=0..1", "did you mean 'tasks.next.own_share'"),
        ("split.protocol=time,leave_one_out", "can't be searched"),
        ("train.validation_metric=ndcg@5,ndcg@10", "can't be searched"),
        ("seed=1,2", "can't be searched"),
        ("train.dropout=0.6..0.1", "0.6..0.1 is empty"),
        ("train.dropout=0.1..x", "no range of numbers"),
        ("train.dropout=0.1", r"\[0.1\] is no choice"),
        ("train.dropout=0..0.5:log", "must start above 0"),
        ("train.dropout=0.1..0.5:lin", "unknown 'lin'"),
        ("train.dropout=0.1..0.5:step=1", "step 1 does not fit"),
        ("train.dropout=0.1..1.5", "goes too far.*train.dropout"),
        ("train.learning_rate=-1..1", "goes too far.*train.learning_rate|must start above"),
        ("model.size=1..2", "no numbers"),
        ("model.size=tiny,huge", "goes too far.*model.size"),
        ("model.width=1.5..9", "whole numbers"),
        ("train.dropout", "--search takes key="),
        ("=0..1", "--search takes key="),
    ],
)
def test_what_can_not_be_searched_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_searches([text], CONFIG)
    assert "\n" not in str(caught.value)


def test_a_key_twice() -> None:
    with pytest.raises(ConfigError, match=r"'train\.dropout' is in the search space twice"):
        parse_searches(["train.dropout=0..0.5", "train.dropout=0.1..0.2"], CONFIG)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't read the search space"),
        ("", "holds no keys"),
        ("[1]", "holds no keys"),
        ("a: [", "not valid YAML"),
        ("train.dropout: {low: 0.1}", "needs low and high"),
        ("train.dropout: {low: 0.1, hihg: 0.2}", "unknown 'hihg'"),
        ("train.dropout: {choices: 0.1}", "choices is a list"),
        ("train.dropout: {low: [1], high: 2}", "no range of numbers"),
    ],
)
def test_bad_files(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "space.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_space(path, CONFIG)


@pytest.mark.parametrize(
    "settings",
    [(), ("train.learning_rate=0.05",), ("train.weight_decay=0",), ("model.size=base",), ("model.width=48", "tasks.next.prior.window=40")],
)
def test_the_default_space_holds_the_configurations_own_values(tiny_config: Callable[..., M6RecConfig], settings: tuple[str, ...]) -> None:
    config = tiny_config(*settings)
    for dimension in default_space(config):
        own = value_of(config, dimension.key)
        assert own is None or own in dimension or (dimension.log and own == 0), dimension


def test_parts_that_are_off_are_not_searched() -> None:
    keys = {dimension.key for dimension in default_space(CONFIG.without("graph"))}
    assert "tasks.next.prior.window" not in keys
    assert "tasks.next.prior.sharpness" in keys
    assert not any("identity" in dimension.key for dimension in default_space(CONFIG.without("id")))


def test_values_are_set_and_the_rest_left_to_defaults() -> None:
    config = with_values(CONFIG, {"tasks.next.prior.window": 3, "train.dropout": 0.2})
    assert config.choose.prior.window == 3
    assert config.model_dump(exclude_unset=True) == {
        "data": {"events": "e.csv"},
        "tasks": {"next": {"answer": "choose", "prior": {"window": 3}}},
        "train": {"dropout": 0.2},
    }
