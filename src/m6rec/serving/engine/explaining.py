"""What the engine knows that explanations need: the request of whoever asks with other words or another profile, and places in the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from m6rec.base.arguments import a_flag, a_list, a_text, whole_number
from m6rec.base.contracts import Requests
from m6rec.base.errors import UsageError
from m6rec.explanation.evidence import LEAST_LIFT
from m6rec.explanation.explained import Explanation
from m6rec.explanation.explained import explain as explained
from m6rec.explanation.judged_evidence import JudgedAsk, candidate_rows
from m6rec.explanation.judged_evidence import answers as judged_answers
from m6rec.explanation.overall import Overall, of_choice, of_judging
from m6rec.explanation.question import Described, Question
from m6rec.explanation.reasons import Writer
from m6rec.explanation.subject import Subject
from m6rec.serving.asked import HISTORY, ITEMS, Ask
from m6rec.serving.engine.asking import Asking
from m6rec.serving.engine.how_to_write import HowToWrite
from m6rec.serving.engine.judging import check_request, context_contents, judge_part, merit, moment, scenario_of, task_named
from m6rec.serving.engine.writing import kind_named, write_part
from m6rec.tasks.judge_cells import NEW, SHARED
from m6rec.text.field_constraints import meets

if TYPE_CHECKING:
    from m6rec.serving.engine.engine import Engine
    from m6rec.tasks.choose_mixture import ChooseMixture

TEMPLATES = "template"  # in place of a write task
REASON = "reason"  # the kind of texts from which a task learns to give reasons
UNCHECKED = HowToWrite(check=False)  # a reason is held against the facts where it is cited


def question_of(
    engine: Asking, user: str | None, history: Sequence[str] | None, text: str | None, profile: Described, scenario: str | None
) -> Question:
    """The question as the model reads it. Raises UnknownUserError, UnknownItemError, UsageError."""

    def asked(text: str | None, profile: Described) -> Requests:
        return engine._request(user, history, text, profile, scenario)

    return Question(asked(text, profile), text, profile, asked)


def explain(
    engine: Engine,
    item: str,
    *,
    user: str | None,
    history: Sequence[str] | None,
    text: str | None,
    profile: Described,
    task: str | None,
    scenario: str | None,
    context: Mapping[str, Any] | None,
    time: float | str | datetime | None,
    k: int,
    language: str,
    words: bool,
    by: str | None = None,
    counterfactuals: bool = True,
    gradients: bool = False,
    how: HowToWrite = UNCHECKED,
) -> Explanation:
    """See `Recommender.explain`. how: the reason is written, where a task writes it."""
    k = whole_number("k", k, ITEMS, 1)
    words, counterfactuals, gradients = (
        a_flag(name, value) for name, value in (("words", words), ("counterfactuals", counterfactuals), ("gradients", gradients))
    )
    check_request(task, context, time)
    a_text("language", language, "give the name of a language, for example 'en'")
    if by is not None:
        a_text("by", by, f"give the name of a write task, or {TEMPLATES!r}")
    if user is None and history is None and text is None and profile is None:
        raise UsageError("nobody to explain to; give user, history, text or profile")
    if item == "":
        raise UsageError("no item to explain; give item, an id of the catalogue")
    history = None if history is None else a_list("history", history, HISTORY)
    row = engine._item(item)
    question = question_of(engine, user, history, text, profile, scenario)
    past = None if history is None else tuple(history)
    ask = Ask(user, past, text, profile, None, task, k, scenario, context=context, time=time)
    judging = engine._judges(task)
    judged = None if not judging else judged_ask(engine, str(task), scenario, context, time)
    subject = Subject(
        scorer=engine.scorer,
        chooser=engine.scorer if judging else choosing_next(engine, task),
        question=question,
        item=row,
        k=k,
        places=lambda requests: places(engine, ask, requests, row, everything=not judging),
        users=engine.users,
        actions=engine.scorer.dataset.action_names if history is None else (),  # of a history as given, no action is known
        judged=judged,
        context=() if judged is None else context_lifts(engine, judged, question, row, context),
        exclude=engine.scorer.task.config.repeat == "exclude",
        ruled_out=tuple(one for one in engine.understood(text, profile).constraints if not meets(engine.items, [one])[row]),
        nothing_said=None if judged is None else context_contents(engine.scorer, judged.part, None),
    )
    writer = _writer(engine, by, item, how, user=user, history=history, profile=profile, scenario=scenario) if words else None
    lexicon = engine.lexicon if words else None
    return explained(subject, lexicon, language, writer=writer, counterfactuals=counterfactuals, gradients=gradients)


def _writer(engine: Engine, by: str | None, item: str, how: HowToWrite, **reader: Any) -> Writer | None:
    """What writes the reason: the write task `by`, or None: one that learned from texts of the kind "reason", where there is one.

    Raises:
        UsageError: no such write task.
    """
    part = engine.scorer.writing
    if by == TEMPLATES or (by is None and part is None):
        return None
    if by is None:
        assert part is not None
        by = next((name for name, config in part.write.configs.items() if REASON in config.from_), None)
        if by is None:
            return None
    name = kind_named(write_part(engine.scorer), by)

    def write(about: Sequence[str]) -> str:
        # It is held against the facts where it is cited, with what was typed among them.
        return engine.write(name, item=item, ask=how, about=tuple(about), **reader).text

    return write


def overall(
    engine: Engine,
    task: str | None,
    *,
    people: int,
    scenario: str | None,
    context: Mapping[str, Any] | None,
    time: float | str | datetime | None,
    seed: int,
) -> Overall:
    """See `Recommender.explain_overall`."""
    people = whole_number("people", people, "ask for a sample of 1 or more people", 1)
    seed = whole_number("seed", seed, "give a whole number, 0 or more")
    check_request(task, context, time)
    histories = engine.histories.compact()
    had = np.flatnonzero(histories.lengths > 0)
    if not len(had):
        raise UsageError("nobody has an event, so there is nobody to look at; add events first")
    chosen = np.sort(np.random.default_rng(seed).permutation(had)[:people])
    scenarios = np.full(len(chosen), engine._scenario(scenario), dtype=np.int64)
    requests = Requests(engine.histories.many(chosen), users=chosen, scenarios=scenarios)
    actions = engine.scorer.dataset.action_names
    if engine._judges(task):
        return of_judging(engine.scorer, judged_ask(engine, str(task), scenario, context, time), requests, actions)
    chooser = choosing_next(engine, task)
    name = task or next(iter(nexts(engine)), "")
    return of_choice(chooser, requests, engine.users, actions, engine.scorer.task.config.repeat == "exclude", name)


def choosing_next(engine: Engine, task: str | None) -> ChooseMixture:
    """What answers a choose task that can be explained. Raises UsageError: no such task, or one of baskets or dialogues."""
    chooser, known = engine._answering(task), nexts(engine)
    if task is not None and task not in known:
        raise UsageError(
            f"'{task}' chooses out of {engine.choosing[task]['of']}s, which is not explained; explained are {', '.join(known)} and tasks on candidates"
        )
    return chooser


def nexts(engine: Engine) -> list[str]:
    """The choose tasks that read histories."""
    return [name for name, facts in engine.choosing.items() if facts.get("of", "next") == "next"]


def places(engine: Engine, ask: Ask, requests: Sequence[Requests], item: int, *, everything: bool) -> list[int]:
    """The place of the item in the answer to each request, from 1; 0: it is not among the answers. everything: the whole catalogue is ordered."""
    count = len(engine.items) if everything else None
    found = engine._answers([ask] * len(requests), [None] * len(requests), [count] * len(requests), requests)
    return [int(np.flatnonzero(one.items == item)[0]) + 1 if (one.items == item).any() else 0 for one in found]


def judged_ask(
    engine: Engine, task: str, scenario: str | None, context: Mapping[str, Any] | None, time: float | str | datetime | None
) -> JudgedAsk:
    """How a task on candidates is asked. Raises UsageError: a task whose labels are no order, or that is not asked in the scenario."""
    part = judge_part(engine.scorer)
    merit(part, task_named(part, task), np.zeros(0))
    name = scenario_of(part, task, scenario, engine.scorer.origin.later)
    code = -1 if name is None else NEW if name == SHARED else part.judge.sizes.scenarios.index(name)
    return JudgedAsk(part, task, code, moment(time, engine.newest), context_contents(engine.scorer, part, context))


def context_lifts(
    engine: Engine, judged: JudgedAsk, question: Question, item: int, context: Mapping[str, Any] | None
) -> tuple[tuple[str, str, float], ...]:
    """(name=value, the same for people, lift) of what was said of the request."""
    if not context:
        return ()
    rows = candidate_rows(judged, question.whole, np.array([item]))
    whole = judged_answers(engine.scorer, judged, rows, question.whole, engine.scorer.vectors)[0]
    found = []
    for name, value in context.items():
        less = {other: one for other, one in context.items() if other != name}
        told = replace(rows, context=context_contents(engine.scorer, judged.part, less))
        lift = whole - judged_answers(engine.scorer, judged, told, question.whole, engine.scorer.vectors)[0]
        found.append((f"{name}={value}", f"{name}: {value}", float(lift)))
    return tuple(one for one in found if abs(one[2]) > LEAST_LIFT)
