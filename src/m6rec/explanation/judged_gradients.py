"""Integrated gradients (Sundararajan, Taly & Yan 2017, arXiv 1703.01365) of the answer of a task on candidates, through captum.

Each thing is there to a degree between 0 and 1, its input so far on the line from that of nothing known: an event's slot from that of an average item,
a group of statistics from what it says of a stranger and an item never seen, the fields of the item (its vector is a sum of what each of them gives)
from those of an average item, the profile and what was said of the request from nothing. Where, when and in which scenario is asked stays.

    attribution(x) = integral over t from 0 to 1 of df/da_x (t, ..., t)         sum over x = f(1) - f(0)

f(1) is the answer, calibrated as it is given. Slopes and not removals: `judged_evidence.py` has what would have been.

Dimension keys: A points on the path, E events of the window, G other things, S statistics, W width, F features of the bag, Q pairs (item, feature).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from m6rec.base.contracts import Requests
from m6rec.base.extras import require
from m6rec.explanation.judged_evidence import JudgedAsk, candidate_rows, statistic_groups, unknown_statistics
from m6rec.explanation.vector_parts import PROFILE, Attributions, vector_parts
from m6rec.tasks.calibrated import calibrated
from m6rec.tasks.choose import gather_slots
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.judge import Judge
from m6rec.tasks.judge_cells import NEW, SHARED
from m6rec.tasks.judge_rows import JudgeRows
from m6rec.tasks.served_model import ServedModel

STEPS = (64, 256, 1024)  # points of the path; more where the sum lacks more than `CLOSE`: a calibration's curve has corners
CLOSE = 2e-4
TOGETHER = 32  # points that are read at a time
CONTEXT, STATISTICS = "context", "statistics: "


def judged_attributions(
    scorer: ServedModel, asked: JudgedAsk, requests: Requests, item: int, nothing_said: Contents | None
) -> Attributions:
    """Of the answer about one item to one request.

    Args:
        nothing_said: the context of a request of which nothing is said; None where the model reads no context.

    Raises:
        MissingExtraError: captum is not installed (the extra "explain").
    """
    captum: Any = require("captum.attr", "explain")
    answer = PresentAnswer(scorer, asked, requests, item, nothing_said)
    whole = torch.ones(1, answer.events + len(answer.things))
    found, lacking = torch.zeros_like(whole), 0.0
    with torch.no_grad():
        start = float(answer(torch.zeros_like(whole))[0])
    for steps in STEPS if whole.shape[1] else ():
        found, rest = captum.IntegratedGradients(answer).attribute(
            whole,
            baselines=torch.zeros_like(whole),
            n_steps=steps,
            method="gausslegendre",
            internal_batch_size=TOGETHER,
            return_convergence_delta=True,
        )
        lacking = float(rest[0])
        if abs(lacking) <= CLOSE:
            break
    values = found[0].detach().numpy().astype(np.float64)
    fields = dict(zip(answer.things, values[answer.events :].tolist(), strict=True))
    return Attributions(values[: answer.events], fields, start, lacking)


@dataclass(frozen=True, eq=False)
class Change:
    """What a thing adds (1, ...) to one of the inputs, where nothing of it is known."""

    thing: str
    where: str
    adds: Tensor


class PresentAnswer:
    """Degrees (A, E + G) to answers (A,): the calibrated answer of the task where things are there to these degrees."""

    @torch.no_grad()
    def __init__(self, scorer: ServedModel, asked: JudgedAsk, requests: Requests, item: int, nothing_said: Contents | None) -> None:
        self.part, self.model, self.task = asked.part, scorer.model, asked.task
        self.judge = judge = asked.part.judge
        for module in (judge, judge.reader, self.model):
            module.eval()
        rows = candidate_rows(asked, requests, np.array([item]))
        self.scenario, self.code = _scenario(judge, asked)
        self.moment = torch.tensor([asked.now], dtype=torch.float64) if rows.times is not None else None
        self.changes: list[Change] = []
        self.nothing: dict[str, Tensor] = {}  # inputs of which nothing is known
        self._read_past(scorer, requests)
        self._read_item(scorer, item)
        self._read_statistics(asked, rows.statistics, unknown_statistics(asked, rows, requests.histories) if self._counted(rows) else None)
        if judge.slot.context is not None and rows.context is not None and nothing_said is not None:
            self._add(CONTEXT, "context", judge.slot.context(nothing_said), judge.slot.context(rows.context))
        self.changes = [change for change in self.changes if bool(change.adds.any())]
        self.things = list(dict.fromkeys(change.thing for change in self.changes))  # G

    def __call__(self, present: Tensor) -> Tensor:
        points, judge = len(present), self.judge
        degrees = dict(zip(self.things, present[:, self.events :].T[:, :, None], strict=True))  # A 1 each
        inputs = {name: start.expand(points, -1) for name, start in self.nothing.items()}
        for change in self.changes:
            inputs[change.where] = inputs[change.where] + degrees[change.thing] * change.adds
        past = self.average + present[:, : self.events, None] * (self.embedded - self.average)  # A E W
        read, cache = self.model.upper.read(
            torch.cat([inputs["start"][:, None], past], dim=1),
            None if self.times is None else self.times.expand(points, -1),
            torch.full((points,), self.events + 1),
            judge.sharing.joint_layers,
        )
        ranks, moment = inputs.get("ranks"), None if self.moment is None else self.moment.expand(points)
        codes = None if self.code is None else torch.full((points,), self.code)
        slots = judge.slot(inputs["item"], read[:, self.events], codes, moment, ranks, None, None)
        for name in ("context", "profile"):
            if name in inputs:
                slots = slots + inputs[name]
        slots = judge.scaling.slot(slots, codes, through=True)[:, None]
        moments = moment[:, None] if moment is not None and judge.shape.times else None
        seen = torch.full((points, 1), self.events + 1)
        states = self.model.upper.candidates(slots, cache, seen, moments, layers=judge.sharing.joint_layers, window=judge.shape.history)
        states = judge.scaling.state(judge.norm(states)[:, 0], codes, through=True)
        return calibrated(self.part, self.task, judge._answers(states, ranks, self.scenario, self.task), self.scenario)

    def _add(self, name: str, where: str, nothing: Tensor, whole: Tensor) -> None:
        self.nothing[where] = nothing
        self.changes.append(Change(name, where, whole - nothing))

    def _read_past(self, scorer: ServedModel, requests: Requests) -> None:
        reader, scale = self.judge.reader, self.judge.shape.slot_scale
        window, profiles = requests.histories.window(keep=self.judge.shape.history), scorer.profile_contents(requests)
        self.events = len(window.items)
        slots = gather_slots(reader.start_slot(1, profiles), window, np.arange(self.events)[None])
        embedded, self.times = reader.embed_events(scorer.vectors[slots.items], slots, dropped=False)
        self.embedded, self.average = embedded[:, 1:], scorer.vectors.mean(dim=0) * scale
        self._add(PROFILE, "start", reader.start_slot(1) * scale, embedded[:, 0])
        if self.judge.slot.profile is not None and profiles is not None:
            read = self.judge.slot.profile(profiles)
            self._add(PROFILE, "profile", torch.zeros_like(read), read)

    def _read_item(self, scorer: ServedModel, item: int) -> None:
        self.nothing["item"] = scorer.vectors.mean(dim=0, keepdim=True)
        self.changes += [Change(thing, "item", gives[None]) for thing, gives in vector_parts(scorer, item).items()]

    def _read_statistics(self, asked: JudgedAsk, known: np.ndarray | None, unknown: np.ndarray | None) -> None:
        ranks, nobody = self.judge.ranks(known), self.judge.ranks(unknown)
        if ranks is None or nobody is None:
            return
        whole, count = ranks.float(), ranks.shape[1] // 2
        change = whole - nobody.float()
        self.nothing["ranks"] = whole
        for name, columns in statistic_groups(asked.part.inputs.names).items():
            own = torch.zeros_like(whole)
            for half in (columns, columns + count):  # a rank and a value of each
                own[:, half] = change[:, half]
            self.nothing["ranks"] = self.nothing["ranks"] - own
            self.changes.append(Change(STATISTICS + name, "ranks", own))

    def _counted(self, rows: JudgeRows) -> bool:
        return rows.statistics is not None and self.judge.slot.statistics is not None


def _scenario(judge: Judge, asked: JudgedAsk) -> tuple[str, int | None]:
    """The scenario's name as tasks know it, and its code as slots do."""
    if not judge.sizes.scenarios:
        return "", None
    return (SHARED, -1) if asked.scenario == NEW else (judge.sizes.scenarios[asked.scenario], asked.scenario)
