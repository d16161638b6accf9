"""What a run's decision needs to know.

The Endpoint and the version to start from may be those of a moment ago: what is missing is waited for. The version that
the run registers is read fresh once there is something to register: one under its name that is not the run's ends the run.
Jobs count that belong to this very run: results of others under the same name are not its own.
"""

from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.api.training_run import TrainingRun
from tradewind.core.pods import read_job
from tradewind.core.training_run import TERMINAL, Seen
from tradewind.core.training_run.manifests import model_version_name, snapshot_name, train_name
from tradewind.core.world import World


async def observe(run: TrainingRun, world: World) -> Seen:
    """Facts about a run."""
    if run.status.phase in TERMINAL:
        return Seen()
    namespace, spec, attempt, uid = run.namespace, run.spec, run.status.attempts or 0, run.metadata.uid
    registering = run.status.result is not None
    return Seen(
        endpoint=world.get(Endpoint, namespace, spec.dataset.endpoint) if spec.dataset.endpoint else None,
        snapshot=await read_job(world, namespace, snapshot_name(run.name), uid),
        training=await read_job(world, namespace, train_name(run.name, attempt), uid) if attempt else None,
        version=await world.fresh(ModelVersion, namespace, model_version_name(run)) if registering else None,
        warm_start=world.get(ModelVersion, namespace, spec.warm_start_from) if spec.warm_start_from else None,
        progress=world.progress(run),
    )
