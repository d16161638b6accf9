"""The end of an experiment whose Endpoint is given another champion by hand: what it compares with is no longer the question.

Belongs here: that it lets go, and how that is recorded. Does not belong here: whether the champion may change, and the change
itself, which waits for this end (core/endpoint/by_hand.py).
"""

from datetime import timedelta

from tradewind.api.ab_experiment_status import ABExperimentPhase
from tradewind.api.endpoint import ByHandStatus
from tradewind.core.ab_experiment.seen import Reason
from tradewind.core.ab_experiment.turn import Turn
from tradewind.core.ab_experiment.verdict import End, abort
from tradewind.core.conditions import Fact
from tradewind.core.decision import Decision

_WAITS = (("Admissible", False), ("Succeeded", None))
_LOOK = timedelta(seconds=10)


def let_go(turn: Turn) -> Decision | None:
    """The end of an experiment that runs, or that one does not start; None: nobody asks for it."""
    wish = _wish(turn)
    if wish is None:
        return None
    wanted = f"{wish.by} asked to {wish.verb} to {wish.version.name} on Endpoint {turn.endpoint.name}"
    if turn.experiment.status.t0 is None:
        message = f"{wanted}; this experiment starts afterwards"
        waiting = turn.experiment.status.model_copy(update={"phase": ABExperimentPhase.PENDING})
        facts = (Fact(kind, holds, Reason.CHAMPION_BY_HAND, message) for kind, holds in _WAITS)
        return turn.decision(waiting, *facts, again=_LOOK)
    why = f": {wish.reason}" if wish.reason else ""
    return abort(
        turn, turn.experiment.status, End("abort", Reason.CHAMPION_BY_HAND, f"aborted: {wanted}{why}", turn.now)
    )


def _wish(turn: Turn) -> ByHandStatus | None:
    """What is asked for by hand of the Endpoint that this experiment holds."""
    point = turn.seen.endpoint
    if point is None or point.status.by_hand is None or point.status.active_experiment is None:
        return None
    return point.status.by_hand if point.status.active_experiment.uid == turn.experiment.metadata.uid else None
