"""What a configuration asks for that can't be had, known before the data are read: checkpoints, files of words, programs, members, balancers, extras.

`m6rec validate` and `m6rec train` both begin with it, so that neither finds out after an hour of stages.
"""

from __future__ import annotations

from pathlib import Path

from m6rec.base.errors import ConfigError, nearest
from m6rec.base.extras import require
from m6rec.config import M6RecConfig
from m6rec.fusion.config import MODEL
from m6rec.fusion.member import MEMBERS
from m6rec.tasks.config import JudgeConfig, SharingConfig
from m6rec.text.augment import read_synonyms, translation_command
from m6rec.text.wording import Wording

WITH_EXPERTS = ("mmoe", "ple")  # ways of sharing


def check_configuration(config: M6RecConfig, folder: Path) -> None:
    """Everything below; `folder` is what the paths in `config` are relative to.

    Raises:
        ConfigError: a name that nothing has, a file that can't be read, a program that is not found, sizes that a start does not have, a setting
            without effect, a policy under which nothing learns, a GPU that there is not.
        CheckpointError: a checkpoint or a folder to start from that can't be used.
        MissingExtraError: a balancer, a member or trees whose solver is not installed.
    """
    check_sharing(config, _check_start(config, folder))
    wording_of(config, folder)
    augment = config.text.augment
    if augment.copies and augment.synonyms is not None:
        read_synonyms(folder / augment.synonyms)
    if augment.back_translation is not None:
        translation_command(augment.back_translation)
    check_members(config)
    if config.train.balance.way != "fixed":
        from m6rec.training.balance.balancer import check_balance  # torch comes with it, and validating is quick without

        check_balance(config.train.balance)
    if config.train.device.startswith("cuda"):
        from m6rec.language_model.devices import device_wanted

        device_wanted(config.train.device)
    check_trainable(config)
    for name, task in config.judges.items():
        check_asked(name, task)


def check_asked(name: str, task: JudgeConfig) -> None:
    """Raises ConfigError: scenarios or places of a task that is asked in none; a task that is asked nowhere."""
    if task.on != "candidate":
        for key, value in (("scenarios", task.scenarios), ("position", task.position)):
            if value not in (None, "auto", "ignore"):
                raise ConfigError(
                    f"tasks.{name}.{key} is {value!r}, and what is judged on its own (on: {task.on}) has no {key}; leave it out"
                )
    elif task.scenarios == []:
        raise ConfigError(f"tasks.{name}.scenarios is an empty list, and a task is asked somewhere; leave it out for everywhere")


def wording_of(config: M6RecConfig, folder: Path) -> Wording:
    """How things are worded. Raises ConfigError: a file of templates that can't be read, or is none."""
    return Wording(config.text.language, None if config.text.templates is None else folder / config.text.templates)


def check_members(config: M6RecConfig) -> None:
    """Raises ConfigError: a fusion member or a baseline that there is not.  MissingExtraError: what one is built on is not installed."""
    fused = [] if config.fusion is None else config.fusion.members
    for where, names, known in (
        ("fusion.members", fused, [MODEL, *MEMBERS.names()]),
        ("evaluation.baselines", config.evaluation.baselines, MEMBERS.names()),
    ):
        for name in names:
            if name not in known:
                raise ConfigError(f"{where} names '{name}'{nearest(name, known)}; members: {', '.join(known)}")
            for module, extra in () if name == MODEL else MEMBERS.get(name).built_on:
                require(module, extra)
    if config.fusion is not None and config.fusion.how == "lambdamart":
        require("lightgbm", "fusion")
    if config.evaluation.judged_baselines:
        from m6rec.baselines.by_name import check_installed

        check_installed(list(config.evaluation.judged_baselines))


def check_trainable(config: M6RecConfig) -> None:
    """Raises ConfigError: a policy under which nothing would learn."""
    if config.train.trainable != "options":
        return
    choose, gated = config.choose, config.choose.prior.graph or config.choose.prior.text
    if config.judges or config.writes or config.basket or config.dialogue or (choose.weight > 0 and gated):
        return
    why = "chooses without priors that gates could weigh" if choose.weight > 0 else "has weight 0"
    raise ConfigError(
        f"train.trainable is options, and there is none to learn: '{config.choose_name}' {why}; say upper or everything, or add a judge task"
    )


def check_sharing(config: M6RecConfig, upper_layers: int) -> None:
    """Raises ConfigError: a setting of `sharing` that nothing would come of. What is as by default is never refused."""
    sharing, default = config.sharing, SharingConfig()
    if sharing.way not in WITH_EXPERTS and sharing.experts != default.experts:
        raise ConfigError(
            f"sharing.experts is {sharing.experts}, and sharing.way is {sharing.way}, which has no experts; "
            f"leave it out, or say sharing.way: {' or '.join(WITH_EXPERTS)}"
        )
    joint = sharing.joint_layers
    if joint is not None and joint != default.joint_layers and joint > upper_layers:
        raise ConfigError(
            f"sharing.joint_layers is {joint}, and the model has {upper_layers} upper layers; "
            f"write {upper_layers} or less, null for all of them, or raise model.upper_layers"
        )


def _check_start(config: M6RecConfig, folder: Path) -> int:
    """Upper layers that the model has, at most. Raises ConfigError, CheckpointError: nothing can start from what is named."""
    if config.model.backbone is not None:
        from m6rec.training.from_checkpoint import check_backbone

        return config.model.most_upper_layers(check_backbone(config, folder))
    if config.pretrain.from_ is not None:
        from m6rec.training.continued import load_language, shaped

        model, _ = load_language(folder / config.pretrain.from_)
        return shaped(config.model, model.shape, Path(config.pretrain.from_)).most_upper_layers()
    return config.model.most_upper_layers()
