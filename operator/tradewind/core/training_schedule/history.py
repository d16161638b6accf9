"""Which finished runs of a schedule are kept.

Belongs here: limits, and what stands above them. Does not belong here: what their end means for the schedule (__init__.py).
"""

from collections.abc import Iterable, Iterator

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.common import API_VERSION
from tradewind.api.endpoint import Endpoint
from tradewind.api.training_run import TrainingRun
from tradewind.api.training_run_status import TrainingRunPhase
from tradewind.api.training_schedule import TrainingSchedule
from tradewind.core.decision import Delete
from tradewind.core.training_run.manifests import model_version_name
from tradewind.core.training_schedule.search import unrecorded

_BAD = (TrainingRunPhase.FAILED, TrainingRunPhase.SKIPPED, TrainingRunPhase.INVALID)


def pruned(schedule: TrainingSchedule, runs: Iterable[TrainingRun], named: frozenset[str]) -> Iterator[Delete]:
    """Finished runs past the limits, oldest first. Their ModelVersions stay, and so does every run that made one in `named`, or of
    which a search has not kept what it gained.
    """
    known = list(runs)
    waiting = unrecorded(schedule, known)
    limits = (
        ((TrainingRunPhase.SUCCEEDED,), schedule.spec.successful_runs_history_limit),
        (_BAD, schedule.spec.failed_runs_history_limit),
    )
    for phases, limit in limits:
        ordered = sorted((run for run in known if run.status.phase in phases), key=ended)
        for run in ordered[: max(len(ordered) - limit, 0)]:
            if model_version_name(run) not in named and run.name not in waiting:
                yield Delete(API_VERSION, "TrainingRun", run.name, run.metadata.uid)


def named_versions(
    experiments: Iterable[ABExperiment], endpoints: Iterable[Endpoint], runs: Iterable[TrainingRun]
) -> frozenset[str]:
    """Versions whose origin may still be asked for: of an experiment, champions now and before, and what those started from."""
    refs = [ref for e in endpoints for ref in (e.status.champion_ref, e.status.previous_champion_ref)]
    named = {ref.name for ref in refs if ref is not None}
    named |= {name for e in experiments for name in (e.spec.candidate, e.spec.baseline) if name is not None}
    started_from = {model_version_name(run): run.spec.warm_start_from for run in runs}
    return frozenset(named | {parent for name in named if (parent := started_from.get(name)) is not None})


def ended(run: TrainingRun) -> float:
    """When a run ended, in seconds since 1970; one that never began, when it was made."""
    moment = run.status.completion_time or run.metadata.creation_timestamp
    return moment.timestamp() if moment is not None else 0.0
