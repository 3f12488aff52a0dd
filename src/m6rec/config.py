"""The root configuration: one YAML file, one section a room. Each section is declared beside what it configures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from m6rec.base.configuration import Config, set_dotted
from m6rec.base.errors import ConfigError, nearest
from m6rec.data.config import DataConfig, FieldsConfig, ScenariosConfig, SplitConfig
from m6rec.evaluation.config import EvaluationConfig
from m6rec.fusion.config import FusionConfig
from m6rec.index.config import IndexConfig
from m6rec.language_model.config import ModelConfig
from m6rec.tasks.config import ChooseConfig, JudgeConfig, SharingConfig, TaskConfig, WriteConfig, WritingConfig
from m6rec.text.config import TextConfig
from m6rec.training.config import PretrainConfig, TrainConfig


class M6RecConfig(Config):
    """Everything `m6rec train` needs to know. Only `data.events` has no default."""

    seed: int = Field(0, ge=0, description="Everything random follows from it.")
    data: DataConfig = Field(description="The files and how they are cleaned.")
    fields: FieldsConfig = Field(default_factory=FieldsConfig, description="Declared fields of items and users.")
    scenarios: ScenariosConfig = Field(default_factory=ScenariosConfig, description="Where events happened.")
    split: SplitConfig = Field(default_factory=SplitConfig, description="How training, validation and test are cut.")
    text: TextConfig = Field(default_factory=TextConfig, description="How things are worded and cut into tokens.")
    model: ModelConfig = Field(default_factory=ModelConfig, description="The language model: one size dial.")
    pretrain: PretrainConfig = Field(default_factory=PretrainConfig, description="Learning the words of the data.")
    tasks: dict[str, TaskConfig] = Field(default={"next": ChooseConfig()}, description="The questions: name -> task.")
    sharing: SharingConfig = Field(default_factory=SharingConfig, description="How judge tasks and scenarios share what is learned.")
    writing: WritingConfig = Field(default_factory=WritingConfig, description="What writes, shared by the write tasks.")
    train: TrainConfig = Field(default_factory=TrainConfig, description="Fitting the tasks.")
    fusion: FusionConfig | None = Field(None, description="Other scorers that answer together with the model; null: the model alone.")
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig, description="What is measured, and beside which baselines.")
    index: IndexConfig = Field(default_factory=IndexConfig, description="Search in catalogues too large to score whole.")

    @field_validator("tasks", mode="before")
    @classmethod
    def _answer_said(cls, tasks: Any) -> Any:
        """A task that does not say its answer chooses, as in part 1 of the format; one with a label judges."""
        if not isinstance(tasks, dict):
            return tasks
        said = {}
        for name, task in tasks.items():
            missing = isinstance(task, dict) and "answer" not in task
            said[name] = {"answer": "judge" if "label" in task else "choose", **task} if missing else task
        return said

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.pretrain.from_ is not None and self.model.backbone is not None:
            raise ValueError("pretrain.from and model.backbone are two language models to start from; leave one out")
        return self

    @field_validator("tasks")
    @classmethod
    def _names_fit(cls, tasks: dict[str, TaskConfig]) -> dict[str, TaskConfig]:
        counts = (("next", 1, "exactly one, e.g. next: {answer: choose}"), ("basket", 0, "at most one"), ("dialogue", 0, "at most one"))
        for of, least, wanted in counts:
            found = [name for name, task in tasks.items() if isinstance(task, ChooseConfig) and task.of == of]
            if not least <= len(found) <= 1:
                said = "answer: choose" if of == "next" else f"answer: choose, of: {of}"
                raise ValueError(f"{len(found)} tasks with {said} are declared ({', '.join(found) or 'none'}); declare {wanted}")
        for name, task in tasks.items():
            if not isinstance(task, JudgeConfig) or task.after is None:
                continue
            allowed = [other for other, config in tasks.items() if _may_come_first(config) and name not in _chain(tasks, other)]
            if task.after not in allowed:
                listed = f"allowed: {', '.join(allowed)}" if allowed else "there is none, so leave `after` out"
                raise ValueError(
                    f"tasks.{name}.after is '{task.after}', which is no task of yes and no on candidates that comes before it; "
                    f"{listed}{nearest(task.after, allowed)}"
                )
        return tasks

    @property
    def choose_name(self) -> str:
        """The name of the one choose task that reads histories."""
        return next(name for name, task in self.tasks.items() if isinstance(task, ChooseConfig) and task.of == "next")

    @property
    def choose(self) -> ChooseConfig:
        """Its settings."""
        task = self.tasks[self.choose_name]
        assert isinstance(task, ChooseConfig)
        return task

    @property
    def basket(self) -> ChooseConfig | None:
        """The settings of the task that completes baskets, if any. What it shares with `choose` is as set there."""
        return next((task for task in self.tasks.values() if isinstance(task, ChooseConfig) and task.of == "basket"), None)

    @property
    def dialogue(self) -> ChooseConfig | None:
        """The settings of the task that names items in dialogues, if any. What it shares with `choose` is as set there."""
        return next((task for task in self.tasks.values() if isinstance(task, ChooseConfig) and task.of == "dialogue"), None)

    @property
    def judges(self) -> dict[str, JudgeConfig]:
        """The judge tasks by name."""
        return {name: task for name, task in self.tasks.items() if isinstance(task, JudgeConfig)}

    @property
    def writes(self) -> dict[str, WriteConfig]:
        """The write tasks by name."""
        return {name: task for name, task in self.tasks.items() if isinstance(task, WriteConfig)}

    @property
    def label_columns(self) -> dict[str, list[str]]:
        """The columns that tasks read beside the canonical ones, each once, by where they stand: candidate, item, text. What `prepare` keeps.

        Labels of judge tasks, and of the texts what write tasks read.
        """
        columns: dict[str, list[str]] = {"candidate": [], "item": [], "text": []}
        for task in self.judges.values():
            if task.label not in columns[task.on]:
                columns[task.on].append(task.label)
        read = [name for task in self.writes.values() for name in (*task.columns, *([task.about] if task.about else []))]
        columns["text"] += [name for name in dict.fromkeys(read) if name not in columns["text"]]
        return columns

    @property
    def measured(self) -> EvaluationConfig:
        """The evaluation settings in force: where consumed items may be recommended again, they are candidates too."""
        return self.evaluation.model_copy(update={"exclude_history": False}) if self.choose.repeat == "allow" else self.evaluation

    def without(self, part: str) -> M6RecConfig:
        """The same configuration with one part switched off: graph, id or text.

        Raises:
            ConfigError: no such part.
        """
        changes: dict[str, Any] = {
            "graph": {"prior": self.choose.prior.model_copy(update={"graph": False})},
            "id": {"identity": False},
            "text": {"text": False, "prior": self.choose.prior.model_copy(update={"text": False})},
        }
        if part not in changes:
            raise ConfigError(f"there is no part '{part}' to leave out; parts: {', '.join(changes)}")
        changed = self.choose.model_copy(update=changes[part])
        return self.model_copy(update={"tasks": {n: changed if n == self.choose_name else t for n, t in self.tasks.items()}})


def _may_come_first(task: TaskConfig) -> bool:
    """Whether another task can come after this one: a yes or no about candidates, as far as the configuration says."""
    return isinstance(task, JudgeConfig) and task.on == "candidate" and task.kind in (None, "binary")


def _chain(tasks: dict[str, TaskConfig], name: str) -> list[str]:
    """The task `name`, the one it comes after, the one that comes after, and so on; each once."""
    found: list[str] = []
    while name in tasks and name not in found:
        found.append(name)
        task = tasks[name]
        name = (task.after if isinstance(task, JudgeConfig) else None) or ""
    return found


def load_config(path: Path | str, assignments: list[str] | tuple[str, ...] = ()) -> M6RecConfig:
    """Read a YAML file, apply `a.b=c` assignments, check everything.

    Raises:
        ConfigError: no such file, not UTF-8, not YAML, a key twice, an unknown key (the nearest is named) or a wrong value.
    """
    from m6rec.base.strict_yaml import read_yaml

    path = Path(path)
    try:
        values = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"can't read the configuration {path}: {error.strerror}; `m6rec sample DIR` writes a working one") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds {type(values).__name__}, not sections like 'data:'; `m6rec sample DIR` writes an example")
    for assignment in assignments:
        set_dotted(values, assignment)
    return M6RecConfig.build(values, source=str(path))
