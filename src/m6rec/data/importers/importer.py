"""The contract of an importer, the registry that finds them, and the one way their result reaches the disk.

A new format is one file here (or in a package with an entry point `m6rec.importer`): a class with a name, a sentence, options, and
`read`, which gives frames with canonical columns. Checking and cleaning is not its business: `prepare` does that for everyone.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import yaml

from m6rec.base.configuration import Config
from m6rec.base.errors import DataError, UsageError
from m6rec.base.plugins import Registry
from m6rec.base.storage import atomic_folder
from m6rec.data.account import Account
from m6rec.data.columns import Columns
from m6rec.data.fields import FieldType
from m6rec.data.schema import names
from m6rec.data.store import write_parquet

HEADER = "# Written by `m6rec import`. The types under `fields` may be edited; then: m6rec train config.yaml\n"
NAMED = (Columns.USER, Columns.ITEM, Columns.SCENARIO, Columns.ACTION)
TABLES = ("events", "items", "users", "texts", "relations")
DIALOGUES = "dialogues.jsonl"
WRITTEN = {"config.yaml", DIALOGUES, *(f"{table}.parquet" for table in TABLES)}


@dataclass
class Imported:
    """Canonical frames, the types of their fields, and what `data:` of the configuration needs besides the file names.

    A frame's columns are those of `m6rec.data.schema.SCHEMAS`, plus the fields; columns nobody declared are kept in the file. dialogues: as
    data/dialogues.py reads them.  settings: further sections of the configuration.
    """

    events: pl.DataFrame | None
    items: pl.DataFrame | None = None
    users: pl.DataFrame | None = None
    texts: pl.DataFrame | None = None
    relations: pl.DataFrame | None = None
    item_fields: dict[str, FieldType] = field(default_factory=dict)
    user_fields: dict[str, FieldType] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    dialogues: list[dict[str, Any]] | None = None
    settings: dict[str, Any] = field(default_factory=dict)


class Importer(ABC):
    """Reads one foreign format. `name` is what is typed after `m6rec import`, `description` one line for `--help`."""

    name: ClassVar[str]
    description: ClassVar[str]

    class Options(Config):
        """Without options."""

    @classmethod
    @abstractmethod
    def detect(cls, path: Path) -> bool:
        """Whether the file or folder `path` looks like this format (used by `import auto`)."""

    @abstractmethod
    def read(self, source: Path, options: Any, account: Account) -> Imported:
        """The frames of `source`; what was merged, renamed or left out goes into `account`. Raises DataError."""

    def run(self, source: Path, out: Path, options: Config | None = None) -> Account:
        """Import `source` into the folder `out`: *.parquet and config.yaml, all or nothing.

        Raises:
            DataError: the source can't be read as this format.
            StorageError: `out` can't be written.
            UsageError: `out` is, or holds, the source.
        """
        if not source.exists():
            raise DataError(f"no file or folder {source}; name what is to be imported")
        if source.resolve().is_relative_to(out.resolve()):
            raise UsageError(f"--out {out} holds the source itself and would replace it; name another folder")
        _refuse_foreign(out)
        account = Account()
        imported = self.read(source, options if options is not None else self.Options(), account)
        write(imported, out, account)
        return account


IMPORTERS: Registry[Importer] = Registry("importer", "m6rec.data.importers")


def import_data(format: str, source: Path, out: Path, options: dict[str, Any] | None = None) -> Account:
    """`m6rec import FORMAT SOURCE --out OUT`. `auto` takes the one format that recognises the source.

    Raises:
        ConfigError: unknown format or option (the nearest is named).
        DataError, StorageError, UsageError: as `Importer.run`.
    """
    name = detect_format(source) if format == "auto" else format
    importer = IMPORTERS.get(name)
    return importer().run(source, out, importer.Options.build(options or {}, f"import {name}"))


def detect_format(source: Path) -> str:
    """The name of the one importer that recognises `source`. Raises UsageError for none or several."""
    if not source.exists():
        raise DataError(f"no file or folder {source}; name what is to be imported")
    found = [name for name in IMPORTERS.names() if IMPORTERS.get(name).detect(source)]
    specific = [name for name in found if name != "table"] or found  # a generic table is what is left
    if len(specific) == 1:
        return specific[0]
    fact = f"looks like {' and '.join(specific)}" if specific else "looks like no known format"
    raise UsageError(f"{source} {fact}; say which: m6rec import {'|'.join(IMPORTERS.names())} {source} --out DIR")


def write(imported: Imported, out: Path, account: Account) -> None:
    """Canonical files and the configuration, swapped in at once."""
    data: dict[str, Any] = {}
    with atomic_folder(out) as folder:
        for table in TABLES:
            frame: pl.DataFrame | None = getattr(imported, table)
            if frame is None:
                continue
            if frame.height == 0:
                raise DataError(f"the source has no {table}; there is nothing to write")
            for column in (name for name in NAMED if name in frame.columns):
                names(frame[column], f"{table} of the source")
            write_parquet(frame, folder / f"{table}.parquet")
            data[table] = f"{table}.parquet"
            account.add(f"{table} written", frame.height, f"{table}.parquet: {', '.join(frame.columns)}")
        fields = {
            table: {name: str(kind) for name, kind in types.items()}
            for table, types in (("items", imported.item_fields), ("users", imported.user_fields))
            if types
        }
        if imported.dialogues is not None:
            lines = (json.dumps(dialogue, ensure_ascii=False) + "\n" for dialogue in imported.dialogues)
            (folder / DIALOGUES).write_text("".join(lines), encoding="utf-8")
            data["dialogues"] = DIALOGUES
            account.add("dialogues written", len(imported.dialogues), DIALOGUES)
        config = {"data": {**data, **imported.data}} | ({"fields": fields} if fields else {}) | imported.settings
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
        (folder / "config.yaml").write_text(HEADER + text, encoding="utf-8")


def _refuse_foreign(out: Path) -> None:
    """An existing folder is replaced only when it holds what an import writes and nothing else."""
    if out.is_file():
        raise UsageError(f"--out {out} is a file; name a folder")
    if not out.is_dir():
        return
    foreign = sorted(path.name for path in out.iterdir() if path.name not in WRITTEN)
    if foreign:
        raise UsageError(f"--out {out} holds other files ({foreign[0]}), which an import would remove; name another folder")
