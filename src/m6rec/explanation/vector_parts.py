"""The vector of an item as a sum of what each thing known of it gives, for gradients that fade them in one by one.

Shapes: W width, N items, F features of the bag, Q pairs (item, feature).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from m6rec.tasks.choose_mixture import ChooseMixture

PROFILE, ITEM = "profile", "item: "  # what fades in beside the events
TEXT, ITSELF, VECTORS = "text", "itself", "vectors"  # of an item: its words, what was learned of it alone, its vector fields


@dataclass(frozen=True, eq=False)
class Attributions:
    """events float64 (E,) of the newest events, oldest first; fields: the other things; start: f(0); lacking: what the sum lacks of f(1) - f(0)."""

    events: np.ndarray
    fields: dict[str, float]
    start: float
    lacking: float


@torch.no_grad()
def vector_parts(scorer: ChooseMixture, item: int) -> dict[str, Tensor]:
    """thing -> (W,): what the words, each field, the vector fields and the item itself give to its vector; they add up to the vector less the average
    item's."""
    found = _field_vectors(scorer, item)
    rest = scorer.vectors[item] - scorer.vectors.mean(dim=0)
    for gives in found.values():
        rest = rest - gives
    return {ITEM + name: gives for name, gives in (found | {ITSELF: rest}).items()}


def _field_vectors(scorer: ChooseMixture, item: int) -> dict[str, Tensor]:
    """What the words, each field and the vector fields of an item give to its vector (W,), less what they give on average."""
    encoder, catalogue = scorer.task.items, scorer.catalogue
    if encoder.content is None or "text" in scorer.switched_off:
        return {}
    content, contents = encoder.content, catalogue.contents
    found = {TEXT: content.summary(contents.summaries[item] - contents.summaries.mean(dim=0))}
    if content.vectors is not None:
        found[VECTORS] = content.vectors(contents.vectors[item] - contents.vectors.mean(dim=0))
    lengths = contents.offsets[1:] - contents.offsets[:-1]  # N
    weights = torch.repeat_interleave(lengths.clamp(min=1).float().rsqrt(), lengths)  # Q
    own = slice(int(contents.offsets[item]), int(contents.offsets[item + 1]))
    given = -torch.bincount(contents.features, weights, minlength=len(content.bag.weight)).float() / len(lengths)  # F
    given.index_add_(0, contents.features[own], weights[own])
    names = np.array([field or TEXT for field, _ in catalogue.bag.features])
    for name in dict.fromkeys(names.tolist()):
        columns = torch.from_numpy(np.flatnonzero(names == name))
        gives = given[columns] @ content.bag.weight[columns]
        found[name] = found[name] + gives if name in found else gives
    return found
