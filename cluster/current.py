"""`CLUSTER=current`: a cluster that the user brings. Nothing is started, installed or imported there."""

from __future__ import annotations

import os

from cluster.layout import Layout
from workshop.client import Cluster
from workshop.progress import StepError, say

REMEDY = (
    "point KUBECONFIG at a cluster (Kubernetes 1.31 or newer, KServe 0.15 or newer in Standard mode), or unset CLUSTER"
)


def requested() -> bool:
    return os.environ.get("CLUSTER") == "current"


def registry() -> str:
    """The repository prefix to push to, from IMAGE_REGISTRY. Errors: StepError when it is unset."""
    value = os.environ.get("IMAGE_REGISTRY", "").rstrip("/")
    if not value:
        raise StepError(
            "CLUSTER=current needs IMAGE_REGISTRY: images cannot be imported into a cluster that was not started here",
            "IMAGE_REGISTRY=<registry>/<path> that you can push to (`buildah login`) and the cluster can pull from",
        )
    return value


def environment(layout: Layout) -> dict[str, str]:
    """The environment in which kubectl and helm reach the cluster: the user's own one, or the one started here."""
    return dict(os.environ) if requested() else layout.environment


def check() -> None:
    """Raise unless the present KUBECONFIG's cluster answers and serves KServe's InferenceService."""
    registry()
    cluster = Cluster(os.environ)
    for resource, what in (
        ("version", "the cluster"),
        ("apis/serving.kserve.io/v1beta1", "KServe (serving.kserve.io/v1beta1)"),
    ):
        done = cluster.attempt("kubectl", "get", "--raw", f"/{resource}", "--request-timeout=5s")
        if done.returncode != 0:
            raise StepError(f"{what} does not answer: {done.stderr.strip()}", REMEDY)
    say("CLUSTER=current: the cluster answers and has KServe")


def exports() -> str:
    """No new settings: the user's own KUBECONFIG stays."""
    return f'export KUBECONFIG="{os.environ["KUBECONFIG"]}"' if "KUBECONFIG" in os.environ else ""
