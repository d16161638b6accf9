r"""TrainingRun: from closed trades to a registered ModelVersion, or a reason why not.

Snapshot --gates fail--> Skipped (too few samples) | Failed (any other gate), before any GPU second
|
Training (attempt n) --exit 75, node lost--> interruption: attempt n+1 resumes --too many--> Failed
|               \--exit 64..68-------------------------------------------------------> Failed
|                \--any other exit, killed for memory--> failure: attempt n+1 --too many--> Failed
Registering: ModelVersion created, owned by nobody -> Succeeded          (terminal states never act)
"""

from dataclasses import replace
from datetime import datetime, timedelta

from tradewind.api.training_run import TrainingRun
from tradewind.api.training_run_status import (
    CheckpointStatus,
    ProgressStatus,
    TrainingRunPhase,
)
from tradewind.core.conditions import Fact, is_true
from tradewind.core.decision import Apply, Create, Decision, Delete, JobFacts, Owner
from tradewind.core.manifests.network import with_run_policy
from tradewind.core.platform import Platform
from tradewind.core.training_run import billing
from tradewind.core.training_run.manifests import (
    build_rendezvous,
    build_train_job,
    checkpoint_uri,
    rendezvous_name,
    snapshot_name,
    stores_of,
    train_name,
)
from tradewind.core.training_run.registration import register, trained
from tradewind.core.training_run.seen import TERMINAL, Reason, Seen
from tradewind.core.training_run.snapshot import take_snapshot
from tradewind.core.training_run.turn import RETRY, SOON, Turn, noted, unfinished, with_conditions
from tradewind.schema.scalars import as_timedelta
from tradewind.trading.exits import End, ExitCode, exit_code

__all__ = ["TERMINAL", "Reason", "Seen", "decide"]


def decide(run: TrainingRun, seen: Seen, now: datetime, *, platform: Platform, owner: Owner) -> Decision:
    """What to do about a run now."""
    status = run.status
    if status.phase in TERMINAL:
        return _expire(run, now)
    if run.metadata.deletion_timestamp is not None:
        return Decision(status)
    turn = Turn(run, status, seen, now, platform, owner)
    turn = turn.having(start_time=status.start_time or now.replace(microsecond=0))
    refused = turn.policy
    if refused is not None and refused.holds is False and turn.makes_a_pod:
        facts = [refused, unfinished(refused.reason, refused.message)]
        return (turn if status.phase else turn.having(phase=TrainingRunPhase.PENDING)).decision(facts, (), RETRY)
    decision = _next(turn)
    return replace(
        decision,
        effects=with_run_policy(
            decision.effects, owner, platform, stores_of(turn.run, seen.warm_start), peers=run.spec.num_nodes > 1
        ),
    )


def _next(turn: Turn) -> Decision:
    """The step that a run is at."""
    if turn.status.dataset is None:
        return take_snapshot(turn)
    if turn.status.result is not None and turn.made is not None:
        return register(turn, turn.status.result, turn.made)
    return _train(turn)


def _train(turn: Turn) -> Decision:
    run, seen, training = turn.run, turn.seen, turn.seen.training
    attempt = turn.status.attempts or 0
    if run.spec.suspend:
        gone = (Delete("batch/v1", "Job", train_name(run.name, attempt)),) if training and training.active else ()
        facts = [
            Fact("Training", False, Reason.SUSPENDED, "spec.suspend is true; it resumes from the newest checkpoint"),
            unfinished(Reason.SUSPENDED, "suspended"),
        ]
        turn = _reported(turn)
        if run.spec.queue_name and is_true(turn.status.conditions, "Admitted"):
            turn = turn.having(**billing.of_admission(run, turn.status, turn.now))
            facts.append(Fact("Admitted", False, Reason.SUSPENDED, "spec.suspend is true"))
        elif gone and not run.spec.queue_name and turn.status.phase is not TrainingRunPhase.SUSPENDED:
            turn = turn.having(**billing.of_stopped(run, turn.status, training, turn.now))
        return turn.having(phase=TrainingRunPhase.SUSPENDED).decision(facts, gone)
    if run.spec.warm_start_from is not None:
        asked = f"spec.warmStartFrom: ModelVersion {run.spec.warm_start_from!r}"
        if seen.warm_start is None:
            message = f"{asked} does not exist: create it or leave it out"
            return turn.waiting("Training", Reason.WARM_START_MISSING, message)
        if seen.warm_start.spec.adapter is None:
            return turn.failed(Reason.WARM_START_MISSING, f"{asked} is no adapter: choose one that is, or leave it out")
    was_suspended = turn.status.phase is TrainingRunPhase.SUSPENDED
    if attempt == 0 or (training is None and was_suspended):
        return _attempt(turn, Reason.TRAINING, "started")
    if training is None:
        return _interrupted(_reported(turn), "its Job is gone")
    if training.succeeded:
        return trained(_ended_one(turn, training), training.result)
    if training.failed:
        return _ended(_ended_one(turn, training), training)
    return _progress(turn, training)


def _ended_one(turn: Turn, training: JobFacts) -> Turn:
    turn = _reported(turn)
    return turn.having(**billing.of_attempt(turn.run, turn.status, training))


def _reported(turn: Turn) -> Turn:
    """The turn with the last report in its status: one of a training that ended at once may come with the end itself."""
    known, told = turn.status.progress, turn.seen.progress
    if told is None or (known is not None and _told_at(known) > _told_at(told)):
        return turn
    turn = turn.having(progress=told)
    return (
        turn if told.checkpoint_step is None else turn.having(last_checkpoint=_checkpoint(turn, told.checkpoint_step))
    )


def _checkpoint(turn: Turn, step: int) -> CheckpointStatus:
    return CheckpointStatus(step=step, uri=checkpoint_uri(turn.run, step))


def _told_at(progress: ProgressStatus) -> float:
    return progress.last_updated_time.timestamp() if progress.last_updated_time else 0.0


def _ended(turn: Turn, training: JobFacts) -> Decision:
    """An attempt that did not end well: final, an interruption, or a failure that is tried again."""
    retry, attempt, ended = turn.run.spec.retry, turn.status.attempts, exit_code(training.exit_code)
    message = str(training.result.get("message") or training.message or f"exit code {training.exit_code}")
    if ended.end is End.FINAL:
        return turn.failed(ended.reason, f"attempt {attempt} ended with {training.exit_code}: {message}")
    if training.out_of_memory:
        message = (
            "killed for memory: the next attempt takes less at once; if none fits, raise spec.resources.limits.memory, "
            "or lower hyperparameters.maxLength"
        )
    elif ended.end is End.INTERRUPTED and training.reason != "DeadlineExceeded":
        return _interrupted(turn, message)
    failures = (turn.status.failures or 0) + 1
    turn = turn.having(failures=failures, last_exit=message[:1024])
    ours = (
        training.exit_code == ExitCode.ERROR
    )  # the same code on the same data: one more attempt tells chance from fault
    if failures > (min(retry.max_failures, 1) if ours else retry.max_failures):
        return turn.failed(Reason.TRAINING_FAILED, f"{failures} attempts failed, the last with: {message}")
    return _attempt(turn, Reason.RETRYING, message)


def _attempt(turn: Turn, reason: Reason, message: str) -> Decision:
    attempt = (turn.status.attempts or 0) + 1
    run, before = turn.run.model_copy(update={"status": turn.status}), turn.seen.training
    job = build_train_job(
        run,
        turn.owner,
        turn.platform,
        attempt,
        turn.seen.warm_start,
        after_out_of_memory=before is not None and before.out_of_memory,
    )
    together = (Apply(build_rendezvous(run, turn.owner)),) if run.spec.num_nodes > 1 else ()
    text = f"attempt {attempt}: {message}"
    queue = run.spec.queue_name
    phase = TrainingRunPhase.ADMISSION if queue else TrainingRunPhase.TRAINING
    turn = turn.having(attempts=attempt, phase=phase)
    facts = [Fact("Training", queue is None, Reason.QUEUED if queue else reason, text), unfinished(reason, text)]
    if queue:
        facts.append(Fact("Admitted", False, Reason.QUEUED, queue))
    return turn.decision(facts, (*together, Create(job)))


def _interrupted(turn: Turn, message: str) -> Decision:
    count = (turn.status.interruptions or 0) + 1
    result = turn.seen.training.result if turn.seen.training is not None else {}
    saved = turn.status.last_checkpoint
    if isinstance(step := result.get("step"), int):  # a pod that was killed, or is gone, says nothing: its reports do
        saved = _checkpoint(turn, step)
    turn = turn.having(interruptions=count, last_exit=message[:1024], last_checkpoint=saved)
    if count > turn.run.spec.retry.max_interruptions:
        return turn.failed(Reason.INTERRUPTED, f"interrupted {count} times, the last with: {message}")
    return _attempt(turn, Reason.INTERRUPTED, message)


def _progress(turn: Turn, training: JobFacts) -> Decision:
    admitted = not training.suspended
    turn = _reported(turn)
    progress = turn.status.progress
    last = max(filter(None, (progress.last_updated_time if progress else None, training.started_at)), default=turn.now)
    limit = as_timedelta(turn.run.spec.stall_timeout)
    stalled = admitted and turn.now - last > limit
    wait, queue = training.wait, turn.run.spec.queue_name or "no queue"
    waits = Reason.PREEMPTED if wait is not None and wait.preempted else Reason.QUEUED
    if not admitted:
        turn = turn.having(**billing.of_admission(turn.run, turn.status, turn.now))
        queue = f"{queue}: {wait.message}" if wait is not None and wait.message else queue
    attempt, held = f"attempt {turn.status.attempts}", training.hindrance if admitted else None
    if held is not None:
        under_way = Fact("Training", False, held.reason, f"{attempt} waits: {held}")
    else:
        reason = Reason.TRAINING if admitted else waits
        under_way = Fact("Training", admitted, reason, noted(attempt, progress.message if progress else None))
    facts = [
        Fact("Admitted", admitted, Reason.ADMITTED if admitted else waits, queue),
        under_way,
        Fact(
            "Stalled",
            stalled,
            Reason.STALLED if stalled else Reason.PROGRESSING,
            _stalled_words(turn.run, turn.status.attempts or 0, last) if stalled else "",
        ),
        unfinished(Reason.TRAINING, "training" if admitted else "waiting in its queue")
        if held is None
        else unfinished(under_way.reason, under_way.message),
    ]
    phase = TrainingRunPhase.TRAINING if admitted else TrainingRunPhase.ADMISSION
    again = limit if training.running and admitted else SOON if admitted else RETRY  # nothing tells of a queue's mind
    return turn.having(phase=phase).decision(facts, requeue_after=again)


def _expire(run: TrainingRun, now: datetime) -> Decision:
    """Finished Jobs go after their time; the status, and with it the end of the run, stays."""
    ttl, completed = run.spec.ttl_seconds_after_finished, run.status.completion_time
    if ttl is None or completed is None:
        return Decision(run.status)
    left = completed + timedelta(seconds=ttl) - now
    if left > timedelta(0):
        return Decision(run.status, requeue_after=left)
    if is_true(run.status.conditions, "JobsDeleted"):
        return Decision(run.status)
    jobs = [snapshot_name(run.name), *(train_name(run.name, n) for n in range(1, (run.status.attempts or 0) + 1))]
    gone = Fact("JobsDeleted", True, Reason.EXPIRED, "spec.ttlSecondsAfterFinished is over; the status stays")
    service = (Delete("v1", "Service", rendezvous_name(run.name)),) if run.spec.num_nodes > 1 else ()
    deletions = (*(Delete("batch/v1", "Job", name) for name in jobs), *service)
    return Decision(with_conditions(run, run.status, [gone], now), deletions)


def _stalled_words(run: TrainingRun, attempt: int, last: datetime) -> str:
    job = train_name(run.name, attempt)
    return (
        f"no progress since {last.isoformat()}: see `kubectl -n {run.namespace} logs job/{job}`; deleting its pod lets the next attempt "
        "go on from the newest checkpoint; raise spec.stallTimeout where a step takes longer"
    )
