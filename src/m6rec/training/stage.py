"""The contract of a stage: what it depends on, what it makes, where that lies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from pathlib import Path

    from m6rec.training.workbench import Workbench


class Stage(ABC):
    """One step of the pipeline. Its folder is named by the hash of `inputs` and of the stages in `needs`: equal inputs, same folder."""

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    together: ClassVar[bool] = False  # whether all processes of a training run it; else the first one does, and the others wait
    version: ClassVar[int] = 1  # raise it when the stage's result changes for equal inputs

    @abstractmethod
    def inputs(self, bench: Workbench) -> Any:
        """Everything the result depends on beside the stages in `needs`, JSON-ready."""

    @abstractmethod
    def run(self, bench: Workbench) -> dict[str, Any]:
        """Write the result into `bench.folder(self.name)`, each file atomically, so that a killed run can go on; returns facts to show."""

    def output(self, bench: Workbench) -> Path | None:
        """What the stage makes outside its own folder, if anything: without it the stage is not done."""
        return None
