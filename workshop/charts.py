"""Our Helm charts on a cluster, from this checkout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workshop.client import Cluster, Json

CHARTS = Path(__file__).resolve().parents[1] / "charts"
SYSTEM = "tradewind-system"
UPGRADE = ("helm", "upgrade", "--install", "--create-namespace", "--wait")
MINUTES = 10


def interrupted(cluster: Cluster, namespace: str, release: str) -> str | None:
    """Name of the record that an interrupted helm left behind, on which it would refuse to go on; None: there is none.

    Raises:
        StepError: helm's message.
    """
    listed = cluster.run("helm", "list", "-n", namespace, "--all", "--filter", f"^{release}$", "-o", "json")
    for found in json.loads(listed):
        if str(found["status"]).startswith("pending-"):
            return f"sh.helm.release.v1.{release}.v{found['revision']}"
    return None


def mend(cluster: Cluster, namespace: str, release: str) -> None:
    """Forget an install, upgrade or rollback that was interrupted: what it made stays, and the next upgrade takes it over.

    The record alone goes. `helm uninstall` would take the kinds, and with them every object of them, away.
    """
    record = interrupted(cluster, namespace, release)
    if record is not None:
        cluster.kubectl("delete", "secret", "-n", namespace, record, "--ignore-not-found")


def install_kinds(cluster: Cluster) -> None:
    """The kinds are the cluster's, whoever installs them: one release of them, in one namespace."""
    chart = str(CHARTS / "tradewind-crds")
    mend(cluster, SYSTEM, "tradewind-crds")
    cluster.run(*UPGRADE, "--take-ownership", "-n", SYSTEM, "tradewind-crds", chart, seconds=60 * MINUTES)


def install(cluster: Cluster, namespace: str, release: str, values: Mapping[str, Any]) -> None:
    """Install or upgrade the operator's chart and wait until its parts are ready.

    Raises:
        StepError: helm's message.
    """
    mend(cluster, namespace, release)
    command = (*UPGRADE, "--timeout", f"{MINUTES}m", "-n", namespace, release, str(CHARTS / "tradewind"), "-f", "-")
    cluster.run(*command, given=json.dumps(values), seconds=60 * MINUTES + 30)


def image_values(images: Mapping[str, str]) -> Json:
    """The chart's `image` from references by name; what the chart knows nothing of is left out."""
    values: Json = {"registry": "", "pullPolicy": "IfNotPresent"}
    for name in ("operator", "gateway", "predictor", "trainer", "postgres", "demo"):
        repository, _, tag = images[name].rpartition(":")
        values[name] = {"repository": repository, "tag": tag}
    return values
