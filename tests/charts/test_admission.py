"""The chart's admission policies and roles on a real API server, bound to a namespace of the test's own."""

import re
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from chart_tools import EXISTING, ROOT, kubectl, missing, template

pytestmark = pytest.mark.e2e

VERSION = """
apiVersion: tradewind.dev/v1alpha1
kind: ModelVersion
metadata:
  name: {name}
  finalizers: {finalizers}
  labels: {{tradewind.dev/in-use-by: trader}}
spec:
  external: {{baseURL: "http://api.example/v1", model: m}}
"""
ENDPOINT = """
apiVersion: tradewind.dev/v1alpha1
kind: Endpoint
metadata: {name: trader}
spec:
  fallback: used
  gateway: {replicas: 1, nodeSelector: {nowhere: "true"}}
"""
"""Needs the version for an operator that may run in the cluster: without it that one clears the finalizer."""
EXPERIMENT = """
apiVersion: tradewind.dev/v1alpha1
kind: ABExperiment
metadata: {name: first}
spec: {endpointRef: {name: trader}, candidate: v1}
"""


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    if kubectl("get", "--raw", "/readyz").returncode:
        missing("no cluster answers: make cluster, or set KUBECONFIG")
    for path in sorted(Path(ROOT / "crds").glob("*.yaml")):
        assert kubectl("apply", "--server-side", "--force-conflicts", "-f", str(path)).returncode == 0
    name = f"admission-{uuid.uuid4().hex[:8]}"
    documents = template("tradewind", *EXISTING, "--set", f"watchNamespaces={{{name},{name}-doomed}}", namespace=name)
    kinds = {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount"}
    documents = [d for d in documents if d["metadata"].get("namespace") != f"{name}-doomed"]
    wanted = [d for d in documents if d["kind"].startswith("ValidatingAdmission") or d["kind"] in kinds]
    for document in wanted:  # roles of people stay out of the shared cluster's view, edit and admin
        labels = document["metadata"]["labels"]
        document["metadata"]["labels"] = {k: v for k, v in labels.items() if "aggregate" not in k}
    rendered = yaml.safe_dump_all(wanted)
    assert kubectl("create", "namespace", name).returncode == 0
    applied = kubectl("apply", "--server-side", "-f", "-", stdin=rendered)
    assert applied.returncode == 0, applied.stderr
    clusterwide = f"{name}-tradewind"
    for person, role in (("alice", "edit"), ("bob", "edit"), ("bob", "verbs")):
        kubectl(
            "create",
            "rolebinding",
            f"{person}-{role}",
            f"--user={person}",
            f"--clusterrole={clusterwide}-{role}",
            "-n",
            name,
        )
    for person in ("alice", "bob"):
        kubectl(
            "create",
            "rolebinding",
            f"{person}-view",
            f"--user={person}",
            f"--clusterrole={clusterwide}-view",
            "-n",
            name,
        )
    assert kubectl("create", "-n", name, "-f", "-", stdin=EXPERIMENT).returncode == 0
    _wait_until_enforced(name)
    yield name
    let_go(name, "used", name)
    kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=rendered)
    kubectl("delete", "namespace", name, f"{name}-doomed", "--wait=false", "--ignore-not-found")


def _wait_until_enforced(namespace: str) -> None:
    """A policy takes effect some time after it is stored."""
    for _ in range(60):
        if annotate(namespace, "alice", "approve=probe", "by=alice").returncode:
            return
        time.sleep(0.5)
    pytest.fail("the policies are not enforced after 30 s")


def annotate(
    namespace: str, user: str, *annotations: str, server_dry_run: bool = True
) -> subprocess.CompletedProcess[str]:
    pairs = [f"tradewind.dev/{annotation}" for annotation in annotations]
    dry = ["--dry-run=server"] if server_dry_run else []
    return kubectl("annotate", "abexperiment", "first", *pairs, "--overwrite", "-n", namespace, f"--as={user}", *dry)


def test_the_policies_compile_without_a_type_warning(namespace: str) -> None:
    for name in ("verbs", "versions-in-use", "versions-held", "approval", "endpoints"):
        shown = kubectl("get", "validatingadmissionpolicy", f"{namespace}-tradewind-{name}", "-o", "yaml")
        status = yaml.safe_load(shown.stdout).get("status", {})
        assert not status.get("typeChecking", {}).get("expressionWarnings"), status


def hold(namespace: str) -> None:
    assert kubectl("create", "-n", namespace, "-f", "-", stdin=ENDPOINT).returncode == 0
    used = VERSION.format(name="used", finalizers="[tradewind.dev/in-use]")
    assert kubectl("create", "-n", namespace, "-f", "-", stdin=used).returncode == 0


def test_a_version_in_use_is_not_deleted_and_the_message_names_who_needs_it(namespace: str) -> None:
    hold(namespace)
    refused = kubectl("delete", "modelversion", "used", "-n", namespace, "--wait=false")
    assert refused.returncode != 0
    message = "ModelVersion used is in use by Endpoint[ /]trader: promote another version, change the fallback or abort"
    assert re.search(message, refused.stderr)
    status = '{"status":{"inUseBy":["Endpoint/trader"]}}'
    patched = kubectl(
        "patch", "modelversion", "used", "-n", namespace, "--subresource=status", "--type=merge", f"-p={status}"
    )
    assert patched.returncode == 0, patched.stderr
    refused = kubectl("delete", "modelversion", "used", "-n", namespace, "--wait=false")
    assert "in use by Endpoint/trader:" in refused.stderr


def test_a_version_that_nobody_needs_is_deleted(namespace: str) -> None:
    free = VERSION.format(name="free", finalizers="[]")
    assert kubectl("create", "-n", namespace, "-f", "-", stdin=free).returncode == 0
    deleted = kubectl("delete", "modelversion", "free", "-n", namespace)
    assert deleted.returncode == 0, deleted.stderr


def test_a_namespace_takes_its_versions_along(namespace: str) -> None:
    doomed = f"{namespace}-doomed"
    assert kubectl("create", "namespace", doomed).returncode == 0
    hold(doomed)
    assert kubectl("delete", "modelversion", "used", "-n", doomed, "--wait=false").returncode != 0
    assert kubectl("delete", "namespace", doomed, "--wait=false").returncode == 0
    time.sleep(1)  # the API server's own view of namespaces lags a little
    deleted = kubectl("delete", "modelversion", "used", "-n", doomed, "--wait=false")
    assert deleted.returncode == 0 or "NotFound" in deleted.stderr, deleted.stderr
    let_go(doomed, "used", None)


def let_go(namespace: str, version: str, operator_of: str | None) -> subprocess.CompletedProcess[str]:
    """Takes the finalizer away, as the operator of an installation or as whoever runs the tests."""
    who = [f"--as=system:serviceaccount:{operator_of}:tradewind-operator"] if operator_of is not None else []
    patch = '-p={"metadata":{"finalizers":[]}}'
    return kubectl("patch", "modelversion", version, "-n", namespace, "--type=merge", patch, *who)


def test_the_operator_alone_lets_go_of_a_version_in_use(namespace: str) -> None:
    """Seen: with the finalizer patched away a champion was deleted, and made anew with another host behind its name."""
    held = VERSION.format(name="held", finalizers="[tradewind.dev/in-use]")
    assert kubectl("create", "-n", namespace, "-f", "-", stdin=held).returncode == 0
    refused = let_go(namespace, "held", None)
    assert refused.returncode != 0
    assert "ModelVersion held is in use, and the operator alone takes tradewind.dev/in-use away" in refused.stderr
    labelled = kubectl("label", "modelversion", "held", "team=quant", "-n", namespace, "--as=alice")
    assert labelled.returncode == 0, labelled.stderr
    freed = let_go(namespace, "held", namespace)
    assert freed.returncode == 0, freed.stderr
    assert kubectl("delete", "modelversion", "held", "-n", namespace, "--wait=false").returncode == 0


@pytest.fixture(scope="module")
def guarded(namespace: str) -> str:
    """An experiment that a person has to approve."""
    manifest = yaml.safe_load(EXPERIMENT)
    manifest["metadata"]["name"] = "guarded"
    manifest["spec"]["onPromote"] = {"approval": "manual"}
    made = kubectl("create", "-n", namespace, "--as=alice", "-f", "-", stdin=yaml.safe_dump(manifest))
    assert made.returncode == 0, made.stderr
    return "guarded"


@pytest.mark.parametrize(
    ("user", "wanted", "allowed"),
    [
        ("alice", {"approval": "auto", "ramp": [], "stability": "0s"}, False),
        ("alice", {"approval": "auto"}, False),
        ("alice", {"ramp": []}, False),
        ("alice", {"stability": "0s"}, False),
        ("alice", {"holdback": "0.5"}, False),
        ("alice", {"approval": "manual"}, True),
        ("alice", None, False),
        ("bob", {"approval": "auto", "ramp": [], "stability": "0s"}, True),
    ],
)
def test_an_approval_is_not_taken_out_of_the_spec(
    namespace: str, guarded: str, user: str, wanted: object, allowed: bool
) -> None:
    patch = yaml.safe_dump({"spec": {"onPromote": wanted}})
    asked = kubectl(
        "patch",
        "abexperiment",
        guarded,
        "-n",
        namespace,
        "--type=merge",
        f"-p={patch}",
        f"--as={user}",
        "--dry-run=server",
    )
    assert (asked.returncode == 0) is allowed, asked.stderr
    assert allowed or f"{user} may not change onPromote" in asked.stderr


def test_an_approval_is_asked_for_by_whoever_edits(namespace: str) -> None:
    patch = '-p={"spec":{"onPromote":{"approval":"manual"}}}'
    asked = kubectl(
        "patch", "abexperiment", "first", "-n", namespace, "--type=merge", patch, "--as=alice", "--dry-run=server"
    )
    assert asked.returncode == 0, asked.stderr


@pytest.mark.parametrize(
    ("user", "changes", "told"),
    [
        ("alice", {"allowAutoPromote": True}, "may not set allowAutoPromote"),
        ("bob", {"allowAutoPromote": True}, None),
        ("alice", {"gateway": {"retention": "30d"}}, "may not change gateway.retention from 730d"),
        ("alice", {"gateway": {"retention": "17520h"}}, "may not change gateway.retention from 730d"),
        ("alice", {"gateway": {"retention": "1095d"}}, None),
        ("bob", {"gateway": {"retention": "30d"}}, None),
        ("bob", {"gateway": {"retention": "1s"}}, "must be from 30d"),
    ],
)
@pytest.mark.parametrize("new", [True, False], ids=["made anew", "changed"])
def test_promotion_without_a_person_and_the_audit_trail_are_not_every_editors(
    namespace: str, point: str, user: str, changes: dict[str, object], told: str | None, new: bool
) -> None:
    manifest = yaml.safe_load(ENDPOINT)
    manifest["metadata"]["name"] = "anew" if new else point
    gateway = {**manifest["spec"]["gateway"], **dict(changes.get("gateway", {}))}  # type: ignore[call-overload]
    manifest["spec"] |= {**changes, "gateway": gateway}
    how = ["create"] if new else ["apply", "--server-side", "--force-conflicts"]
    asked = kubectl(
        *how, "--dry-run=server", "-n", namespace, f"--as={user}", "-f", "-", stdin=yaml.safe_dump(manifest)
    )
    assert (asked.returncode == 0) is (told is None), asked.stderr
    assert told is None or told in asked.stderr


def test_who_may_edit_may_not_yet_use_a_verb(namespace: str) -> None:
    refused = annotate(namespace, "alice", "approve=req-1", "by=alice")
    assert refused.returncode != 0
    assert "alice may not use tradewind.dev/approve: ask for update on abexperiments/approve" in refused.stderr


def test_who_may_use_a_verb_uses_it_under_the_own_name_only(namespace: str) -> None:
    assert annotate(namespace, "bob", "approve=req-1", "by=bob").returncode == 0
    for annotations in (("approve=req-1",), ("approve=req-1", "by=alice"), ("by=alice",)):
        refused = annotate(namespace, "bob", *annotations)
        assert refused.returncode != 0, annotations
        assert "set tradewind.dev/by=bob" in refused.stderr


def test_several_verbs_at_once_stay_within_the_cost_limit(namespace: str) -> None:
    verbs = [f"{verb}=x" for verb in ("abort", "pause", "resume", "retry", "approve", "accept")]
    allowed = annotate(namespace, "bob", *verbs, "by=bob")
    assert allowed.returncode == 0, allowed.stderr


def test_a_request_id_that_stays_and_other_edits_are_left_alone(namespace: str) -> None:
    done = annotate(namespace, "bob", "pause=req-1", "by=bob", server_dry_run=False)
    assert done.returncode == 0, done.stderr
    assert annotate(namespace, "alice", "pause=req-1").returncode == 0
    edited = kubectl("label", "abexperiment", "first", "team=quant", "-n", namespace, "--as=alice", "--dry-run=server")
    assert edited.returncode == 0, edited.stderr
    removed = annotate(namespace, "alice", "pause-", "by-")
    assert removed.returncode == 0, removed.stderr
    refused = annotate(namespace, "alice", "pause=req-2")
    assert "alice may not use tradewind.dev/pause" in refused.stderr


def test_a_verb_cannot_be_brought_along_at_creation(namespace: str) -> None:
    manifest = yaml.safe_load(EXPERIMENT)
    manifest["metadata"] = {
        "name": "second",
        "annotations": {"tradewind.dev/approve": "x", "tradewind.dev/by": "alice"},
    }
    made = kubectl(
        "create", "--dry-run=server", "-n", namespace, "--as=alice", "-f", "-", stdin=yaml.safe_dump(manifest)
    )
    assert made.returncode != 0
    assert "alice may not use tradewind.dev/approve" in made.stderr


@pytest.fixture(scope="module")
def point(namespace: str) -> str:
    """An Endpoint of the tests' own; the others make `trader` themselves."""
    manifest = yaml.safe_load(ENDPOINT)
    manifest["metadata"]["name"] = "by-hand"
    made = kubectl("create", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(manifest))
    assert made.returncode == 0, made.stderr
    return "by-hand"


@pytest.mark.parametrize(
    ("user", "annotations", "told"),
    [
        ("alice", ("promote=v2/r1", "reason=x", "by=alice"), "ask for update on endpoints/promote"),
        ("alice", ("rollback=r1", "by=alice"), "ask for update on endpoints/rollback"),
        ("bob", ("promote=v2/r1", "by=bob"), "needs tradewind.dev/reason"),
        ("bob", ("promote=v2/r1", "reason= ", "by=bob"), "needs tradewind.dev/reason"),
        ("bob", ("promote=v2/r1", "reason=x", "by=alice"), "set tradewind.dev/by=bob"),
        ("bob", ("rollback=r1",), "set tradewind.dev/by=bob"),
        ("bob", ("abort=r1", "by=bob"), "an Endpoint knows tradewind.dev/promote and tradewind.dev/rollback"),
        ("bob", ("promote=v2/r1", "rollback=r1", "reason=x", "by=bob"), None),
        ("bob", ("rollback=r1", "by=bob"), None),
    ],
)
def test_the_champion_is_changed_by_who_may_with_a_reason(
    namespace: str, point: str, user: str, annotations: tuple[str, ...], told: str | None
) -> None:
    pairs = [f"tradewind.dev/{annotation}" for annotation in annotations]
    asked = kubectl(
        "annotate", "endpoints.tradewind.dev", point, *pairs, "-n", namespace, f"--as={user}", "--dry-run=server"
    )
    if told is None:
        assert asked.returncode == 0, asked.stderr
    else:
        assert asked.returncode != 0
        assert told in asked.stderr


def test_a_champion_is_not_changed_on_an_experiment(namespace: str) -> None:
    refused = annotate(namespace, "bob", "promote=v2/r1", "reason=x", "by=bob")
    assert refused.returncode != 0
    assert "stand on an Endpoint" in refused.stderr


def operator_can(namespace: str, verb: str, resource: str, where: str) -> bool:
    account = f"system:serviceaccount:{namespace}:tradewind-operator"
    resource, _, subresource = resource.partition("/")
    part = [f"--subresource={subresource}"] if subresource else []
    return kubectl("auth", "can-i", verb, resource, f"--as={account}", "-n", where, *part).stdout.strip() == "yes"


def test_the_operator_has_what_it_needs_and_no_secrets(namespace: str) -> None:
    assert operator_can(namespace, "patch", "deployments.apps", namespace)
    assert operator_can(namespace, "update", "modelversions.tradewind.dev/status", namespace)
    for verb in ("get", "list", "watch", "create"):
        assert not operator_can(namespace, verb, "secrets", namespace)
    assert not operator_can(namespace, "delete", "modelversions.tradewind.dev", namespace)
    assert not operator_can(namespace, "patch", "endpoints.tradewind.dev", namespace)
    assert not operator_can(namespace, "patch", "deployments.apps", "kube-system")


@pytest.mark.parametrize(("resource", "granted"), [("configmaps", True), ("secrets", False)])
def test_the_operator_grants_gateways_what_it_holds_and_nothing_more(
    namespace: str, resource: str, granted: bool
) -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "gateway"},
        "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get", "list", "watch"]}],
    }
    account = f"system:serviceaccount:{namespace}:tradewind-operator"
    made = kubectl(
        "create", "--dry-run=server", "-n", namespace, f"--as={account}", "-f", "-", stdin=yaml.safe_dump(role)
    )
    assert (made.returncode == 0) is granted, made.stderr
