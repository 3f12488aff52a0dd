"""Settings of tasks: what a `tasks:` entry may say, and how the choose answer is built."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from m6rec.base.configuration import Config

FULL_UP_TO = 20_000  # items: there a full softmax makes a step twice as dear as drawing does; below that it is worth it
AUTO_NEGATIVES = 4_096


class PriorConfig(Config):
    """Counted priors beside the softmax: item-to-item transitions and text-field similarity, mixed in by gates learned from the user state."""

    graph: bool = Field(True, description="Transitions between items, forward and backward, as parts of the mixture.")
    text: bool = Field(True, description="Sharpened similarity of words and fields as a part of the mixture.")
    window: int = Field(10, ge=1, description="Transitions are counted between events at most this far apart.")
    decay: float = Field(0.9, gt=0, le=1, description="Weight of a transition shrinks by this factor for every event in between.")
    damping: float = Field(0.1, ge=0, le=1, description="Transitions are divided by (events of the target item) ** damping.")
    hops: int = Field(1, ge=1, description="Steps of a walk over the transitions: 1 is direct neighbours only.")
    hop_decay: float = Field(0.3, ge=0, le=1, description="Weight of each further step of the walk.")
    keep: int = Field(1000, ge=1, description="Neighbours kept for an item in the graph prior (the largest).")
    similar: int = Field(50, ge=1, description="Neighbours kept for an item in the text prior.")
    sharpness: float = Field(2.0, gt=0, description="The text prior is cosine ** sharpness, normalised.")
    recent: int = Field(10, ge=1, description="The newest events of a history that the priors start from.")
    borrow: bool = Field(
        True, description="Items that nobody has had borrow the transitions of what their text resembles; false leaves them none."
    )
    borrow_smoothing: float = Field(
        1.0,
        ge=0,
        description="Weight of the transitions of what resembles the recent item, beside its own, where transitions are borrowed.",
    )
    folds: int = Field(8, ge=2, description="Folds of users: a training user is scored by the transitions of the other folds.")


class ChooseConfig(Config):
    """A `tasks:` entry that chooses an item out of the catalogue."""

    answer: Literal["choose"] = Field("choose", description="The kind of answer.")
    positive: list[str] | None = Field(None, description="Actions that count as a target, e.g. [buy, click]; null: every event.")
    weight: float = Field(1.0, gt=0, description="Weight of the task's losses.")
    identity: bool = Field(True, description="Item embeddings by id, beside text and fields.")
    spectral_start: bool = Field(
        True, description="Start the id embeddings from the leading eigenvectors of the item-to-item transitions instead of at random."
    )
    text: bool = Field(True, description="Item vectors from text and fields: frozen summary and trained bag.")
    identity_dropout: float = Field(0.1, ge=0, lt=1, description="Share of items whose id embedding is dropped in a training step.")
    profile_dropout: float = Field(0.5, ge=0, le=1, description="Share of training histories whose profile is dropped.")
    typed: float = Field(
        0.1, ge=0, le=1, description="Share of training histories that start with words of one of their items, as if typed."
    )
    negatives: Literal["auto", "full"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="Items a step's softmax runs over: full: the whole catalogue; a number: that many drawn for the batch, log-Q corrected; "
        f"auto: full up to {FULL_UP_TO:,} seen items, else {AUTO_NEGATIVES:,} drawn.",
    )
    negatives_power: float = Field(0.75, ge=0, le=1, description="Negatives are drawn by (events of the item) ** this.")
    negatives_uniform: float = Field(0.2, ge=0, le=1, description="Share of the draws that fall on all seen items alike.")
    negatives_in_batch: bool = Field(False, description="Whether the targets of a batch are negatives of each other too.")
    own_share: float = Field(0.3, ge=0, description="Weight of the softmax's own likelihood beside that of the mixture.")
    repeat: Literal["exclude", "allow"] = Field("exclude", description="Whether consumed items may be recommended again.")
    prior: PriorConfig = Field(default_factory=PriorConfig, description="Counted priors of the mixture.")

    def drawn(self, seen_items: int) -> int | None:
        """How many negatives a step draws; None: the softmax runs over the whole catalogue."""
        if self.negatives == "auto":
            return AUTO_NEGATIVES if seen_items > FULL_UP_TO else None
        return None if self.negatives == "full" else self.negatives
