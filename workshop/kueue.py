"""The real Kueue on the local cluster, for as long as a test needs it: built from its Go module, installed by its own chart.

    with installed(cluster): ...

The program is compiled once from `cluster/kueue`, whose go.sum says what it is made of, and lies in the cache beside the cluster's.
Certificates are Kueue's own. What is installed is taken away again, with its kinds and every object of them.
"""

import fcntl
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster import containers, tarimage
from cluster.build import environment, source_hash
from cluster.layout import IMAGE_PREFIX, Layout
from workshop.client import Cluster
from workshop.namespace import Namespace
from workshop.progress import StepError, say
from workshop.waiting import wait_for

NAMESPACE = "kueue-system"
_RELEASE = "kueue"
_SOURCE = Path(__file__).resolve().parent.parent / "cluster" / "kueue"
_MODULE = "sigs.k8s.io/kueue"
_CONFIG = f"""
apiVersion: config.kueue.x-k8s.io/v1beta2
kind: Configuration
namespace: {NAMESPACE}
health: {{healthProbeBindAddress: ":8081"}}
metrics: {{bindAddress: ":8443"}}
webhook: {{port: 9443}}
leaderElection: {{leaderElect: false}}
integrations: {{frameworks: [batch/job]}}
"""


def program(layout: Layout) -> Path:
    """Kueue's manager, compiled where that was not done for these sums. Errors: StepError."""
    target = layout.cache / f"kueue-{source_hash(_SOURCE)}"
    with (layout.cache / "kueue.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_file():
            draft = target.with_name(f"{target.name}.new")
            options = ("-buildvcs=false", "-trimpath", "-ldflags=-s -w")
            _go("build", *options, "-o", str(draft), f"{_MODULE}/cmd/kueue")
            draft.replace(target)
    return target


def chart() -> Path:
    """The chart of the version that is compiled, as it lies in the module. Errors: StepError."""
    return Path(json.loads(_go("mod", "download", "-json", _MODULE))["Dir"]) / "charts" / "kueue"


@contextmanager
def installed(cluster: Cluster) -> Iterator[None]:
    """Kueue while the block runs, looking after Jobs that name a queue. Errors: StepError."""
    layout = Layout.default()
    image = _imported(layout)
    repository, _, tag = image.rpartition(":")
    manager = {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"},
        "resources": {"requests": {"cpu": "50m", "memory": "100Mi"}, "limits": {"memory": "512Mi"}},
    }
    probe = {"initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 120}
    values = {
        "controllerManager": {"manager": manager, "replicas": 1, "readinessProbe": probe},
        "managerConfig": {"controllerManagerConfigYaml": _CONFIG},
    }
    where = ("-n", NAMESPACE, _RELEASE)
    try:
        cluster.run(
            *("helm", "upgrade", "--install", "--create-namespace", "--timeout", "5m", *where, str(chart()), "-f", "-"),
            given=json.dumps(values),
            seconds=330,
        )
        Namespace(cluster, NAMESPACE, say).wait_available("kueue-controller-manager", seconds=240)
        yield
    finally:
        # Objects have finalizers of Kueue's: they go while it runs.
        for kind in ("workloads", "localqueues", "clusterqueues", "resourceflavors"):
            everything = () if kind in ("clusterqueues", "resourceflavors") else ("--all-namespaces",)
            cluster.kubectl(
                "delete", f"{kind}.kueue.x-k8s.io", "--all", *everything, "--timeout=60s", check=False, seconds=90
            )
        cluster.run("helm", "uninstall", *where, "--ignore-not-found", "--wait", check=False, seconds=330)
        cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false", check=False)
        wait_for("Kueue's kinds to go", lambda: _kinds(cluster), lambda left: not left, seconds=120)


def _kinds(cluster: Cluster) -> list[str]:
    listed = cluster.kubectl("get", "crd", "-o", "name").split()
    return [name for name in listed if name.endswith(".kueue.x-k8s.io")]


def _imported(layout: Layout) -> str:
    built = program(layout)
    reference = f"{IMAGE_PREFIX}/kueue:{built.name.removeprefix('kueue-')}"
    if reference not in containers.image_targets(layout):
        archive = layout.state / "kueue.tar"
        tarimage.write(built, "manager", reference, archive)
        containers.ctr(layout, "images", "import", archive)
        archive.unlink()
    return reference


def _go(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["go", *arguments], cwd=_SOURCE, env=environment(), capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise StepError("go is not on PATH", "install Go: the cluster's programs need it, too") from None
    if done.returncode:
        raise StepError(done.stderr[-2000:], "check that `go mod download` works in cluster/kueue (GOPROXY)")
    return done.stdout


if __name__ == "__main__":
    print(program(Layout.default()))
