"""What goes into the store and what comes out of it. Times are seconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ChangeKind = Literal["events", "item", "item_gone", "user", "user_gone", "forget", "model", "rule", "experiment", "option", "setting"]


@dataclass(frozen=True, slots=True)
class Event:
    """Somebody did something with an item.

    time: None is the moment of arrival.  event_id: names the event wherever it comes from; a second event of this name is a duplicate.
    """

    user_id: str
    item_id: str
    time: float | None = None
    action: str | None = None
    scenario: str | None = None
    value: float | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it lies in the store. seq: its place among all changes.  received: when it arrived, by this machine's clock."""

    seq: int
    received: float
    user_id: str
    item_id: str
    time: float
    action: str | None = None
    scenario: str | None = None
    value: float | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of the events of one call: accepted + duplicates is how many were given.

    late: how many of the accepted ones arrived longer than `late_after_s` after their time.
    first_seq, last_seq: places of the accepted ones, which are next to each other; 0 and 0 where none was.
    repeated: True where the idempotency key was known and this is the receipt of the first time.
    unread: names of labels that no task of the model that answers reads; they are kept for a training that does. The service fills it in.
    """

    accepted: int
    duplicates: int
    late: int
    first_seq: int
    last_seq: int
    repeated: bool = False
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that changed, in the order in which it was committed.

    kind        key                payload
    events      ""                 {"events": [StoredEvent, ...]}; `seq` is that of the last one
    item, user  the id             the fields that hold from now on
    *_gone      the id             {}
    forget      the user id        {}: drop the user's events everywhere
    model       the version        {"active": bool}
    option      the name           what was saved, or {} where it was dropped
    experiment  the name           the same
    rule        "kind:value"       {"blocked": bool}, or a review that was decided
    setting     the name           {"value": ...}; "keys": access keys changed; "retention": {"events_before": time}
    """

    seq: int
    kind: ChangeKind
    key: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Key:
    """An access key; the secret itself is nowhere kept."""

    id: str
    name: str
    roles: tuple[str, ...]
    created: float


@dataclass(frozen=True, slots=True)
class Model:
    """A model folder that was loaded once.

    watermark: newest change that its training data held; what came later has to be added to it.
    forgotten: people forgotten since it was added, whose events it may have been trained on: above 0, train again.
    """

    version: str
    folder: str
    note: str
    added: float
    active: bool
    watermark: int = 0
    forgotten: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """An item or a user: id, fields, when and in which change they were last written."""

    id: str
    fields: dict[str, Any]
    seq: int
    time: float


@dataclass(frozen=True, slots=True)
class Shown:
    """One place of one list that was shown to somebody.

    user_id: None for nobody we know.  position: 1 is the top.  propensity: probability with which the item came to stand there.
    why: what explains it (parts of the score, reasons, rules): anything JSON can say. It counts as personal: forgetting takes it out.
    """

    request_id: str
    user_id: str | None
    item_id: str
    position: int
    model_version: str
    time: float | None = None
    scenario: str | None = None
    propensity: float = 1.0
    experiment: str | None = None
    variant: str | None = None
    why: Any = None


@dataclass(frozen=True, slots=True)
class StoredShown:
    """A row of the audit. user_id: `gone-...`, the same for all rows of one person, once that person was forgotten."""

    seq: int
    time: float
    request_id: str
    user_id: str | None
    item_id: str
    position: int
    model_version: str
    scenario: str | None
    propensity: float
    experiment: str | None
    variant: str | None
    why: Any


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The newest row of the audit: note it somewhere else, and a later look can prove that nothing before it was changed or cut off."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class AuditCheck:
    """rows: how many were read.  problem: "" where the chain holds, else what is wrong first, at row `broken_at`."""

    rows: int
    head: AuditHead
    problem: str = ""
    broken_at: int | None = None


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody did to the service. who: the name of their key, "" for somebody on its machine.  before, after: how things stood, in short."""

    seq: int
    time: float
    who: str
    did: str
    target: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Block:
    """Something that must not be shown. kind: item, word or provider."""

    kind: str
    value: str
    reason: str
    time: float


@dataclass(frozen=True, slots=True)
class Review:
    """Something a person should look at before (or after) it is shown. state: waiting, approved or rejected."""

    id: int
    kind: str
    content: Any
    user_id: str | None
    reason: str
    state: str
    created: float
    decided: float | None
    by: str | None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was deleted of a person.

    audits: rows of the audit that no longer say whom they were about.
    exports: folders written before that still hold the person's events: export again and delete them.
    trained: a model in memory was trained on the person: it forgot them, but for what its weights learned; train again.
    """

    events: int
    audits: int
    profile: bool
    reviews: int
    exports: tuple[str, ...]
    seq: int
    trained: bool = False


@dataclass(frozen=True, slots=True)
class Pruned:
    """Rows that were older than they may be. skipped: why nothing was looked at, or ""."""

    events: int = 0
    audits: int = 0
    requests: int = 0
    changes: int = 0
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Exported:
    """watermark: newest change that is in the files; give it as `since_seq` the next time, and to `add_model` for what is trained on them."""

    folder: str
    events: int
    items: int
    users: int
    exposures: int
    watermark: int


@dataclass(frozen=True, slots=True)
class Imported:
    """What came in. duplicates: events that had come in before.  forgotten: people who were left out, because this store was told to forget them."""

    events: int
    duplicates: int
    items: int
    users: int
    newest: int
    forgotten: int = 0
