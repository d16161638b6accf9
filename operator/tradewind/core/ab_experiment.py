r"""ABExperiment: a candidate against the baseline on one Endpoint's decisions, until the evidence says which.

    Pending --admissible, Endpoint given--> Running --promote--> Decided --approved--> Ramping --stable--> Succeeded
       \                                      |  \--rollback, guardrail---------------/--> RolledBack
        \--never admissible: stays Pending    |--maxDuration, end of the data--> Inconclusive
                                              \--annotation abort--> Aborted           (terminal states never act)

The clock is the wall in Live and the data in Replay. In Replay everything is a function of the rows at the start of each
block, so that it does not matter when, or how often, the operator looked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import numpy as np

from tradewind.api.ab_experiment import (
    ABExperiment,
    ABExperimentPhase,
    ABExperimentStatus,
    HistoryEntry,
    Mode,
    RampStatus,
    VerdictStatus,
)
from tradewind.api.common import VersionStatusRef, WeightStatus, as_milliseconds, as_timedelta
from tradewind.api.endpoint import Clock, Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.core.arms import Requests, arm_statuses, comparison, utc64
from tradewind.core.conditions import Fact, is_true, with_facts
from tradewind.core.decision import Decision, Effect, PublishEpoch, RecordExperiment, RecordVerdict
from tradewind.core.endpoint import TERMINAL, EpochRow, version_sha256
from tradewind.core.evidence import evidence_spec, evidence_status, guardrail_status
from tradewind.core.verbs import pending_verb
from tradewind.trading.evidence import (
    EvidenceSpec,
    Judgement,
    RequestLog,
    TradeTable,
    Verdict,
    candidate_weight_for_block,
    judge,
    judgement_json,
)
from tradewind.trading.evidence.table import to_us

HISTORY_LENGTH = 50
_LIVE_LOOK = timedelta(seconds=30)
_SHOWN_EVERY = timedelta(seconds=10)
_FAULT_SHARE = 0.01


class Reason(StrEnum):
    """Why a condition says what it says. Verdicts bring their own reasons from the statistic."""

    ENDPOINT_MISSING = "EndpointMissing"
    ENDPOINT_BUSY = "EndpointBusy"
    CLOCK_MISMATCH = "ClockMismatch"
    VERSION_MISSING = "VersionMissing"
    VERSION_NOT_READY = "VersionNotReady"
    SAME_VERSION = "SameVersion"
    ALREADY_TESTED = "AlreadyTested"
    DATABASE_UNREACHABLE = "DatabaseUnreachable"
    UNSUPPORTED = "Unsupported"
    ADMISSIBLE = "Admissible"
    STARTED = "Started"
    RUNNING = "Running"
    PAUSED = "Paused"
    APPROVAL_NEEDED = "ApprovalNeeded"
    RAMPING = "Ramping"
    RAMP_STEP = "RampStep"
    STABILISING = "Stabilising"
    PROMOTED = "Promoted"
    ABORTED = "Aborted"
    ABORTING = "Aborting"
    REPLAY_ENDED = "ReplayEnded"
    BASELINE_CHANGED = "BaselineChanged"


@dataclass(frozen=True, slots=True)
class Seen:
    """Facts about an experiment; None is: not there, or not known.

    Attributes:
        table: every evidence row, and the baseline's decisions before t0 with weight 0.
        requests: every evidence request with latency, error and cost, in time order.
        epochs: stored weights of this experiment.
        clock: newest `as_of` that a replay asked for.
        tested_before: how often this pair was compared before this experiment started.
    """

    endpoint: Endpoint | None = None
    versions: Mapping[str, ModelVersion] = field(default_factory=dict)
    table: TradeTable | None = None
    requests: Requests | None = None
    epochs: tuple[EpochRow, ...] = ()
    clock: datetime | None = None
    tested_before: int = 0
    database_error: str | None = None


def decide(experiment: ABExperiment, seen: Seen, now: datetime) -> Decision:
    """What to do about an experiment now."""
    decision = _decide(experiment, seen, now)
    status = decision.status
    assert isinstance(status, ABExperimentStatus)
    if status.weight is None or status.phase in TERMINAL or experiment.metadata.deletion_timestamp is not None:
        return decision
    return replace(decision, status=status.model_copy(update={"weight": _applied(experiment, status.weight, seen)}))


def _applied(experiment: ABExperiment, weight: WeightStatus, seen: Seen) -> WeightStatus:
    """The weight, and whether every gateway obeys it."""
    point = seen.endpoint.status if seen.endpoint is not None else None
    if point is None or point.weights is None or point.active_experiment is None:
        return weight
    mine = point.active_experiment.uid == experiment.metadata.uid and point.weights.desired == weight.desired
    return weight.model_copy(update={"applied": point.weights.applied if mine else None})


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
            return Decision(_with(experiment, _weighted(status, Decimal(0)), facts, now), requeue_after=_LIVE_LOOK)
        status = _handled(status, verb.name, verb.request)
        return _end(experiment, status, now, "abort", Reason.ABORTED, f"aborted by {by}", now, None)
    if status.t0 is None:
        return _pending(experiment, seen, now)
    if verb is not None:
        status = _handled(status, verb.name, verb.request)
        if verb.name == "approve" and status.phase is ABExperimentPhase.DECIDED:  # not before there is what to approve
            status = status.model_copy(update={"approved_by": (verb.by or "annotation")[:128]})
        elif verb.name == "pause":
            status = status.model_copy(update={"phase": ABExperimentPhase.PAUSED})
        elif verb.name == "resume" and status.phase is ABExperimentPhase.PAUSED:
            status = _resumed(status, now)
    if status.phase is ABExperimentPhase.PAUSED:
        facts = [Fact("Running", False, Reason.PAUSED, "the candidate's weight is 0 until resume")]
        return Decision(_with(experiment, _weighted(status, Decimal(0)), facts, now))
    if seen.table is None and seen.database_error is None and seen.endpoint is not None:
        return Decision(_waiting(experiment, status, seen, now))  # a replay between two blocks
    if seen.database_error is not None or seen.table is None or seen.requests is None or seen.endpoint is None:
        missing = seen.database_error or "the Endpoint does not exist"
        reason = Reason.DATABASE_UNREACHABLE if seen.database_error else Reason.ENDPOINT_MISSING
        facts = [Fact("EvidenceKnown", None, reason, f"{missing}; weights stay as they are and expire")]
        return Decision(_with(experiment, status, facts, now), requeue_after=_LIVE_LOOK)
    match status.phase:
        case ABExperimentPhase.DECIDED | ABExperimentPhase.RAMPING:
            return _ramp(experiment, status, seen, now)
        case _:
            if experiment.spec.mode is Mode.REPLAY:
                return _replay(experiment, status, seen, now)
            return _live(experiment, status, seen, now)


def _resumed(status: ABExperimentStatus, now: datetime) -> ABExperimentStatus:
    """Back to where it was: a step of the ramp, and the time without a fault, start anew."""
    if status.verdict is None:
        return status.model_copy(update={"phase": ABExperimentPhase.RUNNING})
    if status.ramp is None:
        return status.model_copy(update={"phase": ABExperimentPhase.DECIDED})
    ramp = RampStatus(step=status.ramp.step, since=now.replace(microsecond=0))
    return status.model_copy(update={"phase": ABExperimentPhase.RAMPING, "ramp": ramp})


def replay_has_news(
    experiment: ABExperiment, epochs: Sequence[EpochRow], clock: datetime | None, block: timedelta
) -> bool:
    """Whether a replay has reached a block without a weight, or its end: else there is nothing to compute."""
    t0, replay = experiment.status.t0, experiment.spec.replay
    if t0 is None or replay is None or clock is None or clock < t0:
        return False
    if replay.end_time is not None and clock >= replay.end_time:
        return True
    return int((clock - t0) // block) not in {row.block for row in epochs}


# --- before the start ------------------------------------------------------------------------------------------------


def _pending(experiment: ABExperiment, seen: Seen, now: datetime) -> Decision:
    blocked = _inadmissible(experiment, seen)
    pending = experiment.status.model_copy(update={"phase": ABExperimentPhase.PENDING})
    if blocked is not None:
        facts = [Fact("Admissible", False, blocked[0], blocked[1]), Fact("Succeeded", None, blocked[0], blocked[1])]
        return Decision(_with(experiment, pending, facts, now), requeue_after=timedelta(seconds=10))
    assert seen.endpoint is not None
    admissible = Fact("Admissible", True, Reason.ADMISSIBLE, "can start as soon as the Endpoint is free")
    active = seen.endpoint.status.active_experiment
    if active is None or active.uid != experiment.metadata.uid:
        holder = (
            f"Endpoint {seen.endpoint.name} runs ABExperiment {active.name}" if active else "waiting for the Endpoint"
        )
        message = f"{holder}: one experiment runs at a time; this one starts when it ends"
        facts = [admissible, Fact("Succeeded", None, Reason.ENDPOINT_BUSY, message)]
        return Decision(_with(experiment, pending, facts, now))
    return _start(experiment, pending, seen, now, admissible)


def _inadmissible(experiment: ABExperiment, seen: Seen) -> tuple[Reason, str] | None:
    spec, endpoint = experiment.spec, seen.endpoint
    if endpoint is None:
        name = spec.endpoint_ref.name
        return (
            Reason.ENDPOINT_MISSING,
            f"spec.endpointRef.name: Endpoint {name!r} does not exist: create it or correct it",
        )
    wanted = Clock.REPLAY if spec.mode is Mode.REPLAY else Clock.LIVE
    if endpoint.spec.clock is not wanted:
        message = (
            f"spec.mode {spec.mode} needs an Endpoint with clock {wanted}; {endpoint.name} has {endpoint.spec.clock}"
        )
        return Reason.CLOCK_MISMATCH, message
    if spec.traffic.mirror:
        return Reason.UNSUPPORTED, "spec.traffic.mirror is not supported yet: leave it out"
    baseline = baseline_name(experiment, endpoint)
    if baseline is None:
        return Reason.VERSION_NOT_READY, f"Endpoint {endpoint.name} has no champion yet to compare with"
    if baseline == spec.candidate:
        return Reason.SAME_VERSION, f"spec.candidate: {baseline} is the baseline already; name another ModelVersion"
    for field_name, name in (("baseline", baseline), ("candidate", spec.candidate)):
        version = seen.versions.get(name)
        if version is None:
            return (
                Reason.VERSION_MISSING,
                f"spec.{field_name}: ModelVersion {name!r} does not exist: create it or correct it",
            )
        if not is_true(version.status.conditions, "Ready"):
            return Reason.VERSION_NOT_READY, f"spec.{field_name}: ModelVersion {name} is not Ready yet"
    if seen.database_error is not None:
        return Reason.DATABASE_UNREACHABLE, seen.database_error
    if seen.tested_before and spec.retest == "never":
        times = f"{seen.tested_before} time(s)"
        message = f"{spec.candidate} was compared with {baseline} {times} before: set spec.retest: allowed to test again at alpha/2^k"
        return Reason.ALREADY_TESTED, message
    return None


def _start(
    experiment: ABExperiment, status: ABExperimentStatus, seen: Seen, now: datetime, admissible: Fact
) -> Decision:
    assert seen.endpoint is not None
    name = baseline_name(experiment, seen.endpoint)
    assert name is not None
    baseline, candidate = seen.versions[name], seen.versions[experiment.spec.candidate]
    replay = experiment.spec.replay
    t0 = replay.start_time if replay is not None else now.replace(microsecond=0)
    spec = _spec(experiment, seen)
    record = RecordExperiment(
        endpoint=seen.endpoint.name,
        experiment_uid=experiment.metadata.uid,
        name=experiment.name,
        mode=experiment.spec.mode.value,
        baseline=baseline.name,
        baseline_sha256=version_sha256(baseline),
        candidate=candidate.name,
        candidate_sha256=version_sha256(candidate),
        t0=t0,
        alpha=spec.effective_alpha(),
        spec=experiment.spec.to_manifest(),
    )
    entry = HistoryEntry(time=t0, reason=Reason.STARTED, message=f"{candidate.name} against {baseline.name}")
    started = status.model_copy(
        update={
            "phase": ABExperimentPhase.RUNNING,
            "t0": t0,
            "start_time": now.replace(microsecond=0),
            "baseline_ref": VersionStatusRef(
                name=baseline.name, uid=baseline.metadata.uid, sha256=record.baseline_sha256
            ),
            "candidate_ref": VersionStatusRef(
                name=candidate.name, uid=candidate.metadata.uid, sha256=record.candidate_sha256
            ),
            "weight": WeightStatus(desired="0"),
            "history": _history(status, entry),
        }
    )
    facts = [
        admissible,
        Fact("Running", True, Reason.RUNNING, "collecting evidence"),
        Fact("Succeeded", None, Reason.RUNNING, "no verdict yet"),
    ]
    return Decision(_with(experiment, started, facts, now), (record,), timedelta(0))


# --- collecting evidence ---------------------------------------------------------------------------------------------


def _live(experiment: ABExperiment, status: ABExperimentStatus, seen: Seen, now: datetime) -> Decision:
    t0 = status.t0
    assert t0 is not None
    spec = _spec(experiment, seen)
    now = max(now, t0)  # another node's clock may be behind
    judgement = _judge(experiment, seen, spec, t0, now)
    ends = judgement.verdict.verdict is not Verdict.CONTINUE
    if ends or _to_be_shown(status, now):
        status = _shown(experiment, status, seen, judgement, spec, now)
    if ends:
        return _concluded(experiment, status, now, judgement, now)
    block = int((now - t0) // spec.block_length)
    effects, status = _publish(experiment, status, seen, spec, judgement, block, t0 + block * spec.block_length)
    next_block = t0 + (block + 1) * spec.block_length - now
    again = timedelta(0) if effects else min(_LIVE_LOOK, next_block)
    return Decision(_running(experiment, status, judgement, now), effects, again)


def _replay(experiment: ABExperiment, status: ABExperimentStatus, seen: Seen, now: datetime) -> Decision:
    t0, replay = status.t0, experiment.spec.replay
    assert t0 is not None
    assert replay is not None
    spec = _spec(experiment, seen)
    effects: tuple[Effect, ...] = ()
    if seen.clock is None or seen.clock < t0:
        facts = [Fact("Running", True, Reason.RUNNING, "waiting for the replay to reach its start")]
        return Decision(_with(experiment, status, facts, now))
    clock = seen.clock if replay.end_time is None else min(seen.clock, replay.end_time)
    reached = int((clock - t0) // spec.block_length)
    stored = {row.block for row in seen.epochs}
    judgement: Judgement | None = None
    for block in (b for b in range(reached + 1) if b not in stored):
        look = t0 + block * spec.block_length
        then = _before(seen, look)
        judgement = _judge(experiment, then, spec, t0, look)
        if judgement.verdict.verdict is not Verdict.CONTINUE:
            status = _shown(experiment, status, then, judgement, spec, look)
            return _concluded(experiment, status, now, judgement, look, effects)
        published, status = _publish(experiment, status, seen, spec, judgement, block, look)
        effects += published
    if replay.end_time is not None and seen.clock >= replay.end_time:
        then = _before(seen, replay.end_time)
        judgement = _judge(experiment, then, spec, t0, replay.end_time)
        status = _shown(experiment, status, then, judgement, spec, replay.end_time)
        if judgement.verdict.verdict is not Verdict.CONTINUE:
            return _concluded(experiment, status, now, judgement, replay.end_time, effects)
        message = f"the data ended without a verdict: {judgement.verdict.message}"
        at = replay.end_time
        return _end(experiment, status, now, "inconclusive", Reason.REPLAY_ENDED, message, at, judgement, effects)
    look = t0 + reached * spec.block_length
    then = _before(seen, look)
    if judgement is None:
        judgement = _judge(experiment, then, spec, t0, look)
    status = _shown(experiment, status, then, judgement, spec, look)
    return Decision(_running(experiment, status, judgement, now), effects, timedelta(0) if effects else None)


def _before(seen: Seen, look: datetime) -> Seen:
    """What a look at that time knew: a request at this very moment may or may not have come before the operator did."""
    assert seen.table is not None
    assert seen.requests is not None
    rows, asked = seen.table.decided_us < to_us(look, "look"), seen.requests.decided_at < utc64(look)
    requests = Requests(**{f.name: getattr(seen.requests, f.name)[asked] for f in fields(Requests)})
    return replace(seen, table=seen.table.select(rows), requests=requests)


def _waiting(experiment: ABExperiment, status: ABExperimentStatus, seen: Seen, now: datetime) -> ABExperimentStatus:
    newest = max(seen.epochs, key=lambda row: row.block, default=None)
    if newest is not None:
        return _weighted(status, newest.candidate_weight).model_copy(update={"epoch": newest.epoch})
    facts = [Fact("Running", True, Reason.RUNNING, "waiting for the replay to reach its start")]
    return _with(experiment, status, facts, now)


def _publish(
    experiment: ABExperiment,
    status: ABExperimentStatus,
    seen: Seen,
    spec: EvidenceSpec,
    judgement: Judgement,
    block: int,
    look: datetime,
) -> tuple[tuple[Effect, ...], ABExperimentStatus]:
    """The epoch of a block, made where there is none yet, and the status with its weight once it has an epoch."""
    t0 = status.t0
    assert t0 is not None
    assert seen.table is not None
    known = next((row for row in seen.epochs if row.block == block), None)
    if known is not None:
        return (), _weighted(status, known.candidate_weight).model_copy(update={"epoch": known.epoch})
    chosen = candidate_weight_for_block(seen.table, t0, block, spec)
    weight = Decimal(f"{chosen.weight:.6f}").normalize()
    epoch = PublishEpoch(
        endpoint=experiment.spec.endpoint_ref.name,
        experiment_uid=experiment.metadata.uid,
        block=block,
        candidate_weight=weight,
        reason=chosen.reason.value,
        evidence=judgement_json(judgement),
    )
    last = next((entry.weight for entry in reversed(status.history) if entry.weight is not None), None)
    if last != f"{weight:f}":
        message = judgement.verdict.message[:1024]
        entry = HistoryEntry(time=look, block=block, weight=f"{weight:f}", reason=chosen.reason.value, message=message)
        status = status.model_copy(update={"history": _history(status, entry)})
    return (epoch,), status  # the weight follows when its epoch has a number: no draw is logged under another one's


def _judge(experiment: ABExperiment, seen: Seen, spec: EvidenceSpec, t0: datetime, look: datetime) -> Judgement:
    assert seen.table is not None
    assert seen.requests is not None
    candidate = seen.versions.get(experiment.spec.candidate)
    objective = experiment.spec.guardrails.latency_objective
    if objective is None and candidate is not None and candidate.spec.external is None:
        objective = candidate.spec.serving.latency_objective
    slow_ms = as_milliseconds(objective.p99) if objective else float("inf")
    mine = seen.requests.candidate & (seen.requests.decided_at < utc64(look))
    log = RequestLog(failed=seen.requests.failed[mine], slow=seen.requests.latency_ms[mine] > slow_ms)
    return judge(seen.table, t0, look, spec, log)


def _running(
    experiment: ABExperiment, status: ABExperimentStatus, judgement: Judgement, now: datetime
) -> ABExperimentStatus:
    verdict = judgement.verdict
    reason = verdict.reason.value
    facts = [
        Fact("Running", True, Reason.RUNNING, "collecting evidence"),
        Fact("EvidenceKnown", True, reason, verdict.message),
        Fact("Succeeded", None, reason, verdict.message),
    ]
    return _with(experiment, status.model_copy(update={"phase": ABExperimentPhase.RUNNING}), facts, now)


# --- after the verdict -----------------------------------------------------------------------------------------------


def _concluded(
    experiment: ABExperiment,
    status: ABExperimentStatus,
    now: datetime,
    judgement: Judgement,
    look: datetime,
    effects: tuple[Effect, ...] = (),
) -> Decision:
    verdict = judgement.verdict
    reason = verdict.reason.value
    return _end(experiment, status, now, verdict.verdict.value, reason, verdict.message, look, judgement, effects)


def _end(
    experiment: ABExperiment,
    status: ABExperimentStatus,
    now: datetime,
    decision: str,
    reason: str,
    message: str,
    look: datetime,
    judgement: Judgement | None,
    effects: tuple[Effect, ...] = (),
) -> Decision:
    """The verdict, stored; a live promotion goes on to approval and ramp, all else is terminal."""
    block = judgement.evidence.block if judgement is not None else None
    verdict = VerdictStatus.model_validate(
        {"decision": decision, "reason": str(reason), "message": message[:1024], "time": look, "block": block}
    )
    entry = HistoryEntry(time=look, block=block, reason=str(reason), message=message[:1024])
    status = status.model_copy(update={"verdict": verdict, "history": _history(status, entry)})
    if status.t0 is not None and status.baseline_ref is not None:
        evidence: Mapping[str, Any] = judgement_json(judgement) if judgement is not None else {}
        effects += (
            RecordVerdict(
                endpoint=experiment.spec.endpoint_ref.name,
                experiment_uid=experiment.metadata.uid,
                decision=decision,
                reason=str(reason),
                message=message[:1024],
                decided_at=look,
                evidence=evidence,
            ),
        )
    live = experiment.spec.mode is Mode.LIVE
    if decision == "promote" and live:
        status = status.model_copy(update={"phase": ABExperimentPhase.DECIDED})
        facts = [Fact("EvidenceKnown", True, reason, message), Fact("Succeeded", None, reason, message)]
        return Decision(_with(experiment, status, facts, now), effects, timedelta(0))
    return _terminal(experiment, status, now, decision, reason, message, effects)


def _terminal(
    experiment: ABExperiment,
    status: ABExperimentStatus,
    now: datetime,
    decision: str,
    reason: str,
    message: str,
    effects: tuple[Effect, ...] = (),
) -> Decision:
    phase = {
        "promote": ABExperimentPhase.SUCCEEDED,
        "rollback": ABExperimentPhase.ROLLED_BACK,
        "inconclusive": ABExperimentPhase.INCONCLUSIVE,
        "abort": ABExperimentPhase.ABORTED,
    }[decision]
    facts = [
        Fact("Running", False, reason, message),
        Fact("EvidenceKnown", True, reason, message),
        Fact("Succeeded", decision == "promote", reason, message),
    ]
    weight = Decimal(1) if decision == "promote" else Decimal(0)
    done = _weighted(status, weight).model_copy(update={"phase": phase, "completion_time": now.replace(microsecond=0)})
    return Decision(_with(experiment, done, facts, now), effects)


def _ramp(experiment: ABExperiment, status: ABExperimentStatus, seen: Seen, now: datetime) -> Decision:
    """From the verdict to all decisions: steps, then a time without a fault. A guardrail still ends it at once."""
    assert status.t0 is not None
    spec = _spec(experiment, seen)
    now = max(now, status.t0)
    judgement = _judge(experiment, seen, spec, status.t0, now)
    tripped = next((g for g in judgement.guardrails if g.tripped), None)
    if tripped is not None or _to_be_shown(status, now):
        status = _shown(experiment, status, seen, judgement, spec, now)
    if tripped is not None:
        message = f"guardrail {tripped.guardrail.value} tripped during the ramp, at row {tripped.first_row}"
        return _end(experiment, status, now, "rollback", tripped.guardrail.value, message, now, judgement)
    promote = experiment.spec.on_promote
    if promote.approval == "manual" and status.approved_by is None:
        message = "promotion waits for approval: annotate with tradewind.dev/approve=<request-id>"
        facts = [Fact("Succeeded", None, Reason.APPROVAL_NEEDED, message)]
        return Decision(_with(experiment, status, facts, now), requeue_after=_LIVE_LOOK)
    ramp = status.ramp or RampStatus(step=0, since=now.replace(microsecond=0))
    step, since = ramp.step or 0, ramp.since or now
    while step < len(promote.ramp) and now - since >= as_timedelta(promote.ramp[step].duration or "0s"):
        since += as_timedelta(promote.ramp[step].duration or "0s")
        step += 1
    status = status.model_copy(update={"phase": ABExperimentPhase.RAMPING})
    if step < len(promote.ramp):
        weight = Decimal(promote.ramp[step].weight)
        status = _weighted(status, weight).model_copy(update={"ramp": RampStatus(step=step, since=since)})
        facts = [Fact("Succeeded", None, Reason.RAMPING, f"step {step + 1} of {len(promote.ramp)} at weight {weight}")]
        return Decision(_with(experiment, status, facts, now), requeue_after=_LIVE_LOOK)
    stability, stable_since = as_timedelta(promote.stability), ramp.stable_since or since
    assert seen.requests is not None
    stable_since = _newest_fault(seen.requests, stable_since) or stable_since
    if now - stable_since < stability:
        status = _weighted(status, Decimal(1) - Decimal(promote.holdback)).model_copy(
            update={"ramp": RampStatus(step=step, since=since, stable_since=stable_since)}
        )
        facts = [Fact("Succeeded", None, Reason.STABILISING, f"without a fault since {stable_since.isoformat()}")]
        return Decision(_with(experiment, status, facts, now), requeue_after=_LIVE_LOOK)
    return _terminal(experiment, status, now, "promote", Reason.PROMOTED, "promoted: ramped and stable")


def _newest_fault(requests: Requests, since: datetime) -> datetime | None:
    """When the candidate last failed, where more than 1 % of its requests since then failed or fell back."""
    mine = requests.candidate & (requests.decided_at > utc64(since))
    bad = mine & (requests.failed | requests.fallback)
    if np.count_nonzero(bad) <= _FAULT_SHARE * np.count_nonzero(mine):
        return None
    newest: datetime = requests.decided_at[bad].max().astype("datetime64[us]").item()
    return newest.replace(tzinfo=UTC)


# --- shared ----------------------------------------------------------------------------------------------------------


def _spec(experiment: ABExperiment, seen: Seen) -> EvidenceSpec:
    assert seen.endpoint is not None
    replay = experiment.spec.mode is Mode.REPLAY
    max_hold = as_timedelta(seen.endpoint.spec.max_hold)
    return evidence_spec(experiment.spec, max_hold=max_hold, retest=seen.tested_before, replay=replay)


def baseline_name(experiment: ABExperiment, endpoint: Endpoint) -> str | None:
    """The baseline: as it was at the start, as the spec names it, or the Endpoint's champion."""
    if experiment.status.baseline_ref is not None:
        return experiment.status.baseline_ref.name
    if experiment.spec.baseline is not None:
        return experiment.spec.baseline
    return endpoint.status.champion_ref.name if endpoint.status.champion_ref else None


def _shown(
    experiment: ABExperiment,
    status: ABExperimentStatus,
    seen: Seen,
    judgement: Judgement,
    spec: EvidenceSpec,
    look: datetime,
) -> ABExperimentStatus:
    assert seen.requests is not None
    assert seen.table is not None
    assert status.t0 is not None
    baseline = status.baseline_ref.name if status.baseline_ref else ""
    arms = arm_statuses(seen.table, seen.requests, status.t0, look, baseline, experiment.spec.candidate)
    return status.model_copy(
        update={
            "evidence": evidence_status(judgement, spec),
            "guardrails": guardrail_status(judgement),
            "arms": arms,
            "comparison": comparison(seen.table, status.t0, look),
            "last_evaluated_time": look.replace(microsecond=0),
        }
    )


def _to_be_shown(status: ABExperimentStatus, now: datetime) -> bool:
    """Whether the numbers are ten seconds old: each write of a status is an event, and an event is another look."""
    last = status.last_evaluated_time
    return last is None or not timedelta(0) <= now - last < _SHOWN_EVERY


def _weighted(status: ABExperimentStatus, weight: Decimal) -> ABExperimentStatus:
    return status.model_copy(update={"weight": WeightStatus(desired=f"{weight:f}")})


def _handled(status: ABExperimentStatus, verb: str, request: str) -> ABExperimentStatus:
    return status.model_copy(update={"last_handled": {**status.last_handled, verb: request}})


def _history(status: ABExperimentStatus, entry: HistoryEntry) -> tuple[HistoryEntry, ...]:
    return (*status.history, entry)[-HISTORY_LENGTH:]


def _with(experiment: ABExperiment, status: ABExperimentStatus, facts: list[Fact], now: datetime) -> ABExperimentStatus:
    generation = experiment.metadata.generation
    conditions = with_facts(status.conditions, facts, generation=generation, now=now)
    return status.model_copy(update={"observed_generation": generation, "conditions": conditions})
