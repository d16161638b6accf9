"""From a trained adapter to its ModelVersion, or a reason why not.

Belongs here: what the trainer reported, and whose the name is. Does not belong here: attempts (__init__.py).
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tradewind.api.common import ObjectStatusRef
from tradewind.api.model_version import Adapter, ModelVersion
from tradewind.api.training_run import TrainingRun
from tradewind.api.training_run_status import (
    PlanStatus,
    ProgressStatus,
    ResultStatus,
    TrainingRunPhase,
)
from tradewind.core.conditions import Fact
from tradewind.core.decision import Create, Decision
from tradewind.core.training_run.manifests import (
    adapter_of,
    adapter_uri,
    build_model_version,
    merged_uri,
    model_version_name,
)
from tradewind.core.training_run.seen import Reason
from tradewind.core.training_run.turn import Turn, noted, unfinished
from tradewind.schema.scalars import is_sha256


def trained(turn: Turn, result: Mapping[str, Any]) -> Decision:
    """What a Job that ended well has made, by its termination message."""
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
        Fact("Training", False, Reason.TRAINED, noted(f"{result.get('steps')} steps", note)),
        Fact("Stalled", False, Reason.TRAINED),
        unfinished(Reason.TRAINED, "registering"),
    ]
    return turn.decision(facts, requeue_after=timedelta(0))


def register(turn: Turn, result: ResultStatus, sha256: str) -> Decision:
    """The ModelVersion of what was made, and with it the end of the run."""
    name, version = model_version_name(turn.run), turn.seen.version
    if version is None:
        create = Create(build_model_version(turn.run, sha256, result.base_sha256))
        return turn.decision(
            [unfinished(Reason.TRAINED, f"registering ModelVersion {name}")], (create,), timedelta(seconds=1)
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


def _plan(result: Mapping[str, Any]) -> PlanStatus:
    try:
        return PlanStatus.model_validate(result.get("plan") or {})
    except ValueError:
        return PlanStatus()  # shown only; the adapter is what counts
