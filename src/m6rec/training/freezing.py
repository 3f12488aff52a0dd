"""What learns while the tasks are fitted (`train.trainable`), and what stays as it came.

`m6rec add-task --train` says the same words of one more task on a finished run (`Judge.freeze`).
"""

from __future__ import annotations

from collections.abc import Mapping

from m6rec.language_model.model import LanguageModel
from m6rec.tasks.task import Task
from m6rec.training.config import Trainable


def freeze(model: LanguageModel, tasks: Mapping[str, Task], trainable: Trainable) -> None:
    """Stop training what `trainable` leaves out; what is frozen already stays frozen. What reads segments is frozen before."""
    if trainable == "everything":
        return
    for name, part in model.named_children():
        if trainable == "options" or name != "upper":
            part.requires_grad_(False)
    for task in tasks.values():
        own = set(task.option_names() if trainable == "options" else task.upper_names())
        for name, parameter in task.named_parameters():
            if name not in own:
                parameter.requires_grad_(False)
