"""A blend on disk: blend.json, arrays.npz, the trees where there are any, and a folder for each fusion member. Nothing is pickled."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from m6rec.base.contracts import Scorer
from m6rec.base.errors import CheckpointError, ConfigError, UsageError
from m6rec.base.storage import atomic_file, write_json
from m6rec.fusion.config import FusionConfig
from m6rec.fusion.member import Member

if TYPE_CHECKING:
    from m6rec.fusion.blend import Blend

BLEND, ARRAYS, MEMBERS_FOLDER = "blend.json", "arrays.npz", "members"
VERSION = 1
B = TypeVar("B", bound="Blend")


def save_blend(blend: Blend, folder: Path) -> None:
    """Into the existing `folder`. Members that are no fusion members (the trained model) are not saved: they have folders of their own.

    Raises:
        UsageError: the blend was not fitted.       StorageError: writing failed.
    """
    folder = Path(folder)
    if blend._normaliser is None or blend._way is None:
        raise UsageError("the blend was not fitted, there is nothing to save; call fit(requests, targets) first")
    for name, scorer in blend.scorers.items():
        if isinstance(scorer, Member):
            (folder / MEMBERS_FOLDER / name).mkdir(parents=True, exist_ok=True)
            scorer.save(folder / MEMBERS_FOLDER / name)
    state = {f"way.{name}": value for name, value in blend._way.state().items()}
    state |= {f"normaliser.{name}": value for name, value in blend._normaliser.state().items()}
    with atomic_file(folder / ARRAYS) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, allow_pickle=False, seen=blend.seen, **state)
    blend._way.save_files(folder)
    about = {"version": VERSION, "config": blend.config.plain(), "parts": blend.parts, "facts": blend.facts}
    write_json(folder / BLEND, {**about, "metric": blend.metric, "exclude": blend.exclude, "seed": blend.seed})


def load_blend(cls: type[B], folder: Path, own: Mapping[str, Scorer]) -> B:
    """Raises CheckpointError: missing, damaged, from a newer version, or a member that nobody gave."""
    folder = Path(folder)
    advice = "train again, or restore the folder from a copy"
    try:
        about = json.loads((folder / BLEND).read_text(encoding="utf-8"))
        if int(about["version"]) > VERSION:
            raise CheckpointError(f"{folder} has blend version {about['version']}, this m6rec reads up to {VERSION}; upgrade m6rec")
        config = FusionConfig.build(about["config"], str(folder / BLEND))
        scorers = {name: own[name] if name in own else Member.load(folder / MEMBERS_FOLDER / name) for name in config.members}
        with open(folder / ARRAYS, "rb") as handle, np.load(handle, allow_pickle=False) as arrays:
            state = {name: arrays[name] for name in arrays.files}
        blend = cls(config, scorers, state["seen"], metric=about["metric"], exclude=about["exclude"], seed=about["seed"])
        blend.parts, blend.facts = list(about["parts"]), about["facts"]
        normaliser, way = blend._fresh()
        for owner, prefix in ((normaliser, "normaliser."), (way, "way.")):
            owner.restore({name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)})
        way.load_files(folder)
        blend._normaliser, blend._way = normaliser, way
    except OSError as error:
        raise CheckpointError(f"the blend {folder} can't be read: {error.strerror or error}; {advice}") from None
    except ConfigError as error:
        raise CheckpointError(f"the blend {folder} does not suit this m6rec: {error}; {advice}") from None
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"the blend {folder} is damaged ({type(error).__name__}: {error}); {advice}") from None
    return blend
