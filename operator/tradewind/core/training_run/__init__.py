r"""TrainingRun: from closed trades to a registered ModelVersion, or a reason why not.

Snapshot --gates fail--> Skipped (too few samples) | Failed (any other gate), before any GPU second
|
Training (attempt n) --exit 75, node lost--> interruption: attempt n+1 resumes --too many--> Failed
|               \--exit 64..68-------------------------------------------------------> Failed
|                \--any other exit, killed for memory--> failure: attempt n+1 --too many--> Failed
Registering: ModelVersion created, owned by nobody -> Succeeded          (terminal states never act)
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tradewind.api.common import Condition, GateResult, ObjectStatusRef
from tradewind.api.model_version import Adapter, ModelVersion
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
from tradewind.core.decision import Apply, Create, Decision, Delete, Effect, JobFacts, Owner
from tradewind.core.manifests.network import with_run_policy
from tradewind.core.platform import Platform
from tradewind.core.policy import policy_fact, run_faults
from tradewind.core.training_run import billing
from tradewind.core.training_run.manifests import (
    adapter_of,
    adapter_uri,
    build_model_version,
    build_rendezvous,
    build_snapshot_job,
    build_train_job,
    checkpoint_uri,
    dataset_uri,
    empty_window,
    merged_uri,
    model_version_name,
    rendezvous_name,
    snapshot_name,
    stores_of,
    train_name,
)
from tradewind.core.training_run.seen import TERMINAL, Reason, Seen
from tradewind.schema.scalars import as_timedelta, is_sha256
from tradewind.trading.exits import End, ExitCode, exit_code

__all__ = ["TERMINAL", "Reason", "Seen", "decide"]

_RETRY = timedelta(seconds=30)
_SOON = timedelta(seconds=5)
"""A pod that does not run yet: nothing tells why but a look at it."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """One look at a run: its status as it will be, what is seen, and for whom children are made."""

    run: TrainingRun
    status: TrainingRunStatus
    seen: Seen
    now: datetime
    platform: Platform
    owner: Owner

    def having(self, **changes: Any) -> "_Turn":
        """The same turn with other fields in its status."""
        return replace(self, status=self.status.model_copy(update=changes))

    def decision(
        self, facts: list[Fact], effects: tuple[Effect, ...] = (), requeue_after: timedelta | None = None
    ) -> Decision:
        """The turn's end."""
        told = self.policy
        if told is not None and told.holds:  # what was refused is allowed now
            facts = [*facts, told]
        return Decision(_with(self.run, self.status, facts, self.now), effects, requeue_after)

    @property
    def policy(self) -> Fact | None:
        """Whether the installation allows what the run asks for; None: there is nothing to say."""
        warm = self.seen.warm_start
        faults = run_faults(self.run.spec, self.platform.policy, None if warm is None else warm.spec)
        return policy_fact(faults, self.run.status)

    @property
    def made(self) -> str | None:
        """SHA-256 of the adapter that was trained; None: there is none, or nobody knows what was made."""
        result = self.status.result
        return result.sha256 if result is not None and is_sha256(result.sha256) else None

    @property
    def makes_a_pod(self) -> bool:
        """Whether the next step would make one: a Job that runs, or ended well, is followed to its end."""
        if self.made is not None:
            return False
        job = self.seen.snapshot if self.status.dataset is None else self.seen.training
        return job is None or job.failed

    def waiting(
        self, kind: str, reason: str, message: str, *effects: Effect, again: timedelta | None = _RETRY
    ) -> Decision:
        """The turn's end where something is not there yet; `again`: when to look, though nothing happens."""
        facts = [Fact(kind, False, reason, message), _open(reason, message)]
        return self.decision(facts, effects, again)

    def failed(self, reason: str, message: str) -> Decision:
        """The run's end, for a reason."""
        facts = [Fact("Succeeded", False, reason, message)]
        if is_true(self.status.conditions, "Training"):
            facts.append(Fact("Training", False, reason, message))
        return self.completed(TrainingRunPhase.FAILED, facts, last_exit=message[:1024])

    def completed(self, phase: TrainingRunPhase, facts: list[Fact], **changes: Any) -> Decision:
        """The run's end."""
        return self.having(phase=phase, completion_time=self.now.replace(microsecond=0), **changes).decision(facts)


def decide(run: TrainingRun, seen: Seen, now: datetime, *, platform: Platform, owner: Owner) -> Decision:
    """What to do about a run now."""
    status = run.status
    if status.phase in TERMINAL:
        return _expire(run, now)
    if run.metadata.deletion_timestamp is not None:
        return Decision(status)
    turn = _Turn(run, status, seen, now, platform, owner)
    turn = turn.having(start_time=status.start_time or now.replace(microsecond=0))
    refused = turn.policy
    if refused is not None and refused.holds is False and turn.makes_a_pod:
        facts = [refused, _open(refused.reason, refused.message)]
        return (turn if status.phase else turn.having(phase=TrainingRunPhase.PENDING)).decision(facts, (), _RETRY)
    decision = _next(turn)
    return replace(
        decision,
        effects=with_run_policy(
            decision.effects, owner, platform, stores_of(turn.run, seen.warm_start), peers=run.spec.num_nodes > 1
        ),
    )


def _next(turn: _Turn) -> Decision:
    """The step that a run is at."""
    if turn.status.dataset is None:
        return _snapshot(turn)
    if turn.status.result is not None and turn.made is not None:
        return _register(turn, turn.status.result, turn.made)
    return _train(turn)


def _snapshot(turn: _Turn) -> Decision:
    run, endpoint, snapshot, started = turn.run, turn.seen.endpoint, turn.seen.snapshot, turn.status.start_time
    if run.spec.dataset.uri is not None:
        facts = [
            Fact("DataReady", True, Reason.GIVEN, "files that are there already"),
            Fact("GatesPassed", None, Reason.GIVEN, "gates are checked when a snapshot is taken"),
        ]
        given = DatasetStatus(uri=run.spec.dataset.uri, sha256=run.spec.dataset.sha256)
        return turn.having(dataset=given).decision(facts, requeue_after=timedelta(0))
    if endpoint is None:
        message = f"spec.dataset.endpoint: Endpoint {run.spec.dataset.endpoint!r} does not exist in {run.namespace}: create it"
        return turn.having(phase=TrainingRunPhase.PENDING).waiting("DataReady", Reason.ENDPOINT_MISSING, message)
    turn = turn.having(phase=TrainingRunPhase.SNAPSHOT)
    assert started is not None
    if (empty := empty_window(run, started)) is not None:
        return turn.failed(Reason.SNAPSHOT_FAILED, empty)
    if snapshot is None or not (snapshot.succeeded or snapshot.failed):
        effects = (
            ()
            if snapshot
            else (Create(build_snapshot_job(run, endpoint, turn.owner, turn.platform, started, turn.seen.before)),)
        )
        if snapshot is not None and snapshot.hindrance is not None:
            held = snapshot.hindrance
            return turn.waiting("DataReady", held.reason, f"the snapshot waits: {held}", again=_SOON)
        starting = _SOON if snapshot is None or not snapshot.running else None
        return turn.waiting("DataReady", Reason.SNAPSHOT_RUNNING, "taking the snapshot", *effects, again=starting)
    if snapshot.failed:
        message = str(snapshot.result.get("message") or snapshot.message or f"exit code {snapshot.exit_code}")
        failures = (turn.status.failures or 0) + 1
        if exit_code(snapshot.exit_code).end is End.FINAL or failures > run.spec.retry.max_failures:
            return turn.failed(Reason.SNAPSHOT_FAILED, f"the snapshot failed: {message}")
        gone = Delete("batch/v1", "Job", snapshot_name(run.name))
        turn = turn.having(failures=failures, last_exit=message[:1024])
        return turn.waiting("DataReady", Reason.RETRYING, message, gone)
    return _gated(turn, snapshot.result)


def _gated(turn: _Turn, result: Mapping[str, Any]) -> Decision:
    """The gates' verdict, from the numbers that the snapshot brought."""
    try:
        gates = tuple(GateResult.model_validate(gate) for gate in result["gates"])
        dataset = DatasetStatus.model_validate(
            {name: result.get(name) or {} for name in ("perLabel", "perAction", "dropped")}
            | {name: result[name] for name in ("sha256", "rows", "watermark")}
            | {name: result.get(name) for name in ("perSymbol", "perRegime", "paperRows", "drift")}
            | {"uri": dataset_uri(turn.run)}
        )
    except (KeyError, TypeError, ValueError) as error:
        message = f"the snapshot ended well, but its termination message cannot be read: {error!s}"
        return turn.failed(Reason.SNAPSHOT_FAILED, message[:1024])
    turn = turn.having(dataset=dataset, gates=gates)
    data = Fact("DataReady", True, Reason.SNAPSHOT_TAKEN, f"{dataset.rows} rows")
    failed = [gate for gate in gates if gate.passed is False]
    if not failed:
        unknown = ", ".join(gate.name for gate in gates if gate.passed is None)
        passed = Fact(
            "GatesPassed", True, Reason.GATES_PASSED, f"unknown: {unknown}" if unknown else "all gates passed"
        )
        return turn.decision([data, passed], requeue_after=timedelta(0))
    message = "; ".join(
        f"{gate.name} {'unknown' if gate.value is None else format(gate.value, 'g')} against "
        f"{'-' if gate.threshold is None else format(gate.threshold, 'g')}"
        for gate in failed
    )
    if dataset.drift is not None and any(gate.name == "maxDrift" for gate in failed):
        message += f" (status.dataset.drift, against {dataset.drift.run})"
    few = any(gate.name == "minSamples" for gate in failed)
    reason = Reason.SKIPPED if few else Reason.GATES_FAILED
    facts = [data, Fact("GatesPassed", False, reason, message), Fact("Succeeded", False, reason, message)]
    return turn.completed(TrainingRunPhase.SKIPPED if few else TrainingRunPhase.FAILED, facts)


def _train(turn: _Turn) -> Decision:
    run, seen, training = turn.run, turn.seen, turn.seen.training
    attempt = turn.status.attempts or 0
    if run.spec.suspend:
        gone = (Delete("batch/v1", "Job", train_name(run.name, attempt)),) if training and training.active else ()
        facts = [
            Fact("Training", False, Reason.SUSPENDED, "spec.suspend is true; it resumes from the newest checkpoint"),
            _open(Reason.SUSPENDED, "suspended"),
        ]
        if run.spec.queue_name and is_true(turn.status.conditions, "Admitted"):
            turn = turn.having(**billing.of_admission(run, turn.status, turn.now))
            facts.append(Fact("Admitted", False, Reason.SUSPENDED, "spec.suspend is true"))
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
        return _interrupted(turn, "its Job is gone")
    if training.succeeded:
        return _trained(_ended_one(turn, training), training.result)
    if training.failed:
        return _ended(_ended_one(turn, training), training)
    return _progress(turn, training)


def _ended_one(turn: _Turn, training: JobFacts) -> _Turn:
    turn = _reported(turn)
    return turn.having(**billing.of_attempt(turn.run, turn.status, training))


def _reported(turn: _Turn) -> _Turn:
    """The turn with the last report in its status: one of a training that ended at once may come with the end itself."""
    known, told = turn.status.progress, turn.seen.progress
    if told is None or (known is not None and _told_at(known) > _told_at(told)):
        return turn
    return turn.having(progress=told)


def _told_at(progress: ProgressStatus) -> float:
    return progress.last_updated_time.timestamp() if progress.last_updated_time else 0.0


def _ended(turn: _Turn, training: JobFacts) -> Decision:
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


def _attempt(turn: _Turn, reason: Reason, message: str) -> Decision:
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
    facts = [Fact("Training", queue is None, Reason.QUEUED if queue else reason, text), _open(reason, text)]
    if queue:
        facts.append(Fact("Admitted", False, Reason.QUEUED, queue))
    return turn.decision(facts, (*together, Create(job)))


def _interrupted(turn: _Turn, message: str) -> Decision:
    count = (turn.status.interruptions or 0) + 1
    result = turn.seen.training.result if turn.seen.training is not None else {}
    saved = turn.status.last_checkpoint
    if isinstance(step := result.get("step"), int):  # it stopped in order; a pod that was killed says nothing
        saved = CheckpointStatus(step=step, uri=checkpoint_uri(turn.run, step))
    turn = turn.having(interruptions=count, last_exit=message[:1024], last_checkpoint=saved)
    if count > turn.run.spec.retry.max_interruptions:
        return turn.failed(Reason.INTERRUPTED, f"interrupted {count} times, the last with: {message}")
    return _attempt(turn, Reason.INTERRUPTED, message)


def _progress(turn: _Turn, training: JobFacts) -> Decision:
    admitted = not training.suspended
    progress = turn.seen.progress or turn.status.progress
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
        under_way = Fact("Training", admitted, reason, _noted(attempt, progress.message if progress else None))
    facts = [
        Fact("Admitted", admitted, Reason.ADMITTED if admitted else waits, queue),
        under_way,
        Fact(
            "Stalled",
            stalled,
            Reason.STALLED if stalled else Reason.PROGRESSING,
            _stalled_words(turn.run, turn.status.attempts or 0, last) if stalled else "",
        ),
        _open(Reason.TRAINING, "training" if admitted else "waiting in its queue")
        if held is None
        else _open(under_way.reason, under_way.message),
    ]
    phase = TrainingRunPhase.TRAINING if admitted else TrainingRunPhase.ADMISSION
    again = limit if training.running and admitted else _SOON if admitted else _RETRY  # nothing tells of a queue's mind
    return turn.having(progress=progress, phase=phase).decision(facts, requeue_after=again)


def _trained(turn: _Turn, result: Mapping[str, Any]) -> Decision:
    if not is_sha256(result.get("sha256")):
        message = "the trainer ended well without saying what it made: its termination message has no sha256"
        return turn.failed(Reason.TRAINING_FAILED, message)
    if result.get("baseSha256") is not None and not is_sha256(result["baseSha256"]):
        message = "the trainer ended well without saying what it stands on: baseSha256 of its termination message is no SHA-256"
        return turn.failed(Reason.TRAINING_FAILED, message)
    known = (
        "sha256",
        "baseSha256",
        "steps",
        "samples",
        "seconds",
        "loss",
        "evalLoss",
        "baseEvalLoss",
        "tokensPerSecond",
        "torch",
    )
    try:
        told = {name: result.get(name) for name in known} | {"uri": adapter_uri(turn.run)}
        if isinstance(result.get("merged"), Mapping):
            told["merged"] = {**result["merged"], "uri": merged_uri(turn.run)}
        made = ResultStatus.model_validate(told)
    except ValueError as error:
        message = f"the trainer ended well, but its termination message cannot be read: {error!s}"
        return turn.failed(Reason.TRAINING_FAILED, message[:1024])
    note = str(result.get("message") or "")[:1024] or None
    done = {"percent": 100.0, "step": made.steps, "eta_seconds": 0, "loss": made.loss, "message": note}
    turn = turn.having(
        phase=TrainingRunPhase.REGISTERING,
        result=made,
        plan=_plan(result),
        progress=(turn.status.progress or ProgressStatus()).model_copy(update=done),
    )
    facts = [
        Fact("Training", False, Reason.TRAINED, _noted(f"{result.get('steps')} steps", note)),
        Fact("Stalled", False, Reason.TRAINED),
        _open(Reason.TRAINED, "registering"),
    ]
    return turn.decision(facts, requeue_after=timedelta(0))


def _register(turn: _Turn, result: ResultStatus, sha256: str) -> Decision:
    name, version = model_version_name(turn.run), turn.seen.version
    if version is None:
        create = Create(build_model_version(turn.run, sha256, result.base_sha256))
        return turn.decision(
            [_open(Reason.TRAINED, f"registering ModelVersion {name}")], (create,), timedelta(seconds=1)
        )
    if (other := _not_ours(turn.run, version, adapter_of(turn.run, sha256, result.base_sha256))) is not None:
        message = f"spec.modelVersion.name: ModelVersion {name} exists already and {other}: choose another name"
        return turn.failed(Reason.NAME_TAKEN, message)
    facts = [Fact(kind, True, Reason.REGISTERED, f"ModelVersion {name}") for kind in ("Registered", "Succeeded")]
    registered = ObjectStatusRef(name=name, uid=version.metadata.uid)
    return turn.completed(TrainingRunPhase.SUCCEEDED, facts, model_version_ref=registered)


def _not_ours(run: TrainingRun, version: ModelVersion, ours: Adapter) -> str | None:
    """Why a version is not what this run registers; None: it is. Who made it does not matter, what it is made of does."""
    theirs = version.spec.adapter
    if theirs is None or theirs.sha256 != ours.sha256:
        return "is another artifact"
    if theirs.training_run != run.name:
        return f"does not name this run in spec.adapter.trainingRun ({theirs.training_run or 'nothing'})"
    if theirs.uri != ours.uri:
        return f"lies at {theirs.uri}, not at {ours.uri}"
    return None if theirs.base_model == ours.base_model else "stands on another base model"


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
    return Decision(_with(run, run.status, [gone], now), deletions)


def _plan(result: Mapping[str, Any]) -> PlanStatus:
    try:
        return PlanStatus.model_validate(result.get("plan") or {})
    except ValueError:
        return PlanStatus()  # shown only; the adapter is what counts


def _stalled_words(run: TrainingRun, attempt: int, last: datetime) -> str:
    job = train_name(run.name, attempt)
    return (
        f"no progress since {last.isoformat()}: see `kubectl -n {run.namespace} logs job/{job}`; deleting its pod lets the next attempt "
        "go on from the newest checkpoint; raise spec.stallTimeout where a step takes longer"
    )


def _noted(message: str, note: str | None) -> str:
    return f"{message}. {note}" if note else message


def _open(reason: str, message: str) -> Fact:
    return Fact("Succeeded", None, reason, message)


def _with(run: TrainingRun, status: TrainingRunStatus, facts: list[Fact], now: datetime) -> TrainingRunStatus:
    generation = run.metadata.generation
    conditions: tuple[Condition, ...] = with_facts(status.conditions, facts, generation=generation, now=now)
    return status.model_copy(update={"observed_generation": generation, "conditions": conditions})
