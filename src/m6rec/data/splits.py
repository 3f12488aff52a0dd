"""Cutting a dataset into training, validation and test: leave-one-out, global time, cold items, cold users.

Every cut keeps the order within a user, says in one sentence what it did (ties included), and depends on the seed and the order of
the rows only, never on how items happen to be numbered.

Dimension keys: U users, N items, E events, C cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import ConfigError, DataError
from m6rec.data.columns import REFUSALS
from m6rec.data.config import SplitConfig
from m6rec.data.dataset import Dataset
from m6rec.data.exposure_rows import next_known


@dataclass(frozen=True)
class Cases:
    """C questions with known answers.

    requests  histories before the targets, dense users, and the moment of asking (`now`) where times are known
    targets   item ids, 1 or more a row, and in which scenario each was chosen where that is known; nothing else
    """

    requests: Requests
    targets: Histories

    def __len__(self) -> int:
        return len(self.requests)

    def drawn(self, most: int, seed: int | list[int]) -> Cases:
        """At most `most` of them, drawn by seed, in their order."""
        if len(self) <= most:
            return self
        rows = np.sort(np.random.default_rng(seed).choice(len(self), most, replace=False))
        return Cases(self.requests.rows(rows), self.targets.rows(rows))


@dataclass(frozen=True)
class Split:
    """One cut of a dataset.

    train      one row per user of the dataset, some of them empty
    statement  one sentence: how it was cut, how ties in time are ordered
    seen       int64 (N,): events per item in `train`
    """

    train: Histories
    validation: Cases
    test: Cases
    statement: str
    seen: np.ndarray


def split(dataset: Dataset, config: SplitConfig, seed: int) -> Split:
    """Cut `dataset` by `config.protocol`; the seed decides the shuffle of ties and the choice of cold items and users.

    leave_one_out: users with 3 or more events give their last one to the test and the one before it to the validation; the test
        history holds the validation item. Shorter histories are trained on whole.
    time: everything from `validation_from` on is kept from training. A case is a user with events in the period; its targets are the
        distinct items of the period that the user did not have before; its history and its `now` end where the period starts.
    cold_items: events with a held-out item are in no training sequence and in no history; each of them is a case, with what the user
        did before it. Half of the held-out items are for validation, the others for test. A user's later events stay in training: the
        protocol asks what is known of new items, not of the future.
    cold_users: no event of a held-out user is in training. For every n of `given`, a held-out user with more than n events is a case:
        the first n are the history, the next one is the target. Half of the held-out users are for validation, the others for test.
        Who they are (the row of the users table) may be known; what they did may not.

    Raises:
        DataError: no times where times are needed, or nothing left to train on, validate or test ("empty split").
        ConfigError: `validation_from` is not before `test_from`.
    """
    if not len(dataset.histories.items):
        raise DataError("empty split: the data hold no events; check data.events and the account that `m6rec validate` prints")
    histories, ties = _order_ties(dataset.histories, config, seed)
    wanted = welcome(histories, dataset.action_names)
    cut = {"leave_one_out": _leave_one_out, "time": _time, "cold_items": _cold_items, "cold_users": _cold_users}[config.protocol]
    train, validation, test, how = cut(histories, wanted, config, seed)
    if not wanted.all():
        how += f"; {int((~wanted).sum()):,} events say no (a dislike, a skip) and are no targets"
    for name, cases in (("validation", validation), ("test", test)):
        if not len(cases):
            raise DataError(_empty(name, config, len(histories), len(histories.items)))
    if not len(train.items):
        raise DataError("empty split: nothing is left to train on; type: --set split.protocol=leave_one_out, or give more events")
    fewer = "no earlier event" if config.min_history == 1 else f"fewer than {config.min_history} earlier events"
    short = "" if config.min_history == 0 or config.protocol == "cold_users" else f"; cases with {fewer} are left out"
    statement = f"{how} ({len(validation)} validation and {len(test)} test cases{short}); {ties}."
    seen = np.bincount(train.items, minlength=len(dataset.items)).astype(np.int64)
    return Split(train=train, validation=validation, test=test, statement=statement, seen=seen)


def welcome(histories: Histories, actions: Sequence[str]) -> np.ndarray:
    """bool (E,): events that a list may be asked for; not those whose action says no (`columns.REFUSALS`)."""
    return not_among(histories, refusals(actions))


def refusals(actions: Sequence[str]) -> list[int]:
    """The codes of the actions that say no."""
    return [code for code, name in enumerate(actions) if name in REFUSALS]


def not_among(histories: Histories, refused: Sequence[int]) -> np.ndarray:
    """bool (E,): events of other actions than those of the codes `refused`."""
    if histories.actions is None or not len(refused):
        return np.ones(len(histories.items), dtype=bool)
    return ~np.isin(histories.actions, refused)


def without_refusals(histories: Histories, refused: Sequence[int]) -> Histories:
    """The same rows with what people had or chose, for whoever counts that: without the events of the codes `refused`, see `refusals`."""
    kept = not_among(histories, refused)
    return histories if kept.all() else keep_events(histories, kept)


def _leave_one_out(histories: Histories, wanted: np.ndarray, config: SplitConfig, seed: int) -> tuple[Histories, Cases, Cases, str]:
    long = histories.lengths >= 3  # U
    users = np.flatnonzero(long)
    validation = _next_event_cases(histories, wanted, users, histories.offsets[1:][users] - 2, config)
    test = _next_event_cases(histories, wanted, users, histories.offsets[1:][users] - 1, config)
    train = histories.window(drop_last=np.where(long, 2, 0))
    how = "leave-one-out: the last event of every user with 3 or more is the test, the one before it the validation"
    return train, validation, test, how


def _time(histories: Histories, wanted: np.ndarray, config: SplitConfig, seed: int) -> tuple[Histories, Cases, Cases, str]:
    times = histories.times
    if times is None or np.isnan(times).all():
        raise DataError("the time split needs a time for the events and these have only an order; type: --set split.protocol=leave_one_out")
    known = ~np.isnan(times)
    validation_from, test_from = moments(times[known], config)
    # An event of unknown time happened no later than the user's next dated event; with none to follow, it can't be placed.
    placed = np.where(known, times, next_known(histories))
    train = keep_events(histories, placed < validation_from)
    validation = _period_cases(histories, placed, wanted & known & (placed < test_from), validation_from, config)
    test = _period_cases(histories, placed, wanted & known, test_from, config)
    how = f"global time split: training ends before {shown(validation_from)}, validation before {shown(test_from)}"
    how += "; targets are the distinct new items of each user in the period"
    unplaced = int(np.isinf(placed).sum())
    return train, validation, test, how + (f"; {unplaced} events of unknown time are left out" if unplaced else "")


def _cold_items(histories: Histories, wanted: np.ndarray, config: SplitConfig, seed: int) -> tuple[Histories, Cases, Cases, str]:
    role, count, present = _held_items(histories, config, seed)
    event_role = role[histories.items]  # E: 0 trained on, 1 validation, 2 test
    train = keep_events(histories, event_role == 0)
    user_of = np.repeat(np.arange(len(histories)), histories.lengths)
    warm_before = np.concatenate([[0], np.cumsum(event_role == 0)])  # E + 1: trained-on events before each event, over all users
    cases = []
    for which in (1, 2):
        events = np.flatnonzero(wanted & (event_role == which))
        users = user_of[events]
        length = warm_before[events] - train.offsets[users]
        events, users, length = (part[length >= config.min_history] for part in (events, users, length))
        cases.append(_cases(_slices(train, train.offsets[users], length), users, histories, events))
    how = f"cold items: {count} of {present} items are in no training sequence and no history, every event with one is a case"
    how += f", {count // 2} of them for validation and {count - count // 2} others for test"
    return train, cases[0], cases[1], how


def _cold_users(histories: Histories, wanted: np.ndarray, config: SplitConfig, seed: int) -> tuple[Histories, Cases, Cases, str]:
    held, able = _held_users(histories, config, seed)
    count = len(held)
    trained = np.ones(len(histories), dtype=bool)
    trained[held] = False
    train = keep_events(histories, np.repeat(trained, histories.lengths))
    given = np.array(config.given)
    cases = []
    for chosen in (held[: count // 2], held[count // 2 :]):
        users, known = np.repeat(np.sort(chosen), len(given)), np.tile(given, len(chosen))
        enough = known < histories.lengths[users]
        users, known = users[enough], known[enough]
        asked = wanted[histories.offsets[users] + known]
        users, known = users[asked], known[asked]
        starts = histories.offsets[users]
        cases.append(_cases(_slices(histories, starts, known), users, histories, starts + known))
    numbers = ", ".join(map(str, config.given))
    how = f"cold users: no event of {count} of {able} users is trained on; their next event is asked for after their first {numbers} events"
    how += f", {count // 2} of them for validation and {count - count // 2} others for test"
    return train, cases[0], cases[1], how


def _held_items(histories: Histories, config: SplitConfig, seed: int) -> tuple[np.ndarray, int, int]:
    """int8: the role of every item up to the highest that has events (0 trained on, 1 validation, 2 test); how many are held out of how many."""
    # In order of first appearance, not by id: re-labelling the items holds out the same ones.
    present, first = np.unique(histories.items, return_index=True)
    present = present[np.argsort(first)]
    count = max(2, round(config.cold_fraction * len(present)))
    if count >= len(present):
        raise DataError(
            f"empty split: {len(present)} items have events, too few to hold {count} of them out; type: --set split.protocol=leave_one_out"
        )
    held = np.random.default_rng([seed, 2]).permutation(present)[:count]
    role = np.zeros(int(present.max()) + 1, dtype=np.int8)
    role[held[: count // 2]] = 1
    role[held[count // 2 :]] = 2
    return role, count, len(present)


def _held_users(histories: Histories, config: SplitConfig, seed: int) -> tuple[np.ndarray, int]:
    """The users held out, the first half of them for validation, the others for test; and out of how many."""
    able = np.flatnonzero(histories.lengths > config.given[0])  # users that are a case for at least one number of given events
    count = max(2, round(config.cold_fraction * len(able)))
    if count >= len(able):
        raise DataError(
            f"empty split: {len(able)} users have more than {config.given[0]} events, too few to hold {count} of them out; "
            "type: --set split.protocol=leave_one_out"
        )
    return np.random.default_rng([seed, 3]).permutation(able)[:count], len(able)


def held_roles(dataset: Dataset, config: SplitConfig, seed: int) -> np.ndarray:
    """int8 (N,) of items under cold_items, (U,) of users under cold_users: 0 trained on, 1 held out for validation, 2 for test, as `split`
    holds them out. Items that only exposures know are trained on."""
    histories, _ = _order_ties(dataset.histories, config, seed)
    if config.protocol == "cold_items":
        known = _held_items(histories, config, seed)[0]
        return np.concatenate([known, np.zeros(len(dataset.items) - len(known), dtype=np.int8)])
    role = np.zeros(len(histories), dtype=np.int8)
    if config.protocol == "cold_users":
        held, _ = _held_users(histories, config, seed)
        role[held[: len(held) // 2]], role[held[len(held) // 2 :]] = 1, 2
    return role


def held_out_users(split: Split, config: SplitConfig) -> np.ndarray:
    """int64: dense users none of whose events may teach anything (cold_users), ascending; empty under the other protocols."""
    if config.protocol != "cold_users":
        return np.zeros(0, dtype=np.int64)
    users = [cases.requests.users for cases in (split.validation, split.test) if cases.requests.users is not None]
    return np.unique(np.concatenate(users))


def _order_ties(histories: Histories, config: SplitConfig, seed: int) -> tuple[Histories, str]:
    """The histories with ties ordered as asked, and the half sentence about it."""
    times = histories.times
    if times is None:
        if config.shuffle_ties:
            raise DataError("shuffle_ties needs times and the events have only an order; type: --set split.shuffle_ties=false")
        return histories, "no times: the order is the data's own"
    user_of = np.repeat(np.arange(len(histories)), histories.lengths)
    tied = np.zeros(len(times), dtype=bool)  # E: same user and time as the event before
    tied[1:] = (user_of[1:] == user_of[:-1]) & (times[1:] == times[:-1])
    share = f"{int(tied.sum())} events have the same user and time as the one before"
    if not config.shuffle_ties:
        return histories, f"equal times keep the order of the file ({share})"
    draw = np.random.default_rng([seed, 1]).random(len(times))
    order = np.lexsort((draw, np.cumsum(~tied)))
    return histories.pick(order, histories.offsets), f"equal times are shuffled with seed {seed} ({share})"


def moments(times: np.ndarray, config: SplitConfig) -> tuple[float, float]:
    """Where validation and test start, in seconds, given all known times. What happens at exactly the moment falls after it.

    Raises:
        ConfigError: validation does not start before test.
    """
    times = np.sort(times)
    if config.test_from is not None:
        test_from = _seconds(config.test_from)
    else:
        test_from = float(times[min(int(len(times) * (1 - config.test_fraction)), len(times) - 1)])
    if config.validation_from is not None:
        validation_from = _seconds(config.validation_from)
    else:
        before = int(np.searchsorted(times, test_from))
        validation_from = float(times[max(before - max(round(len(times) * config.validation_fraction), 1), 0)])
    if validation_from >= test_from:
        raise ConfigError(
            f"split: validation starts at {shown(validation_from)} and test at {shown(test_from)}: validation must start earlier; "
            "set split.validation_from and split.test_from, or larger fractions"
        )
    return validation_from, test_from


def _seconds(moment: float | str) -> float:
    """Seconds since 1970; an ISO date without a zone is UTC."""
    if not isinstance(moment, str):
        return float(moment)
    parsed = datetime.fromisoformat(moment)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def shown(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _period_cases(histories: Histories, placed: np.ndarray, targets: np.ndarray, start: float, config: SplitConfig) -> Cases:
    """One case a user: history placed before `start`; targets among the events `targets` (bool E) from `start` on."""
    user_of = np.repeat(np.arange(len(histories)), histories.lengths)
    before = placed < start
    items = histories.items.astype(np.int64)
    pair = user_of * (int(items.max()) + 1) + items  # E: one number per (user, item)
    events = np.flatnonzero(targets & (placed >= start))
    events = events[~np.isin(pair[events], pair[before])]
    events = events[np.sort(np.unique(pair[events], return_index=True)[1])]  # first occurrences, in time order
    lengths = np.bincount(user_of[before], minlength=len(histories))
    events = events[lengths[user_of[events]] >= config.min_history]
    users, counts = np.unique(user_of[events], return_counts=True)
    requests = Requests(histories=keep_events(histories, before).rows(users), users=users.astype(np.int64), now=np.full(len(users), start))
    return Cases(requests, _targets(histories, events, np.concatenate([[0], np.cumsum(counts)])))


def _next_event_cases(histories: Histories, wanted: np.ndarray, users: np.ndarray, events: np.ndarray, config: SplitConfig) -> Cases:
    """One case per user of `users`: the event at position `events`, if it is wanted, is the target, what the user did before it the history."""
    lengths = events - histories.offsets[users]
    enough = (lengths >= config.min_history) & wanted[events]
    users, events, lengths = users[enough], events[enough], lengths[enough]
    return _cases(_slices(histories, histories.offsets[users], lengths), users, histories, events)


def _cases(past: Histories, users: np.ndarray, histories: Histories, events: np.ndarray) -> Cases:
    """Cases with one target each, asked at the time of the target."""
    now = None if histories.times is None else histories.times[events]
    targets = _targets(histories, events, np.arange(len(events) + 1, dtype=np.int64))
    return Cases(Requests(histories=past, users=users.astype(np.int64), now=now), targets)


def _targets(histories: Histories, events: np.ndarray, offsets: np.ndarray) -> Histories:
    scenarios = None if histories.scenarios is None else histories.scenarios[events]
    return Histories(offsets=offsets, items=histories.items[events], scenarios=scenarios)


def keep_events(histories: Histories, kept: np.ndarray) -> Histories:
    """The same rows with only the events `kept` (bool E)."""
    return histories.pick(np.flatnonzero(kept), np.concatenate([[0], np.cumsum(kept)])[histories.offsets])


def _slices(histories: Histories, starts: np.ndarray, lengths: np.ndarray) -> Histories:
    """Rows made of `lengths` consecutive events from each of `starts`; rows may overlap."""
    return histories.pick(*_positions(starts, lengths))


def _positions(starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1]), offsets


def _empty(name: str, config: SplitConfig, users: int, events: int) -> str:
    advice = {
        "leave_one_out": "leave_one_out needs users with 3 or more events; give more events, or type: --set split.protocol=time",
        "time": "no user has a new item in that period after enough history; type: --set split.test_fraction=0.2 (or set test_from), "
        "or lower split.min_history",
        "cold_items": "no held-out item follows enough history; type: --set split.cold_fraction=0.2, or lower split.min_history",
        "cold_users": "no held-out user has an event after the given ones; type: --set split.cold_fraction=0.2, or --set split.given=[0,1,2]",
    }[config.protocol]
    return f"empty split: no {name} cases from {users} users and {events} events; {advice}"
