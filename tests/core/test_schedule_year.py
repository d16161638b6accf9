"""A year of a schedule under a clock that is set, stopped and put back: each time exactly once, whatever comes between."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from golden_worlds import build
from schedule_world import HOUR, START, World, sundays, time_of

from tradewind.core.decision import Create, Delete
from tradewind.core.training_schedule.times import due_times, instant


def irregular(seed: int, days: int = 364) -> Iterator[datetime]:
    """Looks seconds to hours apart; now and then a clock that is set back by up to a day, and an operator that is away for one."""
    random, now, latest = Random(seed), START, START
    while latest < START + timedelta(days=days):
        yield now
        step = timedelta(seconds=random.choice([1, 30, 3600, 3 * 3600]))
        if random.random() < 0.02:
            step = -random.random() * timedelta(days=1)
        now += step
        latest = max(now, latest)


@pytest.mark.parametrize("seed", range(3))
def test_each_sunday_exactly_once_whatever_the_clock_does(seed: int) -> None:
    world = World.of()
    for now in irregular(seed):
        world.turn(now)
    assert [time_of(name) for name in world.made] == sundays()


def test_away_over_a_start_is_late_within_the_deadline_and_missed_past_it() -> None:
    world, weeks = World.of(startingDeadline="6h"), sundays(4)
    for now in (weeks[0] + 5 * HOUR, weeks[1] + 7 * HOUR, weeks[2] + 6 * HOUR, weeks[3]):
        world.turn(now)
    assert [time_of(name) for name in world.made] == [weeks[0], weeks[2], weeks[3]]
    assert [(s.outcome, s.time) for s in world.status.starts] == list(
        zip(["RunStarted", "DeadlineMissed", "RunStarted", "RunStarted"], weeks, strict=True)
    )


def test_away_for_weeks_makes_the_last_one_alone() -> None:
    world, weeks = World.of(), sundays(5)
    world.turn(START)
    world.turn(weeks[4] + HOUR)
    assert [time_of(name) for name in world.made] == [weeks[4]]


def test_under_500_samples_a_week_is_skipped_with_its_number_and_the_next_is_not() -> None:
    few = {week: 400 + n for n, week in enumerate(sundays()) if n % 3 == 0}
    world = World.of()
    world.samples = lambda now: few.get(max((w for w in sundays() if w <= now), default=now), 500)
    told: list[str] = []
    for week in sundays():
        for now in (week, week + HOUR):
            ready = world.turn(now).status.condition("Ready")  # type: ignore[attr-defined]
            if ready.reason == "TooFewNewSamples":
                told.append(ready.message)
                assert world.status.starts[-1].new_samples == few[week]
                assert world.status.starts[-1].run is None
            assert (ready.reason == "Scheduled") == (now != week)  # the reason flips each time: an Event for each
    assert [time_of(name) for name in world.made] == [week for week in sundays() if week not in few]
    assert told == [f"{count} new samples against spec.minNewSamples 500: skipped" for count in few.values()]
    assert len(world.status.starts) == 16


@pytest.mark.parametrize("phase", ["Failed", "Skipped", "Invalid"])
def test_weeks_that_fail_do_not_block_the_next(phase: str) -> None:
    world = World.of(failedRunsHistoryLimit=2)
    world.ends = lambda _: phase
    for week in sundays():
        world.turn(week)
        world.turn(week + 12 * HOUR)
    assert [time_of(name) for name in world.made] == sundays()
    assert [run.name for run in world.case.seen.runs] == world.made[-2:]


@pytest.mark.parametrize(
    ("policy", "made", "gone"), [("Forbid", [0, 2, 3], []), ("Allow", [0, 1, 2, 3], []), ("Replace", [0, 1, 2, 3], [0])]
)
def test_a_run_that_lasts_a_week_and_more(policy: str, made: list[int], gone: list[int]) -> None:
    world, weeks = World.of(concurrencyPolicy=policy, successfulRunsHistoryLimit=9), sundays(4)
    first = f"weekly-{int(weeks[0].timestamp() // 60)}"
    lasting = {first}
    world.ends = lambda name: None if name in lasting else "Succeeded"
    for week in weeks:
        world.turn(week)
        if week == weeks[1]:
            lasting.clear()
        world.turn(week + 12 * HOUR)
    assert [time_of(name) for name in world.made] == [weeks[n] for n in made]
    assert [time_of(name) for name in world.gone] == [weeks[n] for n in gone]
    if policy == "Forbid":
        assert world.status.starts[1].outcome == "PreviousRunActive"
        assert first in world.status.starts[1].message


def test_suspended_weeks_are_left_out_and_one_that_is_resumed_in_time_is_made() -> None:
    world, weeks = World.of(suspend=True), sundays(4)
    world.turn(weeks[0])
    world.turn(weeks[1] + HOUR)
    world.spec(suspend=False)
    world.turn(weeks[1] + 2 * HOUR)
    world.spec(suspend=True)
    world.turn(weeks[2])
    world.spec(suspend=False)
    world.turn(weeks[2] + 10 * HOUR)
    world.turn(weeks[3])
    assert [time_of(name) for name in world.made] == [weeks[1], weeks[3]]


def test_another_time_in_the_middle_of_the_year_neither_repeats_nor_invents_one() -> None:
    world, weeks = World.of(concurrencyPolicy="Allow"), sundays(3)
    world.turn(weeks[0])
    world.spec(schedule="0 4 * * 0")
    world.turn(weeks[0] + HOUR)
    world.turn(weeks[0] + 2 * HOUR)
    world.spec(schedule="0 1 * * 0")  # of this Sunday: before what was made already
    world.turn(weeks[0] + 3 * HOUR)
    world.turn(weeks[1])
    assert [time_of(name) for name in world.made] == [weeks[0], weeks[0] + 2 * HOUR, weeks[1] - HOUR]


def test_an_operator_that_dies_between_run_and_status_makes_no_second_one() -> None:
    world, (week, *_) = World.of(), sundays()
    for late in range(3):
        world.turn(week + late * HOUR, written=False)
    assert world.made == [f"weekly-{int(week.timestamp() // 60)}"]
    assert world.status.last_schedule_time is None
    world.turn(week + 12 * HOUR)  # past the deadline, and the run is there
    assert world.made == [f"weekly-{int(week.timestamp() // 60)}"]
    assert world.status.starts[-1].outcome == "RunStarted"


def test_two_operators_give_the_same_run_the_same_name() -> None:
    world, (week, *_) = World.of(), sundays()
    one, other = (world.case.decide(now=week + late, new_samples=500) for late in (timedelta(0), 5 * HOUR))
    names = [[e.manifest["metadata"]["name"] for e in d.effects if isinstance(e, Create)] for d in (one, other)]
    assert names == [[f"weekly-{int(week.timestamp() // 60)}"]] * 2


def test_champions_their_parents_and_what_an_experiment_names_are_never_pruned() -> None:
    def run(number: int, **spec: Any) -> dict[str, Any]:
        ended = (START + timedelta(days=number)).isoformat()
        return {
            "metadata": {"name": f"r{number}"},
            "spec": spec,
            "status": {"phase": "Succeeded", "completionTime": ended},
        }

    endpoint = {"metadata": {"name": "other"}, "spec": {"fallback": "api"}, "status": {"championRef": {"name": "r2"}}}
    experiment = {"metadata": {"name": "e"}, "spec": {"endpointRef": {"name": "other"}, "candidate": "r3"}}
    facts = {
        "runs": [run(0), run(1), run(2, warmStartFrom="r1"), run(3), run(4), run(5)],
        "endpoints": [endpoint],
        "experiments": [experiment],
    }
    case = build("training_schedule", {"resource": {"spec": {"experimentTemplate": None}}, "facts": facts})
    assert [e.name for e in case.decide().effects if isinstance(e, Delete)] == ["r0", "r4"]


# --- clocks that jump --------------------------------------------------------------------------------------------------


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "wall", "at"),
    [
        ("Europe/Berlin", "2026-03-29 01:59", "2026-03-29 00:59"),
        ("Europe/Berlin", "2026-03-29 02:00", "2026-03-29 01:00"),
        ("Europe/Berlin", "2026-03-29 02:30", "2026-03-29 01:00"),
        ("Europe/Berlin", "2026-03-29 03:00", "2026-03-29 01:00"),
        ("Europe/Berlin", "2026-10-25 02:30", "2026-10-25 00:30"),
        ("Europe/Berlin", "2026-10-25 03:00", "2026-10-25 02:00"),
        ("America/New_York", "2026-03-08 02:30", "2026-03-08 07:00"),
        ("America/New_York", "2026-11-01 01:30", "2026-11-01 05:30"),
        ("Australia/Lord_Howe", "2026-10-04 02:15", "2026-10-03 15:30"),
        ("Asia/Shanghai", "2026-03-29 02:30", "2026-03-28 18:30"),
    ],
)
def test_a_time_that_is_skipped_is_due_at_the_change_and_one_that_comes_twice_the_first_time(
    zone: str, wall: str, at: str
) -> None:
    assert instant(datetime.fromisoformat(wall), ZoneInfo(zone)) == utc(at)


ZONES = ["Europe/Berlin", "America/New_York", "Asia/Shanghai", "Australia/Lord_Howe", "Etc/UTC"]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", ["30 2 * * *", "0 2 * * 0", "30 1 * * *"])
def test_each_day_of_a_year_exactly_once_in_zones_that_change(zone: str, cron: str) -> None:
    world = World.of(schedule=cron, timeZone=zone, minNewSamples=0, concurrencyPolicy="Allow")
    now, until = START, START + timedelta(days=365)
    while now < until:
        world.turn(now)
        now += timedelta(hours=5, minutes=47)
    world.turn(until)
    days = Counter(time_of(name).astimezone(ZoneInfo(zone)).date() for name in world.made)
    assert set(days.values()) == {1}
    assert len(days) == (52 if cron == "0 2 * * 0" else 365)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("day", ["2026-03-08", "2026-03-29", "2026-10-04", "2026-10-25", "2026-11-01", "2026-04-05"])
def test_each_half_hour_of_a_night_of_change_is_the_instants_of_its_clock(zone: str, day: str) -> None:
    """Against every minute of the night asked one by one: the newest instant is never after now and none is left out."""
    begin, known = utc(day) - timedelta(hours=26), ZoneInfo(zone)
    walls = [datetime.fromisoformat(day) - timedelta(days=3) + timedelta(minutes=30 * n) for n in range(48 * 6)]
    instants = sorted({instant(wall, known) for wall in walls})
    for minute in range(0, 52 * 60, 13):
        now = begin + timedelta(minutes=minute)
        due, upcoming = due_times("*/30 * * * *", known, begin - timedelta(days=1), now)
        assert due is not None
        assert due.astimezone(UTC) == max(at for at in instants if at <= now)
        assert upcoming.astimezone(UTC) == min(at for at in instants if at > now)


@pytest.mark.parametrize(("template", "kept"), [({"endpointRef": {"name": "trader"}}, ["r4"]), (None, [])])
def test_the_newest_run_stays_until_an_experiment_can_be_made_of_it(
    template: dict[str, Any] | None, kept: list[str]
) -> None:
    runs = [
        {"metadata": {"name": f"r{n}"}, "status": {"phase": "Succeeded", "completionTime": f"2026-01-0{n}T00:00:00Z"}}
        for n in range(1, 5)
    ]
    spec = {"experimentTemplate": template, "successfulRunsHistoryLimit": 0}
    case = build(
        "training_schedule", {"resource": {"spec": spec}, "facts": {"runs": runs, "versions": None, "endpoint": None}}
    )
    gone = {e.name for e in case.decide().effects if isinstance(e, Delete)}
    assert [run["metadata"]["name"] for run in runs if run["metadata"]["name"] not in gone] == kept
