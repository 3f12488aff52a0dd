"""The console in a real browser: every page in both languages and lights, five tasks of a newcomer, the keyboard alone, no script at all."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from console_served import Served, console, drop_keys
from m6rec.evaluation.judged_report import judged_page
from test_evaluation_judged_report import many_metrics

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'")

CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome") if Path(path).exists()), "")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
VENDOR = Path(__file__).parents[1] / "src" / "m6rec" / "serving" / "console" / "static" / "vendor"
PAGES = (
    *("/", "/try", "/chat", "/try?user=u03&k=3&like=i05&against=next", "/catalogue?q=a", "/catalogue/new", "/catalogue/item?id=i03&who=1"),
    *("/quality", "/training", "/experiments", "/experiments/new", "/experiments/one?name=variety", "/moderation", "/moderation/reviews"),
    *("/moderation/audit", "/settings", "/nothing"),
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def served(judged_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with console(judged_run, tmp_path_factory.mktemp("browser")) as running:
        service = running.service
        service.load_model(running.runs / "next", "next")
        arms = [{"name": "plain", "share": 0.5}, {"name": "varied", "share": 0.5, "slate": {"diversity": 0.5}}]
        service.store.save_experiment({"name": "variety", "arms": arms, "scenarios": ["feed"]})
        service.store.queue_review("text", {"said": "Buy this!"}, "generated")
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def visit(browser: Any, served: Served) -> Iterator[Callable[..., Any]]:
    """`visit(**settings)`: a page of a new browser profile. Whatever it says on its console, and any other host it asks, fails the test."""
    complaints: list[str] = []
    opened = []

    def heard(message: Any) -> None:
        # Chromium tells of every page whose status is not 200; the tests look at statuses themselves. htmx tells of a question that is
        # given up because its page is left.
        expected = ("Failed to load resource", "htmx:sendAbort", "htmx:afterRequest")
        if message.type in ("error", "warning") and not message.text.startswith(expected):
            complaints.append(message.text)

    def asked(request: Any) -> None:
        if not request.url.startswith((served.url.removesuffix("/console"), "data:")):
            complaints.append(f"asked {request.url}")

    def open_page(**settings: Any) -> Any:
        context = browser.new_context(**{"locale": "en-GB", **settings})
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", asked)
        opened.append(context)
        page.goto(f"{served.url}/")
        return page

    yield open_page
    for context in opened:
        context.close()
    assert complaints == []


def titles(page: Any) -> list[str]:
    page.wait_for_load_state()  # a page that is still being read has some of them
    return list(page.locator(".answers h3 a").all_inner_texts())


def settled(page: Any, act: Callable[[], Any]) -> None:
    """Do something that makes htmx ask for a new list, and wait until it stands there."""
    page.wait_for_load_state()  # before that htmx does not listen
    with page.expect_response(lambda answer: "/console/" in answer.url and answer.request.method == "GET"):
        act()
    until(page, "!document.querySelector('.htmx-request, .htmx-swapping, .htmx-settling, .htmx-added')")


def until(page: Any, expression: str, seconds: float = 15.0) -> None:
    """Wait for a JavaScript expression to hold. (Playwright's own waiting evaluates text inside the page, which its policy forbids.)"""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"{page.url}: {expression}"
        page.wait_for_timeout(50)


@pytest.mark.parametrize(("locale", "light"), [("en-GB", "light"), ("zh-CN", "dark")])
def test_every_page_in_both_languages_and_lights(visit: Callable[..., Any], served: Served, locale: str, light: str) -> None:
    page = visit(locale=locale, color_scheme=light, viewport={"width": 1280, "height": 900})
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) > 380) == (light == "light")
    for path in PAGES:
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(f"{served.url}{path}")
        assert page.evaluate("document.documentElement.lang") == {"en-GB": "en", "zh-CN": "zh-Hans"}[locale]
        assert page.locator("h1").count() == 1
        faults = serious(page, *(["color-contrast"] if light == "dark" else []))  # but for its colours the page is the same
        assert faults == [], path
        page.set_viewport_size({"width": 360, "height": 740})
        until(page, "document.documentElement.scrollWidth <= 360")  # charts are drawn anew once the browser says that it is smaller
        small = page.evaluate(
            "[...document.querySelectorAll('button, select, textarea, .button, nav a, input:not([type=hidden]):not([type=checkbox]):not([type=range])')]"
            ".filter((one) => one.offsetParent && one.getBoundingClientRect().height < 43.5).map((one) => one.outerHTML.slice(0, 80))"
        )
        assert small == [], path


def serious(page: Any, *rules: str) -> list[str]:
    """What axe-core finds serious or critical on the page as it stands; nothing where axe is not installed (`make test` fetches it).

    rules: only these; none: all of WCAG 2.2 A and AA.
    """
    if not AXE.exists():
        return []
    only = (
        {"type": "rule", "values": list(rules)}
        if rules
        else {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
    )
    page.evaluate(AXE.read_text(encoding="utf-8"))
    settings = json.dumps({"runOnly": only, "resultTypes": ["violations"], "preload": False, "iframes": False})
    found = page.evaluate(f"axe.run(document, {settings}).then((found) => JSON.stringify(found.violations))")
    return [f"{one['id']}: {one['nodes'][0]['html'][:160]}" for one in json.loads(found) if one["impact"] in ("serious", "critical")]


def test_the_list_changes_with_what_is_said_of_it(visit: Callable[..., Any], served: Served) -> None:
    page = visit()
    page.get_by_role("link", name="Try it").click()
    page.get_by_role("link", name="u01", exact=True).click()
    first = titles(page)
    assert len(first) == 8
    assert page.locator(".answer").first.locator(".reasons svg.bar .fill").count() >= 1
    settled(page, lambda: page.get_by_role("button", name=f"Not for me: {first[0]}", exact=True).click())
    after = titles(page)
    assert first[0] not in after
    assert page.get_by_role("button", name=f"Take back what was said of {first[0]}", exact=True).count() == 1
    settled(page, lambda: page.get_by_role("button", name=f"I like it: {after[1]}", exact=True).click())
    liked = titles(page)
    assert liked != after
    assert after[1] in page.locator(".answers .reason").all_inner_texts().__str__()
    settled(page, lambda: page.get_by_role("button", name=f"Take back what was said of {after[1]}", exact=True).click())
    settled(page, lambda: page.get_by_role("button", name=f"Take back what was said of {first[0]}", exact=True).click())
    assert titles(page) == first
    settled(page, lambda: page.get_by_label("Variety").fill("1"))
    varied = titles(page)
    assert varied != first
    page.reload()
    assert titles(page) == varied  # all of it lies in the address


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_stays_where_it_is_and_a_new_list_or_its_error_comes_into_view(
    visit: Callable[..., Any], served: Served, width: int
) -> None:
    page = visit(viewport={"width": width, "height": 700})
    page.goto(f"{served.url}/try?user=u01&k=20")
    button = page.locator("button[name=dislike]").nth(6)
    button.scroll_into_view_if_needed()
    page.evaluate("scrollBy({top: 300, behavior: 'instant'})")
    stood = page.evaluate("scrollY")
    settled(page, lambda: button.evaluate("(one) => one.click()"))
    assert abs(page.evaluate("scrollY") - stood) <= 1
    for user in ("u02", "nobody at all"):
        page.locator("#user").evaluate(f"(one) => one.value = {json.dumps(user)}")
        settled(page, lambda: page.locator(".controls button.main").evaluate("(one) => one.click()"))
        assert 0 <= page.evaluate("document.querySelector('#result').getBoundingClientRect().top") < 0.7 * 700
    assert page.locator(".problem").count() == 1


def test_newcomer_finds_out_what_somebody_would_get_and_why(visit: Callable[..., Any], served: Served) -> None:
    page = visit()
    page.get_by_role("link", name="Try it").click()
    page.get_by_label("A known user").fill("u07")
    settled(page, lambda: page.get_by_role("button", name="Show the list").click())
    from m6rec.serving.asked import Ask

    expected = served.service.recommend(Ask(user="u07", k=8, explore=False))
    assert titles(page) == [one.title for one in expected.answers]
    because = page.locator(".answer").first.locator(".reasons").first.inner_text()
    past = [event["title"] for event in served.service.user("u07", 50)["events"]]
    assert "Because of" in because
    assert any(title in because for title in past)


def test_newcomer_describes_somebody(visit: Callable[..., Any]) -> None:
    page = visit()
    page.get_by_role("link", name="Try it").click()
    page.get_by_label("In words: what is wanted").fill("running shoes")
    settled(page, lambda: page.get_by_role("button", name="Show the list").click())
    assert "running" in titles(page)[0].lower()
    assert "You wrote" in page.locator(".answer").first.inner_text()


def test_newcomer_blocks_an_item_and_sees_that_it_is_gone(visit: Callable[..., Any], served: Served) -> None:
    page = visit()
    page.goto(f"{served.url}/try?user=u09")
    top = titles(page)[0]
    page.get_by_role("link", name=top, exact=True).click()
    page.get_by_label("Reason").fill("recalled")
    page.get_by_role("button", name="Block this item").click()
    assert "Blocked" in page.get_by_role("status").first.inner_text()
    page.goto(f"{served.url}/try?user=u09")
    assert top not in titles(page)
    page.get_by_role("link", name="Moderation").click()
    assert "recalled" in page.locator("table").inner_text()
    page.get_by_role("button", name="Unblock").click()
    page.goto(f"{served.url}/try?user=u09")
    assert titles(page)[0] == top


def test_newcomer_adds_an_item_and_sees_who_would_get_it(visit: Callable[..., Any], served: Served) -> None:
    page = visit()
    page.get_by_role("link", name="Catalogue").click()
    page.get_by_role("link", name="Add an item").click()
    like = served.service.item("i05")["fields"]
    page.get_by_label("Id").fill("brand-new")
    for name in ("title", "description", "category", "kind"):
        page.get_by_label(name.capitalize(), exact=True).fill(str(like[name] or ""))
    page.get_by_label("tags").fill(", ".join(like["tags"] or []))
    page.get_by_role("button", name="Add the item").click()
    assert "can be recommended" in page.get_by_role("status").first.inner_text()
    said = page.get_by_text(re.compile(r"\d+ of all \d+ people have it")).inner_text()
    assert int(said.split()[0]) > 0
    page.locator("#who tbody a").first.click()
    assert "/console/catalogue/item?id=brand-new" in [link.get_attribute("href") for link in page.locator(".answers h3 a").all()]
    page.goto(f"{served.url}/catalogue/item?id=brand-new")
    page.get_by_role("button", name="Take the item out").click()
    page.get_by_role("heading", name="Are you sure?").wait_for()
    page.get_by_role("button", name="Take the item out").click()
    assert "brand-new" not in page.locator("table").inner_text()


def test_newcomer_compares_two_models(visit: Callable[..., Any], served: Served) -> None:
    page = visit()
    page.get_by_role("link", name="Try it").click()
    page.get_by_label("A known user").fill("u03")
    page.get_by_label("Compared with").select_option("next")
    settled(page, lambda: page.get_by_role("button", name="Show the list").click())
    lists = page.locator("section.list")
    assert lists.count() == 2
    assert "next" in lists.nth(1).locator("h2").inner_text()
    badges = page.locator(".answer .badge").all_inner_texts()
    assert len(badges) == 16
    assert set(badges) == {"same place"}  # the second is a copy of the first


def test_newcomer_creates_a_key_that_may_only_read(visit: Callable[..., Any], served: Served) -> None:
    page, store = visit(), served.service.store
    try:
        page.get_by_role("link", name="Settings").click()
        page.get_by_label("Name").fill("me")
        page.get_by_role("button", name="Create the key").click()
        page.get_by_role("link", name="I have copied it").click()
        page.get_by_label("Name").fill("the shop window")
        page.get_by_role("button", name="Create the key").click()
        secret = page.get_by_label("Access key").input_value()
        key = store.find_key(secret)
        assert key is not None
        assert (key.name, key.roles) == ("the shop window", ("read",))
        reader = visit()
        assert reader.url.endswith("/console/sign-in")
        reader.get_by_label("Access key").fill(secret)
        reader.get_by_role("button", name="Open the console").click()
        reader.get_by_role("link", name="Settings").click()
        assert reader.get_by_role("button", name="Create the key").count() == 0
        reader.get_by_role("link", name="Catalogue").click()
        assert reader.get_by_role("link", name="Add an item").count() == 0
    finally:
        drop_keys(served)


def test_the_keyboard_alone_is_enough(visit: Callable[..., Any]) -> None:
    page = visit()
    page.goto(page.url + "try")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"

    def tab_to(matches: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate(f"document.activeElement.matches({json.dumps(matches)})"):
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none", matches
                return
        raise AssertionError(f"no way with the keyboard to {matches}")

    tab_to("#user")
    page.keyboard.type("u05")
    settled(page, lambda: page.keyboard.press("Enter"))
    before = titles(page)
    assert len(before) == 8
    tab_to("button[name=dislike]")
    settled(page, lambda: page.keyboard.press("Enter"))
    assert titles(page) != before
    assert page.evaluate("document.activeElement !== document.body")  # the focus went on to the new list
    tab_to("footer button[name=theme][value=dark]")


FOCUS = """() => [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")]
  .filter((one) => one.checkVisibility({ contentVisibilityAuto: true }) && one.offsetParent && !one.disabled)
  .map((one) => {
    one.focus();
    const style = getComputedStyle(one);
    const held = document.activeElement === one && one.tabIndex === 0 && (style.outlineStyle !== "none" || style.boxShadow !== "none");
    return held ? "" : one.outerHTML.slice(0, 90);
  })
  .filter((fault) => fault)"""


def test_every_control_of_every_page_is_met_by_the_keyboard(visit: Callable[..., Any], served: Served) -> None:
    """Each takes the focus in the order of the page and shows that it has it."""
    page = visit()
    for path in PAGES:
        page.goto(f"{served.url}{path}")
        page.keyboard.press("Tab")  # from here on the focus is one of the keyboard
        assert page.evaluate(f"({FOCUS})()") == [], path


def test_everything_works_without_script(visit: Callable[..., Any], served: Served) -> None:
    page = visit(java_script_enabled=False)
    page.goto(f"{served.url}/try")
    page.get_by_label("A known user").fill("u04")
    page.get_by_role("button", name="Show the list").click()
    before = titles(page)
    page.get_by_role("button", name=f"Not for me: {before[0]}", exact=True).click()
    assert before[0] not in titles(page)
    page.goto(f"{served.url}/")
    assert page.locator("figure table").first.is_visible()
    page.get_by_role("button", name="中文").click()
    assert page.locator("h1").inner_text() == "总览"
    page.goto(f"{served.url}/catalogue")
    page.get_by_role("searchbox").fill("i05")
    page.get_by_role("button", name="搜索").click()
    assert page.locator("tbody tr").count() == 1


def say(page: Any, text: str, turns: int) -> None:
    """Type a message and wait until the reply stands there: so many turns in all."""
    page.locator("#text").fill(text)
    page.keyboard.press("Enter")
    until(page, f"document.querySelectorAll('.turn input').length === {turns} && !document.querySelector('#send').disabled")


@pytest.mark.parametrize(("locale", "like", "dislike"), [("en-GB", "I like it", "Not for me"), ("zh-CN", "喜欢", "不适合我")])
def test_a_conversation_in_the_browser(visit: Callable[..., Any], served: Served, locale: str, like: str, dislike: str) -> None:
    page = visit(locale=locale)
    page.goto(f"{served.url}/chat")
    page.locator("#user").fill("u03")
    texts = ["Recommend me something", "Anything is fine", "Surprise me"] if locale == "en-GB" else ["推荐点什么", "都可以", "随便"]
    turns = 0
    for text in texts:
        turns += 2
        say(page, text, turns)
        if page.locator(".answer").count():
            break
    offered = titles(page)
    assert offered
    assert all(title in page.locator(".turn.theirs .words").last.inner_text() for title in offered)
    assert page.locator(".reasons li").count() > 0
    assert serious(page) == []
    refused = page.locator(".answer").first.get_attribute("data-item")
    page.get_by_role("button", name=dislike, exact=False).first.click()
    until(page, f"document.querySelectorAll('.turn input').length === {turns + 2} && !document.querySelector('#send').disabled")
    assert offered[0] in page.locator(".turn.mine .words").last.inner_text()
    for _ in range(2):
        turns += 2
        shown = page.locator(".turn").last.locator(".answer").evaluate_all("(all) => all.map((one) => one.dataset.item)")
        assert refused not in shown
        if shown:
            page.get_by_role("button", name=like, exact=False).first.click()
            until(page, f"document.querySelectorAll('.turn input').length === {turns + 2} && !document.querySelector('#send').disabled")
    say(page, "   ", page.locator(".turn input").count())
    assert page.locator("#talk-problem").is_visible()


def test_a_conversation_without_script(visit: Callable[..., Any], served: Served) -> None:
    page = visit(java_script_enabled=False)
    page.goto(f"{served.url}/chat?user=u03")
    for text in ("Recommend me something", "Anything is fine", "Surprise me"):
        page.get_by_label("Your message").fill(text)
        page.get_by_role("button", name="Send").click()
        if page.locator(".answer").count():
            break
    offered = titles(page)
    assert offered
    page.get_by_role("button", name=f"Not for me: {offered[0]}", exact=True).click()
    assert offered[0] not in titles(page)
    assert offered[0] in page.locator(".turn.mine .words").last.inner_text()


def test_what_one_chose_is_kept(visit: Callable[..., Any], served: Served) -> None:
    page = visit(color_scheme="light")
    page.get_by_role("button", name="Dark").click()
    page.get_by_role("button", name="中文").click()
    page.goto(f"{served.url}/quality")
    assert page.evaluate("[document.documentElement.dataset.theme, document.documentElement.lang]") == ["dark", "zh-Hans"]
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 20, 23)"


@pytest.mark.skipif(not (VENDOR / "echarts.min.js").exists(), reason="no browser files: make assets")
def test_a_training_in_progress_is_drawn_as_it_goes(visit: Callable[..., Any], served: Served) -> None:
    run = served.runs / "growing"
    stage = run / "stages" / "fit-0123456789ab"
    stage.mkdir(parents=True)
    log = stage / "log.jsonl"
    log.write_text(json.dumps({"epoch": 1, "choose.choose": 7.5, "ndcg@10": 0.1}) + "\n", encoding="utf-8")
    page = visit()
    page.goto(f"{served.url}/training?run=growing")
    assert "in progress" in page.locator("#figures").inner_text()
    assert page.locator("figure.chart .plot svg").count() == 2
    assert page.locator("figure table").first.is_hidden()  # folded away under the chart, and there for screen readers on demand
    with open(log, "a", encoding="utf-8") as handle:
        handle.write(json.dumps({"epoch": 2, "choose.choose": 6.25, "ndcg@10": 0.2}) + "\n")
    until(page, "document.querySelectorAll('figure.chart tbody tr').length === 4")
    assert "83.333" in page.locator("figure.chart").first.evaluate("(one) => one.textContent")
    page.locator("figure summary").first.click()  # somebody reads the numbers: the page holds still
    with open(log, "a", encoding="utf-8") as handle:
        handle.write(json.dumps({"epoch": 3, "choose.choose": 5.0}) + "\n")
    page.wait_for_timeout(5_600)
    assert page.locator("figure.chart tbody tr").count() == 4
    shutil.rmtree(run)


@pytest.mark.skipif(not (VENDOR / "echarts.min.js").exists(), reason="no browser files: make assets")
def test_charts_say_what_their_tables_say(visit: Callable[..., Any], served: Served) -> None:
    page = visit()
    page.goto(f"{served.url}/quality")
    figure = page.locator("figure.chart").first
    assert figure.locator(".plot svg").count() == 1
    drawn = page.evaluate("echarts.getInstanceByDom(document.querySelector('.plot')).getOption().series.map((one) => one.data)")
    figure.locator("summary").click()
    rows = figure.locator("tbody tr").all()
    written = [[float(cell.get_attribute("data-value") or "nan") for cell in row.locator("td").all()] for row in rows]
    assert drawn == [list(column) for column in zip(*written, strict=True)]


def test_the_figures_of_an_evaluation_fit_their_page(browser: Any, tmp_path: Path) -> None:
    """Eight metrics with intervals side by side: nothing is cut off on a screen of 1,200 pixels; a narrow one scrolls the table, not the page."""
    (tmp_path / "page.html").write_text(judged_page(many_metrics(), title="wide"), encoding="utf-8")
    page = browser.new_page()
    hidden = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth).length"
    for width, cut in ((1200, False), (400, True)):
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(f"file://{tmp_path}/page.html")
        assert bool(page.evaluate(hidden)) == cut
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
