"""The `fusion:` section: which scorers answer together, and how their scores become one."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from m6rec.base.configuration import Config

MODEL = "m6rec"  # what the trained model is called among the members
Normalisation = Literal["rank", "z", "min_max", "calibrated", "softmax"]
How = Literal["weighted", "gated", "logistic", "lambdamart", "soft_or"]


class TreesConfig(Config):
    """Sizes of the gradient-boosted trees of `how: lambdamart`."""

    rounds: int = Field(300, ge=1, description="Trees at most; fewer where the out-of-fold metric stops rising.")
    patience: int = Field(40, ge=1, description="Trees without a gain after which a fold stops.")
    learning_rate: float = Field(0.03, gt=0, le=1, description="Weight of each tree.")
    leaves: int = Field(7, ge=2, description="Leaves of a tree.")
    leaf_rows: int = Field(200, ge=1, description="Candidates that a leaf needs.")
    negatives: int = Field(
        60, ge=1, description="Candidates a request that are no target, at most: the best of the base and a draw of the rest."
    )


class FusionConfig(Config):
    """Scorers that answer together. `m6rec train` fits them, and the blend, after the model; the result is what the run serves."""

    members: list[str] = Field(
        default=[MODEL, "transition_graph_text", "item_knn", "content_knn", "bm25"],
        description="Fusion members, and `m6rec`, the trained model.",
    )
    how: How = Field("gated", description="How normalised scores are combined.")
    normalisation: Normalisation = Field(
        "z", description="What makes scores of different members comparable; soft_or takes `calibrated`, whatever stands here."
    )
    weights: dict[str, float] | None = Field(
        None, description="Weight of each member for `how: weighted` or `soft_or`; null: found on the validation cases."
    )
    base: str | None = Field(None, description="The member that orders what is no candidate; null: m6rec, or else the first.")
    candidates: int = Field(50, ge=1, description="Best items of each member that the blend scores; the others keep their order below.")
    folds: int = Field(5, ge=2, description="Parts of the validation cases: each is judged by a blend fitted on the others.")
    cases: int = Field(20_000, ge=10, description="Validation cases that the blend is fitted on at most, drawn by seed.")
    refit: bool = Field(True, description="Whether the members that serve are fitted again, on all events; false: on the training events.")
    penalty: float = Field(1e-3, ge=0, description="Ridge penalty of `gated` and `logistic`.")
    trees: TreesConfig = Field(default_factory=TreesConfig, description="For `how: lambdamart`.")

    @field_validator("members")
    @classmethod
    def _distinct(cls, members: list[str]) -> list[str]:
        if not members:
            raise ValueError("name at least one member")
        twice = next((name for name in members if members.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"'{twice}' stands there twice; name each member once")
        return members

    @model_validator(mode="after")
    def _known(self) -> Self:
        known = ", ".join(self.members)
        if self.base is not None and self.base not in self.members:
            raise ValueError(f"base is '{self.base}', which is no member; members: {known}")
        if self.weights is None:
            return self
        absent = next((name for name in self.weights if name not in self.members), None)
        if absent is not None:
            raise ValueError(f"weights name '{absent}', which is no member; members: {known}")
        missing = next((name for name in self.members if name not in self.weights), None)
        if missing is not None:
            raise ValueError(f"weights lack '{missing}'; give every member one (0 leaves it to the candidates only)")
        wrong = next((name for name, value in self.weights.items() if not 0 <= value < float("inf")), None)
        if wrong is not None or not any(self.weights.values()):
            raise ValueError("weights are 0 or more, and at least one is above 0")
        if self.how not in ("weighted", "soft_or"):
            raise ValueError(f"weights are given, but how is '{self.how}', which finds its own; leave weights out, or set how to weighted")
        return self

    @property
    def first(self) -> str:
        """The member whose order stands below the candidates."""
        return self.base or (MODEL if MODEL in self.members else self.members[0])
