"""The kinds that the operator reconciles, a line each. What users write of them is in `tradewind.api.registry`."""

from collections.abc import Mapping
from typing import Any

from tradewind.core.ab_experiment.kind import AB_EXPERIMENT
from tradewind.core.endpoint.kind import ENDPOINT
from tradewind.core.kind import Kind
from tradewind.core.model_version.kind import MODEL_VERSION
from tradewind.core.training_run.kind import TRAINING_RUN
from tradewind.core.training_schedule.kind import TRAINING_SCHEDULE

KINDS: tuple[Kind[Any, Any], ...] = (ENDPOINT, TRAINING_RUN, TRAINING_SCHEDULE, MODEL_VERSION, AB_EXPERIMENT)
BY_KIND: Mapping[str, Kind[Any, Any]] = {kind.resource.__name__: kind for kind in KINDS}
