"""Versions that nobody needs rest, and nobody who may be asked ever finds them resting, whatever comes between whom."""

from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from retired_world import OWN, RETIRE_AFTER, Town

from tradewind.core.endpoint import TERMINAL

_TURNS: list[tuple[str, Any]] = (
    [("step", "v2")] * 6 + [("turn", "trader")] * 5 + [("turn", "e"), ("turn", "v2"), ("kserve", "v2")] * 2
)
_TURNS += [
    ("step", "trader"),
    ("step", "e"),
    ("turn", "v1"),
    ("turn", "v3"),
    ("passes", 1),
    ("passes", 31),
    ("passes", 3601),
]
_WISHES: list[tuple[str, Any]] = [("promote", "v2"), ("falls_back_to", "v2"), ("experiment", "v2")] * 2 + [
    ("promote", "v1"),
    ("falls_back_to", "v3"),
]
_WISHES += [("rollback", None), ("deletes", None), ("killed", None), ("ends", "Succeeded"), ("ends", "RolledBack")]
STEPS = st.lists(st.sampled_from(_TURNS + _WISHES), min_size=6, max_size=24)


def play(town: Town, steps: list[tuple[str, Any]]) -> None:
    for what, whom in steps:
        names = [*town.trials] if whom == "e" else [whom]
        match what:
            case "step" | "turn":
                for name in names:
                    town.turns.pop(name, None) if what == "turn" else None
                    getattr(town, what)(name)
                    holds(town)
            case "passes":
                town.passes(timedelta(seconds=whom))
            case "killed":
                town.turns.clear()
            case "rollback" | "deletes":
                getattr(town, what)()
            case _:
                town.log.append(f"{what} {whom}")
                getattr(town, what)(whom)
        holds(town)


def holds(town: Town) -> None:
    """Nobody whom gateways may ask is told to stop, or has been and is not back."""
    assert not town.asked() & town.stopped(), town.log


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(("due", "said", "stopped")), STEPS)
def test_who_may_be_asked_never_rests_in_any_order_and_whoever_is_killed(
    stage: str, steps: list[tuple[str, Any]]
) -> None:
    town = Town.of()
    town.rest("v2", stage)
    play(town, steps)
    # In the end who is needed answers, and who is not rests.
    town.peace()
    holds(town)
    assert town.point.status.by_hand is None, town.log
    waiting = {trial.spec.candidate for trial in town.trials.values() if trial.status.phase not in TERMINAL}
    assert all(town.ready(name) for name in town.asked() | waiting), (town.log, town.asked(), waiting)
    town.deletes()
    town.peace()
    town.passes(RETIRE_AFTER + timedelta(minutes=2))
    town.peace()
    needed = {town.point.status.champion_ref.name, town.point.spec.fallback}
    assert town.stopped() == set(OWN) - needed, town.log
