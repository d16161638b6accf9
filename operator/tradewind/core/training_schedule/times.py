"""When a schedule is due: times of a clock on a wall, each of them one instant.

A time that the clock skips (02:30 on the night of the change to summer time) is due at the instant of the change, as soon as the
clock has passed it; one that comes twice is due the first time. So instants never run backwards while the clock's times go on,
and each time of the schedule is one instant, by which its run is named.

Belongs here: instants. Does not belong here: what is done at them (__init__.py).
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter

_SECOND = timedelta(seconds=1)


def due_times(cron: str, zone: ZoneInfo, base: datetime, now: datetime) -> tuple[datetime | None, datetime]:
    """The newest instant that was due after `base` and is not after `now` (None: there is none), and the next one after `now`.

    Raises:
        ValueError: the expression cannot be read, or no day is ever like it.
    """
    local = now.astimezone(zone)
    wall = local.replace(tzinfo=None, fold=0)
    first, second = local.replace(fold=0).utcoffset() or timedelta(0), local.utcoffset() or timedelta(0)
    latest = wall + max(first - second, timedelta(0))  # the second pass of an hour: all of its first pass is over
    earlier = croniter(cron, latest + _SECOND)
    previous = instant(earlier.get_prev(datetime), zone)
    while previous > now:
        previous = instant(earlier.get_prev(datetime), zone)
    later = croniter(cron, wall)
    upcoming = instant(later.get_next(datetime), zone)
    while upcoming <= now:
        upcoming = instant(later.get_next(datetime), zone)
    due = previous.astimezone(zone) if previous > base.astimezone(UTC) else None
    return due, upcoming.astimezone(zone)


def instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant, in UTC, at which a clock in the zone first shows a time or a later one.

    Args:
        wall: without a zone.
    """
    found = wall.replace(tzinfo=zone).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == wall:
        return found
    before, after = wall.replace(tzinfo=zone, fold=1).astimezone(UTC), found  # the change lies between
    offset = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + timedelta(seconds=(after - before) // _SECOND // 2)
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after
