"""Installing, upgrading and rolling back by helm, and what the installation may and may not do."""

import json
from typing import Any

import pytest
from installation import RELEASE, SYSTEM, Installation
from space import Space

from manifests import endpoint, experiment, external
from tradewind import migrations
from tradewind.api.registry import KINDS
from workshop.client import Cluster, Json, condition
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

OPERATOR = f"system:serviceaccount:{SYSTEM}:{RELEASE}-operator"


@pytest.fixture(scope="module")
def trader(space: Space) -> Space:
    """A namespace with an Endpoint that is up, a candidate, and an experiment that runs."""
    space.apply(external("api", "against"), external("next", "follow"), endpoint("trader", "api"))
    space.wait_condition("Endpoint", "trader", "Ready", seconds=120)
    space.apply(experiment("first", "trader", None, "next"))
    space.wait_active("trader", "first")
    return space


def _log_level(pod: Json) -> str:
    return next(str(e["value"]) for e in pod["spec"]["containers"][0]["env"] if e["name"] == "TRADEWIND_LOG_LEVEL")


def test_installed_with_schema_and_a_ready_operator(cluster: Cluster, installation: Installation) -> None:
    (pod,) = installation.operator_pods()
    assert condition(pod, "Ready").get("status") == "True"
    assert _log_level(pod) == "info"
    assert migrations.current(installation.database.dsn) == migrations.head()
    # The hook's Job is removed once it has succeeded; the Event that it made its pod stays.
    started = [e for e in cluster.select("Event", SYSTEM) if e["involvedObject"].get("name") == f"{RELEASE}-migrate"]
    assert {"SuccessfulCreate", "Completed"} <= {event["reason"] for event in started}


def test_kinds_outlive_their_release(cluster: Cluster, installation: Installation) -> None:
    for kind in KINDS:
        found = cluster.get("CustomResourceDefinition", f"{kind.plural}.tradewind.dev")
        assert found is not None
        assert found["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
        assert found["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_upgrade_and_rollback_change_the_value_and_keep_the_endpoint(
    cluster: Cluster, installation: Installation, trader: Space
) -> None:
    before = trader.must_get("Endpoint", "trader")["status"]
    template = trader.must_get("Deployment", "trader-gateway")["spec"]["template"]
    installation.upgrade(logLevel="debug")
    wait_for(
        "one operator with the new value", lambda: _operators(installation), lambda seen: seen == [("True", "debug")]
    )
    history = json.loads(cluster.run("helm", "history", "-n", SYSTEM, RELEASE, "-o", "json"))
    first = str(history[-2]["revision"])
    cluster.run("helm", "rollback", "-n", SYSTEM, RELEASE, first, "--wait", "--timeout", "3m", seconds=200)
    wait_for(
        "one operator with the old value", lambda: _operators(installation), lambda seen: seen == [("True", "info")]
    )
    with trader.gateway("trader") as gateway:
        assert gateway.decide("after-rollback")["_model_used"] in {"api", "next"}
    after = trader.must_get("Endpoint", "trader")["status"]
    assert (after["championRef"], after["activeExperiment"]) == (before["championRef"], before["activeExperiment"])
    assert trader.must_get("Deployment", "trader-gateway")["spec"]["template"] == template  # no gateway was restarted
    assert migrations.current(installation.database.dsn) == migrations.head()


def _operators(installation: Installation) -> list[tuple[str, str]]:
    """Readiness and log level of each operator's pod."""
    return [(condition(pod, "Ready").get("status", ""), _log_level(pod)) for pod in installation.operator_pods()]


# --- what the parts may do -------------------------------------------------------------------------------------------


def _allowed(cluster: Cluster, user: str, asked: list[tuple[str, str, str, str, str]]) -> list[bool]:
    """SubjectAccessReviews: (namespace, verb, group, resource, name)."""
    group_of = f"system:serviceaccounts:{user.split(':')[2]}"
    reviews = [
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user,
                "groups": ["system:serviceaccounts", group_of, "system:authenticated"],
                "resourceAttributes": {
                    "namespace": namespace,
                    "verb": verb,
                    "group": group,
                    "resource": resource.partition("/")[0],
                    "subresource": resource.partition("/")[2],
                    "name": name,
                },
            },
        }
        for namespace, verb, group, resource, name in asked
    ]
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": reviews})
    path = "jsonpath={.status.allowed}{'\\n'}"
    return [line == "true" for line in cluster.kubectl("create", "-f", "-", "-o", path, given=given).split()]


def test_operator_is_refused_what_it_does_not_need(cluster: Cluster, trader: Space) -> None:
    ours = trader.name
    refused = [
        (ours, "get", "", "secrets", "tradewind-database"),
        (ours, "list", "", "secrets", ""),
        (SYSTEM, "get", "", "secrets", "tradewind-database"),
        (ours, "create", "", "pods", ""),
        (ours, "delete", "", "pods", ""),
        (ours, "create", "", "pods/exec", ""),
        (ours, "delete", "tradewind.dev", "modelversions", "api"),
        (ours, "delete", "tradewind.dev", "endpoints", "trader"),
        (ours, "patch", "tradewind.dev", "endpoints", "trader"),
        (ours, "update", "tradewind.dev", "abexperiments/approve", "first"),
        (ours, "escalate", "rbac.authorization.k8s.io", "roles", ""),
        (ours, "bind", "rbac.authorization.k8s.io", "roles", ""),
        (ours, "create", "rbac.authorization.k8s.io", "clusterrolebindings", ""),
        ("default", "list", "", "configmaps", ""),
        ("kube-system", "get", "tradewind.dev", "endpoints", "trader"),
        ("", "delete", "apiextensions.k8s.io", "customresourcedefinitions", ""),
        ("", "create", "", "namespaces", ""),
        ("", "list", "", "nodes", ""),
    ]
    assert [ask for ask, yes in zip(refused, _allowed(cluster, OPERATOR, refused), strict=True) if yes] == []
    needed = [
        (ours, "watch", "tradewind.dev", "endpoints", ""),
        (ours, "patch", "", "configmaps", ""),
        (ours, "update", "tradewind.dev", "endpoints/status", "trader"),
    ]
    assert all(_allowed(cluster, OPERATOR, needed))


def test_gateway_reads_its_routing_and_nothing_else(cluster: Cluster, trader: Space) -> None:
    user = f"system:serviceaccount:{trader.name}:trader-gateway"
    refused = [
        (trader.name, "get", "", "configmaps", "kube-root-ca.crt"),
        (trader.name, "list", "", "configmaps", ""),
        (trader.name, "patch", "", "configmaps", "trader-routing"),
        (trader.name, "get", "", "secrets", "tradewind-database"),
        (trader.name, "get", "", "secrets", "arm-key"),
        (trader.name, "get", "", "pods", ""),
        (trader.name, "create", "", "pods", ""),
        (trader.name, "get", "tradewind.dev", "endpoints", "trader"),
        (SYSTEM, "get", "", "configmaps", "trader-routing"),
    ]
    assert [ask for ask, yes in zip(refused, _allowed(cluster, user, refused), strict=True) if yes] == []
    assert _allowed(cluster, user, [(trader.name, "watch", "", "configmaps", "trader-routing")]) == [True]


def test_pods_run_as_nobody_on_a_read_only_root(cluster: Cluster, trader: Space) -> None:
    pods = cluster.select("Pod", SYSTEM, "app.kubernetes.io/name=tradewind")
    pods += trader.select("Pod", "app.kubernetes.io/managed-by=tradewind")
    components = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods}
    assert {"operator", "postgres", "gateway"} <= components
    for pod in pods:
        name, spec = pod["metadata"]["name"], pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["capabilities"]["drop"] == ["ALL"], name
    (gateway,) = trader.select("Pod", "app.kubernetes.io/component=gateway")
    probe = "import os; print(os.getuid()); open('/opt/written', 'w')"
    told = trader.kubectl("exec", gateway["metadata"]["name"], "--", "/opt/venv/bin/python", "-c", probe, check=False)
    assert "65531" in told
    assert "Read-only file system" in told


# --- verbs ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people(trader: Space) -> dict[str, str]:
    """User names: an editor may write the kinds, an admin may use the verbs, too."""

    def person(name: str, role: str) -> list[dict[str, Any]]:
        subject = {"kind": "ServiceAccount", "name": name, "namespace": trader.name}
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [subject],
        }
        return [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}, binding]

    trader.apply(*person("editor", "edit"), *person("chief", "admin"))
    return {name: f"system:serviceaccount:{trader.name}:{name}" for name in ("editor", "chief")}


def _annotate(name: str, *annotations: str) -> list[str]:
    return ["annotate", "--overwrite", "abexperiment", name, *(f"tradewind.dev/{a}" for a in annotations)]


def _handled(space: Space, name: str, verb: str, request: str) -> dict[str, Any]:
    def until(seen: dict[str, Any]) -> bool:
        return (seen["status"].get("lastHandled") or {}).get(verb) == request

    return space.wait("ABExperiment", name, f"{verb} {request} is carried out", until, seconds=60)


def test_a_verb_needs_its_permission_and_the_true_name(trader: Space, people: dict[str, str]) -> None:
    editor, chief = people["editor"], people["chief"]
    told = trader.refused(f"--as={editor}", *_annotate("first", "abort=r1", f"by={editor}"))
    assert "may not use tradewind.dev/abort: ask for update on abexperiments/abort" in told
    told = trader.refused(f"--as={chief}", *_annotate("first", "abort=r1", "by=somebody-else"))
    assert f"set tradewind.dev/by={chief}" in told
    told = trader.refused(f"--as={chief}", *_annotate("first", "abort=r1"))
    assert "needs the annotation tradewind.dev/by" in told
    # An editor may still edit.
    trader.kubectl(f"--as={editor}", "annotate", "abexperiment", "first", "team=a")
    assert trader.must_get("ABExperiment", "first")["status"]["phase"] == "Running"


def test_a_request_acts_once(trader: Space, people: dict[str, str]) -> None:
    chief = people["chief"]
    trader.kubectl(f"--as={chief}", *_annotate("first", "pause=p1", f"by={chief}"))
    trader.wait_phase("ABExperiment", "first", "Paused")
    trader.kubectl(f"--as={chief}", *_annotate("first", "resume=r1"))
    trader.wait_phase("ABExperiment", "first", "Running")
    # A Git tool takes the annotation away and applies it again: p1 was carried out, so nothing happens.
    trader.kubectl(f"--as={chief}", *_annotate("first", "pause-"))
    trader.kubectl(f"--as={chief}", *_annotate("first", "pause=p1"))
    trader.kubectl(f"--as={chief}", *_annotate("first", "pause=p2"))  # and a new request does
    trader.wait_phase("ABExperiment", "first", "Paused")
    paused = [e for e in trader.must_get("ABExperiment", "first")["status"]["conditions"] if e["type"] == "Running"]
    assert paused[0]["reason"] == "Paused"
    assert _handled(trader, "first", "pause", "p2")["status"]["lastHandled"] == {"pause": "p2", "resume": "r1"}
    trader.kubectl(f"--as={chief}", *_annotate("first", "abort=a1"))
    ended = trader.wait_phase("ABExperiment", "first", "Aborted")
    assert ended["status"]["verdict"]["decision"] == "abort"
    assert chief in ended["status"]["verdict"]["message"]
    wait_for("the Endpoint is free", lambda: trader.routing("trader").get("experiment"), lambda holder: not holder)


def test_a_file_with_an_endpoint_and_its_version_is_deleted_in_two_calls(
    space: Space, installation: Installation
) -> None:
    """The version stands first in the file, as in the samples: nothing hangs, and what is held back says by whom."""
    path = installation.scratch / "leaving.json"
    objects = [external("leaving-api", "follow"), endpoint("leaving", "leaving-api")]
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}), encoding="utf-8")
    deletion = ("kubectl", "-n", space.name, "delete", "-f", str(path), "--ignore-not-found", "--timeout=60s")
    space.apply(*objects)
    space.wait("ModelVersion", "leaving-api", "is held", lambda seen: seen["metadata"].get("finalizers"), seconds=60)
    first = space.cluster.attempt(*deletion)
    assert first.returncode != 0
    assert "ModelVersion leaving-api is in use by Endpoint" in first.stderr
    assert space.get("Endpoint", "leaving") is None
    space.wait(
        "ModelVersion", "leaving-api", "is free", lambda seen: not seen["metadata"].get("finalizers"), seconds=60
    )
    second = space.cluster.attempt(*deletion)
    assert second.returncode == 0, second.stderr
    assert space.get("ModelVersion", "leaving-api") is None
