"""Whether the arms of an Endpoint answer, from what its gateway pods found.

Belongs here: the sum over pods, and the conditions that follow. Does not belong here: when an arm is probed (gateway/health.py),
and the words of each cause (trading/arm_health.py).
"""

from collections.abc import Sequence

from tradewind.api.common import VersionStatusRef
from tradewind.api.endpoint import Endpoint, EndpointArmStatus
from tradewind.core.conditions import Fact
from tradewind.core.endpoint.seen import ReplicaReport, Seen
from tradewind.trading.arm_health import ArmHealth, ArmReason
from tradewind.trading.routing import Routing

MOST_ARMS = 32
"""That a status has room for."""
_FIRST = "it is being asked its first question"


def arm_statuses(endpoint: Endpoint, seen: Seen, routing: Routing | None) -> tuple[EndpointArmStatus, ...] | None:
    """What is known of each arm, the champion first; as it was where nobody can tell now."""
    if routing is None:
        return None
    reports = [r for r in seen.replicas if r.replica in seen.ready_pods]
    if seen.database_error is not None or (reports and all(r.arms is None for r in reports)):
        return endpoint.status.arms  # gateways of an older release say nothing
    first = {routing.champion: 0, routing.fallback: 1}
    names = sorted(routing.arms.keys() & seen.versions.keys(), key=lambda name: (first.get(name, 2), name))
    return tuple(_arm(name, seen, routing, reports) for name in names[:MOST_ARMS])


def health_fact(arms: Sequence[EndpointArmStatus] | None, champion: VersionStatusRef | None) -> Fact | None:
    """`ArmHealthy`: every arm that was asked answers, and the champion was asked; None: nobody says anything."""
    if arms is None or champion is None:
        return None
    failing = [arm for arm in arms if arm.healthy is False]
    if failing:
        told = "; ".join(f"{arm.version}: {arm.message}" for arm in failing)
        return Fact("ArmHealthy", False, failing[0].reason, told[:1024])
    asked = [arm.version for arm in arms if arm.healthy]
    if champion.name not in asked:
        told = next((arm.message for arm in arms if arm.version == champion.name), "")
        return Fact("ArmHealthy", None, ArmReason.PROBING, f"{champion.name}: {told or _FIRST}")
    return Fact("ArmHealthy", True, ArmReason.ANSWERS, f"{', '.join(asked)} answered when last asked"[:1024])


def champion_fact(arms: Sequence[EndpointArmStatus] | None, champion: VersionStatusRef | None) -> Fact | None:
    """The champion's part of it, which `Ready` rests on."""
    mine = [arm for arm in arms or () if champion is not None and arm.version == champion.name]
    return health_fact(mine, champion) if mine else None


def _arm(name: str, seen: Seen, routing: Routing, reports: Sequence[ReplicaReport]) -> EndpointArmStatus:
    digest = routing.arms[name].digest
    found = [arm for report in reports for arm in report.arms or () if arm.version == name and arm.target == digest]
    failing = sorted((arm for arm in found if arm.healthy is False), key=lambda arm: arm.since)
    answering = sorted((arm for arm in found if arm.healthy), key=lambda arm: arm.since)
    newest: ArmHealth | None = next(iter([*failing, *answering, *found]), None)
    message = "" if reports else "no gateway pod has reported yet what it found"
    if failing:
        message = failing[0].message
        if len(failing) < len(reports):
            message += f" (so {len(failing)} of {len(reports)} gateway pods)"
    probes = seen.probes.get(name)
    return EndpointArmStatus(
        version=name,
        uid=seen.versions[name].metadata.uid,
        healthy=None if newest is None else newest.healthy,
        reason=ArmReason.PROBING if newest is None else newest.reason,
        message=message[:1024],
        since=None if newest is None or newest.healthy is None else newest.since.replace(microsecond=0),
        probes=probes.count if probes is not None else 0,
        probe_cost_cny=f"{probes.cost_cny:.6f}" if probes is not None and probes.cost_cny is not None else None,
    )
