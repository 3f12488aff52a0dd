"""Stages that read and word: prepare, tokenizer, pretrain, encode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m6rec.base.storage import write_json
from m6rec.config import M6RecConfig
from m6rec.data.dialogues import KIND, dialogue_parts
from m6rec.data.prepare import prepare, save_dataset
from m6rec.data.row_splits import TEST, VALIDATION, split_texts
from m6rec.data.splits import held_out_users
from m6rec.language_model.checkpoint import WEIGHTS, load_into
from m6rec.language_model.devices import on_device
from m6rec.language_model.precision import statement
from m6rec.language_model.store import ItemStates
from m6rec.tasks.infill import Infill
from m6rec.tasks.text_reader import TextReader
from m6rec.text.bag import Bag
from m6rec.text.tokenizer import Tokenizer
from m6rec.training.continued import TOKENIZER, keep_weights, language_folder, start_of
from m6rec.training.from_checkpoint import MEASURED_TEXTS, freeze_adapters, keep, settled_for, take_tokenizer
from m6rec.training.loop import Loop
from m6rec.training.run_folder import file_digest
from m6rec.training.stage import Stage
from m6rec.training.workbench import START, Workbench, has_words

MOST_TOKENIZER_TEXTS = 1_000_000  # merges are decided by frequent pairs, which a part of so much text shows as well


class Prepare(Stage):
    """Read, check and clean the user's files."""

    name = "prepare"

    def inputs(self, bench: Workbench) -> Any:
        data = bench.config.data
        tables: dict[str, list[str | None]] = {"items": [data.items], "users": [data.users], "relations": [data.relations]}
        tables |= {"events": [*data.event_files()], "exposures": [*data.exposure_files()], "texts": [*data.text_files()]}
        tables |= {"dialogues": [*data.dialogue_files()], "faq": [*data.faq_files()]}
        # Bytes and names, not where the files lie: a configuration moved to another folder, its paths adjusted, is the same one.
        digests = {
            table: [(Path(name).name, file_digest(bench.source / name)) for name in names if name is not None]
            for table, names in tables.items()
        }
        settings = {name: value for name, value in data.plain().items() if name not in digests}
        return [settings, bench.config.fields.plain(), bench.config.scenarios.plain(), digests, bench.config.label_columns]

    def run(self, bench: Workbench) -> dict[str, Any]:
        config = bench.config
        dataset, account = prepare(config.data, config.fields, config.scenarios, bench.source, labels=config.label_columns)
        for line in account.lines():
            bench.progress.say(f"  {line}")
        folder = bench.folder(self.name)
        save_dataset(dataset, folder / "dataset")
        write_json(folder / "account.json", account.plain())
        return {"users": len(dataset.users), "items": len(dataset.items), "events": len(dataset.histories.items)}


class TrainTokenizer(Stage):
    """Learn the tokenizer and the bags of words and fields from the user's text."""

    name = "tokenizer"
    needs = ("prepare",)

    def inputs(self, bench: Workbench) -> Any:
        config = bench.config
        text = {name: value for name, value in config.text.plain().items() if name != "templates"}
        templates = None if config.text.templates is None else file_digest(bench.source / config.text.templates)
        # What held-out users wrote must not be read, so there the split decides what text there is; nor held-out texts that are judged.
        users = [config.split.plain(), config.seed] if config.split.protocol == "cold_users" else None
        inputs = [text, templates, users, judges_texts(config)]
        start = start_of(config, bench.source)
        if start is not None:
            inputs.append(file_digest(language_folder(start) / TOKENIZER))
        return inputs if bench.checkpoint is None else [*inputs, bench.checkpoint.files.fingerprint, config.model.lower_layers]

    def run(self, bench: Workbench) -> dict[str, Any]:
        folder = bench.folder(self.name)
        texts = all_texts(bench)
        if bench.checkpoint is not None:
            tokenizer = take_tokenizer(bench, bench.checkpoint, some_of(texts, MEASURED_TEXTS, bench.config.seed))
        elif bench.start is not None:
            tokenizer = bench.start[1]
            write_json(folder / START, bench.start[0].shape.plain())
        else:
            tokenizer = Tokenizer.train(some_of(texts, MOST_TOKENIZER_TEXTS, bench.config.seed), bench.config.text.vocabulary)
        tokenizer.save(folder / "tokenizer.json")
        bag = Bag.fit(bench.dataset.items, bench.config.text.language)
        bag.save(folder / "bag.json")
        facts = {"tokens": tokenizer.size, "item features": bag.size}
        if has_words(bench.dataset.users):
            profile_bag = Bag.fit(bench.dataset.users, bench.config.text.language)
            if profile_bag.size:
                profile_bag.save(folder / "profile_bag.json")
                facts["profile features"] = profile_bag.size
        return facts


class Pretrain(Stage):
    """Teach the language model the words of the data: infilling and left-to-right on all text."""

    name = "pretrain"
    needs = ("tokenizer",)
    together = True

    def inputs(self, bench: Workbench) -> Any:
        # The shape depends on the training events, so the split belongs here too.
        config = bench.config
        pretrain = {k: v for k, v in config.pretrain.plain().items() if k not in ("checkpoint_seconds", "from_", "continued_rate")}
        model = {k: v for k, v in config.model.plain().items() if k != "history"}  # segments know no history
        inputs = [model, pretrain, config.split.plain(), config.text.segment_tokens, config.seed]
        inputs += [] if bench.processes == 1 else [bench.processes]
        start = start_of(config, bench.source)
        return inputs if start is None else [*inputs, file_digest(language_folder(start) / WEIGHTS), config.pretrain.continued_rate]

    def run(self, bench: Workbench) -> dict[str, Any]:
        config = bench.config.pretrain if bench.checkpoint is None else settled_for(bench.config.pretrain, bench.checkpoint)
        model = bench.new_model()
        if bench.checkpoint is not None:
            bench.checkpoint.fill(model)
            if config.from_checkpoint == "skip" or config.epochs == 0:
                return keep(model, bench.folder(self.name), bench.checkpoint)
            freeze_adapters(model)
        if bench.start is not None:
            load_into(model, bench.start[0].state_dict(), str(start_of(bench.config, bench.source)))
            if config.epochs == 0:
                keep_weights(model, bench.folder(self.name))
                return {"weights": str(bench.config.pretrain.from_)}
            config = config.model_copy(update={"learning_rate": config.continued_rate})
        if config.epochs == 0:
            return {"skipped": "pretrain.epochs is 0"}
        bench.progress.say(f"  {statement(bench.config.model.autocast, bench.device)}")
        reader = TextReader(model, bench.tokenizer, bench.wording, bench.config.text.segment_tokens)
        texts = some_of(sorted(set(all_texts(bench))), config.most_texts, bench.config.seed)
        tokenizer = bench.tokenizer
        segments = reader.segments(texts)
        if config.objective.spectral_start and bench.checkpoint is None and bench.start is None:
            model.start_from_text(segments, bench.config.seed)
        task = Infill(
            config.objective,
            segments,
            batch_tokens=config.step_targets(sum(len(segment.ids) for segment in segments)),
            mask_id=tokenizer.mask_id,
            bos_id=tokenizer.bos_id,
        )
        loop = Loop(
            model,
            {"infill": task},
            config,
            weights={"infill": 1.0},
            seed=bench.config.seed,
            folder=bench.folder(self.name),
            precision=bench.config.model.autocast,
            progress=bench.progress,
            device=bench.device,
        )
        loop.run()
        return {"texts": len(texts)}


class Encode(Stage):
    """Read every item and profile once with the frozen lower layers."""

    name = "encode"
    needs = ("pretrain",)

    def inputs(self, bench: Workbench) -> Any:
        return None

    def run(self, bench: Workbench) -> dict[str, Any]:
        wording, reader = bench.wording, bench.reader
        print_of_tokenizer = bench.tokenizer.fingerprint()
        worded = {"items": (wording.items, bench.dataset.items)}
        if bench.profile_bag is not None:  # else nobody asks for the users' summaries
            worded["users"] = (wording.users, bench.dataset.users)
        with on_device(bench.model, bench.device):
            for name, (say, table) in worded.items():
                states = ItemStates.compute(bench.model, reader.segments(say(table)), tokenizer=print_of_tokenizer)
                states.save(bench.folder(self.name) / f"{name}.safetensors")
        return {name: len(table) for name, (_, table) in worded.items()}


def some_of(texts: list[str], most: int, seed: int) -> list[str]:
    """At most `most` of the texts, drawn by seed, in their order."""
    if len(texts) <= most:
        return texts
    return [texts[row] for row in np.sort(np.random.default_rng([seed, 5]).choice(len(texts), most, replace=False))]


def all_texts(bench: Workbench) -> list[str]:
    """Every text of the data, worded: items, profiles, and the texts table without what users wrote who are held out of training; where texts
    are judged or written, without those that are held out for that.
    """
    wording, dataset = bench.wording, bench.dataset
    texts = [*wording.items(dataset.items), *wording.users(dataset.users)]
    if dataset.texts is not None:
        hidden = {dataset.users.ids.ids[user] for user in held_out_users(bench.split, bench.config.split)}
        parts = split_texts(dataset.texts) if judges_texts(bench.config) else np.zeros(len(dataset.texts), dtype=np.int8)
        if dataset.dialogues is not None:  # what is said in held-out dialogues teaches nothing, whatever the tasks are
            replies = (dataset.texts["kind"] == KIND).fill_null(False).to_numpy()
            parts = np.where(replies, dataset.texts["split"].fill_null(0).to_numpy(), parts)
        written = zip(dataset.texts["user_id"].to_list(), dataset.texts["text"].to_list(), parts.tolist(), strict=True)
        texts += [text for user, text, part in written if text is not None and user not in hidden and part not in (VALIDATION, TEST)]
    if dataset.dialogues is not None:
        asked = dataset.dialogues.filter(pl.Series(dialogue_parts(dataset.dialogues) == 0) & (pl.col("role") == "user"))
        texts += asked["text"].to_list()
    return [text for text in texts if text]


def judges_texts(config: M6RecConfig) -> bool:
    """Whether a task judges texts or writes them, so that some are held out."""
    return bool(config.writes) or any(task.on == "text" for task in config.judges.values())
