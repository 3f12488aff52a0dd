"""Settings: access keys, the models in memory and which of them answers, switches that hold for every worker."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from fastapi.responses import Response

from m6rec.base.errors import M6RecError, UsageError
from m6rec.serving.console.access import ROLES
from m6rec.serving.console.page import Admin, Form, Page, Reader
from m6rec.serving.console.phrases import languages
from m6rec.serving.console.training import runs_beside
from m6rec.serving.console.versions import added
from m6rec.serving.http.problems import Refused
from m6rec.serving.http.routes_admin import Folders
from m6rec.serving.service.run_reports import run_of

router = APIRouter(prefix="/settings")
LANGUAGE = "console.language"
EXPLORATION = "exploration"
MOST_EXPLORATION = 0.5


@router.get("")
def show(page: Reader, load: str = "") -> Response:
    """Keys, models, switches."""
    return _settings(page, loading=bool(load))


@router.post("/keys")
def add_key(page: Admin, form: Form) -> Response:
    """A new key, whose secret stands on this page and nowhere else. The first one is an administrator's, and this browser uses it at once."""
    name, store = form.get("name", "").strip(), page.service.store
    first = not store.keys()
    roles = ("admin",) if first else tuple(role for role in ROLES if form.get(f"role.{role}"))
    try:
        if not roles:
            raise UsageError(page.t("settings.no_role", name=name, roles=", ".join(page.t(f"role.{role}") for role in ROLES)))
        secret = store.add_key(name, roles)
    except M6RecError as error:
        return _settings(page, 422, problem=str(error), name=name)
    page.request.app.state.doorkeeper.keyring.forget()
    if first:
        made = store.find_key(secret)
        assert made is not None
        page.session = page.access.of_key(made)
    return page.show("settings_key", name=name, secret=secret, roles=roles, first=first)


@router.post("/keys/revoke")
def revoke(page: Admin, form: Form) -> Response:
    """The key opens nothing any more, once that was asked. The last administrator's key goes last, so that nobody is locked out."""
    name, keys = form.get("name", ""), page.service.store.keys()
    others = [key for key in keys if key.name != name]
    if others and not any("admin" in key.roles for key in others):
        return _settings(page, 409, problem=page.t("settings.last_admin", name=name))
    if len(others) < len(keys):
        question = "revoke_sure" if others else "revoke_opens" if page.access.loopback else "revoke_shuts"
        asked = page.ask_first(form, page.t(f"settings.{question}", name=name), page.t("settings.revoke_it", name=name), "/settings")
        if asked is not None:
            return asked
    page.service.store.drop_key(name)
    page.request.app.state.doorkeeper.keyring.forget()
    return page.go("/settings", done="key_revoked")


@router.post("/models/switch")
def switch(page: Admin, form: Form) -> Response:
    """Let another version answer."""
    page.service.switch(form.get("version", ""))
    return page.go("/settings", done="switched")


@router.post("/models/back")
def roll_back(page: Admin, form: Form) -> Response:
    """Back to the version that answered before."""
    page.service.roll_back()
    return page.go("/settings", done="rolled_back")


@router.post("/models/load")
def load(page: Admin, form: Form) -> Response:
    """Another version beside the one that answers."""
    folder = form.get("folder", "").strip()
    try:
        if not folder:
            raise UsageError(page.t("settings.no_folder"))
        page.service.load_model(
            Folders(page.service.run, page.config.http).named(folder), form.get("version", "").strip() or None, form.get("note", "").strip()
        )
    except (M6RecError, Refused) as error:
        problem = error.detail if isinstance(error, Refused) else str(error)
        return _settings(page, 422, problem=problem, loading=True, typed=form)
    return page.go("/settings", done="loaded")


@router.post("/models/drop")
def drop(page: Admin, form: Form) -> Response:
    """Out of memory."""
    page.service.drop_model(form.get("version", ""))
    return page.go("/settings", done="dropped")


@router.post("/switches")
def switches(page: Admin, form: Form) -> Response:
    """What holds for every worker from now on."""
    try:
        share = float(form.get("exploration", "0").replace(",", ".")) / 100
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= MOST_EXPLORATION:
        return _settings(page, 422, problem=page.t("settings.wrong_share", given=form.get("exploration", "")[:20]))
    page.service.store.set_setting(EXPLORATION, share)
    language = form.get("language", "")
    page.service.store.set_setting(LANGUAGE, language if language in languages() else "")
    page.service.following.catch_up()
    return page.go("/settings", done="switches")


def _settings(
    page: Page, status: int = 200, problem: str = "", name: str = "", *, loading: bool = False, typed: Mapping[str, str] | None = None
) -> Response:
    """loading: whether the form for another model is open.  typed: what stands in it."""
    store = page.service.store
    others = {one: path for one, path in runs_beside(page.service).items() if one != run_of(page.service.run).name}
    return page.show(
        "settings",
        status,
        keys=store.keys() if page.session.may("admin") else [],
        models=page.service.models(),
        added=added(page.service),
        all_roles=ROLES,
        exploration=store.setting(EXPLORATION, page.service.config.experiments.exploration),
        language=store.setting(LANGUAGE, ""),
        problem=problem,
        name=name,
        loading=loading,
        typed={one: (typed or {}).get(one, "") for one in ("folder", "version", "note")},
        beside=[one for one, path in others.items() if (path / "model").is_dir()],
        unfinished=[one for one, path in others.items() if not (path / "model").is_dir()],
        previous=store.previous_active(),
    )
