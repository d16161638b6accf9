"""Weeks of a schedule that searches, each run a real training of that week's rows: what is used next follows what was measured.

The clock is the test's, and so is the cluster: the schedule's and the runs' own decisions are asked at the times of the weeks, the Job's
configuration is the one that the operator would give it, and the trainer's processes and what they report are real.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from golden_worlds import resource_of
from schedule_world import World, sundays
from train_rig import Trainer, running_trainer

from tiny_base import make_dataset
from tradewind.api.training_run import TrainingRun
from tradewind.core.decision import Create, JobFacts, Owner
from tradewind.core.platform import Platform
from tradewind.core.training_run import TERMINAL, Seen, decide
from tradewind.core.training_run.manifests import build_train_job

pytestmark = pytest.mark.whole

PLATFORM = Platform("e2e", "tradewind-system", "gateway", "predictor", "trainer")
GOOD, IDLE, WILD = "0.02", "0.000001", "999999999"
SETTINGS = {
    "epochs": "3", "batchSize": 2, "gradientAccumulation": 2, "warmupSteps": 0, "evalEverySteps": 6, "saveEverySteps": 100,
    "extra": {"threads": "1"},
}  # fmt: skip


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    with running_trainer(tmp_path_factory.mktemp("weeks")) as trainer:
        yield trainer


@dataclass
class Weeks(World):
    """A world whose runs are trained, six hours after their time."""

    trainer: Trainer | None = None
    ended: dict[str, TrainingRun] = field(default_factory=dict)

    def at_end(self, run: TrainingRun, at: datetime) -> TrainingRun:
        if run.name not in self.ended:
            self.ended[run.name] = self.trained(run, at)
        return self.ended[run.name]

    def trained(self, run: TrainingRun, now: Any) -> TrainingRun:
        """The run at its end: by its Job's configuration, a process, and what it said."""
        assert self.trainer is not None
        owner = Owner("tradewind.dev/v1alpha1", "TrainingRun", run.name, run.namespace, "uid")
        folder = self.trainer.folder / run.name
        sha256 = make_dataset(folder / "dataset", seed=len(self.ended))
        taken = {"phase": "Training", "attempts": 1, "dataset": {"sha256": sha256, "rows": 24}}
        run = resource_of(run.to_manifest() | {"status": taken})
        pod = build_train_job(run, owner, PLATFORM, 1, None)["spec"]["template"]["spec"]
        told = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
        config = json.loads(told["TRADEWIND_CONFIG"] or "")
        config |= {"base": str(self.trainer.base), "dataset": str(folder / "dataset"), "output": str(folder)}
        process = self.trainer.start({name: value for name, value in config.items() if "progress" not in name})
        code = process.wait()
        done = JobFacts(run.name, False, code == 0, code != 0, exit_code=code, result=process.result)
        seen = Seen(training=done)
        while run.status.phase not in TERMINAL:
            decision = decide(run, seen, now, platform=PLATFORM, owner=owner)
            run = run.model_copy(update={"status": decision.status})
            for effect in decision.effects:
                assert isinstance(effect, Create)
                assert effect.manifest["kind"] == "ModelVersion", "one attempt"
                seen = replace(seen, version=resource_of(dict(effect.manifest)))
        return run

    def week(self, number: int) -> str:
        """The learning rate of a week's run; its end is looked at a day later."""
        sunday = sundays(number + 1)[number]
        self.turn(sunday)
        asked: str = self.case.seen.runs[-1].to_manifest()["spec"]["hyperparameters"]["learningRate"]
        self.turn(sunday + timedelta(days=1))
        return asked


def weeks(trainer: Trainer, name: str, search: dict[str, Any], **settings: Any) -> Weeks:
    """A schedule of that name, before its first week."""
    template = {
        "baseModel": {"uri": "pvc://models/base"},
        "dataset": {"endpoint": "trader"},
        "output": {"uri": "pvc://models/runs"},
        "lora": {"rank": 4, "alpha": 8},
        "hyperparameters": SETTINGS | settings,
    }
    world = Weeks.of(template={"spec": template}, search=search)
    assert isinstance(world, Weeks)
    world.trainer = replace(trainer, folder=trainer.folder / name)
    (trainer.folder / name).mkdir()
    return world


@pytest.mark.parametrize("over", [(GOOD, IDLE), (IDLE, GOOD)], ids=["the best first", "the best last"])
def test_the_third_week_has_what_the_two_before_have_shown_to_be_better(
    trainer: Trainer, over: tuple[str, ...]
) -> None:
    space = {"learningRate": list(over)}
    world = weeks(trainer, f"first-{over[0]}", {"over": space, "explore": "1"})
    assert [world.week(0), world.week(1)] == list(over), "each is tried once"
    status = world.status.search
    assert status is not None
    measured = {trial.settings["learningRate"]: trial.gain for trial in status.trials}
    for run in world.ended.values():
        rate, result = run.spec.hyperparameters.learning_rate, run.status.result
        assert result is not None
        assert result.eval_loss is not None
        assert result.base_eval_loss is not None
        assert measured[rate] == pytest.approx(1 - result.eval_loss / result.base_eval_loss, abs=1e-6)
    idle, good = measured[IDLE], measured[GOOD]
    assert idle is not None
    assert good is not None
    assert idle < 0.001 < 0.01 < good, "what was measured on rows that were not trained on"

    world.spec(search={"over": space, "explore": "0"})
    assert world.week(2) == GOOD
    status = world.status.search
    assert status is not None
    assert status.best is not None
    assert (status.best.settings, status.best.runs) == ({"learningRate": GOOD}, 2)
    assert len(world.made) == len(world.ended) == 3


def test_a_setting_that_gained_nothing_is_not_kept_for_being_the_only_one(trainer: Trainer) -> None:
    """At this rate each step throws the adapter somewhere else: on rows that it has not seen it is worse than its base."""
    world = weeks(trainer, "wild", {"over": {"learningRate": [WILD, GOOD]}, "explore": "0"})
    assert [world.week(number) for number in range(3)] == [WILD, GOOD, GOOD]
    status = world.status.search
    assert status is not None
    lost, *gained = (trial.gain for trial in status.trials)
    assert lost is not None
    assert lost <= 0
    assert min(gain or 0 for gain in gained) > 0.01


def test_a_week_that_diverged_is_followed_by_another_setting_which_then_stays(trainer: Trainer) -> None:
    space = {"weightDecay": ["1e90", "0.01"]}
    world = weeks(trainer, "diverged", {"over": space, "explore": "0"}, learningRate=GOOD)
    for number in range(3):
        world.week(number)
    status = world.status.search
    assert status is not None
    assert [(trial.settings["weightDecay"], trial.outcome) for trial in status.trials] == [
        ("1e90", "Diverged"),
        ("0.01", "Succeeded"),
        ("0.01", "Succeeded"),
    ]
