"""The console without a browser: who may see and do what, forms, what hostile input does, headers."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import httpx
import pytest

from console_served import Served, Visitor, console, drop_keys
from m6rec.base.errors import StorageError
from m6rec.serving.console.overview import last_minutes
from m6rec.serving.console.page import BROWSER_FILES, number
from m6rec.serving.console.try_it import facts
from m6rec.serving.experiments.config import Experiment
from m6rec.serving.http.config import HttpConfig
from m6rec.serving.http.problems import Refused
from m6rec.serving.http.routes_admin import Folders
from m6rec.serving.store.records import Shown

PAGES = (
    *("/", "/try", "/chat", "/try?user=u03&k=3", "/try?text=running+shoes", "/catalogue", "/catalogue?q=a", "/catalogue/item?id=i03"),
    *("/catalogue/item?id=i03&who=1", "/quality", "/training", "/training?run=next", "/experiments", "/moderation"),
    *("/moderation/reviews", "/moderation/audit", "/settings"),
)
WRITING = (("/catalogue/new", {}), ("/catalogue/change", {"id": "nothing"}), ("/catalogue/delete", {"id": "nothing"}))
ADMIN = (
    *(("/moderation/block", {"kind": "item", "value": "nothing"}), ("/moderation/unblock", {"kind": "item", "value": "nothing"})),
    *(("/moderation/decide", {"id": "999"}), ("/moderation/audit", {}), ("/experiments/state", {"name": "nothing"})),
    *(("/settings/keys", {"name": ""}), ("/settings/keys/revoke", {"name": "nobody"}), ("/settings/models/switch", {"version": "nothing"})),
    *(
        ("/settings/models/drop", {"version": "nothing"}),
        ("/settings/models/load", {"folder": ""}),
        ("/settings/switches", {"exploration": "x"}),
    ),
)
HOSTILE = """<script>alert(1)</script>"'><img src=x onerror=alert(2)>{{ 7 * 7 }}'; DROP TABLE items; --"""


@pytest.fixture(scope="module")
def served(judged_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with console(judged_run, tmp_path_factory.mktemp("console")) as running:
        yield running


@pytest.fixture(autouse=True)
def _close_visitors() -> Iterator[None]:
    yield
    while Visitor.opened:
        Visitor.opened.pop().close()


@pytest.fixture
def keys(served: Served) -> Iterator[dict[str, str]]:
    """A key of each role; gone again after the test."""
    yield {role: served.service.store.add_key(f"a {role}", (role,)) for role in ("read", "write", "admin")}
    drop_keys(served)


@pytest.mark.parametrize("path", PAGES)
def test_where_no_key_exists_every_page_opens_to_this_machine(served: Served, path: str) -> None:
    assert Visitor(served).get(path).status_code == 200


def test_what_a_proxy_carries_is_not_this_machine(served: Served) -> None:
    answer = Visitor(served, **{"x-forwarded-for": "203.0.113.9"}).get("/settings")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign-in")


@pytest.mark.parametrize("who", ["nobody", "read", "write", "admin"])
def test_each_role_sees_and_does_what_it_may(served: Served, keys: dict[str, str], who: str) -> None:
    visitor = Visitor(served)
    if who != "nobody":
        assert visitor.sign_in(keys[who]).status_code == 303
    may = {"nobody": set(), "read": {"read"}, "write": {"write"}, "admin": {"read", "write", "admin"}}[who]
    refused = 303 if who == "nobody" else 403  # nobody is sent to the form for a key
    for path in PAGES:
        assert visitor.get(path).status_code == (200 if "read" in may else refused), path
    assert visitor.get("/catalogue/new").status_code == (200 if "write" in may else refused)
    for role, forms in (("write", WRITING), ("admin", ADMIN)):
        for path, values in forms:
            status = visitor.post(path, **values).status_code
            # What is refused for its content came past the role: 303 back to a page, 404, 409 or 422.
            assert (status in (303, 200, 400, 404, 409, 422)) if role in may else status == refused, (path, status)


def test_the_key_becomes_a_cookie_that_script_and_other_sites_do_not_get(served: Served, keys: dict[str, str]) -> None:
    visitor = Visitor(served)
    assert visitor.sign_in("m6r_000000000000_wrong").status_code == 401
    answer = visitor.sign_in(keys["read"])
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/console" in cookie
    assert keys["read"] not in "".join(visitor.http.cookies.values())


def test_a_revoked_key_is_out_at_once_and_a_new_key_of_its_name_is_another(served: Served, keys: dict[str, str]) -> None:
    visitor = Visitor(served)
    visitor.sign_in(keys["read"])
    assert visitor.get("/try").status_code == 200
    served.service.store.drop_key("a read")
    assert visitor.get("/try").status_code == 303
    served.service.store.add_key("a read", ("read",))
    assert visitor.get("/try").status_code == 303


@pytest.mark.parametrize("cookie", ["", ".", "x.y", "eyJ9.00", "e30.é", "W10." + "0" * 64])
def test_a_forged_cookie_is_no_session(served: Served, keys: dict[str, str], cookie: str) -> None:
    answer = httpx.get(f"{served.url}/try", headers={"cookie": b"m6rec_session=" + cookie.encode("latin-1")})
    assert answer.status_code == 303


def test_after_the_key_one_comes_to_the_page_one_wanted_and_to_no_other_site(served: Served, keys: dict[str, str]) -> None:
    visitor = Visitor(served)
    visitor.get("/catalogue?q=tent")
    assert visitor.sign_in(keys["read"]).headers["location"] == "/console/catalogue?q=tent"
    for back in ("https://evil.example/", "//evil.example", "/console\\@evil.example", "/consolex", "javascript:alert(1)"):
        assert visitor.post("/preferences", back=back, theme="dark").headers["location"] == "/console/"


@pytest.mark.parametrize(
    ("path", "values"), [*WRITING, *ADMIN, ("/sign-in", {"key": "x"}), ("/sign-out", {}), ("/preferences", {"theme": "dark"})]
)
def test_a_form_without_the_token_of_this_session_does_nothing(served: Served, path: str, values: dict[str, str]) -> None:
    mine, other = Visitor(served), Visitor(served)
    mine.token()
    for token in ("", "0" * 64, other.token()):
        assert mine.http.post(path, data={**values, "csrf": token}).status_code == 403


def test_the_first_key_is_an_administrators_and_the_last_one_stays_while_others_exist(served: Served) -> None:
    visitor, store = Visitor(served), served.service.store
    made = visitor.post("/settings/keys", name="boss", **{"role.read": "on"})
    made_keys = store.keys()
    assert [key.roles for key in made_keys] == [("admin",)]
    secret = re.search(r'value="(m6r_[^"]+)"', made.text)
    assert secret is not None
    assert store.find_key(secret[1]) is not None
    assert visitor.get("/settings").status_code == 200  # this browser goes on with the new key
    assert Visitor(served).get("/settings").status_code == 303
    assert secret[1] not in visitor.get("/settings").text
    visitor.post("/settings/keys", name="reader", **{"role.read": "on"})
    assert visitor.post("/settings/keys", name="reader", **{"role.read": "on"}).status_code == 422
    assert visitor.post("/settings/keys/revoke", name="boss").status_code == 409
    assert "a new key can be made" in visitor.post("/settings/keys/revoke", name="reader").text
    assert visitor.post("/settings/keys/revoke", name="reader", sure="yes").status_code == 303
    assert "is the last key" in visitor.post("/settings/keys/revoke", name="boss").text
    assert [key.name for key in list(store.keys())] == ["boss"], "asked is not done"
    assert "Signed in with the key boss" in visitor.get("/settings").text
    assert visitor.post("/settings/keys/revoke", name="boss", sure="yes").status_code == 303
    assert store.keys() == []
    text = visitor.get("/settings").text
    assert "Signed in" not in text
    assert "No key exists yet" in text


def test_hostile_text_is_shown_and_never_run(served: Served) -> None:
    visitor, store = Visitor(served), served.service.store
    item = HOSTILE[:100]
    answer = visitor.post(
        "/catalogue/new", id=item, sure="yes", **{"field.title": HOSTILE, "field.category": HOSTILE, "field.tags": HOSTILE}
    )
    assert answer.status_code == 303
    store.block("word", HOSTILE, HOSTILE)
    store.queue_review("text", {"said": HOSTILE}, HOSTILE)
    paths = [answer.headers["location"].removeprefix("/console"), "/catalogue?q=script", "/moderation", "/moderation/reviews"]
    queries = [f"/try?user={HOSTILE}", f"/try?text={HOSTILE}", f"/catalogue?q={HOSTILE}", f"/moderation/audit?user={HOSTILE}"]
    for path in (*paths, *queries, f"/catalogue/item?id={HOSTILE}", f"/experiments/one?name={HOSTILE}", f"/{HOSTILE}"):
        text = visitor.get(path).text
        assert "<script>alert" not in text, path
        assert "<img src=x" not in text, path
        assert "49" not in re.findall(r"onerror=alert\(2\)&gt;(.{2})", text), path
    store.unblock("word", HOSTILE)
    assert served.service.item(item)["title"] == HOSTILE
    asked = visitor.post("/catalogue/delete", id=item)
    assert "Are you sure?" in asked.text
    assert "<script>alert" not in asked.text
    assert served.service.item(item)["item_id"] == item
    assert visitor.post("/catalogue/delete", id=item, sure="yes").status_code == 303
    assert visitor.get("/catalogue/item?id=" + item).status_code == 404


def test_somebody_forgotten_is_offered_to_nobody(served: Served) -> None:
    known = re.findall(r'<option value="([^"]+)"></option>', Visitor(served).get("/try").text)
    gone = known[-1]
    served.service.forget(gone)
    text = Visitor(served).get("/try").text
    assert f'value="{gone}"' not in text
    assert f'value="{known[0]}"' in text
    assert f">{gone}</a>" not in Visitor(served).get("/catalogue/item?id=i03&who=1").text


@pytest.mark.parametrize(("kind", "value"), [("item", "i03"), ("word", None)])
def test_nobody_gets_what_is_blocked(served: Served, kind: str, value: str | None) -> None:
    visitor, service = Visitor(served), served.service
    assert "people have it" in visitor.get("/catalogue/item?id=i03&who=1").text
    value = value or service.item("i03")["title"]
    service.store.block(kind, value)
    service.following.catch_up()
    try:
        text = visitor.get("/catalogue/item?id=i03&who=1").text
    finally:
        service.store.unblock(kind, value)
        service.following.catch_up()
    assert "Nobody gets it while it is blocked" in text
    assert "people have it" not in text


def test_minutes_stand_newest_first_from_the_first_with_requests_on() -> None:
    noon = 12 * 3_600
    counted = [{"minute": noon - 7_200, "answers": 9}, {"minute": noon - 120, "answers": 3}]
    minutes = last_minutes(counted, noon + 59.0)
    assert [(when, one.get("answers", 0)) for when, one in minutes] == [("12:00", 0), ("11:59", 0), ("11:58", 3)]
    assert last_minutes([], noon) == []


def test_without_the_browser_files_the_overview_says_so_and_promises_nothing(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    for files in (frozenset(), BROWSER_FILES):
        monkeypatch.setattr("m6rec.serving.console.page.vendored", lambda files=files: files)
        text = Visitor(served).get("/").text
        assert ("make assets" in text) is not bool(files)
        assert ("every five seconds" in text) is bool(files)


def test_an_experiment_says_what_differs_and_a_stopped_one_is_not_let_run(served: Served) -> None:
    arms = [{"name": "old", "share": 0.5}, {"name": "wide", "share": 0.5, "slate": {"diversity": 0.3, "caps": {"brand": 2}}}]
    trial = Experiment.build({"name": "trial", "arms": arms}, "trial")
    served.service.store.save_experiment(trial.plain())
    served.service.following.catch_up()
    visitor = Visitor(served)
    text = visitor.get("/experiments/one?name=trial").text
    assert "Variety: 0.30" in text
    assert "At most: brand: 2" in text
    assert "let it run" in text
    asked = visitor.post("/experiments/state", name="trial", state="stopped")
    assert (asked.status_code, 'name="sure" value="yes"' in asked.text) == (200, True)
    assert "let it run" in visitor.get("/experiments/one?name=trial").text
    assert visitor.post("/experiments/state", name="trial", state="stopped", sure="yes").status_code == 303
    text = visitor.get("/experiments/one?name=trial").text
    assert "It does not run" in text
    assert "let it run" not in text
    assert "POST /v1/experiments" in visitor.get("/experiments").text


def test_an_experiment_is_begun_by_a_form_and_a_wrong_one_is_told_and_kept_in_the_form(served: Served) -> None:
    visitor = Visitor(served)
    wanted = {
        "name": "by form",
        "control": "old",
        "arm": "various",
        "share": "30",
        "traffic": "50",
        "diversity": "0.4",
        **{f"action.{name}": "on" for name in served.service.info()["actions"][:2]},
    }
    wrong = visitor.post("/experiments/new", **(wanted | {"share": "130"}))
    assert wrong.status_code == 422
    assert 'value="130"' in wrong.text
    assert "no number" not in wrong.text
    for diversity in ("much", "40"):
        assert visitor.post("/experiments/new", **(wanted | {"diversity": diversity})).status_code == 422
    assert "by form" not in [body["name"] for body in served.service.store.experiments()]
    assert visitor.post("/experiments/new", **wanted).status_code == 303
    made = Experiment.build(next(body for body in served.service.store.experiments() if body["name"] == "by form"), "made")
    assert [(arm.name, arm.share) for arm in made.arms] == [("old", 0.7), ("various", 0.3)]
    assert made.arms[1].slate is not None
    assert (made.arms[1].slate.diversity, made.traffic, made.actions) == (0.4, 0.5, served.service.info()["actions"][:2])
    assert visitor.post("/experiments/new", **wanted).status_code == 422, "the name is taken"
    assert "Variety: 0.40" in visitor.get("/experiments/one?name=by form").text


def test_what_is_done_in_the_console_and_over_http_is_told_with_who_did_it(served: Served, keys: dict[str, str]) -> None:
    store, visitor = served.service.store, Visitor(served)
    first = max([deed.seq for deed in store.deeds()], default=0)
    assert visitor.sign_in(keys["admin"]).status_code == 303
    visitor.post("/moderation/block", kind="item", value="i04", reason="a reason that may be anything")
    visitor.post("/catalogue/change", id="i04", **{"field.title": "Another title"})
    visitor.post("/settings/switches", exploration="10", language="")
    visitor.post("/settings/switches", exploration="10", language="")
    api = served.url.removesuffix("/console")
    bearer = {"authorization": f"Bearer {keys['admin']}"}
    assert httpx.delete(f"{api}/v1/blocked/item/i04", headers=bearer).status_code == 200
    assert httpx.post(f"{api}/v1/users", headers=bearer, json={"users": [{"user_id": "a-person"}]}).status_code == 200
    assert httpx.delete(f"{api}/v1/users/a-person", headers=bearer).status_code == 200
    assert httpx.post(f"{api}/api/user", headers=bearer, json={"UserId": "b-person"}).status_code == 200  # as a client of gorse
    told = store.deeds(after=first)
    assert {deed.who for deed in told} == {"a admin"}
    assert [deed.did for deed in told] == ["block", "items_write", *["setting"] * 2, "unblock", "users_write", "forget", "users_write"]
    assert (told[0].target, told[1].target, told[-3].target, told[-2].target) == ("i04", "i04", "1", "")
    assert "Another title" in told[1].after
    assert "Another title" not in told[1].before
    assert all("-person" not in str(deed) for deed in told)
    assert told[0].after == "item: a reason that may be anything"
    text = visitor.get("/moderation/deeds").text
    assert all(word in text for word in ("unblocked", "forgot a person", "a admin", "Another title"))
    assert "entries are as they were written" in visitor.post("/moderation/deeds").text
    page = httpx.get(f"{api}/v1/deeds?most=2", headers=bearer).json()
    assert [row["did"] for row in page["deeds"]] == ["users_write", "forget"]
    older = httpx.get(f"{api}/v1/deeds?most=2&before={page['before']}", headers=bearer).json()
    assert [row["did"] for row in older["deeds"]] == ["users_write", "unblock"]
    reader = Visitor(served)
    reader.sign_in(keys["read"])
    assert reader.get("/moderation/deeds").status_code == 403


def test_the_audit_has_one_row_a_list_with_its_items_in_their_places(served: Served) -> None:
    store = served.service.store
    for request in ("first-list", "second-list"):
        store.record_shown([Shown(request, "u03", f"i0{4 - place}", place, "shop", why={"prior": request}) for place in (2, 1, 3)])
    text = Visitor(served).get("/moderation/audit?user=u03").text
    assert text.index("request=second-list") < text.index("request=first-list")
    assert text.count("request=first-list") == 1
    items = re.findall(r'<small>(\d)</small> <a href="[^"]*">(i0\d)</a>', text)
    assert items[:6] == [("1", "i03"), ("2", "i02"), ("3", "i01")] * 2
    alone = Visitor(served).get("/moderation/audit?request=first-list").text
    assert "second-list" not in alone
    assert re.search(r"\d\d:\d\d:\d\d UTC", alone)


BAD = (
    *("/try?user=u03&k=0", "/try?user=u03&k=1000000", "/try?user=u03&diversity=nan", "/try?user=u03&k=x", "/try?text=" + "x" * 3000),
    *("/catalogue/item", "/catalogue/item?id=nothing", "/experiments/one?name=x", "/nothing", "/moderation/audit?before=x"),
)


@pytest.mark.parametrize("path", BAD)
def test_what_makes_no_sense_is_a_page_that_says_so(served: Served, path: str) -> None:
    answer = Visitor(served).get(path)
    assert answer.status_code in (400, 404, 422)
    assert 'role="alert"' in answer.text


@pytest.mark.parametrize("query", ["user=nobody", "user=u03&scenario=mars", "user=u03&model=v9", "user=u03&like=nothing", "user=%00"])
def test_a_list_that_can_not_be_made_says_why_where_the_list_would_be(served: Served, query: str) -> None:
    answer = Visitor(served).get(f"/try?{query}")
    assert answer.status_code == 200
    assert re.search(r'<p class="problem" role="alert">[^<]{10,}</p>', answer.text)


def test_every_page_forbids_script_that_is_not_ours_and_has_none_in_it(served: Served) -> None:
    visitor = Visitor(served)
    for path in (*PAGES, "/nothing", "/sign-in", "/static/console.css"):
        answer = visitor.get(path)
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"<script(?! src=\"/console/static/)|<style|\sstyle=|\son\w+=\"|https?://(?!www\.w3\.org)", answer.text), path


def test_a_store_that_is_away_is_said_in_one_line(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise StorageError("the database does not answer; try again")

    monkeypatch.setattr(served.service.store, "keys", away)
    answer = Visitor(served).get("/try")
    assert (answer.status_code, answer.text) == (503, "the database does not answer; try again")


def test_an_item_that_is_wrong_is_shown_again_with_what_was_typed(served: Served) -> None:
    visitor = Visitor(served)
    for values in ({"id": "new", "field.title": "A tent", "field.price": "cheap"}, {"id": "i03", "field.title": "A tent"}, {"id": ""}):
        answer = visitor.post("/catalogue/new", **values)
        assert answer.status_code == 422
        assert values.get("field.title", "") in answer.text


def test_a_probable_slip_in_a_new_item_is_asked_about_and_taken_where_it_is_meant(served: Served) -> None:
    visitor = Visitor(served)
    slip = {"id": "slip", "field.category": "no such category", "field.price": "-3"}
    asked = visitor.post("/catalogue/new", **slip)
    assert asked.status_code == 200
    for words in ("It has no title", "No item has the category", "price is -3", 'value="no such category"', 'value="yes"'):
        assert words in asked.text, words
    assert visitor.get("/catalogue/item?id=slip").status_code == 404
    assert visitor.post("/catalogue/new", sure="yes", **slip).status_code == 303
    visitor.post("/catalogue/delete", id="slip", sure="yes")


def test_the_catalogue_is_searched_by_tags_too_and_has_a_way_back(served: Served) -> None:
    visitor, service = Visitor(served), served.service
    tagged = next(one for one in service.items(None, 100) if one["fields"]["tags"])
    tag = tagged["fields"]["tags"][0]
    found, total = service.search_items(tag, 1000)
    assert total == len(found)
    assert {one["item_id"] for one in found} >= {
        one["item_id"] for one in service.items(None, 1000) if tag in (one["fields"]["tags"] or [])
    }
    everything = service.info()["items"]
    first, second = service.search_items("", 7), service.search_items("", 7, 7)
    assert (len(first[0]), first[1], second[1]) == (7, everything, everything)
    assert [one["item_id"] for one in (*first[0], *second[0])] == [one["item_id"] for one in service.items(None, 14)]
    service.delete_item("i02")
    assert service.search_items("i02", 5) == ([], 0)
    service.upsert_items([{"item_id": "i02", "title": "Back again", "tags": ["a-rare-tag"]}])
    assert [one["item_id"] for one in service.search_items("A-Rare-Tag", 5)[0]] == ["i02"]
    assert "One item found" in visitor.get("/catalogue?q=a-rare-tag").text
    assert visitor.get("/catalogue?part=99").status_code == 200


def test_a_model_is_loaded_by_a_path_from_either_folder_and_a_wrong_one_stays_typed(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = Visitor(served)
    assert '<option value="next"></option>' in visitor.get("/settings?load=1").text
    assert "Go back to" not in visitor.get("/settings").text
    wrong = visitor.post("/settings/models/load", folder="nowhere", version="v-2", note="a note")
    assert wrong.status_code == 422
    assert all(f'value="{typed}"' in wrong.text for typed in ("nowhere", "v-2", "a note"))
    monkeypatch.chdir(served.runs.parent)
    folders = Folders(served.runs / "shop", HttpConfig())
    assert folders.named("next") == folders.named("runs/next") == (served.runs / "next").resolve()
    with pytest.raises(Refused, match="outside"):
        folders.named("../state")


def test_a_short_list_says_that_nothing_more_fits_and_its_lines_tell_the_price(served: Served) -> None:
    text = Visitor(served).get("/try?user=u03&k=50").text
    shown = text.count('<li class="answer"')
    assert (shown < 50) == ("nothing more fits" in text)
    line = next(one for one in served.service.items(None, 100) if one["fields"]["price"] is not None)
    assert "price" in dict(facts(served.service, line["item_id"], line["title"]))


def test_a_title_typed_into_the_audit_leads_to_its_item(served: Served) -> None:
    title = served.service.item("i05")["title"]
    assert "item=i05" in Visitor(served).get(f"/moderation/audit?item={title}").text


def test_a_key_that_may_nothing_is_refused_in_the_words_of_the_form(served: Served, keys: dict[str, str]) -> None:
    visitor = Visitor(served)
    visitor.sign_in(keys["admin"])
    answer = visitor.post("/settings/keys", name="idle")
    assert answer.status_code == 422
    assert "tick at least one of: read, write, everything" in answer.text


def test_all_files_of_the_console_are_in_the_package() -> None:
    root = Path(__file__).parents[1]
    package = root / "src" / "m6rec"
    carried = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]["m6rec"]
    files = [
        path.relative_to(package).as_posix()
        for path in (package / "serving" / "console").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert len(files) > 20
    assert [one for one in files if not any(fnmatch(one, pattern) and one.count("/") == pattern.count("/") for pattern in carried)] == []


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (float("nan"), "–"), (0, "0"), (12345, "12,345"), (0.12345, "0.123"), (1234.56, "1,234.6"), (2.0, "2")],
)
def test_numbers_are_written_for_people(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_bad_keys_are_slowed_down(served: Served, keys: dict[str, str]) -> None:
    visitor = Visitor(served)
    token = visitor.token()
    tried = {visitor.http.post("/sign-in", data={"csrf": token, "key": f"m6r_{n:012x}_x"}).status_code for n in range(60)}
    assert tried == {401, 429}
