"""From closed trades to a dataset, or a reason why not.

Belongs here: the snapshot's Job, and what its gates mean for the run. Does not belong here: gates themselves (trading/gates.py).
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tradewind.api.common import GateResult
from tradewind.api.training_run_status import (
    DatasetStatus,
    TrainingRunPhase,
)
from tradewind.core.conditions import Fact
from tradewind.core.decision import Create, Decision, Delete
from tradewind.core.training_run.manifests import (
    build_snapshot_job,
    dataset_uri,
    empty_window,
    snapshot_name,
)
from tradewind.core.training_run.seen import Reason
from tradewind.core.training_run.turn import SOON, Turn
from tradewind.trading.exits import End, exit_code


def take_snapshot(turn: Turn) -> Decision:
    """The run's data: files that are there, or a snapshot that passed its gates."""
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
            return turn.waiting("DataReady", held.reason, f"the snapshot waits: {held}", again=SOON)
        starting = SOON if snapshot is None or not snapshot.running else None
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


def _gated(turn: Turn, result: Mapping[str, Any]) -> Decision:
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
