"""Looking at the evidence: as it comes in Live, at the start of each block in Replay."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.ab_experiment_status import ABExperimentPhase, ABExperimentStatus, HistoryEntry
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
from tradewind.core.ab_experiment.verdict import concluded, end
from tradewind.core.conditions import Fact
from tradewind.core.decision import Decision, Effect, PublishEpoch
from tradewind.core.endpoint import EpochRow
from tradewind.trading.evidence import (
    EvidenceSpec,
    Judgement,
    Verdict,
    candidate_weight_for_block,
    change_message,
    change_reason,
    judgement_json,
)
from tradewind.trading.evidence.table import to_us


def live(experiment: ABExperiment, status: ABExperimentStatus, seen: Seen, now: datetime) -> Decision:
    """One look in Live: the evidence up to now, and the weight of the block that has begun."""
    t0 = status.t0
    assert t0 is not None
    spec = spec_of(experiment, seen)
    now = max(now, t0)  # another node's clock may be behind
    judgement = judge_at(experiment, seen, spec, t0, now)
    ends = judgement.verdict.verdict is not Verdict.CONTINUE
    if ends or to_be_shown(status, now):
        status = shown(experiment, status, seen, judgement, now, now)
    if ends:
        return concluded(experiment, status, now, judgement, now)
    block = int((now - t0) // spec.block_length)
    effects, status = _publish(experiment, status, seen, spec, judgement, block, t0 + block * spec.block_length)
    next_block = t0 + (block + 1) * spec.block_length - now
    again = timedelta(0) if effects else min(LIVE_LOOK, next_block)
    return Decision(_running(experiment, status, judgement, now), effects, again)


def replay(experiment: ABExperiment, status: ABExperimentStatus, seen: Seen, now: datetime) -> Decision:
    """Every look that the data has reached, in order; the first verdict ends it, whenever it is computed."""
    t0, replay = status.t0, experiment.spec.replay
    assert t0 is not None
    assert replay is not None
    spec = spec_of(experiment, seen)
    effects: tuple[Effect, ...] = ()
    if seen.clock is None or seen.clock < t0:
        facts = [Fact("Running", True, Reason.RUNNING, "waiting for the replay to reach its start")]
        return Decision(with_conditions(experiment, status, facts, now))
    clock = seen.clock if replay.end_time is None else min(seen.clock, replay.end_time)
    reached = int((clock - t0) // spec.block_length)
    stored = {row.block for row in seen.epochs}
    judgement: Judgement | None = None
    for block in (b for b in range(reached + 1) if b not in stored):
        look = t0 + block * spec.block_length
        then = _before(seen, look)
        judgement = judge_at(experiment, then, spec, t0, look)
        if judgement.verdict.verdict is not Verdict.CONTINUE:
            status = shown(experiment, status, then, judgement, look, now)
            return concluded(experiment, status, now, judgement, look, effects)
        published, status = _publish(experiment, status, seen, spec, judgement, block, look)
        effects += published
    if replay.end_time is not None and seen.clock >= replay.end_time:
        then = _before(seen, replay.end_time)
        judgement = judge_at(experiment, then, spec, t0, replay.end_time)
        status = shown(experiment, status, then, judgement, replay.end_time, now)
        if judgement.verdict.verdict is not Verdict.CONTINUE:
            return concluded(experiment, status, now, judgement, replay.end_time, effects)
        message = f"the data ended without a verdict: {judgement.verdict.message}"
        at = replay.end_time
        return end(experiment, status, now, "inconclusive", Reason.REPLAY_ENDED, message, at, judgement, effects)
    look = t0 + reached * spec.block_length
    then = _before(seen, look)
    if judgement is None:
        judgement = judge_at(experiment, then, spec, t0, look)
    status = shown(experiment, status, then, judgement, look, now)
    return Decision(_running(experiment, status, judgement, now), effects, timedelta(0) if effects else None)


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


def between_blocks(
    experiment: ABExperiment, status: ABExperimentStatus, seen: Seen, now: datetime
) -> ABExperimentStatus:
    """The status while nothing new can be computed: the weight of the newest block that has one."""
    newest = max(seen.epochs, key=lambda row: row.block, default=None)
    if newest is not None:
        return weighted(status, newest.candidate_weight).model_copy(update={"epoch": newest.epoch})
    facts = [Fact("Running", True, Reason.RUNNING, "waiting for the replay to reach its start")]
    return with_conditions(experiment, status, facts, now)


def _before(seen: Seen, look: datetime) -> Seen:
    """What a look at that time knew: a request at this very moment may or may not have come before the operator did."""
    assert seen.table is not None
    assert seen.requests is not None
    table = seen.table.select(seen.table.decided_us < to_us(look, "look"))
    return replace(seen, table=table, requests=seen.requests.decided_before(look))


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
        return (), weighted(status, known.candidate_weight).model_copy(update={"epoch": known.epoch})
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
        status = status.model_copy(update={"history": history(status, entry)})
    return (epoch,), status  # the weight follows when its epoch has a number: no draw is logged under another one's


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
    for change in judgement.changes:  # told at once, not when a promotion begins to wait for it
        kind = change_reason(change).value
        facts.append(Fact(kind, True, kind, change_message(change)))
    return with_conditions(experiment, status.model_copy(update={"phase": ABExperimentPhase.RUNNING}), facts, now)
