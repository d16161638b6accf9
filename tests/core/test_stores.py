"""Stores in what the operator makes: who fetches, with which keys, through which openings, and what is refused."""

import json
from dataclasses import replace
from typing import Any

import pytest
from golden_worlds import PLATFORM, resource_of
from pydantic import ValidationError

from tradewind.api.model_version import ModelVersionSpec
from tradewind.api.training_run import TrainingRunSpec
from tradewind.core.decision import Apply, Create, Owner
from tradewind.core.manifests.network import predictor_policy, with_run_policy
from tradewind.core.model_version.manifests import build_inference_service, stores_of
from tradewind.core.model_version.observe import predictor_pod
from tradewind.core.network import Network
from tradewind.core.policy import Policy, run_faults, version_faults
from tradewind.core.training_run import manifests as run_manifests
from tradewind.trading.settings.stores import Stores

URL = "http://minio.store.svc:9000"
INSIDE = Policy.model_validate({"egress": {"allowedInternalHosts": [URL]}, "serviceAccounts": ["models"]})
ON = replace(PLATFORM, policy=INSIDE, network=Network(enabled=True))
KEY = {"region": "us-east-1", "endpoint": URL, "secretRef": {"name": "key"}}
ROLE = {"region": "cn-hangzhou", "serviceAccountName": "models"}
ADAPTER = {"uri": "s3://models/a", "sha256": "a" * 64, "store": KEY, "baseModel": {"uri": "pvc://models/base"}}


def run(**spec: Any) -> Any:
    given = {"baseModel": {"uri": "s3://models/base", "store": KEY}, "dataset": {"endpoint": "e"}}
    output = {"output": {"uri": "s3://models/runs", "store": KEY}}
    return resource_of({"kind": "TrainingRun", "metadata": {"name": "r"}, "spec": {**given, **output, **spec}})


def version(**spec: Any) -> Any:
    return resource_of({"kind": "ModelVersion", "metadata": {"name": "v"}, "spec": spec or {"adapter": ADAPTER}})


def test_a_predictors_init_container_fetches_and_the_server_has_no_key() -> None:
    made = version()
    service = build_inference_service(made, Owner.of(made), ON)
    assert service is not None
    pod = service["spec"]["predictor"]
    (fetch,), (server,) = pod["initContainers"], pod["containers"]
    assert fetch["image"] == server["image"] == PLATFORM.predictor_image
    assert fetch["securityContext"] == server["securityContext"]
    stores = Stores.model_validate_json(fetch["env"][0]["value"])
    (folder,) = stores.read
    assert (folder.field, folder.sha256, str(folder.path)) == ("spec.adapter", "a" * 64, "/mnt/adapter")
    keys = [mount["mountPath"] for mount in fetch["volumeMounts"]]
    assert str(folder.secret_folder) in keys
    assert str(folder.secret_folder) not in json.dumps(server)
    assert {"name": "scratch-0", "mountPath": "/mnt/adapter", "readOnly": True} in server["volumeMounts"]
    secret = next(v["secret"] for v in pod["volumes"] if "secret" in v)
    names = {item["key"] for item in secret["items"]}
    assert names == {"accessKeyId", "secretAccessKey", "sessionToken", "allowedHosts"}
    assert "serviceAccountName" not in pod


def test_a_pod_runs_as_the_service_account_without_its_token() -> None:
    made = version(model={"uri": "oss://models/m", "sha256": "a" * 64, "store": ROLE})
    service = build_inference_service(made, Owner.of(made), ON)
    assert service is not None
    pod = service["spec"]["predictor"]
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("models", False)
    assert stores_of(made) == ("https://s3.oss-cn-hangzhou.aliyuncs.com", "https://sts.cn-hangzhou.aliyuncs.com")


def test_a_runs_job_is_told_what_to_fetch_and_where_to_put_it() -> None:
    made = run()
    job = run_manifests.build_train_job(made, Owner.of(made), ON, 1, None)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    config = json.loads(container["env"][0]["value"])
    assert config["output"] == config["stores"]["output"]["path"] == "/mnt/output/r"
    assert config["stores"]["output"]["uri"] == "s3://models/runs/r"
    assert config["stores"]["owner"] == f"{PLATFORM.installation}/{made.namespace}/r"
    registered = run_manifests.build_model_version(made, "a" * 64, "b" * 64)["spec"]["adapter"]
    assert registered["store"] == KEY
    assert registered["uri"] == "s3://models/runs/r/adapter"


def test_policies_open_the_store_and_nothing_else() -> None:
    made = run()
    urls = run_manifests.stores_of(made, None)
    job = Create(run_manifests.build_train_job(made, Owner.of(made), ON, 1, None))
    policy, _ = with_run_policy((job,), Owner.of(made), ON, urls)
    without, _ = with_run_policy((job,), Owner.of(made), ON)
    assert isinstance(policy, Apply)
    assert isinstance(without, Apply)
    added = [r for r in policy.manifest["spec"]["egress"] if r not in without.manifest["spec"]["egress"]]
    assert len(added) == 1
    assert {"namespaceSelector": {}} in added[0]["to"]
    served = predictor_policy(Owner.of(made), ON, ("https://s3.oss-cn-hangzhou.aliyuncs.com",))[0]
    assert isinstance(served, Apply)
    public = served.manifest["spec"]["egress"][1]
    assert public["ports"] == [{"port": 443, "protocol": "TCP"}]
    assert public["to"][0]["ipBlock"]["cidr"] == "0.0.0.0/0"


def test_hosts_and_service_accounts_obey_the_installation() -> None:
    spec = run().spec
    assert [f.field for f in run_faults(spec, Policy())] == [
        "spec.baseModel.store.endpoint",
        "spec.output.store.endpoint",
    ]
    assert run_faults(spec, INSIDE) == ()
    plain = Policy.model_validate({"egress": {"allowedInternalHosts": ["minio.store.svc:9000"]}})
    assert "over http" in str(run_faults(spec, plain)[0])
    role = version(model={"uri": "oss://models/m", "sha256": "a" * 64, "store": ROLE}).spec
    (fault,) = version_faults(role, Policy())
    assert (fault.reason, fault.field) == ("ServiceAccountNotAllowed", "spec.model.store.serviceAccountName")
    assert version_faults(role, INSIDE) == ()
    narrow = Policy.model_validate({"egress": {"allowedHosts": ["*.aliyun.example"]}, "serviceAccounts": ["*"]})
    assert {f.reason for f in version_faults(role, narrow)} == {"StoreNotAllowed"}


def test_a_warm_start_as_another_service_account_is_refused() -> None:
    spec = run(output={"uri": "oss://models/runs", "store": ROLE}).spec
    other = {**ADAPTER, "uri": "oss://models/a", "store": {**ROLE, "serviceAccountName": "other"}}
    everybody = INSIDE.model_copy(update={"service_accounts": ("*",)})
    faults = run_faults(spec, everybody, version(adapter=other).spec)
    assert [str(f) for f in faults if "would run as" in f.message]


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ({"store": None}, "store says how an s3:// or oss:// URI is reached"),
        ({"uri": "pvc://models/a"}, "leave it out with pvc://"),
        ({"store": {**KEY, "serviceAccountName": "x"}}, "exactly one of store.secretRef and store.serviceAccountName"),
        ({"store": {"region": "r"}}, "exactly one of store.secretRef and store.serviceAccountName"),
        ({"store": {**KEY, "endpoint": "https://u:p@host"}}, "without bucket, path and user"),
        ({"store": {**KEY, "endpoint": "https://host/bucket"}}, "without bucket, path and user"),
    ],
)
def test_combinations_that_are_refused(adapter: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelVersionSpec.model_validate({"adapter": {**ADAPTER, **adapter}})


def test_one_pod_is_one_service_account() -> None:
    base = {"uri": "oss://models/base", "store": ROLE}
    output = {"uri": "oss://models/runs", "store": {**ROLE, "serviceAccountName": "other"}}
    with pytest.raises(ValidationError, match="must be the same"):
        TrainingRunSpec.model_validate({"baseModel": base, "dataset": {"endpoint": "e"}, "output": output})


def test_an_init_container_that_refuses_is_heard() -> None:
    ended = {"exitCode": 65, "message": json.dumps({"reason": "StoreObjectMismatch", "message": "cut"})}
    waiting = {"name": "kserve-container", "state": {"waiting": {"reason": "PodInitializing"}}, "ready": False}
    fetch = {"name": "fetch", "ready": False, "restartCount": 2, "lastState": {"terminated": ended}}
    status = {"containerStatuses": [waiting], "initContainerStatuses": [fetch]}
    pod = predictor_pod({"metadata": {"name": "p"}, "status": status})
    assert (pod.exit_code, pod.restarts, pod.result["message"]) == (65, 2, "cut")
