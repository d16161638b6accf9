"""Endpoint among the kinds."""

from collections.abc import Iterator

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.core.endpoint import decide
from tradewind.core.endpoint.by_hand import named_by_hand
from tradewind.core.endpoint.fail_safe import fail_safe
from tradewind.core.endpoint.hosting import hosts_of
from tradewind.core.endpoint.observe import gone, observe
from tradewind.core.kind import Kind
from tradewind.core.world import Neighbour


def neighbours(endpoint: Endpoint) -> Iterator[Neighbour]:
    """The experiment that has its place, the versions that it asks, holds or held, and whom it shares gateway pods with."""
    status = endpoint.status
    guests = (status.gateway.guests if status.gateway is not None else None) or ()
    for name in sorted({*hosts_of(endpoint), *guests}):
        yield Neighbour(Endpoint, name)
    if status.active_experiment is not None:
        yield Neighbour(ABExperiment, status.active_experiment.name)
    champions = (ref.name for ref in (status.champion_ref, status.previous_champion_ref) if ref is not None)
    asked = {endpoint.spec.fallback, *champions, *(arm.version for arm in status.arms or ())}
    for name in sorted(asked | named_by_hand(endpoint)):
        yield Neighbour(ModelVersion, name)


ENDPOINT = Kind(Endpoint, observe, decide, neighbours, fail_safe=fail_safe, gone=gone)
