"""TrainingSchedule: makes TrainingRuns at set times, and experiments of what they train.

Belongs here: the fields of the kind and the rules across them. Does not belong here: what the operator does with them.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from tradewind.api.ab_experiment import ExperimentSettings
from tradewind.api.common import CommonStatus, LocalRef, ObjectStatusRef, Resource, TemplateMeta
from tradewind.api.search import Search, SearchStatus
from tradewind.api.training_run import TrainingRunSpec
from tradewind.schema.rules import Rule, StatusModel, StrictModel
from tradewind.schema.scalars import Count, Cron, Duration, Text64, Text1024, Timestamp, TimeZone

STARTS: Final = 16
"""Times whose outcome a status keeps."""


class TrainingSchedulePhase(StrEnum):
    """For display only."""

    ACTIVE = "Active"
    SUSPENDED = "Suspended"
    INVALID = "Invalid"


class ConcurrencyPolicy(StrEnum):
    """What happens when a run is due while another is not finished."""

    FORBID = "Forbid"
    ALLOW = "Allow"
    REPLACE = "Replace"


class TrainingRunTemplate(StrictModel):
    """The TrainingRuns that the schedule makes, named `<schedule>-<time>`."""

    metadata: TemplateMeta = TemplateMeta()
    """Labels and annotations of the runs."""
    spec: TrainingRunSpec
    """Spec of the runs."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.spec.modelVersion) || !has(self.spec.modelVersion.name)",
            lambda s: s.spec.model_version.name is None,
            "template.spec.modelVersion.name must be left out: each run names its ModelVersion after itself",
            "spec.modelVersion.name",
        ),
    )


class ExperimentTemplate(ExperimentSettings):
    """The ABExperiment that is made once a run's ModelVersion is Ready: the new version against the champion."""

    endpoint_ref: LocalRef
    """The Endpoint whose champion is challenged."""
    on_busy: Literal["replaceWaiting", "skip"] = "replaceWaiting"
    """While another experiment runs: the newest version waits (an older waiting one is dropped), or is not tested."""
    metadata: TemplateMeta = TemplateMeta()
    """Labels and annotations of the experiments."""


class TrainingScheduleSpec(StrictModel):
    """What the user wants of a TrainingSchedule."""

    template: TrainingRunTemplate
    """The TrainingRuns that the schedule makes."""
    schedule: Cron = "0 2 * * 0"
    """Cron expression; by default Sundays at 02:00."""
    time_zone: TimeZone = "Etc/UTC"
    """Time zone of the schedule."""
    concurrency_policy: ConcurrencyPolicy = ConcurrencyPolicy.FORBID
    """What happens when a run is due while another is not finished."""
    starting_deadline: Duration = "6h"
    """How late a run may start; a later one is missed."""
    min_new_samples: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """Closed trades since the last run's watermark; with fewer the run is skipped. Where the database does not answer, the run is
    made and its own gates decide."""
    successful_runs_history_limit: Annotated[int, Field(ge=0, le=100)] = 3
    """Finished runs that are kept, beside those of champions, of what champions started from, of versions that an experiment names,
    and the newest where experimentTemplate makes one of it. Their ModelVersions stay in any case."""
    failed_runs_history_limit: Annotated[int, Field(ge=0, le=100)] = 3
    """Failed or skipped runs that are kept."""
    suspend: bool = False
    """Whether no run is made."""
    experiment_template: ExperimentTemplate | None = None
    """The ABExperiment of each new ModelVersion; absent: none."""
    search: Search | None = None
    """Settings that the runs try, the best of the last runs mostly; absent: all are trained as the template says."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.search) || !has(self.template.spec.objective) || self.template.spec.objective == 'sft'",
            lambda s: s.search is None or s.template.spec.objective == "sft",
            "search compares losses of sft: leave it out, or template.spec.objective",
            "search",
        ),
        Rule(
            "!has(self.search) || !has(self.template.spec.dataset.split) || "
            "!has(self.template.spec.dataset.split.evalFraction) || "
            "!self.template.spec.dataset.split.evalFraction.matches('^0([.]0*)?$')",
            lambda s: s.search is None or float(s.template.spec.dataset.split.eval_fraction) > 0,
            "search compares losses on rows that are kept for evaluation: raise template.spec.dataset.split.evalFraction above 0",
            "search",
        ),
    )


class ScheduledStart(StatusModel):
    """What came of a time at which a run was due."""

    time: Timestamp
    """When it was due."""
    outcome: Text64
    """RunStarted, or why there is no run, as in the reasons of the condition Ready."""
    run: ObjectStatusRef | None = None
    """The run; absent: none was made."""
    new_samples: Count | None = None
    """Closed trades since the watermark, as counted then; absent: not asked or not known."""
    message: Text1024 = ""
    """The same in words."""


class TrainingScheduleStatus(CommonStatus):
    """What the operator sees of a TrainingSchedule."""

    phase: TrainingSchedulePhase | None = None
    """For display only; the condition Ready decides."""
    active: Annotated[tuple[ObjectStatusRef, ...], Field(max_length=32)] = ()
    """Runs that are not finished."""
    last_schedule_time: Timestamp | None = None
    """When a run was last due."""
    last_successful_time: Timestamp | None = None
    """When a run last succeeded."""
    starts: Annotated[tuple[ScheduledStart, ...], Field(max_length=STARTS)] = ()
    """What came of the newest times, the newest last; of several that passed while nobody looked, the last alone."""
    next_schedule_time: Timestamp | None = None
    """When the next run is due."""
    last_run_ref: ObjectStatusRef | None = None
    """The newest run."""
    last_model_version_ref: ObjectStatusRef | None = None
    """The newest ModelVersion."""
    last_watermark: Timestamp | None = None
    """Newest decision that a run has trained on."""
    new_samples: Count | None = None
    """Closed trades since then."""
    search: SearchStatus | None = None
    """What the search has seen."""
    waiting_experiment: ObjectStatusRef | None = None
    """ModelVersion whose experiment waits for the Endpoint."""
    last_experiment_ref: ObjectStatusRef | None = None
    """The newest experiment."""


class TrainingSchedule(Resource):
    """Makes TrainingRuns at set times, and experiments of what they train."""

    name_limit: ClassVar[int] = 36

    kind: Literal["TrainingSchedule"] = "TrainingSchedule"
    spec: TrainingScheduleSpec
    status: TrainingScheduleStatus = TrainingScheduleStatus()
