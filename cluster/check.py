"""`cluster check`: proves on the running cluster what the demo relies on. Leaves nothing behind."""

from __future__ import annotations

import http.client
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from string import Template
from urllib.parse import quote

from cluster import containers
from cluster.layout import Layout
from workshop.client import Cluster, is_true
from workshop.namespace import Namespace
from workshop.progress import Progress, StepError, say
from workshop.waiting import wait_for

NAMESPACE = "cluster-check"
UID = 65532


def run_all(layout: Layout, kube: Cluster, progress: Progress) -> None:
    """Run every check. Errors: StepError at the first that fails."""
    if not kube.healthy():
        raise StepError("no cluster answers", "start one with `python3 cluster up`")
    space = Namespace(kube, NAMESPACE, say)
    with _objects(layout, kube, progress):
        with progress.step("a pod with a volume, as uid 65532", waits_for="its Deployment"):
            space.wait_available("probe", seconds=60)
        address = space.must_get("Service", "probe")["spec"]["clusterIP"]
        with progress.step("Service from the host"):
            _expect(address, "/", "ready")
        with progress.step("cluster DNS from a pod"):
            _expect(address, "/resolve?name=kubernetes.default.svc.cluster.local", "10.96.0.1")
            _expect(address, f"/resolve?name=probe.{NAMESPACE}.svc", address)
        with progress.step("pod to its own Service"):
            _expect(address, f"/fetch?url={quote(f'http://probe.{NAMESPACE}/', safe='')}", "200")
        with progress.step("no way out of the machine"):
            _expect(address, f"/fetch?url={quote('http://192.0.2.1/', safe='')}", "", code=500)
        with progress.step("volume is writable"):
            _expect(address, "/write?path=/data/written", f"uid {UID}")
            owner = (layout.volumes / "cluster-check" / "written").stat().st_uid
            if owner != UID:
                raise StepError(f"the file on the volume belongs to {owner}", "see docs/cluster.md, volumes")
        with progress.step("a token for an audience passes TokenReview"):
            _check_token(kube)
        with progress.step("InferenceService", waits_for="Ready"):
            space.wait("InferenceService", "probe", "Ready", lambda seen: is_true(seen, "Ready"), seconds=90)
            predictor = space.must_get("Service", "probe-predictor")["spec"]["clusterIP"]
            # KServe says Ready when the condition exists; its Service follows within moments.
            _expect(predictor, "/", "", seconds=30)
            _expect(predictor, "/v1/models/probe:predict", '{"predictions": [{"action": "hold"}]}', method="POST")
    say("all checks passed")


@contextmanager
def _objects(layout: Layout, kube: Cluster, progress: Progress) -> Iterator[None]:
    volume = layout.volumes / "cluster-check"
    shutil.rmtree(volume, ignore_errors=True)
    volume.mkdir(parents=True)
    shutil.chown(volume, UID, UID)
    image = containers.system_image(layout, "probe")
    manifest = Template((layout.here / "manifests/check.yaml").read_text()).substitute(volume=volume, image=image)
    try:
        with progress.step("objects"):
            kube.apply(manifest, patience_seconds=5)
        yield
    finally:
        kube.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
        kube.kubectl("delete", "persistentvolume", NAMESPACE, "--ignore-not-found")
        shutil.rmtree(volume, ignore_errors=True)


def _check_token(kube: Cluster) -> None:
    token = kube.kubectl("create", "token", "default", "-n", NAMESPACE, "--audience", "cluster-check").strip()
    for audience, wanted in (("cluster-check", "true"), ("another", "")):
        review = (
            '{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", '
            f'"spec": {{"token": "{token}", "audiences": ["{audience}"]}}}}'
        )
        answer = kube.kubectl("create", "-f", "-", "-o", "jsonpath={.status.authenticated}", given=review)
        if answer != wanted:
            raise StepError(f"TokenReview for audience {audience!r} said {answer!r}", "see the log of kube-apiserver")


def _expect(address: str, path: str, wanted: str, *, method: str = "GET", code: int = 200, seconds: float = 10) -> None:
    """Ask until the answer fits: kube-proxy and DNS follow the API with a small delay."""
    wait_for(
        f"{method} {path} to answer {code} with {wanted!r}",
        lambda: _answer(address, path, method),
        lambda told: told[0] == code and wanted in told[1],
        seconds=seconds,
        say=say,
        remedy="see docs/cluster.md, traps",
    )


def _answer(address: str, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, 80, timeout=10)
    try:
        connection.request(method, path, body="{}" if method == "POST" else None)
        answer = connection.getresponse()
        return answer.status, answer.read().decode().strip()
    except OSError as error:
        return 0, str(error)
    finally:
        connection.close()
