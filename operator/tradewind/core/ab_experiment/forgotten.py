"""Whether the database still holds what was there: an emptied or older one answers as readily as the right one.

Evidence that is gone is no evidence that nothing happened. What the status knows is held against what is stored; while less is
there, nobody is sent to the candidate and no weight is published over what was, and the data may come back.
"""

from datetime import timedelta
from decimal import Decimal

from tradewind.api.ab_experiment_status import ABExperimentStatus
from tradewind.core.ab_experiment.seen import Reason
from tradewind.core.ab_experiment.turn import Turn, weighted
from tradewind.core.conditions import Fact
from tradewind.core.decision import Decision

_AGAIN = timedelta(seconds=10)


def forgotten(turn: Turn) -> str | None:
    """What the database no longer holds; None: nothing is missed."""
    status, seen = turn.experiment.status, turn.seen
    if seen.recorded is False:
        return "the start of this experiment"
    newest = max((row.epoch for row in seen.epochs), default=0)
    if newest < (status.epoch or 0):
        return f"epoch {status.epoch}" + (f", its newest is {newest}" if newest else " nor any other")
    known = sum(arm.decisions or 0 for arm in status.arms or ())
    if seen.table is not None and len(seen.table.decision_id) < known:
        return f"{known - len(seen.table.decision_id)} of {known} decisions"
    return None


def without_evidence(turn: Turn, status: ABExperimentStatus, what: str) -> Decision:
    """The weight is 0, and everything else stays as it is."""
    message = (
        f"the database no longer holds {what}: it was emptied, or is an older copy; restore what it held and the experiment goes "
        f"on by itself, or end it with `tradewind abort {turn.experiment.name}`"
    )
    if not turn.replays:
        status = weighted(status, Decimal(0), Reason.EVIDENCE_LOST, message, turn.now)
    facts = [Fact(kind, False, Reason.EVIDENCE_LOST, message) for kind in ("EvidenceKnown", "Running")]
    return turn.decision(status, *facts, Fact("Succeeded", None, Reason.EVIDENCE_LOST, message), again=_AGAIN)
