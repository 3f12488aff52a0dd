"""Which model folders were loaded, and which one answers."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import insert, select, update

from m6rec.base.errors import UsageError, nearest
from m6rec.serving.store import tables
from m6rec.serving.store.database import Writing
from m6rec.serving.store.deeds import doing
from m6rec.serving.store.parts import Part, checked_name
from m6rec.serving.store.records import Model

MOST_NAMED = 5  # versions in a message, the newest


class Models(Part):
    """Versions of the model: added, made active, followed by others, gone back to."""

    def add_model(self, folder: Path | str, version: str, note: str = "", *, watermark: int = 0) -> None:
        """Remember a model folder. A known version keeps the time when it was added; folder, note and watermark are written anew.

        Args:
            watermark: newest change its training data held (`watermark.json` of an export); 0 for data from elsewhere.

        Raises:
            StorageError: nothing was written.
        """
        checked_name(version, "the version of a model")
        deed = doing("model_load", version)

        def work(writing: Writing) -> None:
            table = tables.models
            row = {"folder": str(folder), "note": note, "watermark": watermark}
            known = writing.connection.execute(update(table).where(table.c.version == version).values(row)).rowcount
            if not known:
                writing.connection.execute(insert(table).values(version=version, added=writing.now, **row))
            writing.note("model", version, {"active": _active(writing) == version})
            deed.note(writing, "", note)

        self.database.write(work)

    def models(self) -> list[Model]:
        """All that were added, newest first."""
        with self.database.read(snapshot=True) as connection:
            rows = connection.execute(select(tables.models).order_by(tables.models.c.added.desc(), tables.models.c.version)).all()
            last = tables.activations.c
            active = connection.execute(select(last.version).order_by(last.seq.desc()).limit(1)).scalar()
            forgotten = list(connection.execute(select(tables.forgotten.c.time)).scalars())
        return [
            Model(
                row.version,
                row.folder,
                row.note,
                row.added,
                row.version == active,
                row.watermark,
                sum(row.added <= when for when in forgotten),
            )
            for row in rows
        ]

    def active(self) -> Model | None:
        """The model that answers; None before the first `set_active`."""
        return next((model for model in self.models() if model.active), None)

    def set_active(self, version: str) -> None:
        """Let `version` answer from now on, in every process.

        Raises:
            UsageError: the version was never added.
            StorageError: nothing was written.
        """
        deed = doing("model_switch", version)

        def work(writing: Writing) -> None:
            versions = list(writing.connection.execute(select(tables.models.c.version)).scalars())
            if version not in versions:
                hint = nearest(str(version), versions) or f"; there are: {', '.join(versions[-MOST_NAMED:]) or 'none'}"
                raise UsageError(f"there is no model '{version}' in the store{hint}; load it first")
            before = _active(writing)
            if before == version:
                return
            deed.note(writing, before or "", version)
            seq = writing.note("model", version, {"active": True})
            writing.connection.execute(insert(tables.activations).values(seq=seq, version=version, time=writing.now))

        self.database.write(work)

    def previous_active(self) -> str | None:
        """Where a roll back goes: the version that was active before the one that answers now came in; None where there was none.

        Whoever went back to a version stands where they stood when it answered for the first time: after A, B and a roll back to A it is what was
        before A, never B.
        """
        seq, version = tables.activations.c.seq, tables.activations.c.version
        way: list[str] = []
        with self.database.read() as connection:
            for one in connection.execute(select(version).order_by(seq)).scalars():
                if len(way) > 1 and way[-2] == one:
                    way.pop()
                else:
                    way.append(one)
        return way[-2] if len(way) > 1 else None


def _active(writing: Writing) -> str | None:
    last = tables.activations.c
    return writing.connection.execute(select(last.version).order_by(last.seq.desc()).limit(1)).scalar()
