"""Trainings whose base, data and output are in a bucket of a real S3 server in the cluster, with the key in a Secret: trained, lost and
resumed, registered and served from there; and what a run says whose key is wrong, or not there.
"""

import shutil
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from installation import STORE
from runs import Runs
from space import Space
from store_rig import with_sums
from volumes import PODS_USER, claim, make_base, owned

from tiny_base import make_dataset
from workshop.client import Json, condition
from workshop.stores import ACCESS_KEY, REGION, SECRET_KEY, program
from workshop.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SMALL = {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "3Gi"}}


@pytest.fixture(scope="module")
def runs(space: Space, images: dict[str, str]) -> Iterator[Runs]:
    """A bucket with base and data, and a run of theirs that is left alone."""
    with claim(space, "store") as folder:
        bucket = folder / "buckets" / "models"
        with claim(space, "models") as made:
            make_base(space, images)
            shutil.copytree(made / "base", bucket / "base")
        dataset = make_dataset(bucket / "data", train=600, evaluation=40)
        for name in ("base", "data"):
            with_sums(bucket / name)
        shutil.copy(program(), folder / "versitygw")
        owned(folder)
        space.apply(*server(images["predictor"]), key("models-key"), key("wrong-key", secretAccessKey="another"))
        space.wait_available("store", seconds=120)
        found = Runs(space, bucket, dataset)
        found.begin("calm", more=stored(dataset))
        yield found


def test_a_run_that_was_lost_goes_on_from_the_bucket_to_the_very_weights(runs: Runs) -> None:
    """Its second pod begins with nothing: what it goes on from, it fetches."""
    runs.begin("lost", more=stored(runs.dataset))
    first = runs.further("lost", 0)
    runs.signal("lost", signal.SIGKILL)
    wait_for("the kill to be counted", lambda: runs.status("lost").get("interruptions", 0), (1).__eq__, seconds=120)
    assert runs.weights("lost") == hash_of(runs, "calm")
    status = runs.status("lost")
    assert (status["attempts"], status["interruptions"], status.get("failures") or 0) == (2, 1, 0)
    assert status["result"]["uri"] == "s3://models/runs/lost/adapter"
    assert first > 0


def test_what_was_trained_is_served_from_the_bucket(runs: Runs) -> None:
    space = runs.space
    assert hash_of(runs, "calm")
    seen = space.wait_condition("ModelVersion", "calm", "Ready", seconds=400)
    assert condition(seen, "ArtifactVerified")["status"] == "True"
    assert seen["spec"]["adapter"]["uri"] == "s3://models/runs/calm/adapter"
    assert seen["spec"]["adapter"]["store"]["secretRef"]["name"] == "models-key"
    assert seen["status"]["benchmark"]["valid"] == 1.0
    pods = space.select("Pod", "serving.kserve.io/inferenceservice=calm")
    volumes = [volume for volume in pods[0]["spec"]["volumes"] if "persistentVolumeClaim" in volume]
    assert not volumes, "no claim: adapter and base are the bucket's"


def test_a_wrong_key_ends_the_run_at_once_and_says_whose_it_is(runs: Runs) -> None:
    runs.begin("wrong", more=stored(runs.dataset, "wrong-key"))
    ended = runs.ended("wrong")
    said = condition(ended, "Succeeded")
    assert (ended["status"]["phase"], said["status"], said["reason"]) == ("Failed", "False", "InvalidConfiguration")
    assert "spec.baseModel" in said["message"]
    assert "put a valid accessKeyId and secretAccessKey there" in said["message"]
    assert "wrong-key" in said["message"]
    assert ended["status"]["attempts"] == 1, "no attempt ends differently"
    assert "another" not in str(ended["status"])


def test_a_secret_that_is_not_there_is_named_with_the_key_that_is_asked_of_it(runs: Runs) -> None:
    runs.begin("early", more=stored(runs.dataset, "late-key"))
    ended = runs.ended("early")
    said = condition(ended, "Succeeded")
    assert (ended["status"]["phase"], said["reason"]) == ("Failed", "InvalidConfiguration")
    assert "spec.baseModel" in said["message"]
    assert "Secret late-key has no key accessKeyId: create it with that key" in said["message"]
    assert ended["status"]["attempts"] == 1


def hash_of(runs: Runs, name: str) -> str:
    """Of the weights of a run that is over; its version stays."""
    run = runs.space.wait_phase("TrainingRun", name, "Succeeded", "Failed", seconds=400)
    assert run["status"]["phase"] == "Succeeded", condition(run, "Succeeded")
    return Runs.weights_in(runs.models / "runs" / name / "adapter")


def stored(dataset: str, secret: str = "models-key") -> Json:
    """The parts of a run's spec that are in the bucket."""
    store = {"region": REGION, "endpoint": f"http://{STORE}", "secretRef": {"name": secret}}
    return {
        "baseModel": {"uri": "s3://models/base", "revision": "e2e", "store": store},
        "dataset": {"uri": "s3://models/data", "sha256": dataset, "store": store},
        "output": {"uri": "s3://models/runs", "store": store},
        "modelVersion": {
            "serving": {"resources": SMALL, "timeout": "10s", "latencyObjective": {"p99": "10s"}},
            "evaluation": {"requests": 10, "concurrency": [1]},
        },
    }


def key(name: str, **changes: str) -> Json:
    """A Secret for the store."""
    data = {"accessKeyId": ACCESS_KEY, "secretAccessKey": SECRET_KEY, "allowedHosts": STORE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data | changes}


def server(image: str) -> list[Json]:
    """The server of the host's tests over a folder of the claim `store`; any image with a C library will do."""
    labels = {"app": "store"}
    command: list[Any] = ["/data/versitygw", "--access", ACCESS_KEY, "--secret", SECRET_KEY, "--port", ":7070"]
    command += ["--region", REGION, "--health", "/health", "posix", "/data/buckets"]
    container = {
        "name": "store",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "ports": [{"name": "s3", "containerPort": 7070}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": "s3"}, "periodSeconds": 1, "timeoutSeconds": 3},
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": PODS_USER, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "store"}}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    ports = [{"name": "http", "port": 80, "targetPort": "s3"}]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "store"},
            "spec": {"selector": labels, "ports": ports},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "store"},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
        },
    ]
