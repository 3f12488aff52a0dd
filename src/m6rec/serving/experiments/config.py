"""Settings of experiments: what runs beside what, for whom, and what would end it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from m6rec.base.configuration import Config
from m6rec.serving.asked import Slate

#: What an experiment can be judged by; any other name is a number column of the outcomes (took_ms), averaged over exposures.
METRICS = ("outcome_per_exposure", "value_per_exposure", "outcome_per_unit", "value_per_unit", "units_with_outcome")

Direction = Literal["higher", "lower"]


class SlateSettings(Config):
    """`Slate` as configuration."""

    diversity: float = Field(0.0, ge=0, le=1, description="Share of unlikeness to what stands above.")
    novelty: float = Field(0.0, ge=0, le=1, description="Weight of self-information.")
    weights: dict[str, float] = Field(default_factory=dict, description='Item id or "field=value" -> factor on the probability.')
    caps: dict[str, int] = Field(default_factory=dict, description="Field -> most items of one value of it in a list.")
    mix: dict[str, dict[str, float]] = Field(default_factory=dict, description="Field -> value -> at least this share of a list.")

    def slate(self) -> Slate:
        """The settings as a request has them."""
        return Slate(self.diversity, self.novelty, self.weights, self.caps, self.mix)


class Arm(Config):
    """One way to answer."""

    name: str = Field(min_length=1, description="Name of the arm; the first arm of an experiment is the control.")
    share: float = Field(ge=0, le=1, description="Share of the experiment's people; 0 stops the arm.")
    model: str | None = Field(None, description="Version of the model that answers; null: the active one.")
    option: str | None = Field(None, description="Option that answers; null: that of the scenario.")
    slate: SlateSettings | None = Field(None, description="How lists are put together; null: as the request says.")
    exploration: float | None = Field(None, ge=0, le=0.5, description="Share of places filled by chance; null: that of the service.")


class Guardrail(Config):
    """A figure that must not suffer, whatever the metric does."""

    metric: str = Field(description="As `metric` of an experiment, or took_ms, the milliseconds of an answer.")
    better: Direction = Field("higher", description="Which direction of the figure is good.")
    most: float = Field(0.0, ge=0, le=1, description="Relative harm that is put up with, e.g. 0.02 for 2 percent of the control's figure.")


class Experiment(Config):
    """Arms, who goes where, what decides. Saved as JSON by `plain()`, read by `build()`."""

    name: str = Field(min_length=1, max_length=100, description="Name; assignment depends on it where there is no salt.")
    arms: list[Arm] = Field(min_length=2, description="Ways to answer; the first is the control.")
    salt: str = Field("", description="What assignment depends on; empty: the name. A new salt deals people out anew.")
    traffic: float = Field(1.0, gt=0, le=1, description="Share of people that take part.")
    scenarios: list[str] = Field(default_factory=list, description="Where it runs; empty: everywhere.")
    metric: str = Field(METRICS[0], description=f"What decides: {', '.join(METRICS)}, or a number column of the outcomes.")
    better: Direction = Field("higher", description="Which direction of the metric is good.")
    actions: list[str] = Field(default_factory=list, description="Actions that are an outcome (buy, like); empty: any action is.")
    least_effect: float = Field(0.05, gt=0, le=1, description="Smallest relative change worth finding.")
    alpha: float = Field(0.05, gt=0, lt=0.5, description="Probability of calling a difference where there is none, at any number of looks.")
    fewest_units: int = Field(100, ge=2, description="People an arm must have before anything is decided.")
    window_s: float = Field(86_400.0, gt=0, description="Seconds after an exposure within which an outcome counts.")
    guardrails: list[Guardrail] = Field(default_factory=list, description="Figures whose harm takes an arm out.")
    status: Literal["running", "paused", "stopped"] = Field("running", description="Only a running experiment assigns people.")
    since: float | None = Field(None, description="Seconds since 1970 from which exposures count; null: all of them.")
    started: float | None = Field(
        None,
        description="Seconds since 1970 from which it has been running, set by the service; the one that runs longest takes people first. "
        "null: from the beginning.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"arms are called {', '.join(names)}; give each a name of its own")
        total = sum(arm.share for arm in self.arms)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of the arms add up to {total:g}; make them add up to 1")
        return self

    @property
    def control(self) -> Arm:
        """What the other arms are compared with."""
        return self.arms[0]

    def arm(self, name: str) -> Arm | None:
        """By name, None where there is none."""
        return next((arm for arm in self.arms if arm.name == name), None)

    def shared(self, shares: Mapping[str, float], **changes: object) -> Experiment:
        """The experiment with other shares (arms not named keep theirs) and other settings.

        Raises:
            ConfigError: the shares do not add up to 1.
        """
        arms = [arm.plain() | {"share": shares.get(arm.name, arm.share)} for arm in self.arms]
        return Experiment.build(self.plain() | {"arms": arms} | changes, f"experiment {self.name}")


class ExperimentsConfig(Config):
    """Traffic between models and options."""

    exploration: float = Field(0.0, ge=0.0, le=0.5, description="Share of places filled by chance, with a known propensity.")
    exploration_pool: int = Field(100, ge=1, description="Best candidates outside the list that chance chooses from.")
    running: list[Experiment] = Field(default_factory=list, description="Experiments known from the start, beside those in the store.")
