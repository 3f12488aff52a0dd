"""Settings of the text room."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from m6rec.base.configuration import Config

# 5 special tokens, 11 reserved ones and the 256 bytes: what any tokenizer needs before its first merge.
SMALLEST_VOCABULARY = 272


class AugmentConfig(Config):
    """The `text.augment` section: other ways to say a labelled training text, made once before training, by seed."""

    copies: int = Field(0, ge=0, le=20, description="Changed copies of every labelled training text; 0: none.")
    word_dropout: float = Field(0.1, ge=0, lt=1, description="Share of the words left out of a copy.")
    field_dropout: float = Field(0.1, ge=0, lt=1, description="Share of the worded fields of an item left out of a copy.")
    replace: float = Field(0.1, ge=0, le=1, description="Share of the words with synonyms that are replaced by one of them.")
    synonyms: str | None = Field(
        None,
        description="File of synonyms, one group a line, separated by commas or tabs, relative to the configuration file; null: the nearest "
        "words by the company they keep in the training texts.",
    )
    back_translation: str | None = Field(
        None,
        description="Command that reads texts, one a line, and writes as many lines: the texts translated there and back. One more copy of "
        "every text is made with it.",
    )


class TextConfig(Config):
    """How rows become words and words become token ids."""

    language: str = Field(
        default="en",
        pattern="^[a-z]{2,3}(-[A-Za-z]+)?$",
        description="language of the wording templates: en, zh, or one that `templates` is written in; the data may mix languages",
    )
    vocabulary: int | None = Field(
        default=None,
        ge=SMALLEST_VOCABULARY,
        le=1_000_000,
        description="tokens of the vocabulary; null: by the amount of text, 8192 to 32768, and never more than the text supports",
    )
    segment_tokens: int = Field(
        default=64, ge=4, le=4096, description="tokens of one segment (an item, a profile, a query) at most; longer ones are cut"
    )
    templates: str | None = Field(
        default=None,
        description="file of your own wording templates, relative to the configuration file; what it leaves out is built in, in English for a "
        "language that is not",
    )
    augment: AugmentConfig = Field(default_factory=AugmentConfig, description="Copies of labelled texts that say the same otherwise.")

    @model_validator(mode="after")
    def _worded(self) -> Self:
        packaged = sorted(path.stem for path in (Path(__file__).parent / "templates").glob("*.yaml"))
        if self.templates is None and self.language not in packaged:
            raise ValueError(
                f"text.language is '{self.language}': wording is built in for {', '.join(packaged)}; for another language name a file of your own, "
                f"text.templates: {self.language}.yaml, in the form of m6rec/text/templates/en.yaml"
            )
        return self
