"""Before the start: may this experiment run, is the Endpoint free, and what is fixed when it begins."""

from datetime import datetime, timedelta

from tradewind.api.ab_experiment import ABExperiment, Mode
from tradewind.api.ab_experiment_status import ABExperimentPhase, ABExperimentStatus, HistoryEntry
from tradewind.api.common import VersionStatusRef, WeightStatus
from tradewind.api.endpoint import Clock
from tradewind.core.ab_experiment.status import (
    Reason,
    Seen,
    baseline_name,
    history,
    latency_objective,
    spec_of,
    with_conditions,
)
from tradewind.core.conditions import Fact, is_true
from tradewind.core.decision import Decision, RecordExperiment
from tradewind.core.endpoint import version_sha256


def pending(experiment: ABExperiment, seen: Seen, now: datetime) -> Decision:
    """Not started: what is missing, who holds the Endpoint, or the start itself."""
    blocked = _inadmissible(experiment, seen)
    pending = experiment.status.model_copy(update={"phase": ABExperimentPhase.PENDING})
    if blocked is not None:
        facts = [Fact("Admissible", False, blocked[0], blocked[1]), Fact("Succeeded", None, blocked[0], blocked[1])]
        return Decision(with_conditions(experiment, pending, facts, now), requeue_after=timedelta(seconds=10))
    assert seen.endpoint is not None
    admissible = Fact("Admissible", True, Reason.ADMISSIBLE, "can start as soon as the Endpoint is free")
    active = seen.endpoint.status.active_experiment
    if active is None or active.uid != experiment.metadata.uid:
        holder = (
            f"Endpoint {seen.endpoint.name} runs ABExperiment {active.name}" if active else "waiting for the Endpoint"
        )
        message = f"{holder}: one experiment runs at a time; this one starts when it ends"
        facts = [admissible, Fact("Succeeded", None, Reason.ENDPOINT_BUSY, message)]
        return Decision(with_conditions(experiment, pending, facts, now))
    return _start(experiment, pending, seen, now, admissible)


def _inadmissible(experiment: ABExperiment, seen: Seen) -> tuple[Reason, str] | None:
    spec, endpoint = experiment.spec, seen.endpoint
    if endpoint is None:
        name = spec.endpoint_ref.name
        return (
            Reason.ENDPOINT_MISSING,
            f"spec.endpointRef.name: Endpoint {name!r} does not exist: create it or correct it",
        )
    wanted = Clock.REPLAY if spec.mode is Mode.REPLAY else Clock.LIVE
    if endpoint.spec.clock is not wanted:
        message = (
            f"spec.mode {spec.mode} needs an Endpoint with clock {wanted}; {endpoint.name} has {endpoint.spec.clock}"
        )
        return Reason.CLOCK_MISMATCH, message
    if spec.traffic.mirror:
        return Reason.UNSUPPORTED, "spec.traffic.mirror is not supported yet: leave it out"
    baseline = baseline_name(experiment, endpoint)
    if baseline is None:
        return Reason.VERSION_NOT_READY, f"Endpoint {endpoint.name} has no champion yet to compare with"
    if baseline == spec.candidate:
        return Reason.SAME_VERSION, f"spec.candidate: {baseline} is the baseline already; name another ModelVersion"
    for field_name, name in (("baseline", baseline), ("candidate", spec.candidate)):
        version = seen.versions.get(name)
        if version is None:
            return (
                Reason.VERSION_MISSING,
                f"spec.{field_name}: ModelVersion {name!r} does not exist: create it or correct it",
            )
        if not is_true(version.status.conditions, "Ready"):
            return Reason.VERSION_NOT_READY, f"spec.{field_name}: ModelVersion {name} is not Ready yet"
    if seen.database_error is not None:
        return Reason.DATABASE_UNREACHABLE, seen.database_error
    if seen.tested_before and spec.retest == "never":
        times = f"{seen.tested_before} time(s)"
        message = f"{spec.candidate} was compared with {baseline} {times} before: set spec.retest: allowed to test again at alpha/2^k"
        return Reason.ALREADY_TESTED, message
    return None


def _start(
    experiment: ABExperiment, status: ABExperimentStatus, seen: Seen, now: datetime, admissible: Fact
) -> Decision:
    assert seen.endpoint is not None
    name = baseline_name(experiment, seen.endpoint)
    assert name is not None
    baseline, candidate = seen.versions[name], seen.versions[experiment.spec.candidate]
    replay = experiment.spec.replay
    t0 = replay.start_time if replay is not None else now.replace(microsecond=0)
    spec = spec_of(experiment, seen)
    record = RecordExperiment(
        endpoint=seen.endpoint.name,
        experiment_uid=experiment.metadata.uid,
        name=experiment.name,
        mode=experiment.spec.mode.value,
        baseline=baseline.name,
        baseline_sha256=version_sha256(baseline),
        candidate=candidate.name,
        candidate_sha256=version_sha256(candidate),
        t0=t0,
        alpha=spec.effective_alpha(),
        spec=experiment.spec.to_manifest(),
    )
    entry = HistoryEntry(time=t0, reason=Reason.STARTED, message=f"{candidate.name} against {baseline.name}")
    started = status.model_copy(
        update={
            "phase": ABExperimentPhase.RUNNING,
            "t0": t0,
            "max_hold": seen.endpoint.spec.max_hold,
            "latency_objective": latency_objective(experiment, seen),
            "start_time": now.replace(microsecond=0),
            "baseline_ref": VersionStatusRef(
                name=baseline.name, uid=baseline.metadata.uid, sha256=record.baseline_sha256
            ),
            "candidate_ref": VersionStatusRef(
                name=candidate.name, uid=candidate.metadata.uid, sha256=record.candidate_sha256
            ),
            "weight": WeightStatus(desired="0"),
            "history": history(status, entry),
        }
    )
    facts = [
        admissible,
        Fact("Running", True, Reason.RUNNING, "collecting evidence"),
        Fact("Succeeded", None, Reason.RUNNING, "no verdict yet"),
    ]
    return Decision(with_conditions(experiment, started, facts, now), (record,), timedelta(0))
