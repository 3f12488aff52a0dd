"""Loading what a model folder serves: the model, and the blend around it where there is one."""

from __future__ import annotations

from pathlib import Path

from m6rec.base.errors import CheckpointError
from m6rec.fusion.blend import Blend
from m6rec.fusion.config import MODEL
from m6rec.tasks.blended import Alone
from m6rec.tasks.model_folder import FUSION, ChooseScorer


def load_scorer(folder: Path) -> ChooseScorer:
    """The model folder's scorer, ready to answer.

    Raises:
        CheckpointError: missing, truncated, from a newer version, or its parts do not belong together.
        MissingExtraError: the blend is one of trees, and LightGBM is not installed.
    """
    scorer = ChooseScorer.load(folder)
    if (folder / FUSION).is_dir():
        blend = Blend.load(folder / FUSION, {MODEL: Alone(scorer)})
        if len(blend.seen) != len(scorer.catalogue):
            raise CheckpointError(
                f"{folder / FUSION} is of {len(blend.seen)} items, the catalogue has {len(scorer.catalogue)}; keep the files of one folder together"
            )
        scorer.blend = blend
    return scorer
