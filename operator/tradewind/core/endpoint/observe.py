"""What an Endpoint's decision needs to know.

Versions and experiments may be those of a moment ago: whom they name next is told to everybody before it counts. Three are
read fresh, for what they lead to is not taken back: the experiment that holds the Endpoint (its weight is published), the
version that it promoted and the one that is asked for by hand (their hashes are stored for good).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.common import API_VERSION
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.core.decision import FIELD_MANAGER, RecordVerdict
from tradewind.core.endpoint.by_hand import asked, named_by_hand, request_key
from tradewind.core.endpoint.holders import was_promoted
from tradewind.core.endpoint.hosting import hosts_of, is_concerned, known_hosting
from tradewind.core.endpoint.manifests import mounted_versions
from tradewind.core.endpoint.names import gateway_name, gateway_pods
from tradewind.core.endpoint.orphans import aborted
from tradewind.core.endpoint.ports import has_port
from tradewind.core.endpoint.published import published
from tradewind.core.endpoint.scaling import unwanted
from tradewind.core.endpoint.seen import TERMINAL, GatewayDeployment, PodsAt, Seen, Sharing, StartedExperiment
from tradewind.core.manifests.common import OWNER_NAME, is_child
from tradewind.core.pods import has_ended, held_back, is_ready
from tradewind.core.prompts import read_prompts
from tradewind.core.world import DatabaseUnavailableError, Json, World
from tradewind.trading.routing import Routing


async def observe(endpoint: Endpoint, world: World) -> Seen:
    """Facts about an Endpoint."""
    namespace = endpoint.namespace
    versions = world.by_name(ModelVersion, namespace)
    experiments = {e.name: e for e in world.naming(ABExperiment, endpoint)}
    active = endpoint.status.active_experiment
    if active is not None:
        experiments.pop(active.name, None)
        held = await world.fresh(ABExperiment, namespace, active.name)
        if held is not None:
            experiments[held.name] = held
        if held is not None and was_promoted(held):
            versions = await _fresh(versions, held.spec.candidate, namespace, world)
    for name in named_by_hand(endpoint):
        versions = await _fresh(versions, name, namespace, world)
    own = await world.pods(namespace, gateway_pods(endpoint.name))
    sharing, elsewhere = await _sharing(endpoint, own, world)
    pods = [*own, *elsewhere]
    # A pod that is being deleted still answers on the connections that it has.
    mounted = [mounted_versions(pod) for pod in pods if not has_ended(pod)]
    ready = _ready(pods)
    deployment = None if pods else await _child(endpoint, "apps/v1", "Deployment", gateway_name(endpoint.name), world)
    waiting = [pod for pod in pods if pod["metadata"]["name"] not in ready]
    mine = tuple(e for e in experiments.values() if e.spec.endpoint_ref.name == endpoint.name)
    routing, document = await published(endpoint, world)  # before the reports of those that obey it
    may_be_asked = _may_be_asked(endpoint, mine, routing)
    seen = Seen(
        versions=versions,
        experiments=mine,
        ready_pods=ready,
        held_back=await held_back(world, namespace, waiting, deployment),
        deployment=await gateway_deployment(endpoint, world),
        left_over=await left_over(endpoint, world),
        sharing=sharing,
        guests=_guests(endpoint, world),
        mounted=frozenset.intersection(*mounted) if mounted else None,
        routing=routing,
        document=document,
        prompts=await read_prompts((versions[name] for name in sorted(may_be_asked & versions.keys())), world),
    )
    try:
        requests = [request_key(verb.name, verb.request) for verb in asked(endpoint)]
        uid = active.uid if active is not None else None
        found = await world.database.of_endpoint(namespace, endpoint.name, uid, requests)
        return replace(
            seen,
            epochs=found.epochs,
            in_position=found.in_position,
            promotion=found.promotion,
            used=found.used,
            orphans=await orphans(namespace, found.undecided, world),
            replicas=found.replicas,
            probes=found.probes,
            conflicts=found.conflicts,
        )
    except DatabaseUnavailableError as error:
        return replace(
            seen, database_error=str(error), schema_missing=error.schema_missing, installation_taken=error.taken
        )


async def _fresh(
    versions: Mapping[str, ModelVersion], name: str, namespace: str, world: World
) -> Mapping[str, ModelVersion]:
    """The versions, with one of them as the API server has it now."""
    version = await world.fresh(ModelVersion, namespace, name)
    others = {known: one for known, one in versions.items() if known != name}
    return others if version is None else {**others, name: version}


async def _sharing(endpoint: Endpoint, own: Sequence[Json], world: World) -> tuple[Sharing, list[Json]]:
    """Where this Endpoint is answered, and the pods of others that answer for it."""
    if not is_concerned(endpoint):
        return Sharing(), []
    namespace, wanted, known = endpoint.namespace, endpoint.spec.gateway.shared_with, known_hosting(endpoint)
    found = {endpoint.name: PodsAt(_ready(own), count=sum(not has_ended(pod) for pod in own))}
    elsewhere: list[Json] = []
    for host in sorted(hosts_of(endpoint)):
        pods = await world.pods(namespace, gateway_pods(host))
        mine = [pod for pod in pods if known is not None and has_port(pod, known.port)]
        found[host] = PodsAt(_ready(mine), _ready(pods) <= _ready(mine), sum(not has_ended(pod) for pod in mine))
        elsewhere += mine
    service = await _child(endpoint, "v1", "Service", gateway_name(endpoint.name), world)
    selector = ((service or {}).get("spec") or {}).get("selector") or {}
    others = [(known_hosting(one), one.metadata.uid) for one in world.all(Endpoint, namespace)]
    ports = tuple((theirs.port, uid) for theirs, uid in others if theirs is not None and uid != endpoint.metadata.uid)
    host_now = world.get(Endpoint, namespace, wanted) if wanted is not None else None
    return Sharing(host_now, selector.get(OWNER_NAME), found, ports), elsewhere


def _guests(endpoint: Endpoint, world: World) -> tuple[Endpoint, ...]:
    """Other Endpoints that the pods of this one are to answer for, or still do."""
    return tuple(
        one
        for one in world.naming(Endpoint, endpoint)
        if one.name != endpoint.name
        and one.metadata.deletion_timestamp is None
        and (known := known_hosting(one)) is not None
        and endpoint.name in (known.host, known.served_by)
    )


def _ready(pods: Sequence[Json]) -> frozenset[str]:
    return frozenset(pod["metadata"]["name"] for pod in pods if is_ready(pod))


def _may_be_asked(endpoint: Endpoint, experiments: tuple[ABExperiment, ...], routing: Routing | None) -> frozenset[str]:
    """Versions that the next document may have: those of this one, and who may come into it."""
    champions = (endpoint.status.champion_ref, endpoint.status.previous_champion_ref)
    return frozenset(
        {
            endpoint.spec.fallback,
            *(ref.name for ref in champions if ref is not None),
            *(
                name
                for e in experiments
                if e.status.phase not in TERMINAL or was_promoted(e)
                for name in (e.spec.baseline, e.spec.candidate)
                if name is not None
            ),
            *named_by_hand(endpoint),
            *(routing.arms if routing is not None else ()),
        }
    )


async def orphans(
    namespace: str, undecided: Iterable[StartedExperiment], world: World
) -> tuple[StartedExperiment, ...]:
    """Those whose object does not exist any more, or was made anew under its name.

    A view of a moment ago may lack one that another operator has just started, or that cannot be parsed: whom it does
    not show is asked for by name.
    """
    gone: list[StartedExperiment] = []
    for started in undecided:
        known = world.get(ABExperiment, namespace, started.name)
        if known is not None and known.metadata.uid == started.uid:
            continue
        body = await world.read(API_VERSION, "ABExperiment", namespace, started.name)
        if body is None or body["metadata"]["uid"] != started.uid:
            gone.append(started)
    return tuple(gone)


async def gone(namespace: str, endpoint: str, world: World, now: datetime) -> tuple[RecordVerdict, ...]:
    """What is recorded of an Endpoint that does not exist any more: the end of its experiments that went with it."""
    undecided = await world.database.undecided(namespace, endpoint)
    return aborted(endpoint, await orphans(namespace, undecided, world), now)


async def left_over(endpoint: Endpoint, world: World) -> frozenset[tuple[str, str]]:
    """Children of this Endpoint that were made for a setting which is taken away."""
    found: set[tuple[str, str]] = set()
    for kind in unwanted(endpoint):
        if await _child(endpoint, *kind, gateway_name(endpoint.name), world) is not None:
            found.add(kind)
    return frozenset(found)


async def gateway_deployment(endpoint: Endpoint, world: World) -> GatewayDeployment | None:
    """The Deployment's number of pods, and whether we alone have it; only read where it is not ours to set."""
    if endpoint.spec.gateway.autoscaling is None:
        return None
    body = await _child(endpoint, "apps/v1", "Deployment", gateway_name(endpoint.name), world)
    if body is None:
        return None
    owners = {
        entry.get("manager")
        for entry in body["metadata"].get("managedFields", [])
        if "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    }
    return GatewayDeployment(int(body.get("spec", {}).get("replicas", 1)), owners == {FIELD_MANAGER})


async def _child(endpoint: Endpoint, api_version: str, kind: str, name: str, world: World) -> Json | None:
    """A child of this Endpoint; None: it is not there, or what has its name is somebody else's."""
    found = await world.read(api_version, kind, endpoint.namespace, name)
    return found if found is not None and is_child(found, endpoint.metadata.uid) else None
