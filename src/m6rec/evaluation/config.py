"""How scorers are measured. No torch, no polars."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from m6rec.base.configuration import Config

SCORES_AT_ONCE = 16_000_000  # 64 MB in float32, and scorers hold several of that size
MOST_SCORES, LEAST_CASES = 2_000_000_000, 2_000

JudgedBaseline = Literal["counters", "logistic_regression", "lightgbm_raw", "lightgbm_counts"]
Cutoff = Annotated[int, Field(ge=1)]


class EvaluationConfig(Config):
    """Cutoffs, candidates, intervals and slices of every evaluation, and the baselines that stand beside the model."""

    cutoffs: list[Cutoff] = Field(
        default=[1, 5, 10, 20, 50], description="The k of every metric at k: how far down the list a target still counts."
    )
    exclude_history: bool = Field(
        default=True,
        description="Items of the request's history are no candidates. Set false where people come back to the same items (repeat).",
    )
    worth: dict[str, float] = Field(
        default_factory=dict,
        description="What judged rows are worth to people, for satisfaction@k: task -> weight of its label, e.g. {like: 1, long_view: 1, dislike: -1}.",
    )
    resamples: int = Field(default=1000, ge=100, le=100_000, description="Bootstrap resamples over users behind every 95 % interval.")
    cold_below: int = Field(default=1, ge=1, description="A target seen fewer times than this in training is cold (1: never seen).")
    hot_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="The most-seen items that together hold this share of the training events are hot; the others are warm.",
    )
    hot_from: int | None = Field(default=None, ge=1, description="Training count from which an item is hot. Null: found by hot_share.")
    batch: int = Field(
        default=256,
        ge=1,
        description="Requests scored at a time; fewer where the catalogue is so large that more would not fit into memory.",
    )
    cases: int | None = Field(
        default=None,
        ge=1,
        description="Cases measured at most, drawn by seed. Null: as many as make 2 billion scores (cases x items), but at least 2,000.",
    )
    baselines: list[str] = Field(
        default=["popularity", "transition_graph", "transition_graph_text", "item_knn"],
        description="Fusion members measured on the same cases and shown in every report.",
    )
    least: int = Field(
        default=10,
        ge=0,
        description="Judged cells (a task in a scenario) of yes and no with fewer test rows of the rarer answer are shown, and left out of means over "
        "cells.",
    )
    judged_baselines: list[JudgedBaseline] | None = Field(
        default=None,
        description="Baselines of the tasks that judge, measured on the same rows. Null: counters and logistic_regression in the report of the training, "
        "in `m6rec evaluate` lightgbm_counts as well, where LightGBM is installed. []: none.",
    )

    @field_validator("cutoffs")
    @classmethod
    def _ordered(cls, cutoffs: list[int]) -> list[int]:
        if not cutoffs:
            raise ValueError("give at least one cutoff, for example [10]")
        return sorted(set(cutoffs))

    def batch_of(self, items: int) -> int:
        """Requests scored at a time over a catalogue of `items`."""
        return max(1, min(self.batch, SCORES_AT_ONCE // items))

    def most_cases(self, items: int) -> int:
        """Cases measured over a catalogue of `items`, at most."""
        return self.cases or max(LEAST_CASES, MOST_SCORES // items)

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.hot_from is not None and self.hot_from < self.cold_below:
            raise ValueError(f"hot_from ({self.hot_from}) must be at least cold_below ({self.cold_below})")
        return self
