"""Settings of tasks: what a `tasks:` entry may say, and how the choose answer is built."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from m6rec.base.configuration import Config
from m6rec.data.columns import REFUSALS

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


class InterestConfig(Config):
    """What somebody says of themselves, learned: the interest vector, and how much it counts beside behaviour (docs/open.md)."""

    heads: int = Field(4, ge=1, description="Heads of the attention pooling over what is said; a divisor of the model's width.")
    epochs: int = Field(10, ge=1, description="Passes over the training users at most.")
    patience: int = Field(3, ge=1, description="Stop after this many passes without a new best on the validation users.")
    batch: int = Field(128, ge=1, description="Users of a step.")
    learning_rate: float = Field(3e-3, gt=0, description="Peak learning rate.")
    most_users: int = Field(20_000, ge=1, description="Users of a pass at most, drawn anew for each.")
    negatives: int = Field(20_000, ge=1, description="Items that the softmax runs over at most.")
    profiles: float = Field(0.7, ge=0, le=1, description="Share of the users whose profile is said too, where people have fields.")
    written: float = Field(
        0.3, ge=0, le=1, description="Share of what is said that is a text of theirs (a review), where there are such texts."
    )
    cases: int = Field(400, ge=1, description="Validation cases, for each number of events, that the weights are fitted on.")
    smoothing: float = Field(
        300.0,
        gt=0,
        description="People beside whom those with the same fields and tastes are counted; more: everybody is answered more alike.",
    )


class ChooseConfig(Config):
    """A `tasks:` entry that chooses an item out of the catalogue."""

    answer: Literal["choose"] = Field("choose", description="The kind of answer.")
    of: Literal["next", "basket", "dialogue"] = Field(
        "next",
        description="next: what follows a history; basket: what else belongs to a basket; dialogue: the item that an assistant should name, learned "
        "from data.dialogues (the last two beside a task of next, whose model they share).",
    )
    within: float = Field(0.0, ge=0, description="of: basket: seconds between neighbouring events of one basket at most.")
    positive: list[str] | None = Field(
        None,
        description=f"Actions that count as a target, e.g. [buy, click]; null: every event but those that say no ({', '.join(REFUSALS)}).",
    )
    weight: float = Field(
        1.0, ge=0, description="Weight of the task's losses; 0: it is not trained, others still read histories through it."
    )
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
    own_share: float = Field(1.0, ge=0, description="Weight of the softmax's own likelihood beside that of the mixture.")
    repeat: Literal["exclude", "allow"] = Field("exclude", description="Whether consumed items may be recommended again.")
    prior: PriorConfig = Field(default_factory=PriorConfig, description="Counted priors of the mixture.")
    interest: InterestConfig | None = Field(
        None,
        description="Learn what typed words, tags and described people ask for, in a stage of its own after the fit ({} for the defaults); "
        "null: typed words enter as a slot and by what they match.",
    )

    def drawn(self, seen_items: int) -> int | None:
        """How many negatives a step draws; None: the softmax runs over the whole catalogue."""
        if self.negatives == "auto":
            return AUTO_NEGATIVES if seen_items > FULL_UP_TO else None
        return None if self.negatives == "full" else self.negatives


JudgedOn = Literal["candidate", "item", "text"]
LabelKind = Literal["binary", "classes", "tags", "number", "ordinal", "tokens"]


class JudgeConfig(Config):
    """A `tasks:` entry that judges a label or a number.

    on: candidate   an item in the light of a user's history: reads exposures (or events), `label` is a column of theirs
        item        an item alone: `label` is a field of the items table, which the model then does not read of the item
        text        a free text alone: `label` is a column of the texts table
    """

    answer: Literal["judge"] = Field("judge", description="The kind of answer.")
    label: str = Field(min_length=1, description="The column that holds the answer.")
    on: JudgedOn = Field("candidate", description="What is judged: a candidate item for a user, an item alone, or a text alone.")
    kind: LabelKind | None = Field(
        None,
        description="binary: yes or no; classes: one of several; tags: any of several; number: regression; ordinal: a number of few ordered "
        "levels; tokens: a label for words of the text. null: by what the label column holds.",
    )
    positive: str | None = Field(None, description='binary: which values mean yes, e.g. ">=4", "buy" or "buy|cart"; null: 1, true and yes.')
    scenarios: list[str] | None = Field(None, description="on: candidate: scenarios the task is asked in; null: everywhere.")
    texts: list[str] | None = Field(
        None, description="on: text: kinds of texts that are read, e.g. [review]; null: all that have the label."
    )
    after: str | None = Field(
        None, description="A binary task that must be positive first (purchase after click): trained on all exposures, after ESMM."
    )
    loss: Literal["auto", "log", "focal", "squared", "huber"] = Field(
        "auto", description="auto: log for labels, squared for numbers; focal: log loss of hard examples; huber: numbers with outliers."
    )
    weight: float = Field(1.0, gt=0, description="Weight of the task's losses, before any adaptive weighting.")
    scenario_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="on: candidate: weight in single scenarios instead, e.g. {feed: 2}; 0: not trained there.",
    )
    metrics: list[str] | None = Field(None, description="What is reported; null: what suits the kind. The first decides early stopping.")
    position: Literal["auto", "ignore", "adjust", "propensity"] = Field(
        "auto",
        description="on: candidate: what is done about the place an exposure was shown at. adjust: its effect is learned apart and left out of answers; "
        "propensity: rows are weighted by 1 / the logged propensity; auto: adjust where positions are known.",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="Share of a label's probability that is spread over the other labels.")
    calibrate: bool = Field(True, description="Map scores to probabilities by what the validation rows show.")
    unlabelled: Literal["ignore", "pseudo", "consistency", "spread"] = Field(
        "ignore",
        description="on: text: what rows without a label are for. pseudo: confident guesses become labels; consistency: two views of one text "
        "must be judged alike; spread: labels spread to the texts most like the labelled ones, which pays over a pretrained checkpoint.",
    )
    confidence: float = Field(0.9, gt=0, lt=1, description="pseudo: guesses at least this sure become labels.")

    def weights(self, name: str) -> dict[str, float]:
        """Cell -> weight: of the task `name`, and of "scenario/name" where one is set."""
        return {name: self.weight, **{f"{scenario}/{name}": weight for scenario, weight in self.scenario_weights.items()}}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kind == "tokens" and self.on != "text":
            raise ValueError("labels of tokens are for texts; say on: text")
        if self.on != "candidate" and self.after is not None:
            raise ValueError("after is for candidates; leave it out or say on: candidate")
        if self.on != "text" and (self.texts is not None or self.unlabelled != "ignore"):
            raise ValueError("texts and unlabelled are for on: text")
        if self.on != "candidate" and self.scenario_weights:
            raise ValueError("scenario_weights is for on: candidate; set weight")
        if self.positive is not None and self.kind not in (None, "binary"):
            raise ValueError(f"positive is for binary labels, kind is {self.kind}")
        return self


class WriteConfig(Config):
    """A `tasks:` entry that writes text: one kind of text, learned from texts of the texts table."""

    model_config = ConfigDict(populate_by_name=True)

    answer: Literal["write"] = Field("write", description="The kind of answer.")
    from_: list[str] = Field(
        alias="from", min_length=1, description="Kinds of texts (of the texts table) it learns to write, e.g. review or [review, reason]."
    )
    reads: list[str] = Field(
        ["history", "item", "profile"],
        description="What stands before the written text: history, item, profile, and columns of the texts table by name.",
    )
    about: str | None = Field(
        None,
        description="A column of the texts table with the words that a text was asked to name; null: telling words drawn from the text itself.",
    )
    about_share: float = Field(0.5, ge=0, le=1, description="Share of training texts that are asked to name words.")
    memory: int = Field(
        4, ge=0, description="Known texts of the kind that are read: about the same item by others, else about items that resemble it."
    )
    own: int = Field(1, ge=0, description="Known texts of the kind by the same person that are read, the newest before the text.")
    longest: int = Field(64, ge=4, le=512, description="Tokens of a written text at most; longer ones are learned from their start.")
    invent: bool = Field(False, description="Whether words may be written that no known text, item or profile has.")
    check: bool = Field(
        True, description="What a text says of its item is held against the item and the history; what is not true is taken out."
    )
    passes: float | None = Field(
        None,
        gt=0,
        description="Passes over the task's texts in a whole training, e.g. fewer of a kind with many texts; null: writing.passes.",
    )
    weight: float = Field(1.0, ge=0, description="Weight of the task's loss, before any adaptive weighting.")

    @field_validator("from_", mode="before")
    @classmethod
    def _several(cls, kinds: Any) -> Any:
        return [kinds] if isinstance(kinds, str) else kinds

    @property
    def columns(self) -> list[str]:
        """The columns of the texts table that are read before the text."""
        return [name for name in self.reads if name not in ("history", "item", "profile")]


TaskConfig = Annotated[ChooseConfig | JudgeConfig | WriteConfig, Field(discriminator="answer")]


class WritingConfig(Config):
    """The `writing:` section: what all write tasks share."""

    layers: int = Field(
        2, ge=0, description="Layers of the writer's own; 0: the upper layers of the model as they are, and options alone are trained."
    )
    width: int | None = Field(None, ge=16, description="Width of the writer's layers; null: twice that of the model, from 128 to 512.")
    heads: int | None = Field(None, ge=1, description="Attention heads of the writer; null: width / 32.")
    copy_words: bool = Field(True, description="Words may be copied out of what is read (pointer-generator, arXiv 1704.04368).")
    own_words: bool = Field(True, description="The writer has token vectors of its own beside the frozen ones of the language model.")
    dropout: float = Field(0.2, ge=0, lt=1, description="Dropout of the writer's layers and of what they read.")
    source_dropout: float = Field(
        0.1, ge=0, lt=1, description="Share of what is read that is left out in training, a whole segment at a time."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="Share of a token's probability that is spread over all tokens.")
    source_tokens: int = Field(320, ge=16, description="Tokens that are read before a text at most; the last segments are cut.")
    slots: int = Field(10, ge=0, description="Events of the history that are read, the newest.")
    prompts: int = Field(4, ge=0, description="Soft prompts of an option.")
    adapter: int = Field(16, ge=1, description="Width of an option's adapter.")
    passes: float = Field(20.0, gt=0, description="Passes over the texts in a whole training, spread over its epochs.")
    batch_rows: int = Field(32, ge=1, description="Texts in a step.")


class SharingConfig(Config):
    """The `sharing:` section: how judge tasks and scenarios share what is learned, and how small an option is."""

    way: Literal["trunk", "attention", "mmoe", "ple"] = Field(
        "trunk",
        description="trunk: one for all, with a task embedding; attention: tasks look at each other's states; mmoe: experts with a gate a task "
        "(Ma et al., KDD 2018); ple: shared and own experts in two levels (Tang et al., RecSys 2020).",
    )
    scenarios: Literal["embedding", "pepnet", "star"] = Field(
        "embedding",
        description="embedding: the scenario is a part of the question; pepnet: gates scale inputs and layers by scenario (arXiv 2302.01115); "
        "star: scenario weights times shared weights (arXiv 2101.11427).",
    )
    experts: int = Field(4, ge=2, description="mmoe, ple: experts (shared ones in ple).")
    joint_layers: int | None = Field(
        1, ge=0, description="Upper layers, the last ones, that a candidate passes over the history's keys and values; null: all of them."
    )
    prompts: int = Field(2, ge=0, description="Soft prompts of an option.")
    adapter: int = Field(8, ge=1, description="Width of an option's adapter.")
    dropout: float = Field(0.3, ge=0, lt=1, description="Dropout of what is judged.")
    statistics: bool = Field(True, description="Counts up to the moment of asking enter the question: rates of users, items and pairs.")
    new_scenarios: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the judged exposures that are trained as if their scenario were one nobody has seen, with the counts of the others "
        "alone: what `scenarios.later` is answered from. 0: not.",
    )
