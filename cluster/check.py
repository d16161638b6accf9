"""`cluster check`: proves on the running cluster what the demo relies on. Leaves nothing behind."""

from __future__ import annotations

import http.client
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from string import Template
from urllib.parse import quote

from cluster import containers
from cluster.kube import Kube
from cluster.layout import Layout
from cluster.progress import ClusterError, Progress, say, wait_until

NAMESPACE = "cluster-check"
UID = 65532


def run_all(layout: Layout, kube: Kube, progress: Progress) -> None:
    """Run every check. Errors: ClusterError at the first that fails."""
    if not kube.healthy():
        raise ClusterError("no cluster answers", "start one with `python3 cluster up`")
    with _objects(layout, kube, progress):
        with progress.step("a pod with a volume, as uid 65532", waits_for="its Deployment"):
            kube.wait_available(NAMESPACE, "probe", 60)
        address = kube.kubectl("get", "service", "probe", "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}")
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
                raise ClusterError(f"the file on the volume belongs to {owner}", "see docs/cluster.md, volumes")
        with progress.step("a token for an audience passes TokenReview"):
            _check_token(kube)
        with progress.step("InferenceService", waits_for="Ready"):
            path = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices/probe"
            remedy = f"kubectl -n {NAMESPACE} describe inferenceservice probe"
            wait_until(lambda: kube.condition(path, "Ready"), "InferenceService Ready", 90, remedy)
            predictor = kube.kubectl(
                "get", "service", "probe-predictor", "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}"
            )
            # KServe says Ready when the condition exists; its Service follows within moments.
            wait_until(lambda: _answer(predictor, "/")[0] == http.client.OK, "the predictor's Service", 30, remedy)
            _expect(predictor, "/v1/models/probe:predict", '{"predictions": [{"action": "hold"}]}', method="POST")
    say("all checks passed")


@contextmanager
def _objects(layout: Layout, kube: Kube, progress: Progress) -> Iterator[None]:
    volume = layout.volumes / "cluster-check"
    shutil.rmtree(volume, ignore_errors=True)
    volume.mkdir(parents=True)
    shutil.chown(volume, UID, UID)
    image = containers.system_image(layout, "probe")
    manifest = Template((layout.here / "manifests/check.yaml").read_text()).substitute(volume=volume, image=image)
    try:
        with progress.step("objects"):
            kube.apply(manifest, attempts=5)
        yield
    finally:
        kube.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
        kube.kubectl("delete", "persistentvolume", NAMESPACE, "--ignore-not-found")
        shutil.rmtree(volume, ignore_errors=True)


def _check_token(kube: Kube) -> None:
    token = kube.kubectl("create", "token", "default", "-n", NAMESPACE, "--audience", "cluster-check").strip()
    for audience, wanted in (("cluster-check", "true"), ("another", "")):
        review = (
            '{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", '
            f'"spec": {{"token": "{token}", "audiences": ["{audience}"]}}}}'
        )
        answer = kube.kubectl("create", "-f", "-", "-o", "jsonpath={.status.authenticated}", text_input=review)
        if answer != wanted:
            raise ClusterError(
                f"TokenReview for audience {audience!r} said {answer!r}", "see the log of kube-apiserver"
            )


def _expect(address: str, path: str, wanted: str, *, method: str = "GET", code: int = 200) -> None:
    """Ask until the answer fits, for 10 s: kube-proxy and DNS follow the API with a small delay."""
    deadline = time.monotonic() + 10
    while True:
        got, body = _answer(address, path, method)
        if got == code and wanted in body:
            return
        if time.monotonic() > deadline:
            reason = f"{method} {path} answered {got} {body!r}, expected {code} {wanted!r}"
            raise ClusterError(reason, "see docs/cluster.md, traps")
        time.sleep(0.2)


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
