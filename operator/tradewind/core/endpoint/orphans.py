"""The end of experiments whose object is gone: nobody else gives them one.

Belongs here: what is recorded of them. Does not belong here: who is gone (observe.py), and the end of an experiment that
exists (core/ab_experiment), however little can be read of it.
"""

from collections.abc import Iterable
from datetime import datetime

from tradewind.core.decision import RecordVerdict
from tradewind.core.endpoint.seen import Reason, StartedExperiment


def aborted(endpoint: str, gone: Iterable[StartedExperiment], now: datetime) -> tuple[RecordVerdict, ...]:
    """The end of each: its alpha stays spent and its pair tested."""
    return tuple(
        RecordVerdict(
            endpoint=endpoint,
            experiment_uid=experiment.uid,
            decision="abort",
            reason=Reason.OBJECT_DELETED,
            message=f"ABExperiment {experiment.name} was deleted before its verdict",
            decided_at=now,
            evidence={},
        )
        for experiment in gone
    )
