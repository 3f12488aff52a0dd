"""The strict-configuration mechanism: one-line errors that name the key, the value and the nearest allowed name."""

from __future__ import annotations

import pytest
from pydantic import Field, ValidationError

from m6rec.base.configuration import Config, set_dotted
from m6rec.base.errors import ConfigError
from m6rec.base.strict_yaml import read_yaml
from m6rec.config import M6RecConfig


class Inner(Config):
    epochs: int = Field(5, ge=1, description="How many passes.")
    rate: float = Field(0.1, description="Step size.")


class Outer(Config):
    name: str = Field(description="Required.")
    inner: Inner = Field(default_factory=Inner, description="A section.")
    maybe: Inner | None = Field(None, description="An optional section.")
    many: dict[str, Inner] = Field(default_factory=dict, description="Named sections.")


def line_of(values: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        Outer.build(values, source="shop.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("shop.yaml: ")
    return message


def test_unknown_key_names_the_nearest_known_one() -> None:
    assert line_of({"name": "a", "iner": {}}) == "shop.yaml: unknown key 'iner'; did you mean 'inner'?"


@pytest.mark.parametrize("section", ["inner", "maybe"])
def test_unknown_key_inside_a_section_is_dotted(section: str) -> None:
    assert line_of({"name": "a", section: {"epoch": 3}}) == f"shop.yaml: unknown key '{section}.epoch'; did you mean 'epochs'?"


def test_unknown_key_inside_a_named_section() -> None:
    assert line_of({"name": "a", "many": {"first": {"epoch": 3}}}).startswith(
        "shop.yaml: unknown key 'many.first.epoch'; did you mean 'epochs'?"
    )


def test_unknown_key_without_a_near_one_lists_what_is_known() -> None:
    assert line_of({"name": "a", "inner": {"zzzz": 3}}) == "shop.yaml: unknown key 'inner.zzzz'; known keys: epochs, rate"


def test_unknown_key_is_named_before_the_missing_key_it_caused() -> None:
    message = line_of({"nmae": "a"})
    assert "unknown key 'nmae'; did you mean 'name'?" in message
    assert "1 more" in message


def test_missing_key() -> None:
    assert line_of({}) == "shop.yaml: 'name' is required"


def test_wrong_value_says_what_was_received_and_what_is_allowed() -> None:
    message = line_of({"name": "a", "inner": {"epochs": 0}})
    assert "'inner.epochs' is 0" in message
    assert "greater than or equal to 1" in message


@pytest.mark.parametrize(
    ("key", "given", "said"),
    [
        ("sharing", "mmoe", "'sharing' is 'mmoe' and not a section; say sharing.way=mmoe"),
        (
            "train.balance",
            3,
            "'train.balance' is 3 and not a section; set one of its keys, e.g. train.balance.way=VALUE; keys: way, temperature",
        ),
        ("train.balance", "pcgard", "'train.balance.way' is 'pcgard': write one of fixed"),
        ("model", "tiny", "'model' is 'tiny' and not a section; say model.size=tiny"),
    ],
)
def test_a_plain_word_where_a_section_is_wanted(key: str, given: object, said: str) -> None:
    values: dict[str, object] = {"data": {"events": "e.csv"}}
    set_dotted(values, f"{key}={given}")
    with pytest.raises(ConfigError) as caught:
        M6RecConfig.build(values)
    assert said in str(caught.value)


def test_a_balancer_may_be_said_in_a_word() -> None:
    values: dict[str, object] = {"data": {"events": "e.csv"}}
    set_dotted(values, "train.balance=pcgrad")
    assert M6RecConfig.build(values).train.balance.way == "pcgrad"
    with pytest.raises(ConfigError, match=r"'balance' holds the value 'pcgrad'.*each key of it, as in train\.balance\.KEY=pcgrad"):
        set_dotted(values, "train.balance.every=3")


def test_long_values_are_cut_in_the_message() -> None:
    assert len(line_of({"name": "a", "inner": {"epochs": "x" * 10_000}})) < 300


def test_configuration_is_frozen_and_defaults_are_checked() -> None:
    with pytest.raises(ValidationError):
        Inner().epochs = 7  # type: ignore[misc]

    class Wrong(Config):
        epochs: int = Field("many", description="A default of the wrong type.")  # type: ignore[assignment]

    with pytest.raises(ConfigError):
        Wrong.build({})


def test_equal_values_have_equal_fingerprints_whatever_the_order() -> None:
    first = Outer.build({"name": "a", "inner": {"epochs": 2, "rate": 0.5}})
    second = Outer.build({"inner": {"rate": 0.5, "epochs": 2}, "name": "a"})
    assert first.fingerprint() == second.fingerprint()
    assert first.fingerprint() != Outer.build({"name": "b"}).fingerprint()
    assert Outer.build(first.plain()) == first


@pytest.mark.parametrize("name", ["next", "choose", "judge", "mine"])
@pytest.mark.parametrize(
    ("answer", "key"), [("choose", "own_share"), ("judge", "weight"), ("write", "memory"), ("choose", "prior.window"), ("choose", "x")]
)
def test_a_task_is_called_as_its_user_calls_it(name: str, answer: str, key: str) -> None:
    """Whatever the name: one of an answer, or a value that a key of one kind of task has by default."""
    given = {"choose": {}, "judge": {"label": "l"}, "write": {"from": "review"}}[answer]
    values: dict[str, object] = {"data": {"events": "e.csv"}, "tasks": {name: {"answer": answer, **given}}}
    set_dotted(values, f"tasks.{name}.{key}=-1")
    with pytest.raises(ConfigError, match=rf"'tasks\.{name}\.{key}'"):
        M6RecConfig.build(values)


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("a=3", {"a": 3}),
        ("a.b.c=true", {"a": {"b": {"c": True}}}),
        ("a=[1, x]", {"a": [1, "x"]}),
        ("a=null", {"a": None}),
        ("a=x=y", {"a": "x=y"}),
        ("a=", {"a": None}),
        (" a.b =1e-3", {"a": {"b": "1e-3"}}),
    ],
)
def test_set_dotted_reads_values_as_yaml(assignment: str, expected: dict[str, object]) -> None:
    values: dict[str, object] = {}
    set_dotted(values, assignment)
    assert values == expected


def test_numbers_in_exponent_notation_reach_a_float_field() -> None:
    values: dict[str, object] = {"name": "a"}
    set_dotted(values, "inner.rate=1e-3")
    assert Outer.build(values).inner.rate == 1e-3


def test_set_dotted_keeps_what_is_beside_it() -> None:
    values: dict[str, object] = {"a": {"b": 1, "c": 2}}
    set_dotted(values, "a.b=9")
    assert values == {"a": {"b": 9, "c": 2}}


@pytest.mark.parametrize(
    ("assignment", "part"),
    [("epochs", "key=value"), ("=5", "key=value"), ("a.b=1", "holds the value 7"), ("c={", "not a YAML value")],
)
def test_set_dotted_errors_are_one_line(assignment: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part) as caught:
        set_dotted({"a": 7}, assignment)
    assert "\n" not in str(caught.value)


def test_keys_that_yaml_takes_for_truth_values_are_words() -> None:
    assert read_yaml("a: {on: text, off: true}\nyes: 1\n", "x") == {"a": {"on": "text", "off": True}, "yes": 1}


def test_assigned_values_are_read_as_files_are() -> None:
    """`on` is a word here too, though YAML 1.1 takes it for true."""
    values: dict[str, object] = {}
    set_dotted(values, "tasks.mood={answer: judge, on: text, label: sentiment}")
    assert values == {"tasks": {"mood": {"answer": "judge", "on": "text", "label": "sentiment"}}}


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ("clik", "allowed: click, like; did you mean 'click'?"),
        ("next", "allowed: click, like"),
        ("stars", "allowed: click, like"),  # a number
        ("mood", "allowed: click, like"),  # of a text
        ("buy", "allowed: click, like"),  # itself
        ("refund", "allowed: click, like"),  # comes after what it would come before
    ],
)
def test_what_a_task_can_come_after(after: str, said: str) -> None:
    tasks: dict[str, object] = {
        "next": {},
        "click": {"label": "clicked"},
        "like": {"label": "liked", "after": "click"},
        "stars": {"label": "stars", "kind": "number"},
        "mood": {"label": "mood", "on": "text"},
        "buy": {"label": "bought", "after": "like"},
        "refund": {"label": "refund", "after": "buy"},
    }
    assert list(M6RecConfig.build({"data": {"events": "e.csv"}, "tasks": tasks}).judges)
    tasks["buy"] = {"label": "bought", "after": after}
    with pytest.raises(ConfigError) as caught:
        M6RecConfig.build({"data": {"events": "e.csv"}, "tasks": tasks})
    assert f"tasks.buy.after is '{after}'" in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_true_and_false_are_truth_values_and_a_setting_may_be_off() -> None:
    text = "a: off\nb: [yes, no, true, False]\non: on\ntrue: 1"
    assert read_yaml(text, "shop.yaml") == {"a": "off", "b": ["yes", "no", True, False], "on": "on", "true": 1}
    values: dict[str, object] = {}
    for setting in ("model.autocast=off", "train.average=off", "evaluation.exclude_history=off", "split.shuffle_ties=yes"):
        set_dotted(values, setting)
    assert values["model"] == {"autocast": "off"}
    built = M6RecConfig.build({**values, "data": {"events": "e.csv"}, "tasks": {"next": {"answer": "choose"}}})
    assert (built.model.autocast, built.train.average) == ("off", "off")
    assert (built.evaluation.exclude_history, built.split.shuffle_ties) == (False, True)
