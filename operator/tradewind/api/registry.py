"""The list of kinds. A new kind is one line here, one file beside it and one in core/.

Belongs here: names, columns and models of the kinds. Does not belong here: their fields, or how YAML looks.
"""

from dataclasses import dataclass
from enum import StrEnum

from tradewind.api.ab_experiment import ABExperiment, ABExperimentSpec
from tradewind.api.ab_experiment_status import ABExperimentPhase, ABExperimentStatus
from tradewind.api.common import API_VERSION, CommonStatus, Resource
from tradewind.api.endpoint import Endpoint, EndpointPhase, EndpointSpec, EndpointStatus
from tradewind.api.model_version import ModelVersion, ModelVersionPhase, ModelVersionSpec, ModelVersionStatus
from tradewind.api.training_run import TrainingRun, TrainingRunSpec
from tradewind.api.training_run_status import TrainingRunPhase, TrainingRunStatus
from tradewind.api.training_schedule import (
    TrainingSchedule,
    TrainingSchedulePhase,
    TrainingScheduleSpec,
    TrainingScheduleStatus,
)
from tradewind.schema.rules import StrictModel


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; priority 1 shows with `-o wide` only."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of the API.

    Attributes:
        happy: the one condition that says whether all is well (living kinds) or done (batch kinds).
        batch: whether the kind comes to an end.
        phases: what `status.phase` may be, for display only.
    """

    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    resource: type[Resource]
    spec: type[StrictModel]
    status: type[CommonStatus]
    happy: str
    batch: bool
    phases: type[StrEnum]
    columns: tuple[Column, ...]

    @property
    def api_version(self) -> str:
        """Group and version, `tradewind.dev/v1alpha1`."""
        return API_VERSION


@dataclass(frozen=True, slots=True)
class Verb:
    """A one-time request to the operator: the annotation `tradewind.dev/<name>: <request-id>`."""

    name: str
    kinds: tuple[str, ...]
    does: str


VERBS: tuple[Verb, ...] = (
    Verb("abort", ("ABExperiment",), "ends the experiment; the baseline stays"),
    Verb("pause", ("ABExperiment",), "sets the candidate's weight to 0 until `resume`"),
    Verb("resume", ("ABExperiment",), "ends a pause"),
    Verb("approve", ("ABExperiment",), "lets the ramp begin where `onPromote.approval` is `manual`"),
    Verb(
        "accept",
        ("ABExperiment",),
        "takes what a changed arm has become for the arm; the evidence starts anew with the next block, at half the alpha",
    ),
    Verb(
        "promote",
        ("Endpoint",),
        "makes a version champion by hand: the value is `VERSION/<request-id>`, and `tradewind.dev/reason` says why; an "
        "experiment that holds the Endpoint is aborted first",
    ),
    Verb(
        "rollback",
        ("Endpoint",),
        "takes the newest promotion back, also one whose ramp still runs; the value is `<request-id>`, or "
        "`VERSION/<request-id>` to go back to that version only; an experiment that holds the Endpoint is aborted first",
    ),
)
"""What the operator does once when asked. The chart guards these and the reserved name `retry`."""


def _condition(name: str) -> str:
    return f'.status.conditions[?(@.type=="{name}")].status'


def _reason(name: str) -> str:
    return f'.status.conditions[?(@.type=="{name}")].reason'


_AGE = Column("Age", ".metadata.creationTimestamp", "date")

KINDS: tuple[Kind, ...] = (
    Kind(
        "Endpoint", "endpoints", "endpoint", ("twep",), Endpoint, EndpointSpec, EndpointStatus,
        happy="Ready", batch=False, phases=EndpointPhase,
        columns=(
            Column("Ready", _condition("Ready")),
            Column("Champion", ".status.championRef.name"),
            Column("Experiment", ".status.activeExperiment.name"),
            Column("Weight", ".status.weights.applied"),
            Column("Clock", ".spec.clock", priority=1),
            Column("Reason", _reason("Ready"), priority=1),
            Column("Gateway", ".status.gateway.hosting.servedBy", priority=1),
            Column("URL", ".status.url", priority=1),
            _AGE,
        ),
    ),
    Kind(
        "TrainingRun", "trainingruns", "trainingrun", ("twrun",), TrainingRun, TrainingRunSpec, TrainingRunStatus,
        happy="Succeeded", batch=True, phases=TrainingRunPhase,
        columns=(
            Column("Phase", ".status.phase"),
            Column("Progress", ".status.progress.percent", "number"),
            Column("Loss", ".status.progress.loss", "number"),
            Column("Rows", ".status.dataset.rows", "integer"),
            Column("Version", ".status.modelVersionRef.name"),
            Column("Reason", _reason("Succeeded")),
            Column("Attempts", ".status.attempts", "integer", priority=1),
            Column("Cost CNY", ".status.costCNY", "number", priority=1),
            _AGE,
        ),
    ),
    Kind(
        "TrainingSchedule", "trainingschedules", "trainingschedule", ("twsched",),
        TrainingSchedule, TrainingScheduleSpec, TrainingScheduleStatus,
        happy="Ready", batch=False, phases=TrainingSchedulePhase,
        columns=(
            Column("Schedule", ".spec.schedule"),
            Column("Suspend", ".spec.suspend", "boolean"),
            Column("Last", ".status.lastScheduleTime", "date"),
            Column("Last Run", ".status.lastRunRef.name"),
            Column("Next", ".status.nextScheduleTime", priority=1),
            _AGE,
        ),
    ),
    Kind(
        "ModelVersion", "modelversions", "modelversion", ("twmv",), ModelVersion, ModelVersionSpec, ModelVersionStatus,
        happy="Ready", batch=False, phases=ModelVersionPhase,
        columns=(
            Column("Ready", _condition("Ready")),
            Column("Stage", ".status.stage"),
            Column("P50 ms", ".status.benchmark.p50Ms", "number"),
            Column("P99 ms", ".status.benchmark.p99Ms", "number"),
            Column("Reason", _reason("Ready")),
            Column("URL", ".status.url", priority=1),
            _AGE,
        ),
    ),
    Kind(
        "ABExperiment", "abexperiments", "abexperiment", ("twab",), ABExperiment, ABExperimentSpec, ABExperimentStatus,
        happy="Succeeded", batch=True, phases=ABExperimentPhase,
        columns=(
            Column("Phase", ".status.phase"),
            Column("Endpoint", ".spec.endpointRef.name"),
            Column("Candidate", ".spec.candidate"),
            Column("Weight", ".status.weight.applied"),
            Column("Blocks", ".status.evidence.blocks", "integer"),
            Column("Verdict", ".status.verdict.decision"),
            Column("Reason", _reason("Succeeded"), priority=1),
            Column("Baseline", ".status.baselineRef.name", priority=1),
            _AGE,
        ),
    ),
)  # fmt: skip

BY_KIND: dict[str, Kind] = {kind.kind: kind for kind in KINDS}
BY_PLURAL: dict[str, Kind] = {kind.plural: kind for kind in KINDS}
