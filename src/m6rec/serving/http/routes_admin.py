"""Routes that change what answers: models, options, blocked items and words. Role: admin."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import FastAPI, Query
from fastapi import Path as InPath
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from m6rec.serving.http.calls import Calls
from m6rec.serving.http.config import HttpConfig
from m6rec.serving.http.guarded_route import route
from m6rec.serving.http.problems import Refused
from m6rec.serving.http.replies import Said, send
from m6rec.serving.http.values import ID_PATTERN, MOST_ID, NO_NULL, Id, Name, Strict, Text

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

TAG = "admin"
FOLDER = Annotated[str, Field(min_length=1, max_length=1024, pattern=NO_NULL)]
PathName = Annotated[str, InPath(min_length=1, max_length=128, pattern=ID_PATTERN, description="The name.")]
BlockedKind = Literal["item", "word", "provider"]


class LoadModelRequest(Strict):
    """A model to load beside the one that answers."""

    folder: FOLDER = Field(description="Run or model folder, below the folder of runs.", examples=["shop-2"])
    version: Name | None = Field(None, description="What to call it; made of its content when left out.")
    note: Annotated[str, Field(max_length=500, pattern=NO_NULL)] = Field("", description="What people should know of it.")


class SwitchRequest(Strict):
    """Which model answers from now on."""

    version: Name = Field(description="Version of a loaded model.")


class LoadOptionRequest(Strict):
    """A task to add to the model that answers."""

    folder: FOLDER = Field(description="Folder that `m6rec add-task` wrote, below the folder of runs.")


class BlockRequest(Strict):
    """Something that is not shown any more."""

    kind: BlockedKind = Field(description="item: an id; word: in any title or text; provider: a value of the provider's field.")
    value: Id = Field(description="The id, word or provider.")
    reason: Text = Field("blocked over HTTP", description="Why; people read it in the console.")


class ModelsReply(Said):
    """Models in memory."""

    models: list[dict[str, Any]] = Field(description="The active one first.")


class ModelReply(Said):
    """One model."""

    model: dict[str, Any] = Field(description="Version, status, sizes.")


class OptionsReply(Said):
    """Tasks on candidates."""

    options: list[dict[str, Any]] = Field(description="Task, scenarios, folder of those that were loaded on top of the model.")


class BlockedReply(Said):
    """What is not shown."""

    blocked: list[dict[str, Any]] = Field(description="Kind, value, reason.")


class DeedsReply(Said):
    """What was done to the service."""

    deeds: list[dict[str, Any]] = Field(description="seq, time, who (a key; empty: somebody on the machine), did, target, before, after.")
    before: int | None = Field(description="Give this as `before` for the next page; null on the last one.")


class DeedsAsked(Strict):
    """Which part of the record."""

    model_config = ConfigDict(strict=False)

    before: int = Field(0, ge=0, le=2**62, description="Only deeds with a smaller seq; 0: from the newest on.")
    most: int = Field(100, ge=1, le=1000, description="Rows of a page.")


class DroppedReply(Said):
    """What is gone."""

    dropped: str = Field(description="Its name.")


class LoadedOptionReply(Said):
    """The task that can be asked now."""

    task: str = Field(description="Its name.")


class Folders:
    """Folders that may be named over HTTP: those below the folder of the served run, and below what the configuration adds."""

    def __init__(self, run: Path, http: HttpConfig) -> None:
        self.home = run.resolve().parent
        self.roots = [self.home, *(Path(folder).resolve() for folder in http.model_folders)]

    def named(self, folder: str) -> Path:
        """The folder, links followed: below the folder of runs, or where there is none below the folder that the service was started in.

        Raises:
            Refused: (422) it lies elsewhere, whether it is there or not.
        """
        try:
            found = [(start / folder).resolve() for start in (self.home, Path.cwd())]
        except (OSError, RuntimeError, ValueError):
            raise Refused(422, "folder is no path") from None
        allowed = [one for one in found if any(one.is_relative_to(root) and one != root for root in self.roots)]
        if not allowed:
            raise Refused(422, "folder lies outside the folder of runs; see http.model_folders")
        return next((one for one in allowed if one.is_dir()), allowed[0])

    def shown(self, folder: Path | str | None) -> str | None:
        """The folder as it would be named over HTTP: nothing of this machine above the folder of runs."""
        if folder is None:
            return None
        path = Path(folder).resolve()
        return str(path.relative_to(self.home)) if path.is_relative_to(self.home) else path.name


def add_admin_routes(app: FastAPI, service: Service, calls: Calls, http: HttpConfig) -> None:
    """Add the routes to `app`."""
    folders = Folders(service.run, http)

    def facts(model: Any) -> dict[str, Any]:
        return {**asdict(model), "folder": folders.shown(model.folder)}

    async def list_models(request: Request) -> Response:
        """Models in memory, the active one first."""
        return send(request, {"models": [facts(model) for model in await calls.run("admin", service.models)]})

    async def load_model(request: Request, body: LoadModelRequest) -> Response:
        """Load a model beside the one that answers; requests go on as before."""
        folder = folders.named(body.folder)
        return send(request, {"model": facts(await calls.run("admin", service.load_model, folder, body.version, body.note))})

    async def switch_model(request: Request, body: SwitchRequest) -> Response:
        """Let a loaded model answer from the next request on; no request fails."""
        return send(request, {"model": facts(await calls.run("admin", service.switch, body.version))})

    async def roll_back(request: Request) -> Response:
        """Back to the model that was active before the one that answers; again, to the one before that."""
        return send(request, {"model": facts(await calls.run("admin", service.roll_back))})

    async def drop_model(request: Request, version: PathName) -> Response:
        """Take a model out of memory; not the one that answers."""
        await calls.run("admin", service.drop_model, version)
        return send(request, {"dropped": version})

    async def list_options(request: Request) -> Response:
        """Tasks on candidates, those of the training and those loaded on top."""
        options = await calls.run("admin", service.options)
        return send(request, {"options": [{**option, "folder": folders.shown(option.get("folder"))} for option in options]})

    async def load_option(request: Request, body: LoadOptionRequest) -> Response:
        """Add a task to the model that answers; its other answers keep their bits."""
        folder = folders.named(body.folder)
        return send(request, {"task": await calls.run("admin", service.load_option, folder)})

    async def drop_option(request: Request, task: PathName) -> Response:
        """Take a task out that was loaded on top."""
        await calls.run("admin", service.drop_option, task)
        return send(request, {"dropped": task})

    async def list_blocked(request: Request) -> Response:
        """Items, words and providers that are not shown."""
        return send(request, {"blocked": [plain(one) for one in await calls.run("admin", service.store.blocked)]})

    async def block(request: Request, body: BlockRequest) -> Response:
        """Show something no more, from the next answer on."""
        await calls.run("admin", service.store.block, body.kind, body.value, body.reason)
        return send(request, {"blocked": [{"kind": body.kind, "value": body.value, "reason": body.reason}]})

    async def unblock(
        request: Request,
        kind: BlockedKind,
        value: Annotated[str, InPath(min_length=1, max_length=MOST_ID, pattern=ID_PATTERN, description="The id, word or provider.")],
    ) -> Response:
        """Let something be shown again."""
        if not await calls.run("admin", service.store.unblock, kind, value):
            raise Refused(404, f"the {kind} '{value}' is not blocked")
        return send(request, {"dropped": value})

    async def list_deeds(request: Request, asked: Annotated[DeedsAsked, Query()]) -> Response:
        """Who did what to the service: keys, models, items, blocks, experiments, settings; newest first."""
        rows = await calls.run("admin", partial(service.store.deeds, after=asked.before, most=asked.most, newest_first=True))
        return send(request, {"deeds": [asdict(row) for row in rows], "before": rows[-1].seq if len(rows) == asked.most else None})

    for method, path, function, reply, also in (
        ("GET", "/v1/deeds", list_deeds, DeedsReply, ()),
        ("GET", "/v1/models", list_models, ModelsReply, ()),
        ("POST", "/v1/models", load_model, ModelReply, (404, 409)),
        ("POST", "/v1/models/switch", switch_model, ModelReply, (404, 409)),
        ("POST", "/v1/models/roll-back", roll_back, ModelReply, (404, 409)),
        ("DELETE", "/v1/models/{version}", drop_model, DroppedReply, (404, 409)),
        ("GET", "/v1/options", list_options, OptionsReply, ()),
        ("POST", "/v1/options", load_option, LoadedOptionReply, (404, 409)),
        ("DELETE", "/v1/options/{task}", drop_option, DroppedReply, (404, 409)),
        ("GET", "/v1/blocked", list_blocked, BlockedReply, ()),
        ("POST", "/v1/blocked", block, BlockedReply, (404, 409)),
        ("DELETE", "/v1/blocked/{kind}/{value:path}", unblock, DroppedReply, (404, 409)),
    ):
        route(app, method, path, function, role="admin", tag=TAG, reply=reply, also=also)


def plain(value: Any) -> dict[str, Any]:
    """A record of the store as it is written in JSON."""
    return dict(value) if isinstance(value, dict) else asdict(value)
