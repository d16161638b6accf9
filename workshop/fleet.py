"""Many Endpoints with an experiment each on an API server without nodes, and what gateways would do there.

Belongs here: the objects, pods that count as ready, and what gateway pods report of the routing documents that they find. Does
not belong here: the API server (apiserver.py), rows of decisions (history.py), and what is measured (benchmarks/scale.py).
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import psycopg
import yaml

from tradewind.api.common import API_VERSION, ENABLED_LABEL
from tradewind.core.endpoint.manifests import endpoint_of
from tradewind.core.manifests.common import COMPONENT, MANAGED_BY, OWNER_KIND, OWNER_NAME
from tradewind.gateway.statements import REPORT_REPLICA
from tradewind.trading.arm_health import ArmHealth
from tradewind.trading.routing import ROUTING_KEY, Routing, live_weight, text_sha256
from workshop.apiserver import ApiServer

Json = dict[str, Any]

INSTALLATION = "scale"
CHAMPION = "api"
PARALLEL = 16
REPORT_SECONDS = 5.0
_OURS = "/apis/tradewind.dev/v1alpha1"
_SHIFTED = (
    "t0",
    "startTime",
    "completionTime",
    "lastEvaluatedTime",
    "time",
    "since",
    "nextLook",
    "watermark",
    "lastTransitionTime",
)


class Client:
    """JSON over HTTPS to an API server, as one of its users."""

    def __init__(self, api: ApiServer, user: str) -> None:
        self._url, self._token = api.url, api.token(user)
        self._room = asyncio.Semaphore(PARALLEL)

    async def __aenter__(self) -> Self:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._session = aiohttp.ClientSession(
            self._url,
            connector=aiohttp.TCPConnector(ssl=context, limit=2 * PARALLEL),
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            read_bufsize=2**22,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: Json | None = None, content: str = "application/json") -> Json:
        """One request. Errors: RuntimeError with what the server said."""
        headers = {"Content-Type": content}
        data = None if body is None else json.dumps(body)
        async with self._room, self._session.request(method, path, data=data, headers=headers) as answer:
            text = await answer.text()
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {answer.status} {text[:1000]}")
            found: Json = json.loads(text)
            return found

    async def status(self, path: str, status: Json) -> Json:
        """Replace what a status says."""
        return await self.call("PATCH", f"{path}/status", {"status": status}, "application/merge-patch+json")

    async def follow(self, path: str) -> Any:
        """Events of a watch as they come, for ever: (type, object)."""
        while True:
            listed = await self.call("GET", path)
            for item in listed["items"]:
                yield "ADDED", item
            query = {"watch": "1", "resourceVersion": listed["metadata"]["resourceVersion"]}
            async with self._session.get(path, params=query) as answer:
                async for line in answer.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        break
                    yield event["type"], event["object"]


async def all_of(made: Iterable[Awaitable[Any]]) -> list[Any]:
    """Results in order; `Client` bounds how many run at a time."""
    return list(await asyncio.gather(*made))


@dataclass(frozen=True)
class Spot:
    """One Endpoint with its running experiment."""

    namespace: str
    number: int

    @property
    def endpoint(self) -> str:
        return f"trader-{self.number}"

    @property
    def experiment(self) -> str:
        return f"running-{self.number}"

    @property
    def candidate(self) -> str:
        return f"candidate-{self.number}"

    @property
    def pods(self) -> tuple[str, ...]:
        return f"{self.endpoint}-gateway-a", f"{self.endpoint}-gateway-b"

    def path(self, plural: str, name: str) -> str:
        return f"{_OURS}/namespaces/{self.namespace}/{plural}/{name}"


@dataclass
class Fleet:
    """What there is.

    Attributes:
        uids: of running experiments.
        status: of a running experiment that was looked at: what those that are over look like.
    """

    client: Client
    spots: tuple[Spot, ...]
    finished: int
    uids: dict[Spot, str] = field(default_factory=dict)

    @classmethod
    def of(cls, client: Client, namespaces: int, running: int, finished: int) -> Fleet:
        spots = tuple(Spot(f"team-{number % namespaces}", number) for number in range(running))
        return cls(client, spots, finished)

    @property
    def namespaces(self) -> list[str]:
        return sorted({spot.namespace for spot in self.spots})

    async def install(self, crds: Path) -> None:
        """The kinds, ours and KServe's, and the namespaces with the operator's label."""
        kinds = [yaml.safe_load(path.read_text()) for path in sorted(crds.glob("*.yaml"))]
        for body in [*kinds, _inference_services()]:
            await self.client.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
        for path in (f"{_OURS}/abexperiments", "/apis/serving.kserve.io/v1beta1/inferenceservices"):
            await self._served(path)
        for name in ("tradewind", *self.namespaces):
            labels = {ENABLED_LABEL: "true"} if name != "tradewind" else {}
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            await self.client.call("POST", "/api/v1/namespaces", body)

    async def _served(self, path: str) -> None:
        for _ in range(120):
            try:
                await self.client.call("GET", path)
            except RuntimeError:
                await asyncio.sleep(0.5)
            else:
                return
        raise RuntimeError(f"{path} is not served")

    async def make_running(self) -> None:
        """Endpoints with pods that count as ready, versions, and experiments that can start."""
        for namespace in self.namespaces:
            await self._make(namespace, "modelversions", CHAMPION, _external("https://api.deepseek.com/v1"))
        await all_of(self._make(s.namespace, "modelversions", s.candidate, _external(f"https://{s.candidate}.example.com/v1")) for s in self.spots)  # fmt: skip
        await all_of(self._make(s.namespace, "endpoints", s.endpoint, _ENDPOINT) for s in self.spots)
        await all_of(self._pod(spot, name) for spot in self.spots for name in spot.pods)
        made = await all_of(self._make(s.namespace, "abexperiments", s.experiment, _experiment(s)) for s in self.spots)
        self.uids = {spot: body["metadata"]["uid"] for spot, body in zip(self.spots, made, strict=True)}

    async def make_finished(self) -> list[tuple[Spot, str, str]]:
        """Experiments that are over, each with the status of one that ran: their Endpoint, uid and candidate."""
        ran = await self.client.call("GET", self.spots[0].path("abexperiments", self.spots[0].experiment))
        over = {
            **ran["status"],
            "phase": "Inconclusive",
            "completionTime": _text(datetime.now(UTC)),
            "verdict": {"decision": "inconclusive", "reason": "MaxDuration", "message": "no verdict by maxDuration", "time": _text(datetime.now(UTC))},
        }  # fmt: skip

        async def one(number: int) -> tuple[Spot, str, str]:
            spot = self.spots[number % len(self.spots)]
            name, candidate = f"over-{number}", f"gone-{number}"
            spec = {**_experiment(spot), "candidate": candidate}
            made = await self._make(spot.namespace, "abexperiments", name, spec)
            await self.client.status(spot.path("abexperiments", name), over)
            return spot, made["metadata"]["uid"], candidate

        return await all_of(one(number) for number in range(self.finished))

    async def started(self) -> list[str]:
        """Running experiments that have a weight, of which every pod obeys it."""
        found = []
        for namespace in self.namespaces:
            listed = await self.client.call("GET", f"{_OURS}/namespaces/{namespace}/abexperiments")
            for item in listed["items"]:
                status = item.get("status") or {}
                weight = status.get("weight") or {}
                if status.get("phase") == "Running" and weight.get("applied") not in (None, "0"):
                    found.append(item["metadata"]["name"])
        return found

    async def age(self, by: timedelta) -> None:
        """Let the running experiments have begun earlier; no operator may run."""

        async def one(spot: Spot) -> None:
            path = spot.path("abexperiments", spot.experiment)
            body = await self.client.call("GET", path)
            await self.client.status(path, _shifted(body["status"], by))
            path = spot.path("endpoints", spot.endpoint)
            active = (await self.client.call("GET", path))["status"]["activeExperiment"]
            await self.client.status(path, {"activeExperiment": _shifted(active, by)})

        await all_of(one(spot) for spot in self.spots)

    async def _make(self, namespace: str, plural: str, name: str, spec: Json) -> Json:
        kind = {"modelversions": "ModelVersion", "endpoints": "Endpoint", "abexperiments": "ABExperiment"}[plural]
        body = {
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }
        return await self.client.call("POST", f"{_OURS}/namespaces/{namespace}/{plural}", body)

    async def _pod(self, spot: Spot, name: str) -> None:
        labels = {MANAGED_BY: "tradewind", COMPONENT: "gateway", OWNER_KIND: "Endpoint", OWNER_NAME: spot.endpoint}
        spec = {"containers": [{"name": "gateway", "image": "gateway:1"}]}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}
        path = f"/api/v1/namespaces/{spot.namespace}/pods"
        await self.client.call("POST", path, body)
        now = _text(datetime.now(UTC))
        ready = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")]
        await self.client.status(f"{path}/{name}", {"phase": "Running", "conditions": ready})


@dataclass
class Gateways:
    """What the gateway pods of all Endpoints do that the operator sees: they obey the newest document and say so.

    Attributes:
        routings: the document of each Endpoint, with its text, as last seen.
        expired: Endpoints whose candidate had a weight that was not renewed in time, and for how many seconds in all.
    """

    client: Client
    dsn: str
    spots: tuple[Spot, ...]
    routings: dict[tuple[str, str], tuple[Routing, str]] = field(default_factory=dict)
    expired: dict[tuple[str, str], float] = field(default_factory=dict)
    renewals: int = 0
    watching: bool = False
    """Whether expired weights are counted: not while no operator runs."""

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._report())
            group.create_task(self._count())

    async def _follow(self) -> None:
        async for kind, body in self.client.follow(f"/api/v1/configmaps?labelSelector={MANAGED_BY}%3Dtradewind"):
            name = endpoint_of(body["metadata"]["name"])
            if kind == "DELETED" or name is None:
                continue
            text = body["data"][ROUTING_KEY]
            self.routings[body["metadata"]["namespace"], name] = Routing.from_json(text), text
            self.renewals += 1

    async def _report(self) -> None:
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            while True:
                began = time.monotonic()
                rows = list(self._reports())
                if rows:
                    async with connection.cursor() as cursor:
                        await cursor.executemany(REPORT_REPLICA, rows)
                await asyncio.sleep(max(0.0, REPORT_SECONDS - (time.monotonic() - began)))

    def _reports(self) -> Iterator[Mapping[str, Any]]:
        for spot in self.spots:
            known = self.routings.get((spot.namespace, spot.endpoint))
            if known is None:
                continue
            routing, text = known
            since = datetime(2026, 1, 1, tzinfo=UTC)
            arms = [
                ArmHealth(version=name, target=target.digest, healthy=True, since=since).model_dump(mode="json")
                for name, target in routing.arms.items()
            ]
            for pod in spot.pods:
                yield {
                    "installation": INSTALLATION,
                    "namespace": spot.namespace,
                    "endpoint": spot.endpoint,
                    "replica": pod,
                    "epoch": routing.experiment.epoch if routing.experiment is not None else None,
                    "generation": routing.generation,
                    "published_at": routing.published_at,
                    "routing_sha256": text_sha256(text),
                    "arms": json.dumps(arms),
                }

    async def _count(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            now, passed, last = datetime.now(UTC), time.monotonic() - last, time.monotonic()
            for place, (routing, _) in self.routings.items():
                wanted = routing.experiment is not None and routing.experiment.candidate_weight > 0
                if self.watching and wanted and not live_weight(routing, now):
                    self.expired[place] = self.expired.get(place, 0.0) + passed


_ENDPOINT: Json = {
    "fallback": CHAMPION,
    "maxHold": "24h",
    "paper": {"price": "/market_data/{symbol}/price", "horizon": "8h", "costBasisPoints": "1"},
    "gateway": {"auth": {"secretRef": {"name": "tradewind-gateway", "key": "token"}}},
}


def _external(url: str) -> Json:
    return {"external": {"baseURL": url, "model": "m", "pricePerCallCNY": "0.01"}}


def _experiment(spot: Spot) -> Json:
    """Paired: both arms answer each decision, and a weight that never leads to a verdict within the run."""
    return {
        "endpointRef": {"name": spot.endpoint},
        "candidate": spot.candidate,
        "baseline": CHAMPION,
        "traffic": {"policy": "fixed", "weight": "0.5", "shadow": "both"},
        "evidence": {"maxDuration": "365d"},
    }


def _inference_services() -> Json:
    """KServe's kind as far as it is watched: none is made here."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1beta1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}  # fmt: skip
    names = {"plural": "inferenceservices", "singular": "inferenceservice", "kind": "InferenceService", "listKind": "InferenceServiceList"}  # fmt: skip
    spec = {"group": "serving.kserve.io", "scope": "Namespaced", "names": names, "versions": [version]}
    metadata = {"name": "inferenceservices.serving.kserve.io"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": spec,
    }


def _shifted(part: Any, by: timedelta) -> Any:
    """The same with times earlier."""
    if isinstance(part, list):
        return [_shifted(each, by) for each in part]
    if isinstance(part, dict):
        return {
            name: _text(datetime.fromisoformat(each) - by)
            if name in _SHIFTED and isinstance(each, str)
            else _shifted(each, by)
            for name, each in part.items()
        }
    return part


def _text(at: datetime) -> str:
    return at.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


Told = Callable[[str], None]
