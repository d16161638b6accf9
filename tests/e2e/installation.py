"""The charts, installed for the namespaces of the tests, and what the product's own programs say of what happened there."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from database import Database

from workshop import charts
from workshop.client import Cluster, Json

ROOT = Path(__file__).parents[2]
SYSTEM = os.environ.get("E2E_PREFIX") or "tradewind-e2e"
"""Namespace of the installation, and how all namespaces of the tests begin: two sessions on one cluster need two."""
RELEASE = "tw"
SESSION_LABEL = "tradewind.dev/e2e"
"""On the namespaces of a session: its prefix."""
ARMS, NOBODY = f"arms.{SYSTEM}.svc", "no-such-service.nowhere.svc"
STORE = f"store.{SYSTEM}-stores.svc"
STAND_INS = (ARMS, NOBODY, STORE, f"weak-arms.{SYSTEM}-faults.svc", f"mortal.{SYSTEM}-shadow.svc")
"""Hosts that the installation lets pods ask inside the cluster, over http; NOBODY is one that does not exist."""


@dataclass
class Installation:
    """One release for all tests; `scratch` is a folder for tables and manifests."""

    cluster: Cluster
    images: Mapping[str, str]
    namespaces: Sequence[str]
    scratch: Path

    @property
    def database(self) -> Database:
        return Database(self.cluster, SYSTEM, RELEASE)

    def upgrade(self, **overrides: Any) -> None:
        """`helm upgrade --install --wait` with other values."""
        embedded = {
            "enabled": True,
            "shareWith": list(self.namespaces),
            "persistence": {"enabled": False},
            "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
        }
        values = {
            "installation": "e2e",
            "watchNamespaces": list(self.namespaces),
            "image": charts.image_values(self.images),
            "database": {"embedded": embedded},
            "egress": {"allowedInternalHosts": [f"http://{host}" for host in STAND_INS]},
            "operator": {"resyncSeconds": 5, "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}}},
            **overrides,
        }
        charts.install(self.cluster, SYSTEM, RELEASE, values)

    def operator_pods(self) -> list[Json]:
        found = self.cluster.select("Pod", SYSTEM, "app.kubernetes.io/component=operator")
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def kill_operator(self) -> None:
        """As a node that is lost: no signal to prepare for, nothing is flushed."""
        operator = ("pod", "-l", "app.kubernetes.io/component=operator")
        now = ("--force", "--grace-period=0", "--wait=false")
        self.cluster.kubectl("-n", SYSTEM, "delete", *operator, *now, check=False)

    def export(self, namespace: str, experiment: Json) -> Path:
        """The trade table of an experiment, by the product's own export."""
        uid = experiment["metadata"]["uid"]
        path = self.scratch / f"{uid}.csv"
        where = ["--namespace", namespace, "--endpoint", experiment["spec"]["endpointRef"]["name"], "--experiment", uid]
        command = [sys.executable, str(ROOT / "jobs" / "export.py"), "evidence", "--installation", "e2e", *where]
        dsn = f"TRADEWIND_DSN={self.database.dsn}"
        self.cluster.run("env", dsn, *command, "-o", str(path), "--result", f"{path}.json")
        return path

    def recomputed(self, namespace: str, experiment: Json) -> Json:
        """What `tradewind evaluate` says of the exported table and the experiment as the cluster has it."""
        manifest = self.scratch / f"{experiment['metadata']['uid']}.json"
        manifest.write_text(json.dumps(experiment), encoding="utf-8")
        files = ["--trades", str(self.export(namespace, experiment)), "--experiment", str(manifest)]
        told = self.cluster.run(sys.executable, "-m", "tradewind.main", "evaluate", *files, "-o", "json")
        found: Json = json.loads(told)
        return found
