"""Against which run's dataset a new one is held."""

from typing import Any

from golden_worlds import resource_of

from tradewind.api.training_run import TrainingRun
from tradewind.core.training_run.observe import run_before
from tradewind.core.training_schedule import SCHEDULE_LABEL


def run(
    name: str, day: int = 1, *, endpoint: str = "trader", phase: str = "Succeeded", schedule: str = ""
) -> TrainingRun:
    status: dict[str, Any] = {"phase": phase, "completionTime": f"2026-03-{day:02}T00:00:00Z", "dataset": {"rows": 1}}
    made = resource_of({
        "kind": "TrainingRun",
        "metadata": {"name": name, "labels": {SCHEDULE_LABEL: schedule} if schedule else {}},
        "spec": {"baseModel": {"uri": "pvc://m/b"}, "dataset": {"endpoint": endpoint}, "output": {"uri": "pvc://m/r"}},
        "status": status if phase != "Training" else {"phase": phase},
    })  # fmt: skip
    assert isinstance(made, TrainingRun)
    return made


def name_of(found: TrainingRun | None) -> str | None:
    return None if found is None else found.name


def test_the_newest_that_succeeded_on_the_same_endpoint() -> None:
    new = run("new", phase="Training")
    others = [
        run("a", 3), run("b", 5), run("other", 9, endpoint="elsewhere"), run("failed", 8, phase="Failed"), run("skipped", 8, phase="Skipped"),
        run("running", phase="Training"), new,
    ]  # fmt: skip
    assert name_of(run_before(new, others)) == "b"
    assert run_before(new, [new]) is None


def test_of_the_same_schedule_where_it_has_one() -> None:
    new = run("new", phase="Training", schedule="weekly")
    by_hand, weekly = run("by-hand", 9), run("w-1", 2, schedule="weekly")
    assert (
        name_of(
            run_before(new, [by_hand, weekly, run("w-2", 1, schedule="weekly"), run("m-1", 10, schedule="monthly")])
        )
        == "w-1"
    )
    assert name_of(run_before(new, [by_hand])) == "by-hand", "its first run has but those"
