"""Facts about a TrainingRun, and the words that its parts share."""

from dataclasses import dataclass
from enum import StrEnum

from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.api.training_run import TrainingRun
from tradewind.api.training_run_status import ProgressStatus, TrainingRunPhase
from tradewind.core.decision import JobFacts

TERMINAL = frozenset(
    {TrainingRunPhase.SUCCEEDED, TrainingRunPhase.SKIPPED, TrainingRunPhase.FAILED, TrainingRunPhase.INVALID}
)


class Reason(StrEnum):
    """Why a condition of a TrainingRun says what it says."""

    ENDPOINT_MISSING = "EndpointMissing"
    """The Endpoint whose trades are learned from does not exist."""
    WARM_START_MISSING = "WarmStartMissing"
    """The ModelVersion to start from does not exist."""
    SNAPSHOT_RUNNING = "SnapshotRunning"
    """The Job that writes the dataset runs."""
    SNAPSHOT_FAILED = "SnapshotFailed"
    """No dataset could be made."""
    SNAPSHOT_TAKEN = "SnapshotTaken"
    """The dataset is written."""
    GATES_PASSED = "GatesPassed"
    """No gate failed."""
    GATES_FAILED = "GatesFailed"
    """The dataset failed a gate; nothing is trained."""
    SKIPPED = "Skipped"
    """There are too few samples; nothing is trained."""
    GIVEN = "DatasetGiven"
    """The spec names files in place of a window of trades."""
    QUEUED = "Queued"
    """The Job waits in its queue; the message has Kueue's words."""
    PREEMPTED = "Preempted"
    """Kueue stopped the Job for another; it saved, waits in its queue, and goes on from its checkpoint."""
    ADMITTED = "Admitted"
    """The Job was let in by its queue, or has none."""
    TRAINING = "Training"
    """An attempt runs."""
    INTERRUPTED = "Interrupted"
    """An attempt ended through no fault of its own; the next goes on from the newest checkpoint."""
    RETRYING = "Retrying"
    """An attempt failed and is made again."""
    SUSPENDED = "Suspended"
    """spec.suspend is true; it goes on from the newest checkpoint."""
    STALLED = "NoProgress"
    """No progress was reported for too long."""
    PROGRESSING = "Progressing"
    """Progress is reported."""
    TRAINED = "Trained"
    """The adapter is written; it is being registered."""
    TRAINING_FAILED = "TrainingFailed"
    """The attempts are used up, or the failure would come again."""
    EXPIRED = "TimeToLiveOver"
    """spec.ttlSecondsAfterFinished is over and the Jobs are deleted."""
    NAME_TAKEN = "ModelVersionNameTaken"
    """A ModelVersion with the name exists and is not what the run made: another artifact, place, base or run."""
    REGISTERED = "Registered"
    """The ModelVersion exists."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Facts about a run; None is: not there, or not known.

    Attributes:
        before: the run whose dataset this one's is held against.
    """

    endpoint: Endpoint | None = None
    before: TrainingRun | None = None
    snapshot: JobFacts | None = None
    training: JobFacts | None = None
    version: ModelVersion | None = None
    warm_start: ModelVersion | None = None
    progress: ProgressStatus | None = None
