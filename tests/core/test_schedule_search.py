"""Weeks of a schedule that searches: what the runs are trained with, and what is remembered of them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from golden_worlds import resource_of
from schedule_world import START, World, sundays

from tradewind.api.parse import InvalidSpec, parse
from tradewind.api.training_schedule import TrainingSchedule
from tradewind.core.training_schedule.search import choose

OVER = {"learningRate": ["0.0001", "0.0003", "0.001"], "rank": [8, 16]}
TRUE_GAIN = {("0.0001", 8): 0.20, ("0.0001", 16): 0.22, ("0.0003", 8): 0.30, ("0.0003", 16): 0.40, ("0.001", 8): 0.10}
DIVERGES = ("0.001", 16)


@dataclass
class Searching(World):
    """A world whose runs gain what their setting is worth, on rows of another week each."""

    noise: Random = field(default_factory=lambda: Random(1))
    loses_nodes: bool = False
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def at_end(self, run: Any, at: datetime) -> Any:
        if run.name not in self.outcomes:
            self.outcomes[run.name] = self.outcome(setting_of(run.to_manifest()["spec"]))
        done = {"completionTime": at.isoformat()}
        return resource_of(run.to_manifest() | {"status": self.outcomes[run.name] | done})

    def outcome(self, setting: tuple[str, int]) -> dict[str, Any]:
        if setting == DIVERGES or self.loses_nodes:
            reason = "TrainingFailed" if self.loses_nodes else "Diverged"
            condition = {
                "type": "Succeeded",
                "status": "False",
                "reason": reason,
                "lastTransitionTime": START.isoformat(),
            }
            return {"phase": "Failed", "conditions": [condition]}
        base = 1 + self.noise.random()  # weeks differ more than settings do
        gain = TRUE_GAIN[setting] + self.noise.gauss(0, 0.02)
        return {"phase": "Succeeded", "result": {"evalLoss": base * (1 - gain), "baseEvalLoss": base}}

    def weeks(self, count: int, first: int = 0) -> list[tuple[str, int]]:
        """The settings of so many weeks; a look when a run is due and one a day later."""
        asked = []
        for sunday in sundays(first + count)[first:]:
            self.turn(sunday)
            asked.append(setting_of(self.case.seen.runs[-1].to_manifest()["spec"]))
            self.turn(sunday + timedelta(days=1))
        return asked


def setting_of(spec: Mapping[str, Any]) -> tuple[str, int]:
    return spec["hyperparameters"]["learningRate"], spec["lora"]["rank"]


def searching(**search: Any) -> Searching:
    world = Searching.of(search={"over": OVER} | search)
    assert isinstance(world, Searching)
    return world


def test_the_best_of_the_last_runs_is_used_and_a_share_of_the_weeks_tries_others() -> None:
    world = searching(window=16, explore="0.4")
    asked = world.weeks(52)
    assert asked[0] == ("0.0001", 8), "the template's own is not among them: the first of each list"
    assert set(asked) == {*TRUE_GAIN, DIVERGES}
    late = Counter(asked[26:])
    assert late.most_common(1)[0][0] == ("0.0003", 16)
    assert late[("0.0003", 16)] > 26 * 0.5
    status = world.status.search
    assert status is not None
    assert status.best is not None
    assert status.best.settings == {"learningRate": "0.0003", "rank": "16"}
    assert status.best.gain == pytest.approx(0.4, abs=0.03)


def test_without_exploring_the_first_setting_that_gains_stays() -> None:
    assert set(searching(explore="0").weeks(12)) == {("0.0001", 8)}


def test_always_exploring_goes_round_evenly() -> None:
    assert set(Counter(searching(explore="1", window=52).weeks(24)).values()) == {4}


def test_the_template_s_own_setting_is_the_first_where_it_is_in_the_space() -> None:
    world = searching(over={"learningRate": ["0.0001", "0.0002"], "rank": [8, 16]}, explore="0")
    world.turn(sundays(1)[0])
    assert setting_of(world.case.seen.runs[-1].to_manifest()["spec"]) == ("0.0002", 16)


def test_a_setting_that_diverged_is_no_best_and_one_whose_node_was_lost_tells_nothing() -> None:
    world = searching(over={"learningRate": ["0.001", "0.0003"], "rank": [16]}, explore="0")
    asked = world.weeks(3)
    assert asked == [("0.001", 16), ("0.0003", 16), ("0.0003", 16)]
    world.loses_nodes = True
    world.weeks(1, first=3)
    assert world.status.search is not None
    assert [(trial.outcome, trial.gain is None) for trial in world.status.search.trials] == [
        ("Diverged", True),
        ("Succeeded", False),
        ("Succeeded", False),
    ]


def test_what_was_gained_outlives_the_runs_and_no_run_goes_before_it_is_kept() -> None:
    world = searching()
    world.spec(successfulRunsHistoryLimit=0, failedRunsHistoryLimit=0)
    sunday = sundays(1)[0]
    world.turn(sunday)
    lost = world.turn(sunday + timedelta(days=1), written=False)
    assert not world.gone, lost
    world.turn(sunday + timedelta(days=1))
    world.turn(sunday + timedelta(days=2))
    assert world.gone == world.made
    assert world.status.search is not None
    assert [trial.run for trial in world.status.search.trials] == world.made


def test_a_run_that_is_kept_for_longer_than_the_record_does_not_come_in_again() -> None:
    world = searching(explore="1")
    world.spec(successfulRunsHistoryLimit=100, failedRunsHistoryLimit=100)
    world.weeks(60)
    record = world.status.search
    assert record is not None
    assert [trial.run for trial in record.trials] == world.made[-52:]
    world.spec(successfulRunsHistoryLimit=10)
    world.turn(sundays(60)[-1] + timedelta(days=2))
    assert world.made[0] in world.gone, "one that has fallen out of the record is deleted as any other"


def test_another_template_begins_anew_and_another_place_to_run_does_not() -> None:
    world = searching(explore="0", over={"learningRate": ["0.0001", "0.0003"], "rank": [8]})
    world.weeks(2)
    spec = world.case.resource.to_manifest()["spec"]
    world.spec(template=spec["template"] | {"spec": spec["template"]["spec"] | {"activeDeadline": "8h"}})
    world.turn(sundays(3)[2])
    assert "best of the last 2 runs" in world.status.starts[-1].message
    other = spec["template"]["spec"] | {"baseModel": {"uri": "pvc://models/base/other"}}
    world.spec(template=spec["template"] | {"spec": other})
    world.turn(sundays(4)[3])
    assert "the first, nothing was measured yet" in world.status.starts[-1].message


def test_the_window_forgets() -> None:
    world = searching(explore="0", window=2, over={"learningRate": ["0.0001", "0.0003"], "rank": [16]})
    world.weeks(1)
    world.spec(search={"over": {"learningRate": ["0.0003"], "rank": [16, 8]}, "explore": "0", "window": 2})
    assert world.weeks(1, first=1) == [("0.0003", 16)]
    best = world.status.search and world.status.search.best
    assert best is not None
    assert best.settings == {"learningRate": "0.0003", "rank": "16"}, (
        "the setting that is not asked for any more is no best"
    )


def test_the_same_time_chooses_the_same() -> None:
    world = searching(explore="0.5")
    world.weeks(5)
    schedule, due = world.case.resource, sundays(6)[5]
    assert choose(schedule, due) == choose(schedule, due)  # type: ignore[arg-type]
    draws = {choose(schedule, due + timedelta(weeks=n)).words.partition(":")[2] for n in range(20)}  # type: ignore[arg-type]
    assert len(draws) > 1


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"search": {"over": {"rank": [8]}}}, "search.over"),
        ({"search": {"over": {}}}, "search.over"),
        ({"search": {"over": {"rank": list(range(1, 17)), "alpha": list(range(1, 17)), "warmupSteps": [0, 1]}}}, "search.over"),
        ({"search": {"over": {"learningRate": ["0.0001", "1e-3"]}}}, "search.over.learningRate[1]"),
        ({"search": {"over": {"learningRates": ["0.0001", "0.001"]}}}, "search.over.learningRates"),
    ],
)  # fmt: skip
def test_a_space_without_a_choice_is_refused_by_its_field(spec: dict[str, Any], field: str) -> None:
    manifest = World.of().case.resource.to_manifest()
    refused = parse(TrainingSchedule, manifest | {"spec": manifest["spec"] | spec}, strict=True)
    assert isinstance(refused, InvalidSpec)
    assert field in refused.message


@pytest.mark.parametrize(
    "template", [{"objective": "kto"}, {"dataset": {"endpoint": "trader", "split": {"evalFraction": "0.0"}}}]
)
def test_what_cannot_be_compared_is_refused(template: dict[str, Any]) -> None:
    manifest = World.of(search={"over": OVER}).case.resource.to_manifest()
    manifest["spec"]["template"]["spec"] |= template
    refused = parse(TrainingSchedule, manifest, strict=True)
    assert isinstance(refused, InvalidSpec)
    assert "search compares" in refused.message
