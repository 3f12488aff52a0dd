"""What a Recommender says of what training never saw: events still to come, scenarios without rows, statements in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

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

    def add_scenario(self, name: str) -> None:
        """A place that training had no rows of may be asked about: `scenario=name` then means what all scenarios share.

        Tasks that judge answer without the option and the rates of a scenario; train with `sharing.new_scenarios` to have that learned. Kept by
        `save_pretrained`; `scenarios.later` in the configuration is the same said before training.

        Raises:
            UsageError: no name, or training knew the scenario.
        """
        self.engine.add_scenario(name)
