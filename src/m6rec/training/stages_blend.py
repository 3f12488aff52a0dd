"""The stage that joins the trained model with fusion members: each is fitted on the training events, the blend on the validation cases."""

from __future__ import annotations

from typing import Any

from m6rec.base.storage import atomic_folder, write_json
from m6rec.fusion.blend import Blend
from m6rec.fusion.config import MODEL, FusionConfig
from m6rec.fusion.member import MEMBERS, Member
from m6rec.tasks.blended import Alone
from m6rec.tasks.model_folder import ChooseScorer
from m6rec.training.stage import Stage
from m6rec.training.workbench import Workbench

BLEND = "blend"  # the folder of the blend in that of the stage, with its members
FITTED = "fitted"  # where members lie that are fitted before the blend is


class BlendMembers(Stage):
    """Fit the fusion members on the training events, and how they are combined with the model on the validation cases."""

    name = "blend"
    needs = ("fit",)

    def inputs(self, bench: Workbench) -> Any:
        return [_settings(bench).plain(), bench.config.train.validation_metric, bench.config.measured.exclude_history]

    def run(self, bench: Workbench) -> dict[str, Any]:
        settings, folder = _settings(bench), bench.folder(self.name)
        scorer = bench.fitted()
        members = {name: Alone(scorer) if name == MODEL else _member(bench, name) for name in settings.members}
        blend = Blend(
            settings,
            members,
            bench.split.seen,
            metric=bench.config.train.validation_metric,
            exclude=bench.config.measured.exclude_history,
            seed=bench.config.seed,
        )
        blend.fit(bench.split.validation.requests, bench.split.validation.targets, bench.progress.say)
        with atomic_folder(folder / BLEND) as temporary:
            blend.save(temporary)
        write_json(folder / "blend.json", blend.facts)
        facts = blend.facts
        shown = {
            "out of fold": facts["out of fold"],
            f"{settings.first} alone": facts["alone"][settings.first],
            "weights": facts["weights"],
        }
        return {f"validation {facts['metric']}": shown.pop("out of fold"), **shown}


def served(bench: Workbench) -> ChooseScorer:
    """What the run answers with: the model of the fit stage, joined by the blend where the configuration has one."""
    scorer = bench.fitted()
    if bench.config.fusion is not None:
        scorer.blend = Blend.load(bench.folder("blend") / BLEND, {MODEL: Alone(scorer)})
    return scorer


def refit(bench: Workbench, scorer: ChooseScorer) -> None:
    """The members of the blend, if there is one, fitted again on all events, where the configuration wants that."""
    if bench.config.fusion is not None and bench.config.fusion.refit:
        assert isinstance(scorer.blend, Blend)
        scorer.blend.refit(bench.dataset.histories, bench.dataset.items, bench.progress.say)


def _settings(bench: Workbench) -> FusionConfig:
    assert bench.config.fusion is not None, "the stage is planned only where there is a fusion section"
    return bench.config.fusion


def _member(bench: Workbench, name: str) -> Member:
    """Fitted on the training events; kept, so that a killed run doesn't fit it again."""
    folder = bench.folder("blend") / FITTED / name
    if not folder.exists():
        bench.progress.say(f"  fitting {name}")
        with atomic_folder(folder) as temporary:
            MEMBERS.get(name)().fit(bench.split.train, bench.dataset.items, bench.refused).save(temporary)
    return Member.load(folder)
