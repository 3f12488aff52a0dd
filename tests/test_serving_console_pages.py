"""What the pages of the console say to somebody who runs a shop: marks, verdicts, warnings, and words in both languages."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from console_served import Served, Visitor, console, drop_keys
from m6rec.serving.console.chart_table import ChartTable
from m6rec.serving.console.phrases import languages
from m6rec.serving.console.quality import verdict, weakest
from m6rec.serving.console.training import curve_tables, running_now
from m6rec.serving.service.run_reports import QUIET, Board, Cell, training_progress


@pytest.fixture(scope="module")
def served(judged_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with console(judged_run, tmp_path_factory.mktemp("console-pages")) as running:
        yield running


@pytest.fixture(autouse=True)
def _close_visitors() -> Iterator[None]:
    yield
    while Visitor.opened:
        Visitor.opened.pop().close()


def words(text: str) -> str:
    """What a page says, without its marks."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text))


def test_a_page_that_came_from_a_form_has_no_switch_that_would_lose_it(served: Served) -> None:
    visitor = Visitor(served)
    asked = visitor.post("/catalogue/delete", id="i03")
    made = visitor.post("/settings/keys", name="boss")
    drop_keys(served)
    wrong = visitor.post("/catalogue/new", id="")
    for answer in (asked, made, wrong):
        assert 'action="/console/preferences"' not in answer.text
        assert "would lose what this page shows" in answer.text
    for path in ("/", "/catalogue/new"):
        assert 'action="/console/preferences"' in visitor.get(path).text
    reloaded = visitor.get("/settings/keys")
    assert reloaded.status_code == 405
    assert "what a form has answered" in reloaded.text


def test_the_chat_begins_with_an_example_that_the_catalogue_has(served: Served) -> None:
    found = re.search(r"something for ([^<]+?)</p>", Visitor(served).get("/chat").text)
    assert found is not None
    with served.service.loaded.use() as model:
        assert model.engine.understands(found[1])


def test_what_is_blocked_is_marked_and_says_who_when_and_why(served: Served) -> None:
    visitor, service = Visitor(served), served.service
    total, title = service.info()["items"], service.item("i05")["title"]
    assert f"All {total} items can be recommended" in visitor.get("/catalogue").text
    secret = service.store.add_key("Nora", ("admin",))
    try:
        visitor.sign_in(secret)
        visitor.post("/moderation/block", kind="item", value="i05", reason="Recalled by the maker", back="item")
        assert f"{total - 1} of {total} items can be recommended; blocked: 1" in visitor.get("/catalogue").text
        found = visitor.get("/catalogue?q=i05").text
        assert re.search(r'id=i05">[^<]*</a> <span class="badge bad">blocked', found)
        page = words(visitor.get("/catalogue/item?id=i05").text)
        assert "By: Nora. Reason: Recalled by the maker" in page
        table = visitor.get("/moderation").text
        assert f'id=i05">{title}</a>' in table
        assert "Nora" in table
        assert "Recalled by the maker" in table
        visitor.post("/moderation/unblock", kind="item", value="i05")
        visitor.post("/catalogue/change", id="i05", **{"field.title": title, "field.tags": "hiking, mountains"})
        deeds = words(visitor.get("/moderation/deeds?target=i05").text)
        assert "Recalled by the maker" in deeds, "the reason stays in the record"
        assert "changed an item" in deeds
        assert "tags: hiking, mountains" in deeds
        assert visitor.get("/moderation/deeds?target=i05").text.count("<tr>") == 4, "the head, and what was done to this item"
        assert "Nothing was done to i06" in visitor.get("/moderation/deeds?target=i06").text
    finally:
        drop_keys(served)


def test_an_item_that_a_word_blocks_says_so_and_nobody_without_a_key_has_a_name(served: Served) -> None:
    visitor, service = Visitor(served), served.service
    visitor.post("/moderation/block", kind="word", value=service.item("i07")["title"])
    try:
        assert "a blocked word stands in its texts" in visitor.get("/catalogue/item?id=i07").text
        for path in ("/moderation", "/moderation/deeds"):
            text = visitor.get(path).text
            assert "somebody on this machine" in text
            assert "Keys give people names" in text
        assert "/moderation/deeds" in visitor.get("/moderation/audit").text
    finally:
        visitor.post("/moderation/unblock", kind="word", value=service.item("i07")["title"])


def test_the_training_that_runs_is_said_and_opened_first(served: Served) -> None:
    visitor, third = Visitor(served), served.runs / "third"
    for path in ("/training", "/"):
        assert "No training is running now" in visitor.get(path).text
    assert "Training of shop" in visitor.get("/training").text
    begun = third / "stages" / "fit-0"
    begun.mkdir(parents=True)
    rows = [{"epoch": n, "judge.shop/buy": 0.4 / n, "choose.choose": 9.0 - n, "ndcg@10": 0.1 * n} for n in (1, 2)]
    (begun / "log.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    try:
        text = visitor.get("/training").text
        assert "Training of third" in text
        assert "third · in progress</option>" in text
        assert re.search(r"Running now: <a [^>]*>third</a> \(now at: Training\)", text)
        chart = ChartTable(["Passes over the data", "buy (shop)", "next item"], [["1", 100.0, 100.0], ["2", 50.0, 87.5]])
        assert curve_tables(training_progress(third).curves["fit"], "Passes over the data", languages()["en"])["losses"] == chart
        assert "Running now:" in visitor.get("/").text
        assert "Training of shop" in visitor.get("/training?run=shop").text
        assert "can&#39;t be loaded: third" in visitor.get("/settings").text
        later = time.time() + QUIET + 60
        assert running_now(served.service, later) == {}
    finally:
        shutil.rmtree(third)


def a_cell(task: str, value: float, baseline: float | None, *, metric: str = "ndcg@10", higher: bool = True, scenario: str = "") -> Cell:
    return Cell(task, scenario, metric, metric, higher, True, value, value - 0.02, value + 0.02, 8, baseline, "item_knn")


def test_the_verdict_says_where_the_model_is_better_and_whether_that_may_be_chance() -> None:
    cells = [
        a_cell("next", 0.177, 0.193),
        a_cell("click", 0.66, 0.62, metric="auc"),
        a_cell("rating", 0.881, 0.95, metric="rmse", higher=False),
        a_cell("same", 0.50004, 0.5),
        a_cell("alone", 0.9, None),
        a_cell("next", 0.045, 0.1, scenario="items: cold"),
        a_cell("click", 0.51, None, metric="auc", scenario="shop"),
    ]
    found = verdict(cells)
    assert [(one.cell.task, round(one.gain, 3), one.sure) for one in found.better] == [("rating", 0.069, True), ("click", 0.04, True)]
    assert [(one.cell.task, one.sure) for one in found.worse] == [("next", False), ("same", False)]
    assert [cell.task for cell in found.alone] == ["alone"]
    weak = weakest(cells)
    assert weak is cells[-1], "0.51 of an AUC is 2 % of the way from chance, 0.045 of an nDCG 4.5 %"
    assert weakest([cells[2]]) is None


def test_the_quality_page_opens_with_a_verdict_and_rounds_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = (a_cell("next", 0.1765, 0.193), a_cell("next", 0.04531, None, scenario="items: cold"))
    monkeypatch.setattr(served.service, "board", lambda: Board(("next",), ("", "items: cold"), cells, (), 0.0))
    text = Visitor(served).get("/quality").text
    said = words(text)
    assert "Nowhere better than the best simple method: next (ndcg@10 0.176 against 0.193 of: items that the same people chose" in said
    assert "the difference may be chance" in said
    assert not re.findall(r"0\.1(?:77|765)", said)
    assert re.search(r"<b>0\.045</b>.*?8 rows</small><span class=\"badge bad\">weakest", text)
    assert "item_knn" not in said


def test_what_was_understood_as_a_limit_stands_above_the_list(served: Served) -> None:
    visitor = Visitor(served)
    text = visitor.get("/try?user=u03&text=something under 30").text
    assert re.search(r"Understood as limits.*<b>price below 30</b>", text)
    assert "No limit was understood" in visitor.get("/try?text=running shoes").text
    empty = words(visitor.get("/try?user=u03&text=under 0.001").text)
    assert "No item has price below 0.001. Loosen this limit" in empty
    assert all(other not in empty for other in ("Say less of", "of 8:", "stands in any item"))
    assert "Type a user or a few words first" in visitor.get("/try?user=&text=").text
    assert "a few words first" not in visitor.get("/try").text


def test_somebody_unknown_is_said_in_plain_words_with_ids_that_may_be_meant(served: Served) -> None:
    text = Visitor(served).get("/try?user=u3").text
    assert "Nobody is known under the id u3" in text
    assert 'href="/console/try?user=u03"' in text
    assert "users table" not in text


def test_what_was_said_for_somebody_else_is_forgotten_and_a_changed_list_marks_what_is_new(served: Served) -> None:
    visitor = Visitor(served)
    first = visitor.get("/try?user=u03&k=5").text
    shown = re.findall(r'<li class="answer" data-item="([^"]+)"', first)
    about = re.search(r'name="about" value="(\w+)"', first)
    assert about is not None
    after = visitor.get(f"/try?user=u03&k=5&about={about[1]}&dislike={shown[0]}").text
    now = re.findall(r'<li class="answer" data-item="([^"]+)"', after)
    assert shown[0] not in now
    assert after.count("new in the list") == len(set(now) - set(shown)) > 0
    assert f'name="disliked" value="{shown[0]}"' in after
    kept = f"k=5&about={about[1]}&disliked={shown[0]}"
    assert 'name="disliked"' in visitor.get(f"/try?user=u03&{kept}").text
    for other in (f"user=u04&{kept}", f"user=u03&text=shoes&{kept}"):
        assert 'name="disliked"' not in visitor.get(f"/try?{other}").text


def test_messages_of_the_service_are_in_the_language_of_the_page(served: Served) -> None:
    visitor = Visitor(served, **{"accept-language": "zh-CN"})
    paths = ("/try?user=u5x", "/try?text=under 0.001", "/try?text=qqqq zzzz", "/catalogue/item?id=nope", "/try?user=u03&like=nope")
    for path in paths:
        boxes = re.findall(r'<(?:p|div) class="(?:problem|note)"[^>]*>(.*?)</(?:p|div)>', visitor.get(path).text, re.S)
        assert boxes, path
        assert not [box for box in map(words, boxes) if re.search(r"[A-Za-z]{2,} [A-Za-z]{2,} [A-Za-z]{2,}", box)], path
    for told_of in ("/moderation/deeds", "/experiments"):
        assert "somebody on" not in visitor.get(told_of).text


def test_an_experiment_that_can_find_nothing_is_refused_and_one_that_takes_people_from_another_is_asked_about(served: Served) -> None:
    visitor, store = Visitor(served), served.service.store
    wanted = {"name": "first", "control": "as today", "arm": "other", "share": "50", "traffic": "100"}
    for same in ({}, {"model": served.service.info()["model_version"]}, {"diversity": "0", "exploration": "0"}):
        alike = visitor.post("/experiments/new", **(wanted | same))
        assert alike.status_code == 422
        assert "nothing to find out" in alike.text
    known = served.service.info()["actions"]
    form = visitor.get("/experiments/new").text
    assert re.findall(r'name="action\.([^"]+)"', form) == known
    assert "‹ Experiments" in form
    begun = {**wanted, "diversity": "0.3", f"action.{known[0]}": "on", "action.never seen": "on"}
    assert visitor.post("/experiments/new", **begun).status_code == 303
    second = begun | {"name": "second"}
    asked = visitor.post("/experiments/new", **second)
    assert "one of the two would get nobody" in words(asked.text)
    assert 'name="sure" value="yes"' in asked.text
    assert [body["name"] for body in store.experiments()] == ["first"]
    page = words(visitor.get("/experiments/one?name=first").text)
    for said in (f"Actions that count {known[0]}", "People who take part 100 %", "Begun by somebody on this machine", "0 items shown"):
        assert said in page, said
    assert "never seen" not in page
    assert not re.search(r"[a-z]+_[a-z]+", re.sub(r"shop[\w-]*", "", page)), "no name of a program stands on the page"
    visitor.post("/experiments/state", name="first", state="stopped", sure="yes")
    stopped = visitor.get("/experiments/one?name=first").text
    assert re.findall(r'name="state" value="(\w+)"', stopped) == ["running"]
    assert "nothing was found" in stopped
    assert "stopped an experiment" in visitor.get("/moderation/deeds?target=first").text
    assert visitor.post("/experiments/new", **second).status_code == 303, "what is stopped takes nobody"
    store.drop_experiment("first")
    store.drop_experiment("second")


def test_a_new_item_is_offered_what_the_catalogue_has_and_can_be_corrected(served: Served) -> None:
    visitor = Visitor(served)
    have = {one["fields"]["category"] for one in served.service.items(None, 1000)} - {None}
    form = visitor.get("/catalogue/new").text
    assert set(re.findall(r'<option value="([^"]+)">', form.partition('id="l-category"')[2].partition("</datalist>")[0])) == have
    assert "(required)" in form
    asked = visitor.post("/catalogue/new", id="boots", **{"field.title": "Boots", "field.category": "Footwear"}).text
    assert all(str(one) in asked for one in have)
    assert "Add it as corrected" in asked
    corrected = {"field.title": "Boots", "field.category": sorted(have)[0]}
    assert visitor.post("/catalogue/new", id="boots", **corrected).status_code == 303, "what was corrected is not asked about again"
    people = words(visitor.get("/catalogue/item?id=boots&who=1").text)
    assert re.search(r"\d+ of all \d+ people have it among", people)
    visitor.post("/catalogue/delete", id="boots", sure="yes")
