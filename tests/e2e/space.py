"""A namespace of the tests: waits that know Endpoints and experiments, and its removal."""

import json
import subprocess
import sys
from contextlib import suppress

import httpx
from gateway_client import GatewayClient

from workshop.client import Json
from workshop.namespace import Namespace
from workshop.progress import StepError
from workshop.waiting import wait_for

TERMINAL = ("Succeeded", "RolledBack", "Inconclusive", "Aborted")


class Space(Namespace):
    """One namespace of the tests."""

    def wait_active(self, endpoint: str, experiment: str, seconds: float = 180) -> Json:
        """The experiment, once it runs and the gateways' routing has it."""
        wait_for(
            f"Endpoint {endpoint} routes to {experiment}",
            lambda: (self.routing(endpoint).get("experiment") or {}).get("name"),
            lambda name: name == experiment,
            seconds=seconds,
        )
        return self.must_get("ABExperiment", experiment)

    def tradewind(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line in this namespace, as the user of the tests."""
        return self.cluster.attempt(sys.executable, "-m", "tradewind.main", *arguments, "-n", self.name, seconds=200)

    def routing(self, endpoint: str) -> Json:
        """The published routing document; empty where there is none."""
        found = self.get("ConfigMap", f"{endpoint}-routing")
        document: Json = json.loads(found["data"]["routing.json"]) if found else {}
        return document

    def gateway(self, endpoint: str, *, until: str | None = "Ready", seconds: float = 120) -> GatewayClient:
        """A client of an Endpoint's gateway, at its ClusterIP: this machine must reach that.

        Args:
            endpoint: its name.
            until: condition that is waited for; GatewayReady where no arm answers.
            seconds: how long.
        """
        if until is not None:
            self.wait_condition("Endpoint", endpoint, until, seconds=seconds)
        return GatewayClient(self.address(f"{endpoint}-gateway", taken=until is not None))

    def address(self, service: str, *, taken: bool = True) -> str:
        """URL of a Service's ClusterIP.

        Args:
            service: its name.
            taken: wait until a connection is taken: kube-proxy learns of a ready pod up to a second after the pod is,
                and refuses until then.
        """
        found = self.wait("Service", service, "has an address", lambda seen: seen["spec"].get("clusterIP"), seconds=60)
        url = f"http://{found['spec']['clusterIP']}"
        if taken:
            wait_for(f"{service} to take a connection", lambda: _refusal(url), lambda why: not why, every=0.1)
        return url

    def clear(self) -> None:
        """Remove our kinds; holders of references first, so that no finalizer is left behind."""
        for kinds in ("abexperiments,trainingschedules,trainingruns", "endpoints.tradewind.dev"):  # not the core's
            self.kubectl("delete", kinds, "--all", "--wait=false", "--ignore-not-found", check=False)
        with suppress(StepError):  # the operator is gone already
            wait_for("versions to be let go of", self._held, lambda names: not names, seconds=30)
        self.release(self._held())
        self.kubectl("delete", "modelversions", "--all", "--ignore-not-found", check=False)

    def release(self, versions: list[str]) -> None:
        """Take the finalizers of versions, whose operator is gone."""
        for name in versions:
            nothing = ("--type=merge", "-p", '{"metadata":{"finalizers":null}}')
            self.kubectl("patch", "modelversion", name, *nothing, check=False)

    def delete(self) -> None:
        """The namespace and everything in it."""
        if self.cluster.get("Namespace", self.name) is not None:
            self.clear()
            self.cluster.kubectl("delete", "namespace", self.name, "--wait=false", "--ignore-not-found", check=False)

    def terminating(self) -> bool:
        """Whether the namespace is still going; versions without an operator are let go of, or it would never end."""
        found = self.cluster.get("Namespace", self.name)
        if found is None or found["status"]["phase"] != "Terminating":
            return False
        self.release(self._held(deleted=True))
        return True

    def _held(self, *, deleted: bool = False) -> list[str]:
        versions = [v["metadata"] for v in self.select("ModelVersion")]
        return [v["name"] for v in versions if v.get("finalizers") and (v.get("deletionTimestamp") or not deleted)]


def _refusal(url: str) -> str:
    """Why nobody takes a connection there; whatever is answered is none."""
    try:
        httpx.get(url, timeout=5, trust_env=False)
    except httpx.TransportError as error:
        return f"{type(error).__name__} {error}"
    return ""
