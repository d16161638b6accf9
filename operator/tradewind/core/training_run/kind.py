"""TrainingRun among the kinds."""

from tradewind.api.training_run import TrainingRun
from tradewind.core.conditions import is_true
from tradewind.core.kind import Kind
from tradewind.core.training_run import TERMINAL, decide
from tradewind.core.training_run.observe import observe
from tradewind.core.training_schedule import scheduled_by


def finished(run: TrainingRun) -> bool:
    """Terminal, and its Jobs are not waiting for their time to go."""
    status = run.status
    keeps = run.spec.ttl_seconds_after_finished is None or status.completion_time is None
    return status.phase in TERMINAL and (keeps or is_true(status.conditions, "JobsDeleted"))


TRAINING_RUN = Kind(TrainingRun, observe, decide, scheduled_by, finished)
