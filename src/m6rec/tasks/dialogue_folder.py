"""The part of a model folder that names items in dialogues: dialogue.json and dialogue.safetensors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array

from m6rec.base.errors import CheckpointError
from m6rec.base.storage import write_json
from m6rec.language_model.checkpoint import load_into, save_weights
from m6rec.tasks.choose import Choose
from m6rec.tasks.dialogue import DialoguePart, DialogueQuestion
from m6rec.tasks.dialogue_neighbours import DialogueNeighbours
from m6rec.tasks.log_linear import LogLinear

FACTS, TENSORS = "dialogue.json", "dialogue.safetensors"
FILES = (FACTS, TENSORS)
QUESTION, NEIGHBOURS, PRIOR = "question.", "neighbours.", "prior."


def save_dialogue(part: DialoguePart, folder: Path, belongs: dict[str, str]) -> None:
    """Write the part into `folder`; belongs: fingerprints of what it goes with."""
    tensors = {QUESTION + name: value for name, value in part.question.state_dict().items()}
    tensors |= {NEIGHBOURS + name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in part.neighbours.tensors().items()}
    for name, table in part.priors.items():
        for piece in ("data", "indices", "indptr"):
            tensors[f"{PRIOR}{name}.{piece}"] = torch.from_numpy(np.ascontiguousarray(getattr(table, piece)))
    save_weights(folder / TENSORS, tensors, belongs)
    write_json(folder / FACTS, {"neighbours": part.neighbours.plain(), "pool": part.pool.plain()})


def load_dialogue(folder: Path, tensors: dict[str, torch.Tensor], task: Choose, items: int) -> DialoguePart:
    """What `save_dialogue` wrote. tensors: of TENSORS, checked to belong to the folder. Raises CheckpointError."""
    try:
        told = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        arrays = {name.removeprefix(NEIGHBOURS): value.numpy() for name, value in tensors.items() if name.startswith(NEIGHBOURS)}
        neighbours = DialogueNeighbours.restored(told["neighbours"], arrays)
        pool = LogLinear({name: float(weight) for name, weight in told["pool"].items()})
        priors = {}
        for name in task.parts:
            data, indices, indptr = (tensors[f"{PRIOR}{name}.{piece}"].numpy() for piece in ("data", "indices", "indptr"))
            priors[name] = csr_array((data, indices, indptr), shape=(items, items))
    except (OSError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise CheckpointError(f"{folder / FACTS} is damaged ({reason}); restore it from a copy or train again") from None
    question = DialogueQuestion(task.shape.width, len(task.parts), task.config.prior.recent, len(neighbours.vocabulary))
    load_into(question, {n.removeprefix(QUESTION): t for n, t in tensors.items() if n.startswith(QUESTION)}, folder / TENSORS)
    return DialoguePart(question.eval(), priors, neighbours, pool)
