"""What the GPUs of a run have cost so far."""

from datetime import datetime
from typing import Any

from tradewind.api.training_run import TrainingRun
from tradewind.api.training_run_status import TrainingRunStatus
from tradewind.core.decision import JobFacts


def of_attempt(run: TrainingRun, status: TrainingRunStatus, training: JobFacts) -> dict[str, Any]:
    """Changes of a status by an attempt that has ended; each attempt ends once."""
    if training.started_at is None or training.finished_at is None:
        return charged(run, status, 0.0)
    return charged(run, status, (training.finished_at - training.started_at).total_seconds())


def of_admission(run: TrainingRun, status: TrainingRunStatus, now: datetime) -> dict[str, Any]:
    """Changes of a status by a Job that was let in and has been stopped since: its pods are gone, and tell nothing."""
    let_in = next((c for c in run.status.conditions if c.type == "Admitted" and c.status == "True"), None)
    if let_in is None or let_in.last_transition_time is None:
        return {}
    return charged(run, status, max((now - let_in.last_transition_time).total_seconds(), 0.0))


def of_stopped(run: TrainingRun, status: TrainingRunStatus, training: JobFacts | None, now: datetime) -> dict[str, Any]:
    """Changes of a status by an attempt that is stopped now: nobody sees it end. Its pods save and go within a minute."""
    if training is None or not training.running or training.started_at is None:
        return {}
    return charged(run, status, max((now - training.started_at).total_seconds(), 0.0))


def charged(run: TrainingRun, status: TrainingRunStatus, seconds: float) -> dict[str, Any]:
    """Changes of a status by this time of all of the run's GPUs."""
    each = run.spec.resources.limits.get("nvidia.com/gpu", "0")
    total = (status.gpu_seconds or 0.0) + seconds * run.spec.num_nodes * (int(each) if each.isdigit() else 0)
    price = run.spec.costs.gpu_hour_cny
    return {"gpu_seconds": total, "cost_cny": total / 3600 * float(price) if price else None}
