"""When pods of a version that nobody needs go, and that nobody who needs it finds them gone.

    needed --nobody does--> unusedSince --retireAfter--> said (Ready=False, retiredTime) --LEAD--> stopped
      ^---------------------------- somebody does, at any moment ---------------------------------/

Who takes a version into use says so first (a status, a spec, a request), and then looks whether it is Ready. A version says
first that it is not, and stops its pods in a later turn, if still nobody has said that he needs it. Whatever the order of the
two, one of them sees the other.

Belongs here: whether pods may go. Does not belong here: who needs the version (observe.py), what the conditions say (__init__.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tradewind.api.model_version import ModelVersion
from tradewind.core.conditions import is_true
from tradewind.schema.scalars import as_timedelta

LEAD: Final = timedelta(minutes=1)
"""Between the word that pods go and their end: much longer than a turn that has begun before goes on."""
_STOPS_WITHIN: Final = timedelta(minutes=5)
"""By then KServe has stopped what it was told to stop, or is older than the annotation."""


_SOON: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Rest:
    """Whether the pods of a version run.

    Attributes:
        unused_since: since when nobody needs it; None: somebody does, or it is not to rest at all.
        retired_time: when it was said that its pods go; kept until they answer again.
        retired: nobody may begin to use it without waiting for it.
        stopped: its pods are not to run.
        again: when time alone changes this; None: it does not.
    """

    unused_since: datetime | None = None
    retired_time: datetime | None = None
    retired: bool = False
    stopped: bool = False
    again: timedelta | None = None


def rest_of(version: ModelVersion, users: Sequence[str], now: datetime, *, told: bool, deployed: bool) -> Rest:
    """Whether its pods may go, or must come back.

    What KServe was told to stop is started again only once it has stopped, so that pods which are about to end are not taken for
    ones that answer.

    Args:
        version: one that we serve.
        users: whoever asks it, may do so without a word, or is about to.
        now: the time.
        told: KServe was told to stop its pods.
        deployed: their Deployment is there.
    """
    status = version.status
    stopping = told and deployed and now < (status.retired_time or now) + LEAD + _STOPS_WITHIN
    if users or status.benchmark is None:  # what was not measured is served until it is
        return Rest(retired_time=status.retired_time, stopped=stopping, again=_SOON if stopping else None)
    since = status.unused_since or now.replace(microsecond=0)
    left = since + as_timedelta(version.spec.serving.retire_after) - now
    if left > timedelta(0):
        return Rest(since, status.retired_time, stopped=stopping, again=_SOON if stopping else left)
    said = status.retired_time or now.replace(microsecond=0)
    lead = said + LEAD - now
    stopped = stopping or lead <= timedelta(0)
    return Rest(since, said, retired=True, stopped=stopped, again=None if stopped else lead)


def rests(version: ModelVersion) -> bool:
    """Whether its pods have gone, are about to, or are coming back: who begins to use it waits until it is Ready."""
    return version.status.retired_time is not None and not is_true(version.status.conditions, "Ready")
