"""The log of a training loop: one JSON line an epoch, and the same numbers for TensorBoard where that is installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


class TrainingLog:
    """Writes `folder`/log.jsonl, and `folder`/tensorboard with the extra `train` (`tensorboard --logdir runs/NAME/stages`).

    A run resumed after a kill writes its last epoch again: the later line of an epoch is the valid one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._board: SummaryWriter | None = None

    def write(self, row: dict[str, float]) -> None:
        """Append one row; row["epoch"] counts from 1."""
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as handle:
            handle.write(json.dumps(row) + "\n")
        if importlib.util.find_spec("tensorboard") is None:
            return
        epoch = int(row["epoch"])
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            # What a killed run wrote from this epoch on is not shown again.
            self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=epoch)
        for name, value in row.items():
            if name != "epoch":
                self._board.add_scalar(name.replace(".", "/"), value, epoch)
        self._board.flush()

    def close(self) -> None:
        if self._board is not None:
            self._board.close()
            self._board = None
