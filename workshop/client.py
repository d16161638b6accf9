"""The client of a cluster: kubectl and helm as programs, reads through one `kubectl proxy`. Any cluster, any credentials.

Belongs here: what kubectl and the API answer. Does not belong here: which cluster it is (cluster/current.py), and what is
waited for in a namespace (namespace.py).
"""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import quote

from workshop.progress import StepError
from workshop.waiting import wait_for

Json = dict[str, Any]

MANAGER = "tradewind-workshop"
READ_PATIENCE_SECONDS = 4
ERROR_CHARACTERS = 2000
PATHS = {
    "Endpoint": "/apis/tradewind.dev/v1alpha1/{}endpoints",
    "ModelVersion": "/apis/tradewind.dev/v1alpha1/{}modelversions",
    "ABExperiment": "/apis/tradewind.dev/v1alpha1/{}abexperiments",
    "TrainingRun": "/apis/tradewind.dev/v1alpha1/{}trainingruns",
    "TrainingSchedule": "/apis/tradewind.dev/v1alpha1/{}trainingschedules",
    "Pod": "/api/v1/{}pods",
    "Service": "/api/v1/{}services",
    "Secret": "/api/v1/{}secrets",
    "ConfigMap": "/api/v1/{}configmaps",
    "PersistentVolumeClaim": "/api/v1/{}persistentvolumeclaims",
    "Event": "/api/v1/{}events",
    "Namespace": "/api/v1/namespaces",
    "Node": "/api/v1/nodes",
    "Deployment": "/apis/apps/v1/{}deployments",
    "StatefulSet": "/apis/apps/v1/{}statefulsets",
    "Job": "/apis/batch/v1/{}jobs",
    "InferenceService": "/apis/serving.kserve.io/v1beta1/{}inferenceservices",
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
}
OURS = ("Endpoint", "ModelVersion", "ABExperiment", "TrainingRun", "TrainingSchedule")


class Answer(NamedTuple):
    """Of the API server. Status 0: nothing answered, and `body` says why."""

    status: int
    body: str


class Cluster:
    """The cluster that KUBECONFIG of `env` names, with the programs on the PATH of `env`."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = dict(env)
        self._proxy: subprocess.Popen[str] | None = None
        self._address = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the proxy, if reads have started it."""
        if self._proxy is not None:
            assert self._proxy.stdout is not None
            self._proxy.terminate()
            self._proxy.wait(10)
            self._proxy.stdout.close()
            self._proxy = None

    def attempt(
        self, *command: str, given: str | None = None, seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command with `given` on its standard input; it may fail.

        Raises:
            StepError: it is not installed, or took longer than `seconds`.
        """
        try:
            return subprocess.run(
                command, input=given, env=self.env, capture_output=True, text=True, check=False, timeout=seconds
            )
        except FileNotFoundError as error:
            raise StepError(f"{command[0]} is not on PATH", "`python3 cluster up` brings it, or install it") from error
        except subprocess.TimeoutExpired as error:
            raise StepError(f"`{' '.join(command)[:300]}` took longer than {seconds:g} s", "run it by hand") from error

    def run(self, *command: str, given: str | None = None, check: bool = True, seconds: float = 120) -> str:
        """Standard output; with check=False standard output and error together.

        Raises:
            StepError: it failed and `check` is set.
        """
        done = self.attempt(*command, given=given, seconds=seconds)
        if check and done.returncode:
            raise StepError(
                f"`{' '.join(command)[:300]}` failed: {done.stderr.strip()[-ERROR_CHARACTERS:]}",
                "see whether the cluster answers: `python3 cluster status` (or your own cluster's), then run again",
            )
        return done.stdout if check else done.stdout + done.stderr

    def kubectl(self, *args: str, given: str | None = None, check: bool = True, seconds: float = 120) -> str:
        return self.run("kubectl", *args, given=given, check=check, seconds=seconds)

    def refused(self, *args: str, given: str | None = None) -> str:
        """What a kubectl command that has to be refused says."""
        done = self.attempt("kubectl", *args, given=given, seconds=60)
        assert done.returncode != 0, f"was not refused: kubectl {' '.join(args)}: {done.stdout}"
        return done.stderr

    def apply(
        self, *manifests: str | Mapping[str, Any], namespace: str | None = None, patience_seconds: float = 0
    ) -> None:
        """Server-side apply of objects, or of one text in YAML.

        `patience_seconds` rides out a webhook or a default that is not there yet.
        """
        if len(manifests) == 1 and isinstance(manifests[0], str):
            text = manifests[0]
        else:
            text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
        where = ("-n", namespace) if namespace else ()
        command = ("kubectl", *where, "apply", "--server-side", "--force-conflicts", f"--field-manager={MANAGER}")

        def refusal() -> str:
            done = self.attempt(*command, "-f", "-", given=text)
            return done.stderr.strip()[-ERROR_CHARACTERS:] or "no reason given" if done.returncode else ""

        wait_for("objects to be accepted", refusal, lambda told: not told, seconds=patience_seconds, every=1)

    def read(self, path: str) -> Answer:
        """GET a path of the API, once."""
        if self._proxy is None:
            self._start_proxy()
        connection = http.client.HTTPConnection(self._address, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode(errors="replace"))
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, f"{type(error).__name__} {error}")
        finally:
            connection.close()

    def readiness(self) -> Answer:
        """What the API server says of itself."""
        return self.read("/readyz")

    def healthy(self) -> bool:
        return self.readiness().status == http.client.OK

    def get(self, kind: str, name: str, namespace: str | None = None) -> Json | None:
        return self._object(f"{_path(kind, namespace)}/{name}")

    def must_get(self, kind: str, name: str, namespace: str | None = None) -> Json:
        """The object.

        Raises:
            StepError: it does not exist.
        """
        found = self.get(kind, name, namespace)
        if found is None:
            raise StepError(f"{kind} {namespace or ''}/{name} does not exist", "see what removed it")
        return found

    def select(self, kind: str, namespace: str | None = None, labels: str = "") -> list[Json]:
        found = self._object(f"{_path(kind, namespace)}?labelSelector={quote(labels)}")
        return [] if found is None else list(found["items"])

    def log(self, namespace: str, pod: str, *, container: str = "", lines: int = 4000, previous: bool = False) -> str:
        """The end of a pod's log; empty where there is none."""
        asked = f"tailLines={lines}&previous={str(previous).lower()}" + (f"&container={container}" if container else "")
        answer = self.read(f"/api/v1/namespaces/{namespace}/pods/{pod}/log?{asked}")
        return answer.body if answer.status == http.client.OK else ""

    def _object(self, path: str) -> Json | None:
        """What lies at a path. A server that restarts is waited for; 404 is an answer."""
        answer = wait_for(
            f"GET {path}",
            lambda: self.read(path),
            lambda told: told.status in (http.client.OK, http.client.NOT_FOUND),
            seconds=READ_PATIENCE_SECONDS,
            remedy="see whether the API server answers",
        )
        if answer.status == http.client.NOT_FOUND:
            return None
        body: Json = json.loads(answer.body)
        return body

    def _start_proxy(self) -> None:
        try:
            self._proxy = subprocess.Popen(
                ["kubectl", "proxy", "--port=0"],
                env=self.env,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        except FileNotFoundError as error:
            raise StepError("kubectl is not on PATH", "`python3 cluster up` brings it, or install it") from error
        assert self._proxy.stdout is not None
        self._address = self._proxy.stdout.readline().strip().rpartition(" ")[2]
        if not self._address:
            self.close()
            raise StepError("`kubectl proxy` ended at once", "`kubectl proxy --port=0` says why; see KUBECONFIG")


def condition(resource: Mapping[str, Any] | None, kind: str) -> Json:
    """A condition of an object; empty where there is none."""
    found = ((resource or {}).get("status") or {}).get("conditions") or []
    return next((c for c in found if c["type"] == kind), {})


def is_true(resource: Mapping[str, Any] | None, kind: str) -> bool:
    """Whether an object has the condition with status True, and for its present generation."""
    found = resource or {}
    observed = (found.get("status") or {}).get("observedGeneration")
    stale = observed is not None and observed < found["metadata"].get("generation", 0)
    return not stale and condition(found, kind).get("status") == "True"


def state(resource: Mapping[str, Any] | None) -> str:
    """An object in a line: phase, progress, and the conditions that are not as one wishes, or all if all are."""
    if resource is None:
        return "not there"
    status = resource.get("status") or {}
    parts = [f"phase {status['phase']}"] if "phase" in status else []
    if (progress := status.get("progress") or {}).get("totalSteps"):
        left = f"loss {progress.get('loss', 0):.3f}, {progress.get('etaSeconds', 0)} s left"
        parts.append(f"step {progress.get('step', 0)} of {progress['totalSteps']}, {left}")
    conditions = status.get("conditions") or []
    for found in [c for c in conditions if c["status"] != "True"] or conditions:
        told = f": {found['message'][:160]}" if found.get("message") else ""
        parts.append(f"{found['type']}={found['status']} {found.get('reason', '')}{told}")
    return "; ".join(parts) or "no status yet"


def _path(kind: str, namespace: str | None) -> str:
    return PATHS[kind].format(f"namespaces/{namespace}/" if namespace else "")
