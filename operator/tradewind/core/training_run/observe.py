"""What a run's decision needs to know.

The Endpoint and the version to start from may be those of a moment ago: what is missing is waited for. The version that
the run registers is read fresh once there is something to register: one under its name that is not the run's ends the run.
Jobs count that belong to this very run: results of others under the same name are not its own.
"""

from collections.abc import Iterable

from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.api.training_run import TrainingRun
from tradewind.api.training_run_status import TrainingRunPhase
from tradewind.core.pods import read_job
from tradewind.core.training_run import TERMINAL, Seen
from tradewind.core.training_run.manifests import model_version_name, snapshot_name, train_name
from tradewind.core.training_schedule import SCHEDULE_LABEL
from tradewind.core.world import World


async def observe(run: TrainingRun, world: World) -> Seen:
    """Facts about a run."""
    if run.status.phase in TERMINAL:
        return Seen()
    namespace, spec, attempt, uid = run.namespace, run.spec, run.status.attempts or 0, run.metadata.uid
    registering = run.status.result is not None
    return Seen(
        endpoint=world.get(Endpoint, namespace, spec.dataset.endpoint) if spec.dataset.endpoint else None,
        before=run_before(run, world.all(TrainingRun, namespace)) if run.status.dataset is None else None,
        snapshot=await read_job(world, namespace, snapshot_name(run.name), uid),
        training=await read_job(world, namespace, train_name(run.name, attempt), uid) if attempt else None,
        version=await world.fresh(ModelVersion, namespace, model_version_name(run)) if registering else None,
        warm_start=world.get(ModelVersion, namespace, spec.warm_start_from) if spec.warm_start_from else None,
        progress=world.progress(run),
    )


def run_before(run: TrainingRun, runs: Iterable[TrainingRun]) -> TrainingRun | None:
    """The newest run that succeeded on the same Endpoint's decisions; of the same schedule, where it has one.

    Args:
        run: whose dataset is to be held against one before.
        runs: of its namespace.
    """
    endpoint, schedule = run.spec.dataset.endpoint, run.metadata.labels.get(SCHEDULE_LABEL)
    done = [
        other
        for other in runs
        if endpoint is not None
        and other.spec.dataset.endpoint == endpoint
        and other.status.phase is TrainingRunPhase.SUCCEEDED
        and other.status.completion_time is not None
        and other.status.dataset is not None
        and other.metadata.uid != run.metadata.uid
    ]
    scheduled = [other for other in done if schedule and other.metadata.labels.get(SCHEDULE_LABEL) == schedule]
    return max(scheduled or done, key=lambda other: (other.status.completion_time, other.name), default=None)
