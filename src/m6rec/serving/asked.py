"""What is asked of a service and what it answers, whoever carries it: HTTP, a console page, a program.

`Ask` goes in, `Reply` comes out. Engine, rules, service, http and console agree on these and on nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # a configuration reads this file, and loads nothing heavy
    from m6rec.base.contracts import Scored

RepeatPolicy = Literal["exclude", "allow", "model"]
ITEMS = "ask for 1 or more items, a whole number"  # what messages say of k
HISTORY = "give a list of item ids, oldest first"
CacheUse = Literal["hit", "miss", "off"]
Degraded = Literal["", "fewer candidates", "earlier layers", "index only"]


@dataclass(frozen=True)
class Slate:
    """How a list is put together from scored candidates; the defaults leave the order of the scores alone.

    diversity: 0 to 1, share of unlikeness to what stands above (maximal marginal relevance over item vectors).
    novelty: 0 to 1, weight of self-information, -log2 of an item's share of all events.
    weights: item id or "field=value" -> factor on the probability; 0 leaves out.
    caps: field -> most items of one value of it in the list (providers, brands, categories).
    mix: field -> {value: share}, e.g. {"kind": {"video": 0.3}}: at least so much of the list, rounded, as far as candidates go.
    """

    diversity: float = 0.0
    novelty: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)
    caps: Mapping[str, int] = field(default_factory=dict)
    mix: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Ask:
    """One request for a list. Who: user, history, text, profile (any of them). What: the best of the catalogue, or `items` in order.

    task: what orders `items` (or, with `include`, labels the answers); None is the choose task that reads histories.
    disliked: items whose likes sink within this request, in addition to what the store knows.
    include: fields, tasks, and "reasons" for the evidence in `Reply.reasons`.
    language: of reasons in words beside the evidence, None: none.  reason_by: the write task that words them; None or "template": templates.
    budget_ms: time that may be spent; when it runs short the answer degrades (`Reply.degraded`), it never fails.
    variant: an experiment's arm asked for by name, None: by assignment.  explore: False for requests of a console or a test.
    """

    user: str | None = None
    history: tuple[str, ...] | None = None
    text: str | None = None
    profile: Mapping[str, Any] | str | None = None
    items: tuple[str, ...] | None = None
    task: str | None = None
    k: int = 10
    scenario: str | None = None
    where: Mapping[str, Any] | None = None
    repeat: RepeatPolicy | None = None
    of: str | None = None
    disliked: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    language: str | None = None
    reason_by: str | None = None
    context: Mapping[str, Any] | None = None
    time: float | str | datetime | None = None
    slate: Slate = Slate()
    budget_ms: float | None = None
    variant: str | None = None
    explore: bool = True
    request_id: str = ""


@dataclass(frozen=True)
class Reason:
    """Evidence for one answer: what moved its score, largest first.

    kind: "event" (item_id of the history), "field" (name=value), "prior" (graph, text), "typed" (a word).  share: of what lifts the score, 0 to 1.
    """

    kind: str
    what: str
    title: str
    share: float


@dataclass(frozen=True)
class Reply:
    """The answer to an `Ask`, best first.

    reasons: one list an answer, empty where they were not asked for.  words: one reason in words an answer, in the same way.
    propensities: probability with which each answer came to stand where it stands, 1 where nothing was left to chance.
    left_out: name of a rule -> how many candidates it took out.
    """

    answers: tuple[Scored, ...]
    model_version: str
    request_id: str
    took_ms: float
    cache: CacheUse = "off"
    degraded: Degraded = ""
    experiment: str | None = None
    variant: str | None = None
    reasons: tuple[tuple[Reason, ...], ...] = ()
    words: tuple[str, ...] = ()
    propensities: tuple[float, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
