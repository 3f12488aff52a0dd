"""A model folder: everything `from_pretrained` needs, and nothing pickled.

config.json          shape, task settings, sizes, versions, fingerprints of data and tokenizer, the training configuration
model.safetensors    weights of the language model and of the task
tokenizer.json       bag.json       profile_bag.json (where users have fields)
item_states.safetensors   user_states.safetensors   frozen text summaries
last_states.safetensors  what the model knows of each user after the newest event (where serving need not read histories anew)
interest.safetensors, interest_bag.json   the interest vector of what people say, and what was written about the items, where learned
statistics.safetensors, context_bag.json   what judging candidates counts and reads, where tasks do
dialogue.json, dialogue.safetensors   what names items in dialogues, where a task does
graph.safetensors    the counted priors, compressed rows
data/                items, users, newest histories
adapter/             the low-rank changes of a checkpoint's upper layers in peft's files, where there are some (a copy; nothing reads it here)
fusion/              the blend that answers, where there is one (loaded by serving/engine/load_scorer.py)
templates.yaml       the user's own wording, where there is one
index/               search over the item vectors, where the catalogue is large
README.md            the model card
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from scipy.sparse import csr_array

from m6rec.base.errors import CheckpointError, ConfigError, UsageError
from m6rec.base.storage import atomic_folder, recover_folder
from m6rec.data.dataset import Dataset
from m6rec.data.store import load_dataset, save_dataset
from m6rec.language_model.backbones.adapt import join_adapters
from m6rec.language_model.backbones.peft_files import save_adapter
from m6rec.language_model.checkpoint import (
    FORMAT_VERSION,
    check_tokenizer,
    check_version,
    load_into,
    load_weights,
    program_version,
    save_weights,
)
from m6rec.language_model.config import ModelShape
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.agreement import Agreement
from m6rec.tasks.basket import Question
from m6rec.tasks.catalogue import Catalogue, vector_fields
from m6rec.tasks.choose import Choose, ChooseSizes
from m6rec.tasks.choose_mixture import Profiles
from m6rec.tasks.config import ChooseConfig
from m6rec.tasks.dialogue_folder import FILES as SAID_FILES
from m6rec.tasks.dialogue_folder import TENSORS as SAID
from m6rec.tasks.dialogue_folder import load_dialogue, save_dialogue
from m6rec.tasks.folder_parts import (
    csr_tensors,
    fingerprint_of,
    graph_tensors,
    interest_part,
    judge_part,
    mapped_csr,
    tensors_of,
    text_part,
    write_part,
)
from m6rec.tasks.interest_part import save_interest
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.judge_part import JudgeInputs, JudgePart
from m6rec.tasks.model_card import model_card
from m6rec.tasks.served_model import BasketPart, Origin, ServedModel
from m6rec.tasks.state_cache import PackedStates
from m6rec.tasks.text_reader import TextReader
from m6rec.text.bag import Bag
from m6rec.text.similarity import similarity_vectors
from m6rec.text.tokenizer import Tokenizer
from m6rec.text.wording import Wording

CONFIG, WEIGHTS, GRAPH = "config.json", "model.safetensors", "graph.safetensors"
TEMPLATES = "templates.yaml"
TOKENIZER, BAG, PROFILE_BAG = "tokenizer.json", "bag.json", "profile_bag.json"
ITEM_STATES, USER_STATES, LAST_STATES = "item_states.safetensors", "user_states.safetensors", "last_states.safetensors"
CONTEXT_BAG, STATISTICS = "context_bag.json", "statistics.safetensors"
DATA, INDEX, CARD, FUSION, ADAPTER = "data", "index", "README.md", "fusion", "adapter"
INTEREST, INTEREST_BAG = "interest.safetensors", "interest_bag.json"
PARTS = {
    *(CONFIG, WEIGHTS, GRAPH, TEMPLATES, TOKENIZER, BAG, PROFILE_BAG, ITEM_STATES, USER_STATES, LAST_STATES, DATA, INDEX, CARD, FUSION),
    *(ADAPTER, CONTEXT_BAG, STATISTICS, INTEREST, INTEREST_BAG, *SAID_FILES),
}
JUDGING = "judging."  # prefix of the weights of what judges candidates
TEXTS = "texts."  # and of what judges texts
WRITING = "writing."  # and of what writes
BASKET = "basket."  # prefix of what completes baskets, among the weights and in the graph
TOGETHER = "keep the files of one folder together"


class ChooseScorer(ServedModel):
    """The trained model with the data it answers about, and how it is saved and loaded."""

    def save(self, folder: Path, beside: Callable[[Path], None] | None = None) -> None:
        """Write a model folder, whole or not at all; an older one stays until the new one is complete.

        Args:
            beside: writes further parts (the index) into the folder that it is given.

        Raises:
            StorageError: no space or no permission; what was there is untouched.
            UsageError: `folder` holds something that is no part of a model folder, and would be lost.
        """
        _save(Path(folder), self, beside)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The model folder that `save` wrote, ready to answer.

        Raises:
            CheckpointError: missing, truncated, from a newer version, or its parts do not belong together.
        """
        parts = _load(Path(folder))
        beside = {name: parts.pop(name) for name in ("basket", "dialogue", "judging", "texts", "writing", "interest")}
        scorer = cls(**parts, folder=Path(folder))
        scorer.basket, scorer.dialogue, scorer.judging, scorer.texts, scorer.writing, scorer.interest = beside.values()
        return scorer


def _save(folder: Path, scorer: ServedModel, beside: Callable[[Path], None] | None) -> None:
    _refuse_foreign(folder)
    task, reader, catalogue, dataset = scorer.task, scorer.reader, scorer.catalogue, scorer.dataset
    facts = {
        "format_version": FORMAT_VERSION,
        "written_by": program_version(),
        "shape": task.shape.plain(),
        "task": task.config.plain(),
        "sizes": vars(task.sizes),
        "trained_items": len(task.items.log_seen),
        "language": reader.wording.language,
        "segment_tokens": reader.segment_tokens,
        "agreement": scorer.agreement.plain(),
        "baskets": scorer.basket is not None,
        "judging": None if scorer.judging is None else scorer.judging.plain(),
        "judging_texts": None if scorer.texts is None else scorer.texts.plain(),
        "writing": None if scorer.writing is None else scorer.writing.plain(),
        "interest": None if scorer.interest is None else scorer.interest.plain(),
        "tokenizer": reader.tokenizer.fingerprint(),
        "data": dataset.fingerprint,
        "statement": scorer.origin.statement,
        "training": scorer.origin.training,
    }
    belongs = {"tokenizer": reader.tokenizer.fingerprint(), "data": dataset.fingerprint}
    with atomic_folder(folder) as temporary:
        weights = {f"model.{name}": value for name, value in scorer.model.state_dict().items()}
        weights |= {f"task.{name}": value for name, value in task.state_dict().items()}
        if scorer.judging is not None:
            weights |= {JUDGING + name: value for name, value in scorer.judging.judge.state_dict().items()}
        if scorer.texts is not None:
            weights |= {TEXTS + name: value for name, value in scorer.texts.judge.state_dict().items()}
        if scorer.writing is not None:
            weights |= {WRITING + name: value for name, value in scorer.writing.write.state_dict().items()}
        if scorer.basket is not None:
            weights |= {BASKET + name: value for name, value in scorer.basket.question.state_dict().items()}
        made_by = {"weights": fingerprint_of(weights)}
        save_weights(temporary / WEIGHTS, weights, belongs | made_by)
        if scorer.packed is not None:
            save_weights(temporary / LAST_STATES, scorer.packed.tensors(), belongs | made_by)
        reader.tokenizer.save(temporary / TOKENIZER)
        catalogue.bag.save(temporary / BAG)
        save_weights(temporary / ITEM_STATES, {"summaries": catalogue.contents.summaries, **csr_tensors("bag", catalogue.matrix)}, belongs)
        if scorer.profiles is not None:
            scorer.profiles.bag.save(temporary / PROFILE_BAG)
            save_weights(temporary / USER_STATES, {"summaries": scorer.profiles.contents.summaries}, belongs)
        if scorer.interest is not None:
            save_interest(scorer.interest, temporary / INTEREST, temporary / INTEREST_BAG, belongs)
        if scorer.judging is not None:
            _save_inputs(scorer.judging.inputs, temporary, belongs)
        graph = graph_tensors(catalogue.priors)
        if scorer.basket is not None:
            graph |= {BASKET + name: table for name, table in graph_tensors(scorer.basket.priors).items()}
        save_weights(temporary / GRAPH, graph, belongs)
        if scorer.dialogue is not None:
            save_dialogue(scorer.dialogue, temporary, belongs)
        save_dataset(dataset, temporary / DATA, exposures=False)
        if scorer.blend is not None:
            (temporary / FUSION).mkdir()
            scorer.blend.save(temporary / FUSION)
        save_adapter(scorer.model, temporary / ADAPTER, str(scorer.origin.training.get("model", {}).get("backbone")))
        if reader.wording.templates is not None:
            shutil.copyfile(reader.wording.templates, temporary / TEMPLATES)
        if beside is not None:
            beside(temporary)
        (temporary / CARD).write_text(model_card(facts, scorer), encoding="utf-8")
        (temporary / CONFIG).write_text(json.dumps(facts, ensure_ascii=False, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _save_inputs(inputs: JudgeInputs, folder: Path, belongs: dict[str, str]) -> None:
    if inputs.context_bag is not None:
        inputs.context_bag.save(folder / CONTEXT_BAG)
    if inputs.statistics is not None:
        arrays = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.statistics.arrays().items()}
        save_weights(folder / STATISTICS, arrays, belongs)


def _judging(folder: Path, facts: dict[str, Any], dataset: Dataset, task: Choose, weights: dict[str, torch.Tensor]) -> JudgePart | None:
    told = facts.get("judging")
    if told is None:
        return None
    bag = Bag.load(folder / CONTEXT_BAG) if told["context_fields"] else None
    arrays = {name: tensor.numpy() for name, tensor in _tensors(folder / STATISTICS, facts).items()} if told["statistics"] else {}
    return judge_part(folder / CONFIG, told, arrays, bag, dataset, task, tensors_of(weights, JUDGING), folder / WEIGHTS)


def _load(folder: Path) -> dict[str, Any]:
    """Arguments of `ChooseScorer`."""
    recover_folder(folder)
    facts = _read_facts(folder / CONFIG)
    try:
        shape = ModelShape.build(facts["shape"], source=str(folder / CONFIG))
        config = ChooseConfig.build(facts["task"], source=str(folder / CONFIG))
        sizes = ChooseSizes(**facts["sizes"])
        wording = Wording(facts["language"], folder / TEMPLATES if (folder / TEMPLATES).exists() else None)
        origin = Origin(facts["training"], facts["statement"])
        agreement = Agreement(**facts["agreement"])
        model = LanguageModel(shape)
        task = Choose(config, shape, sizes, torch.zeros(facts["trained_items"], dtype=torch.int64))
        segment_tokens, trained_with, data = facts["segment_tokens"], facts["tokenizer"], facts["data"]
    except (KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{folder / CONFIG} is damaged ({_one_line(error)}); restore it from a copy or train again") from None
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    check_tokenizer(trained_with, tokenizer.fingerprint(), folder)
    tensors, made_by = _tensors_and_weights(folder / WEIGHTS, facts)
    for prefix, module in (("model.", model), ("task.", task)):
        load_into(module, {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}, folder / WEIGHTS)
    model.freeze_reading()
    join_adapters(model.eval())
    task.eval()
    dataset = load_dataset(folder / DATA)
    if dataset.fingerprint != data:
        raise CheckpointError(f"{folder / DATA} is not the data that {CONFIG} names; {TOGETHER}")
    catalogue = _catalogue(folder, facts, dataset, task)
    profiles = None
    if sizes.profile_features:
        bag = _bag(folder / PROFILE_BAG, sizes.profile_features)
        summaries = _summaries(folder / USER_STATES, facts, len(dataset.users), shape.read_width)
        profiles = Profiles(Contents.build(summaries, bag.matrix(dataset.users), vector_fields(dataset.users)), bag)
    reader = TextReader(model, tokenizer, wording, segment_tokens)
    basket = None
    if facts.get("baskets"):
        question = Question(shape.width, len(task.parts), config.prior.recent)
        load_into(question, {n.removeprefix(BASKET): t for n, t in tensors.items() if n.startswith(BASKET)}, folder / WEIGHTS)
        basket = BasketPart(question.eval(), _priors(folder, facts, task.parts, len(dataset.items), BASKET))
    return {
        "judging": _judging(folder, facts, dataset, task, tensors),
        "texts": text_part(folder / CONFIG, facts.get("judging_texts"), shape, tensors_of(tensors, TEXTS), folder / WEIGHTS),
        "writing": write_part(
            folder / CONFIG,
            facts.get("writing"),
            dataset,
            task,
            (reader, catalogue, profiles),
            tensors_of(tensors, WRITING),
            folder / WEIGHTS,
        ),
        "interest": interest_part(folder / INTEREST, folder / INTEREST_BAG, facts.get("interest"), lambda path: _tensors(path, facts)),
        "basket": basket,
        "dialogue": load_dialogue(folder, _tensors(folder / SAID, facts), task, len(dataset.items)) if (folder / SAID).exists() else None,
        "model": model,
        "task": task,
        "catalogue": catalogue,
        "reader": reader,
        "profiles": profiles,
        "dataset": dataset,
        "origin": origin,
        "agreement": agreement,
        "packed": _packed(folder / LAST_STATES, facts, made_by) if (folder / LAST_STATES).exists() else None,
    }


def _refuse_foreign(folder: Path) -> None:
    """Saving replaces the whole folder: nothing but an older model may be lost."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder to save the model in")
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in PARTS) if folder.exists() else []
    if foreign:
        raise UsageError(
            f"{folder} holds '{foreign[0]}', which is no part of a model folder and would be lost; name another, e.g. {folder / 'model'}"
        )


def _catalogue(folder: Path, facts: dict[str, Any], dataset: Dataset, task: Choose) -> Catalogue:
    bag = _bag(folder / BAG, task.sizes.features)
    summaries = _summaries(folder / ITEM_STATES, facts, len(dataset.items), task.shape.read_width)
    matrix = _bag_rows(folder / ITEM_STATES, facts, (len(dataset.items), bag.size))
    matrix = bag.matrix(dataset.items) if matrix is None else matrix
    contents = Contents.build(summaries, matrix, vector_fields(dataset.items))
    priors = _priors(folder, facts, task.parts, len(dataset.items))
    return Catalogue(dataset.items, bag, matrix, similarity_vectors(matrix, bag.idf), contents, priors)


def _priors(folder: Path, facts: dict[str, Any], parts: list[str], size: int, prefix: str = "") -> dict[str, csr_array]:
    tensors = _tensors(folder / GRAPH, facts)
    priors: dict[str, csr_array] = {}
    try:
        for name in parts:
            if (rows := len(tensors[f"{prefix}{name}.indptr"]) - 1) != size:
                raise CheckpointError(f"{folder / GRAPH} is of {rows} items, the catalogue has {size}; {TOGETHER}")
            priors[name] = mapped_csr(tensors, f"{prefix}{name}", (size, size))
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{folder / GRAPH} is not the graph of this model ({_one_line(error)}); {TOGETHER}") from None
    return priors


def _bag_rows(path: Path, facts: dict[str, Any], shape: tuple[int, int]) -> csr_array | None:
    """The bags of the items, which are slow to make of a large catalogue's words; None in a folder that has none yet."""
    tensors = _tensors(path, facts)
    if "bag.indptr" not in tensors:
        return None
    try:
        rows = mapped_csr(tensors, "bag", shape)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path} does not hold the bags of {shape[0]} items ({_one_line(error)}); {TOGETHER}") from None
    return rows


def _packed(path: Path, facts: dict[str, Any], weights: str | None) -> PackedStates:
    tensors, made_by = _tensors_and_weights(path, facts)
    if made_by is None or made_by != weights:
        raise CheckpointError(f"{path} was made by other weights than {WEIGHTS}; {TOGETHER}")
    packed = PackedStates.from_tensors(tensors, facts["shape"]["width"])
    if packed is None:
        raise CheckpointError(f"{path} does not hold users, digests and states of width {facts['shape']['width']}; {TOGETHER}")
    return packed


def _tensors(path: Path, facts: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Tensors of a file of this folder. Raises CheckpointError when it was saved with another tokenizer or other data."""
    return _tensors_and_weights(path, facts)[0]


def _tensors_and_weights(path: Path, facts: dict[str, Any]) -> tuple[dict[str, torch.Tensor], str | None]:
    """`_tensors`, and the fingerprint of the weights that the file names, if any."""
    tensors, metadata = load_weights(path)
    for name in ("tokenizer", "data"):
        if metadata.get(name) != facts[name]:
            raise CheckpointError(f"{path} was saved with another {name} than {CONFIG} names; {TOGETHER}")
    return tensors, metadata.get("weights")


def _summaries(path: Path, facts: dict[str, Any], rows: int, width: int) -> torch.Tensor:
    summaries = _tensors(path, facts).get("summaries")
    if summaries is None or summaries.shape != (rows, width):
        raise CheckpointError(f"{path} does not hold {rows} summaries of width {width}; {TOGETHER}")
    return summaries


def _bag(path: Path, features: int) -> Bag:
    bag = Bag.load(path)
    if bag.size != features:
        raise CheckpointError(f"{path} has {bag.size} features, the weights were trained on {features}; {TOGETHER}")
    return bag


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent} is no model folder: {path.name} is missing; give a finished run, or train one with m6rec train"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read ({_one_line(error)}); restore it from a copy or train again") from None
    if not isinstance(facts, dict):
        raise CheckpointError(f"{path} holds {type(facts).__name__}, not a configuration; restore it from a copy or train again")
    check_version(facts, path)
    return facts
