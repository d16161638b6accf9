r"""TrainingSchedule: TrainingRuns at set times, and an ABExperiment for each ModelVersion that becomes Ready.

    due --suspended, too late, too few new samples, Forbid and one active--> nothing, until the next time
     \--> TrainingRun <schedule>-<minute> -> its ModelVersion Ready -> ABExperiment <version>-vs-champion

Names come from the instant that was due (times.py), so that a restarted operator makes nothing twice. What it makes is never
owned by it: deleting a schedule leaves every run, version and experiment where it is. What came of each time stands in
status.starts. A week that failed, was skipped or was missed is no reason against the next.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.ab_experiment_status import ABExperimentPhase
from tradewind.api.common import API_VERSION, ObjectStatusRef
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.api.training_run import TrainingRun
from tradewind.api.training_run_status import TrainingRunPhase
from tradewind.api.training_schedule import (
    STARTS,
    ConcurrencyPolicy,
    ScheduledStart,
    TrainingSchedule,
    TrainingSchedulePhase,
    TrainingScheduleStatus,
)
from tradewind.core.conditions import Fact, is_true, with_facts
from tradewind.core.decision import Create, Decision, Delete, Effect
from tradewind.core.endpoint import TERMINAL as EXPERIMENT_TERMINAL
from tradewind.core.model_version.rest import rests
from tradewind.core.platform import Platform
from tradewind.core.policy import policy_fact, run_faults
from tradewind.core.training_run import TERMINAL as RUN_TERMINAL
from tradewind.core.training_run.manifests import model_version_name
from tradewind.core.training_schedule.history import ended, named_versions, pruned
from tradewind.core.training_schedule.search import choose, searched
from tradewind.core.training_schedule.times import due_times
from tradewind.core.world import Neighbour
from tradewind.schema.scalars import as_timedelta

SCHEDULE_LABEL = "tradewind.dev/training-schedule"
_FAR = timedelta(hours=1)


class Reason(StrEnum):
    """Why a condition of a TrainingSchedule says what it says."""

    SCHEDULED = "Scheduled"
    """The next run is due at the time that the message names."""
    SUSPENDED = "Suspended"
    """spec.suspend is true: no run is made."""
    INVALID_SCHEDULE = "InvalidSchedule"
    """The schedule or its time zone cannot be read."""
    MISSED = "DeadlineMissed"
    """A run was due longer ago than spec.startingDeadline."""
    FORBIDDEN = "PreviousRunActive"
    """The run before is not finished, and the spec forbids two at once."""
    TOO_FEW_SAMPLES = "TooFewNewSamples"
    """Fewer new samples than spec.minNewSamples: the run was left out."""
    STARTED = "RunStarted"
    """A run was made."""
    EXPERIMENT_NAME_TAKEN = "ExperimentNameTaken"
    """The experiment of the newest version cannot be made: somebody else's has its name."""
    EXPERIMENT_MADE = "ExperimentMade"
    """The name is free again, or the experiment is there."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Facts about a schedule.

    Attributes:
        runs: TrainingRuns that it made, by label.
        versions: every ModelVersion of the namespace by name.
        experiments: every ABExperiment of the namespace.
        endpoint: the Endpoint of experimentTemplate, if there is one.
        endpoints: every Endpoint of the namespace.
        new_samples: closed trades since the last watermark; None: not known.
    """

    runs: tuple[TrainingRun, ...] = ()
    versions: Mapping[str, ModelVersion] | None = None
    experiments: tuple[ABExperiment, ...] = ()
    endpoint: Endpoint | None = None
    endpoints: tuple[Endpoint, ...] = ()
    new_samples: int | None = None


def decide(schedule: TrainingSchedule, seen: Seen, now: datetime, *, platform: Platform, **_: object) -> Decision:
    """What to do about a schedule now."""
    status = schedule.status
    if schedule.metadata.deletion_timestamp is not None:
        return Decision(status)
    try:
        zone = ZoneInfo(schedule.spec.time_zone)
        base = status.last_schedule_time or schedule.metadata.creation_timestamp or now
        due, upcoming = due_times(schedule.spec.schedule, zone, base, now)
    except (ValueError, KeyError, OSError) as error:
        message = (
            f"spec.schedule or spec.timeZone: {error}; write five cron fields, such as '0 2 * * 0', and an IANA zone"
        )
        facts = [Fact("Ready", False, Reason.INVALID_SCHEDULE, message)]
        return Decision(_with(schedule, status.model_copy(update={"phase": TrainingSchedulePhase.INVALID}), facts, now))
    named = named_versions(seen.experiments, (*seen.endpoints, *filter(None, (seen.endpoint,))), seen.runs)
    newest = _newest(seen) if schedule.spec.experiment_template is not None else None
    if newest is not None:  # its version may not be Ready yet, and the experiment is made of the run
        named |= {model_version_name(newest)}
    effects: list[Effect] = list(pruned(schedule, seen.runs, named))
    status = _observed(schedule, seen).model_copy(update={"next_schedule_time": upcoming})
    experiment, taken = _experiment(schedule, seen)
    if experiment:
        created = next(e for e in experiment if isinstance(e, Create))
        status = status.model_copy(
            update={"last_experiment_ref": ObjectStatusRef(name=created.manifest["metadata"]["name"])}
        )
    if schedule.spec.suspend:
        facts = [Fact("Ready", True, Reason.SUSPENDED, "spec.suspend is true: no run is made"), *taken]
        suspended = status.model_copy(update={"phase": TrainingSchedulePhase.SUSPENDED})
        return Decision(_with(schedule, suspended, facts, now), (*effects, *experiment), _FAR)
    fact = Fact("Ready", True, Reason.SCHEDULED, f"next at {upcoming.isoformat()}")
    refused = policy_fact(run_faults(schedule.spec.template.spec, platform.policy, at="spec.template.spec"), status)
    if (
        refused is not None and refused.holds is False
    ):  # once it is allowed, a run that was due within startingDeadline is made
        facts = [refused, replace(refused, type="Ready"), *taken]
        invalid = status.model_copy(update={"phase": TrainingSchedulePhase.INVALID})
        return Decision(_with(schedule, invalid, facts, now), (*effects, *experiment), _FAR)
    if due is not None:
        started, fact = _due(schedule.model_copy(update={"status": status}), seen, due, now)
        effects += started
        told = _told(schedule, seen, due, fact)
        status = status.model_copy(update={"last_schedule_time": due, "starts": (*status.starts, told)[-STARTS:]})
    status = status.model_copy(update={"phase": TrainingSchedulePhase.ACTIVE})
    effects += experiment  # last: a name that somebody else has must not keep runs from being made
    facts = [fact, *taken] if refused is None else [fact, refused, *taken]
    again = min(_FAR, max(upcoming - now, timedelta(0)))
    return Decision(_with(schedule, status, facts, now), tuple(effects), again)


def scheduled_by(made: TrainingRun | ABExperiment) -> Iterator[Neighbour]:
    """The schedule that made a run or an experiment, if one did."""
    schedule = made.metadata.labels.get(SCHEDULE_LABEL)
    if schedule:
        yield Neighbour(TrainingSchedule, schedule)


def run_name(schedule: str, due: datetime) -> str:
    """Name of the run that is due at a time: minutes since the epoch, as a CronJob names its Jobs."""
    return f"{schedule}-{int(due.timestamp() // 60)}"


def _due(schedule: TrainingSchedule, seen: Seen, due: datetime, now: datetime) -> tuple[list[Effect], Fact]:
    spec, name = schedule.spec, run_name(schedule.name, due)
    if any(run.name == name for run in seen.runs):  # it was made, and nobody was left to write that down
        return [], Fact("Ready", True, Reason.STARTED, f"made {name}")
    if now - due > as_timedelta(spec.starting_deadline):
        return [], Fact("Ready", True, Reason.MISSED, f"the run of {due.isoformat()} is past spec.startingDeadline")
    if spec.min_new_samples and seen.new_samples is not None and seen.new_samples < spec.min_new_samples:
        message = f"{seen.new_samples} new samples against spec.minNewSamples {spec.min_new_samples}: skipped"
        return [], Fact("Ready", True, Reason.TOO_FEW_SAMPLES, message)
    active = [run for run in seen.runs if run.status.phase not in RUN_TERMINAL]
    effects: list[Effect] = []
    if active and spec.concurrency_policy is ConcurrencyPolicy.FORBID:
        return [], Fact("Ready", True, Reason.FORBIDDEN, f"{active[0].name} is not finished: skipped")
    if spec.concurrency_policy is ConcurrencyPolicy.REPLACE:
        effects += [Delete(API_VERSION, "TrainingRun", run.name, run.metadata.uid) for run in active]
    chosen = choose(schedule, due)
    meta = spec.template.metadata
    manifest: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": "TrainingRun",
        "metadata": {
            "name": name,
            "namespace": schedule.namespace,
            "labels": {**meta.labels, SCHEDULE_LABEL: schedule.name},
            "annotations": dict(meta.annotations),
        },
        "spec": chosen.spec,
    }
    words = f"made {name} with {chosen.words}" if chosen.words else f"made {name}"
    return [*effects, Create(manifest)], Fact("Ready", True, Reason.STARTED, words)


def _told(schedule: TrainingSchedule, seen: Seen, due: datetime, fact: Fact) -> ScheduledStart:
    made = ObjectStatusRef(name=run_name(schedule.name, due)) if fact.reason == Reason.STARTED else None
    return ScheduledStart(
        time=due, outcome=str(fact.reason), run=made, new_samples=seen.new_samples, message=fact.message[:1024]
    )


def _experiment(schedule: TrainingSchedule, seen: Seen) -> tuple[list[Effect], list[Fact]]:
    """The experiment of the newest Ready version that has none, and what is said of a name that somebody else has."""
    effects = _wanted_experiment(schedule, seen)
    names = {effect.manifest["metadata"]["name"] for effect in effects if isinstance(effect, Create)}
    if taken := next((e.name for e in seen.experiments if e.name in names), None):
        message = f"ABExperiment {taken} exists and tests another candidate: delete it, and the one of {taken} is made"
        return [], [Fact("ExperimentMade", False, Reason.EXPERIMENT_NAME_TAKEN, message)]
    known = schedule.status.condition("ExperimentMade")
    return effects, [Fact("ExperimentMade", True, Reason.EXPERIMENT_MADE)] if known is not None else []


def _wanted_experiment(schedule: TrainingSchedule, seen: Seen) -> list[Effect]:
    """The experiment of the newest Ready version that has none, in place of an older one that still waits."""
    template = schedule.spec.experiment_template
    if template is None or seen.endpoint is None or seen.versions is None:
        return []
    newest = _newest(seen)
    if newest is None:
        return []
    version = seen.versions.get(model_version_name(newest))
    made = newest.status.model_version_ref
    if version is not None and made is not None and made.uid not in (None, version.metadata.uid):
        return []  # somebody made another one under the name
    champion = seen.endpoint.status.champion_ref
    if (
        version is None
        or not (is_true(version.status.conditions, "Ready") or rests(version))
        or champion is None
        or champion.name == version.name
    ):
        return []
    if any(e.spec.candidate == version.name for e in seen.experiments):
        return []
    ours = [e for e in seen.experiments if e.metadata.labels.get(SCHEDULE_LABEL) == schedule.name]
    if seen.endpoint.status.active_experiment is not None and template.on_busy == "skip":
        return []
    waiting = [e for e in ours if e.status.phase in (None, ABExperimentPhase.PENDING) and e.status.t0 is None]
    settings = template.to_manifest()
    for own in ("metadata", "onBusy"):
        settings.pop(own, None)
    manifest: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": "ABExperiment",
        "metadata": {
            "name": version.name,
            "namespace": schedule.namespace,
            "labels": {**template.metadata.labels, SCHEDULE_LABEL: schedule.name},
            "annotations": dict(template.metadata.annotations),
        },
        "spec": {**settings, "candidate": version.name},
    }
    return [*(Delete(API_VERSION, "ABExperiment", e.name, e.metadata.uid) for e in waiting), Create(manifest)]


def _newest(seen: Seen) -> TrainingRun | None:
    """The run that succeeded last."""
    return max((run for run in seen.runs if run.status.phase is TrainingRunPhase.SUCCEEDED), key=ended, default=None)


def _observed(schedule: TrainingSchedule, seen: Seen) -> TrainingScheduleStatus:
    status = schedule.status
    ordered = sorted(seen.runs, key=lambda run: str(run.metadata.creation_timestamp))
    active = [run for run in ordered if run.status.phase not in RUN_TERMINAL]
    done = [run for run in ordered if run.status.phase is TrainingRunPhase.SUCCEEDED]
    marks = [run.status.dataset.watermark for run in done if run.status.dataset and run.status.dataset.watermark]
    changes: dict[str, Any] = {
        "active": tuple(ObjectStatusRef(name=run.name, uid=run.metadata.uid) for run in active[-32:]),
        "new_samples": seen.new_samples,
        "search": searched(schedule, seen.runs),
        "waiting_experiment": next(
            (
                ObjectStatusRef(name=e.name, uid=e.metadata.uid)
                for e in seen.experiments
                if e.metadata.labels.get(SCHEDULE_LABEL) == schedule.name
                and e.status.phase not in EXPERIMENT_TERMINAL
                and e.status.t0 is None
            ),
            None,
        ),
    }
    if ordered:
        changes["last_run_ref"] = ObjectStatusRef(name=ordered[-1].name, uid=ordered[-1].metadata.uid)
    if done:
        changes["last_successful_time"] = done[-1].status.completion_time
        changes["last_model_version_ref"] = done[-1].status.model_version_ref
    if marks:
        changes["last_watermark"] = max(marks)
    return status.model_copy(update=changes)


def _with(
    schedule: TrainingSchedule, status: TrainingScheduleStatus, facts: list[Fact], now: datetime
) -> TrainingScheduleStatus:
    generation = schedule.metadata.generation
    conditions = with_facts(status.conditions, facts, generation=generation, now=now)
    return status.model_copy(update={"observed_generation": generation, "conditions": conditions})
