"""ABExperiment among the kinds."""

from collections.abc import Iterator

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.common import CommonStatus
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.core.ab_experiment import decide
from tradewind.core.ab_experiment.fail_safe import fail_safe
from tradewind.core.ab_experiment.observe import observe
from tradewind.core.conditions import flips
from tradewind.core.endpoint import TERMINAL
from tradewind.core.kind import Kind, childless
from tradewind.core.training_schedule import scheduled_by
from tradewind.core.world import Neighbour


def neighbours(experiment: ABExperiment) -> Iterator[Neighbour]:
    """Its Endpoint, both versions, and the schedule that made it."""
    yield Neighbour(Endpoint, experiment.spec.endpoint_ref.name)
    refs = (experiment.status.baseline_ref, experiment.status.candidate_ref)
    named = (experiment.spec.candidate, experiment.spec.baseline, *(ref.name for ref in refs if ref is not None))
    for name in sorted({name for name in named if name is not None}):
        yield Neighbour(ModelVersion, name)
    yield from scheduled_by(experiment)


def finished(experiment: ABExperiment) -> bool:
    """Terminal states never act."""
    return experiment.status.phase in TERMINAL


def quiet(old: CommonStatus, new: CommonStatus) -> bool:
    """Whether a look has changed nothing but what it shows."""
    same = len(old.conditions) == len(new.conditions) and not flips(old.conditions, new.conditions)
    return same and _without_numbers(old) == _without_numbers(new)


def _without_numbers(status: CommonStatus) -> CommonStatus:
    return status.model_copy(update=dict.fromkeys(_NUMBERS))


_NUMBERS = (
    "arms", "comparison", "conditions", "evidence", "forecast", "guardrails", "last_evaluated_time", "risk_budget_usd",
)  # fmt: skip


def slim(experiment: ABExperiment) -> ABExperiment:
    """Without what was shown of it, and its history."""
    status = experiment.status.model_copy(update={**dict.fromkeys(_NUMBERS), **dict.fromkeys(_TUPLES, ())})
    return experiment.model_copy(update={"status": status})


_TUPLES = ("arms", "conditions", "guardrails", "history")

AB_EXPERIMENT = Kind(ABExperiment, observe, childless(decide), neighbours, finished, fail_safe, quiet=quiet, slim=slim)
