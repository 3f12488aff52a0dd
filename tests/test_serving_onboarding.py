"""The onboarding form: allowed values, tags that tell people apart, lists that follow likes and dislikes, answers piped in."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from m6rec.base.errors import UsageError
from m6rec.recommender import Recommender
from m6rec.serving.onboarding.form import Form, Person, Question, marks, words


@pytest.fixture(scope="module")
def form(tiny_run: Path) -> Form:
    return Form(Recommender.from_pretrained(tiny_run).engine)


def test_questions_allow_what_the_users_have(form: Form) -> None:
    questions = {one.name: one for one in form.questions()}
    gender, age = questions["gender"], questions["age"]
    assert gender.answer(" FEMALE ") == "female"
    assert gender.answer("m") == "male"
    with pytest.raises(UsageError, match="gender is 'robot'; one of: female, male"):
        gender.answer("robot")
    assert age.low is not None
    assert age.answer(str(age.low)) == age.low
    for wrong in ("-5", "400", "old", "nan"):
        with pytest.raises(UsageError, match="give a number from"):
            age.answer(wrong)
    assert Question("city").answer(" Ulm ") == "Ulm"


def test_a_described_person_far_out_of_range_is_one_line(form: Form) -> None:
    rec = Recommender(form.engine)
    with pytest.raises(UsageError, match=r"'age' of a profile is 4000; the users' is from"):
        rec.recommend(profile={"age": 4000})
    for wrong, said in (
        ({"age": -5}, "'age' of a profile is -5"),
        ({"age": True}, "'age' of a profile is a number"),
        (5, "profile is 5; give"),
    ):
        with pytest.raises(UsageError, match=said):
            rec.recommend(profile=wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="text is 5; give words"):
        rec.recommend(text=5)  # type: ignore[arg-type]


def test_what_a_description_says_that_nobody_has_is_a_warning_and_moves_nothing_by_chance(
    form: Form, tiny_run: Path, m6rec: Callable[..., Any]
) -> None:
    rec, plain = Recommender(form.engine), {"age": 30}

    def ids(profile: dict[str, Any]) -> list[str]:
        return [one.item_id for one in rec.recommend(profile=profile, k=5)]

    with pytest.warns(UserWarning, match="no user has interests 'zzqx', so it is left out"):
        assert ids(plain | {"interests": ["zzqx"]}) == ids(plain)
    with pytest.warns(UserWarning, match="no user has gender 'martian', so it is read as words; users have female, male"):
        assert len(ids({"gender": "martian"})) == 5
    with pytest.warns(UserWarning, match="'genders' of the profile is no field of users, and is read as words; did you mean 'gender'?"):
        ids({"genders": "female"})
    word = next(iter(form.engine.items.frame["title"])).split()[0]
    assert rec.engine.profile_notes({"gender": "Female", "interests": [word.lower()], "age": 30}) == ()
    said = m6rec("recommend", tiny_run, "--profile", "gender=martian", "-k", "2")
    assert said.err.startswith("m6rec: note: no user has gender 'martian'")
    assert said.err.count("martian") == 1


def test_tags_are_values_that_people_would_name(form: Form) -> None:
    tags = form.tags(5)
    assert 0 < len(tags) <= 5
    known = {value for _, value in form.engine.scorer.catalogue.bag.features}
    assert set(tags) <= known


def test_nothing_liked_disliked_or_shown_comes_again(form: Form) -> None:
    person = Person(interests="running")
    seen: set[str] = set()
    for _ in range(3):
        answers = [one.item_id for one in form.answer(person, 4)]
        assert len(answers) == 4
        assert not seen & set(answers)
        seen |= set(answers)
        person.liked.append(answers[0])
        person.disliked.append(answers[1])
        person.shown += answers
    assert form.answer(Person(), 3), "somebody who says nothing gets a list too"


def test_further_words_that_only_rule_out_are_added_and_others_take_the_place(form: Form) -> None:
    person = Person()
    for told, interests in [
        ("running", "running"),
        ("under 500", "running; under 500"),
        ("not Oakline", "running; under 500; not Oakline"),
    ]:
        form.hear(person, told)
        assert person.interests == interests
    form.hear(person, "hiking")
    assert (person.interests, person.earlier) == ("hiking", ["running; under 500; not Oakline"])
    assert person.plain()["earlier"] == person.earlier
    form.hear(person, "zzzqqq")
    assert form.strange("zzzqqq") == ["zzzqqq"]
    assert person.interests == "hiking", "a slip of the finger takes nothing away"
    form.hear(person, "zzzqqq under 400")
    assert person.interests == "hiking; zzzqqq under 400"
    form.hear(person, "zzzqqq running")
    assert person.interests == "zzzqqq running"


def test_wrong_answers_are_told_in_the_language_of_the_form(form: Form) -> None:
    questions = {one.name: one for one in form.questions()}
    with pytest.raises(UsageError, match="gender 是 '女'；可选：female, male。"):
        questions["gender"].answer("女", "zh")
    with pytest.raises(UsageError, match="gender 是 'femle'；您是指“female”吗？"):
        questions["gender"].answer("femle", "zh")
    with pytest.raises(UsageError, match=r"gender is 'femle'; did you mean 'female'\?"):
        questions["gender"].answer("femle")
    with pytest.raises(UsageError, match="age 是 '四百'；请给出"):
        questions["age"].answer("四百", "zh")
    with pytest.raises(UsageError, match="列表中没有第 6 项"):
        marks("6", 5, "zh")


def test_a_like_is_saved_as_the_action_of_that_name(form: Form) -> None:
    dataset = form.engine.dataset
    assert dataset.histories.actions is not None
    most = dataset.action_names[int(np.bincount(dataset.histories.actions).argmax())]
    assert most != "like"
    assert form._action() == "like"


def test_marks_by_number() -> None:
    assert marks("1 4,-3", 5) == ([0, 3], [2])
    assert marks("1 1 -3 1", 5) == ([0], [2])
    assert marks("１，−2 －３", 5) == ([0], [1, 2])
    assert marks("more comedies", 5) is None
    with pytest.raises(UsageError, match="1 is liked and disliked; say one of them"):
        marks("1 2 -1", 5)
    with pytest.raises(UsageError, match="第 2 项既喜欢又不喜欢"):
        marks("-2 2", 5, "zh")
    with pytest.raises(UsageError, match="6 is no place in the list"):
        marks("6", 5)
    with pytest.raises(UsageError, match="no words in 'xx'"):
        words("xx")
    assert words("en").keys() == words("zh").keys()


def piped(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(line + "\n" for line in lines)))


def test_a_form_filled_in_by_a_pipe(tiny_run: Path, tmp_path: Path, m6rec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    piped(monkeypatch, "f", "300", "30", "", "running, not Oakline", "1 -2", "9", "m")
    done = m6rec("onboard", tiny_run, "-k", 3, "--save", tmp_path / "person", "--user", "anna")
    assert (done.code, done.err) == (0, "")
    assert "age is '300'; give a number" in done.out
    assert "9 is no place in the list" in done.out
    users, events = (pl.read_csv(tmp_path / "person" / f"{name}.csv") for name in ("users", "events"))
    assert users.to_dicts() == [{"user_id": "anna", "gender": "female", "age": 30.0, "interests": "running"}]
    kept = json.loads((tmp_path / "person" / "person.json").read_text(encoding="utf-8"))
    assert (kept["interests"], len(kept["liked"]), len(kept["disliked"])) == ("running, not Oakline", 1, 1)
    assert events["user_id"].to_list() == ["anna"]

    piped(monkeypatch, "", "", "", "running")
    found = json.loads(m6rec("onboard", tiny_run, "-k", 3, "--json").out)
    assert found["interests"] == "running"
    assert len(found["answers"]) == 3

    piped(monkeypatch, "", "", "", "running", "m", "hiking", "")
    lines = m6rec("onboard", tiny_run, "-k", 3).out.splitlines()
    listed = [line.split()[1] for line in lines if line[:1].isdigit() and len(line.split()) > 1]
    assert len(listed) == len(set(listed)) == 9  # passed over in the first list: not in the list of other words either

    piped(monkeypatch, "", "", "", "running and zorbing", "hiking without flumps", "quxing", "")
    told = m6rec("onboard", tiny_run).out
    assert [line for line in told.splitlines() if "No item has" in line] == [
        f"No item has a word of this: {word}. The list goes by everything else." for word in ("zorbing", "quxing")
    ]

    piped(monkeypatch, "", "", "", "hiking", "zzzqqq", "")
    found = json.loads(m6rec("onboard", tiny_run, "--json").out)
    assert (found["interests"], found["earlier"]) == ("hiking", [])

    piped(monkeypatch, "", "", "", "hik\x1b[D\x1b[1;5Cing", "\x1b[A\x1bOP", "never read")
    found = m6rec("onboard", tiny_run, "--json")
    assert json.loads(found.out)["interests"] == "hiking", "keys are no words, and a line of nothing else is empty"

    piped(monkeypatch, "女", "", "", "", "", "")
    assert "gender 是 '女'；可选：female, male。\n" in m6rec("onboard", tiny_run, "--language", "zh").out

    piped(monkeypatch, "f")
    refused = m6rec("onboard", tiny_run, "--user", "")
    assert refused.code == 2
    assert refused.out == "", "before anything is asked"
    assert "--user is ''; give the id" in refused.err

    piped(monkeypatch, "", "", "", "under 1 and over 5000 dollars")
    assert "Nothing is left that fits: price > 5000 and price < 1 exclude each other" in m6rec("onboard", tiny_run).out
    piped(monkeypatch, "", "", "", "under 1 and over 5000 dollars")
    assert "没有符合的物品了：价格高于5000与价格低于1互相矛盾\n" in m6rec("onboard", tiny_run, "--language", "zh").out


def test_many_values_stand_in_columns() -> None:
    from m6rec.cli.onboard import in_columns

    values = [f"occupation {number:02d}" for number in range(17)]
    rows = in_columns(values)
    assert [value.strip() for row in rows for value in row.split("  ") if value.strip()] == values
    assert max(map(len, rows)) <= 78
    assert len(rows) == 4
