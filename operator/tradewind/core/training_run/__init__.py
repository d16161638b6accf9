r"""TrainingRun: from closed trades to a registered ModelVersion, or a reason why not.

Snapshot --gates fail--> Skipped (too few samples) | Failed (any other gate), before any GPU second
|
Training (attempt n) --exit 75, node lost--> interruption: attempt n+1 resumes --too many--> Failed
|               \--exit 64..68-------------------------------------------------------> Failed
|                \--any other exit, killed for memory--> failure: attempt n+1 --too many--> Failed
Registering: ModelVersion created, owned by nobody -> Succeeded          (terminal states never act)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from tradewind.api.common import Condition, GateResult, ObjectStatusRef
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.api.training_run import TrainingRun
from tradewind.api.training_run_status import (
    CheckpointStatus,
    DatasetStatus,
    PlanStatus,
    ProgressStatus,
    ResultStatus,
    TrainingRunPhase,
    TrainingRunStatus,
)
from tradewind.core.conditions import Fact, is_true, with_facts
from tradewind.core.decision import Create, Decision, Delete, JobFacts, Owner
from tradewind.core.platform import Platform
from tradewind.core.training_run.manifests import (
    adapter_uri,
    checkpoint_uri,
    dataset_uri,
    model_version,
    model_version_name,
    snapshot_job,
    snapshot_name,
    train_job,
    train_name,
)
from tradewind.schema.scalars import as_timedelta

TERMINAL = frozenset(
    {TrainingRunPhase.SUCCEEDED, TrainingRunPhase.SKIPPED, TrainingRunPhase.FAILED, TrainingRunPhase.INVALID}
)
INTERRUPTED = 75
FINAL_EXITS: Mapping[int, str] = {
    64: "InvalidConfiguration",
    65: "DatasetRefused",
    66: "PreflightFailed",
    67: "Diverged",
    68: "OutOfMemory",
}
_RETRY = timedelta(seconds=30)


class Reason(StrEnum):
    """Why a condition says what it says."""

    ENDPOINT_MISSING = "EndpointMissing"
    UNSUPPORTED = "Unsupported"
    WARM_START_MISSING = "WarmStartMissing"
    SNAPSHOT_RUNNING = "SnapshotRunning"
    SNAPSHOT_FAILED = "SnapshotFailed"
    SNAPSHOT_TAKEN = "SnapshotTaken"
    GATES_PASSED = "GatesPassed"
    GATES_FAILED = "GatesFailed"
    SKIPPED = "Skipped"
    GIVEN = "DatasetGiven"
    QUEUED = "Queued"
    ADMITTED = "Admitted"
    TRAINING = "Training"
    INTERRUPTED = "Interrupted"
    RETRYING = "Retrying"
    SUSPENDED = "Suspended"
    STALLED = "NoProgress"
    PROGRESSING = "Progressing"
    TRAINED = "Trained"
    TRAINING_FAILED = "TrainingFailed"
    EXPIRED = "TimeToLiveOver"
    NAME_TAKEN = "ModelVersionNameTaken"
    REGISTERED = "Registered"


@dataclass(frozen=True, slots=True)
class Seen:
    """Facts about a run; None is: not there, or not known."""

    endpoint: Endpoint | None = None
    snapshot: JobFacts | None = None
    training: JobFacts | None = None
    version: ModelVersion | None = None
    warm_start: ModelVersion | None = None
    progress: ProgressStatus | None = None


def decide(run: TrainingRun, seen: Seen, now: datetime, *, platform: Platform, owner: Owner) -> Decision:
    """What to do about a run now."""
    status = run.status
    if status.phase in TERMINAL:
        return _expire(run, now)
    if run.metadata.deletion_timestamp is not None:
        return Decision(status)
    status = status.model_copy(update={"start_time": status.start_time or now.replace(microsecond=0)})
    unsupported = _unsupported(run)
    if unsupported is not None:
        return _fail(run, status, now, Reason.UNSUPPORTED, unsupported)
    if status.dataset is None:
        return _snapshot(run, status, seen, now, platform, owner)
    return _train(run, status, seen, now, platform, owner)


def _unsupported(run: TrainingRun) -> str | None:
    """A wish that this release cannot fulfil: said before anything is started."""
    spec = run.spec
    if spec.objective != "sft":
        return f"spec.objective: {spec.objective} is not supported yet; use sft"
    if spec.num_nodes != 1:
        return f"spec.numNodes: training on {spec.num_nodes} nodes is not supported yet; use 1"
    if "all-linear" in spec.lora.target_modules and len(spec.lora.target_modules) > 1:
        return "spec.lora.targetModules: all-linear stands alone; leave the other names out"
    return None


def _snapshot(
    run: TrainingRun, status: TrainingRunStatus, seen: Seen, now: datetime, platform: Platform, owner: Owner
) -> Decision:
    if run.spec.dataset.uri is not None:
        given = DatasetStatus(uri=run.spec.dataset.uri, sha256=run.spec.dataset.sha256)
        facts = [
            Fact("DataReady", True, Reason.GIVEN, "files that are there already"),
            Fact("GatesPassed", None, Reason.GIVEN, "gates are checked when a snapshot is taken"),
        ]
        return Decision(
            _with(run, status.model_copy(update={"dataset": given}), facts, now), requeue_after=timedelta(0)
        )
    if seen.endpoint is None:
        message = f"spec.dataset.endpoint: Endpoint {run.spec.dataset.endpoint!r} does not exist in {run.namespace}: create it"
        facts = [Fact("DataReady", False, Reason.ENDPOINT_MISSING, message), _open(Reason.ENDPOINT_MISSING, message)]
        pending = status.model_copy(update={"phase": TrainingRunPhase.PENDING})
        return Decision(_with(run, pending, facts, now), requeue_after=_RETRY)
    taking = status.model_copy(update={"phase": TrainingRunPhase.SNAPSHOT})
    snapshot = seen.snapshot
    if snapshot is None or not (snapshot.succeeded or snapshot.failed):
        assert status.start_time is not None
        create = Create(snapshot_job(run, seen.endpoint, owner, platform, status.start_time))
        message = "taking the snapshot"
        facts = [Fact("DataReady", False, Reason.SNAPSHOT_RUNNING, message), _open(Reason.SNAPSHOT_RUNNING, message)]
        return Decision(_with(run, taking, facts, now), (create,) if snapshot is None else ())
    if snapshot.failed:
        message = str(snapshot.result.get("message") or snapshot.message or f"exit code {snapshot.exit_code}")
        failures = (status.failures or 0) + 1
        if snapshot.exit_code in FINAL_EXITS or failures > run.spec.retry.max_failures:
            return _fail(run, status, now, Reason.SNAPSHOT_FAILED, f"the snapshot failed: {message}")
        facts = [Fact("DataReady", False, Reason.RETRYING, message), _open(Reason.RETRYING, message)]
        again = taking.model_copy(update={"failures": failures, "last_exit": message[:1024]})
        gone = Delete("batch/v1", "Job", snapshot_name(run.name))
        return Decision(_with(run, again, facts, now), (gone,), _RETRY)
    return _gated(run, taking, snapshot, now)


def _gated(run: TrainingRun, status: TrainingRunStatus, snapshot: JobFacts, now: datetime) -> Decision:
    """The gates' verdict, from the numbers that the snapshot brought."""
    result = snapshot.result
    try:
        gates = tuple(GateResult.model_validate(gate) for gate in result["gates"])
        dataset = DatasetStatus.model_validate(
            {name: result.get(name) or {} for name in ("perLabel", "perAction")}
            | {name: result[name] for name in ("sha256", "rows", "watermark")}
            | {"uri": dataset_uri(run)}
        )
    except (KeyError, TypeError, ValueError) as error:
        message = f"the snapshot ended well, but its termination message cannot be read: {error!s}"
        return _fail(run, status, now, Reason.SNAPSHOT_FAILED, message[:1024])
    status = status.model_copy(update={"dataset": dataset, "gates": gates})
    data = Fact("DataReady", True, Reason.SNAPSHOT_TAKEN, f"{dataset.rows} rows")
    failed = [gate for gate in gates if gate.passed is False]
    if not failed:
        unknown = ", ".join(gate.name for gate in gates if gate.passed is None)
        passed = Fact(
            "GatesPassed", True, Reason.GATES_PASSED, f"unknown: {unknown}" if unknown else "all gates passed"
        )
        return Decision(_with(run, status, [data, passed], now), requeue_after=timedelta(0))
    message = "; ".join(
        f"{gate.name} {'unknown' if gate.value is None else format(gate.value, 'g')} against "
        f"{'-' if gate.threshold is None else format(gate.threshold, 'g')}"
        for gate in failed
    )
    few = any(gate.name == "minSamples" for gate in failed)
    reason = Reason.SKIPPED if few else Reason.GATES_FAILED
    status = status.model_copy(
        update={
            "phase": TrainingRunPhase.SKIPPED if few else TrainingRunPhase.FAILED,
            "completion_time": now.replace(microsecond=0),
        }
    )
    facts = [data, Fact("GatesPassed", False, reason, message), Fact("Succeeded", False, reason, message)]
    return Decision(_with(run, status, facts, now))


def _train(
    run: TrainingRun, status: TrainingRunStatus, seen: Seen, now: datetime, platform: Platform, owner: Owner
) -> Decision:
    if status.result is not None:
        return _register(run, status, seen, now)
    attempt = status.attempts or 0
    training = seen.training
    if run.spec.suspend:
        gone = (Delete("batch/v1", "Job", train_name(run.name, attempt)),) if training and training.active else ()
        facts = [
            Fact("Training", False, Reason.SUSPENDED, "spec.suspend is true; it resumes from the newest checkpoint"),
            _open(Reason.SUSPENDED, "suspended"),
        ]
        suspended = status.model_copy(update={"phase": TrainingRunPhase.SUSPENDED})
        return Decision(_with(run, suspended, facts, now), gone)
    if run.spec.warm_start_from is not None and seen.warm_start is None:
        message = (
            f"spec.warmStartFrom: ModelVersion {run.spec.warm_start_from!r} does not exist: create it or leave it out"
        )
        facts = [Fact("Training", False, Reason.WARM_START_MISSING, message), _open(Reason.WARM_START_MISSING, message)]
        return Decision(_with(run, status, facts, now), requeue_after=_RETRY)
    was_suspended = status.phase is TrainingRunPhase.SUSPENDED
    if attempt == 0 or (training is None and was_suspended):
        return _attempt(run, status, seen, now, platform, owner, Reason.TRAINING, "started")
    if training is None:
        return _interrupted(run, status, seen, now, platform, owner, "its Job is gone")
    if training.succeeded or training.failed:
        status = _billed(run, status, training)
    if training.succeeded:
        return _trained(run, status, training, now)
    if training.failed:
        message = str(training.result.get("message") or training.message or f"exit code {training.exit_code}")
        reason = FINAL_EXITS.get(training.exit_code or 0)
        if reason is not None:
            return _fail(run, status, now, reason, f"attempt {attempt} ended with {training.exit_code}: {message}")
        overdue = training.reason == "DeadlineExceeded"
        if training.out_of_memory:
            message = "killed for memory: raise spec.resources.limits.memory, or halve hyperparameters.batchSize"
        elif training.exit_code in (None, INTERRUPTED, 137, 143) and not overdue:
            return _interrupted(run, status, seen, now, platform, owner, message)
        failures = (status.failures or 0) + 1
        status = status.model_copy(update={"failures": failures, "last_exit": message[:1024]})
        if failures > run.spec.retry.max_failures:
            return _fail(
                run, status, now, Reason.TRAINING_FAILED, f"{failures} attempts failed, the last with: {message}"
            )
        return _attempt(run, status, seen, now, platform, owner, Reason.RETRYING, message)
    return _progress(run, status, seen, training, now)


def _attempt(
    run: TrainingRun,
    status: TrainingRunStatus,
    seen: Seen,
    now: datetime,
    platform: Platform,
    owner: Owner,
    reason: Reason,
    message: str,
) -> Decision:
    attempt = (status.attempts or 0) + 1
    create = Create(train_job(run.model_copy(update={"status": status}), owner, platform, attempt, seen.warm_start))
    status = status.model_copy(update={"attempts": attempt, "phase": TrainingRunPhase.TRAINING})
    text = f"attempt {attempt}: {message}"
    return Decision(_with(run, status, [Fact("Training", True, reason, text), _open(reason, text)], now), (create,))


def _interrupted(
    run: TrainingRun,
    status: TrainingRunStatus,
    seen: Seen,
    now: datetime,
    platform: Platform,
    owner: Owner,
    message: str,
) -> Decision:
    count = (status.interruptions or 0) + 1
    result = seen.training.result if seen.training is not None else {}
    saved = status.last_checkpoint
    if isinstance(step := result.get("step"), int):  # it stopped in order; a pod that was killed says nothing
        saved = CheckpointStatus(step=step, uri=checkpoint_uri(run, step))
    status = status.model_copy(update={"interruptions": count, "last_exit": message[:1024], "last_checkpoint": saved})
    if count > run.spec.retry.max_interruptions:
        return _fail(run, status, now, Reason.INTERRUPTED, f"interrupted {count} times, the last with: {message}")
    return _attempt(run, status, seen, now, platform, owner, Reason.INTERRUPTED, message)


def _progress(run: TrainingRun, status: TrainingRunStatus, seen: Seen, training: JobFacts, now: datetime) -> Decision:
    admitted = not training.suspended
    progress = seen.progress or status.progress
    last = max(filter(None, (progress.last_updated_time if progress else None, training.started_at)), default=now)
    limit = as_timedelta(run.spec.stall_timeout)
    stalled = admitted and now - last > limit
    facts = [
        Fact("Admitted", admitted, Reason.ADMITTED if admitted else Reason.QUEUED, run.spec.queue_name or "no queue"),
        Fact("Training", admitted, Reason.TRAINING if admitted else Reason.QUEUED, f"attempt {status.attempts}"),
        Fact(
            "Stalled",
            stalled,
            Reason.STALLED if stalled else Reason.PROGRESSING,
            f"no progress since {last.isoformat()}" if stalled else "",
        ),
        _open(Reason.TRAINING, "training"),
    ]
    phase = TrainingRunPhase.TRAINING if admitted else TrainingRunPhase.ADMISSION
    status = status.model_copy(update={"progress": progress, "phase": phase})
    return Decision(_with(run, status, facts, now), requeue_after=limit)


def _trained(run: TrainingRun, status: TrainingRunStatus, training: JobFacts, now: datetime) -> Decision:
    result = training.result
    if not result.get("sha256"):
        message = "the trainer ended well without saying what it made: its termination message has no sha256"
        return _fail(run, status, now, Reason.TRAINING_FAILED, message)
    known = ("sha256", "steps", "samples", "seconds", "loss", "evalLoss", "tokensPerSecond", "torch")
    try:
        made = ResultStatus.model_validate({name: result.get(name) for name in known} | {"uri": adapter_uri(run)})
    except ValueError as error:
        message = f"the trainer ended well, but its termination message cannot be read: {error!s}"
        return _fail(run, status, now, Reason.TRAINING_FAILED, message[:1024])
    done = {"percent": 100.0, "step": made.steps, "eta_seconds": 0, "loss": made.loss}
    status = status.model_copy(
        update={
            "phase": TrainingRunPhase.REGISTERING,
            "result": made,
            "plan": _plan(result),
            "progress": (status.progress or ProgressStatus()).model_copy(update=done),
        }
    )
    facts = [
        Fact("Training", False, Reason.TRAINED, f"{result.get('steps')} steps"),
        Fact("Stalled", False, Reason.TRAINED),
        _open(Reason.TRAINED, "registering"),
    ]
    return Decision(_with(run, status, facts, now), requeue_after=timedelta(0))


def _register(run: TrainingRun, status: TrainingRunStatus, seen: Seen, now: datetime) -> Decision:
    assert status.result is not None
    assert status.result.sha256 is not None
    name, version = model_version_name(run), seen.version
    if version is None:
        registering = _with(run, status, [_open(Reason.TRAINED, f"registering ModelVersion {name}")], now)
        return Decision(registering, (Create(model_version(run, status.result.sha256)),), timedelta(seconds=1))
    if version.spec.adapter is None or version.spec.adapter.sha256 != status.result.sha256:
        message = (
            f"spec.modelVersion.name: ModelVersion {name} exists already and is another artifact: choose another name"
        )
        return _fail(run, status, now, Reason.NAME_TAKEN, message)
    done = status.model_copy(
        update={
            "phase": TrainingRunPhase.SUCCEEDED,
            "model_version_ref": ObjectStatusRef(name=name, uid=version.metadata.uid),
            "completion_time": now.replace(microsecond=0),
        }
    )
    facts = [
        Fact("Registered", True, Reason.REGISTERED, f"ModelVersion {name}"),
        Fact("Succeeded", True, Reason.REGISTERED, f"ModelVersion {name}"),
    ]
    return Decision(_with(run, done, facts, now))


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
    return Decision(_with(run, run.status, [gone], now), tuple(Delete("batch/v1", "Job", name) for name in jobs))


def _fail(run: TrainingRun, status: TrainingRunStatus, now: datetime, reason: str, message: str) -> Decision:
    failed = status.model_copy(
        update={
            "phase": TrainingRunPhase.FAILED,
            "completion_time": now.replace(microsecond=0),
            "last_exit": message[:1024],
        }
    )
    facts = [Fact("Succeeded", False, reason, message)]
    if is_true(status.conditions, "Training"):
        facts.append(Fact("Training", False, reason, message))
    return Decision(_with(run, failed, facts, now))


def _plan(result: Mapping[str, Any]) -> PlanStatus:
    plan = result.get("plan") if isinstance(result.get("plan"), Mapping) else result
    try:
        return PlanStatus.model_validate({k: plan[k] for k in ("method", "reason") if plan and plan.get(k) is not None})
    except ValueError:
        return PlanStatus()  # shown only; the adapter is what counts


def _billed(run: TrainingRun, status: TrainingRunStatus, training: JobFacts) -> TrainingRunStatus:
    """The status with the GPU seconds of an attempt that has ended; each attempt ends once."""
    gpus = run.spec.resources.limits.get("nvidia.com/gpu", "0")
    count = int(gpus) * run.spec.num_nodes if gpus.isdigit() else 0
    seconds = (status.gpu_seconds or 0.0) + _seconds(training) * count
    price = run.spec.costs.gpu_hour_cny
    cost = seconds / 3600 * float(price) if price else None
    return status.model_copy(update={"gpu_seconds": seconds, "cost_cny": cost})


def _seconds(training: JobFacts) -> float:
    if training.started_at is None or training.finished_at is None:
        return 0.0
    return (training.finished_at - training.started_at).total_seconds()


def _open(reason: str, message: str) -> Fact:
    return Fact("Succeeded", None, reason, message)


def _with(run: TrainingRun, status: TrainingRunStatus, facts: list[Fact], now: datetime) -> TrainingRunStatus:
    generation = run.metadata.generation
    conditions: tuple[Condition, ...] = with_facts(status.conditions, facts, generation=generation, now=now)
    return status.model_copy(update={"observed_generation": generation, "conditions": conditions})
