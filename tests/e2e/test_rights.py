"""What an operator for the whole cluster may write: the chart's rights and its policy on a real API server, asked as its account.

No operator runs here: the account, its ClusterRole and the policy are rendered by the chart for a namespace of the test's own.
"""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from chart_tools import CLUSTER_WIDE, EXISTING, template
from installation import Installation

from tradewind.api.common import ENABLED_LABEL
from workshop.client import Cluster
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

RIGHTS = {"ClusterRole", "ClusterRoleBinding", "ServiceAccount"}


class Account:
    """An operator's account, with a namespace that is labelled and one that is not."""

    def __init__(self, cluster: Cluster, system: str) -> None:
        self.cluster, self.system = cluster, system
        self.labelled, self.other = f"{system}-in", f"{system}-out"
        self.name = f"system:serviceaccount:{system}:tradewind-operator"

    def attempt(self, namespace: str, *arguments: str, given: str | None = None) -> tuple[bool, str]:
        """Whether the API server lets it, and what it says."""
        done = self.cluster.attempt("kubectl", "-n", namespace, f"--as={self.name}", *arguments, given=given)
        return done.returncode == 0, done.stdout + done.stderr

    def create(self, namespace: str, manifest: dict[str, Any]) -> tuple[bool, str]:
        return self.attempt(namespace, "create", "--dry-run=server", "-f", "-", given=json.dumps(manifest))


@pytest.fixture(scope="module")
def account(cluster: Cluster, installation: Installation) -> Iterator[Account]:
    assert installation  # the kinds are there
    found = Account(cluster, f"rights-{uuid.uuid4().hex[:8]}")
    documents = template("tradewind", *EXISTING, *CLUSTER_WIDE, namespace=found.system)
    wanted = [
        d
        for d in documents
        if (d["kind"] in RIGHTS and d["metadata"]["name"].endswith("-operator"))
        or d["metadata"]["name"].endswith("-labelled-namespaces")
    ]
    assert len(wanted) == 5, [d["metadata"]["name"] for d in wanted]
    rendered = yaml.safe_dump_all(wanted)
    for name, labels in ((found.system, {}), (found.labelled, {ENABLED_LABEL: "true"}), (found.other, {})):
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    cluster.kubectl("apply", "--server-side", "-f", "-", given=rendered)
    wait_for(
        "the policy to be enforced",
        lambda: found.create(found.other, config_map()),
        lambda answer: not answer[0] and "label it" in answer[1],
        seconds=60,
    )
    yield found
    cluster.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", given=rendered, check=False)
    names = (found.system, found.labelled, found.other)
    cluster.kubectl("delete", "namespace", *names, "--wait=false", "--ignore-not-found", check=False)


def config_map() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}, "data": {"a": "b"}}


def deployment() -> dict[str, Any]:
    labels = {"app": "probe"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "none"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "probe"}, "spec": spec}


def role() -> dict[str, Any]:
    """What it holds itself, so that Kubernetes would let it grant it."""
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "probe"},
        "rules": rules,
    }


def job() -> dict[str, Any]:
    pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "none"}]}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "probe"}, "spec": {"template": pod}}


MADE = [config_map(), deployment(), role(), job()]


@pytest.mark.parametrize("manifest", MADE, ids=lambda m: m["kind"])
def test_workloads_and_roles_are_made_in_labelled_namespaces_alone(account: Account, manifest: dict[str, Any]) -> None:
    allowed, told = account.create(account.labelled, manifest)
    assert allowed, told
    for namespace in (account.other, account.system, "kube-system", "default"):
        allowed, told = account.create(namespace, manifest)
        assert not allowed, namespace
        assert f"Tradewind does nothing in namespace {namespace}: label it {ENABLED_LABEL}=true first" in told


def test_what_is_there_already_is_neither_changed_nor_deleted(account: Account) -> None:
    for namespace in (account.labelled, account.other):
        account.cluster.apply(config_map(), namespace=namespace)
    change = ("patch", "configmap", "probe", "--type=merge", "-p", '{"data":{"a":"c"}}', "--dry-run=server")
    gone = ("delete", "configmap", "probe", "--dry-run=server")
    for command in (change, gone):
        allowed, told = account.attempt(account.labelled, *command)
        assert allowed, told
        allowed, told = account.attempt(account.other, *command)
        assert not allowed
        assert "label it" in told


def test_the_account_can_neither_label_a_namespace_nor_take_the_policy_away(account: Account) -> None:
    policy = f"{account.system}-tradewind-labelled-namespaces"
    for command in (
        ("label", "namespace", account.other, f"{ENABLED_LABEL}=true"),
        ("delete", "validatingadmissionpolicy", policy),
        ("delete", "validatingadmissionpolicybinding", policy),
        ("create", "clusterrolebinding", "probe", "--clusterrole=cluster-admin", f"--user={account.name}"),
    ):
        allowed, told = account.attempt(account.other, *command, "--dry-run=server")
        assert not allowed, command
        assert "forbidden" in told.lower()


def test_tokens_of_trainers_can_still_be_reviewed(account: Account) -> None:
    """A TokenReview lies in no namespace: the policy leaves it alone."""
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": "none", "audiences": ["tradewind-progress"]},
    }
    allowed, told = account.attempt("default", "create", "-f", "-", "-o", "json", given=json.dumps(review))
    assert allowed, told


def test_the_policy_compiles_without_a_type_warning_and_holds_for_this_account_alone(account: Account) -> None:
    policy = f"{account.system}-tradewind-labelled-namespaces"
    shown = json.loads(account.cluster.kubectl("get", "validatingadmissionpolicy", policy, "-o", "json"))
    assert not ((shown.get("status") or {}).get("typeChecking") or {}).get("expressionWarnings"), shown
    other = ("kubectl", "-n", account.other, "create", "configmap", "mine", "--dry-run=server")
    assert account.cluster.attempt(*other).returncode == 0
