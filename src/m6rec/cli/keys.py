"""`m6rec keys`: who may ask a service for what. A key is shown once, when it is made; the store keeps a hash of it."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from m6rec.base.errors import CheckpointError, UsageError
from m6rec.cli.options import Json, RunFolder, Set
from m6rec.cli.output import columns, print_json, print_lines
from m6rec.cli.serve import ServeFile, State

if TYPE_CHECKING:
    from m6rec.serving.store.store import Store


class Role(StrEnum):
    """What a key opens; admin opens everything, reading and writing are apart."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class Deed(StrEnum):
    """What is done with keys."""

    ADD = "add"
    LIST = "list"
    DROP = "drop"


def keys(
    deed: Annotated[Deed, typer.Argument(help="add, list or drop.", metavar="DEED")],
    run: RunFolder,
    name: Annotated[str | None, typer.Argument(help="Name of the key, for add and drop.", metavar="[NAME]")] = None,
    role: Annotated[
        list[Role] | None, typer.Option("--role", help="What the key may do; repeated for several. Default: read.", show_default=False)
    ] = None,
    config: ServeFile = None,
    settings: Set = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Add, list or drop keys of the service over a run: `m6rec keys add runs/shop website --role read`.

    While no key exists, whoever is on this machine may do everything, and nobody else anything. A running service knows within two seconds.
    """
    if (name is None) != (deed == Deed.LIST):
        what = "no name: m6rec keys list RUN" if deed == Deed.LIST else f"a name: m6rec keys {deed.value} RUN NAME"
        raise UsageError(f"m6rec keys {deed.value} takes {what}")
    if role and deed != Deed.ADD:
        raise UsageError("--role goes with add: m6rec keys add RUN NAME --role read")

    from m6rec.serving.service.configuration_file import load_serve_config, state_of
    from m6rec.serving.store.deeds import acting
    from m6rec.serving.store.store import Store

    if not run.is_dir():
        raise CheckpointError(f"{run} is no run folder; give the one that m6rec serve is given")
    store = Store.open(load_serve_config(config, settings or []).store, state_of(run, state))
    try:
        if name is None:
            _show(store, as_json)
        elif deed == Deed.ADD:
            roles = [one.value for one in role or [Role.READ]]
            with acting(""):
                secret = store.add_key(name, roles)
            print_json({"name": name, "roles": roles, "key": secret}) if as_json else print_lines([secret])
        else:
            with acting(""):
                store.drop_key(name)
            print_json({"dropped": name}) if as_json else print_lines([f"'{name}' opens nothing any more"])
    finally:
        store.close()


def _show(store: Store, as_json: bool) -> None:
    found = store.keys()
    if as_json:
        print_json([{"name": key.name, "roles": list(key.roles), "created": key.created} for key in found])
        return
    if not found:
        print_lines(["no key: whoever is on this machine may do everything, nobody else anything"])
        return
    rows = [[key.name, ", ".join(key.roles), datetime.fromtimestamp(key.created, UTC).strftime("%Y-%m-%d %H:%M UTC")] for key in found]
    print_lines(columns(rows, ["name", "roles", "created"]))
