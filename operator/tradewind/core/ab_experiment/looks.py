"""Looking at the evidence: as it comes in Live, at the start of each block in Replay."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.ab_experiment_status import ABExperimentPhase, ABExperimentStatus, HistoryEntry
from tradewind.core.ab_experiment.forecast import at_look
from tradewind.core.ab_experiment.seen import Reason
from tradewind.core.ab_experiment.turn import LIVE_LOOK, Turn, noted
from tradewind.core.ab_experiment.verdict import End, concluded, end
from tradewind.core.conditions import Fact
from tradewind.core.decision import Decision, Effect, PublishEpoch
from tradewind.core.endpoint import EpochRow
from tradewind.trading.evidence import (
    Judgement,
    Verdict,
    candidate_weight_for_block,
    change_message,
    change_reason,
    judgement_json,
    set_aside,
)


def live(turn: Turn, status: ABExperimentStatus) -> Decision:
    """One look in Live: the evidence up to now, and the weight of the block that has begun."""
    turn = turn.not_before_start()
    now = turn.now
    judgement = turn.judge(now)
    ends = judgement.verdict.verdict is not Verdict.CONTINUE
    if ends:
        return concluded(turn, turn.shown(status, now), now)
    if turn.to_be_shown(status):
        status = turn.refreshed(status)
    status = at_look(turn, status, judgement.evidence, turn.spec.known_at(now))
    block = int((now - turn.t0) // turn.spec.block_length)
    effects, status = _published(turn, status, block, judgement)
    again = timedelta(0) if effects else min(LIVE_LOOK, turn.block_start(block + 1) - now)
    return turn.decision(_running(status), *_facts(judgement), effects=effects, again=again)


def replay(turn: Turn, status: ABExperimentStatus) -> Decision:
    """Every look that the data has reached, in order; the first verdict ends it, whenever it is computed."""
    replay, clock = turn.experiment.spec.replay, turn.seen.clock
    assert replay is not None
    if clock is None or clock < turn.t0:
        return turn.decision(status, _WAITING)
    over = replay.end_time is not None and clock >= replay.end_time
    reached = int(((replay.end_time if over and replay.end_time else clock) - turn.t0) // turn.spec.block_length)
    stored = {row.block for row in turn.seen.epochs}
    effects: tuple[Effect, ...] = ()
    for block in (b for b in range(reached + 1) if b not in stored):
        look = turn.block_start(block)
        then = turn.at(look)
        judgement = then.judge(look)
        if judgement.verdict.verdict is not Verdict.CONTINUE:
            return concluded(then, then.shown(status, look), look, effects)
        published, status = _published(turn, status, block, judgement)
        effects += published
    look = replay.end_time if over and replay.end_time else turn.block_start(reached)
    then = turn.at(look)
    judgement = then.judge(look)
    status = then.shown(status, look)
    if not over:
        status = at_look(then, status, judgement.evidence, turn.spec.known_at(look))
        again = timedelta(0) if effects else None
        return turn.decision(_running(status), *_facts(judgement), effects=effects, again=again)
    if judgement.verdict.verdict is not Verdict.CONTINUE:
        return concluded(then, status, look, effects)
    message = f"the data ended without a verdict: {judgement.verdict.message}"
    return end(then, status, End("inconclusive", Reason.REPLAY_ENDED, message, look, judgement), effects)


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


def newest_look(experiment: ABExperiment, clock: datetime | None, block: timedelta) -> datetime | None:
    """The newest look that a replay's clock has reached: the start of a block, or the end of the window; None: none yet."""
    t0, replay = experiment.status.t0, experiment.spec.replay
    if t0 is None or replay is None or clock is None or clock < t0:
        return None
    if replay.end_time is not None and clock >= replay.end_time:
        return replay.end_time
    return t0 + (clock - t0) // block * block


def between_blocks(turn: Turn, status: ABExperimentStatus) -> Decision:
    """Nothing while nothing new can be computed but the weight of the newest block that has one."""
    newest = max(turn.seen.epochs, key=lambda row: row.block, default=None)
    return Decision(turn.of_epoch(status, newest)) if newest is not None else turn.decision(status, _WAITING)


_WAITING = Fact("Running", True, Reason.RUNNING, "waiting for the replay to reach its start")


def _published(
    turn: Turn, status: ABExperimentStatus, block: int, judgement: Judgement
) -> tuple[tuple[Effect, ...], ABExperimentStatus]:
    """The epoch of a block, made where there is none yet, and the status with its weight once it has an epoch."""
    known = next((row for row in turn.seen.epochs if row.block == block), None)
    if known is not None:
        return (), turn.of_epoch(status, known)
    chosen = candidate_weight_for_block(turn.table, turn.t0, block, turn.spec)
    weight = Decimal(f"{chosen.weight:.6f}").normalize()
    epoch = PublishEpoch(
        endpoint=turn.experiment.spec.endpoint_ref.name,
        experiment=turn.experiment.name,
        experiment_uid=turn.experiment.metadata.uid,
        block=block,
        candidate_weight=weight,
        reason=str(chosen.reason),
        message=chosen.message,
        evidence=judgement_json(judgement),
    )
    last = next((entry.weight for entry in reversed(status.history) if entry.weight is not None), None)
    if last != f"{weight:f}":
        entry = HistoryEntry(
            time=turn.block_start(block),
            block=block,
            weight=f"{weight:f}",
            reason=epoch.reason,
            message=chosen.message[:1024],
        )
        status = noted(status, entry)
    return (epoch,), status  # the weight follows when its epoch has a number: no draw is logged under another one's


def _running(status: ABExperimentStatus) -> ABExperimentStatus:
    return status.model_copy(update={"phase": ABExperimentPhase.RUNNING})


def _facts(judgement: Judgement) -> list[Fact]:
    verdict = judgement.verdict
    facts = [
        Fact("Running", True, Reason.RUNNING, "collecting evidence"),
        Fact("EvidenceKnown", True, verdict.reason, verdict.message),
        Fact("Succeeded", None, verdict.reason, verdict.message),
    ]
    for change in judgement.changes:  # told at once, not when a promotion begins to wait for it
        kind = change_reason(change).value
        facts.append(Fact(kind, True, kind, change_message(change)))
    aside = set_aside(judgement)
    if aside is not None:
        kind, why = aside
        facts.append(Fact(kind.value, True, kind.value, why))
    return facts
