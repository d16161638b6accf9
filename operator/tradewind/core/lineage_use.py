"""Who counts on a version: whether Endpoints, their routing documents and running experiments mean this very object.

Belongs here: references to a version, and arms. Does not belong here: where the version comes from (core/lineage.py).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from tradewind.api.model_version import ModelVersion
from tradewind.core.identity import spec_sha256, version_sha256
from tradewind.core.lineage import Found, Link, Listed, Read, Side, State, compared, evaluated, served, trained, unread
from tradewind.core.manifests.common import is_child
from tradewind.trading.routing import ROUTING_KEY

Json = Mapping[str, Any]

ENDPOINT: Final = "version -> endpoint"
ROUTING: Final = "endpoint -> routing"
EXPERIMENT: Final = "version -> experiment"
_OTHER: Final = "another object, or another spec, has the name now"


def links(found: Found) -> tuple[Link, ...]:
    """The whole chain, in its order."""
    return (*trained(found), *served(found), *evaluated(found), *used(found))


def worst(chain: Iterable[Link]) -> State:
    """Broken where any link is, else unknown where any is; of no link at all nothing is known."""
    states = {link.state for link in chain} or {State.UNKNOWN}
    return next(state for state in (State.BROKEN, State.UNKNOWN, State.OK) if state in states)


def used(found: Found) -> Iterator[Link]:
    """Whoever names the version; nothing where nobody does."""
    version = found.version
    yield from _refused(ENDPOINT, "Endpoints", found.endpoints)
    answering = set(_tested(found))
    for endpoint in found.endpoints.items:
        name, refs = endpoint["metadata"]["name"], tuple(_refs(endpoint, ("championRef", "fallbackRef"), version.name))
        for role, ref in refs:
            yield from _meant(ENDPOINT, f"Endpoint/{name} status.{role}", ref, version)
        if refs or name in answering:
            yield from _routed(endpoint, found.routing.get(name, Read()), version)
    yield from _refused(EXPERIMENT, "ABExperiments", found.experiments)
    for experiment in _running(found.experiments.items):
        where = f"ABExperiment/{experiment['metadata']['name']}"
        for role, ref in _refs(experiment, ("baselineRef", "candidateRef"), version.name):
            yield from _meant(EXPERIMENT, f"{where} status.{role}", ref, version)


def routed_by(endpoints: Listed, experiments: Listed, version: str) -> tuple[str, ...]:
    """Endpoints whose routing document is to have an arm of that name."""
    names = [
        endpoint["metadata"]["name"]
        for endpoint in endpoints.items
        if any(_refs(endpoint, ("championRef", "fallbackRef"), version))
    ]
    names += _endpoints_of(experiments, version)
    known = {endpoint["metadata"]["name"] for endpoint in endpoints.items}
    return tuple(name for name in dict.fromkeys(names) if name in known)


def _tested(found: Found) -> Iterator[str]:
    return _endpoints_of(found.experiments, found.version.name)


def _endpoints_of(experiments: Listed, version: str) -> Iterator[str]:
    for experiment in _running(experiments.items):
        if any(_refs(experiment, ("baselineRef", "candidateRef"), version)):
            yield str(((experiment.get("spec") or {}).get("endpointRef") or {}).get("name"))


def _running(experiments: Iterable[Json]) -> Iterator[Json]:
    """Experiments that have begun and not ended: what one of the past has compared may have been replaced since."""
    for experiment in experiments:
        status = experiment.get("status") or {}
        if status.get("t0") and not status.get("completionTime"):
            yield experiment


def _refs(body: Json, roles: Iterable[str], version: str) -> Iterator[tuple[str, Json]]:
    status = body.get("status") or {}
    for role in roles:
        ref = status.get(role) or {}
        if ref.get("name") == version:
            yield role, ref


def _refused(link: str, what: str, listed: Listed) -> Iterator[Link]:
    if listed.refused:
        yield unread(link, what, listed, "")


def _meant(link: str, where: str, ref: Json, version: ModelVersion) -> Iterator[Link]:
    if ref.get("specSha256") is None:  # kept before specs were hashed; the same spec made anew is the same version
        uid = Side("metadata.uid", version.metadata.uid or None)
        yield compared(link, Side(f"{where}.uid", ref.get("uid")), uid, _OTHER)
    yield from _hashes(link, where, ref, version)


def _hashes(link: str, where: str, told: Json, version: ModelVersion) -> Iterator[Link]:
    pinned = version_sha256(version)
    if pinned is not None or told.get("sha256") is not None:
        mine = Side("spec's sha256", pinned or "none, an external API")
        yield compared(link, Side(f"{where}.sha256", told.get("sha256")), mine, _OTHER)
    mine = Side("hash of the spec", spec_sha256(version))
    yield compared(link, Side(f"{where}.specSha256", told.get("specSha256")), mine, _OTHER)


def _routed(endpoint: Json, read: Read, version: ModelVersion) -> Iterator[Link]:
    name = endpoint["metadata"]["name"]
    what = f"routing of Endpoint/{name}"
    if read.body is None:
        yield unread(ROUTING, what, read, "it is not published")
        return
    uid = str(endpoint["metadata"].get("uid") or "")
    if not is_child(read.body, uid):
        sides = Side(f"{what} owner's uid"), Side(f"Endpoint/{name} metadata.uid", uid)
        yield Link(ROUTING, State.BROKEN, sides, "the ConfigMap of that name is not this Endpoint's")
        return
    arm = _arm(read.body, version.name)
    if arm is None:
        yield Link(ROUTING, State.UNKNOWN, (Side(what),), f"it has no arm {version.name} that can be read")
        return
    yield from _hashes(ROUTING, f"{what} arms[{version.name}]", arm, version)


def _arm(config_map: Json, name: str) -> Json | None:
    try:
        document = json.loads((config_map.get("data") or {}).get(ROUTING_KEY) or "{}")
    except ValueError:
        return None
    arms = document.get("arms") if isinstance(document, dict) else None
    arm = arms.get(name) if isinstance(arms, dict) else None
    return arm if isinstance(arm, dict) else None
