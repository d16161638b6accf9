"""What the tests on a real cluster share: the cluster that KUBECONFIG names, an installation of ours, and its clients.

`Cluster` is kubectl and helm, with reads through one `kubectl proxy`. `Space` is one namespace. `Installation` is the
charts' release with its database. `GatewayClient` is a polite trading system. Nothing here asserts what the product does.
Gateways and PostgreSQL are called at their ClusterIPs, so the machine that runs the tests must reach those.
"""

import base64
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import psycopg
import pytest

from tradewind import migrations

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tradewind"
SYSTEM = os.environ.get("E2E_PREFIX") or "tradewind-e2e"
"""Namespace of the installation, and how all namespaces of the tests begin: two sessions on one cluster need two."""
RELEASE = "tw"
SESSION_LABEL = "tradewind.dev/e2e"
TOKEN = "token-of-the-e2e-tests"
API_KEY = "api-key-of-the-e2e-tests"
TERMINAL = ("Succeeded", "RolledBack", "Inconclusive", "Aborted")

Json = dict[str, Any]
T = TypeVar("T")

_PATHS = {
    "Endpoint": "/apis/tradewind.dev/v1alpha1/{}endpoints",
    "ModelVersion": "/apis/tradewind.dev/v1alpha1/{}modelversions",
    "ABExperiment": "/apis/tradewind.dev/v1alpha1/{}abexperiments",
    "TrainingRun": "/apis/tradewind.dev/v1alpha1/{}trainingruns",
    "TrainingSchedule": "/apis/tradewind.dev/v1alpha1/{}trainingschedules",
    "Pod": "/api/v1/{}pods",
    "Service": "/api/v1/{}services",
    "Secret": "/api/v1/{}secrets",
    "ConfigMap": "/api/v1/{}configmaps",
    "Event": "/api/v1/{}events",
    "Namespace": "/api/v1/namespaces",
    "Deployment": "/apis/apps/v1/{}deployments",
    "StatefulSet": "/apis/apps/v1/{}statefulsets",
    "Job": "/apis/batch/v1/{}jobs",
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
}
OURS = ("Endpoint", "ModelVersion", "ABExperiment", "TrainingRun", "TrainingSchedule")


class CommandError(AssertionError):
    """A command that had to succeed did not."""


@dataclass
class Cluster:
    """kubectl, helm and the API server behind a proxy of our own."""

    env: dict[str, str]
    api: httpx.Client
    proxy: "subprocess.Popen[str]"

    @classmethod
    def connect(cls) -> "Cluster | None":
        """None: there is no cluster that answers."""
        env = dict(os.environ)
        env["PATH"] = f"{env.get('PATH', '')}:{CACHE / 'cluster' / 'bin'}"
        env.setdefault("KUBECONFIG", str(CACHE / "cluster" / "kubeconfig"))
        for tool in ("kubectl", "helm"):
            if shutil.which(tool, path=env["PATH"]) is None:
                return None
        proxy = subprocess.Popen(["kubectl", "proxy", "--port=0"], env=env, stdout=subprocess.PIPE, text=True)
        assert proxy.stdout is not None
        address = proxy.stdout.readline().strip().rpartition(" ")[2]
        api = httpx.Client(base_url=f"http://{address}", timeout=30, trust_env=False)
        cluster = cls(env, api, proxy)
        try:
            api.get("/readyz").raise_for_status()
        except httpx.HTTPError:
            cluster.close()
            return None
        return cluster

    def close(self) -> None:
        self.api.close()
        self.proxy.terminate()
        self.proxy.wait(10)
        assert self.proxy.stdout is not None
        self.proxy.stdout.close()

    def run(self, *command: str, given: str | None = None, check: bool = True, seconds: float = 120) -> str:
        """Standard output; with check=False standard output and error together."""
        done = subprocess.run(
            command, input=given, env=self.env, capture_output=True, text=True, check=False, timeout=seconds
        )
        if check and done.returncode:
            raise CommandError(f"`{' '.join(command)[:300]}` failed: {done.stderr.strip()[-2000:]}")
        return done.stdout if check else done.stdout + done.stderr

    def kubectl(self, *args: str, given: str | None = None, check: bool = True, seconds: float = 120) -> str:
        return self.run("kubectl", *args, given=given, check=check, seconds=seconds)

    def refused(self, *args: str, given: str | None = None) -> str:
        """What a kubectl command that has to be refused says."""
        done = subprocess.run(
            ["kubectl", *args], input=given, env=self.env, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode != 0, f"was not refused: kubectl {' '.join(args)}: {done.stdout}"
        return done.stderr

    def get(self, kind: str, name: str, namespace: str | None = None) -> Json | None:
        return self._read(f"{self._path(kind, namespace)}/{name}")

    def select(self, kind: str, namespace: str | None = None, labels: str = "") -> list[Json]:
        found = self._read(f"{self._path(kind, namespace)}?labelSelector={labels}")
        return [] if found is None else list(found["items"])

    def log(self, namespace: str, pod: str, *, previous: bool = False) -> str:
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log?tailLines=4000&previous={str(previous).lower()}"
        answer = self.api.get(path)
        return answer.text if answer.is_success else ""

    def _path(self, kind: str, namespace: str | None) -> str:
        return _PATHS[kind].format(f"namespaces/{namespace}/" if namespace else "")

    def _read(self, path: str) -> Json | None:
        for pause in (0.5, 1.0, 2.0, None):
            try:
                answer = self.api.get(path)
                if answer.status_code == 404:
                    return None
                answer.raise_for_status()
                body: Json = answer.json()
                return body
            except (httpx.TransportError, httpx.HTTPStatusError):
                if pause is None:
                    raise
                time.sleep(pause)
        raise AssertionError("unreachable")


def wait_for(what: str, probe: Callable[[], T | None], seconds: float = 60, every: float = 0.3) -> T:
    """The first value of `probe` that is neither None nor False; the test fails when the time is over."""
    until = time.monotonic() + seconds
    while True:
        seen = probe()
        if seen is not None and seen is not False:
            return seen
        if time.monotonic() > until:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(every)


def condition(resource: Mapping[str, Any] | None, kind: str) -> Json:
    """A condition of an object; empty where there is none."""
    found = ((resource or {}).get("status") or {}).get("conditions") or []
    return next((c for c in found if c["type"] == kind), {})


@dataclass
class Space:
    """One namespace of the tests."""

    cluster: Cluster
    name: str

    def apply(self, *objects: Mapping[str, Any]) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=json.dumps(items))

    def kubectl(self, *args: str, given: str | None = None, check: bool = True, seconds: float = 120) -> str:
        return self.cluster.kubectl("-n", self.name, *args, given=given, check=check, seconds=seconds)

    def refused(self, *args: str, given: str | None = None) -> str:
        return self.cluster.refused("-n", self.name, *args, given=given)

    def get(self, kind: str, name: str) -> Json | None:
        return self.cluster.get(kind, name, self.name)

    def must_get(self, kind: str, name: str) -> Json:
        found = self.get(kind, name)
        assert found is not None, f"{kind} {self.name}/{name} does not exist"
        return found

    def select(self, kind: str, labels: str = "") -> list[Json]:
        return self.cluster.select(kind, self.name, labels)

    def wait_condition(
        self, kind: str, name: str, of: str, status: str = "True", *, reason: str | None = None, seconds: float = 90
    ) -> Json:
        """The object, once a condition of it has this status (and reason)."""

        def probe() -> Json | None:
            seen = self.get(kind, name)
            found = condition(seen, of)
            same = found.get("status") == status and reason in (None, found.get("reason"))
            return seen if same else None

        return wait_for(f"{kind} {name}: {of}={status} {reason or ''}", probe, seconds)

    def wait_phase(self, kind: str, name: str, *phases: str, seconds: float = 90) -> Json:
        def probe() -> Json | None:
            seen = self.get(kind, name)
            return seen if seen and (seen.get("status") or {}).get("phase") in phases else None

        return wait_for(f"{kind} {name} in phase {' or '.join(phases)}", probe, seconds)

    def wait_active(self, endpoint: str, experiment: str, seconds: float = 60) -> Json:
        """The experiment, once it runs and the gateways' routing has it."""

        def probe() -> Json | None:
            routing = self.routing(endpoint)
            route = routing.get("experiment") or {}
            return self.get("ABExperiment", experiment) if route.get("name") == experiment else None

        return wait_for(f"Endpoint {endpoint} routes to {experiment}", probe, seconds)

    def routing(self, endpoint: str) -> Json:
        """The published routing document; empty where there is none."""
        found = self.get("ConfigMap", f"{endpoint}-routing")
        document: Json = json.loads(found["data"]["routing.json"]) if found else {}
        return document

    def gateway(self, endpoint: str, *, ready: bool = True) -> "GatewayClient":
        """A client of an Endpoint's gateway."""
        if ready:
            self.wait_condition("Endpoint", endpoint, "Ready", seconds=120)
        service = wait_for(f"Service {endpoint}-gateway", lambda: self.get("Service", f"{endpoint}-gateway"))
        return GatewayClient(f"http://{service['spec']['clusterIP']}")

    def clear(self) -> None:
        """Remove our kinds; holders of references first, so that no finalizer is left behind."""
        for kinds in ("abexperiments,trainingschedules,trainingruns", "endpoints.tradewind.dev"):  # not the core's
            self.kubectl("delete", kinds, "--all", "--wait=false", "--ignore-not-found", check=False)
        until = time.monotonic() + 30
        while any(v["metadata"].get("finalizers") for v in self.select("ModelVersion")) and time.monotonic() < until:
            time.sleep(0.5)
        for version in self.select("ModelVersion"):
            if version["metadata"].get("finalizers"):  # the operator is gone already
                patch = '{"metadata":{"finalizers":null}}'
                self.kubectl(
                    "patch", "modelversion", version["metadata"]["name"], "--type=merge", "-p", patch, check=False
                )
        self.kubectl("delete", "modelversions", "--all", "--ignore-not-found", check=False)

    def delete(self) -> None:
        """The namespace and everything in it."""
        if self.cluster.get("Namespace", self.name) is None:
            return
        self.clear()
        self.cluster.kubectl("delete", "namespace", self.name, "--wait=false", "--ignore-not-found", check=False)

    def anatomy(self) -> str:
        """Conditions, warnings, pods and the ends of their logs, for a failed test."""
        parts = [f"=== namespace {self.name}"]
        for kind in OURS:
            for item in self.select(kind):
                status = item.get("status") or {}
                parts.append(f"{kind} {item['metadata']['name']}: phase {status.get('phase')}")
                for c in status.get("conditions") or []:
                    parts.append(f"   {c['type']}={c['status']} {c.get('reason')}: {c.get('message', '')[:300]}")
        events = [e for e in self.select("Event") if e.get("type") == "Warning"]
        for event in events[-12:]:
            parts.append(
                f"warning {event['involvedObject'].get('name')}: {event.get('reason')}: {event.get('message')}"
            )
        for pod in self.select("Pod"):
            name, phase = pod["metadata"]["name"], pod["status"].get("phase")
            parts.append(f"--- pod {name} {phase}\n" + "\n".join(self.cluster.log(self.name, name).splitlines()[-25:]))
        return "\n".join(parts)


@dataclass
class GatewayClient:
    """A trading system: the same id again until there is an answer."""

    url: str
    token: str | None = TOKEN
    patience: float = 120
    http: httpx.Client = field(init=False)
    waits: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def post(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        """One attempt."""
        return self.http.post(path, json=body)

    def settled(self, path: str, body: Mapping[str, Any]) -> Json:
        """The answer, after as many polite repetitions as it takes."""
        until = time.monotonic() + self.patience
        while True:
            try:
                answer = self.post(path, body)
                if answer.is_success:
                    content: Json = answer.json()
                    return content
                again = answer.status_code in (425, 502, 503, 504) or "Retry-After" in answer.headers
                told, pause = f"{answer.status_code} {answer.text[:300]}", float(answer.headers.get("Retry-After", 0.5))
            except httpx.TransportError as error:
                again, told, pause = True, f"{type(error).__name__} {error}", 0.2
            if not again or time.monotonic() > until:
                pytest.fail(f"POST {path} {json.dumps(body)[:300]}: {told}")
            self.waits.append(told)
            time.sleep(min(max(pause, 0.05), 2.0))

    def decide(self, decision_id: str, **more: Any) -> Json:
        return self.settled("/v1/decisions", question(decision_id, **more))

    def opened(self, decision_id: str, *, at: str, notional: float = 100.0) -> Json:
        body = {"status": "opened", "opened_at": at, "filled_notional_usd": notional, "position_id": decision_id}
        return self.settled(f"/v1/decisions/{decision_id}/execution", body)

    def closed(self, decision_id: str, *, at: str, pnl: float) -> Json:
        body = {"closed_at": at, "pnl": pnl, "fees": 0.0, "duration_hours": 0.5, "exit_reason": "test"}
        return self.settled(f"/v1/decisions/{decision_id}/outcome", body)


def question(decision_id: str, *, hint: str = "up", symbol: str = "EURUSD", **more: Any) -> Json:
    """Body of a decision request; each in a book of its own."""
    return {
        "decision_id": decision_id,
        "scope": {"symbol": symbol, "book": decision_id[:64]},
        "market_data": {symbol: {"hint": hint}, "tag": decision_id},
        "account_state": {"balance": 1000, "permission_level": "L1", "positions": []},
        **more,
    }


class Load:
    """Decisions asked for by a few threads, each once and over a connection of its own, until the block is left.

    Attributes:
        answered: ids that got an answer.
        failed: what every other attempt came to.
    """

    def __init__(self, gateway: GatewayClient, prefix: str, threads: int = 2) -> None:
        self.answered: list[str] = []
        self.failed: list[str] = []
        self._headers = {**gateway.http.headers, "Connection": "close"}
        self._url, self._prefix = gateway.url, prefix
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def more(self, count: int) -> None:
        """Returns once so many further decisions were answered or failed."""
        wanted = len(self.answered) + len(self.failed) + count
        wait_for(f"{count} more decisions", lambda: len(self.answered) + len(self.failed) >= wanted, 60, 0.05)

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self._url, headers=self._headers, timeout=30, trust_env=False) as http:
            for index in itertools.count():
                if self._stop.is_set():
                    return
                decision_id = f"{self._prefix}-{number}-{index}"
                try:
                    answer = http.post("/v1/decisions", json=question(decision_id))
                except httpx.TransportError as error:
                    self.failed.append(f"{decision_id}: {type(error).__name__} {error}")
                else:
                    if answer.is_success:
                        self.answered.append(decision_id)
                    else:
                        self.failed.append(f"{decision_id}: {answer.status_code} {answer.text[:200]}")
                self._stop.wait(0.05)


@dataclass
class Installation:
    """The charts, installed for the namespaces of the tests, and the database behind them."""

    cluster: Cluster
    images: Mapping[str, str]
    namespaces: Sequence[str]
    scratch: Path

    def values(self, **overrides: Any) -> str:
        """Values of the release, as helm reads them from standard input."""
        images: Json = {"registry": "", "pullPolicy": "IfNotPresent"}
        for name in ("operator", "gateway", "predictor", "trainer", "postgres"):
            repository, _, tag = self.images[name].rpartition(":")
            images[name] = {"repository": repository, "tag": tag}
        return json.dumps(
            {
                "installation": "e2e",
                "watchNamespaces": list(self.namespaces),
                "image": images,
                "database": {
                    "embedded": {
                        "enabled": True,
                        "shareWith": list(self.namespaces),
                        "persistence": {"enabled": False},
                        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
                    }
                },
                "operator": {"resyncSeconds": 5, "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}}},
                **overrides,
            }
        )

    def upgrade(self, **overrides: Any) -> None:
        """`helm upgrade --install --wait`."""
        chart = str(ROOT / "charts" / "tradewind")
        command = ["helm", "upgrade", "--install", "-n", SYSTEM, RELEASE, chart, "--wait", "--timeout", "4m", "-f", "-"]
        self.cluster.run(*command, given=self.values(**overrides), seconds=280)

    def operator_pods(self) -> list[Json]:
        found = self.cluster.select("Pod", SYSTEM, "app.kubernetes.io/component=operator")
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def kill_operator(self) -> None:
        """As a node that is lost: no signal to prepare for, nothing is flushed."""
        labels = "app.kubernetes.io/component=operator"
        self.cluster.kubectl(
            "-n", SYSTEM, "delete", "pod", "-l", labels, "--force", "--grace-period=0", "--wait=false", check=False
        )

    @property
    def dsn(self) -> str:
        """Of the embedded PostgreSQL, from outside of the pods."""
        secret = self.cluster.get("Secret", "tradewind-database", SYSTEM)
        service = self.cluster.get("Service", f"{RELEASE}-postgres", SYSTEM)
        assert secret is not None
        assert service is not None
        return f"postgresql://tradewind:{self.password}@{service['spec']['clusterIP']}:5432/tradewind"

    @property
    def password(self) -> str:
        secret = self.cluster.get("Secret", "tradewind-database", SYSTEM)
        assert secret is not None
        return base64.b64decode(secret["data"]["password"]).decode()

    def export(self, namespace: str, experiment: Json) -> Path:
        """The trade table of an experiment, by the product's own export."""
        uid, path = experiment["metadata"]["uid"], self.scratch / f"{experiment['metadata']['uid']}.csv"
        where = ["--namespace", namespace, "--endpoint", experiment["spec"]["endpointRef"]["name"], "--experiment", uid]
        command = [sys.executable, str(ROOT / "jobs" / "export.py"), "evidence", "--installation", "e2e", *where]
        environment = self.cluster.env | {"TRADEWIND_DSN": self.dsn}
        done = subprocess.run(
            [*command, "-o", str(path), "--result", f"{path}.json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return path

    def recomputed(self, namespace: str, experiment: Json) -> Json:
        """What `tradewind evaluate` says of the exported table and the experiment as the cluster has it."""
        manifest = self.scratch / f"{experiment['metadata']['uid']}.json"
        manifest.write_text(json.dumps(experiment), encoding="utf-8")
        files = ["--trades", str(self.export(namespace, experiment)), "--experiment", str(manifest)]
        command = [sys.executable, "-m", "tradewind.main", "evaluate", *files, "-o", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        told: Json = json.loads(done.stdout)
        return told

    def forget(self) -> None:
        """Empty every table: an experiment of an earlier session would be one more test of its pair."""
        tables = self.sql(
            "SELECT string_agg('tradewind.' || tablename, ', ') FROM pg_tables "
            "WHERE schemaname = 'tradewind' AND tablename <> %s",
            migrations.VERSION_TABLE,
        )
        with psycopg.connect(self.dsn, autocommit=True, connect_timeout=10) as connection:
            connection.execute(f"TRUNCATE {tables[0][0]} CASCADE")  # type: ignore[call-overload]

    def sql(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True, connect_timeout=10) as connection:
            return connection.execute(query, parameters).fetchall()  # type: ignore[call-overload]


# --- manifests -------------------------------------------------------------------------------------------------------


def resource(kind: str, name: str, spec: Mapping[str, Any], **metadata: Any) -> Json:
    """One of our kinds."""
    return {
        "apiVersion": "tradewind.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": dict(spec),
    }


def external(name: str, behaviour: str, *, host: str = f"arms.{SYSTEM}.svc", **more: Any) -> Json:
    """A ModelVersion behind OpenAI's protocol: one behaviour of arms.py."""
    spec = {"protocol": "openai", "baseURL": f"http://{host}/{behaviour}/v1", "model": f"arm-{behaviour}"}
    key = {"secretRef": {"name": "arm-key", "key": "api-key"}, "timeout": "5s"}
    return resource("ModelVersion", name, {"external": {**spec, **key, **more}})


def endpoint(
    name: str, fallback: str, *, replicas: int = 1, gateway: Mapping[str, Any] | None = None, **more: Any
) -> Json:
    settings = {
        "replicas": replicas,
        "resources": {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}},
        "breaker": {"failures": 5, "openFor": "2s"},
        **(gateway or {}),
    }
    limits = {"symbols": ["EURUSD"], "permissionLevels": {"L1": {"maxLeverage": 2, "maxSizeUSD": "100"}}}
    return resource("Endpoint", name, {"fallback": fallback, "gateway": settings, "limits": limits, **more})


def experiment(name: str, point: str, baseline: str | None, candidate: str, **more: Any) -> Json:
    arms = {"candidate": candidate} | ({"baseline": baseline} if baseline else {})
    return resource("ABExperiment", name, {"endpointRef": {"name": point}, **arms, **more})


def secrets() -> list[Json]:
    """What every namespace with an Endpoint needs beside the database's Secret."""
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: value}}
        for name, key, value in (("tradewind-gateway", "token", TOKEN), ("arm-key", "api-key", API_KEY))
    ]


def arms_server(image: str, name: str = "arms") -> list[Json]:
    """arms.py as a Deployment and a Service, in the image that has a plain Python at hand."""
    labels = {"app": name}
    script = (Path(__file__).parent / "arms.py").read_text(encoding="utf-8")
    container = {
        "name": "arms",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/opt/venv/bin/python", "-u", "/srv/arms/arms.py"],
        "ports": [{"name": "http", "containerPort": 8000}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 3},
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "script", "mountPath": "/srv/arms", "readOnly": True}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "script", "configMap": {"name": f"{name}-script"}}],
    }
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-script"}, "data": {"arms.py": script}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
    ]


def load_images() -> dict[str, str]:
    """References of the images that `python3 cluster images` built last, or tag dev."""
    names = ("operator", "gateway", "predictor", "trainer", "postgres", "demo")
    index = CACHE / "images.json"
    built: dict[str, str] = json.loads(index.read_text(encoding="utf-8")) if index.exists() else {}
    return {name: built.get(name, f"docker.io/tradewind/{name}:dev") for name in names}
