"""What a Recommender says of what training never saw: events still to come, scenarios without rows, statements in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import polars as pl

from m6rec.serving.engine.engine import Engine
from m6rec.serving.engine.rollout import Step


class AnswersUnseen:
    """The part of `Recommender` that goes beyond the training; `engine` does the work."""

    engine: Engine

    def continue_sequence(
        self,
        user: str | None = None,
        n: int = 10,
        *,
        history: Sequence[str] | None = None,
        text: str | None = None,
        profile: Mapping[str, Any] | str | None = None,
        scenario: str | None = None,
        where: Mapping[str, Any] | None = None,
        repeat: Literal["exclude", "allow", "model"] | None = None,
        decoding: Literal["sample", "greedy"] = "sample",
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[Step]:
        """The n events somebody would go on with, each drawn from the choose task's mixture and read before the next.

        Args:
            user, history, text, profile, scenario, where, repeat: as in `recommend`; they hold at every step, drawn items are history too.
            decoding: "sample" draws by probability, "greedy" takes what `recommend` puts first.
            temperature, top_p: of sampling: above 1 more daring; out of the likeliest items of so much probability.
            seed: the same seed, model and history give the same events.

        Returns:
            `Step`s: item_id, title, probability, time (seconds; a gap as in the logs after the newest event, NaN without times), scenario; fewer
            than n where nothing is left that is allowed.

        Raises:
            UsageError: nobody, n outside 1 to 10,000, a setting outside its range.  UnknownUserError, UnknownItemError: an id nobody has seen.
        """
        return self.engine.continue_sequence(
            user,
            n,
            history,
            text,
            profile,
            scenario=scenario,
            where=where,
            repeat=repeat,
            decoding=decoding,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
        )

    def plausibility(self, rows: pl.DataFrame | Sequence[str | tuple[str, str] | Mapping[str, Any]], *, recent: int = 4) -> list[float]:
        """How plausible worded events and statements are, by the language model alone: nothing was trained to answer this.

            mean over tokens of log p(token | context) - log p(token | the same wording without context)

        so that words which are rare everywhere are no less plausible for it (`m6rec.tasks.plausibility`). For ordering alternatives, not as a
        probability: a trained task knows better.

        Args:
            rows: texts (their mean log probability), pairs (context, text), or rows (dicts, a frame) that say what is judged, `item_id` or
                `text`, and of what stands before any of `context` (words), `user_id` or `history` (item ids), `profile`, `scenario`, `action`.
            recent: newest events of a history that are worded.

        Returns:
            Nats a token, a number for each row; above 0 where the context makes the words more likely.

        Raises:
            UsageError: a row that says nothing to judge, or an unknown field, scenario or action.  UnknownUserError, UnknownItemError: an id nobody has seen.
        """
        return self.engine.plausibility(rows.to_dicts() if isinstance(rows, pl.DataFrame) else rows, recent)

    def add_scenario(self, name: str) -> None:
        """A place that training had no rows of may be asked about: `scenario=name` then means what all scenarios share.

        Tasks that judge answer without the option and the rates of a scenario; train with `sharing.new_scenarios` to have that learned. Kept by
        `save_pretrained`; `scenarios.later` in the configuration is the same said before training.

        Raises:
            UsageError: no name, or training knew the scenario.
        """
        self.engine.add_scenario(name)
