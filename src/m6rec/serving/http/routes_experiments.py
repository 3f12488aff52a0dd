"""Routes of experiments: what runs beside what, and what came of it. Role: admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Path
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from m6rec.base.errors import nearest
from m6rec.serving.experiments.config import Experiment
from m6rec.serving.http.calls import Calls
from m6rec.serving.http.guarded_route import route
from m6rec.serving.http.problems import Refused
from m6rec.serving.http.replies import Said, send
from m6rec.serving.http.values import ID_PATTERN, MOST_KEYS

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

TAG = "experiments"
PathName = Annotated[str, Path(min_length=1, max_length=100, pattern=ID_PATTERN, description="Name of the experiment.")]


class ExperimentsReply(Said):
    """All experiments."""

    experiments: list[dict[str, Any]] = Field(description="As they were set up, with their status.")


class ExperimentReply(Said):
    """One experiment."""

    experiment: dict[str, Any] = Field(description="As it was set up, with its status.")


class ReadoutReply(Said):
    """What came of an experiment up to now."""

    readout: dict[str, Any] = Field(description="Figures of the arms, differences with intervals, guardrails, and what they ask for.")


def add_experiment_routes(app: FastAPI, service: Service, calls: Calls) -> None:
    """Add the routes to `app`."""

    def every() -> dict[str, dict[str, Any]]:
        """By name: those of the configuration, and those set up since, which stand in their place."""
        configured = {one.name: one.plain() for one in service.config.experiments.running}
        return configured | {one["name"]: one for one in service.store.experiments()}

    def save(body: Experiment) -> dict[str, Any]:
        if len(body.arms) > MOST_KEYS:
            raise Refused(422, f"an experiment has at most {MOST_KEYS} arms, got {len(body.arms)}")
        known = {facts.version for facts in service.models()}
        for arm in body.arms:
            if arm.model is not None and arm.model not in known:
                raise Refused(422, f"arm '{arm.name}' asks for the model '{arm.model[:80]}'; there are: {', '.join(sorted(known))}")
        return service.set_experiment(body).plain()

    def stop(name: str) -> dict[str, Any]:
        known = every()
        if name not in known:
            raise Refused(404, f"there is no experiment '{name}'{nearest(name, list(known))}")
        return service.set_experiment(Experiment.build({**known[name], "status": "stopped"}, f"experiment {name}")).plain()

    async def list_experiments(request: Request) -> Response:
        """All experiments, running, paused and stopped."""
        return send(request, {"experiments": list((await calls.run("admin", every)).values())})

    async def create_experiment(request: Request, body: Experiment) -> Response:
        """Set an experiment up, or change the one of this name; it deals people out from the next request on."""
        return send(request, {"experiment": await calls.run("admin", save, body)})

    async def stop_experiment(request: Request, name: PathName) -> Response:
        """Stop an experiment: nobody is dealt out any more; its readout stays."""
        return send(request, {"experiment": await calls.run("admin", stop, name)})

    async def read_experiment(request: Request, name: PathName) -> Response:
        """Readout of an experiment as it stands: intervals that hold at any number of looks, guardrails, what to do."""
        if name not in await calls.run("admin", every):
            raise Refused(404, f"there is no experiment '{name}'")
        found = await calls.run("admin", service.look, name)
        return send(request, {"readout": found.plain()})

    for method, path, function, reply in (
        ("GET", "/v1/experiments", list_experiments, ExperimentsReply),
        ("POST", "/v1/experiments", create_experiment, ExperimentReply),
        ("POST", "/v1/experiments/{name}/stop", stop_experiment, ExperimentReply),
        ("GET", "/v1/experiments/{name}/readout", read_experiment, ReadoutReply),
    ):
        route(app, method, path, function, role="admin", tag=TAG, reply=reply, also=(404, 409))
