"""A run on disk: content-addressed stage folders, logs, the model. A stage whose inputs are unchanged is never done twice."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m6rec.base.errors import CheckpointError
from m6rec.base.storage import write_json

FORMAT = 1
DONE = "done.json"  # in the folder of a finished stage: its facts


@dataclass(frozen=True)
class RunFolder:
    """`runs/<name>`: stages/<stage>-<key>, logs, report.html, model, run.json (what the newest training was)."""

    root: Path

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def record(self) -> Path:
        return self.root / "run.json"

    def stage(self, name: str, key: str) -> Path:
        return self.root / "stages" / f"{name}-{key}"

    def forget(self, name: str) -> None:
        """Every folder of the stage `name`, whatever its key, counts as not done."""
        for done in self.root.glob(f"stages/{name}-*/{DONE}"):
            done.unlink()

    def log(self, row: dict[str, Any]) -> None:
        """One line in logs/run.jsonl."""
        folder = self.root / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "run.jsonl", "a", encoding="utf-8") as handle:
            handle.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")

    def write_record(self, record: dict[str, Any]) -> None:
        write_json(self.record, {"format": FORMAT, **record})

    def read_record(self) -> dict[str, Any]:
        """What `write_record` wrote. Raises CheckpointError."""
        try:
            record: dict[str, Any] = json.loads(self.record.read_text(encoding="utf-8"))
            if record["format"] > FORMAT:
                raise CheckpointError(
                    f"{self.root} was written by a newer m6rec (format {record['format']}, this reads {FORMAT}); upgrade m6rec"
                )
            # A damaged record shows here, not wherever it is first used.
            kept = {name: record[name] for name in ("format", "config", "source", "keys")}
            # JSON is written with sorted keys, but the order of the tasks is a part of what was trained (columns of statistics, seeded starts).
            tasks = record["config"]["tasks"]
            kept["config"] = {**record["config"], "tasks": {name: tasks[name] for name in record.get("tasks", tasks)}}
            return kept
        except FileNotFoundError:
            raise CheckpointError(
                f"{self.root} is no run folder: run.json is missing; `m6rec train CONFIG --run {self.root}` makes one"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{self.record} is damaged ({error}); run `m6rec train` again, finished stages are kept") from None


def default_folder(config: Path) -> Path:
    """`runs/<name>`, the name being that of the file, or of its folder where the file is called config."""
    resolved = config.resolve()
    return Path("runs") / (resolved.parent.name if resolved.stem == "config" and resolved.parent.name else resolved.stem)


def read_json(path: Path) -> Any:
    """What `write_json` wrote. Raises CheckpointError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read ({error}); delete its folder to do this stage again") from None


def content_key(*parts: Any) -> str:
    """12 hex digits that change when any part does."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_digest(path: Path) -> str:
    """Hash of a file's bytes; "missing" where there is none (the stage that reads it will say so properly)."""
    try:
        with open(path, "rb") as handle:
            return hashlib.file_digest(handle, "blake2b").hexdigest()[:32]
    except OSError:
        return "missing"
