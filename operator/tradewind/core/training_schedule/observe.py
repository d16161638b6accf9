"""What a schedule's decision needs to know.

All of it may be that of a moment ago: what a schedule makes has a name that the time or the version gives, and making it
twice makes nothing.
"""

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.api.training_run import TrainingRun
from tradewind.api.training_schedule import TrainingSchedule
from tradewind.core.training_schedule import SCHEDULE_LABEL, Seen
from tradewind.core.world import DatabaseUnavailableError, World


async def observe(schedule: TrainingSchedule, world: World) -> Seen:
    """Facts about a schedule."""
    namespace, template = schedule.namespace, schedule.spec.experiment_template
    runs = world.all(TrainingRun, namespace)
    return Seen(
        runs=tuple(run for run in runs if run.metadata.labels.get(SCHEDULE_LABEL) == schedule.name),
        versions=world.by_name(ModelVersion, namespace),
        experiments=world.all(ABExperiment, namespace),
        endpoint=world.get(Endpoint, namespace, template.endpoint_ref.name) if template is not None else None,
        endpoints=world.all(Endpoint, namespace),
        new_samples=await _new_samples(schedule, world),
    )


async def _new_samples(schedule: TrainingSchedule, world: World) -> int | None:
    source = schedule.spec.template.spec.dataset.endpoint
    if source is None or not schedule.spec.min_new_samples:
        return None
    try:
        return await world.database.new_samples(schedule.namespace, source, schedule.status.last_watermark)
    except DatabaseUnavailableError:
        return None
