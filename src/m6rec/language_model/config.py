"""Settings of the language model: one size dial, every number of it open to be overridden, or a pretrained checkpoint. No torch here."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from m6rec.base.configuration import Config
from m6rec.base.errors import ConfigError
from m6rec.language_model.backbones.config import AdaptConfig, BackboneShape

Size = Literal["tiny", "small", "base", "large"]


class Dial(NamedTuple):
    """What one size means; `lower_layers` of the layers read segments, `upper_layers` read rows of slots."""

    width: int
    lower_layers: int
    upper_layers: int
    lower_dropout: float


DIALS: dict[Size, Dial] = {
    "tiny": Dial(width=64, lower_layers=1, upper_layers=2, lower_dropout=0.0),
    "small": Dial(width=128, lower_layers=2, upper_layers=2, lower_dropout=0.1),
    "base": Dial(width=256, lower_layers=4, upper_layers=4, lower_dropout=0.1),
    "large": Dial(width=512, lower_layers=8, upper_layers=6, lower_dropout=0.1),
}
HEAD_WIDTH = 32
SHORT_HISTORY, LONG_HISTORY = 50, 200
ENOUGH_GAPS = 0.5  # below this share of known gaps between events their bias is paid for by all and says something of few
# Short histories mean many items seen a few times each: they are learnt by heart within epochs unless much is dropped.
SPARSE_DROPOUT, DENSE_DROPOUT = 0.5, 0.2
# Training events up to which a size is the automatic choice; a larger model only pays where there is enough to learn from.
EVENTS_OF_SIZE: tuple[tuple[int, Size], ...] = ((5_000_000, "tiny"), (50_000_000, "small"), (500_000_000, "base"))


class ModelShape(Config):
    """A `ModelConfig` with every number settled: what the weights are built from, saved in config.json beside them."""

    vocabulary: int = Field(description="Number of token ids, special ids included.", ge=1)
    pad_id: int = Field(0, description="Token id of padding.", ge=0)
    width: int = Field(description="Width D of all states.", ge=2)
    heads: int = Field(description="Attention heads; they divide the width into even parts.", ge=1)
    lower_layers: int = Field(description="Layers that read each segment alone.", ge=0)
    upper_layers: int = Field(description="Layers that read a row of slots.", ge=0)
    history: int = Field(description="History slots kept, the newest.", ge=1)
    dropout: float = Field(description="Dropout of the upper layers.", ge=0, lt=1)
    lower_dropout: float = Field(description="Dropout of the lower layers while they train.", ge=0, lt=1)
    times: bool = Field(True, description="Whether the time between slots biases the attention of the upper layers.")
    autocast: Literal["auto", "off", "bfloat16"] = Field("auto", description="The setting as given; the machine decides when it runs.")
    backbone: BackboneShape | None = Field(None, description="The pretrained checkpoint whose layers these are; none: the compact model.")

    @property
    def read_width(self) -> int:
        """Width of token states and summaries: that of the slots, but where a checkpoint reads and layers of our own stand above it."""
        return self.width if self.backbone is None else self.backbone.width

    @property
    def slot_scale(self) -> float:
        """What slots are multiplied by before the upper layers."""
        return self.width**0.5 if self.backbone is None or self.backbone.own_upper else self.backbone.slot_scale

    @model_serializer(mode="wrap")
    def _without_backbone(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The compact model's shape is saved, and has the fingerprint, as before there were others."""
        plain: dict[str, Any] = handler(self)
        if self.backbone is None:
            plain.pop("backbone", None)
        return plain

    @model_validator(mode="after")
    def _heads_fit(self) -> ModelShape:
        if self.backbone is not None and not self.backbone.own_upper:
            return self  # heads of a checkpoint have a width of their own
        if self.width % self.heads or (self.width // self.heads) % 2:
            allowed = [h for h in range(1, self.width // 2 + 1) if self.width % h == 0 and (self.width // h) % 2 == 0]
            raise ValueError(
                f"heads={self.heads} must divide width={self.width} into even parts; allowed: {', '.join(map(str, allowed)) or 'none'}"
            )
        return self


class ModelConfig(Config):
    """The `model:` section. `size` is the one dial; every other field left out follows it and the data."""

    backbone: str | None = Field(
        None,
        description="A pretrained checkpoint instead of the compact model: hf:PATH (a folder, relative to this file) or hf:NAME (a model of the "
        "Hugging Face hub that is in the local cache), e.g. hf:sentence-transformers/all-MiniLM-L6-v2. BERT-, GPT/Llama/Qwen- and T5-like.",
    )
    download: bool = Field(False, description="Fetch `backbone` by its name where it is not on this machine; false: never use the network.")
    adapter: str | None = Field(
        None, description="Folder with low-rank changes (LoRA, as peft saves them) that are put into the checkpoint's weights first."
    )
    adapt: AdaptConfig = Field(default_factory=AdaptConfig, description="How the upper layers of a checkpoint learn; or the bare `way`.")
    size: Literal["auto", "tiny", "small", "base", "large"] = Field(
        "auto",
        description="The dial: tiny d=64 1+2 layers, small d=128 2+2, base d=256 4+4, large d=512 8+6. auto: tiny up to 5 million "
        "training events, small up to 50, base up to 500, then large; without an accelerator never above small.",
    )
    width: int | None = Field(None, description="Width of all states; none: from the dial.", ge=2)
    lower_layers: int | None = Field(
        None,
        description="Layers that read each segment alone; none: from the dial, or two thirds of a checkpoint's. All of a checkpoint's: the upper "
        "layers are then those of the compact model, of the dial's width and number.",
        ge=0,
    )
    upper_layers: int | None = Field(
        None, description="Layers that read the row of slots; none: from the dial, or the rest of a checkpoint's.", ge=0
    )
    heads: int | None = Field(None, description="Attention heads; none: width / 32, at least 1.", ge=1)
    history: int | None = Field(
        None, description="History slots, the newest; none: 50, or 200 where the median history has 50 events or more.", ge=1
    )
    dropout: float | None = Field(
        None,
        description="Dropout of the upper layers and their inputs; none: 0.2 where the median history has 50 events or more, else 0.5.",
        ge=0,
        lt=1,
    )
    lower_dropout: float | None = Field(
        None, description="Dropout of the lower layers in pretraining; none: from the dial (0 tiny, else 0.1).", ge=0, lt=1
    )
    time_bias: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Attention reads the time between events, for about a tenth of a training step. auto: where the times of at least "
        "half of the neighbouring events are known.",
    )
    autocast: Literal["auto", "off", "bfloat16"] = Field(
        "auto",
        description="bfloat16 in matrix products. auto: on an accelerator or a CPU with AVX512-BF16 or AMX; bfloat16: always; off: never.",
    )

    @field_validator("adapt", mode="before")
    @classmethod
    def _bare_word(cls, adapt: Any) -> Any:
        return {"way": adapt} if isinstance(adapt, str) else adapt

    @field_validator("backbone", mode="before")
    @classmethod
    def _known_kind(cls, backbone: Any) -> Any:
        """What is no text is refused here too: YAML reads a bare `hf:` as a mapping."""
        if backbone is not None and not (isinstance(backbone, str) and backbone.startswith("hf:") and backbone[3:].strip()):
            raise ValueError("write hf: and a folder or a name, for example hf:sentence-transformers/all-MiniLM-L6-v2")
        return backbone

    def resolve(
        self,
        *,
        vocabulary: int,
        pad_id: int = 0,
        events: int = 0,
        median_history: float = 0.0,
        known_gaps: float = 1.0,
        accelerator: bool = False,
        backbone: BackboneShape | None = None,
    ) -> ModelShape:
        """Settle every number.

        Args:
            vocabulary, pad_id: of the tokenizer.
            events: training events in the data.
            median_history: median number of events a training user has.
            known_gaps: share of neighbouring events whose times are both known.
            accelerator: True where a GPU will train the model.
            backbone: the checkpoint, where there is one.

        Raises:
            ConfigError: the heads do not divide the width into even parts, or numbers that the checkpoint does not have.
        """
        dial = DIALS[self.size if self.size != "auto" else automatic_size(events, accelerator)]
        width = dial.width if self.width is None else self.width
        long = median_history >= SHORT_HISTORY
        history = LONG_HISTORY if long else SHORT_HISTORY
        values = {
            "vocabulary": vocabulary,
            "pad_id": pad_id,
            "width": width,
            "heads": max(width // HEAD_WIDTH, 1) if self.heads is None else self.heads,
            "lower_layers": dial.lower_layers if self.lower_layers is None else self.lower_layers,
            "upper_layers": dial.upper_layers if self.upper_layers is None else self.upper_layers,
            "history": history if self.history is None else self.history,
            "dropout": (DENSE_DROPOUT if long else SPARSE_DROPOUT) if self.dropout is None else self.dropout,
            "lower_dropout": dial.lower_dropout if self.lower_dropout is None else self.lower_dropout,
            "times": self.time_bias == "on" or (self.time_bias == "auto" and known_gaps >= ENOUGH_GAPS),
            "autocast": self.autocast,
        }
        if backbone is not None:
            values |= self._of_checkpoint(backbone)
        return ModelShape.build(values, source="model")

    def _of_checkpoint(self, backbone: BackboneShape) -> dict[str, Any]:
        """The numbers that a checkpoint settles."""
        lower, upper = self.split_of(backbone)
        settled = backbone.model_copy(update={"adapt": self.adapt, "own_upper": lower == backbone.layers})
        values: dict[str, Any] = {"backbone": settled.plain(), "lower_layers": lower, "lower_dropout": self.lower_dropout or 0.0}
        if settled.own_upper:
            return values
        for name, given, has in (("width", self.width, backbone.width), ("heads", self.heads, backbone.heads)):
            if given not in (None, has):
                raise ConfigError(
                    f"model.{name} is {given}, the layers of {self.backbone} have {has}; leave it out, or put all {backbone.layers} "
                    f"layers below (model.lower_layers={backbone.layers}) and have upper layers of your own"
                )
        return values | {"width": backbone.width, "heads": backbone.heads, "upper_layers": upper}

    def split_of(self, backbone: BackboneShape) -> tuple[int, int]:
        """(lower, upper) layers of a checkpoint.  Raises ConfigError: more than it has."""
        lower = max(round(backbone.layers * 2 / 3), 1) if self.lower_layers is None else self.lower_layers
        if lower > backbone.layers:
            raise ConfigError(
                f"model.lower_layers is {lower}, {self.backbone} has {backbone.layers} layers; write {backbone.layers} or less"
            )
        rest = backbone.layers - lower
        if lower < backbone.layers and (self.upper_layers or 0) > rest:
            raise ConfigError(
                f"model.upper_layers is {self.upper_layers}, above the {lower} lower ones {self.backbone} has {rest} layers; write {rest} or less"
            )
        return lower, rest if self.upper_layers is None else self.upper_layers

    def most_upper_layers(self, backbone: BackboneShape | None = None) -> int:
        """Upper layers, as many as there can be: `size: auto` is settled by the data."""
        if backbone is not None and (split := self.split_of(backbone))[0] < backbone.layers:
            return split[1]
        sizes = {automatic_size(events + 1, False) for events, _ in EVENTS_OF_SIZE} if self.size == "auto" else {self.size}
        return max(DIALS[size].upper_layers for size in sizes) if self.upper_layers is None else self.upper_layers


def automatic_size(events: int, accelerator: bool) -> Size:
    """The dial for `size: auto`."""
    chosen: Size = next((size for limit, size in EVENTS_OF_SIZE if events <= limit), "large")
    return "small" if chosen in ("base", "large") and not accelerator else chosen


class InfillingConfig(Config):
    """How plain segments become pretraining examples, and how much each of the three losses counts."""

    write_share: float = Field(0.25, ge=0, le=1, description="Share of the segments written from left to right; the others are infilled.")
    mask_rate: float = Field(0.3, gt=0, lt=1, description="Share of an infilled segment's tokens that are masked.")
    span: float = Field(2.0, ge=1, description="Mean length of a masked span, in tokens.")
    show_rate: float = Field(0.1, ge=0, le=1, description="Share of the masked tokens that are shown all the same.")
    view_keep: float = Field(0.6, gt=0, le=1, description="Share of the tokens in each of the two partial views of a segment.")
    view_temperature: float = Field(0.1, gt=0, description="Temperature of the contest in which summaries of two views find each other.")
    infill_weight: float = Field(1.0, ge=0, description="Weight of the infilling loss.")
    write_weight: float = Field(1.0, ge=0, description="Weight of the left-to-right loss.")
    view_weight: float = Field(1.0, ge=0, description="Weight of the loss on summaries.")
    spectral_start: bool = Field(
        True, description="Start token vectors from a singular value decomposition of the text instead of at random."
    )


class Decoding(Config):
    """How a text is chosen token by token from what the model says."""

    method: Literal["greedy", "beam", "nucleus"] = Field(
        "greedy",
        description="greedy: always the likeliest token; beam: the likeliest whole texts of several kept side by side; nucleus: drawn at random "
        "among the likeliest tokens.",
    )
    beams: int = Field(4, ge=1, le=64, description="Texts kept side by side by method beam.")
    length_penalty: float = Field(
        1.0, ge=0, le=5, description="Beam: log probability is divided by tokens to this power; 0 favours short texts, above 1 long ones."
    )
    top_p: float = Field(
        0.9, gt=0, le=1, description="Nucleus: tokens are drawn from the likeliest ones that together have this probability."
    )
    temperature: float = Field(
        1.0, gt=0, le=10, description="Nucleus: below 1 the likely tokens gain, above 1 the unlikely ones; logits are divided by it."
    )
    repetition_penalty: float = Field(
        1.0,
        ge=0.5,
        le=10,
        description="Logits of tokens already written are divided by it where positive and multiplied where negative; 1: none.",
    )
    no_repeat_ngram: int = Field(0, ge=0, le=50, description="No run of so many tokens is written twice; 0: any may be.")
    least: int = Field(1, ge=0, le=4096, description="Tokens at least before the text may end.")
    most: int = Field(64, ge=1, le=4096, description="Tokens at most; a text stopped by it is cut back to its last sentence or word.")
    best: int = Field(1, ge=1, le=64, description="Texts returned for each row: best first with beam, so many draws with nucleus.")
    seed: int = Field(0, ge=0, description="Of the draws; each row and each draw has a generator of its own.")

    @model_validator(mode="after")
    def _fits(self) -> Decoding:
        if self.least > self.most:
            raise ValueError(f"least={self.least} is above most={self.most}; give at most as many tokens as least")
        if self.best > 1 and self.method == "greedy":
            raise ValueError(f"best={self.best} with method greedy, which finds one text; use beam or nucleus")
        if self.best > self.beams and self.method == "beam":
            raise ValueError(f"best={self.best} texts cannot come of beams={self.beams}; give at least as many beams")
        return self
