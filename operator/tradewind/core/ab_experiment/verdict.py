"""The verdict and what follows: terminal at once, or approval, ramp and a time without a fault."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from tradewind.api.ab_experiment import ABExperiment, Mode
from tradewind.api.ab_experiment_status import (
    ABExperimentPhase,
    ABExperimentStatus,
    HistoryEntry,
    RampStatus,
    VerdictStatus,
)
from tradewind.core.ab_experiment.status import (
    LIVE_LOOK,
    Reason,
    Seen,
    history,
    judge_at,
    shown,
    spec_of,
    to_be_shown,
    weighted,
    with_conditions,
)
from tradewind.core.conditions import Fact
from tradewind.core.decision import Decision, Effect, RecordVerdict
from tradewind.schema.scalars import as_timedelta
from tradewind.trading.evidence import Judgement, Requests, from_us, judgement_json, to_us

_FAULT_SHARE = 0.01


def concluded(
    experiment: ABExperiment,
    status: ABExperimentStatus,
    now: datetime,
    judgement: Judgement,
    look: datetime,
    effects: tuple[Effect, ...] = (),
) -> Decision:
    """The end that the statistic's judgement asks for."""
    verdict = judgement.verdict
    reason = verdict.reason.value
    return end(experiment, status, now, verdict.verdict.value, reason, verdict.message, look, judgement, effects)


def end(
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
    status = status.model_copy(update={"verdict": verdict, "history": history(status, entry)})
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
        return Decision(with_conditions(experiment, status, facts, now), effects, timedelta(0))
    return terminal(experiment, status, now, decision, reason, message, effects)


def terminal(
    experiment: ABExperiment,
    status: ABExperimentStatus,
    now: datetime,
    decision: str,
    reason: str,
    message: str,
    effects: tuple[Effect, ...] = (),
) -> Decision:
    """The last status: a terminal state never acts again."""
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
    done = weighted(status, weight).model_copy(update={"phase": phase, "completion_time": now.replace(microsecond=0)})
    return Decision(with_conditions(experiment, done, facts, now), effects)


def ramp(experiment: ABExperiment, status: ABExperimentStatus, seen: Seen, now: datetime) -> Decision:
    """From the verdict to all decisions: steps, then a time without a fault. A guardrail still ends it at once."""
    assert status.t0 is not None
    spec = spec_of(experiment, seen)
    now = max(now, status.t0)
    judgement = judge_at(experiment, seen, spec, status.t0, now)
    tripped = next((g for g in judgement.guardrails if g.tripped), None)
    if tripped is not None or to_be_shown(status, now):
        status = shown(experiment, status, seen, judgement, now, now)
    if tripped is not None:
        message = f"guardrail {tripped.guardrail.value} tripped during the ramp, at row {tripped.first_row}"
        return end(experiment, status, now, "rollback", tripped.guardrail.value, message, now, judgement)
    promote = experiment.spec.on_promote
    if promote.approval == "manual" and status.approved_by is None:
        message = "promotion waits for approval: annotate with tradewind.dev/approve=<request-id>"
        facts = [Fact("Succeeded", None, Reason.APPROVAL_NEEDED, message)]
        if seen.epochs:  # a pause or a failed decision took it back
            status = weighted(status, max(seen.epochs, key=lambda row: row.block).candidate_weight)
        return Decision(with_conditions(experiment, status, facts, now), requeue_after=LIVE_LOOK)
    ramp = status.ramp or RampStatus(step=0, since=now.replace(microsecond=0))
    step, since = ramp.step or 0, ramp.since or now
    while step < len(promote.ramp) and now - since >= as_timedelta(promote.ramp[step].duration or "0s"):
        since += as_timedelta(promote.ramp[step].duration or "0s")
        step += 1
    status = status.model_copy(update={"phase": ABExperimentPhase.RAMPING})
    if step < len(promote.ramp):
        weight = Decimal(promote.ramp[step].weight)
        status = weighted(status, weight).model_copy(update={"ramp": RampStatus(step=step, since=since)})
        facts = [Fact("Succeeded", None, Reason.RAMPING, f"step {step + 1} of {len(promote.ramp)} at weight {weight}")]
        return Decision(with_conditions(experiment, status, facts, now), requeue_after=LIVE_LOOK)
    stability, stable_since = as_timedelta(promote.stability), ramp.stable_since or since
    assert seen.requests is not None
    stable_since = _newest_fault(seen.requests, stable_since) or stable_since
    if now - stable_since < stability:
        status = weighted(status, Decimal(1) - Decimal(promote.holdback)).model_copy(
            update={"ramp": RampStatus(step=step, since=since, stable_since=stable_since)}
        )
        facts = [Fact("Succeeded", None, Reason.STABILISING, f"without a fault since {stable_since.isoformat()}")]
        return Decision(with_conditions(experiment, status, facts, now), requeue_after=LIVE_LOOK)
    return terminal(experiment, status, now, "promote", Reason.PROMOTED, "promoted: ramped and stable")


def _newest_fault(requests: Requests, since: datetime) -> datetime | None:
    """When the candidate last failed, where more than 1 % of its requests since then failed or fell back."""
    mine = requests.candidate & (requests.decided_us > to_us(since, "since"))
    bad = mine & (requests.failed | requests.fallback)
    if np.count_nonzero(bad) <= _FAULT_SHARE * np.count_nonzero(mine):
        return None
    return from_us(int(requests.decided_us[bad].max()))
