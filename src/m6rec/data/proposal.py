"""From a user's own files to a configuration that trains on them: what `m6rec init` writes. `propose` reads top to bottom.

Only samples of the files are read. Every setting carries the fact that speaks for it; what is doubtful is marked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m6rec.base.errors import DataError
from m6rec.data.event_facts import event_facts
from m6rec.data.importers.importer import IMPORTERS
from m6rec.data.proposed_settings import columns, fields, files, language, reading, scenarios, split, task
from m6rec.data.sampling import HEAD_BYTES, sample_file
from m6rec.data.settings_file import Setting, plain, written
from m6rec.data.sketch import sketch
from m6rec.data.table_roles import choose_tables

MOST_FILES = 60
ALL_FILES_BYTES = 8 * HEAD_BYTES  # of samples together
QUIET = (".yaml", ".yml", ".md", ".html", ".pdf", ".png", ".jpg", "")  # files of a folder that nobody takes for data


@dataclass(frozen=True)
class Proposal:
    """Settings, and what else should be said.

    used    files that the configuration reads          unused  file name -> why it is left out
    hint    one sentence about an importer that knows the source better, or ""
    """

    settings: list[Setting]
    used: list[Path]
    unused: dict[str, str]
    hint: str

    def config(self) -> dict[str, Any]:
        return plain(self.settings)

    def text(self, name: str) -> str:
        """The commented file; `name` is what it will be called."""
        opening = [
            "Written by `m6rec init`. Each setting stands below what speaks for it; look at the lines that begin with `check:`.",
            f"Then: m6rec validate {name} (reads everything, says what is kept), m6rec train {name}.",
        ]
        closing = [f"Not used: {file}: {why}." for file, why in self.unused.items()]
        closing.append("What is not set here (size of the model, history, batch) follows from the data: m6rec validate prints it.")
        return written(self.settings, opening + ([self.hint] if self.hint else []), closing)

    def checks(self) -> list[str]:
        """The doubtful settings, one line each."""
        return [f"{'.'.join(setting.path)}: {setting.check}" for setting in self.settings if setting.check]


def propose(sources: list[Path], folder: Path, *, now: float | None = None) -> Proposal:
    """A configuration, to be kept in `folder`, for the tables among `sources` (files, and folders whose files count).

    Raises:
        DataError: nothing that can be read, a named file that is no table, no event log among them.
    """
    now = time.time() if now is None else now
    paths = _paths(sources)
    hint = _importer_hint(sources)
    limit = max(min(HEAD_BYTES, ALL_FILES_BYTES // len(paths)), 1 << 20)
    sketches, unreadable = [], {}
    for file in paths:
        try:
            sketches.append(sketch(sample_file(file, limit), now=now))
        except DataError as error:
            if file in sources:
                raise DataError(_with_hint(str(error), hint)) from None
            unreadable[file.name] = str(error).removeprefix(f"{file.name} ").removeprefix(f"{file.name}: ")
    try:
        tables = choose_tables(sketches, unreadable)
    except DataError as error:
        raise DataError(_with_hint(str(error), hint)) from None
    facts = event_facts(tables.events)
    items = fields("items", tables.items)
    settings = [
        *files(tables, folder, facts),
        *columns(tables),
        *reading(tables, facts, now),
        *items,
        *fields("users", tables.users),
        *scenarios(tables),
        *split(tables, facts),
        *language(tables),
        *task(tables, facts, items),
    ]
    used = [*tables.events, *tables.exposures, *(entity.sketch for entity in (tables.items, tables.users) if entity), *tables.texts]
    used += [part for part in (tables.relations, tables.faq) if part]
    return Proposal(settings, list(dict.fromkeys(part.sample.path for part in used)), tables.unused, hint)


def _paths(sources: list[Path]) -> list[Path]:
    """The files to look at. Raises DataError for a missing source, an empty folder, or more files than can be looked at."""
    files: list[Path] = []
    for source in sources:
        if not source.exists():
            raise DataError(f"no file or folder {source}; name the files that hold the events, items and users")
        inside = (
            sorted(path for path in source.iterdir() if path.is_file() and not path.name.startswith(".")) if source.is_dir() else [source]
        )
        files += [path for path in inside if path not in files and (path in sources or path.suffix.lower() not in QUIET)]
    if not files:
        raise DataError(f"{', '.join(map(str, sources))} holds no files; name the files that hold the events, items and users")
    if len(files) > MOST_FILES:
        raise DataError(
            f"{len(files):,} files are more than the {MOST_FILES} that are looked at; name those that matter, or one of each kind"
        )
    return files


def _importer_hint(sources: list[Path]) -> str:
    """One sentence naming the importer that recognises a source."""
    for source in sources:
        for name in IMPORTERS.names():
            if name != "table" and IMPORTERS.get(name).detect(source):
                return f"{source.name} looks like {name} data, which has an importer of its own: m6rec import {name} {source} --out FOLDER"
    return ""


def _with_hint(error: str, hint: str) -> str:
    return f"{error.rstrip('.')}. {hint}" if hint else error
