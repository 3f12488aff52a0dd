"""The built-in sample: a small made-up service (shop, feed, video) whose hidden tastes are known.

`generate` makes it in memory with the truth attached, `write_sample` writes the files and a ready config.yaml. Same arguments, same
bytes; any size. The next event follows a law (see `sample_tastes`) mixing taste, sequels, popularity, sessions and time.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from m6rec.base.contracts import Histories
from m6rec.base.errors import UsageError
from m6rec.base.storage import atomic_file
from m6rec.data.columns import Columns
from m6rec.data.dataset import Dataset, FieldType, Table, Vocabulary
from m6rec.data.sample_events import draw_events, plant
from m6rec.data.sample_exposures import ExposureTruth, draw_exposures
from m6rec.data.sample_sentences import sentence_table
from m6rec.data.sample_tables import draw_lengths, draw_outcomes, named, relation_table, text_table
from m6rec.data.sample_talk import DIALOGUES, FAQ, Talk, make_talk, talk_tasks
from m6rec.data.sample_tastes import SCENARIOS, Truth
from m6rec.data.sample_titles import Language, load_words, word_items, word_users
from m6rec.data.store import write_csv, write_ndjson, write_parquet

Format = Literal["parquet", "csv", "jsonl"]
FORMATS = ("parquet", "csv", "jsonl")
ACTIONS = ("view", "click", "buy", "like")
MARK = "# The built-in sample of m6rec"
KINDS = ("product", "post", "video")  # of items, by scenario
TABLES = ("events", "exposures", "items", "users", "texts", "relations")

ITEM_FIELDS = {
    "title": FieldType.TEXT,
    "description": FieldType.TEXT,
    "category": FieldType.CATEGORY,
    "kind": FieldType.CATEGORY,
    "tags": FieldType.TAGS,
    "brand": FieldType.CATEGORY,
    "price": FieldType.NUMBER,
}
USER_FIELDS = {
    "gender": FieldType.CATEGORY,
    "age": FieldType.NUMBER,
    "occupation": FieldType.CATEGORY,
    "interests": FieldType.TAGS,
}
CONTEXT_FIELDS = {"device": FieldType.CATEGORY, "site": FieldType.CATEGORY}


@dataclass(frozen=True)
class Sample:
    """The tables as written, and the truth. Row i of `items` and of `truth` is the same item; likewise users.

    events     user_id, item_id, time (int64 seconds), scenario, action, value (rating 1..5 or null), in order of time
    exposures  user_id, item_id, time, scenario, list_id, position, propensity, device, site; clicked, bought (shop), liked (feed, video),
               disliked, dwell (seconds, of the clicked), long_view, rating (of the bought); in order of time
    texts      kind (review, reason, comment, query), user_id, item_id, text, lang, time; sentiment, topic, spans
    relations  head, relation (brand, next_part, goes_with, follows), tail
    histories  the same events with dense ids, per user, oldest first
    talk       reviews, reasons, queries, dialogues and known questions that say what is true; None unless asked for
    """

    events: pl.DataFrame
    exposures: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame
    texts: pl.DataFrame
    relations: pl.DataFrame
    histories: Histories
    truth: Truth
    exposure_truth: ExposureTruth
    language: str
    talk: Talk | None = None

    def dataset(self) -> Dataset:
        """As `prepare` would read the written files without tasks that judge, but that action and scenario codes follow ACTIONS and
        SCENARIOS."""
        return Dataset(
            items=Table(Vocabulary(self.items[Columns.ITEM]), _canonical(self.items, ITEM_FIELDS), dict(ITEM_FIELDS)),
            users=Table(Vocabulary(self.users[Columns.USER]), _canonical(self.users, USER_FIELDS), dict(USER_FIELDS)),
            histories=self.histories,
            action_names=list(ACTIONS),
            scenario_names=list(SCENARIOS),
            texts=self.texts.drop("sentiment", "topic", "spans"),
            relations=self.relations,
        )


def generate(
    *,
    users: int = 600,
    items: int = 300,
    events_per_user: float = 20.0,
    lists_per_user: float = 6.0,
    new_share: float = 0.06,
    seed: int = 0,
    language: Language = "en",
    talk: bool = False,
) -> Sample:
    """The sample in memory.

    Args:
        events_per_user: the mean; 3 % of the users have 0 to 2 events, the others 3 or more.
        lists_per_user: the mean; a list shows six items.
        new_share: share of the items that have no events (not released yet) but titles of known topics.
        language: of all words; the hidden structure does not depend on it.
        talk: with `Sample.talk`; what else is made is the same with and without.

    Raises:
        UsageError: fewer than 10 users or items, events_per_user outside 3..1000, lists_per_user outside 1..1000, new_share outside
            0..0.5, unknown language.
    """
    means = 3 <= events_per_user <= 1000 and 1 <= lists_per_user <= 1000
    if users < 10 or items < 10 or not means or not 0 <= new_share <= 0.5 or seed < 0:
        raise UsageError(
            f"sample of users={users}, items={items}, events_per_user={events_per_user}, lists_per_user={lists_per_user}, "
            f"new_share={new_share}, seed={seed}: allowed are 10 or more users and items, 3 to 1000 events and 1 to 1000 lists per user, "
            "new_share 0 to 0.5, seed 0 or more"
        )
    words = load_words(language)
    topics = min(len(words["topics"]), max(2, items // 20))
    truth = plant(users, items, new_share, topics, np.random.default_rng([seed, 11]))
    generator = np.random.default_rng([seed, 12])
    draw = draw_events(truth, draw_lengths(users, items, events_per_user, generator), generator)
    action, rating = draw_outcomes(truth, draw, np.random.default_rng([seed, 13]))
    item_words = word_items(truth, words, seed)
    praise = item_words.pop("praise")
    item_ids = [f"i{row:0{len(str(items))}d}" for row in range(1, items + 1)]
    user_ids = [f"u{row:0{len(str(users))}d}" for row in range(1, users + 1)]
    item_words["kind"] = [KINDS[scenario] for scenario in truth.scenario]
    item_frame = pl.DataFrame({Columns.ITEM: item_ids, **item_words}, schema_overrides={"price": pl.Float64, "tags": pl.List(pl.String)})
    user_frame = pl.DataFrame(
        {Columns.USER: user_ids, **word_users(truth, words)}, schema_overrides={"age": pl.Int64, "interests": pl.List(pl.String)}
    )
    events = pl.DataFrame(
        {
            Columns.USER: named(user_ids, draw.user),
            Columns.ITEM: named(item_ids, draw.item),
            Columns.TIME: draw.time.astype(np.int64),
            Columns.SCENARIO: named(SCENARIOS, truth.scenario[draw.item]),
            Columns.ACTION: named(ACTIONS, action),
            Columns.VALUE: pl.Series(rating).fill_nan(None),
        }
    ).sort(Columns.TIME, maintain_order=True)
    exposures, exposure_truth = draw_exposures(truth, draw, lists_per_user, np.random.default_rng([seed, 17]), (user_ids, item_ids))
    texts = text_table(truth, draw, rating, words, praise, (user_ids, item_ids), seed)
    histories = Histories(
        offsets=np.concatenate([[0], np.cumsum(np.bincount(draw.user, minlength=users))]).astype(np.int64),
        items=draw.item.astype(np.int32),
        times=draw.time,
        actions=action.astype(np.int16),
        scenarios=truth.scenario[draw.item].astype(np.int16),
        values=rating.astype(np.float32),
    )
    return Sample(
        events=events,
        exposures=exposures,
        items=item_frame,
        users=user_frame,
        texts=pl.concat([texts, sentence_table(truth, draw, words, (user_ids, item_ids), seed)]),
        relations=relation_table(truth, item_frame, user_ids, np.random.default_rng([seed, 15])),
        histories=histories,
        truth=truth,
        exposure_truth=exposure_truth,
        language=language,
        talk=make_talk(truth, item_frame, histories, words, (user_ids, item_ids), seed) if talk else None,
    )


def refuse_foreign(out: Path, format: Format) -> None:
    """Raises UsageError where writing a sample into `out` would replace what is no sample's."""
    config = out / "config.yaml"
    ours = config.is_file() and config.read_text(encoding="utf-8", errors="replace").startswith(MARK)
    names = ("config.yaml", *(f"{table}.{format}" for table in (*TABLES, "writings")), DIALOGUES, FAQ)
    taken = [name for name in names if (out / name).exists()]
    if (taken and not ours) or (out.exists() and not out.is_dir()):
        what = f"holds {taken[0]}, which is not a sample's" if taken else "is a file"
        raise UsageError(f"{out} {what}; name another folder, for example {out / 'sample'}")


def write_sample(
    out: Path,
    *,
    users: int = 600,
    items: int = 300,
    events_per_user: float = 20.0,
    lists_per_user: float = 6.0,
    new_share: float = 0.06,
    seed: int = 0,
    language: Language = "en",
    format: Format = "parquet",
    tasks: bool = False,
    talk: bool = False,
) -> dict[str, Any]:
    """Write events, exposures, items, users, texts, relations (as `format`) and config.yaml into the folder `out`, all or nothing.

    Args:
        tasks: whether the configuration has tasks that judge (see `judge_tasks`), and with them the exposures.
        talk: also writings (as `format`), dialogues.jsonl and faq.jsonl, and a configuration that reads and is asked about them.

    A folder that holds an earlier sample is overwritten; other files in it are left alone.

    Returns:
        {"folder", "config": paths as text, "files": {name: rows}, "users", "items", "events", "seed", "language", "format"}.

    Raises:
        UsageError: as `generate`; unknown format; `out` holds files of the same names that are not a sample's.
        StorageError: no space or no permission; nothing was changed.
    """
    out = Path(out)
    if format not in FORMATS:
        raise UsageError(f"format is '{format}': allowed are {', '.join(FORMATS)}; for example format='csv'")
    refuse_foreign(out, format)
    config = out / "config.yaml"
    sample = generate(
        users=users,
        items=items,
        events_per_user=events_per_user,
        lists_per_user=lists_per_user,
        new_share=new_share,
        seed=seed,
        language=language,
        talk=talk,
    )
    files = {f"{table}.{format}": len(getattr(sample, table)) for table in TABLES}
    with ExitStack() as stack:  # renamed together once all are written, the configuration last
        temporary = stack.enter_context(atomic_file(config))
        temporary.write_text(_configuration(sample, format, seed, tasks), encoding="utf-8")
        for table in TABLES:
            _write(getattr(sample, table), stack.enter_context(atomic_file(out / f"{table}.{format}")), format)
        if sample.talk is not None:
            _write(sample.talk.writings, stack.enter_context(atomic_file(out / f"writings.{format}")), format)
            sample.talk.write_dialogues(stack.enter_context(atomic_file(out / DIALOGUES)))
            sample.talk.write_faq(stack.enter_context(atomic_file(out / FAQ)))
            files |= {f"writings.{format}": len(sample.talk.writings), DIALOGUES: len(sample.talk.dialogues), FAQ: len(sample.talk.faq)}
    return {
        "folder": str(out),
        "config": str(config),
        "files": files,
        "users": users,
        "items": items,
        "events": len(sample.events),
        "exposures": len(sample.exposures),
        "seed": seed,
        "language": language,
        "format": format,
    }


def _canonical(frame: pl.DataFrame, fields: dict[str, FieldType]) -> pl.DataFrame:
    numbers = [name for name, kind in fields.items() if kind == FieldType.NUMBER]
    return frame.with_columns(pl.col(numbers).cast(pl.Float64))


def _write(frame: pl.DataFrame, path: Path, format: str) -> None:
    """One table as `format`; lists become text joined by | in CSV."""
    if format == "parquet":
        write_parquet(frame, path)
    elif format == "csv":
        lists = [name for name, dtype in frame.schema.items() if dtype == pl.List(pl.String)]
        write_csv(frame.with_columns(pl.col(lists).list.join("|")), path)
    else:
        write_ndjson(frame, path)


def judge_tasks(sample: Sample) -> str:
    """Lines of a `tasks:` section: what the sample can be asked besides the next item."""
    lines = [
        "click: {answer: judge, label: clicked, metrics: [auc, gauc, log_loss, ece, pr_auc, best_f1, ndcg@3, satisfaction@3]}",
        "purchase: {answer: judge, label: bought, scenarios: [shop], after: click}",
        "long_view: {answer: judge, label: long_view, after: click}",
        "dislike: {answer: judge, label: disliked}",
        "rating: {answer: judge, label: rating, kind: number, scenarios: [shop]}",
        f"sentiment: {{answer: judge, on: text, label: sentiment, texts: [review, {'turn' if sample.talk else 'comment'}]}}",
    ]
    if sample.items["category"].n_unique() > 1:
        lines.insert(-1, "category: {answer: judge, on: item, label: category, weight: 0.2}")
    if liked := _liked_in(sample):
        lines.insert(2, f"like: {{answer: judge, label: liked, scenarios: [{', '.join(liked)}], after: click}}")
    return "".join(f"  {line}\n" for line in lines)


def _liked_in(sample: Sample) -> list[str]:
    """The scenarios in which something shown can be liked; a small sample may have none."""
    there = set(sample.exposures.filter(pl.col("liked").is_not_null())[Columns.SCENARIO])
    return [name for name in SCENARIOS if name in there]


def _offers(sample: Sample) -> str:
    """Which kind of item each scenario recommends; a small sample may lack some."""
    events, kinds = set(sample.events[Columns.SCENARIO]), set(sample.items["kind"])
    there = [f"{name}: {{kind: {kind}}}" for name, kind in zip(SCENARIOS, KINDS, strict=True) if name in events and kind in kinds]
    return "{" + ", ".join(there) + "}"


def _configuration(sample: Sample, format: str, seed: int, tasks: bool) -> str:
    def fields(of: dict[str, FieldType]) -> str:
        return "{" + ", ".join(f"{name}: {kind.value}" for name, kind in of.items()) + "}"

    exposures = f"\n  exposures: exposures.{format}" if tasks else ""
    context = f"\n  context: {fields(CONTEXT_FIELDS)}" if tasks else ""
    split = "\nsplit: {protocol: time}" if tasks else ""
    liked = "like: 1, " if _liked_in(sample) else ""
    worth = f"\nevaluation:\n  worth: {{{liked}long_view: 1, dislike: -1}}  # satisfaction@k" if tasks else ""
    writing = "" if sample.talk is None else "\nwriting: {passes: 4}  # generated sentences are soon learned"
    texts = f"texts.{format}" if sample.talk is None else f"writings.{format}\n  dialogues: {DIALOGUES}\n  faq: {FAQ}"
    return f"""{MARK} ({len(sample.users)} users, {len(sample.items)} items, {len(sample.events)} events, seed {seed}).
# Train on it with: m6rec train config.yaml
data:
  events: events.{format}{exposures}
  items: items.{format}
  users: users.{format}
  texts: {texts}
  relations: relations.{format}
fields:
  items: {fields(ITEM_FIELDS)}
  users: {fields(USER_FIELDS)}{context}
scenarios: {{column: scenario, offers: {_offers(sample)}}}{split}
text: {{language: {sample.language}}}{writing}{worth}
tasks:
  next: {{answer: choose, positive: null, interest: {{}}}}
{judge_tasks(sample) if tasks else ""}{talk_tasks(sample.talk) if sample.talk else ""}"""
