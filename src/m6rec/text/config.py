"""Settings of the text room."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from m6rec.base.configuration import Config

# 5 special tokens, 11 reserved ones and the 256 bytes: what any tokenizer needs before its first merge.
SMALLEST_VOCABULARY = 272


class TextConfig(Config):
    """How rows become words and words become token ids."""

    language: Literal["en", "zh"] = Field(
        default="en", description="language of the wording templates: en or zh; the data may mix languages"
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
        description="file of your own wording templates, relative to the configuration file; what it leaves out is built in",
    )
