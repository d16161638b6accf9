"""The verdict and what follows: terminal at once, or approval, ramp and a time without a fault."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np

from tradewind.api.ab_experiment_status import (
    ABExperimentPhase,
    ABExperimentStatus,
    HistoryEntry,
    RampStatus,
    VerdictStatus,
)
from tradewind.core.ab_experiment.obey import of_verb
from tradewind.core.ab_experiment.seen import Reason
from tradewind.core.ab_experiment.turn import LIVE_LOOK, Turn, noted, weighted
from tradewind.core.conditions import Fact
from tradewind.core.decision import Decision, Effect, RecordVerdict
from tradewind.core.verbs import Verb
from tradewind.schema.scalars import as_timedelta
from tradewind.trading.evidence import Judgement, Requests, from_us, judgement_json, to_us

_FAULT_SHARE = 0.01
_PHASES = {
    "promote": ABExperimentPhase.SUCCEEDED,
    "rollback": ABExperimentPhase.ROLLED_BACK,
    "inconclusive": ABExperimentPhase.INCONCLUSIVE,
    "abort": ABExperimentPhase.ABORTED,
}


@dataclass(frozen=True)
class End:
    """How an experiment ends.

    Attributes:
        decision: promote, rollback, inconclusive or abort.
        reason: why, as a fixed word.
        message: why, in words.
        look: when, on the experiment's clock.
        judgement: what it rests on; None: on a wish.
        verb: the wish, where it was one.
    """

    decision: str
    reason: str
    message: str
    look: datetime
    judgement: Judgement | None = None
    verb: Verb | None = None


def concluded(turn: Turn, status: ABExperimentStatus, look: datetime, effects: tuple[Effect, ...] = ()) -> Decision:
    """The end that the statistic's judgement at that look asks for."""
    judgement = turn.judge(look)
    verdict = judgement.verdict
    return end(turn, status, End(verdict.verdict.value, verdict.reason, verdict.message, look, judgement), effects)


def end(turn: Turn, status: ABExperimentStatus, how: End, effects: tuple[Effect, ...] = ()) -> Decision:
    """The verdict, stored; a live promotion goes on to approval and ramp, all else is terminal."""
    reason, message = str(how.reason), how.message[:1024]
    block = how.judgement.evidence.block if how.judgement is not None else None
    verdict = VerdictStatus.model_validate(
        {"decision": how.decision, "reason": reason, "message": message, "time": how.look, "block": block}
    )
    entry = HistoryEntry(time=how.look, block=block, reason=reason, message=message)
    if how.verb is not None:
        entry = of_verb(how.verb, how.look, Reason(reason), message, done=True)
    status = noted(status, entry)
    status = status.model_copy(update={"verdict": verdict})
    if status.t0 is not None and status.baseline_ref is not None:
        effects += (
            RecordVerdict(
                endpoint=turn.experiment.spec.endpoint_ref.name,
                experiment_uid=turn.experiment.metadata.uid,
                decision=how.decision,
                reason=reason,
                message=message,
                decided_at=how.look,
                evidence=_record(status, how.judgement),
            ),
        )
    if how.decision != "promote" or turn.replays:
        return _terminal(turn, status, how, effects)
    status = status.model_copy(update={"phase": ABExperimentPhase.DECIDED})
    facts = Fact("EvidenceKnown", True, reason, how.message), Fact("Succeeded", None, reason, how.message)
    return turn.decision(status, *facts, effects=effects, again=timedelta(0))


def abort(turn: Turn, status: ABExperimentStatus, how: End) -> Decision:
    """Over at once; a verdict that cannot be stored waits, but not the weight."""
    if turn.seen.database_error is None or status.t0 is None:
        return end(turn, status, how)
    message = f"{how.message}: the weight is 0 at once; the verdict waits for the database"
    stopped = weighted(status, Decimal(0), Reason.ABORTING, message, turn.now)
    return turn.decision(stopped, Fact("Running", False, Reason.ABORTING, message), again=LIVE_LOOK)


def _record(status: ABExperimentStatus, judgement: Judgement | None) -> dict[str, object]:
    """What is stored of the evidence: the judgement, and what was accepted, which counts as tests of the pair."""
    judged = judgement_json(judgement) if judgement is not None else {}
    accepted = [entry.to_manifest() for entry in status.accepted or ()]
    return {**judged, "accepted": accepted} if accepted else {**judged}


def _terminal(turn: Turn, status: ABExperimentStatus, how: End, effects: tuple[Effect, ...] = ()) -> Decision:
    """The last status: a terminal state never acts again."""
    promoted = how.decision == "promote"
    done = weighted(status, Decimal(1 if promoted else 0), how.reason, how.message, how.look)
    return turn.decision(
        done.model_copy(update={"phase": _PHASES[how.decision], "completion_time": turn.now.replace(microsecond=0)}),
        Fact("Running", False, how.reason, how.message),
        Fact("EvidenceKnown", True, how.reason, how.message),
        Fact("Succeeded", promoted, how.reason, how.message),
        effects=effects,
    )


def ramp(turn: Turn, status: ABExperimentStatus) -> Decision:
    """From the verdict to all decisions: steps, then a time without a fault. A guardrail still ends it at once."""
    turn = turn.not_before_start()
    judgement = turn.judge(turn.now)
    if judgement.tripped is not None or turn.to_be_shown(status):
        status = turn.shown(status, turn.now)
    if judgement.tripped is not None:
        reason, row = judgement.tripped.reason, judgement.tripped.first_row
        message = f"guardrail {reason} tripped during the ramp, at row {row}"
        return end(turn, status, End("rollback", reason, message, turn.now, judgement))
    asks = _asks_for_approval(turn)
    if asks is not None and status.approved_by is None:
        message = f"promotion waits for approval, since {asks}: `tradewind approve {turn.experiment.name}`"
        if turn.seen.epochs:  # a pause or a failed decision may have taken the weight back
            newest = max(turn.seen.epochs, key=lambda row: row.block)
            status = weighted(status, newest.candidate_weight, Reason.APPROVAL_NEEDED, message, turn.now)
        return turn.decision(status, Fact("Succeeded", None, Reason.APPROVAL_NEEDED, message), again=LIVE_LOOK)
    return _climbed(turn, status.model_copy(update={"phase": ABExperimentPhase.RAMPING}))


def _asks_for_approval(turn: Turn) -> str | None:
    """Why a person has to approve a promotion; None: nobody has to. One that goes on already was let go on."""
    if turn.experiment.spec.on_promote.approval == "manual":
        return "onPromote.approval is manual"
    if turn.endpoint.spec.allow_auto_promote or turn.experiment.status.ramp is not None:
        return None
    return f"allowAutoPromote of Endpoint {turn.endpoint.name} is false"


def _climbed(turn: Turn, status: ABExperimentStatus) -> Decision:
    """The step of the ramp that has come, or the time without a fault after the last one."""
    steps, now = turn.experiment.spec.on_promote.ramp, turn.now
    ramp = status.ramp or RampStatus(step=0, since=now.replace(microsecond=0))
    step, since = ramp.step or 0, ramp.since or now
    while step < len(steps) and now - since >= as_timedelta(steps[step].duration or "0s"):
        since += as_timedelta(steps[step].duration or "0s")
        step += 1
    if step == len(steps):
        return _stable(turn, status, RampStatus(step=step, since=since, stable_since=ramp.stable_since or since))
    weight = Decimal(steps[step].weight)
    message = f"step {step + 1} of {len(steps)} at weight {weight}"
    status = weighted(status, weight, Reason.RAMP_STEP, message, since)
    status = status.model_copy(update={"ramp": RampStatus(step=step, since=since)})
    return turn.decision(status, Fact("Succeeded", None, Reason.RAMPING, message), again=LIVE_LOOK)


def _stable(turn: Turn, status: ABExperimentStatus, ramp: RampStatus) -> Decision:
    """At the end of the ramp: done once there was no fault for long enough."""
    promote, since = turn.experiment.spec.on_promote, ramp.stable_since
    assert since is not None
    since = _newest_fault(turn.requests, since) or since
    if turn.now - since >= as_timedelta(promote.stability):
        return _terminal(turn, status, End("promote", Reason.PROMOTED, "promoted: ramped and stable", turn.now))
    message = f"without a fault since {since.isoformat()}"
    status = weighted(status, Decimal(1) - Decimal(promote.holdback), Reason.STABILISING, message, ramp.since or since)
    status = status.model_copy(update={"ramp": ramp.model_copy(update={"stable_since": since})})
    return turn.decision(status, Fact("Succeeded", None, Reason.STABILISING, message), again=LIVE_LOOK)


def _newest_fault(requests: Requests, since: datetime) -> datetime | None:
    """When the candidate last failed, where more than 1 % of its requests since then failed or fell back."""
    mine = requests.candidate & (requests.decided_us > to_us(since, "since"))
    bad = mine & (requests.failed | requests.fallback)
    if np.count_nonzero(bad) <= _FAULT_SHARE * np.count_nonzero(mine):
        return None
    return from_us(int(requests.decided_us[bad].max()))
