"""What the stages hand to each other: each thing is read from its stage folder when first asked for, and kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse import csr_array

from m6rec.base.contracts import Histories
from m6rec.data.baskets import BasketSplit, split_baskets
from m6rec.data.dataset import Dataset, FieldType, Table
from m6rec.data.row_splits import hold_back, split_rows
from m6rec.data.splits import Split, refusals, split, without_refusals
from m6rec.data.store import load_dataset
from m6rec.language_model.backbones.config import BackboneShape
from m6rec.language_model.backbones.weights import Checkpoint
from m6rec.language_model.checkpoint import load_into, load_weights, program_version
from m6rec.language_model.config import ModelShape
from m6rec.language_model.devices import device_wanted
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.store import ItemStates
from m6rec.tasks.agreement import Agreement
from m6rec.tasks.basket import Basket
from m6rec.tasks.catalogue import Catalogue, vector_fields
from m6rec.tasks.choose import Choose, ChooseSizes
from m6rec.tasks.choose_mixture import Profiles
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.judge_part import JudgePart, TextPart
from m6rec.tasks.log_linear import LogLinear
from m6rec.tasks.model_folder import ChooseScorer
from m6rec.tasks.served_model import BasketPart, Origin
from m6rec.tasks.text_reader import TextReader
from m6rec.tasks.write_part import WritePart
from m6rec.text.bag import Bag
from m6rec.text.tokenizer import Tokenizer
from m6rec.text.wording import Wording
from m6rec.training.continued import load_language, shaped, start_of
from m6rec.training.dialogues import NAME as DIALOGUE
from m6rec.training.dialogues import POOL as DIALOGUE_POOL
from m6rec.training.dialogues import Talking
from m6rec.training.judging import NAME as JUDGE
from m6rec.training.judging import Judging, read_calibrations
from m6rec.training.judging_texts import NAME as TEXTS
from m6rec.training.judging_texts import TextJudging
from m6rec.training.progress import Progress
from m6rec.training.run_folder import RunFolder, content_key, read_json
from m6rec.training.task_checks import Checked, check_tasks
from m6rec.training.writing import NAME as WRITE
from m6rec.training.writing import Writing

if TYPE_CHECKING:
    from m6rec.config import M6RecConfig
    from m6rec.training.stage import Stage

AGREEMENT, BACKBONE, START = "agreement.json", "backbone.json", "start.json"


@dataclass
class Workbench:
    """One training of one configuration in one run folder.

    source: the folder that paths in the configuration are relative to.  stages: name -> stage, in order.
    processes: how many train; a step takes a batch of each, so what they come to is another result.
    """

    config: M6RecConfig
    source: Path
    run: RunFolder
    stages: dict[str, Stage]
    progress: Progress
    processes: int = 1

    def __post_init__(self) -> None:
        self._keys: dict[str, str] = {}

    def key(self, name: str) -> str:
        """The content key of a stage: its inputs and those of everything it needs."""
        if name not in self._keys:
            stage = self.stages[name]
            self._keys[name] = content_key(
                program_version(), name, stage.version, stage.inputs(self), [self.key(need) for need in stage.needs]
            )
        return self._keys[name]

    def pin(self, keys: dict[str, str]) -> None:
        """Take the keys as recorded: what was trained can be read again though the user's files have changed since."""
        self._keys.update(keys)

    def folder(self, name: str) -> Path:
        return self.run.stage(name, self.key(name))

    @cached_property
    def device(self) -> torch.device:
        """Where texts are read and tasks are trained; whatever answers or measures runs on the CPU. Raises ConfigError: there is none such."""
        return device_wanted(self.config.train.device, self.processes)

    @cached_property
    def dataset(self) -> Dataset:
        return load_dataset(self.folder("prepare") / "dataset")

    @cached_property
    def split(self) -> Split:
        cut = split(self.dataset, self.config.split, self.config.seed)
        if not any(config.on == "candidate" for config in self.config.judges.values()):
            return cut
        return hold_back(cut, self.dataset, split_rows(self.dataset, self.config.split, self.config.seed))

    @property
    def refused(self) -> list[int]:
        """The codes of the actions that say no."""
        return refusals(self.dataset.action_names)

    @cached_property
    def had(self) -> Histories:
        """The training events without those that say no: what transitions, popularity and tastes are counted over."""
        return without_refusals(self.split.train, self.refused)

    @property
    def all_had(self) -> Histories:
        """The same of all events: what serving counts."""
        return without_refusals(self.dataset.histories, self.refused)

    @cached_property
    def baskets(self) -> BasketSplit | None:
        """The cut of the baskets; None where no task completes them."""
        wanted = self.config.basket
        return (
            None
            if wanted is None
            else split_baskets(self.dataset.histories, self.config.split, wanted.within, self.config.seed, self.refused)
        )

    @cached_property
    def talking(self) -> Talking | None:
        """The task that names items in dialogues; None where there is none."""
        return None if self.config.dialogue is None else Talking.of(self)

    @cached_property
    def checked(self) -> Checked:
        """Labels and parts of the judge tasks."""
        return check_tasks(self.dataset, self.config)

    @cached_property
    def judging(self) -> Judging | None:
        """The tasks that judge candidates; None where there are none."""
        configs = {name: config for name, config in self.config.judges.items() if config.on == "candidate"}
        return Judging.of(self, configs, self.checked.tasks) if configs else None

    @cached_property
    def judging_texts(self) -> TextJudging | None:
        """The tasks that judge texts and items alone; None where there are none."""
        configs = {name: config for name, config in self.config.judges.items() if config.on != "candidate"}
        return TextJudging.of(self, configs, self.checked.tasks) if configs else None

    @cached_property
    def writing(self) -> Writing | None:
        """The tasks that write; None where there are none."""
        return Writing.of(self, self.config.writes) if self.config.writes and self.checked else None

    @cached_property
    def wording(self) -> Wording:
        templates = self.config.text.templates
        return Wording(self.config.text.language, None if templates is None else self.source / templates)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer.load(self.folder("tokenizer") / "tokenizer.json")

    @cached_property
    def bag(self) -> Bag:
        return Bag.load(self.folder("tokenizer") / "bag.json")

    @cached_property
    def profile_bag(self) -> Bag | None:
        path = self.folder("tokenizer") / "profile_bag.json"
        return Bag.load(path) if path.exists() else None

    @cached_property
    def median_history(self) -> float:
        """Events of the median training user, of those that have any."""
        lengths = self.split.train.lengths
        return float(np.median(lengths[lengths > 0])) if lengths.any() else 0.0

    @cached_property
    def shape(self) -> ModelShape:
        model, start = self.config.model, self.config.pretrain.from_
        if start is not None:  # read from the stage, not from there: a finished run does not need it any more
            path = self.folder("tokenizer") / START
            model = shaped(model, ModelShape.build(read_json(path), source=str(path)), Path(start))
        return model.resolve(
            vocabulary=self.tokenizer.size,
            pad_id=self.tokenizer.pad_id,
            events=len(self.split.train.items),
            median_history=self.median_history,
            known_gaps=known_gaps(self.split.train),
            backbone=self.backbone,
        )

    @cached_property
    def start(self) -> tuple[LanguageModel, Tokenizer] | None:
        """The language model and tokenizer of `pretrain.from`; None where training starts from nothing."""
        folder = start_of(self.config, self.source)
        return None if folder is None else load_language(folder)

    @cached_property
    def backbone(self) -> BackboneShape | None:
        """The architecture of the checkpoint, where the configuration names one."""
        if self.config.model.backbone is None:
            return None
        path = self.folder("tokenizer") / BACKBONE
        return BackboneShape.build(read_json(path), source=str(path))

    @cached_property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint itself; nothing needs it once the pretrain stage is done."""
        return None if self.config.model.backbone is None else Checkpoint.find(self.config.model, self.source)

    @cached_property
    def fit_shape(self) -> ModelShape:
        """The same shape with the dropout that the tasks are fitted with."""
        dropout = self.config.train.dropout
        return self.shape if dropout is None else self.shape.model_copy(update={"dropout": dropout})

    def new_model(self) -> LanguageModel:
        """The language model with fresh weights."""
        return LanguageModel(self.shape, seed=self.config.seed)

    @cached_property
    def model(self) -> LanguageModel:
        """The pretrained language model; what reads segments is frozen."""
        model = LanguageModel(self.fit_shape, seed=self.config.seed)
        best = self.folder("pretrain") / "best.safetensors"
        if best.exists():
            tensors, _ = load_weights(best)
            load_into(model, {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}, best)
        model.freeze_reading()
        return model

    @cached_property
    def reader(self) -> TextReader:
        return TextReader(self.model, self.tokenizer, self.wording, self.config.text.segment_tokens)

    @cached_property
    def item_states(self) -> ItemStates:
        return ItemStates.load(self.folder("encode") / "items.safetensors")

    @cached_property
    def catalogue(self) -> Catalogue:
        """The catalogue with the priors counted on the training events."""
        plain = Catalogue.build(self.dataset.items, self.bag, self.item_states.summaries)
        return plain.with_priors(self.had, self.config.choose.prior)

    def basket_priors(self, baskets: Histories) -> dict[str, csr_array]:
        """What goes together, counted over `baskets`."""
        return self.catalogue.with_priors(baskets, self.config.choose.prior).priors

    @cached_property
    def profiles(self) -> Profiles | None:
        if self.profile_bag is None:
            return None
        states = ItemStates.load(self.folder("encode") / "users.safetensors")
        matrix = self.profile_bag.matrix(self.dataset.users)
        return Profiles(Contents.build(states.summaries, matrix, vector_fields(self.dataset.users)), self.profile_bag)

    def new_task(self) -> Choose:
        """The choose task with fresh, seeded weights."""
        sizes = ChooseSizes(
            features=self.bag.size,
            vectors=self.catalogue.contents.vectors.shape[1],
            profile_features=0 if self.profile_bag is None else self.profile_bag.size,
            profile_vectors=0 if self.profiles is None else self.profiles.contents.vectors.shape[1],
            actions=len(self.dataset.action_names),
            scenarios=len(self.dataset.scenario_names),
        )
        task = Choose(self.config.choose, self.fit_shape, sizes, torch.from_numpy(self.split.seen.astype(np.int64)))
        task.initialise(torch.Generator().manual_seed(self.config.seed + 1))
        return task

    def new_basket(self, reader: Choose) -> Basket | None:
        """The task that completes baskets with fresh weights, if one is wanted."""
        return None if self.config.basket is None else Basket(reader)

    def scorer(self, model: LanguageModel, task: Choose, switched_off: tuple[str, ...] = ()) -> ChooseScorer:
        origin = Origin(self.config.plain(), self.split.statement)
        return ChooseScorer(model, task, self.catalogue, self.reader, self.profiles, switched_off, dataset=self.dataset, origin=origin)

    def fitted(self, switched_off: tuple[str, ...] = ()) -> ChooseScorer:
        """The scorer with the weights of the fit stage."""
        best = self.folder("fit") / "best.safetensors"
        tensors, _ = load_weights(best)
        task = self.new_task()
        basket = self.new_basket(task)
        judge = None if self.judging is None else self.judging.new_judge(self, task)
        texts = None if self.judging_texts is None else self.judging_texts.new_task(self)
        write = None if self.writing is None else self.writing.new_task(self, task)
        dialogue = None if self.talking is None else self.talking.new_task(task)
        modules = {
            "model": self.model,
            "task_choose": task,
            "task_basket": basket,
            f"task_{JUDGE}": judge,
            f"task_{TEXTS}": texts,
            f"task_{WRITE}": write,
            f"task_{DIALOGUE}": dialogue,
        }
        parts = {f"{name}.": module for name, module in modules.items() if module is not None}
        for prefix, module in parts.items():
            load_into(module, {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}, best)
        scorer = self.scorer(self.model, task, switched_off)
        scorer.agreement = Agreement(**read_json(self.folder("fit") / AGREEMENT))
        if basket is not None and self.baskets is not None:
            scorer.basket = BasketPart(basket.question, self.basket_priors(self.baskets.train))
        if texts is not None:
            scorer.texts = TextPart(texts.eval())
        if judge is not None and self.judging is not None:
            scorer.judging = JudgePart(judge.eval(), self.judging.inputs, read_calibrations(self.folder("fit")))
        if write is not None and self.writing is not None:
            scorer.writing = WritePart(write.eval(), self.writing.inputs)
        if dialogue is not None and self.talking is not None:
            scorer.dialogue = self.talking.part(dialogue.eval(), LogLinear(read_json(self.folder("fit") / DIALOGUE_POOL)))
        return scorer


def known_gaps(histories: Histories) -> float:
    """Share of neighbouring events of one history whose times are both known; 0 where there are no times."""
    if histories.times is None or len(histories.items) < 2:
        return 0.0
    known = ~np.isnan(histories.times)
    inside = np.ones(len(known) - 1, dtype=bool)  # pairs (e, e + 1) of one history
    inside[histories.offsets[1:-1][(histories.offsets[1:-1] > 0) & (histories.offsets[1:-1] < len(known))] - 1] = False
    return float((known[1:] & known[:-1])[inside].mean()) if inside.any() else 0.0


def has_words(table: Table) -> bool:
    """Whether anything is declared that a bag or a wording could say."""
    return any(kind != FieldType.VECTOR for kind in table.fields.values())
