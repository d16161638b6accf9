"""What is changed in KServe's own manifests."""

import json

from cluster.kserve import DROPPED_KINDS, adapt, parse_stream, without_kinds


def test_dropped_kinds_go_by_the_top_level_kind():
    rendered = "---\n# Source: a\nkind: Service\n---\nkind: Issuer\n---\n---\nmetadata:\n  kind: Issuer\nkind: Role\n"
    kept = without_kinds(rendered, DROPPED_KINDS)
    assert [document.splitlines()[-1] for document in kept] == ["kind: Service", "kind: Role"]


def test_a_stream_of_objects_and_lists_is_flattened():
    text = '{"kind": "A"}\n{"kind": "List", "items": [{"kind": "B"}]}\n'
    assert [item["kind"] for item in parse_stream(text)] == ["A", "B"]


def test_manager_loses_its_sidecar_and_its_slow_probe():
    manager = {"name": "manager", "image": "public", "readinessProbe": {"initialDelaySeconds": 30}}
    pod = {"containers": [manager, {"name": "kube-rbac-proxy", "image": "public"}]}
    item = adapt({"kind": "Deployment", "spec": {"template": {"spec": pod}}}, image="ours:1", authority="")
    (left,) = item["spec"]["template"]["spec"]["containers"]
    assert (left["image"], left["command"], left["imagePullPolicy"]) == ("ours:1", ["/kserve-manager"], "IfNotPresent")
    assert left["readinessProbe"]["initialDelaySeconds"] == 1


def test_every_webhook_trusts_our_authority():
    hooks = {
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {},
        "webhooks": [{"clientConfig": {}} for _ in range(2)],
    }
    adapted = adapt(hooks, image="", authority="Q0E=")
    assert [hook["clientConfig"]["caBundle"] for hook in adapted["webhooks"]] == ["Q0E=", "Q0E="]


def test_ingress_is_switched_off_and_the_rest_of_the_setting_stays():
    config = {
        "kind": "ConfigMap",
        "metadata": {"name": "inferenceservice-config"},
        "data": {"ingress": '{"urlScheme": "http"}'},
    }
    ingress = json.loads(adapt(config, image="", authority="")["data"]["ingress"])
    assert ingress == {"urlScheme": "http", "disableIngressCreation": True, "disableIstioVirtualHost": True}
