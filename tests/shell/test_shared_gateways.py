"""A guest goes to another Endpoint's pods, to its own and back, turn by turn: at each moment its Service sends to pods that answer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from server_double import NOW, Json, Server, key, reconciler, thing

from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.api.parse import parse
from tradewind.core.endpoint import Promotion, ReplicaReport
from tradewind.core.endpoint.manifests import mounted_versions
from tradewind.core.endpoint.ports import port_name
from tradewind.core.identity import spec_sha256
from tradewind.core.manifests.common import OWNER_NAME
from tradewind.core.world import OfEndpoint
from tradewind.shell.cache import Cache

EXTERNAL = {
    "external": {"baseURL": "https://api.test/v1", "model": "m", "secretRef": {"name": "key", "key": "api-key"}}
}
API = thing("ModelVersion", "api", EXTERNAL, {"conditions": []})
DESK = thing("Endpoint", "desk", {"fallback": "api"})


def eth(**gateway: Any) -> Json:
    return thing("Endpoint", "eth", {"fallback": "api", "gateway": gateway})


class Cluster(Server):
    """An API server whose Deployments get pods, one a step; what they obey is told to the database with the next one."""

    def __init__(self, *objects: Json) -> None:
        super().__init__(*objects)
        self.pods: dict[str, Json] = {}
        self.reported: dict[str, dict[str, int]] = {}

    async def select(self, *where: Any, **which: Any) -> Sequence[Json]:
        owner = str(which["label_selector"]).rpartition("=")[2]
        return [pod for pod in self.pods.values() if pod["metadata"]["labels"][OWNER_NAME] == owner]

    def step(self) -> None:
        """Terminating pods go; of each template a pod comes, or one of another template is told to go."""
        self.pods = {name: pod for name, pod in self.pods.items() if "deletionTimestamp" not in pod["metadata"]}
        wanted = {name: made for (kind, name), made in self.objects.items() if kind == "Deployment"}
        for pod in self.pods.values():
            if pod["metadata"]["of"] not in wanted:
                pod["metadata"]["deletionTimestamp"] = NOW.isoformat()
                break
        for name, made in wanted.items():
            template = made["spec"]["template"]
            digest = json.dumps(template, sort_keys=True)
            mine = [pod for pod in self.pods.values() if pod["metadata"]["of"] == name]
            newest = [pod for pod in mine if pod["metadata"]["digest"] == digest]
            old = [pod for pod in mine if pod["metadata"]["digest"] != digest]
            if len(newest) < made["spec"]["replicas"]:
                self._start(name, template, digest)
            elif old:
                old[0]["metadata"]["deletionTimestamp"] = NOW.isoformat()
        for endpoint in ("desk", "eth"):
            document = self.objects.get(("ConfigMap", f"{endpoint}-routing"))
            if document is not None:
                generation = json.loads(document["data"]["routing.json"])["generation"]
                self.reported[endpoint] = dict.fromkeys(self.answering(endpoint), generation)

    def _start(self, deployment: str, template: Json, digest: str) -> None:
        self.version += 1
        name = f"{deployment}-{self.version}"
        metadata = {
            "name": name,
            "uid": name,
            "labels": template["metadata"]["labels"],
            "of": deployment,
            "digest": digest,
        }
        conditions = [{"type": "Ready", "status": "True"}]
        status = {"phase": "Running", "conditions": conditions}
        self.pods[name] = {"metadata": metadata, "spec": template["spec"], "status": status}

    def answering(self, endpoint: str) -> set[str]:
        """Pods that answer for an Endpoint, wherever its Service sends."""
        hosting = ((self.status("Endpoint", endpoint).get("gateway") or {}).get("hosting")) or {}
        port = port_name(hosting.get("port", 0))
        return {
            name
            for name, pod in self.pods.items()
            if pod["metadata"]["labels"][OWNER_NAME] == endpoint or port in _ports(pod)
        }

    def reached(self, endpoint: str) -> set[str]:
        """Ready pods that the Service of an Endpoint sends to."""
        service = self.objects[("Service", f"{endpoint}-gateway")]["spec"]
        (port,) = service["ports"]
        return {
            name
            for name, pod in self.pods.items()
            if pod["metadata"]["labels"][OWNER_NAME] == service["selector"][OWNER_NAME]
            and port["targetPort"] in _ports(pod)
            and "deletionTimestamp" not in pod["metadata"]
        }


def _ports(pod: Mapping[str, Any]) -> set[str]:
    return {each["name"] for each in pod["spec"]["containers"][0]["ports"]}


class Rows:
    """What the database has: the first champion, and what pods report."""

    def __init__(self, cluster: Cluster) -> None:
        version = parse(ModelVersion, API)
        assert isinstance(version, ModelVersion)
        self.cluster, self.champion = cluster, Promotion("api", None, spec_sha256(version), first=True)

    async def of_endpoint(self, _: str, endpoint: str, *__: object) -> OfEndpoint:
        reports = self.cluster.reported.get(endpoint, {})
        replicas = tuple(ReplicaReport(pod, generation, None, None) for pod, generation in reports.items())
        return OfEndpoint((), frozenset(), self.champion, frozenset(), (), replicas, {}, None)


async def test_a_guest_moves_there_and_back_and_its_service_always_sends_to_pods_that_have_it() -> None:
    cluster, cache = Cluster(API, DESK, eth(sharedWith="desk")), Cache()
    cache.take(cluster.objects["ModelVersion", "api"])
    alone = reconciler(cluster, cache)
    reconcile = replace(alone, world=replace(alone.world, sql=Rows(cluster)))  # type: ignore[arg-type]
    up: set[str] = set()

    async def turns(count: int = 12) -> None:
        for _ in range(count):
            for name in ("desk", "eth"):
                cache.take(cluster.objects["Endpoint", name])
                await reconcile(key("Endpoint", name))
            cluster.step()
            for name in ("desk", "eth"):
                reached = cluster.reached(name)
                assert reached or name not in up, f"nobody answers for {name}"
                assert reached <= cluster.answering(name)
                up.update({name} if reached else ())
                assert all("api" in mounted_versions(cluster.pods[pod]) for pod in reached)

    def deployments() -> set[str]:
        return {name for kind, name in cluster.objects if kind == "Deployment"}

    def hosting() -> Json:
        found: Json = cluster.status("Endpoint", "eth")["gateway"].get("hosting") or {}
        return found

    await turns()
    assert deployments() == {"desk-gateway"}
    assert (hosting()["host"], hosting()["servedBy"]) == ("desk", "desk")
    assert cluster.status("Endpoint", "desk")["gateway"]["guests"] == ["eth"]
    port = hosting()["port"]

    cluster.put(eth() | {"status": _kept(cache)})
    await turns(20)
    assert deployments() == {"desk-gateway", "eth-gateway"}
    assert hosting() == {}
    assert cluster.status("Endpoint", "desk")["gateway"].get("guests") is None
    assert len(cluster.reached("eth")) == 2

    cluster.put(eth(sharedWith="desk") | {"status": _kept(cache)})
    await turns(20)
    assert deployments() == {"desk-gateway"}
    assert (hosting()["servedBy"], hosting()["port"], hosting().get("left")) == ("desk", port, None)
    assert {pod["metadata"]["of"] for pod in cluster.pods.values()} == {"desk-gateway"}


def _kept(cache: Cache) -> Json:
    """The status of eth as the operator wrote it: a change of the spec leaves it."""
    found = cache.get(Endpoint, "trading", "eth")
    assert found is not None
    return found.status.to_manifest()
