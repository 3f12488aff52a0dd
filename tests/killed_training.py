"""Run by test_training_loop.py in a process of its own: trains, is killed with SIGKILL at a named moment, and trains on to the end.

python killed_training.py CONFIG FOLDER: FOLDER/<moment> is a run folder with the stages that need not be done again.
Every training runs in a fork, so that the libraries are loaded once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from m6rec.config import load_config
from m6rec.training import loop as loop_module
from m6rec.training.loop import Loop
from m6rec.training.pipeline import train


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def after(function: Callable[..., object], calls: int) -> Callable[..., object]:
    """`function`, and death when its call number `calls` is done."""
    count = 0

    def counted(*arguments: object, **named: object) -> object:
        nonlocal count
        result = function(*arguments, **named)
        count += 1
        if count == calls:
            die()
        return result

    return counted


def before_rename(target: str) -> None:
    """Death inside the atomic writing of a file, when all is written and nothing has its name yet."""
    rename = os.replace

    def dying(source: str | Path, destination: str | Path) -> None:
        if Path(destination).name == target:
            die()
        rename(source, destination)

    os.replace = dying  # type: ignore[assignment]


def arm(moment: str) -> None:
    if moment == "between-two-steps":
        Loop._step = after(Loop._step, 3)  # type: ignore[assignment]  # the third step is trained and not saved
    elif moment == "after-a-checkpoint":
        Loop._save = after(Loop._save, 2)  # type: ignore[assignment]
    elif moment == "in-the-second-epoch":
        finish = Loop._finish_epoch

        def arm_later(self: Loop) -> None:
            finish(self)
            Loop._step = after(Loop._step, 2)  # type: ignore[assignment]

        Loop._finish_epoch = arm_later  # type: ignore[method-assign]
    elif moment == "while-saving-the-state":
        before_rename("state.safetensors")
    elif moment == "best-saved-epoch-not":
        loop_module.TrainingLog.write = after(loop_module.TrainingLog.write, 1)  # type: ignore[assignment,method-assign]
    else:
        raise SystemExit(f"no such moment: {moment}")


def main() -> None:
    config_file, folder = Path(sys.argv[1]), Path(sys.argv[2])
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # the first optimizer of a process loads a thousand modules: before the forks
    for run in sorted(folder.iterdir()):
        for attempt in ("killed", "resumed"):
            child = os.fork()
            if not child:
                config = load_config(config_file, [*sys.argv[3:], "train.checkpoint_seconds=1e-6", "pretrain.checkpoint_seconds=1e-6"])
                if attempt == "killed":
                    arm(run.name)
                train(config, config_file.parent, run, until="fit")
                os._exit(0)
            _, status = os.waitpid(child, 0)
            print(run.name, attempt, os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
