"""An Endpoint that another Endpoint's gateway pods answer for (`gateway.sharedWith`), and the way there and back.

    own pods, Service to them --> host's pods have this Endpoint's port, and obey its routing --> Service to them --> own pods go
    host's pods ... --> own pods are ready, and obey --> Service to them --> the host's pods let go of it

Pods that were left count until the last of them is gone: a connection that a caller keeps leads to them for as long.

Two places never answer by different routing: both obey the one document of the Endpoint, and meet in its rows. The host reads what
it is to run from this status and nothing else, so that a guest which may not be obeyed now (policy, missing versions) goes on as it
was.

Belongs here: whose pods are to answer, which ones the Service sends to, and what the host is told. Does not belong here: the host's
pods (manifests.py), ports (ports.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tradewind.api.common import SecretKeyRef
from tradewind.api.endpoint import Endpoint, Gateway
from tradewind.api.hosting import ArmKeyStatus, GatewayHostingStatus
from tradewind.core.conditions import Fact
from tradewind.core.decision import Apply, Delete, Effect, Owner
from tradewind.core.endpoint.manifests import build_access, build_service, endpoint_variables
from tradewind.core.endpoint.names import gateway_name
from tradewind.core.endpoint.ports import port_of
from tradewind.core.endpoint.scaling import OF_OWN_PODS
from tradewind.core.endpoint.seen import PodsAt, Reason, Seen
from tradewind.trading.routing import Routing

MOST_GUESTS = 63
_MOST_KEYS = 64


@dataclass(frozen=True, slots=True)
class Hosting:
    """Where an Endpoint is answered.

    Attributes:
        owns_pods: it is to have pods of its own, and they are made.
        sends_to: the Endpoint whose pods the Service sends to; None: nothing is sent.
        status: what the host reads; None: no other Endpoint's pods are concerned.
        fault: why it is not as the spec says.
        moves: the Service does not send to the pods that are to answer.
        leaves: pods that it sent to before may still answer.
    """

    owns_pods: bool
    sends_to: str | None
    status: GatewayHostingStatus | None = None
    fault: Fact | None = None
    moves: bool = False
    leaves: bool = False

    @property
    def hosts(self) -> frozenset[str]:
        """Other Endpoints whose pods may read this one's routing."""
        known = self.status
        named = (known.host, known.served_by, known.left) if known is not None else ()
        return frozenset(name for name in named if name is not None)


def is_concerned(endpoint: Endpoint) -> bool:
    """Whether another Endpoint's pods answer for this one, are to, or did."""
    return endpoint.spec.gateway.shared_with is not None or known_hosting(endpoint) is not None


def known_hosting(endpoint: Endpoint) -> GatewayHostingStatus | None:
    """What the status says."""
    return endpoint.status.gateway.hosting if endpoint.status.gateway is not None else None


def hosts_of(endpoint: Endpoint) -> frozenset[str]:
    """Other Endpoints whose pods answer for this one, are to, or did."""
    known = known_hosting(endpoint)
    named = {
        endpoint.spec.gateway.shared_with,
        *((known.host, known.served_by, known.left) if known is not None else ()),
    }
    return frozenset(name for name in named if name is not None and name != endpoint.name)


def hosting_of(
    endpoint: Endpoint, seen: Seen, routing: Routing | None, keys: Mapping[str, SecretKeyRef] | None, *, held: bool
) -> Hosting:
    """Whose pods are to answer, and which do.

    Args:
        endpoint: as it is.
        seen: the facts.
        routing: that is or will be published; None: there is none, and nothing to answer by.
        keys: Secrets that it needs; None: those that it has stay.
        held: the installation's policy refuses the gateway: it goes on as it was.
    """
    own = endpoint.name
    wanted, known, at = endpoint.spec.gateway.shared_with, known_hosting(endpoint), seen.sharing.service
    if not is_concerned(endpoint):
        return Hosting(True, own)
    fault = _fault(endpoint, seen, wanted) if wanted is not None else None
    stays = fault is not None or held or (wanted is not None and known is None and routing is None)
    target = at if stays else wanted or own
    left = _still_left(seen, known)
    sends_to = at if left is not None and at is not None else _sends_to(seen, at, target)
    host = None if target in (None, own) else target
    served_by = None if sends_to in (None, own) else sends_to
    if left is None and known is not None and known.served_by not in (None, sends_to):
        left = known.served_by
    status = None
    if host is not None or served_by is not None or left is not None:
        status = _status(endpoint, seen, known, keys, held=held).model_copy(
            update={"host": host, "served_by": served_by, "left": left}
        )
    owns_pods = target == own and wanted is None and not held
    return Hosting(owns_pods, sends_to, status, fault, moves=sends_to != target, leaves=left is not None)


def hosted_effects(endpoint: Endpoint, owner: Owner, seen: Seen, hosting: Hosting) -> list[Effect]:
    """What an Endpoint has that is to be answered by another's pods: its Service and who may read its routing."""
    known, own = hosting.status, endpoint.name
    if known is None:
        return []
    mine = seen.sharing.pods.get(own, PodsAt())
    readers = hosting.hosts | ({own} if mine.count else frozenset())
    effects: list[Effect] = [Apply(manifest) for manifest in build_access(owner, readers)]
    if hosting.sends_to is not None:
        effects.append(Apply(build_service(owner, hosting.sends_to, known.port)))
    # Its own pods go once the Service was seen to send to others, which answer: not before.
    if hosting.sends_to == seen.sharing.service == known.host and _serves(seen, known.host):
        effects += [Delete(*kind, gateway_name(own)) for kind in sorted(seen.left_over & OF_OWN_PODS)]
    return effects


def gateway_fact(seen: Seen, hosting: Hosting) -> Fact | None:
    """What is said of a gateway that others answer for instead of a number of pods; None: nothing but that number."""
    if hosting.fault is None:
        return None
    ready = len(seen.ready_pods)
    still = f" (meanwhile {ready} pod(s) answer as before)" if ready else ""
    return replace(hosting.fault, message=f"{hosting.fault.message}{still}"[:1024])


def moving_words(hosting: Hosting, endpoint: Endpoint) -> str:
    """What is under way, in words; empty: nothing."""
    if not hosting.moves or hosting.fault is not None:
        return ""
    wanted = endpoint.spec.gateway.shared_with
    where = "its own pods" if wanted is None else f"the pods of Endpoint {wanted}"
    return f"{where} are being made ready to answer; until then those before do"


def served(guests: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """The guests that pods can answer for: of two with one port the one whose uid is smaller, until the other has another."""
    first: dict[int, Endpoint] = {}
    for guest in sorted(guests, key=lambda guest: guest.metadata.uid):
        known = known_hosting(guest)
        if known is not None:
            first.setdefault(known.port, guest)
    return tuple(sorted(first.values(), key=lambda guest: guest.name)[:MOST_GUESTS])


def _sends_to(seen: Seen, at: str | None, target: str | None) -> str | None:
    if at is None or target is None or at == target:
        return at if target is None else target
    if (
        seen.database_error is not None
    ):  # what pods obey is not known, and they may keep decisions that are not stored yet
        return at
    before = seen.sharing.pods.get(at, PodsAt())
    return target if _serves(seen, target) or not before.ready else at


def _still_left(seen: Seen, known: GatewayHostingStatus | None) -> str | None:
    """The Endpoint whose pods were left and may still answer."""
    left = known.left if known is not None else None
    return left if left is not None and seen.sharing.pods.get(left, PodsAt()).count else None


def _serves(seen: Seen, place: str | None) -> bool:
    """Whether all pods there answer for this Endpoint, by the newest routing."""
    pods = seen.sharing.pods.get(place or "", PodsAt())
    if not pods.ready or not pods.complete or seen.routing is None or seen.database_error is not None:
        return False
    reported = {report.replica: report.generation for report in seen.replicas}
    return all(reported.get(pod, -1) >= seen.routing.generation for pod in pods.ready)


def _status(
    endpoint: Endpoint,
    seen: Seen,
    known: GatewayHostingStatus | None,
    keys: Mapping[str, SecretKeyRef] | None,
    *,
    held: bool,
) -> GatewayHostingStatus:
    spec: Gateway = endpoint.spec.gateway
    port = port_of(endpoint.metadata.uid, known.port if known is not None else None, seen.sharing.ports)
    if held and known is not None:
        return known.model_copy(update={"port": port})
    mounted = known.keys if known is not None else ()
    if keys is not None:
        mounted = tuple(ArmKeyStatus(version=version, secret_ref=ref) for version, ref in sorted(keys.items()))[
            :_MOST_KEYS
        ]
    return GatewayHostingStatus(
        port=port, variables=endpoint_variables(spec), token_secret_ref=spec.auth.secret_ref, keys=mounted
    )


def _fault(endpoint: Endpoint, seen: Seen, wanted: str) -> Fact | None:
    host = seen.sharing.host
    if seen.guests:
        guests = ", ".join(sorted(guest.name for guest in seen.guests)[:5])
        return _unfit(
            f"gateway.sharedWith is set, and these pods answer for {guests}: let those name another Endpoint first, or remove "
            "gateway.sharedWith here"
        )
    if wanted == endpoint.name:
        return _unfit("gateway.sharedWith names this Endpoint itself: name another one, or remove the field")
    if host is None or host.metadata.deletion_timestamp is not None:
        what = "is not there or not valid: create or mend it" if host is None else "is being deleted: make it anew"
        message = (
            f"gateway.sharedWith names Endpoint {wanted}, which {what}, name another one of this namespace, or remove the field "
            "for pods of its own"
        )
        return Fact("GatewayReady", False, Reason.HOST_MISSING, message)
    if host.spec.gateway.shared_with is not None:
        return _unfit(
            f"gateway.sharedWith names Endpoint {wanted}, which has no pods of its own (gateway.sharedWith "
            f"{host.spec.gateway.shared_with}): name one that has"
        )
    if host.spec.database != endpoint.spec.database:
        return _unfit(
            f"spec.database is not that of Endpoint {wanted}, whose pods have one connection string for all: give both the same, "
            "or remove gateway.sharedWith"
        )
    others = (host.status.gateway.guests if host.status.gateway is not None else None) or ()
    if endpoint.name not in others and len(others) >= MOST_GUESTS:
        return _unfit(f"Endpoint {wanted} answers for {MOST_GUESTS} others already: name another one")
    return None


def _unfit(message: str) -> Fact:
    return Fact("GatewayReady", False, Reason.HOST_UNFIT, message)
