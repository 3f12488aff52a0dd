"""What stands in the way of serving: the machine, the model, the store, the keys. Each finding says what is so and what to do.

Nothing is changed: a store that is not there is not made.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from m6rec.base.errors import M6RecError, StorageError, UsageError, nearest
from m6rec.base.threads import cores
from m6rec.serving.config import ServeConfig

if TYPE_CHECKING:
    from m6rec.serving.service.loaded import LoadedModel

Status = Literal["ok", "warn", "fail"]
GIGABYTE = 1e9
LEAST_DISK, LEAST_FILES = 2 * GIGABYTE, 1024
SLOW_SYNC = 0.02  # seconds for one small write to reach the disk
OLD_KEY = 365 * 86_400.0
BROWSER_FOLDER = Path(__file__).resolve().parents[1] / "console" / "static" / "vendor"
BROWSER_FILES = {"htmx": "htmx.min.js", "ECharts": "echarts.min.js"}
LIBRARIES = ("torch", "numpy", "polars", "fastapi", "uvicorn", "uvloop", "httptools", "sqlalchemy", "alembic", "prometheus_client")


@dataclass(frozen=True)
class Finding:
    """One thing looked at. advice: what to do, "" where nothing is."""

    name: str
    status: Status
    fact: str
    advice: str = ""


def examine(config: ServeConfig, run: Path | None = None, state: Path | None = None) -> Iterator[Finding]:
    """Every check, in the order in which a start would meet them. state: folder of the store, None where there is none to look at."""
    yield from _program()
    yield _processor()
    yield _device()
    yield _threads(config)
    yield from _room(config, run, state)
    yield _port(config)
    if run is not None:
        yield from _model(run, config)
    yield _console()
    if state is not None:
        yield from _store(config, state)
    yield from _tls(config)


def _program() -> Iterator[Finding]:
    yield Finding("python", "ok", f"Python {'.'.join(map(str, sys.version_info[:3]))}")
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        yield Finding("libraries", "fail", f"not installed: {', '.join(missing)}", "pip install 'm6rec[serve]'")
    else:
        told = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "fastapi", "uvicorn", "sqlalchemy"))
        yield Finding("libraries", "ok", told)


def _processor() -> Finding:
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("flags")[2].partition("\n")[0].split())
    except OSError:
        return Finding("processor", "ok", f"{cores()} cores; features are not told on this system")
    known = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    fact = f"{cores()} cores, {', '.join(known) or 'no vector features known'}"
    if "avx2" not in flags:
        return Finding("processor", "warn", fact, "without AVX2 matrix products take several times as long; use a newer machine")
    return Finding("processor", "ok", fact)


def _device() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("device", "ok", "cpu")  # that torch is missing is said above
    from m6rec.language_model.devices import devices_here

    found = devices_here()
    if not found:
        return Finding("device", "ok", "cpu: torch finds no GPU here; training runs on the CPU")
    return Finding("device", "ok", f"{', '.join(found)}: training takes the first (train.device); answers are computed on the CPU")


def _threads(config: ServeConfig) -> Finding:
    said = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "M6REC_THREADS") if name in os.environ}
    fact = f"{config.http.workers} workers on {cores()} cores" + "".join(f", {name}={value}" for name, value in said.items())
    if config.http.workers > cores():
        return Finding("threads", "warn", fact, f"workers wait for each other; use --workers {cores()} or fewer")
    return Finding("threads", "ok", fact)


def _room(config: ServeConfig, run: Path | None, state: Path | None) -> Iterator[Finding]:
    free = _free_memory()
    size = 0 if run is None else sum(file.stat().st_size for file in _model_folder(run).rglob("*") if file.is_file())
    if free is not None:
        # Interpreter and libraries, twice the model (a next version beside the old one); most of a model is shared.
        needed = config.http.workers * 0.4 * GIGABYTE + 2.5 * size
        fact = f"{free / GIGABYTE:.1f} GB free; about {needed / GIGABYTE:.1f} GB wanted for {config.http.workers} workers and two models"
        advice = "take fewer workers, or a machine with more memory"
        yield Finding("memory", "ok", fact) if free > needed else Finding("memory", "warn", fact, advice)
    if state is not None:
        yield from _disk(state)
    try:
        import resource

        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    except ImportError:
        return
    fact = f"{files} open files allowed"
    few = files != -1 and files < LEAST_FILES
    yield (
        Finding("files", "warn", fact, "every connection takes one; raise it with ulimit -n 65536") if few else Finding("files", "ok", fact)
    )


def _disk(state: Path) -> Iterator[Finding]:
    place = next(folder for folder in (state, *state.resolve().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    fact = f"{free / GIGABYTE:.1f} GB free in {place}"
    low = free < LEAST_DISK
    yield (
        Finding("disk", "warn", fact, "events and the audit need room: free some, or give another --state")
        if low
        else Finding("disk", "ok", fact)
    )
    probe = place / f".m6rec-doctor-{os.getpid()}"
    try:
        begun = time.perf_counter()
        with open(probe, "wb") as handle:
            handle.write(b"m6rec")
            os.fsync(handle.fileno())
        took = time.perf_counter() - begun
    except OSError as error:
        yield Finding(
            "writing", "fail", f"{place} can't be written: {error.strerror}", "give a folder that this user may write to with --state"
        )
        return
    finally:
        probe.unlink(missing_ok=True)
    fact = f"a small write is on the disk after {took * 1e3:.1f} ms"
    slow = took > SLOW_SYNC
    yield (
        Finding("writing", "warn", fact, "each batch of events waits for that; a faster disk helps")
        if slow
        else Finding("writing", "ok", fact)
    )


def _port(config: ServeConfig) -> Finding:
    from m6rec.serving.supervisor import listen

    http = config.http
    try:
        with listen(http.host, http.port):
            return Finding("port", "ok", f"{http.host}, port {http.port} is free")
    except UsageError as error:
        fact, _, advice = str(error).partition("; ")
        return Finding("port", "fail", fact, advice)


def _model(run: Path, config: ServeConfig) -> Iterator[Finding]:
    from m6rec.serving.service.loaded import LoadedModel

    try:
        begun = time.perf_counter()
        model = LoadedModel.open(run, config=config.engine)
        loaded = time.perf_counter() - begun
        begun = time.perf_counter()
        model.warm()
    except M6RecError as error:
        fact, _, advice = str(error).rpartition("; ")
        yield Finding("model", "fail", fact or advice, advice if fact else "give a finished run")
        return
    facts = model.facts("loaded")
    told = f"{model.version}: {facts.items:,} items, {facts.users:,} users; loaded in {loaded:.1f} s, first answer {time.perf_counter() - begun:.2f} s"
    yield Finding("model", "ok", told)
    newest = model.engine.newest
    if newest > time.time() + 86_400:
        days = (newest - time.time()) / 86_400
        yield Finding("clock", "warn", f"the newest event of the model lies {days:.0f} days ahead of this machine's clock", "set the clock")
    elif newest == newest:
        yield Finding("clock", "ok", f"the newest event of the model is {(time.time() - newest) / 86_400:.0f} days old")
    yield _policy(model, config)


def _policy(model: LoadedModel, config: ServeConfig) -> Finding:
    """Rules and experiments of the configuration against the model, by what reads them when it is served."""
    from m6rec.serving.rules.facts import CatalogueFacts
    from m6rec.serving.rules.filters import Blocked, RuleBook
    from m6rec.serving.rules.slate import check

    options = [option["task"] for option in model.options()]
    name = "rules"
    try:
        facts = RuleBook.build(config.rules, Blocked(), CatalogueFacts(model.engine.items)).facts
        name = "experiment"
        for experiment in config.experiments.running:
            for arm in experiment.arms:
                if arm.slate is not None:
                    check(arm.slate.slate(), facts)
                if arm.option is not None and arm.model is None and arm.option not in options:
                    hint = nearest(arm.option, options) or f"; there are: {', '.join(options) or 'none'}"
                    raise UsageError(f"arm '{arm.name}' of experiment '{experiment.name}': the model has no option '{arm.option}'{hint}")
    except M6RecError as error:
        fact, _, advice = " ".join(str(error).split()).partition("; ")
        return Finding(name, "fail", fact, advice or "correct the configuration")
    return Finding("rules", "ok", "rules and experiments of the configuration suit the model")


def _console() -> Finding:
    """Whether the browser files that the console takes from elsewhere are there."""
    lacking = [told for told, name in BROWSER_FILES.items() if not (BROWSER_FOLDER / name).is_file()]
    if lacking:
        return Finding("console", "warn", f"the console goes without {' and '.join(lacking)}", "make assets, in the folder of the source")
    return Finding("console", "ok", f"browser files are there: {', '.join(BROWSER_FILES)}")


def _store(config: ServeConfig, state: Path) -> Iterator[Finding]:
    from m6rec.serving.store.store import Store

    if not config.store.url and not (state / "store.db").exists():
        yield Finding("store", "ok", f"none in {state} yet; the first start makes one")
        yield from _keys(config, [])
        return
    try:
        store = Store.open(config.store, state, migrate=False)
    except StorageError as error:
        fact, _, advice = str(error).rpartition("; ")
        yield Finding("store", "fail", fact or advice, advice if fact else "start the database, or set store.url")
        return
    try:
        yield Finding("store", "ok", f"{store.newest_change():,} changes, tables up to date")
        held = store.keys()
        yield from _keys(config, [(key.name, key.created) for key in held])
    finally:
        store.close()
    secret = Path(config.store.secret_file) if config.store.secret_file else state / "store.secret"
    if secret.exists() and stat.S_IMODE(secret.stat().st_mode) & 0o077:
        yield Finding("secret", "fail", f"{secret} can be read by other users", f"chmod 600 {secret}")


def _keys(config: ServeConfig, keys: list[tuple[str, float]]) -> Iterator[Finding]:
    """keys: name, when it was made."""
    if not keys:
        if config.http.loopback:
            yield Finding(
                "keys", "warn", "no access keys: everybody on this machine may do everything", "m6rec keys add RUN NAME --role admin"
            )
        else:
            yield Finding(
                "keys",
                "fail",
                f"no access keys, and {config.http.host} can be reached from outside",
                "m6rec keys add RUN NAME --role admin",
            )
        return
    old = [name for name, created in keys if time.time() - created > OLD_KEY]
    fact = f"{len(keys)} access keys"
    if old:
        yield Finding("keys", "warn", f"{fact}; older than a year: {', '.join(old)}", "add new ones, then drop these")
    else:
        yield Finding("keys", "ok", fact)


def _tls(config: ServeConfig) -> Iterator[Finding]:
    http = config.http
    if not http.tls_certificate:
        if not http.loopback:
            fact = f"{http.host} is served without TLS: keys and answers travel in the clear"
            yield Finding("tls", "warn", fact, "give --tls-cert and --tls-key, or put a proxy with TLS in front")
        return
    import ssl

    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(http.tls_certificate, http.tls_key)
    except (OSError, ssl.SSLError) as error:
        yield Finding(
            "tls", "fail", f"certificate and key can't be used: {error.strerror or error}", "give a PEM certificate and its private key"
        )
        return
    yield Finding("tls", "ok", f"{http.tls_certificate} and its key go together")


def _free_memory() -> float | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _model_folder(run: Path) -> Path:
    return run / "model" if (run / "model").is_dir() else run
