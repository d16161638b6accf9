"""ModelVersion among the kinds."""

from collections.abc import Iterator

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.api.training_run import TrainingRun
from tradewind.api.training_schedule import TrainingSchedule
from tradewind.core.kind import Kind
from tradewind.core.model_version import decide
from tradewind.core.model_version.observe import observe
from tradewind.core.world import Neighbour


def neighbours(version: ModelVersion) -> Iterator[Neighbour]:
    """Whoever may wait for it, the run that made it, and the Endpoint whose log it is judged on."""
    yield Neighbour(Endpoint, naming=True)
    yield Neighbour(Endpoint, through=ABExperiment)
    yield Neighbour(ABExperiment, naming=True)
    yield Neighbour(TrainingSchedule)
    if version.spec.adapter is not None and version.spec.adapter.training_run:
        yield Neighbour(TrainingRun, version.spec.adapter.training_run)
    judged_on = version.spec.evaluation.dataset
    if judged_on is not None and judged_on.endpoint is not None:
        yield Neighbour(Endpoint, judged_on.endpoint)


MODEL_VERSION = Kind(ModelVersion, observe, decide, neighbours)
