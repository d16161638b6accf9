"""What the driver asks the API server: reads over HTTPS with the administrator's certificate, writes through kubectl."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.layout import API_PORT, NODE_ADDRESS, Layout
from cluster.progress import ClusterError, wait_until
from cluster.shell import run

MANAGER = "tradewind-cluster"


@dataclass(frozen=True)
class Kube:
    """A thin client of the local cluster."""

    layout: Layout

    def get(self, path: str) -> tuple[int, str]:
        """GET a path of the API. Returns status code and body; (0, reason) when nothing answers."""
        pki = self.layout.certs
        try:
            context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
            context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
            connection = http.client.HTTPSConnection(NODE_ADDRESS, API_PORT, timeout=5, context=context)
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read().decode()
            connection.close()
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)
        return answer.status, body

    def healthy(self) -> bool:
        return self.get("/readyz")[0] == http.client.OK

    def object(self, path: str) -> dict[str, Any] | None:
        """The object at `path`, or None when it is not there (or the API does not answer)."""
        status, body = self.get(path)
        if status != http.client.OK:
            return None
        parsed: dict[str, Any] = json.loads(body)
        return parsed

    def condition(self, path: str, kind: str) -> bool:
        """True when the object at `path` has the condition `kind` with status True for its present generation."""
        found = self.object(path) or {}
        status = found.get("status", {})
        if (
            status.get("observedGeneration", 0) < found.get("metadata", {}).get("generation", 0)
            and "observedGeneration" in status
        ):
            return False
        return any(c["type"] == kind and c["status"] == "True" for c in status.get("conditions", []))

    def kubectl(self, *arguments: str, text_input: str | None = None) -> str:
        """Run kubectl as administrator. Errors: ClusterError with kubectl's message."""
        command = [str(self.layout.bin / "kubectl"), f"--kubeconfig={self.layout.kubeconfig}", *arguments]
        return run(command, text_input=text_input)

    def apply(self, manifest: str | Mapping[str, Any], attempts: int = 1) -> None:
        """Server-side apply. `attempts` > 1 rides out a webhook or a default that is not there yet, a second apart."""
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        for attempt in range(1, attempts + 1):
            try:
                self.kubectl(
                    "apply",
                    "--server-side",
                    "--force-conflicts",
                    f"--field-manager={MANAGER}",
                    "-f",
                    "-",
                    text_input=text,
                )
            except ClusterError:
                if attempt == attempts:
                    raise
                time.sleep(1)
            else:
                return

    def wait_available(self, namespace: str, deployment: str, seconds: float) -> None:
        """Wait until a Deployment is Available. Errors: ClusterError that names the kubectl command to look further."""
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}"
        remedy = f"{self.layout.bin}/kubectl --kubeconfig={self.layout.kubeconfig} -n {namespace} describe pods"
        wait_until(lambda: self.condition(path, "Available"), f"Deployment {namespace}/{deployment}", seconds, remedy)
