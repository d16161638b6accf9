r"""ABExperiment: a candidate against the baseline on one Endpoint's decisions, until the evidence says which.

    Pending --admissible, Endpoint given--> Running --promote--> Decided --approved--> Ramping --stable--> Succeeded
       \                                      |  \--rollback, guardrail---------------/--> RolledBack
        \--never admissible: stays Pending    |--maxDuration, end of the data--> Inconclusive
                                              \--abort, champion by hand--> Aborted    (terminal states never act)

The clock is the wall in Live and the data in Replay. In Replay everything is a function of the rows at the start of each
block, so that it does not matter when, or how often, the operator looked.
"""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.ab_experiment_status import ABExperimentPhase, ABExperimentStatus
from tradewind.core.ab_experiment.accept import accept
from tradewind.core.ab_experiment.by_hand import let_go
from tradewind.core.ab_experiment.forgotten import forgotten, without_evidence
from tradewind.core.ab_experiment.looks import between_blocks, live, newest_look, replay, replay_has_news
from tradewind.core.ab_experiment.obey import asked, obeyed, over
from tradewind.core.ab_experiment.seen import Reason, Seen
from tradewind.core.ab_experiment.start import pending
from tradewind.core.ab_experiment.turn import LIVE_LOOK, Turn, baseline_name, handled, weighted
from tradewind.core.ab_experiment.verdict import End, abort, ramp
from tradewind.core.conditions import Fact
from tradewind.core.decision import Decision
from tradewind.core.endpoint import TERMINAL
from tradewind.core.endpoint.by_hand import LONGEST_REASON
from tradewind.core.verbs import PREFIX, Verb, one_line

__all__ = ["Reason", "Seen", "Turn", "baseline_name", "decide", "newest_look", "replay_has_news"]


def decide(experiment: ABExperiment, seen: Seen, now: datetime) -> Decision:
    """What to do about an experiment now."""
    turn = Turn(experiment, seen, now)
    if experiment.metadata.deletion_timestamp is not None:
        return Decision(experiment.status)
    if experiment.status.phase in TERMINAL:
        return Decision(over(turn))
    decision = _decide(turn)
    status = decision.status
    assert isinstance(status, ABExperimentStatus)
    if status.weight is None or status.phase in TERMINAL:
        return decision
    return replace(decision, status=_routed(turn, status))


def _decide(turn: Turn) -> Decision:
    status = turn.experiment.status
    verb = asked(turn.experiment)
    if verb is not None and verb.name == "abort":
        return _aborted(turn, verb)
    gone = let_go(turn)
    if gone is not None:
        return gone
    if verb is not None and verb.name == "accept":
        turn = accept(turn, verb)
        status = turn.experiment.status
    elif verb is not None:
        status = obeyed(turn, status, verb)
    if status.t0 is None:
        return pending(turn.having(status))
    if status.phase is ABExperimentPhase.PAUSED:
        message = "the candidate's weight is 0 until resume"
        paused = weighted(status, Decimal(0), Reason.PAUSED, message, turn.now)
        return turn.decision(paused, Fact("Running", False, Reason.PAUSED, message))
    seen = turn.seen
    if seen.database_error is not None or seen.endpoint is None:
        why = seen.database_error or "the Endpoint does not exist"
        reason = Reason.DATABASE_UNREACHABLE if seen.database_error else Reason.ENDPOINT_MISSING
        unknown = Fact("EvidenceKnown", None, reason, f"{why}; weights stay as they are and expire")
        return turn.decision(status, unknown, again=LIVE_LOOK)
    missing = forgotten(turn)
    if missing is not None:
        return without_evidence(turn, status, missing)
    if seen.table is None or seen.requests is None:
        return between_blocks(turn, status)  # a replay between two blocks
    if status.phase in (ABExperimentPhase.DECIDED, ABExperimentPhase.RAMPING):
        return ramp(turn, status)
    return replay(turn, status) if turn.replays else live(turn, status)


def _aborted(turn: Turn, verb: Verb) -> Decision:
    status = turn.experiment.status
    if turn.seen.database_error is None or status.t0 is None:
        status = handled(status, verb.name, verb.request)
    why = one_line(turn.experiment.metadata.annotations.get(f"{PREFIX}reason", ""))[:LONGEST_REASON]
    message = f"aborted by {verb.asker}" + (f": {why}" if why else "")
    return abort(turn, status, End("abort", Reason.ABORTED, message, turn.now, verb=verb))


def _routed(turn: Turn, status: ABExperimentStatus) -> ABExperimentStatus:
    """The status with what became of its weight: whether every gateway obeys it, as the Endpoint says."""
    weight, point = status.weight, turn.seen.endpoint.status if turn.seen.endpoint is not None else None
    if weight is None or point is None or point.weights is None or point.active_experiment is None:
        return status
    if point.active_experiment.uid != turn.experiment.metadata.uid:
        message = f"the Endpoint runs ABExperiment {point.active_experiment.name}"
        status = status.model_copy(update={"weight": weight.model_copy(update={"applied": None})})
        return turn.says(status, [Fact("WeightsApplied", False, Reason.NOT_ROUTED, message)])
    same = point.weights.desired == weight.desired
    applied = weight.model_copy(update={"applied": point.weights.applied if same else None})
    status = status.model_copy(update={"weight": applied})
    theirs = point.condition("WeightsApplied")
    if theirs is None:
        return status
    holds = {"True": True, "False": False}.get(theirs.status.value)
    return turn.says(status, [Fact("WeightsApplied", holds, theirs.reason, theirs.message)])
