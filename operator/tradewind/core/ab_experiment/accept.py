"""The verb accept: an arm became something else, and a person takes that for the arm from now on.

What was measured before is no evidence on what answers now, so the evidence starts anew with the next block, as another test
of the pair. Here belongs whether that may be, and its record. What follows for the numbers is the statistic's business
(trading/evidence/spec.py).
"""

from datetime import datetime

from tradewind.api.ab_experiment_status import (
    ABExperimentPhase,
    ABExperimentStatus,
    AcceptedChange,
    AcceptStatus,
)
from tradewind.core.ab_experiment.obey import declined, of_verb
from tradewind.core.ab_experiment.seen import Reason
from tradewind.core.ab_experiment.turn import Turn, handled, noted
from tradewind.core.conditions import Fact
from tradewind.core.verbs import Verb
from tradewind.trading.evidence import ArmChange, change_reason
from tradewind.trading.evidence.settings import MIN_BLOCKS

MOST = 16
"""Accepts of one experiment; alpha is 65,536 times smaller then."""

_OVER = frozenset({ABExperimentPhase.DECIDED, ABExperimentPhase.RAMPING})


def accept(turn: Turn, verb: Verb) -> Turn:
    """The turn after the verb was carried out or refused; as it was where the rows are not known yet: the verb waits."""
    status, seen = turn.experiment.status, turn.seen
    if status.t0 is None:
        return _refused(turn, verb, Reason.NOT_RUNNING, "the experiment has not started: what answers then is compared")
    if status.phase in _OVER or status.verdict is not None:
        return _refused(turn, verb, Reason.NOT_RUNNING, "there is a verdict already: `tradewind abort` takes it back")
    if seen.database_error is not None or seen.endpoint is None or seen.table is None or seen.requests is None:
        return turn
    look = seen.clock if turn.replays else max(turn.now, turn.t0)
    if look is None or look < turn.t0:
        return _refused(turn, verb, Reason.NOTHING_TO_ACCEPT, "the experiment has no decisions yet")
    changes = (turn.at(look) if turn.replays else turn).judge(look).changes
    if not changes:
        why = "both arms answer as what they were in the first block of the evidence"
        return _refused(turn, verb, Reason.NOTHING_TO_ACCEPT, why)
    block = int((look - turn.t0) // turn.spec.block_length) + 1
    left = turn.spec.max_blocks - block
    if left < MIN_BLOCKS or len(status.accepted or ()) >= MOST:
        why = f"{max(left, 0)} blocks are left before maxDuration, and no verdict is reached before {MIN_BLOCKS}"
        if left >= MIN_BLOCKS:
            why = f"{MOST} changes were accepted before"
        return _refused(turn, verb, Reason.TOO_LATE_TO_ACCEPT, f"{why}: abort this experiment and begin a new one")
    return turn.having(_recorded(turn, verb, look, block, changes))


def _recorded(turn: Turn, verb: Verb, look: datetime, block: int, changes: tuple[ArmChange, ...]) -> ABExperimentStatus:
    by = verb.asker
    entry = AcceptStatus(
        time=look,
        by=by,
        block=block,
        changes=tuple(
            AcceptedChange(
                arm=change.arm.value, known=tuple(name[:256] for name in change.known[:16]), now=change.now[:256]
            )
            for change in changes
        ),
    )
    status = handled(turn.experiment.status, verb.name, verb.request)
    status = status.model_copy(update={"accepted": (*(status.accepted or ()), entry)})
    told = " and ".join(f"the {c.arm.value} as {c.now} (it was {' or '.join(c.known)})" for c in changes)
    message = (
        f"{by} accepted {told}; the evidence starts anew at {turn.block_start(block).isoformat()}, with block {block}, "
        f"at alpha {turn.having(status).spec.alpha:g}"
    )
    status = noted(status, of_verb(verb, look, Reason.ACCEPTED, message, done=True, block=block))
    settled = [Fact(change_reason(change).value, False, Reason.ACCEPTED, message) for change in changes]
    return turn.says(status, [Fact("Accepted", True, Reason.ACCEPTED, message), *settled])


def _refused(turn: Turn, verb: Verb, reason: Reason, why: str) -> Turn:
    status = declined(turn, turn.experiment.status, verb, reason, why)
    return turn.having(turn.says(status, [Fact("Accepted", False, reason, status.history[-1].message)]))
