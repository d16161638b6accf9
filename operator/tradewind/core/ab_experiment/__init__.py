r"""ABExperiment: a candidate against the baseline on one Endpoint's decisions, until the evidence says which.

    Pending --admissible, Endpoint given--> Running --promote--> Decided --approved--> Ramping --stable--> Succeeded
       \                                      |  \--rollback, guardrail---------------/--> RolledBack
        \--never admissible: stays Pending    |--maxDuration, end of the data--> Inconclusive
                                              \--annotation abort--> Aborted           (terminal states never act)

The clock is the wall in Live and the data in Replay. In Replay everything is a function of the rows at the start of each
block, so that it does not matter when, or how often, the operator looked.
"""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from tradewind.api.ab_experiment import ABExperiment, Mode
from tradewind.api.ab_experiment_status import ABExperimentPhase, ABExperimentStatus, RampStatus
from tradewind.api.common import WeightStatus
from tradewind.core.ab_experiment.looks import between_blocks, live, replay, replay_has_news
from tradewind.core.ab_experiment.start import pending
from tradewind.core.ab_experiment.status import (
    LIVE_LOOK,
    Reason,
    Seen,
    baseline_name,
    handled,
    weighted,
    with_conditions,
)
from tradewind.core.ab_experiment.verdict import end, ramp
from tradewind.core.conditions import Fact
from tradewind.core.decision import Decision
from tradewind.core.endpoint import TERMINAL
from tradewind.core.verbs import pending_verb

__all__ = ["Reason", "Seen", "baseline_name", "decide", "replay_has_news"]


def decide(experiment: ABExperiment, seen: Seen, now: datetime) -> Decision:
    """What to do about an experiment now."""
    decision = _decide(experiment, seen, now)
    status = decision.status
    assert isinstance(status, ABExperimentStatus)
    if status.weight is None or status.phase in TERMINAL or experiment.metadata.deletion_timestamp is not None:
        return decision
    return replace(decision, status=status.model_copy(update={"weight": _applied(experiment, status.weight, seen)}))


def _decide(experiment: ABExperiment, seen: Seen, now: datetime) -> Decision:
    status = experiment.status
    if status.phase in TERMINAL or experiment.metadata.deletion_timestamp is not None:
        return Decision(status)
    verb = pending_verb(experiment, ("abort", "pause", "resume", "approve"))
    if verb is not None and verb.name == "abort":
        by = (verb.by or "annotation")[:128]
        if seen.database_error is not None and status.t0 is not None:
            message = f"aborted by {by}: the weight is 0 at once; the verdict waits for the database"
            facts = [Fact("Running", False, Reason.ABORTING, message)]
            return Decision(
                with_conditions(experiment, weighted(status, Decimal(0)), facts, now), requeue_after=LIVE_LOOK
            )
        status = handled(status, verb.name, verb.request)
        return end(experiment, status, now, "abort", Reason.ABORTED, f"aborted by {by}", now, None)
    if status.t0 is None:
        return pending(experiment, seen, now)
    if verb is not None:
        status = handled(status, verb.name, verb.request)
        if verb.name == "approve" and status.phase is ABExperimentPhase.DECIDED:  # not before there is what to approve
            status = status.model_copy(update={"approved_by": (verb.by or "annotation")[:128]})
        elif verb.name == "pause":
            status = status.model_copy(update={"phase": ABExperimentPhase.PAUSED})
        elif verb.name == "resume" and status.phase is ABExperimentPhase.PAUSED:
            status = _resumed(status, now)
    if status.phase is ABExperimentPhase.PAUSED:
        facts = [Fact("Running", False, Reason.PAUSED, "the candidate's weight is 0 until resume")]
        return Decision(with_conditions(experiment, weighted(status, Decimal(0)), facts, now))
    if seen.table is None and seen.database_error is None and seen.endpoint is not None:
        return Decision(between_blocks(experiment, status, seen, now))  # a replay between two blocks
    if seen.database_error is not None or seen.table is None or seen.requests is None or seen.endpoint is None:
        missing = seen.database_error or "the Endpoint does not exist"
        reason = Reason.DATABASE_UNREACHABLE if seen.database_error else Reason.ENDPOINT_MISSING
        facts = [Fact("EvidenceKnown", None, reason, f"{missing}; weights stay as they are and expire")]
        return Decision(with_conditions(experiment, status, facts, now), requeue_after=LIVE_LOOK)
    match status.phase:
        case ABExperimentPhase.DECIDED | ABExperimentPhase.RAMPING:
            return ramp(experiment, status, seen, now)
        case _:
            if experiment.spec.mode is Mode.REPLAY:
                return replay(experiment, status, seen, now)
            return live(experiment, status, seen, now)


def _applied(experiment: ABExperiment, weight: WeightStatus, seen: Seen) -> WeightStatus:
    """The weight, and whether every gateway obeys it."""
    point = seen.endpoint.status if seen.endpoint is not None else None
    if point is None or point.weights is None or point.active_experiment is None:
        return weight
    mine = point.active_experiment.uid == experiment.metadata.uid and point.weights.desired == weight.desired
    return weight.model_copy(update={"applied": point.weights.applied if mine else None})


def _resumed(status: ABExperimentStatus, now: datetime) -> ABExperimentStatus:
    """Back to where it was: a step of the ramp, and the time without a fault, start anew."""
    if status.verdict is None:
        return status.model_copy(update={"phase": ABExperimentPhase.RUNNING})
    if status.ramp is None:
        return status.model_copy(update={"phase": ABExperimentPhase.DECIDED})
    ramp = RampStatus(step=status.ramp.step, since=now.replace(microsecond=0))
    return status.model_copy(update={"phase": ABExperimentPhase.RAMPING, "ramp": ramp})
