"""When a schedule is due: every time once, in its zone, through summer time."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from golden_worlds import build

from tradewind.core.decision import Create


def runs(cron: str, zone: str, start: datetime, days: int, every: timedelta) -> list[str]:
    """Local times of the runs that a schedule makes while the operator looks at it in turns."""
    case = build(
        "training_schedule",
        {
            "resource": {
                "metadata": {"creationTimestamp": start.isoformat()},
                "spec": {"schedule": cron, "timeZone": zone, "experimentTemplate": None, "concurrencyPolicy": "Allow"},
                "status": None,
            },
            "facts": {"versions": None, "endpoint": None},
        },
    )
    made: list[str] = []
    for turn in range(int(timedelta(days=days) / every)):
        decision = case.decide(now=start + turn * every)
        names = [e.manifest["metadata"]["name"] for e in decision.effects if isinstance(e, Create)]
        made += [
            datetime.fromtimestamp(60 * int(name.rpartition("-")[2]), ZoneInfo(zone)).strftime("%d %H:%M")
            for name in names
        ]
        case = case.after(decision)
    return made


@pytest.mark.parametrize("every", [timedelta(minutes=30), timedelta(minutes=47)])
def test_daily_run_comes_once_a_day_through_the_spring_and_the_autumn_change(every: timedelta) -> None:
    spring = runs("0 4 * * *", "Europe/Berlin", datetime(2026, 3, 27, 12, tzinfo=UTC), 4, every)
    assert spring == ["28 04:00", "29 04:00", "30 04:00", "31 04:00"]
    autumn = runs("0 4 * * *", "Europe/Berlin", datetime(2026, 10, 23, 12, tzinfo=UTC), 4, every)
    assert autumn == ["24 04:00", "25 04:00", "26 04:00", "27 04:00"]


def test_a_time_that_the_change_repeats_runs_once_and_one_that_it_skips_runs_at_most_once() -> None:
    half_hour = timedelta(minutes=30)
    autumn = runs("30 2 * * *", "Europe/Berlin", datetime(2026, 10, 24, 12, tzinfo=UTC), 3, half_hour)
    assert autumn == ["25 02:30", "26 02:30", "27 02:30"]
    spring = runs("30 2 * * *", "Europe/Berlin", datetime(2026, 3, 28, 12, tzinfo=UTC), 3, half_hour)
    assert [day.partition(" ")[0] for day in spring] in (["29", "30", "31"], ["30", "31"])


def test_zone_of_the_schedule_counts_not_that_of_the_operator() -> None:
    assert runs("0 2 * * 0", "Asia/Shanghai", datetime(2026, 2, 28, tzinfo=UTC), 2, timedelta(hours=1)) == ["01 02:00"]


@pytest.mark.parametrize(
    "cron", ["@weekly", "*/15 * * * *", "0 2 * * SUN", "0 2 L * *", "0 2 ? * 1", "0 2 * * 1#2", "0 0 1 JAN *"]
)
def test_what_the_api_accepts_is_read_or_named(cron: str) -> None:
    case = build("training_schedule", {"resource": {"spec": {"schedule": cron}}})
    reason = case.decide().status.condition("Ready").reason  # type: ignore[attr-defined]
    assert reason in {"Scheduled", "RunStarted", "DeadlineMissed", "InvalidSchedule"}


def test_run_names_fit_the_longest_schedule_name() -> None:
    case = build("training_schedule", {"resource": {"metadata": {"name": "s" * 36}}})
    (create,) = (e for e in case.decide().effects if isinstance(e, Create))
    assert len(create.manifest["metadata"]["name"]) <= 50
