"""Status of a TrainingRun: what the operator reports of it.

Belongs here: the fields of the status. Does not belong here: what users write (training_run.py) and what the operator does.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from tradewind.api.common import CommonStatus, GateResult, ObjectStatusRef
from tradewind.schema.rules import StatusModel
from tradewind.schema.scalars import Count, Text64, Text256, Text1024, Timestamp

CURVE_POINTS: Final = 200
"""Of a curve that a status keeps: some 12 KB."""


class TrainingRunPhase(StrEnum):
    """For display only."""

    PENDING = "Pending"
    SNAPSHOT = "Snapshot"
    ADMISSION = "Admission"
    TRAINING = "Training"
    REGISTERING = "Registering"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    SKIPPED = "Skipped"
    FAILED = "Failed"
    INVALID = "Invalid"


class DriftStatus(StatusModel):
    """How far the dataset has moved from the one before: population stability indexes, 0 where the shares are the same."""

    run: Text256 | None = None
    """Whose dataset it is held against: the newest run that succeeded, of the same schedule where there is one, else of the same Endpoint."""
    action: float | None = None
    """Of the mix of actions; absent where one side does not know it."""
    label: float | None = None
    """Of the mix of labels."""
    symbol: float | None = None
    """Of the mix of symbols."""
    regime: float | None = None
    """Of the mix of market regimes."""


class DatasetStatus(StatusModel):
    """The snapshot."""

    uri: Text1024 | None = None
    """Where it lies."""
    sha256: Text64 | None = None
    """Hash of the data; the trainer refuses any other."""
    rows: Count | None = None
    """Rows after filtering."""
    per_label: Annotated[dict[str, Count], Field(max_length=16)] = Field(default_factory=dict)
    """Rows of each label."""
    per_action: Annotated[dict[str, Count], Field(max_length=16)] = Field(default_factory=dict)
    """Rows of each action."""
    per_symbol: Annotated[dict[str, Count], Field(max_length=16)] | None = None
    """Rows of each symbol; the rarest are `(other)`."""
    per_regime: Annotated[dict[str, Count], Field(max_length=16)] | None = None
    """Rows of each market regime; the rarest are `(other)`."""
    drift: DriftStatus | None = None
    """Against the dataset of the run before; absent where there is none."""
    dropped: Annotated[dict[str, Count], Field(max_length=32)] = Field(default_factory=dict)
    """Decisions that teach nothing, by reason: open trades, duplicates, values off the grids and so on."""
    paper_rows: Count | None = None
    """Those of the rows that were learned from a result on paper; their labels begin with `paper_`."""
    watermark: Timestamp | None = None
    """Newest decision in it."""


class PlanStatus(StatusModel):
    """How the trainer decided to train."""

    method: Literal["lora", "qlora"] | None = None
    """What is used."""
    reason: Text1024 | None = None
    """Why, with the measured memory."""
    max_length: Count | None = None
    """Tokens of a sample at most."""
    batch_size: Count | None = None
    """Samples of one forward pass on one GPU."""


class CurvePoint(StatusModel):
    """What was measured at one optimiser step."""

    step: Count
    """The optimiser step."""
    loss: float | None = None
    """Training loss, the mean of the steps since the point before in the trainer's log."""
    eval_loss: float | None = None
    """Loss on the evaluation rows."""
    learning_rate: float | None = None
    """Learning rate in use."""


class ProgressStatus(StatusModel):
    """How far training is; at most 10 s old while it runs."""

    percent: float | None = None
    """Share of the steps, 0 to 100."""
    step: Count | None = None
    """Optimiser steps so far."""
    total_steps: Count | None = None
    """Optimiser steps in all."""
    epoch: float | None = None
    """Passes over the data so far."""
    eta_seconds: Count | None = None
    """Seconds that are left."""
    tokens_per_second: float | None = None
    """Speed."""
    loss: float | None = None
    """Training loss."""
    eval_loss: float | None = None
    """Loss on the evaluation rows."""
    checkpoint_step: Count | None = None
    """Optimiser step of the newest checkpoint of this attempt, or of the one that it goes on from; absent: there is none yet."""
    message: Text1024 | None = None
    """Which checkpoints the attempt did not resume from, and what differs; absent where there is nothing to say."""
    last_updated_time: Timestamp | None = None
    """When the trainer last reported."""
    curve: Annotated[tuple[CurvePoint, ...], Field(max_length=CURVE_POINTS)] = ()
    """The training so far by its steps, thinned evenly; it stays once the Jobs are gone."""


class CheckpointStatus(StatusModel):
    """The newest checkpoint that the operator was told of."""

    step: Count | None = None
    """Its optimiser step."""
    uri: Text1024 | None = None
    """Where it lies."""


class MergedStatus(StatusModel):
    """The base model with the adapter merged in."""

    uri: Text1024 | None = None
    """Its folder."""
    sha256: Text64 | None = None
    """Hash of that folder, as spec.model.sha256 of a ModelVersion asks for it."""
    difference: float | None = None
    """Largest difference of a log-probability from base and adapter, on a probe."""


class ResultStatus(StatusModel):
    """What the trainer reported at its end."""

    uri: Text1024 | None = None
    """Folder of the adapter."""
    sha256: Text64 | None = None
    """Hash of that folder."""
    base_sha256: Text64 | None = None
    """Hash of the base model that it was trained on."""
    steps: Count | None = None
    """Optimiser steps."""
    samples: Count | None = None
    """Samples seen."""
    seconds: float | None = None
    """Time of training."""
    loss: float | None = None
    """Last training loss."""
    eval_loss: float | None = None
    """Best evaluation loss."""
    base_eval_loss: float | None = None
    """Loss of the base model without an adapter on the same rows; absent: not measured, as after kto."""
    tokens_per_second: float | None = None
    """Mean speed."""
    torch: Text64 | None = None
    """Version of torch that trained it."""
    merged: MergedStatus | None = None
    """The merged model; absent: spec.output.merged does not ask for it."""

    @property
    def gain(self) -> float | None:
        """Share of the base model's loss on the evaluation rows that the adapter took away; None: not measured."""
        if self.eval_loss is None or self.base_eval_loss is None or self.base_eval_loss <= 0:
            return None
        return 1 - self.eval_loss / self.base_eval_loss


class TrainingRunStatus(CommonStatus):
    """What the operator sees of a TrainingRun."""

    phase: TrainingRunPhase | None = None
    """For display only; the condition Succeeded decides."""
    start_time: Timestamp | None = None
    """When the operator first acted."""
    completion_time: Timestamp | None = None
    """When the run became terminal."""
    dataset: DatasetStatus | None = None
    """The snapshot."""
    gates: Annotated[tuple[GateResult, ...], Field(max_length=32)] = ()
    """Each gate with its number."""
    plan: PlanStatus | None = None
    """How the trainer decided to train."""
    progress: ProgressStatus | None = None
    """How far training is."""
    result: ResultStatus | None = None
    """What the trainer reported at its end."""
    attempts: Count | None = None
    """Training Jobs that were started."""
    failures: Count | None = None
    """Attempts that failed."""
    interruptions: Count | None = None
    """Attempts that were interrupted after a checkpoint."""
    last_checkpoint: CheckpointStatus | None = None
    """The newest checkpoint that the operator was told of; later ones of a pod that was killed lie beside it."""
    last_exit: Text1024 | None = None
    """Why the last attempt ended."""
    model_version_ref: ObjectStatusRef | None = None
    """The ModelVersion that was registered."""
    gpu_seconds: float | None = None
    """GPU seconds of all attempts."""
    cost_cny: float | None = None
    """Their cost, where costs.gpuHourCNY is set."""
    source: Text256 | None = None
    """Schedule that made the run, if one did."""
